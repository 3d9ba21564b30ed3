//! Which server the client's commands speak to, and how: its address, password, database and timeouts; and its errors in
//! words that say what to do.

use std::{env, io::Write, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    Exit, Failure,
    address::ServerAddress,
    connection::Connection,
    output::{self, Style, printable},
    secret::{self, Secret},
    units::parse_timeout,
};
use crate::client::{Client, Error, UDP_TIMEOUT_MAX, Udp};

/// What to do where there is no server.
const ELSEWHERE: &str = "Run one with 'pannier serve', or name another with --server or PANNIER_SERVER";

/// Which server, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ServerArgs {
    /// The server: host:port, a host alone for port 7878, or redis://[:PASSWORD@]HOST[:PORT][/DB]
    #[arg(long, env = "PANNIER_SERVER", value_name = "ADDR", default_value = "127.0.0.1:7878", value_parser = ServerAddress::parse)]
    server: ServerAddress,
    /// The database to work in [default: 0, or the URL's]
    #[arg(long, value_name = "N")]
    db: Option<u32>,
    /// Time to connect, and time for the answer
    #[arg(long, env = "PANNIER_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    timeout: Duration,
    /// A file that holds the password (or set PANNIER_PASSWORD)
    #[arg(long, env = "PANNIER_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Print JSON objects, one a line
    #[arg(long)]
    json: bool,
}

/// Which server, over TCP or over UDP.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct PathArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Send datagrams, which are retried and never run twice; what does not fit one goes over TCP by itself
    #[arg(long)]
    udp: bool,
}

impl ServerArgs {
    /// The server of a command that has flags of its own for it.
    pub(super) fn new(
        server: ServerAddress,
        timeout: Duration,
        password_file: Option<PathBuf>,
    ) -> ServerArgs {
        ServerArgs { server, db: None, timeout, password_file, json: false }
    }

    /// The server as it was named, without a password.
    pub(super) fn name(&self) -> &str {
        self.server.name()
    }

    pub(super) fn database(&self) -> u32 {
        self.db.unwrap_or(self.server.database())
    }

    /// Allows no more time than that.
    pub(super) fn limit_timeout(&mut self, most: Duration) {
        self.timeout = self.timeout.min(most);
    }

    pub(super) fn connect(&self) -> Result<Client, Failure> {
        self.connect_or(ELSEWHERE)
    }

    /// As [`connect`](ServerArgs::connect), for a command whose flags have other names.
    pub(super) fn connect_or(&self, elsewhere: &str) -> Result<Client, Failure> {
        let mut builder = Client::builder()
            .connect_timeout(self.timeout)
            .call_timeout(self.timeout)
            .database(self.database());
        if let Some(password) = self.password()? {
            builder = builder.password(password.expose());
        }
        builder.connect(self.name()).map_err(|error| explain(error, elsewhere))
    }

    fn password(&self) -> Result<Option<Secret>, Failure> {
        if let Some(password) = self.server.password() {
            return Ok(Some(password.clone()));
        }
        let variable = env::var_os(secret::PASSWORD.variable);
        secret::find(&secret::PASSWORD, self.password_file.as_deref(), variable).map_err(Failure::usage)
    }

    pub(super) fn style(&self) -> Style {
        Style::of_stdout(self.json)
    }

    pub(super) fn print(
        &self,
        out: &mut dyn Write,
        text: &str,
        object: &serde_json::Value,
    ) -> Result<Exit, Failure> {
        output::write_line(out, self.style(), text, object)?;
        Ok(Exit::Done)
    }

    /// An error in words that say what it means and what to do.
    pub(super) fn explain(&self, error: Error) -> Failure {
        explain(error, ELSEWHERE)
    }
}

/// An error in words that say what it means and what to do; `elsewhere` is for a server that cannot be reached.
pub(super) fn explain(error: Error, elsewhere: &str) -> Failure {
    let exit = exit_of(&error);
    let hint = match &error {
        Error::Connect { .. } => format!(". Is it running? {elsewhere}"),
        Error::TooManyClients => {
            ". Nothing was changed; try again, or raise --max-clients of the server".to_owned()
        }
        Error::Auth(text) if text.starts_with("AUTH ") => {
            let text = "the server has no password and was given one: unset PANNIER_PASSWORD, leave --password-file out";
            return Failure::new(exit, text);
        }
        Error::Auth(_) => ". Set PANNIER_PASSWORD, or name a file with --password-file".to_owned(),
        Error::OutcomeUnknown(_) => ". Check what the server holds before you repeat it".to_owned(),
        _ if exit == Exit::Unreachable => {
            ". Nothing was changed; try again, or allow more with --timeout".to_owned()
        }
        _ => String::new(),
    };
    let text = printable(error.to_string().as_bytes());
    Failure::new(exit, format!("{}{hint}", text.trim_end_matches('.')))
}

pub(super) fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Connect { .. }
        | Error::Timeout { .. }
        | Error::NotServed { .. }
        | Error::Lost(_)
        | Error::TooManyClients => Exit::Unreachable,
        Error::OutcomeUnknown(_) | Error::SessionLost { .. } => Exit::OutcomeUnknown,
        Error::Auth(_) => Exit::NotAuthenticated,
        Error::Server { .. } | Error::Protocol(_) => Exit::Refused,
    }
}

impl PathArgs {
    /// A connection of the kind that was asked for.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        if !self.udp {
            return self.server.connect().map(Connection::Tcp);
        }
        if self.server.database() > 0 {
            return Err(Failure::usage("datagrams reach database 0 alone: leave --db or --udp out"));
        }
        if self.server.timeout > UDP_TIMEOUT_MAX {
            return Err(Failure::usage(format!("with --udp, --timeout is at most {UDP_TIMEOUT_MAX:?}")));
        }
        let mut builder = Udp::builder().call_timeout(self.server.timeout);
        if let Some(password) = self.server.password()? {
            builder = builder.password(password.expose());
        }
        let client = builder.connect(self.server.name()).map_err(|error| self.explain(error))?;
        Ok(Connection::Udp(Box::new(client)))
    }

    pub(super) fn is_udp(&self) -> bool {
        self.udp
    }

    pub(super) fn style(&self) -> Style {
        self.server.style()
    }

    pub(super) fn json(&self) -> bool {
        self.server.json
    }

    pub(super) fn print(
        &self,
        out: &mut dyn Write,
        text: &str,
        object: &serde_json::Value,
    ) -> Result<Exit, Failure> {
        self.server.print(out, text, object)
    }

    /// As [`ServerArgs::explain`]; but over UDP no answer has more reasons than a slow server.
    pub(super) fn explain(&self, error: Error) -> Failure {
        if self.udp && matches!(error, Error::Timeout { .. }) {
            return Failure::new(
                Exit::Unreachable,
                format!(
                    "{error} by datagrams from {}. Nothing was changed. A server that is down, has UDP off or another \
                     password does not answer; try it without --udp, or allow more with --timeout",
                    self.server.name()
                ),
            );
        }
        self.server.explain(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn each_error_has_its_exit_code() {
        let lost = || Error::Lost(io::ErrorKind::ConnectionReset.into());
        assert_eq!(exit_of(&lost()), Exit::Unreachable);
        assert_eq!(exit_of(&Error::Timeout { after: Duration::ZERO }), Exit::Unreachable);
        assert_eq!(exit_of(&Error::TooManyClients), Exit::Unreachable);
        assert_eq!(exit_of(&Error::OutcomeUnknown(Box::new(lost()))), Exit::OutcomeUnknown);
        assert_eq!(exit_of(&Error::Auth(String::new())), Exit::NotAuthenticated);
        assert_eq!(exit_of(&Error::Server { code: "ERR".into(), text: String::new() }), Exit::Refused);
    }
}
