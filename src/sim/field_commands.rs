//! Commands of the simulated clients on hashes and sets: how they are sent, and what they must answer and change. Those that
//! run in slices are explained entry by entry (`slices`).

use super::commands::{Prediction, error, plain};
use super::effect::Effect;
use super::model::Model;
use super::value::{Field, Fields, Value};
use crate::client::Reply;
use crate::mutation::CollectionKind;
use crate::wire::number::parse_i64;
use std::rc::Rc;

/// A command on the fields of a hash, or on the members of a set.
#[derive(Clone, Debug)]
pub enum FieldCommand {
    Hset { key: Vec<u8>, pairs: Vec<(Vec<u8>, Rc<[u8]>)> },
    Hsetnx { key: Vec<u8>, field: Vec<u8>, value: Rc<[u8]> },
    Hget { key: Vec<u8>, field: Vec<u8> },
    Hgetall(Vec<u8>),
    Hlen(Vec<u8>),
    Hdel { key: Vec<u8>, fields: Vec<Vec<u8>> },
    Hincrby { key: Vec<u8>, field: Vec<u8>, delta: i64 },
    Hpexpire { key: Vec<u8>, ttl_ms: u64, condition: Condition, fields: Vec<Vec<u8>> },
    Hpersist { key: Vec<u8>, fields: Vec<Vec<u8>> },
    Hpttl { key: Vec<u8>, fields: Vec<Vec<u8>> },
    Hgetex { key: Vec<u8>, ttl_ms: u64, fields: Vec<Vec<u8>> },
    Hgetdel { key: Vec<u8>, fields: Vec<Vec<u8>> },
    Hsetex { key: Vec<u8>, ttl_ms: Option<u64>, pairs: Vec<(Vec<u8>, Rc<[u8]>)> },
    Sadd { key: Vec<u8>, members: Vec<Vec<u8>> },
    Srem { key: Vec<u8>, members: Vec<Vec<u8>> },
    Spop { key: Vec<u8>, count: Option<usize> },
    Smembers(Vec<u8>),
    Sismember { key: Vec<u8>, member: Vec<u8> },
    Smove { from: Vec<u8>, to: Vec<u8>, member: Vec<u8> },
    Sunionstore { to: Vec<u8>, from: [Vec<u8>; 2] },
}

/// Which fields HPEXPIRE gives a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// Those without one.
    Nx,
    /// Those that go earlier.
    Gt,
}

use CollectionKind::{Hash, Set};
use FieldCommand::{
    Hdel, Hget, Hgetall, Hgetdel, Hgetex, Hincrby, Hlen, Hpersist, Hpexpire, Hpttl, Hset, Hsetex, Hsetnx,
    Sadd, Sismember, Smembers, Smove, Spop, Srem, Sunionstore,
};

impl FieldCommand {
    /// Its arguments.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let words = |name: &str, words: &[&Vec<u8>]| {
            std::iter::once(name.as_bytes().to_vec()).chain(words.iter().map(|word| word.to_vec())).collect()
        };
        let many = |name: &str, key: &Vec<u8>, rest: &[Vec<u8>]| {
            let mut all: Vec<Vec<u8>> = words(name, &[key]);
            all.extend(rest.iter().cloned());
            all
        };
        let number = |number: u64| number.to_string().into_bytes();
        let flat = |pairs: &[(Vec<u8>, Rc<[u8]>)]| -> Vec<Vec<u8>> {
            pairs.iter().flat_map(|(field, value)| [field.clone(), value.to_vec()]).collect()
        };
        // Options, FIELDS, how many, and these.
        let counted = |name: &str, key: &Vec<u8>, options: &[Vec<u8>], rest: (usize, Vec<Vec<u8>>)| {
            let mut all = many(name, key, options);
            all.extend([b"FIELDS".to_vec(), number(rest.0 as u64)]);
            all.extend(rest.1);
            all
        };
        let named = |fields: &[Vec<u8>]| (fields.len(), fields.to_vec());
        match self {
            Hset { key, pairs } => many("HSET", key, &flat(pairs)),
            Hsetnx { key, field, value } => words("HSETNX", &[key, field, &value.to_vec()]),
            Hget { key, field } => words("HGET", &[key, field]),
            Hgetall(key) => words("HGETALL", &[key]),
            Hlen(key) => words("HLEN", &[key]),
            Hdel { key, fields } => many("HDEL", key, fields),
            Hincrby { key, field, delta } => words("HINCRBY", &[key, field, &delta.to_string().into_bytes()]),
            Hpexpire { key, ttl_ms, condition, fields } => {
                let mut options = vec![number(*ttl_ms)];
                match condition {
                    Condition::Always => {}
                    Condition::Nx => options.push(b"NX".to_vec()),
                    Condition::Gt => options.push(b"GT".to_vec()),
                }
                counted("HPEXPIRE", key, &options, named(fields))
            }
            Hpersist { key, fields } => counted("HPERSIST", key, &[], named(fields)),
            Hpttl { key, fields } => counted("HPTTL", key, &[], named(fields)),
            Hgetex { key, ttl_ms, fields } => {
                counted("HGETEX", key, &[b"PX".to_vec(), number(*ttl_ms)], named(fields))
            }
            Hgetdel { key, fields } => counted("HGETDEL", key, &[], named(fields)),
            Hsetex { key, ttl_ms, pairs } => {
                let options =
                    ttl_ms.map_or(vec![b"KEEPTTL".to_vec()], |ttl| vec![b"PX".to_vec(), number(ttl)]);
                counted("HSETEX", key, &options, (pairs.len(), flat(pairs)))
            }
            Sadd { key, members } => many("SADD", key, members),
            Srem { key, members } => many("SREM", key, members),
            Spop { key, count: None } => words("SPOP", &[key]),
            Spop { key, count: Some(count) } => words("SPOP", &[key, &number(*count as u64)]),
            Smembers(key) => words("SMEMBERS", &[key]),
            Sismember { key, member } => words("SISMEMBER", &[key, member]),
            Smove { from, to, member } => words("SMOVE", &[from, to, member]),
            Sunionstore { to, from: [a, b] } => words("SUNIONSTORE", &[to, a, b]),
        }
    }

    /// Whether the server may answer that it has no memory left for it. A page that others share, as a reply that is being
    /// sent does, is copied before anything is removed from it.
    pub fn may_be_refused(&self) -> bool {
        !matches!(self, Hget { .. } | Hgetall(_) | Hlen(_) | Hpttl { .. } | Smembers(_) | Sismember { .. })
    }

    /// Whether its answer can be longer than what a client's output takes at once.
    pub fn may_be_answered_in_pieces(&self) -> bool {
        matches!(self, Hgetall(_) | Smembers(_))
    }

    /// The key of a command that has one.
    pub fn key(&self) -> &[u8] {
        match self {
            Hset { key, .. } | Hsetnx { key, .. } | Hget { key, .. } | Hgetall(key) | Hlen(key) => key,
            Hpexpire { key, .. } | Hpersist { key, .. } | Hpttl { key, .. } | Hgetex { key, .. } => key,
            Hgetdel { key, .. } | Hsetex { key, .. } | Spop { key, .. } => key,
            Hdel { key, .. } | Hincrby { key, .. } | Sadd { key, .. } | Srem { key, .. } => key,
            Smembers(key) | Sismember { key, .. } => key,
            Smove { from, .. } => from,
            Sunionstore { to, .. } => to,
        }
    }

    /// A reply in one order: that of fields and members is the server's choice.
    pub fn in_order(&self, reply: &Reply) -> Reply {
        let bytes = |reply: &Reply| if let Reply::Bulk(bytes) = reply { bytes.clone() } else { Vec::new() };
        match (self, reply) {
            (Hgetall(_), Reply::Map(pairs)) => {
                let mut pairs = pairs.clone();
                pairs.sort_by_key(|(field, _)| bytes(field));
                Reply::Array(pairs.into_iter().flat_map(|(field, value)| [field, value]).collect())
            }
            (Hgetall(_), Reply::Array(items)) => {
                let mut pairs: Vec<_> = items.chunks(2).map(<[Reply]>::to_vec).collect();
                pairs.sort_by_key(|pair| bytes(&pair[0]));
                Reply::Array(pairs.concat())
            }
            (Smembers(_), Reply::Array(items) | Reply::Set(items)) => {
                let mut items = items.clone();
                items.sort_by_key(bytes);
                Reply::Array(items)
            }
            _ => reply.clone(),
        }
    }

    /// The answer of a command that may be answered in pieces, if its key has this value, or none, at this time.
    pub fn answer_of(&self, value: Option<&Value>, unix: u64) -> Reply {
        match fields_of(value, if matches!(self, Hgetall(_)) { Hash } else { Set }) {
            None => error("WRONGTYPE"),
            Some(fields) => {
                let bulk = |bytes: &[u8]| Reply::Bulk(bytes.to_vec());
                let live = fields.iter().filter(|(_, field)| field.is_live(unix));
                Reply::Array(match self {
                    Hgetall(_) => live.flat_map(|(name, field)| [bulk(name), bulk(&field.value)]).collect(),
                    _ => live.map(|(name, _)| bulk(name)).collect(),
                })
            }
        }
    }

    /// What it must answer and change, as things stand.
    pub fn predict(&self, model: &Model, unix: u64) -> Prediction {
        self.predict_on(model, unix).unwrap_or_else(|| plain(error("WRONGTYPE")))
    }

    /// `None`: a key has a value of another type.
    fn predict_on(&self, model: &Model, unix: u64) -> Option<Prediction> {
        let value = |key: &[u8]| model.live(key, unix).map(|record| &record.value);
        let of = |key: &[u8], kind| fields_of(value(key), kind);
        let prediction = match self {
            Hgetall(key) | Smembers(key) => plain(self.answer_of(value(key), unix)),
            // Those whose time has come are counted until they are removed, as in Redis.
            Hlen(key) => plain(Reply::Integer(of(key, Hash)?.len() as i64)),
            Hget { key, field } => {
                let fields = of(key, Hash)?;
                plain(
                    live(&fields, field, unix).map_or(Reply::Null, |field| Reply::Bulk(field.value.to_vec())),
                )
            }
            Sismember { key, member } => {
                plain(Reply::Integer(i64::from(of(key, Set)?.contains_key(&member[..]))))
            }
            Hsetnx { key, field, value } => match live(&*of(key, Hash)?, field, unix) {
                Some(_) => plain(Reply::Integer(0)),
                None => put(key, Hash, (field, value, None), 1),
            },
            Hincrby { key, field, delta } => {
                let fields = of(key, Hash)?;
                let had = live(&fields, field, unix);
                let before = had.map_or(Some(0), |had| parse_i64(&had.value));
                let Some(sum) = before.and_then(|before| before.checked_add(*delta)) else {
                    return Some(plain(error("ERR")));
                };
                let value = sum.to_string().into_bytes().into();
                put(key, Hash, (field, &value, had.and_then(|had| had.expiry)), sum)
            }
            Smove { from, to, member } => smove((from, &*of(from, Set)?), to, member, value(to))?,
            Sunionstore { to, from: [a, b] } => {
                let mut union = of(a, Set)?.as_ref().clone();
                union.extend(of(b, Set)?.as_ref().clone());
                let (count, key) = (union.len() as i64, to.clone());
                let effect = match union.is_empty() {
                    true if value(to).is_none() => None,
                    true => Some(Effect::Delete { key }),
                    false => {
                        Some(Effect::Put { key, value: Value::Fields(Set, Rc::new(union)), expiry: None })
                    }
                };
                Prediction { reply: Reply::Integer(count), effects: effect.into_iter().collect() }
            }
            // These are explained entry by entry.
            Hset { .. } | Hdel { .. } | Sadd { .. } | Srem { .. } | Spop { .. } => return None,
            Hpexpire { .. } | Hpersist { .. } | Hpttl { .. } | Hgetex { .. } => return None,
            Hgetdel { .. } | Hsetex { .. } => return None,
        };
        Some(prediction)
    }
}

/// The fields that a key has; `None`: its value is of another type.
pub fn fields_of(value: Option<&Value>, kind: CollectionKind) -> Option<Rc<Fields>> {
    match value {
        None => Some(Rc::default()),
        Some(Value::Fields(had, fields)) if *had == kind => Some(Rc::clone(fields)),
        Some(_) => None,
    }
}

/// A field that is there and whose time has not come.
pub fn live<'f>(fields: &'f Fields, field: &[u8], unix: u64) -> Option<&'f Field> {
    fields.get(field).filter(|field| field.is_live(unix))
}

fn put(
    key: &[u8],
    kind: CollectionKind,
    (field, value, expiry): (&[u8], &Rc<[u8]>, Option<u64>),
    answer: i64,
) -> Prediction {
    let (key, field, value) = (key.to_vec(), field.to_vec(), Rc::clone(value));
    let effect = Effect::PutField { key, kind, field, value, expiry };
    Prediction { reply: Reply::Integer(answer), effects: vec![effect] }
}

/// `None`: one of them is no set, and that matters: where there is nothing to be taken from nothing is looked at.
fn smove(
    (from, members): (&[u8], &Fields),
    to: &[u8],
    member: &[u8],
    target: Option<&Value>,
) -> Option<Prediction> {
    if members.is_empty() {
        return Some(plain(Reply::Integer(0)));
    }
    let there = fields_of(target, Set)?;
    if !members.contains_key(member) || from == to {
        return Some(plain(Reply::Integer(i64::from(members.contains_key(member)))));
    }
    let (key, field) = (from.to_vec(), member.to_vec());
    let mut moved = plain(Reply::Integer(1));
    if !there.contains_key(member) {
        moved.effects.extend(put(to, Set, (member, &Rc::from([]), None), 1).effects);
    }
    moved.effects.push(Effect::RemoveField { key, kind: Set, field });
    Some(moved)
}
