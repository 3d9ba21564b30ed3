//! `pannier top` as scripts and people see it: rows, objects, exit codes, and a terminal that is left as it was found.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use crate::fake::{Answer, fake_server};

fn top(server: &str, words: &[&str]) -> Output {
    let mut command = Command::new(crate::common::binary());
    command.env_clear().env("PANNIER_SERVER", server).arg("top").args(words);
    command.args(["--interval", "10ms"]).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn check(output: &Output, exit: i32, told: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    assert!(stderr.contains(told), "{stderr:?} does not say {told:?}");
    assert!(told.is_empty() <= stderr.is_empty(), "unexpected: {stderr:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a real server says, so that the fake ones need not be told of every field.
fn real_info() -> String {
    let server = crate::common::Server::start(&[]);
    let mut client = server.connect();
    client.line("SET k v");
    let reply = String::from_utf8(client.line("INFO everything")).unwrap();
    reply.split_once("\r\n").unwrap().1.to_owned()
}

fn with(info: &str, name: &str, value: u64) -> String {
    let lines = info.lines().map(|line| match line.split_once(':') {
        Some((found, _)) if found == name => format!("{name}:{value}\r\n"),
        _ => format!("{line}\r\n"),
    });
    lines.collect()
}

fn bulk(text: &str) -> Answer {
    Answer::Bytes(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
}

#[test]
fn rows_and_objects_of_a_real_server() {
    let server = crate::common::Server::start(&[]);
    let address = server.address.to_string();
    let rows = check(&top(&address, &["--count", "3"]), 0, "");
    let lines: Vec<Vec<&str>> = rows.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines.len(), lines[0][1]), (4, "req/s"), "{rows}");
    for line in &lines[1..] {
        assert_eq!(line.len(), lines[0].len(), "{rows}");
        // Its own question is the one request there is.
        assert!(line[1].parse::<u64>().unwrap() >= 1 && line[9] == "1", "{rows}");
    }
    let objects = check(&top(&address, &["--count", "2", "--json"]), 0, "");
    for line in objects.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&object["up"], &object["clients"]), (&true.into(), &1.into()), "{line}");
        assert_eq!(object["memory_bytes"]["limit"], 64 << 20);
    }
    assert_eq!(objects.lines().count(), 2);
}

#[test]
fn rates_are_by_the_servers_clock() {
    let info = with(&real_info(), "started_unix_ms", 1);
    let mut looks = 0;
    let server = fake_server(move |_| {
        looks += 1;
        let info = with(&info, "uptime_in_milliseconds", looks * 2_000);
        bulk(&with(&info, "total_net_input_bytes", looks * 8_192))
    });
    let rows = check(&top(&server.to_string(), &["--count", "2"]), 0, "");
    for (line, up_s) in rows.lines().skip(1).zip(["4", "6"]) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[0], cells[10]), (up_s, "4.0"), "{rows}");
    }
}

#[test]
fn a_server_that_is_gone_is_waited_for() {
    let (info, again) = (real_info(), with(&real_info(), "uptime_in_milliseconds", 7));
    let mut looks = 0;
    let script = move |_: &[Vec<u8>]| {
        looks += 1;
        match looks {
            1 | 2 => bulk(&info),
            3 | 4 => Answer::Close,
            _ => bulk(&again),
        }
    };
    let output = top(&fake_server(script.clone()).to_string(), &["--count", "4"]);
    let rows = check(&output, 0, "trying again");
    assert_eq!(rows.lines().count(), 3, "{rows}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("answers again; it was restarted") && told.lines().count() == 2, "{told}");
    // Gone at the end: the exit code says so.
    check(&top(&fake_server(script.clone()).to_string(), &["--count", "2"]), 4, "trying again");
    let objects = check(&top(&fake_server(script).to_string(), &["--count", "2", "--json"]), 4, "");
    assert!(objects.lines().last().unwrap().contains("\"up\":false"), "{objects}");
}

#[test]
fn what_can_not_become_better_ends_it() {
    let refuses = fake_server(|_| Answer::Bytes(b"-NOAUTH Authentication required.\r\n".to_vec()));
    check(&top(&refuses.to_string(), &[]), 5, "PANNIER_PASSWORD");
    let redis = fake_server(|_| bulk("# Server\r\nredis_version:7.2.4\r\n"));
    check(&top(&redis.to_string(), &[]), 1, "no Pannier");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(&top(&closed.to_string(), &[]), 4, "pannier serve");
    check(&top("127.0.0.1:1", &["--count", "0"]), 2, "--count");
}

/// Runs `top` on a terminal of util-linux's `script`; `keys` are pressed once its screen is there. The exit code, and all
/// that was shown; `None` where there is no `script`.
fn on_a_terminal(server: &str, words: &str, keys: &str) -> Option<(Option<i32>, String)> {
    Command::new("script").arg("--version").stdout(Stdio::null()).status().ok()?;
    // The modes before and after are a part of what is shown; one that does not end is ended, with another exit code.
    let shell = format!(
        "stty rows 24 cols 80; stty -a; \
         timeout --foreground 20 {} top --interval 20ms --server {server} {words}; code=$?; stty -a; exit $code",
        crate::common::binary().display()
    );
    let mut child = Command::new("script")
        .args(["-qec", &shell, "/dev/null"])
        .envs([("TERM", "xterm"), ("LANG", "C.UTF-8")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The keyboard stays open until it has ended.
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut bytes = [0; 4096];
    let mut pressed = false;
    while let Ok(len @ 1..) = screen.read(&mut bytes) {
        shown.extend_from_slice(&bytes[..len]);
        if !pressed && shown.windows(ENTER.len()).any(|window| window == ENTER) {
            pressed = true;
            keyboard.write_all(keys.as_bytes()).unwrap();
        }
    }
    drop(keyboard);
    Some((child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned()))
}

/// What takes a terminal to its other screen.
const ENTER: &[u8] = b"\x1b[?1049h";

#[test]
fn a_terminal_is_left_as_it_was_found() {
    let server = crate::common::Server::start(&[]);
    let address = server.address.to_string();
    for (words, keys) in [("--count 3", ""), ("", "xq"), ("", "\x04")] {
        let Some((exit, shown)) = on_a_terminal(&address, words, keys) else {
            eprintln!("SKIPPED: there is no util-linux script");
            return;
        };
        assert_eq!(exit, Some(0), "{shown}");
        let (before, rest) = shown.split_once("\x1b[?1049h").expect("the other screen");
        let (screen, after) = rest.split_once("\x1b[?1049l").expect("the first screen again");
        assert!(screen.contains("Pannier") && screen.contains(&address), "{screen}");
        let modes = |text: &str| text[text.find("speed").expect("stty's words")..].trim_end().to_owned();
        assert_eq!(modes(before), modes(after));
    }
    let (_, shown) = on_a_terminal(&address, "--count 2", "").expect("as before");
    assert!(shown.contains("memory") && shown.contains("requests"), "{shown}");
}
