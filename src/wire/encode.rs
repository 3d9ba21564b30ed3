//! Replies as bytes, in RESP2 or RESP3.

mod header;
mod short;

use crate::{
    buffer::arena::Arena,
    limits::RING_BYTES,
    mutation::{LargeId, LargeRef},
    wire::{
        malformed::Malformed,
        number::{FLOAT_BYTES_MAX, INTEGER_BYTES_MAX, write_double, write_i64},
        output::MARKER_BYTES,
    },
};

pub use super::output::{Output, Pending};
pub use short::{ReplyPlace, ShortReply};

use header::{HEADERS, Header, short_header};

/// Bytes of an error reply's text, at most; more is cut off.
pub const ERROR_BYTES_MAX: usize = 512;

/// The version of RESP that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Until HELLO says otherwise.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Bytes that a bulk string takes beside its own, at most.
pub const BULK_OVERHEAD_BYTES: usize = 26;

/// Writes a bulk string to the front of `sink`, which has room for it; the number of bytes.
///
/// # Panics
/// If `sink` has fewer than [`BULK_OVERHEAD_BYTES`] bytes more than `bytes`.
#[inline(always)] // Once for each GET of a batch.
pub fn write_bulk(sink: &mut [u8], bytes: &[u8]) -> usize {
    let sink = &mut sink[..bytes.len() + BULK_OVERHEAD_BYTES];
    let at = if let Some(header) = HEADERS.get(bytes.len()) {
        sink[..8].copy_from_slice(header);
        4 + usize::from(bytes.len() >= 10) + usize::from(bytes.len() >= 100)
    } else {
        let header = Header::new(b'$', bytes.len() as u64);
        let header = header.as_bytes();
        sink[..header.len()].copy_from_slice(header);
        header.len()
    };
    let end = at + bytes.len();
    copy(&mut sink[at..end], bytes);
    sink[end..end + 2].copy_from_slice(b"\r\n");
    end + 2
}

/// Copies a string, without a call where it is as long as short values are.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    if let (16..=32, Some(first), Some(last)) =
        (from.len(), from.first_chunk::<16>(), from.last_chunk::<16>())
    {
        to[..16].copy_from_slice(first);
        let at = to.len() - 16;
        to[at..].copy_from_slice(last);
    } else {
        to.copy_from_slice(from);
    }
}

/// No value, as [`Out::null`] writes it.
#[must_use]
#[inline]
pub fn null(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    }
}

/// The reference of a marker in the output is the output's.
fn left_to_output(large: LargeRef, is_held: bool) -> Option<LargeRef> {
    if is_held {
        large.into_raw();
        return None;
    }
    Some(large)
}

/// `+OK`, as [`Out::ok`] writes it.
pub const OK: &[u8; 5] = b"+OK\r\n";

/// The sink of replies. The output's ring grows through the arena when a reply does not fit it, up to a bound; past
/// that the output [overflows](Output::overflowed): this reply and everything later is dropped, and the server closes
/// the connection.
///
/// What RESP2 lacks falls back: map to a flat array, set and push to an array, null to `$-1`, a boolean to `:1` or `:0`,
/// double, big number and verbatim text to a bulk string.
#[derive(Debug)]
pub struct Out<'a> {
    output: &'a mut Output,
    arena: &'a mut Arena,
    protocol: Protocol,
    bytes_max: usize,
    muted: bool,
}

impl<'a> Out<'a> {
    /// A sink into `output`, which may take up to a quarter of the arena.
    #[must_use]
    #[inline]
    pub fn new(output: &'a mut Output, arena: &'a mut Arena, protocol: Protocol) -> Out<'a> {
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

    /// HELLO changes it for its own reply already.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Bytes that can be written without growing the output past one ring, or past the buffer that it has. 0 also
    /// when the arena has no ring left.
    #[must_use]
    pub fn room(&self) -> usize {
        self.output.room(self.arena)
    }

    /// Makes room for `len` bytes at once, in a longer buffer if need be. `false`: there is none, and the output has
    /// overflowed.
    #[must_use]
    pub fn make_room(&mut self, len: usize) -> bool {
        self.muted || self.reserve(len)
    }

    /// Whether a reply was dropped because it did not fit.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.output.overflowed()
    }

    /// Whether nothing waits in the output.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
    }

    /// Where `len` bytes of replies that need no reference may be written at once, if there is such a place; then
    /// [`wrote`](Out::wrote).
    #[inline]
    pub fn sink(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.muted { None } else { self.output.sink(len, self.arena) }
    }

    /// The first `len` bytes of the sink are written.
    #[inline]
    pub fn wrote(&mut self, len: usize) {
        self.output.wrote(len);
    }

    /// `+text`. The text must be free of CR and LF: ours, never a peer's.
    pub fn simple(&mut self, text: &str) {
        self.write([b"+", text.as_bytes(), b"\r\n"]);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.short(OK);
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
        match value {
            0.. => self.header(b':', value as u64),
            // What TTL and its kin answer where there is no time.
            -1 => self.short(b":-1\r\n"),
            -2 => self.short(b":-2\r\n"),
            _ => {
                let mut digits = [0; INTEGER_BYTES_MAX];
                let digits = write_i64(value, &mut digits);
                self.write([b":", digits, b"\r\n"]);
            }
        }
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if let Some(sink) = self.sink(bytes.len() + BULK_OVERHEAD_BYTES) {
            let len = write_bulk(sink, bytes);
            return self.wrote(len);
        }
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
        self.header(b'$', len as u64);
    }

    /// Bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.write([bytes, b"", b""]);
    }

    /// Two stretches of bytes that are encoded already.
    pub fn raw_parts(&mut self, [first, second]: [&[u8]; 2]) {
        self.write([first, second, b""]);
    }

    /// A bulk string that is a large value of `len` bytes. `true`: the output now holds a reference, so take one for it;
    /// it comes back from [`Output::consumed`] or [`Output::release`]. `false`: it does not, for the output overflowed, is
    /// muted, or `len` is 0.
    #[must_use]
    pub fn large(&mut self, id: LargeId, len: u64) -> bool {
        self.large_part(id, 0, len)
    }

    /// As [`large`](Out::large), for `len` bytes of the value from `offset` on.
    #[must_use]
    pub fn large_part(&mut self, id: LargeId, offset: u64, len: u64) -> bool {
        let header = Header::new(b'$', len);
        // One reservation for all three, so that no marker is left without its CR and LF.
        if !self.reserve(header.as_bytes().len() + MARKER_BYTES + 2) {
            return false;
        }
        self.write([header.as_bytes(), b"", b""]);
        let held = self.large_marker(id, offset, len);
        self.write([b"\r\n", b"", b""]);
        held
    }

    /// The same with a reference that the output takes over; it comes back if the output holds none.
    #[must_use]
    pub fn give_large(&mut self, large: LargeRef, len: u64) -> Option<LargeRef> {
        let is_held = self.large(large.id(), len);
        left_to_output(large, is_held)
    }

    /// `len` bytes of a large value that holds encoded replies, without a header. The result as for
    /// [`large`](Out::large).
    #[must_use]
    pub fn large_raw(&mut self, id: LargeId, len: u64) -> bool {
        self.large_marker(id, 0, len)
    }

    /// The same with a reference, as [`give_large`](Out::give_large).
    #[must_use]
    pub fn give_large_raw(&mut self, large: LargeRef, len: u64) -> Option<LargeRef> {
        let is_held = self.large_raw(large.id(), len);
        left_to_output(large, is_held)
    }

    fn large_marker(&mut self, id: LargeId, offset: u64, len: u64) -> bool {
        if len == 0 || !self.reserve(MARKER_BYTES) {
            return false;
        }
        self.output.append_large(id, (offset, len), self.arena);
        true
    }

    /// No value: `$-1`, or `_`.
    #[inline]
    pub fn null(&mut self) {
        self.short(null(self.protocol));
    }

    /// No array (an aborted EXEC): `*-1`, or `_`.
    pub fn null_array(&mut self) {
        self.by_protocol(b"*-1\r\n", b"_\r\n");
    }

    /// The header of an array of `count` replies, which follow.
    #[inline]
    pub fn array(&mut self, count: usize) {
        self.header(b'*', count as u64);
    }

    /// The header of a map of `count` pairs; key and value of each follow.
    pub fn map(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', 2 * count as u64),
            Protocol::Resp3 => self.header(b'%', count as u64),
        }
    }

    /// The header of a set of `count` replies, which follow.
    pub fn set(&mut self, count: usize) {
        self.header(if self.protocol == Protocol::Resp2 { b'*' } else { b'~' }, count as u64);
    }

    /// The header of a pair among an array's replies, where the protocol has it ([`has_pairs`](Out::has_pairs)).
    pub fn pair(&mut self) {
        if self.has_pairs() {
            self.array(2);
        }
    }

    /// Whether pairs are arrays of their own, as in RESP3, rather than two replies one after the other.
    #[must_use]
    pub fn has_pairs(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// The header of a push of `count` replies, which follow.
    pub fn push(&mut self, count: usize) {
        self.header(if self.protocol == Protocol::Resp2 { b'*' } else { b'>' }, count as u64);
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

    /// What comes before such a text of so many bytes; CR and LF follow it.
    pub fn text_header(&mut self, format: [u8; 3], len: usize) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk_header(len);
        }
        let header = Header::new(b'=', len as u64 + 4);
        self.write([header.as_bytes(), &[format[0], format[1], format[2], b':'], b""]);
    }

    /// A type byte, a number, CR and LF.
    #[inline]
    fn header(&mut self, kind: u8, number: u64) {
        if let Some((header, len)) = short_header(kind, number)
            && let Some(sink) = self.sink(header.len())
        {
            sink[..header.len()].copy_from_slice(&header);
            return self.wrote(len);
        }
        let header = Header::new(kind, number);
        self.write([header.as_bytes(), b"", b""]);
    }

    /// A reply that is always the same few bytes.
    #[inline]
    fn short(&mut self, reply: &[u8]) {
        match self.sink(reply.len()) {
            Some(sink) => {
                sink[..reply.len()].copy_from_slice(reply);
                self.wrote(reply.len());
            }
            None => self.write([reply, b"", b""]),
        }
    }

    fn by_protocol(&mut self, resp2: &[u8], resp3: &[u8]) {
        self.short(if self.protocol == Protocol::Resp2 { resp2 } else { resp3 });
    }

    /// Appends three parts, all or nothing.
    #[inline]
    fn write(&mut self, parts: [&[u8]; 3]) {
        if self.reserve(parts.iter().map(|part| part.len()).sum()) {
            self.output.append(parts, self.arena);
        }
    }

    /// Makes room for `len` bytes. `false`: there is none, or nothing is to be written.
    #[inline]
    fn reserve(&mut self, len: usize) -> bool {
        !self.muted && self.output.reserve(len, self.bytes_max, self.arena)
    }
}

#[cfg(test)]
mod tests;
