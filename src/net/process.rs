//! What the system knows of this process: memory, processor time, its number.

use crate::metrics::ProcessStats;
use std::fs::File;
use std::io::Read;

/// Fills in the statistics of the process. What cannot be read stays as it was.
pub fn process_stats(process_stats: &mut ProcessStats) {
    process_stats.process_id = std::process::id();
    // Since Linux 6.2 the size of this directory is the count of its entries, which else would have to be listed.
    process_stats.open_descriptors = std::fs::metadata("/proc/self/fd").map_or(0, |found| found.len());
    process_stats.max_descriptors =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(0);
    let mut bytes = [0; 4096];
    if let Some(text) = read("/proc/self/status", &mut bytes) {
        process_stats.resident_bytes = kibibytes(text, "VmRSS:").unwrap_or(process_stats.resident_bytes);
        process_stats.resident_peak_bytes =
            kibibytes(text, "VmHWM:").unwrap_or(process_stats.resident_peak_bytes);
    }
    if let Some(text) = read("/proc/self/stat", &mut bytes) {
        // Behind the name, which may hold anything but is in brackets, user and system time are fields 12 and 13.
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut times = fields.split_ascii_whitespace().skip(11).map(|field| field.parse::<u64>());
        if let (Some(Ok(user)), Some(Ok(system))) = (times.next(), times.next()) {
            process_stats.cpu_user_us = user * TICK_US;
            process_stats.cpu_system_us = system * TICK_US;
        }
    }
}

/// Linux counts processor time for user space in hundredths of a second on every architecture that Rust runs on.
const TICK_US: u64 = 10_000;

/// The front of a file, without allocating.
fn read<'b>(path: &str, bytes: &'b mut [u8; 4096]) -> Option<&'b str> {
    let len = File::open(path).ok()?.read(bytes).ok()?;
    std::str::from_utf8(&bytes[..len]).ok()
}

/// The number behind a label of `/proc/self/status`, in bytes.
fn kibibytes(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_number() {
        let mut found = ProcessStats::default();
        process_stats(&mut found);
        assert!(found.resident_bytes > 100_000 && found.resident_peak_bytes >= found.resident_bytes);
        assert_eq!(found.process_id, std::process::id());
        assert!(found.max_descriptors > 2 && found.open_descriptors <= found.max_descriptors);
    }

    #[test]
    fn labels_are_found_in_their_lines() {
        assert_eq!(kibibytes("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(kibibytes("VmPeak:\t 9 kB\n", "VmRSS:"), None);
    }
}
