//! What can go wrong in the simulated world, and how often: ONE table of faults. The probabilities themselves are drawn
//! from the seed, some of them zero (TigerBeetle's habit of "swarm testing": uniform noise never fills a queue).

use crate::random::Random;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $choices:expr;)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($(#[doc = $doc])+ $name,)+ }

        impl Fault {
            /// Every kind.
            pub const ALL: &[Fault] = &[$(Fault::$name),+];

            /// How reports and `--without` call it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Fault::$name => $text,)+ }
            }

            /// One line on what it is.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $(Fault::$name => concat!($($doc),+),)+ }
            }

            /// Probabilities to choose from, in millionths: of each datagram, segment, request or event.
            const fn choices(self) -> &'static [u32] {
                match self { $(Fault::$name => &$choices,)+ }
            }
        }
    };
}

faults! {
    /// A datagram is lost.
    Loss = "loss", [0, 0, 20_000, 100_000, 300_000];
    /// A datagram arrives twice.
    Duplication = "duplication", [0, 20_000, 100_000, 500_000];
    /// A datagram takes many times longer than its neighbours.
    Delay = "delay", [0, 0, 20_000, 100_000, 300_000];
    /// One to three bits of a datagram are flipped.
    BitFlips = "bit-flips", [0, 10_000, 50_000, 200_000];
    /// A datagram is cut short.
    Truncation = "truncation", [0, 0, 5_000, 50_000];
    /// A datagram has bytes behind its end.
    Junk = "junk", [0, 0, 5_000, 50_000];
    /// A copy of a request arrives with another client's address as its source.
    Spoofing = "spoofing", [0, 0, 10_000, 100_000];
    /// A copy of a request reaches another server.
    CrossDelivery = "cross-delivery", [0, 0, 10_000, 100_000];
    /// A reply comes back to the server.
    Reflection = "reflection", [0, 0, 5_000, 50_000];
    /// A recorded datagram is sent again, up to minutes later: beyond leases, windows and restarts.
    Replay = "replay", [0, 10_000, 50_000, 150_000];
    /// Nothing passes between one client and the server for a while; what is sent arrives afterwards.
    Clog = "clog", [0, 0, 2_000, 10_000];
    /// A client's datagrams come from another port from now on (an address translator has forgotten it).
    Rebinding = "rebinding", [0, 0, 1_000, 10_000];
    /// A TCP segment arrives in pieces of a few bytes.
    Trickle = "trickle", [0, 20_000, 200_000];
    /// A TCP connection is reset, whatever is in flight.
    Reset = "reset", [0, 0, 2_000, 20_000];
    /// A TCP client closes its sending side behind its last request and waits for the answers.
    HalfClose = "half-close", [0, 10_000, 50_000];
    /// A TCP client stops in the middle of a command until the server gives it up.
    Stuck = "stuck", [0, 0, 2_000, 10_000];
    /// A TCP client takes its answers late and in pieces, for a while or for good.
    SlowReading = "slow-reading", [0, 10_000, 50_000, 200_000];
    /// A TCP client sends a long pipeline before it takes any of its replies.
    Greedy = "greedy", [0, 5_000, 50_000];
    /// A client's process dies and starts again; it never learns the outcome of its requests.
    Crash = "crash", [0, 0, 500, 5_000];
    /// The server's process dies and starts again with an empty store and another epoch.
    Restart = "restart", [0, 0, 500, 2_000];
    /// A restarted server draws the secrets of its predecessor, as one that is restored from a snapshot might: nothing
    /// but the epoch tells the two apart.
    SameSecret = "same-secret", [0, 500_000, 1_000_000];
    /// The server does nothing for a while.
    Stall = "stall", [0, 0, 1_000, 5_000];
    /// The wall clock is set forward.
    ClockForward = "clock-forward", [0, 0, 1_000, 5_000];
    /// The wall clock is set back.
    ClockBack = "clock-back", [0, 0, 0, 1_000];
    /// A client connects and says nothing.
    Silent = "silent", [0, 0, 1_000, 5_000];
    /// A client sends the beginning of a long command and stays.
    HalfSent = "half-sent", [0, 0, 1_000, 20_000];
    /// A client asks for much and reads nothing.
    Deaf = "deaf", [0, 0, 1_000, 10_000];
    /// A client fills a transaction, or watches many keys, and never ends it.
    OpenTransaction = "open-transaction", [0, 0, 1_000, 10_000];
    /// A client sends all but the end of a value and resets.
    AbandonedUpload = "abandoned-upload", [0, 0, 1_000, 10_000];
    /// A client asks for patterns that are laborious to match.
    Patterns = "patterns", [0, 0, 500, 2_000];
    /// A client sends commands of thousands of arguments.
    ManyArguments = "many-arguments", [0, 0, 500, 2_000];
    /// A client sends bytes that mean nothing.
    Garbage = "garbage", [0, 0, 1_000, 5_000];
    /// A client sends an unknown command with a long argument.
    UnknownCommand = "unknown-command", [0, 0, 1_000, 5_000];
    /// A client guesses passwords.
    Guesses = "guesses", [0, 0, 1_000, 5_000];
}

impl Fault {
    /// Those that are clients which come besides, of the sorts that [`hostile`](super::hostile) knows.
    pub(super) const HOSTILE: &[Fault] = Fault::ALL.split_at(Fault::Silent as usize).1;

    fn is_hostile(self) -> bool {
        self as usize >= Fault::Silent as usize
    }
}

/// How often each fault happens in one run, and how often it has.
#[derive(Clone, Debug)]
pub struct Faults {
    millionths: [u32; Fault::ALL.len()],
    random: Random,
    /// Of hostile clients: a seed without them means what it would if there were none.
    pub hostile: Random,
    pub injected: Injected,
}

/// Times that each fault was injected.
#[derive(Clone, Copy, Debug)]
pub struct Injected([u64; Fault::ALL.len()]);

impl Default for Injected {
    fn default() -> Injected {
        Injected([0; Fault::ALL.len()])
    }
}

impl Injected {
    /// Times that this one was.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Injected) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

impl Faults {
    /// Draws the probabilities; those in `without` are zero, and everything else is as it would be with them.
    pub fn draw(random: &mut Random, without: &[Fault]) -> Faults {
        let mut hostile = Random(!random.0);
        let mut faults = Faults {
            millionths: [0; Fault::ALL.len()],
            random: random.split(),
            hostile: hostile.split(),
            injected: Injected::default(),
        };
        // Half of the seeds have no hostile clients.
        let come = hostile.below(2) == 1;
        for fault in Fault::ALL {
            let drawn = match fault.is_hostile() {
                true => hostile.pick(fault.choices()) * u32::from(come),
                false => random.pick(fault.choices()),
            };
            faults.millionths[*fault as usize] = if without.contains(fault) { 0 } else { drawn };
        }
        faults
    }

    /// Whether this fault happens now. The caller injects it, and says so by [`Faults::count`] if that came off.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let millionths = self.millionths[fault as usize];
        let random = if fault.is_hostile() { &mut self.hostile } else { &mut self.random };
        random.happens(millionths)
    }

    /// Counts one that was injected.
    pub fn count(&mut self, fault: Fault) {
        self.injected.0[fault as usize] += 1;
    }

    /// From now on nothing goes wrong any more.
    pub fn heal(&mut self) {
        self.millionths = [0; Fault::ALL.len()];
    }
}
