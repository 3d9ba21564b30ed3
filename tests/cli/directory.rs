//! `pannier import --data-dir`: into a directory that no server uses meanwhile; everything arrives, or nothing does. And times
//! of fields, which go into files and come out of them.

use crate::common::{Server, command, eventually};
use pannier::rdb::{RdbWriter, ValueKind, dumped, part_payload};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A directory that is gone at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("pannier-directory-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Keys that outlive the test.
const LATER_MS: u64 = 4_000_000_000_123;
const MEMORY: &str = "32MiB";

/// A file with strings of all lengths, a hash, a set, times and two databases.
fn rdb() -> Vec<u8> {
    let mut writer = RdbWriter::new(Vec::new()).expect("a vector");
    for index in 0..2_000 {
        let key = format!("key:{index}");
        writer.string(0, (key.as_bytes(), &[b'v'; 100]), None).expect("a vector");
    }
    writer.string(0, (b"long", &[b'l'; 3 << 20]), None).expect("a vector");
    writer.string(0, (b"gone", b"before"), Some(1_000)).expect("a vector");
    writer.string(3, (b"later", b"x"), Some(LATER_MS)).expect("a vector");
    for (key, kind) in [("hash", ValueKind::Hash), ("set", ValueKind::Set)] {
        let items: Vec<Vec<u8>> = (0..600).map(|index| format!("item:{index}").into_bytes()).collect();
        let payload = part_payload(kind, &items);
        let (_, value) = dumped(&payload).expect("it was made so");
        writer.value(3, (key.as_bytes(), value), Some(LATER_MS)).expect("a vector");
    }
    writer.finish().expect("a vector")
}

/// Runs `pannier` and gives its exit code and what it printed.
fn pannier(args: &[&str]) -> (Option<i32>, String) {
    let output = command().args(args).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

fn import(file: &Path, dir: &Path) -> (Option<i32>, String) {
    pannier(&["import", text(file), "--data-dir", text(dir), "--memory", MEMORY])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn serve(dir: &Path) -> Server {
    let server = Server::start(&["--data-dir", text(dir), "--memory", MEMORY]);
    eventually("the data to be loaded", || server.connect().line("PING") == b"+PONG\r\n");
    server
}

fn stop(mut server: Server) {
    server.signal("TERM");
    assert!(server.wait().success());
}

/// All files but the lock, with what is in them.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let named = files.map(|file| (file.file_name().into_string().expect("text"), file.path()));
    let others = named.filter(|(name, _)| name != "LOCK");
    others.map(|(name, path)| (name, fs::read(path).expect("a file"))).collect()
}

fn assert_is_imported(server: &Server) {
    let mut client = server.connect();
    assert_eq!(client.line("DBSIZE"), b":2001\r\n");
    assert_eq!(client.line("STRLEN key:1999"), b":100\r\n");
    assert_eq!(client.line("STRLEN long"), format!(":{}\r\n", 3 << 20).into_bytes());
    assert_eq!(client.line("EXISTS gone"), b":0\r\n");
    client.line("SELECT 3");
    assert_eq!(client.line("DBSIZE"), b":3\r\n");
    for key in ["later", "hash", "set"] {
        let expected = format!(":{LATER_MS}\r\n").into_bytes();
        assert_eq!(client.line(&format!("PEXPIRETIME {key}")), expected, "{key}");
    }
    assert_eq!(client.line("HGET hash item:10"), b"$7\r\nitem:11\r\n");
    assert_eq!(client.line("SCARD set"), b":600\r\n");
}

#[test]
fn a_server_serves_what_was_imported_into_its_directory() {
    let folder = Folder::new("import");
    let (file, dir) = (folder.path("dump.rdb"), folder.path("data"));
    fs::write(&file, rdb()).expect("write");
    let (code, text_of) = import(&file, &dir);
    let is_all = ["imported: 2004, expired before: 1", "type string: 2002", "type hash: 1", "type set: 1"];
    assert!(code == Some(0) && is_all.iter().all(|part| text_of.contains(part)), "{code:?}: {text_of}");
    let (code, report) = pannier(&["check", text(&dir)]);
    assert!(code == Some(0) && report.contains("checkpoint") && report.ends_with("ok\n"), "{report}");

    // A server changes something and ends; a second import goes on top of that, and another start finds both.
    let server = serve(&dir);
    assert_is_imported(&server);
    let mut client = server.connect();
    assert_eq!(client.line("SET mine 1"), b"+OK\r\n");
    assert_eq!(client.line("SET key:5 changed"), b"+OK\r\n");
    stop(server);
    let mut writer = RdbWriter::new(Vec::new()).expect("a vector");
    writer.string(0, (b"key:6", b"second"), None).expect("a vector");
    fs::write(&file, writer.finish().expect("a vector")).expect("write");
    let (code, report) = import(&file, &dir);
    assert!(code == Some(0) && report.contains("imported: 1,"), "{report}");
    for _ in 0..2 {
        let server = serve(&dir);
        let mut client = server.connect();
        let expected = [("mine", "1"), ("key:5", "changed"), ("key:6", "second")];
        for (key, value) in expected {
            let expected = format!("${}\r\n{value}\r\n", value.len()).into_bytes();
            assert_eq!(client.line(&format!("GET {key}")), expected);
        }
        assert_eq!(client.line("DBSIZE"), b":2002\r\n");
        stop(server);
    }
}

#[test]
fn a_directory_that_a_server_uses_is_refused_with_what_to_do() {
    let folder = Folder::new("locked");
    let (file, dir) = (folder.path("dump.rdb"), folder.path("data"));
    fs::write(&file, rdb()).expect("write");
    let server = serve(&dir);
    let (code, report) = import(&file, &dir);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("another server uses the data directory"), "{report}");
    assert!(report.contains("stop it") && report.contains("without --data-dir"), "{report}");
    assert_eq!(server.connect().line("DBSIZE"), b":0\r\n");
    let (code, report) = import(&folder.path("missing.rdb"), &folder.path("new"));
    assert!(code == Some(2) && report.contains("cannot be read"), "{code:?} {report}");
    assert!(!folder.path("new").exists());
}

#[test]
fn an_import_that_does_not_end_leaves_the_directory_as_it_was() {
    let folder = Folder::new("interrupted");
    let (file, dir) = (folder.path("dump.rdb"), folder.path("data"));
    let whole = rdb();
    fs::write(&file, &whole).expect("write");
    assert_eq!(import(&file, &dir).0, Some(0));
    let before = contents(&dir);

    // A file that is damaged at its end; one of more than the memory takes; one for more databases.
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("a byte") ^= 1;
    fs::write(&file, damaged).expect("write");
    let (code, report) = import(&file, &dir);
    assert!(code == Some(1) && report.contains("checksum"), "{code:?} {report}");
    assert!(contents(&dir) == before);
    fs::write(&file, &whole).expect("write");
    let flags = ["--memory", MEMORY, "--databases", "2"];
    let (code, report) = pannier(&[&["import", text(&file), "--data-dir", text(&dir)], &flags[..]].concat());
    assert!(code == Some(1) && report.contains("--databases"), "{code:?} {report}");
    assert!(contents(&dir) == before);

    // Killed in the middle.
    let mut child = command()
        .args(["import", "-", "--data-dir", text(&dir), "--memory", MEMORY])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(&whole[..whole.len() / 2]).expect("it reads");
    // What a pipe does not hold has been read: so the directory is loaded and locked.
    eventually("the lock", || pannier(&["check", text(&dir)]).0 == Some(1));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(contents(&dir) == before);
    assert_eq!(pannier(&["check", text(&dir)]).0, Some(0));
    assert_is_imported(&serve(&dir));
}

#[test]
fn what_does_not_fit_is_counted_and_the_rest_is_there() {
    let folder = Folder::new("full");
    let (file, dir) = (folder.path("dump.rdb"), folder.path("data"));
    let mut writer = RdbWriter::new(Vec::new()).expect("a vector");
    for index in 0..60 {
        let key = format!("key:{index}");
        writer.string(0, (key.as_bytes(), &[b'v'; 1 << 20]), None).expect("a vector");
    }
    fs::write(&file, writer.finish().expect("a vector")).expect("write");
    let (code, report) = import(&file, &dir);
    assert!(code == Some(1) && report.contains("times SET: OOM"), "{code:?} {report}");
    let server = serve(&dir);
    let reply = String::from_utf8(server.connect().line("DBSIZE")).expect("text");
    let count: u64 = reply[1..].trim().parse().expect("a number");
    assert!((10..60).contains(&count), "{count}");
    assert!(report.contains(&format!("imported: {count},")), "{count} {report}");
}

#[test]
fn an_append_only_file_goes_in_and_what_ends_the_connection_does_not() {
    let folder = Folder::new("aof");
    let (file, dir) = (folder.path("a.aof"), folder.path("data"));
    let commands = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n\
        *3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$1\r\n5\r\n";
    fs::write(&file, commands).expect("write");
    let (code, report) = import(&file, &dir);
    assert!(code == Some(0) && report.contains("imported: 2,"), "{code:?} {report}");
    let before = contents(&dir);
    for bad in ["*1\r\n$4\r\nQUIT\r\n", "*3\r\n$6\r\nCLIENT\r\n$5\r\nPAUSE\r\n$7\r\n1000000\r\n"] {
        fs::write(&file, [commands, bad, commands].concat()).expect("write");
        let (code, report) = import(&file, &dir);
        assert!(code == Some(1) && report.contains("cannot be imported"), "{code:?} {report}");
        assert!(contents(&dir) == before);
    }
    let server = serve(&dir);
    let mut client = server.connect();
    client.line("SELECT 3");
    assert_eq!(client.line("GET n"), b"$1\r\n5\r\n");
}

#[test]
fn times_of_fields_go_into_a_file_that_names_its_version_and_come_out_of_it() {
    let folder = Folder::new("times");
    let (file, dir) = (folder.path("dump.rdb"), folder.path("data"));
    let server = Server::start(&["--memory", MEMORY]);
    let mut client = server.connect();
    let export = |file: &str| pannier(&["export", file, "--server", &server.address.to_string()]);
    for key in ["short", "long"] {
        for index in 0..if key == "short" { 4 } else { 700 } {
            let line = format!("HSET {key} field:{index} value:{index}");
            assert_eq!(client.line(&line), b":1\r\n");
        }
    }
    let (code, report) = export(text(&file));
    assert!(code == Some(0) && !report.contains("7.4"), "{report}");
    assert_eq!(&fs::read(&file).expect("it was exported")[..9], b"REDIS0009");

    for (key, field, at) in
        [("short", 1, LATER_MS), ("long", 5, LATER_MS + 70_000), ("long", 6, LATER_MS + 7)]
    {
        let line = format!("HPEXPIREAT {key} {at} FIELDS 1 field:{field}");
        assert_eq!(client.line(&line), b"*1\r\n:1\r\n");
    }
    let (code, report) = export(text(&file));
    assert!(code == Some(0) && report.contains("with times of fields: 2; only Redis 7.4"), "{report}");
    assert_eq!(&fs::read(&file).expect("it was exported")[..9], b"REDIS0012");

    let other = Server::start(&["--memory", MEMORY]);
    let (code, report) = pannier(&["import", text(&file), "--server", &other.address.to_string()]);
    assert!(code == Some(0) && report.contains("imported: 2,"), "{report}");
    assert_eq!(import(&file, &dir).0, Some(0));
    for restored in [&other, &serve(&dir)] {
        let mut restored = restored.connect();
        for line in [
            "HPEXPIRETIME short FIELDS 4 field:0 field:1 field:2 field:3",
            "HPEXPIRETIME long FIELDS 4 field:5 field:6 field:7 nothing",
            "HMGET long field:5 field:699",
            "HLEN long",
        ] {
            assert_eq!(restored.line(line), client.line(line), "{line}");
        }
    }
    // On standard output the header has gone before the first key.
    let output =
        command().args(["export", "-", "--server", &server.address.to_string()]).output().expect("it runs");
    assert!(output.status.success() && output.stdout.starts_with(b"REDIS0009"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("with times of fields: 2"));
    fs::write(&file, output.stdout).expect("write");
    let (code, report) = pannier(&["import", text(&file), "--server", &other.address.to_string()]);
    assert!(code == Some(0) && report.contains("imported: 2,"), "{report}");
}
