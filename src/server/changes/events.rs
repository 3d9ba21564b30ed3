//! The names of key events, as Redis has them.
//!
//! The change feed carries effects, not names: `INCR` and `SET` both are a put. So the store notes with each change which
//! command made it ([`Cause`]), and the name follows from both. Why there, and not in the commands: what expires or is
//! evicted has no command, a command of many keys changes only some of them, and from one place all of them come in the
//! order in which they happened, however late they are published.

use crate::command::VERBS;
use crate::config::KeyEvents;
use crate::mutant::{self, Mutant};
use crate::mutation::{Cause, Change, CollectionKind, Effect, RemoveReason};

/// One event of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub class: KeyEvents,
    pub name: &'static str,
}

const fn event(class: KeyEvents, name: &'static str) -> Option<Event> {
    Some(Event { class, name })
}

/// Events of one change, at most.
pub(super) const EVENTS_MAX: usize = 3;

/// The events of a change, in order; flushing and swapping databases have none, as in Redis.
pub(super) fn events_of(change: &Change<'_>) -> [Option<Event>; EVENTS_MAX] {
    if mutant::is_on(Mutant::ExpiryUntold)
        && matches!(change.effect, Effect::Remove { reason: RemoveReason::Expired, .. })
    {
        return [None; EVENTS_MAX];
    }
    let verb = change.cause.row().and_then(|row| VERBS.get(row)).map_or("", |verb| verb.name);
    let new = if change.cause.is_new() { event(KeyEvents::NEW, "new") } else { None };
    match change.effect {
        Effect::Remove { reason: RemoveReason::Expired, .. } => {
            [event(KeyEvents::EXPIRED, "expired"), None, None]
        }
        Effect::Remove { reason: RemoveReason::Evicted, .. } => {
            [event(KeyEvents::EVICTED, "evicted"), None, None]
        }
        // All of a set.
        Effect::Remove { reason: RemoveReason::Deleted, .. } if verb == "spop" => {
            [event(KeyEvents::SET, "spop"), event(KeyEvents::GENERIC, "del"), None]
        }
        Effect::Remove { reason: RemoveReason::Deleted, .. } => {
            let name = match verb {
                "rename" | "renamenx" => "rename_from",
                "move" => "move_from",
                _ => "del",
            };
            [event(KeyEvents::GENERIC, name), None, None]
        }
        Effect::SetExpiry { expiry, .. } => {
            let name = if expiry.is_some() { "expire" } else { "persist" };
            [event(KeyEvents::GENERIC, name), None, None]
        }
        Effect::Put { expiry, .. } => {
            let expires = expiry.is_some() && sets_expiry(verb, change.cause);
            let expire = if expires { event(KeyEvents::GENERIC, "expire") } else { None };
            [new, named(verb), expire]
        }
        Effect::PutField { expiry: Some(_), .. } if verb == "hsetex" && !change.cause.keeps_expiry() => {
            [new, named(verb), event(KeyEvents::HASH, "hexpire")]
        }
        Effect::Write { .. } | Effect::PutField { .. } => [new, named(verb), None],
        Effect::SetFieldExpiry { expiry, .. } => {
            let name = if expiry.is_some() { "hexpire" } else { "hpersist" };
            [event(KeyEvents::HASH, name), None, None]
        }
        Effect::RemoveField { kind, is_last, reason, .. } => {
            let gone = if is_last { event(KeyEvents::GENERIC, "del") } else { None };
            let removed = match reason {
                RemoveReason::Expired => event(KeyEvents::HASH, "hexpired"),
                _ => removed(verb, kind),
            };
            [removed, gone, None]
        }
        Effect::Flush { .. } | Effect::Swap { .. } => [None, None, None],
    }
}

/// The events of a change that is not the first one of a value by its command: that the key is gone.
pub(super) fn events_of_another_part(change: &Change<'_>) -> [Option<Event>; EVENTS_MAX] {
    let events = events_of(change);
    match change.effect {
        Effect::RemoveField { .. } => [None, events[1], None],
        _ => [None; EVENTS_MAX],
    }
}

/// What Redis calls that a command gave a key a value.
fn named(verb: &str) -> Option<Event> {
    let (class, name) = match verb {
        "incr" | "decr" | "incrby" | "decrby" => (KeyEvents::STRING, "incrby"),
        "incrbyfloat" => (KeyEvents::STRING, "incrbyfloat"),
        "append" => (KeyEvents::STRING, "append"),
        "setrange" => (KeyEvents::STRING, "setrange"),
        "setbit" | "bitfield" => (KeyEvents::STRING, "setbit"),
        "rename" | "renamenx" => (KeyEvents::GENERIC, "rename_to"),
        "copy" => (KeyEvents::GENERIC, "copy_to"),
        "move" => (KeyEvents::GENERIC, "move_to"),
        "restore" => (KeyEvents::GENERIC, "restore"),
        "hset" | "hmset" | "hsetnx" | "hsetex" => (KeyEvents::HASH, "hset"),
        "hincrby" => (KeyEvents::HASH, "hincrby"),
        "hincrbyfloat" => (KeyEvents::HASH, "hincrbyfloat"),
        "sadd" | "smove" => (KeyEvents::SET, "sadd"),
        "sinterstore" => (KeyEvents::SET, "sinterstore"),
        "sunionstore" => (KeyEvents::SET, "sunionstore"),
        "sdiffstore" => (KeyEvents::SET, "sdiffstore"),
        _ => (KeyEvents::STRING, "set"),
    };
    event(class, name)
}

/// What Redis calls that a command took an entry out of a collection.
fn removed(verb: &str, kind: CollectionKind) -> Option<Event> {
    match (kind, verb) {
        (CollectionKind::Hash, _) => event(KeyEvents::HASH, "hdel"),
        (CollectionKind::Set, "spop") => event(KeyEvents::SET, "spop"),
        (CollectionKind::Set, _) => event(KeyEvents::SET, "srem"),
    }
}

/// Whether the expiry of a value that a command put is one that the command gave it.
fn sets_expiry(verb: &str, cause: Cause) -> bool {
    matches!(verb, "" | "set" | "put" | "setex" | "psetex" | "msetex") && !cause.keeps_expiry()
}
