//! Many commands by one write, and then their replies: what a bulk of data is moved by.

use super::connection::{REPLY_TIMEOUT, Timed, lost, send};
use super::{Client, Connection, Error, Reply};
use std::io::{self, Write};
use std::time::Instant;

/// These commands as they go to a server.
pub(crate) fn encode(commands: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        // A vector takes everything.
        let _ = send(&mut bytes, &arguments);
    }
    bytes
}

impl Client {
    /// Sends these commands and gives their replies, errors among them. All are written before the first reply is read:
    /// together, the commands or their replies must be short.
    pub(crate) fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> Result<Vec<Reply>, Error> {
        let bytes = encode(commands);
        let idle = self.connection.take().filter(Connection::is_usable);
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.options.open()?,
        };
        let mut timed = Timed { stream: &connection.stream, deadline: Instant::now() + REPLY_TIMEOUT };
        let unknown = |error| Error::OutcomeUnknown(Box::new(error));
        timed.write_all(&bytes).map_err(|source| unknown(lost(source, REPLY_TIMEOUT)))?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            let reply = connection
                .next_reply(REPLY_TIMEOUT)
                .and_then(|reply| reply.ok_or_else(|| lost(io::ErrorKind::TimedOut.into(), REPLY_TIMEOUT)));
            replies.push(reply.map_err(unknown)?);
        }
        connection.last_used = Instant::now();
        self.connection = Some(connection);
        Ok(replies)
    }
}
