//! Pannier: a single-threaded key-value server that rides beside a service.
#![deny(unsafe_code)]

pub mod limits;
#[cfg(feature = "server")]
pub mod mutation;
#[cfg(feature = "server")]
pub mod store;
pub mod time;
