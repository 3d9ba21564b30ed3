//! Where an import goes: to a running server, or into a data directory that no server uses meanwhile.

use super::super::{
    Exit, Failure, memory,
    server_args::ServerArgs,
    units::{Amount, parse_amount, parse_size},
};
use crate::client::{Client, Reply, ReplyReader, encode};
use crate::config::ServerOptions;
use crate::limits::{self, MIB};
use crate::net::{self, Offline};
use clap::Args;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

/// Bytes of memory that one reply may take.
const REPLY_BYTES_MAX: usize = 64 * MIB;

/// A directory to import into, and what the server that is to use it is started with.
#[derive(Args, Debug)]
#[command(next_help_heading = "Data directory")]
pub(super) struct DirectoryArgs {
    /// Import into this data directory instead of into a running server; it is made if it is not there. No server may use
    /// it meanwhile. It gets everything at the end, or stays as it was
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The memory of the server that is to use the directory [default: as that of serve]
    #[arg(long, env = "PANNIER_MEMORY", value_name = "SIZE|PERCENT", value_parser = parse_amount)]
    memory: Option<Amount>,
    /// Its databases
    #[arg(long, env = "PANNIER_DATABASES", value_name = "N", default_value_t = limits::DATABASES_MAX,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(limits::DATABASES_MAX)))]
    databases: u8,
    /// Its largest value
    #[arg(long, env = "PANNIER_MAX_VALUE", value_name = "SIZE", default_value = "512MiB", value_parser = parse_size)]
    max_value: u64,
}

impl DirectoryArgs {
    /// Loads the directory, if one is named.
    fn open(&self, bar: &ProgressBar) -> Result<Option<Offline>, Failure> {
        let Some(data_dir) = &self.data_dir else { return Ok(None) };
        let memory = memory::resolve(self.memory, memory::available(Path::new("/")).as_ref());
        let mut options = ServerOptions {
            memory_bytes: memory.map_err(Failure::usage)?.bytes,
            databases: self.databases,
            max_value_bytes: self.max_value,
            data_dir: Some(data_dir.clone()),
            ..ServerOptions::default()
        };
        // As many as the server has, so that its store is as large.
        options.max_clients = net::default_max_clients(&options);
        let mut offline = Offline::open(&options)
            .map_err(|error| refused(format!("{error}. Into a running server: import without --data-dir")))?;
        bar.set_message("loading the directory");
        let load = offline.load(|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        load.map_err(refused)?;
        bar.set_length(0);
        bar.set_position(0);
        bar.set_message("");
        Ok(Some(offline))
    }
}

/// What takes the commands.
pub(super) enum Target<'a> {
    Server { args: &'a ServerArgs, client: Client },
    Directory(Box<Offline>),
}

impl<'a> Target<'a> {
    pub(super) fn open(
        server: &'a ServerArgs,
        directory: &DirectoryArgs,
        bar: &ProgressBar,
    ) -> Result<Target<'a>, Failure> {
        let Some(offline) = directory.open(bar)? else {
            return Ok(Target::Server { args: server, client: server.connect()? });
        };
        let mut target = Target::Directory(Box::new(offline));
        if server.database() > 0 {
            target.select(server.database()).map_err(Failure::usage)?;
        }
        Ok(target)
    }

    /// Runs these commands; their replies, errors among them.
    pub(super) fn run(&mut self, commands: &[Vec<Vec<u8>>]) -> Result<Vec<Reply>, Failure> {
        match self {
            Target::Server { args, client } => client.pipeline(commands).map_err(|error| args.explain(error)),
            Target::Directory(offline) => {
                let mut answers = Vec::new();
                offline.call(&encode(commands), &mut answers).map_err(refused)?;
                let (mut reader, mut source) = (ReplyReader::new(REPLY_BYTES_MAX), &answers[..]);
                let replies = commands.iter().map(|_| reader.read(&mut source));
                replies.collect::<Result<_, _>>().map_err(|_| {
                    refused("a command of the file ends the connection, or waits for others: it cannot be imported")
                })
            }
        }
    }

    /// The commands that follow are for this database; or why there is none.
    pub(super) fn select(&mut self, database: u32) -> Result<(), String> {
        let select = [vec![b"SELECT".to_vec(), database.to_string().into_bytes()]];
        match self {
            Target::Server { args, client } => {
                client.select(database).map_err(|error| args.explain(error).message)
            }
            Target::Directory(_) => match self.run(&select).map_err(|failure| failure.message)?.pop() {
                Some(Reply::Error { code, text }) => Err(format!("{code} {text}")),
                _ => Ok(()),
            },
        }
    }

    /// Everything has come: it is made durable, where that is not the server's to do.
    pub(super) fn finish(self, bar: &ProgressBar) -> Result<(), Failure> {
        match self {
            Target::Server { .. } => Ok(()),
            Target::Directory(offline) => {
                bar.set_message("writing a checkpoint");
                offline.publish().map_err(refused)
            }
        }
    }
}

fn refused(text: impl ToString) -> Failure {
    Failure::new(Exit::Refused, text.to_string())
}
