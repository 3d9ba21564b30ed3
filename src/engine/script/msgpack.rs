//! The library `cmsgpack` (lua-cmsgpack 0.4): MessagePack as Lua values and back.
//!
//! Lengths in the input are compared with what is there before anything is read, and how deep values may lie in one
//! another is bounded in both directions (cf. CVE-2018-11218, CVE-2022-24834).

use super::library::{Arguments, Library, number_of, one_string};
use super::limits::{Buffer, Limits, Raised};
use mlua::{Error, Lua, MultiValue, Result, Table, Value};
use std::rc::Rc;

/// Tables that lie in one another when packed; what is deeper becomes nil, as in lua-cmsgpack.
const PACKED_DEPTH_MAX: usize = 16;
/// Values that lie in one another when unpacked, at most.
const UNPACKED_DEPTH_MAX: usize = 128;
/// Values that one call gives, at most: they lie on Lua's stack.
const VALUES_MAX: usize = 4_000;

const MISSING: &str = "Missing bytes in input.";
const BAD: &str = "Bad data format in input.";

pub(super) fn library(lua: &Lua, limits: &Rc<Limits>) -> Result<Table> {
    let library = Library::new(lua, limits)?;
    library.function("pack", |args, limits| {
        if args.len() == 0 {
            return Err(args.error("bad argument #0 to 'pack' (MessagePack pack needs input.)"));
        }
        let mut packer = Packer { limits, out: limits.buffer() };
        for i in 0..args.len() {
            packer.value(args.get(i).unwrap_or(&Value::Nil), 0)?;
        }
        one_string(args.lua, &packer.out)
    })?;
    library.function("unpack", |args, limits| unpack(args, limits, None, 0))?;
    library.function("unpack_one", |args, limits| unpack(args, limits, Some(1), args.integer_or(1, 0)?))?;
    library.function("unpack_limit", |args, limits| {
        unpack(args, limits, Some(args.integer(1)?), args.integer_or(2, 0)?)
    })?;
    let table = &library.table;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library.table)
}

struct Packer<'p> {
    limits: &'p Limits,
    out: Buffer<'p>,
}

impl Packer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        match value {
            Value::String(text) => self.string(&text.as_bytes())?,
            Value::Boolean(value) => self.out.push(if *value { 0xc3 } else { 0xc2 })?,
            Value::Integer(number) => self.integer(*number)?,
            Value::Number(number) => self.number(*number)?,
            Value::Table(table) if depth < PACKED_DEPTH_MAX => self.table(table, depth + 1)?,
            _ => self.out.push(0xc0)?,
        }
        Ok(())
    }

    /// A length of an array, map or string: in one byte if it is short, else behind the byte of the shortest width.
    fn length(&mut self, len: usize, (short, short_max): (u8, usize), wide: [Option<u8>; 3]) -> Result<()> {
        let bytes = (len as u32).to_be_bytes();
        let (code, width) = match len {
            _ if len <= short_max => return Ok(self.out.push(short | len as u8)?),
            0..=0xff if wide[0].is_some() => (wide[0], 1),
            0..=0xffff => (wide[1], 2),
            _ => (wide[2], 4),
        };
        self.out.push(code.unwrap_or(0xc1))?;
        Ok(self.out.extend(&bytes[4 - width..])?)
    }

    fn string(&mut self, text: &[u8]) -> Result<()> {
        self.length(text.len(), (0xa0, 31), [Some(0xd9), Some(0xda), Some(0xdb)])?;
        Ok(self.out.extend(text)?)
    }

    fn integer(&mut self, number: i64) -> std::result::Result<(), Raised> {
        let bytes = number.to_be_bytes();
        let (code, width) = match number {
            -32..=0x7f => return self.out.push(number as u8),
            0x80..=0xff => (0xcc, 1),
            0x100..=0xffff => (0xcd, 2),
            0x1_0000..=0xffff_ffff => (0xce, 4),
            0x1_0000_0000.. => (0xcf, 8),
            -0x80..=-33 => (0xd0, 1),
            -0x8000..=-0x81 => (0xd1, 2),
            -0x8000_0000..=-0x8001 => (0xd2, 4),
            _ => (0xd3, 8),
        };
        self.out.push(code)?;
        self.out.extend(&bytes[8 - width..])
    }

    fn number(&mut self, number: f64) -> std::result::Result<(), Raised> {
        let short = number as f32;
        if f64::from(short) == number {
            self.out.push(0xca)?;
            self.out.extend(&short.to_be_bytes())
        } else {
            self.out.push(0xcb)?;
            self.out.extend(&number.to_be_bytes())
        }
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<()> {
        self.limits.check_clock()?;
        let (mut most, mut count, mut is_array) = (0.0, 0usize, true);
        table.for_each(|key: Value, _: Value| {
            let key = number_of(&key).filter(|key| *key >= 1.0 && key.fract() == 0.0);
            is_array &= key.is_some();
            most = key.unwrap_or(0.0).max(most);
            count += 1;
            Ok(())
        })?;
        if is_array && most == count as f64 {
            self.length(count, (0x90, 15), [None, Some(0xdc), Some(0xdd)])?;
            for i in 1..=count {
                let value: Value = table.raw_get(i)?;
                self.value(&value, depth)?;
            }
            return Ok(());
        }
        self.length(count, (0x80, 15), [None, Some(0xde), Some(0xdf)])?;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, depth)?;
            self.value(&value, depth)?;
        }
        Ok(())
    }
}

/// `unpack(data)`; `unpack_one(data [, from])` and `unpack_limit(data, count [, from])`, which say first where to go
/// on (-1: nowhere).
fn unpack(args: &Arguments<'_>, limits: &Limits, count: Option<i64>, from: i64) -> Result<MultiValue> {
    let data = args.string(0)?;
    let data = data.as_bytes();
    let is_all = count.is_none_or(|count| count == 0) && from == 0;
    if count.is_some_and(|count| count < 0) || from < 0 {
        let text =
            format!("Invalid request to unpack with offset of {from} and limit of {}.", count.unwrap_or(0));
        return Err(args.error(&text));
    }
    let at = usize::try_from(from).ok().filter(|at| *at <= data.len());
    let at = at.ok_or_else(|| {
        args.error(&format!("Start offset {from} greater than input length {}.", data.len()))
    })?;
    let mut unpacker = Unpacker { args, limits, data: &data, at };
    let most = if is_all { VALUES_MAX } else { count.unwrap_or(0).min(VALUES_MAX as i64) as usize };
    let mut values = MultiValue::new();
    while unpacker.at < data.len() && values.len() < most {
        values.push_back(unpacker.value(0)?);
    }
    if is_all && unpacker.at < data.len() {
        return Err(Raised::Memory.into());
    }
    if !is_all {
        let next = if unpacker.at >= data.len() { -1 } else { unpacker.at as i64 };
        values.push_front(Value::Integer(next));
    }
    Ok(values)
}

struct Unpacker<'u, 'l> {
    args: &'u Arguments<'l>,
    limits: &'u Limits,
    data: &'u [u8],
    at: usize,
}

impl Unpacker<'_, '_> {
    fn error(&self, text: &str) -> Error {
        self.args.error(text)
    }

    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let rest = &self.data[self.at..];
        let bytes = rest.get(..len).ok_or_else(|| self.args.error(MISSING))?;
        self.at += len;
        Ok(bytes)
    }

    /// A big-endian number of `width` bytes.
    fn unsigned(&mut self, width: usize) -> Result<u64> {
        Ok(self.take(width)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, width: usize) -> Result<f64> {
        let unused = 64 - 8 * width as u32;
        Ok(((self.unsigned(width)? << unused) as i64 >> unused) as f64)
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > UNPACKED_DEPTH_MAX {
            return Err(self.error(BAD));
        }
        let code = self.take(1)?[0];
        Ok(match code {
            0..=0x7f => Value::Integer(i64::from(code)),
            0xe0..=0xff => Value::Integer(i64::from(code as i8)),
            0x80..=0x8f => self.map(u64::from(code & 15), depth)?,
            0x90..=0x9f => self.array(u64::from(code & 15), depth)?,
            0xa0..=0xbf => self.string(u64::from(code & 31))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xc4..=0xc6 => {
                let len = self.unsigned(1 << (code - 0xc4))?;
                self.string(len)?
            }
            0xca => Value::Number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc..=0xcf => Value::Number(self.unsigned(1 << (code - 0xcc))? as f64),
            0xd0..=0xd3 => Value::Number(self.signed(1 << (code - 0xd0))?),
            0xd9..=0xdb => {
                let len = self.unsigned(1 << (code - 0xd9))?;
                self.string(len)?
            }
            0xdc | 0xdd => {
                let count = self.unsigned(if code == 0xdc { 2 } else { 4 })?;
                self.array(count, depth)?
            }
            0xde | 0xdf => {
                let count = self.unsigned(if code == 0xde { 2 } else { 4 })?;
                self.map(count, depth)?
            }
            _ => return Err(self.error(BAD)),
        })
    }

    fn string(&mut self, len: u64) -> Result<Value> {
        let lua = self.args.lua;
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        lua.create_string(bytes).map(Value::String)
    }

    fn array(&mut self, count: u64, depth: usize) -> Result<Value> {
        self.limits.check_clock()?;
        let table = self.args.lua.create_table()?;
        for i in 1..=count {
            table.raw_set(i, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, count: u64, depth: usize) -> Result<Value> {
        self.limits.check_clock()?;
        let table = self.args.lua.create_table()?;
        for _ in 0..count {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            // What Lua takes for no key.
            if key.is_nil() || matches!(key, Value::Number(key) if key.is_nan()) {
                return Err(self.error(BAD));
            }
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}
