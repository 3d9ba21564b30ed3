//! The clients: what they send, and what they make of what they hear.

mod redirect;
mod subscriber;
mod tracker;
mod watcher;

use super::Listened;
use super::judge::Truth;
use crate::client::{Reply, encoded, whole_messages};
use crate::connection::ConnectionId;
use crate::random::Random;
use crate::sim::violation::{Violation, show, violation};
use redirect::{Reader, Target};
use subscriber::Subscriber;
use tracker::Tracker;
use watcher::Watcher;

/// Bytes that a client's side takes before it reads them; the listener reads at once.
const ROOM: usize = 4 * 1024;
/// Requests that a client has under way, in bytes.
const UP_MAX: usize = 24 * 1024;
const KEYS: usize = 120;
const CHANNELS: [&[u8]; 3] = [b"news", b"sport", b"s"];
const PREFIXES: [&[u8]; 3] = [b"a:", b"b:1", b""];

/// What a client is there for.
pub enum Role {
    Listener,
    Writer,
    Subscriber(Subscriber),
    Tracker(Tracker),
    Watcher(Watcher),
    /// The two connections of a cache that hears by another connection than it reads by.
    Target(Target),
    Reader(Reader),
}

/// A client with its connection.
pub struct Client {
    role: Role,
    pub id: Option<ConnectionId>,
    life: usize,
    /// Sent, and not yet read by the server.
    pub up: Vec<u8>,
    pub room: usize,
    pub is_slow: bool,
    /// Sent by the server, and not yet read.
    inbox: Vec<u8>,
    /// Made by the server beyond what it has sent, and noted here already.
    ahead: usize,
    /// The beginning of a reply.
    partial: Vec<u8>,
}

/// Some names are long, so that what a watch is told soon is more than a slow client takes.
fn key(random: &mut Random) -> Vec<u8> {
    let number = random.below(KEYS);
    let mut key = format!("{}:{number}", random.pick(&["a", "b"])).into_bytes();
    if number.is_multiple_of(3) {
        key.resize(2_000, b'-');
    }
    key
}

fn value(random: &mut Random, truth: &mut Truth) -> Vec<u8> {
    truth.counter += 1;
    let len = random.pick(&[8, 8, 100, 1_000, 8_000]);
    let mut value = truth.counter.to_string().into_bytes();
    value.resize(value.len().max(len), b'.');
    value
}

fn write_command(random: &mut Random, truth: &mut Truth) -> Vec<u8> {
    let (key, ms) = (key(random), (1 + random.below(2_000)).to_string());
    match random.below(24) {
        0..9 => encoded(&[b"SET", &key, &value(random, truth)]),
        9..12 => encoded(&[b"SET", &key, &value(random, truth), b"PX", ms.as_bytes()]),
        12..14 => encoded(&[b"DEL", &key]),
        14 => encoded(&[b"PEXPIRE", &key, ms.as_bytes()]),
        15 => encoded(&[b"PERSIST", &key]),
        16 => {
            let other = format!("b:{}", random.below(KEYS));
            encoded(&[b"MSET", &key, &value(random, truth), other.as_bytes(), &value(random, truth)])
        }
        17 if random.below(30) == 0 => encoded(&[b"FLUSHDB"]),
        17 | 18 => {
            let one = |random: &mut Random, truth: &mut Truth| {
                encoded(&[b"SET", &self::key(random), &value(random, truth)])
            };
            let (first, second) = (one(random, truth), one(random, truth));
            [encoded(&[b"MULTI"]), first, second, publish(random, truth), encoded(&[b"EXEC"])].concat()
        }
        _ => publish(random, truth),
    }
}

fn publish(random: &mut Random, truth: &mut Truth) -> Vec<u8> {
    let channel = random.pick(&CHANNELS);
    encoded(&[b"PUBLISH", channel, &value(random, truth)])
}

impl Client {
    pub fn new(role: Role) -> Client {
        Client {
            role,
            id: None,
            life: 0,
            up: Vec::new(),
            room: ROOM,
            is_slow: false,
            inbox: Vec::new(),
            ahead: 0,
            partial: Vec::new(),
        }
    }

    /// The two connections of one cache: that which hears, and that which reads.
    pub fn draw_redirecting(random: &mut Random) -> [Client; 2] {
        let (target, reader) = redirect::draw(random);
        [Client::new(Role::Target(target)), Client::new(Role::Reader(reader))]
    }

    /// Whether it learns from another connection what changes, and cannot be told that that one is gone.
    pub fn depends_on_its_target(&self) -> bool {
        matches!(&self.role, Role::Reader(reader) if !reader.is_resp3())
    }

    /// A client of the kind of that number.
    pub fn draw(kind: usize, random: &mut Random) -> Client {
        Client::new(match kind {
            0 => Role::Writer,
            1 => Role::Subscriber(Subscriber::default()),
            2 => Role::Tracker(Tracker::draw(random)),
            _ => Role::Watcher(Watcher::new(random.pick(&PREFIXES))),
        })
    }

    pub fn connected(&mut self, id: ConnectionId, random: &mut Random, truth: &Truth) {
        (self.id, self.life, self.room) = (Some(id), truth.life(), ROOM);
        let hello = match &self.role {
            Role::Tracker(_) => true,
            Role::Target(_) => false,
            Role::Reader(reader) => reader.is_resp3(),
            _ => random.below(2) == 0,
        };
        if hello {
            self.up.extend(encoded(&[b"HELLO", b"3"]));
        }
        match &mut self.role {
            Role::Listener => self.up.extend(encoded(&[b"PSUBSCRIBE", b"*"])),
            Role::Writer | Role::Subscriber(_) => {}
            Role::Tracker(tracker) => tracker.connected(&mut self.up),
            Role::Target(target) => target.connected(&mut self.up),
            Role::Reader(reader) => reader.connected(),
            Role::Watcher(watcher) => {
                watcher.disconnected();
                self.inbox.clear();
                self.partial.clear();
            }
        }
    }

    /// The connection is gone. What was sent can still be read.
    pub fn lost(&mut self) {
        (self.id, self.ahead) = (None, 0);
        self.up.clear();
        match &mut self.role {
            Role::Watcher(_) => {}
            Role::Subscriber(subscriber) => *subscriber = Subscriber::default(),
            Role::Tracker(tracker) => tracker.disconnected(),
            Role::Target(target) => target.disconnected(),
            Role::Reader(reader) => reader.disconnected(),
            Role::Listener | Role::Writer => {}
        }
        if !matches!(self.role, Role::Watcher(_)) {
            self.drain();
            self.partial.clear();
        }
    }

    /// Sends something.
    pub fn ask(&mut self, random: &mut Random, truth: &mut Truth) {
        if self.up.len() > UP_MAX {
            return;
        }
        match &mut self.role {
            Role::Listener | Role::Target(_) => {}
            Role::Writer => {
                for _ in 0..1 + random.below(8) {
                    let command = write_command(random, truth);
                    self.up.extend(command);
                }
            }
            Role::Subscriber(_) => {
                let words: &[&[u8]] = match random.below(12) {
                    0..5 => &[b"SUBSCRIBE", CHANNELS[random.below(3)]],
                    5..8 => &[b"PSUBSCRIBE", b"[ns]*"],
                    8 => &[b"PSUBSCRIBE", b"spor?"],
                    9 => &[b"UNSUBSCRIBE", CHANNELS[random.below(3)]],
                    10 => &[b"PUNSUBSCRIBE", b"[ns]*"],
                    _ => &[b"PING"],
                };
                self.up.extend(encoded(words));
            }
            Role::Tracker(tracker) => tracker.ask(&mut self.up, random, truth),
            Role::Watcher(watcher) => watcher.ask(&mut self.up, truth),
            Role::Reader(reader) => reader.ask(&mut self.up, random),
        }
    }

    /// Bytes were sent to it.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        self.room -= bytes.len();
        self.ahead = self.ahead.saturating_sub(bytes.len());
    }

    /// Whether nothing that it was sent is left.
    pub fn has_read_everything(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Reads all that it was sent, and makes nothing of it.
    pub fn drain(&mut self) {
        self.room += self.inbox.len();
        self.inbox.clear();
    }

    /// Reads a part of what it was sent. A watch makes of it what it can.
    pub fn take(&mut self, random: &mut Random, truth: &Truth, seen: &mut Listened) -> Result<(), Violation> {
        let len = self.inbox.len();
        let part = if self.is_slow { random.below(len / 4 + 1).min(200) } else { len };
        let bytes: Vec<u8> = self.inbox.drain(..part).collect();
        self.room += part;
        let Role::Watcher(watcher) = &mut self.role else { return Ok(()) };
        self.partial.extend(bytes);
        for reply in replies(&mut self.partial)? {
            watcher.heard(reply, (self.life, truth), seen)?;
        }
        if self.id.is_none() && self.inbox.is_empty() {
            self.partial.clear();
            watcher.disconnected();
        }
        Ok(())
    }

    /// The server has this ready for it.
    pub fn hear(&mut self, pending: &[u8], truth: &mut Truth, seen: &mut Listened) -> Result<(), Violation> {
        if matches!(self.role, Role::Watcher(_)) {
            return Ok(());
        }
        self.partial.extend_from_slice(pending.get(self.ahead..).unwrap_or_default());
        self.ahead = pending.len();
        for reply in replies(&mut self.partial)? {
            match &mut self.role {
                Role::Listener => listen(reply, truth, seen)?,
                Role::Subscriber(subscriber) => subscriber.heard(reply)?,
                Role::Tracker(tracker) => tracker.heard(reply, seen)?,
                Role::Target(target) => target.heard(reply, seen)?,
                Role::Reader(reader) => reader.heard(reply, seen)?,
                Role::Writer | Role::Watcher(_) => {}
            }
        }
        Ok(())
    }

    /// The server rests; `whole`: all that there is for the client has been made.
    pub fn judge(
        &mut self,
        whole: bool,
        unix: u64,
        truth: &Truth,
        seen: &mut Listened,
    ) -> Result<(), Violation> {
        match &mut self.role {
            Role::Subscriber(subscriber) => subscriber.judge(whole, truth),
            Role::Tracker(tracker) if whole => tracker.judge(unix, truth, seen),
            Role::Reader(reader) if whole => reader.judge(unix, truth, seen),
            _ => Ok(()),
        }
    }

    /// Everything is read.
    pub fn has_missed_nothing(&self, truth: &Truth) -> Result<(), Violation> {
        match &self.role {
            Role::Watcher(watcher) if self.id.is_some() => watcher.has_missed_nothing(truth),
            _ => Ok(()),
        }
    }
}

/// The whole replies at the front of `bytes`.
fn replies(bytes: &mut Vec<u8>) -> Result<Vec<Reply>, Violation> {
    let (replies, consumed) =
        whole_messages(bytes).map_err(|reason| violation(b"", format!("{reason}: {}", show(bytes))))?;
    bytes.drain(..consumed);
    Ok(replies)
}

/// The parts of an array or a push that are strings or null.
fn strings(reply: Reply) -> Option<Vec<Vec<u8>>> {
    let (Reply::Array(parts) | Reply::Push(parts)) = reply else { return None };
    Some(parts.into_iter().map(|part| part.into_bytes().unwrap_or_default()).collect())
}

fn listen(reply: Reply, truth: &mut Truth, seen: &mut Listened) -> Result<(), Violation> {
    let Some(parts) = strings(reply) else { return Ok(()) };
    let [word, _, channel, text] = &parts[..] else { return Ok(()) };
    if word == b"pmessage" {
        seen.expired += u64::from(channel == b"__keyevent@0__:expired");
        let is_event = truth.heard(channel.clone(), text.clone())?;
        *(if is_event { &mut seen.key_events } else { &mut seen.messages }) += 1;
    }
    Ok(())
}
