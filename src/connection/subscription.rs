//! That a connection is subscribed to something, or tracks keys: the numbers of its rows in the server's tables.

use std::num::NonZeroU32;

/// Names a row of the table of subscribers; a connection without subscriptions has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriberId(NonZeroU32);

const _: () = assert!(size_of::<Option<SubscriberId>>() == 4);

impl SubscriberId {
    /// Of this row.
    pub(crate) fn new(row: usize) -> SubscriberId {
        SubscriberId(NonZeroU32::MIN.saturating_add(row as u32))
    }

    /// Which row.
    pub(crate) fn row(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Names a row of the table of clients that track keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrackerId(NonZeroU32);

impl TrackerId {
    /// Of this row.
    pub(crate) fn new(row: usize) -> TrackerId {
        TrackerId(NonZeroU32::MIN.saturating_add(row as u32))
    }

    /// Which row.
    pub(crate) fn row(self) -> usize {
        self.0.get() as usize - 1
    }
}
