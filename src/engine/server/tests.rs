//! Transcripts about the server itself: authentication, INFO, CONFIG, COMMAND, SLOWLOG, LATENCY.

use crate::engine::{
    ServerOptions, Timing,
    testing::{Bench, START},
};
use crate::{
    command::{self, VERBS, VerbId},
    limits::MIB,
    store::StoreConfig,
    time::{Millis, Now},
    wire::arguments::ArgTable,
};

fn with_password() -> Bench {
    let config = ServerOptions { password: Some(b"secret".to_vec()), ..ServerOptions::default() };
    Bench::with(config, StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() })
}

#[test]
fn nothing_but_the_handshake_runs_before_auth() {
    let mut bench = with_password();
    let locked = "-NOAUTH Authentication required.\r\n";
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    for line in ["PING", "GET a", "INFO", "CONFIG GET save", "COMMAND", "SELECT 1"] {
        assert_eq!(bench.run(line), locked, "{line}");
    }
    // As in Redis, what is no command is said before.
    assert!(bench.run("NOSUCH").starts_with("-ERR unknown command"));
    assert_eq!(bench.run("GET"), "-ERR wrong number of arguments for 'get' command\r\n");
    for line in ["AUTH x", "AUTH default x", "AUTH other secret", "AUTH \"\"", "HELLO 2 AUTH default x"] {
        assert_eq!(bench.run(line), wrong, "{line}");
    }
    assert!(bench.run("HELLO 3").starts_with("-NOAUTH HELLO must be called with the client already"));
    assert_eq!(bench.run("PING"), locked);
    assert_eq!(bench.run("AUTH secret"), "+OK\r\n");
    assert_eq!(bench.run("PING"), "+PONG\r\n");
    // A failed attempt takes nothing away.
    assert_eq!(bench.run("AUTH x"), wrong);
    assert_eq!(bench.run("PING"), "+PONG\r\n");

    let mut bench = with_password();
    assert!(bench.run("HELLO 3 AUTH default secret SETNAME me").starts_with("%7\r\n$6\r\nserver\r\n"));
    assert_eq!(bench.run("CLIENT GETNAME"), "$2\r\nme\r\n");
    assert_eq!(bench.run("GET a"), "_\r\n");
    assert_eq!(bench.run("CONFIG GET requirepass"), "%0\r\n");
}

#[test]
fn info_shows_the_sections_that_are_asked_for() {
    let mut bench = Bench::new();
    bench.run("SET a 1 EX 100");
    bench.run("SELECT 3");
    bench.run("SET b 2");
    bench.run("GET nokey");
    bench.engine.set_run_id(*b"\x01\xabcdefghijklmnopqrst");
    assert_eq!(
        bench.run("INFO KEYSPACE"),
        "$81\r\n# Keyspace\r\ndb0:keys=1,expires=1,avg_ttl=100000\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n\r\n"
    );
    let text = bench.run("INFO");
    for wanted in [
        "# Server\r\nredis_version:7.2.4\r\n",
        "\r\n\r\n# Clients\r\nconnected_clients:0\r\n",
        "\r\nloading:0\r\n",
        "\r\nrun_id:01ab636465666768696a6b6c6d6e6f7071727374\r\n",
        "\r\nrole:master\r\n",
        "\r\nkeyspace_misses:1\r\n",
        "\r\nmaxmemory_policy:noeviction\r\n",
        "# Datagrams\r\n",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    assert!(!text.contains("cmdstat_"));
    let all = bench.run("INFO everything");
    assert!(
        all.contains("\r\ncmdstat_set:calls=2,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0\r\n")
    );
    bench.run("GET");
    bench.run("INCRBY b x");
    let stats = bench.run("INFO commandstats errorstats");
    assert!(
        stats.contains(
            "\r\ncmdstat_get:calls=1,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n"
        )
    );
    assert!(stats.contains(
        "\r\ncmdstat_incrby:calls=1,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=1\r\n"
    ));
    assert!(stats.contains("\r\nerrorstat_ERR:count=2\r\n"));
    bench.engine.metrics.record_latency(VerbId::Get, 3);
    let latency = bench.run("INFO latencystats");
    assert!(
        latency.contains("\r\nlatency_percentiles_usec_get:p50=4.096,p99=4.096,p99.9=4.096\r\n"),
        "{latency}"
    );
    assert!(bench.run("INFO pannier").contains("\r\nrequest_duration_ns:4096=1\r\n"));
    bench.run("CONFIG RESETSTAT");
    assert!(!bench.run("INFO commandstats").contains("cmdstat_get"));
    bench.run("HELLO 3");
    assert!(bench.run("INFO cluster").starts_with("=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n"));
}

#[test]
fn config_is_set_whole_or_not_at_all() {
    let mut bench = Bench::new();
    let failed = "-ERR CONFIG SET failed (possibly related to argument";
    assert_eq!(bench.run("CONFIG SET timeout 5 slowlog-max-len 3"), "+OK\r\n");
    assert_eq!(bench.engine.runtime.idle_timeout.seconds(), 5);
    let reply = bench.run("CONFIG SET timeout 6 slowlog-max-len 1000");
    assert_eq!(
        reply,
        format!("{failed} 'slowlog-max-len') - argument must be between 0 and 128 inclusive\r\n")
    );
    assert_eq!(bench.engine.runtime.idle_timeout.seconds(), 5);
    // Memory can be taken away and given back, and is never more than what was reserved.
    let all = bench.engine.options.memory_bytes;
    for bytes in [all - (1 << 20), 1, all] {
        assert_eq!(bench.run(&format!("CONFIG SET maxmemory {bytes}b")), "+OK\r\n");
        assert!(bench.run("INFO memory").contains(&format!("\r\nmaxmemory:{bytes}\r\n")), "{bytes}");
        assert_eq!(bench.run("SET key value").starts_with("-OOM"), bytes == 1, "{bytes}");
        bench.run("DEL key");
        // Clients give back what they took by Redis's word for no limit.
        assert_eq!(bench.run("CONFIG SET maxmemory 0"), "+OK\r\n");
        assert!(bench.run("INFO memory").contains(&format!("\r\nmaxmemory:{all}\r\n")), "{bytes}");
        assert_eq!(bench.run("SET key value"), "+OK\r\n");
        bench.run("DEL key");
    }
    // What is used stays what it is, but for the few segments in reserve, and half of it is left where the limit is half.
    (0..200).for_each(|n| drop(bench.run_args(&[b"SET", format!("k{n}").as_bytes(), &[7; 5000]])));
    let used = |bench: &mut Bench| {
        let info = bench.run("INFO memory");
        let (_, rest) = info.split_once("used_memory:").unwrap();
        rest.split_once("\r\n").unwrap().0.parse::<u64>().unwrap()
    };
    let before = used(&mut bench);
    assert_eq!(bench.run(&format!("CONFIG SET maxmemory {}", all / 2)), "+OK\r\n");
    let after = used(&mut bench);
    assert!((before * 8 / 10..before * 12 / 10).contains(&after), "{before} {after}");
    assert_eq!(bench.run("SET key value"), "+OK\r\n");
    bench.run("FLUSHALL");
    bench.run("CONFIG SET maxmemory 0");
    for value in ["1tb", "-1", "5x", "much"] {
        let reply = bench.run(&format!("CONFIG SET maxmemory {value}"));
        assert_eq!(
            reply,
            format!("{failed} 'maxmemory') - argument must be between 0 and {all} inclusive\r\n")
        );
    }
    let reply = bench.run("CONFIG SET maxclients 20000");
    assert_eq!(reply, format!("{failed} 'maxclients') - argument must be between 1 and 10000 inclusive\r\n"));
    let reply = bench.run("CONFIG SET port 1");
    assert_eq!(reply, format!("{failed} 'port') - can't set immutable config\r\n"));
    assert_eq!(bench.run("CONFIG SET loglevel DEBUG"), "+OK\r\n");
    assert_eq!(bench.run("CONFIG GET loglevel"), "*2\r\n$8\r\nloglevel\r\n$5\r\ndebug\r\n");
    assert!(bench.run("CONFIG GET *").starts_with("*54\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"));
}

#[test]
fn command_tells_the_table() {
    let mut bench = Bench::new();
    let count = command::verbs().count();
    assert_eq!(bench.run("COMMAND COUNT"), format!(":{count}\r\n"));
    assert!(bench.run("COMMAND").starts_with(&format!("*{count}\r\n*10\r\n$3\r\nput\r\n:-3\r\n")));
    assert_eq!(bench.run("COMMAND INFO"), bench.run("COMMAND"));
    assert!(bench.run("COMMAND LIST").starts_with(&format!("*{}\r\n$3\r\nput\r\n", VERBS.len())));
    let get = "*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
        *3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*0\r\n*0\r\n";
    assert_eq!(bench.run("COMMAND INFO get nosuch"), format!("*2\r\n{get}$-1\r\n"));
    assert!(bench.run("COMMAND INFO config|GET").starts_with("*1\r\n*10\r\n$10\r\nconfig|get\r\n:-3\r\n"));
    let docs = "$3\r\nget\r\n%4\r\n$7\r\nsummary\r\n$22\r\nGet the value of a key\r\n$5\r\nsince\r\n$5\r\n1.0.0\r\n\
        $5\r\ngroup\r\n$6\r\nstring\r\n$10\r\ncomplexity\r\n$4\r\nO(1)\r\n";
    assert_eq!(bench.run("COMMAND DOCS nosuch get"), format!("*2\r\n{}", docs.replace("%4", "*8")));
    bench.run("HELLO 3");
    assert_eq!(bench.run("COMMAND DOCS nosuch get"), format!("%1\r\n{docs}"));
    assert!(bench.run("COMMAND DOCS").starts_with(&format!("%{count}\r\n")));
}

/// Says that a command took so long.
fn record_latency(bench: &mut Bench, verb: VerbId, micros: u64, arg: &[u8]) {
    let table = ArgTable::with_capacity(1);
    let now = Now { monotonic: Millis(0), unix: Millis(START), unix_micros: 0 };
    let spent = Timing { micros, peer: b"127.0.0.1:5000", now };
    let mut filled = table;
    let bytes = [b"*2\r\n$3\r\nGET\r\n$", arg.len().to_string().as_bytes(), b"\r\n", arg, b"\r\n"].concat();
    let bounds = crate::wire::resp::Bounds { authenticated: true, max_bulk_bytes: 1 << 20 };
    crate::wire::resp::Decoder::new().decode(&bytes, &bounds, &mut filled).unwrap();
    bench.engine.record_latency(&bench.session, &VERBS[verb as usize], &filled.args(&bytes), spent);
}

#[test]
fn slow_commands_are_logged_and_cut() {
    let mut bench = Bench::new();
    bench.run("CLIENT SETNAME me");
    record_latency(&mut bench, VerbId::Get, 9_999, b"fast");
    assert_eq!(bench.run("SLOWLOG LEN"), ":0\r\n");
    record_latency(&mut bench, VerbId::Get, 10_000, &[b'x'; 200]);
    record_latency(&mut bench, VerbId::Exec, 10_000, b"never logged");
    let long = format!("{}... (72 more bytes)", "x".repeat(128));
    let entry = format!(
        "*6\r\n:0\r\n:1700000000\r\n:10000\r\n*2\r\n$3\r\nGET\r\n${}\r\n{long}\r\n$14\r\n127.0.0.1:5000\r\n$2\r\nme\r\n",
        long.len()
    );
    assert_eq!(bench.run("SLOWLOG GET"), format!("*1\r\n{entry}"));
    bench.run("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 100");
    for i in 0..1000u32 {
        record_latency(&mut bench, VerbId::Get, 1, i.to_string().as_bytes());
    }
    assert_eq!(bench.run("SLOWLOG LEN"), ":100\r\n");
    assert!(bench.run("SLOWLOG GET 3").starts_with("*3\r\n*6\r\n:1000\r\n"));
    assert!(bench.run("SLOWLOG GET -1").starts_with("*100\r\n"));
    assert_eq!(bench.run("SLOWLOG RESET"), "+OK\r\n");
    assert_eq!(bench.run("SLOWLOG GET -1"), "*0\r\n");
    bench.run("CONFIG SET slowlog-max-len 0");
    record_latency(&mut bench, VerbId::Get, 1, b"x");
    assert_eq!(bench.run("SLOWLOG LEN"), ":0\r\n");
    bench.run("CONFIG SET slowlog-max-len 10");
    record_latency(&mut bench, VerbId::Get, 1, b"y");
    assert_eq!(bench.run("SLOWLOG LEN"), ":1\r\n");
}

#[test]
fn latency_is_shown_as_a_histogram() {
    let mut bench = Bench::new();
    for micros in [3, 5, 5] {
        record_latency(&mut bench, VerbId::Get, micros, b"k");
    }
    record_latency(&mut bench, VerbId::ConfigGet, 1, b"k");
    let get =
        "$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n*4\r\n:4\r\n:1\r\n:8\r\n:3\r\n";
    assert_eq!(bench.run("LATENCY HISTOGRAM get nosuch set"), format!("*2\r\n{get}"));
    assert!(bench.run("LATENCY HISTOGRAM config").starts_with("*2\r\n$10\r\nconfig|get\r\n"));
    assert!(bench.run("LATENCY HISTOGRAM").starts_with("*4\r\n$3\r\nget\r\n"));
}

#[test]
fn hostile_patterns_take_bounded_time() {
    let mut bench = Bench::new();
    let key = vec![b'a'; 60_000];
    for i in 0..20u8 {
        bench.run_args(&[b"SET", &[&key[..], &[i]].concat(), b"v"]);
    }
    let pattern = b"a*".repeat(500);
    assert_eq!(bench.run_args(&[b"KEYS", &[&pattern[..], b"b"].concat()]), b"*0\r\n");
    assert_eq!(bench.run_args(&[b"KEYS", &[b'*'; 1_000]]).len(), bench.run("KEYS *").len());
    let reply = bench.run_args(&[b"SCAN", b"0", b"MATCH", &pattern, b"COUNT", b"1000000000"]);
    assert!(reply.starts_with(b"*2\r\n"));
}

#[test]
fn debug_sleeps_only_where_it_may() {
    let config = ServerOptions { debug_commands: true, ..ServerOptions::default() };
    let mut bench = Bench::with(config, StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() });
    assert_eq!(bench.run("DEBUG SLEEP 0"), "+OK\r\n");
    let unknown = "-ERR unknown subcommand or wrong number of arguments for 'x'. Try DEBUG HELP.\r\n";
    assert_eq!(bench.run("DEBUG x"), unknown);
}
