//! `pannier check`: whether a data directory can be loaded, and what a start would find.

use super::{Exit, Failure, units::format_size};
use crate::journal::recovery::{self, Recovered, Recovery, RecoveryError};
use crate::journal::storage::journal_name;
use crate::net::DataDir;
use clap::Args;
use std::{io::Write, path::PathBuf};

/// Check a data directory
///
/// Reads all that a start would read, says what it finds, and changes nothing. The server that uses the directory must
/// have ended. Exit code 0: it can be loaded; 1: it cannot.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier check /var/lib/pannier
  pannier check /var/lib/pannier --truncate     lose what is behind the damage, and load what is before it")]
pub(crate) struct CheckArgs {
    /// The directory that `serve` has as --data-dir
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Cut the journal where it is damaged: every change from there on is lost
    #[arg(long)]
    truncate: bool,
}

impl CheckArgs {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let refused = |text: String| Failure::new(Exit::Refused, text);
        if !self.dir.is_dir() {
            return Err(Failure::usage(format!("{} is no directory", self.dir.display())));
        }
        let (mut data_dir, _lock) =
            DataDir::open_locked(&self.dir).map_err(|error| refused(error.to_string()))?;
        let mut cuts = 0;
        loop {
            let damage = match verify(&mut data_dir) {
                Ok(recovered) => return report(out, &recovered, cuts),
                Err(damage) => damage,
            };
            let survey = recovery::survey(&mut data_dir).map_err(|error| refused(error.to_string()))?;
            let is_cut = self.truncate
                && recovery::truncate(&mut data_dir, &damage, &survey)
                    .map_err(|error| refused(format!("{} cannot be cut: {error}", damage.file)))?;
            // Each cut ends the journal at an earlier file.
            if !is_cut || cuts > survey.journals.len() {
                return Err(refused(damage.to_string()));
            }
            cuts += 1;
        }
    }
}

fn verify(data_dir: &mut DataDir) -> Result<Recovered, RecoveryError> {
    let survey = recovery::survey(data_dir)?;
    Recovery::new(data_dir, survey)?.verify_all(data_dir)
}

fn report(out: &mut dyn Write, recovered: &Recovered, cuts: usize) -> Result<Exit, Failure> {
    let failed = |error| Failure::new(Exit::Refused, format!("stdout: {error}"));
    let Some(manifest) = recovered.survey.manifest else {
        writeln!(out, "the directory is empty: a server begins with nothing").map_err(failed)?;
        return Ok(Exit::Done);
    };
    if cuts > 0 {
        writeln!(out, "the journal was cut where it was damaged").map_err(failed)?;
    }
    match manifest.checkpoint {
        Some(number) => {
            writeln!(out, "checkpoint {number}: {}", format_size(recovered.checkpoint_bytes))
                .map_err(failed)?;
        }
        None => writeln!(out, "checkpoint: none yet").map_err(failed)?,
    }
    for verified in &recovered.journals {
        let name = journal_name(verified.header.number);
        let size = format_size(verified.end);
        writeln!(
            out,
            "{name}: {size}, frames: {}, up to revision {}",
            verified.frame_count, verified.last_revision.0
        )
        .map_err(failed)?;
        if verified.end < verified.len {
            let tail = verified.len - verified.end;
            writeln!(out, "{name}: the last {tail} bytes were not durable; a start cuts them")
                .map_err(failed)?;
        }
    }
    for name in recovered.discarded.iter().chain(&recovered.survey.leftovers) {
        writeln!(out, "{name}: not needed; a start removes it").map_err(failed)?;
    }
    writeln!(out, "ok").map_err(failed)?;
    Ok(Exit::Done)
}
