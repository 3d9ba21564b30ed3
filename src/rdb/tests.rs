use super::*;
use std::io;

fn read(bytes: &[u8]) -> Result<Vec<Record>, RdbError> {
    let mut reader = RdbReader::new(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(records)
}

/// A file of these bytes between header and checksum.
fn file(version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("REDIS{version:04}").into_bytes();
    bytes.extend_from_slice(body);
    bytes.push(opcode::EOF);
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

fn string(key: &[u8], value: &[u8]) -> Record {
    Record::String { database: 0, key: key.to_vec(), value: value.to_vec(), expiry_ms: None }
}

#[test]
fn what_is_written_is_read() {
    let lens = [0, 1, 63, 64, 16_383, 16_384, 100_000];
    let mut writer = RdbWriter::new(Vec::new()).unwrap();
    let value = |len: usize| vec![len as u8; len];
    for len in lens {
        writer.string(0, (format!("key {len}").as_bytes(), &value(len)), None).unwrap();
    }
    writer.string(3, (b"later", b"x"), Some(1_700_000_000_123)).unwrap();
    let bytes = writer.finish().unwrap();
    let records = read(&bytes).unwrap();
    for (record, len) in records.iter().zip(lens) {
        assert_eq!(*record, string(format!("key {len}").as_bytes(), &value(len)));
    }
    let last = Record::String {
        database: 3,
        key: b"later".to_vec(),
        value: b"x".to_vec(),
        expiry_ms: Some(1_700_000_000_123),
    };
    assert_eq!(records.last(), Some(&last));
    assert_eq!(records.len(), lens.len() + 1);
    let mut damaged = bytes;
    damaged[30] ^= 1;
    assert!(read(&damaged).is_err());
}

#[test]
fn strings_may_be_numbers_or_compressed_and_expiries_seconds() {
    let body = b"\xfa\x03ver\x01x\xfe\x00\xfb\x04\x01\
        \x00\x01a\xc0\xff\
        \x00\x01b\xc1\x00\x80\
        \xfd\x01\x00\x00\x00\x00\x01c\xc2\x15\xcd\x5b\x07\
        \xf8\x05\xf9\x07\x00\x01d\xc3\x05\x14\x00a\xe0\x0a\x00";
    let expected = [
        string(b"a", b"-1"),
        string(b"b", b"-32768"),
        Record::String {
            database: 0,
            key: b"c".to_vec(),
            value: b"123456789".to_vec(),
            expiry_ms: Some(1000),
        },
        string(b"d", &[b'a'; 20]),
    ];
    for version in [9, 10, 11, 12] {
        assert_eq!(read(&file(version, body)).unwrap(), expected);
    }
    assert!(matches!(read(&file(8, body)), Err(RdbError::Version(8))));
    assert!(matches!(read(b"not an rdb"), Err(RdbError::NotRdb)));
    assert!(matches!(read(b"REDIS"), Err(RdbError::NotRdb)));
}

#[test]
fn other_types_are_passed_over_and_named() {
    let cases: [(&[u8], ValueKind); 7] = [
        (b"\x01\x01k\x02\x01a\x01b", ValueKind::List),
        (b"\x12\x01k\x01\x02\x01p", ValueKind::List),
        (b"\x03\x01k\x02\x01a\x011\x01b\xfe", ValueKind::SortedSet),
        (b"\x05\x01k\x01\x01a12345678", ValueKind::SortedSet),
        (b"\x0f\x01k\x01\x01i\x01p\x01\x02\x03\x00", ValueKind::Stream),
        (
            b"\x15\x01k\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01g\x01\x02\x03\x01aaaaaaaaaaaaaaaabbbbbbbb\x01\
            \x01\x01cddddddddeeeeeeee\x01aaaaaaaaaaaaaaaa",
            ValueKind::Stream,
        ),
        (b"\x07\x01k\x05\x02\x07\x05\x01s\x04dddddddd\x00", ValueKind::Module),
    ];
    for (body, kind) in cases {
        let body = [body, b"\x00\x01z\x01y"].concat();
        let other = Record::Other { database: 0, key: b"k".to_vec(), kind };
        assert_eq!(read(&file(11, &body)).unwrap(), [other, string(b"z", b"y")], "{kind:?}");
    }
    assert!(matches!(read(&file(11, b"\x06\x01k\x05")), Err(RdbError::OldModule(_))));
}

#[test]
fn collections_come_as_strings_or_as_they_are_packed() {
    let part = |kind, items: &[&[u8]], is_first| {
        Record::Part(Part {
            database: 0,
            key: b"k".to_vec(),
            kind,
            items: items.iter().map(|item| item.to_vec()).collect(),
            is_first,
            expiry_ms: Some(1000),
        })
    };
    let expires = b"\xfd\x01\x00\x00\x00";
    let cases: [(&[u8], Record); 2] = [
        (b"\x02\x01k\x02\x01a\xc0\x05", part(ValueKind::Set, &[b"a", b"5"], true)),
        (b"\x04\x01k\x01\x01f\x01v", part(ValueKind::Hash, &[b"f", b"v"], true)),
    ];
    for (body, record) in cases {
        let body = [expires, body, b"\x00\x01z\x01y"].concat();
        assert_eq!(read(&file(11, &body)).unwrap(), [record, string(b"z", b"y")]);
    }
    let packed: [(u8, &[u8], ValueKind); 7] = [
        (0x0b, b"\x01p", ValueKind::Set),
        (0x14, b"\xc3\x02\x01\x00p", ValueKind::Set),
        (0x10, b"\x01p", ValueKind::Hash),
        (0x16, b"\x02\x00\x01f\x01v\x81\0\0\x01\x8b\xcf\xe5\x68\x7b\x01g\xc0\x05", ValueKind::Hash),
        (0x17, b"\x01p", ValueKind::Hash),
        (0x18, b"\0\0\0\0\0\0\0\0\x01\x00\x01f\x01v", ValueKind::Hash),
        (0x19, b"\0\0\0\0\0\0\0\0\x01p", ValueKind::Hash),
    ];
    for (layout, value, kind) in packed {
        let body = [&[layout, 1, b'k'], value, b"\x00\x01z\x01y"].concat();
        let (key, value) = (b"k".to_vec(), [&[layout], value].concat());
        let payload = dump_payload(value.clone());
        assert_eq!(dumped(&payload), Some((kind, &value[..])));
        let version = if layout >= 22 { 12 } else { 10 };
        assert_eq!(payload[value.len()..][..2], [version, 0], "what loads it is as old as can be");
        let record = Record::Packed { database: 0, key, kind, value, expiry_ms: None };
        assert_eq!(read(&file(11, &body)).unwrap(), [record, string(b"z", b"y")]);
    }
}

#[test]
fn a_long_collection_comes_in_parts() {
    let members: Vec<Vec<u8>> = (0..5).map(|index| vec![b'a' + index; PART_BYTES / 2 - 10]).collect();
    let payload = part_payload(ValueKind::Set, &members);
    let (kind, value) = dumped(&payload).unwrap();
    assert_eq!(kind, ValueKind::Set);
    let mut writer = RdbWriter::new(Vec::new()).unwrap();
    writer.value(0, (b"k", value), None).unwrap();
    let records = read(&writer.finish().unwrap()).unwrap();
    let mut found = Vec::new();
    for (record, index) in records.into_iter().zip(0..) {
        let Record::Part(part) = record else { panic!("{record:?}") };
        assert_eq!(part.is_first, index == 0);
        assert!(part.items.len() <= 3);
        found.extend(part.items);
    }
    assert!(found == members);
    for payload in [&b""[..], b"123456789", &payload[1..], &payload[..payload.len() - 1]] {
        assert_eq!(dumped(payload), None);
    }
}

/// A hash with a field without a time, and one with the first of them, as Redis 7.4 writes it.
const WITH_TIMES: &[u8] = b"\x18\x7b\x68\xe5\xcf\x8b\x01\0\0\x02\x00\x01f\x01v\x01\x01g\x01w";

#[test]
fn only_a_file_with_times_of_fields_is_of_the_version_that_has_them() {
    let plain: &[u8] = b"\x04\x01\x01f\x01v";
    for (values, version) in [(&[plain][..], "0009"), (&[plain, WITH_TIMES, plain][..], "0012")] {
        let mut writer = RdbWriter::new(io::Cursor::new(Vec::new())).unwrap();
        let mut streamed = RdbWriter::new(Vec::new()).unwrap();
        for (value, key) in values.iter().zip([b"a", b"b", b"c"]) {
            writer.value(0, (key, value), None).unwrap();
            streamed.value(0, (key, value), None).unwrap();
        }
        assert_eq!(writer.has_field_times(), version == "0012");
        let (bytes, streamed) = (writer.seal().unwrap().into_inner(), streamed.finish().unwrap());
        assert_eq!(&bytes[5..9], version.as_bytes());
        assert_eq!(&streamed[5..9], b"0009", "it is written before anything is known");
        // The checksum is the one of this header.
        let records = read(&bytes).unwrap();
        assert_eq!(records.len(), values.len());
        assert_eq!(read(&streamed).unwrap(), records);
        let mut damaged = bytes;
        damaged[8] ^= 1;
        assert!(matches!(read(&damaged), Err(RdbError::Checksum | RdbError::Version(_))));
    }
}

#[test]
fn no_length_is_trusted_and_every_cut_is_seen() {
    let huge = [&b"\x00\x01k\x81"[..], &u64::MAX.to_be_bytes()].concat();
    assert!(matches!(read(&file(11, &huge)), Err(RdbError::Damaged(_))));
    let long = b"\x00\x01k\x80\x1f\xff\xff\xffshort";
    assert!(matches!(read(&file(11, long)), Err(RdbError::Damaged(_))));
    let with_times = [&[WITH_TIMES[0]], &b"\x01t"[..], &WITH_TIMES[1..]].concat();
    let packed = b"\x19\x01p\x7b\x68\xe5\xcf\x8b\x01\0\0\x01p\x17\x01q\x01p";
    let keys = b"\xfe\x00\x00\x01k\x01v\x04\x01h\x01\x01f\x01v";
    let whole = file(12, &[&keys[..], &with_times, packed].concat());
    assert_eq!(read(&whole).unwrap().len(), 5);
    for len in 9..whole.len() {
        assert!(read(&whole[..len]).is_err(), "{len}");
    }
    for endless in [&b"\x18\x01t\0\0\0\0\0\0\0\0\x81"[..], b"\x16\x01t\x81", b"\x17\x01t\x81"] {
        let endless = [endless, &u64::MAX.to_be_bytes(), &[0; 64]].concat();
        assert!(matches!(read(&file(12, &endless)), Err(RdbError::Damaged(_))));
    }
}
