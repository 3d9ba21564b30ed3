//! The verbs over UDP as scripts see them: the binary against the spawned server.

use crate::common::Server;
use pannier::wire::frame::Op;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};

fn server(flags: &[&str]) -> Server {
    Server::start(&[&["--udp", "127.0.0.1:0"], flags].concat())
}

/// Runs the binary with `--udp` and nothing of this machine's environment but `variables`.
fn run(server: &str, words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(crate::common::binary());
    command.env_clear().env("PANNIER_SERVER", server).env("COLUMNS", "100").envs(variables.iter().copied());
    command.args(words).arg("--udp").output().expect("the binary runs")
}

#[track_caller]
fn check(output: &Output, exit: i32, stdout: &str, told: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert!(stderr.contains(told), "{stderr:?} does not say {told:?}");
    assert!(told.is_empty() <= stderr.is_empty(), "unexpected: {stderr:?}");
}

#[test]
fn every_verb_goes_by_datagrams() {
    let server = server(&[]);
    let address = &server.address.to_string();
    let pannier = |words: &[&str]| run(address, words, &[]);
    check(&pannier(&["ping"]), 0, "PONG\n", "over UDP");
    check(&pannier(&["put", "k", "hello"]), 0, "OK\n", "");
    check(&pannier(&["get", "k"]), 0, "hello", "");
    check(&pannier(&["get", "k", "--json"]), 0, "{\"value\":\"hello\"}\n", "");
    check(&pannier(&["ttl", "k"]), 0, "forever\n", "");
    check(&pannier(&["put", "brief", "v", "--ttl", "1h"]), 0, "OK\n", "");
    let ttl = pannier(&["ttl", "brief"]);
    assert_eq!(ttl.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&ttl.stdout).starts_with("35"), "3,5xx of 3,600 s are left: {ttl:?}");
    check(&pannier(&["ttl", "missing"]), 3, "", "no such key: missing");
    check(&pannier(&["put", "k", "w", "--if-absent"]), 1, "", "exists already");
    check(&pannier(&["put", "missing", "w", "--if-present"]), 3, "", "no such key");
    check(&pannier(&["incr", "n", "--by", "-3"]), 0, "-3\n", "");
    check(&pannier(&["incr", "k"]), 1, "", "WRONG_TYPE");
    check(&pannier(&["delete", "k", "n", "k", "missing"]), 0, "2\n", "");
    check(&pannier(&["delete", "k"]), 3, "0\n", "");
    check(&pannier(&["get", "k"]), 3, "", "no such key: k");
}

#[test]
fn what_does_not_fit_a_datagram_goes_over_tcp() {
    let server = server(&[]);
    let address = &server.address.to_string();
    let long = "v".repeat(5000);
    check(&run(address, &["put", "k", &long], &[]), 0, "OK\n", "");
    check(&run(address, &["get", "k"], &[]), 0, &long, "");
    check(&run(address, &["ttl", "k"], &[]), 0, "forever\n", "");
    check(&run(address, &["put", "k", "w", "--if-equal", &long], &[]), 0, "OK\n", "");
    check(&run(address, &["get", "k"], &[]), 0, "w", "");
    check(&run(address, &["delete", "k", &long], &[]), 0, "1\n", "");
}

#[test]
fn a_silent_server_is_a_time_out_and_nothing_was_changed() {
    // Bound and never read: datagrams go in, and nothing comes out.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = &silent.local_addr().expect("address").to_string();
    for words in [&["get", "k"][..], &["ping"], &["ttl", "k"], &["put", "k", "v"], &["delete", "a", "b"]] {
        let output = run(address, &[words, &["--timeout", "60ms"]].concat(), &[]);
        // A write too: no session was opened, so it was never sent.
        check(&output, 4, "", "no answer within 60ms by datagrams");
    }
}

/// A way to the server on which sessions are opened, and nothing else comes through.
fn only_hello(server: SocketAddr) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let back = UdpSocket::bind("127.0.0.1:0").expect("bind");
    back.connect(server).expect("connect");
    back.set_read_timeout(Some(crate::common::PATIENCE)).expect("time limit");
    let address = front.local_addr().expect("address");
    // Ends with the test's process.
    std::thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((len, client)) = front.recv_from(&mut bytes) {
            if bytes[3] == Op::Hello as u8 {
                back.send(&bytes[..len]).expect("send");
                let len = back.recv(&mut bytes).expect("the server answers");
                front.send_to(&bytes[..len], client).expect("send");
            }
        }
    });
    address
}

#[test]
fn a_write_that_was_sent_and_not_answered_is_unknown() {
    let server = server(&[]);
    let address = &only_hello(server.address).to_string();
    for (words, exit, told) in [
        (&["put", "k", "v"][..], 6, "outcome unknown"),
        (&["incr", "n"], 6, "Check what the server holds before you repeat it"),
        (&["delete", "a", "b"], 6, "outcome unknown"),
        (&["get", "k"], 4, "no answer within 300ms"),
        (&["ping"], 4, "Nothing was changed"),
    ] {
        check(&run(address, &[words, &["--timeout", "300ms"]].concat(), &[]), exit, "", told);
    }
}

#[test]
fn the_password_goes_into_tags() {
    let file = std::env::temp_dir().join(format!("pannier-cli-udp-{}", std::process::id()));
    std::fs::write(&file, "secret\n").expect("a file");
    let server = server(&["--password-file", &file.to_string_lossy()]);
    let _ = std::fs::remove_file(&file);
    let address = &server.address.to_string();
    let with = |password, words: &[&str]| run(address, words, &[("PANNIER_PASSWORD", password)]);
    check(&with("secret", &["put", "k", "v"]), 0, "OK\n", "");
    check(&with("secret", &["get", "k"]), 0, "v", "");
    check(&run(address, &["get", "k"], &[]), 5, "", "PANNIER_PASSWORD");
    // A wrong one gets no answer at all, so that nobody can guess at leisure.
    check(&with("wrong", &["get", "k", "--timeout", "60ms"]), 4, "", "another password does not answer");
}

#[test]
fn what_is_longer_than_a_datagram_goes_over_tcp() {
    let server = server(&[]);
    let address = &server.address.to_string();
    check(&run(address, &["put", "k", "v"], &[]), 0, "OK\n", "");
    check(&run(address, &["scan"], &[]), 0, "k\n", "");
    let stats = run(address, &["stats", "datagrams"], &[]);
    assert_eq!(stats.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&stats.stdout).contains("datagrams_writes:1\n"));
}
