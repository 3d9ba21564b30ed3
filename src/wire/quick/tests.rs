use super::*;
use crate::limits::VALUE_BYTES_MAX;
use crate::wire::arguments::ArgTable;
use crate::wire::resp::{Bounds, Decoder, Step};

fn encode(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Whatever is taken is what the decoder makes of it.
fn agrees(bytes: &[u8]) -> bool {
    let Some(command) = decode(bytes, 0) else { return false };
    let mut table = ArgTable::with_capacity(16);
    let bounds = Bounds { authenticated: true, max_bulk_bytes: VALUE_BYTES_MAX };
    let step = Decoder::new().decode(bytes, &bounds, &mut table);
    assert_eq!(step, Ok(Step::Ready { consumed: command.end }), "{}", bytes.escape_ascii());
    let mut filled = ArgTable::with_capacity(16);
    command.fill(bytes, 0, &mut filled);
    let args = table.args(bytes);
    assert_eq!(args.len(), usize::from(command.count));
    assert!(args.iter().eq(filled.args(bytes).iter()));
    // Found behind another command, which is gone when the table is filled.
    let behind = [b"*1\r\n$4\r\nPING\r\n", bytes].concat();
    let done = behind.len() - bytes.len();
    decode(&behind, done).expect("the same command").fill(bytes, done, &mut filled);
    assert!(args.iter().eq(filled.args(bytes).iter()));
    for (i, span) in [command.word, command.first, command.second].into_iter().enumerate() {
        assert_eq!(args.bytes(i).unwrap_or_default(), span.of(bytes));
    }
    true
}

#[test]
fn common_commands_are_taken() {
    let long = [b'x'; INLINE_VALUE_BYTES_MAX];
    for arguments in [
        &[&b"PING"[..]][..],
        &[b"get", b"k"],
        &[b"SET", b"", b""],
        &[b"SET", b"key:000000000001", &long],
        &[b"SET", b"k", &long[..32], b"EX", b"10"],
        &[b"SET", b"key:000000000001", &long[..999]],
        &[b"SET", b"key:000000000001", &long[..1_000]],
        &[b"SETEX", &long[..1_024], b"10", &long[..1_024]],
        &[b"", &long[..9], &long[..10], &long[..99], &long[..100], b"", b"", b"", b""],
        &[&b"MGET"[..]; 10],
        &[&b"MGET"[..]; 16],
        &[&b"DEL"[..]; 10],
    ] {
        let mut bytes = encode(arguments);
        assert!(agrees(&bytes));
        bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        assert!(agrees(&bytes));
        let second = decode(&bytes, decode(&bytes, 0).unwrap().end).unwrap();
        assert_eq!((second.word.of(&bytes), second.count, second.end), (&b"PING"[..], 1, bytes.len()));
    }
}

#[test]
fn what_is_cut_short_or_uncommon_is_left() {
    let whole = encode(&[b"SET", b"key", b"value", b"NX"]);
    for len in 0..whole.len() {
        assert!(decode(&whole[..len], 0).is_none());
    }
    let long = [b'x'; INLINE_VALUE_BYTES_MAX + 1];
    assert!(decode(&encode(&[b"SET", b"k", &long]), 0).is_none());
    assert!(decode(&encode(&[b"SET", b"k", &[b'x'; 10_000]]), 0).is_none());
    assert!(decode(&encode(&[&b"MGET"[..]; 17]), 0).is_none());
    for bytes in [
        &b"PING\r\n"[..],
        b"*0\r\n",
        b"*-1\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n+4\r\nPING\r\n",
        b"*1\n$4\r\nPING\r\n",
        b"$1\r\n",
    ] {
        assert!(decode(bytes, 0).is_none(), "{}", bytes.escape_ascii());
    }
}

/// What looks like a command of another length when its header is misread.
#[test]
fn headers_that_are_nearly_right_are_left() {
    let mut value = vec![b'x'; 10_000];
    value[999..1_001].copy_from_slice(b"\r\n");
    assert!(!agrees(&encode(&[b"SET", b"k", &value])), "1,000, and a 0 that is no line end");
    value[120 + usize::from(b'a' - b'0')..][..2].copy_from_slice(b"\r\n");
    let letter = [&b"*2\r\n$3\r\nGET\r\n$12a\r\n"[..], &value].concat();
    assert!(decode(&letter, 0).is_none(), "a letter counted as a digit");
}

#[test]
fn whatever_is_taken_of_damaged_commands_is_taken_alike() {
    let whole = encode(&[b"SET", b"key:17", b"0123456789ab", b"EX", b"100"]);
    let mut taken = 0;
    for at in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            taken += u32::from(agrees(&bytes));
        }
    }
    assert!(taken > 1_000, "most bytes of arguments may be anything");
}

#[test]
fn words_are_compared_in_any_case_and_exactly() {
    let short = |word: &[u8], key: &[u8]| decode(&encode(&[word, key]), 0).unwrap().short;
    for text in [b"get", b"GET", b"gEt"] {
        assert_eq!(short(text, b"key"), fold(*b"get"));
        assert_eq!(decode(&encode(&[text]), 0).unwrap().short, fold(*b"get"));
    }
    let same =
        (0..1 << 24).filter(|n: &u32| fold([*n as u8, (n >> 8) as u8, (n >> 16) as u8]) == fold(*b"get"));
    assert_eq!(same.count(), 8, "three letters in two cases each");
    assert_eq!([short(b"ge", b"k"), short(b"gets", b"k"), short(b"", b"k")], [0; 3]);
}
