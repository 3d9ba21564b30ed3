//! The store: one pool of fixed memory, an index of small hash tables in it, and the hash that keys the index.

pub mod bitset;
pub mod hash;
pub mod index;
pub mod pool;
