//! The string functions that Rust replaces because Lua's own take time that no instruction count bounds: `find`,
//! `match`, `gmatch`, `gsub` ([`pattern`](super::pattern)) and `rep`.

use super::format::lua_number;
use super::library::{Arguments, Library, number_of, one, one_string, type_name};
use super::limits::{Buffer, Limits, Raised};
use super::pattern::{Capture, Failure, Matcher, is_literal};
use mlua::{Function, Lua, LuaString, MultiValue, Result, Table, Value};
use std::rc::Rc;

/// The functions, to be put into Lua's own table of strings.
pub(super) fn library(lua: &Lua, limits: &Rc<Limits>) -> Result<Table> {
    let library = Library::new(lua, limits)?;
    library.function("find", |args, limits| find(args, limits, true))?;
    library.function("match", |args, limits| find(args, limits, false))?;
    library.function("gsub", gsub)?;
    library.function("rep", rep)?;
    library.function("gmatch_step", gmatch_step)?;
    Ok(library.table)
}

/// What went wrong, as an error of the script.
fn failed(args: &Arguments<'_>, failure: Failure) -> mlua::Error {
    match failure {
        Failure::Pattern(text) => args.error(text),
        Failure::Raised(raised) => raised.into(),
    }
}

fn capture_value(lua: &Lua, capture: Capture<'_>) -> Result<Value> {
    match capture {
        Capture::Bytes(bytes) => lua.create_string(bytes).map(Value::String),
        Capture::Position(position) => Ok(Value::Integer(position as i64)),
    }
}

/// The captures of a match; the whole match where there are none and `or_whole`.
fn captures(
    args: &Arguments<'_>,
    matcher: &Matcher<'_>,
    (start, end): (usize, usize),
    or_whole: bool,
) -> Result<MultiValue> {
    let count = match matcher.capture_count() {
        0 => usize::from(or_whole),
        count => count,
    };
    let mut values = MultiValue::with_capacity(count);
    for i in 0..count {
        let capture = matcher.capture(i, start, end).map_err(|failure| failed(args, failure))?;
        values.push_back(capture_value(args.lua, capture)?);
    }
    Ok(values)
}

/// The place of the optional argument `i`, a position from 1 or, if negative, from the end.
fn start(args: &Arguments<'_>, i: usize, len: usize) -> Result<usize> {
    let init = args.integer_or(i, 1)?;
    let at = if init > 0 { init.unsigned_abs() as usize - 1 } else { 0 };
    Ok(if init < 0 { len.saturating_sub(init.unsigned_abs() as usize) } else { at.min(len) })
}

fn find(args: &Arguments<'_>, limits: &Limits, positions: bool) -> Result<MultiValue> {
    let (subject, pattern) = (args.string(0)?, args.string(1)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let from = start(args, 2, subject.len())?;
    let wants_plain = !matches!(args.get(3), None | Some(Value::Nil | Value::Boolean(false)));
    limits.look_for(subject.len())?;
    if positions && (wants_plain || is_literal(&pattern)) {
        let found = memchr::memmem::find(&subject[from..], &pattern);
        return match found {
            Some(at) => {
                let first = (from + at + 1) as i64;
                let last = first + pattern.len() as i64 - 1;
                Ok(MultiValue::from_iter([Value::Integer(first), Value::Integer(last)]))
            }
            None => one(Value::Nil),
        };
    }
    let mut matcher = Matcher::new(&subject, &pattern, limits);
    let found = matcher.find(from).map_err(|failure| failed(args, failure))?;
    let Some((start, end)) = found else { return one(Value::Nil) };
    if !positions {
        return captures(args, &matcher, (start, end), true);
    }
    let mut values = captures(args, &matcher, (start, end), false)?;
    values.push_front(Value::Integer(end as i64));
    values.push_front(Value::Integer(start as i64 + 1));
    Ok(values)
}

/// `gmatch_step(subject, pattern, from)`: where the next step begins, then the captures; nothing at the end.
fn gmatch_step(args: &Arguments<'_>, limits: &Limits) -> Result<MultiValue> {
    let (subject, pattern) = (args.string(0)?, args.string(1)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let from = args.integer_or(2, 0)? as usize;
    let mut matcher = Matcher::unanchored(&subject, &pattern, limits);
    let found = matcher.find(from).map_err(|failure| failed(args, failure))?;
    let Some((start, end)) = found else { return Ok(MultiValue::new()) };
    let mut values = captures(args, &matcher, (start, end), true)?;
    // An empty match is not found twice.
    values.push_front(Value::Integer((end + usize::from(end == start)) as i64));
    Ok(values)
}

/// `rep(text, count)`
fn rep(args: &Arguments<'_>, limits: &Limits) -> Result<MultiValue> {
    let text = args.string(0)?;
    let text = text.as_bytes();
    let count = usize::try_from(args.integer(1)?).unwrap_or(0);
    let mut result = limits.buffer();
    if !text.is_empty() && count > 0 {
        let len = text.len().checked_mul(count).ok_or(Raised::Memory)?;
        result.pad(len)?;
        result.clear();
        for _ in 0..count {
            result.extend(&text)?;
        }
    }
    one_string(args.lua, &result)
}

/// What `gsub` puts in the place of a match.
enum Replacement {
    Text(LuaString),
    Table(Table),
    Function(Function),
}

/// `gsub(subject, pattern, replacement [, count])`
fn gsub(args: &Arguments<'_>, limits: &Limits) -> Result<MultiValue> {
    let (subject, pattern) = (args.string(0)?, args.string(1)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let replacement = match args.get(2) {
        Some(Value::Table(table)) => Replacement::Table(table.clone()),
        Some(Value::Function(function)) => Replacement::Function(function.clone()),
        Some(Value::String(_) | Value::Integer(_) | Value::Number(_)) => Replacement::Text(args.string(2)?),
        _ => return Err(args.argument_error(2, "string/function/table expected")),
    };
    let most = args.integer_or(3, i64::MAX)?;
    let _nested = limits.nest().ok_or_else(|| args.error("C stack overflow"))?;
    let mut matcher = Matcher::new(&subject, &pattern, limits);
    let (mut at, mut count, mut result) = (0, 0, limits.buffer());
    while count < most {
        let end = matcher.match_at(at).map_err(|failure| failed(args, failure))?;
        if let Some(end) = end {
            count += 1;
            replace(args, (&matcher, &subject[at..end], (at, end)), &replacement, &mut result)?;
        }
        match end {
            Some(end) if end > at => at = end,
            _ if at < subject.len() => {
                result.push(subject[at])?;
                at += 1;
            }
            _ => break,
        }
        if matcher.is_anchored() {
            break;
        }
    }
    result.extend(&subject[at..])?;
    let text = args.lua.create_string(&result[..])?;
    Ok(MultiValue::from_iter([Value::String(text), Value::Integer(count)]))
}

/// Adds what stands for one match.
fn replace(
    args: &Arguments<'_>,
    (matcher, matched, span): (&Matcher<'_>, &[u8], (usize, usize)),
    replacement: &Replacement,
    result: &mut Buffer<'_>,
) -> Result<()> {
    let value = match replacement {
        Replacement::Text(text) => return expand(args, (matcher, matched, span), &text.as_bytes(), result),
        Replacement::Table(table) => {
            let first = captures(args, matcher, span, true)?.pop_front();
            table.get::<Value>(first.unwrap_or(Value::Nil))?
        }
        Replacement::Function(function) => {
            let values = captures(args, matcher, span, true)?;
            function.call::<Value>(values)?
        }
    };
    match value {
        Value::Nil | Value::Boolean(false) => Ok(result.extend(matched)?),
        Value::String(text) => Ok(result.extend(&text.as_bytes())?),
        value => match number_of(&value) {
            Some(number) => Ok(result.extend(lua_number(number).as_bytes())?),
            None => Err(args.error(&format!("invalid replacement value (a {})", type_name(&value)))),
        },
    }
}

/// Adds a replacement text, `%1` and the like replaced by captures.
fn expand(
    args: &Arguments<'_>,
    (matcher, matched, (start, end)): (&Matcher<'_>, &[u8], (usize, usize)),
    text: &[u8],
    result: &mut Buffer<'_>,
) -> Result<()> {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'%', Some(b'0')) => result.extend(matched)?,
            (b'%', Some(digit @ b'1'..=b'9')) => {
                let i = usize::from(digit - b'1');
                match matcher.capture(i, start, end).map_err(|failure| failed(args, failure))? {
                    Capture::Bytes(bytes) => result.extend(bytes)?,
                    Capture::Position(position) => result.extend(position.to_string().as_bytes())?,
                }
            }
            (b'%', other) => result.push(other.copied().unwrap_or(0))?,
            _ => {
                result.push(*byte)?;
                continue;
            }
        }
        bytes.next();
    }
    Ok(())
}
