//! DUMP and RESTORE of hashes and sets: each other's, what Redis wrote, what only looks like it, and what is long.

use crate::engine::meter::TURN_UNITS;
use crate::engine::testing::{Bench, START};
use crate::limits::MIB;
use crate::store::StoreConfig;
use crate::time::Millis;
use crate::wire::crc64::crc64;
use proptest::prelude::*;

mod field_times;

/// The value of a bulk reply.
fn bulk(reply: &[u8]) -> Vec<u8> {
    assert_eq!(reply[0], b'$', "{}", reply.escape_ascii());
    let start = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    reply[start..reply.len() - 2].to_vec()
}

/// The strings of an array's reply.
fn strings(reply: &[u8]) -> Vec<Vec<u8>> {
    let line_end = |from: usize| from + reply[from..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let (mut at, mut strings) = (line_end(0), Vec::new());
    while at < reply.len() {
        let start = line_end(at);
        let len: usize = std::str::from_utf8(&reply[at + 1..start - 2]).unwrap().parse().unwrap();
        strings.push(reply[start..start + len].to_vec());
        at = start + len + 2;
    }
    strings
}

/// A payload of this body, with version and check sum.
fn payload(body: &[u8]) -> Vec<u8> {
    let mut bytes = [body, &[10, 0]].concat();
    bytes.extend(crc64(0, &bytes).to_le_bytes());
    bytes
}

fn large_bench() -> Bench {
    let store = StoreConfig { memory_bytes: 96 * MIB, ..StoreConfig::default() };
    Bench::with(crate::config::ServerOptions::default(), store)
}

/// Nothing is left in a store whose keys are gone.
fn assert_empty(bench: &mut Bench) {
    bench.run("FLUSHALL");
    while bench.engine.store.maintain(Millis(START), 100) {}
    assert_eq!(bench.engine.store.large_count(), 0);
    bench.engine.store.invariants();
}

fn add(bench: &mut Bench, verb: &[u8], items: &[Vec<u8>]) {
    for chunk in items.chunks(500) {
        let mut args: Vec<&[u8]> = vec![verb, b"k"];
        args.extend(chunk.iter().map(Vec::as_slice));
        assert_eq!(bench.run_args(&args)[0], b':');
    }
}

/// DUMP of `k` and RESTORE as `l` give the same; how `k` is listed.
fn comes_back(bench: &mut Bench, list: &str, is_ordered: bool) -> Vec<Vec<u8>> {
    let dumped = bulk(&bench.run_args(&[b"DUMP", b"k"]));
    assert_eq!(bench.run_args(&[b"RESTORE", b"l", b"0", &dumped, b"REPLACE"]), b"+OK\r\n");
    let [mut before, mut after] =
        ["k", "l"].map(|key| strings(&bench.run_args(&[list.as_bytes(), key.as_bytes()])));
    let listed = before.clone();
    if !is_ordered {
        before.sort();
        after.sort();
    }
    assert!(before == after, "{} strings, {} came back", before.len(), after.len());
    assert_eq!(bench.run("TYPE k"), bench.run("TYPE l"));
    // A hash whose fields had times and have none any more is dumped as one that never had.
    let [was, is] = ["k", "l"].map(|key| bench.run(&format!("OBJECT ENCODING {key}")));
    assert!(was == is || (was, is) == ("$10\r\nlistpackex\r\n".into(), "$8\r\nlistpack\r\n".into()));
    assert_eq!(bulk(&bench.run_args(&[b"DUMP", b"k"])).len(), dumped.len());
    listed
}

#[test]
fn every_length_comes_back_as_it_was() {
    let mut bench = large_bench();
    for len in [1, 2, 63, 64, 127, 128, 129, 512, 513, 3_000] {
        let fields: Vec<Vec<u8>> = (0..2 * len).map(|at| format!("{at:04}").into_bytes()).collect();
        add(&mut bench, b"HSET", &fields);
        let listed = comes_back(&mut bench, "HGETALL", len <= 128);
        assert_eq!(listed.len(), 2 * len);
        bench.run("DEL k");
        let numbers: Vec<Vec<u8>> =
            (0..len as i64).map(|at| (at * 37 - len as i64).to_string().into_bytes()).collect::<Vec<_>>();
        add(&mut bench, b"SADD", &numbers);
        assert_eq!(comes_back(&mut bench, "SMEMBERS", len <= 128).len(), len);
        bench.run("DEL k");
    }
    assert_empty(&mut bench);
}

#[test]
fn long_fields_and_values_come_back() {
    let mut bench = large_bench();
    for lens in [&[0, 5_000][..], &[100_000], &[1, 8_192, 1_300_000, 20, 70_000]] {
        for field_len in [3, 2_000, 32_768] {
            let mut items = Vec::new();
            for (index, len) in lens.iter().enumerate() {
                let mut field = vec![b'f'; field_len];
                field[0] = index as u8;
                items.push(field);
                items.push((0..*len as u32).map(|at| (at.wrapping_mul(40_503) >> 7) as u8).collect());
            }
            for item in items.chunks(2) {
                add(&mut bench, b"HSET", item);
            }
            comes_back(&mut bench, "HGETALL", false);
            bench.run("DEL k");
        }
    }
    assert_empty(&mut bench);
}

/// What Redis 7.0.15 dumped, and a ziplist, as versions before it wrote them, that it restores.
const FROM_REDIS: [(&[u8], &str, &[&str]); 7] = [
    (
        b"\x0b\x0e\x02\x00\x00\x00\x03\x00\x00\x00\xd4\xfe\x01\x00\x03\x00\n\x00\xbb\xbey\xca\xd0\xe5\t\x91",
        "SMEMBERS",
        &["-300", "1", "3"],
    ),
    (
        b"\x0b\x10\x04\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00p\x11\x01\x00\n\x00'5Cn\xfdfV\xc4",
        "SMEMBERS",
        &["1", "70000"],
    ),
    (
        b"\x0b\x18\x08\x00\x00\x00\x02\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\xf2\x05*\x01\x00\x00\x00\n\x00|\\&\xb4nV\xfeb",
        "SMEMBERS",
        &["-1", "5000000000"],
    ),
    (b"\x02\x03\x01b\xc0\x0c\x01a\n\x00\x94&\x9e\x95]\x19\xeax", "SMEMBERS", &["b", "12", "a"]),
    (
        b"\x10\xc3:@s\x1fs\x00\x00\x00\n\x00\x81f\x02\x81v\x02\x81n\x02\xc1,\x02\x83neg\x04\xdf\xff\x02\x83big\x04\xf4\x04\x00\xf2\x05*\x01 #\t\t\x84long\x05\xe0@x\xe06\x00\x01B\xff\n\x00+\xe0,\xe3\xfa\xac\xc9s",
        "HGETALL",
        &["f", "v", "n", "300", "neg", "-1", "big", "5000000000", "long", X64],
    ),
    (
        b"\x04\x02\xc3\t@F\x01aa\xe09\x00\x01aa\xc0\x05\x01f\xc3\t@d\x01vv\xe0W\x00\x01vv\n\x00\x9f\xd15\xef.\xa5_X",
        "HGETALL",
        &[A70, "5", "f", V100],
    ),
    (
        b"\r@RR\x00\x00\x00N\x00\x00\x00\x10\x00\x00\x01f\x03\x01v\x03\x01n\x03\xc0,\x01\x04\x03neg\x05\xfe\xff\x03\x04five\x06\xf6\x02\x03big\x05\xe0\x00\xf2\x05*\x01\x00\x00\x00\n\x01m\x03\xf0\x90\xee\xfe\x05\x01t\x03\xd0\x00\x00\x00@\x06\x05after\x07\x01y\xff\t\x00\x9dQ\x1ca\xd1E\x9eK",
        "HGETALL",
        &["f", "v", "n", "300", "neg", "-1", "five", "5", "big", "5000000000", "m", "-70000", "t", "1073741824", "after", "y"],
    ),
];
const X64: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
const A70: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const V100: &str =
    "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

#[test]
fn what_redis_dumped_is_restored_in_its_order() {
    let mut bench = Bench::new();
    for (dumped, list, expected) in FROM_REDIS {
        assert_eq!(bench.run_args(&[b"RESTORE", b"k", b"0", dumped, b"REPLACE"]), b"+OK\r\n", "{expected:?}");
        let listed = strings(&bench.run_args(&[list.as_bytes(), b"k"]));
        let listed: Vec<&str> = listed.iter().map(|bytes| std::str::from_utf8(bytes).unwrap()).collect();
        assert_eq!(listed, expected);
        comes_back(&mut bench, list, true);
    }
}

/// A listpack of these elements, which are short.
fn listpack(items: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        bytes.push(0x80 | item.len() as u8);
        bytes.extend_from_slice(item.as_bytes());
        bytes.push(item.len() as u8 + 1);
    }
    let head = [&(bytes.len() as u32 + 7).to_le_bytes()[..], &(items.len() as u16).to_le_bytes()].concat();
    [&head, &bytes, &b"\xff"[..]].concat()
}

/// A string of less than 16 KiB as it stands in a payload.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&(0x4000 | bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// The same, packed by LZF as literals.
fn runs(bytes: &[u8]) -> Vec<u8> {
    let packed: Vec<u8> =
        bytes.chunks(32).flat_map(|chunk| [&[chunk.len() as u8 - 1], chunk].concat()).collect();
    let mut string = vec![0xc3, 0x80];
    string.extend((packed.len() as u32).to_be_bytes());
    string.push(0x80);
    string.extend((bytes.len() as u32).to_be_bytes());
    [string, packed].concat()
}

#[test]
fn listpacks_of_later_versions_and_long_ones_are_restored() {
    let mut bench = large_bench();
    let mut words: Vec<String> = (0..1_500).map(|index| format!("word-{index}")).collect();
    for count in [1, 4, 128, 129, 1_500] {
        let items: Vec<&str> = words[..count].iter().map(String::as_str).collect();
        let blob = listpack(&items);
        let mut unknown = blob.clone();
        unknown[4..6].fill(0xff);
        for form in [string(&blob[..blob.len().min(16_000)]), runs(&blob), runs(&unknown)] {
            if count == 1_500 && form[0] != 0xc3 {
                continue;
            }
            let body = [&[20], &form[..]].concat();
            let reply = bench.run_args(&[b"RESTORE", b"k", b"0", &payload(&body), b"REPLACE"]);
            assert_eq!(reply, b"+OK\r\n", "{count}");
            let mut listed = strings(&bench.run_args(&[b"SMEMBERS", b"k"]));
            listed.sort();
            let mut expected: Vec<Vec<u8>> = items.iter().map(|item| item.as_bytes().to_vec()).collect();
            expected.sort();
            assert_eq!(listed, expected);
        }
    }
    // A long value in LZF, which is filled in slices.
    words.truncate(0);
    let value: Vec<u8> = (0..200_000_u32).map(|at| (at.wrapping_mul(40_503) >> 9) as u8).collect();
    let body = [&[4, 2, 1, b'f'], &runs(&value)[..], &[1, b'g', 1, b'v']].concat();
    let reply = bench.run_args(&[b"RESTORE", b"k", b"0", &payload(&body), b"REPLACE"]);
    assert_eq!(reply, b"+OK\r\n");
    assert_eq!(bulk(&bench.run_args(&[b"HGET", b"k", b"f"])), value);
    assert_eq!(bulk(&bench.run_args(&[b"HGET", b"k", b"g"])), b"v");
    assert_empty(&mut bench);
}

#[test]
fn what_is_no_collection_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.run("SET k old");
    let long_field = [&[2, 1, 0x80, 0, 0, 0x80, 1][..], &vec![b'f'; 32_769]].concat();
    let reply = bench.run_args(&[b"RESTORE", b"k", b"0", &payload(&long_field), b"REPLACE"]);
    assert!(reply.starts_with(b"-ERR "), "{}", reply.escape_ascii());
    let twice: Vec<String> = (0..300).map(|index| format!("word-{}", index % 299)).collect();
    let twice: Vec<&str> = twice.iter().map(String::as_str).collect();
    let mut no_end = listpack(&["a", "b"]);
    *no_end.last_mut().unwrap() = 0;
    let mut wrong_tail = listpack(&["a", "b"]);
    wrong_tail[8] = 3;
    let mut wrong_count = listpack(&["a", "b"]);
    wrong_count[4] = 3;
    let of_set = |blob: &[u8]| [&[20], &string(blob)[..]].concat();
    let bodies: Vec<Vec<u8>> = vec![
        b"\x02\x00".to_vec(),
        b"\x02".to_vec(),
        b"\x02\xc0\x01".to_vec(),
        b"\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a".to_vec(),
        b"\x02\x02\x01a".to_vec(),
        b"\x02\x02\x01a\x01a".to_vec(),
        b"\x02\x01\x05a".to_vec(),
        b"\x04\x01\x01f".to_vec(),
        b"\x04\x02\x01f\x01v\x01f\x01w".to_vec(),
        b"\x04\x01\x01f\x81\x00\x00\x00\x00\xff\xff\xff\xff".to_vec(),
        b"\x04\x01\x01f\xc3\x02\x80\x7f\xff\xff\xff\x00a".to_vec(),
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x01\0".to_vec(),
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0".to_vec(),
        b"\x0b\x08\x02\0\0\0\0\0\0\0".to_vec(),
        b"\x0b\x00".to_vec(),
        b"\x10\xc3\x00\x00".to_vec(),
        b"\x10\xc3\x01\x00\x00".to_vec(),
        [&[16], &string(&listpack(&["f"]))[..]].concat(),
        [&[16], &string(&listpack(&["f", "v", "f", "w"]))[..]].concat(),
        of_set(&listpack(&[])),
        of_set(&listpack(&["a", "a"])),
        of_set(&listpack(&twice)),
        of_set(&no_end),
        of_set(&wrong_tail),
        of_set(&wrong_count),
        [&[20], &runs(&listpack(&twice))[..]].concat(),
        b"\x09\x01\xff".to_vec(),
        b"\x03\x01\x01a\x011".to_vec(),
    ];
    for body in bodies {
        let reply = bench.run_args(&[b"RESTORE", b"k", b"0", &payload(&body), b"REPLACE"]);
        assert_eq!(reply, b"-ERR Bad data format\r\n", "{}", body.escape_ascii());
    }
    assert_eq!(bench.run("GET k"), "$3\r\nold\r\n");
    assert_empty(&mut bench);
}

#[test]
fn others_wait_for_a_slice_of_a_long_collection_and_no_longer() {
    let mut bench = large_bench();
    let items: Vec<Vec<u8>> = (0..400_000).map(|at| format!("field-{at}").into_bytes()).collect();
    add(&mut bench, b"HSET", &items);
    let dumped = bulk(&bench.run_args(&[b"DUMP", b"k"]));
    assert!(bench.slices > 20, "{} slices", bench.slices);
    assert!(bench.worst_units <= 2 * u64::from(TURN_UNITS), "{} units", bench.worst_units);
    assert_eq!(bench.run_args(&[b"RESTORE", b"l", b"0", &dumped]), b"+OK\r\n");
    assert!(bench.slices > 500, "{} slices", bench.slices);
    assert!(bench.worst_units <= 2 * u64::from(TURN_UNITS), "{} units", bench.worst_units);
    assert_eq!(bench.run("HLEN l"), ":200000\r\n");
    // Who goes away leaves nothing behind.
    bench.leaves_midway = true;
    bench.run_args(&[b"DUMP", b"k"]);
    bench.run_args(&[b"RESTORE", b"m", b"0", &dumped]);
    bench.leaves_midway = false;
    assert_eq!(bench.run("EXISTS m"), ":0\r\n");
    // What is dumped is what it was at the beginning, whatever happens meanwhile.
    bench.between_slices = Some(|engine| {
        let delete = crate::mutation::Mutation::Delete { db: crate::mutation::Database(0), key: b"k" };
        engine.store.apply(&delete, Millis(START)).unwrap();
    });
    let again = bulk(&bench.run_args(&[b"DUMP", b"k"]));
    bench.between_slices = None;
    assert!(again == dumped);
    assert_empty(&mut bench);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a payload holds: an answer, nothing left behind, and what was taken can be dumped and taken again.
    #[test]
    fn hostile_payloads_are_answered(
        which in 0..FROM_REDIS.len() + 5,
        cut in 0..400_usize,
        flips in prop::collection::vec((0..400_usize, 1..=255_u8), 0..4),
    ) {
        let mut bench = Bench::new();
        let words: Vec<String> = (0..300).map(|index| format!("w{index}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut body = match which.checked_sub(FROM_REDIS.len()) {
            None => FROM_REDIS[which].0[..FROM_REDIS[which].0.len() - 10].to_vec(),
            Some(0) => [&[20], &string(&listpack(&words))[..]].concat(),
            Some(1) => [&[16], &runs(&listpack(&words))[..]].concat(),
            Some(2) => [&[4, 1, 1, b'f'], &runs(&[b'v'; 9_000])[..]].concat(),
            Some(3) => b"\x18\x7b\x68\xe5\xcf\x8b\x01\0\0\x02\x00\x01f\x01v\x05\x01g\x01w".to_vec(),
            _ => [&b"\x19\x7b\x68\xe5\xcf\x8b\x01\0\0"[..], &string(&listpack(&["f", "v"]))].concat(),
        };
        body.truncate(body.len() - if cut < 40 { cut.min(body.len()) } else { 0 });
        for (at, mask) in flips {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= mask;
            }
        }
        let reply = bench.run_args(&[b"RESTORE", b"k", b"0", &payload(&body)]);
        if reply == b"+OK\r\n" && bench.run("TYPE k") != "+string\r\n" {
            let list = if bench.run("TYPE k") == "+set\r\n" { "SMEMBERS" } else { "HGETALL" };
            comes_back(&mut bench, list, false);
        } else {
            prop_assert!(reply == b"+OK\r\n" || reply.starts_with(b"-ERR "), "{}", reply.escape_ascii());
        }
        assert_empty(&mut bench);
    }
}
