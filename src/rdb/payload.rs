//! A value in a file, and the same value for RESTORE and from DUMP: a type, its bytes, and (there alone) a footer.

use super::values::ValueKind;
use crate::wire::crc64::crc64;

/// The version that a footer names: that of Redis 7.0; for a hash with times of fields that of Redis 7.4.
const VERSION: u16 = 10;
const VERSION_FIELD_TIMES: u16 = 12;
/// Bytes of the version and of the checksum.
const FOOTER_BYTES: usize = 10;
/// The layouts of collections, string by string.
pub(super) const PLAIN_SET: u8 = 2;
pub(super) const PLAIN_HASH: u8 = 4;

/// Whether a value of this layout, which stands before it, has times of fields: Redis 7.4 is the first that loads it.
#[must_use]
pub const fn has_field_times(layout: u8) -> bool {
    matches!(layout, 22..=25)
}

/// What RESTORE takes: a type and a value as they stand in a file, and the footer.
#[must_use]
pub fn dump_payload(mut value: Vec<u8>) -> Vec<u8> {
    let has_times = value.first().is_some_and(|layout| has_field_times(*layout));
    value.extend(if has_times { VERSION_FIELD_TIMES } else { VERSION }.to_le_bytes());
    let sum = crc64(0, &value);
    value.extend(sum.to_le_bytes());
    value
}

/// What RESTORE takes for a collection of these strings: members, or fields and values in turn.
#[must_use]
pub fn part_payload(kind: ValueKind, items: &[Vec<u8>]) -> Vec<u8> {
    let (layout, count) = match kind {
        ValueKind::Hash => (PLAIN_HASH, items.len() / 2),
        _ => (PLAIN_SET, items.len()),
    };
    let mut value = vec![layout];
    push_length(&mut value, count as u64);
    for item in items {
        push_length(&mut value, item.len() as u64);
        value.extend_from_slice(item);
    }
    dump_payload(value)
}

/// What DUMP has answered, without its footer: what stands in a file, and the kind of it. `None`: it is nothing that
/// DUMP answers.
#[must_use]
pub fn dumped(payload: &[u8]) -> Option<(ValueKind, &[u8])> {
    let (value, footer) = payload.split_at_checked(payload.len().checked_sub(FOOTER_BYTES)?)?;
    let sum = crc64(crc64(0, value), &footer[..2]);
    let kind = ValueKind::of(*value.first()?)?;
    (footer[2..] == sum.to_le_bytes()).then_some((kind, value))
}

/// A length as it stands in a file.
pub(super) fn push_length(bytes: &mut Vec<u8>, len: u64) {
    match len {
        0..0x40 => bytes.push(len as u8),
        0x40..0x4000 => bytes.extend((0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            bytes.push(0x80);
            bytes.extend((len as u32).to_be_bytes());
        }
        _ => {
            bytes.push(0x81);
            bytes.extend(len.to_be_bytes());
        }
    }
}
