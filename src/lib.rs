//! Pannier: a single-threaded key-value server that rides beside a service: one process, one thread, one fixed piece
//! of memory. Redis clients of every language speak to it; this crate is the server, and a client for Rust.
//!
//! - [`client`]: the blocking client library over TCP and UDP (feature `client`, with few dependencies).
//! - [`net`]: a server in a process of your own (feature `server`): [`net::Handle`] on a thread, [`net::serve`] as
//!   `pannier serve` does.
//!
//! ```no_run
//! use pannier::client::{Client, PutOptions};
//! use pannier::net::{Handle, ServerOptions};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A server of 32 MiB on a free port, on a thread of its own; dropping the handle stops it.
//! let mut options = ServerOptions::default();
//! (options.tcp, options.memory_bytes) = ("127.0.0.1:0".parse()?, 32 << 20);
//! let server = Handle::start(options)?;
//!
//! let mut client = Client::connect(server.tcp_address().to_string())?;
//! client.put(b"session:17", b"alice", &PutOptions::new().ttl(Duration::from_secs(1800)))?;
//! assert_eq!(client.get(b"session:17")?.as_deref(), Some(&b"alice"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! Of the features, `client` alone suffices for a service that talks to a server elsewhere
//! (`default-features = false, features = ["client"]`), `server` for [`net`]; the binary `pannier` needs `cli`, which is
//! on unless default features are turned off. All other modules are public for tests, benches and fuzzers alone: they are
//! hidden here, and may change with any version.
//!
//! # How it is built
//!
//! The rest of this page is for those who change Pannier: how requests go, where what lives, and why.
//!
//! ## The way of a request
//!
//! ```text
//!  socket ─▶ ring ─▶ decoder ─▶ arguments ─▶ gate ─▶ verb, operation ─▶ Store ─▶ Out ─▶ ring ─▶ socket
//!   net     \─── server, connection, wire ───/  \──── engine ────/    \ store /  \─ wire, server ─/    net
//! ```
//!
//! Everything between the two sockets is free of I/O and of clocks: bytes and the time come in as arguments, bytes and
//! the next deadline come out ([`server::Server`]). The same code runs under the reactor ([`net`]), under fuzzers and
//! in tests that drive it by hand.
//!
//! **A GET**, one of a pipeline:
//!
//! 1. `net/peers.rs` `read`: the socket's bytes go into the connection's input ring (`Server::input_space`).
//! 2. `server/batch.rs` `plan`: `wire/quick.rs` decodes up to 32 commands over all ready connections, hashes their keys and
//!    asks memory for lines of the index.
//! 3. `server/batch.rs` `prefetch_record`: the records that are probably theirs are asked for.
//! 4. `server/batch.rs` `run_planned`: each command in order, if nothing holds it (a pause, a transaction, a full output).
//! 5. `engine/fast_path.rs` `answer_string`: the value is copied from `store/lookup.rs` `get_hinted` into the output ring.
//!    (SETEX, INCR, HGET and their like go from the plan to `engine/dispatch.rs`: the functions that they have everywhere.)
//! 6. `net/peers.rs` `write`: one write for all replies; `Server::output_sent` gives the ring back.
//!
//! **A SET of 1 MiB**:
//!
//! 1. `server/run.rs` `step`: the decoder (`wire/resp.rs`) answers `Step::Body`: an argument longer than 64 KiB begins.
//! 2. `server/input.rs` `begin_body`: a large value is begun in the store; the connection goes to
//!    `Phase::ReceivingBody`.
//! 3. `net/peers.rs` `read`: from now on the socket is read straight into the value's blocks (`Server::input_spaces`).
//! 4. `server/input.rs` `end_body_if_whole`: the argument is replaced by a reference; the decoder finds the command whole.
//! 5. `server/prepare.rs` `prepare`: the gate (`engine/gate.rs`), a refusal for want of memory, an open transaction.
//! 6. `engine/set.rs` and `engine/ops.rs`: the options, then the typed operation.
//! 7. `store/apply.rs`: the record that refers to the value; `Store::commit` publishes the change.
//! 8. `server/run.rs` `finish`: the command's own references are released, its input is consumed.
//!
//! **A PUT by a datagram**:
//!
//! 1. `net/udp.rs`: up to 32 datagrams by one receive.
//! 2. `server/frames.rs` `handle_datagram`: into `frames/`.
//! 3. `wire/frame.rs` `decode_datagram`: the checksum first, then the fields; what fails is counted by its reason.
//! 4. `frames/cookie.rs`: an unproved source gets no more bytes than it sent.
//! 5. `frames/sessions.rs`: has this write run before? Then its cached reply goes out.
//! 6. `engine/gate.rs` and `frames/execute.rs`: the same typed operations as RESP's.
//! 7. `frames/sessions.rs`: the reply is cached; `net/udp.rs`: up to 32 replies by one send, each from the address that
//!    was asked.
//!
//! ## The modules, leaves first
//!
//! A module imports only from rows above its own. `net`, `client` and `cli` alone read clocks (clippy's
//! `disallowed-methods` keeps that true) and open sockets.
//!
//! | module | what lives there |
//! |---|---|
//! | [`limits`], [`time`] | every bound with its unit and reason; time as a number that is handed in |
//! | [`config`] | what a server is started with, and the one copy of what CONFIG SET changes |
//! | `work` | how tests count what a step does; nothing in any other build |
//! | [`mutant`] | mistakes that tests switch on; nothing in a build without the feature `mutants` |
//! | [`mutation`] | the vocabulary of change: what is asked of a store, and what it publishes |
//! | `pages` | memory that goes back to the system before its owner does |
//! | [`buffer`], [`timers`] | the arena of all clients' buffers with the rings in it; one time limit for each client |
//! | [`wire`] | hand-written incremental decoders and encoders: RESP, inline commands, frames |
//! | [`command`], [`reply`] | ONE table of verbs, ONE table of errors; COMMAND, counters and README follow them |
//! | [`store`] | the pool, records, index, expiry, cleaning, eviction, large values, the change feed |
//! | [`journal`] | what a server remembers over a restart: frames, checkpoints, the way back |
//! | [`rdb`] | files of Redis and Valkey, read to import them, written to export to them |
//! | [`metrics`], [`engine`] | what is counted; typed operations on keys, the gate before them, commands |
//! | [`frames`] | frames at the server: cookies, sessions, at most once |
//! | [`connection`], [`server`] | one connection's state; all of them, with transactions, limits and back-pressure |
//! | [`admin`] | HTTP for probes and metrics: request bytes in, response bytes out |
//! | [`net`] | sockets, signals, the one poll, the one reading of the clocks for each turn |
//! | [`client`] | the blocking client library |
//! | [`sim`] | server, clients and a bad network in one thread, from a seed; checkers of what happened |
//! | [`cli`] | the command line |
//!
//! ## Decisions that shape the rest
//!
//! **Replies are written, not built.** A command writes into [`wire::encode::Out`] as it goes, straight from the
//! store's memory into the client's ring: no reply exists as a value in between, so none has to be allocated, and a
//! reply of a million elements needs no more room than its next piece. A large value is not copied even there: a
//! marker in the ring stands for it, and the socket is given the store's own blocks.
//!
//! **A command runs only when its reply has room,** and its input is consumed only once it is answered. Replies that
//! may be longer than the ring (MGET, KEYS) are made piece by piece while the socket drains, by a
//! [continuation](engine::Continuation) that the connection keeps.
//!
//! **A connection is a state machine** ([`connection`]): one phase that changes in one place. How much is read and made
//! ahead of a client follows from the phase (`server/backpressure.rs`): a client that moves in either direction is slowed
//! down and never closed; what closes it is the time without progress.
//!
//! **Work is metered** ([`engine::meter`]): commands charge what they do, and a connection's turn ends when its meter is
//! spent, in the middle of a command where that can be cut. So others wait for about 100 µs of one client's work.
//!
//! **One budget, floors and ceilings.** Clients' buffers, places and sessions have floors of their own; what is between these
//! and their ceilings is the store's, which lends it in segments while data does not need it (`server/shares.rs`,
//! `store/lending.rs`, docs/memory.md). All of it is reserved at start and touched as it is used.
//!
//! **The index grows a leaf at a time.** Small tables of fixed capacity behind a directory; their memory comes from the
//! pool, through hashbrown's allocator parameter. Implementing an allocator is `unsafe`, so `store/pool.rs`
//! has it, with its reasons beside each use; besides, only `store/prefetch.rs` and `pages.rs` do, in a line each. The hash space is first cut into eight shards of unequal
//! width: so leaves do not fill up, and split, all at the same time, and memory for each key stays level as a store
//! grows (cf. Martin's spiral storage, 1979).
//!
//! **A turn has phases** (read all, run all, write all): see [`net`].
//!
//! **Common commands are looked up ahead.** A cache miss takes as long as all the instructions of a GET, so
//! `server/batch.rs` decodes up to 32 commands over all connections that are ready, hashes their keys and asks memory
//! for the lines of the index, then for the records, before it runs the first. What is found so is a hint
//! ([`store::LookupHint`]): it costs time when it is wrong, never an answer. The general way (`server/run.rs`) knows nothing
//! of it and takes all that is not a plain GET or SET.
//!
//! **The change feed is the seam** on which a journal, watchers and replicas hang ([`store::feed`]): every change of the
//! store, expiry and eviction included, is committed in one place, under its own revision, and published as an
//! idempotent effect; with no consumer that is one branch. A second store that applies the feed ends equal, revisions
//! included; the simulator runs one and compares. WATCH needs no lists of watchers: it compares revisions.
//!
//! **Reads read.** A look-up changes nothing but a count of uses (when the store is a cache): what has expired is hidden,
//! and removed by the sweep, by a write of the key, or by [`store::Store::expire_if_due`].
#![deny(unsafe_code)]

#[cfg(feature = "server")]
#[doc(hidden)]
pub mod admin;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod buffer;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod command;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod config;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod connection;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod engine;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod frames;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod limits;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod mutant;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod mutation;
#[cfg(feature = "server")]
pub mod net;
#[cfg(feature = "server")]
mod pages;
#[cfg(any(all(test, feature = "server"), feature = "sim"))]
mod random;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod rdb;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod reply;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod server;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod time;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod timers;
#[doc(hidden)]
pub mod wire;
mod work;
