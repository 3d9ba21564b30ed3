//! The command line: one binary, `pannier`, that is the server (`serve`) and a client for people and scripts.
//!
//! stdout carries data and nothing else; messages go to stderr. The exit code tells a script what happened, see
//! [`Exit`].
//!
//! | file | what lives there |
//! |---|---|
//! | `serve.rs` | the server's flags and environment, made into one plain [`serve::ServeOptions`] |
//! | `verbs.rs` | `put`, `get`, … over the client library |
//! | `server_args.rs`, `address.rs` | which server the client's commands speak to, and what its errors mean |
//! | `connection.rs` | a client over TCP or UDP |
//! | `call.rs` | `call`: any command, and how replies are shown |
//! | `interactive.rs`, `editor.rs` | `cli`: a prompt, with history and completion |
//! | `healthcheck.rs` | `healthcheck` |
//! | `import.rs`, `export.rs` | `import` from files of Redis and Valkey, `export` to them |
//! | `check.rs` | `check`: whether a data directory can be loaded |
//! | `tools.rs` | what images leave out: the next three, manual pages, completions |
//! | `bench/` | `bench`: a load generator |
//! | `demo/` | `demo`: a server and a bad network in one process, told line by line |
//! | `simulate.rs` | `simulate`: the simulator over many seeds |
//! | `top/` | `top`: what a server is doing, looked at again and again |
//! | `output.rs` | what goes to stdout: bytes as they are, or JSON |
//! | `config.rs` | `config print`: what `serve` would run with, and why |
//! | `reload.rs` | what SIGHUP reads again |
//! | `environment.rs` | variables: empty ones, and names that no flag has |
//! | `man.rs` | manual pages, made from the command line's own words |
//! | `memory.rs` | the memory limit of the container or the machine |
//! | `units.rs` | sizes and durations as people write them |
//! | `secret.rs` | the password |
//! | `logging.rs`, `log_limit.rs` | the log on stderr; how many lines of one kind it takes |

#![cfg_attr(not(test), warn(unreachable_pub))]

mod address;
#[cfg(feature = "tools")]
mod bench;
mod call;
mod check;
mod config;
mod connection;
#[cfg(feature = "tools")]
mod demo;
#[cfg(feature = "repl")]
mod editor;
mod environment;
mod export;
mod healthcheck;
mod import;
mod interactive;
mod listen;
mod log_limit;
pub mod logging;
#[cfg(feature = "tools")]
mod man;
pub mod memory;
mod output;
mod reload;
pub mod secret;
pub mod serve;
mod server_args;
#[cfg(feature = "tools")]
mod simulate;
#[cfg(feature = "tools")]
mod tools;
mod top;
pub mod units;
mod verbs;

use std::{
    env,
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use logging::LogFormat;

/// What an exit code means. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// The server answered an error, or a condition did not hold.
    Refused = 1,
    /// The command line is wrong. `clap` uses the same number.
    Usage = 2,
    /// There is no such key.
    NoSuchKey = 3,
    /// No connection, or no answer in time; nothing was changed.
    Unreachable = 4,
    /// The server wants a password, or another one.
    NotAuthenticated = 5,
    /// A change was asked for and no answer came: it may have happened.
    OutcomeUnknown = 6,
}

/// Why a command ends without success: a code, and a message that says what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }
}

/// A broken pipe is a reader that has seen enough (`pannier scan | head`): no failure, and nothing to say.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
            _ => Failure::new(Exit::Refused, format!("cannot write the output: {error}")),
        }
    }
}

/// A key-value store that rides beside a service: one small process, one thread, one fixed piece of memory.
#[derive(Parser)]
#[command(name = "pannier", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The same with the server's command alone: what a server never needs of the command line takes no memory in it.
#[derive(Parser)]
#[command(name = "pannier", version, max_term_width = 100)]
struct ServerCli {
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Subcommand)]
enum ServerCommand {
    Serve(serve::ServeArgs),
}

const AFTER_HELP: &str = "\
Examples:
  pannier serve --memory 64MiB              run a server on 127.0.0.1:7878
  pannier put greeting hello --ttl 30s      store a value for half a minute
  pannier get greeting                      print it
  echo -n data | pannier put file -         store what comes from standard input
  pannier scan --match 'session:*'          list keys
  pannier call HELLO 3                      send any command
  pannier cli                               open a prompt
  pannier top                               watch a server

Exit codes:
  0  done
  1  the server answered an error, or a condition did not hold
  2  the command line is wrong
  3  no such key
  4  cannot connect, or no answer in time; nothing was changed
  5  not authenticated
  6  outcome unknown: it may have happened";

#[derive(Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    #[command(flatten)]
    Verb(verbs::Verb),
    Call(call::CallArgs),
    /// Publish a message to a channel, and print how many clients got it
    #[command(after_help = "Example:\n  pannier publish news 'it works'")]
    Publish(listen::PublishArgs),
    /// Print what is published to channels, a line for each message, until Ctrl-C
    #[command(after_help = "\
Examples:
  pannier subscribe news
  pannier subscribe --patterns '__keyevent@0__:*'
  pannier subscribe news --json | jq .message")]
    Subscribe(listen::SubscribeArgs),
    /// Print every change of the keys that begin with a prefix, until Ctrl-C
    ///
    /// A line is the revision, the event and the key. A lost connection is made again, and the watch goes on behind the last
    /// change; where the server no longer knows what happened meanwhile, the line is '- compacted'.
    #[command(after_help = "\
Examples:
  pannier watch config:
  pannier watch '' --json
  pannier watch config: --from 1234")]
    Watch(listen::WatchArgs),
    Cli(interactive::InteractiveArgs),
    /// Watch a server: requests by verb, latency, memory, drawn again each second
    ///
    /// Where standard output is no terminal, a line for each interval, or with --json an object. A server that goes away
    /// is waited for. q or Ctrl-C ends it.
    #[command(after_help = "\
Examples:
  pannier top
  pannier top --server cache-1:7878 --interval 5s
  pannier top --count 60 > minute.txt
  pannier top --json | jq .requests_per_s")]
    Top(top::TopArgs),
    /// Ask a server that was set up by the same environment whether it is alive (for a container's HEALTHCHECK)
    ///
    /// Reads PANNIER_TCP, PANNIER_PASSWORD and PANNIER_PASSWORD_FILE as `serve` does. Exit code 0: it answers, if only
    /// that it wants another password; 1: it does not.
    Healthcheck(healthcheck::HealthcheckArgs),
    Check(check::CheckArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    /// Show the effective configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[cfg(feature = "tools")]
    #[command(flatten)]
    Tool(tools::Tool),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let log_format = serve::log_format(env::args_os());
    let (command, matches) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error, log_format),
    };
    let mut stdout = BufWriter::new(io::stdout().lock());
    let result = run(command, &matches, &mut stdout);
    // What there is goes out even where the verb has failed; the first trouble is the one to report.
    let flushed = stdout.flush().map_err(Failure::from);
    let result = result.and_then(|exit| flushed.map(|()| exit));
    let exit = result.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            report(log_format, failure.exit, &failure.message);
        }
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// The command of this process, and what was said of it.
fn parse() -> Result<(Command, ArgMatches), clap::Error> {
    if env::args_os().nth(1).is_some_and(|word| word == "serve") {
        let matches = environment::without_empty(ServerCli::command()).try_get_matches()?;
        let ServerCommand::Serve(args) = ServerCli::from_arg_matches(&matches)?.command;
        return Ok((Command::Serve(args), matches));
    }
    #[cfg(not(feature = "tools"))]
    refuse_left_out(env::args().nth(1).as_deref())?;
    let matches = environment::without_empty(Cli::command()).try_get_matches()?;
    Ok((Cli::from_arg_matches(&matches)?.command, matches))
}

/// Names the feature of a verb that other builds have.
#[cfg(not(feature = "tools"))]
fn refuse_left_out(verb: Option<&str>) -> Result<(), clap::Error> {
    let Some(verb @ ("bench" | "demo" | "simulate" | "man" | "completions")) = verb else { return Ok(()) };
    Err(Cli::command().error(
        clap::error::ErrorKind::InvalidSubcommand,
        format!(
            "'{verb}' is not in this build, which is an image's: builds with the feature 'tools', the default of cargo, \
             have it"
        ),
    ))
}

/// What the command line's own words could not be made of: help and version too come this way.
fn refuse(error: &clap::Error, log_format: LogFormat) -> ExitCode {
    if error.use_stderr() && log_format == LogFormat::Json {
        let text = error.to_string();
        report(
            log_format,
            Exit::Usage,
            text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default(),
        );
        return ExitCode::from(Exit::Usage as u8);
    }
    error.exit()
}

/// The one line of a failure on stderr. Where there is no stderr, the exit code alone has to tell.
fn report(log_format: LogFormat, exit: Exit, message: &str) {
    let _ = io::stderr().write_all(logging::failure_line(log_format, exit, message).as_bytes());
}

fn run(command: Command, matches: &ArgMatches, out: &mut dyn Write) -> Result<Exit, Failure> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Verb(verb) => verb.run(out),
        Command::Call(args) => args.run(out),
        Command::Publish(args) => args.run(out),
        Command::Subscribe(args) => args.run(out),
        Command::Watch(args) => args.run(out),
        Command::Cli(args) => args.run(out),
        Command::Top(args) => args.run(out),
        Command::Healthcheck(args) => args.run(),
        Command::Check(args) => args.run(out),
        Command::Import(args) => args.run(out),
        Command::Export(args) => args.run(out),
        Command::Config(config::ConfigCommand::Print(args)) => args.run(matches, out),
        #[cfg(feature = "tools")]
        Command::Tool(tool) => tool.run(Cli::command(), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_server_s_command_alone_is_the_one_of_the_whole() {
        let help = |command: clap::Command, words: &[&str]| {
            command.try_get_matches_from(words).expect_err("help comes as an error").to_string()
        };
        for words in [
            &["pannier", "serve", "--help"][..],
            &["pannier", "serve", "-h"],
            &["pannier", "serve", "--nonsense"],
        ] {
            assert_eq!(help(ServerCli::command(), words), help(Cli::command(), words));
        }
    }

    #[cfg(not(feature = "tools"))]
    #[test]
    fn a_verb_that_images_leave_out_is_named_with_its_feature() {
        let error = refuse_left_out(Some("bench")).expect_err("not in this build").to_string();
        assert!(error.contains("'bench'") && error.contains("'tools'"), "{error}");
        assert!(refuse_left_out(Some("get")).is_ok() && refuse_left_out(None).is_ok());
    }

    #[test]
    fn exit_codes_are_the_promised_ones() {
        let codes = [
            Exit::Done,
            Exit::Refused,
            Exit::Usage,
            Exit::NoSuchKey,
            Exit::Unreachable,
            Exit::NotAuthenticated,
            Exit::OutcomeUnknown,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 6]);
    }
}
