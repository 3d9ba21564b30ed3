//! Replies of one short piece, which go through [`Out`] or straight to where they are sent from.

use super::{OK, Out, Protocol, null, write_bulk};

/// Where a reply goes that is one string, null or OK: through [`Out`], or straight to where it is sent from.
pub trait ShortReply {
    /// A bulk string.
    fn bulk(&mut self, bytes: &[u8]);
    /// No value.
    fn null(&mut self);
    /// `+OK`.
    fn ok(&mut self);
}

impl ShortReply for Out<'_> {
    #[inline]
    fn bulk(&mut self, bytes: &[u8]) {
        Out::bulk(self, bytes);
    }

    #[inline]
    fn null(&mut self) {
        Out::null(self);
    }

    #[inline]
    fn ok(&mut self) {
        Out::ok(self);
    }
}

/// A place in an output that has room for a short reply, which is written once.
///
/// # Panics
/// Its methods do if it has not.
pub struct ReplyPlace<'p> {
    room: &'p mut [u8],
    protocol: Protocol,
    len: usize,
}

impl<'p> ReplyPlace<'p> {
    /// At the front of `room`.
    #[inline(always)] // Once for each GET of a batch, as all that follows.
    pub fn new(room: &'p mut [u8], protocol: Protocol) -> ReplyPlace<'p> {
        ReplyPlace { room, protocol, len: 0 }
    }

    /// Bytes of the reply.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no reply yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    fn write(&mut self, reply: &[u8]) {
        self.room[..reply.len()].copy_from_slice(reply);
        self.len = reply.len();
    }
}

impl ShortReply for ReplyPlace<'_> {
    #[inline(always)]
    fn bulk(&mut self, bytes: &[u8]) {
        self.len = write_bulk(self.room, bytes);
    }

    #[inline(always)]
    fn null(&mut self) {
        self.write(null(self.protocol));
    }

    #[inline(always)]
    fn ok(&mut self) {
        self.write(OK);
    }
}
