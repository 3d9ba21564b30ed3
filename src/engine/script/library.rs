//! What the functions share that Rust gives to scripts: arguments checked as Lua's own C functions check theirs, and
//! errors with the place in the script where they happened.

use super::format;
use super::limits::{Limits, Raised};
use mlua::{Error, Lua, LuaString, MultiValue, Result, Table, Value};
use std::rc::Rc;

/// The arguments of one call.
pub(super) struct Arguments<'l> {
    pub(super) lua: &'l Lua,
    name: &'static str,
    values: MultiValue,
}

impl<'l> Arguments<'l> {
    pub(super) fn new(lua: &'l Lua, name: &'static str, values: MultiValue) -> Arguments<'l> {
        Arguments { lua, name, values }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Argument `i`, counted from 0.
    pub(super) fn get(&self, i: usize) -> Option<&Value> {
        self.values.get(i)
    }

    /// Whether argument `i` is missing or nil.
    pub(super) fn is_none_or_nil(&self, i: usize) -> bool {
        self.get(i).is_none_or(Value::is_nil)
    }

    /// A string, or a number as one.
    pub(super) fn string(&self, i: usize) -> Result<LuaString> {
        match self.get(i) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => match number_of(value) {
                Some(number) => self.lua.create_string(format::lua_number(number)),
                None => Err(self.type_error(i, "string")),
            },
            None => Err(self.type_error(i, "string")),
        }
    }

    /// A number, or a string that spells one.
    pub(super) fn number(&self, i: usize) -> Result<f64> {
        let number = self.get(i).and_then(|value| match value {
            Value::String(text) => parse_number(&text.as_bytes()),
            value => number_of(value),
        });
        number.ok_or_else(|| self.type_error(i, "number"))
    }

    /// A number cut to an integer; `default` where there is none.
    pub(super) fn integer_or(&self, i: usize, default: i64) -> Result<i64> {
        if self.is_none_or_nil(i) { Ok(default) } else { self.integer(i) }
    }

    /// A number cut to an integer.
    pub(super) fn integer(&self, i: usize) -> Result<i64> {
        self.number(i).map(|number| number as i64)
    }

    /// Argument `i` is not of the type that it must have.
    pub(super) fn type_error(&self, i: usize, wanted: &str) -> Error {
        let got = self.get(i).map_or("no value", type_name);
        self.argument_error(i, &format!("{wanted} expected, got {got}"))
    }

    /// Argument `i` is wrong.
    pub(super) fn argument_error(&self, i: usize, text: &str) -> Error {
        self.error(&format!("bad argument #{} to '{}' ({text})", i + 1, self.name))
    }

    /// An error at the place of the script that called.
    pub(super) fn error(&self, text: &str) -> Error {
        error_at(self.lua, text)
    }
}

/// An error at the place of the script that called the function of Rust that is running.
pub(super) fn error_at(lua: &Lua, text: &str) -> Error {
    Error::RuntimeError(format!("{}{text}", place(lua, 1)))
}

/// Where the function at a level of the stack is, as error messages begin; empty where it is not Lua's.
fn place(lua: &Lua, level: usize) -> String {
    let place = lua.inspect_stack(level, |debug| {
        let line = debug.current_line().filter(|line| *line > 0)?;
        Some(format!("{}:{line}: ", debug.source().short_src.as_deref().unwrap_or("?")))
    });
    place.flatten().unwrap_or_default()
}

/// The bytes of an error that Rust raised, and whether they begin with an error code.
pub(super) fn error_text(error: &Error) -> (Vec<u8>, bool) {
    match error {
        Error::CallbackError { cause, .. } => error_text(cause),
        Error::RuntimeError(text) => (text.clone().into_bytes(), false),
        Error::MemoryError(_) => (b"not enough memory".to_vec(), false),
        Error::ExternalError(external) => match external.downcast_ref::<Raised>() {
            Some(Raised::Reply(text) | Raised::Answer(text)) => (text.clone(), true),
            Some(raised) => (raised.to_string().into_bytes(), false),
            None => (external.to_string().into_bytes(), false),
        },
        other => (other.to_string().into_bytes(), false),
    }
}

/// A number that is one already.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// A string that spells a number, as Lua reads it: decimal or hexadecimal, blanks around it.
pub(super) fn parse_number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if let Some(digits) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok().map(|number| sign * number as f64);
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    digits.parse().ok().map(|number: f64| sign * number)
}

/// Lua's name for a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// A library under construction: a table of functions that share the limits.
pub(super) struct Library<'l> {
    lua: &'l Lua,
    limits: &'l Rc<Limits>,
    pub(super) table: Table,
}

impl<'l> Library<'l> {
    pub(super) fn new(lua: &'l Lua, limits: &'l Rc<Limits>) -> Result<Library<'l>> {
        Ok(Library { lua, limits, table: lua.create_table()? })
    }

    /// Adds a function.
    pub(super) fn function(
        &self,
        name: &'static str,
        function: impl Fn(&Arguments<'_>, &Limits) -> Result<MultiValue> + 'static,
    ) -> Result<()> {
        let limits = Rc::clone(self.limits);
        let function = self
            .lua
            .create_function(move |lua, values| function(&Arguments::new(lua, name, values), &limits))?;
        self.table.raw_set(name, function)
    }
}

/// One result.
pub(super) fn one(value: Value) -> Result<MultiValue> {
    Ok(MultiValue::from_iter([value]))
}

/// One number as the result.
pub(super) fn one_number(number: f64) -> Result<MultiValue> {
    one(Value::Number(number))
}

/// One string as the result.
pub(super) fn one_string(lua: &Lua, bytes: &[u8]) -> Result<MultiValue> {
    one(Value::String(lua.create_string(bytes)?))
}

/// A double of RESP3.
pub(super) fn parse_double(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}
