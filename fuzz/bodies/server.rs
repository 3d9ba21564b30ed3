//! Several clients of the server without sockets, over RESP, framed TCP and datagrams, in any pieces, while time passes.
//!
//! What comes back is checked: RESP by our client's reader, frames by their decoder. A source of datagrams that has not
//! shown that it hears us never gets more than it sent. In the end everything is closed and flushed, and nothing is left.

use super::script::Script;
use super::store::assert_empty;
use pannier::client::{ReadError, ReplyReader};
use pannier::connection::ConnectionId;
use pannier::engine::Engine;
use pannier::frames::{self, FrameServer};
use pannier::limits::{DATAGRAM_BYTES_MAX, KIB, MIB};
use pannier::mutation::Mutation;
use pannier::net::ServerOptions;
use pannier::server::{Resources, Server};
use pannier::store::{OnFull, Store, StoreConfig};
use pannier::time::{Millis, Now};
use pannier::wire::frame::{self, COOKIE_LEN, Direction, FRAME_LEN_MIN, Head, MAGIC, Op, Step};
use pannier::wire::tag::{TAG_LEN, TagKeys};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;

/// When everything begins.
pub const NOW: Now = Now { monotonic: Millis(1_000), unix: Millis(1_700_000_000_000), unix_micros: 0 };
const CLIENTS: usize = 3;
const STEPS_MAX: usize = 400;
const EPOCH: u32 = 77;
const PASSWORD: &[u8] = b"secret";
/// Bytes of one connection's replies that are looked at.
const CHECKED_BYTES_MAX: usize = 256 * KIB;
/// Rounds of running and taking output in which a client that only reads has everything.
const DRAIN_ROUNDS: usize = 4096;

/// A server; the bits of `kind` are its settings.
pub fn new_server(kind: u8) -> Server {
    let small = kind & 2 != 0;
    let config = StoreConfig {
        memory_bytes: if small { 700 * KIB } else { 3 * MIB },
        on_full: if kind & 1 == 0 { OnFull::Refuse } else { OnFull::Evict },
        ..StoreConfig::default()
    };
    // Much happens in little memory when segments and leaves are small.
    let config =
        if small { StoreConfig { segment_bytes: 4 * KIB, leaf_buckets: 64, ..config } } else { config };
    let store = Store::new(config, [1, 2]).expect("enough memory");
    let password = (kind & 4 != 0).then_some(PASSWORD);
    let mut options = ServerOptions::default();
    options.max_clients = CLIENTS;
    options.password = password.map(<[u8]>::to_vec);
    options.idle_timeout = Duration::from_secs(if kind & 8 == 0 { 0 } else { 60 });
    let config_of_datagrams =
        frames::Config { clients_max: 4, password, ..frames::Config::new(EPOCH, [3, 4]) };
    let resources = Resources {
        input_bytes: 256 * KIB,
        output_bytes: 256 * KIB,
        queue_bytes: 64 * KIB,
        ..Resources::default()
    };
    Server::new(Engine::new(store, options), FrameServer::new(&config_of_datagrams), resources)
}

/// One place of a client: at most one connection at a time.
#[derive(Default)]
struct Place {
    id: Option<ConnectionId>,
    /// Whether the connection speaks frames, as its first byte told.
    framed: Option<bool>,
    replies: Vec<u8>,
    /// What it was given over a connection that speaks frames.
    cookie: [u8; COOKIE_LEN],
}

/// What follows when bytes have come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Run,
    /// They wait for others, to be run together.
    Wait,
}

/// One source of datagrams.
#[derive(Default)]
struct Source {
    cookie: [u8; COOKIE_LEN],
    sequence: u32,
    /// It has sent a cookie back.
    proved: bool,
}

struct Harness {
    server: Server,
    now: Now,
    places: [Place; CLIENTS],
    sources: [Source; 2],
    tags: Option<TagKeys>,
}

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = script.byte();
    let mut harness = Harness {
        server: new_server(kind),
        now: NOW,
        places: Default::default(),
        sources: Default::default(),
        tags: (kind & 4 != 0).then(|| TagKeys::from_password(PASSWORD)),
    };
    let mut steps = 0;
    while script.more() && steps < STEPS_MAX {
        harness.step(&mut script);
        steps += 1;
        // They walk the whole store, which takes longer than most steps.
        if steps % 8 == 0 {
            harness.server.invariants();
        }
    }
    harness.server.invariants();
    harness.end();
}

impl Harness {
    fn step(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let place = usize::from(kind >> 4) % CLIENTS;
        match kind & 15 {
            0..=2 => self.receive(place, script.bytes(), Then::Run),
            3 | 4 => self.receive(place, script.bytes(), Then::Wait),
            5 => {
                // A flood, or the body of a large value.
                let (count, bytes) = (script.byte(), script.bytes());
                let len = (bytes.len() * usize::from(count)).min(64 * KIB);
                let flood: Vec<u8> = bytes.iter().copied().cycle().take(len).collect();
                self.receive(place, &flood, Then::Run);
            }
            6 => {
                let most = script.number();
                self.take(place, most);
            }
            7 => {
                self.run_all();
                self.drain(place);
            }
            8 => {
                let number = script.number() as u64;
                let ms = if number & 1 == 0 { number } else { number * 100 };
                self.now.monotonic = self.now.monotonic.plus(ms);
                self.now.unix = self.now.unix.plus(ms);
                self.server.handle_deadlines(self.now);
                self.server.maintain(self.now, 4);
                self.run_all();
            }
            9 => self.close(place),
            10 => {
                if let Some(id) = self.places[place].id {
                    self.server.input_ended(id);
                    self.server.run(id, self.now);
                }
            }
            11 => self.datagram(place % 2, script.bytes()),
            12 | 13 => self.request(place % 2, script),
            14 => self.framed_request(place, script),
            _ => self.large_value(place, script),
        }
        self.attend();
    }

    /// Looks after connections as the reactor does: those that another one's command has changed, and those that are
    /// done.
    fn attend(&mut self) {
        while let Some(id) = self.server.poll_wake() {
            if !self.server.is_replying(id) {
                self.server.run(id, self.now);
            }
        }
        for place in 0..CLIENTS {
            if self.places[place].id.is_some_and(|id| self.server.is_finished(id)) {
                self.close(place);
            }
        }
    }

    fn open(&mut self, place: usize) -> ConnectionId {
        let peer = ([127, 0, 0, 1], 5000 + place as u16).into();
        let (server, now) = (&mut self.server, self.now);
        // CONFIG SET maxclients may have closed the door.
        *self.places[place].id.get_or_insert_with(|| server.open(peer, now).unwrap_or(NOBODY))
    }

    fn receive(&mut self, place: usize, mut bytes: &[u8], then: Then) {
        let id = self.open(place);
        // Each round takes bytes, or is the last.
        while !bytes.is_empty() {
            self.places[place].framed.get_or_insert(bytes[0] == MAGIC);
            let len = self.fill_space(id, bytes, 1 + place);
            if len == 0 {
                return;
            }
            bytes = &bytes[len..];
            self.server.input_received(id, len, self.now);
            if then == Then::Run {
                self.server.run(id, self.now);
            }
        }
    }

    /// Runs all connections as one group, whose commands the server may look up together.
    fn run_all(&mut self) {
        let group: Vec<ConnectionId> = self.places.iter().filter_map(|place| place.id).collect();
        self.server.run_group(&group, self.now, &mut Vec::new());
    }

    /// Puts the front of `bytes` where the server wants it, in up to `most` pieces if it is a large value's; its length.
    fn fill_space(&mut self, id: ConnectionId, bytes: &[u8], most: usize) -> usize {
        if !self.server.has_body(id) {
            let Some(space) = self.server.input_space(id, self.now) else { return 0 };
            assert!(!space.is_empty());
            let len = space.len().min(bytes.len());
            space[..len].copy_from_slice(&bytes[..len]);
            return len;
        }
        let mut spaces: [IoSliceMut<'_>; CLIENTS] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let count = self.server.input_spaces(id, self.now, &mut spaces[..most]);
        let mut rest = bytes;
        for space in &mut spaces[..count] {
            assert!(!space.is_empty());
            let (here, behind) = rest.split_at(space.len().min(rest.len()));
            space[..here.len()].copy_from_slice(here);
            rest = behind;
        }
        bytes.len() - rest.len()
    }

    /// A value that goes into the store as it comes: all of it, or its beginning.
    fn large_value(&mut self, place: usize, script: &mut Script<'_>) {
        let (len, key, share) = (4 * script.number(), script.byte() % 4, script.byte());
        let mut bytes = format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n${len}\r\n").into_bytes();
        let sent = if share < 128 { len } else { len * usize::from(share - 128) / 128 };
        bytes.extend((0..sent).map(|at| (at / 3) as u8));
        if sent == len {
            bytes.extend_from_slice(b"\r\n");
        }
        self.receive(place, &bytes, Then::Run);
    }

    /// Takes up to `most` bytes of what waits; whether there were any.
    fn take(&mut self, place: usize, most: usize) -> bool {
        let Some(id) = self.places[place].id else { return false };
        let mut slices = [IoSlice::new(&[]); 4];
        let count = self.server.output(id, &mut slices);
        let (mut len, mut offered) = (0, 0);
        for slice in &slices[..count] {
            offered += slice.len();
            let part = slice.len().min(most - len);
            let replies = &mut self.places[place].replies;
            let room = CHECKED_BYTES_MAX - replies.len();
            replies.extend_from_slice(&slice[..part.min(room)]);
            len += part;
        }
        if len > 0 {
            self.server.output_sent(id, len, self.now);
        }
        if len < offered {
            self.server.output_blocked(id, self.now);
        }
        len > 0
    }

    /// Runs and takes until nothing moves any more.
    fn drain(&mut self, place: usize) {
        let Some(id) = self.places[place].id else { return };
        for _ in 0..DRAIN_ROUNDS {
            let more = self.server.run(id, self.now);
            if !self.take(place, usize::MAX) && !more && !self.server.is_replying(id) {
                return;
            }
        }
    }

    fn close(&mut self, place: usize) {
        let Place { id, framed, replies, .. } = std::mem::take(&mut self.places[place]);
        let Some(id) = id else { return };
        self.server.close(id);
        match framed {
            Some(true) => check_frames(&replies),
            _ => check_replies(&replies),
        }
    }

    fn datagram(&mut self, source: usize, bytes: &[u8]) {
        let mut reply = [0; DATAGRAM_BYTES_MAX];
        let Some(len) = self.server.handle_datagram(address(source), bytes, self.now, &mut reply) else {
            return;
        };
        let source = &mut self.sources[source];
        assert!(source.proved || len <= bytes.len(), "{len} bytes for {}", bytes.len());
        let frame = frame::decode_datagram(&reply[..len], Direction::Reply).expect("a frame");
        if let Some(tags) = self.tags.as_ref().filter(|_| frame.has_tag()) {
            assert!(frame.tag_is_good(&tags.reply));
        }
        if frame.head.cookie != [0; COOKIE_LEN] {
            source.cookie = frame.head.cookie;
        }
    }

    /// A frame that was made well but for what the script says.
    fn made_frame(
        &mut self,
        source: usize,
        cookie: [u8; COOKIE_LEN],
        script: &mut Script<'_>,
        out: &mut [u8],
    ) -> Option<(Op, usize)> {
        let source = &mut self.sources[source];
        let (op, flags, how) = (script.byte(), script.byte(), script.byte());
        let op = Op::ALL[usize::from(op) % Op::ALL.len()];
        source.sequence = source.sequence.wrapping_add(u32::from(how & 3));
        let mut head = Head::request(op, 1 + u64::from(how >> 2 & 1), source.sequence);
        head.flags = flags & op.flags_known();
        head.epoch = if how & 8 == 0 { EPOCH } else { 0 };
        head.first_incomplete = source.sequence.saturating_sub(u32::from(how >> 4));
        head.cookie = cookie;
        if op == Op::Hello && how & 16 != 0 {
            head.cookie = [0; COOKIE_LEN];
        }
        (head.argument, head.expect) = (script.wide(), u64::from(script.byte()));
        let (key, value) = (script.bytes(), script.bytes());
        source.proved |= head.cookie != [0; COOKIE_LEN];
        let tag = self.tags.as_ref().map(|tags| &tags.request);
        frame::encode(out, &head, key, value, tag).ok().map(|len| (op, len))
    }

    fn request(&mut self, source: usize, script: &mut Script<'_>) {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let cookie = self.sources[source].cookie;
        if let Some((_, len)) = self.made_frame(source, cookie, script, &mut out) {
            self.datagram(source, &out[..len]);
        }
    }

    fn framed_request(&mut self, place: usize, script: &mut Script<'_>) {
        let mut out = vec![0; 70 * KIB];
        let cookie = self.places[place].cookie;
        let Some((op, len)) = self.made_frame(place % 2, cookie, script, &mut out) else { return };
        self.receive(place, &out[..len], Then::Run);
        if op == Op::Hello {
            self.take(place, usize::MAX);
            let Place { replies, cookie, .. } = &mut self.places[place];
            // The last frame, if the connection is taken to its end: the answer to this HELLO, without a value.
            for len in [FRAME_LEN_MIN, FRAME_LEN_MIN + TAG_LEN] {
                let last = replies.len().checked_sub(len).map(|from| &replies[from..]);
                if let Some(Ok(frame)) = last.map(|last| frame::decode_datagram(last, Direction::Reply)) {
                    *cookie = frame.head.cookie;
                }
            }
        }
    }

    fn end(&mut self) {
        for place in 0..CLIENTS {
            self.drain(place);
            self.close(place);
        }
        assert_eq!((self.server.connection_count(), self.server.buffer_bytes()), (0, 0));
        let now = self.now.unix;
        self.server.engine_mut().drop_scripts();
        let store = &mut self.server.engine_mut().store;
        store.apply(&Mutation::Flush { db: None }, now).expect("never refused");
        assert_empty(store, now);
    }
}

/// The id of no connection.
const NOBODY: ConnectionId = ConnectionId { index: u32::MAX, generation: u32::MAX };

fn address(source: usize) -> SocketAddr {
    ([127, 0, 0, 1], 6000 + source as u16).into()
}

/// Replies one after another, the last perhaps cut off.
fn check_replies(mut bytes: &[u8]) {
    let mut reader = ReplyReader::new(MIB);
    loop {
        match reader.read(&mut bytes) {
            Ok(_) => {}
            Err(ReadError::Io(error)) => return assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
            Err(ReadError::Malformed(reason)) => panic!("a reply that is none: {reason}"),
        }
    }
}

/// Frames one after another, the last perhaps cut off.
fn check_frames(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match frame::decode_prefix(bytes, Direction::Reply, MIB) {
            Ok(Step::Ready { consumed, .. }) => bytes = &bytes[consumed..],
            Ok(Step::NeedMore) => return,
            Err(reason) => panic!("a reply that is no frame: {reason:?}"),
        }
    }
}
