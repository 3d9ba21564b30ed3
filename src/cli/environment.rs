//! The variables of the environment, as far as no single flag can see them: an empty one counts as unset, and a name that
//! no flag has is an error, since a setting that is spelt wrong would else be left out without a word.

use std::{env, ffi::OsString};

use clap::Command;

use super::secret;

/// What all of them begin with.
const PREFIX: &str = "PANNIER_";

/// The command line without the variables that are set to nothing. (Compose makes such ones of `${X:-}`.)
pub(super) fn without_empty(command: Command) -> Command {
    without(command, &|name| env::var_os(name).is_some_and(|value| value.is_empty()))
}

fn without(command: Command, is_empty: &dyn Fn(&str) -> bool) -> Command {
    let command = command.mut_args(|arg| match arg.get_env().and_then(|name| name.to_str()) {
        Some(name) if is_empty(name) => arg.env(None::<&str>),
        _ => arg,
    });
    let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |below| without(below, is_empty)))
}

/// Checks the names of this process's variables against those that `serve` knows, then against those that any command
/// does: `whole` makes the whole command line, which is done only where a name is not one of the server's.
///
/// # Errors
/// A variable begins like ours and is none; the text names the one that was probably meant.
pub(super) fn check_names(serve: fn() -> Command, whole: fn() -> Command) -> Result<(), String> {
    let ours: Vec<_> =
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)).collect();
    let check = |command: Command| {
        // Secrets have variables and no flags: every user of a machine can read the arguments of a process.
        let mut known = [secret::PASSWORD, secret::ADMIN_TOKEN].map(|kind| kind.variable.to_owned()).to_vec();
        collect(&command, &mut known);
        ours.iter().try_for_each(|(name, value)| check_name(name, value, &known))
    };
    if ours.is_empty() || check(serve()).is_ok() { Ok(()) } else { check(whole()) }
}

fn collect(command: &Command, known: &mut Vec<String>) {
    let names = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned));
    known.extend(names);
    command.get_subcommands().for_each(|command| collect(command, known));
}

fn check_name(name: &OsString, value: &OsString, known: &[String]) -> Result<(), String> {
    let (Some(name), value) = (name.to_str(), value.to_string_lossy()) else { return Ok(()) };
    if !name.starts_with(PREFIX)
        || value.is_empty()
        || known.iter().any(|known| known == name)
        || is_service_link(name, &value)
    {
        return Ok(());
    }
    let nearest = known.iter().min_by_key(|known| distance(known, name));
    let hint = match nearest {
        // Beyond two letters, or a third of the name, it is another word and not a slip of the hand.
        Some(nearest) if distance(nearest, name) <= ((name.len() - PREFIX.len()) / 3).max(2) => {
            format!("did you mean {nearest}?")
        }
        _ => "'pannier serve --help' lists those there are".to_owned(),
    };
    Err(format!("the environment variable {name} is not a setting of Pannier; {hint}"))
}

/// Whether the name is one of those that Kubernetes and Docker's links give every container beside a service that is
/// called `pannier` or `pannier-…`: `PANNIER_SERVICE_HOST`, `PANNIER_PORT=tcp://…`, `PANNIER_PORT_7878_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT") && is_url
        || name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Letters to insert, leave out or change to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<(), String> {
        let known: Vec<_> = ["PANNIER_TCP", "PANNIER_MEMORY", "PANNIER_MAX_CLIENTS", "PANNIER_PASSWORD"]
            .map(str::to_owned)
            .into();
        check_name(&name.into(), &value.into(), &known)
    }

    #[test]
    fn a_slip_of_the_hand_names_what_was_meant() {
        for (wrong, right) in [
            ("PANNIER_MEMROY", "PANNIER_MEMORY"),
            ("PANNIER_MAXCLIENTS", "PANNIER_MAX_CLIENTS"),
            ("PANNIER_PASSWD", "PANNIER_PASSWORD"),
            ("PANNIER_TPC", "PANNIER_TCP"),
        ] {
            let error = check(wrong, "1").unwrap_err();
            assert!(error.contains(wrong) && error.contains(&format!("did you mean {right}?")), "{error}");
        }
        let error = check("PANNIER_EVERYTHING_ELSE", "1").unwrap_err();
        assert!(error.contains("--help") && !error.contains("did you mean"), "{error}");
    }

    #[test]
    fn what_is_known_foreign_or_empty_is_left_alone() {
        for (name, value) in [
            ("PANNIER_MEMORY", "64MiB"),
            ("PANNIER_MEMROY", ""),
            ("PATH", "/bin"),
            ("PANNIER", "x"),
            ("PANNIER_SERVICE_HOST", "10.0.0.1"),
            ("PANNIER_SERVICE_PORT", "7878"),
            ("PANNIER_SERVICE_PORT_RESP", "7878"),
            ("PANNIER_PORT", "tcp://10.0.0.1:7878"),
            ("PANNIER_PORT_7878_TCP_ADDR", "10.0.0.1"),
            ("PANNIER_HUB_PORT_7878_UDP", "udp://10.0.0.1:7878"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
        assert!(check("PANNIER_PORT", "7878").is_err());
    }

    #[test]
    fn variables_that_are_set_to_nothing_are_taken_off() {
        let command = Command::new("pannier").subcommand(
            Command::new("serve")
                .arg(clap::Arg::new("udp").long("udp").env("PANNIER_UDP"))
                .arg(clap::Arg::new("tcp").long("tcp").env("PANNIER_TCP")),
        );
        let command = without(command, &|name| name == "PANNIER_UDP");
        let serve = command.find_subcommand("serve").unwrap();
        let names: Vec<_> = serve.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
        assert_eq!(names, ["PANNIER_TCP"]);
    }
}
