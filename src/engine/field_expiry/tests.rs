//! Replies by what Redis 7.4 and 8 document and their sources say: Redis 7.0, from which the transcripts are recorded, does
//! not have these commands.

use crate::engine::testing::{Bench, START};
use crate::mutation::Database;
use crate::time::Millis;

fn bench(lines: &[&str]) -> Bench {
    let mut bench = Bench::new();
    for line in lines {
        let reply = bench.run(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    bench
}

/// An array's integers.
fn numbers(reply: &str) -> Vec<i64> {
    let mut lines = reply.split("\r\n").filter(|line| !line.is_empty());
    let count: usize = lines.next().and_then(|line| line.strip_prefix('*')).unwrap().parse().unwrap();
    let numbers: Vec<i64> = lines.map(|line| line.strip_prefix(':').unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.len(), count, "{reply}");
    numbers
}

#[track_caller]
fn check(bench: &mut Bench, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(bench.run(line), *expected, "{line}");
    }
}

#[track_caller]
fn check_numbers(bench: &mut Bench, cases: &[(&str, &[i64])]) {
    for (line, expected) in cases {
        let reply = bench.run(line);
        assert_eq!(numbers(&reply), *expected, "{line}");
    }
}

#[test]
fn a_field_has_a_time_and_the_others_none() {
    let mut bench = bench(&["HSET h a 1 b 2 c 3"]);
    let seconds = START as i64 / 1000;
    check_numbers(
        &mut bench,
        &[
            ("HTTL h FIELDS 2 a none", &[-1, -2]),
            ("HTTL none FIELDS 2 a b", &[-2, -2]),
            ("HEXPIRE h 10 FIELDS 2 a none", &[1, -2]),
            ("HEXPIRE none 10 FIELDS 1 a", &[-2]),
            ("HEXPIRE h 10 FIELDS 1 a", &[1]),
            ("HTTL h FIELDS 3 a b none", &[10, -1, -2]),
            ("HPTTL h FIELDS 1 a", &[10_000]),
            ("HEXPIRETIME h FIELDS 1 a", &[seconds + 10]),
            ("HPEXPIRETIME h FIELDS 1 a", &[START as i64 + 10_000]),
            ("HPEXPIRE h 1001 FIELDS 1 b", &[1]),
            // Rounded up.
            ("HTTL h FIELDS 1 b", &[2]),
            ("HEXPIRETIME h FIELDS 1 b", &[seconds + 2]),
        ],
    );
    check_numbers(
        &mut bench,
        &[
            (&format!("hexpireat h {} fields 1 c", seconds + 7), &[1]),
            ("HPTTL h FIELDS 1 c", &[7_000]),
            (&format!("HPEXPIREAT h {} FIELDS 1 c", START + 5), &[1]),
            ("HPTTL h FIELDS 1 c", &[5]),
            ("HPERSIST h FIELDS 3 c c none", &[1, -1, -2]),
            ("HPERSIST none FIELDS 1 c", &[-2]),
            ("HTTL h FIELDS 1 c", &[-1]),
        ],
    );
    check(&mut bench, &[("OBJECT ENCODING h", "$10\r\nlistpackex\r\n"), ("HLEN h", ":3\r\n")]);
}

#[test]
fn conditions_compare_with_the_time_that_the_field_has() {
    let mut bench = bench(&["HSET h a 1 b 2"]);
    check_numbers(
        &mut bench,
        &[
            ("HEXPIRE h 10 XX FIELDS 1 a", &[0]),
            ("HEXPIRE h 10 GT FIELDS 1 a", &[0]),
            ("HEXPIRE h 10 NX FIELDS 1 a", &[1]),
            ("HEXPIRE h 20 NX FIELDS 2 a b", &[0, 1]),
            ("HTTL h FIELDS 2 a b", &[10, 20]),
            ("HEXPIRE h 10 GT FIELDS 1 a", &[0]),
            ("HEXPIRE h 10 LT FIELDS 1 a", &[0]),
            ("HEXPIRE h 15 gt FIELDS 2 a b", &[1, 0]),
            ("HEXPIRE h 12 LT FIELDS 2 a b", &[1, 1]),
            ("HEXPIRE h 30 XX FIELDS 2 a none", &[1, -2]),
            ("HPERSIST h FIELDS 1 b", &[1]),
            // No time is later than any.
            ("HEXPIRE h 30 LT FIELDS 1 b", &[1]),
            ("HTTL h FIELDS 2 a b", &[30, 30]),
        ],
    );
}

#[test]
fn a_time_that_has_passed_deletes() {
    let mut bench = bench(&["HSET h a 1 b 2 c 3 d 4"]);
    check_numbers(
        &mut bench,
        &[
            ("HEXPIRE h 0 FIELDS 2 a none", &[2, -2]),
            ("HPEXPIREAT h 1 FIELDS 1 b", &[2]),
            ("HEXPIREAT h 0 XX FIELDS 1 c", &[0]),
        ],
    );
    check(&mut bench, &[("HGET h a", "$-1\r\n"), ("HLEN h", ":2\r\n")]);
    // With the last one the key is gone.
    check_numbers(&mut bench, &[("HEXPIRE h 0 FIELDS 3 c d c", &[2, 2, -2])]);
    check(&mut bench, &[("EXISTS h", ":0\r\n"), ("TYPE h", "+none\r\n")]);
}

#[test]
fn arguments_are_checked_in_redis_order() {
    let mut bench = bench(&["HSET h a 1", "SET s v"]);
    let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let no_fields = "-ERR Mandatory argument FIELDS is missing or not at the right position\r\n";
    let mismatch = "-ERR The `numfields` parameter must match the number of arguments\r\n";
    let positive = "-ERR Number of fields must be a positive integer\r\n";
    let greater = "-ERR Parameter `numFields` should be greater than 0\r\n";
    let no_integer = "-ERR value is not an integer or out of range\r\n";
    let twice = "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified\r\n";
    check(
        &mut bench,
        &[
            ("HEXPIRE s x FIELDS 1 a", wrong_type),
            ("HEXPIRE h x y 1 a b", no_integer),
            ("HEXPIRE h -1 y 1 a b", "-ERR invalid expire time, must be >= 0\r\n"),
            ("HEXPIRE h 9223372036854775807 y 1 a", "-ERR invalid expire time in 'hexpire' command\r\n"),
            ("HPEXPIREAT h 70368744177664 y 1 a", "-ERR invalid expire time in 'hpexpireat' command\r\n"),
            ("HPEXPIRE h 70368744177663 y 1 a", "-ERR invalid expire time in 'hpexpire' command\r\n"),
            ("HEXPIRE h 10 XY FIELDS 1", no_fields),
            ("HEXPIRE h 10 NX XX FIELDS 1 a", no_fields),
            ("HEXPIRE h 10 FIELDS 0 a", greater),
            ("HEXPIRE h 10 FIELDS x a", greater),
            ("HEXPIRE h 10 FIELDS 2 a", mismatch),
            ("HEXPIRE h 10 NX FIELDS 1", mismatch),
            ("HEXPIRE h 10 FIELDS 1 a b", mismatch),
            ("HTTL s x 1 a", wrong_type),
            ("HTTL h x 1 a", no_fields),
            ("HPTTL h FIELDS 0 a", positive),
            ("HEXPIRETIME h FIELDS 1 a b", mismatch),
            ("HPERSIST h FIELDS -1 a", positive),
            ("HPERSIST s FIELDS 1 a", wrong_type),
            ("HGETDEL s FIELDS 1 a", wrong_type),
            ("HGETDEL h FIELD 1 a", no_fields),
            ("HGETDEL h FIELDS 0 a", positive),
            ("HGETDEL h FIELDS 2 a", mismatch),
            ("HGETDEL h FIELDS", "-ERR wrong number of arguments for 'hgetdel' command\r\n"),
            ("HGETEX s EX 1 FIELDS 1 a", wrong_type),
            ("HGETEX h EX x FIELDS 1 a", no_integer),
            ("HGETEX h EX -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0\r\n"),
            ("HGETEX h PERSIST 1 FIELDS 1 a", no_fields),
            ("HGETEX h EX 1 PX 1 FIELDS 1 a", no_fields),
            ("HGETEX h EX 10 FIELDS", positive),
            ("HGETEX h FIELDS 0 a", positive),
            ("HGETEX h PXAT 70368744177664 FIELDS 1 a", "-ERR invalid expire time in 'hgetex' command\r\n"),
        ],
    );
    let arity = "-ERR wrong number of arguments for 'hsetex' command\r\n";
    check(
        &mut bench,
        &[
            ("HSETEX s FIELDS 1 a", arity),
            ("HSETEX s FIELDS 1 a 1", wrong_type),
            // What is wrong with the arguments comes before the type.
            ("HSETEX s EX 1 PX 1 FIELDS 1 a 1", twice),
            ("HSETEX h EX 1 KEEPTTL FIELDS 1 a 1", twice),
            ("HSETEX h KEEPTTL EX 1 FIELDS 1 a 1", twice),
            ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR Only one of FXX or FNX arguments can be specified\r\n"),
            ("HSETEX h FNX FNX FIELDS 1 a 1", "-ERR Only one of FXX or FNX arguments can be specified\r\n"),
            ("HSETEX h NX FIELDS 1 a 1", "-ERR unknown argument: NX\r\n"),
            ("HSETEX h FNX FXY FIELDS 1 a 1", "-ERR unknown argument: FXY\r\n"),
            ("HSETEX h FNX FNY a b c", "-ERR unknown argument: FNY\r\n"),
            ("HSETEX h KEEPTTL FNX FXX PX", "-ERR Only one of FXX or FNX arguments can be specified\r\n"),
            ("HSETEX h KEEPTTL FNX EX PX", twice),
            ("HSETEX h FNX FIELDS 1 EX", arity),
            ("HSETEX h EX x FIELDS 1 a 1", no_integer),
            ("HSETEX h EX -5 FIELDS 1 a 1", "-ERR invalid expire time, must be >= 0\r\n"),
            ("HSETEX h EX 70368744178 FIELDS 1 a 1", "-ERR invalid expire time in 'hsetex' command\r\n"),
            ("HSETEX h FIELDS 0 a 1", "-ERR invalid number of fields\r\n"),
            ("HSETEX h FIELDS x a 1", "-ERR invalid number of fields\r\n"),
            ("HSETEX h FIELDS 2 a 1", arity),
            ("HSETEX h FIELDS 1 a 1 b", arity),
            ("HGETALL h", "*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ],
    );
}

#[test]
fn hset_drops_the_time_and_hincrby_keeps_it() {
    let mut bench = bench(&["HSET h a 1 b 1 c 1 d 1", "HEXPIRE h 10 FIELDS 4 a b c d"]);
    check(
        &mut bench,
        &[
            ("HSET h a 2", ":0\r\n"),
            ("HINCRBY h b 1", ":2\r\n"),
            ("HINCRBYFLOAT h c 0.5", "$3\r\n1.5\r\n"),
            ("HSETNX h d 2", ":0\r\n"),
        ],
    );
    check_numbers(&mut bench, &[("HTTL h FIELDS 4 a b c d", &[-1, 10, 10, 10])]);
    check(&mut bench, &[("HMSET h b 1", "+OK\r\n"), ("HDEL h c", ":1\r\n"), ("HSET h c 1", ":1\r\n")]);
    check_numbers(&mut bench, &[("HTTL h FIELDS 4 a b c d", &[-1, -1, -1, 10])]);
    // A copy and another name have the times.
    check(&mut bench, &[("COPY h copy", ":1\r\n"), ("RENAME h other", "+OK\r\n")]);
    for key in ["copy", "other"] {
        check_numbers(&mut bench, &[(&format!("HTTL {key} FIELDS 2 a d"), &[-1, 10])]);
    }
}

#[test]
fn what_has_expired_is_shown_by_no_verb() {
    let mut bench = bench(&["HSET h a 1 b 22 c 3", "HPEXPIRE h 5 FIELDS 2 a b"]);
    bench.now += 5;
    check(
        &mut bench,
        &[
            ("HGET h a", "$-1\r\n"),
            ("HMGET h a c", "*2\r\n$-1\r\n$1\r\n3\r\n"),
            ("HGETALL h", "*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("HKEYS h", "*1\r\n$1\r\nc\r\n"),
            ("HVALS h", "*1\r\n$1\r\n3\r\n"),
            ("HEXISTS h a", ":0\r\n"),
            ("HSTRLEN h b", ":0\r\n"),
            ("HSCAN h 0", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("HSCAN h 0 NOVALUES", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n"),
            ("HRANDFIELD h", "$1\r\nc\r\n"),
            ("HRANDFIELD h 5", "*1\r\n$1\r\nc\r\n"),
            ("HRANDFIELD h -2 WITHVALUES", "*4\r\n$1\r\nc\r\n$1\r\n3\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("HTTL h FIELDS 2 a c", "*2\r\n:-2\r\n:-1\r\n"),
            ("HEXPIRE h 10 FIELDS 1 a", "*1\r\n:-2\r\n"),
            ("HPERSIST h FIELDS 1 a", "*1\r\n:-2\r\n"),
            ("HGETDEL h FIELDS 1 a", "*1\r\n$-1\r\n"),
            ("HGETEX h EX 1 FIELDS 1 a", "*1\r\n$-1\r\n"),
            ("HSETEX h FXX FIELDS 1 a 1", ":0\r\n"),
            // It is counted until it is removed, as in Redis.
            ("HLEN h", ":3\r\n"),
            ("HDEL h a", ":0\r\n"),
            ("HLEN h", ":2\r\n"),
            ("HSETNX h b 5", ":1\r\n"),
            ("HGET h b", "$1\r\n5\r\n"),
            ("HTTL h FIELDS 1 b", "*1\r\n:-1\r\n"),
        ],
    );
    assert_eq!(bench.engine.store.statistics().expired_fields, 2);
    check(&mut bench, &[("HPEXPIRE h 5 FIELDS 2 b c", "*2\r\n:1\r\n:1\r\n")]);
    bench.now += 5;
    let reads = [
        ("HGETALL h", "*0\r\n"),
        ("HRANDFIELD h", "$-1\r\n"),
        ("HRANDFIELD h -3", "*0\r\n"),
        ("HINCRBY h b 7", ":7\r\n"),
        ("HGETALL h", "*2\r\n$1\r\nb\r\n$1\r\n7\r\n"),
    ];
    check(&mut bench, &reads);
    assert!(bench.run("INFO stats").contains("\r\nexpired_subkeys:3\r\n"));
}

#[test]
fn fields_go_by_themselves_and_the_key_with_the_last_one() {
    let mut bench = bench(&["HSET h a 1 b 2", "HPEXPIRE h 5 FIELDS 1 a", "HPEXPIRE h 9000 FIELDS 1 b"]);
    let due = bench.engine.store.next_expiry_hint().unwrap();
    assert!((START..START + 2000).contains(&due.0), "the store says when to come");
    bench.now += 2000;
    while bench.engine.store.maintain(Millis(bench.now), 1) {}
    check(&mut bench, &[("HLEN h", ":1\r\n"), ("HKEYS h", "*1\r\n$1\r\nb\r\n")]);
    bench.now += 10_000;
    while bench.engine.store.maintain(Millis(bench.now), 1) {}
    assert_eq!((bench.engine.store.len(Database(0)), bench.engine.store.next_expiry_hint()), (0, None));
}

#[test]
fn hgetdel_answers_and_deletes() {
    let mut bench = bench(&["HSET h a 1 b 2 c 3"]);
    let long = "x".repeat(100_000);
    bench.run(&format!("HSET h long {}", &long[..60_000]));
    check(
        &mut bench,
        &[
            ("HGETDEL none FIELDS 2 a b", "*2\r\n$-1\r\n$-1\r\n"),
            ("HGETDEL h FIELDS 3 a none a", "*3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n"),
            ("HKEYS h", "*3\r\n$1\r\nb\r\n$1\r\nc\r\n$4\r\nlong\r\n"),
        ],
    );
    let reply = bench.run("HGETDEL h FIELDS 3 long b c");
    assert_eq!(reply.len(), "*3\r\n$60000\r\n\r\n$1\r\n2\r\n$1\r\n3\r\n".len() + 60_000);
    check(&mut bench, &[("EXISTS h", ":0\r\n")]);
}

#[test]
fn hgetex_answers_and_changes_times() {
    let mut bench = bench(&["HSET h a 1 b 2 c 3"]);
    let at = START / 1000 + 50;
    check(
        &mut bench,
        &[
            ("HGETEX none EX 5 FIELDS 1 a", "*1\r\n$-1\r\n"),
            ("HGETEX h FIELDS 2 a none", "*2\r\n$1\r\n1\r\n$-1\r\n"),
            ("HGETEX h EX 5 FIELDS 2 a b", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n"),
            ("HPTTL h FIELDS 3 a b c", "*3\r\n:5000\r\n:5000\r\n:-1\r\n"),
            ("HGETEX h FIELDS 1 a", "*1\r\n$1\r\n1\r\n"),
            ("HGETEX h px 7 fields 1 a", "*1\r\n$1\r\n1\r\n"),
            (&format!("HGETEX h EXAT {at} FIELDS 1 b"), "*1\r\n$1\r\n2\r\n"),
            (&format!("HGETEX h PXAT {} FIELDS 1 c", START + 3), "*1\r\n$1\r\n3\r\n"),
            ("HPTTL h FIELDS 3 a b c", "*3\r\n:7\r\n:50000\r\n:3\r\n"),
            ("HGETEX h PERSIST FIELDS 2 a c", "*2\r\n$1\r\n1\r\n$1\r\n3\r\n"),
            ("HPTTL h FIELDS 2 a c", "*2\r\n:-1\r\n:-1\r\n"),
            ("HGETEX h EXAT 1 FIELDS 2 a c", "*2\r\n$1\r\n1\r\n$1\r\n3\r\n"),
            ("HKEYS h", "*1\r\n$1\r\nb\r\n"),
        ],
    );
}

#[test]
fn hsetex_puts_all_or_nothing() {
    let mut bench = bench(&[]);
    check(
        &mut bench,
        &[
            ("HSETEX h FXX FIELDS 1 a 1", ":0\r\n"),
            ("EXISTS h", ":0\r\n"),
            ("HSETEX h FNX EX 10 FIELDS 2 a 1 b 2", ":1\r\n"),
            ("HSETEX h FNX FIELDS 2 c 1 b 3", ":0\r\n"),
            ("HSETEX h FXX FIELDS 2 a 3 c 3", ":0\r\n"),
            ("HTTL h FIELDS 3 a b c", "*3\r\n:10\r\n:10\r\n:-2\r\n"),
            ("HSETEX h fxx keepttl fields 1 a 5", ":1\r\n"),
            ("HSETEX h FIELDS 1 b 6", ":1\r\n"),
            ("HTTL h FIELDS 2 a b", "*2\r\n:10\r\n:-1\r\n"),
            ("HSETEX h PX 70 FXX FIELDS 1 b 7", ":1\r\n"),
            (&format!("HSETEX h PXAT {} FIELDS 1 c 8", START + 9), ":1\r\n"),
            (&format!("HSETEX h EXAT {} FIELDS 1 d 9", START / 1000 + 3), ":1\r\n"),
            ("HPTTL h FIELDS 4 a b c d", "*4\r\n:10000\r\n:70\r\n:9\r\n:3000\r\n"),
            ("HMGET h a b c d", "*4\r\n$1\r\n5\r\n$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n"),
            // A time that has passed leaves nothing.
            ("HSETEX h EXAT 1 FIELDS 2 a 1 e 1", ":1\r\n"),
            ("HMGET h a e", "*2\r\n$-1\r\n$-1\r\n"),
            ("HSETEX h EX 0 FIELDS 3 b 1 c 1 d 1", ":1\r\n"),
            ("EXISTS h", ":0\r\n"),
        ],
    );
}

/// A hash of so many fields, the first `timed` of them with a time in 5 ms.
fn large(count: usize, timed: usize) -> Bench {
    let mut bench = Bench::new();
    for first in (0..count).step_by(1000) {
        let names: Vec<String> = (first..count.min(first + 1000)).map(|n| format!("f{n}")).collect();
        let mut words: Vec<&[u8]> = vec![b"HSET", b"h"];
        names.iter().for_each(|name| words.extend([name.as_bytes(), b"v"]));
        bench.run_args(&words);
    }
    for first in (0..timed).step_by(1000) {
        let names: Vec<String> = (first..timed.min(first + 1000)).map(|n| format!("f{n}")).collect();
        let number = names.len().to_string();
        let mut words: Vec<&[u8]> = vec![b"HPEXPIRE", b"h", b"5", b"FIELDS", number.as_bytes()];
        words.extend(names.iter().map(|name| name.as_bytes()));
        assert!(numbers(&String::from_utf8(bench.run_args(&words)).unwrap()).iter().all(|set| *set == 1));
    }
    bench
}

#[test]
fn a_large_hash_shows_none_of_what_has_expired_and_counts_it_first() {
    let mut bench = large(20_000, 15_000);
    let lines = |reply: &str| reply.split("\r\n").filter(|line| line.starts_with('f')).count();
    assert_eq!(lines(&bench.run("HKEYS h")), 20_000);
    bench.now += 5;
    let reply = bench.run("HGETALL h");
    assert!(reply.starts_with("*10000\r\n") && lines(&reply) == 5_000 && bench.slices > 3);
    assert!(bench.worst_units < 4_000, "{} units", bench.worst_units);
    let reply = bench.run("HRANDFIELD h 50000");
    assert!(reply.starts_with("*5000\r\n") && lines(&reply) == 5_000 && bench.slices > 3);
    assert!(bench.worst_units < 4_000, "{} units", bench.worst_units);
    let reply = bench.run("HRANDFIELD h -7000");
    assert!(reply.starts_with("*7000\r\n") && lines(&reply) == 7_000);
    let is_live = |line: &str| line[1..].parse::<u32>().is_ok_and(|number| number >= 15_000);
    assert!(reply.split("\r\n").filter(|line| line.starts_with('f')).all(is_live));
    let one = bench.run("HRANDFIELD h");
    assert!(one.starts_with("$6\r\n") && is_live(&one[4..10]), "{one}");
    let mut cursor = String::from("0");
    let mut met = 0;
    loop {
        let reply = bench.run(&format!("HSCAN h {cursor} COUNT 900 NOVALUES"));
        met += lines(&reply);
        cursor = reply.split("\r\n").nth(2).unwrap().to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(met, 5_000);
    // It goes in steps, each of which takes few.
    let mut steps = 0;
    while bench.engine.store.maintain(Millis(bench.now + 2000), 1) {
        steps += 1;
    }
    assert!(steps > 15_000 / 40, "{steps}");
    check(&mut bench, &[("HLEN h", ":5000\r\n")]);
}

#[test]
fn all_of_a_large_hash_expires_and_reads_say_so_before_it_is_gone() {
    let mut bench = large(3_000, 3_000);
    bench.now += 5;
    check(
        &mut bench,
        &[
            ("HGETALL h", "*0\r\n"),
            ("HRANDFIELD h", "$-1\r\n"),
            ("HRANDFIELD h -5", "*0\r\n"),
            ("HRANDFIELD h 5", "*0\r\n"),
            ("HLEN h", ":3000\r\n"),
        ],
    );
    while bench.engine.store.maintain(Millis(bench.now + 2000), 1) {}
    check(&mut bench, &[("EXISTS h", ":0\r\n")]);
    assert_eq!(bench.engine.store.memory().large, 0);
}

#[test]
fn many_fields_are_cut_into_slices() {
    for verb in ["HEXPIRE h 10", "HTTL h", "HPERSIST h", "HGETEX h EX 10", "HGETDEL h"] {
        let mut bench = large(3_000, 0);
        let names: Vec<String> = (0..3_000).map(|n| format!("f{n}")).collect();
        let mut words: Vec<&[u8]> = verb.split(' ').map(str::as_bytes).collect();
        words.extend([&b"FIELDS"[..], b"3000"]);
        words.extend(names.iter().map(|name| name.as_bytes()));
        let reply = bench.run_args(&words);
        assert!(reply.starts_with(b"*3000\r\n") && bench.slices > 2, "{verb}: {}", bench.slices);
        assert!(bench.worst_units < 2_000, "{verb}: {} units", bench.worst_units);
        let is_gone = verb.starts_with("HGETDEL");
        check(&mut bench, &[("HLEN h", if is_gone { ":0\r\n" } else { ":3000\r\n" })]);
    }
}

#[test]
fn hsetex_looks_again_when_the_key_was_changed_between_its_slices() {
    let mut bench = large(10, 0);
    let names: Vec<String> = (0..1_500).map(|n| format!("n{n}")).collect();
    let mut words: Vec<&[u8]> = vec![b"HSETEX", b"h", b"FNX", b"EX", b"9", b"FIELDS", b"1500"];
    names.iter().for_each(|name| words.extend([name.as_bytes(), b"v"]));
    // Another client puts one of the fields after the first slice, which did not come to it.
    bench.between_slices = Some(|engine| {
        let put = crate::mutation::Mutation::PutField {
            db: Database(0),
            key: b"h",
            kind: crate::mutation::CollectionKind::Hash,
            field: b"n3",
            value: crate::mutation::NewValue::Bytes(b"mine"),
        };
        let is_new = engine.store.peek(Database(0), b"h", Millis(START)).is_some();
        if is_new {
            engine.store.apply(&put, Millis(START)).unwrap();
        }
    });
    assert_eq!(bench.run_args(&words), b":0\r\n");
    assert!(bench.slices > 1);
    bench.between_slices = None;
    check(&mut bench, &[("HLEN h", ":11\r\n"), ("HGET h n3", "$4\r\nmine\r\n")]);
    // Without the other one all of them are put.
    bench.run("HDEL h n3");
    assert_eq!(bench.run_args(&words), b":1\r\n");
    check(&mut bench, &[("HLEN h", ":1510\r\n"), ("HTTL h FIELDS 1 n1499", "*1\r\n:9\r\n")]);
}

#[test]
fn a_full_store_lets_times_and_fields_go() {
    let mut bench = bench(&["HSET h a 1 b 2"]);
    check(&mut bench, &[("HEXPIRE h 10 FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n")]);
    let value = "v".repeat(4000);
    let mut number = 0;
    while !bench.run(&format!("SET k{number} {value}")).starts_with("-OOM") {
        number += 1;
    }
    check(
        &mut bench,
        &[
            ("HPERSIST h FIELDS 1 b", "*1\r\n:1\r\n"),
            ("HGETDEL h FIELDS 1 a", "*1\r\n$1\r\n1\r\n"),
            ("HLEN h", ":1\r\n"),
        ],
    );
}
