//! The `pannier` binary as scripts see it: what goes to stdout, what to stderr, and the exit code.

use std::{
    collections::BTreeMap,
    io::Write,
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use crate::fake::{Answer, fake_server};

/// Runs the binary against `server` with nothing of this machine's environment.
fn pannier(server: &str, words: &[&str], stdin: &[u8]) -> Output {
    let mut child = command()
        .args(words)
        .env("PANNIER_SERVER", server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not want its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
    command.env_clear().env("COLUMNS", "100");
    command
}

#[track_caller]
fn check(output: &Output, exit: i32, stdout: &str, told: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert!(stderr.contains(told), "{stderr:?} does not say {told:?}");
    assert!(told.is_empty() <= stderr.is_empty(), "unexpected: {stderr:?}");
}

/// A server that keeps values and nothing else: enough for the verbs, without time.
fn small_server() -> String {
    let mut values = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    let bulk = |bytes: &[u8]| [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let address = fake_server(move |request| {
        let words: Vec<&[u8]> = request.iter().map(|word| &word[..]).collect();
        Answer::Bytes(match words[..] {
            [b"PUT", key, _, b"NX"] if values.contains_key(key) => b"$-1\r\n".to_vec(),
            [b"PUT", key, _, b"XX"] if !values.contains_key(key) => b"$-1\r\n".to_vec(),
            [b"PUT", key, _, b"IFEQ", expected] if values.get(key).is_none_or(|value| value != expected) => {
                b"$-1\r\n".to_vec()
            }
            [b"PUT", key, value, ..] => {
                values.insert(key.to_vec(), value.to_vec());
                b"+OK\r\n".to_vec()
            }
            [b"GET", key] => values.get(key).map_or(b"$-1\r\n".to_vec(), |value| bulk(value)),
            [b"DELETE", ref keys @ ..] => {
                let count = keys.iter().filter(|&&key| values.remove(key).is_some()).count();
                format!(":{count}\r\n").into_bytes()
            }
            [b"EXISTS", ref keys @ ..] => {
                let count = keys.iter().filter(|&&key| values.contains_key(key)).count();
                format!(":{count}\r\n").into_bytes()
            }
            [b"PEXPIRE" | b"PERSIST", key, ..] => {
                format!(":{}\r\n", u8::from(values.contains_key(key))).into_bytes()
            }
            [b"SELECT", b"99"] => b"-ERR DB index is out of range\r\n".to_vec(),
            [b"SELECT", _] => b"+OK\r\n".to_vec(),
            [b"INFO", b"nosuch"] => b"$0\r\n\r\n".to_vec(),
            [b"INCRBY", _, by] => [b":", by, b"\r\n"].concat(),
            [b"PTTL", b"missing"] => b":-2\r\n".to_vec(),
            [b"PTTL", b"forever"] => b":-1\r\n".to_vec(),
            [b"PTTL", _] => b":29500\r\n".to_vec(),
            [b"PING"] => b"+PONG\r\n".to_vec(),
            [b"INFO", ..] => bulk(b"# Server\r\nversion:1.0\r\nuptime:7\r\n"),
            [b"SCAN", ..] => {
                let keys: Vec<u8> = values.keys().flat_map(|key| bulk(key)).collect();
                [format!("*2\r\n$1\r\n0\r\n*{}\r\n", values.len()).as_bytes(), &keys].concat()
            }
            _ => b"-ERR not here\r\n".to_vec(),
        })
    });
    address.to_string()
}

#[test]
fn values_go_in_and_out() {
    let server = &small_server();
    check(&pannier(server, &["put", "k", "hello"], b""), 0, "OK\n", "");
    check(&pannier(server, &["get", "k"], b""), 0, "hello", "");
    check(&pannier(server, &["get", "k", "--json"], b""), 0, "{\"value\":\"hello\"}\n", "");
    let binary = [0, 1, 255, b'\n'];
    check(&pannier(server, &["put", "binary", "-", "--ttl", "30s"], &binary), 0, "OK\n", "");
    assert_eq!(pannier(server, &["get", "binary"], b"").stdout, binary);
    check(&pannier(server, &["get", "binary", "--json"], b""), 0, "{\"value_base64\":\"AAH/Cg==\"}\n", "");
    check(&pannier(server, &["put", "n", "-7"], b""), 0, "OK\n", "");
    check(&pannier(server, &["scan"], b""), 0, "binary\nk\nn\n", "");
    check(&pannier(server, &["delete", "k", "n", "x"], b""), 0, "2\n", "");
    check(&pannier(server, &["get", "k"], b""), 3, "", "no such key: k");
    check(&pannier(server, &["get", "k", "--json"], b""), 3, "{\"value\":null}\n", "no such key");
    check(&pannier(server, &["delete", "k"], b""), 3, "0\n", "");
}

#[test]
fn conditions_have_exit_codes() {
    let server = &small_server();
    check(&pannier(server, &["put", "k", "1", "--if-present"], b""), 3, "", "no such key: k");
    check(&pannier(server, &["put", "k", "1", "--if-absent"], b""), 0, "OK\n", "");
    check(&pannier(server, &["put", "k", "2", "--if-absent"], b""), 1, "", "exists already");
    check(&pannier(server, &["put", "k", "2", "--if-equal", "0"], b""), 1, "", "another value");
    check(&pannier(server, &["put", "k", "2", "--if-equal", "1"], b""), 0, "OK\n", "");
    let json = pannier(server, &["put", "k", "3", "--if-absent", "--json"], b"");
    check(&json, 1, "{\"stored\":false}\n", "exists already");
}

#[test]
fn numbers_times_and_figures() {
    let server = &small_server();
    check(&pannier(server, &["incr", "n"], b""), 0, "1\n", "");
    check(&pannier(server, &["incr", "n", "--by", "-3", "--json"], b""), 0, "{\"value\":-3}\n", "");
    check(&pannier(server, &["ttl", "k"], b""), 0, "29.5s\n", "");
    check(&pannier(server, &["ttl", "forever"], b""), 0, "forever\n", "");
    check(&pannier(server, &["ttl", "k", "--json"], b""), 0, "{\"exists\":true,\"ttl_ms\":29500}\n", "");
    check(&pannier(server, &["ttl", "missing"], b""), 3, "", "no such key");
    check(&pannier(server, &["ping"], b""), 0, "PONG\n", "answered in");
    check(&pannier(server, &["stats"], b""), 0, "# Server\nversion:1.0\nuptime:7\n", "");
    let stats = pannier(server, &["stats", "server", "--json"], b"");
    check(&stats, 0, "{\"server\":{\"uptime\":7,\"version\":\"1.0\"}}\n", "");
}

#[test]
fn mistakes_get_exit_code_2_and_a_way_out() {
    for (words, told) in [
        (&["put", "k"][..], "<VALUE>"),
        (&["put", "k", "v", "--ttl", "soon"], "500ms, 30s"),
        (&["put", "k", "v", "--ttl", "0"], "longer than zero"),
        (&["put", "k", "v", "--if-absent", "--if-present"], "cannot be used with"),
        (&["delete"], "<KEY>"),
        (&["incr", "k", "--by", "much"], "write a whole number, such as 5 or -3"),
        (&["put", "k", "v", "--ttl", "5x"], "'5x' is not a duration"),
        (&["expire", "k", "5x"], "'5x' is not a duration"),
        (&["get", "k", "--timeout", "25h"], "at most 24h"),
        (&["get", "k", "--timeout", "2m", "--udp"], "at most 60s"),
        (&["get", "k", "--db", "1", "--udp"], "database 0"),
        (&["get", "k", "--server", "rediss://a"], "no TLS"),
        (&["get", "k", "--server", "unix:///run/x"], "no Unix socket"),
        (&["bench", "--distribution", "zipf5"], "unknown distribution 'zipf5'"),
        (&["call"], "<WORD>"),
        (&["gett", "k"], "'get'"),
        (&["simulate", "--seeds", "0"], "1.."),
        (&["simulate", "--seeds", "5", "--duration", "1m"], "cannot be used with"),
        (&["simulate", "--without", "rain"], "no such fault"),
        (&["get", "k", "--server", "host:port"], "write host:port"),
        (&["serve", "--memory", "900TiB"], "is more than"),
        (&["config", "print", "--memory", "1m"], "too small"),
        (&["config", "pint"], "'print'"),
        (&["completions", "tcsh"], "zsh"),
        (&["serve", "--tcp", "0.0.0.0:0"], "--allow-unauthenticated"),
        (&["serve", "--memory", "lots"], "64MiB"),
        (&["get", "k", "--password-file", "/nonexistent/pw"], "/nonexistent/pw"),
    ] {
        check(&pannier("127.0.0.1:1", words, b""), 2, "", told);
    }
}

#[test]
fn the_server_is_set_up_by_the_environment() {
    let serve = |variable: &str, value: &str| {
        command().args(["serve", "--tcp", "0.0.0.0:0"]).env(variable, value).output().unwrap()
    };
    check(&serve("PANNIER_ALLOW_UNAUTHENTICATED", "no"), 2, "", "--allow-unauthenticated");
    check(&serve("PANNIER_ALLOW_UNAUTHENTICATED", "perhaps"), 2, "", "perhaps");
    check(&serve("PANNIER_LOG_REQUESTS", "1"), 2, "", "--allow-unauthenticated");
    check(&serve("PANNIER_MEMORY", "lots"), 2, "", "64MiB");
    check(&serve("PANNIER_PASSWORD_FILE", "/nonexistent/pw"), 2, "", "/nonexistent/pw");
}

#[test]
fn redis_words_urls_and_databases_work() {
    let server = &small_server();
    check(&pannier(server, &["set", "k", "v"], b""), 0, "OK\n", "");
    check(&pannier(&format!("redis://{server}/2"), &["get", "k"], b""), 0, "v", "");
    check(&pannier(server, &["get", "k", "--db", "3"], b""), 0, "v", "");
    check(&pannier(server, &["get", "k", "--db", "99"], b""), 1, "", "out of range");
    check(&pannier(server, &["exists", "k", "x"], b""), 0, "1\n", "");
    check(&pannier(server, &["exists", "x", "--json"], b""), 3, "{\"exist\":0}\n", "");
    check(&pannier(server, &["expire", "k", "30m"], b""), 0, "OK\n", "");
    check(&pannier(server, &["expire", "k", "never"], b""), 0, "OK\n", "");
    check(&pannier(server, &["expire", "x", "30m"], b""), 3, "", "no such key: x");
    check(&pannier(server, &["del", "k"], b""), 0, "1\n", "");
    check(&pannier(server, &["stats", "nosuch"], b""), 1, "", "no such section: nosuch");
    let long = "k".repeat(5_000);
    let output = pannier(server, &["get", &long], b"");
    assert!(output.stderr.len() < 200, "{}", String::from_utf8_lossy(&output.stderr));
    check(&output, 3, "", "(5000 bytes)");
}

#[test]
fn any_command_can_be_called() {
    let server = &small_server();
    check(&pannier(server, &["call", "PUT", "k", "hello"], b""), 0, "OK\n", "");
    check(&pannier(server, &["call", "GET", "k"], b""), 0, "hello\n", "");
    check(&pannier(server, &["call", "--json", "GET", "missing"], b""), 0, "null\n", "");
    check(&pannier(server, &["call", "--json", "SCAN", "0"], b""), 0, "[\"0\",[\"k\"]]\n", "");
    check(&pannier(server, &["call", "INCRBY", "n", "-3"], b""), 0, "-3\n", "");
    check(&pannier(server, &["call", "NONSENSE", "--json"], b""), 1, "", "ERR not here");
}

#[test]
fn the_prompt_reads_a_file_of_commands() {
    let server = &small_server();
    let text =
        b"PUT k \"a b\"\n\nGET k\nNONSENSE\nGET \"k\nSELECT 2\nhelp get\nSUBSCRIBE x\nquit\nPUT k other\n";
    let output = pannier(server, &["cli"], text);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout, "OK\na b\nOK\nGET: Get the value of a key (group string, O(1))\n", "{stderr}");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for told in
        ["line 4: ", "ERR not here", "line 5: a quote is not closed", "line 8: SUBSCRIBE makes a stream"]
    {
        assert!(stderr.contains(told), "{stderr}");
    }
    check(&pannier(server, &["cli"], b"GET k"), 0, "a b\n", "");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    check(&pannier(&closed, &["cli"], b"GET k\n"), 4, "", "cannot connect");
}

#[test]
fn no_server_and_no_answer() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    check(&pannier(&closed, &["get", "k"], b""), 4, "", "pannier serve");
    check(&pannier(&closed, &["put", "k", "v"], b""), 4, "", "cannot connect");
    let silent = &fake_server(|_| Answer::Silence).to_string();
    check(&pannier(silent, &["get", "k", "--timeout", "50ms"], b""), 4, "", "no answer within 50ms");
    check(&pannier(silent, &["put", "k", "v", "--timeout", "50ms"], b""), 6, "", "outcome unknown");
    let rude = &fake_server(|_| Answer::Close).to_string();
    check(&pannier(rude, &["incr", "k"], b""), 6, "", "outcome unknown");
    check(&pannier(rude, &["scan"], b""), 4, "", "closed the connection");
}

#[test]
fn errors_of_the_server_and_passwords() {
    let address = fake_server(|request| match request {
        [auth, password] if auth == b"AUTH" && password == b"right" => Answer::Bytes(b"+OK\r\n".to_vec()),
        [auth, _] if auth == b"AUTH" => Answer::Bytes(b"-WRONGPASS invalid password\r\n".to_vec()),
        [get, key] if get == b"GET" && key == b"locked" => {
            Answer::Bytes(b"-NOAUTH Authentication required.\r\n".to_vec())
        }
        _ => Answer::Bytes(b"-ERR \x1b[31mno\r\n".to_vec()),
    });
    let server = &address.to_string();
    check(&pannier(server, &["get", "k"], b""), 1, "", "ERR \\u{1b}[31mno");
    check(&pannier(server, &["get", "locked"], b""), 5, "", "PANNIER_PASSWORD");
    let with = |password: &str| {
        command().args(["get", "k", "--server", server]).env("PANNIER_PASSWORD", password).output().unwrap()
    };
    let open = fake_server(|_| {
        let text = "-ERR AUTH <password> called without any password configured for the default user.\r\n";
        Answer::Bytes(text.as_bytes().to_vec())
    });
    let open = pannier(&format!("redis://:pw@{open}"), &["get", "k"], b"");
    check(&open, 5, "", "the server has no password and was given one");
    check(&pannier(&format!("redis://:right@{server}"), &["get", "k"], b""), 1, "", "ERR");
    check(&with("wrong"), 5, "", "invalid password");
    check(&with("right"), 1, "", "ERR");
}

#[test]
fn the_healthcheck_answers_with_0_or_1() {
    let healthcheck = |tcp: &str| command().arg("healthcheck").env("PANNIER_TCP", tcp).output().unwrap();
    let server = small_server();
    check(&healthcheck(&server), 0, "", "");
    check(&healthcheck(&server.replace("127.0.0.1", "0.0.0.0")), 0, "", "");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    check(&healthcheck(&closed), 1, "", "cannot connect");
    let error = healthcheck(&closed).stderr;
    let error = String::from_utf8_lossy(&error);
    assert!(
        error.contains("--tcp") && !error.contains("--server") && !error.contains("PANNIER_SERVER"),
        "{error}"
    );
    let full = fake_server(|_| Answer::Bytes(b"-ERR max number of clients reached\r\n".to_vec())).to_string();
    check(&healthcheck(&full), 1, "", "max number of clients reached");
    let with_password = command()
        .arg("healthcheck")
        .env("PANNIER_TCP", &full)
        .env("PANNIER_PASSWORD", "pw")
        .output()
        .unwrap();
    check(&with_password, 1, "", "max number of clients reached");
    check(&pannier(&full, &["put", "k", "v"], b""), 4, "", "max number of clients reached");
    let locked = fake_server(|_| Answer::Bytes(b"-NOAUTH Authentication required.\r\n".to_vec())).to_string();
    check(&healthcheck(&locked), 0, "", "");
}

#[test]
fn help_has_examples_and_completions_are_scripts() {
    for words in [&["--help"][..], &["put", "--help"], &["serve", "--help"], &["scan", "--help"]] {
        let output = pannier("", words, b"");
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(help.contains("Example") && help.contains("pannier"), "{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = pannier("", &["completions", shell], b"");
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let server = small_server();
    check(&pannier(&server, &["put", "k", "v"], b""), 0, "OK\n", "");
    let mut child = command()
        .args(["scan", "--server", &server])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    check(&child.wait_with_output().unwrap(), 0, "", "");
}
