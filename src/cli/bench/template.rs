//! Requests of any commands over RESP, from words in which `{key}` stands for a key, `{value}` for a value and `{field}`
//! for one of twenty fields: what a service sends, beside GET and SET.
//!
//! ```text
//!  SET {key} {value} EX 60      *5 $3 SET $16 | key | $1024 | value | $2 EX $2 60
//!  MGET {key} {key} {key}       keys of a request are different ones
//!  HGET h:{key} {field}         field:00 to field:19, in turn
//! ```
//!
//! Several commands take turns (`commands.rs`).

use std::rc::Rc;

use super::{
    codec::{CARRY_BYTES_MAX, Codec, Decoded, Outcome, line},
    commands::{Command, order},
    content::{Content, Outbox},
    resp::Resp,
    workload::{Op, Request},
};
use crate::wire::number::{INTEGER_BYTES_MAX, parse_u64, write_u64};

/// The keys of one request are this far from each other, so that they are no neighbours in any key space.
const KEY_STRIDE: u64 = 1_000_003;
/// What each field's name begins with; two digits follow.
const FIELD: &[u8] = b"field:";
/// Fields that there are.
const FIELDS: u8 = 20;
/// The next field is so many further on: no divisor of [`FIELDS`], so that every place in a hash has its turn, and no neighbour.
const FIELD_STRIDE: u8 = 7;

#[derive(Clone)]
enum Piece {
    Bytes(Vec<u8>),
    /// The request's key, or one that lies some strides from it.
    Key(u64),
    Value,
    Field,
    /// How long a word is that has so many values in it, and so many bytes beside them.
    Length {
        fixed: usize,
        values: usize,
    },
}

/// Placeholders, and what they stand for.
const PLACEHOLDERS: [(&str, Piece); 3] =
    [("{key}", Piece::Key(0)), ("{value}", Piece::Value), ("{field}", Piece::Field)];

/// One connection's side: reads are the commands, writes plain SETs that fill the keys in.
#[derive(Clone)]
pub(super) struct Template {
    commands: Rc<[Vec<Piece>]>,
    /// Which of them has each turn, and the turn that is next.
    order: Rc<[usize]>,
    turn: usize,
    set: Resp,
    keys: u64,
    /// The field that was named last.
    field: u8,
}

impl Template {
    /// For these commands, of which there is at least one; `keys` is how many keys there are.
    pub(super) fn new(commands: &[Command], content: &Content, set: Resp, keys: u64) -> Template {
        let order = order(commands).into();
        let commands = commands.iter().map(|command| pieces_of(&command.words, content)).collect();
        Template { commands, order, turn: 0, set, keys, field: 0 }
    }

    /// The same commands for the connection of this number, which begins at a turn of its own: all connections together
    /// send the mix at any moment.
    pub(super) fn starting_at(&self, connection: usize) -> Template {
        Template { turn: connection % self.order.len(), ..self.clone() }
    }
}

/// A command's request, as far as it is the same each time.
fn pieces_of(words: &str, content: &Content) -> Vec<Piece> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut pieces = Vec::new();
    push_bytes(&mut pieces, format!("*{}\r\n", words.len()).as_bytes());
    let mut key_count = 0;
    for word in words {
        let parts = parts_of(word);
        let values = parts.iter().filter(|part| matches!(part, Piece::Value)).count();
        let fixed = parts.iter().map(|part| fixed_len(part, content)).sum();
        match values {
            0 => push_bytes(&mut pieces, format!("${fixed}\r\n").as_bytes()),
            _ => pieces.push(Piece::Length { fixed, values }),
        }
        for part in parts {
            match part {
                Piece::Bytes(bytes) => push_bytes(&mut pieces, &bytes),
                Piece::Key(_) => {
                    pieces.push(Piece::Key(key_count));
                    key_count += 1;
                }
                Piece::Value | Piece::Field | Piece::Length { .. } => pieces.push(part),
            }
        }
        push_bytes(&mut pieces, b"\r\n");
    }
    pieces
}

fn push_bytes(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    if let Some(Piece::Bytes(last)) = pieces.last_mut() {
        last.extend_from_slice(bytes);
    } else {
        pieces.push(Piece::Bytes(bytes.to_vec()));
    }
}

/// Bytes of a part of a word, but for values, whose lengths differ.
fn fixed_len(part: &Piece, content: &Content) -> usize {
    match part {
        Piece::Bytes(bytes) => bytes.len(),
        Piece::Key(_) => content.key_len(),
        Piece::Field => FIELD.len() + 2,
        Piece::Value | Piece::Length { .. } => 0,
    }
}

/// A word cut at its placeholders.
fn parts_of(word: &str) -> Vec<Piece> {
    let (mut parts, mut rest) = (Vec::new(), word);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        let (piece, len) = PLACEHOLDERS
            .iter()
            .find(|(name, _)| from.starts_with(name))
            .map_or((Piece::Bytes(b"{".to_vec()), 1), |(name, piece)| (piece.clone(), name.len()));
        parts.push(Piece::Bytes(before.as_bytes().to_vec()));
        parts.push(piece);
        rest = &from[len..];
    }
    parts.push(Piece::Bytes(rest.as_bytes().to_vec()));
    parts
}

impl Codec for Template {
    fn encode(&mut self, request: &Request, content: &Content, out: &mut Outbox) {
        if request.op == Op::Write {
            return self.set.encode(request, content, out);
        }
        let commands = self.commands.clone();
        let pieces = &commands[self.order[self.turn]];
        self.turn = (self.turn + 1) % self.order.len();
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => out.bytes.extend_from_slice(bytes),
                Piece::Key(strides) => {
                    let start = out.bytes.len();
                    out.bytes.extend_from_slice(content.key_template());
                    let number = (request.key + strides * KEY_STRIDE) % self.keys;
                    content.patch_key(number, &mut out.bytes[start..]);
                }
                Piece::Value => content.append_value(request.key, request.value_len, out),
                Piece::Length { fixed, values } => {
                    let mut buffer = [0; INTEGER_BYTES_MAX];
                    out.bytes.push(b'$');
                    let len = (fixed + values * request.value_len) as u64;
                    out.bytes.extend_from_slice(write_u64(len, &mut buffer));
                    out.bytes.extend_from_slice(b"\r\n");
                }
                Piece::Field => {
                    self.field = (self.field + FIELD_STRIDE) % FIELDS;
                    out.bytes.extend_from_slice(FIELD);
                    out.bytes.extend_from_slice(&[b'0' + self.field / 10, b'0' + self.field % 10]);
                }
            }
        }
    }

    fn decode<'a>(&mut self, op: Op, bytes: &'a [u8]) -> Decoded<'a> {
        if op == Op::Write { self.set.decode(op, bytes) } else { decode_whole(bytes) }
    }
}

/// A whole reply of any kind.
fn decode_whole(bytes: &[u8]) -> Decoded<'_> {
    let (mut at, mut remaining) = (0, 1u64);
    while remaining > 0 {
        remaining -= 1;
        let Some((text, len)) = bytes.get(at..).filter(|rest| !rest.is_empty()).and_then(line) else {
            let endless = bytes.len() > CARRY_BYTES_MAX;
            return if endless {
                Decoded::Garbage("a reply of more than 192 KiB")
            } else {
                Decoded::NeedMore
            };
        };
        at += len;
        let Some((kind, rest)) = text.split_first() else { return Decoded::Garbage("an empty line") };
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            b'$' | b'*' if rest == b"-1" => {}
            b'$' | b'=' | b'*' | b'~' | b'%' => {
                let Some(count) = parse_u64(rest) else {
                    return Decoded::Garbage("a reply without a length");
                };
                match kind {
                    b'$' | b'=' => {
                        at = at.saturating_add(usize::try_from(count).unwrap_or(usize::MAX)).saturating_add(2)
                    }
                    b'%' => remaining = remaining.saturating_add(count.saturating_mul(2)),
                    _ => remaining = remaining.saturating_add(count),
                }
            }
            _ => return Decoded::Garbage("no RESP reply"),
        }
    }
    if at > bytes.len() {
        return Decoded::NeedMore;
    }
    let outcome = match line(bytes).map(|(text, _)| text) {
        Some([b'-', words @ ..]) => Outcome::Error(words),
        Some(b"$-1" | b"_" | b"*-1") => Outcome::Missing,
        _ => Outcome::Stored,
    };
    Decoded::Done { consumed: at, outcome }
}

#[cfg(test)]
mod tests;
