//! Clients over RESP: what they ask, and what they have seen once a reply has reached them.

use super::{COUNTERS, Flag, Seen};
use crate::connection::ConnectionId;
use crate::random::Random;
use crate::server::Server;
use crate::sim::violation::{Violation, violation};
use crate::time::Now;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;

/// Requests that wait for their reply, at most.
const WAITING_MAX: usize = 40;

/// What a reply will say.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// A counter, after an addition or as it was read.
    Counter(usize),
    /// Two of them, of a transaction.
    Both(usize, usize),
    Set(usize),
    Removed(usize),
    /// Whether a flag is there; it was seen to be set before.
    Is(usize),
    Nothing,
}

/// One client.
pub(super) struct Client {
    pub id: ConnectionId,
    /// Bytes that are not sent yet.
    unsent: Vec<u8>,
    received: Vec<u8>,
    asked: VecDeque<Asked>,
    /// Counters when the server began, and events of each since then; `None`: it does not listen.
    events: Option<[u64; COUNTERS]>,
    bases: [u64; COUNTERS],
}

/// A reply.
#[derive(Debug)]
enum Reply {
    Text(Vec<u8>),
    Error,
    Integer(u64),
    Nil,
    Array(Vec<Reply>),
}

impl Client {
    pub(super) fn open(server: &mut Server, now: Now, bases: [u64; COUNTERS]) -> Client {
        let peer = SocketAddr::from(([10, 0, 0, 1], 5_000));
        let id = server.open(peer, now).expect("there is a place");
        let asked = VecDeque::new();
        Client { id, unsent: Vec::new(), received: Vec::new(), asked, events: None, bases }
    }

    /// From now on it hears of each change of a counter.
    pub(super) fn ask_for_events(&mut self) {
        self.events = Some(self.bases);
        self.unsent.extend_from_slice(b"SUBSCRIBE __keyevent@0__:incrby\r\n");
    }

    fn request(&mut self, text: &str, asked: Asked) {
        self.unsent.extend_from_slice(text.as_bytes());
        self.unsent.extend_from_slice(b"\r\n");
        self.asked.push_back(asked);
    }

    /// Asks for something, or for a few things in a row.
    pub(super) fn ask(&mut self, random: &mut Random, seen: &mut Seen) {
        for _ in 0..1 + random.below(6) {
            if self.asked.len() > WAITING_MAX {
                return;
            }
            let (one, other) = (random.below(COUNTERS), random.below(COUNTERS));
            match random.below(12) {
                0..4 => self.request(&format!("INCR counter:{one}"), Asked::Counter(one)),
                4..7 => self.request(&format!("GET counter:{one}"), Asked::Counter(one)),
                7 => {
                    self.request("MULTI", Asked::Nothing);
                    self.request(&format!("INCR counter:{one}"), Asked::Nothing);
                    self.request(&format!("INCR counter:{other}"), Asked::Nothing);
                    self.request("EXEC", Asked::Both(one, other));
                }
                8 => {
                    let flag = seen.flags.len();
                    seen.flags.push(Flag::Asked);
                    self.request(
                        &format!("SET flag:{flag} {}", "x".repeat(random.below(900))),
                        Asked::Set(flag),
                    );
                }
                9 => {
                    let set = |flag: &Flag| *flag == Flag::Set;
                    let Some(flag) = seen.flags.iter().position(set) else { continue };
                    let text = format!("{} flag:{flag}", random.pick(&["DEL", "GETDEL", "UNLINK"]));
                    self.request(&text, Asked::Removed(flag));
                }
                10 => {
                    let set = |flag: &Flag| *flag == Flag::Set;
                    let Some(flag) = seen.flags.iter().position(set) else { continue };
                    self.request(&format!("EXISTS flag:{flag}"), Asked::Is(flag));
                }
                _ => self.request("PING", Asked::Nothing),
            }
        }
    }

    /// Gives the server what it takes.
    pub(super) fn send(&mut self, server: &mut Server, now: Now) {
        while !self.unsent.is_empty()
            && let Some(space) = server.input_space(self.id, now)
        {
            let len = space.len().min(self.unsent.len());
            space[..len].copy_from_slice(&self.unsent[..len]);
            self.unsent.drain(..len);
            server.input_received(self.id, len, now);
        }
    }

    /// Takes what the server gives out.
    pub(super) fn hear(&mut self, server: &mut Server, seen: &mut Seen, now: Now) -> Result<(), Violation> {
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = server.output(self.id, &mut slices);
            if count == 0 {
                break;
            }
            let before = self.received.len();
            slices[..count].iter().for_each(|slice| self.received.extend_from_slice(slice));
            server.output_sent(self.id, self.received.len() - before, now);
        }
        let mut at = 0;
        while let Some((reply, len)) = parse(&self.received[at..]) {
            at += len;
            self.note(reply, seen)?;
        }
        self.received.drain(..at);
        Ok(())
    }

    fn note(&mut self, reply: Reply, seen: &mut Seen) -> Result<(), Violation> {
        if let Some(events) = &mut self.events {
            let Reply::Array(parts) = reply else { return Ok(()) };
            if let [Reply::Text(_), Reply::Text(_), Reply::Text(key)] = &parts[..]
                && let Some(index) = key.strip_prefix(b"counter:").and_then(|digit| digit.first())
            {
                let index = usize::from(index - b'0');
                events[index] += 1;
                seen.counters[index] = seen.counters[index].max(events[index]);
                seen.count.events += 1;
            }
            return Ok(());
        }
        let asked = self.asked.pop_front();
        let asked = asked.ok_or_else(|| violation(b"", format!("nothing was asked for: {reply:?}")))?;
        seen.count.replies += 1;
        match (asked, reply) {
            (_, Reply::Error) => seen.count.refused += 1,
            (Asked::Counter(index), reply) => seen_counter(seen, index, &reply),
            (Asked::Both(one, other), Reply::Array(parts)) => {
                seen_counter(seen, one, &parts[0]);
                seen_counter(seen, other, &parts[1]);
            }
            // One that was seen to be gone stays so.
            (Asked::Set(flag), _) if seen.flags[flag] == Flag::Asked => seen.flags[flag] = Flag::Set,
            (Asked::Removed(flag), _) | (Asked::Is(flag), Reply::Integer(0) | Reply::Nil) => {
                seen.flags[flag] = Flag::Gone;
            }
            _ => {}
        }
        Ok(())
    }
}

fn seen_counter(seen: &mut Seen, index: usize, reply: &Reply) {
    let number = match reply {
        Reply::Integer(number) => *number,
        Reply::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
        _ => 0,
    };
    seen.counters[index] = seen.counters[index].max(number);
}

/// The reply at the front, and its length.
fn parse(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, line) = (bytes[0], &bytes[1..end]);
    let number: i64 = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let at = end + 2;
    match kind {
        b'-' => Some((Reply::Error, at)),
        b':' => Some((Reply::Integer(number as u64), at)),
        b'$' | b'*' if number < 0 => Some((Reply::Nil, at)),
        b'$' => {
            let len = number as usize;
            let text = bytes.get(at..at + len + 2)?;
            Some((Reply::Text(text[..len].to_vec()), at + len + 2))
        }
        b'*' => {
            let (mut parts, mut at) = (Vec::new(), at);
            for _ in 0..number {
                let (part, len) = parse(&bytes[at..])?;
                parts.push(part);
                at += len;
            }
            Some((Reply::Array(parts), at))
        }
        _ => Some((Reply::Text(line.to_vec()), at)),
    }
}
