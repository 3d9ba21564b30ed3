//! Tests of the whole store.

mod basics;
mod brim;
mod capacity;
mod figures;
pub(crate) mod mirror;
mod model;
mod upkeep;
