//! `math.random` and `math.randomseed`: the same numbers after each start, on every machine, as in Redis.

use super::library::{Library, one_number};
use mlua::{MultiValue, Result};

/// Pseudo-random numbers are below this.
const RANDOM_MAX: f64 = i32::MAX as f64;

pub(super) fn add_to(library: &Library<'_>) -> Result<()> {
    library.function("random", |args, limits| {
        let fraction = f64::from(limits.draw() % i32::MAX as u32) / RANDOM_MAX;
        let (low, high) = match args.len() {
            0 => return one_number(fraction),
            1 => (1.0, args.integer(0)? as i32),
            2 => (f64::from(args.integer(0)? as i32), args.integer(1)? as i32),
            _ => return Err(args.error("wrong number of arguments")),
        };
        let high = f64::from(high);
        if low > high {
            return Err(args.argument_error(args.len() - 1, "interval is empty"));
        }
        one_number((fraction * (high - low + 1.0)).floor() + low)
    })?;
    library.function("randomseed", |args, limits| {
        limits.seed(args.integer(0)? as i32);
        Ok(MultiValue::new())
    })
}
