//! Scripts as a client sees them, and the limits that hold them.

use crate::config::{OnFull, ServerOptions};
use crate::engine::testing::Bench;
use crate::limits::{KIB, MIB};
use crate::store::StoreConfig;
use std::cell::Cell;
use std::time::Duration;

mod hostile;
mod libraries;

thread_local!(static NOW_US: Cell<u64> = const { Cell::new(0) });

/// A clock that each look moves on by 10 µs, so that time passes at the same places in every run.
fn clock_us() -> u64 {
    NOW_US.replace(NOW_US.get() + 10)
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.engine.set_script_clock(clock_us);
    bench
}

/// The reply of a script without keys.
fn eval(bench: &mut Bench, script: &str) -> String {
    eval_with(bench, script, &[], &[])
}

fn eval_with(bench: &mut Bench, script: &str, keys: &[&str], args: &[&str]) -> String {
    let count = keys.len().to_string();
    let words = ["EVAL", script, &count].into_iter().chain(keys.iter().copied()).chain(args.iter().copied());
    let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
    String::from_utf8_lossy(&bench.run_args(&words)).into_owned()
}

/// The error without the place, which every script's error ends with.
fn error(reply: &str) -> &str {
    reply.split(" script: ").next().unwrap_or_default().trim_end()
}

#[test]
fn keys_arguments_and_replies_pass_through() {
    let mut bench = bench();
    let script =
        "redis.call('SET', KEYS[1], ARGV[1]) return {redis.call('GET', KEYS[1]), #KEYS, #ARGV, {ok='X'}}";
    assert_eq!(eval_with(&mut bench, script, &["k"], &["v", "w"]), "*4\r\n$1\r\nv\r\n:1\r\n:2\r\n+X\r\n");
    assert_eq!(bench.run("GET k"), "$1\r\nv\r\n");
}

#[test]
fn errors_say_where_they_happened() {
    let mut bench = bench();
    let place = |line: u32, reply: &str| {
        assert!(reply.ends_with(&format!(", on @user_script:{line}.\r\n")), "{reply}")
    };
    place(1, &eval(&mut bench, "error('x')"));
    place(2, &eval(&mut bench, "\nreturn redis.call('nosuch')"));
    place(1, &eval(&mut bench, "return cjson.decode('x')"));
    place(3, &eval(&mut bench, "\n\nlocal x = nil + 1"));
    let nested = "local function f()\n return redis.call('incr')\nend\nlocal x = f() return x";
    place(2, &eval(&mut bench, nested));
}

#[test]
fn a_script_is_known_by_its_digest_once_it_came() {
    let mut bench = bench();
    let digest = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    let noscript = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    assert_eq!(bench.run(&format!("EVALSHA {digest} 0")), noscript);
    assert_eq!(bench.run_args(&[b"SCRIPT", b"LOAD", b"return 1"]), format!("$40\r\n{digest}\r\n").as_bytes());
    assert_eq!(bench.run(&format!("EVALSHA {digest} 0")), ":1\r\n");
    assert_eq!(bench.run(&format!("EVALSHA_RO {} 0", digest.to_uppercase())), ":1\r\n");
    assert_eq!(bench.run(&format!("SCRIPT EXISTS {digest} x")), "*2\r\n:1\r\n:0\r\n");
    assert_eq!(bench.run("SCRIPT FLUSH"), "+OK\r\n");
    assert_eq!(bench.run(&format!("SCRIPT EXISTS {digest}")), "*1\r\n:0\r\n");
    assert_eq!(bench.run(&format!("EVALSHA {digest} 0")), noscript);
}

#[test]
fn the_store_lends_the_memory_at_the_first_script_and_gets_it_back() {
    let mut bench = bench();
    let before = bench.engine.store.large_count();
    bench.run("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0");
    bench.run("SCRIPT EXISTS x");
    assert_eq!(bench.engine.store.large_count(), before, "no script, no memory");
    eval(&mut bench, "return 1");
    assert_eq!(bench.engine.store.large_count(), before + 1);
    bench.run("SCRIPT FLUSH");
    while bench.engine.store.maintain(crate::time::Millis(bench.now), 64) {}
    assert_eq!(bench.engine.store.large_count(), before);
    assert_eq!(eval(&mut bench, "return 1"), ":1\r\n");
}

#[test]
fn without_memory_for_scripts_there_are_none() {
    let options = ServerOptions { script_memory_bytes: 0, ..ServerOptions::default() };
    let mut bench = Bench::with(options, StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() });
    assert_eq!(eval(&mut bench, "return 1"), "-ERR scripts are off (--script-memory 0)\r\n");
}

#[test]
fn a_script_that_has_not_written_ends_with_an_error_at_its_time() {
    let mut bench = bench();
    let text = "-ERR script ended: it ran for longer than 50 ms (--script-time); it had written nothing\r\n";
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() pcall(f) while true do end end f()",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do redis.pcall('GET', 'k') end",
        "while true do redis.pcall('nosuch') end",
        "local co = coroutine.wrap(function() while true do end end) pcall(co) while true do pcall(co) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local t = setmetatable({}, {__index = function() while true do end end}) pcall(function() return t.x end) while true do end",
        "string.gsub('a', 'a', function() while true do end end)",
        "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() while true do end end)",
    ] {
        assert_eq!(eval(&mut bench, script), text, "{script}");
        assert_eq!(eval(&mut bench, "return 1"), ":1\r\n", "after {script}");
    }
    assert_eq!(bench.run("DBSIZE"), ":0\r\n");
}

#[test]
fn each_run_has_its_own_keys_and_arguments_however_many() {
    let mut bench = bench();
    let text = b"KEYS[99] = 'mine' ARGV[99] = 'mine' return #KEYS .. ' ' .. #ARGV .. ' ' .. tostring(KEYS[1]) .. tostring(ARGV[1])";
    for (words, shown) in [
        (&[b"1".as_slice(), b"k", b"a"] as &[&[u8]], "1 1 ka"),
        (&[b"0"], "0 0 nilnil"),
        (&[b"1", b"k"], "1 0 knil"),
        (&[b"2", b"k", b"l", b"a"], "2 1 ka"),
        (&[b"1", b"k", b"1", b"2", b"3", b"4", b"5", b"6", b"7"], "1 7 k1"),
        (&[b"1", b"k", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"], "1 8 k1"),
        (&[b"0", b"a"], "0 1 nila"),
    ] {
        let reply = bench.run_args(&[&[b"EVAL".as_slice(), text], words].concat());
        assert_eq!(String::from_utf8_lossy(&reply), format!("${}\r\n{shown}\r\n", shown.len()));
    }
}

/// How many instructions lie before a loop decides where in it the clock is looked at.
#[test]
fn a_script_ends_at_its_time_wherever_the_clock_is_looked_at() {
    let options = ServerOptions { script_time: Duration::from_millis(2), ..ServerOptions::default() };
    let mut bench = Bench::with(options, StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() });
    bench.engine.set_script_clock(clock_us);
    for before in 0..64 {
        let before: String = (0..before).map(|number| format!("local a{number} = 1 ")).collect();
        let script = format!(
            "{before}local co = coroutine.wrap(function() while true do end end) pcall(co) while true do pcall(co) end"
        );
        assert!(
            eval(&mut bench, &script).starts_with("-ERR script ended: it ran for longer than 2 ms"),
            "{before}"
        );
        assert_eq!(eval(&mut bench, "return 1"), ":1\r\n", "after {before}");
    }
}

#[test]
fn a_script_that_has_written_is_ended_and_keeps_what_it_wrote() {
    let mut bench = bench();
    let text = "-ERR script ended: it ran for longer than 50 ms (--script-time); what it wrote is kept\r\n";
    assert_eq!(eval(&mut bench, "redis.call('SET','k','v') while true do end"), text);
    let script = "redis.call('INCR','n') while true do pcall(redis.call,'INCR','n') end";
    assert_eq!(eval(&mut bench, script), text);
    assert_eq!(bench.run("GET k"), "$1\r\nv\r\n");
    assert!(bench.run("GET n").len() > 6, "it ran until its time was up");
}

#[test]
fn no_limit_of_time_is_none() {
    let options = ServerOptions { script_time: Duration::ZERO, ..ServerOptions::default() };
    let mut bench = Bench::with(options, StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() });
    bench.engine.set_script_clock(clock_us);
    assert_eq!(eval(&mut bench, "local n = 0 for i = 1, 3e6 do n = n + 1 end return n"), ":3000000\r\n");
}

#[test]
fn read_only_scripts_write_nothing() {
    let mut bench = bench();
    let refused = "-ERR Write commands are not allowed from read-only scripts.";
    let reply = bench.run_args(&[b"EVAL_RO", b"return redis.call('SET','k','v')", b"0"]);
    assert_eq!(error(&String::from_utf8_lossy(&reply)), refused);
    let reply = eval(&mut bench, "#!lua flags=no-writes\nreturn redis.call('SET','k','v')");
    assert_eq!(error(&reply), refused);
    let reply = bench.run_args(&[b"EVAL_RO", b"#!lua\nreturn 1", b"0"]);
    assert_eq!(reply, b"-ERR Can not execute a script with write flag using *_ro command.\r\n");
    assert_eq!(bench.run("DBSIZE"), ":0\r\n");
}

/// A bench whose store is full, in refuse mode, with a machine for scripts.
fn full() -> Bench {
    let store = StoreConfig { memory_bytes: 8 * MIB, on_full: OnFull::Refuse, ..StoreConfig::default() };
    let mut bench = Bench::with(ServerOptions::default(), store);
    bench.engine.set_script_clock(clock_us);
    eval(&mut bench, "return 1");
    let value = "v".repeat(4000);
    for i in 0.. {
        if bench.run(&format!("SET key{i} {value}")).starts_with("-OOM") {
            break;
        }
    }
    while bench.run(&format!("APPEND key0 {}", "x".repeat(64))).starts_with(':') {}
    bench
}

#[test]
fn a_full_store_refuses_scripts_that_may_write_before_they_run() {
    let mut bench = full();
    let big = "w".repeat(4000);
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.";
    let script = "redis.call('SET', KEYS[1], ARGV[1]) return 1";
    assert_eq!(error(&eval_with(&mut bench, script, &["new"], &[&big])), oom);
    // Nothing of a script runs that was declared.
    let declared = format!("#!lua\nredis.call('DEL', 'key1') {script}");
    let text =
        "-OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'\r\n";
    assert_eq!(eval_with(&mut bench, &declared, &["new"], &[&big]), text);
    assert_eq!(bench.run("EXISTS key1"), ":1\r\n");
    // What only reads or removes runs, as do the flags that say so.
    let unlock = "if redis.call('GET', KEYS[1]) then return redis.call('DEL', KEYS[1]) end return 0";
    assert_eq!(eval_with(&mut bench, unlock, &["key2"], &[]), ":1\r\n");
    assert_eq!(eval(&mut bench, "#!lua flags=no-writes\nreturn redis.call('EXISTS', 'key3')"), ":1\r\n");
    assert_eq!(eval(&mut bench, "#!lua flags=allow-oom\nreturn redis.call('DEL', 'key3')"), ":1\r\n");
}

#[test]
fn a_first_script_in_a_full_store_is_refused_for_want_of_memory() {
    let mut bench = full();
    bench.run("SCRIPT FLUSH");
    while bench.engine.store.maintain(crate::time::Millis(bench.now), 64) {}
    let value = "v".repeat(4000);
    for i in 10_000.. {
        if bench.run(&format!("SET key{i} {value}")).starts_with("-OOM") {
            break;
        }
    }
    assert_eq!(eval(&mut bench, "return 1"), "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
}

#[test]
fn writes_of_a_script_are_one_group_of_the_feed() {
    use crate::mutation::GroupMark;
    use crate::store::feed::{FEED_BYTES_MIN, FeedStep, WhenBehind};
    let store = StoreConfig { memory_bytes: 8 * MIB, feed_bytes: FEED_BYTES_MIN, ..StoreConfig::default() };
    let mut bench = Bench::with(ServerOptions::default(), store);
    let cursor = bench.engine.store.feed_open(WhenBehind::Missed).unwrap();
    eval(&mut bench, "redis.call('SET','a',1) redis.call('SET','b',2) redis.call('DEL','a')");
    let mut marks = Vec::new();
    while let FeedStep::Change(change) = bench.engine.store.feed_peek(&cursor) {
        marks.push(change.group);
        bench.engine.store.feed_advance(&cursor);
    }
    assert_eq!(marks, [GroupMark::First, GroupMark::Within, GroupMark::Last]);
    bench.engine.store.feed_close(cursor);
}

#[test]
fn long_values_go_in_and_out() {
    let mut bench = bench();
    let long = "x".repeat(100 * KIB);
    let script = "redis.call('SET', KEYS[1], ARGV[1]) return #redis.call('GET', KEYS[1])";
    assert_eq!(eval_with(&mut bench, script, &["k"], &[&long]), format!(":{}\r\n", long.len()));
    assert_eq!(eval(&mut bench, "return redis.call('GET', 'k')"), format!("${}\r\n{long}\r\n", long.len()));
    let too_long = "x".repeat(300 * KIB);
    assert_eq!(error(&eval_with(&mut bench, script, &["k"], &[&too_long])), "-ERR not enough memory");
    bench.run_args(&[b"SET", b"k", too_long.as_bytes()]);
    assert_eq!(error(&eval(&mut bench, "return redis.call('GET', 'k')")), "-ERR not enough memory");
    assert_eq!(eval(&mut bench, "return redis.call('STRLEN', 'k')"), format!(":{}\r\n", too_long.len()));
}

#[test]
fn commands_that_run_in_slices_run_to_their_end() {
    let mut bench = bench();
    for i in 0..3000 {
        bench.run(&format!("SET key:{i} {i}"));
    }
    assert_eq!(eval(&mut bench, "return #redis.call('KEYS', '*')"), ":3000\r\n");
    let script =
        "local keys = redis.call('KEYS', '*') local values = redis.call('MGET', unpack(keys)) return #values";
    assert_eq!(eval(&mut bench, script), ":3000\r\n");
    assert_eq!(eval(&mut bench, "return redis.call('DEL', unpack(redis.call('KEYS', '*')))"), ":3000\r\n");
    assert_eq!(bench.run("DBSIZE"), ":0\r\n");
}

#[test]
fn what_a_script_does_is_counted_and_its_database_is_its_own() {
    let mut bench = bench();
    let before = bench.engine.metrics.verb(crate::command::VerbId::Get).calls;
    eval(
        &mut bench,
        "redis.call('GET','k') redis.call('GET','k') redis.call('SELECT', 3) redis.call('SET','k','v')",
    );
    assert_eq!(bench.engine.metrics.verb(crate::command::VerbId::Get).calls, before + 2);
    assert_eq!(bench.run("GET k"), "$-1\r\n");
    bench.run("SELECT 3");
    assert_eq!(bench.run("GET k"), "$1\r\nv\r\n");
}

#[test]
fn scripts_of_eval_make_room_for_others_and_loaded_ones_stay() {
    let mut bench = bench();
    bench.run_args(&[b"SCRIPT", b"LOAD", b"return 'loaded'"]);
    let digest =
        String::from_utf8_lossy(&bench.run_args(&[b"SCRIPT", b"LOAD", b"return 'loaded'"])).into_owned();
    let digest = digest.lines().nth(1).unwrap().to_owned();
    for i in 0..2000 {
        let padding = "x".repeat(500);
        assert_eq!(eval(&mut bench, &format!("local s = '{padding}' return {i}")), format!(":{i}\r\n"));
    }
    assert_eq!(bench.run(&format!("EVALSHA {digest} 0")), "$6\r\nloaded\r\n");
    let (bytes, count) = bench.engine.scripts.used();
    assert!(bytes <= 512 * KIB && count <= 501, "{bytes} bytes, {count} scripts");
}

#[test]
fn loaded_scripts_that_do_not_fit_are_refused() {
    let mut bench = bench();
    let mut refused = None;
    for i in 0..2000 {
        let script = format!("local s = '{}{i}' return s", "x".repeat(2000));
        let reply = bench.run_args(&[b"SCRIPT", b"LOAD", script.as_bytes()]);
        if reply.starts_with(b"-") {
            refused = Some((i, reply));
            break;
        }
    }
    let (count, reply) = refused.expect("memory has an end");
    assert!(count > 50, "{count}");
    assert!(String::from_utf8_lossy(&reply).contains("memory"), "{}", String::from_utf8_lossy(&reply));
    let first =
        bench.run_args(&[b"EVAL", format!("local s = '{}0' return s", "x".repeat(2000)).as_bytes(), b"0"]);
    assert!(first.starts_with(b"$2001"));
}

#[test]
fn errors_that_scripts_answer_are_counted_by_their_code() {
    let mut bench = bench();
    for script in [
        "return redis.error_reply('WRONGTYPE of the script')",
        "return {err = 'NOSCRIPT of the script'}",
        // Its own words are no codes of the table.
        "return redis.error_reply('MY_CODE of the script')",
        "return redis.error_reply('')",
        "error('what it raised')",
    ] {
        assert!(eval(&mut bench, script).starts_with('-'), "{script}");
    }
    assert_eq!(eval(&mut bench, "return 1"), ":1\r\n");
    let stats = bench.run("INFO errorstats");
    for line in
        ["errorstat_ERR:count=3\r\n", "errorstat_WRONGTYPE:count=1\r\n", "errorstat_NOSCRIPT:count=1\r\n"]
    {
        assert!(stats.contains(line), "{stats}");
    }
    assert!(bench.run("INFO commandstats").contains("cmdstat_eval:calls=6,"));
    assert!(bench.run("INFO commandstats").contains(",failed_calls=5\r\n"));
}

/// As redis-server 7.0.15 counts, command by command: once where the command failed, and not again where the script passes
/// its error on.
#[test]
fn an_error_of_a_command_is_counted_once_however_it_leaves_the_script() {
    let cases: &[(&str, u32, u32)] = &[
        ("return redis.call('INCR', KEYS[1])", 1, 1),
        ("return redis.pcall('INCR', KEYS[1])", 1, 1),
        ("redis.pcall('INCR', KEYS[1]) return 1", 1, 0),
        ("return redis.call('NOSUCH')", 1, 1),
        ("return redis.pcall('NOSUCH')", 1, 1),
        ("return redis.call('INCR')", 1, 1),
        ("return redis.call('SUBSCRIBE', 's')", 1, 1),
        ("return redis.call()", 1, 1),
        ("redis.pcall() return 1", 0, 0),
        ("return redis.pcall()", 1, 1),
        ("local e = redis.pcall('INCR', KEYS[1]) return redis.error_reply(e.err)", 2, 1),
        ("local e = redis.pcall('INCR', KEYS[1]) e.ignore_error_stats_update = nil return e", 2, 1),
        ("local e = redis.pcall('INCR', KEYS[1]) error(e)", 1, 1),
        ("local e = redis.pcall('INCR', KEYS[1]) return {1, e}", 1, 1),
        ("return {1, redis.error_reply('X y'), redis.error_reply('X y')}", 2, 1),
        ("return {err = 'X y', ignore_error_stats_update = true}", 0, 1),
        ("error('x')", 1, 1),
    ];
    for (script, errors, failed) in cases {
        let mut bench = self::bench();
        bench.run("SET s abc");
        bench.run_args(&[b"EVAL", script.as_bytes(), b"1", b"s"]);
        let stats = bench.run("INFO stats errorstats commandstats");
        assert!(stats.contains(&format!("\ntotal_error_replies:{errors}\r")), "{script}: {stats}");
        let eval = stats.lines().find(|line| line.starts_with("cmdstat_eval:")).unwrap();
        assert!(eval.ends_with(&format!("failed_calls={failed}")), "{script}: {eval}");
    }
    // So is one that a full store answers.
    let mut bench = self::bench();
    let value = vec![b'v'; 8000];
    let mut number = 0;
    while bench.run_args(&[b"SET", format!("filler:{number}").as_bytes(), &value]).starts_with(b"+OK") {
        number += 1;
    }
    for script in ["return redis.call('SET', 'new', ARGV[1])", "return redis.pcall('SET', 'new', ARGV[1])"] {
        bench.run("CONFIG RESETSTAT");
        let reply = bench.run_args(&[b"EVAL", script.as_bytes(), b"0", &vec![b'v'; 60_000]]);
        assert!(reply.starts_with(b"-OOM"), "{}", String::from_utf8_lossy(&reply));
        let stats = bench.run("INFO stats errorstats");
        assert!(stats.contains("errorstat_OOM:count=1\r\n"), "{stats}");
        assert!(stats.contains("\ntotal_error_replies:1\r"), "{stats}");
    }
}
