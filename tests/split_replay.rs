//! Replays the transcripts through the server without sockets, cut in two at every point and byte by byte: however the
//! bytes arrive, the answers are the same.

#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods)] // What it shares with tests over real sockets waits by a real clock.

mod common;
#[path = "common/in_process.rs"]
mod in_process;
#[path = "common/transcript.rs"]
mod transcript;

use common::MIB;
use in_process::InProcess;
use std::cell::RefCell;
use std::rc::Rc;

#[test]
fn answers_do_not_depend_on_how_the_bytes_arrive() {
    for transcript in transcript::all() {
        let process = Rc::new(RefCell::new(InProcess::with_memory(8 * MIB)));
        transcript::replay_at_every_split(&transcript, || {
            let process = Rc::clone(&process);
            let mut state = process.borrow_mut();
            // The one before is gone, and its keys with it.
            let earlier: Vec<_> = state.server.connection_ids().collect();
            earlier.into_iter().for_each(|id| state.server.close(id));
            state.server.invariants();
            let id = state.connect();
            assert_eq!(state.send(id, b"FLUSHALL\r\n"), b"+OK\r\n");
            drop(state);
            move |bytes: &[u8]| process.borrow_mut().send(id, bytes)
        });
    }
}
