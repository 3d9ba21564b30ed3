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

/// Keys of all types and shapes that both servers have, some with an expiry, in two databases; the names of all keys by
/// database.
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
            match index % 10 {
                7 => fill_hash(client, &key, &value, &mut random),
                8 => fill_set(client, &key, &value, &mut random),
                _ => assert_eq!(client.call(&[b"SET".as_slice(), &key, &value]), b"+OK\r\n"),
            }
            if index % 4 == 0 {
                let at = (2_000_000_000_000 + random.below(1_000_000_000)).to_string();
                assert_eq!(client.call(&[b"PEXPIREAT".as_slice(), &key, at.as_bytes()]), b":1\r\n");
            }
            names.push(key);
        }
    }
    names
}

/// Lengths on both sides of where encodings change, and long enough for several parts.
const COLLECTION_LENS: [usize; 8] = [1, 2, 5, 60, 128, 129, 513, 2_000];

fn fill_hash(client: &mut Client, key: &[u8], value: &[u8], random: &mut Random) {
    let len = COLLECTION_LENS[random.below(COLLECTION_LENS.len())];
    let mut words = vec![b"HSET".to_vec(), key.to_vec()];
    for index in 0..len {
        words.push(format!("field:{index}").into_bytes());
        words.push(match index % 50 {
            0 => value.to_vec(),
            1 => random.bytes(100),
            _ => (random.next() as i64 >> random.below(63)).to_string().into_bytes(),
        });
    }
    assert!(client.call(&words).starts_with(b":"));
}

fn fill_set(client: &mut Client, key: &[u8], value: &[u8], random: &mut Random) {
    let len = COLLECTION_LENS[random.below(COLLECTION_LENS.len())];
    let mut words = vec![b"SADD".to_vec(), key.to_vec()];
    let (is_of_numbers, bits) = (random.one_in(2), random.below(63));
    for index in 0..len {
        words.push(match index {
            1 if !is_of_numbers => value[..value.len().min(30_000)].to_vec(),
            _ if is_of_numbers => (random.next() as i64 >> bits).to_string().into_bytes(),
            _ => format!("member:{index}").into_bytes(),
        });
    }
    assert!(client.call(&words).starts_with(b":"));
}

/// A hash or a set of more than a part of it.
fn fill_long(client: &mut Client) {
    for (verb, key) in [("HSET", "long:hash"), ("SADD", "long:set")] {
        for from in (0..60_000).step_by(1_000) {
            let mut words = vec![verb.to_owned(), key.to_owned()];
            for index in from..from + 1_000 {
                words.push(format!("a-member-of-some-length:{index}"));
                if verb == "HSET" {
                    words.push(index.to_string());
                }
            }
            assert_eq!(client.call(&words), b":1000\r\n");
        }
    }
}

/// What a key has, as both servers tell it: collections in one order.
fn contents(client: &mut Client, key: &[u8]) -> Vec<u8> {
    let kind = client.call(&[b"TYPE", key]);
    let verb: &[u8] = match kind.as_slice() {
        b"+hash\r\n" => b"HGETALL",
        b"+set\r\n" => b"SMEMBERS",
        _ => b"GET",
    };
    let reply = client.call(&[verb, key]);
    if verb == b"GET" {
        return reply;
    }
    let mut strings = strings(&reply);
    if verb == b"HGETALL" {
        let mut pairs: Vec<&[&[u8]]> = strings.chunks(2).collect();
        pairs.sort();
        strings = pairs.concat();
    } else {
        strings.sort();
    }
    [kind, strings.join(&b"\n"[..])].concat()
}

/// The strings of an array.
fn strings(reply: &[u8]) -> Vec<&[u8]> {
    let line_end =
        |from: usize| from + reply[from..].iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let (mut at, mut strings) = (line_end(0), Vec::new());
    while at < reply.len() {
        let start = line_end(at);
        let len: usize =
            std::str::from_utf8(&reply[at + 1..start - 2]).expect("digits").parse().expect("a length");
        strings.push(&reply[start..start + len]);
        at = start + len + 2;
    }
    strings
}

/// Each key has the same value and the same expiry at both.
fn compare(one: &Server, other: &Server, names: &[Vec<Vec<u8>>; 2]) {
    let (mut one, mut other) = (one.connect(), other.connect());
    for (database, names) in [0, 3].into_iter().zip(names) {
        for client in [&mut one, &mut other] {
            assert_eq!(client.line(&format!("SELECT {database}")), b"+OK\r\n");
        }
        for key in names {
            let (expected, found) = (contents(&mut one, key), contents(&mut other, key));
            assert!(expected == found, "{}", key.escape_ascii());
            let request = [b"PEXPIRETIME", &key[..]];
            let (expected, found) = (one.call(&request), other.call(&request));
            assert!(reply_len(&expected).is_some() && expected == found, "{}", key.escape_ascii());
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
    let mut names = fill(&mut client);
    client.line("SELECT 0");
    fill_long(&mut client);
    names[0].extend(["long:hash", "long:set"].map(|name| name.as_bytes().to_vec()));
    assert_eq!(client.line("SADD brief 1 2"), b":2\r\n");
    assert_eq!(client.line("PEXPIRE brief 30"), b":1\r\n");
    for line in ["RPUSH list a b c", "ZADD zset 1 a 2.5 b", "XADD log * f v"] {
        assert!(!client.line(line).starts_with(b"-"), "{line}");
    }
    let long: Vec<String> = (0..600).map(|index| format!("element:{index}")).collect();
    for (verb, per) in [("RPUSH", 1), ("ZADD", 2)] {
        let mut words = vec![verb.to_owned(), format!("long:{verb}")];
        for (index, element) in long.iter().enumerate() {
            if per == 2 {
                words.push(index.to_string());
            }
            words.push(element.clone());
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
        "imported: 1602, expired before: 2",
        "read: keys of type string: 1280",
        "read: keys of type hash: 161",
        "read: keys of type set: 161",
        "left behind: keys of type list: 2",
        "left behind: keys of type sorted set: 2",
        "left behind: keys of type stream: 1",
    ];
    assert!(code == Some(1) && is_all.iter().all(|part| text.contains(part)), "{code:?}: {text}");
    compare(&from, &server, &names);
    assert_eq!(server.connect().line("EXISTS soon brief"), b":0\r\n");

    let file = there.0.join("dump.rdb");
    let (code, text) = pannier("export", &file, &server);
    let is_all = ["exported: 1602", "type string: 1280", "type hash: 161", "type set: 161"];
    assert!(code == Some(0) && is_all.iter().all(|part| text.contains(part)), "{code:?}: {text}");
    let back = redis(&there.0, &["--appendonly", "no"]).expect("there was one");
    compare(&server, &back, &names);
    assert_eq!(back.connect().line("DBSIZE"), b":802\r\n");
}

#[test]
fn an_append_only_file_goes_in() {
    let here = Scratch::new("aof");
    let Some(from) = redis(&here.0, &["--appendonly", "yes"]) else {
        eprintln!("SKIPPED: no redis-server in PATH");
        return;
    };
    let mut client = from.connect();
    let mut names = fill(&mut client);
    // A base in the form of an RDB file, and increments behind it.
    client.line("SELECT 0");
    assert!(client.line("BGREWRITEAOF").starts_with(b"+Background"));
    eventually("the rewriting", || {
        String::from_utf8_lossy(&from.connect().line("INFO persistence"))
            .contains("aof_rewrite_in_progress:0")
    });
    for line in [
        "SET key:1 other",
        "APPEND key:2 more",
        "DEL key:3",
        "PEXPIRE key:5 1000000",
        "HSET hash f v",
        "HSET key:7 f w",
        "HDEL key:7 field:0",
        "SADD key:8 new",
        "SREM key:8 member:0",
    ] {
        assert!(!client.line(line).starts_with(b"-"), "{line}");
    }
    client.send(b"MULTI\r\nSET key:9 a\r\nINCRBY counter 3\r\nEXEC\r\n");
    (0..4).for_each(|_| _ = client.reply());
    let server = Server::start(&["--memory", "64MiB"]);
    let manifest = here.0.join("appendonlydir/appendonly.aof.manifest");
    let (code, text) = pannier("import", &manifest, &server);
    assert_eq!(code, Some(0), "{text}");
    names[0].push(b"hash".to_vec());
    compare(&from, &server, &names);
    assert_eq!(server.connect().line("GET counter"), b"$1\r\n3\r\n");
}
