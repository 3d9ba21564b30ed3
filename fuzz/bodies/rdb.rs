//! A file of Redis, as it is read to be imported: it ends, or is refused; no more memory is taken than its bytes can stand for; and what
//! was read comes back when it is written and read again.

use pannier::rdb::{RdbReader, RdbWriter, Record};

/// By how much a byte of a file can stand for more, where it is compressed.
const EXPANSION_MAX: usize = 264;

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let (records, is_whole) = read(data);
    let strings = records.iter().filter_map(|record| match record {
        Record::String { database, key, value, expiry_ms } => Some((*database, key, value, *expiry_ms)),
        Record::Other { .. } => None,
    });
    let mut writer = RdbWriter::new(Vec::new()).expect("a vector takes everything");
    let (mut count, mut len) = (0, 0);
    for (database, key, value, expiry_ms) in strings {
        writer.string(database, (key, value), expiry_ms).expect("a vector takes everything");
        count += 1;
        len += key.len() + value.len();
    }
    assert!(len <= data.len() * EXPANSION_MAX, "{len} bytes of {}", data.len());
    let written = writer.finish().expect("a vector takes everything");
    let (again, is_again_whole) = read(&written);
    assert!(is_again_whole && again.len() == count);
    let same = records.iter().filter(|record| matches!(record, Record::String { .. })).eq(again.iter());
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
