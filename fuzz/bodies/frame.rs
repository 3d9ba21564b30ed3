//! Frames: any bytes taken for one, and frames that were made well, then damaged.

use super::script::Script;
use pannier::limits::DATAGRAM_BYTES_MAX;
use pannier::wire::frame::{self, Direction, Head, Op, Reject, Status, Step};
use pannier::wire::tag::TagKeys;

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.byte() {
        kind if kind & 1 == 0 => any_bytes(script.rest()),
        kind => well_made(&mut script, kind & 2 != 0, kind & 4 != 0),
    }
}

/// A stream's decoder and a datagram's come to the same about the same bytes, but for their length.
fn any_bytes(bytes: &[u8]) {
    for direction in [Direction::Request, Direction::Reply] {
        let datagram = frame::decode_datagram(bytes, direction);
        let prefix = frame::decode_prefix(bytes, direction, DATAGRAM_BYTES_MAX);
        match prefix {
            Ok(Step::Ready { frame: taken, consumed }) => {
                assert_eq!(taken.len(), consumed);
                let again = frame::decode_datagram(&bytes[..consumed], direction).expect("the same bytes");
                assert_eq!((again.head, again.key, again.value), (taken.head, taken.key, taken.value));
                assert_eq!(datagram.is_ok(), consumed == bytes.len());
            }
            Ok(Step::NeedMore) => assert!(datagram.is_err()),
            Err(Reject::TooLong) => assert!(datagram.is_err()),
            Err(_) => assert!(datagram.is_err()),
        }
        // More of a stream never takes back what its beginning was.
        if let Err(reason) = frame::decode_prefix(&bytes[..bytes.len() / 2], direction, DATAGRAM_BYTES_MAX) {
            assert_eq!(prefix.err(), Some(reason));
        }
    }
}

fn well_made(script: &mut Script<'_>, tagged: bool, reply: bool) {
    let tags = TagKeys::from_password(b"a password");
    let tag_key = tagged.then_some(if reply { &tags.reply } else { &tags.request });
    let op = Op::ALL[script.below(Op::ALL.len())];
    let head = Head {
        flags: script.byte(),
        attempt: script.byte(),
        epoch: script.wide() as u32,
        argument: script.wide(),
        expect: script.wide(),
        ..Head::request(op, script.wide(), script.number() as u32)
    };
    let status = Status::ALL[script.below(Status::ALL.len())];
    let (head, direction) =
        if reply { (head.reply(status, head.epoch), Direction::Reply) } else { (head, Direction::Request) };
    let (flip, key, value) = (script.number(), script.bytes(), script.bytes());
    let mut bytes = [0; DATAGRAM_BYTES_MAX];
    let Ok(len) = frame::encode(&mut bytes, &head, key, value, tag_key) else {
        // What was not finished is no frame.
        assert!(frame::decode_datagram(&bytes, direction).is_err());
        return;
    };
    let taken = frame::decode_datagram(&bytes[..len], direction).expect("what was sealed opens");
    assert_eq!((taken.key, taken.value), (key, value));
    assert_eq!(taken.has_tag(), tagged);
    assert_eq!(taken.tag_is_good(if reply { &tags.reply } else { &tags.request }), tagged);
    assert!(!taken.tag_is_good(if reply { &tags.request } else { &tags.reply }));
    assert_eq!(Head { flags: 0, ..taken.head }, Head { flags: 0, ..head });
    let flip = flip % (8 * len);
    bytes[flip / 8] ^= 1 << (flip % 8);
    assert!(frame::decode_datagram(&bytes[..len], direction).is_err());
    assert!(!matches!(
        frame::decode_prefix(&bytes[..len], direction, DATAGRAM_BYTES_MAX),
        Ok(Step::Ready { consumed, .. }) if consumed == len
    ));
}
