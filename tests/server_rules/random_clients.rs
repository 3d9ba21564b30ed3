//! Several clients at once do to the I/O-free server whatever comes to a seeded generator's mind: valid and broken
//! commands, large values, transactions, long replies, in pieces of any size, closed in the middle, with too little
//! memory for all of it. Invariants are checked throughout, and at the end nobody hangs and nothing is held.

use crate::common::{KIB, MIB, Random, encode, reply_len, show};
use crate::in_process::{InProcess, PEER};
use pannier::connection::ConnectionId;
use pannier::server::{Resources, Socket};
use pannier::store::{OnFull, StoreConfig};
use std::collections::VecDeque;

const CLIENTS: usize = 8;
const STEPS: usize = 10_000;

/// A client as its socket is seen from the server.
struct Client {
    id: ConnectionId,
    /// What it has sent and the server has not read.
    sent: Vec<u8>,
    received: Vec<u8>,
    ended: bool,
    /// Something has told that reading may bring more.
    readable: bool,
}

struct World {
    process: InProcess,
    random: Random,
    clients: Vec<Option<Client>>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let mut some = |sizes: &[usize]| sizes[random.below(sizes.len())];
        let config = StoreConfig {
            memory_bytes: some(&[MIB, 2 * MIB, 6 * MIB]),
            segment_bytes: some(&[4 * KIB, 16 * KIB, 16 * KIB]),
            leaf_buckets: 64,
            on_full: if seed.is_multiple_of(3) { OnFull::Evict } else { OnFull::Refuse },
            max_value_bytes: some(&[200_000, 512 * MIB]) as u64,
            ..StoreConfig::default()
        };
        let resources = Resources {
            input_bytes: some(&[128 * KIB, 256 * KIB, MIB]),
            output_bytes: some(&[64 * KIB, 128 * KIB, MIB]),
            queue_bytes: some(&[16 * KIB, 128 * KIB]),
            ..Resources::default()
        };
        let password = seed.is_multiple_of(5).then_some(b"secret".as_slice());
        let process = InProcess::new(config, CLIENTS + 2, resources, password);
        World { process, random, clients: (0..CLIENTS).map(|_| None).collect() }
    }

    fn connect(&mut self) -> Client {
        let id = self.process.server.open(PEER, self.process.now).expect("there are places");
        Client { id, sent: Vec::new(), received: Vec::new(), ended: false, readable: false }
    }

    /// A value that tells by itself whether it is whole: one letter, by its length.
    fn value(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let len = match random.below(12) {
            0..5 => random.below(60),
            5..8 => random.below(2_000),
            8 => 8 * KIB - 2 + random.below(5),
            9 => 64 * KIB - 2 + random.below(5),
            10 => random.below(100_000),
            _ => random.below(400_000),
        };
        vec![letter(len); len]
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(30);
        if self.random.one_in(50) {
            vec![b'k'; self.random.below(5_000)]
        } else {
            format!("k{number}").into()
        }
    }

    fn command(&mut self) -> Vec<u8> {
        let (a, b, c) = (self.key(), self.key(), self.key());
        let value = self.value();
        let text = |text: &'static str| text.as_bytes().to_vec();
        let words = match self.random.below(40) {
            0..7 => vec![text("SET"), a, value],
            7 => vec![text("SET"), a, value, text("PX"), text("50")],
            8 => vec![text("SET"), a, value, text("GET")],
            9..13 => vec![text("GET"), a],
            13 => vec![text("MGET"), a.clone(), b, c, a.clone(), a],
            14 => vec![text("KEYS"), text("*")],
            15 => vec![text("DEL"), a, b],
            16 => vec![text("GETSET"), a, value],
            17 => vec![text("MSET"), a, value.clone(), b, value],
            18 => vec![text("COPY"), a, b, text("REPLACE")],
            19 => vec![text("RENAME"), a, b],
            20..23 => vec![text("MULTI")],
            23 | 24 => vec![text("EXEC")],
            25 => vec![text("DISCARD")],
            26 => vec![text("WATCH"), a, b],
            27 => vec![text("GETDEL"), a],
            28 => vec![text("PING"), value],
            29 => vec![text("SCAN"), text("0"), text("COUNT"), text("100")],
            30 => vec![text("HELLO"), text(if self.random.one_in(2) { "3" } else { "2" })],
            31 => vec![text("RESET")],
            // Commands that are refused before or after their large arguments have come.
            32 => vec![text("NONSENSE"), value],
            33 => vec![text("GET"), a, value],
            34 => vec![text("CLIENT"), text("KILL"), value],
            35 => vec![value, a],
            36 => vec![text("CLIENT"), text("LIST")],
            37 => vec![text("AUTH"), text("secret")],
            38 => vec![text("EXPIRE"), a, text("1")],
            _ => return self.rare_command(value),
        };
        encode(&words)
    }

    fn rare_command(&mut self, value: Vec<u8>) -> Vec<u8> {
        match self.random.below(16) {
            0 => b"*2\r\n$3\r\nGET\r\n$-5\r\n".to_vec(),
            1 => b"*1000000\r\n$1\r\n".to_vec(),
            2 => b"GET / HTTP/1.1\r\n".to_vec(),
            3 => b"set \"k\r\n".to_vec(),
            4 => b"QUIT\r\n".to_vec(),
            5 => b"FLUSHALL\r\n".to_vec(),
            6 => b"CLIENT KILL TYPE normal SKIPME yes\r\n".to_vec(),
            7 => b"CLIENT PAUSE 20\r\n".to_vec(),
            8 => b"CLIENT REPLY SKIP\r\n".to_vec(),
            9 => b"INFO everything\r\nCOMMAND DOCS\r\n".to_vec(),
            10 => b"KEYS *\r\n".repeat(50),
            11 => encode(&[b"WATCH".as_slice(), &value]),
            12 => vec![0xF5; 300],
            13 => b"CONFIG SET slowlog-log-slower-than 0\r\nSLOWLOG GET -1\r\n".to_vec(),
            _ => self.random.bytes(40),
        }
    }

    fn step(&mut self) {
        let index = self.random.below(CLIENTS);
        let Some(mut client) = self.clients[index].take() else {
            self.clients[index] = Some(self.connect());
            return;
        };
        match self.random.below(100) {
            0 => {
                self.process.server.close(client.id);
                return;
            }
            1 => self.process.server.socket_failed(client.id),
            2 => client.ended = true,
            3..30 if !client.ended && client.sent.len() < 2 * MIB => {
                for _ in 0..1 + self.random.below(5) {
                    let command = self.command();
                    client.sent.extend(command);
                }
            }
            30 => self.process.advance(1 + self.random.below(60) as u64),
            31 => {
                self.process.server.maintain(self.process.now, 8);
            }
            _ => {}
        }
        let piece = match self.random.below(4) {
            0 => self.random.below(20),
            1 => self.random.below(2_000),
            _ => usize::MAX,
        };
        let taken = self.process.receive(client.id, &client.sent[..client.sent.len().min(piece)]);
        client.sent.drain(..taken);
        if client.ended && client.sent.is_empty() {
            self.process.server.input_ended(client.id);
        }
        self.process.server.run(client.id, self.process.now);
        if !self.random.one_in(3) {
            let most = if self.random.one_in(2) { self.random.below(3_000) } else { usize::MAX };
            self.process.take_output(client.id, most, &mut client.received);
            check_replies(&mut client.received);
        }
        if self.process.server.is_finished(client.id) {
            self.process.server.close(client.id);
        }
        self.process.attend();
        self.clients[index] = (!self.process.is_closed(client.id)).then_some(client);
    }

    /// Everybody reads all replies, sends what is left, and ends. The server is driven by the reactor's rules alone, so
    /// that one who is forgotten hangs.
    fn drain(&mut self) {
        let mut clients: Vec<Client> = self.clients.drain(..).flatten().collect();
        let mut queue: VecDeque<ConnectionId> = clients.iter().map(|client| client.id).collect();
        clients.iter_mut().for_each(|client| client.readable = true);
        // Held commands go on once the pause is over.
        self.process.advance(100);
        let (mut turns, mut idle_rounds) = (0, 0);
        loop {
            while let Some(id) = self.process.server.poll_wake() {
                queue.push_back(id);
            }
            let Some(id) = queue.pop_front() else {
                // Clients that wait for buffers get them when those that hold some without a move are closed.
                idle_rounds += 1;
                if idle_rounds > 200 || self.process.server.connection_count() == 0 {
                    break;
                }
                self.process.advance(100);
                continue;
            };
            turns += 1;
            assert!(turns < 200_000, "the server never comes to rest");
            let Some(client) = clients.iter_mut().find(|client| client.id == id) else { continue };
            if self.turn(client) {
                queue.push_back(id);
            }
            if turns % 64 == 0 {
                // CLIENT PAUSE may have come again.
                self.process.advance(100);
            }
        }
        for client in &clients {
            let rest = &client.sent[..client.sent.len().min(200)];
            assert!(self.process.is_closed(client.id), "a client hangs; not read: {}", show(rest));
        }
        assert_eq!(self.process.server.connection_count(), 0);
    }

    /// One turn of a client whose socket takes everything; whether it is ready again at once.
    fn turn(&mut self, client: &mut Client) -> bool {
        let process = &mut self.process;
        if client.readable && process.server.input_space(client.id, process.now).is_some() {
            if client.sent.is_empty() {
                client.readable = false;
                process.server.input_ended(client.id);
            } else {
                let taken = process.receive(client.id, &client.sent);
                client.sent.drain(..taken);
            }
        }
        let more = process.server.run(client.id, process.now);
        let sent_any = process.take_output(client.id, 256 * KIB, &mut client.received) > 0;
        check_replies(&mut client.received);
        if process.server.is_finished(client.id) {
            process.server.close(client.id);
            return false;
        }
        let socket = Socket { readable: client.readable, writable: true, sent_any };
        more || process.server.can_go_on(client.id, socket)
    }
}

fn letter(len: usize) -> u8 {
    b'a' + (len % 26) as u8
}

/// Takes whole replies off the front: each is well formed, and a value in it is one that somebody wrote.
fn check_replies(received: &mut Vec<u8>) {
    let mut at = 0;
    // A frame's reply is not RESP.
    while received.get(at).is_some_and(|first| *first != 0xF5)
        && let Some(len) = reply_len(&received[at..])
    {
        let reply = &received[at..at + len];
        if reply[0] == b'$'
            && let Some(end) = reply.windows(2).position(|pair| pair == b"\r\n")
            && reply.len() > end + 1000
        {
            let value = &reply[end + 2..len - 2];
            let ours = value[0].is_ascii_lowercase() && !value.starts_with(b"id=");
            assert!(
                !ours || value.iter().all(|byte| *byte == letter(value.len())),
                "nobody wrote this: {}",
                show(reply)
            );
        }
        at += len;
    }
    received.drain(..at);
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for step in 0..STEPS {
        world.step();
        if step % 16 == 0 {
            world.process.server.invariants();
        }
    }
    world.drain();
    let InProcess { mut server, now } = world.process;
    let counters = &server.engine().metrics.counters;
    assert!(counters.received_bytes > MIB as u64, "the clients did not get far");
    eprintln!("seed {seed}: {counters:?}, {:?}", server.engine().store.statistics());
    assert_eq!(server.buffer_bytes(), 0, "buffers are still held");
    let flush = pannier::mutation::Mutation::Flush { db: None };
    server.engine_mut().store.apply(&flush, now.unix).expect("a flush is never refused");
    while server.maintain(now, 64) {}
    server.invariants();
    let memory = server.engine().store.memory();
    assert_eq!((memory.live, memory.large), (0, 0), "bytes are still held");
    assert_eq!(server.engine().store.large_count(), 0, "large values are still referred to");
}

#[test]
fn nothing_leaks_and_nobody_hangs() {
    // One seed may be looked at alone: `PANNIER_SEED=17`.
    if let Ok(seed) = std::env::var("PANNIER_SEED") {
        return run(seed.parse().expect("a number"));
    }
    for seed in 0..16 {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
