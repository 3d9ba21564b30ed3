//! `docs/protocol.md` against the code: its test vectors, byte by byte, and its tables, name by name.
//! `PANNIER_BLESS=1 cargo test --test protocol_page` writes the vectors into the page.
#![cfg(feature = "server")]

use std::fmt::Write as _;
use std::path::PathBuf;

use pannier::wire::frame::{self, Direction, Head, Op, Reject, Status, flags};
use pannier::wire::tag::{TagKey, TagKeys};

const CLIENT: u64 = 0x0102_0304_0506_0708;
const EPOCH: u32 = 0x1122_3344;
const COOKIE: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 5, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28];

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
    let again = Head { attempt: 1, cookie: COOKIE, ..hello };
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
    let none: (&[u8], &[u8]) = (b"", b"");
    let challenge = Head { cookie: COOKIE, ..hello.reply(Status::Challenge, EPOCH) };
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
    for reason in Reject::ALL {
        assert!(page.contains(&format!("| `{}` |", reason.name())), "{} is not in the page", reason.name());
    }
    for direction in [Direction::Request, Direction::Reply] {
        assert!(page.contains(&format!("F5 {:02X}", direction as u8)));
    }
}
