//! CLIENT, as far as it concerns one connection alone. (LIST, KILL, INFO, PAUSE and UNPAUSE are the server's.)

use super::{Call, Flow, Outcome, names::Name, session::ReplyMode};
use crate::reply::{Error, ErrorKind};

/// `CLIENT ID`
pub fn id<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let id = call.session.id;
    call.done(id as i64)
}

/// `CLIENT GETNAME`
pub fn getname<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    match call.engine.client_names.get(call.session.names, Name::Connection) {
        b"" => call.out.null(),
        name => call.out.bulk(name),
    }
    Ok(Flow::Done)
}

/// `CLIENT SETNAME name`
pub fn setname<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let name = call.bytes(2)?;
    call.engine.client_names.set(&mut call.session.names, Name::Connection, name)?;
    call.ok()
}

/// `CLIENT NO-EVICT ON | OFF`
pub fn no_evict<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.session.no_evict = switch(call)?;
    call.ok()
}

/// `CLIENT NO-TOUCH ON | OFF`
pub fn no_touch<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.session.no_touch = switch(call)?;
    call.ok()
}

/// `ON` or `OFF`
fn switch<'a>(call: &Call<'_, 'a, '_>) -> Result<bool, Error<'a>> {
    match call.args.bytes(2) {
        Some(word) if word.eq_ignore_ascii_case(b"on") => Ok(true),
        Some(word) if word.eq_ignore_ascii_case(b"off") => Ok(false),
        _ => Err(ErrorKind::Syntax.plain()),
    }
}

/// `CLIENT SETINFO lib-name | lib-ver value`
pub fn setinfo<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let option = call.bytes(2)?;
    let name = match option {
        word if word.eq_ignore_ascii_case(b"lib-name") => Name::Library,
        word if word.eq_ignore_ascii_case(b"lib-ver") => Name::LibraryVersion,
        _ => return Err(ErrorKind::ClientInfoOption.of(option)),
    };
    let value = call.bytes(3)?;
    call.engine.client_names.set(&mut call.session.names, name, value).map_err(|error| match error {
        ErrorKind::ClientNameTooLong => ErrorKind::ClientInfoTooLong.of(option),
        _ => ErrorKind::ClientInfoValue.of(option),
    })?;
    call.ok()
}

/// `CLIENT REPLY ON | OFF | SKIP`
pub fn reply<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    match call.bytes(2)? {
        word if word.eq_ignore_ascii_case(b"on") => {
            call.session.reply_mode = ReplyMode::On;
            call.out.mute(false);
            call.ok()
        }
        word if word.eq_ignore_ascii_case(b"off") => {
            call.session.reply_mode = ReplyMode::Off;
            call.out.mute(true);
            Ok(Flow::Done)
        }
        word if word.eq_ignore_ascii_case(b"skip") => {
            // Who hears nothing anyway goes on hearing nothing.
            if call.session.reply_mode != ReplyMode::Off {
                call.session.reply_mode = ReplyMode::SkipNext;
            }
            Ok(Flow::Done)
        }
        _ => Err(ErrorKind::Syntax.plain()),
    }
}
