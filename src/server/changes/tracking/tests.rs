//! Invalidations among several clients: by whatever a key changes, in time, and never too few.

use crate::server::changes::tests::NOW;
use crate::server::changes::tests::{ask, connect, later, server, take};

const A: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
const ALL: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

#[test]
fn a_reader_hears_of_another_ones_write_of_expiry_and_of_flush_once_each() {
    let mut server = server("");
    let (reader, writer) = (connect(&mut server), connect(&mut server));
    ask(&mut server, reader, "HELLO 3\r\nCLIENT TRACKING ON", NOW);
    for change in ["SET a 2", "SET a 2 PX 100", "APPEND a x", "DEL a", "RENAME b a", "FLUSHDB"] {
        ask(&mut server, writer, "SET a 1\r\nSET b 1", NOW);
        ask(&mut server, reader, "GET a", NOW);
        ask(&mut server, writer, change, NOW);
        assert_eq!(take(&mut server, reader), if change == "FLUSHDB" { ALL } else { A }, "{change}");
        ask(&mut server, writer, "SET a 3", NOW);
        assert_eq!(take(&mut server, reader), "", "{change}: told once");
    }
    ask(&mut server, writer, "SET a 1 PX 100", NOW);
    ask(&mut server, reader, "GET a", NOW);
    for ms in [50, 150, 300, 1_100] {
        server.maintain(later(ms), 4);
    }
    assert_eq!(take(&mut server, reader), A, "nobody looked at it");
    server.close(reader);
    assert!(!server.changes.is_on());
    server.invariants();
}

#[test]
fn prefixes_are_told_without_any_read_and_a_redirection_gets_messages() {
    let mut server = server("");
    let clients: Vec<_> = (0..4).map(|_| connect(&mut server)).collect();
    let [wide, narrow, listener, redirecting] = clients[..] else { panic!("four") };
    ask(&mut server, wide, "HELLO 3\r\nCLIENT TRACKING ON BCAST NOLOOP", NOW);
    ask(&mut server, narrow, "HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX a PREFIX user:", NOW);
    ask(&mut server, listener, "SUBSCRIBE __redis__:invalidate", NOW);
    let id = server.get(listener).expect("open").session.id;
    assert_eq!(ask(&mut server, redirecting, &format!("CLIENT TRACKING ON REDIRECT {id}"), NOW), "+OK\r\n");
    assert_eq!(ask(&mut server, redirecting, "CLIENT GETREDIR", NOW), format!(":{id}\r\n"));
    ask(&mut server, redirecting, "GET a", NOW);
    assert_eq!(ask(&mut server, wide, "SET a 1", NOW), "+OK\r\n", "its own change");
    assert_eq!(take(&mut server, narrow), A);
    let message = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
    assert_eq!(take(&mut server, listener), format!("{message}*1\r\n$1\r\na\r\n"));
    ask(&mut server, redirecting, "SET zebra 1", NOW);
    assert_eq!((take(&mut server, narrow), take(&mut server, wide).contains("zebra")), (String::new(), true));
    ask(&mut server, redirecting, "SET user:1 1", NOW);
    assert!(take(&mut server, narrow).contains("user:1"));
    // The target goes: the client that redirects is told, if it can be.
    ask(&mut server, redirecting, "HELLO 3\r\nGET a", NOW);
    server.close(listener);
    ask(&mut server, wide, "SET a 2", NOW);
    assert_eq!(take(&mut server, redirecting), format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{id}\r\n"));
    assert!(ask(&mut server, redirecting, "CLIENT TRACKINGINFO", NOW).contains("broken_redirect"));
    assert!(ask(&mut server, redirecting, "CLIENT INFO", NOW).contains("flags=tR"));
    server.invariants();
}

#[test]
fn a_table_that_is_too_small_tells_clients_to_drop_everything_and_forgets_nothing_silently() {
    let mut server = server("");
    let (reader, writer) = (connect(&mut server), connect(&mut server));
    // Many more keys than there are entries.
    server.changes.tracking = super::Tracking::new(4 * 1024);
    ask(&mut server, reader, "HELLO 3\r\nCLIENT TRACKING ON", NOW);
    let mut held = std::collections::BTreeSet::new();
    let mut dropped = 0;
    for at in 0..3_000 {
        let key = format!("k{}", at * 7 % 997);
        let replies = ask(&mut server, reader, &format!("GET {key}"), NOW);
        held.insert(key);
        if replies.contains(ALL) {
            assert!(replies.starts_with('_'), "the reply comes first: {replies}");
            held.clear();
            dropped += 1;
        }
        let changed = format!("k{}", at * 13 % 997);
        ask(&mut server, writer, &format!("SET {changed} 1\r\nDEL {changed}"), NOW);
        let told = take(&mut server, reader);
        assert!(!held.remove(&changed) || told.contains(&changed), "{changed}");
    }
    assert!(dropped > 3, "{dropped}");
}

#[test]
fn a_read_of_very_many_keys_is_not_noted_but_dropped_behind_the_reply() {
    let mut server = server("");
    let reader = connect(&mut server);
    ask(&mut server, reader, "HELLO 3\r\nCLIENT TRACKING ON", NOW);
    let keys: Vec<String> = (0..1_200).map(|at| format!("k{at}")).collect();
    let replies = ask(&mut server, reader, &format!("MGET {}", keys.join(" ")), NOW);
    assert!(replies.starts_with("*1200\r\n") && replies.ends_with(ALL));
}
