//! Those who wait for a change, over sockets: events of an idle server, the client's cache, watches over a restart.

use crate::common::{Server, eventually, free_port};
use pannier::client::{Client, Error, PutOptions};
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn an_idle_server_tells_that_a_key_has_expired() {
    let server = Server::start(&["--notify-keyspace-events", "Ex"]);
    let mut listener = server.connect();
    listener.line("SUBSCRIBE __keyevent@0__:expired");
    let mut client = server.connect();
    for round in 0..3 {
        assert_eq!(client.line(&format!("SET key:{round} v PX 30")), b"+OK\r\n");
        let text = String::from_utf8(listener.reply()).expect("text");
        assert!(text.ends_with(&format!("\r\n$5\r\nkey:{round}\r\n")), "{text}");
    }
}

#[test]
fn a_cache_in_a_client_never_gives_an_old_value() {
    let server = Server::start(&[]);
    let plain = Client::connect(server.address.to_string()).expect("it listens");
    let (mut cached, mut other) = (plain.cached(1 << 20), plain);
    let other_put = |other: &mut Client, value: &[u8]| {
        assert!(other.put(b"k", value, &PutOptions::new()).expect("stored"));
    };
    other_put(&mut other, b"1");
    assert_eq!(cached.get(b"k").expect("read").as_deref(), Some(&b"1"[..]));
    for _ in 0..10 {
        assert_eq!(cached.get(b"k").expect("read").as_deref(), Some(&b"1"[..]));
    }
    assert_eq!((cached.stats().hits, cached.stats().misses), (10, 1));
    assert_eq!(cached.get(b"none").expect("read"), None);
    assert_eq!(cached.get(b"none").expect("read"), None);
    assert_eq!(cached.stats().hits, 11, "that there is none is kept too");
    other_put(&mut other, b"2");
    eventually("the invalidation", || cached.get(b"k").expect("read").as_deref() == Some(b"2"));
    // What it writes itself it sees at once.
    for round in 0..50u8 {
        assert!(cached.put(b"own", &[round], &PutOptions::new()).expect("stored"));
        assert_eq!(cached.get(b"own").expect("read").as_deref(), Some(&[round][..]));
        assert_eq!(cached.get(b"own").expect("read").as_deref(), Some(&[round][..]));
    }
    assert!(cached.delete(b"own").expect("removed") && cached.get(b"own").expect("read").is_none());
    other.command(&[b"FLUSHALL"]).expect("flushed");
    eventually("the flush", || cached.get(b"k").expect("read").is_none());
    // With the connection the cache goes, and no error shows.
    other_put(&mut other, b"3");
    eventually("the change", || cached.get(b"k").expect("read").as_deref() == Some(b"3"));
    let drops = cached.stats().drops;
    other.command(&[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"]).expect("killed");
    other_put(&mut other, b"4");
    eventually("the value after", || cached.get(b"k").expect("read").as_deref() == Some(b"4"));
    assert!(cached.stats().drops > drops);
}

#[test]
fn a_cache_gives_nothing_out_that_it_cannot_check() {
    let mut server = Server::start(&[]);
    let client = Client::builder()
        .call_timeout(Duration::from_millis(200))
        .connect(server.address.to_string())
        .expect("it listens");
    let mut cached = client.cached(1 << 20).check_after(Duration::ZERO);
    assert!(cached.put(b"k", b"v", &PutOptions::new()).expect("stored"));
    assert!(cached.get(b"k").expect("read").is_some() && cached.get(b"k").expect("read").is_some());
    // It is there, and says nothing.
    server.signal("STOP");
    assert!(matches!(cached.get(b"k"), Err(Error::Timeout { .. } | Error::Connect { .. })));
    assert_eq!(cached.stats().entries, 0);
    server.signal("CONT");
    eventually("it to go on", || cached.get(b"k").is_ok_and(|value| value.as_deref() == Some(b"v")));
    server.signal("KILL");
    server.wait();
    assert!(matches!(cached.get(b"k"), Err(Error::Connect { .. })));
}

/// A directory of its own, which goes with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn number(reply: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(reply).into_owned();
    text.rsplit(':').next().and_then(|number| number.trim().parse().ok()).expect("a number at the end")
}

fn change(revision: u64, event: &str, key: &str) -> Vec<u8> {
    let (event_len, key_len) = (event.len(), key.len());
    format!(
        "*5\r\n$6\r\nchange\r\n$2\r\nc:\r\n:{revision}\r\n${event_len}\r\n{event}\r\n${key_len}\r\n{key}\r\n"
    )
    .into_bytes()
}

#[test]
fn a_watch_goes_on_over_a_restart_as_far_as_the_journal_reaches() {
    let dir = std::env::temp_dir().join(format!("pannier-watches-{}-{}", std::process::id(), free_port()));
    let scratch = Scratch(dir);
    let path = scratch.0.to_str().expect("text").to_owned();
    let start = || {
        let server = Server::start(&["--data-dir", &path]);
        eventually("the data to be loaded", || server.connect().line("PING") == b"+PONG\r\n");
        server
    };
    let mut server = start();
    let mut client = server.connect();
    let begun = number(&client.line("WATCHPREFIX c:"));
    let mut writer = server.connect();
    for command in ["SET c:a 1", "SET d 1", "INCR c:n", "DEL c:a"] {
        writer.line(command);
    }
    assert_eq!(client.reply(), change(begun + 1, "set", "c:a"));
    server.signal("TERM");
    assert!(server.wait().success());

    // What was told was kept; what came behind it follows, by what it did.
    let mut server = start();
    let mut client = server.connect();
    assert_eq!(number(&client.line(&format!("WATCHPREFIX c: FROM {}", begun + 1))), begun + 1);
    assert_eq!(client.reply(), change(begun + 3, "set", "c:n"));
    assert_eq!(client.reply(), change(begun + 4, "del", "c:a"));
    let latest = number(&server.connect().line("WATCHPREFIX c:"));
    assert!(latest > begun + 4, "no revision comes twice");
    assert_eq!(server.connect().line("INCR c:n"), b":2\r\n");
    assert_eq!(client.reply(), change(latest + 1, "incrby", "c:n"));
    // A revision that was lost with the end of the first run, or that nobody ever had: there is no going on from it.
    let reply = server.connect().line(&format!("WATCHPREFIX c: FROM {}", begun + 5));
    assert!(reply.starts_with(b"-COMPACTED"), "{}", reply.escape_ascii());
    // The revision at which this run began is a place to go on from.
    let mut third = server.connect();
    assert_eq!(number(&third.line(&format!("WATCHPREFIX c: FROM {latest}"))), latest);
    assert_eq!(third.reply(), change(latest + 1, "incrby", "c:n"));

    // A checkpoint takes the place of the journal before it.
    assert_eq!(server.connect().line("BGSAVE"), b"+Background saving started\r\n");
    let begins_anew = |server: &Server| {
        let text = server.connect().line("INFO persistence");
        String::from_utf8_lossy(&text).contains("rdb_bgsave_in_progress:0")
    };
    eventually("the checkpoint", || begins_anew(&server));
    assert_eq!(server.connect().line("SET c:z 1"), b"+OK\r\n");
    server.signal("TERM");
    assert!(server.wait().success());
    let server = start();
    let reply = server.connect().line(&format!("WATCHPREFIX c: FROM {}", begun + 1));
    assert!(reply.starts_with(b"-COMPACTED"), "{}", reply.escape_ascii());
    let mut fourth = server.connect();
    assert_eq!(number(&fourth.line(&format!("WATCHPREFIX c: FROM {}", latest + 1))), latest + 1);
    assert_eq!(fourth.reply(), change(latest + 2, "set", "c:z"));
}
