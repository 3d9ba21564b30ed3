//! Pannier: a single-threaded key-value server that rides beside a service.
#![deny(unsafe_code)]

#[cfg(feature = "server")]
pub mod buffers;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod command;
#[cfg(feature = "server")]
pub mod connection;
#[cfg(feature = "server")]
pub mod datagram;
#[cfg(feature = "server")]
pub mod engine;
pub mod limits;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod mutation;
#[cfg(feature = "server")]
pub mod net;
#[cfg(all(test, feature = "server"))]
mod random;
#[cfg(feature = "server")]
pub mod reply;
#[cfg(feature = "server")]
pub mod ring;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod store;
pub mod time;
#[cfg(feature = "server")]
pub mod timers;
pub mod wire;
