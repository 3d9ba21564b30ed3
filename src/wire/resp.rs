//! The resumable decoder of RESP commands.

use super::arguments::ArgTable;
use crate::mutation::LargeId;

/// What a connection may send.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Whether AUTH has succeeded or is not needed.
    pub authenticated: bool,
    /// Bytes of one argument, at most.
    pub max_bulk_bytes: u64,
}

/// How far a call of [`Decoder::decode`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The command is not whole. Call again with the same bytes and more behind them.
    NeedMore,
    /// An empty line, `*0` or `*-1`: `consumed` bytes to drop, nothing to run.
    Skip { consumed: usize },
    /// The table holds a command; it covers `consumed` bytes.
    Ready { consumed: usize },
    /// A bulk string of `len` bytes, longer than
    /// [`BUFFERED_BULK_BYTES_MAX`](crate::limits::BUFFERED_BULK_BYTES_MAX), begins at `bytes[at]`. Take its bytes out, as
    /// they come, then call [`Decoder::body_received`].
    Body { at: usize, len: u64 },
}

/// Why the peer's bytes are no command: answer [`text`](Malformed::text) and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    MultibulkLength,
    UnauthenticatedMultibulkLength,
    BulkLength,
    UnauthenticatedBulkLength,
    ExpectedDollar { got: u8 },
    ExpectedCrlf,
    InlineTooBig,
    CountLineTooBig,
    BulkLineTooBig,
    UnbalancedQuotes,
    CrossProtocol,
}

impl Malformed {
    /// What follows "ERR Protocol error: ", and a byte to be put behind it in front of a closing quote. `None`: close in silence.
    #[must_use]
    pub fn text(self) -> Option<(&'static str, Option<u8>)> {
        None
    }

    /// For counters and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        ""
    }
}

/// The state of one connection's input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    scanned: u32,
}

const _: () = assert!(size_of::<Decoder>() <= 40);

impl Decoder {
    #[must_use]
    pub const fn new() -> Decoder {
        Decoder { scanned: 0 }
    }

    pub fn decode(
        &mut self,
        _bytes: &[u8],
        _bounds: &Bounds,
        _table: &mut ArgTable,
    ) -> Result<Step, Malformed> {
        Ok(Step::NeedMore)
    }

    /// Whether a command has begun but is not whole.
    #[must_use]
    pub fn in_progress(&self) -> bool {
        self.scanned > 0
    }

    /// The body that [`Step::Body`] announced has been taken out of `bytes` (the same as for `decode`).
    pub fn body_received(&mut self, _bytes: &mut [u8], _id: Option<LargeId>) {}

    /// The large arguments of the incomplete command.
    pub fn large_ids(&self, _bytes: &[u8], _visit: impl FnMut(LargeId)) {}

    /// Fills the table again for a command for which `decode` said `Ready { consumed }`, from those bytes.
    pub fn again(_bytes: &[u8], _table: &mut ArgTable) {}
}
