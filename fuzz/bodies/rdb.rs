//! A file of Redis, as it is read to be imported: it ends, or is refused; no more memory is taken than its bytes can stand for; and what
//! was read comes back when it is written and read again.

use pannier::rdb::{RdbReader, RdbWriter, Record, has_field_times};
use std::io::Cursor;

/// By how much a byte of a file can stand for more, where it is compressed.
const EXPANSION_MAX: usize = 264;

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let (records, is_whole) = read(data);
    let of_collections: usize = records
        .iter()
        .map(|record| match record {
            Record::Part(part) => part.items.iter().map(Vec::len).sum(),
            Record::Packed { value, .. } => value.len(),
            Record::String { .. } | Record::Other { .. } => 0,
        })
        .sum();
    assert!(of_collections <= data.len() * EXPANSION_MAX, "{of_collections} bytes of {}", data.len());
    let mut writer = RdbWriter::new(Cursor::new(Vec::new())).expect("a vector takes everything");
    let (mut len, mut has_times) = (0, false);
    let is_kept = |record: &&Record| matches!(record, Record::String { .. } | Record::Packed { .. });
    for record in records.iter().filter(is_kept) {
        match record {
            Record::String { database, key, value, expiry_ms } => {
                writer.string(*database, (key, value), *expiry_ms).expect("a vector takes everything");
                len += key.len() + value.len();
            }
            Record::Packed { database, key, value, expiry_ms, .. } => {
                writer.value(*database, (key, value), *expiry_ms).expect("a vector takes everything");
                has_times |= has_field_times(value[0]);
            }
            Record::Part(_) | Record::Other { .. } => {}
        }
    }
    assert!(len <= data.len() * EXPANSION_MAX, "{len} bytes of {}", data.len());
    let written = writer.seal().expect("a vector takes everything").into_inner();
    assert_eq!(&written[..9], if has_times { b"REDIS0012" } else { b"REDIS0009" });
    let (again, is_again_whole) = read(&written);
    assert!(is_again_whole);
    let same = records.iter().filter(is_kept).eq(again.iter());
    assert!(same, "what was read, whole or not ({is_whole}), is written as something else");
}

/// The records before the end, or the first damage; and whether there was none.
fn read(data: &[u8]) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let Ok(mut reader) = RdbReader::new(data) else { return (records, false) };
    loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, true),
            Err(_) => return (records, false),
        }
    }
}
