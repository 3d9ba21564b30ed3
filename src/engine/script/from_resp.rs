//! Replies of commands as Lua values, by Redis's conversions. Bytes come in pieces, as the output holds them.
//!
//! | reply | value |
//! |---|---|
//! | `:1`, `$`, `*` | number, string, table |
//! | `+OK`, `-ERR x` | `{ok='OK'}`, `{err='ERR x'}` |
//! | `$-1`, `*-1` (RESP2); `_` (RESP3) | `false`; `nil` |
//! | `#t`, `,1.5`, `(1`, `=txt:x` | `true`, `{double=1.5}`, `{big_number='1'}`, `{verbatim_string={format='txt',string='x'}}` |
//! | `%`, `~` | `{map={…}}`, `{set={x=true,…}}` |

use super::limits::{Buffer, Limits, Raised};
use crate::wire::number::parse_i64;
use mlua::{Lua, Result, Table, Value};

/// Bytes of a line, at most: a type, a number or a status. Error texts are shorter too.
const LINE_BYTES_MAX: usize = 1024;

/// What a command answered.
pub(super) enum Reply {
    Value(Value),
    /// An error, its code first.
    Error(Vec<u8>),
}

/// A collection whose elements are still to come.
struct Frame {
    table: Table,
    /// What the collection is, when it is whole.
    whole: Table,
    kind: Kind,
    left: u64,
}

enum Kind {
    Array { next: i64 },
    Map { key: Option<Value> },
    Set,
}

/// A bulk string on its way, its line end included.
struct Bulk<'l> {
    bytes: Buffer<'l>,
    left: usize,
    is_verbatim: bool,
}

/// Makes one reply of bytes.
pub(super) struct Reader<'l> {
    lua: &'l Lua,
    limits: &'l Limits,
    line: Buffer<'l>,
    bulk: Option<Bulk<'l>>,
    frames: Vec<Frame>,
    reply: Option<Reply>,
}

impl<'l> Reader<'l> {
    pub(super) fn new(lua: &'l Lua, limits: &'l Limits) -> Reader<'l> {
        Reader { lua, limits, line: limits.buffer(), bulk: None, frames: Vec::new(), reply: None }
    }

    /// The reply, which is whole.
    pub(super) fn finish(self) -> Option<Reply> {
        self.reply
    }

    /// The next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(bulk) = &mut self.bulk {
                let len = bulk.left.min(rest.len());
                bulk.bytes.extend(&rest[..len])?;
                bulk.left -= len;
                rest = &rest[len..];
                if bulk.left == 0
                    && let Some(bulk) = self.bulk.take()
                {
                    let text = &bulk.bytes[..bulk.bytes.len().saturating_sub(2)];
                    self.bulk_is_whole(text, bulk.is_verbatim)?;
                }
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                if self.line.len() + rest.len() > LINE_BYTES_MAX {
                    return Err(Raised::Memory.into());
                }
                self.line.extend(rest)?;
                return Ok(());
            };
            let (line, tail) = rest.split_at(end + 1);
            rest = if self.line.is_empty() {
                self.take_line(&line[..end.saturating_sub(1)], tail)?
            } else {
                let mut whole = std::mem::replace(&mut self.line, self.limits.buffer());
                whole.extend(line)?;
                self.take_line(&whole[..whole.len().saturating_sub(2)], tail)?
            };
        }
        Ok(())
    }

    /// A line without its end; what is left of the bytes behind it.
    fn take_line<'b>(&mut self, line: &[u8], tail: &'b [u8]) -> Result<&'b [u8]> {
        let Some((kind, text)) = line.split_first() else { return Ok(tail) };
        let number = || parse_i64(text).unwrap_or(0);
        let value = match kind {
            b':' => Value::Integer(number()),
            b'+' => self.field("ok", text)?,
            b'-' if self.frames.is_empty() => {
                self.reply = Some(Reply::Error(text.to_vec()));
                return Ok(tail);
            }
            b'-' => self.field("err", text)?,
            b'$' | b'=' if number() >= 0 => return self.begin_bulk(number() as usize, *kind == b'=', tail),
            b'*' | b'%' | b'~' | b'>' if number() >= 0 => {
                self.begin_collection(*kind, number() as u64)?;
                return Ok(tail);
            }
            b'$' | b'*' => Value::Boolean(false),
            b'#' => Value::Boolean(text == b"t"),
            b',' => {
                let table = self.lua.create_table()?;
                table.raw_set("double", super::library::parse_double(text))?;
                Value::Table(table)
            }
            b'(' => self.field("big_number", text)?,
            _ => Value::Nil,
        };
        self.value(value)?;
        Ok(tail)
    }

    /// A table of one field.
    fn field(&self, name: &str, text: &[u8]) -> Result<Value> {
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, self.lua.create_string(text)?)?;
        Ok(Value::Table(table))
    }

    fn begin_bulk<'b>(&mut self, len: usize, is_verbatim: bool, tail: &'b [u8]) -> Result<&'b [u8]> {
        if let Some(text) = tail.get(..len + 2) {
            self.bulk_is_whole(&text[..len], is_verbatim)?;
            return Ok(&tail[len + 2..]);
        }
        let mut bytes = self.limits.buffer();
        bytes.pad(len + 2)?;
        bytes.clear();
        self.bulk = Some(Bulk { bytes, left: len + 2, is_verbatim });
        Ok(tail)
    }

    fn bulk_is_whole(&mut self, text: &[u8], is_verbatim: bool) -> Result<()> {
        if !is_verbatim {
            let text = self.lua.create_string(text)?;
            return self.value(Value::String(text));
        }
        let (format, text) = text.split_at_checked(4).unwrap_or((b"txt:", text));
        let (inner, outer) = (self.lua.create_table()?, self.lua.create_table()?);
        inner.raw_set("format", self.lua.create_string(&format[..3])?)?;
        inner.raw_set("string", self.lua.create_string(text)?)?;
        outer.raw_set("verbatim_string", inner)?;
        self.value(Value::Table(outer))
    }

    fn begin_collection(&mut self, kind: u8, count: u64) -> Result<()> {
        let table = self.lua.create_table()?;
        let named = |name: &str| -> Result<Table> {
            let outer = self.lua.create_table_with_capacity(0, 1)?;
            outer.raw_set(name, &table)?;
            Ok(outer)
        };
        let (whole, left, kind) = match kind {
            b'%' => (named("map")?, count.saturating_mul(2), Kind::Map { key: None }),
            b'~' => (named("set")?, count, Kind::Set),
            _ => (table.clone(), count, Kind::Array { next: 1 }),
        };
        if left == 0 {
            return self.value(Value::Table(whole));
        }
        self.frames.push(Frame { table, whole, kind, left });
        Ok(())
    }

    /// A value is whole: into the collection that waits for it, which may be whole by that.
    fn value(&mut self, value: Value) -> Result<()> {
        let mut value = value;
        while let Some(frame) = self.frames.last_mut() {
            match &mut frame.kind {
                Kind::Array { next } => {
                    frame.table.raw_set(*next, value)?;
                    *next += 1;
                }
                Kind::Map { key } => match key.take() {
                    None => *key = Some(value),
                    Some(key) if !key.is_nil() => frame.table.raw_set(key, value)?,
                    Some(_) => {}
                },
                Kind::Set if !value.is_nil() => frame.table.raw_set(value, true)?,
                Kind::Set => {}
            }
            frame.left -= 1;
            if frame.left > 0 {
                return Ok(());
            }
            let Some(frame) = self.frames.pop() else { return Ok(()) };
            value = Value::Table(frame.whole);
        }
        self.reply = Some(Reply::Value(value));
        Ok(())
    }
}
