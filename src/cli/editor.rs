//! The line editor of `pannier cli`: keys, completion, and a history in a file that its user alone can read.

use std::{env, fs, path::PathBuf};

use rustyline::{
    CompletionType, Config, Context, Editor as LineEditor, Helper, completion::Completer,
    error::ReadlineError, highlight::Highlighter, hint::Hinter, history::FileHistory, validate::Validator,
};

use super::{
    Exit, Failure,
    interactive::{Lines, completions},
};

/// Lines that the history keeps.
const HISTORY_LEN: usize = 1_000;

/// A terminal's lines.
pub(super) struct Editor {
    editor: LineEditor<Words, FileHistory>,
    /// `None`: there is no place for it.
    history: Option<PathBuf>,
}

/// Completes the names of commands.
struct Words;

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(completions(line, pos))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

impl Editor {
    /// An editor with the history of earlier runs.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub(super) fn new() -> Result<Editor, Failure> {
        let config = Config::builder().max_history_size(HISTORY_LEN).map_err(failed)?;
        let config = config.completion_type(CompletionType::List).build();
        let mut editor = LineEditor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Words));
        let history = history_file();
        if let Some(file) = &history {
            // The first run has none yet.
            let _ = editor.load_history(file);
        }
        Ok(Editor { editor, history })
    }
}

impl Lines for Editor {
    fn next_line(&mut self, prompt: &str) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => return Ok(Some(line.into_bytes())),
                // Ctrl-C drops the line, Ctrl-D ends.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn keep(&mut self, line: &[u8]) {
        let added = self.editor.add_history_entry(String::from_utf8_lossy(line).into_owned());
        // A history that cannot be written is no reason to end.
        if let (Ok(true), Some(file)) = (added, &self.history) {
            let _ = self.editor.append_history(file);
        }
    }
}

fn failed(error: ReadlineError) -> Failure {
    Failure::new(Exit::Usage, format!("cannot use this terminal: {error}"))
}

/// `$XDG_STATE_HOME/pannier/history`, or `~/.local/state/pannier/history`; its directory is made if it is not there.
fn history_file() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let directory = state.join("pannier");
    fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}
