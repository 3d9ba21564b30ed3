//! What a script may use: its time, and memory beside Lua's own. Shared by all functions that Rust gives to scripts.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

/// Instructions between two looks at the clock. Some of them may be calls of C functions that copy all of a script's
/// memory (100 µs for the default of 1 MiB), so a limit is passed by a few milliseconds at most.
pub(super) const INSTRUCTIONS_BETWEEN_LOOKS: u32 = 256;
/// Bytes that are worth a look at the clock: copying them takes a few microseconds.
const CHECK_BYTES: usize = 16 * 1024;
/// Calls from Lua into Rust and back into Lua that may lie in one another: each takes some KiB of stack.
const NESTED_MAX: u32 = 16;

/// What pseudo-random numbers begin with, before anything is seeded (as `lrand48` does).
const RANDOM_FIRST: u64 = 0x1234_abcd_330e;

/// The errors that Rust raises in a script on its own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// A complete error reply, its code first.
    Reply(Vec<u8>),
    /// The same, answered by a command, which has counted it.
    Answer(Vec<u8>),
    /// The script's time is up.
    TimeLimit,
    /// The memory for scripts is used up.
    Memory,
}

impl fmt::Display for Raised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Reply(text) | Raised::Answer(text) => formatter.write_str(&String::from_utf8_lossy(text)),
            Raised::TimeLimit => formatter.write_str("the script ran out of time"),
            Raised::Memory => formatter.write_str("not enough memory"),
        }
    }
}

impl std::error::Error for Raised {}

impl From<Raised> for mlua::Error {
    fn from(raised: Raised) -> mlua::Error {
        mlua::Error::external(raised)
    }
}

/// The limits of the script that runs.
#[derive(Debug)]
pub(super) struct Limits {
    clock_us: fn() -> u64,
    started_us: Cell<u64>,
    time_us: Cell<u64>,
    is_over: Cell<bool>,
    /// Bytes that Rust may still use for what it builds.
    scratch_left: Cell<usize>,
    nested: Cell<u32>,
    random: Cell<u64>,
}

impl Limits {
    /// `scratch_bytes` for what Rust's functions build on a script's behalf.
    pub(super) fn new(clock_us: fn() -> u64, scratch_bytes: usize) -> Limits {
        Limits {
            clock_us,
            started_us: Cell::new(0),
            time_us: Cell::new(0),
            is_over: Cell::new(false),
            scratch_left: Cell::new(scratch_bytes),
            nested: Cell::new(0),
            random: Cell::new(RANDOM_FIRST),
        }
    }

    /// A script begins that may run for so long; 0: as long as it likes.
    pub(super) fn start(&self, time_us: u64) {
        self.started_us.set((self.clock_us)());
        self.time_us.set(time_us);
        self.is_over.set(false);
        self.nested.set(0);
    }

    /// Microseconds since the script began.
    pub(super) fn spent_us(&self) -> u64 {
        (self.clock_us)().saturating_sub(self.started_us.get())
    }

    /// Whether the script's time is up; once it is, it stays so.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Looks at the clock.
    pub(super) fn check_clock(&self) -> Result<(), Raised> {
        let limit_us = self.time_us.get();
        if self.is_over.get() || limit_us > 0 && self.spent_us() > limit_us {
            self.is_over.set(true);
            return Err(Raised::TimeLimit);
        }
        Ok(())
    }

    /// Looks at the clock if something is about to be done with many bytes.
    pub(super) fn look_for(&self, len: usize) -> Result<(), Raised> {
        if len >= CHECK_BYTES { self.check_clock() } else { Ok(()) }
    }

    /// A call back into Lua from a function of Rust; give it back by dropping it.
    pub(super) fn nest(&self) -> Option<Nested<'_>> {
        let depth = self.nested.get();
        (depth < NESTED_MAX).then(|| {
            self.nested.set(depth + 1);
            Nested(self)
        })
    }

    /// Bytes to build something in.
    pub(super) fn buffer(&self) -> Buffer<'_> {
        Buffer { bytes: Vec::new(), limits: self }
    }

    /// Seeds the pseudo-random numbers (`srand48`).
    pub(super) fn seed(&self, seed: i32) {
        self.random.set(u64::from(seed as u32) << 16 | 0x330e);
    }

    /// The next pseudo-random number of 31 bits (`lrand48`): the same ones after each start, as in Redis.
    pub(super) fn draw(&self) -> u32 {
        let next = self.random.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & ((1 << 48) - 1);
        self.random.set(next);
        (next >> 17) as u32
    }
}

/// See [`Limits::nest`].
pub(super) struct Nested<'l>(&'l Limits);

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        self.0.nested.set(self.0.nested.get() - 1);
    }
}

/// Bytes that grow within what a script may use.
pub(super) struct Buffer<'l> {
    bytes: Vec<u8>,
    limits: &'l Limits,
}

impl Buffer<'_> {
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), Raised> {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.grow(bytes.len())?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn push(&mut self, byte: u8) -> Result<(), Raised> {
        self.extend(&[byte])
    }

    /// Bytes at the end, `len` of them, all zero.
    pub(super) fn pad(&mut self, len: usize) -> Result<(), Raised> {
        if self.bytes.capacity() - self.bytes.len() < len {
            self.grow(len)?;
        }
        self.bytes.resize(self.bytes.len() + len, 0);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    fn grow(&mut self, len: usize) -> Result<(), Raised> {
        let capacity = self.bytes.capacity();
        let most = capacity + self.limits.scratch_left.get();
        let needed = self.bytes.len().checked_add(len).filter(|needed| *needed <= most);
        let needed = needed.ok_or(Raised::Memory)?;
        self.limits.look_for(needed)?;
        let wanted = (2 * capacity).clamp(64, most.max(64)).max(needed);
        self.bytes.reserve_exact(wanted - self.bytes.len());
        let taken = self.bytes.capacity() - capacity;
        self.limits.scratch_left.set(self.limits.scratch_left.get().saturating_sub(taken));
        Ok(())
    }
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.limits.scratch_left.set(self.limits.scratch_left.get() + self.bytes.capacity());
    }
}

#[cfg(test)]
mod tests;
