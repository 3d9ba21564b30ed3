//! What a server says to our client: any bytes, in pieces.

use super::script::Script;
use pannier::client::{ReadError, Reply, ReplyReader};
use std::io::{self, Read};

const REPLY_BYTES_MAX: usize = 64 * 1024;
const REPLIES_MAX: usize = 200;

/// Gives its bytes a piece at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece_len: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.piece_len.min(into.len()).min(self.bytes.len());
        into[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let piece_len = 1 + script.number();
    let bytes = script.rest();
    let whole = read_all(bytes, usize::MAX);
    assert_eq!(read_all(bytes, piece_len), whole);
}

/// Every reply, and why there is no more of them. In a text, for "not a number" is not equal to itself.
fn read_all(bytes: &[u8], piece_len: usize) -> (Vec<String>, String) {
    let mut source = Pieces { bytes, piece_len };
    let mut reader = ReplyReader::new(REPLY_BYTES_MAX);
    let mut replies = Vec::new();
    while replies.len() < REPLIES_MAX {
        match reader.read(&mut source) {
            Ok(reply) => {
                assert!(memory_bytes(&reply) <= REPLY_BYTES_MAX, "a reply of more than its bound");
                replies.push(format!("{reply:?}"));
            }
            Err(ReadError::Malformed(reason)) => return (replies, format!("{reason:?}")),
            Err(ReadError::Io(error)) => return (replies, format!("{:?}", error.kind())),
        }
    }
    (replies, "enough".into())
}

/// What a reply holds, in bytes, spare capacity left out.
fn memory_bytes(reply: &Reply) -> usize {
    let inside = match reply {
        Reply::Simple(text) | Reply::Bulk(text) | Reply::BigNumber(text) => text.len(),
        Reply::Verbatim { text, .. } => text.len(),
        Reply::Array(list) | Reply::Set(list) | Reply::Push(list) => list.iter().map(memory_bytes).sum(),
        Reply::Map(pairs) => pairs.iter().map(|(key, value)| memory_bytes(key) + memory_bytes(value)).sum(),
        _ => 0,
    };
    size_of::<Reply>() + inside
}
