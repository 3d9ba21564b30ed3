//! RDB files, the snapshots of Redis and Valkey: read to import them, written to export to them.
//!
//! ```text
//!  "REDIS0011" | aux fields | SELECTDB n | RESIZEDB | [expiry] [idle, freq] type key value | … | EOF | CRC-64 (8)
//!               ╰─ one byte says what follows; lengths take 1, 2, 5 or 9 bytes; short strings may be numbers or LZF ─╯
//! ```
//! [`RdbReader`] goes through a file piece by piece and yields keys whose values are strings, hashes or sets, with their
//! expiry. Collections that are packed into one string come as they are: RESTORE of the server is the one decoder of those,
//! and [`dump_payload`] makes its argument. Values of other types are passed over and named, so that the importer can say
//! what was left behind. Nothing here trusts a length: a string grows as its bytes come. Versions 9 to 12 are known (Redis 5 to 7.4, Valkey to 8.1).
//!
//! | file | what lives there |
//! |---|---|
//! | `reader.rs` | records, from bytes |
//! | `values.rs` | where values end |
//! | `payload.rs` | what RESTORE takes and DUMP gives, beside what a file has |
//! | `writer.rs` | values into a file that both load |
//! | `lzf.rs` | the compression of strings |

mod lzf;
mod payload;
mod reader;
#[cfg(test)]
mod tests;
mod values;
mod writer;

pub use payload::{dump_payload, dumped, has_field_times, part_payload};
pub use reader::{PART_BYTES, Part, RdbError, RdbReader, Record, STRING_BYTES_MAX};
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
