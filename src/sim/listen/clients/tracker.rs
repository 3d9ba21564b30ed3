//! A client with a cache: what it keeps is never older than the last change that was published to it.

use super::{Listened, Truth, key, value};
use crate::client::{Reply, encoded};
use crate::random::Random;
use crate::sim::violation::{Violation, brief, show, violation};
use std::collections::{BTreeMap, VecDeque};

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

impl Tracker {
    pub(super) fn draw(random: &mut Random) -> Tracker {
        Tracker {
            mode: random.pick(&[Mode::All, Mode::All, Mode::OptIn, Mode::OptOut, Mode::Broadcast]),
            noloop: random.below(3) == 0,
            expected: VecDeque::new(),
            cache: BTreeMap::new(),
        }
    }

    /// Begins to be answered, to HELLO and to this.
    pub(super) fn connected(&mut self, up: &mut Vec<u8>) {
        self.expected.extend([Expected::Any, Expected::Any]);
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON"];
        match self.mode {
            Mode::All => {}
            Mode::OptIn => words.push(b"OPTIN"),
            Mode::OptOut => words.push(b"OPTOUT"),
            Mode::Broadcast => words.extend([&b"BCAST"[..], b"PREFIX", b"a:"]),
        }
        if self.noloop {
            words.push(b"NOLOOP");
        }
        up.extend(encoded(&words));
    }

    pub(super) fn disconnected(&mut self) {
        self.expected.clear();
        self.cache.clear();
    }

    /// Compares the cache with what the keys have.
    pub(super) fn judge(&self, unix: u64, truth: &Truth, seen: &mut Listened) -> Result<(), Violation> {
        seen.compared += self.cache.len() as u64;
        let old = self.cache.iter().find(|(key, value)| !truth.holds(key, value.as_deref(), unix));
        old.map_or(Ok(()), |(key, value)| {
            let value = value.as_ref().map_or("nothing".into(), |value| show(value));
            Err(violation(key, format!("a cache holds {value}, and was not told of a change")))
        })
    }

    pub(super) fn ask(&mut self, up: &mut Vec<u8>, random: &mut Random, truth: &mut Truth) {
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

    pub(super) fn heard(&mut self, reply: Reply, seen: &mut Listened) -> Result<(), Violation> {
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
            None => Err(violation(b"", format!("an answer that nobody asked for: {}", brief(&reply)))),
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
