//! Deliveries among many clients: their order, their bounds, and what they leave behind.

use super::*;
use crate::config::ServerOptions;
use crate::limits::MIB;
use crate::server::Resources;
use crate::server::testing::{self, NOW, connect, take};
use crate::store::StoreConfig;
use crate::time::{Millis, Now};

fn server(resources: Resources) -> Server {
    testing::server(StoreConfig::default(), ServerOptions::default(), resources)
}

fn receive(server: &mut Server, id: ConnectionId, bytes: &[u8]) {
    testing::receive(server, id, bytes, NOW);
}

fn ask(server: &mut Server, id: ConnectionId, command: &str) -> String {
    testing::ask(server, id, command, NOW)
}

fn subscriber(server: &mut Server, command: &str) -> ConnectionId {
    let id = connect(server);
    assert!(ask(server, id, command).contains("subscribe"));
    id
}

#[test]
fn a_delivery_to_many_is_cut_and_all_get_all_messages_in_one_order() {
    let mut server = server(Resources::default());
    let readers: Vec<_> = (0..700).map(|_| subscriber(&mut server, "SUBSCRIBE c")).collect();
    let (one, two) = (connect(&mut server), connect(&mut server));
    receive(&mut server, one, b"PUBLISH c first\r\nPUBLISH c third\r\n");
    server.run(one, NOW);
    assert!(server.is_replying(one), "a turn is not enough");
    let reached = readers.iter().filter(|id| !server.get(**id).expect("open").output.is_empty()).count();
    assert!((100..600).contains(&reached), "{reached} of them in one turn");
    // Another publisher waits for the first message, and helps it on.
    receive(&mut server, two, b"PUBLISH c second\r\n");
    let mut received = vec![String::new(); readers.len()];
    let mut counts = [String::new(), String::new()];
    for _ in 0..200 {
        for (publisher, count) in [one, two].into_iter().zip(&mut counts) {
            server.run(publisher, NOW);
            count.push_str(&String::from_utf8_lossy(&take(&mut server, publisher)));
        }
        for (id, received) in readers.iter().zip(&mut received) {
            received.push_str(&String::from_utf8_lossy(&take(&mut server, *id)));
        }
        server.invariants();
    }
    assert_eq!(counts, [":700\r\n:700\r\n".to_owned(), ":700\r\n".to_owned()]);
    for text in &received {
        assert_eq!(text, &received[0], "one order for all");
        assert_eq!(text.matches("message").count(), 3);
        assert!(text.find("first") < text.find("third"), "a publisher's own order");
    }
    assert_eq!(server.engine.metrics.counters.messages_delivered, 2_100);
}

#[test]
fn a_message_whose_publisher_is_gone_reaches_everyone() {
    let mut server = server(Resources::default());
    let readers: Vec<_> = (0..900).map(|_| subscriber(&mut server, "SUBSCRIBE c")).collect();
    let publisher = connect(&mut server);
    receive(&mut server, publisher, b"PUBLISH c news\r\n");
    server.run(publisher, NOW);
    assert!(server.is_replying(publisher));
    server.close(publisher);
    let mut written = 0;
    for _ in 0..60 {
        server.maintain(NOW, 4);
        let in_a_turn = std::iter::from_fn(|| server.poll_wake()).count();
        assert!(in_a_turn <= SENDS_PER_TURN as usize + 1, "{in_a_turn} writes in a turn");
        written += in_a_turn;
    }
    assert!(written >= 900, "all are written to");
    for id in readers {
        assert!(take(&mut server, id).ends_with(b"$4\r\nnews\r\n"));
    }
    assert_eq!(server.fan_out_owner(), None);
}

#[test]
fn a_subscriber_that_takes_nothing_is_closed_and_counted_and_the_others_get_everything() {
    let mut server = server(Resources { output_bytes: 1 << 20, ..Resources::default() });
    let (slow, quick) = (subscriber(&mut server, "SUBSCRIBE c"), subscriber(&mut server, "PSUBSCRIBE c*"));
    let publisher = connect(&mut server);
    let text = "x".repeat(1_000);
    let mut received = 0;
    for _ in 0..300 {
        ask(&mut server, publisher, &format!("PUBLISH c {text}"));
        received += take(&mut server, quick).len();
    }
    assert!(server.get(slow).expect("not closed by the reactor yet").is_draining());
    server.close(slow);
    assert_eq!(server.engine.metrics.closes.slow_subscriber, 1);
    assert!(received > 300 * 1_000);
    assert_eq!(ask(&mut server, publisher, "PUBLISH c y"), ":1\r\n");
    server.invariants();
}

#[test]
fn a_message_waits_for_the_end_of_a_reply_that_is_made_piece_by_piece() {
    let mut server = server(Resources::default());
    let reader = connect(&mut server);
    ask(&mut server, reader, "HELLO 3");
    ask(&mut server, reader, "SUBSCRIBE c");
    ask(&mut server, reader, &format!("SET k {}", "v".repeat(8_000)));
    receive(&mut server, reader, b"MGET k k k k k\r\nPING\r\n");
    server.run(reader, NOW);
    assert!(server.is_replying(reader));
    let publisher = connect(&mut server);
    assert_eq!(ask(&mut server, publisher, "PUBLISH c one"), ":1\r\n");
    assert_eq!(ask(&mut server, publisher, "PUBLISH c two"), ":1\r\n");
    let mut replies = Vec::new();
    for _ in 0..10 {
        replies.extend(take(&mut server, reader));
        server.run(reader, NOW);
    }
    let text = String::from_utf8(replies).expect("text");
    let at = |part: &str| text.find(part).expect("it was sent");
    assert!(text.starts_with("*5\r\n$8000\r\n") && at("v\r\n>3") < at("one") && at("one") < at("two"));
    assert!(at("two") < at("+PONG"), "what it asked later is answered later");
    server.close(reader);
    server.invariants();
    assert_eq!(server.buffer_bytes(), 0);
}

#[test]
fn a_message_to_the_client_whose_exec_runs_follows_the_array() {
    let mut server = server(Resources::default());
    let client = connect(&mut server);
    ask(&mut server, client, "HELLO 3");
    ask(&mut server, client, "SUBSCRIBE c");
    let replies = ask(&mut server, client, "MULTI\r\nPUBLISH c x\r\nSET k v\r\nEXEC");
    assert!(
        replies.ends_with("*2\r\n:1\r\n+OK\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"),
        "{replies}"
    );
    // It leaves in the same transaction: what it was sent before still comes.
    let replies = ask(&mut server, client, "MULTI\r\nPUBLISH c y\r\nUNSUBSCRIBE c\r\nEXEC\r\nPING");
    assert!(replies.contains("$1\r\ny\r\n") && replies.ends_with("+PONG\r\n"), "{replies}");
    assert_eq!(server.pubsub.table.usage().0, 0);
}

#[test]
fn a_long_message_is_kept_once_for_all() {
    let mut server = server(Resources::default());
    let readers: Vec<_> = (0..20).map(|_| subscriber(&mut server, "SUBSCRIBE c")).collect();
    let publisher = connect(&mut server);
    for len in [10_000, 100_000] {
        let text = "m".repeat(len);
        let command = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${len}\r\n{text}");
        let before = server.engine.store.memory().large;
        assert_eq!(ask(&mut server, publisher, &command), ":20\r\n");
        let held = server.engine.store.memory().large - before;
        assert!(held > 0 && held <= len as u64 + 64 * 1024, "{held} bytes for one message of {len}");
        for id in &readers {
            let received = take(&mut server, *id);
            assert_eq!(received.iter().filter(|byte| **byte == b'm').count(), len + 1, "with `message`");
            assert!(received.ends_with(b"m\r\n"));
        }
        server.maintain(NOW, 64);
        assert_eq!(server.engine.store.memory().large, before, "given back when all are served");
    }
    server.invariants();
}

#[test]
fn a_client_that_asks_for_too_much_is_told_what_to_do() {
    let mut server = server(Resources { subscription_bytes: 8 * 1024, ..Resources::default() });
    let client = connect(&mut server);
    let names: Vec<String> = (0..200).map(|at| format!("channel{at}")).collect();
    let replies = ask(&mut server, client, &format!("SUBSCRIBE {}", names.join(" ")));
    let refused = replies.matches("-ERR no room for another subscription").count();
    assert_eq!(replies.matches("$9\r\nsubscribe\r\n").count() + refused, 200, "each has a reply of its own");
    assert!(refused > 0 && replies.contains("--memory"));
    let replies = ask(&mut server, client, "UNSUBSCRIBE");
    assert!(replies.matches("unsubscribe").count() + refused == 200 && replies.ends_with(":0\r\n"));
    assert!(
        ask(&mut server, client, &format!("SUBSCRIBE {}", "x".repeat(5_000)))
            .contains("longer than the limit")
    );
    assert_eq!(ask(&mut server, client, "GET k"), "$-1\r\n", "nothing is left of it");
}

#[test]
fn lists_of_clients_and_channels_know_who_is_subscribed() {
    let mut server = server(Resources::default());
    let reader = subscriber(&mut server, "SUBSCRIBE a b\r\nPSUBSCRIBE x*\r\nSSUBSCRIBE s");
    let admin = connect(&mut server);
    let list = ask(&mut server, admin, "CLIENT LIST TYPE pubsub");
    assert!(list.contains("flags=P db=0 sub=2 psub=1 ssub=1") && list.matches("id=").count() == 1, "{list}");
    assert_eq!(ask(&mut server, admin, "CLIENT LIST TYPE normal").matches("addr=").count(), 2);
    assert_eq!(ask(&mut server, admin, "PUBSUB NUMSUB a x"), "*4\r\n$1\r\na\r\n:1\r\n$1\r\nx\r\n:0\r\n");
    assert!(ask(&mut server, admin, "INFO stats").contains("pubsub_channels:2\r\npubsub_patterns:1\r\n"));
    assert_eq!(ask(&mut server, admin, "PUBSUB CHANNELS b"), "*1\r\n$1\r\nb\r\n");
    assert_eq!(ask(&mut server, admin, "CLIENT KILL TYPE pubsub"), ":1\r\n");
    server.close(reader);
    assert_eq!(ask(&mut server, admin, "PUBSUB CHANNELS"), "*0\r\n");
    assert_eq!(server.pubsub.table.used_bytes(), 0);
}

#[test]
fn a_subscriber_is_not_idle() {
    let mut server = server(Resources::default());
    let reader = subscriber(&mut server, "SUBSCRIBE a");
    assert_eq!(ask(&mut server, reader, "RESET"), "+RESET\r\n");
    ask(&mut server, reader, "CONFIG SET timeout 1");
    ask(&mut server, reader, "SUBSCRIBE a");
    let later = Now { monotonic: Millis(10_000), ..NOW };
    server.handle_deadlines(later);
    assert!(!server.get(reader).expect("open").is_draining());
}

#[test]
fn a_subscriber_that_was_not_written_to_yet_is_no_slow_one() {
    let mut server = server(Resources { output_bytes: 2 * MIB, ..Resources::default() });
    let reader = subscriber(&mut server, "SUBSCRIBE news");
    // More than may wait for one, by one client after the other, and nothing is written in between.
    let publishers: Vec<_> = (0..80).map(|_| connect(&mut server)).collect();
    let command = format!("PUBLISH news {}\r\n", "m".repeat(7_000));
    for id in &publishers {
        receive(&mut server, *id, command.as_bytes());
    }
    let mut heard = 0;
    for _ in 0..200 {
        for id in &publishers {
            server.run(*id, NOW);
        }
        heard += String::from_utf8_lossy(&take(&mut server, reader)).matches("message\r\n").count();
        server.maintain(NOW, 4);
        for id in &publishers {
            take(&mut server, *id);
        }
    }
    assert_eq!(heard, 80, "every message came");
    assert_eq!(server.engine.metrics.closes.slow_subscriber, 0);
}
