//! Tests of the whole store.

mod basics;
mod capacity;
mod figures;
mod model;
mod upkeep;
