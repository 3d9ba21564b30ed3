//! How much memory this process may use: the container's limit, else the machine's.
//!
//! ```text
//!  /proc/self/cgroup   "0::/kube/pod7/box"              (version 2)   "4:memory:/docker/ab"  (version 1)
//!  /sys/fs/cgroup      kube/pod7/box/memory.max  -> up to the root    memory/docker/ab/memory.limit_in_bytes
//!  /proc/meminfo       MemTotal
//! ```
//!
//! Every level up to the root may set a limit, and the smallest one counts. Inside a container the path in
//! `/proc/self/cgroup` may be one that only the host can see; the walk passes over what is not there and ends at the
//! mount's own root, which is then the container's. Every path starts from a given root, so that tests bring their own.

use std::{
    fmt, fs,
    path::{Component, Path, PathBuf},
};

use super::units::{Amount, format_size};

/// What `--memory` is when it is not set and no container has a limit, in bytes.
const DEFAULT_BYTES: u64 = 1 << 30;
/// What `--memory` is of a container's limit when it is not set: the rest is for the process itself and its sockets.
const DEFAULT_PERCENT: u8 = 75;

/// What the process may take beyond `--memory`, at worst, in bytes: a container needs as much more.
const MARGIN_BYTES: u64 = 8 << 20;

/// Where a limit was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A control group sets it: the file that says so.
    Container(PathBuf),
    /// It is all that the machine has.
    Machine,
}

/// The memory that this process may use at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// Where the number comes from.
    pub origin: Origin,
}

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = format_size(self.bytes);
        match &self.origin {
            Origin::Container(file) => write!(f, "the container's {size} ({})", file.display()),
            Origin::Machine => write!(f, "the machine's {size}"),
        }
    }
}

/// The memory to use, and where the number comes from, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Bytes.
    pub bytes: u64,
    /// A phrase such as `75% of the container's 64 MiB`.
    pub source: String,
}

/// Finds the number of bytes for `--memory`.
///
/// # Errors
/// A size beyond what there is; a percentage, where the machine does not tell how much memory there is.
pub fn resolve(setting: Option<Amount>, available: Option<&Available>) -> Result<Resolved, String> {
    let share = |percent: u8, of: &Available| Resolved {
        bytes: (u128::from(of.bytes) * u128::from(percent) / 100) as u64,
        source: format!("{percent}% of {of}"),
    };
    match (setting, available) {
        (Some(Amount::Bytes(bytes)), Some(available)) if bytes > available.bytes => Err(format!(
            "--memory {} is more than {available}; choose a smaller size, or a share such as {DEFAULT_PERCENT}%",
            format_size(bytes)
        )),
        (Some(Amount::Bytes(bytes)), Some(available))
            if matches!(available.origin, Origin::Container(_)) && available.bytes - bytes < MARGIN_BYTES =>
        {
            let margin = format_size(MARGIN_BYTES);
            let source =
                format!("as set, which is less than {margin} below {available}: it may be killed for it");
            Ok(Resolved { bytes, source })
        }
        (Some(Amount::Bytes(bytes)), _) => Ok(Resolved { bytes, source: "as set".to_owned() }),
        (Some(Amount::Percent(percent)), Some(available)) => Ok(share(percent, available)),
        (Some(Amount::Percent(_)), None) => {
            Err("the machine does not tell how much memory it has; set --memory to a size such as 64MiB"
                .to_owned())
        }
        (None, Some(available))
            if matches!(available.origin, Origin::Container(_)) || available.bytes < DEFAULT_BYTES =>
        {
            Ok(share(DEFAULT_PERCENT, available))
        }
        (None, _) => {
            Ok(Resolved { bytes: DEFAULT_BYTES, source: "the default outside a container".to_owned() })
        }
    }
}

/// The smallest limit that holds for this process, with the files under `root` (`/`, but in tests).
pub fn available(root: &Path) -> Option<Available> {
    let machine = machine_bytes(root);
    let container = container_limit(root);
    match (container, machine) {
        // A limit above what there is limits nothing; version 1 says "none" by such a number.
        (Some(container), Some(machine)) if container.bytes >= machine => {
            Some(Available { bytes: machine, origin: Origin::Machine })
        }
        (Some(container), _) => Some(container),
        (None, machine) => machine.map(|bytes| Available { bytes, origin: Origin::Machine }),
    }
}

fn machine_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

fn container_limit(root: &Path) -> Option<Available> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mount = root.join("sys/fs/cgroup");
    groups.lines().filter_map(|line| group_limit(&mount, line)).min_by_key(|found| found.bytes)
}

/// The limit for one line of `/proc/self/cgroup`: `number:controllers:path`.
fn group_limit(mount: &Path, line: &str) -> Option<Available> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    if controllers.is_empty() {
        smallest_upwards(mount, path, "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        smallest_upwards(&mount.join("memory"), path, "memory.limit_in_bytes")
    } else {
        None
    }
}

/// The smallest number in the files called `name` from `mount`/`path` up to `mount`.
fn smallest_upwards(mount: &Path, path: &str, name: &str) -> Option<Available> {
    // "/../other" is what a process outside its namespace's root sees: no place that we could look at.
    let inside: PathBuf = Path::new(path)
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part),
            _ => None,
        })
        .collect();
    let limits = inside.ancestors().filter_map(|level| {
        let file = mount.join(level).join(name);
        let bytes = fs::read_to_string(&file).ok()?.trim().parse().ok()?; // "max" is no number: no limit here
        Some(Available { bytes, origin: Origin::Container(file) })
    });
    limits.min_by_key(|found| found.bytes)
}

#[cfg(test)]
mod tests;
