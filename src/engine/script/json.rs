//! The library `cjson` (lua-cjson 2.1): JSON as Lua values and back, with its texts. `null` is `cjson.null`; a table is
//! an array if its keys are positive integers and not too sparse.
//!
//! What it builds is bounded by the memory for scripts, and so is how deep values may lie in one another: C code
//! computed the bytes that a string may take without asking for an overflow (CVE-2022-24834).

mod decode;

use super::format::general;
use super::library::{Arguments, Library, one, one_string, type_name};
use super::limits::{Buffer, Limits};
use mlua::{Lua, MultiValue, Result, Table, Value};
use std::cell::Cell;
use std::rc::Rc;

/// Values that lie in one another, at most; as in lua-cjson.
pub(super) const DEPTH_MAX: usize = 1000;

/// What scripts can set; it holds until the scripts are flushed.
struct Config {
    sparse_convert: Cell<bool>,
    sparse_ratio: Cell<f64>,
    sparse_safe: Cell<f64>,
    encode_depth_max: Cell<usize>,
    decode_depth_max: Cell<usize>,
    digits: Cell<usize>,
    invalid: Cell<InvalidNumbers>,
}

pub(super) fn library(lua: &Lua, limits: &Rc<Limits>) -> Result<Table> {
    let library = Library::new(lua, limits)?;
    let config = Rc::new(Config {
        sparse_convert: Cell::new(false),
        sparse_ratio: Cell::new(2.0),
        sparse_safe: Cell::new(10.0),
        encode_depth_max: Cell::new(DEPTH_MAX),
        decode_depth_max: Cell::new(DEPTH_MAX),
        digits: Cell::new(14),
        invalid: Cell::new(InvalidNumbers::Refuse),
    });
    let own = Rc::clone(&config);
    library.function("encode", move |args, limits| {
        if args.len() != 1 {
            return Err(args.argument_error(0, "expected 1 argument"));
        }
        let mut encoder = Encoder { args, limits, config: &own, out: limits.buffer() };
        encoder.value(args.get(0).unwrap_or(&Value::Nil), 0)?;
        one_string(args.lua, &encoder.out)
    })?;
    let own = Rc::clone(&config);
    library.function("decode", move |args, limits| {
        if args.len() != 1 {
            return Err(args.argument_error(0, "expected 1 argument"));
        }
        let text = args.string(0)?;
        one(decode::decode(args, &text.as_bytes(), own.decode_depth_max.get(), limits)?)
    })?;
    let own = Rc::clone(&config);
    library.function("encode_sparse_array", move |args, _| {
        if let Some(Value::Boolean(convert)) = args.get(0) {
            own.sparse_convert.set(*convert);
        }
        own.sparse_ratio.set(args.integer_or(1, own.sparse_ratio.get() as i64)?.max(0) as f64);
        own.sparse_safe.set(args.integer_or(2, own.sparse_safe.get() as i64)?.max(0) as f64);
        Ok(MultiValue::from_iter([
            Value::Boolean(own.sparse_convert.get()),
            Value::Number(own.sparse_ratio.get()),
            Value::Number(own.sparse_safe.get()),
        ]))
    })?;
    let own = Rc::clone(&config);
    library.function("encode_max_depth", move |args, _| bounded(args, &own.encode_depth_max, DEPTH_MAX))?;
    let own = Rc::clone(&config);
    library.function("decode_max_depth", move |args, _| bounded(args, &own.decode_depth_max, DEPTH_MAX))?;
    let own = Rc::clone(&config);
    library.function("encode_number_precision", move |args, _| bounded(args, &own.digits, 17))?;
    library.function("encode_invalid_numbers", move |args, _| {
        if let Some(asked) = InvalidNumbers::of(args)? {
            config.invalid.set(asked);
        }
        match config.invalid.get() {
            InvalidNumbers::Refuse => one(Value::Boolean(false)),
            InvalidNumbers::Write => one(Value::Boolean(true)),
            InvalidNumbers::Null => one_string(args.lua, b"null"),
        }
    })?;
    library.function("decode_invalid_numbers", |args, _| match args.get(0) {
        Some(Value::Boolean(false)) => Err(args.error("decode_invalid_numbers cannot be turned off")),
        _ => one(Value::Boolean(true)),
    })?;
    // Nothing that a script could see.
    library.function("encode_keep_buffer", |_, _| one(Value::Boolean(true)))?;
    let table = &library.table;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(library.table)
}

/// What becomes of numbers that JSON has not.
#[derive(Clone, Copy)]
enum InvalidNumbers {
    Refuse,
    Write,
    Null,
}

impl InvalidNumbers {
    /// What the first argument asks for, if there is one.
    fn of(args: &Arguments<'_>) -> Result<Option<InvalidNumbers>> {
        if args.is_none_or_nil(0) {
            return Ok(None);
        }
        if let Some(Value::Boolean(write)) = args.get(0) {
            return Ok(Some(if *write { InvalidNumbers::Write } else { InvalidNumbers::Refuse }));
        }
        let word = args.string(0)?;
        match &*word.as_bytes() {
            b"off" => Ok(Some(InvalidNumbers::Refuse)),
            b"on" => Ok(Some(InvalidNumbers::Write)),
            b"null" => Ok(Some(InvalidNumbers::Null)),
            _ => Err(args.argument_error(0, "invalid option")),
        }
    }
}

/// Gets a setting and changes it if the first argument says so, to 1..=`most`.
fn bounded(args: &Arguments<'_>, setting: &Cell<usize>, most: usize) -> Result<MultiValue> {
    if !args.is_none_or_nil(0) {
        let wanted = args.integer(0)?;
        let fits = usize::try_from(wanted).ok().filter(|wanted| (1..=most).contains(wanted));
        setting.set(
            fits.ok_or_else(|| args.argument_error(0, &format!("expected integer between 1 and {most}")))?,
        );
    }
    one(Value::Integer(setting.get() as i64))
}

struct Encoder<'e, 'l> {
    args: &'e Arguments<'l>,
    limits: &'e Limits,
    config: &'e Config,
    out: Buffer<'e>,
}

impl Encoder<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        match value {
            Value::Nil => self.out.extend(b"null")?,
            Value::Boolean(value) => self.out.extend(if *value { b"true" } else { b"false" })?,
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(text) => self.string(&text.as_bytes())?,
            Value::Table(table) => return self.table(table, depth + 1),
            value if value.is_null() => self.out.extend(b"null")?,
            other => {
                let text = format!("Cannot serialise {}: type not supported", type_name(other));
                return Err(self.args.error(&text));
            }
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> Result<()> {
        if !number.is_finite() {
            return match self.config.invalid.get() {
                InvalidNumbers::Refuse => {
                    Err(self.args.error("Cannot serialise number: must not be NaN or Inf"))
                }
                InvalidNumbers::Null => Ok(self.out.extend(b"null")?),
                InvalidNumbers::Write if number.is_nan() => Ok(self.out.extend(b"nan")?),
                InvalidNumbers::Write => {
                    Ok(self.out.extend(if number > 0.0 { b"inf".as_slice() } else { b"-inf" })?)
                }
            };
        }
        Ok(self.out.extend(general(number, self.config.digits.get()).as_bytes())?)
    }

    fn string(&mut self, text: &[u8]) -> Result<()> {
        self.out.push(b'"')?;
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| is_escaped(*byte)) {
            self.out.extend(&rest[..at])?;
            match rest[at] {
                byte @ (b'"' | b'\\' | b'/') => self.out.extend(&[b'\\', byte])?,
                8 => self.out.extend(b"\\b")?,
                9 => self.out.extend(b"\\t")?,
                10 => self.out.extend(b"\\n")?,
                12 => self.out.extend(b"\\f")?,
                13 => self.out.extend(b"\\r")?,
                byte => self.out.extend(format!("\\u{byte:04x}").as_bytes())?,
            }
            rest = &rest[at + 1..];
        }
        self.out.extend(rest)?;
        Ok(self.out.push(b'"')?)
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<()> {
        if depth > self.config.encode_depth_max.get() {
            return Err(self.args.error(&format!("Cannot serialise, excessive depth ({depth})")));
        }
        self.limits.check_clock()?;
        match self.array_len(table)? {
            Some(len) => self.array(table, len, depth),
            None => self.object(table, depth),
        }
    }

    /// The length of an array; `None`: the table is an object.
    fn array_len(&self, table: &Table) -> Result<Option<usize>> {
        let (mut most, mut count, mut is_array) = (0.0, 0.0, true);
        table.for_each(|key: Value, _: Value| {
            let key = super::library::number_of(&key).filter(|key| *key >= 1.0 && key.fract() == 0.0);
            is_array &= key.is_some();
            most = key.unwrap_or(0.0).max(most);
            count += 1.0;
            Ok(())
        })?;
        if !is_array || count == 0.0 {
            return Ok(None);
        }
        let (ratio, safe) = (self.config.sparse_ratio.get(), self.config.sparse_safe.get());
        if ratio > 0.0 && most > count * ratio && most > safe {
            if self.config.sparse_convert.get() {
                return Ok(None);
            }
            return Err(self.args.error("Cannot serialise table: excessively sparse array"));
        }
        Ok(Some(most as usize))
    }

    fn array(&mut self, table: &Table, len: usize, depth: usize) -> Result<()> {
        self.out.push(b'[')?;
        for i in 1..=len {
            if i > 1 {
                self.out.push(b',')?;
            }
            let value: Value = table.raw_get(i)?;
            self.value(&value, depth)?;
        }
        Ok(self.out.push(b']')?)
    }

    fn object(&mut self, table: &Table, depth: usize) -> Result<()> {
        self.out.push(b'{')?;
        let mut is_first = true;
        // Not by `for_each`, whose calls lie in one another: Lua allows 200.
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.out.push(b',')?;
            }
            match &key {
                Value::String(text) => self.string(&text.as_bytes())?,
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"')?;
                    self.value(&key, depth)?;
                    self.out.push(b'"')?;
                }
                _ => {
                    let kind = type_name(&key);
                    let text = format!("Cannot serialise {kind}: table key must be a number or string");
                    return Err(self.args.error(&text));
                }
            }
            self.out.push(b':')?;
            self.value(&value, depth)?;
        }
        Ok(self.out.push(b'}')?)
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b'/' | 0x7f)
}
