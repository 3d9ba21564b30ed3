//! The library `struct` (Roberto Ierusalimschy's, 0.2): C structures as strings.
//!
//! ```text
//! >  <  !n  =   byte order and alignment      x        a zero byte
//! b B h H l L T integers                      iN IN    an integer of N bytes
//! f d           floating point                s  cN    a string with a zero byte; of N bytes (c0: as the number before it says)
//! ```
//! Lengths from a format are compared with what is there before anything is added to them (cf. CVE-2015-8080,
//! CVE-2018-11219, CVE-2020-14147).

use super::library::{Arguments, Library, one_number, one_string};
use super::limits::{Limits, Raised};
use mlua::{Error, Lua, MultiValue, Result, Table, Value};
use std::rc::Rc;

/// Bytes of the widest integer of a format.
const INTEGER_BYTES_MAX: usize = 32;
/// The alignment of `!` without a number.
const NATIVE_ALIGN: usize = 8;

pub(super) fn library(lua: &Lua, limits: &Rc<Limits>) -> Result<Table> {
    let library = Library::new(lua, limits)?;
    library.function("pack", pack)?;
    library.function("unpack", unpack)?;
    library.function("size", size)?;
    Ok(library.table)
}

/// One item of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Integer {
        len: usize,
        is_signed: bool,
    },
    Float,
    Double,
    Zero,
    /// `s`
    Terminated,
    /// `cN`; 0: as the number before it says.
    Bytes(usize),
}

impl Item {
    /// Bytes, as far as the format tells.
    fn len(self) -> usize {
        match self {
            Item::Integer { len, .. } | Item::Bytes(len) => len,
            Item::Float => 4,
            Item::Double => 8,
            Item::Zero => 1,
            Item::Terminated => 0,
        }
    }

    fn is_aligned(self) -> bool {
        matches!(self, Item::Integer { .. } | Item::Float | Item::Double)
    }
}

/// A format on its way.
struct Format<'f> {
    rest: &'f [u8],
    is_little: bool,
    align: usize,
}

impl<'f> Format<'f> {
    fn new(text: &'f [u8]) -> Format<'f> {
        Format { rest: text, is_little: cfg!(target_endian = "little"), align: 1 }
    }

    /// A number in the format; one that is beyond `i32` is none.
    fn number(&mut self) -> Option<Option<usize>> {
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        let value = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<i32>().ok();
        (len > 0).then(|| value(digits).map(|number| number as usize))
    }

    fn number_or(&mut self, args: &Arguments<'_>, default: usize) -> Result<usize> {
        match self.number() {
            None => Ok(default),
            Some(Some(number)) => Ok(number),
            Some(None) => Err(args.error("integral size overflow")),
        }
    }

    /// The next item; options on the way are noted.
    fn next(&mut self, args: &Arguments<'_>) -> Result<Option<Item>> {
        while let [option, rest @ ..] = self.rest {
            self.rest = rest;
            let integer = |len, is_signed| Ok(Some(Item::Integer { len, is_signed }));
            match option {
                b' ' => {}
                b'>' => self.is_little = false,
                b'<' => self.is_little = true,
                b'=' => self.is_little = cfg!(target_endian = "little"),
                b'!' => {
                    let align = self.number_or(args, NATIVE_ALIGN)?;
                    if !align.is_power_of_two() {
                        return Err(args.error("alignment is not a power of 2"));
                    }
                    self.align = align;
                }
                b'b' => return integer(1, true),
                b'B' => return integer(1, false),
                b'h' => return integer(2, true),
                b'H' => return integer(2, false),
                b'l' => return integer(8, true),
                b'L' | b'T' => return integer(8, false),
                b'i' | b'I' => {
                    let len = self.number_or(args, 4)?;
                    if len > INTEGER_BYTES_MAX {
                        let text = format!("integral size {len} is larger than limit of {INTEGER_BYTES_MAX}");
                        return Err(args.error(&text));
                    }
                    return integer(len, *option == b'i');
                }
                b'f' => return Ok(Some(Item::Float)),
                b'd' => return Ok(Some(Item::Double)),
                b'x' => return Ok(Some(Item::Zero)),
                b's' => return Ok(Some(Item::Terminated)),
                b'c' => return Ok(Some(Item::Bytes(self.number_or(args, 1)?))),
                other => {
                    let text = format!("invalid format option '{}'", char::from(*other));
                    return Err(args.argument_error(0, &text));
                }
            }
        }
        Ok(None)
    }

    /// Bytes before an item that begins behind `at` bytes.
    fn padding(&self, item: Item, at: usize) -> usize {
        let align = item.len().min(self.align);
        if !item.is_aligned() || align <= 1 {
            return 0;
        }
        // As in C, which asks for a power of two here without checking.
        (align - (at & (align - 1))) & (align - 1)
    }
}

fn pack(args: &Arguments<'_>, limits: &Limits) -> Result<MultiValue> {
    let format = args.string(0)?;
    let format = format.as_bytes();
    let (mut format, mut result, mut next) = (Format::new(&format), limits.buffer(), 1);
    while let Some(item) = format.next(args)? {
        let padding = format.padding(item, result.len());
        result.pad(padding)?;
        match item {
            Item::Zero => result.push(0)?,
            Item::Integer { len, is_signed } => {
                let number = args.number(next)?;
                let bits = if number < 0.0 { number as i64 as u64 } else { number as u64 };
                let fill = if is_signed && (bits as i64) < 0 { 0xff } else { 0 };
                let mut bytes = [fill; INTEGER_BYTES_MAX];
                bytes[..8].copy_from_slice(&bits.to_le_bytes());
                let bytes = &mut bytes[..len];
                if !format.is_little {
                    bytes.reverse();
                }
                result.extend(bytes)?;
                next += 1;
            }
            Item::Float => {
                let number = args.number(next)? as f32;
                let bytes = if format.is_little { number.to_le_bytes() } else { number.to_be_bytes() };
                result.extend(&bytes)?;
                next += 1;
            }
            Item::Double => {
                let number = args.number(next)?;
                let bytes = if format.is_little { number.to_le_bytes() } else { number.to_be_bytes() };
                result.extend(&bytes)?;
                next += 1;
            }
            Item::Terminated | Item::Bytes(_) => {
                let text = args.string(next)?;
                let text = text.as_bytes();
                let len = match item {
                    Item::Bytes(len) if len > 0 => len,
                    _ => text.len(),
                };
                let bytes = text.get(..len).ok_or_else(|| args.argument_error(next, "string too short"))?;
                result.extend(bytes)?;
                if item == Item::Terminated {
                    result.push(0)?;
                }
                next += 1;
            }
        }
    }
    one_string(args.lua, &result)
}

fn unpack(args: &Arguments<'_>, _: &Limits) -> Result<MultiValue> {
    let (format, data) = (args.string(0)?, args.string(1)?);
    let (format, data) = (format.as_bytes(), data.as_bytes());
    let from = args.integer_or(2, 1)?;
    let mut at = match usize::try_from(from) {
        Ok(from) if from > 0 => from - 1,
        _ => return Err(args.argument_error(2, "offset must be 1 or greater")),
    };
    let too_short = || args.argument_error(1, "data string too short");
    let (mut format, mut values) = (Format::new(&format), MultiValue::new());
    while let Some(item) = format.next(args)? {
        at = at.checked_add(format.padding(item, at)).ok_or_else(too_short)?;
        let rest = data.get(at..).ok_or_else(too_short)?;
        let bytes = rest.get(..item.len()).ok_or_else(too_short)?;
        at += item.len();
        match item {
            Item::Zero => {}
            Item::Integer { is_signed, .. } => {
                values.push_back(Value::Number(integer(bytes, is_signed, format.is_little)));
            }
            Item::Float => {
                let bytes = bytes.try_into().map_err(|_| too_short())?;
                let number =
                    if format.is_little { f32::from_le_bytes(bytes) } else { f32::from_be_bytes(bytes) };
                values.push_back(Value::Number(f64::from(number)));
            }
            Item::Double => {
                let bytes = bytes.try_into().map_err(|_| too_short())?;
                let number =
                    if format.is_little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) };
                values.push_back(Value::Number(number));
            }
            Item::Bytes(0) => {
                let len = values.pop_back().and_then(|value| super::library::number_of(&value));
                let len = len.ok_or_else(|| args.error("format 'c0' needs a previous size"))?;
                let bytes = Some(len).filter(|len| *len >= 0.0).and_then(|len| rest.get(..len as usize));
                let bytes = bytes.ok_or_else(too_short)?;
                values.push_back(Value::String(args.lua.create_string(bytes)?));
                at += bytes.len();
            }
            Item::Bytes(_) => values.push_back(Value::String(args.lua.create_string(bytes)?)),
            Item::Terminated => {
                let end = memchr::memchr(0, rest);
                let end = end.ok_or_else(|| args.error("unfinished string in data"))?;
                values.push_back(Value::String(args.lua.create_string(&rest[..end])?));
                at += end + 1;
            }
        }
        if values.len() > VALUES_MAX {
            return Err(Raised::Memory.into());
        }
    }
    values.push_back(Value::Integer(at as i64 + 1));
    Ok(values)
}

/// Values that one call gives, at most: they lie on Lua's stack.
const VALUES_MAX: usize = 4_000;

/// The lowest 64 bits of an integer.
fn integer(bytes: &[u8], is_signed: bool, is_little: bool) -> f64 {
    let mut bits = 0u64;
    let mut add = |byte: &u8| bits = bits << 8 | u64::from(*byte);
    if is_little {
        bytes.iter().rev().for_each(&mut add)
    } else {
        bytes.iter().for_each(&mut add)
    }
    if !is_signed {
        return bits as f64;
    }
    let unused = 64 - 8 * bytes.len().clamp(1, 8) as u32;
    ((bits << unused) as i64 >> unused) as f64
}

fn size(args: &Arguments<'_>, _: &Limits) -> Result<MultiValue> {
    let format = args.string(0)?;
    let format = format.as_bytes();
    let (mut format, mut total) = (Format::new(&format), 0usize);
    let overflow = || -> Error { args.error("format too long") };
    while let Some(item) = format.next(args)? {
        match item {
            Item::Terminated => return Err(args.argument_error(0, "option 's' has no fixed size")),
            Item::Bytes(0) => return Err(args.argument_error(0, "option 'c0' has no fixed size")),
            _ => {}
        }
        let len = item.len().checked_add(format.padding(item, total)).ok_or_else(overflow)?;
        total = total.checked_add(len).filter(|total| *total <= i32::MAX as usize).ok_or_else(overflow)?;
    }
    one_number(total as f64)
}
