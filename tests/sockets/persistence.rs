//! Servers with a data directory: what they have kept after an orderly end and after a kill, what damage does, and that
//! a directory has one server.

use crate::common::{MIB, Random, Server, command, eventually, free_port};
use crate::udp::Raw;
use pannier::wire::frame::Status;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory of its own, which goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("pannier-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Scratch(path)
    }

    fn start(&self, flags: &[&str]) -> Server {
        let dir = self.0.to_str().expect("a temporary directory's name is text");
        let server = Server::start(&[&["--data-dir", dir], flags].concat());
        eventually("the data to be loaded", || server.connect().line("PING") == b"+PONG\r\n");
        server
    }

    fn check(&self, flags: &[&str]) -> (Option<i32>, String) {
        let output = command().arg("check").arg(&self.0).args(flags).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    }

    fn journals(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("the directory is there");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"journal-"))
        });
        paths.sort();
        paths
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn an_orderly_end_keeps_everything() {
    let scratch = Scratch::new("orderly");
    let mut server = scratch.start(&[]);
    let mut client = server.connect();
    let big = Random(7).bytes(3 * MIB);
    assert_eq!(client.line("SET a 1"), b"+OK\r\n");
    assert_eq!(client.line("SET gone 1"), b"+OK\r\n");
    assert_eq!(client.line("EXPIREAT a 99999999999"), b":1\r\n");
    assert_eq!(client.line("RENAME gone b"), b"+OK\r\n");
    assert_eq!(client.call(&[b"SET".as_slice(), b"big", &big]), b"+OK\r\n");
    assert_eq!(client.line("SELECT 3"), b"+OK\r\n");
    assert_eq!(client.line("SET c 3"), b"+OK\r\n");
    assert_eq!(client.line("SWAPDB 3 4"), b"+OK\r\n");
    server.signal("TERM");
    assert!(server.wait().success(), "{}", server.stderr());
    assert_eq!((mode(&scratch.0), mode(&scratch.journals()[0])), (0o700, 0o600));
    assert_eq!(scratch.check(&[]).0, Some(0), "{}", scratch.check(&[]).1);

    let mut server = scratch.start(&[]);
    let mut client = server.connect();
    assert_eq!(client.line("MGET a b gone"), b"*3\r\n$1\r\n1\r\n$1\r\n1\r\n$-1\r\n");
    assert_eq!(client.line("EXPIRETIME a"), b":99999999999\r\n");
    let reply = client.line("GET big");
    assert!(reply.ends_with(&[&big[..], b"\r\n"].concat()), "the large value came back different");
    assert_eq!(client.line("SELECT 4"), b"+OK\r\n");
    assert_eq!(client.line("GET c"), b"$1\r\n3\r\n");
    // A checkpoint holds the same.
    assert_eq!(client.line("BGSAVE"), b"+Background saving started\r\n");
    eventually("the checkpoint", || {
        scratch.0.join("checkpoint-00000003").exists() && scratch.journals().len() == 1
    });
    assert_eq!(client.line("DEL c"), b":1\r\n");
    server.signal("KILL");
    server.wait();
    let server = scratch.start(&["--durability", "os"]);
    let mut client = server.connect();
    assert_eq!(client.line("MGET a b gone"), b"*3\r\n$1\r\n1\r\n$1\r\n1\r\n$-1\r\n");
    assert_eq!(client.line("STRLEN big"), format!(":{}\r\n", big.len()).as_bytes());
}

#[test]
fn what_the_system_was_given_survives_a_kill() {
    let scratch = Scratch::new("kill");
    let mut random = Random(3);
    let mut least = 0;
    for _ in 0..8 {
        let mut server = scratch.start(&["--durability", "os"]);
        let mut client = server.connect();
        let found = client.line("GET count");
        let found: u64 = match found.as_slice() {
            b"$-1\r\n" => 0,
            reply => std::str::from_utf8(reply).unwrap().split("\r\n").nth(1).unwrap().parse().unwrap(),
        };
        assert!(found >= least, "{found} is found, and {least} had been durable");
        // Groups are whole: both were counted in one transaction.
        assert_eq!(client.line("GET count"), client.line("GET twin"));
        for _ in 0..100 + random.next() % 400 {
            client.send(b"MULTI\r\nINCR count\r\nINCR twin\r\nEXEC\r\n");
            let replies: Vec<Vec<u8>> = (0..4).map(|_| client.reply()).collect();
            assert!(replies[3].starts_with(b"*2\r\n:"), "{replies:?}");
        }
        let wanted = client.line("GET count");
        least = std::str::from_utf8(&wanted).unwrap().split("\r\n").nth(1).unwrap().parse().unwrap();
        // The system has it within milliseconds; INFO tells when no change waits any more in this process.
        let durable = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).into_owned();
            let size =
                text.lines().find_map(|line| line.strip_prefix("aof_current_size:").map(str::to_owned));
            size.and_then(|size| size.parse::<u64>().ok()).unwrap_or(0)
        };
        let (mut before, mut same) = (0, 0);
        eventually("the journal to be at rest", || {
            let size = durable(&client.line("INFO persistence"));
            same = if size == before { same + 1 } else { 0 };
            before = size;
            same > 10
        });
        server.signal("KILL");
        server.wait();
    }
}

/// Kills of a run; `PANNIER_KILLS` asks for more.
const KILLS: usize = 8;

#[test]
fn with_always_what_was_acknowledged_survives_a_kill_at_any_moment() {
    let kills = std::env::var("PANNIER_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(KILLS);
    let scratch = Scratch::new("always");
    let mut random = Random(11);
    let mut acknowledged = 0;
    for _ in 0..kills {
        let mut server = scratch.start(&["--durability", "always", "--journal-size", "1MiB"]);
        let mut client = server.connect();
        let found = number(&client.line("GET count"));
        assert!(found >= acknowledged, "{found} is found, and {acknowledged} was acknowledged");
        // Requests under way all the time; the kill comes between two replies, whichever.
        let filler = "x".repeat(random.below(3_000));
        let request = format!("INCR count\r\nSET filler:{} {filler}\r\n", random.below(50));
        client.send(request.repeat(64).as_bytes());
        for _ in 0..random.below(200) {
            acknowledged = integer(&client.reply());
            client.reply();
            client.send(request.as_bytes());
        }
        server.signal("KILL");
        server.wait();
    }
}

#[test]
fn a_write_that_is_repeated_after_a_restart_does_not_run_again() {
    let scratch = Scratch::new("repeated");
    let port = free_port();
    let udp = format!("127.0.0.1:{port}");
    let mut server = scratch.start(&["--durability", "always", "--udp", &udp]);
    let raw = Raw::connect(server.udp_address(), 17);
    let add = raw.add(1);
    let (reply, _) = raw.ask(&add);
    assert_eq!((reply.status(), reply.expect), (Some(Status::Ok), 1));
    server.signal("KILL");
    server.wait();

    // The reply was lost, say: the client sends the same again, to a server that knows neither session nor cookie.
    let server = scratch.start(&["--durability", "always", "--udp", &udp]);
    let (again, _) = raw.ask(&add);
    assert_eq!(again.status(), Some(Status::Challenge));
    assert_ne!(
        again.epoch, reply.epoch,
        "which tells the client that its session is gone: the write is unknown"
    );
    assert_eq!(server.connect().line("GET raw"), b"$1\r\n1\r\n");
}

/// The number that a bulk string reads; 0 for none.
fn number(reply: &[u8]) -> u64 {
    let text = std::str::from_utf8(reply).expect("text");
    text.split("\r\n").nth(1).map_or(0, |digits| digits.parse().unwrap_or(0))
}

/// The number of an integer reply.
fn integer(reply: &[u8]) -> u64 {
    let text = std::str::from_utf8(reply).expect("text");
    text.trim_start_matches(':').trim_end().parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn a_damaged_directory_is_refused_and_can_be_cut() {
    let scratch = Scratch::new("damage");
    let mut server = scratch.start(&[]);
    let mut client = server.connect();
    for index in 0..50 {
        assert_eq!(client.line(&format!("SET key:{index} {index}")), b"+OK\r\n");
    }
    server.signal("TERM");
    server.wait();
    let journal = scratch.journals().remove(0);
    let mut bytes = fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let (code, text) = scratch.check(&[]);
    assert!(code == Some(1) && text.contains("damaged at byte 64") && text.contains("--truncate"), "{text}");
    let dir = scratch.0.to_str().unwrap();
    let refused =
        command().args(["serve", "--tcp", "127.0.0.1:0", "--admin", "off", "--data-dir", dir]).output();
    let refused = refused.unwrap();
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("damaged at byte 64") && text.contains("journal-00000001"), "{text}");
    let (code, text) = scratch.check(&["--truncate"]);
    assert!(code == Some(0) && text.contains("was cut"), "{text}");
    let server = scratch.start(&[]);
    assert_eq!(server.connect().line("DBSIZE"), b":0\r\n");
    // One directory, one server.
    let (code, text) = scratch.check(&[]);
    assert!(code == Some(1) && text.contains("another server uses"), "{text}");
}

#[test]
fn commands_about_saving_tell_the_truth() {
    let scratch = Scratch::new("info");
    let server = scratch.start(&["--journal-size", "1MiB"]);
    let mut client = server.connect();
    assert_eq!(client.line("CONFIG GET appendonly"), b"*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n");
    assert_eq!(client.line("CONFIG GET appendfsync"), b"*2\r\n$11\r\nappendfsync\r\n$8\r\neverysec\r\n");
    assert!(client.line("CONFIG GET dir").ends_with(format!("{}\r\n", scratch.0.display()).as_bytes()));
    assert_eq!(client.line("CONFIG GET save"), b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    assert!(client.line("SAVE").starts_with(b"-ERR SAVE would stop all clients"));
    let value = vec![b'x'; MIB];
    for index in 0..3 {
        let key = format!("key:{index}");
        assert_eq!(client.call(&[b"SET".as_slice(), key.as_bytes(), &value]), b"+OK\r\n");
    }
    // The journal is longer than it may be: a checkpoint comes by itself.
    eventually("a checkpoint", || {
        let info = String::from_utf8(client.line("INFO persistence")).unwrap();
        info.contains("aof_enabled:1")
            && info.contains("checkpoint_bytes:31")
            && info.contains("rdb_last_bgsave_status:ok")
    });
}

#[test]
fn waitaof_waits_until_what_was_written_is_durable() {
    let scratch = Scratch::new("waitaof");
    for mode in ["os", "everysec", "always"] {
        let mut server = scratch.start(&["--durability", mode]);
        let mut client = server.connect();
        assert_eq!(client.line(&format!("SET {mode} 1")), b"+OK\r\n");
        assert_eq!(client.line("WAITAOF 1 0 0"), b"*2\r\n:1\r\n:0\r\n", "{mode}");
        assert_eq!(client.line("WAITAOF 0 7 0"), b"*2\r\n:1\r\n:0\r\n", "{mode}");
        // It does not wait in a transaction.
        client.send(b"MULTI\r\nSET other 1\r\nWAITAOF 1 0 0\r\nEXEC\r\n");
        let last = (0..4).map(|_| client.reply()).last().expect("four replies");
        assert!(last.starts_with(b"*2\r\n+OK\r\n*2\r\n:0\r\n"), "{mode}: {last:?}");
        server.signal("KILL");
        server.wait();
    }
    let server = scratch.start(&[]);
    assert_eq!(server.connect().line("EXISTS os everysec always"), b":3\r\n");
}
