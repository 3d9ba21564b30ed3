//! Executes commands against the store: one function for each verb, grouped by file, all in the shape
//! `fn(&mut Call) -> Outcome`. No I/O, no clock: the time is an argument, replies go into an [`Out`].
//!
//! ```text
//! args --admit--> &Verb --execute--> Flow::Done | Close | Yield(continuation)
//!        |                  |
//!        `- error reply     `- dispatch: one function for each verb
//! ```
//!
//! **Large arguments.** A command owns one reference for each of its large arguments and its caller (the server)
//! releases all of them after the execution, whatever came of it; a key that is given such a value takes a reference of
//! its own. **Large replies.** The output owns one reference for each large value in it; the server releases
//! it when it is sent. What else a command holds of a large value is a [`LargeRef`](crate::mutation::LargeRef).
//!
//! **No allocation.** Executing touches the heap nowhere: texts are built in `Engine::text`, copies in `Engine::scratch`,
//! both reserved at start.

use crate::{
    command::{self, Flags, Verb, VerbId},
    config::{Runtime, ServerOptions},
    limits::INLINE_VALUE_BYTES_MAX,
    metrics::{Metrics, ProcessStats},
    mutation::{Database, LargeRef, Origin},
    reply::{Error, ErrorKind, Part},
    store::{Entry, LargeCursor, Store},
    time::{Millis, Now},
    wire::{
        arguments::{Arg, Args},
        encode::Out,
    },
};

mod absent;
mod bitfield;
mod bitop;
mod bits;
mod call;
mod client;
mod collections;
mod commands;
mod compare;
mod compose;
mod config;
mod counters;
pub mod demand;
pub mod dispatch;
mod dump;
mod expire;
pub mod fast_path;
mod field_expiry;
pub mod gate;
mod handshake;
mod hashes;
mod help;
mod info;
mod keys;
mod latency;
mod lcs;
mod memory;
pub mod meter;
mod multiple;
pub mod names;
mod object;
pub mod ops;
mod password;
pub mod persistence;
mod quote;
mod ranges;
mod restore;
mod scan;
#[cfg(feature = "scripts")]
mod script;
mod server;
pub mod session;
mod set;
mod set_algebra;
mod sets;
mod slowlog;
mod sort;
mod strings;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use bitop::Bitop;
use call::Call;
pub(crate) use call::refused;
use collections::{Listing, Sample};
use compare::Compare;
use compose::Compose;
use dump::Dump;
use field_expiry::{FieldPuts, FieldWork};
pub use gate::{ArgumentRoom, Timing};
use meter::Meter;
use names::Names;
use password::Password;
pub use quote::QUOTED_BYTES_MAX;
use quote::{QUOTED_ARGS_BYTES, beginning, quote_args, shown, upper};
use restore::Restore;
use session::Session;
use set_algebra::Algebra;
use slowlog::Slowlog;
use sort::Sort;

/// The version of Redis whose behaviour clients may expect; shown by INFO and HELLO.
pub const REDIS_VERSION: &str = "7.2.4";
/// Bytes of the name of a run, which INFO shows as twice as many digits.
pub const RUN_ID_BYTES: usize = 20;
/// Bytes reserved for the texts of INFO and CONFIG.
const TEXT_BYTES: usize = 64 * 1024;

/// Commands against a store.
///
/// *Order of calls*: [`admit`](Engine::admit), then [`execute`](Engine::execute) until it no longer answers
/// [`Flow::Yield`] (or [`abandon`](Engine::abandon)), then [`record_latency`](Engine::record_latency) with the time that it needed.
pub struct Engine {
    pub store: Store,
    pub metrics: Metrics,
    /// What CONFIG SET changes; the server reads it too.
    pub runtime: Runtime,
    /// What only the server knows; it keeps them up to date for INFO.
    pub process_stats: ProcessStats,
    /// What clients call themselves.
    pub client_names: Names,
    /// CLIENT PAUSE.
    pub pause: gate::Pause,
    /// What is known of the journal.
    pub persistence: persistence::Persistence,
    /// What is left of the turn of the client that is served; the server refills it, commands charge it.
    pub meter: Meter,
    /// What the server was started with, the password aside.
    options: ServerOptions,
    /// The command that runs now was a step that took long: it enters the slow log.
    was_long_step: bool,
    slowlog: Slowlog,
    password: Option<Password>,
    random: u64,
    run_id: [u8; RUN_ID_BYTES],
    /// A copy of a value that is answered after it has been overwritten.
    scratch: Box<[u8]>,
    /// Names that a slice of KEYS found, encoded.
    names: Vec<u8>,
    text: String,
    #[cfg(feature = "scripts")]
    scripts: script::Scripts,
}

/// What is to happen after an execution.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// The command is done; its reply, if any, is in the output.
    Done,
    /// The command is done; close the connection when its replies are sent.
    Close,
    /// The reply is not whole. Execute the same command again with this continuation, in the next turn or when the
    /// output has room; until then nothing else of this client runs.
    Yield(Continuation),
}

/// How far a command has come that runs in several slices. What it holds of the store is given back at its end, or by
/// [`abandon`](Engine::abandon).
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Continuation {
    /// DEL, UNLINK, EXISTS, TOUCH, HSET, HDEL, SADD, SREM, and the first pass of COMMAND DOCS: the arguments before `next` are done, and `count`
    /// of them were there. SPOP: `count` members are still to be taken.
    Count {
        next: u32,
        count: u32,
    },
    /// MGET, HMGET, SMISMEMBER, COMMAND INFO, COMMAND DOCS, SUBSCRIBE and its like: the arguments before `next` are
    /// answered.
    Answered {
        next: u32,
    },
    /// KEYS, PUBSUB CHANNELS: everything before `cursor` has been offered, and `count` names are collected, encoded, in
    /// `names`.
    Keys {
        cursor: u64,
        names: LargeRef,
        count: u64,
    },
    /// BITCOUNT: `count` bits were counted before the cursor, in this value; `end` is in bytes.
    Bitcount {
        value: LargeRef,
        cursor: LargeCursor,
        end: u64,
        count: i64,
    },
    /// BITPOS: nothing was found before the cursor, in this value.
    Bitpos {
        value: LargeRef,
        cursor: LargeCursor,
    },
    /// PUBLISH: its message, or an earlier one, is under way.
    Publish,
    /// PUBLISH: so many got its message.
    Published {
        receivers: u64,
    },
    /// Nothing was done, for want of room in the output: the command begins again.
    Again,
    /// HGETALL, HKEYS, HVALS, SMEMBERS, SPOP of all members, and the answer of SINTER and its like.
    Listing(Listing),
    /// SRANDMEMBER, HRANDFIELD.
    Sample(Sample),
    /// SINTER and its like.
    Algebra(Algebra),
    Bitop(Bitop),
    /// CLIENT LIST: the lines of clients before place `next` are collected.
    Clients {
        next: u32,
        lines: LargeRef,
    },
    /// SET IFEQ, DELIFEQ and their like: a value is compared with a long argument.
    Compare(Compare),
    /// SETRANGE, APPEND, SETBIT, BITFIELD: the new value is put together.
    Compose(Compose),
    Dump(Dump),
    Restore(Restore),
    Sort(Sort),
    /// HEXPIRE, HTTL, HGETDEL and their like.
    Fields(FieldWork),
    /// HSETEX.
    FieldPuts(FieldPuts),
}

/// What a verb's function returns: the reply is written, or the error is still to be.
pub(crate) type Outcome<'a> = Result<Flow, Error<'a>>;

impl Engine {
    /// An engine over a store.
    ///
    /// # Panics
    /// If the password is longer than [`PASSWORD_BYTES_MAX`](crate::limits::PASSWORD_BYTES_MAX).
    #[must_use]
    pub fn new(store: Store, mut options: ServerOptions) -> Engine {
        let password = options.password.take();
        Engine {
            store,
            metrics: Metrics::new(),
            runtime: Runtime::new(&options),
            process_stats: ProcessStats::default(),
            client_names: Names::new(options.max_clients),
            pause: gate::Pause::default(),
            persistence: persistence::Persistence::default(),
            meter: Meter::new(meter::TURN_UNITS),
            was_long_step: false,
            slowlog: Slowlog::new(),
            password: password.as_deref().map(Password::new),
            random: 0x9e37_79b9_7f4a_7c15,
            run_id: [0; RUN_ID_BYTES],
            scratch: vec![0; INLINE_VALUE_BYTES_MAX].into_boxed_slice(),
            names: Vec::with_capacity(scan::NAMES_BYTES),
            text: String::with_capacity(TEXT_BYTES),
            #[cfg(feature = "scripts")]
            scripts: script::Scripts::new(),
            options,
        }
    }

    /// What RANDOMKEY picks is drawn from this number from now on.
    pub fn seed_random(&mut self, seed: u64) {
        self.random = seed | 1;
    }

    /// Names this run of the server, which INFO shows; to be random, so that no two runs have the same name.
    pub fn set_run_id(&mut self, run_id: [u8; RUN_ID_BYTES]) {
        self.run_id = run_id;
    }

    /// What the server was started with; the password is not among it.
    #[inline]
    #[must_use]
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// Bytes of a value, at most.
    #[must_use]
    pub fn max_value_bytes(&self) -> u64 {
        self.store.config().max_value_bytes
    }

    /// Whether a client must authenticate.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// From now on AUTH must give this; clients that are authenticated stay so.
    ///
    /// # Panics
    /// If it is longer than [`PASSWORD_BYTES_MAX`](crate::limits::PASSWORD_BYTES_MAX).
    pub fn set_password(&mut self, password: &[u8]) {
        self.password = Some(Password::new(password));
    }

    /// Looks the verb up and checks what can be checked without running it: number of arguments, subcommand,
    /// authentication. `None`: an error is in the output.
    #[inline]
    pub fn admit(
        &mut self,
        session: &mut Session,
        args: &Args<'_>,
        out: &mut Out<'_>,
    ) -> Option<&'static Verb> {
        let word = args.bytes(0).unwrap_or_default();
        match command::find(word) {
            Some(verb)
                if verb.admits(args.len())
                    && !verb.flags.has(Flags::CONTAINER)
                    && (session.authenticated || verb.flags.has(Flags::NO_AUTH)) =>
            {
                Some(verb)
            }
            Some(verb) => self.admit_slowly(verb, session, args, out),
            None => {
                self.refuse_unknown(session, args, out);
                None
            }
        }
    }

    #[cold]
    fn refuse_unknown(&mut self, session: &mut Session, args: &Args<'_>, out: &mut Out<'_>) {
        let (mut name, mut quoted) = ([0; QUOTED_BYTES_MAX], [0; QUOTED_ARGS_BYTES]);
        let quoted = quote_args(&self.store, args, &mut quoted);
        let word = beginning(&self.store, args.get(0).unwrap_or(Arg::Refused));
        let word = shown(word, QUOTED_BYTES_MAX);
        name[..word.len()].copy_from_slice(word);
        let name = Part::Bytes(&name[..word.len()]);
        let error = ErrorKind::UnknownCommand.of_both(name, Part::Bytes(quoted));
        self.refuse(session, None, &error, out);
    }

    #[cold]
    fn admit_slowly(
        &mut self,
        verb: &'static Verb,
        session: &mut Session,
        args: &Args<'_>,
        out: &mut Out<'_>,
    ) -> Option<&'static Verb> {
        let mut verb = verb;
        if let Some(word) = args.get(1).filter(|_| verb.flags.has(Flags::CONTAINER)) {
            let found = if let Arg::Bytes(word) = word { verb.subcommand(word) } else { None };
            let Some(subcommand) = found else {
                let mut container = [0; 16];
                let container = upper(verb.name, &mut container);
                let mut quoted = [0; 128];
                let word = shown(beginning(&self.store, word), quoted.len());
                quoted[..word.len()].copy_from_slice(word);
                let word = Part::Bytes(&quoted[..word.len()]);
                let error = ErrorKind::UnknownSubcommand.of_both(word, Part::Bytes(container));
                self.refuse(session, None, &error, out);
                return None;
            };
            verb = subcommand;
        }
        let error = if !verb.admits(args.len()) {
            ErrorKind::WrongArity.of(verb.name.as_bytes())
        } else if !session.authenticated && !verb.flags.has(Flags::NO_AUTH) {
            ErrorKind::NoAuth.plain()
        } else {
            return Some(verb);
        };
        self.refuse(session, Some(verb.id), &error, out);
        None
    }

    /// Forgets all scripts and gives their memory back to the store.
    pub fn drop_scripts(&mut self) {
        #[cfg(feature = "scripts")]
        if let Some(share) = self.scripts.end() {
            self.store.large_release(share);
        }
    }

    /// Answers an error instead of executing a command, and counts it; `verb` if it is known. For the server too.
    pub fn refuse(
        &mut self,
        session: &mut Session,
        verb: Option<VerbId>,
        error: &Error<'_>,
        out: &mut Out<'_>,
    ) {
        out.mute(session.is_muted());
        error.write(|parts| out.error_parts(parts));
        match verb {
            Some(verb) => self.metrics.rejected(verb, error.kind),
            None => self.metrics.error(error.kind),
        }
        session.finished();
    }

    /// Runs an admitted command, or a slice of it. Not for verbs with the flag `CONNECTION` (but QUIT): they are the
    /// server's.
    #[allow(clippy::too_many_arguments)] // who, what, where to, when: nothing that belongs together
    pub fn execute(
        &mut self,
        session: &mut Session,
        verb: &'static Verb,
        args: &Args<'_>,
        continuation: Option<Continuation>,
        out: &mut Out<'_>,
        now: Now,
    ) -> Flow {
        out.mute(session.is_muted());
        self.meter.charge(meter::COMMAND_UNITS);
        self.store.set_origin(Origin::Client(session.id));
        if continuation.is_none() {
            self.store.set_command(verb.id as u16);
            self.metrics.called(verb.id);
        } else {
            self.store.set_command_again(verb.id as u16);
        }
        let mut call = Call { engine: self, session, verb, args: *args, out, now: now.unix, clock: now };
        let flow = match call.run(continuation) {
            Ok(flow) => flow,
            Err(error) => {
                call.engine.fail(verb, &error, call.out);
                Flow::Done
            }
        };
        if !matches!(flow, Flow::Yield(_)) {
            session.finished();
        }
        flow
    }

    /// Answers the error in which an executed command ended, and counts it.
    #[cold]
    pub fn fail(&mut self, verb: &Verb, error: &Error<'_>, out: &mut Out<'_>) {
        error.write(|parts| out.error_parts(parts));
        self.metrics.failed(verb.id, error.kind);
    }

    /// Drops a continuation whose client is gone.
    pub fn abandon(&mut self, continuation: Continuation) {
        match continuation {
            Continuation::Answered { .. }
            | Continuation::Count { .. }
            | Continuation::Publish
            | Continuation::Published { .. }
            | Continuation::Again
            | Continuation::Fields(_)
            | Continuation::FieldPuts(_)
            | Continuation::Sample(Sample { tree: None, .. })
            | Continuation::Algebra(Algebra { result: None, .. }) => {}
            Continuation::Listing(Listing { tree, .. })
            | Continuation::Sample(Sample { tree: Some(tree), .. })
            | Continuation::Algebra(Algebra { result: Some(tree), .. }) => self.store.tree_release(&tree),
            Continuation::Clients { lines: large, .. }
            | Continuation::Keys { names: large, .. }
            | Continuation::Bitcount { value: large, .. }
            | Continuation::Bitpos { value: large, .. } => self.store.large_release(large),
            Continuation::Bitop(work) => work.release(&mut self.store),
            Continuation::Compare(work) => work.release(&mut self.store),
            Continuation::Compose(work) => work.release(&mut self.store),
            Continuation::Dump(work) => work.release(&mut self.store),
            Continuation::Restore(work) => work.release(&mut self.store),
            Continuation::Sort(work) => work.release(&mut self.store),
        }
    }

    /// Without the feature there are no scripts.
    #[cfg(not(feature = "scripts"))]
    fn script_use(&self) -> (usize, usize) {
        (0, 0)
    }

    /// The live entry of a key, with the hit or miss counted.
    #[inline]
    fn lookup(&mut self, session_db: Database, key: &[u8], now: Millis) -> Option<Entry<'_>> {
        let entry = self.store.get(session_db, key, now);
        match entry {
            Some(_) => self.metrics.counters.keyspace_hits += 1,
            None => self.metrics.counters.keyspace_misses += 1,
        }
        entry
    }

    /// The next pseudo-random number (xorshift64*); what it picks need not be unpredictable.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
