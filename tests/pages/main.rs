//! The pages against the code: every table, link and test vector in docs/ says what the program does.
#![cfg(all(feature = "server", feature = "client"))]

mod dashboard;
mod frameworks;
mod links;
mod metrics;
mod protocol;
