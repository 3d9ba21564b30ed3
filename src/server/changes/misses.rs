//! `keymiss`: a read of a key that is not there (class `m`). It changes nothing, so it is not in the feed: what a command
//! is about to miss is noted here before it runs, and published behind it.

use super::Message;
use super::events::Event;
use crate::command::{Flags, Verb, VerbId};
use crate::config::KeyEvents;
use crate::connection::ConnectionId;
use crate::engine::meter::KEY_UNITS;
use crate::limits::KIB;
use crate::mutation::Database;
use crate::server::{Server, Source};
use crate::time::Now;
use crate::wire::arguments::Args;
use core::ops::Range;

/// Bytes of misses that wait to be published.
const MISSES_BYTES: usize = 64 * KIB;
/// Keys of one command that are looked up for it.
const KEYS_MAX: usize = 1024;
/// Before each key: its database, and its length.
const HEAD_BYTES: usize = 3;

const KEYMISS: Event = Event { class: KeyEvents::MISS, name: "keymiss" };

/// Reads that missed and are not published yet, in order.
pub(super) struct Misses {
    /// A subscriber may hear of them.
    pub(super) is_on: bool,
    /// Reserved at start, touched as keys are missed.
    bytes: Vec<u8>,
    /// Up to where they are published.
    at: usize,
    /// How many of the messages of the next one are.
    published: usize,
}

impl Misses {
    pub(super) fn new() -> Misses {
        Misses { is_on: false, bytes: Vec::with_capacity(MISSES_BYTES), at: 0, published: 0 }
    }

    pub(super) fn follow(&mut self, is_on: bool) {
        self.is_on = is_on;
        if !is_on {
            self.bytes.clear();
            (self.at, self.published) = (0, 0);
        }
    }

    /// False: there is no room.
    fn push(&mut self, db: Database, key: &[u8]) -> bool {
        if self.bytes.len() + HEAD_BYTES + key.len() > MISSES_BYTES {
            return false;
        }
        self.bytes.push(db.0);
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(key);
        true
    }

    /// The next message; its key is put into `to`.
    pub(super) fn next(&mut self, selected: KeyEvents, to: &mut Vec<u8>) -> Option<(Message, Database)> {
        let kinds = [(KeyEvents::KEYSPACE, true), (KeyEvents::KEYEVENT, false)];
        while let Some((head, rest)) = self.bytes[self.at..].split_at_checked(HEAD_BYTES) {
            let key = &rest[..usize::from(u16::from_le_bytes([head[1], head[2]]))];
            let chosen = kinds.iter().skip(self.published).position(|(kind, _)| selected.has(*kind));
            if let Some(skipped) = chosen {
                let (_, is_keyspace) = kinds[self.published + skipped];
                self.published += skipped + 1;
                to.clear();
                to.extend_from_slice(key);
                return Some((Message { event: KEYMISS, is_keyspace }, Database(head[0])));
            }
            self.at += HEAD_BYTES + key.len();
            self.published = 0;
        }
        self.bytes.clear();
        self.at = 0;
        None
    }
}

const ALL: Range<usize> = 0..usize::MAX;

/// Which of a command's arguments are keys that it reads and may miss, as Redis has it: it looks at those of OBJECT without a word,
/// and at what a command writes to.
fn read_of(verb: &Verb, args: &Args<'_>) -> Option<Range<usize>> {
    match verb.id {
        VerbId::Getex | VerbId::Getdel | VerbId::Getset => Some(ALL),
        VerbId::Copy => Some(1..2),
        VerbId::Set => {
            let gets = |at| args.bytes(at).is_some_and(|word: &[u8]| word.eq_ignore_ascii_case(b"get"));
            (3..args.len()).any(gets).then_some(ALL)
        }
        VerbId::Bitop => Some(3..usize::MAX),
        _ if verb.name.ends_with("store") => Some(2..usize::MAX),
        _ => (verb.flags.has(Flags::READONLY) && !verb.name.starts_with("object")).then_some(ALL),
    }
}

impl Server {
    /// Whether reads of keys that are not there are published to a subscriber.
    #[inline]
    pub(in crate::server) fn hears_misses(&self) -> bool {
        self.changes.misses.is_on
    }

    /// A command is about to run: notes the keys that it will not find.
    #[cold]
    pub(in crate::server) fn note_misses(&mut self, id: ConnectionId, verb: &Verb, source: Source, now: Now) {
        let Server { engine, changes, connections, input, queues, args, .. } = self;
        let connection = &connections[id.index as usize];
        let args = match source {
            Source::Input { len } => args.args(&connection.input.readable(input)[..len]),
            Source::Queue => args.spans(connection.transaction.queue.readable(queues)),
        };
        let db = connection.session.db;
        let Some(read) = read_of(verb, &args) else { return };
        for at in verb.key_positions(&args).filter(|at| read.contains(at)).take(KEYS_MAX) {
            let Some(key) = args.bytes(at).filter(|key| key.len() <= crate::limits::KEY_BYTES_MAX) else {
                continue;
            };
            engine.meter.charge(KEY_UNITS);
            if engine.store.peek(db, key, now.unix).is_none() && !changes.misses.push(db, key) {
                engine.metrics.counters.key_events_lost += 1;
            }
        }
    }
}
