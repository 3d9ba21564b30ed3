//! Where the entries of a serialized collection lie: each is found, and fetched, without being trusted.

use super::super::{Payload, Place};
use crate::{
    mutation::CollectionKind,
    store::Store,
    time::Millis,
    wire::{
        lzf::{PACKED_RUN_BYTES_MAX, Run},
        number::{INTEGER_BYTES_MAX, write_i64},
        packed::{
            ELEMENT_HEAD_BYTES_MAX, ELEMENT_TAIL_BYTES_MAX, Element, PACKING_HEAD_BYTES_MAX, Packing,
            PackingHead, PackingKind, TERMINATOR,
        },
        rdb::{self, Header},
    },
};

/// How the entries lie in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// String by string; so many entries are left.
    Plain {
        left: u64,
    },
    Packed(PackedLayout),
}

/// Entries packed into one string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedLayout {
    packing: Packing,
    /// Elements that it says it has.
    count: Option<u64>,
    /// Where the last element of a ziplist begins.
    last: u64,
    /// Elements before the place, the length of the last of them, and (intset) its number.
    read: u64,
    previous_len: u64,
    previous: i64,
}

/// Where an element is.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Number(i64),
    Bytes {
        place: Place,
        len: u64,
    },
    /// Packed by LZF.
    Runs {
        place: Place,
        end: u64,
        len: u64,
    },
}

impl Source {
    pub(super) fn len(self) -> u64 {
        match self {
            Source::Number(_) => INTEGER_BYTES_MAX as u64,
            Source::Bytes { len, .. } | Source::Runs { len, .. } => len,
        }
    }
}

/// How the time of a field is written: before it where entries lie string by string, else behind its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// No entry has a place for one.
    None,
    /// In Unix milliseconds; 0: none.
    Unix,
    /// As milliseconds from this time on, and 1; 0: none.
    From(u64),
}

impl Times {
    /// The time that a number stands for. `None`: one that no field can have.
    fn read(self, number: u64) -> Option<Option<Millis>> {
        let Some(behind) = number.checked_sub(1) else { return Some(None) };
        let time = match self {
            Times::From(first) => first.checked_add(behind)?,
            Times::Unix | Times::None => number,
        };
        (time <= rdb::FIELD_TIME_MAX).then_some(Some(Millis(time)))
    }
}

/// Where the next entries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) kind: CollectionKind,
    pub(super) layout: Layout,
    pub(super) times: Times,
    pub(super) place: Place,
    pub(super) end: u64,
}

/// An entry, and where the one behind it comes from.
pub(super) struct Next {
    pub(super) field: Source,
    pub(super) value: Option<Source>,
    pub(super) expiry: Option<Millis>,
    pub(super) after: Cursor,
}

impl Cursor {
    /// The entries of a string between two places. `None`: it is none of its kind.
    pub(super) fn packed(
        store: &Store,
        source: Payload<'_>,
        (kind, packing, times): (CollectionKind, PackingKind, Times),
        (place, end): (Place, u64),
    ) -> Option<Cursor> {
        let mut buffer = [0; PACKING_HEAD_BYTES_MAX];
        let head = source.read(store, place, end, &mut buffer);
        let PackingHead { packing, start, end: stop, count, last } =
            packing.read_head(head, end - place.offset)?;
        let (start, stop) = (place.offset + start, place.offset + stop);
        if stop < end {
            let mut terminator = [0];
            source.read(store, Place { offset: stop, ..place }, end, &mut terminator);
            if terminator != [TERMINATOR] {
                return None;
            }
        }
        let last = place.offset + last;
        let packed = PackedLayout { packing, count, last, read: 0, previous_len: 0, previous: i64::MIN };
        Some(Cursor {
            kind,
            layout: Layout::Packed(packed),
            times,
            place: Place { offset: start, ..place },
            end: stop,
        })
    }

    /// The next entry. `Some(None)`: that was all. `None`: what is there makes no sense.
    pub(super) fn next(mut self, store: &Store, source: Payload<'_>) -> Option<Option<Next>> {
        match &mut self.layout {
            Layout::Plain { left: 0 } => return Some(None),
            Layout::Plain { left } => *left -= 1,
            Layout::Packed(packed) if self.place.offset == self.end => {
                let is_met = packed.count.is_none_or(|count| count == packed.read);
                return is_met.then_some(None);
            }
            Layout::Packed(_) => {}
        }
        let is_plain_layout = matches!(self.layout, Layout::Plain { .. });
        let has_time = self.times != Times::None;
        let mut number = 0;
        if has_time && is_plain_layout {
            number = self.length(store, source)?;
        }
        let field = self.element(store, source)?;
        let value = if self.kind.has_values() { Some(self.element(store, source)?) } else { None };
        if has_time && !is_plain_layout {
            let Source::Number(time) = self.element(store, source)? else { return None };
            number = u64::try_from(time).ok()?;
        }
        let expiry = self.times.read(number)?;
        Some(Some(Next { field, value, expiry, after: self }))
    }

    /// The length at the place, which goes on behind it.
    fn length(&mut self, store: &Store, source: Payload<'_>) -> Option<u64> {
        source.piece(store, &mut self.place);
        let mut buffer = [0; rdb::HEADER_BYTES_MAX];
        match rdb::read_header(source.read(store, self.place, self.end, &mut buffer))? {
            (Header::Bytes(len), used) => {
                self.place.offset += used as u64;
                Some(len)
            }
            _ => None,
        }
    }

    /// The element at the place, which goes on behind it.
    fn element(&mut self, store: &Store, source: Payload<'_>) -> Option<Source> {
        // Has the place know where it lies, for this read and those behind it.
        source.piece(store, &mut self.place);
        match &mut self.layout {
            Layout::Plain { .. } => self.string(store, source),
            Layout::Packed(packed) => {
                let (place, end) = (&mut self.place, self.end);
                let mut buffer = [0; ELEMENT_HEAD_BYTES_MAX];
                let head = source.read(store, *place, end, &mut buffer);
                let found = packed.packing.read(head, packed.previous_len)?;
                let (mut tail, mut behind) = ([0; ELEMENT_TAIL_BYTES_MAX], [0; ELEMENT_TAIL_BYTES_MAX]);
                let tail = packed.packing.tail(found.len, &mut tail);
                let len = found.len + tail.len() as u64;
                if len > end - place.offset {
                    return None;
                }
                let at = Place { offset: place.offset + found.len, ..*place };
                if source.read(store, at, end, &mut behind[..tail.len()]) != tail {
                    return None;
                }
                let is_last = place.offset + len == end;
                if packed.packing == Packing::Ziplist && is_last && place.offset != packed.last {
                    return None;
                }
                let element = match found.element {
                    // Ascending, so that none comes twice.
                    Element::Number(number) if matches!(packed.packing, Packing::Intset(_)) => {
                        if packed.read > 0 && number <= packed.previous {
                            return None;
                        }
                        packed.previous = number;
                        Source::Number(number)
                    }
                    Element::Number(number) => Source::Number(number),
                    Element::Bytes { start, len } => {
                        Source::Bytes { place: Place { offset: place.offset + start, ..*place }, len }
                    }
                };
                packed.read += 1;
                packed.previous_len = len;
                place.offset += len;
                Some(element)
            }
        }
    }

    /// The string at the place, which goes on behind it.
    fn string(&mut self, store: &Store, source: Payload<'_>) -> Option<Source> {
        let mut buffer = [0; rdb::HEADER_BYTES_MAX];
        let (header, used) = rdb::read_header(source.read(store, self.place, self.end, &mut buffer))?;
        self.place.offset += used as u64;
        let (place, left) = (self.place, self.end - self.place.offset);
        let (element, len) = match header {
            Header::Number(number) => (Source::Number(number.into()), 0),
            Header::Bytes(len) => (Source::Bytes { place, len }, len),
            Header::Packed { packed_len, len } => {
                let is_possible = packed_len <= left && len <= rdb::unpacked_len_max(packed_len);
                let end = is_possible.then(|| place.offset + packed_len)?;
                (Source::Runs { place, end, len }, packed_len)
            }
        };
        if len > left {
            return None;
        }
        self.place.offset += len;
        Some(element)
    }
}

/// Appends an element to a buffer that has room for it. `None`: it is damaged, or there is not so much room.
pub(super) fn fetch(store: &Store, payload: Payload<'_>, source: Source, buffer: &mut Vec<u8>) -> Option<()> {
    let start = buffer.len();
    match source {
        Source::Number(number) => {
            buffer.extend_from_slice(write_i64(number, &mut [0; INTEGER_BYTES_MAX]));
        }
        _ if source.len() > (buffer.capacity() - start) as u64 => return None,
        Source::Bytes { place, len } => {
            buffer.resize(start + len as usize, 0);
            let read = payload.read(store, place, place.offset + len, &mut buffer[start..]).len();
            if read as u64 != len {
                return None;
            }
        }
        Source::Runs { place, end, len } => {
            let (mut place, mut packed) = (place, [0; PACKED_RUN_BYTES_MAX]);
            let end_len = start + len as usize;
            while place.offset < end {
                payload.piece(store, &mut place);
                let packed = payload.read(store, place, end, &mut packed);
                let (run, used) = Run::read(packed)?;
                match run {
                    Run::Literal { len } if buffer.len() + len <= end_len => {
                        buffer.extend_from_slice(&packed[1..=len]);
                    }
                    Run::Copy { back, len }
                        if back <= buffer.len() - start && buffer.len() + len <= end_len =>
                    {
                        (0..len).for_each(|_| buffer.push(buffer[buffer.len() - back]));
                    }
                    _ => return None,
                }
                place.offset += used as u64;
            }
            if buffer.len() != end_len {
                return None;
            }
        }
    }
    Some(())
}
