//! Replies as bytes, in RESP2 or RESP3, and the output of a connection that they wait in.
//!
//! A large value is not copied into the output: a marker stands for it among the bytes, and the server writes it to the
//! socket from the store's own blocks when its turn comes.
//!
//! ```text
//! ring  | $5\r\nhello\r\n$9000\r\n | marker | \r\n+OK\r\n$70000\r\n | marker | \r\n |
//!                                  ^ first    `- next: bytes until  ^ last            positions from the ring's head
//! marker: id u32 | bytes left u64 | bytes between this marker's end and the next one u32     (little-endian)
//! ```

use crate::{
    buffers::Buffers,
    limits::RING_BYTES,
    mutation::LargeId,
    ring::Ring,
    wire::{
        number::{FLOAT_BYTES_MAX, INTEGER_BYTES_MAX, write_double, write_i64, write_u64},
        resp::Malformed,
    },
};

/// Bytes of an error reply's text, at most; more is cut off.
pub const ERROR_BYTES_MAX: usize = 512;

const MARKER_BYTES: usize = 16;
/// "No marker".
const NONE: u32 = u32::MAX;

/// The version of RESP that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Until HELLO says otherwise.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// What waits to be sent on one connection. Detached (a few dozen bytes, no buffer) whenever nothing does.
///
/// *Filling*: [`Out`]. *Emptying*: [`next`](Output::next), then [`consumed`](Output::consumed), in turn; a close in
/// between takes [`release`](Output::release).
#[derive(Debug)]
pub struct Output {
    ring: Ring,
    /// Position of the first and of the last marker, from the ring's head; `NONE` without one.
    first: u32,
    last: u32,
    /// Bytes of the large value at the front that are sent already; 0 if plain bytes are at the front.
    sent: u64,
    /// Bytes of large values that are still to be sent.
    large_pending: u64,
    overflowed: bool,
}

const _: () = assert!(size_of::<Output>() <= 48);

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
        Output { ring: Ring::new(), first: NONE, last: NONE, sent: 0, large_pending: 0, overflowed: false }
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

    /// Bytes still to be sent (plus 12 for each large value among them).
    #[must_use]
    pub fn pending_len(&self) -> u64 {
        self.ring.len() as u64 + self.large_pending
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
    pub fn next<'a>(&self, arena: &'a Buffers) -> Pending<'a> {
        if self.ring.is_empty() {
            return Pending::Nothing;
        }
        let (a, b) = self.ring.readable_parts(arena);
        match self.first {
            NONE => Pending::Bytes(a, b),
            0 => {
                let marker = self.marker(arena);
                Pending::Large { id: marker.id, offset: self.sent, len: marker.left }
            }
            plain => {
                let plain = plain as usize;
                if plain <= a.len() {
                    Pending::Bytes(&a[..plain], &[])
                } else {
                    Pending::Bytes(a, &b[..plain - a.len()])
                }
            }
        }
    }

    /// `n` bytes of what [`next`](Output::next) gave are sent. If that was the last of a large value, its id comes
    /// back: release the output's reference. The buffer is given back when nothing is left.
    ///
    /// # Panics
    /// If `next` gave fewer.
    pub fn consumed(&mut self, n: u64, arena: &mut Buffers) -> Option<LargeId> {
        let mut finished = None;
        if self.first == 0 {
            let marker = self.marker(arena);
            assert!(n <= marker.left);
            self.sent += n;
            self.large_pending -= n;
            if n == marker.left {
                self.sent = 0;
                self.drop_marker(&marker);
                finished = Some(marker.id);
            } else {
                self.ring.patch(4, &(marker.left - n).to_le_bytes(), arena);
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

    /// Drops everything and gives the buffer back; `unpin` gets the id of each large value that was not sent to its
    /// end, once for each reference. An overflow is forgotten.
    pub fn release(&mut self, arena: &mut Buffers, mut unpin: impl FnMut(LargeId)) {
        while self.first != NONE {
            self.ring.consume(self.first as usize);
            self.advance(self.first);
            let marker = self.marker(arena);
            unpin(marker.id);
            self.drop_marker(&marker);
        }
        self.ring.release(arena);
        *self = Output::new();
    }

    /// Appends a copy of the plain bytes that wait to `to`, passing over large values; for tests.
    pub fn copy_plain(&self, arena: &Buffers, to: &mut Vec<u8>) {
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

    /// The marker at the front of the ring.
    fn marker(&self, arena: &Buffers) -> Marker {
        let (a, b) = self.ring.readable_parts(arena);
        let mut bytes = [0; MARKER_BYTES];
        let head_len = a.len().min(MARKER_BYTES);
        bytes[..head_len].copy_from_slice(&a[..head_len]);
        bytes[head_len..].copy_from_slice(&b[..MARKER_BYTES - head_len]);
        Marker::from_bytes(bytes)
    }

    /// Takes the marker at the front away.
    fn drop_marker(&mut self, marker: &Marker) {
        self.large_pending = self.large_pending.saturating_sub(marker.left);
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

/// See the drawing above.
struct Marker {
    id: LargeId,
    left: u64,
    next: u32,
}

impl Marker {
    fn from_bytes(bytes: [u8; MARKER_BYTES]) -> Marker {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Marker {
            id: LargeId(u32::from_le_bytes([a, b, c, d])),
            left: u64::from_le_bytes([e, f, g, h, i, j, k, l]),
            next: u32::from_le_bytes([m, n, o, p]),
        }
    }

    fn to_bytes(&self) -> [u8; MARKER_BYTES] {
        let mut bytes = [0; MARKER_BYTES];
        bytes[..4].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.left.to_le_bytes());
        bytes[12..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// `$N\r\n` for small N, padded; the length of it follows from N.
const HEADERS: [[u8; 8]; 128] = {
    let mut headers = [[0u8; 8]; 128];
    let mut n = 0;
    while n < 128 {
        let (hundreds, tens, ones) = (n / 100, n / 10 % 10, n % 10);
        let mut text = [b'$', 0, 0, 0, 0, 0, 0, 0];
        let mut at = 1;
        if hundreds > 0 {
            text[at] = b'0' + hundreds as u8;
            at += 1;
        }
        if n >= 10 {
            text[at] = b'0' + tens as u8;
            at += 1;
        }
        text[at] = b'0' + ones as u8;
        text[at + 1] = b'\r';
        text[at + 2] = b'\n';
        headers[n] = text;
        n += 1;
    }
    headers
};

/// A type byte, a number, CR and LF.
struct Header {
    bytes: [u8; 24],
    start: u8,
    end: u8,
}

impl Header {
    #[inline]
    fn new(kind: u8, n: u64) -> Header {
        let mut bytes = [0; 24];
        if let Some(small) = HEADERS.get(n as usize) {
            bytes[..8].copy_from_slice(small);
            bytes[0] = kind;
            let end = 4 + u8::from(n >= 10) + u8::from(n >= 100);
            return Header { bytes, start: 0, end };
        }
        let mut digits = [0; INTEGER_BYTES_MAX];
        let digits_len = write_u64(n, &mut digits).len();
        bytes[1..21].copy_from_slice(&digits);
        let start = 20 - digits_len;
        bytes[start] = kind;
        bytes[21] = b'\r';
        bytes[22] = b'\n';
        Header { bytes, start: start as u8, end: 23 }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.end)]
    }
}

/// The sink of replies. The output's ring grows through the arena when a reply does not fit it, up to a bound; past
/// that the output [overflows](Output::overflowed): this reply and everything later is dropped, and the server closes
/// the connection.
///
/// What RESP2 lacks falls back: map to a flat array, set and push to an array, null to `$-1`, a boolean to `:1` or `:0`,
/// double, big number and verbatim text to a bulk string.
#[derive(Debug)]
pub struct Out<'a> {
    output: &'a mut Output,
    arena: &'a mut Buffers,
    protocol: Protocol,
    bytes_max: usize,
    muted: bool,
}

impl<'a> Out<'a> {
    /// A sink into `output`, which may take up to a quarter of the arena.
    #[must_use]
    #[inline]
    pub fn new(output: &'a mut Output, arena: &'a mut Buffers, protocol: Protocol) -> Out<'a> {
        let bytes_max = (arena.capacity() / 4).max(RING_BYTES);
        Out { output, arena, protocol, bytes_max, muted: false }
    }

    /// The same with another bound on the output's buffer, in bytes; at least one ring is always allowed.
    #[must_use]
    pub fn with_bytes_max(mut self, bytes_max: usize) -> Out<'a> {
        self.bytes_max = bytes_max.max(RING_BYTES);
        self
    }

    /// From here on replies are dropped (`true`: CLIENT REPLY OFF and SKIP) or written.
    pub fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Whether replies are dropped on request.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// The version of RESP that is written.
    #[must_use]
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// HELLO changes it for its own reply already.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Bytes that can be written without growing the output past one ring, or past the buffer that it has. 0 also
    /// when the arena has no ring left.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.output.ring.is_attached() {
            self.output.ring.free()
        } else if self.arena.has_ring() {
            RING_BYTES
        } else {
            0
        }
    }

    /// Whether a reply was dropped because it did not fit.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.output.overflowed
    }

    /// Whether nothing waits in the output.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
    }

    /// `+text`. The text must be free of CR and LF: ours, never a peer's.
    pub fn simple(&mut self, text: &str) {
        self.write([b"+", text.as_bytes(), b"\r\n"]);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.write([b"+OK\r\n", b"", b""]);
    }

    /// `-text`: the code ("ERR", ...) and the message. See [`error_parts`](Out::error_parts).
    pub fn error(&mut self, text: &str) {
        self.error_parts(&[text.as_bytes()]);
    }

    /// `-` and the parts joined: CR and LF become spaces, and what passes [`ERROR_BYTES_MAX`] is cut off, so that
    /// echoed arguments can neither break the stream nor flood it.
    pub fn error_parts(&mut self, parts: &[&[u8]]) {
        let mut text = [0; ERROR_BYTES_MAX];
        let mut len = 0;
        for byte in parts.iter().copied().flatten().take(ERROR_BYTES_MAX) {
            text[len] = if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
            len += 1;
        }
        self.write([b"-", &text[..len], b"\r\n"]);
    }

    /// `-ERR Protocol error: ...`; nothing for what is closed in silence.
    pub fn malformed(&mut self, reason: Malformed) {
        if let Some((text, byte)) = reason.text() {
            let got = byte.as_slice();
            let quote: &[u8] = if byte.is_some() { b"'" } else { b"" };
            self.error_parts(&[b"ERR Protocol error: ", text.as_bytes(), got, quote]);
        }
    }

    /// `:value`.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        if value >= 0 {
            let header = Header::new(b':', value as u64);
            self.write([header.as_bytes(), b"", b""]);
        } else {
            let mut digits = [0; INTEGER_BYTES_MAX];
            let digits = write_i64(value, &mut digits);
            self.write([b":", digits, b"\r\n"]);
        }
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let header = Header::new(b'$', bytes.len() as u64);
        self.write([header.as_bytes(), bytes, b"\r\n"]);
    }

    /// An integer as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        let mut digits = [0; INTEGER_BYTES_MAX];
        let digits = write_i64(value, &mut digits);
        self.bulk(digits);
    }

    /// The header of a bulk string of `len` bytes, which must follow by [`raw`](Out::raw) and be closed by `\r\n`.
    pub fn bulk_header(&mut self, len: usize) {
        let header = Header::new(b'$', len as u64);
        self.write([header.as_bytes(), b"", b""]);
    }

    /// Bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.write([bytes, b"", b""]);
    }

    /// A bulk string that is a large value of `len` bytes. `true`: the output now holds a reference, so retain it (or
    /// leave it to the output); it comes back from [`Output::consumed`] or [`Output::release`]. `false`: it does not, for
    /// the output overflowed, is muted, or `len` is 0.
    #[must_use]
    pub fn large(&mut self, id: LargeId, len: u64) -> bool {
        let header = Header::new(b'$', len);
        // One reservation for all three, so that no marker is left without its CR and LF.
        if !self.reserve(header.as_bytes().len() + MARKER_BYTES + 2) {
            return false;
        }
        self.write([header.as_bytes(), b"", b""]);
        let held = self.large_raw(id, len);
        self.write([b"\r\n", b"", b""]);
        held
    }

    /// `len` bytes of a large value that holds encoded replies, without a header. The result as for
    /// [`large`](Out::large).
    #[must_use]
    pub fn large_raw(&mut self, id: LargeId, len: u64) -> bool {
        if len == 0 || !self.reserve(MARKER_BYTES) {
            return false;
        }
        let position = self.output.ring.len() as u32;
        let marker = Marker { id, left: len, next: NONE };
        if !self.output.ring.write(self.arena, &marker.to_bytes()) {
            return false;
        }
        if self.output.last == NONE {
            self.output.first = position;
        } else {
            let next = position - self.output.last - MARKER_BYTES as u32;
            self.output.ring.patch(self.output.last as usize + 12, &next.to_le_bytes(), self.arena);
        }
        self.output.last = position;
        self.output.large_pending += len;
        true
    }

    /// No value: `$-1`, or `_`.
    #[inline]
    pub fn null(&mut self) {
        self.by_protocol(b"$-1\r\n", b"_\r\n");
    }

    /// No array (an aborted EXEC): `*-1`, or `_`.
    pub fn null_array(&mut self) {
        self.by_protocol(b"*-1\r\n", b"_\r\n");
    }

    /// The header of an array of `count` replies, which follow.
    #[inline]
    pub fn array(&mut self, count: usize) {
        self.header(b'*', count);
    }

    /// The header of a map of `count` pairs; key and value of each follow.
    pub fn map(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', 2 * count),
            Protocol::Resp3 => self.header(b'%', count),
        }
    }

    /// The header of a set of `count` replies, which follow.
    pub fn set(&mut self, count: usize) {
        self.header(if self.protocol == Protocol::Resp2 { b'*' } else { b'~' }, count);
    }

    /// The header of a push of `count` replies, which follow.
    pub fn push(&mut self, count: usize) {
        self.header(if self.protocol == Protocol::Resp2 { b'*' } else { b'>' }, count);
    }

    /// `:1` or `:0`, or `#t` or `#f`.
    pub fn boolean(&mut self, value: bool) {
        if value { self.by_protocol(b":1\r\n", b"#t\r\n") } else { self.by_protocol(b":0\r\n", b"#f\r\n") }
    }

    /// A double, `inf`, `-inf` or `nan`.
    pub fn double(&mut self, value: f64) {
        let mut text = [0; FLOAT_BYTES_MAX];
        let text = write_double(value, &mut text);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.write([b",", text, b"\r\n"]),
        }
    }

    /// An integer of any length, in digits.
    pub fn big_number(&mut self, digits: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => self.write([b"(", digits.as_bytes(), b"\r\n"]),
        }
    }

    /// Text that a terminal shows as it is; `format` is "txt" or "mkd".
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        let header = Header::new(b'=', text.len() as u64 + 4);
        let format = [format[0], format[1], format[2], b':'];
        if self.reserve(header.as_bytes().len() + 4 + text.len() + 2) {
            self.write([header.as_bytes(), &format, b""]);
            self.write([text, b"\r\n", b""]);
        }
    }

    fn header(&mut self, kind: u8, count: usize) {
        let header = Header::new(kind, count as u64);
        self.write([header.as_bytes(), b"", b""]);
    }

    fn by_protocol(&mut self, resp2: &[u8], resp3: &[u8]) {
        self.write([if self.protocol == Protocol::Resp2 { resp2 } else { resp3 }, b"", b""]);
    }

    /// Appends three parts, all or nothing.
    #[inline]
    fn write(&mut self, parts: [&[u8]; 3]) {
        let [a, b, c] = parts;
        let len = a.len() + b.len() + c.len();
        if !self.reserve(len) {
            return;
        }
        let ring = &mut self.output.ring;
        let room = ring.writable(self.arena);
        if len <= room.len() {
            room[..a.len()].copy_from_slice(a);
            room[a.len()..a.len() + b.len()].copy_from_slice(b);
            room[a.len() + b.len()..len].copy_from_slice(c);
            ring.commit(len);
        } else {
            for part in parts {
                let written = ring.write(self.arena, part);
                debug_assert!(written, "there is room for all parts");
            }
        }
    }

    /// Makes room for `len` bytes. `false`: there is none, or nothing is to be written.
    #[inline]
    fn reserve(&mut self, len: usize) -> bool {
        if self.muted || self.output.overflowed {
            return false;
        }
        len <= self.output.ring.free() || self.grow(len)
    }

    #[cold]
    fn grow(&mut self, len: usize) -> bool {
        let needed = (self.output.ring.len() + len).max(RING_BYTES).checked_next_power_of_two();
        let grown = needed
            .is_some_and(|needed| needed <= self.bytes_max && self.output.ring.grow(self.arena, needed));
        self.output.overflowed = !grown;
        grown
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
