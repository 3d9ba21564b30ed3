//! What runs came to, added up over seeds, and as a page for people.

use super::faults::{Fault, Injected};
use super::frames::Tally;
use super::udp_client::UdpClient;
use std::fmt;

macro_rules! sums {
    ($($(#[doc = $doc:literal])* $name:ident;)+) => {
        /// Sums over the runs.
        #[derive(Clone, Debug, Default)]
        pub struct Report {
            $($(#[doc = $doc])* pub $name: u64,)+
            /// The longest time between the last fault and the last client served, in µs.
            pub healing_us: u64,
            pub frames: Tally,
            /// Times that each fault was injected.
            pub injected: Injected,
        }

        impl Report {
            fn add_sums(&mut self, other: &Report) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

sums! {
    /// Runs.
    seeds;
    /// Events.
    steps;
    /// Time in the simulated world, in µs.
    simulated_us;
    /// Requests of UDP clients, and what became of them.
    asked_udp;
    done_udp;
    unknown_udp;
    timed_out_udp;
    refused_udp;
    /// Requests of TCP clients (commands that belong together count as one), and what became of them.
    asked_tcp;
    done_tcp;
    unknown_tcp;
    refused_tcp;
    /// Frames of the client that keeps no rules, and frames of others that it has sent again.
    asked_rogue;
    stolen_rogue;
    /// TCP connections made, turned away for want of a place, and given up by the server in the middle of a command.
    connections;
    turned_away;
    stuck_closed;
    /// TCP connections given up by the server because their answers were not taken.
    unread_closed;
    /// TCP connections given up by the server because they sat on too much of the buffers that all share.
    crowded_closed;
    /// Batches of commands, those in which commands of several connections ran ahead, and the commands that did.
    batches;
    shared_batches;
    ran_ahead;
    /// Writes of which the socket took a part, and MGETs that were answered piece by piece.
    partial_writes;
    answers_in_pieces;
    /// Slices of commands on many fields that went on later.
    slices;
    /// Transactions that ran, and that found a watched key changed.
    exec_done;
    exec_aborted;
    /// What UDP clients' sessions have counted.
    client_sent;
    client_retries;
    client_late;
    client_unknown;
    client_malformed;
    client_sessions;
    client_ports;
    /// Datagrams that arrived after a younger one.
    reordered;
    /// What servers have counted.
    sessions_opened;
    sessions_dropped;
    expired;
    expired_fields;
    evicted;
    refused;
    cleaned_segments;
    restarts;
    /// Walks by SCAN that came to their end, and keys that they had to show.
    walks;
    walked_keys;
    /// Keys whose history was checked from the clients' side, its operations, and keys left undecided.
    keys;
    operations;
    undecided;
}

impl Report {
    /// Adds another run's.
    pub fn add(&mut self, other: &Report) {
        self.add_sums(other);
        self.healing_us = self.healing_us.max(other.healing_us);
        self.frames.add(&other.frames);
        self.injected.add(&other.injected);
    }

    pub(super) fn add_client(&mut self, client: &UdpClient) {
        for counters in client.counters() {
            self.client_sent += counters.sent;
            self.client_retries += counters.retries;
            self.client_late += counters.late;
            self.client_unknown += counters.unknown;
            self.client_malformed += counters.malformed;
            self.client_sessions += counters.sessions;
            self.client_ports += counters.ports;
        }
    }

    /// What should have happened at least once in many runs, and has not: a simulator that injects nothing finds
    /// nothing.
    #[must_use]
    pub fn never_happened(&self) -> Vec<&'static str> {
        let faults = Fault::ALL.iter().map(|fault| (fault.name(), self.injected.of(*fault)));
        let frames = &self.frames;
        let others = [
            ("unknown outcomes over UDP", self.unknown_udp),
            ("unknown outcomes over TCP", self.unknown_tcp),
            ("refusals for want of memory over UDP", self.refused_udp),
            ("refusals for want of memory over TCP", self.refused_tcp),
            ("clients turned away", self.turned_away),
            ("stuck clients given up", self.stuck_closed),
            ("clients given up for not reading", self.unread_closed),
            ("stalled clients closed for their buffers", self.crowded_closed),
            ("batches of several connections", self.shared_batches),
            ("partial writes", self.partial_writes),
            ("answers in pieces", self.answers_in_pieces),
            ("slices of commands on many fields", self.slices),
            ("transactions that ran", self.exec_done),
            ("transactions that found a change", self.exec_aborted),
            ("new source ports", self.client_ports),
            ("late replies", self.client_late),
            ("reordered datagrams", self.reordered),
            ("dropped sessions", self.sessions_dropped),
            ("expired keys", self.expired),
            ("expired fields", self.expired_fields),
            ("evicted keys", self.evicted),
            ("cleaned segments", self.cleaned_segments),
            ("walks by SCAN", self.walks),
            ("repeated writes", frames.repeats),
            ("rejected frames", frames.rejected),
            ("throttled errors", frames.throttled),
            ("STALE_SESSION", frames.stale),
            ("WRONG_EPOCH", frames.wrong_epoch),
            ("BUSY", frames.busy),
            ("ID_REUSED", frames.reused),
        ];
        faults.chain(others).filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated_us as f64 / 3_600e6;
        writeln!(
            f,
            "{} {}, {} events, {hours:.1} simulated hours, {} restarts",
            self.seeds,
            if self.seeds == 1 { "seed" } else { "seeds" },
            self.steps,
            self.restarts
        )?;
        writeln!(f, "\nrequests       asked      done   unknown   not sent   no memory")?;
        let udp = (self.asked_udp, self.done_udp, self.unknown_udp, self.timed_out_udp, self.refused_udp);
        let tcp = (self.asked_tcp, self.done_tcp, self.unknown_tcp, 0, self.refused_tcp);
        for (name, (asked, done, unknown, unsent, refused)) in [("UDP", udp), ("TCP", tcp)] {
            writeln!(f, "  {name:<8} {asked:>9} {done:>9} {unknown:>9} {unsent:>10} {refused:>11}")?;
        }
        writeln!(f, "  rogue    {:>9}   and {} frames of others", self.asked_rogue, self.stolen_rogue)?;
        let frames = &self.frames;
        writeln!(f, "\nframes at the server: {}, of which", frames.received)?;
        writeln!(
            f,
            "  writes run once {:>9}   repeats answered from the table {:>9}",
            frames.ran, frames.repeats
        )?;
        writeln!(
            f,
            "  reads           {:>9}   rejected as damaged or foreign  {:>9}",
            frames.reads, frames.rejected
        )?;
        writeln!(
            f,
            "  sessions opened {:>9}   refused (stale, epoch, busy, …) {:>9}",
            frames.hellos, frames.refused
        )?;
        writeln!(f, "  errors throttled{:>9}", frames.throttled)?;
        let dropped = (self.client_late, self.client_unknown, self.client_malformed);
        writeln!(
            f,
            "clients: {} frames sent, {} of them again; {} sessions, {} new ports",
            self.client_sent, self.client_retries, self.client_sessions, self.client_ports
        )?;
        writeln!(
            f,
            "clients dropped {} late, {} foreign and {} damaged replies",
            dropped.0, dropped.1, dropped.2
        )?;
        writeln!(
            f,
            "\nstore: {} expiries, {} of fields, {} evictions, {} refusals, {} segments cleaned",
            self.expired, self.expired_fields, self.evicted, self.refused, self.cleaned_segments
        )?;
        writeln!(f, "sessions driven out: {} of {}", self.sessions_dropped, self.sessions_opened)?;
        writeln!(
            f,
            "TCP: {} connections, {} turned away, {} given up in the middle of a command, {} for not reading, \
             {} for want of buffers",
            self.connections, self.turned_away, self.stuck_closed, self.unread_closed, self.crowded_closed
        )?;
        writeln!(
            f,
            "batches: {}, {} of them for several connections; {} commands ran ahead",
            self.batches, self.shared_batches, self.ran_ahead
        )?;
        writeln!(
            f,
            "answers: {} partial writes, {} made piece by piece; {} slices of commands on many fields",
            self.partial_writes, self.answers_in_pieces, self.slices
        )?;
        writeln!(
            f,
            "transactions: {} ran, {} found a watched key changed",
            self.exec_done, self.exec_aborted
        )?;
        writeln!(f, "\nfaults injected ({} datagrams were overtaken)", self.reordered)?;
        for fault in Fault::ALL {
            writeln!(f, "  {:<16} {:>9}   {}", fault.name(), self.injected.of(*fault), fault.doc().trim())?;
        }
        writeln!(
            f,
            "\nchecked: every answer against the model; {} walks by SCAN over {} keys;",
            self.walks, self.walked_keys
        )?;
        writeln!(
            f,
            "{} keys' histories of {} operations for linearizability ({} undecided)",
            self.keys, self.operations, self.undecided
        )?;
        writeln!(
            f,
            "longest wait to be served after the last fault: {:.1} s (simulated)",
            self.healing_us as f64 / 1e6
        )
    }
}
