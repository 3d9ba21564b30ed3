//! Pannier: a single-threaded key-value server that rides beside a service.
#![deny(unsafe_code)]

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod limits;
#[cfg(feature = "server")]
pub mod mutation;
pub mod time;
