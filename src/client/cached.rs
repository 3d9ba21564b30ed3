//! A client with a cache of its own that the server tells what has changed ([`CachedClient`]).
//!
//! ```text
//!  get k ─▶ what has come is heard: `invalidate` drops keys ─▶ k in the cache? ─yes─▶ the value
//!                                                               │no
//!                                                               ▼
//!                                                    GET k, and kept: the server notes that this client has k
//! ```
//! Replies and invalidations come over one connection, in the order in which the server made them: so a value that is
//! kept is followed by the invalidation that ends it, and never overtaken by it. With the connection the cache goes, for nobody
//! told what changed meanwhile.

use super::listen::is_passing;
use super::tcp::{Connection, put_arguments, unexpected};
use super::{Builder, Error, PutOptions, Reply, ttl_ms};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an entry takes beside its key and value, about: the table, the slot, two counted blocks.
const ENTRY_BYTES: usize = 160;
/// Of the whole, what one entry may take.
const ENTRY_DIVISOR: usize = 4;
/// How long a connection that says nothing is believed to be there.
const CHECK_AFTER: Duration = Duration::from_secs(1);
/// Messages that are heard before one value is given out; a client that is sent more begins again.
const MESSAGES_MAX: usize = 100_000;

/// What a cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that the cache answered.
    pub hits: u64,
    /// Reads that went to the server.
    pub misses: u64,
    /// Keys that the server said have changed.
    pub invalidations: u64,
    /// How often everything was dropped: the connection was lost, or the server could name no single keys.
    pub drops: u64,
    /// Entries that are held.
    pub entries: usize,
    /// Bytes that they take, about.
    pub bytes: usize,
}

struct Slot {
    key: Arc<[u8]>,
    value: Option<Arc<[u8]>>,
    used: bool,
}

/// Keys with their values, or with the knowledge that they have none, within so many bytes. Who was not used since the hand came
/// by goes first.
struct Cache {
    places: HashMap<Arc<[u8]>, usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    fn get(&mut self, key: &[u8]) -> Option<Option<Arc<[u8]>>> {
        let slot = self.slots[*self.places.get(key)?].as_mut()?;
        slot.used = true;
        Some(slot.value.clone())
    }

    fn insert(&mut self, key: &[u8], value: Option<Arc<[u8]>>) {
        self.remove(key);
        let len = entry_len(key, value.as_deref());
        if len > self.bytes_max / ENTRY_DIVISOR {
            return;
        }
        while self.bytes + len > self.bytes_max {
            self.evict_one();
        }
        let key: Arc<[u8]> = key.into();
        let slot = Slot { key: Arc::clone(&key), value, used: false };
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        self.slots[place] = Some(slot);
        self.places.insert(key, place);
        self.bytes += len;
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(place) = self.places.remove(key)
            && let Some(slot) = self.slots[place].take()
        {
            self.bytes -= entry_len(&slot.key, slot.value.as_deref());
            self.free.push(place);
        }
    }

    fn evict_one(&mut self) {
        loop {
            let place = self.hand % self.slots.len();
            self.hand = place + 1;
            match &mut self.slots[place] {
                Some(slot) if slot.used => slot.used = false,
                Some(slot) => {
                    let key = Arc::clone(&slot.key);
                    return self.remove(&key);
                }
                None => {}
            }
        }
    }

    fn clear(&mut self) {
        self.places.clear();
        self.slots.clear();
        self.free.clear();
        (self.hand, self.bytes) = (0, 0);
    }
}

fn entry_len(key: &[u8], value: Option<&[u8]>) -> usize {
    ENTRY_BYTES + key.len() + value.map_or(0, <[u8]>::len)
}

/// A client that keeps what it reads, and hears from the server when that changes (`CLIENT TRACKING` over RESP3).
///
/// A value that [`get`](CachedClient::get) gives is what the key had when its invalidations were last heard, which is looked
/// after with each call: so it is old by the time that a message takes to arrive, and by a second at most where the network
/// has gone without a word. What this client writes, it sees at once. Keys that do not exist are kept too. One whose time has passed
/// is told within a second.
///
/// The connection is opened again where it is lost; the cache begins empty then. While the server cannot be reached, every call
/// fails: what cannot be checked is not given out.
pub struct CachedClient {
    options: Builder,
    connection: Option<Connection>,
    cache: Cache,
    stats: CacheStats,
    /// When the server last said something.
    heard: Instant,
    check_after: Duration,
}

impl CachedClient {
    pub(super) fn new(options: &Builder, bytes_max: usize) -> CachedClient {
        CachedClient {
            options: options.clone(),
            connection: None,
            cache: Cache {
                places: HashMap::new(),
                slots: Vec::new(),
                free: Vec::new(),
                hand: 0,
                bytes: 0,
                bytes_max,
            },
            stats: CacheStats::default(),
            heard: Instant::now(),
            check_after: CHECK_AFTER,
        }
    }

    /// A connection that has been silent for so long is asked whether it is still there before a value is given out. Default: a
    /// second.
    pub fn check_after(mut self, silence: Duration) -> CachedClient {
        self.check_after = silence;
        self
    }

    /// The value of `key`, or `None` where there is no such key; from the cache where it is there.
    ///
    /// # Errors
    /// As any call's that reads. A lost connection is opened again once.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        if self.hear().is_err() {
            self.forget();
        }
        if let Some(value) = self.cache.get(key) {
            self.stats.hits += 1;
            return Ok(value);
        }
        self.stats.misses += 1;
        let had_connection = self.connection.is_some();
        let reply = match self.ask(&[b"GET", key]) {
            Err(error) if had_connection && is_passing(&error) => self.ask(&[b"GET", key])?,
            reply => reply?,
        };
        let value: Option<Arc<[u8]>> = match reply {
            Reply::Null => None,
            reply => Some(reply.into_bytes().ok_or_else(unexpected)?.into()),
        };
        self.cache.insert(key, value.clone());
        Ok(value)
    }

    /// Stores `value` under `key`. False: the condition did not hold and nothing was changed.
    ///
    /// # Errors
    /// As any call's that writes.
    pub fn put(&mut self, key: &[u8], value: &[u8], options: &PutOptions<'_>) -> Result<bool, Error> {
        let ttl = options.ttl.map(|ttl| ttl_ms(ttl).to_string());
        let mut arguments: Vec<&[u8]> = vec![b"SET"];
        arguments.extend(put_arguments((key, value), options.condition, ttl.as_deref()));
        match self.change(key, &arguments)? {
            Reply::Simple(_) => Ok(true),
            Reply::Null => Ok(false),
            _ => Err(unexpected()),
        }
    }

    /// Removes a key. False: there was none.
    ///
    /// # Errors
    /// As any call's that writes.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Error> {
        match self.change(key, &[b"DEL", key])? {
            Reply::Integer(count) => Ok(count > 0),
            _ => Err(unexpected()),
        }
    }

    /// What the cache has done, and what it holds.
    pub fn stats(&self) -> CacheStats {
        CacheStats { entries: self.cache.places.len(), bytes: self.cache.bytes, ..self.stats }
    }

    /// One whose connection is lost before the command is sent has not run, and is not sent again.
    fn change(&mut self, key: &[u8], arguments: &[&[u8]]) -> Result<Reply, Error> {
        if self.hear().is_err() {
            self.forget();
        }
        self.cache.remove(key);
        let reply = self.connect().and_then(|()| {
            self.send(arguments)?;
            self.answer().map_err(|error| match error {
                error @ (Error::Server { .. } | Error::Auth(_)) => error,
                error => Error::OutcomeUnknown(Box::new(error)),
            })
        });
        self.settle(reply)
    }

    fn ask(&mut self, arguments: &[&[u8]]) -> Result<Reply, Error> {
        let reply = self.connect().and_then(|()| {
            self.send(arguments)?;
            self.answer()
        });
        self.settle(reply)
    }

    /// After anything but the server's own answer the connection is given up, for a late one would be taken for the next.
    fn settle(&mut self, reply: Result<Reply, Error>) -> Result<Reply, Error> {
        if !matches!(reply, Ok(_) | Err(Error::Server { .. })) {
            self.forget();
        }
        reply
    }

    fn forget(&mut self) {
        if self.connection.take().is_some() {
            self.stats.drops += 1;
        }
        self.cache.clear();
    }

    fn connect(&mut self) -> Result<(), Error> {
        if self.connection.is_some() {
            return Ok(());
        }
        self.cache.clear();
        self.connection = Some(self.options.open()?);
        self.heard = Instant::now();
        for arguments in [&[&b"HELLO"[..], b"3"][..], &[b"CLIENT", b"TRACKING", b"ON"]] {
            self.send(arguments)?;
            self.answer()?;
        }
        Ok(())
    }

    fn send(&mut self, arguments: &[&[u8]]) -> Result<(), Error> {
        let timeout = self.options.timeout();
        let Some(connection) = &mut self.connection else { return Err(unexpected()) };
        connection.send_command(arguments, timeout)
    }

    /// The next reply; what comes before it is heard.
    fn answer(&mut self) -> Result<Reply, Error> {
        let timeout = self.options.timeout();
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(connection) = self.connection.as_mut().filter(|_| !left.is_zero()) else {
                return Err(Error::Timeout { after: timeout });
            };
            let Some(reply) = connection.next_reply(left)? else {
                return Err(Error::Timeout { after: timeout });
            };
            self.heard = Instant::now();
            match reply {
                Reply::Push(parts) => self.drop_changed(parts),
                Reply::Error { code, text } => return Err(Error::from_server(&code, &text)),
                reply => return Ok(reply),
            }
        }
    }

    /// Hears what has come; a connection that was silent for long is asked.
    fn hear(&mut self) -> Result<(), Error> {
        if self.connection.is_none() {
            return Ok(());
        }
        if self.heard.elapsed() >= self.check_after {
            self.send(&[b"PING"])?;
            self.answer()?;
        }
        for _ in 0..MESSAGES_MAX {
            let Some(connection) = self.connection.as_mut() else { return Ok(()) };
            if !connection.has_arrived()? {
                return Ok(());
            }
            match connection.next_reply(self.options.timeout())? {
                Some(Reply::Push(parts)) => {
                    self.heard = Instant::now();
                    self.drop_changed(parts);
                }
                // Nothing was asked for.
                Some(_) => return Err(unexpected()),
                None => return Ok(()),
            }
        }
        Err(unexpected())
    }

    fn drop_changed(&mut self, parts: Vec<Reply>) {
        let mut parts = parts.into_iter();
        if parts.next().and_then(Reply::into_bytes).as_deref() != Some(b"invalidate") {
            return;
        }
        match parts.next() {
            Some(Reply::Array(keys)) => {
                for key in keys.into_iter().filter_map(Reply::into_bytes) {
                    self.stats.invalidations += 1;
                    self.cache.remove(&key);
                }
            }
            _ => {
                self.stats.drops += 1;
                self.cache.clear();
            }
        }
    }
}

impl std::fmt::Debug for CachedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedClient").field("options", &self.options).field("stats", &self.stats()).finish()
    }
}

#[cfg(test)]
mod tests;
