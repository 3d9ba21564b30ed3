//! A client over datagrams: each of its additions has a key of its own, so that one that runs twice is seen. What a reply
//! waits for is kept here, as `net` keeps it.

use super::number;
use crate::client::{Event, Outcome, Request, Session, SessionConfig, Status, Ticket};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::mutation::Revision;
use crate::random::Random;
use crate::server::Server;
use crate::sim::violation::{Violation, violation};
use crate::store::Store;
use crate::time::Now;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Requests at once, at most.
const WAITING_MAX: usize = 4;
/// A call ends after this time at the latest.
const CALL_TIME: Duration = Duration::from_secs(20);

/// What its client knows of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    Asked,
    Acknowledged,
    Never,
    Unknown,
}

/// The client, and the replies that wait for the disk.
pub(super) struct DatagramClient {
    session: Session,
    asked: BTreeMap<Ticket, usize>,
    added: Vec<Added>,
    held: VecDeque<(Revision, Vec<u8>)>,
}

impl DatagramClient {
    pub(super) fn new(seed: u64) -> DatagramClient {
        let session = Session::new(SessionConfig::default(), seed);
        DatagramClient { session, asked: BTreeMap::new(), added: Vec::new(), held: VecDeque::new() }
    }

    /// Additions that were acknowledged, and those of which nobody knows.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |wanted| self.added.iter().filter(|added| **added == wanted).count() as u64;
        (count(Added::Acknowledged), count(Added::Unknown))
    }

    /// The server has gone down, with the replies that it held.
    pub(super) fn is_cut_off(&mut self) {
        self.held.clear();
    }

    /// Holds what a start finds against what was acknowledged.
    pub(super) fn compare(&self, store: &Store) -> Result<(), Violation> {
        for (index, added) in self.added.iter().enumerate() {
            let key = format!("added:{index}");
            let found = number(store, &key);
            let can_be = match added {
                Added::Acknowledged => found == 1,
                Added::Never => found == 0,
                Added::Asked | Added::Unknown => found <= 1,
            };
            if !can_be {
                return Err(violation(key.as_bytes(), format!("{found} is found; its client: {added:?}")));
            }
        }
        Ok(())
    }

    /// Asks, sends, and hears.
    pub(super) fn turn(&mut self, server: &mut Server, random: &mut Random, now: Now) {
        let time = Duration::from_millis(now.monotonic.0);
        if self.asked.len() < WAITING_MAX && random.below(3) == 0 {
            let index = self.added.len();
            let request = Request::add(format!("added:{index}").as_bytes(), 1).expect("the key is short");
            if let Ok(ticket) = self.session.start(request, time + CALL_TIME) {
                self.added.push(Added::Asked);
                self.asked.insert(ticket, index);
            }
        }
        while self.held.front().is_some_and(|(revision, _)| server.is_durable(*revision)) {
            let (_, reply) = self.held.pop_front().expect("it was looked at");
            self.session.handle_datagram(&reply, time);
        }
        self.session.handle_timeout(time);
        let from = SocketAddr::from(([10, 0, 0, 2], 6_000));
        let (mut request, mut reply) = ([0; DATAGRAM_BYTES_MAX], [0; DATAGRAM_BYTES_MAX]);
        while let Some(len) = self.session.poll_transmit(time, &mut request) {
            let Some(reply_len) = server.handle_datagram(from, &request[..len], now, &mut reply) else {
                continue;
            };
            match server.datagram_waits_for() {
                Some(revision) => self.held.push_back((revision, reply[..reply_len].to_vec())),
                None => self.session.handle_datagram(&reply[..reply_len], time),
            }
        }
        while let Some(event) = self.session.poll_event() {
            let Event::Finished { ticket, outcome } = event else { continue };
            let Some(index) = self.asked.remove(&ticket) else { continue };
            self.added[index] = match outcome {
                Outcome::Done(answer) if answer.status == Status::Ok => Added::Acknowledged,
                Outcome::Done(_) => Added::Never,
                Outcome::Unknown { .. } => Added::Unknown,
                Outcome::TimedOut { .. } => Added::Never,
            };
        }
    }
}
