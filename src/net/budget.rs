//! How the memory limit is divided between the store, the buffers and the tables, before anything is opened.

use super::{ServerOptions, StartError, admin::AdminPort};
use crate::frames::FrameServer;
use crate::limits::{KIB, MIB, UDP_CLIENTS_DEFAULT};

/// How the memory limit is divided.
pub(super) struct Budget {
    pub(super) store_bytes: usize,
    pub(super) input_bytes: usize,
    pub(super) output_bytes: usize,
    pub(super) queue_bytes: usize,
    pub(super) udp_clients: usize,
}

/// Memory that the process takes whatever it serves: its code, stacks, and tables for `max_clients` connections
/// that are counted apart.
const PROCESS_BYTES: usize = 3 * MIB;
/// Bytes of one connection besides its buffers: its state, its timer, its place in the queues.
const CONNECTION_BYTES: usize = 640;

impl Budget {
    /// Divides `memory_bytes`: each direction's buffers get a sixteenth (at least 1 MiB, at most 64 MiB), the store
    /// what is left.
    ///
    /// # Errors
    /// The limit is too small; the text says how much is needed.
    pub(super) fn divide(options: &ServerOptions) -> Result<Budget, StartError> {
        let memory_bytes = options.memory_bytes();
        let share = (memory_bytes / 16).clamp(MIB, 64 * MIB);
        // The at-most-once table gets as much as one direction's buffers, or what its usual number of clients takes.
        let per_client = FrameServer::memory_bytes(2) - FrameServer::memory_bytes(1);
        let udp_clients = (share / per_client).clamp(16, UDP_CLIENTS_DEFAULT);
        let fixed = PROCESS_BYTES
            + 2 * share
            + share / 2
            + FrameServer::memory_bytes(udp_clients)
            + options.max_clients.min(1024) * CONNECTION_BYTES
            + if options.admin.is_some() { AdminPort::MEMORY_BYTES } else { 0 };
        let store_bytes = memory_bytes.saturating_sub(fixed);
        if store_bytes < 2 * MIB {
            let needed = fixed + 2 * MIB;
            return Err(StartError(format!(
                "a memory limit of {} KiB is too small: {} KiB are needed (--memory {}MiB)",
                memory_bytes / KIB,
                needed.div_ceil(KIB),
                needed.div_ceil(MIB)
            )));
        }
        Ok(Budget {
            store_bytes,
            input_bytes: share,
            output_bytes: share,
            queue_bytes: share / 2,
            udp_clients,
        })
    }
}
