//! Append-only files: commands as clients send them, and the manifest that names the files.

use crate::rdb::STRING_BYTES_MAX;
use std::fmt;
use std::io::{self, BufRead, Read};

/// Arguments of a command, at most: as Redis has it.
const ARGUMENTS_MAX: usize = 1 << 20;
/// Bytes of a line, at most: a count, or a comment.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Why a file is not read on.
#[derive(Debug)]
pub(super) enum AofError {
    Io(io::Error),
    /// It ends in the middle of the command that begins at this byte, as a server that was killed leaves it.
    Cut(u64),
    Damaged(u64),
}

impl fmt::Display for AofError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AofError::Io(error) => write!(formatter, "it cannot be read: {error}"),
            AofError::Cut(at) => write!(formatter, "it ends in the middle of the command at byte {at}"),
            AofError::Damaged(at) => {
                write!(formatter, "it is damaged at byte {at}: no command of an append-only file")
            }
        }
    }
}

/// Reads commands one after the other.
pub(super) struct AofReader<R> {
    source: R,
    offset: u64,
    begin: u64,
}

impl<R: BufRead> AofReader<R> {
    pub(super) fn new(source: R) -> AofReader<R> {
        AofReader { source, offset: 0, begin: 0 }
    }

    /// The next command; `None` at the end.
    pub(super) fn next_command(&mut self) -> Result<Option<Vec<Vec<u8>>>, AofError> {
        loop {
            self.begin = self.offset;
            match self.source.fill_buf().map_err(AofError::Io)?.first() {
                None => return Ok(None),
                // An annotation, such as the time.
                Some(b'#') => _ = self.line()?,
                Some(_) => break,
            }
        }
        let count = self.number(b'*')?;
        if count == 0 || count > ARGUMENTS_MAX as u64 {
            return Err(AofError::Damaged(self.begin));
        }
        let mut command = Vec::new();
        for _ in 0..count {
            let len = self.number(b'$')?;
            command.push(self.argument(len)?);
        }
        Ok(Some(command))
    }

    fn line(&mut self) -> Result<Vec<u8>, AofError> {
        let mut line = Vec::new();
        let read = self.source.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        self.offset += read.map_err(AofError::Io)? as u64;
        match line.strip_suffix(b"\r\n") {
            Some(text) => Ok(text.to_vec()),
            None if (line.len() as u64) < LINE_BYTES_MAX && !line.ends_with(b"\n") => {
                Err(AofError::Cut(self.begin))
            }
            None => Err(AofError::Damaged(self.begin)),
        }
    }

    fn number(&mut self, mark: u8) -> Result<u64, AofError> {
        let line = self.line()?;
        let digits = line.strip_prefix(&[mark]).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).ok_or(AofError::Damaged(self.begin))
    }

    /// An argument, which takes memory only as it comes.
    fn argument(&mut self, len: u64) -> Result<Vec<u8>, AofError> {
        if len > STRING_BYTES_MAX {
            return Err(AofError::Damaged(self.begin));
        }
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(len + 2).read_to_end(&mut bytes).map_err(AofError::Io)?;
        self.offset += read as u64;
        if (read as u64) < len + 2 {
            return Err(AofError::Cut(self.begin));
        }
        if !bytes.ends_with(b"\r\n") {
            return Err(AofError::Damaged(self.begin));
        }
        bytes.truncate(len as usize);
        Ok(bytes)
    }
}

/// The files that a manifest names, in the order in which they count: the base, then the increments.
pub(super) fn files_of(manifest: &str) -> Option<Vec<String>> {
    let mut files = Vec::new();
    for line in manifest.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let field = |name: &str| words.chunks(2).find(|pair| pair[0] == name).and_then(|pair| pair.get(1));
        let (file, kind) = (field("file")?, field("type")?);
        // Only names beside the manifest: it says nothing of other folders.
        if file.contains('/') || file.starts_with('"') {
            return None;
        }
        match *kind {
            "b" => files.insert(0, (*file).to_owned()),
            "i" => files.push((*file).to_owned()),
            // History: on its way out.
            "h" => {}
            _ => return None,
        }
    }
    (!files.is_empty()).then_some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<AofError>) {
        let (mut reader, mut commands) = (AofReader::new(bytes), Vec::new());
        loop {
            match reader.next_command() {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => return (commands, None),
                Err(error) => return (commands, Some(error)),
            }
        }
    }

    #[test]
    fn commands_come_in_order_and_a_cut_is_no_damage() {
        let bytes = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n";
        let (commands, error) = read(bytes);
        assert!(error.is_none() && commands.len() == 2 && commands[1][2] == b"\r\n", "{commands:?}");
        let second = 23 + 16;
        for len in second + 1..bytes.len() {
            let (commands, error) = read(&bytes[..len]);
            assert!(matches!(error, Some(AofError::Cut(at)) if at == second as u64), "{len}: {error:?}");
            assert_eq!(commands.len(), 1);
        }
        for damaged in [&b"*x\r\n"[..], b"*0\r\n", b"*1\r\n$9999999999\r\n", b"*1\r\n$1\r\nabc", b"GET k\r\n"]
        {
            assert!(matches!(read(damaged).1, Some(AofError::Damaged(0))), "{damaged:?}");
        }
    }

    #[test]
    fn a_manifest_names_the_base_first() {
        let text = "file a.2.incr.aof seq 2 type i\nfile a.1.base.rdb seq 1 type b\nfile a.0.incr.aof seq 0 type h\n";
        assert_eq!(files_of(text), Some(vec!["a.1.base.rdb".to_owned(), "a.2.incr.aof".to_owned()]));
        assert_eq!(files_of("file ../x seq 1 type b\n"), None);
        assert_eq!(files_of("nonsense\n"), None);
    }
}
