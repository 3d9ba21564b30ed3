//! A client over TCP: what it is like, what it has asked for, and how answers are read for the history.

use super::clock::{MILLISECOND, SECOND};
use super::commands::{Command, When};
use super::history::{Action, Content, If, Seen};
use super::workload::{Workload, is_hot};
use crate::client::{Reply, encoded};
use crate::random::Random;
use std::collections::VecDeque;

/// What a client mostly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Any command on the keys that all clients compete for.
    Plain,
    /// Reads, and writes back if nothing has changed: WATCH, MULTI, EXEC.
    Careful,
    /// Nothing but plain GET and SET, in long pipelines: what the server looks up ahead.
    Busy,
    /// Fills the memory.
    Bulk,
    /// Fills hashes and sets, copies them and empties them again.
    Fields,
    /// Walks through all keys.
    Scanner,
}

/// Commands that belong together, and what has come back of their answers.
#[derive(Debug)]
pub struct Ask {
    pub commands: Vec<Command>,
    pub replies: Vec<Reply>,
    pub at: u64,
    /// EXEC runs only if this key still holds this.
    pub still: Option<(Vec<u8>, Content)>,
}

/// A client.
pub struct TcpClient {
    pub role: Role,
    pub random: Random,
    pub link: Option<usize>,
    pub connecting: bool,
    /// It has shut its sending side, or stopped in the middle of a command.
    pub silent: bool,
    pub asks: VecDeque<Ask>,
    pub received: Vec<u8>,
    /// Commands sent before an answer has come, at most.
    pub depth: usize,
    pub think_us: u64,
    pub timeout_us: u64,
    pub cursor: Vec<u8>,
    /// What it has read under WATCH and is to write back.
    pub watched: Option<(Vec<u8>, Content)>,
    pub served: bool,
}

impl TcpClient {
    pub fn new(number: usize, root: &mut Random) -> TcpClient {
        let mut random = root.split();
        let any = random.pick(&[
            Role::Plain,
            Role::Careful,
            Role::Busy,
            Role::Busy,
            Role::Bulk,
            Role::Fields,
            Role::Scanner,
        ]);
        // These make sure that most runs have memory that is short, and clients that look at it.
        let role = [Role::Bulk, any, Role::Plain, Role::Fields].get(number).copied().unwrap_or(any);
        TcpClient {
            role,
            link: None,
            connecting: false,
            silent: false,
            asks: VecDeque::new(),
            received: Vec::new(),
            // A walk goes on from where the last page ended, and a transaction from what was read under WATCH.
            depth: if matches!(role, Role::Scanner | Role::Careful) { 1 } else { random.pick(&[1, 2, 8]) },
            think_us: random.pick(&[500, 5_000, 50_000]),
            timeout_us: random.pick(&[50 * MILLISECOND, SECOND, 5 * SECOND, 20 * SECOND]),
            cursor: b"0".to_vec(),
            watched: None,
            served: false,
            random,
        }
    }

    /// What it asks for next, and what a key must still hold for that to be done.
    pub fn draw(
        &mut self,
        workload: &mut Workload,
        healed: bool,
    ) -> (Vec<Command>, Option<(Vec<u8>, Content)>) {
        let TcpClient { role, random, cursor, watched, .. } = self;
        if healed {
            let (key, value) = (workload.register(random).to_vec(), workload.value(random, 500).1);
            let set = Command::Set { key: key.clone(), value, ttl_ms: None, when: When::Always };
            return (vec![set, Command::Get(key)], None);
        }
        match role {
            Role::Plain => (vec![workload.command(random)], None),
            Role::Busy => {
                let count = random.pick(&[1, 3, 10, 40]);
                ((0..count).map(|_| workload.plain_command(random)).collect(), None)
            }
            Role::Bulk => {
                let count = random.pick(&[1, 4, 16]);
                ((0..count).map(|_| workload.bulk_command(random)).collect(), None)
            }
            Role::Fields => {
                let count = random.pick(&[1, 4, 16]);
                ((0..count).map(|_| workload.field_command(random)).collect(), None)
            }
            Role::Scanner if random.below(4) > 0 => {
                (vec![Command::Scan { cursor: cursor.clone(), count: random.pick(&[3, 10, 100]) }], None)
            }
            Role::Scanner => (vec![workload.command(random)], None),
            Role::Careful => match watched.take() {
                None => {
                    let key = workload.register(random).to_vec();
                    let mut commands = Vec::new();
                    if random.below(2) == 0 {
                        // It will be gone by itself, perhaps between the watching and the transaction.
                        let (value, ttl_ms) =
                            (workload.value(random, 500).1, Some(1 + random.below(50) as u64));
                        commands.push(Command::Set { key: key.clone(), value, ttl_ms, when: When::Always });
                    }
                    commands.extend([Command::Watch(vec![key.clone()]), Command::Get(key)]);
                    (commands, None)
                }
                Some((key, content)) => {
                    let (value, ttl_ms) = (workload.value(random, 500).1, workload.maybe_ttl_ms(random));
                    let set = Command::Set { key: key.clone(), value, ttl_ms, when: When::Always };
                    let add = Command::Incrby {
                        key: workload.counter(random).to_vec(),
                        delta: workload.delta(random),
                    };
                    let last = if random.below(10) == 0 { Command::Discard } else { Command::Exec };
                    let commands = vec![Command::Multi, set, add, last];
                    (commands, Some((key, content)))
                }
            },
        }
    }
}

pub fn encode(commands: &[Command]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        let words = command.words();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        bytes.extend(encoded(&words));
    }
    bytes
}

pub fn content_of(reply: &Reply) -> Option<Content> {
    match reply {
        Reply::Null => Some(Content::Absent),
        Reply::Bulk(bytes) => Content::of(bytes),
        _ => None,
    }
}

/// A key, what is asked of it, and what the answer says; `None` where it says nothing, or nothing that can be.
type Part = (Vec<u8>, Action, Option<Seen>);

/// A command as actions on hot keys. Without a reply: what it may do.
pub fn actions(command: &Command, reply: Option<&Reply>, still: Option<&(Vec<u8>, Content)>) -> Vec<Part> {
    let flag = || match reply {
        Some(Reply::Integer(count)) => Some(Seen::Done(*count != 0)),
        _ => None,
    };
    let is_ok = reply.is_some_and(|reply| matches!(reply, Reply::Simple(_)));
    let put = |key: &Vec<u8>, value: &[u8], ttl_ms, condition| {
        let content = Content::of(value).unwrap_or(Content::Absent);
        let condition = match still {
            Some((watched, content)) if watched == key => If::Still(*content),
            _ => condition,
        };
        let seen = match reply {
            Some(Reply::Simple(_)) => Some(Seen::Done(true)),
            Some(Reply::Null) => Some(Seen::Done(false)),
            _ => None,
        };
        (key.clone(), Action::Put { content, ttl_ms, keeps_ttl: false, condition }, seen)
    };
    let mut parts: Vec<Part> = match command {
        Command::Get(key) => {
            vec![(key.clone(), Action::Get, reply.and_then(content_of).map(Seen::Content))]
        }
        Command::Mget(keys) => {
            let replies = if let Some(Reply::Array(replies)) = reply { &replies[..] } else { &[] };
            let seen = |at: usize| replies.get(at).and_then(content_of).map(Seen::Content);
            keys.iter().enumerate().map(|(at, key)| (key.clone(), Action::Get, seen(at))).collect()
        }
        Command::Set { key, value, ttl_ms, when } => {
            let condition = match when {
                When::Always => If::Always,
                When::Absent => If::Absent,
                When::Present => If::Present,
            };
            vec![put(key, value, *ttl_ms, condition)]
        }
        Command::Mset(pairs) => pairs.iter().map(|(key, value)| put(key, value, None, If::Always)).collect(),
        Command::Incrby { key, delta } => {
            let seen = if let Some(Reply::Integer(sum)) = reply { Some(Seen::Sum(*sum)) } else { None };
            vec![(key.clone(), Action::Add(*delta), seen)]
        }
        Command::Pexpire { key, ttl_ms } => vec![(key.clone(), Action::Expire(Some(*ttl_ms)), flag())],
        // 0 stands for two things: no key, or no expiry.
        Command::Persist(key) => {
            let seen = flag().filter(|seen| *seen == Seen::Done(true));
            vec![(key.clone(), Action::Expire(None), seen)]
        }
        Command::Del(keys) => keys.iter().map(|key| (key.clone(), Action::Delete, flag())).collect(),
        Command::Flushall => {
            return vec![(Vec::new(), Action::Clear, is_ok.then_some(Seen::Done(true)))];
        }
        _ => Vec::new(),
    };
    parts.retain(|(key, ..)| is_hot(key));
    parts
}
