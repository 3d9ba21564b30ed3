//! What INFO and the admin port show of the process and its clients, brought up to date when they are asked for.

use super::Server;
use crate::command::{Verb, VerbId};
use crate::time::Now;

impl Server {
    /// Brings up to date what only the server knows, where the verb shows it.
    pub(super) fn refresh_stats(&mut self, verb: &Verb, now: Now) {
        if matches!(verb.id, VerbId::Info | VerbId::MemoryStats | VerbId::Lastsave) {
            self.refresh(now);
        }
    }

    /// Brings the engine's statistics and counters up to date; reads what the system says of the process.
    pub fn refresh(&mut self, now: Now) {
        self.note_ops_rate(now);
        let buffer_bytes = self.buffer_bytes() as u64;
        let may_hold = !self.engine.pause.is_off() || self.engine.persistence.has_held;
        let held = if may_hold { self.connections.iter().filter(|(_, it)| it.is_held()).count() } else { 0 };
        let process_stats = &mut self.engine.process_stats;
        process_stats.held_clients = held as u64;
        process_stats.connected_clients = self.connections.len() as u64;
        process_stats.buffer_bytes = buffer_bytes;
        process_stats.uptime_ms = now.monotonic.0;
        let sessions = self.frames.sessions();
        process_stats.frame_sessions = sessions.len() as u64;
        process_stats.frame_sessions_opened = sessions.opened();
        process_stats.frame_sessions_dropped = sessions.dropped();
        self.pubsub.fill(process_stats);
        self.changes.tracking.fill(process_stats);
        (self.resources.fill_process_stats)(process_stats);
        self.engine.metrics.datagrams = *self.frames.counters();
    }
}
