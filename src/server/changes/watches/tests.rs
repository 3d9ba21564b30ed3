//! Watches: every change once and in order, over reconnects, slow readers and a feed that has gone on.

use crate::server::Server;
use crate::server::changes::tests::{NOW, ask, connect, later, server, take};

/// Revision, event and key of each change that was pushed.
fn changes(text: &str) -> Vec<(u64, String, String)> {
    let parts: Vec<&str> = text.split("\r\n").collect();
    let at = parts.iter().enumerate().filter(|(_, part)| **part == "change").map(|(at, _)| at);
    at.map(|at| (parts[at + 3][1..].parse().expect("a revision"), parts[at + 5].into(), parts[at + 7].into()))
        .collect()
}

fn names(text: &str) -> Vec<(String, String)> {
    changes(text).into_iter().map(|(_, event, key)| (event, key)).collect()
}

fn pair(event: &str, key: &str) -> (String, String) {
    (event.into(), key.into())
}

/// The revision in the reply to WATCHPREFIX, which changes may follow.
fn revision(reply: &str) -> u64 {
    let number = reply.split("\r\n").nth(5).and_then(|part| part.strip_prefix(':')).expect("a number");
    number.parse().expect("a revision")
}

fn watch(server: &mut Server, command: &str) -> (crate::connection::ConnectionId, String) {
    let id = connect(server);
    ask(server, id, "HELLO 3", NOW);
    let reply = ask(server, id, command, NOW);
    (id, reply)
}

#[test]
fn a_watch_tells_every_change_of_its_prefix_and_database_in_order() {
    let mut server = server("");
    let writer = connect(&mut server);
    let (watcher, reply) = watch(&mut server, "WATCHPREFIX a:");
    let begun = revision(&reply);
    ask(
        &mut server,
        writer,
        "SET a:1 x\r\nSET b x\r\nINCR a:2\r\nSET a:3 x PX 100\r\nDEL a:1\r\nSELECT 1\r\nSET a:9 x",
        NOW,
    );
    ask(
        &mut server,
        writer,
        "SELECT 0\r\nRENAME a:2 c\r\nMULTI\r\nSET a:4 x\r\nSET a:4 y\r\nEXEC\r\nFLUSHDB",
        NOW,
    );
    let told = take(&mut server, watcher);
    let expected = [
        pair("set", "a:1"),
        pair("incrby", "a:2"),
        pair("set", "a:3"),
        pair("del", "a:1"),
        pair("rename_from", "a:2"),
        pair("set", "a:4"),
        pair("set", "a:4"),
        pair("flushdb", ""),
    ];
    assert_eq!(names(&told), expected);
    let revisions: Vec<u64> = changes(&told).into_iter().map(|(revision, ..)| revision).collect();
    assert!(revisions[0] > begun && revisions.is_sorted());
    ask(&mut server, writer, "SET a:5 x PX 100", NOW);
    for ms in [200, 400, 1_300] {
        server.maintain(later(ms), 4);
    }
    assert_eq!(names(&take(&mut server, watcher)), [pair("set", "a:5"), pair("expired", "a:5")]);
    assert!(ask(&mut server, watcher, "UNWATCHPREFIX a:", NOW).ends_with(":0\r\n"));
    ask(&mut server, writer, "SET a:6 x", NOW);
    assert_eq!(take(&mut server, watcher), "");
    server.invariants();
}

#[test]
fn a_watch_that_resumes_gets_what_it_missed_and_nothing_twice() {
    let mut server = server("");
    let writer = connect(&mut server);
    let (watcher, _) = watch(&mut server, "WATCHPREFIX k");
    let mut seen = Vec::new();
    let mut at = 0;
    let mut current = watcher;
    for round in 0..20 {
        for _ in 0..round {
            at += 1;
            ask(&mut server, writer, &format!("SET k{at} x"), NOW);
        }
        if round % 3 == 0 {
            // The connection is lost with all that was on its way.
            let last = seen.last().map(|(revision, ..): &(u64, String, String)| *revision);
            server.close(current);
            let command =
                last.map_or("WATCHPREFIX k".to_owned(), |last| format!("WATCHPREFIX k FROM {last}"));
            let (id, reply) = watch(&mut server, &command);
            current = id;
            assert_eq!(revision(&reply), last.unwrap_or(revision(&reply)));
            seen.extend(changes(&reply));
            server.maintain(NOW, 4);
        }
        seen.extend(changes(&take(&mut server, current)));
    }
    let keys: Vec<String> = seen.into_iter().map(|(.., key)| key).collect();
    let expected: Vec<String> = (1..=at).map(|at| format!("k{at}")).collect();
    assert_eq!(keys, expected);
}

#[test]
fn a_watch_from_before_the_feed_is_told_so_and_one_that_falls_behind_too() {
    let mut server = server("");
    let writer = connect(&mut server);
    ask(&mut server, writer, "SET k 1", NOW);
    let early = connect(&mut server);
    assert!(ask(&mut server, early, "WATCHPREFIX k FROM 0", NOW).starts_with("-COMPACTED "));
    let (watcher, reply) = watch(&mut server, "WATCHPREFIX k");
    let begun = revision(&reply);
    // It takes nothing, and far more is written than the feed holds; no client waits for it.
    let value = "v".repeat(7_000);
    for at in 0..200 {
        assert_eq!(ask(&mut server, writer, &format!("SET k{at} {value}"), NOW), "+OK\r\n");
    }
    assert!(server.buffer_bytes() < 128 * 1024);
    let mut told = String::new();
    for _ in 0..20 {
        told.push_str(&take(&mut server, watcher));
        server.maintain(NOW, 4);
    }
    let told_keys = changes(&told);
    assert!(!told_keys.is_empty() || told.contains("compacted"), "{told}");
    // Either it got all of them (the messages are short), or it was told where the feed begins now.
    assert!(
        told_keys.len() == 200 || told.contains("$9\r\ncompacted\r\n$1\r\nk\r\n:"),
        "{}",
        told_keys.len()
    );
    assert!(ask(&mut server, watcher, &format!("WATCHPREFIX k FROM {begun}"), NOW).contains("-COMPACTED "));
    server.invariants();
}

#[test]
fn limits_and_mistakes() {
    let mut server = server("");
    let (writer, reader) = (connect(&mut server), connect(&mut server));
    let (watcher, _) = watch(&mut server, "WATCHPREFIX k LIMIT 2");
    ask(&mut server, writer, "SET k1 1\r\nSET k2 1\r\nSET k3 1", NOW);
    assert_eq!(names(&take(&mut server, watcher)), [pair("set", "k1"), pair("set", "k2")]);
    assert_eq!(ask(&mut server, writer, "GETREV none", NOW), "*-1\r\n");
    let reply = ask(&mut server, writer, "GETREV k3", NOW);
    assert_eq!(reply, format!("*2\r\n:{}\r\n$1\r\n1\r\n", server.engine.store.revision().0));
    for wrong in ["WATCHPREFIX k FROM", "WATCHPREFIX k FROM x", "WATCHPREFIX k LIMIT 0", "WATCHPREFIX k NO 1"]
    {
        assert!(ask(&mut server, reader, wrong, NOW).starts_with("-ERR syntax error"), "{wrong}");
    }
    // In RESP2 a client that watches may do nothing else, as one that is subscribed.
    assert!(
        ask(&mut server, reader, "WATCHPREFIX z", NOW)
            .starts_with("*3\r\n$11\r\nwatchprefix\r\n$1\r\nz\r\n:")
    );
    assert!(ask(&mut server, reader, "GET k1", NOW).starts_with("-ERR Can't execute 'get'"));
    assert_eq!(ask(&mut server, reader, "RESET", NOW), "+RESET\r\n");
    assert_eq!(ask(&mut server, reader, "GET k1", NOW), "$1\r\n1\r\n");
    assert_eq!(server.changes.watches.count(), 0);
}

#[test]
fn watches_that_take_nothing_leave_the_buffers_to_others() {
    let mut server = server("");
    let writer = connect(&mut server);
    let watchers: Vec<_> = (0..200).map(|_| watch(&mut server, "WATCHPREFIX a:").0).collect();
    let key = format!("a:{}", "k".repeat(1_000));
    for round in 0..60 {
        ask(&mut server, writer, &format!("SET {key} {round}"), NOW);
        while server.maintain(NOW, 4) {
            while server.poll_wake().is_some() {}
        }
    }
    let (used, all) = (server.output.used(), server.output.capacity());
    assert!(used > all / 8 && used < all / 2, "{used} of {all} bytes are held for them");
    // All the same each gets every change once it reads.
    for id in watchers {
        let mut told = 0;
        while let text = take(&mut server, id)
            && !text.is_empty()
        {
            told += changes(&text).len();
            server.maintain(NOW, 4);
        }
        assert_eq!(told, 60);
    }
}
