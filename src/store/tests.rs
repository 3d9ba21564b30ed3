//! Tests of the whole store.

mod basics;
mod brim;
mod capacity;
mod figures;
mod held;
mod lowered;
pub(crate) mod mirror;
mod model;
mod upkeep;
