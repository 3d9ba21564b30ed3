//! Pannier: a single-threaded key-value server that rides beside a service.
#![deny(unsafe_code)]

#[cfg(feature = "server")]
pub mod buffers;
pub mod limits;
#[cfg(feature = "server")]
pub mod mutation;
#[cfg(all(test, feature = "server"))]
mod random;
#[cfg(feature = "server")]
pub mod ring;
pub mod time;
pub mod wire;
