//! What Redis has saved goes into Pannier by `pannier import`, and comes back by `pannier export`: both hold the same.

use crate::common::{Client, Random, Server, command, eventually, free_port, reply_len};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of its own, which goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("pannier-import-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `None`: there is none here.
fn redis(dir: &Path, flags: &[&str]) -> Option<Server> {
    Command::new("redis-server").arg("--version").output().ok()?;
    let port = free_port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).args(flags);
    command.arg("--dir").arg(dir);
    let mut server = Server::spawn(&mut command);
    server.address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("redis-server", || {
        std::net::TcpStream::connect(server.address).is_ok() && server.connect().line("PING") == b"+PONG\r\n"
    });
    Some(server)
}

/// Runs `pannier` and gives its exit code and what it printed.
fn pannier(verb: &str, file: &Path, server: &Server) -> (Option<i32>, String) {
    let mut command = command();
    command.arg(verb).arg(file).args(["--server", &server.address.to_string()]);
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

/// Strings of all shapes, some with an expiry, in two databases; the names of all keys by database.
fn fill(client: &mut Client) -> [Vec<Vec<u8>>; 2] {
    let mut random = Random(5);
    let mut names = [Vec::new(), Vec::new()];
    for (database, names) in [0, 3].into_iter().zip(&mut names) {
        client.line(&format!("SELECT {database}"));
        for index in 0..800 {
            let key = if index % 50 == 0 { random.bytes(30) } else { format!("key:{index}").into_bytes() };
            let value = match index % 6 {
                0 => (random.next() as i64 >> random.below(63)).to_string().into_bytes(),
                1 => vec![b'a'; random.below(5_000)],
                2 => Vec::new(),
                3 if index % 100 == 3 => random.bytes(300_000),
                _ => {
                    let len = random.below(2_000);
                    random.bytes(len)
                }
            };
            assert_eq!(client.call(&[b"SET".as_slice(), &key, &value]), b"+OK\r\n");
            if index % 4 == 0 {
                let at = (2_000_000_000_000 + random.below(1_000_000_000)).to_string();
                assert_eq!(client.call(&[b"PEXPIREAT".as_slice(), &key, at.as_bytes()]), b":1\r\n");
            }
            names.push(key);
        }
    }
    names
}

/// Each key has the same value and the same expiry at both.
fn compare(one: &Server, other: &Server, names: &[Vec<Vec<u8>>; 2]) {
    let (mut one, mut other) = (one.connect(), other.connect());
    for (database, names) in [0, 3].into_iter().zip(names) {
        for client in [&mut one, &mut other] {
            assert_eq!(client.line(&format!("SELECT {database}")), b"+OK\r\n");
        }
        for key in names {
            for verb in ["GET", "PEXPIRETIME"] {
                let request = [verb.as_bytes(), key];
                let (expected, found) = (one.call(&request), other.call(&request));
                assert!(reply_len(&expected).is_some() && expected == found, "{verb} {}", key.escape_ascii());
            }
        }
    }
}

#[test]
fn an_rdb_file_goes_in_and_comes_out_again() {
    let (here, there) = (Scratch::new("rdb"), Scratch::new("back"));
    let Some(from) = redis(&here.0, &["--appendonly", "no"]) else {
        eprintln!("SKIPPED: no redis-server in PATH");
        return;
    };
    let mut client = from.connect();
    let names = fill(&mut client);
    client.line("SELECT 0");
    for line in [
        "RPUSH list a b c",
        "SADD set 1 2 3",
        "SADD words a b",
        "HSET hash f v",
        "ZADD zset 1 a 2.5 b",
        "XADD log * f v",
    ] {
        assert!(!client.line(line).starts_with(b"-"), "{line}");
    }
    let long: Vec<String> = (0..600).map(|index| format!("element:{index}")).collect();
    for (verb, per) in [("RPUSH", 1), ("SADD", 1), ("HSET", 2), ("ZADD", 2)] {
        let mut words = vec![verb.to_owned(), format!("long:{verb}")];
        for (index, element) in long.iter().enumerate() {
            if per == 2 && verb == "ZADD" {
                words.push(index.to_string());
            }
            words.push(element.clone());
            if per == 2 && verb == "HSET" {
                words.push(index.to_string());
            }
        }
        assert!(client.call(&words).starts_with(b":"), "{verb}");
    }
    client.line("XGROUP CREATE log readers 0");
    client.line("XREADGROUP GROUP readers me STREAMS log >");
    assert_eq!(client.line("SET soon gone PX 30"), b"+OK\r\n");
    // Saved while it is still there, imported when it is not.
    assert_eq!(client.line("SAVE"), b"+OK\r\n");
    std::thread::sleep(std::time::Duration::from_millis(40));

    let server = Server::start(&["--memory", "64MiB"]);
    let (code, text) = pannier("import", &here.0.join("dump.rdb"), &server);
    let is_all = [
        "imported: 1600",
        "type list: 2",
        "type set: 3",
        "type hash: 2",
        "type sorted set: 2",
        "type stream: 1",
    ];
    assert!(code == Some(1) && is_all.iter().all(|part| text.contains(part)), "{code:?}: {text}");
    compare(&from, &server, &names);
    assert_eq!(server.connect().line("EXISTS soon"), b":0\r\n");

    let file = there.0.join("dump.rdb");
    let (code, text) = pannier("export", &file, &server);
    assert!(code == Some(0) && text.contains("exported: 1600"), "{code:?}: {text}");
    let back = redis(&there.0, &["--appendonly", "no"]).expect("there was one");
    compare(&server, &back, &names);
    assert_eq!(back.connect().line("DBSIZE"), b":800\r\n");
}

#[test]
fn an_append_only_file_goes_in() {
    let here = Scratch::new("aof");
    let Some(from) = redis(&here.0, &["--appendonly", "yes"]) else {
        eprintln!("SKIPPED: no redis-server in PATH");
        return;
    };
    let mut client = from.connect();
    let names = fill(&mut client);
    // A base in the form of an RDB file, and increments behind it.
    client.line("SELECT 0");
    assert!(client.line("BGREWRITEAOF").starts_with(b"+Background"));
    eventually("the rewriting", || {
        String::from_utf8_lossy(&from.connect().line("INFO persistence"))
            .contains("aof_rewrite_in_progress:0")
    });
    for line in
        ["SET key:1 other", "APPEND key:2 more", "DEL key:3", "PEXPIRE key:5 1000000", "HSET hash f v"]
    {
        assert!(!client.line(line).starts_with(b"-"), "{line}");
    }
    client.send(b"MULTI\r\nSET key:7 a\r\nINCRBY counter 3\r\nEXEC\r\n");
    (0..4).for_each(|_| _ = client.reply());
    let server = Server::start(&["--memory", "64MiB"]);
    let manifest = here.0.join("appendonlydir/appendonly.aof.manifest");
    let (code, text) = pannier("import", &manifest, &server);
    // This server has no hashes, and says so; or it has them.
    assert!(code == Some(1) && text.contains("HSET") || code == Some(0), "{code:?}: {text}");
    compare(&from, &server, &names);
    assert_eq!(server.connect().line("GET counter"), b"$1\r\n3\r\n");
}
