//! OBJECT: what Redis would keep of a value. Pannier keeps bytes; the encodings are those that Redis would choose when it is SET.

use super::{Call, Flow, Outcome};
use crate::{
    mutation::CollectionKind,
    reply::{Error, ErrorKind},
    store::Value,
    wire::number::parse_i64,
};

/// The longest value that Redis embeds in its object.
const EMBEDDED_BYTES_MAX: usize = 44;
/// What Redis answers as the reference count of the small integers, which it shares.
const SHARED_REFERENCES: i64 = i32::MAX as i64;
/// The integers from 0 up that Redis shares.
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10_000;

/// What Redis would know of a key's value: the integer that it is, if it is one, and its encoding. `None`: no such key.
fn describe<'a>(call: &Call<'_, 'a, '_>) -> Result<Option<(Option<i64>, &'static str)>, Error<'a>> {
    let key = call.bytes(2)?;
    let entry = call.engine.store.peek(call.session.db, key, call.now);
    Ok(entry.map(|entry| match entry.value {
        Value::Collection(collection) => match (collection.is_table(), collection.kind()) {
            (true, _) => (None, "hashtable"),
            (false, CollectionKind::Hash) if collection.has_times() => (None, "listpackex"),
            (false, CollectionKind::Hash) => (None, "listpack"),
            (false, CollectionKind::Set) => (None, "intset"),
        },
        Value::Large { .. } => (None, "raw"),
        Value::Inline(bytes) => match parse_i64(bytes) {
            Some(number) => (Some(number), "int"),
            None if bytes.len() <= EMBEDDED_BYTES_MAX => (None, "embstr"),
            None => (None, "raw"),
        },
    }))
}

/// `OBJECT ENCODING key`
pub fn encoding<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let Some((_, encoding)) = describe(call)? else { return call.null() };
    call.out.bulk(encoding.as_bytes());
    Ok(Flow::Done)
}

/// `OBJECT REFCOUNT key`
pub fn refcount<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let Some((number, _)) = describe(call)? else { return call.null() };
    let shared = number.is_some_and(|number| SHARED_INTEGERS.contains(&number));
    call.done(if shared { SHARED_REFERENCES } else { 1 })
}

/// `OBJECT FREQ key`: there is no frequency in Redis's sense, so the answer is the error of a server whose policy
/// keeps none, rather than a number that means nothing.
pub fn freq<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    match describe(call)? {
        None => call.null(),
        Some(_) => Err(ErrorKind::ObjectNoFrequency.plain()),
    }
}

/// `OBJECT IDLETIME key`: there is no clock of accesses either.
pub fn idletime<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    match describe(call)? {
        None => call.null(),
        Some(_) => Err(ErrorKind::ObjectNoIdleTime.plain()),
    }
}
