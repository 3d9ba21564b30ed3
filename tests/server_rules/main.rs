//! The I/O-free server, driven by hand in this process: what one command leaves to the next, what one client's needs do to
//! another, and that neither the cuts of the input nor the look ahead change an answer.
#![cfg(feature = "cli")]

mod batch;
#[path = "../common/brim.rs"]
mod brim;
#[path = "brim.rs"]
mod brim_rules;
mod buffers;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod gate;
mod holds;
#[path = "../common/in_process.rs"]
mod in_process;
mod midway;
mod random_clients;
mod rules;
mod shares;
mod split_replay;
mod tracking;
mod transactions;
#[path = "../common/transcript.rs"]
mod transcript;
mod types;
