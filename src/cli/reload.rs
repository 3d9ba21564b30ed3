//! What SIGHUP reads again: the files of the password, of the admin port's token, and of the log level. A file that cannot be
//! used changes nothing and is logged as an error, so that a slip of the hand neither opens a server nor locks its
//! clients out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    logging::read_level_file,
    secret::{self, Secret},
    serve::ServeOptions,
};
use crate::{
    admin::Token,
    net::{Reload, Reloaded},
};

/// A secret that came from a file, and the value that the server has now.
struct SecretFile {
    kind: &'static secret::Kind,
    file: PathBuf,
    known: Option<Secret>,
}

impl SecretFile {
    fn new(
        kind: &'static secret::Kind,
        file: &Option<PathBuf>,
        known: &Option<Vec<u8>>,
    ) -> Option<SecretFile> {
        Some(SecretFile { kind, file: file.clone()?, known: known.clone().map(Secret::from) })
    }

    /// The secret in the file, if it is another one.
    fn reread(&mut self) -> Option<Vec<u8>> {
        let SecretFile { kind, file, known } = self;
        let name = kind.name;
        match is_regular(name, file).and_then(|()| secret::from_file(kind, file)) {
            Ok(found) if Some(&found) == known.as_ref() => {
                log::info!(setting = name, file:% = file.display(); "SIGHUP: the {name} in {} is the same as before", file.display());
                None
            }
            Ok(found) => {
                log::warn!(setting = name, file:% = file.display(); "SIGHUP: the {name} is now the one in {}", file.display());
                *known = Some(found.clone());
                Some(found.into_bytes())
            }
            Err(error) => {
                log::error!(setting = name, reason:% = error; "SIGHUP: {error}; the {name} stays as it was");
                None
            }
        }
    }
}

/// What the server calls for each SIGHUP.
pub(super) fn hook(options: &ServeOptions) -> Reload {
    let server = &options.server;
    let mut password = SecretFile::new(&secret::PASSWORD, &options.password_file, &server.password);
    let mut admin_token =
        SecretFile::new(&secret::ADMIN_TOKEN, &options.admin_token_file, &server.admin_token);
    let level_file = options.log_level_file.clone();
    Box::new(move || {
        if password.is_none() && admin_token.is_none() && level_file.is_none() {
            log::info!(
                "SIGHUP: nothing to read again: none of --password-file, --admin-token-file and --log-level-file is set"
            );
        }
        let token = admin_token.as_mut().and_then(SecretFile::reread);
        Reloaded {
            password: password.as_mut().and_then(SecretFile::reread),
            // The file's kind has checked it.
            admin_token: token.and_then(|token| Token::new(&token).ok()),
            log_level: level_file.as_deref().and_then(fresh_level),
        }
    })
}

fn fresh_level(file: &Path) -> Option<log::LevelFilter> {
    match is_regular("log level", file).and_then(|()| read_level_file(file)) {
        Ok(level) => {
            // Said at the more talkative of the two levels, so that the other one does not keep it quiet.
            log::set_max_level(level.max(log::max_level()));
            log::info!(setting = "log level", file:% = file.display(); "SIGHUP: the log level is now {} ({})", name(level), file.display());
            Some(level)
        }
        Err(error) => {
            log::error!(setting = "log level", reason:% = error; "SIGHUP: {error}; the log level stays as it was");
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
        // A file that is not there is reported when it is opened.
        _ => Ok(()),
    }
}

fn name(level: log::LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}
