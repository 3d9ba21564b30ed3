//! Connections to look at although nothing came from their sockets: each at most once, so that the queue never grows
//! beyond what was reserved for it.

use std::collections::VecDeque;

/// A queue of slots of connections without duplicates. A slot may have been given to another connection meanwhile, which is
/// then looked at in vain.
pub(super) struct WakeQueue {
    queue: VecDeque<u32>,
    waits: Box<[bool]>,
}

impl WakeQueue {
    /// Bytes that one slot costs.
    pub(super) const SLOT_BYTES: usize = size_of::<u32>() + size_of::<bool>();

    /// Room for slots below `slots`.
    pub(super) fn new(slots: usize) -> WakeQueue {
        WakeQueue { queue: VecDeque::with_capacity(slots), waits: vec![false; slots].into_boxed_slice() }
    }

    /// Queues a slot, unless it waits already.
    pub(super) fn push(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.waits[slot as usize], true) {
            self.queue.push_back(slot);
        }
    }

    /// Whether no slot waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Slots that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The slot that has waited the longest.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let slot = self.queue.pop_front()?;
        self.waits[slot as usize] = false;
        Some(slot)
    }
}
