//! Transcripts: files of what a client sends and what it gets back, byte for byte.
//!
//! - `# text` is a comment, as is an empty line.
//! - `> GET k` sends a command as an array of bulks; words as in an inline command, with "quotes" and \x00 escapes.
//! - `> GET k\r\n`, a line that ends in a written-out `\n`, sends these bytes as they are, escapes undone (`\\` is a backslash).
//! - `< $1\r\nv\r\n` is a raw reply, escapes undone. Several of them follow one another.
//! - `<any` stands for one whole reply of whatever content, as it has a time or an id in it.
//! - `<closed` at the end: the server closes after that.
//!
//! The replies were recorded from Debian's `redis-server` 7.0.15, except in files that begin with `# By hand`.
#![allow(dead_code)] // Each test binary uses its own part of this file.

use super::common::{encode, reply_len, show};
use std::path::{Path, PathBuf};

/// One exchange: what is sent, and what comes back.
pub struct Exchange {
    /// The line as it stands in the file, with what precedes it.
    pub source: String,
    pub request: Vec<u8>,
    pub replies: Vec<Expected>,
}

/// What one reply has to be.
pub enum Expected {
    Bytes(Vec<u8>),
    Any,
}

impl Expected {
    pub fn fits(&self, reply: &[u8]) -> bool {
        match self {
            Expected::Bytes(bytes) => bytes == reply,
            Expected::Any => !reply.starts_with(b"-"),
        }
    }
}

/// As it stands in a transcript.
impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Bytes(bytes) => {
                let text = bytes.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"");
                write!(f, "< {text}")
            }
            Expected::Any => write!(f, "<any"),
        }
    }
}

pub struct Transcript {
    pub path: PathBuf,
    pub exchanges: Vec<Exchange>,
    pub closes: bool,
    pub by_hand: bool,
}

/// All transcripts, in the order of their names.
pub fn all() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("tests/transcripts")
        .map(|entry| entry.expect("entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths.into_iter().map(|path| parse(&std::fs::read_to_string(&path).expect("text"), path)).collect()
}

/// # Panics
/// On a line that is none of those above.
pub fn parse(text: &str, path: PathBuf) -> Transcript {
    let mut transcript =
        Transcript { path, exchanges: Vec::new(), closes: false, by_hand: text.starts_with("# By hand") };
    let mut source = String::new();
    for line in text.lines() {
        if let Some(request) = line.strip_prefix("> ") {
            source = source + line + "\n";
            let request = if request.ends_with("\\n") { unescape(request) } else { encode(&words(request)) };
            let source = std::mem::take(&mut source);
            transcript.exchanges.push(Exchange { source, request, replies: Vec::new() });
        } else if let Some(reply) = line.strip_prefix("< ") {
            transcript.expect(Expected::Bytes(unescape(reply)));
        } else if line == "<any" {
            transcript.expect(Expected::Any);
        } else if line == "<closed" {
            transcript.closes = true;
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{}: {line:?}", transcript.path.display());
            source = source + line + "\n";
        }
    }
    transcript
}

impl Transcript {
    fn expect(&mut self, reply: Expected) {
        self.exchanges.last_mut().expect("a reply follows a request").replies.push(reply);
    }

    /// Everything that the client sends.
    pub fn requests(&self) -> Vec<u8> {
        self.exchanges.iter().flat_map(|exchange| exchange.request.clone()).collect()
    }

    /// Whether these are the transcript's replies, all of them; if not, what is wrong.
    pub fn compare(&self, mut replies: &[u8]) -> Result<(), String> {
        for exchange in &self.exchanges {
            for expected in &exchange.replies {
                let len = reply_len(replies).unwrap_or(replies.len());
                let (reply, behind) = replies.split_at(len);
                self.check(exchange, expected, reply)?;
                replies = behind;
            }
        }
        if replies.is_empty() {
            Ok(())
        } else {
            Err(format!("{}: more: {}", self.path.display(), show(replies)))
        }
    }

    /// Whether this is the reply that is expected at this place; if not, what is wrong.
    pub fn check(&self, exchange: &Exchange, expected: &Expected, reply: &[u8]) -> Result<(), String> {
        if expected.fits(reply) {
            return Ok(());
        }
        let (path, source) = (self.path.display(), exchange.source.trim());
        Err(format!("{path}: {source}\n  expected {expected}\n  actual   < {}", show(reply)))
    }
}

/// Feeds the transcript's requests, cut in two at every point and then byte by byte, to fresh servers, and expects its replies.
/// `fresh` makes a connection to a new, empty server: a function from bytes received to bytes sent.
pub fn replay_at_every_split<Connection>(transcript: &Transcript, mut fresh: impl FnMut() -> Connection)
where
    Connection: FnMut(&[u8]) -> Vec<u8>,
{
    let requests = transcript.requests();
    let mut check = |pieces: &[&[u8]]| {
        let mut connection = fresh();
        let replies: Vec<u8> = pieces.iter().flat_map(|piece| connection(piece)).collect();
        if let Err(difference) = transcript.compare(&replies) {
            let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).take(4).collect();
            panic!("in pieces of {lengths:?} bytes: {difference}");
        }
    };
    for at in 0..requests.len() {
        let (first, second) = requests.split_at(at);
        check(&[first, second]);
    }
    check(&requests.chunks(1).collect::<Vec<_>>());
}

/// Words as in an inline command; `"` and `\` as there, so that every byte can be written.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').expect("a closing quote");
            words.push(unescape(&quoted[..end]));
            rest = quoted[end + 1..].trim_start();
        } else {
            let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            words.push(word.as_bytes().to_vec());
            rest = behind.trim_start();
        }
    }
    words
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        (rest, bytes) = match (first, behind) {
            (b'\\', [b'x', high, low, behind @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("hexadecimal digits");
                (behind, push(bytes, u8::from_str_radix(digits, 16).expect("hexadecimal digits")))
            }
            (b'\\', [b'r', behind @ ..]) => (behind, push(bytes, b'\r')),
            (b'\\', [b'n', behind @ ..]) => (behind, push(bytes, b'\n')),
            (b'\\', [b't', behind @ ..]) => (behind, push(bytes, b'\t')),
            (b'\\', [other, behind @ ..]) => (behind, push(bytes, *other)),
            (byte, behind) => (behind, push(bytes, *byte)),
        };
    }
    bytes
}

fn push(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}
