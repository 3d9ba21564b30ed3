//! The `pannier` binary as scripts, operators and newcomers see it: output, messages, exit codes, signals and files.
#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods)] // Waits have a bound by a real clock.

mod bench;
#[path = "../common/mod.rs"]
mod common;
mod demo;
mod directory;
#[path = "../common/fake_server.rs"]
mod fake;
mod listen;
mod live_config;
mod operators;
mod top;
mod udp;
mod verbs;
