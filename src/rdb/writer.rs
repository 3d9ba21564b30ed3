//! Strings into a file that Redis and Valkey load.

use super::crc64::crc64;
use super::{MAGIC, VERSION_MIN, opcode};
use std::io::{self, Write};

/// The byte before a key whose value is a string.
const STRING: u8 = 0;

/// Writes a file, key by key.
pub struct RdbWriter<W> {
    sink: W,
    crc: u64,
    database: Option<u64>,
}

impl<W: Write> RdbWriter<W> {
    /// Writes the header. The version is the lowest one: nothing here needs a later one, and all load it.
    ///
    /// # Errors
    /// What the system says; so for all others.
    pub fn new(sink: W) -> io::Result<RdbWriter<W>> {
        let mut writer = RdbWriter { sink, crc: 0, database: None };
        writer.write(MAGIC)?;
        writer.write(format!("{VERSION_MIN:04}").as_bytes())?;
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
        if self.database != Some(database) {
            self.write(&[opcode::SELECT_DB])?;
            self.length(database)?;
            self.database = Some(database);
        }
        if let Some(expiry_ms) = expiry_ms {
            self.write(&[opcode::EXPIRE_MS])?;
            self.write(&expiry_ms.to_le_bytes())?;
        }
        self.write(&[STRING])?;
        for bytes in [key, value] {
            self.length(bytes.len() as u64)?;
            self.write(bytes)?;
        }
        Ok(())
    }

    /// Ends the file; what it is written to.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> io::Result<W> {
        self.write(&[opcode::EOF])?;
        let crc = self.crc;
        self.write(&crc.to_le_bytes())?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn length(&mut self, len: u64) -> io::Result<()> {
        match len {
            0..0x40 => self.write(&[len as u8]),
            0x40..0x4000 => self.write(&(0x4000 | len as u16).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.write(&[0x80])?;
                self.write(&(len as u32).to_be_bytes())
            }
            _ => {
                self.write(&[0x81])?;
                self.write(&len.to_be_bytes())
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc64(self.crc, bytes);
        self.sink.write_all(bytes)
    }
}
