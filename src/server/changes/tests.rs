//! Events of what happens without a command, of frames' writes, and under load.

use super::*;
use crate::config::ServerOptions;
use crate::server::Resources;
use crate::server::testing;
pub(super) use crate::server::testing::{NOW, ask, connect, take_text as take};
use crate::store::StoreConfig;
use crate::store::feed::FEED_BYTES_MIN;

pub(super) fn later(ms: u64) -> Now {
    Now { monotonic: NOW.monotonic.plus(ms), unix: NOW.unix.plus(ms), unix_micros: 0 }
}

pub(super) fn server(events: &str) -> Server {
    let config = StoreConfig { feed_bytes: FEED_BYTES_MIN, ..StoreConfig::default() };
    let notify_keyspace_events = events.parse().expect("classes");
    let options = ServerOptions { notify_keyspace_events, ..ServerOptions::default() };
    testing::server(config, options, Resources::default())
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
fn fields_that_expire_are_told_once_for_each_visit() {
    let mut server = server("EA");
    let (reader, writer) = (connect(&mut server), connect(&mut server));
    ask(&mut server, writer, "HSET h a 1 b 2 c 3 d 4", NOW);
    ask(&mut server, writer, "HPEXPIRE h 5 FIELDS 2 a b\r\nHPEXPIRE h 4000 FIELDS 1 c", NOW);
    ask(&mut server, writer, "HPEXPIRE h 9000 FIELDS 1 d", NOW);
    ask(&mut server, reader, "PSUBSCRIBE __keyevent@0__:*", NOW);
    let mut told = Vec::new();
    for ms in (0..12_000).step_by(100) {
        server.maintain(later(ms), 4);
        told.extend(events(&take(&mut server, reader)));
    }
    let expected = [pair("hexpired", "h"), pair("hexpired", "h"), pair("hexpired", "h"), pair("del", "h")];
    assert_eq!(told, expected);
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

#[test]
fn a_command_on_a_collection_is_one_event_however_many_entries_it_changes() {
    let mut server = server("EA");
    let (reader, writer) = (connect(&mut server), connect(&mut server));
    ask(&mut server, reader, "PSUBSCRIBE __keyevent@0__:*", NOW);
    for (command, expected) in [
        ("HSET h a 1 b 2 c 3", &[("hset", "h")] as &[_]),
        ("HSET h a 1", &[("hset", "h")]),
        ("HINCRBY h a 1", &[("hincrby", "h")]),
        ("HINCRBYFLOAT h a 1", &[("hincrbyfloat", "h")]),
        ("HSETNX h a 1", &[]),
        ("HDEL h a b", &[("hdel", "h")]),
        ("HDEL h none", &[]),
        ("HDEL h c none", &[("hdel", "h"), ("del", "h")]),
        ("HSETEX h EX 9 FIELDS 2 a 1 b 2", &[("hset", "h"), ("hexpire", "h")]),
        ("HSETEX h KEEPTTL FIELDS 1 a 2", &[("hset", "h")]),
        ("HSETEX h FIELDS 3 a 1 b 2 c 3", &[("hset", "h")]),
        ("HEXPIRE h 10 FIELDS 3 a b none", &[("hexpire", "h")]),
        // The time that they have already: it is set all the same.
        ("HEXPIRE h 10 FIELDS 2 a b", &[("hexpire", "h")]),
        ("HEXPIRE h 10 NX FIELDS 1 a", &[]),
        ("HPERSIST h FIELDS 2 a b", &[("hpersist", "h")]),
        ("HPERSIST h FIELDS 2 a b", &[]),
        ("HGETEX h FIELDS 1 a", &[]),
        ("HGETEX h EX 9 FIELDS 2 a b", &[("hexpire", "h")]),
        ("HGETEX h PERSIST FIELDS 2 a b", &[("hpersist", "h")]),
        ("HGETEX h EXAT 9 FIELDS 1 a", &[("hdel", "h")]),
        ("HGETDEL h FIELDS 1 b", &[("hdel", "h")]),
        ("HEXPIRE h 0 FIELDS 1 c", &[("hdel", "h"), ("del", "h")]),
        ("SADD s 1 2 3", &[("sadd", "s")]),
        ("SADD s 1", &[]),
        ("SREM s 1 9", &[("srem", "s")]),
        ("SMOVE s t 2", &[("sadd", "t"), ("srem", "s")]),
        ("SINTERSTORE u s s", &[("sinterstore", "u")]),
        ("SUNIONSTORE u s t", &[("sunionstore", "u")]),
        ("SDIFFSTORE u s s", &[("del", "u")]),
        ("SPOP t", &[("spop", "t"), ("del", "t")]),
        ("SREM s 3", &[("srem", "s"), ("del", "s")]),
    ] {
        ask(&mut server, writer, command, NOW);
        let expected: Vec<_> = expected.iter().map(|(name, key)| pair(name, key)).collect();
        assert_eq!(events(&take(&mut server, reader)), expected, "{command}");
    }
}
