//! A store that is full to the brim, over a socket: see `common/brim.rs`.

use crate::brim::{Brim, LENS};
use crate::common::Server;

/// In 64 MiB each client has so much of the system's receive buffers that a packet of the loopback device does not wait for
/// its window.
fn goes_on(on_full: &str) {
    let server = Server::start(&["--memory", "64MiB", "--on-full", on_full]);
    let mut client = server.connect();
    for len in LENS {
        let mut ask = |words: &[&[u8]]| client.call(words);
        Brim::new(&mut ask, on_full == "evict").check(len);
    }
}

#[test]
fn a_server_that_refuses_replaces_values_of_every_size() {
    goes_on("refuse");
}

#[test]
fn a_server_that_evicts_replaces_values_of_every_size() {
    goes_on("evict");
}
