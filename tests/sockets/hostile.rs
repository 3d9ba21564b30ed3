//! Bad input over a real socket, and what it gets: an exact text or a silent close, and nothing for anybody else.
//!
//! The tests are numbered as the threats are listed in the README. After each, another client still gets its answer at once.

use crate::common::{Client, KIB, MIB, PATIENCE, Server, encode, eventually, show};
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

/// Expects `input` to be answered by a protocol error with exactly this text and a close.
fn refused(server: &Server, input: &[u8], text: &str) {
    let mut client = server.connect();
    client.send_if_open(input);
    let answer = client.rest();
    let expected = format!("-ERR Protocol error: {text}\r\n");
    assert_eq!(show(&answer), show(expected.as_bytes()), "to {}", show(input));
    alive(server);
}

/// Another client is served.
fn alive(server: &Server) {
    assert_eq!(server.connect().line("PING"), b"+PONG\r\n");
}

/// `head` and so many bytes behind it that no line end can come in time.
fn endless(head: &[u8]) -> Vec<u8> {
    [head, &vec![b'a'; 64 * KIB + 16]].concat()
}

#[test]
fn row_01_and_02_empty_lines_and_counts_leave_no_trace() {
    let server = Server::start(&[]);
    for input in [
        "\r\nPING\r\n",
        "*0\r\nPING\r\n",
        "*-10\r\nPING\r\n",
        "*-10\r\n*1\r\n$4\r\nPING\r\n",
        "\n\n*0\r\n\r\nPING\n",
    ] {
        let mut client = server.connect();
        client.send(input.as_bytes());
        client.half_close();
        assert_eq!(show(&client.rest()), show(b"+PONG\r\n"), "to {input:?}");
    }
}

#[test]
fn row_03_counts_of_arguments() {
    let server = Server::start(&[]);
    for count in ["3000000000", "9223372036854775808", "+1", "01", "", "-", "1048577x", " 1", "1 "] {
        refused(&server, format!("*{count}\r\n").as_bytes(), "invalid multibulk length");
    }
}

#[test]
fn row_04_something_else_than_a_bulk() {
    let server = Server::start(&[]);
    refused(&server, b"*1\r\nfoo\r\n", "expected '$', got 'f'");
    refused(&server, b"*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'");
}

#[test]
fn row_05_lengths_of_bulks() {
    let server = Server::start(&[]);
    for length in ["-10", "-1", "blabla", "2000000000", "18446744073709551615", "", "+1", "01"] {
        let input = format!("*3\r\n$3\r\nSET\r\n$1\r\nx\r\n${length}\r\n");
        refused(&server, input.as_bytes(), "invalid bulk length");
    }
    assert_eq!(server.connect().line("EXISTS x"), b":0\r\n");
}

#[test]
fn row_06_lines_without_an_end() {
    let server = Server::start(&[]);
    refused(&server, &endless(b"\0"), "too big inline request");
    refused(&server, &endless(b"*\0"), "too big mbulk count string");
    refused(&server, &endless(b"*1\r\n$"), "too big bulk count string");
}

#[test]
fn row_07_quotes_that_never_close() {
    let server = Server::start(&[]);
    for line in ["set \"\"\"k\"\"\" v", "set 'k v", "set \"k", "set \"k\"v x", "set k \"\\"] {
        refused(&server, format!("{line}\r\n").as_bytes(), "unbalanced quotes in request");
    }
}

#[test]
fn row_08_bounds_before_authentication() {
    let password = PasswordFile::new();
    let server = Server::start(&["--password-file", password.path()]);
    let refused = |input: &[u8], text: &str| {
        let mut client = server.connect();
        client.send_if_open(input);
        assert_eq!(show(&client.rest()), show(format!("-ERR Protocol error: {text}\r\n").as_bytes()));
    };
    refused(b"*100\r\n", "unauthenticated multibulk length");
    refused(b"*11\r\n", "unauthenticated multibulk length");
    refused(b"*1\r\n$100000000\r\n", "unauthenticated bulk length");
    refused(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length");

    let mut client = server.connect();
    assert_eq!(client.line("GET k"), b"-NOAUTH Authentication required.\r\n");
    assert_eq!(
        show(&client.line("AUTH wrong")),
        show(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
    );
    crate::common::eventually("the wrong password in the log", || {
        server.stderr().contains(": wrong password")
    });
    assert!(!server.stderr().contains(PASSWORD), "the log shows the password");
    assert_eq!(client.call(&["AUTH", PASSWORD]), b"+OK\r\n");
    // The bounds are gone with the authentication.
    let many = ["EXISTS"; 100];
    assert_eq!(client.call(&many), b":0\r\n");
    assert_eq!(client.call(&[b"ECHO".as_slice(), &[b'x'; 20_000]]).len(), 20_000 + 10);
}

#[test]
fn row_09_a_thousand_announcements_take_no_memory() {
    if !crate::common::raise_descriptor_limit(4096) {
        eprintln!("SKIPPED: this process may not open 4,096 descriptors");
        return;
    }
    for announcement in ["*1000000\r\n", "*2\r\n$3\r\nGET\r\n$536870000\r\n"] {
        let server = Server::start(&["--request-timeout", "3s"]);
        alive(&server);
        let before = server.resident_bytes();
        let mut clients: Vec<Client> = (0..1000).map(|_| server.connect()).collect();
        let mut witness = server.connect();
        for client in &mut clients {
            client.send(announcement.as_bytes());
        }
        for _ in 0..20 {
            assert_eq!(witness.line("PING"), b"+PONG\r\n");
            std::thread::sleep(Duration::from_millis(10));
        }
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 8 * MIB, "1,000 times {announcement:?} have taken {grown} bytes");
        // Each is closed at its time limit, with an error or without one.
        for client in &mut clients {
            let rest = client.rest();
            assert!(rest.is_empty() || rest.starts_with(b"-ERR"), "{}", show(&rest));
        }
        assert_eq!(witness.line("PING"), b"+PONG\r\n");
    }
}

/// Sends `piece` again and again and reads nothing, until the server takes no more.
///
/// # Panics
/// When the server takes more than 256 MiB.
fn flood(client: &mut Client, piece: &[u8]) {
    client.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("set a time limit");
    let mut taken = 0;
    loop {
        match client.stream.write(piece) {
            Ok(count) => taken += count,
            Err(_) => return,
        }
        assert!(taken < 256 * MIB, "the server reads on and on");
    }
}

/// Waits for the server to close a connection that reads nothing.
fn closed_without_reading(client: &mut Client) {
    client.stream.set_write_timeout(Some(Duration::from_millis(50))).expect("set a time limit");
    eventually("the reader that never reads to be closed", || match client.stream.write(b"\r\n") {
        Ok(_) => false,
        Err(error) => {
            !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
        }
    });
}

#[test]
fn row_10_commands_in_a_flood_whose_replies_are_never_read() {
    let password = PasswordFile::new();
    let server = Server::start(&["--write-timeout", "1s", "--password-file", password.path()]);
    let mut witness = server.connect();
    assert_eq!(witness.call(&["AUTH", PASSWORD]), b"+OK\r\n");
    let before = server.resident_bytes();
    for authenticated in [false, true] {
        let mut client = server.connect();
        if authenticated {
            assert_eq!(client.call(&["AUTH", PASSWORD]), b"+OK\r\n");
        }
        flood(&mut client, &b"PING\r\nGET none\r\n".repeat(4096));
        assert_eq!(witness.line("PING"), b"+PONG\r\n");
        closed_without_reading(&mut client);
    }
    assert_eq!(witness.line("PING"), b"+PONG\r\n");
    let grown = server.resident_bytes().saturating_sub(before);
    // Pages of the fixed pool that were touched once stay resident; they are used again.
    assert!(grown < 24 * MIB, "{grown} bytes are still taken");
}

#[test]
fn row_11_large_values_that_are_asked_for_and_never_read() {
    let server = Server::start(&["--write-timeout", "1s"]);
    let mut witness = server.connect();
    assert_eq!(witness.call(&[b"SET".as_slice(), b"big", &vec![b'x'; MIB]]), b"+OK\r\n");
    let mut readers: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for reader in &mut readers {
        flood(reader, &b"GET big\r\n".repeat(4096));
        assert_eq!(witness.line("PING"), b"+PONG\r\n");
    }
    // An overwrite while ten are still being sent: the old bytes stay as long as they are needed, and no longer.
    assert_eq!(witness.call(&[b"SET".as_slice(), b"big", &vec![b'y'; MIB]]), b"+OK\r\n");
    for reader in &mut readers {
        closed_without_reading(reader);
    }
    assert_eq!(witness.line("STRLEN big"), format!(":{MIB}\r\n").as_bytes());
    assert!(server.resident_bytes() < 72 * MIB);
}

#[test]
fn row_12_requests_of_a_browser() {
    let server = Server::start(&[]);
    for line in
        ["GET / HTTP/1.0", "PUT /a HTTP/1.1", "DELETE /a HTTP/1.1", "POST /", "Host: x", "POST / HTTP/1.1"]
    {
        let mut client = server.connect();
        client.send_if_open(format!("{line}\r\nSET b 1\r\n").as_bytes());
        assert_eq!(show(&client.rest()), "", "to {line:?}");
    }
    assert_eq!(server.connect().line("EXISTS /a / b"), b":0\r\n");
}

#[test]
fn row_13_and_14_line_ends_in_framing() {
    let server = Server::start(&[]);
    refused(&server, b"*2\r\n$3\r\nGET\r\n$3\r\nabcXY", "expected CRLF after bulk");
    // A line feed alone ends an inline command, as in Redis...
    let mut client = server.connect();
    client.send(b"PING\nPING\r\n");
    assert_eq!((client.reply(), client.reply()), (b"+PONG\r\n".to_vec(), b"+PONG\r\n".to_vec()));
    // ...but not a line of the framing.
    for input in [b"*1\n$4\nPING\n".as_slice(), b"*1\r\n$4\nPING\r\n", b"*1\r\n$4\r\nPING\n\n"] {
        let mut client = server.connect();
        client.send(input);
        let answer = client.rest();
        assert!(answer.starts_with(b"-ERR Protocol error: "), "{} to {}", show(&answer), show(input));
    }
}

#[test]
fn row_15_nothing_runs_after_quit() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(b"QUIT\r\nSET foo bar\r\n");
    assert_eq!(client.rest(), b"+OK\r\n");
    assert_eq!(server.connect().line("EXISTS foo"), b":0\r\n");
}

#[test]
fn rows_16_17_19_20_numbers_at_their_edges() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut check = |line: &str, expected: &str| {
        let reply = client.line(line);
        assert_eq!(show(&reply), show(format!("{expected}\r\n").as_bytes()), "to {line}");
    };
    check("SET k v", "+OK");
    check("EXPIRE k 9223372036854776", "-ERR invalid expire time in 'expire' command");
    check("TTL k", ":-1");
    let before = server.resident_bytes();
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    check("SETRANGE k 9223372036854775807 A", too_long);
    check("SETRANGE none 9223372036854775807 A", too_long);
    check("SETRANGE none 4294967295 A", too_long);
    check("SETRANGE k -1 A", "-ERR offset is out of range");
    assert!(server.resident_bytes() < before + MIB, "nothing is reserved for a refused SETRANGE");
    check("GET k", "$1\r\nv");
    check("EXISTS none", ":0");
    check("MSETNX twice 1 twice 2", ":1");
    check("GET twice", "$1\r\n2");
    check("SET n 9223372036854775807", "+OK");
    check("INCR n", "-ERR increment or decrement would overflow");
    check("GET n", "$19\r\n9223372036854775807");
    check("SET n 0", "+OK");
    check("DECRBY n -9223372036854775808", "-ERR decrement would overflow");
    check("GET n", "$1\r\n0");
}

#[test]
fn row_18_patterns_that_explode() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let key = vec![b'a'; 20_000];
    assert_eq!(client.call(&[b"SET".as_slice(), &key, b"v"]), b"+OK\r\n");
    let many_stars = [b"a*".repeat(5_000), b"b".to_vec()].concat();
    assert!(
        show(&client.call(&[b"KEYS".as_slice(), &many_stars])).starts_with("-ERR pattern of 10001 bytes")
    );
    let stars = [b"a*".repeat(500), b"b".to_vec()].concat();
    assert_eq!(client.call(&[b"KEYS".as_slice(), &stars]), b"*0\r\n");
    for pattern in [b"*".repeat(MIB), b"*?".repeat(MIB / 2), b"[a".repeat(MIB / 2), b"\\".repeat(MIB)] {
        client.send(&encode(&[b"KEYS".as_slice(), &pattern]));
        // Too long a pattern may be refused; what matters is that an answer comes and nobody falls.
        let reply = client.reply();
        assert!(reply.starts_with(b"*") || reply.starts_with(b"-"), "{}", show(&reply));
        alive(&server);
    }
}

#[test]
fn row_21_one_byte_now_and_then() {
    let server = Server::start(&["--request-timeout", "500ms"]);
    let mut client = server.connect();
    let begun = Instant::now();
    let command = encode(&["SET", "slow", &"x".repeat(100_000)]);
    for byte in &command {
        if !client.send_if_open(&[*byte]) {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
        assert!(begun.elapsed() < PATIENCE, "a trickle of bytes is never closed");
    }
    let rest = client.rest();
    assert!(rest.is_empty() || rest.starts_with(b"-ERR"), "{}", show(&rest));
    assert_eq!(server.connect().line("EXISTS slow"), b":0\r\n");
}

#[test]
fn row_22_half_closed_and_reset() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(&b"PING\r\n".repeat(5000));
    client.half_close();
    assert_eq!(client.rest(), b"+PONG\r\n".repeat(5000));

    alive(&server);
    let (descriptors, resident) = (server.descriptors(), server.resident_bytes());
    for round in 0..50 {
        let mut client = server.connect();
        client.send(b"PING\r\n");
        // An answer that is never read turns the close into a reset.
        client.stream.peek(&mut [0]).expect("an answer");
        let length = if round % 2 == 0 { 1_000 } else { 10_000_000 };
        client.send(format!("*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n${length}\r\n").as_bytes());
        client.send(&vec![b'x'; length / 2]);
    }
    // One descriptor more or less is a connection on its way.
    eventually("the connections to be forgotten", || server.descriptors() <= descriptors);
    assert_eq!(server.connect().line("EXISTS half"), b":0\r\n");
    let grown = server.resident_bytes().saturating_sub(resident);
    assert!(grown < 24 * MIB, "{grown} bytes are lost: 50 halves of 10 MB do not fit in here");
}

#[test]
fn row_23_one_client_too_many() {
    let server = Server::start(&["--max-clients", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.line("PING"), b"+PONG\r\n");
    }
    for _ in 0..5 {
        assert_eq!(show(&server.connect().rest()), show(b"-ERR max number of clients reached\r\n"));
    }
    assert_eq!(clients[0].line("QUIT"), b"+OK\r\n");
    assert_eq!(clients[0].rest(), b"");
    // The place is free once the server has seen the close.
    eventually("the free place to be given", || {
        let mut client = server.connect();
        client.send_if_open(b"PING\r\n") && client.try_reply().is_some_and(|reply| reply == b"+PONG\r\n")
    });
}

#[test]
fn row_24_other_types_of_resp_and_nesting() {
    let server = Server::start(&[]);
    for input in [b"%1\r\n".as_slice(), b">1\r\n", b"~1\r\n", b"_\r\n"] {
        let mut client = server.connect();
        client.send(input);
        assert!(client.reply().starts_with(b"-ERR"), "{}", show(input));
    }
    refused(&server, &b"*1\r\n".repeat(10_000), "expected '$', got '*'");
}

#[test]
fn row_25_values_that_are_too_large() {
    let server = Server::start(&["--max-value", "1MiB"]);
    let mut client = server.connect();
    let (limit, size) = (MIB.to_string(), (2 * MIB).to_string());
    for first_bytes in [0, 1000] {
        assert_eq!(client.line("SET k old"), b"+OK\r\n");
        let command = encode(&[b"SET".as_slice(), b"k", &vec![b'x'; 2 * MIB]]);
        // At once, and with the head before the body.
        client.send(&command[..first_bytes]);
        client.send(&command[first_bytes..]);
        client.send(b"GET k\r\n");
        let error = client.reply();
        let text = String::from_utf8_lossy(&error);
        assert!(
            text.starts_with('-') && text.contains(&limit) && text.contains(&size),
            "names both sizes: {text}"
        );
        assert_eq!(client.reply(), b"$3\r\nold\r\n");
    }
}

#[test]
fn row_25_values_larger_than_the_memory() {
    let server = Server::start(&["--memory", "64MiB"]);
    let mut client = server.connect();
    assert_eq!(client.line("SET k old"), b"+OK\r\n");
    for verb in ["SET", "APPEND", "GETSET"] {
        client.send(&encode(&[verb.as_bytes(), b"k", &vec![b'x'; 100 * MIB]]));
        let error = client.reply();
        assert!(error.starts_with(b"-"), "{}", show(&error));
        assert_eq!(client.line("GET k"), b"$3\r\nold\r\n");
    }
    assert!(server.resident_bytes() < 72 * MIB);
}

const PASSWORD: &str = "correct-horse-battery-staple";

/// A file with the password, gone with its owner.
struct PasswordFile(std::path::PathBuf);

impl PasswordFile {
    fn new() -> PasswordFile {
        let name = format!("pannier-password-{}-{}", std::process::id(), crate::common::free_port());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, PASSWORD).expect("write the password");
        PasswordFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a printable path")
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
