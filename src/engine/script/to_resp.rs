//! What a script returns, as a reply, by Redis's conversions: a string is a bulk string, a number is cut to an integer,
//! `true` is 1, `false` and `nil` are null, a table is an array up to its first nil, or what its field `err`, `ok`,
//! `double`, `map`, `set`, `big_number` or `verbatim_string` says.

use super::library::number_of;
use crate::wire::encode::{Out, Protocol};
use mlua::{Result, Table, Value};

/// Tables that lie in one another, at most. (Redis stops where Lua's stack does, at about as many hundreds.)
const DEPTH_MAX: usize = 128;

/// Set in an error that a command answered: it has been counted then, and its reply is not counted again.
pub(super) const COUNTED: &str = "ignore_error_stats_update";

/// Writes a value. `script_protocol` is what the script chose by `redis.setresp`; `on_error` gets each error's text, and
/// whether it has been counted.
pub(super) fn write(
    value: &Value,
    out: &mut Out<'_>,
    script_protocol: Protocol,
    on_error: &mut dyn FnMut(&[u8], bool),
) -> Result<()> {
    Writer { script_protocol, on_error }.value(value, out, 0)
}

/// Whether an error has been counted.
pub(super) fn is_counted(table: &Table) -> Result<bool> {
    // As Lua takes a condition.
    Ok(!matches!(table.raw_get::<Value>(COUNTED)?, Value::Nil | Value::Boolean(false)))
}

struct Writer<'w> {
    script_protocol: Protocol,
    on_error: &'w mut dyn FnMut(&[u8], bool),
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, out: &mut Out<'_>, depth: usize) -> Result<()> {
        match value {
            Value::String(text) => out.bulk(&text.as_bytes()),
            Value::Integer(number) => out.integer(*number),
            Value::Number(number) => out.integer(cut(*number)),
            Value::Boolean(value) if self.script_protocol == Protocol::Resp3 => out.boolean(*value),
            Value::Boolean(true) => out.integer(1),
            Value::Table(_) if depth > DEPTH_MAX => out.error("ERR reached lua stack limit"),
            Value::Table(table) => return self.table(table, out, depth),
            _ => out.null(),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, out: &mut Out<'_>, depth: usize) -> Result<()> {
        if let Value::String(text) = table.raw_get::<Value>("err")? {
            out.error_parts(&[&text.as_bytes()]);
            (self.on_error)(&text.as_bytes(), is_counted(table)?);
            return Ok(());
        }
        if let Value::String(text) = table.raw_get::<Value>("ok")? {
            out.raw(b"+");
            let text = text.as_bytes();
            for (i, line) in text.split(|byte| matches!(byte, b'\r' | b'\n')).enumerate() {
                out.raw(if i > 0 { b" " } else { b"" });
                out.raw(line);
            }
            out.raw(b"\r\n");
            return Ok(());
        }
        if let Some(number) = number_of(&table.raw_get::<Value>("double")?) {
            out.double(number);
            return Ok(());
        }
        if let Value::Table(map) = table.raw_get::<Value>("map")? {
            return self.pairs(&map, out, depth, true);
        }
        if let Value::Table(set) = table.raw_get::<Value>("set")? {
            return self.pairs(&set, out, depth, false);
        }
        if let Value::String(digits) = table.raw_get::<Value>("big_number")? {
            let digits = digits.to_string_lossy().replace(['\r', '\n'], " ");
            out.big_number(&digits);
            return Ok(());
        }
        if let Value::Table(verbatim) = table.raw_get::<Value>("verbatim_string")?
            && let Value::String(text) = verbatim.raw_get::<Value>("string")?
            && let Value::String(format) = verbatim.raw_get::<Value>("format")?
        {
            let format = *format.as_bytes().first_chunk::<3>().unwrap_or(b"txt");
            out.verbatim(format, &text.as_bytes());
            return Ok(());
        }
        let mut count = 0;
        while !table.raw_get::<Value>(count + 1)?.is_nil() {
            count += 1;
        }
        out.array(count);
        for i in 1..=count {
            self.value(&table.raw_get::<Value>(i)?, out, depth + 1)?;
        }
        Ok(())
    }

    /// A map, or the keys of a set.
    fn pairs(&mut self, table: &Table, out: &mut Out<'_>, depth: usize, is_map: bool) -> Result<()> {
        let mut count = 0;
        table.for_each(|_: Value, _: Value| {
            count += 1;
            Ok(())
        })?;
        if is_map {
            out.map(count)
        } else {
            out.set(count)
        }
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, out, depth + 1)?;
            if is_map {
                self.value(&value, out, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// A number cut to an integer; one that is none has no meaning in C, whose usual answer this is.
fn cut(number: f64) -> i64 {
    // 2^63 itself is no i64.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}
