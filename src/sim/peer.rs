//! The server's side of one RESP connection as the model sees it: each answer is explained by the command that was
//! next in line, and by how the model stands.

use super::commands::{Command, describe, describe_reply, error, ok, same};
use super::effect::Effect;
use super::field_commands::FieldCommand;
use super::model::{Model, Record};
use super::slices::{Asked, Begun};
use super::value::{Fields, Value};
use super::violation::{Violation, violation};
use crate::client::Reply;
use crate::mutation::CollectionKind;
use std::rc::Rc;

/// What the server says where memory for watched keys is used up.
const WATCH_FULL: &str = "too many watched keys";

/// A watched key.
#[derive(Debug)]
struct Watched {
    key: Vec<u8>,
    /// It had one of these revisions; 0 is none.
    revisions: [u64; 2],
    /// The latest of all that were accounted for then.
    latest: u64,
}

/// What the connection carries from one command to the next.
#[derive(Debug, Default)]
pub struct Peer {
    /// Names the connection's walks by SCAN.
    number: usize,
    watched: Vec<Watched>,
    queued: Option<Vec<Command>>,
    /// A command could not be queued.
    broken: bool,
    /// An answer that is being made, piece by piece.
    reading: Option<Reading>,
    /// What a command on many fields has done, which goes on later.
    begun: Option<Begun>,
}

/// An answer that is being made, piece by piece.
#[derive(Clone, Debug)]
struct Reading {
    /// The model's mark from when it began.
    mark: usize,
    /// When pieces of it were made, in Unix milliseconds.
    times: Vec<u64>,
}

impl Peer {
    pub fn new(number: usize) -> Peer {
        Peer { number, ..Peer::default() }
    }

    /// An answer has begun that goes on later, no earlier than the model's mark.
    pub fn reads_since(&mut self, mark: usize, unix: u64) {
        self.reading.get_or_insert(Reading { mark, times: Vec::new() }).times.push(unix);
    }

    /// A slice of the command next in line has run, if it is one that runs in slices.
    pub fn take_slice(
        &mut self,
        command: &Command,
        model: &mut Model,
        (client, unix): (u64, u64),
    ) -> Result<bool, Violation> {
        match command {
            Command::Fields(command) if command.is_sliced() && self.queued.is_none() => {
                Asked { command, client, unix }.take_slice(&mut self.begun, model)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether an answer is under way.
    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Accounts for a command and its answer; the model takes up what the command changed.
    pub fn explain(
        &mut self,
        command: &Command,
        reply: &Reply,
        model: &mut Model,
        (client, unix): (u64, u64),
    ) -> Result<(), Violation> {
        let wrong = |want: &Reply| Err(wrong_answer(command, reply, want));
        match command {
            Command::Handshake(_) => match reply {
                Reply::Error { .. } => wrong(&ok()),
                _ => Ok(()),
            },
            Command::Exec => self.explain_exec(reply, model, (client, unix)),
            // What all clients watch has a bound together; a client that gets this error watches nothing.
            Command::Watch(_) if self.queued.is_none() && is_watch_full(reply) => Ok(()),
            Command::Discard | Command::Multi | Command::Watch(_) => {
                let want = match (command, self.queued.is_some()) {
                    (Command::Discard, false) | (Command::Multi | Command::Watch(_), true) => error("ERR"),
                    _ => ok(),
                };
                if !same(&want, reply) {
                    return wrong(&want);
                }
                self.control(command, model, unix);
                Ok(())
            }
            _ if self.queued.is_some() => {
                let queued = Reply::Simple(b"QUEUED".to_vec());
                match (reply, &mut self.queued) {
                    (reply, Some(queue)) if *reply == queued => queue.push(command.clone()),
                    // A queue has a bound, and so has the memory for large arguments.
                    (Reply::Error { code, .. }, _) if code == "ERR" || code == "OOM" => self.broken = true,
                    _ => return wrong(&queued),
                }
                Ok(())
            }
            Command::Mget(keys) if self.reading.is_some() => {
                let Reply::Array(values) = reply else { return wrong(&Reply::Array(Vec::new())) };
                let Some(Reading { mark, .. }) = self.reading.take() else { return Ok(()) };
                let fits = |model: &Model| {
                    keys.len() == values.len()
                        && keys.iter().zip(values).all(|(key, value)| could_be(key, value, mark, model, unix))
                };
                while !fits(model) {
                    if !model.take_removal(unix)? {
                        return wrong(&command.predict(model, unix).reply);
                    }
                }
                Ok(())
            }
            Command::Fields(fields) if fields.may_be_answered_in_pieces() && self.reading.is_some() => {
                // As it was at one moment since it began, whole.
                let Some(Reading { mark, mut times }) = self.reading.take() else { return Ok(()) };
                times.push(unix);
                times.dedup();
                let given = fields.in_order(reply);
                let is_answer = |had: Option<&Record>| {
                    let value = had.map(|record| &record.value);
                    times.iter().any(|unix| fields.answer_of(value, *unix) == given)
                };
                let fits = |model: &Model| model.states_since(fields.key(), mark).any(is_answer);
                while !fits(model) {
                    if !model.take_removal(unix)? {
                        return wrong(&command.predict(model, unix).reply);
                    }
                }
                Ok(())
            }
            Command::Fields(FieldCommand::Sunionstore { to, from }) if self.reading.is_some() => {
                let Some(Reading { mark, .. }) = self.reading.take() else { return Ok(()) };
                match explain_union((to, from), reply, model, (mark, unix))? {
                    true => Ok(()),
                    false => wrong(&command.predict(model, unix).reply),
                }
            }
            Command::Fields(fields) if fields.is_sliced() => {
                let begun = self.begun.take();
                self.reading = None;
                let asked = Asked { command: fields, client, unix };
                asked.explain(reply, begun, model)?.or_else(|want| wrong(&want))
            }
            Command::Scan { cursor, .. } => self.explain_scan((&cursor[..], command), reply, model, unix),
            _ => explain_key(command, reply, model, unix),
        }
    }

    fn control(&mut self, command: &Command, model: &Model, unix: u64) {
        match command {
            Command::Multi if self.queued.is_none() => self.queued = Some(Vec::new()),
            Command::Discard => *self = Peer::new(self.number),
            Command::Watch(keys) if self.queued.is_none() => {
                let watched = |key: &Vec<u8>| Watched {
                    key: key.clone(),
                    revisions: model.watched_revisions(key, unix),
                    latest: model.latest(),
                };
                self.watched.extend(keys.iter().map(watched));
            }
            _ => {}
        }
    }

    fn explain_exec(
        &mut self,
        reply: &Reply,
        model: &mut Model,
        (client, unix): (u64, u64),
    ) -> Result<(), Violation> {
        let state = std::mem::replace(self, Peer::new(self.number));
        let watched_key = state.watched.first().map(|watched| watched.key.clone()).unwrap_or_default();
        let wrong = |why: &str| {
            Err(violation(&watched_key, format!("EXEC was answered {}: {why}", describe_reply(reply))))
        };
        let now = |model: &Model, watched: &Watched| model.revision_of(&watched.key, unix);
        let surely_changed = |model: &Model| {
            let has_changed = |watched: &Watched| {
                !watched.revisions.contains(&now(model, watched))
                    || model.was_given_after(&watched.key, watched.latest)
            };
            state.watched.iter().any(has_changed)
        };
        let perhaps_changed = |model: &Model| {
            let may_have =
                |watched: &Watched| watched.revisions.iter().any(|had| *had != now(model, watched));
            state.watched.iter().any(may_have)
        };
        let (Some(queued), false) = (&state.queued, state.broken) else {
            let code = if state.broken { "EXECABORT" } else { "ERR" };
            return if same(&error(code), reply) { Ok(()) } else { wrong("there was nothing to run") };
        };
        match reply {
            // A key that was absent may be taken to have come and gone: a try too many, never one too few.
            Reply::Null if state.watched.iter().any(|watched| watched.revisions.contains(&0)) => Ok(()),
            // Others, uploads that are under way among them, have taken the memory since it was queued.
            Reply::Error { code, text }
                if code == "EXECABORT"
                    && text.contains("OOM")
                    && queued.iter().any(Command::may_be_refused) =>
            {
                Ok(())
            }
            Reply::Null => {
                while !perhaps_changed(model) {
                    if !model.take_removal(unix)? {
                        return wrong("no watched key has changed");
                    }
                }
                Ok(())
            }
            Reply::Array(replies) if replies.len() == queued.len() => {
                if surely_changed(model) {
                    return wrong("a watched key has changed");
                }
                model.begin_unit();
                let explained = queued.iter().zip(replies).try_for_each(|(command, reply)| match command {
                    Command::Fields(fields) if fields.is_sliced() => {
                        let explained =
                            Asked { command: fields, client, unix }.explain(reply, None, model)?;
                        explained.map_err(|want| wrong_answer(command, reply, &want))
                    }
                    _ => explain_key(command, reply, model, unix),
                });
                model.end_unit();
                explained
            }
            _ => wrong("neither null nor an answer for each command"),
        }
    }

    fn explain_scan(
        &mut self,
        (cursor, command): (&[u8], &Command),
        reply: &Reply,
        model: &mut Model,
        unix: u64,
    ) -> Result<(), Violation> {
        let wrong =
            || Err(violation(b"", format!("{} was answered {}", describe(command), describe_reply(reply))));
        let Reply::Array(parts) = reply else { return wrong() };
        let [Reply::Bulk(next), Reply::Array(shown)] = &parts[..] else { return wrong() };
        let mut keys = Vec::new();
        for key in shown {
            let Reply::Bulk(key) = key else { return wrong() };
            keys.push(key.clone());
        }
        if cursor == b"0" {
            model.begin_walk(self.number);
        }
        model.walk_page(self.number, &keys, next == b"0", unix)
    }
}

/// Whether the server had no memory left for another watched key.
fn is_watch_full(reply: &Reply) -> bool {
    matches!(reply, Reply::Error { code, text } if code == "ERR" && text.contains(WATCH_FULL))
}

/// Whether an MGET that others' commands interrupted may have read this.
fn could_be(key: &[u8], value: &Reply, mark: usize, model: &Model, unix: u64) -> bool {
    match value {
        Reply::Bulk(value) => model.could_have_read(key, Some(value), mark, unix),
        Reply::Null => model.could_have_read(key, None, mark, unix),
        _ => false,
    }
}

/// Whether this is the union of two sets that others changed while it was made, piece by piece: all that was there
/// throughout is in it, and nothing that never was. The key `to` has it now.
fn explain_union(
    (to, from): (&[u8], &[Vec<u8>; 2]),
    reply: &Reply,
    model: &mut Model,
    (mark, unix): (usize, u64),
) -> Result<bool, Violation> {
    while model.take_removal(unix)? {}
    let states = |model: &Model| -> Vec<Vec<Fields>> {
        let of = |key: &Vec<u8>| {
            let states = model.states_since(key, mark);
            states
                .flat_map(|had| {
                    let members = match had.map(|record| &record.value) {
                        Some(Value::Fields(CollectionKind::Set, members)) => members.as_ref().clone(),
                        _ => Fields::new(),
                    };
                    // One whose time has come by now was hidden from the later slices.
                    let is_over = had.and_then(|record| record.expiry).is_some_and(|expiry| expiry <= unix);
                    [Some(members), is_over.then(Fields::new)]
                })
                .flatten()
                .collect()
        };
        from.iter().map(of).collect()
    };
    let states = states(model);
    let published = match model.next_set(to) {
        Some(union) => union,
        None if *reply == Reply::Integer(0) => Fields::new(),
        // It found a string.
        None => {
            return Ok(matches!(reply, Reply::Error { code, .. } if code == "WRONGTYPE" || code == "OOM"));
        }
    };
    let may_be = |member| states.iter().flatten().any(|state| state.contains_key(member));
    let must_be = states.iter().flat_map(|states| {
        let (first, others) = states.split_first().expect("a key is in a state");
        first.keys().filter(move |member| others.iter().all(|state| state.contains_key(*member)))
    });
    let fits =
        published.keys().all(may_be) && must_be.into_iter().all(|member| published.contains_key(member));
    if !fits || *reply != Reply::Integer(published.len() as i64) {
        return Ok(false);
    }
    let key = to.to_vec();
    if !published.is_empty() {
        let value = Value::Fields(CollectionKind::Set, Rc::new(published));
        model.expect(&Effect::Put { key, value, expiry: None }, unix)?;
    } else if model.live(to, unix).is_some() {
        model.expect(&Effect::Delete { key }, unix)?;
    }
    Ok(true)
}

fn wrong_answer(command: &Command, reply: &Reply, want: &Reply) -> Violation {
    let (reply, want) = (describe_reply(reply), describe_reply(want));
    violation(&key_of(command), format!("{} was answered {reply} instead of {want}", describe(command)))
}

/// The first key of a command.
fn key_of(command: &Command) -> Vec<u8> {
    command.words().get(1).cloned().unwrap_or_default()
}

/// A command about keys: predicts, compares, takes up removals where they explain the answer, expects the effects.
fn explain_key(command: &Command, reply: &Reply, model: &mut Model, unix: u64) -> Result<(), Violation> {
    if let Reply::Error { code, text } = reply
        && (code == "OOM" || text.contains("is larger than the limit"))
        && command.may_be_refused()
    {
        // Nothing has changed, not even a part of an MSET: a change that was published would answer for itself next.
        return Ok(());
    }
    let given = match command {
        Command::Fields(command) => &command.in_order(reply),
        _ => reply,
    };
    loop {
        let prediction = command.predict(model, unix);
        if same(&prediction.reply, given) {
            // What departed before the change may have been the key itself: SETRANGE beyond a value's end answers the same
            // with the value and without it.
            if !prediction.effects.is_empty() && model.take_removal(unix)? {
                continue;
            }
            // Commands like DEL may be cut in pieces.
            let is_whole = matches!(
                command,
                Command::Mset(_) | Command::Msetnx(_) | Command::Fields(FieldCommand::Smove { .. })
            );
            let begins = is_whole && model.begin_unit();
            for effect in &prediction.effects {
                model.expect(effect, unix)?;
            }
            if begins {
                model.end_unit();
            }
            return Ok(());
        }
        if !model.take_removal(unix)? {
            return Err(wrong_answer(command, reply, &prediction.reply));
        }
    }
}
