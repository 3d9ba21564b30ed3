//! Verbs about the server as a whole: TIME, WAIT, DEBUG, FUNCTION.

use super::{Call, Flow, Outcome};
use crate::{
    reply::{ErrorKind, Part},
    wire::number::{INTEGER_BYTES_MAX, write_u64},
};

/// `TIME`
pub fn time<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let now = call.clock;
    let micros = now.unix.0 % 1000 * 1000 + u64::from(now.unix_micros);
    call.out.array(2);
    for number in [now.unix.0 / 1000, micros] {
        let mut digits = [0; INTEGER_BYTES_MAX];
        call.out.bulk(write_u64(number, &mut digits));
    }
    Ok(Flow::Done)
}

/// `WAIT replicas ms`: there are no replicas, so nothing is waited for.
pub fn wait<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.integer(1)?;
    let timeout = call.integer(2).map_err(|_| ErrorKind::TimeoutNotAnInteger.plain())?;
    if timeout < 0 {
        return Err(ErrorKind::TimeoutNegative.plain());
    }
    call.done(0)
}

/// Seconds that DEBUG SLEEP sleeps, at most.
const SLEEP_S_MAX: f64 = 60.0;

/// `DEBUG SLEEP s`, where the configuration allows it: it holds all clients up, which is its purpose.
pub fn debug<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    if !call.engine.options.debug_commands {
        return Err(ErrorKind::DebugNotAllowed.plain());
    }
    let word = call.bytes(1)?;
    if call.args.len() != 3 || !call.is_word(1, "SLEEP") {
        return Err(ErrorKind::SubcommandSyntax.of_both(Part::Bytes(word), Part::Bytes(b"DEBUG")));
    }
    let seconds = call.bytes(2).ok().and_then(crate::wire::number::parse_f64).unwrap_or(0.0);
    let seconds = seconds.clamp(0.0, SLEEP_S_MAX);
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
    call.ok()
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`: there are no functions.
pub fn function_flush<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    if call.args.len() > 3 {
        let word = Part::Bytes(call.args.bytes(1).unwrap_or_default());
        return Err(ErrorKind::SubcommandSyntax.of_both(word, Part::Bytes(b"FUNCTION")));
    }
    let known =
        call.args.len() == 2 || call.args.len() == 3 && (call.is_word(2, "ASYNC") || call.is_word(2, "SYNC"));
    if !known {
        return Err(ErrorKind::FunctionFlushOption.plain());
    }
    call.ok()
}

/// `FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`
pub fn function_list<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let mut at = 2;
    while at < call.args.len() {
        if call.is_word(at, "WITHCODE") {
            at += 1;
        } else if call.is_word(at, "LIBRARYNAME") {
            if at + 1 == call.args.len() {
                return Err(ErrorKind::FunctionListNoName.plain());
            }
            at += 2;
        } else {
            return Err(ErrorKind::FunctionListArgument.of(call.bytes(at)?));
        }
    }
    call.out.array(0);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests;
