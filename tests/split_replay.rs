//! Replays the transcripts through the server without sockets, cut in two at every point and byte by byte: however the
//! bytes arrive, the answers are the same.

#![cfg(feature = "cli")]

mod common;
#[path = "common/in_process.rs"]
mod in_process;
#[path = "common/transcript.rs"]
mod transcript;

use std::cell::RefCell;
use std::rc::Rc;

#[test]
fn answers_do_not_depend_on_how_the_bytes_arrive() {
    for transcript in transcript::all() {
        let server = Rc::new(RefCell::new(in_process::server()));
        transcript::replay_at_every_split(&transcript, || {
            let server = Rc::clone(&server);
            let mut state = server.borrow_mut();
            // The one before is gone, and its keys with it.
            let earlier: Vec<_> = state.connection_ids().collect();
            earlier.into_iter().for_each(|id| state.close(id));
            state.invariants();
            let id = in_process::connect(&mut state);
            assert_eq!(in_process::exchange(&mut state, id, b"FLUSHALL\r\n"), b"+OK\r\n");
            drop(state);
            move |bytes: &[u8]| in_process::exchange(&mut server.borrow_mut(), id, bytes)
        });
    }
}
