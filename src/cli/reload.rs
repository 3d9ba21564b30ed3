//! What SIGHUP reads again: the password's file and the log level's. A file that cannot be used changes nothing and is
//! told as an error, so that a slip of the hand neither opens a server nor locks its clients out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{logging::read_level_file, secret, secret::Secret};
use crate::net::{Reload, Reloaded};

/// What the server calls for each SIGHUP: the password that it has now, and the two files, where there are any.
pub(super) fn hook(
    mut password: Option<Secret>,
    password_file: Option<PathBuf>,
    level_file: Option<PathBuf>,
) -> Reload {
    Box::new(move || {
        if password_file.is_none() && level_file.is_none() {
            log::info!("SIGHUP: nothing to read again: neither --password-file nor --log-level-file is set");
        }
        let fresh = password_file.as_deref().and_then(|file| fresh_password(file, password.as_ref()));
        if fresh.is_some() {
            password.clone_from(&fresh);
        }
        Reloaded {
            password: fresh.map(|fresh| fresh.expose().to_vec()),
            log_level: level_file.as_deref().and_then(fresh_level),
        }
    })
}

/// The password in the file, if it is another one.
fn fresh_password(file: &Path, known: Option<&Secret>) -> Option<Secret> {
    match is_regular("password", file).and_then(|()| secret::from_file(file)) {
        Ok(fresh) if Some(&fresh) == known => {
            log::info!("SIGHUP: the password in {} is the same as before", file.display());
            None
        }
        Ok(fresh) => {
            log::warn!("SIGHUP: the password is now the one in {}", file.display());
            Some(fresh)
        }
        Err(error) => {
            log::error!("SIGHUP: {error}; the password stays as it was");
            None
        }
    }
}

fn fresh_level(file: &Path) -> Option<log::LevelFilter> {
    match is_regular("log level", file).and_then(|()| read_level_file(file)) {
        Ok(level) => {
            // Said at the more talkative of the two levels, so that the other one does not keep it quiet.
            log::set_max_level(level.max(log::max_level()));
            log::info!("SIGHUP: the log level is now {} ({})", name(level), file.display());
            Some(level)
        }
        Err(error) => {
            log::error!("SIGHUP: {error}; the log level stays as it was");
            None
        }
    }
}

/// A pipe, as a shell's `<(…)` makes one, is there to be read once: opening it again may never return, and the server
/// would stand still.
fn is_regular(what: &str, file: &Path) -> Result<(), String> {
    let shown = file.display();
    match fs::metadata(file) {
        Ok(found) if !found.is_file() => {
            Err(format!("the {what} file {shown} is no regular file and is read at the start only"))
        }
        // What is not there is told by whoever opens it.
        _ => Ok(()),
    }
}

fn name(level: log::LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}
