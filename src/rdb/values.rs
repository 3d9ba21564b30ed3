//! Where values end that are not read: their elements are counted by the file, and each takes bytes of it.

use super::reader::{RdbError, RdbReader};
use std::io::Read;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKind {
    String,
    List,
    Set,
    Hash,
    SortedSet,
    Stream,
    Module,
}

impl ValueKind {
    /// By the byte before the key, which tells the layout too.
    pub(super) fn of(byte: u8) -> Option<ValueKind> {
        match byte {
            0 => Some(ValueKind::String),
            1 | 10 | 14 | 18 => Some(ValueKind::List),
            2 | 11 | 20 => Some(ValueKind::Set),
            4 | 9 | 13 | 16 | 22..=25 => Some(ValueKind::Hash),
            3 | 5 | 12 | 17 => Some(ValueKind::SortedSet),
            15 | 19 | 21 => Some(ValueKind::Stream),
            6 | 7 => Some(ValueKind::Module),
            _ => None,
        }
    }

    /// What to call keys of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ValueKind::String => "string",
            ValueKind::List => "list",
            ValueKind::Set => "set",
            ValueKind::Hash => "hash",
            ValueKind::SortedSet => "sorted set",
            ValueKind::Stream => "stream",
            ValueKind::Module => "module's value",
        }
    }
}

/// What stands before each part of a module's value.
mod module_part {
    pub(super) const END: u64 = 0;
    pub(super) const SIGNED: u64 = 1;
    pub(super) const UNSIGNED: u64 = 2;
    pub(super) const FLOAT: u64 = 3;
    pub(super) const DOUBLE: u64 = 4;
    pub(super) const STRING: u64 = 5;
}

/// Bytes of a stream's id as it stands in a list of what is pending, and of a time.
const RAW_ID_BYTES: u64 = 16;
const TIME_BYTES: u64 = 8;

impl<R: Read> RdbReader<R> {
    /// Passes over a value of a layout that [`ValueKind::of`] knows.
    pub(super) fn skip_value(&mut self, layout: u8) -> Result<(), RdbError> {
        match layout {
            // Plain elements.
            1 | 2 | 14 => self.each(|reader| reader.skip_string()),
            3 => self.each(|reader| {
                reader.skip_string()?;
                // A score as text; these three lengths stand for not-a-number and the infinities.
                let len = reader.byte()?;
                if len >= 253 { Ok(()) } else { reader.skip(len.into()) }
            }),
            4 => self.each(|reader| {
                reader.skip_string()?;
                reader.skip_string()
            }),
            5 => self.each(|reader| {
                reader.skip_string()?;
                reader.skip(8)
            }),
            6 => Err(RdbError::OldModule(self.offset())),
            7 => {
                self.length()?;
                self.skip_module()
            }
            // Packed into one string.
            9..=13 | 16 | 17 | 20 => self.skip_string(),
            18 => self.each(|reader| {
                reader.length()?;
                reader.skip_string()
            }),
            15 | 19 | 21 => self.skip_stream(layout),
            // Hashes with times of fields: the first of them, unless a release candidate wrote it; then string by string, or
            // a listpack.
            22 | 24 => {
                self.skip_first_time(layout)?;
                self.each(|reader| {
                    reader.length()?;
                    reader.skip_string()?;
                    reader.skip_string()
                })
            }
            23 | 25 => {
                self.skip_first_time(layout)?;
                self.skip_string()
            }
            _ => Err(self.damaged()),
        }
    }

    fn skip_first_time(&mut self, layout: u8) -> Result<(), RdbError> {
        if layout >= 24 { self.skip(TIME_BYTES) } else { Ok(()) }
    }

    /// A length, and so many of something.
    fn each(&mut self, one: impl Fn(&mut Self) -> Result<(), RdbError>) -> Result<(), RdbError> {
        for _ in 0..self.length()? {
            one(self)?;
        }
        Ok(())
    }

    fn lengths(&mut self, count: usize) -> Result<(), RdbError> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    /// What a module has written behind its id.
    pub(super) fn skip_module(&mut self) -> Result<(), RdbError> {
        loop {
            match self.length()? {
                module_part::END => return Ok(()),
                module_part::SIGNED | module_part::UNSIGNED => _ = self.length()?,
                module_part::FLOAT => self.skip(4)?,
                module_part::DOUBLE => self.skip(8)?,
                module_part::STRING => self.skip_string()?,
                _ => return Err(self.damaged()),
            }
        }
    }

    /// Entries, ids and counts, consumer groups. The second layout has more ids, the third one more times.
    fn skip_stream(&mut self, layout: u8) -> Result<(), RdbError> {
        self.each(|reader| {
            reader.skip_string()?;
            reader.skip_string()
        })?;
        // How many entries, and the last id; the first and the highest removed id, and how many were ever added.
        self.lengths(if layout >= 19 { 8 } else { 3 })?;
        self.each(|reader| {
            reader.skip_string()?;
            reader.lengths(if layout >= 19 { 3 } else { 2 })?;
            reader.each(|reader| {
                reader.skip(RAW_ID_BYTES + TIME_BYTES)?;
                reader.length().map(drop)
            })?;
            reader.each(|reader| {
                reader.skip_string()?;
                reader.skip(if layout >= 21 { 2 * TIME_BYTES } else { TIME_BYTES })?;
                reader.each(|reader| reader.skip(RAW_ID_BYTES))
            })
        })
    }
}
