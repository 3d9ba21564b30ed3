//! Pannier: a single-threaded key-value server that rides beside a service.
#![deny(unsafe_code)]

#[cfg(feature = "server")]
pub mod buffers;
#[cfg(feature = "server")]
pub mod datagram;
pub mod limits;
#[cfg(feature = "server")]
pub mod mutation;
#[cfg(feature = "server")]
pub mod ring;
pub mod time;
pub mod wire;
