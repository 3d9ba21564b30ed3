//! Tests of the whole store.

mod basics;
mod brim;
mod capacity;
mod figures;
mod held;
pub(crate) mod mirror;
mod model;
mod upkeep;
