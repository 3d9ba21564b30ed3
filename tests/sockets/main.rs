//! The spawned server over real sockets: whole replies, floods, stalls, bad networks and bad peers. Each test starts
//! servers of its own on free ports.
#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods)] // Tests over real sockets wait by a real clock.

mod admin;
mod attacks;
mod backpressure;
#[path = "../common/brim.rs"]
mod brim;
#[path = "brim.rs"]
mod brim_sockets;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod listeners;
mod lossy;
mod persistence;
mod server;
#[path = "../common/transcript.rs"]
mod transcript;
mod transcripts;
mod udp;
