//! What operators do with a server: signals, the log, configuration, manual pages and completions.

use crate::common::{KIB, Server, binary, eventually, show};
use pannier::client::{PutOptions, Udp};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory that is gone at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("pannier-operators-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("write");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sends SIGHUP and waits until the log says `told` once more.
fn hang_up(server: &Server, told: &str) {
    let count = || server.stderr().matches(told).count();
    let before = count();
    server.signal("HUP");
    eventually(told, || count() > before);
}

fn auth(server: &Server, password: &str) -> Vec<u8> {
    server.connect().call(&["AUTH", password])
}

const OK: &[u8] = b"+OK\r\n";

#[test]
fn sighup_reads_the_password_again() {
    let folder = Folder::new("password");
    let file = folder.file("password", "first\n");
    let server = Server::start(&["--password-file", &file, "--udp", "127.0.0.1:0"]);
    let mut known = server.connect();
    assert_eq!(known.call(&["AUTH", "first"]), OK);

    folder.file("password", "second\n");
    assert_eq!(auth(&server, "first"), OK, "nothing is read before SIGHUP");
    hang_up(&server, "the password is now the one in");
    assert!(auth(&server, "first").starts_with(b"-WRONGPASS"));
    assert_eq!(auth(&server, "second"), OK);
    assert_eq!(known.call(&["SET", "k", "v"]), OK, "a client that is authenticated stays so");
    let mut datagrams =
        Udp::builder().password(b"second").connect(server.udp_address().to_string()).expect("connect");
    assert!(datagrams.put(b"k", b"by datagram", &PutOptions::new()).expect("the tag fits"));
    assert_eq!(known.call(&["GET", "k"]), b"$11\r\nby datagram\r\n");

    hang_up(&server, "is the same as before");
    assert!(!server.stderr().contains("second\n") && !server.stderr().contains("first"));
}

#[test]
fn a_password_file_that_cannot_be_used_changes_nothing() {
    let folder = Folder::new("bad-password");
    let file = folder.file("password", "first");
    let server = Server::start(&["--password-file", &file]);
    folder.file("password", "\n");
    hang_up(&server, "is empty; the password stays as it was");
    folder.file("password", &"x".repeat(600));
    hang_up(&server, "longer than 512 bytes; the password stays as it was");
    fs::remove_file(&file).expect("remove");
    hang_up(&server, &format!("cannot read the password file {file}"));
    assert!(Command::new("mkfifo").arg(&file).status().expect("mkfifo").success());
    hang_up(&server, "is no regular file and is read at the start only; the password stays as it was");
    assert_eq!(auth(&server, "first"), OK);
    assert!(server.connect().line("GET k").starts_with(b"-NOAUTH"), "a password that is gone opens nothing");
}

#[test]
fn sighup_reads_the_log_level_again() {
    let folder = Folder::new("level");
    let file = folder.file("level", "info\n");
    let server = Server::start(&["--log-level-file", &file, "--log-level", "trace"]);
    let level = || server.connect().call(&["CONFIG", "GET", "loglevel"]);
    assert!(level().ends_with(b"notice\r\n"), "the file goes before the flag");
    assert!(!server.stderr().contains("connected"), "connections are a matter of debug");

    folder.file("level", "debug\n");
    hang_up(&server, "the log level is now debug");
    assert!(level().ends_with(b"verbose\r\n"));
    eventually("a line for a connection", || server.stderr().contains(" connected"));

    folder.file("level", "loud\n");
    hang_up(&server, "the levels are off, error, warn, info, debug and trace; the log level stays as it was");
    assert!(level().ends_with(b"verbose\r\n"));

    let mut client = server.connect();
    assert_eq!(client.call(&["CONFIG", "SET", "loglevel", "warning"]), OK);
    folder.file("level", "info");
    hang_up(&server, "the log level is now info");
    assert!(level().ends_with(b"notice\r\n"));
}

#[test]
fn sighup_without_files_says_that_there_is_nothing_to_read() {
    let server = Server::start(&[]);
    hang_up(
        &server,
        "nothing to read again: none of --password-file, --admin-token-file and --log-level-file is set",
    );
    assert_eq!(server.connect().line("PING"), b"+PONG\r\n");
}

#[test]
fn a_flood_of_bad_input_is_a_few_lines_and_a_count() {
    let mut server = Server::start(&[]);
    let flood = 300;
    for _ in 0..flood {
        let mut client = server.connect();
        client.send_if_open(b"*x\r\n");
        assert!(client.rest().starts_with(b"-ERR Protocol error"));
    }
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    eventually("the end of the log", || server.stderr().contains("stopped"));
    eventually("what was left out", || server.stderr().contains("more like it suppressed"));
    let log = server.stderr();
    let (told, said): (Vec<&str>, Vec<&str>) = log
        .lines()
        .filter(|line| line.contains("bytes waiting"))
        .partition(|line| line.contains("more like it suppressed"));
    // Ten in ten seconds; a machine that takes longer for the flood sees more windows, and counts all the same.
    assert!(said.len() >= 10 && said.len() < flood / 2, "{log}");
    let counts = told.iter().filter_map(|line| {
        let (before, _) = line.split_once(" more like it")?;
        before.rsplit(' ').next()?.parse::<usize>().ok()
    });
    assert_eq!(counts.sum::<usize>() + said.len(), flood, "{log}");
}

#[test]
fn json_lines_are_objects_with_keys_and_never_values() {
    let mut server = Server::start(&["--log-format", "json", "--log-level", "debug", "--log-requests"]);
    let mut client = server.connect();
    assert_eq!(client.call(&["SET", "key \"\n\u{1b}[2J", "the-value"]), OK);
    client.send_if_open(b"*x\r\n");
    client.rest();
    server.signal("TERM");
    server.wait();
    eventually("the end of the log", || server.stderr().contains("\"stopped\""));
    for line in server.stderr().lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect(line);
        for key in ["level", "message", "target", "time"] {
            assert!(object[key].is_string(), "{key} in {line}");
        }
        let has_facts = object.as_object().expect("an object").len() > 4;
        assert!(has_facts || object["message"] == "stopped", "a message without its facts: {line}");
        if object["target"] == "request" {
            let facts = [&object["transport"], &object["verb"], &object["outcome"]];
            assert_eq!(facts, ["tcp", "set", "ok"], "{line}");
            assert!(object["request_bytes"].is_u64() && object["us"].is_u64(), "{line}");
            assert!(object["key"].as_str().is_some_and(|key| key.starts_with("key \\\"")), "{line}");
        }
    }
    assert!(server.stderr().contains("key \\\\\\\"\\\\n"), "{}", server.stderr());
    assert!(!server.stderr().contains("the-value"));
}

#[test]
fn a_pipeline_and_long_replies_are_answered_at_the_end() {
    for pieces in [
        // One large value, in its own memory.
        vec![vec![b'x'; 4096 * KIB]],
        // A reply that is made piece by piece.
        vec![vec![b'y'; 4 * KIB]; 500],
    ] {
        let mut server = Server::start(&[]);
        let mut client = server.connect();
        let names: Vec<String> = (0..pieces.len()).map(|index| format!("piece:{index}")).collect();
        for (name, piece) in names.iter().zip(&pieces) {
            assert_eq!(client.call(&[b"SET", name.as_bytes(), piece]), OK);
        }
        let mut words = vec!["MGET"];
        words.extend(names.iter().map(String::as_str));
        // The second command waits behind the long reply.
        client.send(&[crate::common::encode(&words), b"PING\r\n".to_vec()].concat());
        client.stream.peek(&mut [0]).expect("the reply's begin");
        server.signal("TERM");
        eventually("the stop to begin", || server.stderr().contains("stopping on"));
        let mut expected = format!("*{}\r\n", pieces.len()).into_bytes();
        for piece in &pieces {
            expected.extend_from_slice(format!("${}\r\n", piece.len()).as_bytes());
            expected.extend_from_slice(piece);
            expected.extend_from_slice(b"\r\n");
        }
        expected.extend_from_slice(b"+PONG\r\n");
        let received = client.rest();
        assert!(received == expected, "{} of {}: {}", received.len(), expected.len(), show(&received));
        assert_eq!(server.wait().code(), Some(0));
        eventually("the last line", || server.stderr().ends_with("stopped\n"));
    }
}

#[test]
fn a_second_signal_ends_it_at_once_with_the_same_exit_code() {
    let mut server = Server::start(&[]);
    let mut stalled = server.connect();
    assert_eq!(stalled.call(&[b"SET".as_slice(), b"big", &vec![b'x'; 16 * 1024 * KIB]]), OK);
    stalled.send(b"GET big\r\n");
    stalled.stream.peek(&mut [0]).expect("the reply's begin");
    server.signal("TERM");
    eventually("the stop to begin", || server.stderr().contains("stopping on a signal"));
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
    eventually("what was lost", || server.stderr().contains("had not taken their replies: 1"));
    assert!(server.stderr().contains("a second signal: ending at once"), "{}", server.stderr());
}

/// Runs the binary with nothing of this machine's environment but where programs are.
fn pannier(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.env_clear().args(words).envs(variables.iter().copied()).output().expect("run")
}

#[test]
fn config_print_tells_values_and_their_sources() {
    let folder = Folder::new("config");
    let (password, level) = (folder.file("password", "hunter2\n"), folder.file("level", "warn"));
    let words = ["config", "print", "--memory", "64m", "--log-level-file", &level];
    let variables = [("PANNIER_PASSWORD_FILE", password.as_str()), ("PANNIER_UDP", "off")];
    let output = pannier(&words, &variables);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let row = |name: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).expect(name);
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("--memory"), "67108864 bytes (64 MiB) flag: as set");
    assert_eq!(row("--udp"), "off PANNIER_UDP");
    assert_eq!(row("--tcp"), "127.0.0.1:7878 default");
    assert_eq!(row("password"), format!("set (hidden) the file {password}"));
    assert_eq!(row("--password-file"), format!("{password} PANNIER_PASSWORD_FILE"));
    assert_eq!(row("--log-level"), format!("warn the file {level}"));
    let json = pannier(&[&words[..], &["--json"]].concat(), &variables).stdout;
    let object: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(object["udp"]["source"], "PANNIER_UDP");
    assert_eq!(object["memory"]["value"], 64 << 20);
    assert!(!text.contains("hunter2") && !String::from_utf8_lossy(&json).contains("hunter2"));
}

#[test]
fn config_print_reports_what_serve_would() {
    let folder = Folder::new("mistakes");
    let empty = folder.file("empty", "\n");
    for (flags, told) in [
        (&["--memory", "lots"][..], "64MiB"),
        (&["--memory", "1m"], "too small"),
        (&["--memory", "900TiB"], "is more than"),
        (&["--tcp", "0.0.0.0:7878"], "--allow-unauthenticated"),
        (&["--password-file", &empty], "is empty"),
        (&["--password-file", "/nonexistent/password"], "/nonexistent/password"),
        (&["--log-level-file", &empty], "is empty"),
        (&["--max-clients", "0"], "1..=1000000"),
    ] {
        let [printed, served] =
            [&["config", "print"][..], &["serve"]].map(|words| pannier(&[words, flags].concat(), &[]));
        let text = String::from_utf8(printed.stderr).expect("text");
        assert!(text.contains(told), "{flags:?}: {text}");
        assert_eq!((printed.status.code(), served.status.code()), (Some(2), Some(2)), "{flags:?}");
        // clap names the command behind its message.
        let first = |text: &str| text.lines().next().map(str::to_owned);
        assert_eq!(first(&text), first(&String::from_utf8(served.stderr).expect("text")));
    }
}

#[test]
fn two_servers_on_one_machine_are_told_which_flag_to_change() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let log = server.stderr();
    let admin = log.split_once("admin=").and_then(|(_, rest)| rest.lines().next()).expect("an address");
    let output = pannier(&["serve", "--tcp", "127.0.0.1:0", "--admin", admin, "--memory", "16m"], &[]);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("in use") && text.contains("--admin off"), "{text}");
}

#[test]
fn completions_are_scripts_that_their_shells_can_read() {
    let folder = Folder::new("completions");
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = pannier(&["completions", shell], &[]).stdout;
        let text = String::from_utf8(script).expect("text");
        assert!(["config", "print", "log-level-file"].iter().all(|word| text.contains(word)), "{shell}");
        let path = folder.file(shell, &text);
        match Command::new(shell).args([check, &path]).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => eprintln!("not checked: there is no {shell} here"),
        }
    }
}

#[test]
fn every_command_has_its_manual_page() {
    let folder = Folder::new("man");
    let dir = folder.0.join("man1");
    let output = pannier(&["man", "--dir", &dir.to_string_lossy()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    let mut names: Vec<String> = fs::read_dir(&dir)
        .expect("the directory")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let help = String::from_utf8(pannier(&["--help"], &[]).stdout).expect("text");
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands = commands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty());
    let mut expected: Vec<String> =
        commands.filter(|word| *word != "help").map(|word| format!("pannier-{word}.1")).collect();
    expected.extend(["pannier.1", "pannier-config-print.1"].map(str::to_owned));
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(fs::read(dir.join("pannier.1")).expect("read"), pannier(&["man"], &[]).stdout);
    names.iter().for_each(|name| check_page(&dir.join(name)));
    let refused = pannier(&["man", "--dir", &dir.join("pannier.1").to_string_lossy()], &[]);
    assert_eq!(refused.status.code(), Some(1));
}

/// Asks `mandoc`, or else `groff`, whether the page is well formed, where one of them is installed.
fn check_page(path: &Path) {
    let text = fs::read_to_string(path).expect("read");
    for section in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", " Pannier\n"] {
        assert!(text.contains(section), "{}: no {section}", path.display());
    }
    let mandoc = Command::new("mandoc").args(["-T", "lint", "-W", "style"]).arg(path).output();
    let groff =
        || Command::new("groff").args(["-man", "-ww", "-z", "-K", "utf8", "-T", "utf8"]).arg(path).output();
    match mandoc.or_else(|_| groff()) {
        Ok(output) => {
            let told = [output.stdout, output.stderr].concat();
            assert!(output.status.success() && told.is_empty(), "{}", String::from_utf8_lossy(&told));
        }
        Err(_) => eprintln!("not checked: there is neither mandoc nor groff here"),
    }
}

#[test]
fn variables_that_are_set_to_nothing_count_as_unset() {
    let empty = [
        "TCP",
        "UDP",
        "ADMIN",
        "MEMORY",
        "ON_FULL",
        "MAX_CLIENTS",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "LOG_REQUESTS",
    ]
    .map(|name| format!("PANNIER_{name}"));
    let variables: Vec<_> = empty.iter().map(|name| (name.as_str(), "")).collect();
    let (with, without) = (pannier(&["config", "print"], &variables), pannier(&["config", "print"], &[]));
    assert_eq!(with.status.code(), Some(0), "{}", String::from_utf8_lossy(&with.stderr));
    assert_eq!(with.stdout, without.stdout);
}

#[test]
fn a_variable_that_is_spelt_wrong_keeps_the_server_from_starting() {
    for words in [&["serve", "--tcp", "127.0.0.1:0"][..], &["config", "print"]] {
        let output = pannier(words, &[("PANNIER_MEMROY", "64MiB")]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains("PANNIER_MEMROY") && stderr.contains("did you mean PANNIER_MEMORY?"),
            "{stderr}"
        );
    }
    let links = [
        ("PANNIER_PORT", "tcp://10.0.0.1:7878"),
        ("PANNIER_SERVICE_HOST", "10.0.0.1"),
        ("PANNIER_SERVER", "a:1"),
    ];
    assert_eq!(
        pannier(&["config", "print"], &links).status.code(),
        Some(0),
        "what Kubernetes sets is let be"
    );
}

#[test]
fn a_start_that_fails_is_one_json_line_where_the_log_is_json() {
    for (words, exit, told) in [
        (&["serve", "--log-format", "json", "--tcp", "0.0.0.0:0"][..], 2, "--allow-unauthenticated"),
        (&["serve", "--log-format=json", "--memory", "lots"], 2, "'lots' is not a size"),
        (&["serve", "--log-format", "json", "--tcp", "192.0.2.1:7", "--allow-unauthenticated"], 1, "--tcp"),
    ] {
        let output = pannier(words, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{stderr}");
        for line in stderr.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
        let last: serde_json::Value =
            serde_json::from_str(stderr.lines().last().expect("a line")).expect("JSON");
        assert_eq!((&last["level"], &last["exit_code"]), (&"error".into(), &exit.into()), "{stderr}");
        assert!(last["message"].as_str().expect("text").contains(told), "{stderr}");
    }
    let output = pannier(&["serve", "--tcp", "0.0.0.0:0"], &[("PANNIER_LOG_FORMAT", "json")]);
    assert!(output.stderr.starts_with(b"{"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_log_says_who_may_come_in() {
    let server = Server::start(&["--log-format", "json"]);
    let line = |server: &Server, word: &str| -> serde_json::Value {
        let log = server.stderr();
        serde_json::from_str(log.lines().find(|line| line.contains(word)).expect(word)).expect("JSON")
    };
    assert_eq!(line(&server, "password: ")["password"], "none");
    assert_eq!(line(&server, "memory limit")["limit_bytes"], 64 << 20);
    assert!(!server.stderr().contains("not loopback"));
    let folder = Folder::new("who");
    let server =
        Server::start(&["--log-format", "json", "--password-file", &folder.file("password", "hunter2")]);
    assert_eq!(line(&server, "password: ")["password"], "set");

    let mut command = crate::common::command();
    command.args(["serve", "--tcp", "0.0.0.0:0", "--udp", "off", "--admin", "off", "--memory", "64MiB"]);
    let mut server = Server::spawn(command.args(["--allow-unauthenticated", "--log-format", "json"]));
    eventually("the server to listen", || server.stderr().contains("listening"));
    let warning = line(&server, "not loopback");
    assert_eq!((&warning["level"], &warning["reason"]), (&"warn".into(), &"no password".into()));
    server.signal("TERM");
    server.wait();
}

#[test]
fn a_full_store_is_logged_once_when_it_begins_to_refuse() {
    let server = Server::start(&["--memory", "24MiB", "--max-clients", "100"]);
    let mut client = server.connect();
    let value = vec![b'x'; 64 * KIB];
    let mut refused = 0;
    for number in 0..400 {
        let reply = client.call(&[b"SET".as_slice(), format!("k{number}").as_bytes(), &value]);
        refused += u64::from(reply.starts_with(b"-OOM"));
    }
    assert!(refused > 10, "{refused}");
    eventually("a line about it", || server.stderr().contains("memory is full: writes are refused"));
    assert_eq!(server.stderr().matches("memory is full").count(), 1, "{}", server.stderr());
}

/// Of the process, so that a system that makes long pages by itself does not touch unused memory, nor fill in again what was
/// given back; and of the store's memory alone where they are asked for.
#[test]
fn long_pages_are_the_stores_and_only_where_they_are_asked_for() {
    let status = |server: &Server, name: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    // VmFlags of a mapping: `hg` says that the program advised huge pages.
    let advised = |server: &Server| {
        let maps = fs::read_to_string(format!("/proc/{}/smaps", server.pid())).unwrap();
        maps.lines().any(|line| line.starts_with("VmFlags:") && line.split(' ').any(|flag| flag == "hg"))
    };
    let (with, without) = (Server::start(&["--huge-pages", "--memory", "64MiB"]), Server::start(&[]));
    assert!(!advised(&without));
    let Some(allowed) = status(&without, "THP_enabled:") else { return };
    assert_eq!(allowed, "0");
    assert_eq!(status(&with, "THP_enabled:").as_deref(), Some("1"));
    assert!(advised(&with));
}
