//! Tests of the decoder.

use std::cell::Cell;

thread_local! {
    /// Bytes that the decoder has looked at on this thread.
    pub(super) static LOOKED: Cell<u64> = const { Cell::new(0) };
}
