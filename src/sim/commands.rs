//! The RESP commands of the simulated clients: how they are sent, and what they must answer and change.

use super::effect::Effect;
use super::field_commands::FieldCommand;
use super::model::Model;
use super::value::Value;
use super::violation::show;
use crate::client::Reply;
use crate::wire::number::parse_i64;
use std::rc::Rc;

/// When a SET applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    Absent,
    Present,
}

/// A command.
#[derive(Clone, Debug)]
pub enum Command {
    Get(Vec<u8>),
    Mget(Vec<Vec<u8>>),
    Exists(Vec<Vec<u8>>),
    Pttl(Vec<u8>),
    Set {
        key: Vec<u8>,
        value: Rc<[u8]>,
        ttl_ms: Option<u64>,
        when: When,
    },
    Mset(Vec<(Vec<u8>, Rc<[u8]>)>),
    Msetnx(Vec<(Vec<u8>, Rc<[u8]>)>),
    Getdel(Vec<u8>),
    Append {
        key: Vec<u8>,
        bytes: Vec<u8>,
    },
    Setrange {
        key: Vec<u8>,
        offset: usize,
        bytes: Vec<u8>,
    },
    Incrby {
        key: Vec<u8>,
        delta: i64,
    },
    Pexpire {
        key: Vec<u8>,
        ttl_ms: u64,
    },
    Persist(Vec<u8>),
    Del(Vec<Vec<u8>>),
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    /// Over what `to` has.
    Copy {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Flushall,
    Scan {
        cursor: Vec<u8>,
        count: u32,
    },
    Watch(Vec<Vec<u8>>),
    Multi,
    Exec,
    Discard,
    Ping(Vec<u8>),
    /// On a hash or a set.
    Fields(FieldCommand),
    /// AUTH, HELLO: any answer but an error is right.
    Handshake(Vec<&'static str>),
}

/// What a command must answer and bring about, as things stand.
pub struct Prediction {
    pub reply: Reply,
    pub effects: Vec<Effect>,
}

impl Command {
    /// Its arguments.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let text = |text: &str| text.as_bytes().to_vec();
        let number = |number: i128| number.to_string().into_bytes();
        let many = |name: &str, keys: &[Vec<u8>]| {
            std::iter::once(text(name)).chain(keys.iter().cloned()).collect::<Vec<_>>()
        };
        match self {
            Command::Get(key) => vec![text("GET"), key.clone()],
            Command::Mget(keys) => many("MGET", keys),
            Command::Exists(keys) => many("EXISTS", keys),
            Command::Pttl(key) => vec![text("PTTL"), key.clone()],
            Command::Set { key, value, ttl_ms, when } => {
                let mut words = vec![text("SET"), key.clone(), value.to_vec()];
                if let Some(ttl_ms) = ttl_ms {
                    words.extend([text("PX"), number(i128::from(*ttl_ms))]);
                }
                match when {
                    When::Always => {}
                    When::Absent => words.push(text("NX")),
                    When::Present => words.push(text("XX")),
                }
                words
            }
            Command::Mset(pairs) | Command::Msetnx(pairs) => {
                let name = if matches!(self, Command::Mset(_)) { "MSET" } else { "MSETNX" };
                let mut words = vec![text(name)];
                pairs.iter().for_each(|(key, value)| words.extend([key.clone(), value.to_vec()]));
                words
            }
            Command::Getdel(key) => vec![text("GETDEL"), key.clone()],
            Command::Append { key, bytes } => vec![text("APPEND"), key.clone(), bytes.clone()],
            Command::Setrange { key, offset, bytes } => {
                vec![text("SETRANGE"), key.clone(), number(*offset as i128), bytes.clone()]
            }
            Command::Incrby { key, delta } => vec![text("INCRBY"), key.clone(), number(i128::from(*delta))],
            Command::Pexpire { key, ttl_ms } => {
                vec![text("PEXPIRE"), key.clone(), number(i128::from(*ttl_ms))]
            }
            Command::Persist(key) => vec![text("PERSIST"), key.clone()],
            Command::Del(keys) => many("DEL", keys),
            Command::Rename { from, to } => vec![text("RENAME"), from.clone(), to.clone()],
            Command::Copy { from, to } => vec![text("COPY"), from.clone(), to.clone(), text("REPLACE")],
            Command::Flushall => vec![text("FLUSHALL")],
            Command::Scan { cursor, count } => {
                vec![text("SCAN"), cursor.clone(), text("COUNT"), number(i128::from(*count))]
            }
            Command::Watch(keys) => many("WATCH", keys),
            Command::Multi => vec![text("MULTI")],
            Command::Exec => vec![text("EXEC")],
            Command::Discard => vec![text("DISCARD")],
            Command::Ping(payload) => vec![text("PING"), payload.clone()],
            Command::Fields(command) => command.words(),
            Command::Handshake(words) => words.iter().map(|word| text(word)).collect(),
        }
    }

    /// Whether the server may answer that it has no memory left for it.
    pub fn may_be_refused(&self) -> bool {
        if let Command::Fields(command) = self {
            return command.may_be_refused();
        }
        matches!(
            self,
            Command::Set { .. }
                | Command::Mset(_)
                | Command::Msetnx(_)
                | Command::Append { .. }
                | Command::Setrange { .. }
                | Command::Incrby { .. }
                | Command::Pexpire { .. }
                | Command::Persist(_)
                | Command::Rename { .. }
                | Command::Copy { .. }
        )
    }

    /// Commands about keys: what they answer and change. The others depend on their connection.
    pub fn predict(&self, model: &Model, unix: u64) -> Prediction {
        let live = |key: &Vec<u8>| model.live(key, unix);
        match self {
            Command::Fields(command) => command.predict(model, unix),
            Command::Get(key) => plain(match live(key).map(|record| record.value.text()) {
                Some(None) => error("WRONGTYPE"),
                text => bulk(text.flatten()),
            }),
            Command::Mget(keys) => {
                let values = keys.iter().map(|key| bulk(live(key).and_then(|record| record.value.text())));
                plain(Reply::Array(values.collect()))
            }
            Command::Exists(keys) => {
                plain(Reply::Integer(keys.iter().filter(|key| live(key).is_some()).count() as i64))
            }
            Command::Pttl(key) => plain(Reply::Integer(match live(key).map(|record| record.expiry) {
                None => -2,
                Some(None) => -1,
                Some(Some(at)) => (at - unix) as i64,
            })),
            Command::Del(keys) => {
                let there: Vec<_> = keys.iter().filter(|key| live(key).is_some()).cloned().collect();
                let count = there.len() as i64;
                let effects = there.into_iter().map(|key| Effect::Delete { key }).collect();
                Prediction { reply: Reply::Integer(count), effects }
            }
            Command::Getdel(key) => match live(key) {
                Some(record) => match record.value.text() {
                    Some(text) => one(bulk(Some(text)), Effect::Delete { key: key.clone() }),
                    None => plain(error("WRONGTYPE")),
                },
                None => plain(Reply::Null),
            },
            Command::Ping(payload) => plain(Reply::Bulk(payload.clone())),
            Command::Flushall => Prediction { reply: ok(), effects: vec![Effect::Flush] },
            _ => self.predict_write(model, unix),
        }
    }

    fn predict_write(&self, model: &Model, unix: u64) -> Prediction {
        let live = |key: &Vec<u8>| model.live(key, unix);
        if let Command::Append { key, .. } | Command::Setrange { key, .. } | Command::Incrby { key, .. } =
            self
            && live(key).is_some_and(|record| record.value.text().is_none())
        {
            return plain(error("WRONGTYPE"));
        }
        let text = |key: &Vec<u8>| live(key).and_then(|record| record.value.text());
        match self {
            Command::Set { key, value, ttl_ms, when } => {
                let there = live(key).is_some();
                if *when == When::Absent && there || *when == When::Present && !there {
                    return plain(Reply::Null);
                }
                let expiry = ttl_ms.map(|ttl| unix + ttl);
                one(ok(), Effect::Put { key: key.clone(), value: Value::Text(Rc::clone(value)), expiry })
            }
            Command::Msetnx(pairs) if pairs.iter().any(|(key, _)| live(key).is_some()) => {
                plain(Reply::Integer(0))
            }
            Command::Mset(pairs) | Command::Msetnx(pairs) => {
                let reply = if matches!(self, Command::Mset(_)) { ok() } else { Reply::Integer(1) };
                let put = |(key, value): &(Vec<u8>, Rc<[u8]>)| Effect::Put {
                    key: key.clone(),
                    value: Value::Text(Rc::clone(value)),
                    expiry: None,
                };
                // Of a key that is given twice the last value counts.
                let lasting = |(at, (key, _)): &(usize, &(Vec<u8>, Rc<[u8]>))| {
                    pairs[at + 1..].iter().all(|(later, _)| later != key)
                };
                let effects = pairs.iter().enumerate().filter(lasting).map(|(_, pair)| put(pair)).collect();
                Prediction { reply, effects }
            }
            Command::Append { key, bytes } => {
                let before = text(key).unwrap_or_default();
                let value: Rc<[u8]> = [before, bytes].concat().into();
                let reply = Reply::Integer(value.len() as i64);
                one(reply, Effect::Append { key: key.clone(), added: bytes.clone(), value })
            }
            Command::Setrange { key, offset, bytes } => {
                let mut value = text(key).unwrap_or_default().to_vec();
                value.resize(value.len().max(offset + bytes.len()), 0);
                value[*offset..offset + bytes.len()].copy_from_slice(bytes);
                let reply = Reply::Integer(value.len() as i64);
                let value = value.into();
                one(reply, Effect::Append { key: key.clone(), added: bytes.clone(), value })
            }
            Command::Incrby { key, delta } => {
                let record = live(key);
                let before = text(key).map_or(Some(0), parse_i64);
                let Some(sum) = before.and_then(|before| before.checked_add(*delta)) else {
                    return plain(error("ERR"));
                };
                let value = Value::Text(sum.to_string().into_bytes().into());
                let expiry = record.and_then(|record| record.expiry);
                one(Reply::Integer(sum), Effect::Put { key: key.clone(), value, expiry })
            }
            Command::Pexpire { key, ttl_ms } if live(key).is_some() => {
                let expiry = Some(unix + ttl_ms);
                one(Reply::Integer(1), Effect::SetExpiry { key: key.clone(), expiry })
            }
            Command::Persist(key) if live(key).is_some_and(|record| record.expiry.is_some()) => {
                one(Reply::Integer(1), Effect::SetExpiry { key: key.clone(), expiry: None })
            }
            Command::Pexpire { .. } | Command::Persist(_) => plain(Reply::Integer(0)),
            Command::Copy { from, to } if from != to => match live(from) {
                None => plain(Reply::Integer(0)),
                Some(record) => {
                    let (key, value, expiry) = (to.clone(), record.value.clone(), record.expiry);
                    one(Reply::Integer(1), Effect::Put { key, value, expiry })
                }
            },
            Command::Rename { from, to } if live(from).is_some() => {
                one(ok(), Effect::Rename { from: from.clone(), to: to.clone() })
            }
            _ => plain(error("ERR")),
        }
    }
}

pub fn plain(reply: Reply) -> Prediction {
    Prediction { reply, effects: Vec::new() }
}

fn one(reply: Reply, effect: Effect) -> Prediction {
    Prediction { reply, effects: vec![effect] }
}

fn bulk(value: Option<&[u8]>) -> Reply {
    value.map_or(Reply::Null, |value| Reply::Bulk(value.to_vec()))
}

/// Whether this is what the server says of a command that was begun and not finished in time, or of a client that was not
/// authenticated in time, before it closes the connection; it answers none of the commands before.
pub fn is_last_word(reply: &Reply) -> bool {
    matches!(reply, Reply::Error { text, .. } if text.contains("not finished"))
}

/// `+OK`.
pub fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

/// An error of that code, whatever its text.
pub fn error(code: &str) -> Reply {
    Reply::Error { code: code.to_owned(), text: String::new() }
}

/// Whether two replies say the same; of errors, the code alone.
pub fn same(want: &Reply, given: &Reply) -> bool {
    match (want, given) {
        (Reply::Error { code, .. }, Reply::Error { code: given, .. }) => code == given,
        _ => want == given,
    }
}

/// A command as people write it, the long parts cut.
pub fn describe(command: &Command) -> String {
    let words: Vec<_> = command.words().iter().map(|word| show(word)).collect();
    words.join(" ")
}

/// A reply in a few words.
pub fn describe_reply(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => format!("'{}'", show(text)),
        Reply::Array(parts) => {
            let parts: Vec<_> = parts.iter().map(describe_reply).collect();
            format!("[{}]", parts.join(", "))
        }
        other => format!("{other:?}"),
    }
}
