//! The time limits of connections. A connection has one limit at a time, by what it is doing: its replies wait to be
//! taken, a command of its is incomplete, or it is idle.

use super::Server;
use super::transaction::STALLED_MS;
use crate::connection::{CloseReason, Connection, ConnectionId, Phase};
use crate::time::{Millis, Now};

/// A request timeout of a client whose bytes the server has yet to read, or to look at, is looked at again after this.
const UNREAD_RETRY_MS: u64 = 10;
/// Bytes of the notice that a client gets before it is closed, at most.
const NOTICE_BYTES_MAX: usize = 256;
/// How long a client may take to read the notice of its time limit.
const LINGER_MS: u64 = 1_000;

impl Server {
    /// When `handle_deadlines` or `maintain` should be called next, if nothing else happens before.
    pub fn poll_deadline(&self, now: Now) -> Option<Millis> {
        let store = self.engine.store.next_expiry_hint().map(|at| now.monotonic.plus(at.since(now.unix)));
        let starved = self.starved.check_at();
        [self.timers.next_deadline(), self.engine.pause.until(), starved, store].into_iter().flatten().min()
    }

    /// Starts closing the connections whose limit has passed; `poll_wake` then names them.
    pub fn handle_deadlines(&mut self, now: Now) {
        self.follow_idle_timeout(now.monotonic);
        self.relieve(now.monotonic);
        while let Some(index) = self.timers.pop_due(now.monotonic) {
            let Some(connection) = self.connections.get(index) else { continue };
            let id = ConnectionId { index: index as u32, generation: connection.generation };
            if connection.is_hold_over(now.monotonic) {
                self.connections[index].handle_pause_end(now.monotonic);
                self.wake_queue.push(index as u32);
                self.update_deadline(id, now.monotonic);
                continue;
            }
            if spill_limit(connection).is_some_and(|at| at <= now.monotonic) {
                self.reclaim(id);
                self.update_deadline(id, now.monotonic);
                continue;
            }
            match self.limit(index, connection) {
                // What has not been read, or looked at, yet may be the rest.
                Some((at, CloseReason::RequestTimeout))
                    if at <= now.monotonic && connection.readiness.waits_for_server() =>
                {
                    self.timers.schedule(index, now.monotonic.plus(UNREAD_RETRY_MS));
                }
                Some((at, reason)) if at <= now.monotonic => self.time_out(id, reason, now.monotonic),
                Some(_) => self.update_deadline(id, now.monotonic),
                None => self.update_deadline(id, now.monotonic),
            }
        }
    }

    /// CONFIG SET timeout holds for clients that are idle already.
    fn follow_idle_timeout(&mut self, now: Millis) {
        if self.scheduled_idle_timeout == self.engine.runtime.idle_timeout {
            return;
        }
        self.scheduled_idle_timeout = self.engine.runtime.idle_timeout;
        for index in 0..self.connections.capacity() {
            if let Some(connection) = self.connections.get(index) {
                let id = ConnectionId { index: index as u32, generation: connection.generation };
                self.update_deadline(id, now);
            }
        }
    }

    /// Sets the timer of a connection by what it is doing now. Activity alone moves no timer: one that fires early
    /// is set again by `handle_deadlines`.
    pub(super) fn update_deadline(&mut self, id: ConnectionId, now: Millis) {
        let Some(connection) = self.connections.get(id.index as usize) else { return };
        let index = id.index as usize;
        let held = connection.hold_end();
        let limit = self.limit(index, connection).map(|(at, _)| at);
        let limit = [limit, held, spill_limit(connection)].into_iter().flatten().min();
        match limit {
            None => self.timers.cancel(index),
            Some(at) => match self.timers.deadline(index) {
                Some(earlier) if earlier <= at && earlier > now => {}
                _ => self.timers.schedule(index, at.max(now)),
            },
        }
    }

    fn limit(&self, index: usize, connection: &Connection) -> Option<(Millis, CloseReason)> {
        let runtime = &self.engine.runtime;
        if let Some(reason) = connection.closing() {
            let at = runtime.write_timeout.at_least_ms(LINGER_MS).after(connection.progressed)?;
            return Some((at, reason));
        }
        if !connection.output.is_empty() {
            // A reply that waits for the disk is not the client's delay.
            if self.sendable(index as u32) == 0 {
                return None;
            }
            let at = runtime.write_timeout.after(connection.progressed)?;
            return Some((at, CloseReason::WriteTimeout));
        }
        // Strangers hold their places only so long, whatever else they do.
        let auth = (!connection.session.authenticated)
            .then(|| runtime.auth_timeout.after(connection.opened))
            .flatten()
            .map(|at| (at, CloseReason::AuthTimeout));
        if let Some(request_started) = connection.request_started() {
            let request = runtime.request_timeout.after(request_started);
            let request = request.map(|at| (at, CloseReason::RequestTimeout));
            return [auth, request].into_iter().flatten().min_by_key(|(at, _)| *at);
        }
        if auth.is_some() {
            return auth;
        }
        // It has asked: it is the server that takes its time.
        // A subscriber waits for others.
        if matches!(connection.phase(), Phase::Paused | Phase::Replying(_)) || connection.subscriber.is_some()
        {
            return None;
        }
        Some((runtime.idle_timeout.after(connection.active)?, CloseReason::IdleTimeout))
    }

    /// Ends a connection whose limit has passed: the client gets a notice where it can.
    fn time_out(&mut self, id: ConnectionId, reason: CloseReason, now: Millis) {
        let connection = &self.connections[id.index as usize];
        if connection.is_draining() || reason == CloseReason::WriteTimeout {
            return self.drop_at_once(id, reason);
        }
        if reason == CloseReason::RequestTimeout {
            let (waiting_bytes, peer) = (connection.input.len(), connection.peer);
            let missing_bytes = connection.body().map_or(0, |body| body.remaining);
            let silent_ms = now.since(connection.active);
            log::warn!(
                peer:%, reason = "request-timeout", waiting_bytes, missing_bytes, silent_ms;
                "{peer}: a command is not whole after its time limit: {waiting_bytes} bytes wait, {missing_bytes} are \
                 missing of a large argument, the last byte came {silent_ms} ms ago"
            );
        }
        let notice = match reason {
            CloseReason::RequestTimeout => {
                Some("ERR the command was begun and not finished within the server's time limit")
            }
            CloseReason::AuthTimeout => {
                Some("NOAUTH authentication was not finished within the server's time limit")
            }
            _ => None,
        };
        if let Some(notice) = notice {
            // Where the notice has no room, the connection ends without it.
            let _ = self.push(id, NOTICE_BYTES_MAX, now, |out| out.error(notice));
        }
        let Some(connection) = self.get_mut(id) else { return };
        connection.close(reason);
        self.wake_queue.push(id.index);
        self.update_deadline(id, now);
    }
}

/// When a transaction that holds memory of the store loses it, if its client does nothing.
fn spill_limit(connection: &Connection) -> Option<Millis> {
    connection.transaction.spill.is_some().then(|| connection.active.plus(STALLED_MS))
}
