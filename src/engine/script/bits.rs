//! The library `bit` (that of LuaJIT): operations on 32 bits, results as signed numbers.

use super::library::{Arguments, Library, one_number, one_string};
use super::limits::Limits;
use mlua::{Lua, MultiValue, Result, Table};
use std::rc::Rc;

pub(super) fn library(lua: &Lua, limits: &Rc<Limits>) -> Result<Table> {
    let library = Library::new(lua, limits)?;
    library.function("tobit", |args, _| answer(number(args, 0)?))?;
    library.function("bnot", |args, _| answer(!number(args, 0)?))?;
    library.function("bswap", |args, _| answer(number(args, 0)?.swap_bytes()))?;
    library.function("band", |args, _| fold(args, |a, b| a & b))?;
    library.function("bor", |args, _| fold(args, |a, b| a | b))?;
    library.function("bxor", |args, _| fold(args, |a, b| a ^ b))?;
    library.function("lshift", |args, _| shift(args, |a, by| a << by))?;
    library.function("rshift", |args, _| shift(args, |a, by| a >> by))?;
    library.function("arshift", |args, _| shift(args, |a, by| ((a as i32) >> by) as u32))?;
    library.function("rol", |args, _| shift(args, u32::rotate_left))?;
    library.function("ror", |args, _| shift(args, u32::rotate_right))?;
    library.function("tohex", tohex)?;
    Ok(library.table)
}

/// Argument `i` modulo 2^32, rounded to the nearest integer. What is beyond 2^51, where this has no meaning, is cut.
fn number(args: &Arguments<'_>, i: usize) -> Result<u32> {
    let number = args.number(i)?.round_ties_even();
    Ok((number % 4_294_967_296.0) as i64 as u32)
}

fn answer(bits: u32) -> Result<MultiValue> {
    one_number(f64::from(bits as i32))
}

fn fold(args: &Arguments<'_>, apply: fn(u32, u32) -> u32) -> Result<MultiValue> {
    let mut bits = number(args, 0)?;
    for i in 1..args.len() {
        bits = apply(bits, number(args, i)?);
    }
    answer(bits)
}

fn shift(args: &Arguments<'_>, apply: fn(u32, u32) -> u32) -> Result<MultiValue> {
    answer(apply(number(args, 0)?, number(args, 1)? & 31))
}

/// `tohex(x [, digits])`: the lowest digits, 8 unless said; upper case where the number is negative. (Of the smallest
/// number of digits, C code took the absolute value, which there is none of: CVE-2024-31449.)
fn tohex(args: &Arguments<'_>, _: &Limits) -> Result<MultiValue> {
    let bits = number(args, 0)?;
    let digits = if args.is_none_or_nil(1) { 8 } else { number(args, 1)? as i32 };
    let len = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    one_string(args.lua, &text.as_bytes()[8 - len..])
}
