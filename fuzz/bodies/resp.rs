//! RESP requests: any stream in any pieces, and commands that were made well.

use super::script::Script;
use pannier::limits::BUFFERED_BULK_BYTES_MAX;
use pannier::mutation::LargeId;
use pannier::wire::resp::{Arg, ArgTable, Bounds, Decoder, Malformed, Step};
use std::cell::RefCell;

const BULK_BYTES_MAX: u64 = 256 * 1024;
const STREAM_BYTES_MAX: usize = 512 * 1024;
const CUTS_MAX: usize = 16;

thread_local! {
    static TABLE: RefCell<ArgTable> = RefCell::new(ArgTable::with_capacity(1 << 20));
}

/// What a stream says: its commands, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    commands: Vec<Vec<Vec<u8>>>,
    error: Option<Malformed>,
}

/// Decodes as a connection does: bytes are appended as they come, large arguments taken out, commands consumed.
struct Stream<'a> {
    decoder: Decoder,
    bounds: Bounds,
    waiting: Vec<u8>,
    /// Bytes of a large argument that are still to come, behind what has come of it.
    body: Option<u64>,
    larges: Vec<Vec<u8>>,
    table: &'a mut ArgTable,
    told: Told,
}

impl Stream<'_> {
    fn feed(&mut self, mut piece: &[u8]) {
        if let Some(left) = self.body {
            let (body, behind) = piece.split_at(piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            piece = behind;
            self.take_body(body, left);
        }
        self.waiting.extend_from_slice(piece);
        while self.told.error.is_none() && self.body.is_none() && !self.waiting.is_empty() && self.step() {}
    }

    /// Whether there may be more to be had from the bytes that wait.
    fn step(&mut self) -> bool {
        match self.decoder.decode(&self.waiting, &self.bounds, self.table) {
            Ok(Step::NeedMore) => return false,
            Ok(Step::Skip { consumed }) => _ = self.waiting.drain(..consumed),
            Ok(Step::Ready { consumed }) => {
                let args = self.table.args(&self.waiting[..consumed]);
                let larges = &mut self.larges;
                let owned = args.iter().map(|arg| match arg {
                    Arg::Bytes(bytes) => bytes.to_vec(),
                    Arg::Large(LargeId(id)) => std::mem::take(&mut larges[id as usize]),
                    Arg::Refused => unreachable!("nothing was thrown away"),
                });
                self.told.commands.push(owned.collect());
                self.waiting.drain(..consumed);
            }
            Ok(Step::Body { at, len }) => {
                assert!(len > BUFFERED_BULK_BYTES_MAX as u64 && len <= self.bounds.max_bulk_bytes);
                let behind = self.waiting.split_off(at);
                let (body, rest) = behind.split_at(behind.len().min(len as usize));
                self.larges.push(Vec::new());
                self.take_body(body, len);
                self.waiting.extend_from_slice(rest);
            }
            Err(reason) => self.told.error = Some(reason),
        }
        true
    }

    fn take_body(&mut self, bytes: &[u8], left: u64) {
        let id = self.larges.len() - 1;
        self.larges[id].extend_from_slice(bytes);
        let left = left - bytes.len() as u64;
        self.body = (left > 0).then_some(left);
        if left == 0 {
            self.decoder.body_received(&mut self.waiting, Some(LargeId(id as u32)));
        }
    }
}

fn decode<'p>(pieces: impl Iterator<Item = &'p [u8]>, bounds: Bounds, table: &mut ArgTable) -> Told {
    let mut stream = Stream {
        decoder: Decoder::new(),
        bounds,
        waiting: Vec::new(),
        body: None,
        larges: Vec::new(),
        table,
        told: Told::default(),
    };
    for piece in pieces {
        stream.feed(piece);
        if stream.told.error.is_some() {
            break;
        }
    }
    stream.told
}

/// See the table of [`super`].
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = script.byte();
    let bounds = Bounds { authenticated: kind & 1 == 0, max_bulk_bytes: BULK_BYTES_MAX };
    let mut cuts: Vec<usize> = (0..script.below(CUTS_MAX)).map(|_| script.number()).collect();
    cuts.sort_unstable();
    TABLE.with_borrow_mut(|table| {
        if kind & 2 == 0 {
            let bytes = stream(&mut script);
            let whole = decode(std::iter::once(&bytes[..]), bounds, table);
            let cut = decode(pieces(&bytes, &cuts), bounds, table);
            assert_eq!(cut, whole);
        } else {
            let (bytes, commands) = well_made(&mut script);
            let told = decode(pieces(&bytes, &cuts), Bounds { authenticated: true, ..bounds }, table);
            assert_eq!(told, Told { commands, error: None });
        }
    });
}

/// Bytes as they stand, and runs of one byte, which make a short script reach the limits on length.
fn stream(script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while script.more() && bytes.len() < STREAM_BYTES_MAX {
        bytes.extend_from_slice(script.bytes());
        let repeated = script.byte();
        bytes.resize(bytes.len() + script.number(), repeated);
    }
    bytes
}

/// Commands and their bytes.
fn well_made(script: &mut Script<'_>) -> (Vec<u8>, Vec<Vec<Vec<u8>>>) {
    let (mut bytes, mut commands) = (Vec::new(), Vec::new());
    while script.more() && bytes.len() < STREAM_BYTES_MAX {
        let count = 1 + script.below(5);
        bytes.extend_from_slice(format!("*{count}\r\n").as_bytes());
        let mut command = Vec::new();
        for _ in 0..count {
            let mut arg = script.bytes().to_vec();
            let repeated = script.byte();
            arg.resize(arg.len() + script.number() * usize::from(repeated & 1), repeated);
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(&arg);
            bytes.extend_from_slice(b"\r\n");
            command.push(arg);
        }
        commands.push(command);
    }
    (bytes, commands)
}

/// The bytes between the cuts, which rise.
fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> impl Iterator<Item = &'b [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    ends.push(bytes.len());
    let mut from = 0;
    ends.into_iter().map(move |end| {
        let piece = &bytes[from..end];
        from = end;
        piece
    })
}
