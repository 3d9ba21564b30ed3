//! What samples hold, when they are due, and that any history fits the reply in parts.

use super::super::tests::server;
use super::*;
use crate::admin::Reply;
use crate::command::VerbId;

fn at(ms: u64) -> Now {
    Now { monotonic: Millis(ms), unix: Millis(1_780_000_000_000 + ms), unix_micros: 0 }
}

fn json(history: &History, server: &Server, after: u64) -> serde_json::Value {
    let mut reply = Reply::new();
    history.write(&mut reply.body, after, true, server, at(9_999)).unwrap();
    serde_json::from_slice(reply.body.as_bytes()).unwrap()
}

/// The field of each sample.
fn column(history: &History, server: &Server, field: &str) -> Vec<u64> {
    let found = json(history, server, 0);
    let fields = found["fields"].as_array().unwrap();
    let index = fields.iter().position(|name| name == field).unwrap();
    found["samples"].as_array().unwrap().iter().map(|sample| sample[index].as_u64().unwrap()).collect()
}

#[test]
fn a_sample_holds_what_happened_since_the_one_before() {
    let (mut server, mut history) = (server(), History::new());
    server.engine_mut().metrics.called(VerbId::Get);
    history.tick(&mut server, at(0));
    for _ in 0..7 {
        server.engine_mut().metrics.called(VerbId::Set);
        server.engine_mut().metrics.record_latency(VerbId::Set, 3);
    }
    server.engine_mut().metrics.counters.received_bytes += 70;
    history.tick(&mut server, at(999));
    assert_eq!(json(&history, &server, 0)["samples"].as_array().unwrap().len(), 0, "not due");
    history.tick(&mut server, at(1_000));
    server.engine_mut().metrics.called(VerbId::Get);
    server.engine_mut().metrics.counters.received_bytes += 1;
    history.tick(&mut server, at(2_500));
    assert_eq!(column(&history, &server, "number"), [1, 2]);
    assert_eq!(column(&history, &server, "at_ms"), [1_000, 2_500]);
    assert_eq!(column(&history, &server, "span_ms"), [1_000, 1_500]);
    assert_eq!(column(&history, &server, "requests"), [7, 1]);
    assert_eq!(column(&history, &server, "tcp_received_bytes"), [70, 1]);
    // Of 2.048 to 4.096 µs, half way.
    assert_eq!(column(&history, &server, "p50_ns"), [2_925, 0]);
    let found = json(&history, &server, 0);
    assert_eq!(found["samples"][0].as_array().unwrap().last().unwrap()["set"], 7);
    assert_eq!(found["samples"][1].as_array().unwrap().last().unwrap()["get"], 1);
    assert_eq!(found["samples"][0].as_array().unwrap().len(), found["fields"].as_array().unwrap().len());
    // CONFIG RESETSTAT: what was counted since then, and no giant number.
    server.engine_mut().metrics.reset();
    server.engine_mut().metrics.called(VerbId::Get);
    history.tick(&mut server, at(4_000));
    assert_eq!(column(&history, &server, "requests"), [7, 1, 1]);
}

#[test]
fn an_idle_server_is_not_woken() {
    let (mut server, mut history) = (server(), History::new());
    assert_eq!(history.next_deadline(&server), None);
    history.tick(&mut server, at(0));
    assert_eq!(history.next_deadline(&server), None);
    server.engine_mut().metrics.counters.received_bytes += 1;
    assert_eq!(history.next_deadline(&server), Some(Millis(1_000)));
    history.tick(&mut server, at(1_000));
    // One more, so that the end of the work shows.
    assert_eq!(history.next_deadline(&server), Some(Millis(2_000)));
    history.tick(&mut server, at(2_000));
    assert_eq!(history.next_deadline(&server), None);
    history.tick(&mut server, at(100_000));
    assert_eq!(column(&history, &server, "span_ms"), [1_000, 1_000, 98_000]);
    assert_eq!(history.next_deadline(&server), None);
}

/// Of the program as it is shipped: a verb more has counters more.
#[cfg(feature = "scripts")]
#[test]
fn the_page_says_what_five_minutes_take() {
    let page = include_str!("../../../docs/metrics.md");
    let reserved = format!("{SAMPLES_MAX} of them in {} KiB", History::MEMORY_BYTES.div_ceil(1024));
    assert!(page.contains(&reserved), "docs/metrics.md should say: {reserved}");
}

#[test]
fn five_minutes_are_kept_in_memory_that_does_not_grow() {
    let (mut server, mut history) = (server(), History::new());
    let capacity = history.samples.capacity();
    for second in 0..=SAMPLES_MAX as u64 + 50 {
        history.tick(&mut server, at(second * 1_000));
    }
    let numbers = column(&history, &server, "number");
    assert_eq!((numbers.len(), numbers[0]), (SAMPLES_MAX, 51));
    assert!(numbers.is_sorted());
    assert_eq!((history.samples.len(), history.samples.capacity()), (SAMPLES_MAX, capacity));
    assert!(capacity * size_of::<Sample>() <= History::MEMORY_BYTES);
    let newest = json(&history, &server, 349);
    assert_eq!((newest["samples"].as_array().unwrap().len(), &newest["more"]), (1, &false.into()));
    for after in [350, 351, u64::MAX] {
        assert_eq!(json(&history, &server, after)["samples"].as_array().unwrap().len(), 0, "{after}");
    }
}

#[test]
fn the_longest_samples_come_in_parts_and_none_is_lost() {
    let (server, mut history) = (server(), History::new());
    let longest = Sample {
        at: Millis(u64::MAX),
        span_ms: u64::MAX,
        counts: Counts { requests: u64::MAX, busy_us: u64::MAX, ..Counts::default() },
        gauges: Gauges { keys: u64::MAX, ..Gauges::default() },
        verbs: [(0, u64::MAX); VERBS_KEPT],
        ..Sample::default()
    };
    (0..SAMPLES_MAX).for_each(|_| history.push(longest));
    let (mut after, mut parts) = (0, 0);
    loop {
        let part = json(&history, &server, after);
        let samples = part["samples"].as_array().unwrap();
        assert_eq!(samples[0][0].as_u64(), Some(after + 1));
        after += samples.len() as u64;
        parts += 1;
        if part["more"] == false {
            break;
        }
    }
    assert_eq!(after, SAMPLES_MAX as u64);
    assert!(parts > 1);
}

#[test]
fn a_sample_of_the_largest_numbers_fits_its_bound() {
    let name = VERBS.iter().map(|verb| verb.name.len()).max().unwrap();
    let numbers = 3 + Counts::NAMES.len() + Gauges::NAMES.len() + 2;
    assert!(numbers * 21 + VERBS_KEPT * (name + 24) + 8 <= SAMPLE_TEXT_BYTES);
}

#[test]
fn quantiles_lie_on_a_line_within_their_bucket() {
    assert_eq!(quantile_ns(&[(1024, 0), (2048, 0)], 500), 0);
    assert_eq!(quantile_ns(&[(1024, 10), (2048, 0)], 500), 512);
    assert_eq!(quantile_ns(&[(1024, 0), (2048, 4)], 500), 1536);
    assert_eq!(quantile_ns(&[(1024, 1), (2048, 99)], 990), 1024 + 1024 * 98 / 99);
    assert_eq!(quantile_ns(&[(1024, u64::MAX / 2), (2048, u64::MAX / 2)], 990), 2027);
}
