//! CLIENT TRACKING: the figures of what clients have noted, and how invalidations come together.

use crate::common::{MIB, encode};
use crate::in_process::InProcess;
use pannier::connection::ConnectionId;
use pannier::server::Resources;
use pannier::store::StoreConfig;

/// A server whose store publishes what changes, a transaction of some hundred keys too.
fn process() -> InProcess {
    let config = StoreConfig { memory_bytes: 16 * MIB, feed_bytes: MIB / 4, ..StoreConfig::default() };
    InProcess::new(config, 100, Resources::default(), None)
}

fn items(process: &mut InProcess, id: ConnectionId) -> u64 {
    let info = process.send(id, b"INFO\r\n");
    let info = String::from_utf8_lossy(&info);
    let line = info.lines().find_map(|line| line.strip_prefix("tracking_total_items:"));
    line.and_then(|count| count.parse().ok()).expect("INFO has a count of noted keys")
}

fn invalidation(keys: &[&str]) -> String {
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    format!(">2\r\n$10\r\ninvalidate\r\n{}", String::from_utf8_lossy(&encode(&keys)))
}

#[test]
fn noted_keys_count_until_they_change_or_their_client_goes() {
    let mut process = process();
    let (observer, first, second) = (process.connect(), process.connect(), process.connect());
    for id in [first, second] {
        process.send(id, b"HELLO 3\r\nCLIENT TRACKING ON\r\n");
        for key in 0..100 {
            process.send(id, format!("GET {key}\r\n").as_bytes());
        }
    }
    assert_eq!(items(&mut process, observer), 200);
    process.send(observer, b"SET 7 1\r\n");
    assert_eq!(items(&mut process, observer), 198);
    process.send(first, b"CLIENT TRACKING OFF\r\n");
    assert_eq!(items(&mut process, observer), 99, "a client that tracks no more has nothing");
    process.server.close(second);
    assert_eq!(items(&mut process, observer), 0, "nor has one that is gone");
    process.send(first, b"CLIENT TRACKING ON\r\nGET 1\r\n");
    assert_eq!(items(&mut process, observer), 1);
    process.send(observer, b"FLUSHALL\r\n");
    assert_eq!(items(&mut process, observer), 0);
    process.send(first, b"GET 1\r\nGET 1\r\nGET 2\r\n");
    assert_eq!(items(&mut process, observer), 2);
    process.server.invariants();
}

#[test]
fn what_one_command_changed_is_one_message_for_each_prefix() {
    let mut process = process();
    let (writer, wide, narrow, noloop) =
        (process.connect(), process.connect(), process.connect(), process.connect());
    process.send(wide, b"HELLO 3\r\nCLIENT TRACKING ON BCAST\r\n");
    process.send(narrow, b"HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX a: PREFIX b:\r\n");
    process.send(noloop, b"HELLO 3\r\nCLIENT TRACKING ON BCAST NOLOOP PREFIX a:\r\n");
    let told = |process: &mut InProcess, id| {
        // What one turn's work does not reach comes in the next ones.
        (0..20).for_each(|_| process.advance(0));
        let mut bytes = Vec::new();
        process.pump(id, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    process.send(writer, b"MSET a:1 x c:1 x b:1 x a:2 x\r\n");
    assert_eq!(told(&mut process, wide), invalidation(&["a:1", "c:1", "b:1", "a:2"]));
    assert_eq!(told(&mut process, narrow), invalidation(&["a:1", "a:2"]) + &invalidation(&["b:1"]));
    assert_eq!(told(&mut process, noloop), invalidation(&["a:1", "a:2"]));
    // A transaction, in which one key changes again and again.
    process.send(writer, b"MULTI\r\nSET a:1 x\r\nAPPEND a:1 x\r\nDEL a:2\r\nSET a:1 y\r\nEXEC\r\n");
    assert_eq!(told(&mut process, narrow), invalidation(&["a:1", "a:2"]));
    assert_eq!(told(&mut process, wide), invalidation(&["a:1", "a:2"]));
    told(&mut process, noloop);
    // Own changes are left out, by key.
    process.send(noloop, b"MSET a:1 x a:2 x\r\n");
    assert_eq!(told(&mut process, noloop), "");
    assert_eq!(told(&mut process, narrow), invalidation(&["a:1", "a:2"]));
    told(&mut process, wide);
    // A pipeline of plain writes runs in one batch.
    process.send(writer, b"SET a:1 x\r\nSET a:2 x\r\nSET a:3 x\r\n");
    let of_three = told(&mut process, noloop);
    assert!(["a:1", "a:2", "a:3"].iter().all(|key| of_three.contains(key)), "{of_three}");
    // More than fits into one message: none is left out, and a key of the greatest length has its place.
    told(&mut process, wide);
    told(&mut process, narrow);
    let keys: Vec<String> = (0..200).map(|n| format!("a:{n}")).collect();
    let pairs: Vec<&[u8]> = keys.iter().flat_map(|key| [key.as_bytes(), b"x"]).collect();
    process.send(writer, &encode(&[&[b"MSET".as_slice()][..], &pairs].concat()));
    let of_many = told(&mut process, noloop);
    let messages = of_many.matches("invalidate").count();
    assert!((4..=8).contains(&messages), "{messages}: 64 keys in each, but at the end of a turn's work");
    assert!(keys.iter().all(|key| of_many.contains(&format!("\n{key}\r"))), "{of_many}");
    let long = [b"a:".as_slice(), &vec![b'k'; pannier::limits::KEY_BYTES_MAX - 2]].concat();
    process.send(writer, &encode(&[b"MSET".as_slice(), b"a:1", b"x", &long, b"x", b"a:2", b"x"]));
    let of_long = told(&mut process, noloop);
    assert_eq!(of_long.matches("invalidate").count(), 3);
    assert!(of_long.ends_with(&invalidation(&["a:2"])) && of_long.contains("kkkk"));
    process.server.invariants();
}
