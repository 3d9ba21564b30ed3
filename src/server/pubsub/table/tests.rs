//! The tables against a model, and what a delivery meets while subscriptions come and go.

use super::*;
use crate::random::Random;
use std::collections::BTreeSet;

fn connection(index: u32) -> ConnectionId {
    ConnectionId { index, generation: index }
}

/// A hash so weak that names share slots.
fn hash(name: &[u8]) -> u64 {
    u64::from(name.first().copied().unwrap_or(0) & 1)
}

/// Everyone whom a delivery on `name` reaches, patterns that `matches` accepts included.
fn deliver(table: &mut Table, name: &[u8], matches: impl Fn(&[u8]) -> bool) -> Vec<u32> {
    let topic = table.find(Kind::Channel, name, hash(name));
    table.begin_delivery(topic, true);
    let mut reached = Vec::new();
    loop {
        match table.next_delivery() {
            Next::Subscriber(id) => reached.extend(id.map(|id| id.index)),
            Next::Pattern(pattern) => {
                let mut text = Vec::new();
                table.append_name(pattern, &mut text);
                if matches(&text) {
                    table.deliver_to(pattern);
                }
            }
            Next::End => return reached,
        }
    }
}

#[test]
fn tables_agree_with_a_model_whatever_comes_and_goes() {
    let mut random = Random(7);
    let mut table = Table::new(64 * 1024);
    let subscribers: Vec<SubscriberId> =
        (0..8).map(|index| table.add_subscriber(connection(index)).expect("room")).collect();
    let mut model = BTreeSet::new();
    for _ in 0..4_000 {
        let who = random.below(8);
        let kind = Kind::ALL[random.below(3)];
        let name = vec![b'a' + random.below(5) as u8; 1 + 30 * random.below(3)];
        if random.below(2) == 0 {
            table.subscribe(subscribers[who], kind, &name, hash(&name)).expect("room");
            model.insert((who, kind as usize, name));
        } else {
            table.unsubscribe(subscribers[who], kind, &name, hash(&name));
            model.remove(&(who, kind as usize, name));
        }
        table.invariants();
        assert_eq!(table.usage().0, model.len());
    }
    let expected: BTreeSet<u32> = model
        .iter()
        .filter(|(_, kind, name)| *kind == Kind::Channel as usize && name == b"a")
        .map(|(who, ..)| *who as u32)
        .collect();
    let reached = deliver(&mut table, b"a", |_| false);
    assert_eq!(reached.iter().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(reached.len(), expected.len(), "nobody is reached twice");
    for subscriber in subscribers {
        table.orphan(subscriber);
    }
    assert!(deliver(&mut table, b"a", |_| true).is_empty(), "orphans get nothing");
    while table.reap(3) {
        table.invariants();
    }
    assert_eq!((table.usage().0, table.used_bytes(), table.subscribers_len()), (0, 0, 0));
}

#[test]
fn a_delivery_survives_those_who_leave_and_does_not_meet_those_who_join() {
    let mut table = Table::new(64 * 1024);
    let ids: Vec<SubscriberId> =
        (0..5).map(|index| table.add_subscriber(connection(index)).expect("room")).collect();
    for id in &ids[..4] {
        table.subscribe(*id, Kind::Channel, b"c", hash(b"c")).expect("room");
        table.subscribe(*id, Kind::Pattern, b"p", hash(b"p")).expect("room");
    }
    let topic = table.find(Kind::Channel, b"c", hash(b"c"));
    table.begin_delivery(topic, true);
    assert_eq!(table.next_delivery(), Next::Subscriber(Some(connection(3))));
    // The next one leaves, another one joins channel and patterns.
    table.unsubscribe(ids[2], Kind::Channel, b"c", hash(b"c"));
    table.subscribe(ids[4], Kind::Channel, b"c", hash(b"c")).expect("room");
    table.subscribe(ids[4], Kind::Pattern, b"q", hash(b"q")).expect("room");
    assert_eq!(table.next_delivery(), Next::Subscriber(Some(connection(1))));
    assert_eq!(table.next_delivery(), Next::Subscriber(Some(connection(0))));
    let Next::Pattern(pattern) = table.next_delivery() else { panic!("the pattern comes next") };
    table.deliver_to(pattern);
    // All of the pattern's subscribers leave, and with them the pattern.
    for id in &ids[..4] {
        table.unsubscribe(*id, Kind::Pattern, b"p", hash(b"p"));
    }
    assert_eq!(table.next_delivery(), Next::End);
    table.invariants();
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut table = Table::new(4 * 1024);
    let subscriber = table.add_subscriber(connection(0)).expect("room");
    let mut count = 0;
    let refused = loop {
        let name = format!("channel {count}").into_bytes();
        if table.subscribe(subscriber, Kind::Channel, &name, hash(&name)).is_err() {
            break name;
        }
        count += 1;
    };
    table.invariants();
    assert!(count > 4 && table.find(Kind::Channel, &refused, hash(&refused)).is_none());
    // What it has already costs nothing.
    assert_eq!(table.subscribe(subscriber, Kind::Channel, b"channel 0", hash(b"channel 0")), Ok(()));
    let mut name = Vec::new();
    while table.unsubscribe_latest(subscriber, Kind::Channel, &mut name) {}
    assert_eq!((name.as_slice(), table.has_none(subscriber)), (&b"channel 0"[..], true));
    assert_eq!(table.subscribe(subscriber, Kind::Channel, &refused, hash(&refused)), Ok(()));
}
