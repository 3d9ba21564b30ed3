//! Which mutant is on. `mutate.py` puts this beside the modules that it has put mutants into; the project itself has none.
//!
//! `MUTANT` is the number of the one that is on. With `MUTANT_REACHED` none is, and the first number of every function
//! that is entered is appended to the file of that name.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Numbers that there are; `mutate.py` writes it.
const COUNT: usize = 0;
const UNKNOWN: u32 = u32::MAX;

static ACTIVE: AtomicU32 = AtomicU32::new(UNKNOWN);
static REACHED: OnceLock<Option<File>> = OnceLock::new();
static SEEN: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

/// The mutant that is on, if it is one of a function's; else 0.
#[inline]
pub fn pick(first: u32, last: u32) -> u32 {
    let mut active = ACTIVE.load(Relaxed);
    if active == UNKNOWN {
        active = begin(first);
    }
    if first <= active && active <= last { active } else { 0 }
}

#[cold]
fn begin(first: u32) -> u32 {
    let reached = REACHED.get_or_init(|| {
        let path = std::env::var_os("MUTANT_REACHED")?;
        OpenOptions::new().append(true).create(true).open(path).ok()
    });
    if let Some(mut file) = reached.as_ref() {
        if !SEEN[first as usize].swap(true, Relaxed) {
            file.write_all(format!("{first}\n").as_bytes()).expect("a file to write to");
        }
        return 0;
    }
    let active = std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0);
    ACTIVE.store(active, Relaxed);
    active
}
