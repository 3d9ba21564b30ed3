//! SORT and SORT_RO, for the types that there are: a string is none that can be sorted, and a key that is not there is
//! an empty list.

use super::{Call, Flow, Outcome};
use crate::{
    command::VerbId,
    reply::{Error, ErrorKind},
};

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA] [STORE destination]`, and `SORT_RO`
/// without STORE
pub fn sort<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let key = call.bytes(1)?;
    let destination = parse(call)?;
    if call.engine.lookup(call.session.db, key, call.now).is_some() {
        return Err(ErrorKind::WrongType.plain());
    }
    match destination {
        Some(destination) => {
            call.delete(destination)?;
            call.done(0)
        }
        None => {
            call.out.array(0);
            Ok(Flow::Done)
        }
    }
}

/// Where the result is to be stored, if anywhere.
fn parse<'a>(call: &Call<'_, 'a, '_>) -> Result<Option<&'a [u8]>, Error<'a>> {
    let mut destination = None;
    let mut at = 2;
    while at < call.args.len() {
        let left = call.args.len() - at - 1;
        at += if ["ASC", "DESC", "ALPHA"].iter().any(|word| call.is_word(at, word)) {
            1
        } else if call.is_word(at, "LIMIT") && left >= 2 {
            call.integer(at + 1)?;
            call.integer(at + 2)?;
            3
        } else if call.is_word(at, "STORE") && left >= 1 && call.verb.id == VerbId::Sort {
            destination = Some(call.bytes(at + 1)?);
            2
        } else if (call.is_word(at, "BY") || call.is_word(at, "GET")) && left >= 1 {
            2
        } else {
            return Err(ErrorKind::Syntax.plain());
        };
    }
    Ok(destination)
}
