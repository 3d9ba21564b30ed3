//! A client over UDP: the shipped [`Session`], with a clock of its own and what it has asked for.

use super::clock::{SECOND, Watch};
use super::history::{Action, Begun, Content, If};
use super::node::NodeConfig;
use super::workload::Workload;
use crate::client::{Counters, Request, Session, SessionConfig, Ticket};
use crate::limits::UDP_WINDOW;
use crate::random::Random;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The first port of a client.
const PORT: u16 = 40_000;

/// Bytes of a value that surely fits a datagram with its key.
const VALUE_BYTES_MAX: usize = 1_000;

/// A client.
pub struct UdpClient {
    pub number: usize,
    pub session: Session,
    pub config: SessionConfig,
    pub watch: Watch,
    pub random: Random,
    pub port: u16,
    /// Requests that it has outstanding, at most.
    pub depth: usize,
    pub think_us: u64,
    pub timeout_ms: u64,
    pub asked: BTreeMap<Ticket, Asked>,
    pub wake_at: u64,
    /// What it last read, with its revision.
    pub last_read: Option<(Rc<[u8]>, u64, Content)>,
    /// After the last fault: what is left of its last requests.
    pub last_requests: u32,
    pub served: bool,
    /// Of sessions that ended with their process.
    pub past: Counters,
}

/// A request under way; `None`: a PING.
#[derive(Clone, Debug)]
pub struct Asked {
    pub begun: Option<Begun>,
    /// Asked for after the last fault.
    pub last: bool,
}

impl UdpClient {
    pub fn new(number: usize, root: &mut Random, config: &NodeConfig) -> UdpClient {
        let mut random = root.split();
        let config = SessionConfig { password: config.password.clone(), ..SessionConfig::default() };
        let watch = Watch {
            rate: random.pick(&[1_024, 1_024, 1_000, 1_048, 900, 1_200]),
            offset: random.next() % SECOND,
        };
        UdpClient {
            number,
            session: Session::new(config.clone(), random.next()),
            config,
            watch,
            port: PORT,
            depth: random.pick(&[1, 1, 4, 8, UDP_WINDOW]),
            think_us: random.pick(&[500, 5_000, 50_000, 500_000]),
            timeout_ms: random.pick(&[20, 200, 1_000, 10_000]),
            random,
            asked: BTreeMap::new(),
            wake_at: u64::MAX,
            last_read: None,
            last_requests: 2,
            served: false,
            past: Counters::default(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, self.number as u8], self.port))
    }

    /// What its sessions have counted.
    pub fn counters(&self) -> [&Counters; 2] {
        [&self.past, self.session.counters()]
    }

    pub fn now(&self, world: u64) -> Duration {
        self.watch.show(world)
    }

    /// What it asks for next, at this time of the world.
    pub fn draw(&mut self, workload: &mut Workload, at: u64) -> (Request, Option<Begun>) {
        let UdpClient { random, last_read, .. } = self;
        let (register, counter, hot) =
            (workload.register(random), workload.counter(random), workload.hot(random));
        let short = "keys and values are short";
        let (request, key, action) = match random.below(20) {
            0..5 => (Request::get(&hot), hot, Action::Get),
            5..9 => {
                let (content, value) = workload.value(random, VALUE_BYTES_MAX);
                let (condition, ttl_ms) = (
                    random.pick(&[If::Always, If::Always, If::Absent, If::Present]),
                    workload.maybe_ttl_ms(random),
                );
                let keeps_ttl = random.below(8) == 0;
                let request = Request::put(&register, &value).map(|request| {
                    let request = match condition {
                        If::Absent => request.if_absent(),
                        If::Present => request.if_present(),
                        If::Always | If::Still(_) => request,
                    };
                    if keeps_ttl { request.keep_ttl() } else { request.ttl_ms(ttl_ms.unwrap_or(0)) }
                });
                let ttl_ms = ttl_ms.filter(|_| !keeps_ttl);
                (request, register, Action::Put { content, ttl_ms, keeps_ttl, condition })
            }
            9..15 => {
                let delta = workload.delta(random);
                (Request::add(&counter, delta), counter, Action::Add(delta))
            }
            15 => (Request::delete(&hot), hot, Action::Delete),
            16 => {
                let ttl = if random.below(3) == 0 { None } else { Some(workload.ttl_ms(random)) };
                (Request::expire(&hot, ttl.unwrap_or(0)), hot, Action::Expire(ttl))
            }
            17 | 18 => match last_read.take() {
                Some((key, revision, before @ Content::Text(_))) => {
                    let (content, value) = workload.value(random, VALUE_BYTES_MAX);
                    let request = Request::put(&key, &value).map(|request| request.if_revision(revision));
                    let condition = If::Still(before);
                    (request, key, Action::Put { content, ttl_ms: None, keeps_ttl: false, condition })
                }
                _ => (Request::get(&register), register, Action::Get),
            },
            _ => return (Request::ping(), None),
        };
        let begun = Begun { client: self.number, key, action, at };
        (request.expect(short), Some(begun))
    }
}
