//! Manual pages, made from the command line's own help, so that the two cannot differ. Clean under `mandoc -T lint`.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::Command;
use clap_mangen::Man;

use super::{Exit, Failure, secret};

/// When the pages last changed in more than a word: a page has to have a date, and the same source the same page.
const DATE: &str = "2026-11-26";
/// Columns of a line of a page's source.
const COLUMNS: usize = 78;

/// Prints pannier(1), or writes it and one page for each command into `dir`, which is made if it is not there.
///
/// # Errors
/// The directory or a page cannot be written.
pub(super) fn run(mut command: Command, dir: Option<&Path>, out: &mut dyn Write) -> Result<Exit, Failure> {
    command = command.disable_help_subcommand(true);
    command.build();
    match dir {
        None => out.write_all(page(command)?.as_bytes())?,
        Some(dir) => {
            let refused = |path: &Path, error: io::Error| {
                Failure::new(Exit::Refused, format!("cannot write {}: {error}", path.display()))
            };
            fs::create_dir_all(dir).map_err(|error| refused(dir, error))?;
            for (name, text) in pages(command)? {
                let path = dir.join(name);
                fs::write(&path, text).map_err(|error| refused(&path, error))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Names and texts of the page of a command and of those below it, but for hidden ones. `build` has been called.
fn pages(command: Command) -> io::Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        // "pannier config print" has been made "pannier-config-print" by `build`.
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        pages.push((format!("{name}.1"), page(command.display_name(&name))?));
    }
    Ok(pages)
}

/// The page of one command.
fn page(command: Command) -> io::Result<String> {
    let variables = variables(&command);
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let title = command.get_display_name().unwrap_or(command.get_name()).to_uppercase();
    // Commands below have no version of their own.
    let man = Man::new(command.after_help(None::<&str>))
        .title(title)
        .date(DATE)
        .source(concat!("pannier ", env!("CARGO_PKG_VERSION")))
        .manual("Pannier");
    let mut rendered = Vec::new();
    man.render(&mut rendered)?;
    let mut text = tidied(&String::from_utf8_lossy(&rendered));
    text.push_str(&environment(&variables));
    text.push_str(&sections(&after));
    Ok(text)
}

/// The variables that a command reads: their names, and the flag that each stands for.
fn variables(command: &Command) -> Vec<(String, String)> {
    let of_flag =
        |arg: &clap::Arg| Some((arg.get_env()?.to_str()?.to_owned(), format!("--{}", arg.get_long()?)));
    let mut variables: Vec<_> = command.get_arguments().filter_map(of_flag).collect();
    for kind in [secret::PASSWORD, secret::ADMIN_TOKEN] {
        let file = format!("{}_FILE", kind.variable);
        if let Some(at) = variables.iter().position(|(name, _)| *name == file) {
            variables.insert(at, (kind.variable.to_owned(), format!("the {} itself", kind.name)));
        }
    }
    variables
}

fn environment(variables: &[(String, String)]) -> String {
    if variables.is_empty() {
        return String::new();
    }
    let mut text =
        ".SH ENVIRONMENT\nA flag goes before its variable. An empty variable counts as unset.\n".to_owned();
    for (name, meaning) in variables {
        text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escaped(name), escaped(meaning)));
    }
    text
}

/// What stands behind the options in the help: "Examples:", "Exit codes:" and lines below them, which keep their columns.
fn sections(after: &str) -> String {
    let mut text = String::new();
    let mut is_literal = false;
    for line in after.lines() {
        let heading =
            line.split_once(':').filter(|(word, _)| matches!(*word, "Example" | "Examples" | "Exit codes"));
        let (word, rest) = match heading {
            Some((word, rest)) => (Some(word), rest),
            None => (None, line),
        };
        // A line that is not indented is prose again.
        let ends = word.is_some() || !(line.starts_with(' ') || line.is_empty());
        if is_literal && ends {
            text.push_str(".fi\n");
            is_literal = false;
        }
        if let Some(word) = word {
            text.push_str(if word == "Exit codes" { ".SH EXIT STATUS\n" } else { ".SH EXAMPLES\n" });
        }
        if rest.trim().is_empty() {
            continue;
        }
        if line.starts_with(' ') && !is_literal {
            text.push_str(".nf\n");
            is_literal = true;
        }
        if is_literal {
            text.push_str(&format!("{}\n", escaped(rest.trim_end())));
        } else {
            text.push_str(&wrapped(&escaped(rest.trim())));
        }
    }
    if is_literal {
        text.push_str(".fi\n");
    }
    text
}

/// A page without what mandoc complains of: blanks at ends, breaks beside spacing, long lines of text.
fn tidied(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let is_spacing = |line: Option<&&str>| line.is_some_and(|line| line.starts_with(".sp"));
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let is_beside = index > 0 && is_spacing(lines.get(index - 1)) || is_spacing(lines.get(index + 1));
        let is_double = *line == ".br" && text.ends_with("\n.br\n");
        if line.is_empty() || is_double || *line == ".br" && is_beside {
            continue;
        }
        if line.starts_with(['.', '\'']) {
            text.push_str(&format!("{line}\n"));
        } else {
            text.push_str(&wrapped(line));
        }
    }
    text
}

/// Text in lines of at most [`COLUMNS`], broken where there is a blank; none of them begins like a macro.
fn wrapped(text: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let is_first = column == 0;
        if !is_first && column + 1 + word.len() > COLUMNS && !word.starts_with(['.', '\'']) {
            wrapped.push('\n');
            column = 0;
        } else if !is_first {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += word.len();
    }
    wrapped.push('\n');
    wrapped
}

/// Text in which nothing means something to roff.
fn escaped(text: &str) -> String {
    let mut escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if escaped.starts_with('.') {
        escaped.insert_str(0, "\\&");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_exit_codes_keep_their_columns() {
        let after = "Examples:\n  pannier a   'b'\n  .c\nEvery flag is here.\n\nExit codes:\n  0 done   1 no";
        let text = sections(after);
        assert_eq!(
            text,
            ".SH EXAMPLES\n.nf\n  pannier a   \\(aqb\\(aq\n  .c\n.fi\nEvery flag is here.\n.SH EXIT STATUS\n.nf\n  \
             0 done   1 no\n.fi\n"
        );
    }

    #[test]
    fn long_text_is_broken_at_blanks_and_never_into_a_macro() {
        let text =
            wrapped(&format!("{} .br {}", "word ".repeat(15).trim_end(), "more ".repeat(20).trim_end()));
        assert!(text.lines().all(|line| line.len() <= COLUMNS + 4 && !line.starts_with('.')), "{text}");
        assert_eq!(text.split_whitespace().count(), 36);
    }
}
