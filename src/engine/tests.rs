//! Transcripts: what a client says and what Redis 7.0.15 answered, recorded; the engine must answer the same bytes. And
//! what transcripts cannot hold: Pannier's own verbs, large values, limits.

use super::testing::Bench;

mod metered;

/// Plays a transcript: lines `> command`, each followed by the escaped reply.
fn play(name: &str, transcript: &str) {
    let mut bench = Bench::new();
    let mut command = "";
    let mut wrong = String::new();
    for line in transcript.lines() {
        if let Some(text) = line.strip_prefix("> ") {
            command = text;
        } else if !line.starts_with('#') {
            let reply = bench.run_bytes(format!("{command}\r\n").as_bytes()).escape_ascii().to_string();
            // HELLO's reply holds version and id.
            if reply != line && !command.starts_with("HELLO 3") && command != "HELLO 2" {
                wrong += &format!("> {command}\n  Redis:   {line}\n  Pannier: {reply}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{wrong}");
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(stringify!($name), include_str!(concat!("transcripts/", stringify!($name), ".txt")));
        })*
    };
}

transcripts! { counters expire keys server strings }

const KIB: usize = 1024;

/// Bytes that tell where they stand.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7 % 251) as u8).collect()
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn put_and_delete_are_set_and_del() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("PUT k v EX 100"), "+OK\r\n");
    assert_eq!(bench.run("TTL k"), ":100\r\n");
    assert_eq!(bench.run("PUT k w NX GET"), "$1\r\nv\r\n");
    assert_eq!(bench.run("PUT k"), "-ERR wrong number of arguments for 'put' command\r\n");
    assert_eq!(bench.run("PUT k v EX 0"), "-ERR invalid expire time in 'put' command\r\n");
    assert_eq!(bench.run("DELETE k k nokey"), ":1\r\n");
    assert_eq!(bench.run("GET k"), "$-1\r\n");
}

#[test]
fn compare_and_set_and_compare_and_delete() {
    let mut bench = Bench::new();
    assert_eq!(bench.run("SET k v IFEQ x"), "$-1\r\n");
    assert_eq!(bench.run("EXISTS k"), ":0\r\n");
    bench.run("SET k v");
    assert_eq!(bench.run("SET k w IFEQ x"), "$-1\r\n");
    assert_eq!(bench.run("SET k w IFEQ x GET"), "$1\r\nv\r\n");
    assert_eq!(bench.run("SET k w IFEQ v EX 100"), "+OK\r\n");
    assert_eq!(bench.run("SET k x GET IFEQ w KEEPTTL"), "$1\r\nw\r\n");
    assert_eq!(bench.run("TTL k"), ":100\r\n");
    for line in ["SET k v IFEQ", "SET k v NX IFEQ x", "SET k v IFEQ x NX", "SET k v XX IFEQ x"] {
        assert_eq!(bench.run(line), "-ERR syntax error\r\n", "{line}");
    }
    assert_eq!(bench.run("DELIFEQ k w"), ":0\r\n");
    assert_eq!(bench.run("DELIFEQ k x"), ":1\r\n");
    assert_eq!(bench.run("DELIFEQ k x"), ":0\r\n");
}

#[test]
fn time_runs_out() {
    let mut bench = Bench::new();
    bench.run("SET k v PX 1500");
    assert_eq!(bench.run("PTTL k"), ":1500\r\n");
    bench.now += 1499;
    assert_eq!(bench.run("GET k"), "$1\r\nv\r\n");
    assert_eq!(bench.run("TTL k"), ":0\r\n");
    bench.now += 1;
    assert_eq!(bench.run("GET k"), "$-1\r\n");
    assert_eq!(bench.run("TTL k"), ":-2\r\n");
    bench.run("SET k v EX 10");
    assert_eq!(bench.run("SETEX k 9223372036854775 v"), "-ERR invalid expire time in 'setex' command\r\n");
    assert_eq!(bench.run("EXPIRE k 9223372036854776"), "-ERR invalid expire time in 'expire' command\r\n");
    assert_eq!(bench.run("TIME"), "*2\r\n$10\r\n1700000001\r\n$6\r\n500123\r\n");
}

#[test]
fn large_values_come_and_go() {
    let mut bench = Bench::new();
    // Three sizes: into a record, a large one out of the buffer, a large one received as such.
    for len in [8 * KIB, 8 * KIB + 1, 300 * KIB] {
        let value = pattern(len);
        assert_eq!(bench.run_args(&[b"SET", b"k", &value]), b"+OK\r\n");
        assert_eq!(bench.run_args(&[b"GET", b"k"]), bulk(&value));
        assert_eq!(bench.run("STRLEN k"), format!(":{len}\r\n"));
        assert_eq!(bench.run("INCR k"), "-ERR value is not an integer or out of range\r\n");
        assert_eq!(bench.run("INCRBYFLOAT k 1"), "-ERR value is not a valid float\r\n");
        assert_eq!(bench.run("OBJECT ENCODING k"), "$3\r\nraw\r\n");
        assert_eq!(bench.run_args(&[b"SET", b"k", b"v", b"NX", b"GET"]), bulk(&value));
        assert_eq!(bench.run_args(&[b"GETSET", b"k", b"small"]), bulk(&value));
        assert_eq!(bench.run_args(&[b"SET", b"k", &value, b"GET", b"EX", b"100"]), bulk(b"small"));
        assert_eq!(bench.run("TTL k"), ":100\r\n");
        assert_eq!(bench.run_args(&[b"GETEX", b"k", b"PERSIST"]), bulk(&value));
        assert_eq!(bench.run_args(&[b"SETNX", b"k", &value]), b":0\r\n");
        assert_eq!(bench.run_args(&[b"DELIFEQ", b"k", b"x"]), b":0\r\n");
        assert_eq!(bench.run_args(&[b"SET", b"k", &value, b"IFEQ", &value]), b"+OK\r\n");
        assert_eq!(bench.run_args(&[b"COPY", b"k", b"other"]), b":1\r\n");
        assert_eq!(bench.run_args(&[b"DELIFEQ", b"k", &value]), b":1\r\n");
        assert_eq!(bench.run_args(&[b"GETDEL", b"other"]), bulk(&value));
        assert_eq!(bench.run_args(&[b"PSETEX", b"k", b"5", &value]), b"+OK\r\n");
        assert_eq!(bench.run_args(&[b"MSET", b"a", &value, b"b", b"2", b"c", &value]), b"+OK\r\n");
        let all = [b"*3\r\n".to_vec(), bulk(&value), bulk(b"2"), bulk(&value)].concat();
        assert_eq!(bench.run_args(&[b"MGET", b"a", b"b", b"c"]), all);
        assert_eq!(bench.run_args(&[b"MSETNX", b"d", &value, b"a", b"2"]), b":0\r\n");
        assert_eq!(bench.run_args(&[b"ECHO", &value]), bulk(&value));
        assert_eq!(bench.run_args(&[b"PING", &value]), bulk(&value));
        assert_eq!(bench.run("FLUSHALL"), "+OK\r\n");
    }
    nothing_is_left(&mut bench);
}

/// Every reference to a large value is gone, and their memory comes back.
fn nothing_is_left(bench: &mut Bench) {
    bench.run("FLUSHALL");
    while bench.engine.store.maintain(crate::time::Millis(bench.now), 1000) {}
    assert_eq!(bench.engine.store.memory().large, 0);
}

#[test]
fn a_large_argument_in_the_place_of_a_key_or_number_is_an_error() {
    let mut bench = Bench::new();
    let large = pattern(100 * KIB);
    assert_eq!(bench.run_args(&[b"SET", &large, b"v"]), b"-ERR argument too long for 'set' command\r\n");
    assert_eq!(
        bench.run_args(&[b"EXPIRE", b"k", &large]),
        b"-ERR value is not an integer or out of range\r\n"
    );
    assert_eq!(bench.run_args(&[b"SET", b"k", b"v", &large]), b"-ERR syntax error\r\n");
    let reply = bench.run_args(&[b"SET", b"k", b"v", b"EX", &large]);
    assert_eq!(reply, b"-ERR value is not an integer or out of range\r\n");
    assert_eq!(bench.run_args(&[b"DEL", &large]), b":0\r\n");
    assert_eq!(bench.run_args(&[b"MGET", &large]), b"*1\r\n$-1\r\n");
    assert_eq!(bench.run_args(&[b"KEYS", &large]), b"-ERR argument too long for 'keys' command\r\n");
    let large = vec![b'x'; 100 * KIB];
    let shown = "x".repeat(128);
    let reply = String::from_utf8(bench.run_args(&[b"CONFIG", &large])).unwrap();
    assert_eq!(reply, format!("-ERR unknown subcommand '{shown}'. Try CONFIG HELP.\r\n"));
    let reply = String::from_utf8(bench.run_args(&[b"NOSUCH", &large])).unwrap();
    assert_eq!(reply, format!("-ERR unknown command 'NOSUCH', with args beginning with: '{shown}' \r\n"));
    let reply = String::from_utf8(bench.run_args(&[&large])).unwrap();
    assert_eq!(reply, format!("-ERR unknown command '{shown}', with args beginning with: \r\n"));
    let key = pattern(65_000 + 500);
    let reply = String::from_utf8(bench.run_args(&[b"SET", &key, b"v"])).unwrap();
    assert_eq!(reply, "-ERR key of 65500 bytes is longer than the limit of 65472 bytes\r\n");
    nothing_is_left(&mut bench);
}

#[test]
fn a_part_of_a_large_value_is_read_from_a_full_store() {
    let mut bench = Bench::new();
    let value = pattern(200 * KIB);
    bench.run_args(&[b"SET", b"k", &value]);
    let mut count = 0;
    while bench.run_args(&[b"SET", format!("{count}").as_bytes(), &value[..2000]]) == b"+OK\r\n" {
        count += 1;
    }
    let before = (bench.engine.store.memory(), bench.engine.store.statistics().refused);
    assert_eq!(bench.run_args(&[b"GETRANGE", b"k", b"1", b"-2"]), bulk(&value[1..value.len() - 1]));
    let after = (bench.engine.store.memory(), bench.engine.store.statistics().refused);
    assert_eq!(before, after, "a read takes nothing of the store");
}

#[test]
fn parts_of_large_values() {
    let mut bench = Bench::new();
    let mut model = pattern(200 * KIB);
    bench.run_args(&[b"SET", b"k", &model]);
    for (start, end) in
        [(0, 0), (5, 8 * KIB), (1000, 150_000), (0, model.len() - 1), (70_000, model.len() - 1)]
    {
        let reply =
            bench.run_args(&[b"GETRANGE", b"k", start.to_string().as_bytes(), end.to_string().as_bytes()]);
        assert_eq!(reply, bulk(&model[start..=end]), "{start}..={end}");
    }
    // In the middle, past the end, small and large.
    let part = pattern(90 * KIB);
    for (offset, part) in [(10, &b"abc"[..]), (model.len() + 5, b"tail"), (50_000, &part), (250_000, &part)] {
        model.resize(model.len().max(offset + part.len()), 0);
        model[offset..offset + part.len()].copy_from_slice(part);
        let reply = bench.run_args(&[b"SETRANGE", b"k", offset.to_string().as_bytes(), part]);
        assert_eq!(reply, format!(":{}\r\n", model.len()).as_bytes());
        assert_eq!(bench.run_args(&[b"GET", b"k"]), bulk(&model), "{offset}");
    }
    for part in [&b"x"[..], &part] {
        model.extend_from_slice(part);
        assert_eq!(bench.run_args(&[b"APPEND", b"k", part]), format!(":{}\r\n", model.len()).as_bytes());
        assert_eq!(bench.run_args(&[b"GET", b"k"]), bulk(&model));
    }
    nothing_is_left(&mut bench);
}

#[test]
fn a_large_part_and_an_inline_value() {
    let mut bench = Bench::new();
    let part = pattern(90 * KIB);
    bench.run("SET k 0123456789 EX 100");
    assert_eq!(bench.run_args(&[b"APPEND", b"k", &part]), b":92170\r\n");
    assert_eq!(bench.run_args(&[b"GET", b"k"]), bulk(&[b"0123456789", &part[..]].concat()));
    assert_eq!(bench.run("TTL k"), ":100\r\n");
    bench.run("SET k 0123456789 EX 100");
    bench.run_args(&[b"SETRANGE", b"k", b"12", &part]);
    assert_eq!(bench.run_args(&[b"GET", b"k"]), bulk(&[b"0123456789\0\0", &part[..]].concat()));
    bench.run_args(&[b"SETRANGE", b"k", b"0", &part]);
    assert_eq!(bench.run("STRLEN k"), ":92172\r\n");
    assert_eq!(bench.run("TTL k"), ":100\r\n");
    bench.run_args(&[b"SETRANGE", b"new", b"3", &part]);
    assert_eq!(bench.run_args(&[b"GET", b"new"]), bulk(&[b"\0\0\0", &part[..]].concat()));
    bench.run_args(&[b"APPEND", b"newer", &part]);
    assert_eq!(bench.run_args(&[b"GET", b"newer"]), bulk(&part));
    nothing_is_left(&mut bench);
}

#[test]
fn mget_and_keys_go_on_in_slices() {
    let mut bench = Bench::new();
    let value = pattern(5000);
    let mut all = b"*100\r\n".to_vec();
    let names: Vec<String> = (0..100).map(|i| format!("key:{i}")).collect();
    for name in &names {
        bench.run_args(&[b"SET", name.as_bytes(), &value]);
        all.extend_from_slice(&bulk(&value));
    }
    let mut args: Vec<&[u8]> = vec![b"MGET"];
    args.extend(names.iter().map(|name| name.as_bytes()));
    assert_eq!(bench.run_args(&args), all);
    for i in 0..5000 {
        bench.run(&format!("SET other:{i} v"));
    }
    let reply = bench.run("KEYS *");
    assert!(reply.starts_with("*5100\r\n"));
    assert_eq!(reply.matches("$").count(), 5100);
    assert!(bench.run("KEYS key:*").starts_with("*100\r\n"));
    assert!(bench.run("KEYS nothing*").starts_with("*0\r\n"));
    nothing_is_left(&mut bench);
}

#[test]
fn scan_meets_every_key() {
    let mut bench = Bench::new();
    for i in 0..3000 {
        bench.run(&format!("SET k:{i} v"));
    }
    for options in ["", "COUNT 1", "COUNT 100000000", "MATCH k:* COUNT 50"] {
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let reply = bench.run(&format!("SCAN {cursor} {options}"));
            let mut lines = reply.lines();
            cursor = lines.nth(2).unwrap().to_owned();
            seen.extend(lines.filter(|line| line.starts_with("k:")).map(str::to_owned));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 3000, "{options}");
    }
}

#[test]
fn a_full_store_refuses_and_stays_as_it_was() {
    let mut bench = Bench::new();
    let value = pattern(8000);
    let mut count = 0;
    let refusal = loop {
        let reply = bench.run_args(&[b"SET", format!("k:{count}").as_bytes(), &value]);
        if reply != b"+OK\r\n" {
            break reply;
        }
        count += 1;
    };
    let oom = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert_eq!(refusal, oom);
    assert_eq!(bench.run("DBSIZE"), format!(":{count}\r\n"));
    assert_eq!(bench.run_args(&[b"SET", b"k:0", &pattern(60 * KIB), b"GET"]), oom);
    assert_eq!(bench.run_args(&[b"GET", b"k:0"]), bulk(&value));
    // All or nothing.
    assert_eq!(bench.run_args(&[b"MSET", b"new", b"1", b"x", &value, b"y", &value]), oom);
    assert_eq!(bench.run("EXISTS new x y"), ":0\r\n");
    bench.run("FLUSHALL");
    let max = bench.engine.max_value_bytes();
    assert_eq!(max, 512 << 20);
    // The limit is what this pool can ever hold, far below 512 MiB.
    let too_large = bench.run("SETRANGE k 536870000 v");
    assert!(
        too_large.starts_with("-ERR value of 536870001 bytes is larger than the limit of "),
        "{too_large}"
    );
    assert_eq!(
        bench.run("INFO errorstats"),
        "$60\r\n# Errorstats\r\nerrorstat_ERR:count=1\r\nerrorstat_OOM:count=3\r\n\r\n"
    );
}
