//! Times of fields in DUMP and RESTORE: bytes laid out by hand as Redis 7.4 writes them, each other's, and damaged ones.

use super::*;

/// Some fields, and a time behind [`START`] or none.
const FIELDS: [(&str, &str, Option<u64>); 4] = [
    ("late", "1", Some(90_000)),
    ("stays", "2", None),
    ("early", "3", Some(40_000)),
    ("last", "4", Some(90_001)),
];

/// A number as Redis lays lengths down.
fn length(number: u64) -> Vec<u8> {
    match number {
        0..0x40 => vec![number as u8],
        0x40..0x4000 => (0x4000 | number as u16).to_be_bytes().to_vec(),
        0x4000..=0xffff_ffff => [&[0x80][..], &(number as u32).to_be_bytes()].concat(),
        _ => [&[0x81][..], &number.to_be_bytes()].concat(),
    }
}

/// String by string: types 22 and 24.
fn plain(form: u8, first: u64, fields: &[(&str, &str, Option<u64>)]) -> Vec<u8> {
    let mut body = vec![form];
    if form == 24 {
        body.extend(first.to_le_bytes());
    }
    body.extend(length(fields.len() as u64));
    for (field, value, time) in fields {
        let base = if form == 24 { first - 1 } else { 0 };
        body.extend(length(time.map_or(0, |time| START + time - base)));
        for text in [field, value] {
            body.extend(length(text.len() as u64));
            body.extend_from_slice(text.as_bytes());
        }
    }
    body
}

/// A listpack of field, value and time.
fn triples(fields: &[(&str, &str, Option<u64>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (field, value, time) in fields {
        for text in [field, value] {
            bytes.push(0x80 | text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(text.len() as u8 + 1);
        }
        match time {
            None => bytes.extend([0, 1]),
            Some(time) => {
                bytes.push(0xf4);
                bytes.extend((START + time).to_le_bytes());
                bytes.push(9);
            }
        }
    }
    let count = 3 * fields.len() as u16;
    let head = [&(bytes.len() as u32 + 7).to_le_bytes()[..], &count.to_le_bytes()].concat();
    [&head, &bytes, &b"\xff"[..]].concat()
}

/// Types 23 and 25; `blob` is a string.
fn packed(form: u8, first: u64, blob: &[u8]) -> Vec<u8> {
    let first = if form == 25 { first.to_le_bytes().to_vec() } else { Vec::new() };
    [&[form][..], &first, blob].concat()
}

/// A payload of the version that has such layouts.
fn payload_12(body: &[u8]) -> Vec<u8> {
    let mut bytes = [body, &[12, 0]].concat();
    bytes.extend(crc64(0, &bytes).to_le_bytes());
    bytes
}

fn restore(bench: &mut Bench, payload: &[u8]) -> Vec<u8> {
    bench.run_args(&[b"RESTORE", b"k", b"0", payload, b"REPLACE"])
}

fn time_of(bench: &mut Bench, key: &str, field: &str) -> String {
    bench.run(&format!("HPEXPIRETIME {key} FIELDS 1 {field}"))
}

fn assert_fields(bench: &mut Bench, key: &str, fields: &[(&str, &str, Option<u64>)]) {
    assert_eq!(bench.run(&format!("HLEN {key}")), format!(":{}\r\n", fields.len()));
    for (field, value, time) in fields {
        let expected = format!("${}\r\n{value}\r\n", value.len());
        assert_eq!(bench.run(&format!("HGET {key} {field}")), expected, "{field}");
        let time = time.map_or("-1".to_owned(), |time| (START + time).to_string());
        assert_eq!(time_of(bench, key, field), format!("*1\r\n:{time}\r\n"), "{field}");
    }
}

#[test]
fn every_layout_of_redis_brings_its_times() {
    let mut bench = large_bench();
    let first = START + 40_000;
    let blob = triples(&FIELDS);
    let mut unknown = blob.clone();
    unknown[4..6].fill(0xff);
    let mut bodies = vec![plain(22, 0, &FIELDS), plain(24, first, &FIELDS)];
    for form in [23, 25] {
        bodies.extend([string(&blob), runs(&blob), runs(&unknown)].map(|blob| packed(form, first, &blob)));
    }
    for body in bodies {
        assert_eq!(restore(&mut bench, &payload_12(&body)), b"+OK\r\n", "{}", body.escape_ascii());
        assert_fields(&mut bench, "k", &FIELDS);
        // They expire when it is time.
        bench.now += 40_000;
        assert_eq!(bench.run("HEXISTS k early"), ":0\r\n");
        assert_eq!(bench.run("HEXISTS k late"), ":1\r\n");
        bench.now -= 40_000;
        bench.run("DEL k");
    }
    assert_empty(&mut bench);
}

#[test]
fn long_hashes_in_every_layout_bring_their_times() {
    let mut bench = large_bench();
    let names: Vec<String> = (0..900).map(|index| format!("field-{index}")).collect();
    let fields: Vec<(&str, &str, Option<u64>)> = names
        .iter()
        .zip(0..)
        .map(|(name, index)| (name.as_str(), "v", (index % 3 > 0).then_some(50_000 + index)))
        .collect();
    let blob = triples(&fields);
    for body in [
        plain(22, 0, &fields),
        plain(24, START + 50_000, &fields),
        packed(23, 0, &runs(&blob)),
        packed(25, START + 50_000, &runs(&blob)),
    ] {
        assert_eq!(restore(&mut bench, &payload_12(&body)), b"+OK\r\n");
        assert_fields(&mut bench, "k", &fields);
    }
    // With a value that is filled in slices between others.
    let value: Vec<u8> = (0..200_000_u32).map(|at| (at.wrapping_mul(40_503) >> 9) as u8).collect();
    let short = plain(24, START, &[("g", "v", Some(7))]);
    let body = [&[24], &START.to_le_bytes()[..], &[2, 6, 1, b'f'], &runs(&value)[..], &short[10..]].concat();
    assert_eq!(restore(&mut bench, &payload_12(&body)), b"+OK\r\n");
    assert_eq!(bulk(&bench.run_args(&[b"HGET", b"k", b"f"])), value);
    assert_eq!(time_of(&mut bench, "k", "f"), format!("*1\r\n:{}\r\n", START + 5));
    assert_eq!(time_of(&mut bench, "k", "g"), format!("*1\r\n:{}\r\n", START + 7));
    assert_empty(&mut bench);
}

#[test]
fn what_is_dumped_with_times_comes_back_with_them() {
    let mut bench = large_bench();
    // Short, short with a long value, in pages.
    for (count, len) in [(3, 1), (9, 9_000), (3_000, 1)] {
        let value = "v".repeat(len);
        for index in 0..count {
            let field = format!("f{index}");
            match index % 3 {
                0 => bench.run(&format!("HSET k {field} {value}")),
                rest => {
                    let ms = 10_000 + rest * 5_000 + index;
                    bench.run(&format!("HSETEX k PX {ms} FIELDS 1 {field} {value}"))
                }
            };
        }
        let dumped = bulk(&bench.run_args(&[b"DUMP", b"k"]));
        assert_eq!(dumped[0], 24);
        assert_eq!(dumped[dumped.len() - 10..][..2], [12, 0]);
        assert_eq!(dumped[1..9], (START + 15_001).to_le_bytes(), "the first of the times");
        assert_eq!(bench.run_args(&[b"RESTORE", b"l", b"0", &dumped, b"REPLACE"]), b"+OK\r\n");
        assert_eq!(bench.run("HLEN l"), format!(":{count}\r\n"));
        for index in 0..count {
            let field = format!("f{index}");
            let time = time_of(&mut bench, "k", &field);
            assert_eq!(time_of(&mut bench, "l", &field), time);
            assert_eq!(time == "*1\r\n:-1\r\n", index % 3 == 0, "{field} {time}");
            assert!(bench.run(&format!("HGET l {field}")) == bench.run(&format!("HGET k {field}")));
        }
        // Once no field has a time any more, every Redis loads it again.
        for index in 0..count {
            bench.run(&format!("HPERSIST k FIELDS 1 f{index}"));
        }
        let dumped = bulk(&bench.run_args(&[b"DUMP", b"k"]));
        assert_eq!((dumped[0], &dumped[dumped.len() - 10..][..2]), (4, &[10, 0][..]));
        bench.run("DEL k l");
    }
    assert_empty(&mut bench);
}

#[test]
fn a_short_hash_is_dumped_as_it_is_laid_out() {
    let mut bench = Bench::new();
    for (field, value, time) in FIELDS {
        match time {
            None => bench.run(&format!("HSET k {field} {value}")),
            Some(time) => bench.run(&format!("HSETEX k PX {time} FIELDS 1 {field} {value}")),
        };
    }
    let dumped = bulk(&bench.run_args(&[b"DUMP", b"k"]));
    // Values that are numbers are written as such.
    let mut expected = [&[24][..], &(START + 40_000).to_le_bytes(), &[4]].concat();
    for (field, value, time) in FIELDS {
        expected.extend(length(time.map_or(0, |time| time - 40_000 + 1)));
        expected.extend(length(field.len() as u64));
        expected.extend_from_slice(field.as_bytes());
        expected.extend([0xc0, value.as_bytes()[0] - b'0']);
    }
    assert_eq!(dumped, payload_12(&expected));
}

#[test]
fn fields_whose_time_has_come_are_not_there_after_restore() {
    let mut bench = Bench::new();
    let first = START - 50;
    let mut body = [&[24][..], &first.to_le_bytes(), &[2]].concat();
    body.extend(b"\x01\x01a\x01v\x00\x01b\x01v");
    assert_eq!(restore(&mut bench, &payload_12(&body)), b"+OK\r\n");
    assert_eq!(bench.run("HMGET k a b"), "*2\r\n$-1\r\n$1\r\nv\r\n");
    let mut all = [&[24][..], &first.to_le_bytes(), &[1]].concat();
    all.extend(b"\x01\x01a\x01v");
    assert_eq!(restore(&mut bench, &payload_12(&all)), b"+OK\r\n");
    assert_eq!(bench.run("HGETALL k"), "*0\r\n");
    while bench.engine.store.maintain(Millis(bench.now), 100) {}
    assert_eq!(bench.run("EXISTS k"), ":0\r\n");
}

#[test]
fn damaged_times_are_refused_and_change_nothing() {
    let mut bench = Bench::new();
    bench.run("SET k old");
    let (first, blob) = (START + 40_000, triples(&FIELDS));
    let whole = [
        plain(22, 0, &FIELDS),
        plain(24, first, &FIELDS),
        packed(23, 0, &string(&blob)),
        packed(25, first, &string(&blob)),
        packed(25, first, &runs(&blob)),
    ];
    for body in &whole {
        for len in 1..body.len() {
            let reply = restore(&mut bench, &payload_12(&body[..len]));
            assert_eq!(reply, b"-ERR Bad data format\r\n", "{} of {}", len, body.escape_ascii());
        }
    }
    let latest: u64 = (1 << 48) - 1;
    let timed = |number: u64| [&b"\x16\x01"[..], &length(number), b"\x01f\x01v"].concat();
    let behind =
        |number: u64| [&b"\x18"[..], &latest.to_le_bytes(), &[1], &length(number), b"\x01f\x01v"].concat();
    let mut as_text = triples(&[("f", "v", None)]);
    // The time is a string.
    as_text.splice(as_text.len() - 3..as_text.len() - 1, *b"\x815\x02");
    as_text[0] += 1;
    let mut negative = triples(&[("f", "v", Some(0))]);
    let end = negative.len();
    negative[end - 10..end - 2].fill(0xff);
    let bodies = [
        timed(latest + 1),
        timed(u64::MAX),
        behind(2),
        behind(u64::MAX),
        packed(25, first, &string(&as_text)),
        packed(23, 0, &string(&negative)),
        // A time that is missing, a field that comes twice, no fields.
        packed(25, first, &string(&listpack(&["f", "v"]))),
        plain(24, first, &[("f", "v", None), ("f", "w", Some(40_000))]),
        plain(24, first, &[]),
        // Lengths that lead outside.
        b"\x16\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01f\x01v".to_vec(),
        b"\x16\x01\xc0\x05\x01f\x01v".to_vec(),
    ];
    for body in bodies {
        let reply = restore(&mut bench, &payload_12(&body));
        assert_eq!(reply, b"-ERR Bad data format\r\n", "{}", body.escape_ascii());
    }
    assert_eq!(bench.run("GET k"), "$3\r\nold\r\n");
    for body in [timed(latest), behind(1)] {
        assert_eq!(restore(&mut bench, &payload_12(&body)), b"+OK\r\n");
        assert_eq!(time_of(&mut bench, "k", "f"), format!("*1\r\n:{latest}\r\n"));
    }
    // Valkey 9 has another layout of this type.
    let mut valkey = [&timed(latest)[..], &[80, 0]].concat();
    valkey.extend(crc64(0, &valkey).to_le_bytes());
    assert!(restore(&mut bench, &valkey).starts_with(b"-ERR Hashes whose fields expire cannot be restored"));
}
