//! CPU time of a process, as Linux keeps it.
//!
//! ```text
//!  /proc/PID/task/*/schedstat   nanoseconds on a CPU, of each thread
//!  /proc/PID/stat               user and system time in ticks of 10 ms, which gives their shares
//! ```

use std::{fs, io, path::PathBuf};

/// CPU time used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) total_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
}

/// A process by its number, or `self`.
#[derive(Clone, Debug)]
pub(super) struct Process(PathBuf);

impl Process {
    pub(super) fn of(pid: u32) -> Process {
        Process(format!("/proc/{pid}").into())
    }

    pub(super) fn own() -> Process {
        Process("/proc/self".into())
    }

    /// What all its threads that are still there have used.
    ///
    /// # Errors
    /// There is no such process, or its figures cannot be read.
    pub(super) fn cpu(&self) -> io::Result<Cpu> {
        let mut total_ns = 0;
        for task in fs::read_dir(self.0.join("task"))? {
            // A thread may end meanwhile.
            if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
                total_ns += first_number(&text).ok_or(io::ErrorKind::InvalidData)?;
            }
        }
        let (user_ticks, system_ticks) =
            ticks(&fs::read_to_string(self.0.join("stat"))?).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Cpu { total_ns, user_ticks, system_ticks })
    }
}

impl Cpu {
    /// What was used since an earlier reading.
    pub(super) fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// The share of user time, where there were enough ticks to tell one per cent.
    pub(super) fn user_share(self) -> Option<f64> {
        let ticks = self.user_ticks + self.system_ticks;
        (ticks >= 100).then(|| self.user_ticks as f64 / ticks as f64)
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15; the second field is a name in parentheses that may hold spaces.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194304 100 0 0 0 250 750 0 0 20 0 1 0 5 1 2";
        assert_eq!(ticks(stat), Some((250, 750)));
        let cpu = Cpu { total_ns: 5, user_ticks: 250, system_ticks: 750 };
        assert_eq!(cpu.user_share(), Some(0.25));
        assert_eq!(cpu.since(Cpu { total_ns: 2, user_ticks: 240, system_ticks: 700 }).user_share(), None);
    }

    #[test]
    fn a_process_that_works_uses_time() {
        let before = Process::own().cpu().unwrap();
        // The kernel may bring the sum up to date at its ticks alone, every 1 to 10 ms.
        let is_counted = (0..1000).any(|_| {
            let sum = (0..1_000_000u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
            assert!(std::hint::black_box(sum) < u64::MAX);
            Process::own().cpu().unwrap().since(before).total_ns > 0
        });
        assert!(is_counted);
        assert!(Process::of(u32::MAX).cpu().is_err());
    }
}
