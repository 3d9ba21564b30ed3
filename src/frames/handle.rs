//! The calls of the reactor: the checks of a frame joined to the store, and the reply that comes of it.

use super::cookie::Source;
use super::sessions::CachedReply;
use super::{Answer, Asked, Decision, FrameServer, Handled, Incoming, execute};
use crate::engine::Engine;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::mutation::LargeId;
use crate::store::{LargeCursor, Store, Value};
use crate::time::Now;
use crate::wire::frame::{self, Frame, Head, Op, Reject, Status, Writer};
use crate::wire::tag::TAG_LEN;

impl FrameServer {
    /// One datagram in, at most one out: the front of `reply`, to be sent to where the datagram came from. Takes a
    /// bounded time, allocates nothing, and accepts any bytes.
    pub fn handle(
        &mut self,
        engine: &mut Engine,
        incoming: &Incoming<'_>,
        reply: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Handled {
        match self.admit_datagram(incoming) {
            Err(reason) => Handled::Rejected(reason),
            Ok((asked, decision)) => self.run(engine, &asked, decision, reply),
        }
    }

    /// The same for a frame of a framed TCP connection, which [`frame::decode_prefix`] has taken off the stream. The
    /// reply is as long as `reply` has room, and USE_TCP (ask by RESP) beyond it; `reply` must hold
    /// [`frame::FRAME_LEN_MIN`] and a tag. After `Rejected`, call [`FrameServer::reject_stream`] and close.
    pub fn handle_stream_frame(
        &mut self,
        engine: &mut Engine,
        frame: &Frame<'_>,
        (source, now): (Source, Now),
        reply: &mut [u8],
    ) -> Handled {
        self.counters.received += 1;
        self.counters.bytes_received += frame.len() as u64;
        self.counters.stream_received += 1;
        self.counters.stream_bytes_received += frame.len() as u64;
        let asked = Asked { frame: *frame, source, now };
        match self.decide(&asked) {
            Err(reason) => Handled::Rejected(reason),
            Ok(decision) => self.run(engine, &asked, decision, reply),
        }
    }

    /// Counts a frame of a stream that [`frame::decode_prefix`] did not take (count nothing after a
    /// `Handled::Rejected`).
    pub fn count_stream_damage(&mut self, reason: Reject) {
        self.counters.received += 1;
        self.counters.stream_received += 1;
        self.counters.rejected[reason as usize] += 1;
    }

    /// The one answer to a damaged stream, before it is closed: BAD_OP to client 0, sequence 0, the [`Reject`]'s
    /// number as its argument. Returns its length, 0 if it does not fit. It is not counted as a reply.
    #[must_use]
    pub fn reject_stream(&self, reason: Reject, reply: &mut [u8]) -> usize {
        let mut head = Head::request(Op::Ping, 0, 0).reply(Status::BadOp, self.epoch);
        head.argument = reason as u64;
        frame::encode(reply, &head, b"", b"", None).unwrap_or(0)
    }

    fn run(
        &mut self,
        engine: &mut Engine,
        asked: &Asked<'_>,
        decision: Decision,
        reply: &mut [u8],
    ) -> Handled {
        (self.ran, self.answered) = (None, None);
        if let Decision::Write { op, .. } | Decision::Read { op, .. } = decision {
            if engine.is_frame_held(op, asked.now.monotonic) {
                self.counters.held += 1;
                return Handled::Silent;
            }
            if let Some(status) = engine.persistence.refuses_frame(op.is_write()) {
                let answer = self.refused(asked, decision, status);
                return self.send(asked, &answer, reply);
            }
            self.ran = Some(op);
        }
        let answer = match decision {
            Decision::Reject(reason) => return Handled::Rejected(reason),
            Decision::Answer(answer) => answer,
            Decision::Write { op, session, hash } => {
                self.counters.ran(op, asked.is_stream());
                let kept = execute::write(engine, op, &asked.frame, asked.now.unix);
                self.ran(asked, session, hash, kept)
            }
            Decision::Read { op, session } => {
                engine.begin_frame(op);
                self.counters.reads += 1;
                self.counters.ran(op, asked.is_stream());
                let answer = self.in_session(Answer::plain(Status::Ok), session);
                if op == Op::Get {
                    return self.get(engine, asked, answer.cookie, reply);
                }
                answer
            }
        };
        self.send(asked, &answer, reply)
    }

    /// The answer to a request that the data directory's state keeps from running. MISCONF is the last word on a write:
    /// a copy that comes when the disk works again gets the same. LOADING is not.
    fn refused(&mut self, asked: &Asked<'_>, decision: Decision, status: Status) -> Answer {
        let answer = Answer::plain(status);
        match decision {
            Decision::Write { session, hash, .. } => {
                if status == Status::Misconf {
                    self.sessions.keep(session, asked.frame.head.sequence, hash, answer.kept);
                }
                self.in_session(answer, session)
            }
            Decision::Read { session, .. } => self.in_session(answer, session),
            Decision::Reject(_) | Decision::Answer(_) => answer,
        }
    }

    /// GET: the value, its revision, and in `expect` the rest of its time to live in ms, 0 for none; or USE_TCP with
    /// the value's length in `expect`.
    fn get(
        &mut self,
        engine: &mut Engine,
        asked: &Asked<'_>,
        cookie: Option<u64>,
        reply: &mut [u8],
    ) -> Handled {
        let unix = asked.now.unix;
        let Some(entry) = engine.ops(unix).get(execute::DATABASE, asked.frame.key) else {
            self.counters.misses += 1;
            return self.send(asked, &Answer { cookie, ..Answer::plain(Status::NotFound) }, reply);
        };
        self.counters.hits += 1;
        let tag_len = if asked.frame.has_tag() { TAG_LEN } else { 0 };
        let room = reply.len().saturating_sub(frame::FRAME_LEN_MIN + tag_len);
        let argument = entry.revision.0;
        if matches!(entry.value, Value::Collection(_)) {
            let kept = CachedReply { status: Status::WrongType, argument, expect: 0 };
            return self.send(asked, &Answer { kept, cookie }, reply);
        }
        let value_len = entry.value.len();
        if value_len > room as u64 {
            let kept = CachedReply { status: Status::UseTcp, argument, expect: value_len };
            return self.send(asked, &Answer { kept, cookie }, reply);
        }
        let expect = entry.expiry.map_or(0, |expiry| expiry.since(unix).max(1));
        let answer = Answer { kept: CachedReply { status: Status::Ok, argument, expect }, cookie };
        let head = self.reply_head(asked, &answer);
        let written = Writer::begin(reply, &head, b"");
        let written = match entry.value {
            Value::Inline(bytes) => written.and_then(|mut writer| writer.append(bytes).map(|()| writer)),
            Value::Large { id, .. } => written.and_then(|writer| append_large(&engine.store, id, writer)),
            Value::Collection(_) => written,
        };
        self.seal(asked, Status::Ok, written)
    }
}

/// Copies a large value that is known to fit.
fn append_large<'a>(store: &Store, id: LargeId, mut writer: Writer<'a>) -> Result<Writer<'a>, frame::NoRoom> {
    let mut cursor = LargeCursor::new(id, 0);
    loop {
        let piece = store.large_slice(&mut cursor);
        if piece.is_empty() {
            return Ok(writer);
        }
        writer.append(piece)?;
        let piece_len = piece.len();
        cursor.advance(piece_len);
    }
}
