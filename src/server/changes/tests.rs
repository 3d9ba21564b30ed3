//! Events of what happens without a command, of frames' writes, and under load.

use super::*;
use crate::config::ServerOptions;
use crate::connection::ConnectionId;
use crate::engine::Engine;
use crate::frames::{Config, FrameServer};
use crate::server::Resources;
use crate::store::feed::FEED_BYTES_MIN;
use crate::store::{Store, StoreConfig};
use crate::time::Millis;
use std::io::IoSlice;
use std::net::SocketAddr;

pub(super) const NOW: Now = Now { monotonic: Millis(1_000), unix: Millis(1_700_000_000_000), unix_micros: 0 };

pub(super) fn later(ms: u64) -> Now {
    Now { monotonic: NOW.monotonic.plus(ms), unix: NOW.unix.plus(ms), unix_micros: 0 }
}

pub(super) fn server(events: &str) -> Server {
    let config = StoreConfig { feed_bytes: FEED_BYTES_MIN, ..StoreConfig::default() };
    let store = Store::new(config, [1, 2]).expect("enough memory");
    let options = ServerOptions {
        notify_keyspace_events: events.parse().expect("classes"),
        ..ServerOptions::default()
    };
    Server::new(Engine::new(store, options), FrameServer::new(&Config::new(1, [3, 4])), Resources::default())
}

pub(super) fn connect(server: &mut Server) -> ConnectionId {
    server.open(SocketAddr::from(([127, 0, 0, 1], 5000)), NOW).expect("a free place")
}

pub(super) fn take(server: &mut Server, id: ConnectionId) -> String {
    let mut taken = Vec::new();
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = server.output(id, &mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        if bytes.is_empty() {
            return String::from_utf8_lossy(&taken).into_owned();
        }
        server.output_sent(id, bytes.len(), NOW);
        taken.extend(bytes);
    }
}

pub(super) fn ask(server: &mut Server, id: ConnectionId, command: &str, now: Now) -> String {
    let text = format!("{command}\r\n");
    let mut bytes = text.as_bytes();
    while !bytes.is_empty() {
        let space = server.input_space(id, now).expect("room for a request");
        let len = space.len().min(bytes.len());
        space[..len].copy_from_slice(&bytes[..len]);
        server.input_received(id, len, now);
        bytes = &bytes[len..];
    }
    let mut replies = String::new();
    for _ in 0..1_000 {
        server.run(id, now);
        let taken = take(server, id);
        replies.push_str(&taken);
        if taken.is_empty() && !server.is_replying(id) {
            break;
        }
    }
    server.invariants();
    replies
}

/// The names and keys of the messages on `__keyevent@0__:*`.
fn events(text: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = text.split("\r\n").collect();
    let at = parts.iter().enumerate().filter_map(|(at, part)| {
        let name = part.strip_prefix("__keyevent@0__:").filter(|name| *name != "*")?;
        Some((name.to_owned(), parts[at + 2].to_owned()))
    });
    at.collect()
}

fn pair(name: &str, key: &str) -> (String, String) {
    (name.to_owned(), key.to_owned())
}

#[test]
fn a_key_that_expires_is_told_although_nobody_looks_at_it() {
    let mut server = server("KEA");
    let (reader, writer) = (connect(&mut server), connect(&mut server));
    ask(&mut server, reader, "PSUBSCRIBE __keyevent@0__:*", NOW);
    ask(&mut server, writer, "SET k v PX 500", NOW);
    assert_eq!(events(&take(&mut server, reader)), [pair("set", "k"), pair("expire", "k")]);
    server.maintain(later(400), 4);
    assert_eq!(take(&mut server, reader), "");
    // One turn is enough: an idle server has no other.
    let mut turns = 0;
    while server.engine.store.len(crate::mutation::Database(0)) > 0 {
        turns += 1;
        server.maintain(later(500 + 100 * turns), 4);
    }
    assert!(turns <= 10, "{turns} tenths of a second");
    assert_eq!(events(&take(&mut server, reader)), [pair("expired", "k")]);
}

#[test]
fn with_nobody_subscribed_or_nothing_configured_the_feed_is_off() {
    let mut server = server("");
    let (reader, writer) = (connect(&mut server), connect(&mut server));
    let is_on = |server: &Server| server.engine.store.feed_use().cursors > 0;
    ask(&mut server, reader, "SUBSCRIBE __keyevent@0__:set", NOW);
    assert!(!is_on(&server));
    ask(&mut server, writer, "CONFIG SET notify-keyspace-events E$", NOW);
    assert!(is_on(&server));
    ask(&mut server, writer, "SET k v", NOW);
    assert_eq!(events(&take(&mut server, reader)), [pair("set", "k")]);
    ask(&mut server, reader, "RESET", NOW);
    assert!(!is_on(&server));
    ask(&mut server, reader, "PSUBSCRIBE *", NOW);
    assert!(is_on(&server));
    server.close(reader);
    assert!(!is_on(&server));
}

#[test]
fn a_new_key_an_evicted_one_and_a_batch_of_plain_sets_have_their_events() {
    let mut server = server("EAn");
    let (reader, writer) = (connect(&mut server), connect(&mut server));
    ask(&mut server, reader, "PSUBSCRIBE __keyevent@0__:*", NOW);
    ask(&mut server, writer, "SET a 1\r\nSET a 2\r\nSET b 1\r\nINCR b", NOW);
    let expected = [
        pair("new", "a"),
        pair("set", "a"),
        pair("set", "a"),
        pair("new", "b"),
        pair("set", "b"),
        pair("incrby", "b"),
    ];
    assert_eq!(events(&take(&mut server, reader)), expected);
    // A value that is written in several pieces is one event.
    ask(&mut server, writer, "SETRANGE a 30000 x\r\nSETRANGE a 1 y\r\nSETRANGE a 2 z", NOW);
    let expected = [pair("setrange", "a"), pair("setrange", "a"), pair("setrange", "a")];
    assert_eq!(events(&take(&mut server, reader)), expected);
}

#[test]
fn events_to_many_subscribers_are_cut_and_come_in_order() {
    let mut server = server("E$");
    let readers: Vec<_> = (0..300)
        .map(|_| {
            let id = connect(&mut server);
            ask(&mut server, id, "SUBSCRIBE __keyevent@0__:set", NOW);
            id
        })
        .collect();
    let writer = connect(&mut server);
    assert_eq!(ask(&mut server, writer, "SET a 1\r\nSET b 2\r\nSET c 3", NOW), "+OK\r\n+OK\r\n+OK\r\n");
    // A PUBLISH on the same channel takes its place in the order.
    assert_eq!(ask(&mut server, writer, "PUBLISH __keyevent@0__:set mine", NOW), ":300\r\n");
    let mut received = vec![String::new(); readers.len()];
    for _ in 0..60 {
        server.maintain(NOW, 4);
        for (id, text) in readers.iter().zip(&mut received) {
            text.push_str(&take(&mut server, *id));
        }
    }
    for text in &received {
        assert_eq!(text, &received[0], "one order for all");
        let keys: Vec<_> = events(text).into_iter().map(|(_, key)| key).filter(|key| key != "mine").collect();
        assert_eq!(keys, ["a", "b", "c"]);
    }
    assert_eq!(server.engine.store.feed_use().unread, 0);
}
