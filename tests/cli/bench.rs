//! `pannier bench` against servers that are honest, lying, full, silent or gone: what it counts, what it prints and how
//! it ends. Nothing here depends on how long anything takes.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Command, Output},
    thread,
    time::Duration,
};

use pannier::{
    limits::MIB,
    net::{Handle, ServerOptions},
};
use serde_json::Value;

use crate::fake::{Answer, fake_server};

fn server(memory_mib: usize, password: Option<&str>) -> Handle {
    let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
    let mut options = ServerOptions::default();
    options.tcp = loopback;
    options.udp = Some(loopback);
    options.memory_bytes = (memory_mib * MIB) as u64;
    options.max_clients = 100;
    options.databases = 1;
    options.max_value_bytes = MIB as u64;
    options.password = password.map(|text| text.as_bytes().to_vec());
    Handle::start(options).unwrap()
}

fn bench(server: &str, words: &str) -> Output {
    bench_with(server, words, &[])
}

fn bench_with(server: &str, words: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().envs(environment.iter().copied());
    command.args(["bench", "--server", server, "--json"]).args(words.split_whitespace()).output().unwrap()
}

/// The object on stdout, of a load that ended well.
#[track_caller]
fn report(output: &Output) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*told), (Some(0), ""));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn check_failure(output: &Output, exit: i32, told: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    assert!(stderr.contains(told), "{stderr:?} does not say {told:?}");
}

fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or_else(|| panic!("{name} is no whole number in {object}"))
}

const SMALL: &str = "--fill --keys 500 --requests 3000 --connections 3 --pipeline 8 --check-every 10";

/// What must be true of a small load, whatever answers it.
#[track_caller]
fn check_small(report: &Value) {
    assert_eq!(number(report, "requests"), 3000);
    let latency = &report["latency_us"];
    let (reads, writes) = (number(&latency["reads"], "count"), number(&latency["writes"], "count"));
    assert!(reads + writes == 3000 && (2_500..2_900).contains(&reads), "{report}");
    assert_eq!((number(report, "hits"), number(report, "misses")), (reads, 0));
    assert_eq!((number(report, "checked"), number(report, "wrong")), (reads / 10, 0));
    assert_eq!(
        (report["errors"].as_object().map(serde_json::Map::len), number(report, "unsent")),
        (Some(0), 0)
    );
    assert_eq!(number(&report["fill"], "requests"), 500);
    for name in ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"] {
        assert!(latency["all"][name].as_f64().is_some_and(|micros| micros > 0.0), "{name} in {report}");
    }
    let rate = report["requests_per_second"].as_f64().unwrap() * report["seconds"].as_f64().unwrap();
    assert!((rate - 3000.0).abs() < 1.0);
    assert!(report["load_cpu_ns_per_request"].as_f64().is_some_and(|ns| ns > 0.0));
}

#[test]
fn each_protocol_is_answered_in_full() {
    let server = server(16, None);
    let (tcp, udp) = (server.tcp_address().to_string(), server.udp_address().unwrap().to_string());
    for (protocol, address) in [("resp", &tcp), ("frames", &tcp), ("udp", &udp)] {
        let report = report(&bench(address, &format!("{SMALL} --protocol {protocol}")));
        check_small(&report);
        assert_eq!(report["protocol"], protocol);
    }
    check_small(&report(&bench(&memcached(), &format!("{SMALL} --protocol memcached"))));
}

#[test]
fn sizes_and_keys_and_times_to_live_are_as_asked() {
    let server = server(64, None);
    let address = server.tcp_address().to_string();
    for words in [
        "--value-size 0-5000",
        "--value-size 100KiB --keys 50",
        "--key-size 200 --distribution zipf:0.99",
        "--ttl 1h --pipeline 100",
        "--ttl 1h --protocol frames --value-size 8KiB --keys 100",
        "--protocol udp --pipeline 64 --value-size 1-1000",
        "--rate 100000",
        "--rate 100000 --protocol udp",
    ] {
        let words = format!("--fill --keys 500 --requests 2000 --connections 2 --check-every 1 {words}");
        // The last of two values for a flag is not taken: each is given once.
        let words =
            if words.matches("--keys").count() > 1 { words.replacen("--keys 500", "", 1) } else { words };
        let report = report(&bench(&address, &words));
        let reads = number(&report["latency_us"]["reads"], "count");
        assert_eq!((number(&report, "requests"), number(&report, "misses")), (2000, 0), "{words}: {report}");
        assert_eq!((number(&report, "checked"), number(&report, "wrong")), (reads, 0), "{words}: {report}");
    }
    let mut client = pannier::client::Client::connect(&*address).unwrap();
    let mut key = vec![b'0'; 200];
    key[..4].copy_from_slice(b"key:");
    assert_eq!(client.get(&key).unwrap().map(|value| value.len()), Some(32));
}

#[test]
fn the_same_seed_asks_the_same() {
    // Without a fill, which keys are missed depends on which are asked.
    let words = "--keys 1000 --requests 1000 --connections 1 --reads 50";
    let run = |seed: u32| {
        let server = server(16, None);
        let address = server.tcp_address().to_string();
        let report = report(&bench(&address, &format!("{words} --seed {seed}")));
        (number(&report, "hits"), number(&report["latency_us"]["writes"], "count"))
    };
    let first = run(7);
    assert!(first.0 > 0 && first == run(7) && first != run(8));
}

#[test]
fn a_large_value_is_read_beside_the_load_and_a_warm_up_is_not_counted() {
    let server = server(64, None);
    let address = server.tcp_address().to_string();
    let words = "--requests 500 --keys 100 --fill --warm-up 20ms --large-rate 100 --large-size 600KiB";
    let report = report(&bench(&address, words));
    assert_eq!(number(&report, "requests"), 500);
    let large = &report["large"];
    assert!(number(large, "requests") >= 1 && number(large, "misses") == 0 && number(large, "wrong") == 0);
}

/// A field of the server's INFO.
fn info(server: &Handle, section: &str, field: &str) -> String {
    let mut client = pannier::client::Client::connect(server.tcp_address().to_string()).unwrap();
    let text = client.info(Some(section)).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in {text}")).to_owned()
}

/// Ends of connections to this port on 127.0.0.1 that are kept in `TIME_WAIT`, as proc(5) describes `/proc/net/tcp`.
fn time_wait_count(port: u16) -> usize {
    let remote = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(2) == Some(&&*remote) && row.get(3) == Some(&"06")).count()
}

#[test]
fn each_request_can_have_a_connection_of_its_own() {
    for pace in ["", "--rate 100000"] {
        // It has places for a third of the connections: it runs out of them unless they are closed.
        let server = server(16, None);
        let words = "--reconnect --requests 300 --connections 3 --fill --keys 50 --reads 50 --check-every 1";
        let report = report(&bench(&server.tcp_address().to_string(), &format!("{words} {pace}")));
        let reads = number(&report["latency_us"]["reads"], "count");
        assert_eq!((number(&report, "requests"), number(&report, "checked")), (300, reads), "{report}");
        assert_eq!((number(&report, "wrong"), &report["reconnect"]), (0, &Value::Bool(true)));
        // Three that fill, one for each request, and the one that asks.
        assert_eq!(info(&server, "stats", "total_connections_received"), "304");
        // Those of the last requests may be closed in order; the others leave no port behind.
        assert!(time_wait_count(server.tcp_address().port()) < 10);
    }
    let server = server(16, None);
    let address = server.tcp_address().to_string();
    check_failure(&bench(&address, "--reconnect --protocol udp"), 2, "over UDP there are no connections");
    check_failure(&bench(&address, "--reconnect --pipeline 2"), 2, "leave out --pipeline");
}

#[test]
fn a_server_that_ends_each_connection_itself_is_no_trouble_where_each_has_one_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 36];
            if stream.read_exact(&mut request).is_ok() {
                stream.write_all(b"$-1\r\n").unwrap();
            }
        }
    });
    let report = report(&bench(&address, "--reconnect --connections 1 --requests 40 --reads 100"));
    assert_eq!((number(&report, "requests"), number(&report, "misses")), (40, 40));
}

#[test]
fn commands_take_turns_with_values_of_many_sizes() {
    let server = server(16, None);
    let address = server.tcp_address().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().args(["bench", "--server", &address, "--json", "--command", "6 GET {key}"]);
    command.args(["--command", "3 SETEX {key} 3600 {value}", "--command"]);
    command.arg(format!("MGET{}", " {key}".repeat(10)));
    let words = "--fill --keys 100 --value-size 100-16KiB --requests 1000 --connections 1 --pipeline 16";
    let report = report(&command.args(words.split_whitespace()).output().unwrap());
    assert_eq!((number(&report, "requests"), number(&report, "misses")), (1000, 0));
    assert_eq!(report["errors"].as_object().map(serde_json::Map::len), Some(0), "{report}");
    assert!(
        report["command"]
            .as_str()
            .unwrap()
            .starts_with("6 GET {key}, 3 SETEX {key} 3600 {value}, MGET {key} ")
    );
    for (verb, count) in [("get", 600), ("setex", 300), ("mget", 100), ("set", 100)] {
        let calls = info(&server, "commandstats", &format!("cmdstat_{verb}"));
        assert!(calls.starts_with(&format!("calls={count},")), "{verb}: {calls}");
    }
    let mut client = pannier::client::Client::connect(&*address).unwrap();
    let lengths: Vec<usize> = (0..100)
        .map(|number| client.get(format!("key:{number:012}").as_bytes()).unwrap().unwrap().len())
        .collect();
    assert!(lengths.iter().all(|len| (100..=16 * 1024).contains(len)));
    assert!(lengths.iter().any(|len| *len < 4096) && lengths.iter().any(|len| *len > 12_000));
}

#[test]
fn wrong_answers_are_seen() {
    let lying = fake_server(|request| {
        let honest = format!("$32\r\n{}\r\n", "x".repeat(32));
        Answer::Bytes(if request[0] == b"GET" { honest.into_bytes() } else { b"+OK\r\n".to_vec() })
    });
    let output = bench(&lying.to_string(), "--connections 1 --requests 100 --reads 100 --check-every 10");
    check_failure(&output, 1, "wrong answers; the first: key number ");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((number(&report, "checked"), number(&report, "wrong")), (10, 10));
}

#[test]
fn replies_in_pieces_are_put_together() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 1024];
        // One GET of a 16-byte key has 36 bytes; pieces of 1, 2, 3 … bytes, misses and RESP3's null among them.
        for number in 0..40 {
            stream.read_exact(&mut request[..36]).unwrap();
            let reply: &[u8] =
                [b"$-1\r\n".as_slice(), b"_\r\n", b"-ERR no\r\n", b"$3\r\n000\r\n", b"$0\r\n\r\n"]
                    [number % 5];
            for piece in reply.chunks(1 + number % 4) {
                stream.write_all(piece).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let report = report(&bench(&address, "--connections 1 --requests 40 --reads 100 --check-every 0"));
    assert_eq!((number(&report, "misses"), number(&report, "hits")), (16, 16));
    assert_eq!(number(&report["errors"], "ERR no"), 8);
}

#[test]
fn errors_are_counted_by_their_words() {
    let server = server(12, None);
    let words = "--keys 300 --value-size 100KB --fill --requests 50 --reads 0 --connections 2";
    let report = report(&bench(&server.tcp_address().to_string(), words));
    let errors = |object: &Value| {
        let kinds = object["errors"].as_object().unwrap();
        assert!(kinds.keys().all(|words| words.starts_with("OOM ")), "{object}");
        kinds.values().filter_map(Value::as_u64).sum::<u64>()
    };
    assert!(errors(&report["fill"]) > 100 && number(&report, "requests") == 50, "{report}");
    assert!(errors(&report) <= 50);
}

#[test]
fn a_server_that_is_gone_or_silent_or_something_else_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for protocol in ["resp", "frames", "udp", "memcached"] {
        check_failure(&bench(&closed, &format!("--protocol {protocol}")), 4, "Is it running?");
    }
    check_failure(&bench("127.0.0.1:http", ""), 4, "127.0.0.1:http");
    let mut count = 0;
    let leaving = fake_server(move |_| {
        count += 1;
        if count < 20 { Answer::Bytes(b"$-1\r\n".to_vec()) } else { Answer::Close }
    });
    let words = "--connections 1 --reads 100";
    check_failure(&bench(&leaving.to_string(), words), 4, "closed the connection");
    let silent = fake_server(|_| Answer::Silence).to_string();
    check_failure(&bench(&silent, &format!("{words} --timeout 100ms")), 4, "did not answer for 100ms");
    let other = fake_server(|_| Answer::Bytes(b"HTTP/1.1 400\r\n".to_vec())).to_string();
    check_failure(&bench(&other, words), 1, "does it speak this --protocol?");
    check_failure(&bench(&closed, "--server-pid 4194305"), 2, "--server-pid");
    check_failure(&bench(&closed, "--keys 1000000 --key-size 3"), 2, "--key-size must be at least 7");
}

/// Whether its words arrive before the first request or as the answer to it.
#[test]
fn a_server_that_has_no_place_is_told_in_its_words() {
    let server = server(16, None);
    for words in ["--connections 120", "--connections 120 --rate 100"] {
        let output = bench(&server.tcp_address().to_string(), words);
        check_failure(&output, 1, "ERR max number of clients reached; use fewer --connections");
    }
}

#[test]
fn a_password_is_needed_where_there_is_one() {
    let server = server(16, Some("sesame"));
    let (tcp, udp) = (server.tcp_address().to_string(), server.udp_address().unwrap().to_string());
    for (protocol, address) in [("resp", &tcp), ("frames", &tcp), ("udp", &udp)] {
        let words = format!("{SMALL} --protocol {protocol}");
        check_failure(&bench(address, &words), 5, "PANNIER_PASSWORD");
        check_small(&report(&bench_with(address, &words, &[("PANNIER_PASSWORD", "sesame")])));
    }
    let wrong = [("PANNIER_PASSWORD", "basil")];
    check_failure(&bench_with(&tcp, SMALL, &wrong), 5, "another one");
}

/// A memcached of a few lines: text protocol, `get` of one key and `set`.
fn memcached() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        // All connections see the same values: threads for three of them.
        let values = std::sync::Arc::new(std::sync::Mutex::new(HashMap::<String, Vec<u8>>::new()));
        for stream in listener.incoming().take(3).flatten() {
            stream.set_nodelay(true).unwrap();
            let values = values.clone();
            thread::spawn(move || {
                let mut input = BufReader::new(stream);
                let mut line = String::new();
                while input.read_line(&mut line).is_ok_and(|count| count > 0) {
                    let reply = match *line.split_whitespace().collect::<Vec<_>>() {
                        ["get", key] => {
                            values.lock().unwrap().get(key).map_or(b"END\r\n".to_vec(), |value| {
                                [
                                    format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes(),
                                    value,
                                    b"\r\nEND\r\n",
                                ]
                                .concat()
                            })
                        }
                        ["set", key, "0", "0", len] => {
                            let mut value = vec![0; len.parse::<usize>().unwrap() + 2];
                            input.read_exact(&mut value).unwrap();
                            value.truncate(value.len() - 2);
                            values.lock().unwrap().insert(key.to_owned(), value);
                            b"STORED\r\n".to_vec()
                        }
                        _ => b"ERROR\r\n".to_vec(),
                    };
                    input.get_mut().write_all(&reply).unwrap();
                    line.clear();
                }
            });
        }
    });
    address
}
