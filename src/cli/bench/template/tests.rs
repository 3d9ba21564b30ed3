use super::*;
use crate::cli::bench::{codec::CARRY_BYTES_MAX, commands::parse_command, workload::Sizes};

fn template(words: &str) -> Template {
    mix(&[words])
}

fn mix(commands: &[&str]) -> Template {
    let content = Content::new(999, 8).unwrap();
    let sizes = Sizes { min: 3, max: 3 };
    let commands: Vec<_> = commands.iter().map(|text| parse_command(text).unwrap()).collect();
    Template::new(&commands, &content, Resp::new(&content, sizes, None), 1000)
}

fn encoded(words: &str, op: Op) -> String {
    let content = Content::new(999, 8).unwrap();
    let mut out = Outbox::default();
    let request = Request { op, key: 7, value_len: 3, check: false };
    template(words).encode(&request, &content, &mut out);
    String::from_utf8(out.bytes).unwrap()
}

#[test]
fn placeholders_become_keys_and_values_wherever_they_stand() {
    assert_eq!(
        encoded("SET {key} {value} EX 60", Op::Read),
        "*5\r\n$3\r\nSET\r\n$8\r\nkey:0007\r\n$3\r\n007\r\n$2\r\nEX\r\n$2\r\n60\r\n"
    );
    assert_eq!(encoded("INCR n:{key}{x", Op::Read), "*2\r\n$4\r\nINCR\r\n$12\r\nn:key:0007{x\r\n");
    assert_eq!(
        encoded("MGET {key} {key}", Op::Read),
        "*3\r\n$4\r\nMGET\r\n$8\r\nkey:0007\r\n$8\r\nkey:0010\r\n"
    );
    assert_eq!(encoded("PING", Op::Write), "*3\r\n$3\r\nSET\r\n$8\r\nkey:0007\r\n$3\r\n007\r\n");
}

#[test]
fn lengths_are_those_of_the_values_drawn() {
    let (content, mut out) = (Content::new(999, 8).unwrap(), Outbox::default());
    let mut template = template("SETRANGE {key} 0 <{value}{value}>");
    for value_len in [3, 12] {
        template.encode(&Request { op: Op::Read, key: 7, value_len, check: false }, &content, &mut out);
    }
    let request = |value: &str| {
        let len = 2 * value.len() + 2;
        format!("*4\r\n$8\r\nSETRANGE\r\n$8\r\nkey:0007\r\n$1\r\n0\r\n${len}\r\n<{value}{value}>\r\n")
    };
    let text = String::from_utf8(out.bytes).unwrap();
    assert_eq!(text, request("007") + &request("000000000007"));
}

#[test]
fn commands_take_turns_and_connections_begin_at_turns_of_their_own() {
    let content = Content::new(999, 8).unwrap();
    let template = mix(&["2 A", "B"]);
    let sent = |connection| {
        let (mut template, mut out) = (template.starting_at(connection), Outbox::default());
        let request = Request { op: Op::Read, key: 7, value_len: 0, check: false };
        (0..6).for_each(|_| template.encode(&request, &content, &mut out));
        String::from_utf8(out.bytes).unwrap().replace("*1\r\n$1\r\n", "").replace("\r\n", "")
    };
    assert_eq!([sent(0), sent(1), sent(2), sent(3)], ["ABAABA", "BAABAA", "AABAAB", "ABAABA"]);
}

#[test]
fn every_field_has_its_turn() {
    let content = Content::new(999, 8).unwrap();
    let mut template = template("HGET h:{key} {field}");
    let request = Request { op: Op::Read, key: 7, value_len: 0, check: false };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..FIELDS {
        let mut out = Outbox::default();
        template.encode(&request, &content, &mut out);
        let text = String::from_utf8(out.bytes).unwrap();
        let field = text.strip_prefix("*3\r\n$4\r\nHGET\r\n$10\r\nh:key:0007\r\n$8\r\nfield:").unwrap();
        seen.insert(field.trim_end().parse::<u8>().unwrap());
    }
    assert!(seen.into_iter().eq(0..FIELDS));
}

#[test]
fn replies_of_every_kind_are_taken_whole() {
    let mut template = template("PING");
    let done = |consumed, outcome| Decoded::Done { consumed, outcome };
    for (bytes, expected) in [
        ("+OK\r\n", done(5, Outcome::Stored)),
        (":12\r\n:1\r\n", done(5, Outcome::Stored)),
        ("$3\r\nabc\r\n", done(9, Outcome::Stored)),
        ("$-1\r\n", done(5, Outcome::Missing)),
        ("-ERR x\r\n", done(8, Outcome::Error(b"ERR x"))),
        ("*2\r\n$1\r\na\r\n*1\r\n:1\r\n", done(19, Outcome::Stored)),
        ("%1\r\n+a\r\n_\r\n", done(11, Outcome::Stored)),
    ] {
        assert_eq!(template.decode(Op::Read, bytes.as_bytes()), expected, "{bytes}");
        let Decoded::Done { consumed, .. } = expected else { unreachable!() };
        for cut in 1..consumed {
            assert_eq!(
                template.decode(Op::Read, &bytes.as_bytes()[..cut]),
                Decoded::NeedMore,
                "{bytes} {cut}"
            );
        }
    }
    assert!(matches!(template.decode(Op::Read, b"hello\r\n"), Decoded::Garbage(_)));
    assert!(matches!(template.decode(Op::Read, &[b'+'; CARRY_BYTES_MAX + 1]), Decoded::Garbage(_)));
}
