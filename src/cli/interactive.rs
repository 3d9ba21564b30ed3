//! `pannier cli`: a prompt for any command, with history and completion from the table of verbs; or, where standard
//! input is no terminal, the commands in it, one a line.
//!
//! The line editor is behind the cargo feature `repl`; without it lines are read as the terminal gives them.

use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    str,
};

use clap::Args;

use super::{
    Exit, Failure,
    call::{as_text, write_reply},
    output::printable,
    server_args::{ServerArgs, exit_of},
};
use crate::{
    client::Client,
    command::{self, Verb},
    limits::VALUE_BYTES_MAX,
    wire::inline,
};

/// Bytes of a line of standard input: the longest value, quoted byte by byte, does not fit; `put KEY -` is for such.
const LINE_BYTES_MAX: u64 = VALUE_BYTES_MAX;

/// Open a prompt for any command, with history and completion
///
/// Words are quoted as in redis-cli: "a b", 'a b', "\x00". 'help' lists what else there is; Ctrl-D or 'quit' ends it.
/// Where standard input is no terminal, the commands in it are sent one after the other, a line each, and the exit code
/// is 1 if one of them failed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier cli
  pannier cli --server redis://cache-1:7878/2
  pannier cli < commands.txt")]
pub(crate) struct InteractiveArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Where lines come from.
pub(super) trait Lines {
    /// The next line without its end; `None` at the end of the input.
    fn next_line(&mut self, prompt: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// Keeps a line for the history.
    fn keep(&mut self, line: &[u8]);
}

/// Standard input as it is.
struct Plain {
    /// Whether a person sees a prompt.
    prompts: bool,
}

impl Lines for Plain {
    fn next_line(&mut self, prompt: &str) -> Result<Option<Vec<u8>>, Failure> {
        if self.prompts {
            let mut stdout = io::stdout();
            stdout.write_all(prompt.as_bytes()).and_then(|()| stdout.flush())?;
        }
        let mut line = Vec::new();
        let read = io::stdin().lock().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
        if line.is_empty() {
            return Ok(None);
        }
        match line.pop() {
            Some(b'\n') => {}
            _ if line.len() as u64 + 1 == LINE_BYTES_MAX => {
                return Err(Failure::usage("a line of standard input is longer than 512MiB"));
            }
            // The last line need not have an end.
            Some(byte) => line.push(byte),
            None => {}
        }
        Ok(Some(line))
    }

    fn keep(&mut self, _: &[u8]) {}
}

impl InteractiveArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let client = self.server.connect()?;
        let is_terminal = io::stdin().is_terminal();
        let mut lines: Box<dyn Lines> = match is_terminal {
            #[cfg(feature = "repl")]
            true => Box::new(super::editor::Editor::new()?),
            prompts => Box::new(Plain { prompts }),
        };
        let mut prompt = Prompt {
            client,
            server: &self.server,
            database: self.server.database(),
            in_transaction: false,
            is_terminal,
            line_count: 0,
            exit: Exit::Done,
        };
        while let Some(line) = lines.next_line(&prompt.text())? {
            if is_kept(&line) {
                lines.keep(&line);
            }
            if !prompt.run_line(&line, out)? {
                break;
            }
            out.flush()?;
        }
        Ok(prompt.exit)
    }
}

/// A prompt and what it shows.
struct Prompt<'a> {
    client: Client,
    server: &'a ServerArgs,
    database: u32,
    in_transaction: bool,
    is_terminal: bool,
    line_count: u64,
    /// Of the whole run: of the last line that failed, if one has.
    exit: Exit,
}

impl Prompt<'_> {
    /// `127.0.0.1:7878[2](TX)> `
    fn text(&self) -> String {
        let database = if self.database > 0 { format!("[{}]", self.database) } else { String::new() };
        let transaction = if self.in_transaction { "(TX)" } else { "" };
        format!("{}{database}{transaction}> ", self.server.name())
    }

    /// Sends the line and shows the reply. False: it asked for the end.
    fn run_line(&mut self, line: &[u8], out: &mut dyn Write) -> Result<bool, Failure> {
        self.line_count += 1;
        let words = match inline::words(line) {
            Ok(words) => words,
            Err(_) => {
                return self.complain(&Failure::usage("a quote is not closed, or something follows it"));
            }
        };
        let Some(first) = words.first() else { return Ok(true) };
        match &first.to_ascii_lowercase()[..] {
            b"quit" | b"exit" => return Ok(false),
            b"help" | b"?" => {
                out.write_all(help(words.get(1).map(Vec::as_slice)).as_bytes())?;
                return Ok(true);
            }
            b"monitor" | b"subscribe" | b"psubscribe" | b"ssubscribe" | b"sync" | b"psync" => {
                return self.complain(&Failure::usage(format!(
                    "{} makes a stream of the connection, which this prompt cannot show",
                    printable(first)
                )));
            }
            b"client" if words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"reply")) => {
                return self
                    .complain(&Failure::usage("CLIENT REPLY would leave this prompt without replies"));
            }
            _ => {}
        }
        match self.send(&words, out) {
            Ok(()) => Ok(true),
            // Without a server the rest of a file would fail line by line.
            Err(failure) if !self.is_terminal && failure.exit == Exit::Unreachable => Err(failure),
            Err(failure) => self.complain(&failure),
        }
    }

    fn send(&mut self, words: &[Vec<u8>], out: &mut dyn Write) -> Result<(), Failure> {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if let [word, number] = words[..]
            && word.eq_ignore_ascii_case(b"select")
            && !self.in_transaction
            && let Some(number) = str::from_utf8(number).ok().and_then(|number| number.parse().ok())
        {
            self.client.select(number).map_err(|error| self.server.explain(error))?;
            self.database = number;
            return Ok(writeln!(out, "OK")?);
        }
        let reply = self.client.command(&words);
        match (&words[0].to_ascii_lowercase()[..], &reply) {
            (b"multi", Ok(_)) => self.in_transaction = true,
            (b"exec" | b"discard" | b"reset", _) => self.in_transaction = false,
            // The transaction went with its connection.
            (_, Err(error)) if exit_of(error) != Exit::Refused => self.in_transaction = false,
            _ => {}
        }
        let reply = reply.map_err(|error| self.server.explain(error))?;
        Ok(write_reply(out, self.server.style(), &as_text(&words, reply))?)
    }

    /// A line that failed ends nothing.
    fn complain(&mut self, failure: &Failure) -> Result<bool, Failure> {
        self.exit = if self.is_terminal { Exit::Done } else { Exit::Refused };
        let place = if self.is_terminal { String::new() } else { format!("line {}: ", self.line_count) };
        let _ = writeln!(io::stderr(), "{place}{}", failure.message);
        Ok(true)
    }
}

/// What `help` and `help COMMAND` print.
fn help(name: Option<&[u8]>) -> String {
    let Some(name) = name else {
        return "help COMMAND   what a command does, such as: help set\nquit           end (Ctrl-D too)\n\
                Tab            complete the name of a command\n"
            .to_owned();
    };
    match command::find(name) {
        None => format!("there is no command '{}'\n", printable(name)),
        Some(verb) => std::iter::once(verb).chain(verb.subcommands()).map(describe).collect(),
    }
}

fn describe(verb: &Verb) -> String {
    let words = verb.name.replace('|', " ").to_ascii_uppercase();
    format!("{words}: {} (group {}, {})\n", verb.summary, verb.group, verb.complexity)
}

/// Whether a line may be kept in the history: none that holds a password, or begins with a blank.
fn is_kept(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    let holds_secret = line.contains("auth") || line.contains("requirepass") || line.contains("setuser");
    !holds_secret && line.starts_with(|c: char| !c.is_whitespace())
}

/// Where the word before `pos` begins, and what it could become: a verb, or a subcommand of the verb before it. The
/// case of letters follows what has been typed.
#[cfg_attr(not(feature = "repl"), allow(dead_code))]
pub(super) fn completions(line: &str, pos: usize) -> (usize, Vec<String>) {
    let before = &line[..pos];
    let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let typed = &before[start..];
    let earlier: Vec<&str> = before[..start].split_whitespace().collect();
    let is_upper = typed.is_empty() || typed.starts_with(|c: char| c.is_ascii_uppercase());
    let fitting = |verbs: &mut dyn Iterator<Item = &'static Verb>| -> Vec<String> {
        let matches = |verb: &&Verb| verb.word().starts_with(&typed.to_ascii_lowercase());
        let spelt =
            |verb: &Verb| if is_upper { verb.word().to_ascii_uppercase() } else { verb.word().to_owned() };
        verbs.filter(matches).map(spelt).collect()
    };
    let words = match earlier[..] {
        [] => fitting(&mut command::verbs()),
        [word] if word.eq_ignore_ascii_case("help") => fitting(&mut command::verbs()),
        [container] => command::find(container.as_bytes())
            .map_or_else(Vec::new, |verb| fitting(&mut verb.subcommands().iter())),
        _ => Vec::new(),
    };
    (start, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_subcommands_are_completed_in_the_case_that_was_typed() {
        let complete = |line: &str| completions(line, line.len());
        assert_eq!(complete("getra"), (0, vec!["getrange".to_owned()]));
        assert_eq!(complete("GETRA"), (0, vec!["GETRANGE".to_owned()]));
        assert_eq!(complete("client setn"), (7, vec!["setname".to_owned()]));
        assert_eq!(complete("help getra").1, ["getrange"]);
        assert!(complete("CONFIG ").1.contains(&"SET".to_owned()));
        assert!(complete("get k").1.is_empty() && complete("nonsense x").1.is_empty());
        assert!(complete("").1.len() > 50);
        assert_eq!(completions("ge x", 2).0, 0);
    }

    #[test]
    fn secrets_stay_out_of_the_history() {
        for line in
            ["AUTH pw", "auth default pw", "HELLO 3 AUTH default pw", "config set requirepass x", " GET k"]
        {
            assert!(!is_kept(line.as_bytes()), "{line}");
        }
        assert!(is_kept(b"SET k v"));
    }

    #[test]
    fn help_comes_from_the_table() {
        assert!(help(Some(b"get")).starts_with("GET: Get the value of a key"));
        assert!(help(Some(b"client")).contains("CLIENT SETNAME: "));
        assert!(help(Some(b"\x1b[2J")).contains("\\u{1b}"));
        assert!(help(None).contains("quit"));
    }
}
