//! `pannier export`: what a running server holds, into a file that Redis and Valkey load.

use super::{Exit, Failure, server_args::ServerArgs};
use crate::client::{Client, Reply};
use crate::rdb::{RdbWriter, dumped, has_field_times};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Export what a running server holds into an RDB file that Redis and Valkey load
///
/// Goes through all databases key by key while the server serves: each key is as it was at its own moment. Keys that the
/// server does not dump, for want of memory, are counted and left out. Redis 5 and later load the file; where fields of hashes
/// have times, Redis 7.4 and later. Exit code 0: all was exported; 1: something was left out.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier export dump.rdb
  pannier export - --server hub:7878 | gzip > dump.rdb.gz")]
pub(crate) struct ExportArgs {
    /// The file, or - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// Keys that are asked for at once; values up to a megabyte or so each are usual at most.
const KEYS_AT_ONCE: &[u8] = b"100";

impl ExportArgs {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let client = self.server.connect()?;
        if self.file == Path::new("-") {
            let mut writer = RdbWriter::new(out)?;
            let exported = Exporter::new(&self.server, client).run(&mut writer)?;
            writer.finish()?;
            return Ok(exported.exit(&mut io::stderr())?);
        }
        // Under another name until it is whole.
        let mut unfinished = self.file.clone().into_os_string();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        let failed = |error: io::Error| {
            Failure::new(Exit::Refused, format!("{} cannot be written: {error}", self.file.display()))
        };
        let file = File::create(&unfinished).map_err(failed)?;
        let export = || {
            let mut writer = RdbWriter::new(BufWriter::new(&file))?;
            let exported = Exporter::new(&self.server, client).run(&mut writer)?;
            writer.seal()?;
            file.sync_all().and_then(|()| fs::rename(&unfinished, &self.file)).map_err(failed)?;
            Ok(exported)
        };
        let exported: Result<Exported, Failure> = export();
        if exported.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        Ok(exported?.exit(out)?)
    }
}

/// What was written.
#[derive(Default)]
struct Exported {
    keys: u64,
    /// By the type's name.
    kinds: BTreeMap<&'static str, u64>,
    /// Hashes among them of which fields have times.
    with_times: u64,
    /// By what the server said.
    left_out: BTreeMap<String, u64>,
}

impl Exported {
    fn exit(&self, out: &mut dyn Write) -> io::Result<Exit> {
        writeln!(out, "exported: {}", self.keys)?;
        for (kind, count) in &self.kinds {
            writeln!(out, "keys of type {kind}: {count}")?;
        }
        if self.with_times > 0 {
            let count = self.with_times;
            writeln!(out, "hashes with times of fields: {count}; only Redis 7.4 and later load them")?;
        }
        for (why, count) in &self.left_out {
            writeln!(out, "left out: {count} times {why}")?;
        }
        Ok(if self.left_out.is_empty() { Exit::Done } else { Exit::Refused })
    }
}

struct Exporter<'a> {
    server: &'a ServerArgs,
    client: Client,
    bar: ProgressBar,
    exported: Exported,
}

impl<'a> Exporter<'a> {
    fn new(server: &'a ServerArgs, client: Client) -> Exporter<'a> {
        let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} keys")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(0).with_style(style);
        Exporter { server, client, bar, exported: Exported::default() }
    }

    fn run(mut self, writer: &mut RdbWriter<impl Write>) -> Result<Exported, Failure> {
        let info = self.client.info(Some("keyspace")).map_err(|error| self.server.explain(error))?;
        let databases: Vec<(u32, u64)> = info.lines().filter_map(database_of).collect();
        self.bar.set_length(databases.iter().map(|(_, keys)| keys).sum());
        for (database, _) in databases {
            self.client.select(database).map_err(|error| self.server.explain(error))?;
            self.database(database, writer)?;
        }
        self.bar.finish_and_clear();
        Ok(self.exported)
    }

    fn database(&mut self, database: u32, writer: &mut RdbWriter<impl Write>) -> Result<(), Failure> {
        // A key may come twice in a scan, and Redis refuses a file that has one twice.
        let mut seen: HashSet<[u8; 16]> = HashSet::new();
        let mut cursor = b"0".to_vec();
        loop {
            let words: [&[u8]; 4] = [b"SCAN", &cursor, b"COUNT", KEYS_AT_ONCE];
            let reply = self.client.command(&words).map_err(|error| self.server.explain(error))?;
            let (next, mut keys) = scanned(reply).ok_or_else(unexpected)?;
            keys.retain(|key| seen.insert(short_hash(key)));
            self.keys(database, &keys, writer)?;
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn keys(
        &mut self,
        database: u32,
        keys: &[Vec<u8>],
        writer: &mut RdbWriter<impl Write>,
    ) -> Result<(), Failure> {
        let commands: Vec<Vec<Vec<u8>>> = keys
            .iter()
            .flat_map(|key| [vec![b"PEXPIRETIME".to_vec(), key.clone()], vec![b"DUMP".to_vec(), key.clone()]])
            .collect();
        let replies = self.client.pipeline(&commands).map_err(|error| self.server.explain(error))?;
        let mut replies = replies.into_iter();
        for key in keys {
            match (replies.next(), replies.next()) {
                (Some(Reply::Integer(expiry)), Some(Reply::Bulk(payload))) => {
                    let expiry_ms = u64::try_from(expiry).ok();
                    let (kind, value) = dumped(&payload).ok_or_else(unexpected)?;
                    writer.value(database.into(), (key, value), expiry_ms)?;
                    self.exported.keys += 1;
                    self.exported.with_times += u64::from(has_field_times(value[0]));
                    *self.exported.kinds.entry(kind.name()).or_default() += 1;
                }
                // It has gone meanwhile.
                (Some(Reply::Integer(_)), Some(Reply::Null)) => {}
                (Some(Reply::Integer(_)), Some(Reply::Error { code, text })) => {
                    *self.exported.left_out.entry(format!("{code} {text}")).or_default() += 1;
                }
                _ => return Err(unexpected()),
            }
        }
        self.bar.inc(keys.len() as u64);
        Ok(())
    }
}

fn unexpected() -> Failure {
    Failure::new(Exit::Refused, "the server has answered something else than was asked for")
}

/// `db0:keys=12,…`
fn database_of(line: &str) -> Option<(u32, u64)> {
    let (name, rest) = line.split_once(":keys=")?;
    let keys = rest.split(',').next()?.parse().ok()?;
    Some((name.strip_prefix("db")?.parse().ok()?, keys))
}

fn scanned(reply: Reply) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Reply::Array(parts) = reply else { return None };
    let [next, keys] = <[Reply; 2]>::try_from(parts).ok()?;
    let Reply::Array(keys) = keys else { return None };
    Some((next.into_bytes()?, keys.into_iter().filter_map(Reply::into_bytes).collect()))
}

fn short_hash(key: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(key).as_bytes()[..16]);
    short
}
