//! `--durability always`: which replies wait for the disk, and that those which need not do not.

use crate::in_process::{EPOCH, InProcess};
use pannier::config::Durability;
use pannier::engine::{Engine, persistence::Stage};
use pannier::frames::{Config, FrameServer};
use pannier::journal::{Condition, JournalStatus, WriteGate};
use pannier::limits::MIB;
use pannier::mutation::Revision;
use pannier::net::ServerOptions;
use pannier::server::{Resources, Server};
use pannier::store::{Store, StoreConfig, feed::FEED_BYTES_MIN};
use pannier::time::{Millis, Now};

/// A server whose disk is the test.
fn server() -> InProcess {
    let config = StoreConfig { memory_bytes: 8 * MIB, feed_bytes: FEED_BYTES_MIN, ..StoreConfig::default() };
    let store = Store::new(config, [1, 2]).expect("enough memory");
    let mut options = ServerOptions::default();
    options.max_clients = 8;
    options.data_dir = Some("nowhere".into());
    options.durability = Durability::Always;
    let frames = FrameServer::new(&Config::new(EPOCH, [3, 4]));
    let mut server = Server::new(Engine::new(store, options), frames, Resources::default());
    server.engine_mut().persistence.stage = Stage::Serving;
    let now = Now { monotonic: Millis(1_000), unix: Millis(1_700_000_000_000), unix_micros: 0 };
    InProcess { server, now }
}

/// The disk says that everything up to `durable` is there.
fn synced(host: &mut InProcess, durable: Revision) {
    let status = JournalStatus {
        durability: Durability::Always,
        condition: Condition::Running,
        gate: WriteGate::Open,
        durable,
        revision: host.server.engine().store.revision(),
        saved_revision: Revision(0),
        journal_bytes: 0,
        checkpoint_bytes: 0,
        is_checkpoint_under_way: false,
        checkpoint_began: Millis(0),
        saved: Millis(0),
        last_checkpoint: None,
        checkpoint_count: 0,
        failure_count: 0,
        lost_count: 0,
        last_error: None,
    };
    host.server.follow_journal(&status, host.now.monotonic);
}

fn revision(host: &InProcess) -> Revision {
    host.server.engine().store.revision()
}

#[test]
fn a_write_and_what_has_seen_it_wait_and_nothing_else_does() {
    let mut host = server();
    let (writer, reader, other) = (host.connect(), host.connect(), host.connect());
    assert_eq!(host.send(writer, b"SET old 1\r\n"), b"");
    let durable = revision(&host);
    synced(&mut host, durable);
    assert_eq!(host.send(writer, b""), b"+OK\r\n");

    assert_eq!(host.send(writer, b"PING\r\nSET new 2\r\nPING\r\n"), b"+PONG\r\n", "up to what waits");
    assert_eq!(host.send(reader, b"GET new\r\n"), b"", "it has seen what may be lost");
    assert_eq!(host.send(other, b"GET old\r\nPING\r\n"), b"$1\r\n1\r\n+PONG\r\n", "nothing to wait for");
    assert_eq!(host.send(other, b"DBSIZE\r\n"), b"", "it has looked at all keys");
    synced(&mut host, durable);
    assert_eq!(host.send(writer, b""), b"");
    let latest = revision(&host);
    synced(&mut host, latest);
    assert_eq!(host.send(writer, b""), b"+OK\r\n+PONG\r\n");
    assert_eq!(host.send(reader, b""), b"$1\r\n2\r\n");
    assert_eq!(host.send(other, b""), b":2\r\n");
}

#[test]
fn that_a_key_is_gone_waits_too() {
    let mut host = server();
    let (writer, reader) = (host.connect(), host.connect());
    host.send(writer, b"SET a 1\r\nSET b 1\r\n");
    let durable = revision(&host);
    synced(&mut host, durable);
    host.send(writer, b"");
    assert_eq!(host.send(writer, b"DEL a\r\n"), b"");
    assert_eq!(host.send(reader, b"GET never\r\n"), b"$-1\r\n");
    assert_eq!(host.send(reader, b"GET b\r\n"), b"$1\r\n1\r\n");
    assert_eq!(host.send(reader, b"GET a\r\n"), b"");
    let latest = revision(&host);
    synced(&mut host, latest);
    assert_eq!(host.send(reader, b""), b"$-1\r\n");
}

#[test]
fn a_client_that_is_closed_leaves_nothing_behind() {
    let mut host = server();
    let writer = host.connect();
    assert_eq!(host.send(writer, b"SET a 1\r\n"), b"");
    host.server.close(writer);
    let next = host.connect();
    assert_eq!(host.send(next, b"PING\r\n"), b"+PONG\r\n");
    let latest = revision(&host);
    synced(&mut host, latest);
    host.server.invariants();
}

#[test]
fn a_reply_that_waits_for_the_disk_costs_its_client_no_time_limit() {
    let mut host = server();
    let writer = host.connect();
    assert_eq!(host.send(writer, b"SET a 1\r\n"), b"");
    // Longer than the write time limit, 30 s.
    for _ in 0..12 {
        host.advance(10_000);
        assert!(!host.is_closing(writer));
    }
    let latest = revision(&host);
    synced(&mut host, latest);
    host.advance(29_000);
    assert!(!host.is_closing(writer), "its time to take the reply began when that could be sent");
    assert_eq!(host.send(writer, b""), b"+OK\r\n");
}

#[test]
fn a_refusal_waits_for_nothing() {
    let mut host = server();
    let writer = host.connect();
    assert_eq!(host.send(writer, b"SET a 1\r\n"), b"");
    host.server.engine_mut().persistence.gate = WriteGate::Refuse;
    let other = host.connect();
    assert!(host.send(other, b"SET b 1\r\n").starts_with(b"-MISCONF"));
    assert!(host.send(other, b"NONSENSE\r\nINFO persistence\r\n").starts_with(b"-ERR unknown command"));
}

#[test]
fn events_and_watches_wait_and_messages_and_invalidations_do_not() {
    let mut host = server();
    let (writer, listener, watcher) = (host.connect(), host.connect(), host.connect());
    host.send(writer, b"CONFIG SET notify-keyspace-events E$\r\n");
    host.send(listener, b"SUBSCRIBE __keyevent@0__:set news\r\n");
    host.send(watcher, b"HELLO 3\r\nWATCHPREFIX a\r\nCLIENT TRACKING ON\r\nGET abc\r\n");
    assert_eq!(host.send(writer, b"SET abc 1\r\nPUBLISH news now\r\n"), b"");
    host.advance(1);
    assert_eq!(host.send(listener, b""), b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\nnow\r\n");
    let pushed = host.send(watcher, b"");
    assert!(
        pushed.windows(10).any(|bytes| bytes == b"invalidate") && !pushed.ends_with(b"change"),
        "{pushed:?}"
    );
    let latest = revision(&host);
    synced(&mut host, latest);
    host.advance(1);
    assert!(host.send(listener, b"").ends_with(b"$3\r\nabc\r\n"));
    assert!(host.send(watcher, b"").starts_with(b">5\r\n$6\r\nchange\r\n"));
}
