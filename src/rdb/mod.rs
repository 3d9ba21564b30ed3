//! RDB files, the snapshots of Redis and Valkey: read to import them, written to export to them.
//!
//! ```text
//!  "REDIS0011" | aux fields | SELECTDB n | RESIZEDB | [expiry] [idle, freq] type key value | … | EOF | CRC-64 (8)
//!               ╰─ one byte says what follows; lengths take 1, 2, 5 or 9 bytes; short strings may be numbers or LZF ─╯
//! ```
//! [`RdbReader`] goes through a file piece by piece and yields keys whose values are strings, with their expiry. Values of
//! other types are passed over and named, so that the importer can say what was left behind. Nothing here trusts a length: a
//! string grows as its bytes come. Versions 9 to 12 are known (Redis 5 to 7.4, Valkey to 8.1).
//!
//! | file | what lives there |
//! |---|---|
//! | `reader.rs` | records, from bytes |
//! | `values.rs` | values of types that are passed over |
//! | `writer.rs` | strings into a file that both load |
//! | `lzf.rs`, `crc64.rs` | the compression of strings; the checksum behind everything |

mod crc64;
mod lzf;
mod reader;
#[cfg(test)]
mod tests;
mod values;
mod writer;

pub use reader::{RdbError, RdbReader, Record, STRING_BYTES_MAX};
pub use values::ValueKind;
pub use writer::RdbWriter;

/// What a byte between keys says.
mod opcode {
    pub(super) const SLOT_INFO: u8 = 0xf4;
    pub(super) const FUNCTION2: u8 = 0xf5;
    pub(super) const MODULE_AUX: u8 = 0xf7;
    pub(super) const IDLE: u8 = 0xf8;
    pub(super) const FREQ: u8 = 0xf9;
    pub(super) const AUX: u8 = 0xfa;
    pub(super) const RESIZE_DB: u8 = 0xfb;
    pub(super) const EXPIRE_MS: u8 = 0xfc;
    pub(super) const EXPIRE_S: u8 = 0xfd;
    pub(super) const SELECT_DB: u8 = 0xfe;
    pub(super) const EOF: u8 = 0xff;
}

/// Bytes before the version: the magic.
const MAGIC: &[u8; 5] = b"REDIS";
/// Versions that are read.
const VERSION_MIN: u32 = 9;
const VERSION_MAX: u32 = 12;
