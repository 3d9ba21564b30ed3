//! The admin port of the spawned server: probes, metrics, and peers that stall, flood or lie.

use crate::common::{MIB, PATIENCE, Server, command, eventually};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

const ON: [&str; 2] = ["--admin", "127.0.0.1:0"];

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream
}

/// All that the server says until it closes; a reset counts as a close.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).expect("UTF-8")
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("send");
    rest(stream)
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").expect("a head").1
}

/// The value of a series, which is named to its end.
fn sample(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.parse().ok()).expect("the series")
}

#[test]
fn probes_and_metrics() {
    let server = Server::start(&ON);
    let admin = server.admin_address();
    assert!(get(admin, "/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(admin, "/").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(admin, "/no").starts_with("HTTP/1.1 404 "));
    let mut client = server.connect();
    for _ in 0..5 {
        assert_eq!(client.line("SET k v EX 100"), b"+OK\r\n");
    }
    let reply = get(admin, "/metrics");
    assert!(reply.contains("Content-Type: text/plain; version=0.0.4"), "{reply}");
    let text = body(&reply);
    for line in [
        "pannier_requests_total{transport=\"tcp\",protocol=\"resp\",verb=\"set\"} 5",
        "pannier_keys_expiring{db=\"0\"} 1",
        "pannier_connections 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    check_format(text);
    check_with_promtool(text);
}

/// What the format asks for: HELP and TYPE before the samples of each family, once; counters end in `_total`.
fn check_format(text: &str) {
    let mut families = BTreeSet::new();
    let mut series = BTreeSet::new();
    let (mut name, mut kind) = ("", "");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            name = help.split_once(' ').filter(|(_, help)| !help.trim().is_empty()).expect("help").0;
            assert!(families.insert(name), "{name} twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.strip_prefix(name).expect("the name of HELP").trim();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        } else {
            let (id, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(id), "{id} twice");
            let sample = id.split('{').next().expect("a name");
            let suffix = sample.strip_prefix(name).expect("samples follow their HELP");
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
        }
    }
}

/// Prometheus's own check, where it is installed.
fn check_with_promtool(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else {
        eprintln!("SKIPPED: promtool is not installed; the format was checked by the test itself");
        return;
    };
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("write");
    let output = promtool.wait_with_output().expect("wait");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn every_connection_is_open_or_closed_for_a_reason() {
    let server = Server::start(&[&ON[..], &["--idle-timeout", "300ms"]].concat());
    let admin = server.admin_address();
    let mut quits = server.connect();
    quits.line("QUIT");
    let mut lies = server.connect();
    lies.send(b"*x\r\n");
    lies.rest();
    let mut killer = server.connect();
    let mut killed = server.connect();
    let id = String::from_utf8(killed.line("CLIENT ID")).expect("text");
    assert_eq!(killer.line(&format!("CLIENT KILL ID {}", &id[1..id.len() - 2])), b":1\r\n");
    killed.rest();
    // The idle limit is the killer's end.
    killer.rest();
    let reply = get(admin, "/metrics");
    let closed =
        |reason| sample(body(&reply), &format!("pannier_connections_closed_total{{reason=\"{reason}\"}} "));
    assert_eq!((closed("protocol_error"), closed("killed"), closed("idle_timeout")), (1, 1, 1), "{reply}");
    assert_eq!(closed("peer"), 1, "{reply}");
    let accepted = sample(body(&reply), "pannier_connections_accepted_total ");
    assert_eq!((accepted, sample(body(&reply), "pannier_connections ")), (4, 0), "{reply}");
}

#[test]
fn a_stopping_server_is_alive_and_not_ready() {
    let mut server = Server::start(&ON);
    let admin = server.admin_address();
    let mut client = server.connect();
    assert_eq!(client.call(&[b"SET".as_slice(), b"big", &vec![b'x'; MIB]]), b"+OK\r\n");
    // A client that does not take its replies holds the end up.
    let mut stalled = server.connect();
    stalled.send(&b"GET big\r\n".repeat(100));
    let mut sent = 0;
    eventually("the system's buffers to be full", || {
        std::thread::sleep(Duration::from_millis(50));
        let before = sent;
        sent = sample(body(&get(admin, "/metrics")), "pannier_sent_bytes_total{transport=\"tcp\"} ");
        // No more than the window and a little: the rest stays in the store.
        sent > 0 && sent == before
    });
    server.signal("TERM");
    eventually("the server to begin to stop", || server.stderr().contains("stopping on"));
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 503 "));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn stalled_and_lying_peers_keep_no_probe_out() {
    let server = Server::start(&ON);
    let admin = server.admin_address();
    let mut stalled: Vec<TcpStream> = (0..20).map(|_| connect(admin)).collect();
    for stream in &mut stalled {
        // Some are closed already, to make room.
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: ");
    }
    assert!(get(admin, "/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    let mut liar = connect(admin);
    liar.write_all(&[b'x'; 8192]).expect("send");
    assert!(rest(liar).starts_with("HTTP/1.1 4"));
    assert_eq!(server.connect().line("PING"), b"+PONG\r\n");
    // The others are closed when their time has passed.
    for stream in stalled {
        assert_eq!(rest(stream), "");
    }
}

/// What a request with this header line gets; a line ends in CR LF.
fn get_with(address: SocketAddr, path: &str, header: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\n{header}\r\n").expect("send");
    rest(stream)
}

#[test]
fn a_token_guards_all_but_the_probes_and_sighup_reads_it_again() {
    let file = std::env::temp_dir().join(format!("pannier-admin-token-{}", std::process::id()));
    std::fs::write(&file, "first-token-of-many-letters\n").expect("write");
    let path = file.to_str().expect("UTF-8").to_owned();
    let server = Server::start(&["--admin", "0.0.0.0:0", "--admin-token-file", &path]);
    let admin = SocketAddr::from(([127, 0, 0, 1], server.admin_address().port()));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    assert!(get(admin, "/livez").starts_with("HTTP/1.1 200 "));
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200 "));
    for path in ["/", "/metrics", "/history"] {
        assert!(get(admin, path).starts_with("HTTP/1.1 401 "), "{path}");
        assert!(get_with(admin, path, &bearer("first-token-of-many-letterz")).starts_with("HTTP/1.1 401 "));
        assert!(get_with(admin, path, &bearer("first-token-of-many-letters")).starts_with("HTTP/1.1 200 "));
    }
    let logged = "turned away from the admin port";
    eventually(logged, || server.stderr().contains(logged));
    // A token that cannot be used changes nothing.
    for (text, logged) in [("short", "at least 16"), ("second-token-of-many-letters", "is now the one in")] {
        std::fs::write(&file, text).expect("write");
        server.signal("HUP");
        eventually(logged, || server.stderr().contains(logged));
        let (now, then) = ("second-token-of-many-letters", "first-token-of-many-letters");
        let (right, wrong) = if text == now { (now, then) } else { (then, now) };
        assert!(get_with(admin, "/metrics", &bearer(right)).starts_with("HTTP/1.1 200 "), "{text}");
        assert!(get_with(admin, "/metrics", &bearer(wrong)).starts_with("HTTP/1.1 401 "), "{text}");
    }
    let log = server.stderr();
    assert!(!log.contains("of-many-letters"), "no token is logged: {log}");
    let _ = std::fs::remove_file(file);
}

#[test]
fn on_loopback_a_name_of_another_site_is_denied() {
    let server = Server::start(&ON);
    let admin = server.admin_address();
    assert!(get_with(admin, "/metrics", "Host: rebound.example\r\n").starts_with("HTTP/1.1 403 "));
    assert!(get_with(admin, "/metrics", "Host: localhost:7879\r\n").starts_with("HTTP/1.1 200 "));
    assert!(get_with(admin, "/metrics", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn the_history_is_there_for_a_page_that_comes_late() {
    let server = Server::start(&ON);
    let admin = server.admin_address();
    let mut client = server.connect();
    eventually("a sample with the SETs in it", || {
        client.line("SET k v");
        let reply = get(admin, "/history");
        reply.starts_with("HTTP/1.1 200 ") && body(&reply).contains("\"set\":")
    });
    let reply = get(admin, "/history?after=0");
    assert!(
        reply.contains("Content-Type: application/json") && body(&reply).contains("\"writes_refused\""),
        "{reply}"
    );
}

#[test]
fn a_probe_does_not_wait_behind_hundreds_of_stalled_connections() {
    let server = Server::start(&ON);
    let admin = server.admin_address();
    let _stalled: Vec<TcpStream> = (0..400).map(|_| connect(admin)).collect();
    let mut probe = connect(admin);
    // As an orchestrator, it gives up after seconds. Slots that only became free by a time limit took ten.
    probe.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
    probe.write_all(b"GET /livez HTTP/1.1\r\n\r\n").expect("send");
    assert!(rest(probe).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn clients_that_use_up_all_descriptors_keep_no_probe_out() {
    let server = Server::start_with_descriptors(64, &ON);
    let admin = server.admin_address();
    let mut clients = Vec::new();
    assert!(server.stderr().contains("the system allows this process 64 open files"));
    eventually("the server to have no place left", || {
        clients.push(connect(server.address));
        server.stderr().contains("turned away")
    });
    for _ in 0..3 {
        assert!(get(admin, "/livez").starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(get(admin, "/metrics").starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn a_probe_is_answered_when_descriptors_have_really_run_out() {
    let server = Server::start_with_descriptors(512, &ON);
    let admin = server.admin_address();
    // Since the start leaves room for what it knows, only a limit that falls afterwards takes the last descriptor.
    let limit = ["--pid", &server.logged_pid().to_string(), "--nofile=64:64"];
    if !Command::new("prlimit").args(limit).status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: prlimit is not installed");
    }
    let mut clients = Vec::new();
    eventually("the server to have no descriptor left", || {
        clients.push(connect(server.address));
        server.stderr().contains("out of file descriptors")
    });
    for _ in 0..3 {
        for path in ["/livez", "/readyz", "/metrics"] {
            assert!(get(admin, path).starts_with("HTTP/1.1 200 OK\r\n"), "{path}");
        }
    }
}

#[test]
fn many_scrapes_at_once_are_all_answered() {
    let server = Server::start(&ON);
    let admin = server.admin_address();
    let mut scrapes: Vec<TcpStream> = (0..40).map(|_| connect(admin)).collect();
    for stream in &mut scrapes {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
    }
    let answered = scrapes.into_iter().filter(|stream| {
        let stream = stream.try_clone().expect("clone");
        rest(stream).starts_with("HTTP/1.1 200 ")
    });
    assert!(answered.count() >= 8);
}

#[test]
fn a_busy_admin_port_names_the_flag() {
    let server = Server::start(&ON);
    let admin = server.admin_address().to_string();
    let output = command()
        .args(["serve", "--tcp", "127.0.0.1:0", "--udp", "off", "--memory", "64MiB", "--admin", &admin])
        .stdin(Stdio::null())
        .output()
        .expect("run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("in use") && stderr.contains("--admin"), "{stderr}");
}

/// What a browser makes of the page after some seconds of its own time, and what it has to complain of. `None` where
/// there is no Chromium.
fn in_a_browser(address: SocketAddr) -> Option<(String, String)> {
    let profile = std::env::temp_dir().join(format!("pannier-page-{}", std::process::id()));
    let output = Command::new("timeout")
        .args([
            "60",
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
        ])
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{address}/"))
        .output();
    let _ = std::fs::remove_dir_all(profile);
    // 127: there is no such command.
    let output = output.ok().filter(|output| output.status.code() != Some(127))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some((text(output.stdout), text(output.stderr)))
}

#[test]
fn the_page_draws_in_a_browser_without_complaint() {
    let server = Server::start(&ON);
    // The browser's own time runs faster than the server's, whose first sample comes after a second.
    eventually("a sample", || get(server.admin_address(), "/history").contains("\"samples\":[["));
    let Some((page, log)) = in_a_browser(server.admin_address()) else {
        eprintln!("SKIPPED: there is no chromium to look at the page with");
        return;
    };
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains(":CONSOLE:")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(page.contains("class=\"good\">ready</span>"), "{page}\n{log}");
    // Curves were drawn, and stand there in words.
    assert!(page.contains("<path class=\"area f0\""), "{page}");
    assert!(page.contains("aria-label=\"Connections: TCP 0\""), "{page}");
}
