//! Frames there and back, cut at every place, and damaged at every bit.

use super::*;
use crate::wire::tag::TagKeys;

fn head() -> Head {
    Head {
        flags: flags::IF_REVISION,
        attempt: 3,
        epoch: 0x1122_3344,
        first_incomplete: 6,
        cookie: [0xC0; COOKIE_LEN],
        argument: 60_000,
        expect: 42,
        ..Head::request(Op::Put, 0x0102_0304_0506_0708, 7)
    }
}

fn encoded(tag: Option<&TagKey>) -> ([u8; 256], usize) {
    let mut out = [0xAA; 256];
    let len = encode(&mut out, &head(), b"key", b"value", tag).expect("fits");
    (out, len)
}

#[test]
fn there_and_back() {
    let keys = TagKeys::from_password(b"secret");
    for tag in [None, Some(&keys.request)] {
        let (out, len) = encoded(tag);
        let frame = decode_datagram(&out[..len], Direction::Request).expect("valid");
        assert_eq!(len, FRAME_LEN_MIN + 8 + if tag.is_some() { TAG_LEN } else { 0 });
        assert_eq!((frame.key, frame.value, frame.len()), (&b"key"[..], &b"value"[..], len));
        assert_eq!(Head { flags: head().flags | u8::from(tag.is_some()), ..head() }, frame.head);
        assert_eq!(frame.tag_is_good(&keys.request), tag.is_some());
        assert!(!frame.tag_is_good(&keys.reply));
        assert_eq!(decode_datagram(&out[..len], Direction::Reply).err(), Some(Reject::WrongDirection));
    }
}

#[test]
fn a_reply_repeats_what_the_client_matches_by() {
    let reply = head().reply(Status::Challenge, 9);
    let mut out = [0; 128];
    let len = encode(&mut out, &reply, b"", b"", None).expect("fits");
    let frame = decode_datagram(&out[..len], Direction::Reply).expect("valid");
    assert_eq!(frame.head.status(), Some(Status::Challenge));
    assert_eq!(frame.head.op(), Some(Op::Put));
    assert_eq!((frame.head.sequence, frame.head.attempt, frame.head.epoch), (7, 3, 9));
    assert_eq!(len, FRAME_LEN_MIN, "a challenge is never longer than the frame that asked");
}

#[test]
fn any_cut_needs_more_and_then_it_is_ready() {
    let (out, len) = encoded(None);
    for cut in 0..len {
        assert!(matches!(decode_prefix(&out[..cut], Direction::Request, 256), Ok(Step::NeedMore)), "{cut}");
    }
    let Ok(Step::Ready { frame, consumed }) = decode_prefix(&out, Direction::Request, 256) else {
        panic!("not ready");
    };
    assert_eq!((frame.key, consumed), (&b"key"[..], len));
    assert!(matches!(decode_prefix(&out, Direction::Request, len), Ok(Step::Ready { .. })));
    assert_eq!(decode_prefix(&out, Direction::Request, len - 1).err(), Some(Reject::TooLong));
}

#[test]
fn one_and_two_flipped_bits_are_always_seen() {
    let (mut out, len) = encoded(None);
    let bits = len * 8;
    for first in 0..bits {
        out[first / 8] ^= 1 << (first % 8);
        assert!(decode_datagram(&out[..len], Direction::Request).is_err(), "{first}");
        for second in first + 1..bits {
            out[second / 8] ^= 1 << (second % 8);
            assert!(decode_datagram(&out[..len], Direction::Request).is_err(), "{first} {second}");
            out[second / 8] ^= 1 << (second % 8);
        }
        out[first / 8] ^= 1 << (first % 8);
    }
}

#[test]
fn each_reason() {
    let (out, len) = encoded(None);
    let reject = |bytes: &[u8]| decode_datagram(bytes, Direction::Request).err();
    let with = |at: usize, byte: u8| {
        let mut copy = out;
        copy[at] = byte;
        reject(&copy[..len])
    };
    assert_eq!(reject(&[]), Some(Reject::TooShort));
    assert_eq!(reject(&out[..FRAME_LEN_MIN - 1]), Some(Reject::TooShort));
    assert_eq!(reject(&[0xF5; 65_507]), Some(Reject::TooLong));
    assert_eq!(with(0, b'*'), Some(Reject::BadMagic));
    assert_eq!(with(1, b'*'), Some(Reject::BadMagic));
    assert_eq!(with(1, 0x52), Some(Reject::WrongDirection));
    assert_eq!(with(2, 2), Some(Reject::BadVersion));
    assert_eq!(reject(&out[..len + 1]), Some(Reject::BadLength));
    assert_eq!(reject(&out[..len - 1]), Some(Reject::BadLength));
    assert_eq!(with(7, 255), Some(Reject::BadKeyLength));
    assert_eq!(with(len - 1, !out[len - 1]), Some(Reject::BadCrc));
    let mut reply = [0; 128];
    let head = Head { code: 200, ..head().reply(Status::Ok, 1) };
    let len = encode(&mut reply, &head, b"", b"", None).expect("fits");
    assert_eq!(decode_datagram(&reply[..len], Direction::Reply).err(), Some(Reject::BadStatus));
}

/// A frame that says its key is longer than there is room for it, and is sealed well all the same.
#[test]
fn no_key_reaches_into_the_tag_or_the_checksum() {
    let keys = TagKeys::from_password(b"secret");
    for tag in [None, Some(&keys.request)] {
        let (mut out, len) = encoded(tag);
        for (key_len, reason) in
            [(8, None), (9, Some(Reject::BadKeyLength)), (12, Some(Reject::BadKeyLength))]
        {
            out[at::KEY_LEN.start + 1] = key_len;
            let crc = checksum(&out[..len - CRC_LEN]);
            out[len - CRC_LEN..len].copy_from_slice(&crc.to_be_bytes());
            assert_eq!(decode_datagram(&out[..len], Direction::Request).err(), reason, "{key_len}");
        }
    }
}

#[test]
fn a_frame_fits_where_it_fits_exactly() {
    for (key, value) in [(&b""[..], &b""[..]), (b"a key", b""), (b"a key", b"value"), (b"", b"value")] {
        let mut out = vec![0; FRAME_LEN_MIN + key.len() + value.len()];
        let len = out.len();
        assert_eq!(encode(&mut out, &head(), key, value, None), Ok(len));
        assert!(decode_datagram(&out, Direction::Request).is_ok());
        assert_eq!(encode(&mut out[1..], &head(), key, value, None), Err(NoRoom));
        assert!(Writer::begin(&mut out[..FRAME_LEN_MIN + key.len()], &head(), key).is_ok());
    }
}

#[test]
fn no_key_is_ever_printed() {
    let keys = TagKeys::from_password(b"secret");
    assert_eq!(format!("{keys:?} {:?}", keys.reply), "TagKeys(..) TagKey(..)");
}

#[test]
fn without_room_nothing_that_is_taken_is_written() {
    let keys = TagKeys::from_password(b"p");
    let (_, whole) = encoded(Some(&keys.request));
    for room in 0..whole {
        let mut out = [0; 256];
        assert_eq!(encode(&mut out[..room], &head(), b"key", b"value", Some(&keys.request)), Err(NoRoom));
        for len in 0..=room {
            assert!(decode_datagram(&out[..len], Direction::Request).is_err());
        }
    }
    assert_eq!(encode(&mut vec![0; 70_000], &head(), &vec![0; 65_536], b"", None), Err(NoRoom));
}

#[test]
fn the_tables_go_there_and_back() {
    for op in Op::ALL {
        assert_eq!(Op::from_byte(*op as u8), Some(*op));
        assert!((*op as u8) < 16, "a reply has four bits for it");
    }
    for status in Status::ALL {
        assert_eq!(Status::from_byte(*status as u8), Some(*status));
        assert!(!status.doc().is_empty());
    }
    for (at, reason) in Reject::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, at);
    }
}
