//! What DUMP answers and RESTORE takes: each other's, Redis's own, and what only looks like it.

use crate::engine::testing::{Bench, START};
use crate::wire::crc64::crc64;

/// The value of a bulk reply.
fn bulk(reply: &[u8]) -> Vec<u8> {
    let start = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    reply[start..reply.len() - 2].to_vec()
}

/// A payload of this body, with version and check sum.
fn payload(body: &[u8]) -> Vec<u8> {
    let mut bytes = [body, &[10, 0]].concat();
    bytes.extend(crc64(0, &bytes).to_le_bytes());
    bytes
}

#[test]
fn every_length_comes_back_as_it_was() {
    let mut bench = Bench::new();
    for len in [0, 1, 20, 63, 64, 8_191, 8_192, 8_193, 16_383, 16_384, 70_000, 1_300_000] {
        let value: Vec<u8> = (0..len as u32).map(|at| (at.wrapping_mul(40_503) >> 7) as u8).collect();
        bench.run_args(&[b"SET", b"k", &value]);
        let dumped = bulk(&bench.run_args(&[b"DUMP", b"k"]));
        assert_eq!(bench.run_args(&[b"RESTORE", b"l", b"0", &dumped, b"REPLACE"]), b"+OK\r\n", "{len}");
        assert_eq!(bulk(&bench.run_args(&[b"GET", b"l"])), value, "{len}");
    }
    bench.run("FLUSHALL");
    while bench.engine.store.maintain(crate::time::Millis(START), 100) {}
    assert_eq!(bench.engine.store.large_count(), 0);
}

#[test]
fn numbers_are_dumped_as_redis_does() {
    let mut bench = Bench::new();
    // Recorded from Redis 7.0.15.
    let cases: [(&str, &[u8]); 6] = [
        ("5", b"\x00\xc0\x05\n\x00c/_f\x83/\xb3Q"),
        ("300", b"\x00\xc1,\x01\n\x00\x95Ba\xf2e\x82\\\x10"),
        ("70000", b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5"),
        ("5000000000", b"\x00\n5000000000\n\x00i\xa9\x0f\xd5~\x0f\xf4%"),
        ("007", b"\x00\x03007\n\x00rX\xe2{Li\xba\xd9"),
        ("ohmytext", b"\x00\x08ohmytext\n\x00\xb6]\xeb\xe1\x8c\x03\xed\x88"),
    ];
    for (value, dumped) in cases {
        bench.run_args(&[b"SET", b"k", value.as_bytes()]);
        assert_eq!(bulk(&bench.run_args(&[b"DUMP", b"k"])), dumped, "{value}");
        assert_eq!(bench.run_args(&[b"RESTORE", b"l", b"0", dumped, b"REPLACE"]), b"+OK\r\n");
        assert_eq!(bulk(&bench.run_args(&[b"GET", b"l"])), value.as_bytes());
    }
}

/// Bytes packed as literals, and a long run that refers to them again and again.
fn packed(literals: usize, again: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut packed, mut value) = (Vec::new(), Vec::new());
    for at in 0..literals {
        let bytes: Vec<u8> = (0..32).map(|byte| (at * 31 + byte * 7) as u8).collect();
        packed.push(31);
        packed.extend_from_slice(&bytes);
        value.extend_from_slice(&bytes);
    }
    for at in 0..again {
        let (len, back) = (264, (1 + at * 37 % 8_192).min(value.len()));
        packed.extend([0xe0 | ((back - 1) >> 8) as u8, (len - 9) as u8, (back - 1) as u8]);
        let start = value.len() - back;
        (0..len).for_each(|byte| value.push(value[start + byte]));
    }
    let mut body = vec![0, 0xc3, 0x80];
    body.extend((packed.len() as u32).to_be_bytes());
    body.push(0x80);
    body.extend((value.len() as u32).to_be_bytes());
    body.extend_from_slice(&packed);
    (body, value)
}

#[test]
fn packed_values_are_unpacked_whatever_their_length() {
    let mut bench = Bench::new();
    for (literals, again) in [(1, 0), (3, 20), (256, 0), (300, 100), (300, 6_000), (4_000, 3_000)] {
        let (body, value) = packed(literals, again);
        let reply = bench.run_args(&[b"RESTORE", b"k", b"0", &payload(&body), b"REPLACE"]);
        assert_eq!(reply, b"+OK\r\n", "{literals} {again}");
        assert_eq!(bulk(&bench.run_args(&[b"GET", b"k"])), value, "{literals} {again}");
    }
}

#[test]
fn what_is_no_string_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.run("SET k old");
    let before = bench.engine.store.large_count();
    let (good, _) = packed(300, 100);
    let mut truncated = good.clone();
    truncated.truncate(good.len() - 1);
    let mut longer = good.clone();
    longer[11] ^= 1;
    let bodies: [&[u8]; 12] = [
        b"",
        b"\x01\x03abc",
        b"\x00",
        b"\x00\x04abc",
        b"\x00\xc0",
        b"\x00\xc4\x01",
        b"\x00\x82aaaa",
        b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        // Packed: promises more than so few bytes make, refers to nothing, makes less than it promises.
        b"\x00\xc3\x03\x80\x20\x00\x00\x00\xe0\xff\x00",
        b"\x00\xc3\x02\x03\x20\x00",
        b"\x00\xc3\x02\x03\x00a",
        &truncated,
    ];
    for body in bodies.into_iter().chain([&longer[..]]) {
        let reply = bench.run_args(&[b"RESTORE", b"k", b"0", &payload(body), b"REPLACE"]);
        assert_eq!(reply, b"-ERR Bad data format\r\n", "{body:?}");
    }
    let mut wrong_sum = payload(b"\x00\x03abc");
    wrong_sum[3] ^= 1;
    let mut from_the_future = [&b"\x00\x03abc"[..], &[81, 0]].concat();
    from_the_future.extend(crc64(0, &from_the_future).to_le_bytes());
    for bytes in [&b""[..], b"123456789", &wrong_sum, &from_the_future] {
        let reply = bench.run_args(&[b"RESTORE", b"k", b"0", bytes, b"REPLACE"]);
        assert_eq!(reply, b"-ERR DUMP payload version or checksum are wrong\r\n");
    }
    assert_eq!(bench.run("GET k"), "$3\r\nold\r\n");
    assert_eq!(bench.engine.store.large_count(), before);
}

#[test]
fn times_to_live_count_from_now_or_from_the_epoch() {
    let mut bench = Bench::new();
    let good = payload(b"\x00\x03abc");
    let restore = |bench: &mut Bench, ttl: &str, option: &[u8]| {
        let reply = bench.run_args(&[b"RESTORE", b"k", ttl.as_bytes(), &good, b"REPLACE", option]);
        assert_eq!(reply, b"+OK\r\n");
        bench.run("PTTL k")
    };
    assert_eq!(restore(&mut bench, "0", b"REPLACE"), ":-1\r\n");
    assert_eq!(restore(&mut bench, "5000", b"REPLACE"), ":5000\r\n");
    assert_eq!(restore(&mut bench, &(START + 7).to_string(), b"ABSTTL"), ":7\r\n");
    // A time that has passed: what was there is gone, and nothing comes.
    assert_eq!(restore(&mut bench, "1", b"ABSTTL"), ":-2\r\n");
    let reply = bench.run_args(&[b"RESTORE", b"k", b"9223372036854775807", &good]);
    assert_eq!(reply, b"-ERR invalid expire time in 'restore' command\r\n");
}

#[test]
fn fields_that_have_expired_are_not_dumped() {
    let mut bench = Bench::new();
    // Short, short with a long value, and in pages.
    for (count, value_len) in [(9, 1), (9, 9_000), (3_000, 1)] {
        let value = vec![b'v'; value_len];
        for number in 0..count {
            let (field, ms) = (format!("f{number}"), ["5", "90000"][number % 3 / 2]);
            let (field, ms) = (field.as_bytes(), ms.as_bytes());
            let args = [&b"HSETEX"[..], b"h", b"PX", ms, b"FIELDS", b"1", field, &value];
            assert_eq!(bench.run_args(&args), b":1\r\n");
        }
        bench.now += 10;
        let dumped = bulk(&bench.run_args(&[b"DUMP", b"h"]));
        assert_eq!(bench.run("HLEN h"), format!(":{count}\r\n"), "they are not collected yet");
        assert_eq!(bench.run_args(&[b"RESTORE", b"r", b"0", &dumped, b"REPLACE"]), b"+OK\r\n");
        assert_eq!(bench.run("HLEN r"), format!(":{}\r\n", count / 3));
        for number in 0..9 {
            let is_live = number % 3 == 2;
            assert_eq!(bench.run(&format!("HEXISTS r f{number}")), format!(":{}\r\n", u8::from(is_live)));
        }
        let left = bulk(&bench.run_args(&[b"HGET", b"r", b"f2"]));
        assert_eq!(left, value);
        bench.now += 100_000;
        assert_eq!(bench.run("DUMP h"), bench.run("DUMP nothing"), "all have expired");
        bench.run("DEL h");
    }
    bench.run("FLUSHALL");
    while bench.engine.store.maintain(crate::time::Millis(bench.now), 100) {}
    assert_eq!(bench.engine.store.large_count(), 0);
}
