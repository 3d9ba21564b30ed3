use super::*;
use crate::command::{VERBS, VerbId};
use crate::config::ServerOptions;
use crate::engine::Engine;
use crate::frames::{self, FrameServer};
use crate::limits::MIB;
use crate::reply::ErrorKind;
use crate::server::Resources;
use crate::store::{Store, StoreConfig};
use crate::time::Millis;

const NOW: Now = Now { monotonic: Millis(5_000), unix: Millis(1_780_000_000_000), unix_micros: 0 };
const READY: Readiness = Readiness::Ready;

pub(super) fn server() -> Server {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let engine = Engine::new(
        Store::new(config, [1, 2]).unwrap(),
        ServerOptions { max_clients: 4, ..ServerOptions::default() },
    );
    let datagrams = FrameServer::new(&frames::Config { clients_max: 4, ..frames::Config::new(1, [3, 4]) });
    let small = Resources { input_bytes: MIB, output_bytes: MIB, ..Resources::default() };
    Server::new(engine, datagrams, small)
}

fn respond_to(request: &[u8], server: &mut Server, readiness: Readiness, reply: &mut Reply) -> Step {
    let access = Access::new("127.0.0.1:7879".parse().unwrap(), None);
    let context = &mut Context { server, history: &History::new(), access: &access, readiness, now: NOW };
    respond(request, context, reply)
}

/// The whole reply, None while more of the request is wanted.
fn ask(server: &mut Server, request: &[u8], readiness: Readiness) -> Option<String> {
    let mut reply = Reply::new();
    match respond_to(request, server, readiness, &mut reply) {
        Step::NeedMore => None,
        Step::Replied | Step::Denied(_) => {
            Some(String::from_utf8([reply.head.as_bytes(), reply.body.as_bytes()].concat()).unwrap())
        }
    }
}

fn get(path: &str) -> String {
    ask(&mut server(), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(), READY).unwrap()
}

#[test]
fn probes_say_alive_ready_and_stopping() {
    assert!(get("/livez").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get("/readyz?verbose").ends_with("\r\n\r\nready\n"));
    let stopping = Readiness::Draining { connections: 3 };
    let reply = ask(&mut server(), b"GET /readyz HTTP/1.0\r\n\r\n", stopping).unwrap();
    assert!(reply.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\nnot ready: the server stops; connections to flush: 3\n"), "{reply}");
    let fails = Readiness::UdpFails { error: "Bad file number", times: 20 };
    let reply = ask(&mut server(), b"GET /readyz HTTP/1.0\r\n\r\n", fails).unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 503 ") && reply.contains("\r\n\r\nnot ready: the UDP socket fails: Bad")
    );
    let reply = ask(&mut server(), b"HEAD /readyz HTTP/1.0\r\n\r\n", fails).unwrap();
    assert!(reply.starts_with("HTTP/1.1 503 ") && reply.ends_with("\r\n\r\n"), "{reply}");
    for state in [stopping, fails] {
        assert!(
            ask(&mut server(), b"GET /livez HTTP/1.0\r\n\r\n", state).unwrap().starts_with("HTTP/1.1 200 ")
        );
        let metrics = ask(&mut server(), b"GET /metrics HTTP/1.0\r\n\r\n", state).unwrap();
        assert!(metrics.contains("\npannier_ready 0\n"));
    }
}

#[test]
fn every_beginning_of_a_request_wants_more() {
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost:7879\r\nAccept: */*\r\n\r\n";
    let mut server = server();
    for len in 0..request.len() {
        assert_eq!(ask(&mut server, &request[..len], READY), None, "{len}");
    }
    assert!(ask(&mut server, request, READY).is_some());
}

#[test]
fn what_is_not_a_get_of_a_known_path_gets_the_reason() {
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(REQUEST_HEADERS_MAX + 1));
    let long = format!("GET /{} ", "x".repeat(REQUEST_BYTES_MAX));
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\n\r\n", "404 "),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404 "),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 "),
        ("DELETE / HTTP/1.1\r\n\r\n", "405 "),
        ("*1\r\n$4\r\nPING\r\n", "400 "),
        ("GET / HTTP/9.9\r\n\r\n", "400 "),
        ("GET / HTTP/1.1\r\n no name\r\n\r\n", "400 "),
        (many_headers.as_str(), "431 "),
        (&long[..REQUEST_BYTES_MAX], "431 "),
    ] {
        let reply = ask(&mut server(), request.as_bytes(), READY).unwrap();
        assert_eq!(&reply[9..13], status, "{request}");
        assert!(reply.contains("\r\nConnection: close\r\n"), "{reply}");
        assert_eq!(reply.contains("\r\nAllow: GET, HEAD\r\n"), status == "405 ");
    }
}

#[test]
fn everything_but_probes_needs_the_token() {
    let token = Token::new(b"0123456789abcdef").ok();
    let access = Access::new("0.0.0.0:7879".parse().unwrap(), token);
    let mut server = server();
    let mut ask = |path: &str, header: &str| {
        let (history, mut reply) = (History::new(), Reply::new());
        let context = &mut Context {
            server: &mut server,
            history: &history,
            access: &access,
            readiness: READY,
            now: NOW,
        };
        let step = respond(format!("GET {path} HTTP/1.1\r\n{header}\r\n").as_bytes(), context, &mut reply);
        (step, String::from_utf8([reply.head.as_bytes(), reply.body.as_bytes()].concat()).unwrap())
    };
    for path in ["/livez", "/readyz", "/readyz?verbose"] {
        assert!(ask(path, "").1.starts_with("HTTP/1.1 200 "), "{path}");
    }
    for path in ["/", "/metrics", "/history", "/history?after=3", "/nothing", "/livez/", "//livez", "/Livez"]
    {
        let (step, reply) = ask(path, "");
        assert_eq!(step, Step::Denied(Denied::NoToken), "{path}");
        assert!(
            reply.starts_with("HTTP/1.1 401 ") && reply.contains("\r\nWWW-Authenticate: Bearer\r\n"),
            "{reply}"
        );
        assert!(reply.contains("\r\nWWW-Authenticate: Basic realm="), "{reply}");
        let (step, _) = ask(path, "Authorization: Bearer 0123456789abcdee\r\n");
        assert_eq!(step, Step::Denied(Denied::WrongToken), "{path}");
        let (step, _) = ask(path, "Authorization: Bearer 0123456789abcdef\r\n");
        assert_eq!(step, Step::Replied, "{path}");
    }
}

#[test]
fn on_loopback_another_sites_name_is_denied() {
    for path in ["/", "/metrics", "/history"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: rebound.example:7879\r\n\r\n");
        let reply = ask(&mut server(), request.as_bytes(), READY).unwrap();
        assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("PANNIER_ADMIN_TOKEN"), "{reply}");
    }
    let probe = b"GET /livez HTTP/1.1\r\nHost: pod.example\r\n\r\n";
    assert!(ask(&mut server(), probe, READY).unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn head_has_the_length_and_no_body() {
    let reply = ask(&mut server(), b"HEAD /livez HTTP/1.1\r\n\r\n", READY).unwrap();
    assert!(reply.contains("Content-Length: 6\r\n") && reply.ends_with("\r\n\r\n"), "{reply}");
}

#[test]
fn metrics_show_what_was_counted() {
    let mut server = server();
    let metrics = &mut server.engine_mut().metrics;
    metrics.called(VerbId::Get);
    metrics.record_latency(VerbId::Get, 3);
    metrics.rejected(VerbId::Set, ErrorKind::Full);
    metrics.counters.received_bytes = 77;
    metrics.closes.killed = 2;
    let process_stats = &mut server.engine_mut().process_stats;
    (process_stats.slowest_turn_us, process_stats.started_unix_ms) = (900, 1_779_999_995_250);
    let text = ask(&mut server, b"GET /metrics HTTP/1.1\r\n\r\n", READY).unwrap();
    for line in [
        "pannier_requests_total{transport=\"tcp\",protocol=\"resp\",verb=\"get\"} 1",
        "pannier_requests_total{transport=\"udp\",protocol=\"frames\",verb=\"put\"} 0",
        "pannier_connections_closed_total{reason=\"killed\"} 2",
        "pannier_requests_rejected_total{verb=\"set\"} 1",
        "pannier_errors_total{code=\"OOM\"} 1",
        "pannier_errors_total{code=\"NOAUTH\"} 0",
        "pannier_request_duration_seconds_bucket{le=\"0.000002048\"} 0",
        "pannier_request_duration_seconds_bucket{le=\"0.000004096\"} 1",
        "pannier_request_duration_seconds_bucket{le=\"+Inf\"} 1",
        "pannier_request_duration_seconds_sum 0.000003",
        "pannier_received_bytes_total{transport=\"tcp\"} 77",
        "pannier_keys{db=\"15\"} 0",
        "pannier_frames_rejected_total{reason=\"bad_crc\"} 0",
        "pannier_loop_slowest_turn_seconds 0.000900",
        "pannier_ready 1",
        "process_start_time_seconds 1779999995.250",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn every_verb_and_error_at_its_longest_fits() {
    let mut server = server();
    let metrics = &mut server.engine_mut().metrics;
    for verb in VERBS {
        metrics.called(verb.id);
        metrics.rejected(verb.id, ErrorKind::Full);
    }
    let mut reply = Reply::new();
    respond_to(b"GET /metrics HTTP/1.1\r\n\r\n", &mut server, READY, &mut reply);
    // Numbers of one digit may grow to twenty: a line has sixty bytes or more, so that at most a third is added.
    let (len, capacity) = (reply.body.as_bytes().len(), reply.body.0.capacity());
    assert!(len > 16 * 1024 && len * 3 / 2 < BODY_BYTES_MAX, "{len}");
    assert_eq!(capacity, BODY_BYTES_MAX, "nothing was allocated");
}

#[test]
fn a_reply_that_does_not_fit_is_an_error_and_no_half() {
    let mut reply = Reply { head: Text::with_capacity(512), body: Text::with_capacity(1000) };
    respond_to(b"GET /metrics HTTP/1.1\r\n\r\n", &mut server(), READY, &mut reply);
    assert!(reply.head.as_bytes().starts_with(b"HTTP/1.1 500 "));
    assert!(reply.body.as_bytes().len() < 100);
}

#[cfg(feature = "cli")]
/// What stands between a tag and its end.
fn inside<'a>(page: &'a str, tag: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
    rest.split_once(&format!("</{tag}>")).unwrap().0
}

#[cfg(feature = "cli")]
#[test]
fn the_page_may_run_what_it_brings_and_nothing_else() {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use sha2::Digest;
    let reply = get("/");
    let (head, page) = reply.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nContent-Type: text/html; charset=utf-8\r\n")
    );
    assert!(head.contains("\r\nX-Content-Type-Options: nosniff\r\n"), "{head}");
    assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: ")).unwrap();
    let hash = |tag| {
        let text = inside(page, tag);
        format!("{tag}-src 'sha256-{}'", BASE64_STANDARD.encode(sha2::Sha256::digest(text)))
    };
    for wanted in ["default-src 'none'", "frame-ancestors 'none'", &hash("script"), &hash("style")] {
        assert!(policy.split("; ").any(|part| part == wanted), "{wanted} is not in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'));
    // One script and one style, no handlers or styles in attributes, and nothing from elsewhere.
    assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
    for banned in ["://", " src=", "@import", "url(", " style=", " onclick=", " onload="] {
        assert!(!page.contains(banned), "{banned}");
    }
    assert!(page.len() <= 24 * 1024 && page.len() < BODY_BYTES_MAX, "{}", page.len());
}

#[cfg(feature = "cli")]
#[test]
fn the_page_asks_only_for_fields_that_the_history_has() {
    let history = ask(&mut server(), b"GET /history HTTP/1.1\r\n\r\n", READY).unwrap();
    let found: serde_json::Value = serde_json::from_str(history.split_once("\r\n\r\n").unwrap().1).unwrap();
    let fields: Vec<&str> =
        found["fields"].as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
    let page = get("/");
    let asked = |before: &str, behind: &str| -> Vec<String> {
        let parts = page.split(before).skip(1);
        parts.filter_map(|part| part.split_once(behind)).map(|(name, _)| name.to_owned()).collect()
    };
    let word = |text: &String| text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let rates = asked("per('", "')");
    let levels = page.split(" of.").skip(1).map(|part| {
        part.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
    });
    let names: Vec<String> = rates.into_iter().chain(levels).filter(word).collect();
    assert!(names.len() > 25, "{names:?}");
    for name in &names {
        assert!(fields.contains(&name.as_str()), "{name}");
    }
    let parts: Vec<String> =
        asked("found.", ".").into_iter().chain(asked("found.", ",")).filter(word).collect();
    assert!(parts.len() > 3);
    parts.iter().for_each(|part| assert!(found.get(part).is_some(), "{part}"));
}
