//! What people run on their own machines, and no server needs (feature `tools`): the load generator, the demonstration, the
//! simulator, manual pages and completions. Images are built without them.

use std::{io::Write, path::PathBuf};

use clap::Subcommand;
use clap_complete::Shell;

use super::{Exit, Failure, bench, demo, man, simulate};

/// The verbs of people's machines.
#[derive(Subcommand)]
pub(super) enum Tool {
    /// See what it does, server and all in one process, over a network that damages, loses and duplicates
    ///
    /// Takes a few seconds and free ports of 127.0.0.1. Exit code 0: all that it promises held; 1: something did not.
    Demo,
    Simulate(simulate::SimulateArgs),
    Bench(Box<bench::BenchArgs>),
    /// Print a script that completes this command line
    #[command(
        after_help = "Example:\n  pannier completions bash > ~/.local/share/bash-completion/completions/pannier"
    )]
    Completions {
        /// The shell that is to read it
        shell: Shell,
    },
    /// Print the manual page, or write it and those of all commands into a directory
    #[command(
        after_help = "Examples:\n  pannier man | man -l -\n  pannier man --dir /usr/local/share/man/man1"
    )]
    Man {
        /// Where to write pannier.1, pannier-serve.1 and so on
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Tool {
    /// Runs it. `whole` is the command line that pages and completions are made from.
    pub(super) fn run(self, mut whole: clap::Command, out: &mut dyn Write) -> Result<Exit, Failure> {
        match self {
            Tool::Demo => demo::run(out),
            Tool::Simulate(args) => args.run(out),
            Tool::Bench(args) => args.run(out),
            Tool::Man { dir } => man::run(whole, dir.as_deref(), out),
            Tool::Completions { shell } => {
                // By way of memory, since the generator panics where it cannot write.
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut whole, "pannier", &mut script);
                out.write_all(&script)?;
                Ok(Exit::Done)
            }
        }
    }
}
