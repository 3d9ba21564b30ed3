//! A store that is full to the brim, over a socket: see `common/brim.rs`.

use crate::brim::{Brim, LENS};
use crate::common::Server;

/// In 64 MiB each client has so much of the system's receive buffers that a packet of the loopback device does not wait for
/// its window.
fn goes_on(memory: &str, on_full: &str, least: usize) {
    let server = Server::start(&["--memory", memory, "--on-full", on_full]);
    let mut client = server.connect();
    for len in LENS.into_iter().filter(|len| *len >= least) {
        let mut ask = |words: &[&[u8]]| client.call(words);
        Brim::new(&mut ask, on_full == "evict").check(len);
    }
}

#[test]
fn a_server_that_refuses_replaces_values_of_every_size() {
    goes_on("64MiB", "refuse", 0);
}

/// The store's own test has many limits (`src/store/tests/replacing.rs`); here buffers borrow from it, too.
#[test]
fn a_server_that_refuses_replaces_large_values_at_any_limit() {
    for memory in ["12MiB", "61MiB", "65MiB"] {
        goes_on(memory, "refuse", 65_537);
    }
}

#[test]
fn a_server_that_evicts_replaces_values_of_every_size() {
    goes_on("64MiB", "evict", 0);
}
