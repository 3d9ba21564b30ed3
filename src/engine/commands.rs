//! COMMAND: the table of verbs, as clients ask for it.

use super::{Call, Continuation, Flow, Outcome};
use crate::{
    command::{self, CATEGORIES, Flags, VERBS, Verb},
    reply::{Error, ErrorKind, Part},
    wire::{arguments::Args, encode::Out, glob},
};

/// Bytes of the output below which no further entry is begun.
const ENTRY_BYTES: usize = 4 * 1024;
/// What writing one entry costs, in units of the meter.
const NAME_UNITS: u32 = 16;

/// `COMMAND`
pub fn all<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.out.array(command::verbs().count());
    command::verbs().for_each(|verb| write_info(call.out, verb));
    Ok(Flow::Done)
}

/// `COMMAND COUNT`
pub fn count<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.done(command::verbs().count() as i64)
}

/// `COMMAND INFO [name …]`
pub fn info<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    if call.args.len() == 2 {
        return all(call);
    }
    if continuation.is_none() {
        call.out.array(call.args.len() - 2);
    }
    each_named(call, continuation, |out, verb| match verb {
        Some(verb) => write_info(out, verb),
        None => out.null(),
    })
}

/// Writes something for each name, in slices: each ends when the output is full or the meter spent.
fn each_named<'a>(
    call: &mut Call<'_, 'a, '_>,
    continuation: Option<Continuation>,
    write: impl Fn(&mut Out<'_>, Option<&'static Verb>),
) -> Outcome<'a> {
    let first = if let Some(Continuation::Answered { next }) = continuation { next as usize } else { 2 };
    for at in first..call.args.end() {
        let is_full = call.out.room() < ENTRY_BYTES && !call.out.is_empty();
        if at > first && (is_full || call.engine.meter.is_spent()) {
            return Ok(Flow::Yield(Continuation::Answered { next: at as u32 }));
        }
        call.engine.meter.charge(NAME_UNITS);
        write(call.out, call.args.bytes(at).and_then(command::find_full));
    }
    if call.args.end() < call.args.len() {
        return Ok(Flow::Yield(Continuation::Answered { next: call.args.end() as u32 }));
    }
    Ok(Flow::Done)
}

/// `COMMAND DOCS [name …]`; names that are none are passed over.
pub fn docs<'a>(call: &mut Call<'_, 'a, '_>, continuation: Option<Continuation>) -> Outcome<'a> {
    if call.args.len() == 2 {
        call.out.map(command::verbs().count());
        command::verbs().for_each(|verb| write_docs(call.out, verb));
        return Ok(Flow::Done);
    }
    let mut continuation = continuation;
    if !matches!(continuation, Some(Continuation::Answered { .. })) {
        // First their number, for the answer begins with it.
        let (first, mut count) = match continuation {
            Some(Continuation::Count { next, count }) => (next as usize, count),
            _ => (2, 0),
        };
        for at in first..call.args.end() {
            if at > first && call.engine.meter.is_spent() {
                return Ok(Flow::Yield(Continuation::Count { next: at as u32, count }));
            }
            call.engine.meter.charge(1);
            count += u32::from(call.args.bytes(at).and_then(command::find_full).is_some());
        }
        if call.args.end() < call.args.len() {
            return Ok(Flow::Yield(Continuation::Count { next: call.args.end() as u32, count }));
        }
        call.out.map(count as usize);
        if first > 2 {
            // The table may hold the last of the names only.
            return Ok(Flow::Yield(Continuation::Answered { next: 2 }));
        }
        continuation = None;
    }
    each_named(call, continuation, |out, verb| {
        if let Some(verb) = verb {
            write_docs(out, verb);
        }
    })
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
pub fn list<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    if call.args.len() == 2 {
        call.out.array(VERBS.len());
        VERBS.iter().for_each(|verb| call.out.bulk(verb.name.as_bytes()));
        return Ok(Flow::Done);
    }
    if call.args.len() != 5 || !call.is_word(2, "FILTERBY") {
        return Err(ErrorKind::Syntax.plain());
    }
    let wanted = call.bytes(4)?;
    if wanted.len() > glob::NAME_PATTERN_BYTES_MAX {
        let (len, limit) = (wanted.len() as u64, glob::NAME_PATTERN_BYTES_MAX as u64);
        return Err(ErrorKind::PatternTooLong.of_both(Part::Number(len), Part::Number(limit)));
    }
    let (by_category, by_pattern) = (call.is_word(3, "ACLCAT"), call.is_word(3, "PATTERN"));
    if !by_category && !by_pattern && !call.is_word(3, "MODULE") {
        return Err(ErrorKind::Syntax.plain());
    }
    let category = CATEGORIES.into_iter().find(|name| name.as_bytes().eq_ignore_ascii_case(wanted));
    let chosen = VERBS.iter().filter(|verb| {
        by_category && category.is_some_and(|category| verb.in_category(category))
            || by_pattern && glob::matches(wanted, verb.name.as_bytes(), true)
    });
    call.out.array(chosen.clone().count());
    chosen.for_each(|verb| call.out.bulk(verb.name.as_bytes()));
    Ok(Flow::Done)
}

/// `COMMAND GETKEYS verb argument …`
pub fn getkeys<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (verb, args) = inner_command(call)?;
    let keys = verb.key_positions(&args);
    call.out.array(keys.clone().count());
    keys.for_each(|at| call.out.bulk(args.bytes(at).unwrap_or_default()));
    Ok(Flow::Done)
}

/// `COMMAND GETKEYSANDFLAGS verb argument …`
pub fn getkeysandflags<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let (verb, args) = inner_command(call)?;
    let keys = verb.key_positions(&args);
    call.out.array(keys.clone().count());
    for at in keys {
        call.out.array(2);
        call.out.bulk(args.bytes(at).unwrap_or_default());
        let flags = command::access(verb, &args, at);
        call.out.set(flags.len());
        flags.iter().for_each(|flag| call.out.simple(flag));
    }
    Ok(Flow::Done)
}

/// The command whose keys are asked for, which is one that has keys.
fn inner_command<'a>(call: &Call<'_, 'a, '_>) -> Result<(&'static Verb, Args<'a>), Error<'a>> {
    let args = call.args.from(2);
    let verb = command::resolve(&args).ok_or(ErrorKind::GetkeysInvalid.plain())?;
    if !verb.has_keys() {
        return Err(ErrorKind::GetkeysNone.plain());
    }
    if !verb.admits(args.len()) {
        return Err(ErrorKind::GetkeysArity.plain());
    }
    Ok((verb, args))
}

/// One entry of COMMAND: ten fields.
fn write_info(out: &mut Out<'_>, verb: &Verb) {
    out.array(10);
    out.bulk(verb.name.as_bytes());
    out.integer(i64::from(verb.arity));
    let flags = Flags::SHOWN.iter().filter(|(flag, _)| verb.flags.has(*flag));
    out.set(flags.clone().count());
    flags.for_each(|(_, name)| out.simple(name));
    out.integer(i64::from(verb.keys.first));
    out.integer(i64::from(verb.keys.last));
    out.integer(i64::from(verb.keys.step));
    let categories = CATEGORIES.iter().filter(|category| verb.in_category(category));
    out.set(categories.clone().count());
    categories.for_each(|category| {
        out.raw(b"+@");
        out.raw(category.as_bytes());
        out.raw(b"\r\n");
    });
    // Tips, and the newer form of where the keys are, which says no more than first, last and step do.
    out.set(0);
    out.set(0);
    match verb.subcommands() {
        [] => out.set(0),
        subcommands => {
            out.array(subcommands.len());
            subcommands.iter().for_each(|verb| write_info(out, verb));
        }
    }
}

/// One pair of COMMAND DOCS: the name, and a map about it.
fn write_docs(out: &mut Out<'_>, verb: &Verb) {
    let subcommands = verb.subcommands();
    out.bulk(verb.name.as_bytes());
    out.map(3 + usize::from(!verb.complexity.is_empty()) + usize::from(!subcommands.is_empty()));
    let rows = [
        ("summary", verb.summary),
        ("since", verb.since),
        ("group", verb.group),
        ("complexity", verb.complexity),
    ];
    for (name, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
    if !subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(subcommands.len());
        subcommands.iter().for_each(|verb| write_docs(out, verb));
    }
}
