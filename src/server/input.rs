//! From the socket's bytes to whole commands: where the next bytes go, and large arguments on their way into the
//! store.
//!
//! ```text
//!  socket ──▶ ring ──▶ decoder ──▶ run.rs
//!               │ Step::Body: an argument longer than the ring should hold
//!               └──▶ what of it has come moves to a large value; from then on
//!  socket ──────────▶ the large value's blocks, until the argument is whole
//! ```

use super::Server;
use super::transaction::queue::QueueMemory;
use crate::connection::{
    Body, BufferLength, CloseReason, Connection, ConnectionId, PROGRESS_BYTES, Phase, Unfinished,
};
use crate::engine::{ArgumentRoom, QUOTED_BYTES_MAX};
use crate::limits::LONG_RING_BYTES;
use crate::mutation::{LargeId, LargeRef, Refused};
use crate::store::Store;
use crate::time::{Millis, Now};
use crate::wire::resp::Decoder;
use std::io::IoSliceMut;

/// Room for bytes of a large value that is made before they are there: as much as came before, within these bounds. A
/// fast sender fills many pieces with one read, a slow one holds little that it has not sent.
const BODY_AHEAD_BYTES_MIN: u64 = 64 * 1024;
const BODY_AHEAD_BYTES_MAX: u64 = 256 * 1024;

/// Bytes that are read into a ring at once, at most: they are decoded before anybody else has a turn, in a quarter of a
/// millisecond. Without a bound, a command of tens of megabytes has as much room as it is long already.
const RING_READ_BYTES_MAX: usize = LONG_RING_BYTES;

/// Where the next bytes of a connection go.
#[derive(Clone, Copy)]
enum Room {
    /// Into its ring.
    Ring,
    /// `len` bytes into a large value, to which `remaining` are still to come.
    Large { id: LargeId, len: u64, remaining: u64 },
    /// `len` bytes nowhere: the value was refused.
    Discard { len: usize },
}

/// As many bytes as memory can hold, at most.
fn clamped(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// Room for `len` bytes more of an argument, at least 1.
fn make_room(
    store: &mut Store,
    (large, room): (LargeId, ArgumentRoom),
    len: u64,
    now: Millis,
) -> Result<(), Refused> {
    match room {
        ArgumentRoom::Spare | ArgumentRoom::Quoted => store.large_make_room_spare(large, len, now),
        ArgumentRoom::Data => store.large_make_room(large, len, now),
    }
}

/// The first bytes of an argument, those that came with what precedes it.
fn fill(
    store: &mut Store,
    target: (LargeId, ArgumentRoom),
    bytes: &[u8],
    now: Millis,
) -> Result<(), Refused> {
    if bytes.is_empty() {
        return Ok(());
    }
    make_room(store, target, bytes.len() as u64, now)?;
    store.large_append(target.0, bytes, now)
}

impl Server {
    /// Where the next bytes of this client go; never empty. `None`: leave them in the socket for now, because
    /// replies wait to be taken, a command is being answered, or the connection is closing.
    pub fn input_space(&mut self, id: ConnectionId, now: Now) -> Option<&mut [u8]> {
        match self.input_room(id, now)? {
            Room::Ring => {
                let connection = self.connections.get_mut(id.index as usize)?;
                let space = connection.input.writable(&mut self.input);
                let len = space.len().min(RING_READ_BYTES_MAX);
                (len > 0).then_some(&mut space[..len])
            }
            Room::Large { id: large, len, .. } => {
                let space = self.engine.store.large_space(large, now.unix).ok()?;
                let len = space.len().min(clamped(len));
                Some(&mut space[..len])
            }
            Room::Discard { len } => Some(&mut self.discard[..len]),
        }
    }

    /// The same in several pieces, to be filled one after the other, for a connection on which a [large
    /// value](Server::has_body) comes in; what follows the value goes into the last of them. The number of
    /// pieces, at most as many as `spaces` has (at least one); 0 stands for `None`.
    pub fn input_spaces<'a>(
        &'a mut self,
        id: ConnectionId,
        now: Now,
        spaces: &mut [IoSliceMut<'a>],
    ) -> usize {
        let Some(room) = self.input_room(id, now) else { return 0 };
        let Server { engine, connections, input, discard, .. } = self;
        let Some(connection) = connections.get_mut(id.index as usize) else { return 0 };
        let (count, remaining) = match room {
            Room::Ring => (0, 0),
            Room::Large { id, len, remaining } => (engine.store.large_spaces(id, len, spaces), remaining),
            Room::Discard { len } => {
                spaces[0] = IoSliceMut::new(&mut discard[..len]);
                (1, connection.body().map_or(0, |body| body.remaining))
            }
        };
        let rest = connection.input.writable(input);
        let value_len: usize = spaces[..count].iter().map(|space| space.len()).sum();
        if value_len as u64 == remaining && count < spaces.len() && !rest.is_empty() {
            let len = rest.len().min(RING_READ_BYTES_MAX);
            spaces[count] = IoSliceMut::new(&mut rest[..len]);
            return count + 1;
        }
        count
    }

    /// `len` bytes (at least 1) have been put where `input_space` or `input_spaces` said.
    pub fn input_received(&mut self, id: ConnectionId, len: usize, now: Now) {
        self.engine.metrics.counters.received_bytes += len as u64;
        let Some(connection) = self.connections.get_mut(id.index as usize) else { return };
        connection.handle_input(now.monotonic);
        let Some(body) = connection.body_mut() else {
            connection.fill_input(len);
            return;
        };
        let taken = len.min(clamped(body.remaining));
        match &body.target {
            Some((large, ArgumentRoom::Quoted)) => {
                let store = &mut self.engine.store;
                let left = QUOTED_BYTES_MAX.saturating_sub(clamped(store.large_len(large.id())));
                let quoted = &self.discard[..taken.min(left)];
                // Without memory for them the error quotes less.
                let _ = store.large_append_spare(large.id(), quoted, now.unix);
            }
            Some((large, _)) => self.engine.store.large_filled(large.id(), taken),
            None => {}
        }
        body.remaining -= taken as u64;
        body.progress_len += taken as u64;
        if body.progress_len >= PROGRESS_BYTES {
            (body.progress_len, body.since) = (0, now.monotonic);
        }
        connection.input.commit(len - taken);
        self.end_body_if_whole(id);
    }

    /// Whether bytes are left in the socket that there was no space or no time for: while there are, a command that is
    /// not whole waits for the server and not for the client, and its time limit does not end it.
    pub fn input_left(&mut self, id: ConnectionId, unread: bool) {
        if let Some(connection) = self.get_mut(id) {
            connection.readiness.unread = unread;
        }
    }

    /// The peer has hung up behind bytes that the server has not read.
    pub fn input_hung_up(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.readiness.hung_up = true;
        }
    }

    /// The peer has sent all it will send. What is whole is still executed and answered.
    pub fn input_ended(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id) {
            connection.handle_end(CloseReason::PeerClosed);
        }
    }

    /// An argument of `len` bytes begins `at` bytes into the ring: moves what has come of it out of the ring. Nothing is
    /// kept of it, and no key goes for it, where its command will be refused in any case.
    pub(super) fn begin_body(&mut self, id: ConnectionId, at: usize, len: u64, now: Now) {
        let Server { engine, connections, input, args, .. } = self;
        let connection = &mut connections[id.index as usize];
        // Its bytes go past the ring: what comes into the ring before that is known has to be copied.
        connection.input_length = BufferLength::Usual;
        connection.input.straighten(input);
        let bytes = connection.input.readable(input);
        connection.decoder.head(bytes, args);
        let head = args.args(bytes);
        let room = engine.argument_room(&connection.session, &head);
        let begun = match room {
            None => Err(Refused::Full),
            // Of several the first fills the quotation.
            Some(ArgumentRoom::Quoted) if connection.request.refused.is_some() => Err(Refused::Full),
            Some(ArgumentRoom::Quoted) => engine.store.large_begin_spare(QUOTED_BYTES_MAX as u64),
            Some(ArgumentRoom::Spare) => engine.store.large_begin_spare(len),
            Some(ArgumentRoom::Data) => engine.begin_argument(&connection.session, &head, len, now.unix),
        };
        let here = &bytes[at..at + (bytes.len() - at).min(clamped(len))];
        let (here_len, remaining) = (here.len(), len - here.len() as u64);
        let target = begun.map(|large| (large, room.unwrap_or(ArgumentRoom::Spare)));
        let filled = match &target {
            Ok((large, room)) => {
                let is_quoted = *room == ArgumentRoom::Quoted;
                let here = if is_quoted { &here[..here_len.min(QUOTED_BYTES_MAX)] } else { here };
                fill(&mut engine.store, (large.id(), *room), here, now.unix)
            }
            Err(refused) => Err(*refused),
        };
        let since = now.monotonic;
        connection.set_phase(Phase::ReceivingBody(Body {
            target: target.ok(),
            remaining,
            since,
            progress_len: 0,
        }));
        if let Err(refused) = filled {
            self.refuse_body(id, refused);
        }
        let connection = &mut self.connections[id.index as usize];
        if room == Some(ArgumentRoom::Quoted) {
            connection.request.refused.get_or_insert(Refused::Full);
        }
        connection.input.remove_range(at, here_len, &mut self.input);
        self.end_body_if_whole(id);
    }

    /// Gives back all that a connection holds: rings, replies, the transaction, large arguments not yet executed.
    pub(super) fn release_held(&mut self, connection: &mut Connection) {
        let Server { engine, input, output, queues, queued_in_store_bytes, continuations, .. } = self;
        match connection.take_unfinished() {
            Unfinished::Reply(continuation) => engine.abandon(continuations.take(continuation)),
            Unfinished::Argument(large) => engine.store.large_release(large),
            Unfinished::Nothing => {}
        }
        let store = &mut engine.store;
        connection.input.straighten(input);
        let bytes = connection.input.readable(input);
        if connection.request.has_large {
            // The markers go with the input.
            connection.decoder.large_ids(bytes, |id| store.large_release(LargeRef::from_raw(id)));
        }
        connection.decoder = Decoder::new();
        connection.input.release(input);
        let spilled_bytes = queued_in_store_bytes;
        let mut memory = QueueMemory { arena: queues, store, spilled_bytes, now: Millis(0) };
        connection.transaction.release(&mut memory);
        connection.output.release(output, |large| engine.store.large_release(large));
        self.pinned_bytes -= std::mem::take(&mut connection.pinned_counted);
    }

    /// Where the next bytes go, room made for them.
    fn input_room(&mut self, id: ConnectionId, now: Now) -> Option<Room> {
        if self.get(id).is_some() && self.attach_idle_ring(id) {
            return Some(Room::Ring);
        }
        let connection = self.get(id)?;
        if !self.wants_input(connection) {
            return None;
        }
        let Some(body) = connection.body() else {
            return self.make_ring_space(id, now.monotonic).then_some(Room::Ring);
        };
        let remaining = body.remaining;
        let target = body.target.as_ref().map(|(large, room)| (large.id(), *room));
        if let Some(target @ (large, room)) = target
            && room != ArgumentRoom::Quoted
        {
            let store = &mut self.engine.store;
            let ahead = store.large_len(large).clamp(BODY_AHEAD_BYTES_MIN, BODY_AHEAD_BYTES_MAX);
            let len = ahead.min(remaining);
            match make_room(store, target, len, now.unix) {
                Ok(()) => return Some(Room::Large { id: large, len, remaining }),
                Err(refused) => self.refuse_body(id, refused),
            }
        }
        Some(Room::Discard { len: self.discard.len().min(clamped(remaining)) })
    }

    /// The value under way found no room, or is of no use: the rest of it is thrown away, and its command will be refused.
    fn refuse_body(&mut self, id: ConnectionId, refused: Refused) {
        let connection = &mut self.connections[id.index as usize];
        connection.request.refused.get_or_insert(refused);
        if let Some(body) = connection.body_mut()
            && let Some((large, _)) = body.target.take()
        {
            self.engine.store.large_release(large);
        }
    }

    fn end_body_if_whole(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.index as usize];
        let Some(Body { target, remaining: 0, since, .. }) = connection.body_mut() else { return };
        let (target, since) = (target.take(), *since);
        connection.set_phase(Phase::Receiving { since });
        connection.input.straighten(&mut self.input);
        let bytes = connection.input.readable_mut(&mut self.input);
        // The marker is the command's, until it has run.
        connection.decoder.body_received(bytes, target.map(|(large, _)| large.into_raw()));
    }

    /// Takes back all that a connection holds now, replies included, and has the reactor close it.
    pub(super) fn drop_at_once(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(connection) = self.get_mut(id) else { return };
        connection.close(reason);
        let placeholder = Connection::new(connection.session.clone(), connection.peer, 0, connection.opened);
        let mut taken = std::mem::replace(connection, placeholder);
        self.release_held(&mut taken);
        self.connections[id.index as usize] = taken;
        self.wake_queue.push(id.index);
    }
}
