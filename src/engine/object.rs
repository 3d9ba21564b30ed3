//! OBJECT: what Redis would keep of a value. Pannier keeps bytes; the encodings are those that Redis would choose when it is SET.

use super::{Call, Flow, Outcome};
use crate::{command::VerbId, reply::ErrorKind, store::Value, wire::number::parse_i64};

/// The longest value that Redis embeds in its object.
const EMBEDDED_BYTES_MAX: usize = 44;
/// What Redis answers as the reference count of the small integers, which it shares.
const SHARED_REFERENCES: i64 = i32::MAX as i64;
/// The integers from 0 up that Redis shares.
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10_000;

/// Runs the subcommand. There is no clock of accesses and no frequency in Redis's sense: FREQ and IDLETIME answer the
/// errors of a server whose policy does not keep them, rather than a number that means nothing.
pub fn run<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(2)?;
    let Some(entry) = call.engine.store.peek(call.session.db, key, call.now) else {
        return call.null();
    };
    let (number, encoding) = match entry.value {
        Value::Large { .. } => (None, "raw"),
        Value::Inline(bytes) => match parse_i64(bytes) {
            Some(number) => (Some(number), "int"),
            None if bytes.len() <= EMBEDDED_BYTES_MAX => (None, "embstr"),
            None => (None, "raw"),
        },
    };
    match call.verb.id {
        VerbId::ObjectEncoding => call.out.bulk(encoding.as_bytes()),
        VerbId::ObjectRefcount => {
            let shared = number.is_some_and(|number| SHARED_INTEGERS.contains(&number));
            call.out.integer(if shared { SHARED_REFERENCES } else { 1 });
        }
        VerbId::ObjectFreq => return Err(ErrorKind::ObjectNoFrequency.plain()),
        _ => return Err(ErrorKind::ObjectNoIdleTime.plain()),
    }
    Ok(Flow::Done)
}
