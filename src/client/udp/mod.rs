//! The client over UDP: small requests without a connection, retried without ever running twice.
//!
//! ```no_run
//! use pannier::client::{PutOptions, Udp};
//!
//! # fn main() -> Result<(), pannier::client::Error> {
//! let mut client = Udp::connect("127.0.0.1:7878")?;
//! client.put(b"visits", b"1", &PutOptions::new())?;
//! assert_eq!(client.incr(b"visits", 1)?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! | file | what lives there |
//! |---|---|
//! | `attempts.rs` | the sendings of one request |
//! | `request.rs` | requests and what becomes of them |
//! | `session.rs`, `session/` | which requests are outstanding, when they are sent again, which replies are believed; no I/O |
//!
//! What does not fit a datagram goes over TCP by itself: a value that the server answers with USE_TCP, a key or value
//! too long, a condition on a value. A write that goes over TCP is sent once.

mod attempts;
mod request;
mod session;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Client, Condition, Error, PutOptions, Ttl, resolve, ttl_ms};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::wire::frame::Status;

pub use request::{Answer, BODY_BYTES_MAX, Outcome, Request, TooLong};
pub use session::{Config as SessionConfig, Counters, Event, Session, Ticket, WindowFull};

/// The longest time a call may be given: well below the server's lease, so that no retry outlives it.
pub const UDP_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How a [`Udp`] is set up.
#[derive(Clone, Debug)]
pub struct UdpBuilder {
    call_timeout: Duration,
    session: SessionConfig,
}

impl UdpBuilder {
    /// How long a call may take, all its retries included; 5 s unless set, 60 s at most.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> UdpBuilder {
        self.call_timeout = timeout.min(UDP_TIMEOUT_MAX);
        self
    }

    /// The server's password: every frame proves that it is known, and every reply has to.
    #[must_use]
    pub fn password(mut self, password: impl Into<Vec<u8>>) -> UdpBuilder {
        self.session.password = Some(password.into());
        self
    }

    /// Finds the address of `server` (`host:port`, or a host alone) and opens a socket. Nothing is sent before the first call.
    ///
    /// # Errors
    /// [`Error::Connect`] if the address is none or no socket can be had.
    pub fn connect(self, server: impl Into<String>) -> Result<Udp, Error> {
        let server = server.into();
        let failed = |source| Error::Connect { server: server.clone(), source };
        let nowhere = || io::Error::new(io::ErrorKind::NotFound, "no such address");
        let addresses = resolve(&server).map_err(failed)?;
        // No connection tells which of several addresses is served; servers listen at IPv4 unless they are set up otherwise.
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *address.ok_or_else(nowhere).map_err(failed)?;
        let socket = bound(address).map_err(failed)?;
        let seed = getrandom::u64().map_err(|error| failed(io::Error::other(error.to_string())))?;
        let session = Session::new(self.session.clone(), seed);
        Ok(Udp { options: self, server, address, socket, session, start: Instant::now(), stream: None })
    }
}

/// A socket of its own port that speaks with this address alone.
fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A blocking client over UDP. Every call ends within its timeout; a write that got no answer is
/// [`Error::OutcomeUnknown`], and ran once or not at all.
#[derive(Debug)]
pub struct Udp {
    options: UdpBuilder,
    server: String,
    address: SocketAddr,
    socket: UdpSocket,
    session: Session,
    start: Instant,
    /// For what does not fit a datagram; opened when first needed.
    stream: Option<Client>,
}

impl Udp {
    /// Speaks with the server at `server` (`host:port`).
    ///
    /// # Errors
    /// As [`UdpBuilder::connect`].
    pub fn connect(server: impl Into<String>) -> Result<Udp, Error> {
        Udp::builder().connect(server)
    }

    /// Options.
    #[must_use]
    pub fn builder() -> UdpBuilder {
        UdpBuilder { call_timeout: Duration::from_secs(5), session: SessionConfig::default() }
    }

    /// What was sent, retried, dropped.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.session.counters()
    }

    /// The smoothed round trip, once one was measured.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.session.round_trip()
    }

    /// Gives a key a value; false where the condition did not hold.
    ///
    /// # Errors
    /// [`Error`]; [`Error::OutcomeUnknown`] if it may have run.
    pub fn put(&mut self, key: &[u8], value: &[u8], options: &PutOptions<'_>) -> Result<bool, Error> {
        let request = match (Request::put(key, value), options.condition) {
            (Err(TooLong), _) | (_, Condition::IfEqual(_)) => {
                return self.stream()?.put(key, value, options);
            }
            (Ok(request), Condition::Always) => request,
            (Ok(request), Condition::IfAbsent) => request.if_absent(),
            (Ok(request), Condition::IfPresent) => request.if_present(),
        };
        let answer = self.call(request.ttl_ms(options.ttl.map_or(0, |ttl| ttl_ms(ttl).max(1))))?;
        match answer.status {
            Status::Ok => Ok(true),
            Status::NotMet => Ok(false),
            _ => Err(refused(&answer)),
        }
    }

    /// The key's value.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Ok(request) = Request::get(key) else {
            return self.stream()?.get(key);
        };
        let answer = self.call(request)?;
        match answer.status {
            Status::Ok => Ok(Some(answer.value)),
            Status::NotFound => Ok(None),
            Status::UseTcp => self.stream()?.get(key),
            _ => Err(refused(&answer)),
        }
    }

    /// Takes a key away; false where there was none.
    ///
    /// # Errors
    /// [`Error`]; [`Error::OutcomeUnknown`] if it may have run.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Error> {
        let Ok(request) = Request::delete(key) else {
            return Ok(self.stream()?.delete(&[key])? == 1);
        };
        self.done_or_missing(request)
    }

    /// Takes keys away, each by a request of its own and so not all at one moment; how many of them there were. Where
    /// one of them does not fit a datagram, all go over TCP.
    ///
    /// # Errors
    /// [`Error`]; [`Error::OutcomeUnknown`] if some of them may be gone, or are, and others are not.
    pub fn delete_many(&mut self, keys: &[&[u8]]) -> Result<u64, Error> {
        let Ok(requests) = keys.iter().map(|key| Request::delete(key)).collect() else {
            return self.stream()?.delete(keys);
        };
        let begun = self.now();
        let (mut deleted, mut unknown, mut error) = (0, 0, None);
        for outcome in self.batch(requests)? {
            match outcome {
                Outcome::Done(answer) if answer.status == Status::Ok => deleted += 1,
                Outcome::Done(answer) if answer.status == Status::NotFound => {}
                Outcome::Done(answer) => error = Some(refused(&answer)),
                Outcome::TimedOut { refusal } => error = Some(self.not_served(refusal, begun)),
                Outcome::Unknown { refusal } => {
                    unknown += 1;
                    error = Some(self.lost(refusal, begun));
                }
            }
        }
        let Some(error) = error else { return Ok(deleted) };
        // "Nothing was changed" is said only where it is so.
        Err(if deleted + unknown > 0 { Error::OutcomeUnknown(Box::new(error)) } else { error })
    }

    /// Adds to the decimal integer at the key and returns the sum; a missing key counts as 0.
    ///
    /// # Errors
    /// [`Error`]; [`Error::OutcomeUnknown`] if it may have run.
    pub fn incr(&mut self, key: &[u8], by: i64) -> Result<i64, Error> {
        let Ok(request) = Request::add(key, by) else {
            return self.stream()?.incr(key, by);
        };
        let answer = self.call(request)?;
        match answer.status {
            Status::Ok => Ok(answer.result.cast_signed()),
            _ => Err(refused(&answer)),
        }
    }

    /// Gives a key a time to live; false where there is none.
    ///
    /// # Errors
    /// [`Error`]; [`Error::OutcomeUnknown`] if it may have run.
    pub fn expire(&mut self, key: &[u8], ttl: Duration) -> Result<bool, Error> {
        let Ok(request) = Request::expire(key, ttl_ms(ttl).max(1)) else {
            return self.stream()?.expire(key, ttl);
        };
        self.done_or_missing(request)
    }

    /// Takes a key's time to live away; false where there is no such key.
    ///
    /// # Errors
    /// [`Error`]; [`Error::OutcomeUnknown`] if it may have run.
    pub fn persist(&mut self, key: &[u8]) -> Result<bool, Error> {
        let Ok(request) = Request::expire(key, 0) else {
            return self.stream()?.persist(key);
        };
        self.done_or_missing(request)
    }

    /// How long a key has to live. The answer carries the value too, so that a large one makes it go over TCP.
    ///
    /// # Errors
    /// [`Error`].
    pub fn ttl(&mut self, key: &[u8]) -> Result<Ttl, Error> {
        let Ok(request) = Request::get(key) else {
            return self.stream()?.ttl(key);
        };
        let answer = self.call(request)?;
        match answer.status {
            Status::Ok if answer.result == 0 => Ok(Ttl::Forever),
            Status::Ok => Ok(Ttl::Remaining(Duration::from_millis(answer.result))),
            Status::NotFound => Ok(Ttl::Missing),
            Status::UseTcp => self.stream()?.ttl(key),
            _ => Err(refused(&answer)),
        }
    }

    /// Asks whether the server is there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn ping(&mut self) -> Result<(), Error> {
        let answer = self.call(Request::ping())?;
        if answer.status == Status::Ok { Ok(()) } else { Err(refused(&answer)) }
    }

    /// One request, and whatever the server answers.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::NotServed`], [`Error::OutcomeUnknown`].
    pub fn call(&mut self, request: Request) -> Result<Answer, Error> {
        let begun = self.now();
        match self.batch(vec![request])?.pop() {
            Some(Outcome::Done(answer)) => Ok(answer),
            Some(Outcome::Unknown { refusal }) => {
                Err(Error::OutcomeUnknown(Box::new(self.lost(refusal, begun))))
            }
            Some(Outcome::TimedOut { refusal }) => Err(self.not_served(refusal, begun)),
            None => Err(self.not_served(None, begun)),
        }
    }

    /// Why a request that changed nothing has no answer, with the time since the call began.
    fn not_served(&self, refusal: Option<Status>, begun: Duration) -> Error {
        let after = self.spent(begun);
        match refusal {
            Some(status) => Error::NotServed { code: status.name(), after },
            None => Error::Timeout { after },
        }
    }

    /// The time since the call began; what was over it when the deadline had passed is not worth a word.
    fn spent(&self, begun: Duration) -> Duration {
        rounded(self.now() - begun).min(self.options.call_timeout)
    }

    /// Why a write has no answer that may have run.
    fn lost(&self, refusal: Option<Status>, begun: Duration) -> Error {
        let after = self.spent(begun);
        match refusal {
            Some(status) => Error::SessionLost { code: status.name(), after },
            None => Error::Timeout { after },
        }
    }

    /// Any number of requests, up to 64 of them in flight at once and in no particular order; their outcomes, in the
    /// order of the requests. Each request has the call's timeout from when it is taken up.
    ///
    /// # Errors
    /// [`Error::Lost`] if no new socket can be had; the requests may have run.
    pub fn batch(&mut self, requests: Vec<Request>) -> Result<Vec<Outcome>, Error> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; requests.len()];
        let mut waiting = requests.into_iter().enumerate().peekable();
        let mut tickets: Vec<(Ticket, usize)> = Vec::new();
        while waiting.peek().is_some() || !tickets.is_empty() {
            let deadline = self.now() + self.options.call_timeout;
            while self.session.outstanding() < crate::limits::UDP_WINDOW
                && let Some((at, request)) = waiting.next()
            {
                if let Ok(ticket) = self.session.start(request, deadline) {
                    tickets.push((ticket, at));
                }
            }
            self.transmit();
            let finished = self.take_events()?;
            let idle = finished.is_empty();
            for (ticket, outcome) in finished {
                if let Some(at) = tickets.iter().position(|(known, _)| *known == ticket) {
                    outcomes[tickets.swap_remove(at).1] = Some(outcome);
                }
            }
            if idle {
                self.receive();
            }
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::TimedOut { refusal: None }))
            .collect())
    }

    fn done_or_missing(&mut self, request: Request) -> Result<bool, Error> {
        let answer = self.call(request)?;
        match answer.status {
            Status::Ok => Ok(true),
            Status::NotFound => Ok(false),
            _ => Err(refused(&answer)),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn transmit(&mut self) {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        while let Some(len) = self.session.poll_transmit(self.start.elapsed(), &mut out) {
            // A datagram that could not be sent is as good as one that was lost: it is sent again when it is due.
            let _ = self.socket.send(&out[..len]);
        }
    }

    fn take_events(&mut self) -> Result<Vec<(Ticket, Outcome)>, Error> {
        let mut finished = Vec::new();
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Finished { ticket, outcome } => finished.push((ticket, outcome)),
                Event::NewPort => self.socket = bound(self.address).map_err(Error::Lost)?,
            }
        }
        Ok(finished)
    }

    /// Takes the datagrams that are there; if there are none, waits for one or for the session's next deadline.
    fn receive(&mut self) {
        let mut bytes = [0; DATAGRAM_BYTES_MAX + 1];
        let mut waited = false;
        // Bounded, so that a flood cannot keep the caller from its deadline.
        for _ in 0..crate::limits::UDP_WINDOW {
            match self.socket.recv(&mut bytes) {
                Ok(len) => {
                    self.session.handle_datagram(&bytes[..len], self.start.elapsed());
                    waited = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if waited {
                        break;
                    }
                    self.wait();
                    waited = true;
                }
                // A port that refuses (no server is there now) says so at once: the next attempt comes when it is due.
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(1));
                    break;
                }
            }
        }
        self.session.handle_timeout(self.start.elapsed());
    }

    /// Until a datagram is there or the session's next deadline has come. By `ppoll`, for a socket's own time limit
    /// counts in ticks of the kernel, 4 ms and longer: several round trips beside the server.
    fn wait(&self) {
        let deadline = self.session.poll_deadline().unwrap_or_default();
        let wait = deadline.saturating_sub(self.now()).max(Duration::from_micros(20));
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        // Interrupted or refused: the loop above comes back here, or takes what there is.
        let _ = poll(&mut sockets, Timespec::try_from(wait).ok().as_ref());
    }

    fn stream(&mut self) -> Result<&mut Client, Error> {
        let client = match self.stream.take() {
            Some(client) => client,
            None => {
                let timeout = self.options.call_timeout;
                let mut builder = Client::builder().connect_timeout(timeout).call_timeout(timeout);
                if let Some(password) = &self.options.session.password {
                    builder = builder.password(password.clone());
                }
                builder.connect(self.server.clone())?
            }
        };
        Ok(self.stream.insert(client))
    }
}

/// To hundredths of a second where it took as long: what is read by people.
fn rounded(time: Duration) -> Duration {
    let unit = if time >= Duration::from_secs(1) { 10_000_000 } else { 10_000 };
    Duration::from_nanos((time.as_nanos() / unit * unit) as u64)
}

/// The error that a status stands for.
fn refused(answer: &Answer) -> Error {
    if answer.status == Status::Denied {
        return Error::Auth("the server wants a password for datagrams, or another one".to_owned());
    }
    Error::Server { code: answer.status.name().to_owned(), text: answer.status.doc().trim().to_owned() }
}

#[cfg(test)]
mod tests;
