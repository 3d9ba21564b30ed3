//! The load: GETs of a thousand keys in batches, a fixed number of them in flight, replies counted.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use pannier::wire::frame::{self, Direction, Head, Op, Status};

pub const KEY_LEN: usize = 16;
pub const VALUE_LEN: usize = 32;
/// Bytes of Pannier's reply to a GET.
pub const FRAME_REPLY_LEN: usize = frame::FRAME_LEN_MIN + VALUE_LEN;

const KEY_COUNT: usize = 1000;
/// Requests of one system call of the load.
const BATCH_LEN: usize = 32;
/// After so long without a reply, what was in flight is lost.
const LOST: Duration = Duration::from_millis(50);
const CLIENT_ID: u64 = 7;

/// One server's load: a socket and the requests that go round.
pub struct Load {
    socket: UdpSocket,
    requests: Vec<Vec<u8>>,
    next: usize,
    /// The length that every reply must have.
    reply_len: usize,
    receive_headers: MultiHeaders<SockaddrStorage>,
    send_headers: MultiHeaders<SockaddrStorage>,
    replies: Box<[[u8; 2048]]>,
}

fn key(number: usize) -> Vec<u8> {
    format!("key{number:0width$}", width = KEY_LEN - 3).into_bytes()
}

impl Load {
    fn new(socket: UdpSocket, requests: Vec<Vec<u8>>, reply_len: usize) -> Load {
        let headers = || MultiHeaders::preallocate(BATCH_LEN, None);
        let replies = vec![[0; 2048]; BATCH_LEN].into_boxed_slice();
        let (receive_headers, send_headers) = (headers(), headers());
        Load { socket, requests, next: 0, reply_len, receive_headers, send_headers, replies }
    }

    /// GETs of Pannier's frames; stores the keys first. A read may be repeated as often as one likes, so the same frames
    /// go round: the server checks and answers each of them in full.
    pub fn frames(server: SocketAddr) -> Load {
        let socket = connected(server);
        let mut head = Head::request(Op::Hello, CLIENT_ID, 0);
        for _ in 0..2 {
            let reply = ask(&socket, &framed(&head, b"", b""));
            let reply = frame::decode_datagram(&reply, Direction::Reply).expect("a reply").head;
            head.cookie = reply.cookie;
            head.epoch = reply.epoch;
        }
        for number in 0..KEY_COUNT {
            let sequence = 1 + number as u32;
            let put = Head {
                cookie: head.cookie,
                epoch: head.epoch,
                first_incomplete: sequence,
                ..Head::request(Op::Put, CLIENT_ID, sequence)
            };
            let reply = ask(&socket, &framed(&put, &key(number), &[b'v'; VALUE_LEN]));
            let status = frame::decode_datagram(&reply, Direction::Reply).expect("a reply").head.status();
            assert_eq!(status, Some(Status::Ok));
        }
        let sequence = KEY_COUNT as u32 + 1;
        let get = Head {
            cookie: head.cookie,
            epoch: head.epoch,
            first_incomplete: sequence,
            ..Head::request(Op::Get, CLIENT_ID, sequence)
        };
        let requests = (0..KEY_COUNT).map(|number| framed(&get, &key(number), b"")).collect();
        Load::new(socket, requests, FRAME_REPLY_LEN)
    }

    /// Requests as long as Pannier's.
    pub fn echo(server: SocketAddr) -> Load {
        let requests = vec![vec![b'e'; frame::FRAME_LEN_MIN + KEY_LEN]; KEY_COUNT];
        Load::new(connected(server), requests, FRAME_REPLY_LEN)
    }

    /// memcached's text protocol behind its header for UDP: request, sequence, count of datagrams, reserved.
    pub fn memcached(server: SocketAddr) -> Load {
        let socket = connected(server);
        let command = |text: &[u8]| [&[0, 7, 0, 0, 0, 1, 0, 0], text].concat();
        wait_for(&socket, &command(b"version\r\n"));
        for number in 0..KEY_COUNT {
            let key = String::from_utf8(key(number)).expect("text");
            let set = format!("set {key} 0 0 {VALUE_LEN}\r\n{}\r\n", "v".repeat(VALUE_LEN));
            let reply = ask(&socket, &command(set.as_bytes()));
            assert_eq!(&reply[8..], b"STORED\r\n");
        }
        let get = |number| command(&[b"get ", &key(number)[..], b"\r\n"].concat());
        let requests = (0..KEY_COUNT).map(get).collect();
        let reply_len = 8 + format!("VALUE  0 {VALUE_LEN}\r\n\r\nEND\r\n").len() + KEY_LEN + VALUE_LEN;
        Load::new(socket, requests, reply_len)
    }

    /// Keeps `depth` requests in flight for this long; returns the replies counted.
    pub fn run(&mut self, depth: usize, time: Duration) -> u64 {
        let (begun, mut heard) = (Instant::now(), Instant::now());
        let batch = depth.min(BATCH_LEN);
        let (mut outstanding, mut replies) = (0, 0);
        loop {
            let over = begun.elapsed() >= time;
            while !over && outstanding + batch <= depth {
                outstanding += self.send(batch);
            }
            let received = self.receive();
            if received > 0 {
                (outstanding, heard) = (outstanding.saturating_sub(received), Instant::now());
                replies += received as u64;
            } else if heard.elapsed() > LOST {
                (outstanding, heard) = (0, Instant::now());
            }
            if over && outstanding == 0 {
                return replies;
            }
        }
    }

    fn send(&mut self, count: usize) -> usize {
        let requests = &self.requests;
        let slices: [[IoSlice<'_>; 1]; BATCH_LEN] =
            std::array::from_fn(|index| [IoSlice::new(&requests[(self.next + index) % KEY_COUNT])]);
        self.next = (self.next + count) % KEY_COUNT;
        let (descriptor, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let nowhere = [const { None }; BATCH_LEN];
        let sent =
            sendmmsg(descriptor, &mut self.send_headers, &slices[..count], &nowhere[..count], [], flags);
        // What was not taken counts as in flight, and so as lost.
        sent.map_or(count, |_| count)
    }

    /// Takes what is there; never waits, since the load has a core to itself.
    fn receive(&mut self) -> usize {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.replies.iter_mut().map(|slot| [IoSliceMut::new(slot)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let descriptor = self.socket.as_raw_fd();
        let received = recvmmsg(descriptor, &mut self.receive_headers, slices.iter_mut(), flags, None);
        let mut count = 0;
        for message in received.into_iter().flatten() {
            assert_eq!(message.bytes, self.reply_len, "a reply of another length: no hit");
            count += 1;
        }
        count
    }
}

fn connected(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(server).expect("connect");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("time limit");
    socket
}

fn framed(head: &Head, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1200];
    let len = frame::encode(&mut bytes, head, key, value, None).expect("fits");
    bytes.truncate(len);
    bytes
}

/// Sends a request until it is answered: twenty times, 200 ms each.
fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    let mut reply = vec![0; 2048];
    for _ in 0..20 {
        if socket.send(request).is_ok()
            && let Ok(len) = socket.recv(&mut reply)
        {
            reply.truncate(len);
            return reply;
        }
        // A port that refuses says so at once.
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no answer from {:?}", socket.peer_addr());
}

/// Waits until the server answers this, and throws away the answers to what was sent meanwhile.
fn wait_for(socket: &UdpSocket, request: &[u8]) {
    ask(socket, request);
    let mut reply = [0; 2048];
    while socket.recv(&mut reply).is_ok() {}
}
