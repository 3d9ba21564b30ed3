//! Levels of the log in Redis's words (CONFIG SET loglevel) and in those of the `log` crate.

use crate::config::LogLevel;
use log::LevelFilter;

/// What is let through at a level that CONFIG SET names.
pub fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::Trace,
        LogLevel::Verbose => LevelFilter::Debug,
        LogLevel::Notice => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
    }
}

/// What CONFIG GET shows; Redis has no word for less than warnings.
pub fn nearest(filter: LevelFilter) -> LogLevel {
    match filter {
        LevelFilter::Trace => LogLevel::Debug,
        LevelFilter::Debug => LogLevel::Verbose,
        LevelFilter::Info => LogLevel::Notice,
        LevelFilter::Warn | LevelFilter::Error | LevelFilter::Off => LogLevel::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for level in LogLevel::ALL {
            assert_eq!(nearest(filter(level)), level);
        }
    }
}
