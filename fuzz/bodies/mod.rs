//! What the fuzz targets do, as ordinary functions: cargo-fuzz gives them bytes of its own making, and `cargo test`
//! (`tests/fuzz_corpus.rs`) those of the corpus and of fixed seeds.
//!
//! | body | what the bytes are | what must hold |
//! |---|---|---|
//! | `ring` | operations on two rings of one arena | each ring is the queue that a plain model is; the arena's invariants |
//! | `resp` | a stream of requests, and where it is cut | the cuts change nothing; a command that was encoded comes back |
//! | `frame` | a datagram; the fields of a frame, and a bit | what is sealed opens; with any bit flipped it does not |
//! | `store` | operations on a small store | the store is the map that a plain model is; nothing leaks |
//! | `server` | what clients send, take and leave, datagrams, time | every reply is well-formed; nobody is amplified; nothing leaks |
//! | `patterns` | a glob pattern and a text; a line | as a slow matcher and a plain splitter say |
//! | `reply` | what a server says to a client, in pieces | the pieces change nothing; the memory taken has its bound |
//! | `rdb` | a file of Redis | it is read or refused; what was read is written and read again |
//! | `admin` | an HTTP request in pieces | a reply that is whole, with the length that it says |
#![allow(clippy::missing_panics_doc, reason = "panicking is how a body says what it found")]

pub mod admin;
pub mod frame;
pub mod patterns;
pub mod rdb;
pub mod reply;
pub mod resp;
pub mod ring;
pub mod script;
pub mod server;
pub mod store;

/// A body: it panics where something is wrong.
pub type Body = fn(&[u8]);

/// Every target with its body.
pub const TARGETS: [(&str, Body); 9] = [
    ("ring", ring::run),
    ("resp", resp::run),
    ("frame", frame::run),
    ("store", store::run),
    ("server", server::run),
    ("patterns", patterns::run),
    ("reply", reply::run),
    ("rdb", rdb::run),
    ("admin", admin::run),
];
