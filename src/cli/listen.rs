//! `pannier publish`, `pannier subscribe` and `pannier watch`: a line, or with --json an object, for each message or change.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt, time::Duration};

use clap::Args;
use serde_json::json;

use super::{
    Exit, Failure,
    output::{self, printable},
    server_args::ServerArgs,
};
use crate::client::WatchEvent;

/// How long one wait lasts; then the next begins.
const WAIT: Duration = Duration::from_secs(3600);

#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// Where to publish
    channel: OsString,
    /// What to publish
    message: OsString,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SubscribeArgs {
    /// The channels
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<OsString>,
    /// The channels are patterns of *, ?, [a-z] and \x
    #[arg(long)]
    patterns: bool,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// What the keys begin with; nothing stands for all keys
    prefix: OsString,
    /// Begin behind this revision, which an earlier run has printed
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

impl PublishArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let mut client = self.server.connect()?;
        let receivers = client
            .publish(self.channel.as_bytes(), self.message.as_bytes())
            .map_err(|error| self.server.explain(error))?;
        self.server.print(out, &receivers.to_string(), &json!({ "receivers": receivers }))
    }
}

impl SubscribeArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let client = self.server.connect()?;
        let names: Vec<&[u8]> = self.channels.iter().map(|name| name.as_bytes()).collect();
        let (channels, patterns): (&[&[u8]], &[&[u8]]) =
            if self.patterns { (&[], &names) } else { (&names, &[]) };
        let explain = |error| self.server.explain(error);
        let mut subscription = client.subscribe(channels, patterns).map_err(explain)?;
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(message) = subscription.next(WAIT).map_err(explain)? else { continue };
            left -= 1;
            let text = format!("{} {}", printable(&message.channel), printable(&message.payload));
            let mut object = output::bytes_field("channel", &message.channel);
            object.extend(output::bytes_field("message", &message.payload));
            output::write_line(out, self.server.style(), &text, &object.into())?;
            out.flush()?;
        }
        Ok(Exit::Done)
    }
}

impl WatchArgs {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let client = self.server.connect()?;
        let mut watch = client.watch_prefix(self.prefix.as_bytes(), self.from);
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let event = watch.next(WAIT).map_err(|error| self.server.explain(error))?;
            let (text, object) = match event {
                None => continue,
                Some(WatchEvent::Begun { revision }) => {
                    (format!("{revision} begun"), json!({ "revision": revision, "event": "begun" }))
                }
                Some(WatchEvent::Changed { revision, event, key }) => {
                    left -= 1;
                    let text = format!("{revision} {event} {}", printable(&key));
                    let mut object = output::bytes_field("key", &key);
                    object.extend([
                        ("revision".to_owned(), json!(revision)),
                        ("event".to_owned(), json!(event)),
                    ]);
                    (text, object.into())
                }
                Some(WatchEvent::Compacted) => ("- compacted".to_owned(), json!({ "event": "compacted" })),
            };
            output::write_line(out, self.server.style(), &text, &object)?;
            out.flush()?;
        }
        Ok(Exit::Done)
    }
}
