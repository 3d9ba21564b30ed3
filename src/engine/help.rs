//! The HELP subcommands, out of the table of verbs.

use super::quote::upper;
use super::{Call, Flow, Outcome};
use crate::command;

/// Redis's own text for OBJECT, whose subcommands are all here.
const OBJECT: [&str; 14] = [
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
];

/// The same for PUBSUB.
const PUBSUB: [&str; 13] = [
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Prints this help.",
];

/// `… HELP`
pub fn run<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let container = call.verb.container().and_then(|name| command::find(name.as_bytes()));
    let Some(container) = container else { return call.null() };
    let (mut name, out) = ([0; 16], &mut *call.out);
    let name = upper(container.name, &mut name);
    let rows = container.subcommands();
    let text: Option<&[&str]> = match container.name {
        "object" => Some(&OBJECT),
        "pubsub" => Some(&PUBSUB),
        _ => None,
    };
    out.array(text.map_or(2 * rows.len(), <[&str]>::len) + 1);
    line(out, &[name, b" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]);
    if let Some(text) = text {
        text.iter().for_each(|line| out.simple(line));
        return Ok(Flow::Done);
    }
    for row in rows.iter().filter(|row| row.word() != "help") {
        let mut word = [0; 16];
        line(out, &[upper(row.word(), &mut word)]);
        line(out, &[b"    ", row.summary.trim_end_matches('.').as_bytes(), b"."]);
    }
    out.simple("HELP");
    out.simple("    Prints this help.");
    Ok(Flow::Done)
}

fn line(out: &mut crate::wire::encode::Out<'_>, parts: &[&[u8]]) {
    out.raw(b"+");
    parts.iter().for_each(|part| out.raw(part));
    out.raw(b"\r\n");
}
