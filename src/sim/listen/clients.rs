//! The clients: what they send, and what they make of what they hear.

use super::Listened;
use super::judge::Truth;
use crate::client::{Reply, encoded, whole_messages};
use crate::connection::ConnectionId;
use crate::random::Random;
use crate::sim::violation::{Violation, show, violation};
use std::collections::{BTreeMap, VecDeque};

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
}

/// Has subscriptions, each to a channel or a pattern.
#[derive(Default)]
pub struct Subscriber {
    /// By what was subscribed to: of each channel, up to where it has heard.
    heard: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, usize>>,
    /// Confirmed in this turn.
    fresh: Vec<Vec<u8>>,
    /// What came in this turn: subscription, channel, text.
    came: Vec<[Vec<u8>; 3]>,
}

/// What a tracker is still to be answered.
enum Expected {
    Any,
    /// Keys that were read; whether they are kept.
    Read(Vec<Vec<u8>>, bool),
    /// A key that it has written itself.
    Wrote(Vec<u8>),
}

/// Has a cache.
pub struct Tracker {
    mode: Mode,
    noloop: bool,
    expected: VecDeque<Expected>,
    cache: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    All,
    OptIn,
    OptOut,
    Broadcast,
}

/// Watches a prefix, and goes on where it was.
#[derive(Default)]
pub struct Watcher {
    prefix: Vec<u8>,
    /// The life of the server and the revision that it has seen.
    seen: Option<(usize, u64)>,
    /// What it asked to go on from, and the latest revision then.
    asked: Option<(Option<u64>, u64)>,
    is_running: bool,
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

    /// A client of the kind of that number.
    pub fn draw(kind: usize, random: &mut Random) -> Client {
        Client::new(match kind {
            0 => Role::Writer,
            1 => Role::Subscriber(Subscriber::default()),
            2 => Role::Tracker(Tracker {
                mode: random.pick(&[Mode::All, Mode::All, Mode::OptIn, Mode::OptOut, Mode::Broadcast]),
                noloop: random.below(3) == 0,
                expected: VecDeque::new(),
                cache: BTreeMap::new(),
            }),
            _ => Role::Watcher(Watcher { prefix: random.pick(&PREFIXES).to_vec(), ..Watcher::default() }),
        })
    }

    pub fn connected(&mut self, id: ConnectionId, random: &mut Random, truth: &Truth) {
        (self.id, self.life, self.room) = (Some(id), truth.life(), ROOM);
        let hello = random.below(2) == 0 || matches!(self.role, Role::Tracker(_));
        if hello {
            self.up.extend(encoded(&[b"HELLO", b"3"]));
        }
        match &mut self.role {
            Role::Listener => self.up.extend(encoded(&[b"PSUBSCRIBE", b"*"])),
            Role::Writer | Role::Subscriber(_) => {}
            Role::Tracker(tracker) => {
                tracker.expected.extend([Expected::Any, Expected::Any]);
                let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON"];
                match tracker.mode {
                    Mode::All => {}
                    Mode::OptIn => words.push(b"OPTIN"),
                    Mode::OptOut => words.push(b"OPTOUT"),
                    Mode::Broadcast => words.extend([&b"BCAST"[..], b"PREFIX", b"a:"]),
                }
                if tracker.noloop {
                    words.push(b"NOLOOP");
                }
                self.up.extend(encoded(&words));
            }
            Role::Watcher(watcher) => {
                // What it has not read of the old connection it never will.
                (watcher.is_running, watcher.asked) = (false, None);
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
            Role::Tracker(tracker) => {
                tracker.expected.clear();
                tracker.cache.clear();
            }
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
            Role::Listener => {}
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
            (watcher.is_running, watcher.asked) = (false, None);
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
            Role::Tracker(tracker) if whole => {
                seen.compared += tracker.cache.len() as u64;
                let old = tracker.cache.iter().find(|(key, value)| !truth.holds(key, value.as_deref(), unix));
                old.map_or(Ok(()), |(key, value)| {
                    let value = value.as_ref().map_or("nothing".into(), |value| show(value));
                    Err(violation(key, format!("a cache holds {value}, and was not told of a change")))
                })
            }
            _ => Ok(()),
        }
    }

    /// Everything is read.
    pub fn has_missed_nothing(&self, truth: &Truth) -> Result<(), Violation> {
        let Role::Watcher(Watcher { is_running: true, seen: Some((life, seen)), prefix, .. }) = &self.role
        else {
            return Ok(());
        };
        if self.id.is_none() {
            return Ok(());
        }
        truth.next_told(*life, *seen, prefix).map_or(Ok(()), |told| {
            let text = format!(
                "a watch of {} at {seen} was never told of {} {}",
                show(prefix),
                told.revision,
                told.event
            );
            Err(violation(&told.key, text))
        })
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

impl Subscriber {
    fn heard(&mut self, reply: Reply) -> Result<(), Violation> {
        let Some(mut parts) = strings(reply) else { return Ok(()) };
        if parts.len() < 3 {
            return Ok(());
        }
        let name = std::mem::take(&mut parts[1]);
        match &parts[0][..] {
            b"subscribe" | b"psubscribe"
                if !self.heard.contains_key(&name) && !self.fresh.contains(&name) =>
            {
                self.fresh.push(name);
            }
            b"unsubscribe" | b"punsubscribe" => {
                self.heard.remove(&name);
                self.fresh.retain(|fresh| *fresh != name);
                self.came.retain(|[of, ..]| *of != name);
            }
            b"message" | b"pmessage" => {
                if !self.heard.contains_key(&name) && !self.fresh.contains(&name) {
                    return Err(violation(b"", format!("a message for {} to none of it", show(&name))));
                }
                let text = parts.pop().unwrap_or_default();
                let channel =
                    if parts[0] == b"pmessage" { parts.pop().unwrap_or_default() } else { name.clone() };
                self.came.push([name, channel, text]);
            }
            _ => {}
        }
        Ok(())
    }

    fn judge(&mut self, whole: bool, truth: &Truth) -> Result<(), Violation> {
        for [name, channel, text] in self.came.drain(..) {
            let (all, before) = truth.published(&channel);
            let at = all.iter().position(|published| *published == text);
            let next = self.heard.get(&name).and_then(|channels| channels.get(&channel)).copied();
            let is_next = match (at, next) {
                (None, _) => false,
                (Some(at), Some(next)) => at == next,
                (Some(at), None) => at >= before,
            };
            if !is_next {
                let text =
                    format!("{} on {} by {} is out of order", show(&text), show(&channel), show(&name));
                return Err(violation(b"", format!("{text}: {at:?} after {next:?}, {before} before")));
            }
            let place = self.heard.entry(name).or_default().entry(channel).or_default();
            *place = at.unwrap_or(0) + 1;
        }
        if !whole {
            return Ok(());
        }
        for name in self.fresh.drain(..) {
            self.heard.entry(name).or_default();
        }
        for (name, channels) in &mut self.heard {
            for channel in truth.channels().filter(|channel| matches(name, channel)) {
                let (all, _) = truth.published(channel);
                if *channels.entry(channel.clone()).or_insert(all.len()) != all.len() {
                    let text = format!("{} has not had all of {}", show(name), show(channel));
                    return Err(violation(b"", text));
                }
            }
        }
        Ok(())
    }
}

/// Whether what was subscribed to stands for a channel.
fn matches(name: &[u8], channel: &[u8]) -> bool {
    match name {
        b"[ns]*" => channel.starts_with(b"n") || channel.starts_with(b"s"),
        b"spor?" => channel == b"sport",
        _ => name == channel,
    }
}

impl Tracker {
    fn ask(&mut self, up: &mut Vec<u8>, random: &mut Random, truth: &mut Truth) {
        if self.noloop && random.below(4) == 0 {
            let key = key(random);
            up.extend(encoded(&[b"SET", &key, &value(random, truth)]));
            self.expected.push_back(Expected::Wrote(key));
            return;
        }
        for _ in 0..1 + random.below(6) {
            let keys: Vec<Vec<u8>> = (0..random.pick(&[1, 1, 1, 5])).map(|_| key(random)).collect();
            let says = random.below(2) == 0;
            let kept = match self.mode {
                Mode::All => true,
                Mode::OptIn => says,
                Mode::OptOut => !says,
                Mode::Broadcast => keys.iter().all(|key| key.starts_with(b"a:")),
            };
            if says && matches!(self.mode, Mode::OptIn | Mode::OptOut) {
                let word: &[u8] = if self.mode == Mode::OptIn { b"YES" } else { b"NO" };
                up.extend(encoded(&[b"CLIENT", b"CACHING", word]));
                self.expected.push_back(Expected::Any);
            }
            let verb: &[u8] = if keys.len() == 1 { b"GET" } else { b"MGET" };
            let words: Vec<&[u8]> = std::iter::once(verb).chain(keys.iter().map(|key| &key[..])).collect();
            up.extend(encoded(&words));
            self.expected.push_back(Expected::Read(keys, kept));
        }
    }

    fn heard(&mut self, reply: Reply, seen: &mut Listened) -> Result<(), Violation> {
        if let Reply::Push(mut parts) = reply {
            match parts.pop() {
                Some(Reply::Array(keys)) => {
                    seen.invalidations += keys.len() as u64;
                    for key in keys {
                        self.cache.remove(&key.into_bytes().unwrap_or_default());
                    }
                }
                _ => {
                    seen.drops += 1;
                    self.cache.clear();
                }
            }
            return Ok(());
        }
        match self.expected.pop_front() {
            None => Err(violation(b"", format!("an answer that nobody asked for: {reply:?}"))),
            Some(Expected::Any) => match reply {
                Reply::Error { text, .. } => Err(violation(b"", text)),
                _ => Ok(()),
            },
            Some(Expected::Wrote(key)) => {
                self.cache.remove(&key);
                Ok(())
            }
            Some(Expected::Read(keys, kept)) => {
                let values = match reply {
                    Reply::Array(values) => values,
                    value => vec![value],
                };
                if kept && !matches!(values[0], Reply::Error { .. }) {
                    self.cache.extend(keys.into_iter().zip(values.into_iter().map(Reply::into_bytes)));
                }
                Ok(())
            }
        }
    }
}

impl Watcher {
    fn ask(&mut self, up: &mut Vec<u8>, truth: &Truth) {
        if self.is_running || self.asked.is_some() {
            return;
        }
        let from = self.seen.map(|(_, revision)| revision);
        self.asked = Some((from, truth.latest()));
        match from {
            Some(from) => {
                let from = from.to_string();
                up.extend(encoded(&[b"WATCHPREFIX", &self.prefix, b"FROM", from.as_bytes()]));
            }
            None => up.extend(encoded(&[b"WATCHPREFIX", &self.prefix])),
        }
    }

    fn heard(
        &mut self,
        reply: Reply,
        (life, truth): (usize, &Truth),
        seen: &mut Listened,
    ) -> Result<(), Violation> {
        let wrong = |text: String| Err(violation(b"", text));
        let parts = match reply {
            Reply::Error { code, text } => {
                let (from, _) = self.asked.take().unwrap_or_default();
                if code != "COMPACTED" || from.is_none() {
                    return wrong(format!("a watch was refused: {code} {text}"));
                }
                let floor = text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok());
                if self.seen.is_some_and(|(of, revision)| {
                    of == life && floor.is_none_or(|floor: u64| floor <= revision)
                }) {
                    return wrong(format!("{code} {text} where {from:?} was asked for"));
                }
                seen.refused += 1;
                self.seen = None;
                return Ok(());
            }
            Reply::Array(parts) | Reply::Push(parts) => parts,
            _ => return Ok(()),
        };
        let word = parts[0].clone().into_bytes().unwrap_or_default();
        match (&word[..], &parts[1..]) {
            (b"watchprefix", [_, Reply::Integer(revision)]) => {
                let Some((from, latest)) = self.asked.take() else {
                    return wrong("a watch begins that nobody asked for".into());
                };
                let revision = *revision as u64;
                if from.map_or(revision < latest, |from| from != revision) {
                    return wrong(format!("a watch begins at {revision}, asked was {from:?} at {latest}"));
                }
                seen.resumed += u64::from(from.is_some());
                (self.is_running, self.seen) = (true, Some((life, revision)));
                Ok(())
            }
            (b"compacted", _) => {
                seen.compacted += 1;
                (self.is_running, self.seen) = (false, None);
                Ok(())
            }
            (b"change", [_, Reply::Integer(revision), event, key]) => {
                let (revision, key) = (*revision as u64, key.clone().into_bytes().unwrap_or_default());
                let event = event.clone().into_bytes().unwrap_or_default();
                let Some((_, before)) = self.seen.replace((life, revision)) else {
                    return wrong("a watch that has not begun tells a change".into());
                };
                seen.changes += 1;
                let due = truth.next_told(life, before, &self.prefix);
                if due.is_some_and(|due| {
                    due.revision == revision && due.event.as_bytes() == event && due.key == key
                }) {
                    return Ok(());
                }
                let text = format!("a watch at {before} is told {revision} {}, due is {due:?}", show(&event));
                Err(violation(&key, text))
            }
            _ => Ok(()),
        }
    }
}
