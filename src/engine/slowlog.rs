//! SLOWLOG: the commands that took long, in a fixed ring. An entry keeps as much of a command as Redis does (32
//! arguments of 128 bytes, of which only keys are shown) in a slot of its own, so that recording allocates nothing.

use super::{Call, Flow, Outcome, Timing};
use crate::{
    command::shown::{SHOWN_ARGS_MAX, ShownArgs},
    limits::SLOWLOG_LEN_MAX,
    reply::{ErrorKind, Part},
    time::Millis,
    wire::{
        encode::Out,
        number::{INTEGER_BYTES_MAX, write_u64},
    },
};

/// Entries, at most.
const LEN_MAX: usize = SLOWLOG_LEN_MAX;
/// Arguments that an entry keeps; with more of them the last one says how many are missing.
const ARGS_MAX: usize = SHOWN_ARGS_MAX;
/// Bytes of an argument that an entry keeps.
const ARG_BYTES_MAX: usize = 128;
/// Bytes of a client's address and of its name that an entry keeps.
const PEER_BYTES_MAX: usize = 64;
/// Entries that SLOWLOG GET shows without a number.
const SHOWN_DEFAULT: i64 = 10;

/// An argument's bytes in an entry; `full_len` is what it had.
#[derive(Clone, Copy, Default)]
struct ShownArg {
    len: u8,
    full_len: u32,
}

const _: () = assert!(ARG_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(PEER_BYTES_MAX <= u8::MAX as usize);

#[derive(Clone)]
struct Entry {
    id: u64,
    at: Millis,
    micros: u64,
    arg_count: u32,
    args: [ShownArg; ARGS_MAX],
    bytes: [[u8; ARG_BYTES_MAX]; ARGS_MAX],
    peer: [u8; PEER_BYTES_MAX],
    peer_len: u8,
    name: [u8; PEER_BYTES_MAX],
    name_len: u8,
}

const EMPTY: Entry = Entry {
    id: 0,
    at: Millis(0),
    micros: 0,
    arg_count: 0,
    args: [ShownArg { len: 0, full_len: 0 }; ARGS_MAX],
    bytes: [[0; ARG_BYTES_MAX]; ARGS_MAX],
    peer: [0; PEER_BYTES_MAX],
    peer_len: 0,
    name: [0; PEER_BYTES_MAX],
    name_len: 0,
};

/// The ring: the entry with id `n` is at `n % LEN_MAX`.
pub struct Slowlog {
    entries: Vec<Entry>,
    len: usize,
    len_max: usize,
    next_id: u64,
}

impl Default for Slowlog {
    fn default() -> Slowlog {
        Slowlog::new()
    }
}

impl Slowlog {
    /// An empty log; its memory is untouched until it is used.
    #[must_use]
    pub fn new() -> Slowlog {
        Slowlog { entries: Vec::with_capacity(LEN_MAX), len: 0, len_max: LEN_MAX, next_id: 0 }
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Entries that are kept from now on, at most [`LEN_MAX`].
    pub fn set_len_max(&mut self, len_max: usize) {
        self.len_max = len_max.min(LEN_MAX);
        self.len = self.len.min(self.len_max);
    }

    /// Adds an entry; the oldest goes when there is no room. `client_name` is what the client calls itself.
    pub fn record(&mut self, args: &ShownArgs<'_>, client_name: &[u8], spent: Timing<'_>) {
        if self.len_max == 0 {
            return;
        }
        let slot = (self.next_id % LEN_MAX as u64) as usize;
        if slot == self.entries.len() {
            self.entries.push(EMPTY);
        }
        let entry = &mut self.entries[slot];
        entry.id = self.next_id;
        entry.at = spent.now.unix;
        entry.micros = spent.micros;
        entry.arg_count = args.count() as u32;
        for (i, bytes) in args.words().iter().enumerate() {
            let len = bytes.len().min(ARG_BYTES_MAX);
            entry.bytes[i][..len].copy_from_slice(&bytes[..len]);
            entry.args[i] = ShownArg { len: len as u8, full_len: bytes.len() as u32 };
        }
        entry.peer_len = keep(&mut entry.peer, spent.peer);
        entry.name_len = keep(&mut entry.name, client_name);
        self.next_id += 1;
        self.len = (self.len + 1).min(self.len_max);
    }

    /// The entries, the latest first.
    fn latest(&self) -> impl Iterator<Item = &Entry> {
        (0..self.len as u64).map(|age| &self.entries[((self.next_id - 1 - age) % LEN_MAX as u64) as usize])
    }
}

fn keep(to: &mut [u8; PEER_BYTES_MAX], bytes: &[u8]) -> u8 {
    let len = bytes.len().min(PEER_BYTES_MAX);
    to[..len].copy_from_slice(&bytes[..len]);
    len as u8
}

impl Entry {
    fn write(&self, out: &mut Out<'_>) {
        out.array(6);
        out.integer(self.id as i64);
        out.integer((self.at.0 / 1000) as i64);
        out.integer(self.micros as i64);
        let count = (self.arg_count as usize).min(ARGS_MAX);
        out.array(count);
        for i in 0..count {
            if i == ARGS_MAX - 1 && self.arg_count as usize > ARGS_MAX {
                let missing = u64::from(self.arg_count) - ARGS_MAX as u64 + 1;
                note(out, b"", missing, b" more arguments)");
                continue;
            }
            let ShownArg { len, full_len } = self.args[i];
            let bytes = &self.bytes[i][..usize::from(len)];
            match u64::from(full_len) - u64::from(len) {
                0 => out.bulk(bytes),
                missing => note(out, bytes, missing, b" more bytes)"),
            }
        }
        out.bulk(&self.peer[..usize::from(self.peer_len)]);
        out.bulk(&self.name[..usize::from(self.name_len)]);
    }
}

/// `bytes... (7 more bytes)`
fn note(out: &mut Out<'_>, bytes: &[u8], missing: u64, what: &[u8]) {
    let mut digits = [0; INTEGER_BYTES_MAX];
    let parts: [&[u8]; 4] = [bytes, b"... (", write_u64(missing, &mut digits), what];
    out.bulk_header(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| out.raw(part));
    out.raw(b"\r\n");
}

/// `SLOWLOG LEN`
pub(super) fn len<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let len = call.engine.slowlog.len;
    call.done(len as i64)
}

/// `SLOWLOG RESET`
pub(super) fn reset<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.engine.slowlog.len = 0;
    call.ok()
}

/// `SLOWLOG GET [n]`
pub(super) fn get<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let count = match call.args.len() {
        2 => SHOWN_DEFAULT,
        3 => call.integer(2).ok().filter(|count| *count >= -1).ok_or(ErrorKind::SlowlogCount.plain())?,
        _ => {
            let word = Part::Bytes(call.bytes(1)?);
            return Err(ErrorKind::SubcommandSyntax.of_both(word, Part::Bytes(b"SLOWLOG")));
        }
    };
    let Call { engine, out, .. } = call;
    let count = usize::try_from(count).unwrap_or(LEN_MAX).min(engine.slowlog.len);
    out.array(count);
    engine.slowlog.latest().take(count).for_each(|entry| entry.write(out));
    Ok(Flow::Done)
}
