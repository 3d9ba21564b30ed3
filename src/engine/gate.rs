//! The gate that every operation passes, whether a client sent it as a RESP command or as a frame: CLIENT PAUSE may
//! hold it, it is counted under its row, and its time goes into the row's histogram and, if it was slow, into the slow
//! log.
//!
//! ```text
//!  RESP   admit ─▶ is_held? ─▶ execute (counted) ─▶ record_latency
//!  frame  decide ─▶ is_held? ─▶ begin_frame (counted) ─▶ ops ─▶ record_frame
//! ```

use super::{Engine, meter::STEP_UNITS_MAX, names::Name, session::Session};
use crate::{
    command::{Flags, Verb, VerbId, resolve, shown::ShownArgs},
    mutation::{LargeRef, Refused},
    reply::{Error, ErrorKind, Part},
    time::{Millis, Now},
    wire::{arguments::Args, frame::Op},
};

/// What a pause holds; the later one holds more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseScope {
    /// What may change a key.
    Writes,
    /// Everything.
    All,
}

/// Whose memory an argument that is too long for a connection's ring may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentRoom {
    /// What is spare: no key goes for it.
    Spare,
    /// The same, for its first [`QUOTED_BYTES_MAX`](super::QUOTED_BYTES_MAX) alone: no such command is known, and the error
    /// quotes what it was given.
    Quoted,
    /// As a value that is written: keys may be evicted for it.
    Data,
}

/// CLIENT PAUSE: what is held, and until when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    active: Option<(PauseScope, Millis)>,
}

impl Pause {
    /// Holds what `scope` says until a time of the monotonic clock. A pause that is on already is never shortened or
    /// weakened by it: the longer time and the wider scope hold, as in Redis.
    pub fn begin(&mut self, scope: PauseScope, until: Millis) {
        self.active = Some(match self.active {
            Some((earlier, at)) => (earlier.max(scope), at.max(until)),
            None => (scope, until),
        });
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.active = None;
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.active.is_none()
    }

    /// When the pause ends, in ms of the monotonic clock.
    #[must_use]
    pub fn until(&self) -> Option<Millis> {
        self.active.map(|(_, until)| until)
    }

    fn holds(&self, writes: bool, now: Millis) -> bool {
        self.active.is_some_and(|(scope, until)| now < until && (writes || scope == PauseScope::All))
    }
}

/// How long an operation took, and whose it was.
#[derive(Clone, Copy, Debug)]
pub struct Timing<'a> {
    /// Microseconds.
    pub micros: u64,
    /// The client's address, as text.
    pub peer: &'a [u8],
    pub now: Now,
}

impl Engine {
    /// Whether a verb has to wait for the end of a pause, or for the disk. `queued` are the flags of what a transaction holds: EXEC
    /// writes if something in it does. CLIENT is never held, so that a pause can be ended.
    #[must_use]
    pub fn is_held(&self, verb: &Verb, queued: Flags, now: Millis) -> bool {
        let may_write = |flags: Flags| flags.has(Flags::WRITE) || flags.has(Flags::MAY_WRITE);
        let writes = may_write(verb.flags) || verb.id == crate::command::VerbId::Exec && may_write(queued);
        let waits = writes && self.persistence.holds_writers(&self.store);
        (waits || self.pause.holds(writes, now)) && verb.container() != Some("client")
    }

    /// Something was held: if that is for the disk's sake, it is looked at again when the disk is done.
    pub fn note_held(&mut self) {
        self.persistence.has_held |= !self.persistence.is_open(&self.store);
    }

    /// Whether an operation of frames has to wait for the end of a pause. HELLO never has: it opens a session and
    /// touches no key.
    #[must_use]
    pub fn is_frame_held(&self, op: Op, now: Millis) -> bool {
        let waits = op.is_write() && self.persistence.holds_writers(&self.store);
        op != Op::Hello && (waits || self.pause.holds(op.is_write(), now))
    }

    /// Whose memory a long argument may take, of a command of which `args` are the first arguments. `None`: nobody's, for
    /// [`admit`](Engine::admit) will refuse the command whatever the argument is.
    #[must_use]
    pub fn argument_room(&self, session: &Session, args: &Args<'_>) -> Option<ArgumentRoom> {
        let Some(verb) = resolve(args) else {
            return session.authenticated.then_some(ArgumentRoom::Quoted);
        };
        // A container that is still one has a long argument for a subcommand.
        let is_admitted = verb.admits(args.len())
            && !verb.flags.has(Flags::CONTAINER)
            && (session.authenticated || verb.flags.has(Flags::NO_AUTH));
        let may_store = verb.flags.has(Flags::DENYOOM)
            || verb.flags.has(Flags::MAY_WRITE)
            || matches!(verb.id, VerbId::Publish | VerbId::Spublish);
        if verb.flags.has(Flags::CONTAINER) && session.authenticated && args.len() > 1 {
            return Some(ArgumentRoom::Quoted);
        }
        is_admitted.then_some(if may_store { ArgumentRoom::Data } else { ArgumentRoom::Spare })
    }

    /// Begins a long argument of `len` bytes that is data. One that is about to replace the value of its key, as far as the
    /// arguments before it tell, is one that a full store has room for while both are there.
    ///
    /// # Errors
    /// [`Refused`] when so many bytes cannot be had.
    pub fn begin_argument(
        &mut self,
        session: &Session,
        args: &Args<'_>,
        len: u64,
        now: Millis,
    ) -> Result<LargeRef, Refused> {
        let replaces = resolve(args).is_some_and(|verb| {
            matches!(
                verb.id,
                VerbId::Set | VerbId::Setex | VerbId::Psetex | VerbId::Getset | VerbId::Setrange
            )
        });
        match args.bytes(1).filter(|_| replaces) {
            Some(key) => self.store.large_begin_for((session.db, key), len, now),
            None => self.store.large_begin(len, now),
        }
    }

    /// An operation of frames runs now.
    pub fn begin_frame(&mut self, op: Op) {
        self.metrics.called(op);
    }

    /// An operation of frames was refused by the store.
    pub fn fail_frame(&mut self, op: Op) {
        self.metrics.frame_failed(op);
    }

    /// Charges what one step took that could not be cut, and counts it if it was a long one.
    pub fn charge_step(&mut self, units: u32) {
        self.meter.charge(units);
        if units > STEP_UNITS_MAX {
            self.metrics.counters.long_steps += 1;
            self.was_long_step = true;
        }
    }

    /// Refuses what must be one step where it is larger than the limit that was set, and counts that.
    ///
    /// # Errors
    /// [`ErrorKind::StepTooLarge`].
    pub fn check_step(&mut self, key_count: usize) -> Result<(), Error<'static>> {
        let limit = self.runtime.max_step_keys;
        if limit == 0 || key_count as u64 <= limit {
            return Ok(());
        }
        self.metrics.counters.refused_steps += 1;
        Err(ErrorKind::StepTooLarge.of_both(Part::Number(key_count as u64), Part::Number(limit)))
    }

    /// Records how long an executed command took, in its counters and, if it was slow, in the slow log.
    #[inline]
    pub fn record_latency(
        &mut self,
        session: &Session,
        verb: &'static Verb,
        args: &Args<'_>,
        timing: Timing<'_>,
    ) {
        self.metrics.record_latency(verb.id, timing.micros);
        let was_long_step =
            std::mem::take(&mut self.was_long_step) && self.runtime.slowlog_slower_than_us >= 0;
        if was_long_step || self.is_slow(verb, timing.micros) {
            self.slowlog.set_len_max(self.runtime.slowlog_len_max);
            let name = self.client_names.get(session.names, Name::Connection);
            self.slowlog.record(&ShownArgs::new(Some(verb), args), name, timing);
        }
    }

    /// The same for an operation of frames and its key.
    pub fn record_frame(&mut self, op: Op, key: &[u8], timing: Timing<'_>) {
        self.metrics.record_latency(op, timing.micros);
        if self.is_slow_time(timing.micros) {
            self.slowlog.set_len_max(self.runtime.slowlog_len_max);
            self.slowlog.record(&ShownArgs::of_frame(op.name().as_bytes(), key), b"", timing);
        }
    }

    /// Whether the command that has just run was a step that took long.
    #[must_use]
    pub fn was_long_step(&self) -> bool {
        self.was_long_step
    }

    /// Whether a command that took so many microseconds enters the slow log.
    #[inline]
    #[must_use]
    pub fn is_slow(&self, verb: &Verb, micros: u64) -> bool {
        self.is_slow_time(micros) && !verb.flags.has(Flags::SKIP_SLOWLOG)
    }

    /// Whether an operation that took so many microseconds enters the slow log.
    #[inline]
    #[must_use]
    pub fn is_slow_time(&self, micros: u64) -> bool {
        u64::try_from(self.runtime.slowlog_slower_than_us).is_ok_and(|threshold| micros >= threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::find;

    #[test]
    fn a_pause_is_never_weakened_or_shortened() {
        let mut pause = Pause::default();
        pause.begin(PauseScope::All, Millis(100));
        pause.begin(PauseScope::Writes, Millis(50));
        assert!(pause.holds(false, Millis(99)));
        assert!(!pause.holds(true, Millis(100)));
        pause.begin(PauseScope::Writes, Millis(200));
        assert!(pause.holds(false, Millis(199)));
        pause.end();
        assert!(pause.is_off());
        assert!(!pause.holds(true, Millis(0)));
    }

    #[test]
    fn a_pause_of_writes_holds_an_exec_only_if_it_writes() {
        let mut bench = crate::engine::testing::Bench::new();
        bench.engine.pause.begin(PauseScope::Writes, Millis(100));
        let held = |word: &[u8], queued| bench.engine.is_held(find(word).unwrap(), queued, Millis(1));
        assert!(held(b"set", Flags::PLAIN));
        assert!(!held(b"get", Flags::PLAIN));
        assert!(!held(b"exec", Flags::READONLY));
        assert!(held(b"exec", Flags::READONLY.with(Flags::WRITE)));
        assert!(bench.engine.is_frame_held(Op::Put, Millis(1)));
        assert!(!bench.engine.is_frame_held(Op::Get, Millis(1)));
    }
}
