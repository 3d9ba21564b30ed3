//! Manual pages, made from the command line's own help, so that they cannot tell anything else.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap_mangen::Man;

use super::{Exit, Failure};

/// Prints pannier(1), or writes it and one page for each command into `dir`, which is made if it is not there.
///
/// # Errors
/// The directory or a page cannot be written.
pub(super) fn run(
    mut command: clap::Command,
    dir: Option<&Path>,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    command = command.disable_help_subcommand(true);
    command.build();
    match dir {
        None => page(command).render(out)?,
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

fn page(command: clap::Command) -> Man {
    // Commands below have no version of their own.
    Man::new(command).source(concat!("pannier ", env!("CARGO_PKG_VERSION"))).manual("Pannier")
}

/// Names and texts of the page of a command and of those below it, but for hidden ones. `build` has been called.
fn pages(command: clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        // "pannier config print" has been made "pannier-config-print" by `build`.
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let mut text = Vec::new();
        page(command.display_name(&name)).render(&mut text)?;
        pages.push((format!("{name}.1"), text));
    }
    Ok(pages)
}
