//! What an engine is told: its configuration, facts about the process that only the server knows, the password.

use crate::limits::{CLIENTS_DEFAULT, DATABASES_MAX};

/// How an engine is made.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What AUTH must give; at most [`PASSWORD_BYTES_MAX`] bytes.
    pub password: Option<Vec<u8>>,
    /// The limit of the whole process, which INFO and CONFIG show as `maxmemory`, in bytes.
    pub memory_limit_bytes: usize,
    /// Clients at once, most that CONFIG SET allows too.
    pub max_clients: usize,
    /// Databases that SELECT can name, 1..=[`DATABASES_MAX`]: as many as the store has.
    pub databases: u8,
    /// Clients are closed after so many idle seconds; 0: never.
    pub idle_timeout_s: u32,
    /// The port and address that CONFIG GET shows.
    pub port: u16,
    pub bind: String,
    /// Whether DEBUG SLEEP works.
    pub debug_allowed: bool,
    /// For RANDOMKEY.
    pub seed: u64,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            password: None,
            memory_limit_bytes: 0,
            max_clients: CLIENTS_DEFAULT,
            databases: DATABASES_MAX,
            idle_timeout_s: 0,
            port: 0,
            bind: String::new(),
            debug_allowed: false,
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

/// How much the server logs, in Redis's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    #[default]
    Notice,
    Warning,
}

impl LogLevel {
    /// Every level, the most talkative first.
    pub const ALL: [LogLevel; 4] = [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning];

    /// Redis's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Verbose => "verbose",
            LogLevel::Notice => "notice",
            LogLevel::Warning => "warning",
        }
    }
}

/// What CONFIG SET changes. The server looks at it whenever it uses one of them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clients are closed after so many idle seconds; 0: never.
    pub idle_timeout_s: u32,
    /// Clients at once.
    pub max_clients: usize,
    /// Commands that took so many microseconds enter the slow log; negative: none does.
    pub slowlog_slower_than_us: i64,
    /// Entries of the slow log.
    pub slowlog_len_max: usize,
    pub log_level: LogLevel,
}

/// What the engine cannot know and INFO shows; the server writes it before it runs INFO.
#[derive(Clone, Debug, Default)]
pub struct ProcessStats {
    pub connected_clients: u64,
    /// Bytes of buffers that clients hold.
    pub buffer_bytes: u64,
    /// Commands executed a second, over the last second or since the last turn of an idle server.
    pub commands_per_second: u64,
    /// Resident memory of the process in bytes, and the most it has been.
    pub resident_bytes: u64,
    pub resident_peak_bytes: u64,
    /// Processor time of the process in microseconds: user, system.
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    pub process_id: u32,
    /// Ports that are listened on; 0: none.
    pub tcp_port: u16,
    pub udp_port: u16,
    /// Since start.
    pub uptime_ms: u64,
    /// When the process started, Unix time.
    pub started_unix_ms: u64,
    /// Descriptors that the process has open, and may have; 0: not known.
    pub open_descriptors: u64,
    pub max_descriptors: u64,
    /// Turns of the loop over the sockets, the time spent in them, and the slowest of the last half to whole minute.
    pub turns: u64,
    pub busy_us: u64,
    pub slowest_turn_us: u64,
    /// Receives from the datagram socket that failed, and replies that it did not take.
    pub udp_receive_errors: u64,
    pub udp_send_errors: u64,
    /// Clients whose writes over frames are remembered; sessions ever opened, and forgotten to make room.
    pub frame_sessions: u64,
    pub frame_sessions_opened: u64,
    pub frame_sessions_dropped: u64,
}

/// Bytes of a password that are compared; a longer one never fits.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// A password, compared in a time that says nothing about it.
pub(super) struct Password {
    bytes: [u8; PASSWORD_BYTES_MAX],
    len: usize,
}

impl Password {
    /// # Panics
    /// If the password is longer than [`PASSWORD_BYTES_MAX`].
    pub(super) fn new(password: &[u8]) -> Password {
        let mut bytes = [0; PASSWORD_BYTES_MAX];
        bytes[..password.len()].copy_from_slice(password);
        Password { bytes, len: password.len() }
    }

    /// Whether `given` is the password. Always looks at [`PASSWORD_BYTES_MAX`] bytes of both, and never stops early.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let mut padded = [0; PASSWORD_BYTES_MAX];
        let len = given.len().min(PASSWORD_BYTES_MAX);
        padded[..len].copy_from_slice(&given[..len]);
        let mut difference = u64::from(given.len() as u64 != self.len as u64);
        for (a, b) in self.bytes.iter().zip(&padded) {
            difference |= u64::from(std::hint::black_box(a ^ b));
        }
        std::hint::black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_the_password() {
        let password = Password::new(b"secret");
        assert!(password.is(b"secret"));
        for given in [b"secre" as &[u8], b"secret\0", b"Secret", b"", &[0; 600]] {
            assert!(!password.is(given));
        }
    }
}
