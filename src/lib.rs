//! Pannier: a single-threaded key-value server that rides beside a service.
#![deny(unsafe_code)]

#[cfg(feature = "server")]
pub mod command;
pub mod limits;
#[cfg(feature = "server")]
pub mod mutation;
#[cfg(feature = "server")]
pub mod reply;
pub mod time;
