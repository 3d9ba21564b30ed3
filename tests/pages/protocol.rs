//! `docs/protocol.md` against the code: its test vectors, byte by byte, and its tables, name by name.
//! `PANNIER_BLESS=1 cargo test --test pages` writes the vectors into the page.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use pannier::client::SessionConfig;
use pannier::config::ServerOptions;
use pannier::engine::{Engine, persistence::Stage};
use pannier::frames::cookie::Source;
use pannier::frames::sessions::{ADDRESS_SESSIONS_MIN, STREAM_SESSIONS_MAX};
use pannier::frames::{Config, FrameServer, Handled, Incoming};
use pannier::journal::WriteGate;
use pannier::limits::{
    DATAGRAM_BYTES_MAX, STREAM_FRAME_BYTES_MAX, STREAM_REPLY_BYTES_MAX, UDP_LEASE_MS, UDP_WINDOW,
};
use pannier::store::{Store, StoreConfig};
use pannier::time::{Millis, Now};
use pannier::wire::frame::{self, Direction, FRAME_LEN_MIN, Head, Op, Reject, Status, Step, flags};
use pannier::wire::tag::{TAG_LEN, TagKey, TagKeys};

const CLIENT: u64 = 0x0102_0304_0506_0708;
const EPOCH: u32 = 0x1122_3344;
/// Of a CHALLENGE: no session.
const CHALLENGED: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28];
/// Of session 9.
const COOKIE: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 9, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38];

struct Vector {
    title: &'static str,
    bytes: Vec<u8>,
}

fn page_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")
}

fn vector(title: &'static str, head: &Head, body: (&[u8], &[u8]), tag: Option<&TagKey>) -> Vector {
    let mut bytes = vec![0; 1200];
    let len = frame::encode(&mut bytes, head, body.0, body.1, tag).expect("fits");
    bytes.truncate(len);
    let frame = frame::decode_datagram(&bytes, head.direction).expect("decodes");
    assert_eq!((frame.key, frame.value, frame.has_tag()), (body.0, body.1, tag.is_some()));
    Vector { title, bytes }
}

fn vectors() -> Vec<Vector> {
    let keys = TagKeys::from_password(b"secret");
    let hello = Head::request(Op::Hello, CLIENT, 0);
    let again = Head { attempt: 1, cookie: CHALLENGED, ..hello };
    let ask = |op, sequence| Head { epoch: EPOCH, cookie: COOKIE, ..Head::request(op, CLIENT, sequence) };
    let put = Head { flags: flags::IF_ABSENT, first_incomplete: 1, argument: 60_000, ..ask(Op::Put, 1) };
    let add = Head { attempt: 3, first_incomplete: 1, argument: (-1_i64).cast_unsigned(), ..ask(Op::Add, 2) };
    let get = Head { first_incomplete: 3, ..ask(Op::Get, 3) };
    let reply = |to: &Head, argument, expect| Head {
        cookie: COOKIE,
        argument,
        expect,
        ..to.reply(Status::Ok, EPOCH)
    };
    let refused = |op, sequence, status| Head { cookie: COOKIE, ..ask(op, sequence).reply(status, EPOCH) };
    let none: (&[u8], &[u8]) = (b"", b"");
    let challenge = Head { cookie: CHALLENGED, ..hello.reply(Status::Challenge, EPOCH) };
    vec![
        vector("HELLO, without a cookie", &hello, none, None),
        vector("CHALLENGE, to that HELLO", &challenge, none, None),
        vector("HELLO, with the cookie, attempt 1", &again, none, None),
        vector(
            "OK, to that HELLO: lease 120,000 ms, session number 9",
            &reply(&again, 120_000, 9),
            none,
            None,
        ),
        vector(
            "PUT \"key\" = \"value\", sequence 1, if-absent, 60,000 ms to live",
            &put,
            (b"key", b"value"),
            None,
        ),
        vector("OK, to that PUT: revision 77", &reply(&put, 77, 0), none, None),
        vector("ADD -1 to \"n\", sequence 2, first incomplete 1, attempt 3", &add, (b"n", b""), None),
        vector("OK, to that ADD: revision 78, sum 41", &reply(&add, 78, 41), none, None),
        vector(
            "GET \"key\", sequence 3, first incomplete 3, tagged under the password \"secret\"",
            &get,
            (b"key", b""),
            Some(&keys.request),
        ),
        vector(
            "OK, to that GET: revision 77, 59,000 ms left, \"value\", tagged",
            &reply(&get, 77, 59_000),
            (b"", b"value"),
            Some(&keys.reply),
        ),
        vector(
            "BAD_OP, to a damaged frame over TCP, whose checksum did not match",
            &Head {
                argument: Reject::BadCrc as u64,
                ..Head::request(Op::Ping, 0, 0).reply(Status::BadOp, EPOCH)
            },
            none,
            None,
        ),
        vector("MISCONF, to a PUT with sequence 4", &refused(Op::Put, 4, Status::Misconf), none, None),
        vector("LOADING, to a GET with sequence 5", &refused(Op::Get, 5, Status::Loading), none, None),
    ]
}

/// Sixteen bytes a line.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let words: Vec<String> =
            line.chunks(4).map(|word| word.iter().map(|b| format!("{b:02x}")).collect()).collect();
        writeln!(text, "{}", words.join(" ")).expect("to a string");
    }
    text
}

#[test]
fn the_vectors_are_the_codes() {
    let mut page = std::fs::read_to_string(page_path()).expect("the page");
    let bless = std::env::var_os("PANNIER_BLESS").is_some();
    let all = vectors();
    assert_eq!(page.matches("```hex\n").count(), all.len(), "each vector of the page is checked");
    for Vector { title, bytes } in all {
        let opening = format!("### {title}\n\n```hex\n");
        let start = page.find(&opening).unwrap_or_else(|| panic!("no vector {title:?}")) + opening.len();
        let end = start + page[start..].find("```").expect("a closed block");
        if bless {
            page.replace_range(start..end, &hex(&bytes));
        } else {
            assert_eq!(&page[start..end], hex(&bytes), "{title}");
        }
    }
    if bless {
        std::fs::write(page_path(), page).expect("to write the page");
    }
}

#[test]
fn the_tables_name_everything() {
    let page = std::fs::read_to_string(page_path()).expect("the page");
    let row = |name: &str, byte: u8| {
        assert!(page.contains(&format!("| `{name}` | {byte} |")), "{name} = {byte} is not in the page");
    };
    Op::ALL.iter().for_each(|op| row(op.name(), *op as u8));
    Status::ALL.iter().for_each(|status| row(status.name(), *status as u8));
    let dropped = &page[page.find("| counter | what |").expect("the table")..];
    let rows: Vec<&str> = dropped.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    for reason in Reject::ALL {
        let row = rows.get(*reason as usize).copied().unwrap_or_default();
        assert!(row.starts_with(&format!("| `{}` |", reason.name())), "{} is not in its row", reason.name());
    }
    for direction in [Direction::Request, Direction::Reply] {
        assert!(page.contains(&format!("F5 {:02X}", direction as u8)));
    }
}

/// 65468 as "65,468".
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let (front, back) = digits.split_at(digits.len().saturating_sub(3));
    if front.is_empty() { back.to_owned() } else { format!("{front},{back}") }
}

#[test]
fn the_numbers_of_the_page_are_the_codes() {
    let page = std::fs::read_to_string(page_path()).expect("the page").replace('\n', " ");
    let says = |text: String| assert!(page.contains(&text), "the page does not say {text:?}");
    let room = |len: usize| (grouped(len - FRAME_LEN_MIN), grouped(len - FRAME_LEN_MIN - TAG_LEN));
    let (plain, tagged) = room(DATAGRAM_BYTES_MAX);
    says(format!("room for {plain} bytes of key and value together, {tagged} with a tag"));
    let (plain, tagged) = room(STREAM_FRAME_BYTES_MAX);
    says(format!("over TCP for {plain} and {tagged} bytes"));
    let (plain, tagged) = room(STREAM_REPLY_BYTES_MAX);
    says(format!("for a value of {plain} and {tagged}."));
    let SessionConfig { retry_first, retry_min, retry_max, port_retries, .. } = SessionConfig::default();
    says(format!("wait {} ms before the first retry", retry_first.as_millis()));
    says(format!(
        "and {} ms at least; double the wait each time, to {} ms",
        retry_min.as_millis(),
        retry_max.as_millis()
    ));
    says(format!("After {port_retries} silences in a row go on from a new source port"));
    says(format!("half a lease ({} s)", UDP_LEASE_MS / 2000));
    says(format!("the lease ({} s)", UDP_LEASE_MS / 1000));
    says(format!("keeps {UDP_WINDOW} *slots* for each session"));
    says(format!(
        "as places are left free, and {ADDRESS_SESSIONS_MIN} in any case; one TCP connection {STREAM_SESSIONS_MAX}"
    ));
}

const NONE: [u8; 16] = [0; 16];

/// A server without sockets, and a client of it.
struct Rig {
    frames: FrameServer,
    engine: Engine,
    now: Now,
    cookie: [u8; 16],
    epoch: u32,
    sequence: u32,
}

impl Rig {
    fn new(clients_max: usize, memory_bytes: usize) -> Rig {
        let store = StoreConfig { memory_bytes, ..StoreConfig::default() };
        Rig {
            frames: FrameServer::new(&Config { clients_max, ..Config::new(EPOCH, [1, 2]) }),
            engine: Engine::new(Store::new(store, [3, 4]).expect("enough"), ServerOptions::default()),
            now: Now { monotonic: Millis(1), unix: Millis(1_700_000_000_000), unix_micros: 0 },
            cookie: NONE,
            epoch: EPOCH,
            sequence: 0,
        }
    }

    /// With a session, by the page's first steps.
    fn open() -> Rig {
        let mut rig = Rig::new(4, 8 << 20);
        rig.hello(CLIENT);
        rig
    }

    fn hello(&mut self, client_id: u64) -> Head {
        let hello = Head::request(Op::Hello, client_id, 0);
        self.cookie = NONE;
        let challenge = self.raw(hello, b"", b"").expect("an answer");
        assert_eq!((challenge.status(), challenge.epoch), (Some(Status::Challenge), EPOCH));
        self.cookie = challenge.cookie;
        let welcome = self.raw(Head { attempt: 1, ..hello }, b"", b"").expect("an answer");
        self.cookie = welcome.cookie;
        welcome
    }

    /// A datagram as it is said to be, with the cookie at hand.
    fn raw(&mut self, head: Head, key: &[u8], value: &[u8]) -> Option<Head> {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let len =
            frame::encode(&mut bytes, &Head { cookie: self.cookie, ..head }, key, value, None).expect("fits");
        let mut reply = [0; DATAGRAM_BYTES_MAX];
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
        let incoming = Incoming { from, bytes: &bytes[..len], now: self.now };
        match self.frames.handle(&mut self.engine, &incoming, &mut reply) {
            Handled::Reply(len) => {
                Some(frame::decode_datagram(&reply[..len], Direction::Reply).expect("a reply").head)
            }
            Handled::Silent => None,
            Handled::Rejected(reason) => panic!("{reason:?}"),
        }
    }

    /// A new request; status, argument and expect of the answer.
    fn ask(&mut self, op: Op, key: &[u8], value: &[u8], with: impl Fn(&mut Head)) -> (Status, u64, u64) {
        self.sequence += 1;
        let mut head = Head { epoch: self.epoch, ..Head::request(op, CLIENT, self.sequence) };
        with(&mut head);
        let reply = self.raw(head, key, value).expect("an answer");
        (reply.status().expect("a status"), reply.argument, reply.expect)
    }
}

#[test]
fn the_fields_of_replies_are_as_the_page_says() {
    let mut rig = Rig::open();
    let plain = |_: &mut Head| {};
    let if_revision_1 = |head: &mut Head| (head.flags, head.expect) = (flags::IF_REVISION, 1);
    assert_eq!(rig.ask(Op::Ping, b"", b"", plain), (Status::Ok, 0, 0));
    assert_eq!(rig.ask(Op::Delete, b"k", b"", plain), (Status::NotFound, 0, 0));
    assert_eq!(rig.ask(Op::Expire, b"k", b"", plain), (Status::NotFound, 0, 0));
    assert_eq!(rig.ask(Op::Put, b"k", b"", if_revision_1), (Status::NotMet, 0, 0));
    let (status, first, existed) = rig.ask(Op::Put, b"k", b"v", plain);
    assert_eq!((status, existed), (Status::Ok, 0));
    assert_eq!(rig.ask(Op::Get, b"k", b"", plain), (Status::Ok, first, 0));
    let (status, second, existed) = rig.ask(Op::Put, b"k", b"v", plain);
    assert_eq!((status, existed, second > first), (Status::Ok, 1, true));
    for op in [Op::Put, Op::Delete, Op::Expire] {
        assert_eq!(rig.ask(op, b"k", b"", if_revision_1), (Status::NotMet, second, 0), "{op:?}");
    }
    assert_eq!(rig.ask(Op::Add, b"k", b"", plain), (Status::WrongType, second, 0));
    let (status, third, expect) = rig.ask(Op::Expire, b"k", b"", |head| head.argument = 5000);
    assert_eq!((status, third > second, expect), (Status::Ok, true, 0));
    assert_eq!(rig.ask(Op::Get, b"k", b"", plain), (Status::Ok, third, 5000));
    let (status, deleted, expect) = rig.ask(Op::Delete, b"k", b"", plain);
    assert_eq!((status, deleted > third, expect), (Status::Ok, true, 1));
    let (status, _, sum) = rig.ask(Op::Add, b"n", b"", |head| head.argument = u64::MAX);
    assert_eq!((status, sum.cast_signed()), (Status::Ok, -1));
}

#[test]
fn hellos_read_no_sequence_and_requests_need_session_epoch_cookie_and_sequence() {
    let mut rig = Rig::open();
    // A HELLO's first incomplete changes nothing: what it would forget is still answered.
    assert_eq!(rig.ask(Op::Put, b"k", b"v", |_| {}).0, Status::Ok);
    let hello =
        Head { sequence: 9, first_incomplete: 9, attempt: 200, ..Head::request(Op::Hello, CLIENT, 0) };
    let welcome = rig.raw(hello, b"", b"").expect("an answer");
    assert_eq!((welcome.status(), welcome.attempt), (Some(Status::Ok), 200), "the attempt is repeated");
    rig.sequence = 0;
    assert_eq!(rig.ask(Op::Put, b"k", b"v", |_| {}).0, Status::Ok, "a repeat");
    assert_eq!(rig.frames.counters().repeats, 1);

    let cookie = rig.cookie;
    for op in [Op::Get, Op::Ping, Op::Put] {
        assert_eq!(rig.ask(op, b"k", b"", |head| head.epoch = 0).0, Status::WrongEpoch, "{op:?}");
        assert_eq!(rig.ask(op, b"k", b"", |head| head.sequence = 0).0, Status::BadOp, "{op:?}");
        assert_eq!(rig.ask(op, b"k", b"", |head| head.first_incomplete = 1000).0, Status::BadOp, "{op:?}");
        rig.cookie = NONE;
        assert_eq!(rig.ask(op, b"k", b"", |_| {}).0, Status::Challenge, "{op:?}");
        let reply = rig.raw(Head::request(Op::Hello, CLIENT, 0), b"", b"").expect("an answer");
        rig.cookie = reply.cookie;
        assert_eq!(rig.ask(op, b"k", b"", |_| {}).0, Status::StaleSession, "{op:?}: a CHALLENGE's cookie");
        rig.cookie = cookie;
        assert_eq!(rig.ask(op, b"k", b"", |_| {}).0, Status::Ok, "{op:?}");
    }
}

#[test]
fn only_writes_that_ran_use_up_a_sequence_and_each_slot_keeps_one() {
    let mut rig = Rig::open();
    let at =
        |rig: &mut Rig, sequence, op, key: &[u8]| rig.ask(op, key, b"", |head| head.sequence = sequence).0;
    // Refused and read, then used all the same.
    assert_eq!(rig.ask(Op::Put, b"k", b"", |head| (head.sequence, head.flags) = (5, 0x80)).0, Status::BadOp);
    assert_eq!(at(&mut rig, 5, Op::Get, b"k"), Status::NotFound);
    assert_eq!(at(&mut rig, 5, Op::Delete, b"k"), Status::NotFound);
    // A write that changed nothing has used it.
    assert_eq!(at(&mut rig, 5, Op::Put, b"k"), Status::IdReused);
    assert_eq!(at(&mut rig, 5, Op::Get, b"k"), Status::IdReused, "for a read too");
    assert_eq!(at(&mut rig, 5, Op::Delete, b"k"), Status::NotFound, "the repeat");
    // Another 64, 128 and more further on: the slot is taken over, the others stay.
    assert_eq!(at(&mut rig, 7, Op::Put, b"k"), Status::Ok);
    assert_eq!(at(&mut rig, 5 + 640, Op::Put, b"k"), Status::Ok);
    assert_eq!(at(&mut rig, 5, Op::Delete, b"k"), Status::StaleSession);
    assert_eq!(at(&mut rig, 7, Op::Put, b"k"), Status::Ok);
    assert_eq!((rig.frames.counters().writes, rig.frames.counters().repeats), (3, 2));
    // Below first incomplete nothing runs, whether it did before or not.
    assert_eq!(
        rig.ask(Op::Get, b"k", b"", |head| (head.sequence, head.first_incomplete) = (700, 100)).0,
        Status::Ok
    );
    for sequence in [7, 99] {
        assert_eq!(at(&mut rig, sequence, Op::Put, b"k"), Status::StaleSession);
    }
    assert_eq!(at(&mut rig, 100, Op::Put, b"k"), Status::Ok);
}

#[test]
fn busy_keeps_the_cookie_good_and_nothing_else() {
    let mut rig = Rig::new(2, 8 << 20);
    for client_id in [1, 2] {
        assert_eq!(rig.hello(client_id).status(), Some(Status::Ok));
        let put = Head { epoch: EPOCH, ..Head::request(Op::Put, client_id, 1) };
        assert_eq!(rig.raw(put, b"k", b"").and_then(|head| head.status()), Some(Status::Ok));
    }
    let busy = rig.hello(3);
    assert_eq!((busy.status(), rig.frames.sessions().len()), (Some(Status::Busy), 2));
    let get = Head { epoch: EPOCH, ..Head::request(Op::Get, 3, 1) };
    assert_eq!(rig.raw(get, b"k", b"").and_then(|head| head.status()), Some(Status::StaleSession));
    rig.now.monotonic = rig.now.monotonic.plus(UDP_LEASE_MS + 1);
    let welcome =
        rig.raw(Head { attempt: 2, ..Head::request(Op::Hello, 3, 0) }, b"", b"").expect("an answer");
    assert_eq!(welcome.status(), Some(Status::Ok), "the same HELLO, when a lease has run out");
}

#[test]
fn the_errors_that_the_page_names_are_limited_and_the_others_are_not() {
    let page = std::fs::read_to_string(page_path()).expect("the page");
    let from = page.find("By datagram the server limits these").expect("the paragraph");
    let named = &page[from..from + page[from..].find("`CHALLENGE` and the").expect("its end")];
    for status in Status::ALL {
        let is_named = named.contains(&format!("`{}`", status.name()));
        assert_eq!(is_named, status.is_error(), "{}", status.name());
    }
    let answered = |provoke: &dyn Fn(&mut Rig) -> Option<Head>| {
        let mut rig = Rig::open();
        (0..1000).filter(|_| provoke(&mut rig).is_some()).count()
    };
    let bad_op =
        |rig: &mut Rig| rig.raw(Head { epoch: EPOCH, ..Head::request(Op::Put, CLIENT, 0) }, b"k", b"");
    let challenge = |rig: &mut Rig| {
        rig.cookie = NONE;
        rig.raw(Head { epoch: EPOCH, ..Head::request(Op::Put, CLIENT, 1) }, b"k", b"")
    };
    assert_eq!((answered(&bad_op), answered(&challenge)), (128, 1000));
}

/// A write that was answered CHALLENGE did not run by this copy; with the cookie of the same session its retry runs once.
#[test]
fn over_tcp_the_session_is_the_same_and_the_cookie_another() {
    let mut rig = Rig::open();
    let add = Head { epoch: EPOCH, argument: 5, ..Head::request(Op::Add, CLIENT, 1) };
    let first = rig.raw(add, b"n", b"").expect("an answer");
    let stream = Source::Stream { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), connection: 1 };
    let mut ask = |head: Head, cookie, key: &[u8]| {
        let mut bytes = [0; 200];
        let len = frame::encode(&mut bytes, &Head { cookie, ..head }, key, b"", None).expect("fits");
        let Ok(Step::Ready { frame, .. }) = frame::decode_prefix(&bytes[..len], Direction::Request, 200)
        else {
            panic!("a frame");
        };
        let mut reply = [0; 200];
        let Handled::Reply(len) =
            rig.frames.handle_stream_frame(&mut rig.engine, &frame, (stream, rig.now), &mut reply)
        else {
            panic!("an answer");
        };
        frame::decode_datagram(&reply[..len], Direction::Reply).expect("a reply").head
    };
    let refused = ask(add, first.cookie, b"n");
    assert_eq!(refused.status(), Some(Status::Challenge));
    let hello = Head::request(Op::Hello, CLIENT, 0);
    let welcome = ask(hello, refused.cookie, b"");
    assert_eq!((welcome.status(), welcome.expect), (Some(Status::Ok), 1), "the session of the datagrams");
    let again = ask(add, welcome.cookie, b"n");
    assert_eq!((again.status(), again.expect), (Some(Status::Ok), 5), "a repeat");
}

#[test]
fn misconf_is_the_last_word_on_a_write_and_loading_is_not() {
    let mut rig = Rig::open();
    rig.engine.persistence.stage = Stage::Loading { done: 0, total: 1 };
    for op in [Op::Put, Op::Get, Op::Ping] {
        assert_eq!(rig.ask(op, b"k", b"", |head| head.sequence = 1), (Status::Loading, 0, 0), "{op:?}");
    }
    rig.engine.persistence.stage = Stage::Serving;
    assert_eq!(rig.ask(Op::Put, b"k", b"", |head| head.sequence = 1).0, Status::Ok, "the same request");
    rig.engine.persistence.gate = WriteGate::Refuse;
    let write = |rig: &mut Rig| rig.ask(Op::Delete, b"k", b"", |head| head.sequence = 2).0;
    assert_eq!(write(&mut rig), Status::Misconf);
    assert_eq!(rig.ask(Op::Get, b"k", b"", |head| head.sequence = 3).0, Status::Ok, "reads go on");
    rig.engine.persistence.gate = WriteGate::Open;
    assert_eq!(write(&mut rig), Status::Misconf, "a late copy does not run");
    assert_eq!(rig.ask(Op::Get, b"k", b"", |head| head.sequence = 4).0, Status::Ok);
    assert_eq!(rig.ask(Op::Delete, b"k", b"", |head| head.sequence = 5).0, Status::Ok);
}

/// Two faults in one request: the answer is that of the check that comes first.
#[test]
fn the_checks_come_in_the_order_of_the_page_and_cookies_with_the_answers_that_it_names() {
    let mut rig = Rig::open();
    let cookie = rig.cookie;
    assert_eq!(rig.ask(Op::Put, b"k", b"v", |head| head.sequence = 1).0, Status::Ok);
    // Each row mends the first fault of the one before.
    let faulty = |head: &mut Head, row: usize| {
        head.epoch = if row < 2 { 5 } else { EPOCH };
        head.flags = if row < 3 { 0x80 } else { 0 };
        head.sequence = if row < 5 { 1 } else { 2 };
    };
    let mut challenge = NONE;
    let expected = [
        (Status::Challenge, true),
        (Status::WrongEpoch, false),
        (Status::BadOp, false),
        (Status::StaleSession, false),
        (Status::IdReused, true),
        (Status::Misconf, true),
    ];
    rig.engine.persistence.stage = Stage::Serving;
    rig.engine.persistence.gate = WriteGate::Refuse;
    for (row, (status, has_cookie)) in expected.into_iter().enumerate() {
        rig.cookie = match row {
            0 => NONE,
            // Good for HELLO alone: it names no session.
            1..=3 => challenge,
            _ => cookie,
        };
        let mut head = Head::request(Op::Delete, CLIENT, 1);
        faulty(&mut head, row);
        let reply = rig.raw(head, b"k", b"").expect("an answer");
        assert_eq!((reply.status(), reply.cookie != NONE), (Some(status), has_cookie), "row {row}");
        if row == 0 {
            challenge = reply.cookie;
        }
    }
    rig.frames.set_password(b"secret");
    let untagged = rig.raw(Head { epoch: 5, ..Head::request(Op::Put, CLIENT, 3) }, b"k", b"");
    let denied = untagged.expect("an answer");
    assert_eq!((denied.status(), denied.cookie), (Some(Status::Denied), NONE), "before the epoch");
}

#[test]
fn what_an_operation_has_no_use_for_is_not_looked_at() {
    let mut rig = Rig::open();
    let if_absent = |head: &mut Head| (head.flags, head.expect) = (flags::IF_REVISION, 0);
    assert_eq!(rig.ask(Op::Delete, b"k", b"", if_absent), (Status::NotFound, 0, 0));
    assert_eq!(rig.ask(Op::Expire, b"k", b"", if_absent), (Status::NotFound, 0, 0));
    assert_eq!(rig.ask(Op::Ping, b"key", b"value", |head| head.argument = 5), (Status::Ok, 0, 0));
    assert_eq!(rig.ask(Op::Put, b"", b"of the empty key", |_| {}).0, Status::Ok);
    assert_eq!(rig.ask(Op::Get, b"", b"value", |head| (head.argument, head.expect) = (5, 6)).0, Status::Ok);
    for (op, flag) in [(Op::Get, flags::IF_REVISION), (Op::Delete, flags::KEEP_TTL), (Op::Add, 0x20)] {
        assert_eq!(rig.ask(op, b"", b"", |head| head.flags = flag).0, Status::BadOp, "{op:?}");
    }
    let (field, value) = (b"f".as_slice(), pannier::mutation::NewValue::Bytes(b"v"));
    let put = pannier::mutation::Mutation::PutField {
        db: pannier::mutation::Database(0),
        key: b"hash",
        kind: pannier::mutation::CollectionKind::Hash,
        field,
        value,
    };
    let revision = rig.engine.store.apply(&put, rig.now.unix).expect("room").revision.0;
    assert_eq!(rig.ask(Op::Get, b"hash", b"", |_| {}), (Status::WrongType, revision, 0));
    assert_eq!(rig.ask(Op::Put, b"hash", b"v", |_| {}).0, Status::Ok);
}
