//! For tests: commands in, replies out, without a server.

use super::meter::{Meter, TURN_UNITS};
use super::{Engine, Flow, session::Session};
use crate::{
    buffer::arena::Arena,
    config::ServerOptions,
    limits::MIB,
    mutation::{LargeId, LargeRef},
    store::{LargeCursor, Store, StoreConfig},
    time::{Millis, Now},
    wire::{
        arguments::{Arg, ArgTable},
        encode::{Out, Output, Pending},
        resp::{Bounds, Decoder, Step},
    },
};

/// The time at which a bench starts, unix milliseconds.
pub const START: u64 = 1_700_000_000_000;

/// An engine with one client.
pub struct Bench {
    pub engine: Engine,
    pub session: Session,
    pub now: u64,
    /// Slices that the last command took.
    pub slices: usize,
    /// Units of work of the longest of them.
    pub worst_units: u64,
    /// Runs between two slices of a command.
    pub between_slices: Option<fn(&mut Engine)>,
    /// Whether the client goes away after the first slice of a command.
    pub leaves_midway: bool,
    arena: Arena,
    output: Output,
    table: ArgTable,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(ServerOptions::default(), StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() })
    }

    pub fn with(options: ServerOptions, store: StoreConfig) -> Bench {
        let store = Store::new(store, [1, 2]).unwrap();
        let authenticated = options.password.is_none();
        Bench {
            engine: Engine::new(store, options),
            session: Session::new(7, authenticated),
            now: START,
            slices: 0,
            worst_units: 0,
            between_slices: None,
            leaves_midway: false,
            arena: Arena::new(4 * MIB),
            output: Output::new(),
            table: ArgTable::with_capacity(4096),
        }
    }

    /// Runs a command typed as a line; the reply, large values and all.
    pub fn run(&mut self, line: &str) -> String {
        let bytes = self.run_bytes(format!("{line}\r\n").as_bytes());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a command given by its arguments.
    pub fn run_args(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        self.run_bytes(&bytes)
    }

    /// Runs one command of RESP bytes, as the server does.
    pub fn run_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let mut decoder = Decoder::new();
        let bounds = Bounds { authenticated: true, max_bulk_bytes: 1 << 29 };
        loop {
            match decoder.decode(&bytes, &bounds, &mut self.table).unwrap() {
                Step::Ready { .. } => break,
                Step::Body { at, len } => {
                    let now = Millis(self.now);
                    let body: Vec<u8> = bytes.drain(at..at + len as usize).collect();
                    decoder.head(&bytes, &mut self.table);
                    let head = self.table.args(&bytes);
                    let begun = self.engine.begin_argument(&self.session, &head, body.len() as u64, now);
                    decoder.body_received(&mut bytes, self.receive(begun.ok(), &body, now));
                }
                step => panic!("{step:?}"),
            }
        }
        self.execute(&bytes)
    }

    /// A long argument, if there is room for it.
    fn receive(&mut self, begun: Option<LargeRef>, body: &[u8], now: Millis) -> Option<LargeId> {
        let (store, large) = (&mut self.engine.store, begun?);
        if store.large_append(large.id(), body, now).is_err() {
            store.large_release(large);
            return None;
        }
        // The command's, until it has run.
        Some(large.into_raw())
    }

    fn execute(&mut self, bytes: &[u8]) -> Vec<u8> {
        let now = Now { monotonic: Millis(0), unix: Millis(self.now), unix_micros: 123 };
        let mut reply = Vec::new();
        let mut continuation = None;
        let (between_slices, leaves_midway) = (self.between_slices, self.leaves_midway);
        (self.slices, self.worst_units) = (0, 0);
        let Bench { engine, session, arena, output, table, slices, worst_units, .. } = self;
        let args = table.args(bytes);
        let mut out = Out::new(output, arena, session.protocol);
        if let Some(verb) = engine.admit(session, &args, &mut out) {
            loop {
                let mut out = Out::new(output, arena, session.protocol);
                engine.meter = Meter::new(TURN_UNITS);
                *slices += 1;
                let flow = engine.execute(session, verb, &args, continuation.take(), &mut out, now);
                assert!(!out.overflowed());
                *worst_units = engine.meter.used_of(TURN_UNITS).max(*worst_units);
                drain(engine, output, arena, &mut reply);
                let Flow::Yield(more) = flow else { break };
                if leaves_midway {
                    engine.abandon(more);
                    break;
                }
                continuation = Some(more);
                if let Some(between) = between_slices {
                    between(engine);
                }
            }
        }
        drain(engine, output, arena, &mut reply);
        for arg in args.iter() {
            if let Arg::Large(id) = arg {
                engine.store.large_release(LargeRef::from_raw(id));
            }
        }
        engine.store.invariants();
        reply
    }
}

/// Takes everything out of the output, as a socket would.
fn drain(engine: &mut Engine, output: &mut Output, arena: &mut Arena, reply: &mut Vec<u8>) {
    loop {
        let len = match output.next(arena) {
            Pending::Nothing => return,
            Pending::Bytes(a, b) => {
                reply.extend_from_slice(a);
                reply.extend_from_slice(b);
                (a.len() + b.len()) as u64
            }
            Pending::Large { id, offset, len } => {
                let mut cursor = LargeCursor::new(id, offset);
                let piece = engine.store.large_slice(&mut cursor);
                let len = len.min(piece.len() as u64);
                reply.extend_from_slice(&piece[..len as usize]);
                len
            }
        };
        if let Some(large) = output.consumed(len, arena) {
            engine.store.large_release(large);
        }
    }
}
