//! Commands on many fields or members: the server runs them in slices, between which other clients' commands run.
//!
//! ```text
//!  HSET k a 1 b 2 c 3 d 4      | a b |  others' commands  | c |  others' commands  | d | and the answer
//!  entry by entry:               ▲ a change that its client asked for is this entry's ─▶ done
//!                                  nothing to be changed (HDEL of what is not there) ─▶ perhaps done, now or in the next slice
//! ```
//! The rule: a command that the server has begun and not answered has done its entries in order, up to one that is known by
//! its change (the store's list names the client of each). Entries with nothing to change leave no trace: where a slice ends among
//! them cannot be seen, so what they are answered may be what held in any slice that could have had them. Each change is
//! still expected just so, on the state that it met, and the answer counts every one of them.

use super::change::Change;
use super::commands::error;
use super::effect::Effect;
use super::field_commands::FieldCommand::{
    self, Hdel, Hgetdel, Hgetex, Hpersist, Hpexpire, Hpttl, Hset, Hsetex, Sadd, Spop, Srem,
};
use super::field_commands::{Condition, fields_of, live};
use super::model::Model;
use super::value::Field;
use super::violation::Violation;
use crate::client::Reply;
use crate::mutation::CollectionKind::{self, Hash, Set};
use std::rc::Rc;

/// What HPTTL and HPERSIST answer of a field that is not there, and of one without a time.
const NO_FIELD: Reply = Reply::Integer(-2);
const NO_TIME: Reply = Reply::Integer(-1);

/// How far a command has come that the server has begun and not answered.
#[derive(Debug)]
pub struct Begun {
    /// When its first slice ran, in Unix milliseconds: times that it gives count from then.
    unix: u64,
    /// Its first slice has ended.
    is_cut: bool,
    /// Entries that are done.
    done: usize,
    /// Entries that were done by now if they had nothing to change.
    perhaps_done: usize,
    /// What each entry may be answered.
    answers: Vec<Vec<Reply>>,
    /// SPOP: members that were taken.
    popped: Vec<Vec<u8>>,
}

/// What one entry comes to.
struct Step {
    effect: Option<Effect>,
    answer: Reply,
}

/// What is to be explained: a command, its client by the number in the store's list, the time.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub command: &'a FieldCommand,
    pub client: u64,
    pub unix: u64,
}

impl Begun {
    fn new(unix: u64) -> Begun {
        let (answers, popped) = (Vec::new(), Vec::new());
        Begun { unix, is_cut: false, done: 0, perhaps_done: 0, answers, popped }
    }

    /// An entry may be answered this.
    fn note(&mut self, at: usize, answer: Reply) {
        if self.answers.len() <= at {
            self.answers.resize(at + 1, Vec::new());
        }
        if !self.answers[at].contains(&answer) {
            self.answers[at].push(answer);
        }
    }

    /// An entry has made its change, and is answered this.
    fn settle(&mut self, at: usize, answer: Reply) {
        self.note(at, answer.clone());
        self.answers[at] = vec![answer];
        (self.done, self.perhaps_done) = (at + 1, self.perhaps_done.max(at + 1));
    }
}

impl FieldCommand {
    /// Whether it runs in slices, and is explained here.
    pub fn is_sliced(&self) -> bool {
        self.entry_count() > 0 || matches!(self, Spop { .. })
    }

    fn entry_count(&self) -> usize {
        match self {
            Hset { pairs, .. } | Hsetex { pairs, .. } => pairs.len(),
            Hdel { fields, .. } | Hpexpire { fields, .. } | Hpersist { fields, .. } => fields.len(),
            Hpttl { fields, .. } | Hgetex { fields, .. } | Hgetdel { fields, .. } => fields.len(),
            Sadd { members, .. } | Srem { members, .. } => members.len(),
            _ => 0,
        }
    }

    fn kind(&self) -> CollectionKind {
        if matches!(self, Sadd { .. } | Srem { .. } | Spop { .. }) { Set } else { Hash }
    }

    /// Whether each entry is answered by itself, so that one cannot fail the others.
    fn answers_each(&self) -> bool {
        matches!(self, Hpexpire { .. } | Hpersist { .. } | Hpttl { .. } | Hgetex { .. } | Hgetdel { .. })
    }

    /// The field or member of an entry.
    fn name(&self, at: usize) -> &Vec<u8> {
        match self {
            Hset { pairs, .. } | Hsetex { pairs, .. } => &pairs[at].0,
            Hdel { fields, .. } | Hpexpire { fields, .. } | Hpersist { fields, .. } => &fields[at],
            Hpttl { fields, .. } | Hgetex { fields, .. } | Hgetdel { fields, .. } => &fields[at],
            Sadd { members, .. } | Srem { members, .. } => &members[at],
            _ => unreachable!("it has no entries"),
        }
    }

    /// What one entry comes to if it is done now. `None`: the key has a value of another type.
    fn step(&self, at: usize, model: &Model, (begun, unix): (u64, u64)) -> Option<Step> {
        let (kind, key, field) = (self.kind(), self.key().to_vec(), self.name(at).clone());
        let fields = fields_of(model.live(&key, unix).map(|record| &record.value), kind)?;
        let had = live(&fields, &field, unix);
        let count = |number: bool| Reply::Integer(i64::from(number));
        let value = |had: Option<&Field>| had.map_or(Reply::Null, |had| Reply::Bulk(had.value.to_vec()));
        let remove = || Effect::RemoveField { key: key.clone(), kind, field: field.clone() };
        let until = |ttl: u64| match begun + ttl {
            at if at <= unix => remove(),
            at => Effect::SetFieldExpiry { key: key.clone(), field: field.clone(), expiry: Some(at) },
        };
        let put = |value: &Rc<[u8]>, expiry| {
            let (key, field, value) = (key.clone(), field.clone(), Rc::clone(value));
            Effect::PutField { key, kind, field, value, expiry }
        };
        let (effect, answer) = match self {
            Hset { pairs, .. } => (Some(put(&pairs[at].1, None)), count(had.is_none())),
            Hsetex { ttl_ms, pairs, .. } => {
                let effect = match ttl_ms {
                    None => Some(put(&pairs[at].1, had.and_then(|had| had.expiry))),
                    Some(ttl) if begun + ttl <= unix => had.map(|_| remove()),
                    Some(ttl) => Some(put(&pairs[at].1, Some(begun + ttl))),
                };
                (effect, Reply::Integer(1))
            }
            Sadd { .. } => match had {
                None => (Some(put(&Rc::from([]), None)), count(true)),
                Some(_) => (None, count(false)),
            },
            Hdel { .. } | Srem { .. } => (had.map(|_| remove()), count(had.is_some())),
            Hgetdel { .. } => (had.map(|_| remove()), value(had)),
            Hgetex { ttl_ms, .. } => (had.map(|_| until(*ttl_ms)), value(had)),
            Hpttl { .. } => match had {
                None => (None, NO_FIELD),
                Some(had) => (None, had.expiry.map_or(NO_TIME, |at| Reply::Integer((at - unix) as i64))),
            },
            Hpersist { .. } => match had {
                None => (None, NO_FIELD),
                Some(Field { expiry: None, .. }) => (None, NO_TIME),
                Some(_) => (Some(Effect::SetFieldExpiry { key, field, expiry: None }), Reply::Integer(1)),
            },
            Hpexpire { ttl_ms, condition, .. } => match had {
                None => (None, NO_FIELD),
                Some(had) => {
                    let met = match condition {
                        Condition::Always => true,
                        Condition::Nx => had.expiry.is_none(),
                        Condition::Gt => had.expiry.is_some_and(|had| begun + ttl_ms > had),
                    };
                    let done = if begun + ttl_ms <= unix { 2 } else { 1 };
                    (met.then(|| until(*ttl_ms)), Reply::Integer(if met { done } else { 0 }))
                }
            },
            _ => unreachable!("it has no entries"),
        };
        Some(Step { effect, answer })
    }

    /// What an entry is answered of which the change is refused for want of memory.
    fn refused(&self, answer: Reply) -> Reply {
        match self {
            Hpexpire { .. } => Reply::Integer(0),
            Hpersist { .. } => NO_TIME,
            // One that would be answered and stay could be answered again.
            Hgetdel { .. } => Reply::Null,
            _ => answer,
        }
    }

    /// The answer to the whole of it, as far as it is sure.
    fn whole(&self, begun: &Begun) -> Reply {
        let first = |answers: &Vec<Reply>| answers.first().cloned().unwrap_or(Reply::Null);
        let number = |answers| if let Reply::Integer(number) = first(answers) { number } else { 0 };
        match self {
            Hsetex { .. } => Reply::Integer(1),
            command if command.answers_each() => Reply::Array(begun.answers.iter().map(first).collect()),
            _ => Reply::Integer(begun.answers.iter().map(number).sum()),
        }
    }
}

impl Asked<'_> {
    /// Whether a change is one that an entry makes if it makes any.
    fn could_make(&self, at: usize, change: &Change) -> bool {
        let name = self.command.name(at);
        let is_its = |key: &Vec<u8>, field: &Vec<u8>| key == self.command.key() && field == name;
        match (self.command, change) {
            (Hset { pairs, .. } | Hsetex { pairs, .. }, Change::PutField { key, field, value, .. }) => {
                is_its(key, field) && value[..] == pairs[at].1[..]
            }
            (Sadd { .. }, Change::PutField { key, field, .. })
            | (
                Hdel { .. } | Srem { .. } | Hgetdel { .. } | Hsetex { .. } | Hpexpire { .. } | Hgetex { .. },
                Change::RemoveField { key, field, .. },
            )
            | (
                Hpexpire { .. } | Hgetex { .. } | Hpersist { .. },
                Change::SetFieldExpiry { key, field, .. },
            ) => is_its(key, field),
            _ => false,
        }
    }

    /// Whether the change that this client asked for, and that comes next, is an entry's; if so, it is taken up.
    fn take_change(&self, at: usize, begun: &mut Begun, model: &mut Model) -> Result<bool, Violation> {
        if !model.next_of(self.client).is_some_and(|change| self.could_make(at, change)) {
            return Ok(false);
        }
        // What is removed before it, the key itself perhaps, was gone when it was made.
        model.take_removals(self.unix)?;
        match self.command.step(at, model, (begun.unix, self.unix)) {
            Some(Step { effect: Some(effect), answer }) => {
                model.expect(&effect, self.unix)?;
                begun.settle(at, answer);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Accounts for a slice of a command that goes on later.
    pub fn take_slice(&self, begun: &mut Option<Begun>, model: &mut Model) -> Result<(), Violation> {
        let begun = begun.get_or_insert_with(|| Begun::new(self.unix));
        if matches!(self.command, Spop { .. }) {
            self.take_popped(begun, model)?;
        }
        let mut at = begun.done;
        while at < self.command.entry_count() {
            if self.take_change(at, begun, model)? {
                at += 1;
                continue;
            }
            let step = match self.command.step(at, model, (begun.unix, self.unix)) {
                None if self.command.answers_each() => Step { effect: None, answer: NO_FIELD },
                None => break,
                Some(step) => step,
            };
            match step.effect {
                None => begun.note(at, step.answer),
                Some(_) if at < begun.perhaps_done => {}
                Some(_) if self.command.answers_each() => {
                    // It may have been refused: then others behind it have been done.
                    begun.note(at, self.command.refused(step.answer));
                    if model.next_of(self.client).is_none() {
                        break;
                    }
                }
                Some(_) => break,
            }
            at += 1;
        }
        begun.perhaps_done = begun.perhaps_done.max(at);
        begun.is_cut = true;
        Ok(())
    }

    /// Accounts for the answer, and all that is not accounted for yet. An answer that is wrong: the right one.
    pub fn explain(
        &self,
        reply: &Reply,
        begun: Option<Begun>,
        model: &mut Model,
    ) -> Result<Result<(), Reply>, Violation> {
        let mut begun = begun.unwrap_or_else(|| Begun::new(self.unix));
        if matches!(self.command, Spop { .. }) {
            return self.explain_pop(reply, &begun, model);
        }
        let is_error = |is: &str| matches!(reply, Reply::Error { code, .. } if code == is);
        let too_large =
            matches!(reply, Reply::Error { text, .. } if text.contains("is larger than the limit"));
        let is_refused = is_error("OOM") || too_large;
        let given = |at: usize| match reply {
            Reply::Array(answers) => answers.get(at).cloned(),
            _ => None,
        };
        let mut at = begun.done;
        while at < self.command.entry_count() {
            if self.take_change(at, &mut begun, model)? {
                at += 1;
                continue;
            }
            let step = match self.command.step(at, model, (begun.unix, self.unix)) {
                Some(step) => step,
                None if self.command.answers_each() && begun.is_cut => {
                    Step { effect: None, answer: NO_FIELD }
                }
                None if is_error("WRONGTYPE") || is_refused => return Ok(Ok(())),
                None if at < begun.perhaps_done => {
                    at += 1;
                    continue;
                }
                None if model.take_removal(self.unix)? => continue,
                None => return Ok(Err(error("WRONGTYPE"))),
            };
            match step.effect {
                None => {
                    begun.note(at, step.answer);
                    let fits = |answer| begun.answers[at].contains(&answer);
                    if self.command.answers_each()
                        && !given(at).is_some_and(fits)
                        && model.take_removal(self.unix)?
                    {
                        continue;
                    }
                }
                Some(_) if at < begun.perhaps_done => {}
                // A command on many fields keeps what it did before the memory was used up.
                Some(_) if is_refused => return Ok(Ok(())),
                Some(_) if given(at) == Some(self.command.refused(step.answer)) => {
                    begun.note(at, given(at).unwrap_or(Reply::Null));
                }
                Some(_) if model.take_removal(self.unix)? => continue,
                // There is no such change: the model says what is missing.
                Some(effect) => return model.expect(&effect, self.unix).map(|_| Ok(())),
            }
            at += 1;
        }
        let fits = match reply {
            Reply::Array(given) if self.command.answers_each() => {
                given.len() == begun.answers.len()
                    && given.iter().zip(&begun.answers).all(|(given, answers)| answers.contains(given))
            }
            _ => !self.command.answers_each() && *reply == self.command.whole(&begun),
        };
        // A field whose time has come may have had to be copied to be removed.
        Ok(if fits || is_refused { Ok(()) } else { Err(self.command.whole(&begun)) })
    }

    /// Members that SPOP has taken in a slice: its client has asked for nothing else since.
    fn take_popped(&self, begun: &mut Begun, model: &mut Model) -> Result<(), Violation> {
        let key = self.command.key().to_vec();
        loop {
            match model.next_of(self.client).cloned() {
                Some(Change::RemoveField { field, .. }) => {
                    begun.popped.push(field.clone());
                    model.expect(&Effect::RemoveField { key: key.clone(), kind: Set, field }, self.unix)?;
                }
                Some(Change::Delete { .. }) => {
                    model.take_removals(self.unix)?;
                    begun.popped.extend(self.members(model));
                    model.expect(&Effect::Delete { key: key.clone() }, self.unix)?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn members(&self, model: &Model) -> Vec<Vec<u8>> {
        let record = model.live(self.command.key(), self.unix);
        let members = fields_of(record.map(|record| &record.value), Set).unwrap_or_default();
        members.keys().map(|member| member.to_vec()).collect()
    }

    /// SPOP answers the members that it takes, in the order in which they are removed; where others have left fewer than it
    /// promised, or where one cannot be removed for want of memory, null.
    fn explain_pop(
        &self,
        reply: &Reply,
        begun: &Begun,
        model: &mut Model,
    ) -> Result<Result<(), Reply>, Violation> {
        let Spop { key, count } = self.command else { unreachable!("it is SPOP") };
        let items = match reply {
            Reply::Array(items) | Reply::Set(items) if count.is_some() => &items[..],
            Reply::Bulk(_) | Reply::Null if count.is_none() => std::slice::from_ref(reply),
            _ => &[],
        };
        let bulk = |item: &Reply| if let Reply::Bulk(bytes) = item { Some(bytes.clone()) } else { None };
        let given: Vec<Vec<u8>> = items.iter().filter_map(bulk).collect();
        let most = count.unwrap_or(1);
        if let Reply::Error { code, .. } = reply {
            if code == "OOM" {
                return Ok(Ok(()));
            }
            let mut more = code == "WRONGTYPE";
            while more {
                let record = model.live(key, self.unix);
                if fields_of(record.map(|record| &record.value), Set).is_none() {
                    return Ok(Ok(()));
                }
                more = model.take_removal(self.unix)?;
            }
            return Ok(Err(Reply::Array(Vec::new())));
        }
        if begun.is_cut && begun.popped.len() >= given.len() {
            let (mut popped, mut given) = (begun.popped.clone(), given);
            popped.sort();
            given.sort();
            let bulks = popped.iter().map(|member| Reply::Bulk(member.clone())).collect();
            return Ok(if popped == given { Ok(()) } else { Err(Reply::Array(bulks)) });
        }
        if given.is_empty() {
            // One that was cut may have come to nothing: others took what it had promised.
            while !self.members(model).is_empty() && most > 0 && !begun.is_cut {
                if !model.take_removal(self.unix)? {
                    return Ok(Err(Reply::Array(self.members(model).into_iter().map(Reply::Bulk).collect())));
                }
            }
            return Ok(Ok(()));
        }
        if model.next_of(self.client).is_some() {
            model.take_removals(self.unix)?;
        }
        let members = self.members(model);
        let deletes = matches!(model.next_of(self.client), Some(Change::Delete { .. }));
        if !begun.is_cut && items.len() != most.min(members.len()) || items.len() > most {
            return Ok(Err(Reply::Integer(most.min(members.len()) as i64)));
        }
        if deletes && !begun.is_cut {
            let mut given = given;
            given.sort();
            let all = members.iter().map(|member| Reply::Bulk(member.clone())).collect();
            model.expect(&Effect::Delete { key: key.clone() }, self.unix)?;
            return Ok(if members == given { Ok(()) } else { Err(Reply::Array(all)) });
        }
        if given[..begun.popped.len()] != begun.popped {
            return Ok(Err(Reply::Array(begun.popped.iter().cloned().map(Reply::Bulk).collect())));
        }
        for field in given.into_iter().skip(begun.popped.len()) {
            model.expect(&Effect::RemoveField { key: key.clone(), kind: Set, field }, self.unix)?;
        }
        Ok(Ok(()))
    }
}
