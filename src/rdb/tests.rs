use super::*;

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
    let cases: [(&[u8], ValueKind); 12] = [
        (b"\x01\x01k\x02\x01a\x01b", ValueKind::List),
        (b"\x12\x01k\x01\x02\x01p", ValueKind::List),
        (b"\x02\x01k\x02\x01a\xc0\x05", ValueKind::Set),
        (b"\x14\x01k\x01p", ValueKind::Set),
        (b"\x04\x01k\x01\x01f\x01v", ValueKind::Hash),
        (b"\x18\x01k\0\0\0\0\0\0\0\0\x01\x00\x01f\x01v", ValueKind::Hash),
        (b"\x19\x01k\0\0\0\0\0\0\0\0\x01p", ValueKind::Hash),
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
fn no_length_is_trusted_and_every_cut_is_seen() {
    let huge = [&b"\x00\x01k\x81"[..], &u64::MAX.to_be_bytes()].concat();
    assert!(matches!(read(&file(11, &huge)), Err(RdbError::Damaged(_))));
    let long = b"\x00\x01k\x80\x1f\xff\xff\xffshort";
    assert!(matches!(read(&file(11, long)), Err(RdbError::Damaged(_))));
    let whole = file(11, b"\xfe\x00\x00\x01k\x01v\x04\x01h\x01\x01f\x01v");
    for len in 9..whole.len() {
        assert!(read(&whole[..len]).is_err(), "{len}");
    }
}
