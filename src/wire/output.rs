//! What waits to be sent on one connection: encoded replies, and large values that are not copied. A marker stands for a
//! large value among the bytes, and the server writes it to the socket from the store's own blocks when its turn comes.
//!
//! ```text
//! ring  | $5\r\nhello\r\n$9000\r\n | marker | \r\n+OK\r\n$70000\r\n | marker | \r\n |
//!                                  ^ first    `- next: bytes until  ^ last            positions from the ring's head
//! marker: id u32 | bytes left u32 | offset in the value u32 | bytes from its end to the next one u32     (little-endian)
//! ```

use crate::{
    buffer::{arena::Arena, ring::Ring},
    limits::{RING_BYTES, VALUE_BYTES_MAX},
    mutant::{self, Mutant},
    mutation::{ChainPosition, LargeId, LargeRef},
};

/// Bytes of a marker.
pub(super) const MARKER_BYTES: usize = 16;
/// "No marker".
const NONE: u32 = u32::MAX;

/// What waits to be sent on one connection. Detached (a few dozen bytes, no buffer) whenever nothing does.
///
/// *Filling*: [`Out`](super::encode::Out). *Emptying*: [`parts`](Output::parts), or [`next`](Output::next) for the first of them, then
/// [`consumed`](Output::consumed) for each part that was sent, in turn; a close in between takes [`release`](Output::release).
#[derive(Debug)]
pub struct Output {
    ring: Ring,
    /// Position of the first and of the last marker, from the ring's head; `NONE` without one.
    first: u32,
    last: u32,
    overflowed: bool,
    /// Bytes of large values that are still to be sent.
    large_pending: u64,
    /// Where in that value sending stopped.
    position: ChainPosition,
}

const _: () = assert!(size_of::<Output>() <= 48);
const _: () = assert!(VALUE_BYTES_MAX <= u32::MAX as u64, "a marker counts a value's bytes");

/// What is to be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending<'a> {
    /// Nothing.
    Nothing,
    /// These bytes, the second part perhaps empty; the first never.
    Bytes(&'a [u8], &'a [u8]),
    /// `len` bytes (at least 1) of the large value `id`, from `offset` on.
    Large { id: LargeId, offset: u64, len: u64 },
}

impl Default for Output {
    fn default() -> Output {
        Output::new()
    }
}

impl Output {
    /// An empty output.
    #[must_use]
    pub const fn new() -> Output {
        Output {
            ring: Ring::new(),
            first: NONE,
            last: NONE,
            overflowed: false,
            large_pending: 0,
            position: ChainPosition::NONE,
        }
    }

    /// Whether everything is sent.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Bytes of arena memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Bytes still to be sent (plus 16, a marker, for each large value among them).
    #[must_use]
    pub fn pending_len(&self) -> u64 {
        self.ring.len() as u64 + self.large_pending
    }

    /// Bytes of large values that are still to be sent: what this output pins in the store.
    #[must_use]
    pub fn large_pending(&self) -> u64 {
        self.large_pending
    }

    /// Moves to a buffer of at least `bytes`. False: the arena has none; nothing has changed.
    #[must_use]
    pub fn lengthen(&mut self, bytes: usize, arena: &mut Arena) -> bool {
        self.ring.grow(arena, bytes)
    }

    /// Whether a reply did not fit and was dropped. The stream is broken: send what [`next`](Output::next) says, or
    /// nothing, and close.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// What is to be sent next; some of it may be sent, then [`consumed`](Output::consumed) says how much.
    #[must_use]
    #[inline]
    pub fn next<'a>(&self, arena: &'a Arena) -> Pending<'a> {
        self.parts(arena).next().unwrap_or(Pending::Nothing)
    }

    /// All that is to be sent, in order.
    #[must_use]
    #[inline]
    pub fn parts<'a>(&self, arena: &'a Arena) -> Parts<'a> {
        let (a, b) = self.ring.readable_parts(arena);
        Parts { a, b, plain: self.first }
    }

    /// Bytes of the first part, 0 if there is none.
    #[must_use]
    #[inline]
    pub fn front_len(&self, arena: &Arena) -> u64 {
        match self.first {
            NONE => self.ring.len() as u64,
            0 => u64::from(self.marker(arena).left),
            plain => u64::from(plain),
        }
    }

    /// The large value at the front, where in it the next byte is, and where sending has stopped, as [`set_position`](Output::set_position)
    /// left it.
    #[must_use]
    pub fn front_large(&self, arena: &Arena) -> Option<(LargeId, u64, ChainPosition)> {
        (self.first == 0).then(|| {
            let marker = self.marker(arena);
            (marker.id, u64::from(marker.offset), self.position)
        })
    }

    /// Notes where in the large value at the front sending has stopped; forgotten when it is sent to its end.
    pub fn set_position(&mut self, position: ChainPosition) {
        self.position = position;
    }

    /// `n` bytes of what [`next`](Output::next) gave are sent. If that was the last of a large value, the output's
    /// reference comes back. The buffer is given back when nothing is left.
    ///
    /// # Panics
    /// If `next` gave fewer.
    pub fn consumed(&mut self, n: u64, arena: &mut Arena) -> Option<LargeRef> {
        let mut finished = None;
        if self.first == 0 {
            let marker = self.marker(arena);
            assert!(n <= u64::from(marker.left));
            if n == u64::from(marker.left) {
                self.drop_marker(&marker);
                finished = Some(LargeRef::from_raw(marker.id));
            } else {
                let sent = if mutant::is_on(Mutant::SentTwice) { 0 } else { n as u32 };
                self.large_pending -= n;
                self.ring.patch(4, &(marker.left - n as u32).to_le_bytes(), arena);
                self.ring.patch(8, &(marker.offset + sent).to_le_bytes(), arena);
            }
        } else {
            assert!(n <= u64::from(self.first));
            self.ring.consume(n as usize);
            self.advance(n as u32);
        }
        if self.ring.is_empty() {
            self.ring.release(arena);
        }
        finished
    }

    /// Gives the buffer back where a [sink](Output::sink) was asked for and nothing was written.
    pub fn detach_if_empty(&mut self, arena: &mut Arena) {
        if self.ring.is_empty() && self.ring.is_attached() {
            self.ring.release(arena);
        }
    }

    /// Drops everything and gives the buffer back; `unpin` gets the reference to each large value that was not sent to
    /// its end. An overflow is forgotten.
    pub fn release(&mut self, arena: &mut Arena, mut unpin: impl FnMut(LargeRef)) {
        while self.first != NONE {
            self.ring.consume(self.first as usize);
            self.advance(self.first);
            let marker = self.marker(arena);
            unpin(LargeRef::from_raw(marker.id));
            self.drop_marker(&marker);
        }
        self.ring.release(arena);
        *self = Output::new();
    }

    /// Appends a copy of the plain bytes that wait to `to`, passing over large values; for tests.
    pub fn copy_plain(&self, arena: &Arena, to: &mut Vec<u8>) {
        let (a, b) = self.ring.readable_parts(arena);
        let all = [a, b].concat();
        let (mut at, mut next) = (0, self.first);
        while next != NONE {
            let end = at + next as usize;
            to.extend_from_slice(&all[at..end]);
            let link = [all[end + 12], all[end + 13], all[end + 14], all[end + 15]];
            next = u32::from_le_bytes(link);
            at = end + MARKER_BYTES;
        }
        to.extend_from_slice(&all[at..]);
    }

    /// Bytes that can be written without another buffer; 0 also when the arena has none left.
    pub(super) fn room(&self, arena: &Arena) -> usize {
        if self.ring.is_attached() {
            self.ring.free()
        } else if arena.has_ring() {
            RING_BYTES
        } else {
            0
        }
    }

    /// Makes room for `len` bytes in a buffer of at most `bytes_max`; if that fails, the output has overflowed.
    #[inline]
    pub(super) fn reserve(&mut self, len: usize, bytes_max: usize, arena: &mut Arena) -> bool {
        !self.overflowed && (len <= self.ring.free() || self.grow(len, bytes_max, arena))
    }

    #[cold]
    fn grow(&mut self, len: usize, bytes_max: usize, arena: &mut Arena) -> bool {
        let needed = (self.ring.len() + len).max(RING_BYTES).checked_next_power_of_two();
        let grown = needed.is_some_and(|needed| needed <= bytes_max && self.ring.grow(arena, needed));
        self.overflowed = !grown;
        grown
    }

    /// Appends three parts for which there is room.
    #[inline]
    pub(super) fn append(&mut self, parts: [&[u8]; 3], arena: &mut Arena) {
        let [a, b, c] = parts;
        let (behind_a, behind_b) = (a.len(), a.len() + b.len());
        let len = behind_b + c.len();
        let room = self.ring.writable(arena);
        if len <= room.len() {
            room[..behind_a].copy_from_slice(a);
            room[behind_a..behind_b].copy_from_slice(b);
            room[behind_b..len].copy_from_slice(c);
            self.ring.commit(len);
        } else {
            for part in parts {
                let written = self.ring.write(arena, part);
                debug_assert!(written, "there is room for all parts");
            }
        }
    }

    /// Where replies that need no marker may be written at once, provided that `len` bytes in one piece are free; a
    /// buffer is attached if there is none. Then [`wrote`](Output::wrote).
    #[inline(always)] // Once for each batch of a connection, and its caller drops most of it.
    pub fn sink<'a>(&mut self, len: usize, arena: &'a mut Arena) -> Option<&'a mut [u8]> {
        if self.overflowed || !self.ring.attach(arena) {
            return None;
        }
        let sink = self.ring.writable(arena);
        (sink.len() >= len).then_some(sink)
    }

    /// The first `len` bytes of the sink are written.
    ///
    /// # Panics
    /// If it was shorter.
    #[inline]
    pub fn wrote(&mut self, len: usize) {
        self.ring.commit(len);
    }

    /// Moves all that waits in `from` behind what waits here; the references to large values move along. False: there is no
    /// memory for it, and nothing has changed.
    #[must_use]
    pub fn append_all(&mut self, from: &mut Output, arena: &mut Arena) -> bool {
        if from.overflowed || !self.ring.grow(arena, self.ring.len() + from.ring.len()) {
            return false;
        }
        let base = self.ring.len() as u32;
        // Positions count from a ring's head, so a copy of the bytes needs no change but the link to the first marker.
        let mut piece = [0; 256];
        while !from.ring.is_empty() {
            let (bytes, _) = from.ring.readable_parts(arena);
            let len = bytes.len().min(piece.len());
            piece[..len].copy_from_slice(&bytes[..len]);
            let written = self.ring.write(arena, &piece[..len]);
            debug_assert!(written, "room was made");
            from.ring.consume(len);
        }
        if from.first != NONE {
            match self.last {
                NONE => self.first = base + from.first,
                last => {
                    let next = base + from.first - last - MARKER_BYTES as u32;
                    self.ring.patch(last as usize + 12, &next.to_le_bytes(), arena);
                }
            }
            self.last = base + from.last;
        }
        self.large_pending += from.large_pending;
        from.ring.release(arena);
        *from = Output::new();
        true
    }

    /// Appends a marker, for which there is room, for `len` bytes (at least 1) of a large value, from `offset` on.
    pub(super) fn append_large(&mut self, id: LargeId, (offset, len): (u64, u64), arena: &mut Arena) {
        debug_assert!(offset + len <= u64::from(u32::MAX));
        let position = self.ring.len() as u32;
        let marker = Marker { id, left: len as u32, offset: offset as u32, next: NONE };
        self.append([&marker.to_bytes(), b"", b""], arena);
        if self.last == NONE {
            self.first = position;
        } else {
            let next = position - self.last - MARKER_BYTES as u32;
            self.ring.patch(self.last as usize + 12, &next.to_le_bytes(), arena);
        }
        self.last = position;
        self.large_pending += len;
    }

    /// The marker at the front of the ring.
    fn marker(&self, arena: &Arena) -> Marker {
        let (a, b) = self.ring.readable_parts(arena);
        Marker::from_parts(a, b)
    }

    /// Takes the marker at the front away.
    fn drop_marker(&mut self, marker: &Marker) {
        self.position = ChainPosition::NONE;
        self.large_pending -= u64::from(marker.left);
        self.ring.consume(MARKER_BYTES);
        self.first = marker.next;
        self.last = if marker.next == NONE { NONE } else { self.last - MARKER_BYTES as u32 };
    }

    /// Plain bytes have left the front.
    fn advance(&mut self, n: u32) {
        if self.first != NONE {
            self.first -= n;
            self.last -= n;
        }
    }
}

/// What is to be sent, part by part; see [`Output::parts`].
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// What is left of the ring, in two parts as it lies there.
    a: &'a [u8],
    b: &'a [u8],
    /// Plain bytes before the next marker; `NONE` without one.
    plain: u32,
}

impl<'a> Parts<'a> {
    /// Takes the first `n` bytes off.
    #[inline]
    fn take(&mut self, n: usize) -> (&'a [u8], &'a [u8]) {
        let (a, b) = (self.a, self.b);
        if n < a.len() {
            self.a = &a[n..];
            (&a[..n], &[])
        } else {
            (self.a, self.b) = (&b[n - a.len()..], &[]);
            (a, &b[..n - a.len()])
        }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Pending<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pending<'a>> {
        if self.a.is_empty() {
            return None;
        }
        if self.plain == 0 {
            let marker = Marker::from_parts(self.a, self.b);
            self.take(MARKER_BYTES);
            self.plain = marker.next;
            let (offset, len) = (u64::from(marker.offset), u64::from(marker.left));
            return Some(Pending::Large { id: marker.id, offset, len });
        }
        let len = if self.plain == NONE { self.a.len() + self.b.len() } else { self.plain as usize };
        self.plain = if self.plain == NONE { NONE } else { 0 };
        let (first, second) = self.take(len);
        Some(Pending::Bytes(first, second))
    }
}

/// See the drawing above.
struct Marker {
    id: LargeId,
    left: u32,
    offset: u32,
    next: u32,
}

impl Marker {
    /// The marker at the beginning of bytes in two parts.
    fn from_parts(a: &[u8], b: &[u8]) -> Marker {
        let mut bytes = [0; MARKER_BYTES];
        let head_len = a.len().min(MARKER_BYTES);
        bytes[..head_len].copy_from_slice(&a[..head_len]);
        bytes[head_len..].copy_from_slice(&b[..MARKER_BYTES - head_len]);
        Marker::from_bytes(bytes)
    }

    fn from_bytes(bytes: [u8; MARKER_BYTES]) -> Marker {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Marker {
            id: LargeId(u32::from_le_bytes([a, b, c, d])),
            left: u32::from_le_bytes([e, f, g, h]),
            offset: u32::from_le_bytes([i, j, k, l]),
            next: u32::from_le_bytes([m, n, o, p]),
        }
    }

    fn to_bytes(&self) -> [u8; MARKER_BYTES] {
        let mut bytes = [0; MARKER_BYTES];
        bytes[..4].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.left.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}
