//! Open files: each client takes one, and what the server needs for itself comes first.

use super::StartError;
use super::admin::CONNECTIONS_MAX;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors of the server itself beside those that are open at the start: the poll, the listeners, the UDP socket,
/// the reserve, both ends of two pipes for signals, a file of /proc while INFO reads it, a client while it is turned
/// away, and every connection of the admin port, so that probes are answered when clients have taken all the rest.
const OWN_COUNT: usize = 16 + CONNECTIONS_MAX;

/// Raises the limit on open files as far as it goes (the soft one is often 1,024 where the hard one is far higher), and
/// gives the number of clients that can be served: `max_clients`, or fewer, which is logged.
///
/// # Errors
/// Not even one client can be served.
pub(super) fn reserve(max_clients: usize) -> Result<usize, StartError> {
    let needed = OWN_COUNT + open_count();
    let wanted = max_clients.saturating_add(needed) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // Where the system refuses, the limit stays what it was, and is read again below.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let allowed = getrlimit(Resource::Nofile).current;
    let fit = clients_that_fit(allowed, needed);
    if fit == 0 {
        let allowed = allowed.unwrap_or_default();
        return Err(StartError(format!(
            "the system allows this process {allowed} open files, and the server needs {} before its first client: raise \
             the limit (ulimit -n, LimitNOFILE=)",
            needed + 1
        )));
    }
    if fit < max_clients {
        log::warn!(
            max_clients = fit, wanted = max_clients, descriptors = allowed;
            "at most {fit} clients at once instead of {max_clients}: the system allows this process {} open files; raise \
             the limit (ulimit -n, LimitNOFILE=)",
            allowed.unwrap_or_default()
        );
    }
    Ok(fit.min(max_clients))
}

/// Clients that can be served where the process may have `allowed` descriptors (`None`: any number).
fn clients_that_fit(allowed: Option<u64>, needed: usize) -> usize {
    let Some(allowed) = allowed else { return usize::MAX };
    usize::try_from(allowed).unwrap_or(usize::MAX).saturating_sub(needed)
}

/// Descriptors that are open now; the three standard ones where that cannot be seen.
fn open_count() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(3, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_needs_is_not_for_clients() {
        assert_eq!(clients_that_fit(Some(100), 30), 70);
        assert_eq!(clients_that_fit(Some(30), 30), 0);
        assert_eq!(clients_that_fit(Some(3), 30), 0);
        assert_eq!(clients_that_fit(None, 30), usize::MAX);
    }
}
