//! When a push is written, put off or refused.

use super::*;
use crate::config::ServerOptions;
use crate::server::Resources;
use crate::server::testing::{self, NOW, take};
use crate::store::StoreConfig;

fn server() -> (Server, ConnectionId) {
    let mut server = testing::server(StoreConfig::default(), ServerOptions::default(), Resources::default());
    let id = testing::connect(&mut server);
    (server, id)
}

fn receive(server: &mut Server, id: ConnectionId, bytes: &[u8]) {
    testing::receive(server, id, bytes, NOW);
}

#[test]
fn an_idle_connection_is_written_to_and_woken() {
    let (mut server, id) = server();
    assert_eq!(server.push(id, 64, NOW.monotonic, |out| out.bulk(b"news")), Pushed::Written);
    assert_eq!(server.poll_wake(), Some(id));
    // The write clock runs, so that a client that takes nothing is closed.
    assert!(server.poll_deadline(NOW).is_some_and(|at| at <= NOW.monotonic.plus(30_000)));
    assert_eq!(take(&mut server, id), b"$4\r\nnews\r\n");
    server.invariants();
}

#[test]
fn a_push_waits_for_the_end_of_a_reply_that_is_made_piece_by_piece() {
    let (mut server, id) = server();
    receive(&mut server, id, format!("SET k {}\r\n", "x".repeat(8_000)).as_bytes());
    server.run(id, NOW);
    take(&mut server, id);
    receive(&mut server, id, b"MGET k k k k k\r\n");
    server.run(id, NOW);
    assert!(server.is_replying(id));
    assert_eq!(server.push(id, 64, NOW.monotonic, |out| out.bulk(b"news")), Pushed::Deferred);
    let mut reply = Vec::new();
    for _ in 0..10 {
        reply.extend(take(&mut server, id));
        server.run(id, NOW);
    }
    assert!(!server.is_replying(id), "the reply is whole");
    assert_eq!(server.poll_wake(), Some(id), "and the connection is woken for what was put off");
    assert_eq!(server.push(id, 64, NOW.monotonic, |out| out.bulk(b"news")), Pushed::Written);
    reply.extend(take(&mut server, id));
    assert!(reply.starts_with(b"*5\r\n$8000\r\n") && reply.ends_with(b"x\r\n$4\r\nnews\r\n"));
}

#[test]
fn a_client_that_takes_nothing_is_pushed_a_bounded_amount() {
    let (mut server, id) = server();
    let message = [b'x'; 1_000];
    let pushed = |server: &mut Server| server.push(id, 1_100, NOW.monotonic, |out| out.bulk(&message));
    let written = (0..1_000).take_while(|_| pushed(&mut server) == Pushed::Written).count();
    assert!((30..40).contains(&written), "{written} messages of 1,009 bytes");
    assert_eq!(pushed(&mut server), Pushed::Full);
    assert_eq!(take(&mut server, id).len(), written * 1_009, "all of them, whole");
    server.start_closing(id, crate::connection::CloseReason::Killed);
    assert_eq!(pushed(&mut server), Pushed::Gone);
    server.close(id);
    assert_eq!(pushed(&mut server), Pushed::Gone);
    assert_eq!(server.buffer_bytes(), 0);
}
