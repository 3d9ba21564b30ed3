//! A cache of which another connection hears: CLIENT TRACKING with REDIRECT to a subscriber in RESP2.
//!
//! ```text
//!  the target:  CLIENT ID, SUBSCRIBE __redis__:invalidate ─▶ its id ─┐         ┌─▶ what changed leaves the cache
//!  the reader:                          CLIENT TRACKING ON REDIRECT id ─▶ reads ─▶ into the cache
//! ```
//! Two connections have no order between them: so what is read counts only where its key was not invalidated since it was
//! asked for. When the target goes, a reader in RESP3 goes on with what it has until the server tells it
//! (`tracking-redir-broken`), which is in time if the server is right; one in RESP2 cannot be told, and empties its cache.

use super::{Listened, Truth, key};
use crate::client::{Reply, encoded};
use crate::random::Random;
use crate::sim::violation::{Violation, show, violation};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// What both connections of one cache share.
#[derive(Default)]
pub(super) struct Shared {
    /// The target's client id, once it is subscribed.
    target: Option<i64>,
    /// The target that the reader's tracking goes to, as the server has confirmed; what it reads is kept.
    linked: Option<i64>,
    is_resp3: bool,
    cache: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Counts questions and invalidations.
    clock: u64,
    /// When a key, and when everything, was invalidated last.
    invalidated: BTreeMap<Vec<u8>, u64>,
    dropped: u64,
}

impl Shared {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn invalidate(&mut self, key: Vec<u8>) {
        let now = self.tick();
        self.cache.remove(&key);
        self.invalidated.insert(key, now);
    }

    fn drop_all(&mut self) {
        self.dropped = self.tick();
        self.cache.clear();
    }

    /// No invalidation comes any more.
    fn unlink(&mut self) {
        self.linked = None;
        self.drop_all();
    }

    fn is_fresh(&self, key: &[u8], asked: u64) -> bool {
        self.dropped < asked && self.invalidated.get(key).is_none_or(|at| *at < asked)
    }
}

/// The connection that hears.
pub struct Target {
    shared: Rc<RefCell<Shared>>,
    id: Option<i64>,
}

/// The connection that reads.
pub struct Reader {
    shared: Rc<RefCell<Shared>>,
    broadcasts: bool,
    expected: VecDeque<Expected>,
}

/// What a reader is still to be answered.
enum Expected {
    Any,
    /// That its tracking goes to this target, and when that was asked for.
    Linked(i64, u64),
    /// Keys that were read, and when they were asked for.
    Read(Vec<Vec<u8>>, u64),
}

/// Both connections of a cache; the reader speaks RESP3 or not.
pub(super) fn draw(random: &mut Random) -> (Target, Reader) {
    let shared = Shared { is_resp3: random.below(3) > 0, ..Shared::default() };
    let shared = Rc::new(RefCell::new(shared));
    let reader =
        Reader { shared: Rc::clone(&shared), broadcasts: random.below(4) == 0, expected: VecDeque::new() };
    (Target { shared, id: None }, reader)
}

impl Target {
    pub(super) fn connected(&mut self, up: &mut Vec<u8>) {
        self.id = None;
        up.extend(encoded(&[b"CLIENT", b"ID"]));
        up.extend(encoded(&[b"SUBSCRIBE", b"__redis__:invalidate"]));
    }

    pub(super) fn disconnected(&mut self) {
        self.id = None;
        let mut shared = self.shared.borrow_mut();
        shared.target = None;
        if !shared.is_resp3 {
            shared.unlink();
        }
    }

    pub(super) fn heard(&mut self, reply: Reply, seen: &mut Listened) -> Result<(), Violation> {
        let mut shared = self.shared.borrow_mut();
        match reply {
            Reply::Integer(id) => self.id = Some(id),
            Reply::Array(mut parts) => match (parts.len(), parts.pop()) {
                (3, Some(Reply::Integer(_))) => shared.target = self.id,
                (3, Some(Reply::Array(keys))) => {
                    seen.redirected += keys.len() as u64;
                    for key in keys {
                        shared.invalidate(key.into_bytes().unwrap_or_default());
                    }
                }
                (3, _) => shared.drop_all(),
                (_, last) => {
                    return Err(violation(b"", format!("a target of invalidations is sent {last:?}")));
                }
            },
            Reply::Error { text, .. } => return Err(violation(b"", text)),
            _ => {}
        }
        Ok(())
    }
}

impl Reader {
    pub(super) fn is_resp3(&self) -> bool {
        self.shared.borrow().is_resp3
    }

    /// Begins to be answered, to HELLO if it sends one.
    pub(super) fn connected(&mut self) {
        if self.is_resp3() {
            self.expected.push_back(Expected::Any);
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.expected.clear();
        self.shared.borrow_mut().unlink();
    }

    pub(super) fn ask(&mut self, up: &mut Vec<u8>, random: &mut Random) {
        let mut shared = self.shared.borrow_mut();
        let is_asked = |id| self.expected.iter().any(|of| matches!(of, Expected::Linked(of, _) if *of == id));
        if let Some(id) = shared.target
            && shared.linked != Some(id)
            && !is_asked(id)
        {
            let digits = id.to_string();
            let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", digits.as_bytes()];
            if self.broadcasts {
                // The prefixes of a client stay, so it begins once more; nobody hears of what changes in between.
                shared.unlink();
                up.extend(encoded(&[b"CLIENT", b"TRACKING", b"OFF"]));
                self.expected.push_back(Expected::Any);
                words.extend([&b"BCAST"[..], b"PREFIX", b"a:"]);
            }
            up.extend(encoded(&words));
            let now = shared.tick();
            self.expected.push_back(Expected::Linked(id, now));
        }
        for _ in 0..1 + random.below(6) {
            let keys: Vec<Vec<u8>> = (0..random.pick(&[1, 1, 1, 5])).map(|_| key(random)).collect();
            let verb: &[u8] = if keys.len() == 1 { b"GET" } else { b"MGET" };
            let words: Vec<&[u8]> = std::iter::once(verb).chain(keys.iter().map(|key| &key[..])).collect();
            up.extend(encoded(&words));
            let now = shared.tick();
            self.expected.push_back(Expected::Read(keys, now));
        }
    }

    pub(super) fn heard(&mut self, reply: Reply, seen: &mut Listened) -> Result<(), Violation> {
        let mut shared = self.shared.borrow_mut();
        if let Reply::Push(parts) = &reply {
            let is_broken =
                matches!(parts.first(), Some(Reply::Bulk(word)) if word == b"tracking-redir-broken");
            if !is_broken {
                return Err(violation(b"", format!("a client that redirects is sent {parts:?}")));
            }
            seen.broken += 1;
            shared.unlink();
            return Ok(());
        }
        match self.expected.pop_front() {
            None => Err(violation(b"", format!("an answer that nobody asked for: {reply:?}"))),
            Some(Expected::Any) => Ok(()),
            Some(Expected::Linked(id, asked)) => {
                // The target may be gone again.
                if !matches!(reply, Reply::Error { .. }) && (shared.is_resp3 || shared.target == Some(id)) {
                    // What was read before was noted for another target, or not at all.
                    shared.cache.clear();
                    shared.dropped = shared.dropped.max(asked);
                    shared.linked = Some(id);
                }
                Ok(())
            }
            Some(Expected::Read(keys, asked)) => {
                let values = match reply {
                    Reply::Array(values) => values,
                    value => vec![value],
                };
                if shared.linked.is_none() || matches!(values[0], Reply::Error { .. }) {
                    return Ok(());
                }
                for (key, value) in keys.into_iter().zip(values) {
                    if (!self.broadcasts || key.starts_with(b"a:")) && shared.is_fresh(&key, asked) {
                        shared.cache.insert(key, value.into_bytes());
                    }
                }
                Ok(())
            }
        }
    }

    /// Compares the cache with what the keys have.
    pub(super) fn judge(&self, unix: u64, truth: &Truth, seen: &mut Listened) -> Result<(), Violation> {
        let shared = self.shared.borrow();
        seen.compared_redirected += shared.cache.len() as u64;
        let old = shared.cache.iter().find(|(key, value)| !truth.holds(key, value.as_deref(), unix));
        old.map_or(Ok(()), |(key, value)| {
            let value = value.as_ref().map_or("nothing".into(), |value| show(value));
            Err(violation(key, format!("a cache holds {value}, and its target was not told of a change")))
        })
    }
}
