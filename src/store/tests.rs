//! Tests of the whole store.

mod basics;
