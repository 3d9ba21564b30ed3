//! How the memory limit is divided between the store, the buffers and the tables, before anything is opened.

use super::disk::STACK_BYTES;
use super::udp::HELD_BYTES;
use super::{ServerOptions, StartError, admin::AdminPort, peers::Peers};
use crate::config::{Durability, OnFull};
use crate::frames::FrameServer;
use crate::journal::{BUFFER_COUNT, CHECKPOINT_BUFFER_COUNT};
use crate::limits::{CLIENTS_DEFAULT, KIB, MIB, SEGMENT_BYTES, UDP_CLIENTS_DEFAULT};
use crate::server::{Floors, Server};
use crate::store::feed::FEED_BYTES_MIN;

/// How the memory limit is divided.
pub(super) struct Budget {
    pub(super) store_bytes: usize,
    pub(super) input_bytes: usize,
    pub(super) output_bytes: usize,
    pub(super) queue_bytes: usize,
    /// Bytes of the change feed's ring, of the store's.
    pub(super) feed_bytes: usize,
    /// Bytes of the tables of subscriptions.
    pub(super) subscription_bytes: usize,
    /// Bytes of the tables of CLIENT TRACKING.
    pub(super) tracking_bytes: usize,
    pub(super) udp_clients: usize,
    /// What clients have of it in any case; the numbers above are ceilings.
    pub(super) floors: Floors,
    /// Bytes of one buffer of the journal.
    pub(super) journal_buffer_bytes: usize,
    /// Bytes that the system may hold of what one client has sent and the server has not read. They are not a part of
    /// the limit, but a container pays for them.
    pub(super) receive_bytes: usize,
}

/// The bounds of [`Budget::receive_bytes`]. Below a megabyte, taking in a value of a megabyte costs the more processor
/// time the smaller the buffer: 203 µs with a megabyte, 237 with a half, 353 with a quarter, 512 with a sixteenth.
/// A limit of 48 MiB is what a container of 64 MiB has by default: there, the sockets of 500 clients that stop in long
/// commands, or take no replies, must fit beside it.
const RECEIVE_BYTES_LESS: usize = 40 * KIB;
const RECEIVE_BYTES_MIN: usize = 8 * KIB;
const RECEIVE_BYTES_MAX: usize = MIB;

/// The bounds of [`Budget::subscription_bytes`]: about 3,300 subscriptions, and 107,000.
const SUBSCRIPTION_BYTES_MIN: usize = 256 * KIB;
const SUBSCRIPTION_BYTES_MAX: usize = 8 * MIB;

/// The bounds of [`Budget::tracking_bytes`]: 8 bytes for each key that a client may hold, so 8,192 of them, and a million.
const TRACKING_BYTES_MIN: usize = 128 * KIB;
const TRACKING_BYTES_MAX: usize = 14 * MIB;

/// A feed's ring, at most: thousands of changes, which are read within a turn or two.
const FEED_BYTES_MAX: usize = 4 * MIB;

/// Memory that the process takes whatever it serves: its code and stacks. Clients are counted apart.
const PROCESS_BYTES: usize = 3 * MIB;
/// What the store needs, at least.
const STORE_BYTES_MIN: usize = 2 * MIB;
/// Clients that are allowed where no number is set, at least: a start with fewer than these says that memory is short.
const CLIENTS_DEFAULT_MIN: usize = 64;
/// Bytes that one client costs besides its buffers, in the tables that are reserved at start and touched as
/// clients come: its state, its names, its timer, its socket.
const CLIENT_BYTES: usize = Server::CLIENT_BYTES + Peers::CLIENT_BYTES;
/// Bytes that each allowed client costs whether it is there or not: its places in queues.
const QUEUE_BYTES: usize = Server::CLIENT_QUEUE_BYTES + Peers::CLIENT_QUEUE_BYTES;
/// One part in so many of the places in a table has its memory in any case.
const TABLE_PART: usize = 8;
/// At least so many clients, and sessions, have.
const CLIENTS_FLOOR_MIN: usize = 64;
const SESSIONS_FLOOR_MIN: usize = 16;

/// Clients that are allowed where no number is set: [`CLIENTS_DEFAULT`], or as many as a sixteenth of the memory pays
/// for, or as many as fit beside everything else that these options ask for.
#[must_use]
pub fn default_max_clients(options: &ServerOptions) -> usize {
    let memory_bytes = options.memory_bytes();
    let room = memory_bytes.saturating_sub(Fixed::new(options).ceilings_bytes() + STORE_BYTES_MIN);
    (room.min(memory_bytes / 16) / (client_bytes(options) + QUEUE_BYTES))
        .clamp(CLIENTS_DEFAULT_MIN, CLIENTS_DEFAULT)
}

/// The same with what it costs where replies wait for the disk.
fn client_bytes(options: &ServerOptions) -> usize {
    CLIENT_BYTES + if replies_wait(options) { Server::CLIENT_HOLD_BYTES } else { 0 }
}

fn replies_wait(options: &ServerOptions) -> bool {
    options.data_dir.is_some() && options.durability == Durability::Always
}

/// What the options ask for whatever the number of clients: all but the store and the clients' tables.
struct Fixed {
    /// Bytes for each direction's buffers.
    share: usize,
    subscription_bytes: usize,
    tracking_bytes: usize,
    udp_clients: usize,
    journal_buffer_bytes: usize,
    admin_bytes: usize,
    journal_bytes: usize,
    /// Datagrams' replies that wait for the disk.
    held_bytes: usize,
    /// The machine for scripts, which has its memory from the store: of huge pages the system fills in again what that gave back.
    script_bytes: usize,
}

impl Fixed {
    fn new(options: &ServerOptions) -> Fixed {
        let memory_bytes = options.memory_bytes();
        let share = (memory_bytes / 16).clamp(MIB, 64 * MIB);
        let journal_buffer_bytes = power_of_two(memory_bytes / 512, 128 * KIB, MIB);
        Fixed {
            share,
            subscription_bytes: (memory_bytes / 64).clamp(SUBSCRIPTION_BYTES_MIN, SUBSCRIPTION_BYTES_MAX),
            tracking_bytes: (memory_bytes / 64).clamp(TRACKING_BYTES_MIN, TRACKING_BYTES_MAX),
            // The at-most-once table gets as much as one direction's buffers, or what its usual number of clients takes.
            udp_clients: (share / FrameServer::SESSION_BYTES).clamp(16, UDP_CLIENTS_DEFAULT),
            journal_buffer_bytes,
            admin_bytes: if options.admin.is_some() { AdminPort::MEMORY_BYTES } else { 0 },
            journal_bytes: if options.data_dir.is_some() { journal_bytes(journal_buffer_bytes) } else { 0 },
            held_bytes: if replies_wait(options) && options.udp.is_some() { HELD_BYTES } else { 0 },
            script_bytes: if options.huge_pages { script_bytes(options) } else { 0 },
        }
    }

    /// The sum of it when clients have all that they may.
    fn ceilings_bytes(&self) -> usize {
        let buffers = self.share + self.share + self.share / 2;
        self.other_bytes() + buffers + self.udp_clients * FrameServer::SESSION_BYTES
    }

    /// The sum of it when clients have what is theirs in any case.
    fn floors_bytes(&self, floors: &Floors) -> usize {
        let buffers = floors.input_bytes + floors.output_bytes + floors.queue_bytes;
        self.other_bytes() + buffers + floors.sessions * FrameServer::SESSION_BYTES
    }

    /// What neither grows nor shrinks.
    fn other_bytes(&self) -> usize {
        PROCESS_BYTES
            + self.subscription_bytes
            + self.tracking_bytes
            + FrameServer::memory_bytes(self.udp_clients)
            - self.udp_clients * FrameServer::SESSION_BYTES
            + self.admin_bytes
            + self.journal_bytes
            + self.held_bytes
            + self.script_bytes
    }

    /// Where keys can be evicted for them, clients need little of their own. Where they cannot, half-sent commands and clients that come
    /// in a full store must not leave the others less than a server of this size needs: with half of the input buffers, strangers
    /// that stop in the middle of commands got clients closed that did not.
    fn floors(&self, options: &ServerOptions, client_bytes: usize) -> Floors {
        let (input_part, output_part, clients_part) = match options.on_full {
            OnFull::Refuse => (1, 2, 1),
            OnFull::Evict => (2, 4, TABLE_PART),
        };
        let max_clients = options.max_clients;
        if options.huge_pages {
            // Nothing can be lent.
            return Floors {
                input_bytes: self.share,
                output_bytes: self.share,
                queue_bytes: self.share / 2,
                clients: max_clients,
                client_bytes,
                sessions: self.udp_clients,
                session_bytes: FrameServer::SESSION_BYTES,
            };
        }
        Floors {
            input_bytes: (self.share / input_part).max(MIB),
            output_bytes: (self.share / output_part).max(MIB / 2),
            queue_bytes: self.share / 4,
            clients: (max_clients / clients_part).max(CLIENTS_FLOOR_MIN).min(max_clients),
            client_bytes,
            sessions: (self.udp_clients / TABLE_PART).max(SESSIONS_FLOOR_MIN).min(self.udp_clients),
            session_bytes: FrameServer::SESSION_BYTES,
        }
    }
}

impl Budget {
    /// Divides the memory limit: each direction's buffers get up to a sixteenth (at least 1 MiB, at most 64 MiB), every
    /// allowed client its part of the tables. The store has what is left when all have their floors, and lends what is between
    /// these and the ceilings.
    ///
    /// # Errors
    /// The limit is too small, or too small for so many clients; the text says what fits.
    pub(super) fn divide(options: &ServerOptions) -> Result<Budget, StartError> {
        let memory_bytes = options.memory_bytes();
        let fixed = Fixed::new(options);
        let client_bytes = client_bytes(options);
        let whole_client_bytes = client_bytes + QUEUE_BYTES;
        let clients = options.max_clients.saturating_mul(whole_client_bytes);
        let needed = fixed.ceilings_bytes() + STORE_BYTES_MIN;
        if memory_bytes < needed.saturating_add(clients) {
            return Err(too_small((memory_bytes, needed), (options.max_clients, whole_client_bytes)));
        }
        let floors = fixed.floors(options, client_bytes);
        let clients = floors.clients * client_bytes + options.max_clients * QUEUE_BYTES;
        let store_bytes = memory_bytes - fixed.floors_bytes(&floors) - clients;
        Ok(Budget {
            store_bytes,
            input_bytes: fixed.share,
            output_bytes: fixed.share,
            queue_bytes: fixed.share / 2,
            subscription_bytes: fixed.subscription_bytes,
            tracking_bytes: fixed.tracking_bytes,
            // A journal's disk may be slow for a while.
            feed_bytes: match options.data_dir {
                Some(_) => power_of_two(memory_bytes / 64, 512 * KIB, 8 * MIB),
                None => power_of_two(memory_bytes / 64, FEED_BYTES_MIN, FEED_BYTES_MAX),
            },
            udp_clients: fixed.udp_clients,
            floors,
            journal_buffer_bytes: fixed.journal_buffer_bytes,
            receive_bytes: (memory_bytes / 1024)
                .saturating_sub(RECEIVE_BYTES_LESS)
                .clamp(RECEIVE_BYTES_MIN, RECEIVE_BYTES_MAX),
        })
    }
}

/// Bytes that the machine for scripts takes, once there is one.
fn script_bytes(options: &ServerOptions) -> usize {
    (options.script_memory_bytes.min(options.memory_bytes / 4) as usize).next_multiple_of(SEGMENT_BYTES)
}

/// Bytes that a journal takes beside the store: its buffers, a checkpoint's, and the stack of the disk's thread.
const fn journal_bytes(buffer_bytes: usize) -> usize {
    (BUFFER_COUNT + CHECKPOINT_BUFFER_COUNT) * buffer_bytes + STACK_BYTES
}

/// The power of two at or below `bytes`, between two others.
fn power_of_two(bytes: usize, least: usize, most: usize) -> usize {
    (1 << bytes.max(1).ilog2()).clamp(least, most)
}

/// Says what fits: another number of clients where that helps, else a larger limit.
fn too_small(
    (memory_bytes, needed): (usize, usize),
    (max_clients, client_bytes): (usize, usize),
) -> StartError {
    let clients = max_clients.saturating_mul(client_bytes);
    let enough = needed.saturating_add(clients).div_ceil(MIB);
    let clients_fit = memory_bytes.saturating_sub(needed) / client_bytes;
    // A handful of clients is no way out.
    if clients_fit >= 16 {
        return StartError(format!(
            "{max_clients} clients take {} KiB of the memory limit of {} KiB, which leaves too little for data: at most \
             {clients_fit} fit (--max-clients {clients_fit}), or raise the limit (--memory {enough}MiB)",
            clients.div_ceil(KIB),
            memory_bytes / KIB,
        ));
    }
    StartError(format!(
        "a memory limit of {} KiB is too small: {} KiB are needed (--memory {enough}MiB)",
        memory_bytes / KIB,
        needed.saturating_add(clients).div_ceil(KIB),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::INLINE_VALUE_BYTES_MAX;
    use crate::mutation::{Database, Mutation, NewValue};
    use crate::store::{Store, StoreConfig};
    use crate::time::Millis;

    impl Budget {
        fn is_all_floors(&self, max_clients: usize) -> bool {
            let Floors { input_bytes, output_bytes, queue_bytes, clients, sessions, .. } = self.floors;
            (input_bytes, output_bytes, queue_bytes)
                == (self.input_bytes, self.output_bytes, self.queue_bytes)
                && (clients, sessions) == (max_clients, self.udp_clients)
        }
    }

    fn options(memory_bytes: usize, max_clients: usize) -> ServerOptions {
        ServerOptions { memory_bytes: memory_bytes as u64, max_clients, ..ServerOptions::default() }
    }

    /// docs/memory.md says who has which floor and which ceiling; that the sums are right is shown here.
    #[test]
    fn the_floors_and_the_store_are_the_limit_and_the_ceilings_leave_the_store_its_least() {
        let journal = |asked: ServerOptions| ServerOptions { data_dir: Some("data".into()), ..asked };
        for mebibytes in [9, 10, 16, 33, 64, 500, 1024, 16_384] {
            let asked = options(mebibytes * MIB, 0);
            let usual = ServerOptions { max_clients: default_max_clients(&asked), ..asked.clone() };
            let few = ServerOptions { max_clients: 3, ..asked };
            let cache = ServerOptions { on_full: OnFull::Evict, ..usual.clone() };
            let huge = ServerOptions { huge_pages: true, ..cache.clone() };
            for asked in [few, journal(usual.clone()), usual, cache, huge] {
                if (asked.data_dir.is_some() || asked.huge_pages) && mebibytes < 16 {
                    continue;
                }
                let (budget, fixed) = (Budget::divide(&asked).unwrap(), Fixed::new(&asked));
                let (floors, clients) = (&budget.floors, asked.max_clients);
                assert!(!asked.huge_pages || budget.is_all_floors(clients), "nothing is lent of huge pages");
                let at_floors = PROCESS_BYTES
                    + budget.store_bytes
                    + floors.input_bytes
                    + floors.output_bytes
                    + floors.queue_bytes
                    + budget.subscription_bytes
                    + budget.tracking_bytes
                    + FrameServer::memory_bytes(budget.udp_clients)
                    - (budget.udp_clients - floors.sessions) * FrameServer::SESSION_BYTES
                    + floors.clients * CLIENT_BYTES
                    + clients * QUEUE_BYTES
                    + fixed.admin_bytes
                    + fixed.journal_bytes
                    + fixed.script_bytes;
                assert_eq!(at_floors, asked.memory_bytes(), "{mebibytes} MiB");
                let borrowed_max = budget.input_bytes - floors.input_bytes + budget.output_bytes
                    - floors.output_bytes
                    + budget.queue_bytes
                    - floors.queue_bytes
                    + (budget.udp_clients - floors.sessions) * FrameServer::SESSION_BYTES
                    + (clients - floors.clients) * CLIENT_BYTES;
                assert!(budget.store_bytes - borrowed_max >= STORE_BYTES_MIN, "{mebibytes} MiB");
            }
        }
    }

    /// The last two columns of the table of docs/memory.md.
    #[test]
    fn the_page_on_memory_has_these_numbers() {
        let page = include_str!("../../docs/memory.md");
        let asked = ServerOptions { memory_bytes: 64 * MIB as u64, ..ServerOptions::default() };
        let asked = ServerOptions { max_clients: default_max_clients(&asked), ..asked };
        let (budget, clients) = (Budget::divide(&asked).unwrap(), asked.max_clients);
        let floors = &budget.floors;
        let session_bytes = FrameServer::SESSION_BYTES;
        let mut fixed = asked.memory_bytes() - budget.store_bytes;
        let mut row = |user: &str, floor: usize, ceiling: usize| {
            fixed -= floor;
            let numbers = format!(" | {} | {} |", floor.div_ceil(KIB), ceiling.div_ceil(KIB));
            let line = page.lines().find(|line| line.starts_with(&format!("| {user} |"))).unwrap_or_default();
            assert!(line.ends_with(&numbers), "{user}{numbers}");
        };
        row("what clients have sent and not finished", floors.input_bytes, budget.input_bytes);
        row("replies that are not taken yet", floors.output_bytes, budget.output_bytes);
        row("queued transactions", floors.queue_bytes, budget.queue_bytes);
        row("places of clients", floors.clients * CLIENT_BYTES, clients * CLIENT_BYTES);
        let sessions = [floors.sessions, budget.udp_clients].map(|count| count * session_bytes);
        row("sessions of frames (the at-most-once table)", sessions[0], sessions[1]);
        row("clients' places in queues, allowed or not", clients * QUEUE_BYTES, clients * QUEUE_BYTES);
        row("subscriptions", budget.subscription_bytes, budget.subscription_bytes);
        row("`CLIENT TRACKING`", budget.tracking_bytes, budget.tracking_bytes);
        let rest = format!(
            "| the process: code, stacks, fixed tables | 3 MiB and what is small | the same | {0} | {0} |",
            fixed.div_ceil(KIB)
        );
        assert!(page.contains(&rest), "{rest}");
        let store = budget.store_bytes.div_ceil(KIB);
        assert!(
            page.contains(&format!("| what the others leave | the same | {store} | {store} |")),
            "{store}"
        );
        assert!(
            page.contains(&format!("its default of {},{:03} clients", clients / 1000, clients % 1000)),
            "{clients}"
        );
    }

    #[test]
    fn allowed_clients_cost_little_until_they_come() {
        let cache = |max_clients| ServerOptions { on_full: OnFull::Evict, ..options(64 * MIB, max_clients) };
        let store_bytes = |max_clients| Budget::divide(&cache(max_clients)).unwrap().store_bytes;
        assert!(store_bytes(10) - store_bytes(10_000) < 10_000 * CLIENT_BYTES / 4);
    }

    #[test]
    fn too_many_clients_are_an_error_that_says_how_many_fit() {
        let error = Budget::divide(&options(16 * MIB, 19_900)).err().unwrap().to_string();
        let (_, rest) = error.split_once("--max-clients ").unwrap();
        let fit: usize = rest.split_once(')').unwrap().0.parse().unwrap();
        assert!(Budget::divide(&options(16 * MIB, fit)).is_ok(), "{error}");
        assert!(Budget::divide(&options(16 * MIB, fit + 1)).is_err(), "{error}");
        let (_, rest) = error.split_once("--memory ").unwrap();
        let enough: usize = rest.split_once("MiB").unwrap().0.parse().unwrap();
        // The buffers grow with the limit, so what is named may be a little short, and says so again.
        assert!(Budget::divide(&options((enough + enough / 4) * MIB, 19_900)).is_ok(), "{error}");
        assert!(Budget::divide(&options(16 * MIB, usize::MAX)).is_err());
    }

    #[test]
    fn the_default_fits_any_memory_that_is_large_enough_at_all() {
        let admin = Some("127.0.0.1:0".parse().unwrap());
        let small = ServerOptions { admin, ..options(0, 64) };
        let with_journal = ServerOptions { data_dir: Some("data".into()), ..small.clone() };
        let with_always = ServerOptions { durability: Durability::Always, ..with_journal.clone() };
        for asked in [options(0, 64), small, with_journal, with_always] {
            for mebibytes in [9, 10, 11, 12, 13, 14, 15, 16, 64, 1024, 4096] {
                let memory_bytes = mebibytes * MIB;
                let asked = ServerOptions { memory_bytes: memory_bytes as u64, ..asked.clone() };
                let max_clients = default_max_clients(&asked);
                let clients_bytes = max_clients * (CLIENT_BYTES + QUEUE_BYTES);
                assert!(max_clients == CLIENTS_DEFAULT || clients_bytes <= memory_bytes / 16);
                assert!((max_clients == CLIENTS_DEFAULT) >= (mebibytes >= 1024), "{mebibytes} MiB");
                let is_enough = Budget::divide(&asked).is_ok();
                let divided = Budget::divide(&ServerOptions { max_clients, ..asked });
                assert_eq!(divided.is_ok(), is_enough, "{mebibytes} MiB, {max_clients} clients");
            }
        }
    }

    /// What is left at the first refusal is less than the refused value takes, and is to be had by shorter ones.
    #[test]
    fn the_figure_says_that_a_store_is_full_when_it_refuses_whatever_its_limit_and_its_values() {
        for mebibytes in [10, 11, 16, 64] {
            for len in [32, 1024, 10_000, 100_000, 1_000_000] {
                let asked = ServerOptions {
                    max_clients: default_max_clients(&options(mebibytes * MIB, 64)),
                    ..options(mebibytes * MIB, 64)
                };
                let budget = Budget::divide(&asked).unwrap();
                let config = StoreConfig {
                    memory_bytes: budget.store_bytes,
                    feed_bytes: budget.feed_bytes,
                    ..StoreConfig::default()
                };
                let mut store = Store::new(config, [1, 2]).unwrap();
                let mut number = 0_u64;
                let mut fill = |store: &mut Store, len| {
                    let value = vec![7; len];
                    loop {
                        let (key, value) = (number.to_be_bytes(), NewValue::Bytes(&value));
                        let put = Mutation::Put { db: Database(0), key: &key, value, expiry: None };
                        if store.apply(&put, Millis(1)).is_err() {
                            break;
                        }
                        number += 1;
                    }
                };
                fill(&mut store, len);
                let memory = store.memory();
                let used = memory.used_of(1000);
                let taken = len.next_multiple_of(SEGMENT_BYTES) + SEGMENT_BYTES;
                let least = if len <= INLINE_VALUE_BYTES_MAX { 970 } else { 0 };
                assert!(
                    used >= least && (used >= 970 || memory.writable < taken as u64),
                    "{mebibytes} MiB, {len} bytes: {used} of 1000, {} of {}",
                    memory.writable,
                    memory.writable_max
                );
                fill(&mut store, len.min(1000));
                let used = store.memory().used_of(1000);
                assert!(used >= 990, "{mebibytes} MiB, {len} bytes: {used} of 1000 for short ones");
            }
        }
    }
}
