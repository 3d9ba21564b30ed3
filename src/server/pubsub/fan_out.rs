//! A message on its way to its subscribers.
//!
//! ```text
//!  *3 $7 message | $1 c | $5 hello      head, then the body: copied for each subscriber, only the first byte differs
//!  *4 $8 pmessage $2 c* | $1 c | $5 hello                                              between RESP2 and RESP3
//! ```
//! **Writing.** A write to a socket costs twenty times what a delivery costs, so the two are bounded apart: in a turn some hundreds
//! of deliveries are made, and [`SENDS_PER_TURN`] subscribers are written to, a few while a message is still on its way and there are buffers. One whose turn to be written to comes later gets all
//! that was published meanwhile by one write.
//!
//! **Bounds for one subscriber.** Bytes that wait in its output, at most an eighth of the output buffers while half of them
//! are free, and 32 KiB when they are not; of long messages, at most an eighth of the store. A message beyond that closes
//! the subscriber. One for which no buffer is left although nothing waits for it is tried again for some turns, for
//! buffers come back as others are written to; and so is one whose socket was not tried since that has waited, for a turn of many
//! clients may publish more than that before anything is written.

#[cfg(doc)]
use super::SENDS_PER_TURN;
use super::table::{Kind, Next};
use super::{DEFERRED_MAX, Server};
use crate::connection::{CloseReason, ConnectionId};
use crate::engine::Continuation;
use crate::engine::meter::{Meter, TURN_UNITS};
use crate::limits::RING_BYTES;
use crate::mutation::{LargeId, LargeRef};
use crate::server::backpressure::{leaves_half, soak_share};
use crate::time::Now;
use crate::wire::encode::{Out, Protocol};
use crate::wire::glob;
use crate::wire::number::{INTEGER_BYTES_MAX, write_u64};
use crate::wire::output::Output;
use std::mem::ManuallyDrop;

/// What one delivery costs beside the bytes that it copies. The write to the socket is bounded apart: see [`SENDS_PER_TURN`].
const DELIVERY_UNITS: u32 = 2;
/// A message of at least so many bytes for at least so many subscribers is kept once, as a large value: a marker costs 16
/// bytes of each output, and following it about as much as copying a kilobyte.
const SHARED_BYTES_MIN: usize = 4096;
const SHARED_SUBSCRIBERS_MIN: u32 = 8;
/// Of the store's memory, the share that long messages for one subscriber may hold.
const LARGE_DIVISOR: u64 = 8;
/// How much more may wait for one whose socket was not tried yet, where a delivery cannot be put off.
const UNTRIED_FACTOR: usize = 4;
/// Turns that a delivery waits for buffers, at most.
const RETRIES_MAX: u32 = 64;
/// Bytes before and behind body and message.
const OVERHEAD_BYTES: usize = 64;

/// The text of a message.
#[derive(Debug)]
enum Text {
    /// It is in the body.
    Inline,
    /// One large value, and its length.
    Large(LargeRef, u64),
}

/// Which head stands before the body.
#[derive(Clone, Copy, Debug)]
enum Head {
    Message,
    ShardMessage,
    Pattern,
}

/// The delivery that is under way.
#[derive(Debug)]
pub(super) struct FanOut {
    /// Who waits for the number of receivers.
    owner: Option<ConnectionId>,
    head: Head,
    text: Text,
    /// Where in the body the channel's bytes are.
    channel: core::ops::Range<usize>,
    receivers: u64,
    /// Who gets it next although it could not be given a buffer yet.
    again: Option<ConnectionId>,
    retries: u32,
}

/// Whether a delivery may be put off in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum FanOutMode {
    Metered,
    /// Within EXEC: to its end.
    Whole,
}

/// What is published, and where.
#[derive(Clone, Copy)]
pub(in crate::server) struct Publication<'a> {
    pub kind: Kind,
    pub channel: &'a [u8],
    pub hash: u64,
    pub text: Published<'a>,
}

#[derive(Clone, Copy)]
pub(in crate::server) enum Published<'a> {
    Bytes(&'a [u8]),
    Large(LargeId),
}

/// What one subscriber gets.
struct Message<'m> {
    /// For RESP2; in RESP3 the first byte is another one.
    head: &'m [u8],
    body: &'m [u8],
    large: Option<(LargeId, u64)>,
}

impl Message<'_> {
    fn len(&self) -> usize {
        self.head.len() + self.body.len() + OVERHEAD_BYTES
    }

    fn write(&self, out: &mut Out<'_>, protocol: Protocol) -> bool {
        out.raw(if protocol == Protocol::Resp2 { b"*" } else { b">" });
        out.raw_parts([&self.head[1..], self.body]);
        self.large.is_some_and(|(id, len)| out.large(id, len))
    }
}

/// What became of a message for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    Yes,
    Gone,
    /// No buffer is left, and nothing waits for this subscriber; or what waits was not tried to be sent yet.
    Later,
}

impl Server {
    /// Begins a delivery; none is under way.
    pub(in crate::server) fn begin_fan_out(
        engine: &mut crate::engine::Engine,
        pubsub: &mut super::Pubsub,
        publication: &Publication<'_>,
        now: Now,
    ) {
        let Publication { kind, channel, hash, text } = *publication;
        let topic = pubsub.table.find(kind, channel, hash);
        let with_patterns = kind == Kind::Channel;
        pubsub.table.begin_delivery(topic, with_patterns);
        let subscribers = topic.map_or(0, |topic| pubsub.table.subscriber_count(topic));
        pubsub.body.clear();
        let has_no_receiver = subscribers == 0 && !(with_patterns && pubsub.table.count(Kind::Pattern) > 0);
        let mut fan_out = FanOut {
            owner: None,
            head: if kind == Kind::Shard { Head::ShardMessage } else { Head::Message },
            text: Text::Inline,
            channel: 0..0,
            receivers: 0,
            again: None,
            retries: 0,
        };
        if !has_no_receiver {
            append_header(&mut pubsub.body, channel.len());
            let at = pubsub.body.len();
            fan_out.channel = at..at + channel.len();
            pubsub.body.extend_from_slice(channel);
            pubsub.body.extend_from_slice(b"\r\n");
            let is_shared = |len| len >= SHARED_BYTES_MIN && subscribers >= SHARED_SUBSCRIBERS_MIN;
            let store = &mut engine.store;
            fan_out.text = match text {
                Published::Large(id) => {
                    let large = store.large_retain(id);
                    Text::Large(large, store.large_len(id))
                }
                Published::Bytes(bytes) => {
                    let shared = is_shared(bytes.len()).then(|| {
                        let large = store.large_begin(bytes.len() as u64, now.unix).ok()?;
                        match store.large_append(large.id(), bytes, now.unix) {
                            Ok(()) => Some(large),
                            Err(_) => {
                                store.large_release(large);
                                None
                            }
                        }
                    });
                    // Where the store is full, it is copied.
                    match shared.flatten() {
                        Some(large) => Text::Large(large, bytes.len() as u64),
                        None => {
                            append_header(&mut pubsub.body, bytes.len());
                            pubsub.body.extend_from_slice(bytes);
                            pubsub.body.extend_from_slice(b"\r\n");
                            Text::Inline
                        }
                    }
                }
            };
        }
        pubsub.fan_out = Some(ManuallyDrop::new(fan_out));
    }

    /// The delivery is for this connection, which waits for its end.
    pub(super) fn own_fan_out(&mut self, id: ConnectionId) {
        if let Some(fan_out) = &mut self.pubsub.fan_out {
            fan_out.owner = Some(id);
        }
    }

    /// Whose delivery is under way. `None`: there is none; `Some(None)`: its owner is gone.
    pub(in crate::server) fn fan_out_owner(&self) -> Option<Option<ConnectionId>> {
        self.pubsub.fan_out.as_ref().map(|fan_out| fan_out.owner)
    }

    /// Goes on with the delivery until its end, or until the meter is spent. At its end: how many got the message.
    pub(in crate::server) fn drive_fan_out(&mut self, mode: FanOutMode, now: Now) -> Option<u64> {
        let mut fan_out = self.pubsub.fan_out.take()?;
        let (body, head) =
            (std::mem::take(&mut self.pubsub.body), std::mem::take(&mut self.pubsub.pattern_head));
        let mut work = Work { fan_out: &mut fan_out, body, pattern_head: head };
        let is_over = self.deliver_all(&mut work, mode, now);
        let Work { body, pattern_head, .. } = work;
        (self.pubsub.body, self.pubsub.pattern_head) = (body, pattern_head);
        if !is_over {
            self.pubsub.fan_out = Some(fan_out);
            return None;
        }
        let FanOut { text, receivers, .. } = ManuallyDrop::into_inner(fan_out);
        if let Text::Large(large, _) = text {
            self.engine.store.large_release(large);
        }
        self.engine.metrics.counters.messages_delivered += receivers;
        Some(receivers)
    }

    fn deliver_all(&mut self, work: &mut Work<'_>, mode: FanOutMode, now: Now) -> bool {
        loop {
            if mode == FanOutMode::Metered && self.engine.meter.is_spent() {
                return false;
            }
            let next = match work.fan_out.again.take() {
                Some(id) => Next::Subscriber(Some(id)),
                None => self.pubsub.table.next_delivery(),
            };
            match next {
                Next::End => return true,
                Next::Subscriber(None) => self.engine.meter.charge(1),
                Next::Subscriber(Some(id)) => match self.deliver(id, &work.message(), mode, now) {
                    Delivered::Yes => work.fan_out.receivers += 1,
                    Delivered::Gone => {}
                    Delivered::Later if mode == FanOutMode::Metered && work.fan_out.retries < RETRIES_MAX => {
                        work.fan_out.retries += 1;
                        work.fan_out.again = Some(id);
                        return false;
                    }
                    Delivered::Later => self.close_slow_subscriber(id),
                },
                Next::Pattern(pattern) => {
                    let name = &mut self.pubsub.name;
                    name.clear();
                    self.pubsub.table.append_name(pattern, name);
                    let mut steps = 0;
                    let matches = glob::matches_counting(
                        name,
                        &work.body[work.fan_out.channel.clone()],
                        false,
                        &mut steps,
                    );
                    self.engine.meter.charge(1);
                    self.engine.meter.charge_pattern_steps(steps);
                    if matches {
                        work.fan_out.head = Head::Pattern;
                        work.pattern_head.clear();
                        work.pattern_head.extend_from_slice(b"*4\r\n$8\r\npmessage\r\n");
                        append_header(&mut work.pattern_head, name.len());
                        work.pattern_head.extend_from_slice(name);
                        work.pattern_head.extend_from_slice(b"\r\n");
                        self.pubsub.table.deliver_to(pattern);
                    }
                }
            }
        }
    }

    /// Goes on with a delivery whose publisher is gone. True: there is more.
    pub(super) fn go_on_with_orphaned_delivery(&mut self, now: Now) -> bool {
        let Some(owner) = self.fan_out_owner() else { return false };
        if owner.is_some_and(|owner| self.get(owner).is_some_and(|found| found.is_replying())) {
            return false;
        }
        self.engine.meter = Meter::new(TURN_UNITS);
        self.drive_fan_out(FanOutMode::Metered, now).is_none()
    }

    /// A delivery has ended that another connection drove: its publisher goes on with the number.
    pub(in crate::server) fn hand_over_receivers(&mut self, owner: Option<ConnectionId>, receivers: u64) {
        let Some(id) = owner else { return };
        if self.is_replying(id) {
            let connection = &mut self.connections[id.index as usize];
            // In the place of `Continuation::Publish`, which holds nothing.
            let _ = connection.take_continuation(&mut self.continuations);
            connection.put_continuation(Continuation::Published { receivers }, &mut self.continuations);
            connection.readiness.runnable = true;
            self.wake_queue.push(id.index);
        }
    }

    fn deliver(&mut self, id: ConnectionId, message: &Message<'_>, mode: FanOutMode, now: Now) -> Delivered {
        let (bytes_max, may_be_long) = (self.push_bytes_max(), leaves_half(&self.output, 0));
        let large_max = self.engine.store.config().memory_bytes as u64 / LARGE_DIVISOR;
        let is_in_exec = self.pubsub.in_exec == Some(id);
        let Server { engine, connections, output, pubsub, pinned_bytes, wake_queue, .. } = self;
        let connection = connections.get_mut(id.index as usize).filter(|it| it.generation == id.generation);
        let Some(connection) = connection.filter(|connection| !connection.is_draining()) else {
            return Delivered::Gone;
        };
        engine.meter.charge_bytes(message.len());
        let protocol = connection.session.protocol;
        let waits = connection.is_replying() || is_in_exec;
        if waits && connection.subscriber.is_none() {
            // One that tracks keys: it has a row for as long as something waits.
            connection.subscriber = pubsub.table.add_subscriber(id).ok();
        }
        let row = connection.subscriber.map(|subscriber| pubsub.table.deferred_mut(subscriber));
        let target = match (waits, row) {
            (false, None | Some(None)) => &mut connection.output,
            (_, Some(Some(row))) => &mut pubsub.deferred[*row as usize],
            (true, None) => {
                self.close_slow_subscriber(id);
                return Delivered::Gone;
            }
            (true, Some(row)) => {
                if pubsub.deferred.len() == DEFERRED_MAX {
                    self.close_slow_subscriber(id);
                    return Delivered::Gone;
                }
                connection.readiness.push_waits = true;
                let index = pubsub.deferred.insert(Output::new());
                *row = Some(index as u32);
                &mut pubsub.deferred[index]
            }
        };
        let waiting = target.pending_len() - target.large_pending();
        let starts_waiting = target.is_empty();
        // The reactor has not tried to send it that yet: it may well take it.
        let is_untried = !waits && !connection.readiness.write_blocked;
        let bytes_max = if is_untried && mode == FanOutMode::Whole && may_be_long {
            UNTRIED_FACTOR * bytes_max
        } else {
            bytes_max
        };
        let room = make_room(target, output, message.len(), bytes_max);
        // Long replies of its own count against long messages, not against short ones.
        let is_too_much = message
            .large
            .is_some_and(|(_, len)| target.large_pending() > 0 && target.large_pending() + len > large_max);
        if room != Room::Made || is_too_much {
            let may_come_later =
                room == Room::Full && is_untried || room == Room::NoMemory && starts_waiting && !waits;
            if may_come_later && mode == FanOutMode::Metered {
                // Among the next to be written to.
                wake_queue.push(id.index);
                return Delivered::Later;
            }
            log_full(connection.peer(), waiting, message.len());
            self.close_slow_subscriber(id);
            return Delivered::Gone;
        }
        let mut out = Out::new(target, output, protocol);
        if message.write(&mut out, protocol)
            && let Some((large, _)) = message.large
        {
            engine.store.large_retain(large).into_raw();
        }
        if waits {
            engine.meter.charge(DELIVERY_UNITS);
            return Delivered::Yes;
        }
        if message.large.is_some() {
            connection.count_pinned(pinned_bytes);
        }
        engine.meter.charge(DELIVERY_UNITS);
        pubsub.unsent.push(id.index);
        if starts_waiting {
            connection.progressed = now.monotonic;
            self.update_deadline(id, now.monotonic);
        }
        Delivered::Yes
    }

    /// Pushes something to one connection, whatever it is doing: its head as for RESP2, and the rest. False: it is gone, or
    /// goes.
    pub(in crate::server) fn push_message(
        &mut self,
        id: ConnectionId,
        (head, body): (&[u8], &[u8]),
        now: Now,
    ) -> bool {
        matches!(
            self.deliver(id, &Message { head, body, large: None }, FanOutMode::Whole, now),
            Delivered::Yes
        )
    }

    /// Whether a connection has a subscription.
    pub(in crate::server) fn is_subscribed(&self, id: ConnectionId) -> bool {
        let subscriber = self.get(id).and_then(|connection| connection.subscriber);
        subscriber.is_some_and(|subscriber| !self.pubsub.table.has_none(subscriber))
    }

    /// Bytes that may wait for one subscriber as things stand.
    fn push_bytes_max(&self) -> usize {
        if leaves_half(&self.output, 0) { soak_share(&self.output) } else { 2 * RING_BYTES }
    }

    /// Ends a subscriber that takes less than it is sent.
    fn close_slow_subscriber(&mut self, id: ConnectionId) {
        if self.pubsub.running == Some(id) || self.pubsub.in_exec == Some(id) {
            // Its own command goes on; then the connection ends.
            self.start_closing(id, CloseReason::SlowSubscriber);
        } else {
            self.drop_at_once(id, CloseReason::SlowSubscriber);
        }
    }

    /// A reply is whole, or EXEC over: what was pushed meanwhile follows it.
    pub(in crate::server) fn flush_deferred(&mut self, id: ConnectionId, now: Now) {
        let Server { connections, output, pubsub, pinned_bytes, wake_queue, .. } = self;
        let connection = &mut connections[id.index as usize];
        let Some(subscriber) = connection.subscriber else { return };
        let Some(row) = pubsub.table.deferred_mut(subscriber).take() else { return };
        let mut waiting = pubsub.deferred.remove(row as usize);
        let is_moved = connection.output.append_all(&mut waiting, output);
        connection.count_pinned(pinned_bytes);
        wake_queue.push(id.index);
        if !is_moved {
            waiting.release(output, |large| self.engine.store.large_release(large));
            self.start_closing(id, CloseReason::SlowSubscriber);
        }
        if self.pubsub.table.has_none(subscriber) {
            self.connections[id.index as usize].subscriber = None;
            self.drop_subscriber(Some(subscriber));
        }
        self.update_deadline(id, now.monotonic);
    }
}

/// A delivery with the buffers that it reads from, taken out of the server while it goes on.
struct Work<'w> {
    fan_out: &'w mut FanOut,
    body: Vec<u8>,
    pattern_head: Vec<u8>,
}

impl Work<'_> {
    fn message(&self) -> Message<'_> {
        let head: &[u8] = match self.fan_out.head {
            Head::Message => b"*3\r\n$7\r\nmessage\r\n",
            Head::ShardMessage => b"*3\r\n$8\r\nsmessage\r\n",
            Head::Pattern => &self.pattern_head,
        };
        let large = match &self.fan_out.text {
            Text::Inline => None,
            Text::Large(large, len) => Some((large.id(), *len)),
        };
        Message { head, body: &self.body, large }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Made,
    /// The subscriber has as much waiting as it may.
    Full,
    NoMemory,
}

/// Makes room for `len` bytes in an output that may hold `bytes_max`. Short messages for idle subscribers get a short
/// buffer, for there may be thousands of them at once.
fn make_room(
    target: &mut Output,
    arena: &mut crate::buffer::arena::Arena,
    len: usize,
    bytes_max: usize,
) -> Room {
    let waiting = (target.pending_len() - target.large_pending()) as usize;
    if waiting + len <= target.capacity() {
        return Room::Made;
    }
    let wanted = (waiting + len).next_power_of_two();
    if waiting > 0 && wanted > bytes_max {
        return Room::Full;
    }
    if target.lengthen(wanted, arena) { Room::Made } else { Room::NoMemory }
}

/// `$len\r\n`
fn append_header(to: &mut Vec<u8>, len: usize) {
    let mut digits = [0; INTEGER_BYTES_MAX];
    to.push(b'$');
    to.extend_from_slice(write_u64(len as u64, &mut digits));
    to.extend_from_slice(b"\r\n");
}

#[cold]
fn log_full(peer: core::net::SocketAddr, waiting: u64, len: usize) {
    log::warn!(
        "{peer}: a subscriber takes less than is published: {waiting} bytes wait, a message of {len} has no room"
    );
}
