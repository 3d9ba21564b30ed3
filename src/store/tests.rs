//! Tests of the whole store.

mod basics;
mod model;
