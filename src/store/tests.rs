//! Tests of the whole store.

mod basics;
mod brim;
mod capacity;
mod field_expiry;
mod fields;
mod figures;
mod freeing;
mod held;
mod lent;
mod lowered;
pub(crate) mod mirror;
mod model;
mod replacing;
mod upkeep;
