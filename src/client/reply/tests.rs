//! The reply reader against well-formed replies in pieces of every size, and against servers that lie.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Hands out its bytes a piece at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece_len: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.piece_len.min(into.len()).min(self.bytes.len());
        into[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

fn read_all(bytes: &[u8], piece_len: usize) -> Vec<Reply> {
    let mut source = Pieces { bytes, piece_len };
    let mut reader = ReplyReader::new(1024 * 1024);
    let mut replies = Vec::new();
    while reader.has_leftover() || !source.bytes.is_empty() {
        replies.push(reader.read(&mut source).unwrap());
    }
    replies
}

fn reason(bytes: &[u8]) -> Malformed {
    let mut reader = ReplyReader::new(64 * 1024);
    match reader.read(&mut Pieces { bytes, piece_len: 4096 }) {
        Err(ReadError::Malformed(reason)) => reason,
        other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

#[test]
fn every_type_in_pieces_of_every_size() {
    let bytes = b"+OK\r\n-ERR no such thing\r\n-WRONGPASS\r\n-oops\r\n:-17\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n\
        *2\r\n$1\r\nx\r\n*1\r\n:1\r\n_\r\n#t\r\n#f\r\n,1.5\r\n,inf\r\n(123456789012345678901\r\n=7\r\ntxt:abc\r\n\
        !9\r\nERR a\r\nb \r\n%1\r\n+k\r\n:2\r\n~1\r\n:3\r\n>2\r\n+invalidate\r\n_\r\n|1\r\n+ttl\r\n:1\r\n:4\r\n";
    let error = |code: &str, text: &str| Reply::Error { code: code.into(), text: text.into() };
    let expected = [
        Reply::Simple(b"OK".to_vec()),
        error("ERR", "no such thing"),
        error("WRONGPASS", ""),
        error("ERR", "oops"),
        Reply::Integer(-17),
        bulk("a\r\n"),
        bulk(""),
        Reply::Null,
        Reply::Null,
        Reply::Array(vec![]),
        Reply::Array(vec![bulk("x"), Reply::Array(vec![Reply::Integer(1)])]),
        Reply::Null,
        Reply::Boolean(true),
        Reply::Boolean(false),
        Reply::Double(1.5),
        Reply::Double(f64::INFINITY),
        Reply::BigNumber(b"123456789012345678901".to_vec()),
        Reply::Verbatim { format: *b"txt", text: b"abc".to_vec() },
        error("ERR", "a\r\nb "),
        Reply::Map(vec![(Reply::Simple(b"k".to_vec()), Reply::Integer(2))]),
        Reply::Set(vec![Reply::Integer(3)]),
        Reply::Integer(4),
    ];
    for piece_len in 1..=bytes.len() {
        assert_eq!(read_all(bytes, piece_len), expected, "in pieces of {piece_len}");
    }
}

#[test]
fn a_long_string_arrives_whole() {
    let value = vec![b'v'; 300_000];
    let mut bytes = b"$300000\r\n".to_vec();
    bytes.extend(&value);
    bytes.extend(b"\r\n:1\r\n");
    assert_eq!(read_all(&bytes, 7_001), [Reply::Bulk(value), Reply::Integer(1)]);
}

#[test]
fn what_is_no_reply_has_a_reason() {
    assert_eq!(reason(b"HTTP/1.1 400 Bad Request\r\n"), Malformed::UnknownType(b'H'));
    assert_eq!(reason(b"\r\n"), Malformed::BadNumber);
    for bad in
        ["$\r\n", "$+1\r\n", "$-2\r\n", "$99999999999999999\r\n", "*?\r\n", ":x\r\n", "%-1\r\n", "#x\r\n"]
    {
        assert_eq!(reason(bad.as_bytes()), Malformed::BadNumber, "{bad:?}");
    }
    assert_eq!(reason(b"=2\r\nab\r\n"), Malformed::BadNumber);
    assert_eq!(reason(b"$1\r\nabc\r\n"), Malformed::MissingLineEnd);
    assert_eq!(reason(b"+OK\n"), Malformed::MissingLineEnd);
    assert_eq!(reason(&[b'+'; 100_000]), Malformed::LineTooLong);
}

#[test]
fn a_lying_server_costs_no_memory() {
    assert_eq!(reason(b"$1000000000000000\r\n"), Malformed::TooLarge);
    assert_eq!(reason(&b"*1\r\n".repeat(DEPTH_MAX + 2)), Malformed::TooDeep);
    // Each element counts, even one without bytes.
    let mut many = b"*9999999\r\n".to_vec();
    many.extend(b"_\r\n".repeat(10_000));
    assert_eq!(reason(&many), Malformed::TooLarge);
}

#[test]
fn the_end_of_the_stream_is_no_reply() {
    for cut in ["", "$3\r\nab", "*2\r\n:1\r\n", "+O"] {
        let mut reader = ReplyReader::new(1024);
        match reader.read(&mut cut.as_bytes()) {
            Err(ReadError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
            other => panic!("{cut:?} gave {other:?}"),
        }
    }
}

proptest! {
    /// Whatever a server sends, reading ends, takes no more memory than allowed, and does not panic. The letters are
    /// those of the protocol, so that many inputs get past the first byte.
    #[test]
    fn rubbish_is_survived(words in vec(proptest::sample::select(&RUBBISH[..]), 0..40), piece_len in 1usize..20) {
        let bytes: Vec<u8> = words.concat();
        let mut source = Pieces { bytes: &bytes, piece_len };
        let mut reader = ReplyReader::new(4096);
        while let Ok(reply) = reader.read(&mut source) {
            prop_assert!(!matches!(reply, Reply::Push(_)));
            prop_assert!(reader.budget <= 4096);
        }
    }
}

const RUBBISH: [&[u8]; 24] = [
    b"*", b"$", b":", b"+", b"-", b"%", b"~", b">", b"|", b"!", b"=", b"_", b"#t", b",", b"(", b"1", b"2",
    b"9999", b"-1", b"\r\n", b"\r\n", b"\r\n", b"ab", b"\0\xff",
];
