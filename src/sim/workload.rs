//! What clients ask for next: a few hot keys that all clients compete for, and many others that fill the memory.

use super::commands::{Command, When};
use super::field_commands::{Condition, FieldCommand};
use super::history::{Content, text};
use crate::random::Random;
use std::rc::Rc;

/// Names and sizes of one run, drawn from its seed.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Keys that hold texts, `r0…`; keys that hold numbers, `c0…`; keys that fill the memory, `f0…`.
    registers: usize,
    counters: usize,
    fillers: usize,
    /// Of a thousand values, how many are long.
    long_values: usize,
    /// Of a thousand puts, how many have a time to live.
    expiring: usize,
    ttl_ms_max: u64,
    next_value: u32,
}

impl Workload {
    pub fn draw(random: &mut Random) -> Workload {
        Workload {
            registers: 1 + random.below(6),
            counters: 1 + random.below(4),
            fillers: random.pick(&[100, 500, 2_000]),
            long_values: random.pick(&[20, 200, 600]),
            expiring: random.pick(&[0, 100, 400, 800]),
            ttl_ms_max: random.pick(&[20, 300, 5_000]),
            next_value: 1,
        }
    }

    pub fn register(&self, random: &mut Random) -> Rc<[u8]> {
        format!("r{}", random.below(self.registers)).into_bytes().into()
    }

    pub fn counter(&self, random: &mut Random) -> Rc<[u8]> {
        format!("c{}", random.below(self.counters)).into_bytes().into()
    }

    pub fn hot(&self, random: &mut Random) -> Rc<[u8]> {
        if random.below(3) == 0 { self.counter(random) } else { self.register(random) }
    }

    /// Some are asked for far more often than others.
    pub fn filler(&self, random: &mut Random) -> Vec<u8> {
        let is_favourite = random.below(3) == 0;
        if is_favourite {
            self.favourite(random)
        } else {
            format!("f{}", random.below(self.fillers)).into_bytes()
        }
    }

    /// One of the few that are often long, and are written to in the middle.
    fn favourite(&self, random: &mut Random) -> Vec<u8> {
        format!("f{}", random.below(3)).into_bytes()
    }

    /// A value that was never written before, of up to so many bytes.
    pub fn value(&mut self, random: &mut Random, len_max: usize) -> (Content, Rc<[u8]>) {
        let number = self.next_value;
        self.next_value += 1;
        let long = random.below(1_000) < self.long_values;
        let len = if long { random.below(len_max) } else { random.below(len_max.min(60)) };
        (Content::Text(number), text(number, len))
    }

    /// What an addition adds: large and random, so that a sum tells which additions are in it.
    pub fn delta(&self, random: &mut Random) -> i64 {
        1 + random.below(1 << 40) as i64
    }

    pub fn ttl_ms(&self, random: &mut Random) -> u64 {
        1 + random.next() % self.ttl_ms_max
    }

    /// The time to live of a put, if it is to have one.
    pub fn maybe_ttl_ms(&self, random: &mut Random) -> Option<u64> {
        let expires = random.below(1_000) < self.expiring;
        let ttl = self.ttl_ms(random);
        expires.then_some(ttl)
    }

    /// One command of a TCP client on the hot keys.
    pub fn command(&mut self, random: &mut Random) -> Command {
        let register = self.register(random).to_vec();
        match random.below(20) {
            0..5 => Command::Get(self.hot(random).to_vec()),
            5..9 => {
                let (ttl_ms, when) = (
                    self.maybe_ttl_ms(random),
                    random.pick(&[When::Always, When::Always, When::Absent, When::Present]),
                );
                let value = self.value(random, 2_000).1;
                Command::Set { key: register, value, ttl_ms, when }
            }
            9..12 => Command::Incrby { key: self.counter(random).to_vec(), delta: self.delta(random) },
            12 if random.below(2) == 0 => Command::Mget(self.hot_keys(random, 4)),
            12 => self.field_command(random),
            13 => Command::Mset(self.pairs(random)),
            // One alone: a sum over several would not tell clients which of them were there.
            14 => Command::Del(self.hot_keys(random, 1)),
            15 => Command::Exists(self.hot_keys(random, 3)),
            16 => Command::Pttl(register),
            17 => Command::Pexpire { key: self.hot(random).to_vec(), ttl_ms: self.ttl_ms(random) },
            18 => Command::Persist(self.hot(random).to_vec()),
            _ => Command::Ping(self.filler(random)),
        }
    }

    /// A GET or a SET without options; one in a few is about a key that all clients compete for.
    pub fn plain_command(&mut self, random: &mut Random) -> Command {
        let key = match random.below(4) {
            0 => self.register(random).to_vec(),
            1 => self.favourite(random),
            _ => self.filler(random),
        };
        if random.below(2) == 0 {
            return Command::Get(key);
        }
        let len_max = random.pick(&[10, 300, 3_000]);
        let value = self.value(random, len_max).1;
        Command::Set { key, value, ttl_ms: None, when: When::Always }
    }

    /// One command of a TCP client that fills the memory and takes it back.
    pub fn bulk_command(&mut self, random: &mut Random) -> Command {
        match random.below(40) {
            0..20 => {
                let count = 1 + random.below(12);
                let mut pairs: Vec<_> =
                    (0..count).map(|_| (self.filler(random), self.value(random, 3_000).1)).collect();
                if random.below(4) > 0 {
                    distinct(&mut pairs, |pair| pair.0.clone());
                }
                if random.below(6) == 0 { Command::Msetnx(pairs) } else { Command::Mset(pairs) }
            }
            20..24 => {
                let len_max = random.pick(&[3_000, 20_000, 100_000]);
                let (value, ttl_ms) = (self.value(random, len_max).1, self.maybe_ttl_ms(random));
                let key = if random.below(2) == 0 { self.favourite(random) } else { self.filler(random) };
                Command::Set { key, value, ttl_ms, when: When::Always }
            }
            24 => Command::Get(self.filler(random)),
            25 | 26 => self.field_command(random),
            27 => Command::Getdel(self.filler(random)),
            28..31 => {
                let mut keys: Vec<_> = (0..8).map(|_| self.filler(random)).collect();
                distinct(&mut keys, Clone::clone);
                Command::Del(keys)
            }
            31 | 32 => {
                Command::Append { key: self.filler(random), bytes: self.value(random, 400).1.to_vec() }
            }
            33 => {
                let (key, bytes) = (self.favourite(random), self.value(random, 400).1.to_vec());
                Command::Setrange { key, offset: random.pick(&[0, 100, 5_000]), bytes }
            }
            34 | 35 => {
                let (from, to) = (self.filler(random), self.filler(random));
                if from == to { Command::Get(from) } else { Command::Rename { from, to } }
            }
            36 => Command::Pexpire { key: self.filler(random), ttl_ms: self.ttl_ms(random) },
            37 => self.long_mget(random),
            38 => self.field_command(random),
            39 if random.below(8) == 0 => Command::Flushall,
            _ => Command::Get(self.filler(random)),
        }
    }

    /// A key that mostly holds a hash or a set; now and then one that holds something else.
    fn collection(&self, kind: u8, random: &mut Random) -> Vec<u8> {
        match random.below(30) {
            0 => self.filler(random),
            number => vec![kind, b'0' + (number % 3) as u8],
        }
    }

    /// A command on a hash or a set of a few dozen entries: short ones become pages and are used up again.
    pub fn field_command(&mut self, random: &mut Random) -> Command {
        let is_hash = random.below(2) == 0;
        let key = self.collection(if is_hash { b'h' } else { b's' }, random);
        if random.below(6) == 0 {
            return self.key_command(key, random);
        }
        Command::Fields(if is_hash { self.hash_command(key, random) } else { self.set_command(key, random) })
    }

    /// Names of fields or members: one, a few, or as many as are cut into slices, of few or of many. Those of a command that
    /// may be cut are distinct: else a change does not tell which entry has made it.
    fn names(random: &mut Random) -> Vec<Vec<u8>> {
        let range = random.pick(&[4, 60, 300]);
        let count = random.pick(&[1, 1, 3, 20, 150]);
        let name = |random: &mut Random| format!("field:{}", random.below(range)).into_bytes();
        let mut names: Vec<_> = (0..count).map(|_| name(random)).collect();
        if count > 20 {
            distinct(&mut names, Clone::clone);
        }
        names
    }

    fn hash_command(&mut self, key: Vec<u8>, random: &mut Random) -> FieldCommand {
        let fields = Workload::names(random);
        let field = fields[0].clone();
        let ttl_ms = self.ttl_ms(random);
        let answered_each = || {
            let mut fields = fields.clone();
            distinct(&mut fields, Clone::clone);
            fields
        };
        match random.below(20) {
            0..5 => FieldCommand::Hset { key, pairs: self.field_values(fields, random) },
            5 => FieldCommand::Hsetnx { key, field, value: self.value(random, 300).1 },
            6..8 => FieldCommand::Hdel { key, fields },
            8 => FieldCommand::Hincrby { key, field: b"number".to_vec(), delta: self.delta(random) },
            9 | 10 => FieldCommand::Hgetall(key),
            11 => FieldCommand::Hlen(key),
            12 => FieldCommand::Hget { key, field },
            13 | 14 => {
                let condition = random.pick(&[Condition::Always, Condition::Nx, Condition::Gt]);
                // Now and then all at once, which removes them.
                let ttl_ms = if random.below(8) == 0 { 0 } else { ttl_ms };
                FieldCommand::Hpexpire { key, ttl_ms, condition, fields: answered_each() }
            }
            15 => FieldCommand::Hpersist { key, fields: answered_each() },
            16 => FieldCommand::Hpttl { key, fields },
            17 => FieldCommand::Hgetex { key, ttl_ms, fields: answered_each() },
            18 => FieldCommand::Hgetdel { key, fields: answered_each() },
            _ => {
                let ttl_ms = if random.below(3) == 0 { None } else { Some(ttl_ms) };
                FieldCommand::Hsetex { key, ttl_ms, pairs: self.field_values(fields, random) }
            }
        }
    }

    fn field_values(&mut self, names: Vec<Vec<u8>>, random: &mut Random) -> Vec<(Vec<u8>, Rc<[u8]>)> {
        let len_max = if names.len() > 20 { 300 } else { random.pick(&[20, 300, 5_000]) };
        names.into_iter().map(|field| (field, self.value(random, len_max).1)).collect()
    }

    fn set_command(&mut self, key: Vec<u8>, random: &mut Random) -> FieldCommand {
        let members = Workload::names(random);
        let member = members[0].clone();
        match random.below(11) {
            0..3 => FieldCommand::Sadd { key, members },
            3 | 4 => FieldCommand::Srem { key, members },
            5 => FieldCommand::Smembers(key),
            6 => FieldCommand::Sismember { key, member },
            7 | 8 => FieldCommand::Smove { from: key, to: self.collection(b's', random), member },
            9 => FieldCommand::Spop { key, count: random.pick(&[None, Some(2), Some(100), Some(1_000)]) },
            _ => {
                let from = [self.collection(b's', random), self.collection(b's', random)];
                FieldCommand::Sunionstore { to: key, from }
            }
        }
    }

    /// A command of keys of every type.
    fn key_command(&self, key: Vec<u8>, random: &mut Random) -> Command {
        match random.below(9) {
            6.. => {
                let to = vec![key[0], b'0' + random.below(3) as u8];
                Command::Copy { from: key, to }
            }
            0 => Command::Del(vec![key]),
            1 => Command::Pexpire { key, ttl_ms: self.ttl_ms(random) },
            2 => Command::Persist(key),
            3 => Command::Get(key),
            4 => Command::Exists(vec![key]),
            _ => {
                let to = vec![key[0], b'2'];
                if to == key { Command::Pttl(key) } else { Command::Rename { from: key, to } }
            }
        }
    }

    /// A few keys, each several times: the answer can be longer than a client's output takes at once.
    fn long_mget(&self, random: &mut Random) -> Command {
        let keys: Vec<_> = (0..4).map(|_| self.filler(random)).collect();
        let count = random.pick(&[4, 8, 100]);
        Command::Mget(keys.into_iter().cycle().take(count).collect())
    }

    fn hot_keys(&self, random: &mut Random, count_max: usize) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = (0..1 + random.below(count_max)).map(|_| self.hot(random).to_vec()).collect();
        distinct(&mut keys, Clone::clone);
        keys
    }

    fn pairs(&mut self, random: &mut Random) -> Vec<(Vec<u8>, Rc<[u8]>)> {
        let count = 1 + random.below(3);
        let mut pairs: Vec<_> =
            (0..count).map(|_| (self.register(random).to_vec(), self.value(random, 500).1)).collect();
        distinct(&mut pairs, |pair| pair.0.clone());
        pairs
    }
}

/// Whether a key is one of those that all clients compete for: their histories are checked from the clients' side too.
pub fn is_hot(key: &[u8]) -> bool {
    matches!(key.first(), Some(b'r' | b'c'))
}

/// Leaves the first of each name.
fn distinct<T>(items: &mut Vec<T>, name: impl Fn(&T) -> Vec<u8>) {
    let mut names = std::collections::BTreeSet::new();
    items.retain(|item| names.insert(name(item)));
}
