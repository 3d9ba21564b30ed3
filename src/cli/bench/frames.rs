//! Pannier's frames over TCP, and the session that frames need whichever way they travel.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use super::{
    codec::{Codec, Decoded, HEAD_BYTES_MAX, Outcome},
    content::{Content, Outbox},
    link::Gone,
    workload::{Op, Request},
};
use crate::wire::{
    frame::{self, COOKIE_LEN, Direction, FRAME_LEN_MIN, HEADER_LEN, Head, Status, Step},
    tag::{TAG_LEN, TagKeys},
};

/// HELLOs of one opening: one for a cookie, one with it, and some that may be lost.
const HELLOS_MAX: u8 = 20;

/// What every frame of one client carries.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) client_id: u64,
    pub(super) epoch: u32,
    pub(super) cookie: [u8; COOKIE_LEN],
    tags: Option<TagKeys>,
    key: Vec<u8>,
    value: Vec<u8>,
    ttl_ms: u64,
}

impl Session {
    /// A session that is not open yet, with a fresh client id.
    pub(super) fn new(
        content: &Content,
        password: Option<&[u8]>,
        ttl_ms: Option<u64>,
    ) -> io::Result<Session> {
        Ok(Session {
            client_id: getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?,
            epoch: 0,
            cookie: [0; COOKIE_LEN],
            tags: password.map(TagKeys::from_password),
            key: content.key_template().to_vec(),
            value: Vec::new(),
            ttl_ms: ttl_ms.unwrap_or(0),
        })
    }

    /// Another session for the same keys, with a client id of its own.
    pub(super) fn again(&self) -> io::Result<Session> {
        Ok(Session {
            client_id: getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?,
            ..self.clone()
        })
    }

    /// Says HELLO until it is let in. `ask` brings the answer to a frame, or none in time.
    pub(super) fn open(
        &mut self,
        mut ask: impl FnMut(&[u8]) -> io::Result<Option<Vec<u8>>>,
    ) -> Result<(), Gone> {
        for attempt in 0..HELLOS_MAX {
            let head =
                Head { attempt, cookie: self.cookie, ..Head::request(frame::Op::Hello, self.client_id, 0) };
            let mut hello = [0; FRAME_LEN_MIN + TAG_LEN];
            let key = self.tags.as_ref().map(|keys| &keys.request);
            let len =
                frame::encode(&mut hello, &head, b"", b"", key).map_err(|_| Gone::Garbage("no room"))?;
            let Some(reply) = ask(&hello[..len]).map_err(Gone::Io)? else { continue };
            let Ok(frame) = frame::decode_datagram(&reply, Direction::Reply) else {
                return Err(Gone::Garbage("no frame"));
            };
            match frame.head.status() {
                Some(Status::Ok) => {
                    (self.epoch, self.cookie) = (frame.head.epoch, frame.head.cookie);
                    return Ok(());
                }
                Some(Status::Challenge | Status::StaleSession) => self.cookie = frame.head.cookie,
                Some(Status::Denied) => return Err(Gone::NotAuthenticated),
                Some(Status::Busy) => {
                    return Err(Gone::Garbage("word that its table of clients is full (BUSY)"));
                }
                _ => return Err(Gone::Garbage("no reply to HELLO")),
            }
        }
        // With another password than the server's nothing is heard at all.
        Err(if self.tags.is_some() { Gone::NotAuthenticated } else { Gone::Garbage("no end of challenges") })
    }

    /// Bytes of the frame for a request.
    pub(super) fn frame_len(&self, request: &Request) -> usize {
        FRAME_LEN_MIN + self.key.len() + request.value_len + if self.tags.is_some() { TAG_LEN } else { 0 }
    }

    /// Writes the frame for a request to the front of `out`, which has room for it; returns its length.
    pub(super) fn encode(
        &mut self,
        request: &Request,
        (sequence, first_incomplete, attempt): (u32, u32, u8),
        content: &Content,
        out: &mut [u8],
    ) -> usize {
        let op = if request.op == Op::Read { frame::Op::Get } else { frame::Op::Put };
        let head = Head {
            epoch: self.epoch,
            first_incomplete,
            attempt,
            cookie: self.cookie,
            argument: if request.op == Op::Read { 0 } else { self.ttl_ms },
            ..Head::request(op, self.client_id, sequence)
        };
        content.patch_key(request.key, &mut self.key);
        self.value.resize(request.value_len, 0);
        content.write_value(request.key, &mut self.value);
        let tag = self.tags.as_ref().map(|keys| &keys.request);
        frame::encode(out, &head, &self.key, &self.value, tag).expect("the room was made for it")
    }
}

/// What a reply's status means to a request of this kind; `None` for a GET's value.
pub(super) fn outcome(op: Op, status: Option<Status>) -> Result<Option<Outcome<'static>>, &'static str> {
    match (op, status) {
        (Op::Read, Some(Status::Ok)) => Ok(None),
        (Op::Write, Some(Status::Ok)) => Ok(Some(Outcome::Stored)),
        (Op::Read, Some(Status::NotFound)) => Ok(Some(Outcome::Missing)),
        (_, Some(Status::StaleSession | Status::WrongEpoch | Status::Challenge)) => {
            Err("word that the session is lost: the server was restarted, or the sequences are used up")
        }
        (_, Some(status)) => Ok(Some(Outcome::Error(status.name().as_bytes()))),
        (_, None) => Err("no status"),
    }
}

/// Frames one after another over TCP, where nothing is lost and each is answered in its turn.
pub(super) struct Frames {
    session: Session,
    /// Of the next request, and of the next reply.
    next: u32,
    expected: u32,
}

impl Frames {
    /// Opens the session.
    pub(super) fn open(mut session: Session, stream: &mut TcpStream) -> Result<Frames, Gone> {
        session.open(|hello| {
            stream.write_all(hello)?;
            read_frame(stream).map(Some)
        })?;
        Ok(Frames::opened(session))
    }

    /// With a session that needs no opening.
    pub(super) fn opened(session: Session) -> Frames {
        Frames { session, next: 1, expected: 1 }
    }
}

/// One short frame; the answer to a HELLO has no key and no value.
fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FRAME_LEN_MIN];
    stream.read_exact(&mut bytes)?;
    let tagged = bytes[4] & frame::flags::TAG != 0;
    if tagged {
        bytes.resize(FRAME_LEN_MIN + TAG_LEN, 0);
        stream.read_exact(&mut bytes[FRAME_LEN_MIN..])?;
    }
    Ok(bytes)
}

impl Codec for Frames {
    fn encode(&mut self, request: &Request, content: &Content, out: &mut Outbox) {
        let start = out.bytes.len();
        out.bytes.resize(start + self.session.frame_len(request), 0);
        // Each reply is taken before the connection ends: the server need not remember any.
        let numbers = (self.next, self.next, 0);
        self.session.encode(request, numbers, content, &mut out.bytes[start..]);
        self.next = self.next.wrapping_add(1);
    }

    fn decode<'a>(&mut self, op: Op, bytes: &'a [u8]) -> Decoded<'a> {
        match frame::decode_prefix(bytes, Direction::Reply, HEAD_BYTES_MAX) {
            Ok(Step::NeedMore) => Decoded::NeedMore,
            Err(reason) => Decoded::Garbage(reason.name()),
            Ok(Step::Ready { frame, consumed }) => {
                let head = frame.head;
                if head.client_id != self.session.client_id || head.sequence != self.expected {
                    return Decoded::Garbage("a reply to another request");
                }
                self.expected = self.expected.wrapping_add(1);
                // A cookie lasts for half an hour, each reply brings the next.
                if head.cookie != [0; COOKIE_LEN] {
                    self.session.cookie = head.cookie;
                }
                match outcome(op, head.status()) {
                    Err(what) => Decoded::Garbage(what),
                    Ok(Some(outcome)) => Decoded::Done { consumed, outcome },
                    Ok(None) => {
                        let value_len = frame.value.len();
                        let tail_len = consumed - HEADER_LEN - value_len;
                        Decoded::Value { head_len: HEADER_LEN, value_len, tail_len }
                    }
                }
            }
        }
    }
}
