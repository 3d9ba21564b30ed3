//! Headers and frames come back as they were written, and nothing else is taken for one.

use super::*;

const HEADER: FileHeader = FileHeader {
    kind: FileKind::Journal,
    flags: FLAG_GAP,
    number: 7,
    salt: 0x1122_3344_5566_7788,
    first_revision: Revision(1 << 40),
    previous_len: 4096,
    previous_crc: 0xabcd_ef01,
};
const HEAD: FrameHead =
    FrameHead { flags: FLAG_COMMIT, first_revision: Revision(5), last_revision: Revision(9) };
const PLACE: FramePlace = FramePlace { salt: HEADER.salt, durable_len: 64, previous_crc: 3 };

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; FRAME_HEADER_BYTES], payload].concat();
    seal(&mut bytes, &HEAD, &PLACE);
    bytes
}

#[test]
fn a_header_comes_back() {
    let bytes = HEADER.encode();
    assert_eq!(FileHeader::decode(&bytes), Ok(HEADER));
    assert!(HEADER.has_gap());
    assert_eq!(bytes[..8], *b"PANNIERJ");
    let checkpoint = FileHeader { kind: FileKind::Checkpoint, ..HEADER };
    assert_eq!(FileHeader::decode(&checkpoint.encode()), Ok(checkpoint));
}

#[test]
fn no_bit_of_a_header_may_differ() {
    let bytes = HEADER.encode();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(FileHeader::decode(&damaged), Err(HeaderError::Damaged), "bit {bit}");
    }
    assert_eq!(FileHeader::decode(&bytes[..63]), Err(HeaderError::Damaged));
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let mut bytes = HEADER.encode();
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(FileHeader::decode(&bytes), Err(HeaderError::Version(3)));
}

#[test]
fn what_an_earlier_version_has_written_is_read() {
    let mut bytes = HEADER.encode();
    bytes[8] = 1;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(FileHeader::decode(&bytes), Ok(HEADER));
}

#[test]
fn a_frame_comes_back_and_asks_for_what_is_missing() {
    let bytes = frame(b"sixteen bytes ok");
    let FrameStep::Frame(read) = decode(&bytes, HEADER.salt) else { panic!("it is whole") };
    assert_eq!((read.head, read.place, read.payload_len, read.whole_len()), (HEAD, PLACE, 16, bytes.len()));
    assert!(read.is_commit() && !read.is_end());
    for len in 0..bytes.len() {
        let needed = if len < FRAME_HEADER_BYTES { FRAME_HEADER_BYTES } else { bytes.len() };
        assert_eq!(decode(&bytes[..len], HEADER.salt), FrameStep::NeedMore(needed));
    }
    let empty = frame(b"");
    assert!(matches!(decode(&empty, HEADER.salt), FrameStep::Frame(frame) if frame.payload_len == 0));
}

#[test]
fn no_bit_of_a_frame_may_differ() {
    let bytes = frame(b"sixteen bytes ok");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(decode(&damaged, HEADER.salt), FrameStep::Frame(_)), "bit {bit}");
    }
    assert_eq!(decode(&bytes, HEADER.salt + 1), FrameStep::Damaged, "a frame of another file");
    assert_eq!(decode(&[0; 64], HEADER.salt), FrameStep::Damaged);
}

#[test]
fn a_length_beyond_the_bound_is_damage_and_not_a_wait() {
    let mut bytes = frame(b"sixteen bytes ok");
    bytes[8..12].copy_from_slice(&(FRAME_PAYLOAD_BYTES_MAX as u32 + 8).to_le_bytes());
    assert_eq!(decode(&bytes, HEADER.salt), FrameStep::Damaged);
}
