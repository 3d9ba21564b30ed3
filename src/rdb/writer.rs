//! Values into a file that Redis and Valkey load.
//!
//! ```text
//!  "REDIS" | 0009, which all load | … | checksum        a hash with times of fields came: 0012, and the checksum with that
//! ```

use super::payload::{has_field_times, push_length};
use super::{MAGIC, VERSION_MAX, VERSION_MIN, opcode};
use crate::wire::crc64::crc64;
use std::io::{self, Seek, SeekFrom, Write};

/// The byte before a key whose value is a string.
const STRING: u8 = 0;

/// Writes a file, key by key.
pub struct RdbWriter<W> {
    sink: W,
    crc: u64,
    /// The checksum, had the header been that of the later version.
    later_crc: u64,
    /// A value has times of fields.
    has_field_times: bool,
    database: Option<u64>,
}

impl<W: Write> RdbWriter<W> {
    /// Writes the header. The version is the lowest one: all load it, and [`seal`](RdbWriter::seal) puts another there
    /// if that was needed.
    ///
    /// # Errors
    /// What the system says; so for all others.
    pub fn new(sink: W) -> io::Result<RdbWriter<W>> {
        let (first, later) = (header(VERSION_MIN), header(VERSION_MAX));
        let (crc, later_crc) = (crc64(0, &first), crc64(0, &later));
        let mut writer = RdbWriter { sink, crc, later_crc, has_field_times: false, database: None };
        writer.sink.write_all(&first)?;
        Ok(writer)
    }

    /// A key with a string; `expiry_ms` is in Unix milliseconds.
    ///
    /// # Errors
    /// What the system says.
    pub fn string(
        &mut self,
        database: u64,
        (key, value): (&[u8], &[u8]),
        expiry_ms: Option<u64>,
    ) -> io::Result<()> {
        self.key(database, STRING, key, expiry_ms)?;
        self.length(value.len() as u64)?;
        self.write(value)
    }

    /// A key with a value as [`dumped`](super::dumped) gives it: its type, then its bytes.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// Without a type.
    pub fn value(
        &mut self,
        database: u64,
        (key, value): (&[u8], &[u8]),
        expiry_ms: Option<u64>,
    ) -> io::Result<()> {
        self.has_field_times |= has_field_times(value[0]);
        self.key(database, value[0], key, expiry_ms)?;
        self.write(&value[1..])
    }

    fn key(&mut self, database: u64, layout: u8, key: &[u8], expiry_ms: Option<u64>) -> io::Result<()> {
        if self.database != Some(database) {
            self.write(&[opcode::SELECT_DB])?;
            self.length(database)?;
            self.database = Some(database);
        }
        if let Some(expiry_ms) = expiry_ms {
            self.write(&[opcode::EXPIRE_MS])?;
            self.write(&expiry_ms.to_le_bytes())?;
        }
        self.write(&[layout])?;
        self.length(key.len() as u64)?;
        self.write(key)
    }

    /// Whether a value had times of fields, so that Redis 7.4 is the first that loads the file.
    pub fn has_field_times(&self) -> bool {
        self.has_field_times
    }

    /// Ends a file that cannot be gone back in; what it is written to. Its version stays the first one, which no reader
    /// minds: each goes by the layouts that it knows.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> io::Result<W> {
        self.write(&[opcode::EOF])?;
        let crc = self.crc;
        self.sink.write_all(&crc.to_le_bytes())?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn length(&mut self, len: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(9);
        push_length(&mut bytes, len);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc64(self.crc, bytes);
        self.later_crc = crc64(self.later_crc, bytes);
        self.sink.write_all(bytes)
    }
}

impl<W: Write + Seek> RdbWriter<W> {
    /// Ends a file whose first byte is the sink's first one; what it is written to. The header says the version that it needs.
    ///
    /// # Errors
    /// What the system says.
    pub fn seal(mut self) -> io::Result<W> {
        if !self.has_field_times {
            return self.finish();
        }
        self.crc = self.later_crc;
        let mut sink = self.finish()?;
        sink.seek(SeekFrom::Start(0))?;
        sink.write_all(&header(VERSION_MAX))?;
        sink.seek(SeekFrom::End(0))?;
        sink.flush()?;
        Ok(sink)
    }
}

fn header(version: u32) -> Vec<u8> {
    [MAGIC, format!("{version:04}").as_bytes()].concat()
}
