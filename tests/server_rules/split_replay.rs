//! Replays the transcripts through the server without sockets, cut in two at every point and byte by byte: however the
//! bytes arrive, the answers are the same.

use crate::common::MIB;
use crate::in_process::InProcess;
use pannier::server::Resources;
use pannier::store::StoreConfig;
use pannier::store::feed::FEED_BYTES_MIN;
use std::cell::RefCell;
use std::rc::Rc;

#[test]
fn answers_do_not_depend_on_how_the_bytes_arrive() {
    // These differ from the others in nothing that arrives, and running all of them that often takes minutes.
    let is_long = |path: &std::path::Path| {
        [
            "scripts.txt",
            "scripts_collections.txt",
            "types.txt",
            "types_own.txt",
            "spring_session.txt",
            "aspnet_cache.txt",
        ]
        .iter()
        .any(|name| path.ends_with(name))
    };
    for transcript in crate::transcript::all().into_iter().filter(|one| !is_long(&one.path)) {
        // With a change feed, for key events.
        let config =
            StoreConfig { memory_bytes: 8 * MIB, feed_bytes: FEED_BYTES_MIN, ..StoreConfig::default() };
        let process = InProcess::new(config, 100, Resources::default(), None);
        let process = Rc::new(RefCell::new(process));
        crate::transcript::replay_at_every_split(&transcript, || {
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
