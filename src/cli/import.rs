//! `pannier import`: what a Redis or a Valkey has saved, into a running server.

use super::{Exit, Failure, output::printable, server_args::ServerArgs};
use crate::client::{Client, Reply};
use crate::rdb::{RdbError, RdbReader, Record};
use aof::{AofError, AofReader};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

mod aof;

/// Import what a Redis or a Valkey has saved into a running server
///
/// Reads an RDB file (versions 9 to 12), an append-only file, or the manifest of one (appendonly.aof.manifest), which names
/// its files. Keys that are there are overwritten, expiries are kept, and what has expired is left out. Keys of types
/// that this server does not have are counted and named. Exit code 0: all was imported; 1: something was left behind.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier import dump.rdb
  pannier import appendonlydir/appendonly.aof.manifest
  redis-cli --rdb - | pannier import - --server hub:7878")]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
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
        let mut importer = Importer::new(&self.server)?;
        if self.file == Path::new("-") {
            importer.read("standard input", Box::new(BufReader::new(io::stdin().lock())))?;
        } else {
            importer.read_path(&self.file)?;
        }
        importer.flush()?;
        importer.report(out)
    }
}

/// What goes to the server, and what came of it.
struct Importer<'a> {
    server: &'a ServerArgs,
    client: Client,
    batch: Vec<Vec<Vec<u8>>>,
    batch_bytes: usize,
    /// The database that the server has selected.
    database: u64,
    now_ms: u64,
    bar: ProgressBar,
    sent: u64,
    expired: u64,
    /// By the type's name.
    passed_over: BTreeMap<&'static str, u64>,
    /// By the command and what the server said.
    refused: BTreeMap<String, u64>,
    /// What ended early, and why.
    warnings: Vec<String>,
}

impl<'a> Importer<'a> {
    #[allow(clippy::disallowed_methods)] // Expiries are times of day.
    fn new(server: &'a ServerArgs) -> Result<Importer<'a>, Failure> {
        let client = server.connect()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Ok(Importer {
            server,
            client,
            batch: Vec::new(),
            batch_bytes: 0,
            database: server.database().into(),
            now_ms: now.as_millis() as u64,
            bar: ProgressBar::new(0).with_style(style),
            sent: 0,
            expired: 0,
            passed_over: BTreeMap::new(),
            refused: BTreeMap::new(),
            warnings: Vec::new(),
        })
    }

    fn read_path(&mut self, path: &Path) -> Result<(), Failure> {
        let shown = path.display().to_string();
        let unreadable = |error: io::Error| Failure::usage(format!("{shown} cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
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
            Record::String { expiry_ms: Some(at), .. } if at <= self.now_ms => self.expired += 1,
            Record::String { database, key, value, expiry_ms } => {
                self.select(database)?;
                let mut command = vec![b"SET".to_vec(), key, value];
                if let Some(at) = expiry_ms {
                    command.extend([b"PXAT".to_vec(), at.to_string().into_bytes()]);
                }
                self.queue(command)?;
            }
        }
        Ok(())
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
        self.client.select(number).map_err(|error| {
            let why = self.server.explain(error).message;
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
        let replies = self.client.pipeline(&self.batch).map_err(|error| self.server.explain(error))?;
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
        self.bar.finish_and_clear();
        let refused: u64 = self.refused.values().sum();
        writeln!(out, "imported: {}, expired before: {}", self.sent - refused, self.expired)?;
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
