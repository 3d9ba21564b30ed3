//! Tests of the decoder: examples, HOSTILE's rows, and the property that the cuts between reads change nothing.

use super::*;
use crate::wire::arguments::WINDOW_ARGS;
use crate::{
    limits::{ARGUMENTS_MAX, KIB},
    random::Random,
};
use std::cell::Cell;

thread_local! {
    /// Bytes that the decoder has looked at on this thread.
    pub(super) static LOOKED: Cell<u64> = const { Cell::new(0) };
}

const OPEN: Bounds = Bounds { authenticated: true, max_bulk_bytes: 512 * 1024 * 1024 };
const CLOSED: Bounds = Bounds { authenticated: false, max_bulk_bytes: 512 * 1024 * 1024 };

/// A connection's input side: what it has received and not consumed, and the large values it has put away.
struct Input {
    decoder: Decoder,
    table: ArgTable,
    bounds: Bounds,
    waiting: Vec<u8>,
    bodies: Vec<Vec<u8>>,
    /// Where the body under way begins, and how much of it is to come.
    body: Option<(usize, usize)>,
    commands: Vec<Vec<Vec<u8>>>,
}

impl Input {
    fn new(bounds: Bounds) -> Input {
        Input {
            decoder: Decoder::new(),
            table: ArgTable::with_capacity(4 * KIB),
            bounds,
            waiting: Vec::new(),
            bodies: Vec::new(),
            body: None,
            commands: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.waiting.extend_from_slice(bytes);
        loop {
            if let Some((at, left)) = self.body {
                let n = left.min(self.waiting.len() - at);
                let body = self.bodies.last_mut().expect("a body under way");
                body.extend(self.waiting.drain(at..at + n));
                self.body = Some((at, left - n));
                if n < left {
                    return Ok(());
                }
                let id = LargeId(self.bodies.len() as u32 - 1);
                self.decoder.body_received(&mut self.waiting, Some(id));
                self.body = None;
            }
            match self.decoder.decode(&self.waiting, &self.bounds, &mut self.table)? {
                Step::NeedMore => return Ok(()),
                Step::Skip { consumed } => drop(self.waiting.drain(..consumed)),
                Step::Ready { consumed } => {
                    let first = self.copy(consumed);
                    Decoder::again(&self.waiting[..consumed], &mut self.table);
                    assert_eq!(self.copy(consumed), first, "a second walk finds the same");
                    self.commands.push(first);
                    self.waiting.drain(..consumed);
                }
                Step::Body { at, len } => {
                    let again = self.decoder.decode(&self.waiting, &self.bounds, &mut self.table)?;
                    assert_eq!(again, Step::Body { at, len });
                    self.bodies.push(Vec::new());
                    self.body = Some((at, len as usize));
                }
            }
            assert!(self.decoder.is_idle() || !self.waiting.is_empty());
        }
    }

    fn copy(&self, consumed: usize) -> Vec<Vec<u8>> {
        let args = self.table.args(&self.waiting[..consumed]);
        args.iter()
            .map(|arg| match arg {
                Arg::Bytes(bytes) => bytes.to_vec(),
                Arg::Large(LargeId(id)) => self.bodies[id as usize].clone(),
                Arg::Refused => panic!("nothing was thrown away"),
            })
            .collect()
    }
}

fn encode(command: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for argument in command {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A stream of commands, as RESP and as text, with fillers between them.
fn draw_stream(random: &mut Random, with_large: bool) -> (Vec<u8>, Vec<Vec<Vec<u8>>>) {
    let (mut stream, mut commands) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(12) {
        match random.below(10) {
            0 => stream
                .extend_from_slice([&b"\r\n"[..], b"\n", b"  \r\n", b"*0\r\n", b"*-10\r\n"][random.below(5)]),
            1 => {
                stream.extend_from_slice(b"put \"a\\x20b\"  'c'\r\n");
                commands.push(vec![b"put".to_vec(), b"a b".to_vec(), b"c".to_vec()]);
            }
            _ => {
                let argument_count = 1 + random.below(6);
                let command: Vec<Vec<u8>> = (0..argument_count)
                    .map(|_| {
                        let len = match random.below(if with_large { 12 } else { 11 }) {
                            0..=6 => random.below(4),
                            7..=9 => random.below(120),
                            10 => random.below(3_000),
                            _ => 64 * KIB - 2 + random.below(6),
                        };
                        random.bytes(len)
                    })
                    .collect();
                stream.extend(encode(&command));
                commands.push(command);
            }
        }
    }
    (stream, commands)
}

#[test]
fn any_cut_gives_the_same_commands() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let (stream, commands) = draw_stream(&mut random, seed % 8 == 0);
        let longest = [1, 2, 3, 5, 7, 16, 100, 5_000, stream.len()][random.below(9)];
        let mut input = Input::new(OPEN);
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let n = (1 + random.below(longest)).min(rest.len());
            input.receive(&rest[..n]).expect("a well-formed stream");
            rest = &rest[n..];
        }
        assert_eq!(input.commands, commands, "seed {seed}");
        assert!(input.waiting.is_empty() && input.decoder.is_idle());
    }
}

/// Without `Input`, which walks a second time for its own check, so that the count is the decoder's.
#[test]
fn fewer_than_two_looks_at_each_byte() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let (stream, _) = draw_stream(&mut random, false);
        let longest = [1, 2, 3, 4, 5, 6, 7, 8, 16, 100][random.below(10)];
        let (mut decoder, mut table) = (Decoder::new(), ArgTable::with_capacity(64));
        LOOKED.with(|looked| looked.set(0));
        let (mut start, mut end) = (0, 0);
        while end < stream.len() {
            end = (end + 1 + random.below(longest)).min(stream.len());
            loop {
                match decoder.decode(&stream[start..end], &OPEN, &mut table).expect("well-formed") {
                    Step::NeedMore => break,
                    Step::Skip { consumed } | Step::Ready { consumed } => start += consumed,
                    Step::Body { .. } => panic!("no large arguments here"),
                }
            }
        }
        let looked = LOOKED.with(Cell::get);
        assert!(looked < 2 * stream.len() as u64, "seed {seed}: {looked} of {}", stream.len());
    }
}

/// Feeds the input whole and byte by byte; both must fail alike, or both wait for more.
fn fails(bytes: &[u8], bounds: Bounds) -> Option<Malformed> {
    let whole = Input::new(bounds).receive(bytes).err();
    let mut input = Input::new(bounds);
    let slow = bytes.iter().find_map(|byte| input.receive(&[*byte]).err());
    assert_eq!(whole, slow, "{}", bytes[..bytes.len().min(100)].escape_ascii());
    whole
}

/// HOSTILE 3, 4, 5, 8, 13, 14, 24.
#[test]
fn bad_framing_is_refused() {
    use Malformed::*;
    let cases: [(&[u8], Malformed); 41] = [
        (b"*3000000000\r\n", MultibulkLength),
        (b"*9223372036854775808\r\n", MultibulkLength),
        (b"*-9223372036854775809\r\n", MultibulkLength),
        (b"*99999999999999999999999999\r\n", MultibulkLength),
        (b"*1048577\r\n", MultibulkLength),
        (b"*+1\r\n", MultibulkLength),
        (b"*01\r\n", MultibulkLength),
        (b"*00\r\n", MultibulkLength),
        (b"*-0\r\n", MultibulkLength),
        (b"*--1\r\n", MultibulkLength),
        (b"*1-\r\n", MultibulkLength),
        (b"*\r\n", MultibulkLength),
        (b"*-\r\n", MultibulkLength),
        (b"* 1\r\n", MultibulkLength),
        (b"*1 \r\n", MultibulkLength),
        (b"*1\r\r\n", MultibulkLength),
        (b"*1\rX", MultibulkLength),
        (b"*1\n", MultibulkLength),
        (b"*\n", MultibulkLength),
        (b"*\0\r\n", MultibulkLength),
        (b"*1\r\nfoo\r\n", ExpectedDollar { got: b'f' }),
        (b"*1\r\n*1\r\n", ExpectedDollar { got: b'*' }),
        (b"*1\r\n\r\n", ExpectedDollar { got: b'\r' }),
        (b"*1\r\n%1\r\n", ExpectedDollar { got: b'%' }),
        (b"*1\r\n\0\x08\x01\0\0\0\0\r\n", ExpectedDollar { got: 0 }),
        (b"*2\r\n$1\r\na\r\n\0\x08\x01\0\0\0\0\r\n", ExpectedDollar { got: 0 }),
        (b"*3\r\n$3\r\nSET\r\n$-10\r\n", BulkLength),
        (b"*3\r\n$3\r\nSET\r\n$-1\r\n", BulkLength),
        (b"*3\r\n$3\r\nSET\r\n$blabla\r\n", BulkLength),
        (b"*3\r\n$3\r\nSET\r\n$2000000000\r\n", BulkLength),
        (b"*3\r\n$3\r\nSET\r\n$536870913\r\n", BulkLength),
        (b"*3\r\n$3\r\nSET\r\n$18446744073709551615\r\n", BulkLength),
        (b"*3\r\n$3\r\nSET\r\n$18446744073709551617\r\n", BulkLength),
        (b"*1\r\n$03\r\nfoo\r\n", BulkLength),
        (b"*1\r\n$+3\r\nfoo\r\n", BulkLength),
        (b"*1\r\n$\r\n", BulkLength),
        (b"*1\r\n$3\nfoo\r\n", BulkLength),
        (b"*1\r\n$3\r\nabcXY", ExpectedCrlf),
        (b"*1\r\n$3\r\nabc\n\n", ExpectedCrlf),
        (b"*1\r\n$3\r\nabc\r\r", ExpectedCrlf),
        (b"*1\r\n$0\r\nab", ExpectedCrlf),
    ];
    for (bytes, expected) in &cases {
        assert_eq!(fails(bytes, OPEN), Some(*expected), "{}", bytes.escape_ascii());
    }
    assert_eq!(fails(b"*2\r\n$3\r\nfoo\r\n$100\r\n\r\n*", OPEN), None, "bytes are still to come");
    assert_eq!(fails(b"*100\r\n", CLOSED), Some(UnauthenticatedMultibulkLength));
    assert_eq!(fails(b"*10\r\n", CLOSED), None);
    assert_eq!(fails(b"*1\r\n$100000000\r\n", CLOSED), Some(UnauthenticatedBulkLength));
    assert_eq!(fails(b"*1\r\n$16385\r\n", CLOSED), Some(UnauthenticatedBulkLength));
    assert_eq!(fails(b"*1\r\n$16384\r\n", CLOSED), None);
    assert_eq!(fails(format!("*{ARGUMENTS_MAX}\r\n").as_bytes(), OPEN), None);
    assert_eq!(fails(&b"*1\r\n".repeat(10_000), OPEN), Some(ExpectedDollar { got: b'*' }));
}

/// HOSTILE 6.
#[test]
fn lines_without_an_end_are_refused() {
    let zeros = vec![0; 64 * KIB];
    let nines = vec![b'9'; 64 * KIB];
    assert_eq!(fails(&[b"\0", &zeros[..]].concat(), OPEN), Some(Malformed::InlineTooBig));
    assert_eq!(fails(&[b"*\0", &zeros[..]].concat(), OPEN), Some(Malformed::CountLineTooBig));
    assert_eq!(fails(&[b"*", &nines[..]].concat(), OPEN), Some(Malformed::CountLineTooBig));
    assert_eq!(fails(&[b"*1\r\n$", &zeros[..]].concat(), OPEN), Some(Malformed::BulkLineTooBig));
    for begun in [&b"*"[..], b"*1\r\n$"] {
        assert_eq!(fails(&[begun, &nines[1..]].concat(), OPEN), None, "one byte less may still end");
    }
    assert_eq!(fails(&[&nines[..], b"\n"].concat(), OPEN), None);
    assert_eq!(fails(&[&nines[..], b"9\n"].concat(), OPEN), Some(Malformed::InlineTooBig));
}

/// HOSTILE 1, 2.
#[test]
fn nothing_to_run_leaves_no_state() {
    for filler in
        ["\r\n", "\n", " \r\n", "*0\r\n", "*-10\r\n", "*-9223372036854775808\r\n", "*-1\r\n\r\n*0\r\n"]
    {
        let mut input = Input::new(OPEN);
        input.receive(filler.as_bytes()).expect("filler");
        assert!(input.decoder.is_idle(), "{filler:?}");
        input.receive(b"PING\r\n").expect("a command");
        assert_eq!(input.commands, [[b"PING"]], "{filler:?}");
    }
}

#[test]
fn lengths_are_bounded_whatever_was_configured() {
    let open = Bounds { max_bulk_bytes: u64::MAX, ..OPEN };
    let step = |len: u64| {
        let bytes = format!("*1\r\n${len}\r\n");
        Decoder::new().decode(bytes.as_bytes(), &open, &mut ArgTable::with_capacity(1))
    };
    assert_eq!(step(BUFFERED_BULK_BYTES_MAX as u64), Ok(Step::NeedMore), "it stays in the ring");
    for len in [BUFFERED_BULK_BYTES_MAX as u64 + 1, u64::from(u32::MAX)] {
        assert_eq!(step(len), Ok(Step::Body { at: 7 + len.to_string().len(), len }));
    }
    assert_eq!(step(1 << 32), Err(Malformed::BulkLength), "a length has 32 bits");
}

#[test]
fn the_texts_are_those_of_redis() {
    let (text, byte) = Malformed::ExpectedDollar { got: b'f' }.text().expect("a text");
    assert_eq!((text, byte), ("expected '$', got '", Some(b'f')));
    assert_eq!(Malformed::CrossProtocol.text(), None);
    assert_eq!(Malformed::CrossProtocol.name(), "cross_protocol");
}

#[test]
fn large_arguments_are_found_without_a_table() {
    let (mut decoder, mut table) = (Decoder::new(), ArgTable::with_capacity(16));
    let mut bytes = b"*4\r\n$1\r\na\r\n$65537\r\n".to_vec();
    let ids = |decoder: &Decoder, bytes: &[u8]| {
        let mut found = Vec::new();
        decoder.large_ids(bytes, |id| found.push(id.0));
        found
    };
    let body = Step::Body { at: bytes.len(), len: 65_537 };
    assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(body));
    assert_eq!(ids(&decoder, &bytes), [0; 0]);
    decoder.body_received(&mut bytes, Some(LargeId(0x0a0d_2400)));
    assert_eq!(ids(&decoder, &bytes), [0x0a0d_2400]);
    bytes.extend_from_slice(b"\r\n$536870912\r\n");
    let body = Step::Body { at: bytes.len(), len: 536_870_912 };
    assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(body));
    assert_eq!(ids(&decoder, &bytes), [0x0a0d_2400]);
    decoder.body_received(&mut bytes, None);
    bytes.extend_from_slice(b"\r\n$2");
    assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(Step::NeedMore));
    assert_eq!(ids(&decoder, &bytes), [0x0a0d_2400]);
    bytes.extend_from_slice(b"\r\nzz\r\nPING");
    let consumed = bytes.len() - 4;
    assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(Step::Ready { consumed }));
    let args = table.args(&bytes);
    let expected = [Arg::Bytes(b"a"), Arg::Large(LargeId(0x0a0d_2400)), Arg::Refused, Arg::Bytes(b"zz")];
    assert_eq!(args.iter().collect::<Vec<_>>(), expected);
    assert_eq!((args.len(), args.bytes(0), args.bytes(1), args.bytes(9)), (4, Some(&b"a"[..]), None, None));
    assert_eq!(args.from(3).get(0), Some(Arg::Bytes(b"zz")));
    assert!(args.from(9).is_empty());
    assert!(decoder.is_idle());
    assert_eq!(ids(&decoder, &bytes), [0; 0], "it is the caller's now");
    decoder.hold(consumed);
    assert_eq!(ids(&decoder, &bytes), [0x0a0d_2400]);
    let forged = [&bytes[..consumed], &[0, 7, 1, 9, 0, 0, 0]].concat();
    assert_eq!(ids(&decoder, &forged), [0x0a0d_2400], "what follows is the peer's and holds nothing");
    table.reset();
    assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(Step::Ready { consumed }));
    assert_eq!(table.args(&bytes).iter().collect::<Vec<_>>(), expected);
    assert_eq!(table.spans(&bytes).len(), 4);
}

/// Whatever comes, the decoder answers or waits, and agrees with itself however it is cut.
#[test]
fn random_bytes_do_no_harm() {
    let pieces: [&[u8]; 16] = [
        b"*",
        b"$",
        b"\r\n",
        b"\n",
        b"\r",
        b"1",
        b"2",
        b"0",
        b"-",
        b"\0",
        b"a",
        b"\"",
        b"'",
        b" ",
        b"*1\r\n$1\r\n",
        b"65537",
    ];
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let count = 1 + random.below(20);
        let bytes: Vec<u8> =
            (0..count).flat_map(|_| pieces[random.below(pieces.len())].iter().copied()).collect();
        let mut whole = Input::new(OPEN);
        let mut slow = Input::new(OPEN);
        let error = whole.receive(&bytes).err();
        let slow_error = bytes.iter().find_map(|byte| slow.receive(&[*byte]).err());
        assert_eq!((error, &whole.commands), (slow_error, &slow.commands), "{}", bytes.escape_ascii());
    }
}

/// A command of very many arguments that is worked off in slices: each slice has its arguments in the table, and all of
/// them together look at little more than the command once.
#[test]
fn slices_of_a_long_command_do_not_walk_it_again_and_again() {
    const COUNT: usize = 50_000;
    let words: Vec<String> = (0..COUNT).map(|number| format!("key:{number}")).collect();
    let mut bytes = format!("*{}\r\n$3\r\nDEL\r\n", COUNT + 1).into_bytes();
    for word in &words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    for step in [1, 700, WINDOW_ARGS] {
        let (mut decoder, mut table) = (Decoder::new(), ArgTable::with_capacity(COUNT + 1));
        // In two parts, so that the spans are not kept.
        assert_eq!(decoder.decode(&bytes[..9], &OPEN, &mut table), Ok(Step::NeedMore));
        assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(Step::Ready { consumed: bytes.len() }));
        LOOKED.with(|looked| looked.set(0));
        let (mut next, mut slices) = (1, 0);
        while next <= COUNT.min(if step == 1 { 100 } else { COUNT }) {
            let args = table.args(&bytes);
            assert_eq!((args.len(), args.bytes(0)), (COUNT + 1, Some(&b"DEL"[..])));
            let end = args.end().min(next + step);
            assert!(end > next, "a slice has arguments");
            for at in next..end {
                assert_eq!(args.bytes(at), Some(words[at - 1].as_bytes()), "{at}");
            }
            next = end;
            slices += 1;
            decoder.hold_at(&bytes, next);
            assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(Step::Ready { consumed: bytes.len() }));
        }
        let looked = LOOKED.with(Cell::get);
        let per_slice = (WINDOW_ARGS + step + 8) as u64 * 10;
        assert!(looked <= slices * per_slice, "{looked} bytes in {slices} slices of {step}");
        // And from the beginning again.
        decoder.hold(bytes.len());
        assert_eq!(decoder.decode(&bytes, &OPEN, &mut table), Ok(Step::Ready { consumed: bytes.len() }));
        assert_eq!(table.args(&bytes).bytes(2), Some(words[1].as_bytes()));
        Decoder::again(&bytes, &mut table);
        assert_eq!(table.args(&bytes).iter().count(), COUNT + 1);
    }
}
