//! CONFIG: what is set, under the names that Redis has for it, and the few things that can change while the server runs.

use super::{Call, Engine, Flow, Outcome};
use crate::{
    config::{Durability, KeyEvents, LogLevel, OnFull, TimeLimit},
    limits::SLOWLOG_LEN_MAX,
    reply::{Error, ErrorKind, Part},
    wire::{arguments::Arg, glob, number::parse_i64},
};
use std::fmt::Write;

/// How a parameter is set.
enum Setting {
    /// Only at start.
    Fixed,
    /// Integers of a range; the text names it.
    Integer {
        min: i64,
        max: fn(&Engine) -> i64,
        set: fn(&mut Engine, i64),
    },
    /// Bytes of memory, at most what was reserved at start.
    Memory,
    LogLevel,
    KeyEvents,
    /// Only to what it is, which clients do; with another value it is an error. The function gives what a value means.
    Same(fn(&[u8]) -> Meaning),
}

/// What a value means, to compare two of them.
#[derive(PartialEq, Eq)]
enum Meaning {
    /// One of some words, in any case.
    Word([u8; WORD_BYTES_MAX]),
    Nothing,
}

/// Bytes of the longest word that is compared.
const WORD_BYTES_MAX: usize = 16;

fn word(value: &[u8]) -> Meaning {
    let mut word = [0; WORD_BYTES_MAX];
    if value.len() > word.len() {
        return Meaning::Nothing;
    }
    word[..value.len()].copy_from_slice(value);
    word.make_ascii_lowercase();
    Meaning::Word(word)
}

/// A number and a unit, as in Redis's configuration: `100mb` is 2^20 bytes each, `100m` a million.
fn memory(value: &[u8]) -> Option<u64> {
    const UNITS: [(&[u8], u64); 8] = [
        (b"", 1),
        (b"b", 1),
        (b"k", 1_000),
        (b"kb", 1 << 10),
        (b"m", 1_000_000),
        (b"mb", 1 << 20),
        (b"g", 1_000_000_000),
        (b"gb", 1 << 30),
    ];
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&value[digits..]));
    let (_, unit) = unit?;
    let number = parse_i64(&value[..digits]).and_then(|number| u64::try_from(number).ok());
    number?.checked_mul(*unit)
}

struct Parameter {
    name: &'static str,
    get: fn(&Engine, &mut String) -> std::fmt::Result,
    setting: Setting,
}

const fn fixed(name: &'static str, get: fn(&Engine, &mut String) -> std::fmt::Result) -> Parameter {
    Parameter { name, get, setting: Setting::Fixed }
}

const fn same(
    name: &'static str,
    meaning: fn(&[u8]) -> Meaning,
    get: fn(&Engine, &mut String) -> std::fmt::Result,
) -> Parameter {
    Parameter { name, get, setting: Setting::Same(meaning) }
}

static PARAMETERS: [Parameter; 27] = [
    same("appendonly", word, |engine, text| {
        text.write_str(if engine.options.data_dir.is_some() { "yes" } else { "no" })
    }),
    same("appendfsync", word, |engine, text| {
        text.write_str(match engine.options.durability {
            Durability::Always => "always",
            Durability::Everysec => "everysec",
            Durability::Os => "no",
        })
    }),
    same("busy-reply-threshold", word, script_time_ms),
    fixed("bind", |engine, text| write!(text, "{}", engine.options.tcp.ip())),
    fixed("dir", |engine, text| match &engine.options.data_dir {
        Some(path) => write!(text, "{}", path.display()),
        None => Ok(()),
    }),
    fixed("databases", |engine, text| write!(text, "{}", engine.options.databases)),
    fixed("enable-debug-command", |engine, text| {
        text.write_str(if engine.options.debug_commands { "yes" } else { "no" })
    }),
    fixed("io-threads", |_, text| text.write_str("1")),
    // No latency is recorded but what INFO and the metrics show.
    same("latency-monitor-threshold", word, |_, text| text.write_str("0")),
    Parameter {
        name: "loglevel",
        get: |engine, text| text.write_str(engine.runtime.log_level.name()),
        setting: Setting::LogLevel,
    },
    same("lua-time-limit", word, script_time_ms),
    Parameter {
        name: "maxclients",
        get: |engine, text| write!(text, "{}", engine.runtime.max_clients),
        // Room for them was reserved at start.
        setting: Setting::Integer {
            min: 1,
            max: |engine| engine.options.max_clients as i64,
            set: |engine, value| engine.runtime.max_clients = value as usize,
        },
    },
    Parameter {
        name: "max-step-keys",
        get: |engine, text| write!(text, "{}", engine.runtime.max_step_keys),
        setting: Setting::Integer {
            min: 0,
            max: |_| i64::MAX,
            set: |engine, value| engine.runtime.max_step_keys = value as u64,
        },
    },
    Parameter {
        name: "maxmemory",
        get: |engine, text| write!(text, "{}", engine.runtime.memory_bytes),
        setting: Setting::Memory,
    },
    same("maxmemory-policy", word, |engine, text| text.write_str(engine.policy())),
    Parameter {
        name: "notify-keyspace-events",
        get: |engine, text| write!(text, "{}", engine.runtime.key_events),
        setting: Setting::KeyEvents,
    },
    fixed("port", |engine, text| write!(text, "{}", engine.options.tcp.port())),
    fixed("proto-max-bulk-len", |engine, text| write!(text, "{}", engine.max_value_bytes())),
    same("replica-read-only", word, |_, text| text.write_str("yes")),
    same("save", word, |_, _| Ok(())),
    same("slave-read-only", word, |_, text| text.write_str("yes")),
    Parameter {
        name: "slowlog-log-slower-than",
        get: |engine, text| write!(text, "{}", engine.runtime.slowlog_slower_than_us),
        setting: Setting::Integer {
            min: -1,
            max: |_| i64::MAX,
            set: |engine, value| engine.runtime.slowlog_slower_than_us = value,
        },
    },
    Parameter {
        name: "slowlog-max-len",
        get: |engine, text| write!(text, "{}", engine.runtime.slowlog_len_max),
        setting: Setting::Integer {
            min: 0,
            max: |_| SLOWLOG_LEN_MAX as i64,
            set: |engine, value| engine.runtime.slowlog_len_max = value as usize,
        },
    },
    fixed("tcp-keepalive", |_, text| text.write_str("300")),
    Parameter {
        name: "timeout",
        get: |engine, text| write!(text, "{}", engine.runtime.idle_timeout.seconds()),
        setting: Setting::Integer {
            min: 0,
            max: |_| i64::from(i32::MAX),
            set: |engine, value| engine.runtime.idle_timeout = TimeLimit::from_seconds(value as u32),
        },
    },
    same("tracking-table-max-keys", word, |engine, text| {
        write!(text, "{}", engine.process_stats.tracking_items_max)
    }),
    fixed("unixsocket", |_, _| Ok(())),
];

/// Redis has two names for it. Here it ends a script, where Redis begins to answer others with an error.
fn script_time_ms(engine: &Engine, text: &mut String) -> std::fmt::Result {
    write!(text, "{}", engine.options.script_time.as_millis())
}

impl Engine {
    /// Redis's name for what happens when memory is full.
    pub(super) fn policy(&self) -> &'static str {
        match self.store.config().on_full {
            OnFull::Refuse => "noeviction",
            OnFull::Evict => "allkeys-lru",
        }
    }
}

/// `CONFIG GET pattern …`
pub fn get<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let args = call.args.from(2);
    // Every pattern may be matched with every parameter: all of them together are bounded.
    let len =
        args.iter().map(|arg| if let Arg::Bytes(bytes) = arg { bytes.len() + 1 } else { 0 }).sum::<usize>();
    if len > glob::PATTERN_BYTES_MAX {
        let limit = glob::PATTERN_BYTES_MAX as u64;
        return Err(ErrorKind::PatternTooLong.of_both(Part::Number(len as u64), Part::Number(limit)));
    }
    // The pattern that a parameter matches; of several, the first.
    let chosen = PARAMETERS.iter().filter_map(|parameter| {
        let patterns = (0..args.len()).filter_map(|at| args.bytes(at));
        let matches = |pattern: &&[u8]| glob::matches(pattern, parameter.name.as_bytes(), true);
        Some((parameter, patterns.into_iter().find(matches)?))
    });
    call.out.map(chosen.clone().count());
    let mut text = std::mem::take(&mut call.engine.text);
    for (parameter, pattern) in chosen {
        text.clear();
        // Writing to a String cannot fail.
        let _ = (parameter.get)(call.engine, &mut text);
        // A name comes back as it was spelt.
        let is_name = !pattern.iter().any(|byte| b"*?[".contains(byte));
        call.out.bulk(if is_name { pattern } else { parameter.name.as_bytes() });
        call.out.bulk(text.as_bytes());
    }
    call.engine.text = text;
    Ok(Flow::Done)
}

/// `CONFIG SET parameter value …`: all of them or none.
pub fn set<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    if call.args.len() % 2 == 1 {
        return Err(ErrorKind::Syntax.plain());
    }
    let names = (2..call.args.len()).step_by(2);
    for at in names.clone() {
        let name = call.bytes(at)?;
        let parameter = find(name).ok_or(ErrorKind::ConfigUnknown.of(name))?;
        if matches!(parameter.setting, Setting::Fixed) {
            return Err(ErrorKind::ConfigImmutable.of(parameter.name.as_bytes()));
        }
        if (2..at).step_by(2).any(|earlier| call.is_word(earlier, parameter.name)) {
            return Err(ErrorKind::ConfigDuplicate.of(parameter.name.as_bytes()));
        }
    }
    for apply in [false, true] {
        for at in names.clone() {
            let (name, value) = (call.bytes(at)?, call.bytes(at + 1)?);
            if let Some(parameter) = find(name) {
                assign(call.engine, parameter, value, apply)?;
            }
        }
    }
    call.ok()
}

/// `CONFIG RESETSTAT`
pub fn resetstat<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    call.engine.metrics.reset();
    call.ok()
}

fn find(name: &[u8]) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Checks a value, and with `apply` sets it.
fn assign(
    engine: &mut Engine,
    parameter: &'static Parameter,
    value: &[u8],
    apply: bool,
) -> Result<(), Error<'static>> {
    let name = Part::Bytes(parameter.name.as_bytes());
    match parameter.setting {
        Setting::Fixed => {}
        Setting::Same(meaning) => {
            let mut text = std::mem::take(&mut engine.text);
            text.clear();
            // Writing to a String cannot fail.
            let _ = (parameter.get)(engine, &mut text);
            let is_same = meaning(value) == meaning(text.as_bytes());
            engine.text = text;
            if !is_same {
                return Err(ErrorKind::ConfigFixed.of(parameter.name.as_bytes()));
            }
        }
        Setting::Integer { min, max, set } => {
            let max = max(engine);
            let number =
                parse_i64(value).ok_or(ErrorKind::ConfigNotAnInteger.of_both(name, Part::Bytes(b"")))?;
            if number < min || number > max {
                return Err(ErrorKind::ConfigNotBetween.with(name, Part::Integer(min), Part::Integer(max)));
            }
            if apply {
                set(engine, number);
            }
        }
        Setting::Memory => {
            let max = engine.options.memory_bytes;
            // 0 is Redis's word for no limit; here it is what was reserved.
            let asked = memory(value)
                .filter(|bytes| (0..=max).contains(bytes))
                .ok_or(ErrorKind::ConfigNotBetween.with(name, Part::Integer(0), Part::Number(max)))?;
            let bytes = if asked == 0 { max } else { asked };
            if apply {
                engine.runtime.memory_bytes = bytes;
                // The store gives up as large a part of its share, so that what INFO shows as used stays what it is.
                let store_bytes = u128::from(engine.store.memory().limit);
                engine.store.withhold((store_bytes * u128::from(max - bytes) / u128::from(max)) as u64);
            }
        }
        Setting::KeyEvents => {
            let events = KeyEvents::parse(value).ok_or(ErrorKind::ConfigKeyEvents.plain())?;
            if apply {
                engine.runtime.key_events = events;
            }
        }
        Setting::LogLevel => {
            let known =
                LogLevel::ALL.into_iter().find(|level| level.name().as_bytes().eq_ignore_ascii_case(value));
            let level = known.ok_or(ErrorKind::ConfigLogLevel.of_both(name, Part::Bytes(b"")))?;
            if apply {
                engine.runtime.log_level = level;
            }
        }
    }
    Ok(())
}
