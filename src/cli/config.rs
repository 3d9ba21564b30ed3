//! `pannier config print`: each setting of `serve`, the value it would run with, and where that comes from.

use std::{io::Write, path::Path, time::Duration};

use clap::{ArgMatches, Args, Subcommand, ValueEnum, parser::ValueSource};
use serde_json::{Map, Value, json};

use super::{
    Exit, Failure, output, secret,
    serve::{ServeArgs, ServeOptions},
    units::format_size,
};
use crate::config::ServerOptions;

/// What can be asked of a configuration.
#[derive(Subcommand, Debug)]
pub(super) enum ConfigCommand {
    Print(PrintArgs),
}

/// Print the settings that `serve` would run with, and where each of them comes from
///
/// Takes the flags of `serve` and reads the same environment and files, and reports the same mistakes; it starts
/// nothing. Secrets are never shown.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pannier config print
  pannier config print --memory 50%
  PANNIER_UDP=off pannier config print --json")]
pub(super) struct PrintArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// One row: a flag, or a secret that has none.
struct Setting {
    name: &'static str,
    value: Value,
    /// `bytes` or `ms`, where the value is a number of them.
    unit: Option<&'static str>,
    /// How a person reads the value.
    text: String,
    /// Where it comes from, if that is neither the flag nor its variable nor the flag's default.
    origin: Option<String>,
}

impl Setting {
    fn new(name: &'static str, value: Value, text: impl Into<String>) -> Setting {
        Setting { name, value, unit: None, text: text.into(), origin: None }
    }

    fn switch(name: &'static str, on: bool) -> Setting {
        Setting::new(name, json!(on), if on { "on" } else { "off" })
    }

    fn number(name: &'static str, number: u64) -> Setting {
        Setting::new(name, json!(number), number.to_string())
    }

    fn size(name: &'static str, bytes: u64) -> Setting {
        let text = match format_size(bytes) {
            text if text.ends_with("bytes") => text,
            text => format!("{bytes} bytes ({text})"),
        };
        Setting { unit: Some("bytes"), ..Setting::new(name, json!(bytes), text) }
    }

    fn limit(name: &'static str, limit: Duration) -> Setting {
        let limit = Some(limit).filter(|limit| !limit.is_zero());
        let text = limit.map_or("never".to_owned(), |limit| format!("{limit:?}"));
        let value = json!(limit.map(|limit| limit.as_millis() as u64));
        Setting { unit: Some("ms"), ..Setting::new(name, value, text) }
    }

    fn address(name: &'static str, address: Option<std::net::SocketAddr>) -> Setting {
        let text = address.map_or("off".to_owned(), |address| address.to_string());
        Setting::new(name, json!(text), text.clone())
    }

    fn file(name: &'static str, file: Option<&Path>) -> Setting {
        let shown = file.map(|file| file.display().to_string());
        Setting::new(name, json!(shown), shown.clone().unwrap_or("none".to_owned()))
    }

    fn word(name: &'static str, word: &str) -> Setting {
        Setting::new(name, json!(word), word)
    }

    fn from(self, origin: impl Into<String>) -> Setting {
        Setting { origin: Some(origin.into()), ..self }
    }
}

/// All settings, in the order of the flags. Taken apart field by field, so that the compiler misses a new one.
fn settings(options: &ServeOptions) -> Vec<Setting> {
    let ServeOptions {
        server,
        memory_source,
        password_file,
        admin_token_file,
        allow_unauthenticated,
        log_level,
        log_level_file,
        log_format,
    } = options;
    let ServerOptions {
        tcp,
        udp,
        admin,
        memory_bytes,
        on_full,
        max_clients,
        databases,
        max_value_bytes,
        max_step_keys,
        idle_timeout,
        auth_timeout,
        request_timeout,
        write_timeout,
        notify_keyspace_events,
        huge_pages,
        password,
        admin_token,
        data_dir,
        durability,
        journal_bytes: _,
        script_memory_bytes,
        script_time,
        log_requests,
        // Only programs can set it.
        debug_commands: _,
    } = server;
    let level = Setting::word("log-level", &log_level.as_str().to_ascii_lowercase());
    vec![
        Setting::address("tcp", Some(*tcp)),
        Setting::address("udp", *udp),
        Setting::address("admin", *admin),
        secret_setting(
            "admin-token",
            &secret::ADMIN_TOKEN,
            admin_token.is_some(),
            admin_token_file.as_deref(),
        ),
        Setting::file("admin-token-file", admin_token_file.as_deref()),
        Setting::size("memory", *memory_bytes).from(memory_source.clone()),
        Setting::word("on-full", &word_of(on_full)),
        Setting::number("max-clients", *max_clients as u64),
        Setting::number("databases", u64::from(*databases)),
        Setting::limit("idle-timeout", *idle_timeout),
        Setting::limit("auth-timeout", *auth_timeout),
        Setting::limit("request-timeout", *request_timeout),
        Setting::limit("write-timeout", *write_timeout),
        Setting::size("max-value", *max_value_bytes),
        Setting::word("notify-keyspace-events", &notify_keyspace_events.to_string()),
        Setting::number("max-step-keys", *max_step_keys),
        Setting::size("script-memory", *script_memory_bytes),
        Setting::limit("script-time", *script_time),
        secret_setting("password", &secret::PASSWORD, password.is_some(), password_file.as_deref()),
        Setting::file("password-file", password_file.as_deref()),
        Setting::switch("allow-unauthenticated", *allow_unauthenticated),
        match log_level_file {
            Some(file) => level.from(format!("the file {}", file.display())),
            None => level,
        },
        Setting::file("log-level-file", log_level_file.as_deref()),
        Setting::word("log-format", &word_of(log_format)),
        Setting::file("data-dir", data_dir.as_deref()),
        Setting::word("durability", if data_dir.is_some() { durability.name() } else { "none" }),
        Setting::size("journal-size", if data_dir.is_some() { server.journal_bytes() } else { 0 }),
        Setting::switch("huge-pages", *huge_pages),
        Setting::switch("log-requests", *log_requests),
    ]
}

/// Whether there is a secret, and where it was found; nothing of what it is, not even its length.
fn secret_setting(name: &'static str, kind: &secret::Kind, is_set: bool, file: Option<&Path>) -> Setting {
    let setting = Setting::new(name, json!(is_set), if is_set { "set (hidden)" } else { "none" });
    match (is_set, file) {
        (false, _) => setting,
        (true, Some(file)) => setting.from(format!("the file {}", file.display())),
        (true, None) => setting.from(kind.variable),
    }
}

/// The settings that have no flag, since every user of a machine can read the arguments of a process.
const SECRETS: [&str; 2] = ["password", "admin-token"];

impl Setting {
    fn is_secret(&self) -> bool {
        SECRETS.contains(&self.name)
    }
}

fn word_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl PrintArgs {
    /// `matches` are those of the whole command line.
    pub(super) fn run(self, matches: &ArgMatches, out: &mut dyn Write) -> Result<Exit, Failure> {
        let json = self.json;
        let options = self.serve.resolve_here()?;
        let print =
            matches.subcommand_matches("config").and_then(|config| config.subcommand_matches("print"));
        let rows: Vec<_> = settings(&options).into_iter().map(|row| with_source(print, row)).collect();
        if json {
            print_json(out, rows)?
        } else {
            print_text(out, &rows)?
        }
        Ok(Exit::Done)
    }
}

/// With `flag`, `default`, or the name of the variable that has set this flag.
fn with_source(matches: Option<&ArgMatches>, mut row: Setting) -> (String, Setting) {
    // What clap calls a flag is its field's name.
    let id = row.name.replace('-', "_");
    let source = match matches.filter(|_| !row.is_secret()).and_then(|matches| matches.value_source(&id)) {
        Some(ValueSource::CommandLine) => Some("flag".to_owned()),
        Some(ValueSource::EnvVariable) => Some(format!("PANNIER_{}", id.to_ascii_uppercase())),
        _ if row.is_secret() => row.origin.take(),
        _ => None,
    };
    (source.unwrap_or("default".to_owned()), row)
}

fn print_text(out: &mut dyn Write, rows: &[(String, Setting)]) -> Result<(), Failure> {
    let name = |row: &Setting| if row.is_secret() { row.name.to_owned() } else { format!("--{}", row.name) };
    let names_len = rows.iter().map(|(_, row)| name(row).len()).max().unwrap_or_default();
    let texts_len = rows.iter().map(|(_, row)| row.text.len()).max().unwrap_or_default();
    for (source, row) in rows {
        let from = match &row.origin {
            Some(origin) if source == "default" => origin.clone(),
            Some(origin) => format!("{source}: {origin}"),
            None => source.clone(),
        };
        writeln!(out, "{:names_len$}  {:texts_len$}  {from}", name(row), row.text)?;
    }
    Ok(())
}

/// An object by names of flags: `{"memory": {"value": 67108864, "unit": "bytes", "source": "flag", "origin": …}, …}`.
fn print_json(out: &mut dyn Write, rows: Vec<(String, Setting)>) -> Result<(), Failure> {
    let object = rows.into_iter().map(|(source, row)| {
        let mut fields = Map::from_iter([("value".to_owned(), row.value)]);
        fields.extend(row.unit.map(|unit| ("unit".to_owned(), json!(unit))));
        fields.insert("source".to_owned(), json!(source));
        fields.extend(row.origin.map(|origin| ("origin".to_owned(), json!(origin))));
        (row.name.to_owned(), Value::Object(fields))
    });
    output::write_json(out, &Value::Object(object.collect()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
