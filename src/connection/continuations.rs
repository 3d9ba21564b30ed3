//! Where commands stand that are answered piece by piece: of few connections at a time, so that it is not kept in each.

use crate::engine::Continuation;
use slab::Slab;
use std::mem::ManuallyDrop;

/// Names a continuation that waits in [`Continuations`]. Its holder takes it exactly once.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContinuationId(u32);

/// The continuations of all connections: room for one of each, and memory that is not touched before one needs it.
pub(crate) struct Continuations {
    /// What those hold that wait when the server ends goes with its store.
    slots: Slab<ManuallyDrop<Continuation>>,
}

impl Continuations {
    /// Bytes that one client may take.
    pub(crate) const CLIENT_BYTES: usize = size_of::<Continuation>() + size_of::<usize>();

    /// Room for `max_clients` of them, which is reserved here.
    pub(crate) fn new(max_clients: usize) -> Continuations {
        Continuations { slots: Slab::with_capacity(max_clients) }
    }

    pub(crate) fn put(&mut self, continuation: Continuation) -> ContinuationId {
        debug_assert!(self.slots.len() < self.slots.capacity(), "one for each client");
        ContinuationId(self.slots.insert(ManuallyDrop::new(continuation)) as u32)
    }

    /// # Panics
    /// If it was taken before.
    pub(crate) fn take(&mut self, id: ContinuationId) -> Continuation {
        ManuallyDrop::into_inner(self.slots.remove(id.0 as usize))
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
