//! The log: lines of text or JSON objects on stderr, times in UTC to the millisecond.
//!
//! Text: `2026-01-31T23:59:59.123Z [INFO] pannier::net: listening …`. JSON: one object a line, with the keys `time`,
//! `level`, `target` and `message`, and one for each fact of the message that a program may want (`peer`, `reason`,
//! `limit_bytes`, …). The level can be changed while the server runs, by `log::set_max_level`. Lines that
//! repeat are limited, see `log_limit.rs`.

use std::{
    fs::File,
    io::{self, LineWriter, Read, Write},
    path::Path,
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::log_limit::Limited;
use clap::ValueEnum;
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, LevelPadding, WriteLogger};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Bytes of a file with a level that are looked at.
const LEVEL_BYTES_MAX: u64 = 64;

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr. Later calls change the level only.
pub fn start(level: LevelFilter, format: LogFormat) {
    // The loggers themselves let everything pass, so that the one level of `log` decides and can be changed.
    let logger: Box<dyn Log> = match format {
        LogFormat::Text => {
            let stderr = LineWriter::new(io::stderr());
            Box::new(Limited::new(*WriteLogger::new(LevelFilter::Trace, text_config(), stderr), clock_ms))
        }
        LogFormat::Json => Box::new(Limited::new(JsonLogger, clock_ms)),
    };
    // A logger that is there already, as in tests, is as good.
    let _ = log::set_boxed_logger(logger);
    log::set_max_level(level);
}

/// The level of that name.
pub(super) fn parse_level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "the levels are off, error, warn, info, debug and trace".to_owned())
}

/// The level in a file, for `--log-level-file`.
pub(super) fn read_level_file(file: &Path) -> Result<LevelFilter, String> {
    let shown = file.display();
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(LEVEL_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read the log level file {shown}: {error}"))?;
    match text.trim() {
        "" => Err(format!("the log level file {shown} is empty; write a level into it, such as info")),
        level => parse_level(level).map_err(|levels| format!("the log level file {shown}: {levels}")),
    }
}

/// Milliseconds since the first call, for the limit on lines: a step of the wall clock must not hold it up.
fn clock_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // Logging is the edge of the program: nothing else depends on this clock.
    #[allow(clippy::disallowed_methods)]
    let now = Instant::now();
    now.duration_since(*START.get_or_init(|| now)).as_millis() as u64
}

fn text_config() -> simplelog::Config {
    let mut config = ConfigBuilder::new();
    config
        .set_time_format_custom(TIME_FORMAT)
        .set_time_level(LevelFilter::Error)
        .set_target_level(LevelFilter::Error)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_level_padding(LevelPadding::Off);
    config.build()
}

/// RFC 3339 in UTC, always with three digits of milliseconds, so that lines sort as text.
const TIME_FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Writes each record with one system call, so that lines of a crowded stderr stay whole.
struct JsonLogger;

impl Log for JsonLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = json_line(record, unix_ms());
        // Without stderr there is no place to report that it is gone.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

fn json_line(record: &Record<'_>, unix_ms: u64) -> String {
    let mut object = serde_json::Map::new();
    // Numbers stay numbers; all else is what the text shows.
    struct Fields<'a>(&'a mut serde_json::Map<String, serde_json::Value>);
    impl<'kvs> log::kv::VisitSource<'kvs> for Fields<'_> {
        fn visit_pair(
            &mut self,
            key: log::kv::Key<'kvs>,
            value: log::kv::Value<'kvs>,
        ) -> Result<(), log::kv::Error> {
            let shown = match (value.to_u64(), value.to_i64()) {
                (Some(number), _) => number.into(),
                (None, Some(number)) => number.into(),
                (None, None) => value.to_string().into(),
            };
            self.0.insert(key.to_string(), shown);
            Ok(())
        }
    }
    // A field that cannot be shown is left out; the line stays.
    let _ = record.key_values().visit(&mut Fields(&mut object));
    object.insert("time".to_owned(), format_time(unix_ms).into());
    object.insert("level".to_owned(), record.level().as_str().to_ascii_lowercase().into());
    object.insert("target".to_owned(), record.target().into());
    object.insert("message".to_owned(), record.args().to_string().into());
    format!("{}\n", serde_json::Value::Object(object))
}

/// The last line of a server that did not start, or did not go on, in the format of its log.
pub(super) fn failure_line(format: LogFormat, exit: super::Exit, message: &str) -> String {
    match format {
        LogFormat::Text => format!("pannier: {message}\n"),
        LogFormat::Json => {
            let args = format_args!("{message}");
            let fields = [("exit_code", exit as u8)];
            let mut record = Record::builder();
            record.args(args).level(log::Level::Error).target("pannier").key_values(&fields);
            json_line(&record.build(), unix_ms())
        }
    }
}

/// The wall clock; logging is the edge of the program, and nothing else depends on it.
#[allow(clippy::disallowed_methods)]
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn format_time(unix_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok();
    // A clock beyond the year 9999 is no reason to lose the line.
    time.and_then(|time| time.format(TIME_FORMAT).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_001, "2024-03-01T00:00:00.001Z"),
            (1_798_761_599_123, "2026-12-31T23:59:59.123Z"),
            (u64::MAX, ""),
        ] {
            assert_eq!(format_time(unix_ms), text);
        }
    }

    /// A place to write to that can be looked into afterwards.
    #[derive(Clone, Default)]
    struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_text_line_has_time_level_target_and_message() {
        let shared = Shared::default();
        let logger = WriteLogger::new(LevelFilter::Trace, text_config(), shared.clone());
        let args = format_args!("listening");
        logger.log(&Record::builder().args(args).level(log::Level::Info).target("pannier::net").build());
        let line = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "[INFO] pannier::net: listening\n");
        assert!(time.len() == "2026-01-31T23:59:59.123Z".len() && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn a_json_line_is_one_object_whatever_the_message() {
        let message = "key \"a\nb\" \u{1b}[31m";
        let args = format_args!("{message}");
        let record = Record::builder().args(args).level(log::Level::Warn).target("pannier::net").build();
        let line = json_line(&record, 0);
        assert_eq!(line.matches('\n').count(), 1);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:00.000Z", "level": "warn", "target": "pannier::net", "message": message,
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn facts_are_fields_and_none_of_them_hides_the_line() {
        let args = format_args!("turned away");
        let fields: [(&str, &dyn log::kv::ToValue); 3] =
            [("peer", &"10.0.0.9:1"), ("limit_bytes", &67_108_864_u64), ("message", &"other")];
        let record = Record::builder().args(args).level(log::Level::Warn).key_values(&fields).build();
        let object: serde_json::Value = serde_json::from_str(&json_line(&record, 0)).unwrap();
        assert_eq!(
            (object["peer"].as_str(), object["limit_bytes"].as_u64()),
            (Some("10.0.0.9:1"), Some(67_108_864))
        );
        assert_eq!(object["message"], "turned away");
    }
}
