//! Any bytes as a datagram: no panic; and what is taken for a frame has a checksum that holds, so that flipping any one
//! of its bits makes it none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pannier::wire::frame::{self, Direction, Head, Op};

fuzz_target!(|input: (u16, u64, Vec<u8>, Vec<u8>)| {
    let (flip, argument, key, value) = input;
    for direction in [Direction::Request, Direction::Reply] {
        let _ = frame::decode_datagram(&value, direction);
        let _ = frame::decode_prefix(&value, direction, 100_000);
    }
    let mut head = Head::request(Op::Put, argument, 1);
    head.argument = argument;
    let mut bytes = [0; 1200];
    let Ok(len) = frame::encode(&mut bytes, &head, &key, &value, None) else { return };
    let taken = frame::decode_datagram(&bytes[..len], Direction::Request).expect("what was sealed opens");
    assert_eq!((taken.key, taken.value), (&key[..], &value[..]));
    let flip = usize::from(flip) % (8 * len);
    bytes[flip / 8] ^= 1 << (flip % 8);
    assert!(frame::decode_datagram(&bytes[..len], Direction::Request).is_err());
});
