//! One TCP connection of the load: requests out, replies in, whatever the protocol.

use std::{
    collections::VecDeque,
    io::{self, Read},
    net::SocketAddr,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use socket2::SockRef;

use super::{
    codec::{CARRY_BYTES_MAX, Codec, Decoded, Outcome},
    content::Outbox,
    link::{Gone, Link, Shared},
    stats::{Nanos, Stats},
    workload::{Op, Request},
};

/// A connection and what it waits for.
pub(super) struct Stream<C> {
    socket: TcpStream,
    /// Where it leads to; none if that was lost before it was asked for.
    address: Option<SocketAddr>,
    codec: C,
    outbox: Outbox,
    /// Requests without an answer, the oldest first.
    pending: VecDeque<Pending>,
    /// The front of a reply whose rest has not come.
    carry: Vec<u8>,
    body: Option<Body>,
}

struct Pending {
    request: Request,
    due: Nanos,
}

/// A value that is not whole yet.
struct Body {
    value_len: usize,
    /// How much of the value has come.
    offset: usize,
    /// How much is to come after the value.
    tail_len: usize,
    right: bool,
}

/// Whether these are the words with which a server turns a client away, which it says before it is asked anything.
fn no_place(reply: &[u8]) -> Option<Gone> {
    const WORDS: &str = "ERR max number of clients reached";
    let is_it = reply.strip_prefix(b"-")?.starts_with(WORDS.as_bytes());
    is_it.then(|| {
        Gone::Refused(format!("{WORDS}; use fewer --connections, or give the server more --max-clients"))
    })
}

impl<C: Codec> Stream<C> {
    pub(super) fn new(socket: TcpStream, codec: C) -> Stream<C> {
        let (outbox, pending) = (Outbox::default(), VecDeque::new());
        let address = socket.peer_addr().ok();
        Stream { socket, address, codec, outbox, pending, carry: Vec::new(), body: None }
    }

    /// Takes the replies out of `bytes` and returns how many bytes they were.
    fn take(&mut self, bytes: &[u8], now: Nanos, shared: &Shared, stats: &mut Stats) -> Result<usize, Gone> {
        let mut at = 0;
        while at < bytes.len() {
            let Some(pending) = self.pending.front() else {
                return Err(no_place(&bytes[at..]).unwrap_or(Gone::Garbage("more replies than requests")));
            };
            let request = pending.request;
            if let Some(body) = &mut self.body {
                at += body.take(&bytes[at..], &request, shared);
                if body.offset < body.value_len || body.tail_len > 0 {
                    break;
                }
                let (value_len, right) = (body.value_len, body.right);
                self.body = None;
                self.hit(&request, value_len, right, stats);
            } else {
                match self.codec.decode(request.op, &bytes[at..]) {
                    Decoded::NeedMore => break,
                    Decoded::Garbage(what) => return Err(Gone::Garbage(what)),
                    Decoded::Value { head_len, value_len, tail_len } => {
                        at += head_len;
                        let whole = value_len.checked_add(tail_len).filter(|&len| len <= bytes.len() - at);
                        let Some(len) = whole else {
                            self.body = Some(Body { value_len, offset: 0, tail_len, right: true });
                            continue;
                        };
                        let value = &bytes[at..at + value_len];
                        let right = !request.check || shared.content.check(request.key, value_len, 0, value);
                        at += len;
                        self.hit(&request, value_len, right, stats);
                    }
                    Decoded::Done { consumed, outcome } => {
                        at += consumed;
                        match outcome {
                            Outcome::Stored => {}
                            Outcome::Missing => stats.misses += 1,
                            Outcome::Error(words) => {
                                if words.starts_with(b"NOAUTH") {
                                    return Err(Gone::NotAuthenticated);
                                }
                                if let Some(gone) = no_place(&bytes[at - consumed..]) {
                                    return Err(gone);
                                }
                                stats.error(words);
                            }
                        }
                    }
                }
            }
            if let Some(pending) = self.pending.pop_front() {
                stats.reply(pending.request.op, now.saturating_sub(pending.due));
            }
        }
        Ok(at)
    }

    fn hit(&self, request: &Request, value_len: usize, right: bool, stats: &mut Stats) {
        stats.hits += u64::from(request.op == Op::Read);
        if request.check {
            stats.checked(right, || {
                format!("key number {} has another value ({value_len} bytes)", request.key)
            });
        }
    }
}

impl Body {
    /// Takes what belongs to it off the front of `bytes`, and returns how much that is.
    fn take(&mut self, bytes: &[u8], request: &Request, shared: &Shared) -> usize {
        let of_value = bytes.len().min(self.value_len - self.offset);
        if request.check && self.right {
            let piece = &bytes[..of_value];
            self.right = shared.content.check(request.key, self.value_len, self.offset, piece);
        }
        self.offset += of_value;
        let of_tail = (bytes.len() - of_value).min(self.tail_len);
        self.tail_len -= of_tail;
        of_value + of_tail
    }
}

impl<C: Codec> Link for Stream<C> {
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Closes by a reset: after an orderly close this end, which closes first, keeps its port for a minute (TIME_WAIT), and
    /// the 28,000 ports that there are would last for a second.
    fn reconnect(&mut self, registry: &Registry, token: Token) -> Result<(), Gone> {
        let address = self.address.ok_or(Gone::Closed)?;
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).map_err(Gone::Io)?;
        // It does not wait: what is sent before the connection is made waits in the outbox.
        self.socket = TcpStream::connect(address).map_err(Gone::Io)?;
        self.socket.set_nodelay(true).map_err(Gone::Io)?;
        self.carry.clear();
        self.register(registry, token).map_err(Gone::Io)
    }

    fn outstanding(&self) -> usize {
        self.pending.len()
    }

    fn has_room(&self, depth: usize) -> bool {
        self.pending.len() < depth
    }

    fn push(&mut self, request: Request, due: Nanos, shared: &Shared) {
        self.codec.encode(&request, &shared.content, &mut self.outbox);
        self.pending.push_back(Pending { request, due });
    }

    fn flush(&mut self, shared: &mut Shared) -> Result<(), Gone> {
        self.outbox.send(&mut self.socket, &shared.content).map_err(Gone::Io)
    }

    fn receive(&mut self, shared: &mut Shared, stats: &mut Stats) -> Result<bool, Gone> {
        let mut buffer = std::mem::take(&mut shared.buffer);
        let kept = self.carry.len();
        buffer[..kept].copy_from_slice(&self.carry);
        let result = match self.socket.read(&mut buffer[kept..]) {
            Ok(0) => Err(Gone::Closed),
            Ok(count) => {
                let now = shared.now();
                let len = kept + count;
                self.take(&buffer[..len], now, shared, stats).and_then(|taken| {
                    self.carry.clear();
                    self.carry.extend_from_slice(&buffer[taken..len]);
                    let endless = self.carry.len() > CARRY_BYTES_MAX + 1;
                    if endless {
                        Err(Gone::Garbage("a reply without an end"))
                    } else {
                        Ok(len == buffer.len())
                    }
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(Gone::Io(error)),
        };
        shared.buffer = buffer;
        result
    }

    fn tick(&mut self, _: &mut Shared, _: &mut Stats) -> Result<(), Gone> {
        Ok(())
    }
}
