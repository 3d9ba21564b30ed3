//! `pannier import`: what a Redis or a Valkey has saved, into a running server or a data directory.

use super::{Exit, Failure, output::printable, server_args::ServerArgs};
use crate::client::Reply;
use crate::rdb::{Part, RdbError, RdbReader, Record, ValueKind, dump_payload, part_payload};
use aof::{AofError, AofReader};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use target::{DirectoryArgs, Target};

mod aof;
mod target;

/// Import what a Redis or a Valkey has saved, into a running server or a data directory
///
/// Reads an RDB file (versions 9 to 12), an append-only file, or the manifest of one (appendonly.aof.manifest), which names
/// its files. Keys that are there are overwritten, expiries are kept, and what has expired is left out. Keys of types
/// that this server does not have are counted and named. Exit code 0: all was imported; 1: something was left behind.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier import dump.rdb
  pannier import appendonlydir/appendonly.aof.manifest
  redis-cli --rdb - | pannier import - --server hub:7878
  pannier import dump.rdb --data-dir /var/lib/pannier    before the server is started")]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    directory: DirectoryArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Commands, and bytes of them, that are sent at once.
const BATCH_COMMANDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Bytes by which an append-only file's manifest begins.
const MANIFEST_START: &[u8] = b"file ";
/// Bytes of a manifest, at most.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Words of a refusal that tell refusals apart.
const REFUSAL_BYTES_MAX: usize = 100;

impl ImportArgs {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let is_stdin = self.file == Path::new("-");
        if !is_stdin {
            // Before a directory is made or loaded for it.
            open(&self.file)?;
        }
        let mut importer = Importer::new(&self.server, &self.directory)?;
        if is_stdin {
            importer.read("standard input", Box::new(BufReader::new(io::stdin().lock())))?;
        } else {
            importer.read_path(&self.file)?;
        }
        importer.flush()?;
        importer.report(out)
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("{} cannot be read: {error}", path.display()))
}

/// What goes to the server, and what came of it.
struct Importer<'a> {
    target: Target<'a>,
    batch: Vec<Vec<Vec<u8>>>,
    batch_bytes: usize,
    /// The database that the server has selected.
    database: u64,
    now_ms: u64,
    bar: ProgressBar,
    sent: u64,
    /// Commands among them that went on with the key of the one before.
    continued: u64,
    expired: u64,
    /// Keys that were read from RDB files, by the type's name.
    read: BTreeMap<&'static str, u64>,
    /// By the type's name.
    passed_over: BTreeMap<&'static str, u64>,
    /// By the command and what the server said.
    refused: BTreeMap<String, u64>,
    /// What ended early, and why.
    warnings: Vec<String>,
}

impl<'a> Importer<'a> {
    #[allow(clippy::disallowed_methods)] // Expiries are times of day.
    fn new(server: &'a ServerArgs, directory: &DirectoryArgs) -> Result<Importer<'a>, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(0).with_style(style);
        Ok(Importer {
            target: Target::open(server, directory, &bar)?,
            batch: Vec::new(),
            batch_bytes: 0,
            database: server.database().into(),
            now_ms: now.as_millis() as u64,
            bar,
            sent: 0,
            continued: 0,
            expired: 0,
            read: BTreeMap::new(),
            passed_over: BTreeMap::new(),
            refused: BTreeMap::new(),
            warnings: Vec::new(),
        })
    }

    fn read_path(&mut self, path: &Path) -> Result<(), Failure> {
        let shown = path.display().to_string();
        let unreadable = |error: io::Error| unreadable(path, &error);
        let file = open(path)?;
        let len = file.metadata().map_err(unreadable)?.len();
        let mut source = BufReader::new(file);
        if source.fill_buf().map_err(unreadable)?.starts_with(MANIFEST_START) {
            let mut text = String::new();
            source.take(MANIFEST_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
            let files = aof::files_of(&text)
                .ok_or_else(|| Failure::usage(format!("{shown} is no manifest of an append-only file")))?;
            let folder = path.parent().unwrap_or(Path::new("."));
            return files.iter().try_for_each(|name| self.read_path(&folder.join(name)));
        }
        self.bar.inc_length(len);
        self.read(&shown, Box::new(source))
    }

    /// Reads one file, whichever of both it is.
    fn read(&mut self, name: &str, mut source: Box<dyn BufRead + '_>) -> Result<(), Failure> {
        let begin =
            source.fill_buf().map_err(|error| Failure::usage(format!("{name} cannot be read: {error}")))?;
        if begin.starts_with(b"REDIS") {
            let failed = |error: RdbError| Failure::new(Exit::Refused, format!("{name}: {error}"));
            let mut reader = RdbReader::new(source).map_err(failed)?;
            while let Some(record) = reader.next_record().map_err(failed)? {
                self.record(record)?;
                self.show(reader.offset());
            }
            // An append-only file may go on behind it.
            return self.commands(name, reader.into_source());
        }
        self.commands(name, source)
    }

    fn commands(&mut self, name: &str, source: impl BufRead) -> Result<(), Failure> {
        let mut reader = AofReader::new(source);
        loop {
            match reader.next_command() {
                Ok(Some(command)) => self.command(command)?,
                Ok(None) => return Ok(()),
                Err(AofError::Cut(at)) => {
                    self.warnings.push(format!(
                        "{name} ends in the middle of a command, at byte {at}: what is before it was imported"
                    ));
                    return Ok(());
                }
                Err(error) => return Err(Failure::new(Exit::Refused, format!("{name}: {error}"))),
            }
        }
    }

    fn record(&mut self, record: Record) -> Result<(), Failure> {
        match record {
            Record::Other { kind, .. } => *self.passed_over.entry(kind.name()).or_default() += 1,
            Record::String { expiry_ms: Some(at), .. } | Record::Packed { expiry_ms: Some(at), .. }
                if at <= self.now_ms =>
            {
                self.expired += 1;
            }
            Record::Part(Part { expiry_ms: Some(at), is_first, .. }) if at <= self.now_ms => {
                self.expired += u64::from(is_first);
            }
            Record::Packed { database, key, kind, value, expiry_ms } => {
                self.restore(database, (key, kind), dump_payload(value), expiry_ms)?;
            }
            Record::Part(part) if part.is_first => {
                let payload = part_payload(part.kind, &part.items);
                self.restore(part.database, (part.key, part.kind), payload, part.expiry_ms)?;
            }
            // Later entries of a long collection: the key is there with its expiry.
            Record::Part(part) => {
                let verb = if part.kind == ValueKind::Hash { b"HSET" } else { b"SADD" };
                let command = [verb.to_vec(), part.key].into_iter().chain(part.items).collect();
                self.continued += 1;
                self.queue(command)?;
            }
            Record::String { database, key, value, expiry_ms } => {
                self.select(database)?;
                *self.read.entry(ValueKind::String.name()).or_default() += 1;
                let mut command = vec![b"SET".to_vec(), key, value];
                if let Some(at) = expiry_ms {
                    command.extend([b"PXAT".to_vec(), at.to_string().into_bytes()]);
                }
                self.queue(command)?;
            }
        }
        Ok(())
    }

    /// A collection, whatever its key has.
    fn restore(
        &mut self,
        database: u64,
        (key, kind): (Vec<u8>, ValueKind),
        payload: Vec<u8>,
        expiry_ms: Option<u64>,
    ) -> Result<(), Failure> {
        self.select(database)?;
        *self.read.entry(kind.name()).or_default() += 1;
        let at = expiry_ms.unwrap_or(0).to_string().into_bytes();
        self.queue(vec![b"RESTORE".to_vec(), key, at, payload, b"REPLACE".to_vec(), b"ABSTTL".to_vec()])
    }

    /// A command of an append-only file. Transactions are not kept together, so that what cannot be run does not take the
    /// rest along.
    fn command(&mut self, command: Vec<Vec<u8>>) -> Result<(), Failure> {
        let word = command.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
        match word.as_slice() {
            b"multi" | b"exec" => Ok(()),
            b"select" => {
                let number = command.get(1).and_then(|digits| std::str::from_utf8(digits).ok());
                let number = number.and_then(|digits| digits.parse().ok());
                let database =
                    number.ok_or_else(|| Failure::new(Exit::Refused, "a SELECT of no database"))?;
                self.select(database)
            }
            _ => self.queue(command),
        }
    }

    fn select(&mut self, database: u64) -> Result<(), Failure> {
        if database == self.database {
            return Ok(());
        }
        self.flush()?;
        let number = u32::try_from(database).unwrap_or(u32::MAX);
        self.target.select(number).map_err(|why| {
            Failure::new(
                Exit::Refused,
                format!("database {database} of the file is not there: {why}; start the server with more --databases"),
            )
        })?;
        self.database = database;
        Ok(())
    }

    fn queue(&mut self, command: Vec<Vec<u8>>) -> Result<(), Failure> {
        self.batch_bytes += command.iter().map(Vec::len).sum::<usize>();
        self.batch.push(command);
        if self.batch.len() >= BATCH_COMMANDS || self.batch_bytes >= BATCH_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let replies = self.target.run(&self.batch)?;
        for (command, reply) in self.batch.iter().zip(replies) {
            self.sent += 1;
            if let Reply::Error { code, text } = reply {
                let word = command.first().map(Vec::as_slice).unwrap_or_default();
                let mut why = format!("{}: {code} {text}", printable(&word.to_ascii_uppercase()));
                let end = (0..=REFUSAL_BYTES_MAX.min(why.len())).rev().find(|at| why.is_char_boundary(*at));
                why.truncate(end.unwrap_or(0));
                *self.refused.entry(why).or_default() += 1;
            }
        }
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    fn show(&self, offset: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_position(offset);
            self.bar.set_message(format!("{} commands", self.sent));
        }
    }

    fn report(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        self.target.finish(&self.bar)?;
        self.bar.finish_and_clear();
        let refused: u64 = self.refused.values().sum();
        let imported = self.sent.saturating_sub(refused + self.continued);
        writeln!(out, "imported: {imported}, expired before: {}", self.expired)?;
        for (kind, count) in &self.read {
            writeln!(out, "read: keys of type {kind}: {count}")?;
        }
        for (kind, count) in &self.passed_over {
            writeln!(out, "left behind: keys of type {kind}: {count}")?;
        }
        for (why, count) in &self.refused {
            writeln!(out, "refused: {count} times {why}")?;
        }
        for warning in &self.warnings {
            writeln!(out, "{warning}")?;
        }
        let is_whole = refused == 0 && self.passed_over.is_empty() && self.warnings.is_empty();
        Ok(if is_whole { Exit::Done } else { Exit::Refused })
    }
}
