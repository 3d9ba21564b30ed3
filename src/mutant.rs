//! Faults that are put in on purpose, to see whether the tests would find them.
//!
//! A test that has never failed proves little. Each [`Mutant`] is a mistake that this server could have had: the one
//! line that keeps a promise, left out. The simulator must catch every one of them within a stated number of seeds
//! (`tests/mutants.rs`); one that survives fails the build.
//!
//! Without the feature `mutants`, [`is_on`] is a constant `false`: the places that ask it compile to nothing,
//! which the assertion at the end of this file and a stage of `.ci/run` hold to.
//!
//! They are conditions in the code rather than patches applied to a copy of it: a condition moves, is renamed and is
//! type-checked with the line that it stands beside, where a patch finds its place by context and breaks, or lands
//! elsewhere, when that context changes in another branch; and one build serves all. The rule that keeps them bearable:
//! one expression at the place of the mistake, and no state of its own (docs/testing.md).

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// A mistake, and where it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $($(#[doc = $doc])+ $name,)+ }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// Every one.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),+];

            /// How it is called on a command line and in the documentation.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Mutant::$name => $text,)+ }
            }
        }
    };
}

mutants! {
    /// A repeated write runs again instead of getting its cached reply (`frames/sessions.rs`).
    NoDedupe = "no-dedupe";
    /// A write of an earlier run of the server is taken for one of this run (`frames/mod.rs`).
    NoEpochCheck = "no-epoch-check";
    /// A copy from before its session was dropped runs in the one that its client has opened since
    /// (`frames/sessions.rs`).
    NoSessionNumber = "no-session-number";
    /// The checksum covers key and value, and not the header (`wire/frame.rs`).
    CrcSkipsHeader = "crc-skips-header";
    /// A write whose slot the next one has taken counts as new (`frames/sessions.rs`).
    StaleSlot = "stale-slot";
    /// A ring that is straightened loses its last byte (`ring.rs`).
    RingOffByOne = "ring-off-by-one";
    /// EXEC does not see that a watched key has expired in the meantime (`server/transaction.rs`).
    WatchMissesExpiry = "watch-misses-expiry";
    /// A cursor passes over the other half of a leaf that was split (`store/index/scan.rs`).
    ScanSkipsSplit = "scan-skips-split";
    /// What was looked up ahead counts although records have moved since (`store/lookup.rs`).
    StaleHint = "stale-hint";
    /// A large value of which the socket took a part goes on with bytes that were sent already (`wire/output.rs`).
    SentTwice = "sent-twice";
    /// A large value is written to while a client is still being sent the old one (`store/write.rs`).
    WritesUnderReader = "writes-under-reader";
    /// A page that a copy of the key shares is written to (`store/collection/insert.rs`).
    SharedPageWritten = "shared-page-written";
    /// A command on many fields passes over one where it goes on (`engine/hashes.rs`).
    SliceSkipsField = "slice-skips-field";
    /// A new time of a field is not published (`store/feed.rs`).
    FieldTimeNotPublished = "field-time-not-published";
    /// That a field has expired is not published (`store/feed.rs`).
    FieldExpiryNotPublished = "field-expiry-not-published";
    /// MSET that finds no room in the middle leaves what it has written so far (`store/staged.rs`).
    HalfDone = "half-done";
    /// A new expiry is not published (`store/feed.rs`).
    ChangeNotPublished = "change-not-published";
    /// The last change of a group is published as one of its own (`store/feed.rs`).
    GroupMarkLost = "group-mark-lost";
    /// That a key has expired is published no earlier than the next change (`store/feed.rs`).
    ExpiryPublishedLate = "expiry-published-late";
    /// That a key has expired is published to no subscriber (`server/changes/events.rs`).
    ExpiryUntold = "expiry-untold";
    /// A client whose entry is displaced from the table of read keys is not told (`server/changes/tracking.rs`).
    DisplacedUntold = "displaced-untold";
    /// A client whose redirection leads nowhere any more is not told (`server/changes/tracking.rs`).
    BrokenRedirectUntold = "broken-redirect-untold";
    /// A watch that resumes begins one change too late (`server/changes/watches.rs`).
    ResumesLate = "resumes-late";
    /// What is written counts as durable before it is synced (`journal/worker.rs`, `journal/writer.rs`).
    ReplyBeforeSync = "reply-before-sync";
    /// The names of new files are not made durable (`journal/storage.rs`, `journal/worker.rs`).
    DirectoryNotSynced = "directory-not-synced";
    /// A file of the journal need not go on where the one before it ends (`journal/recovery.rs`).
    ChainUnchecked = "chain-unchecked";
    /// Damage in what was durable is cut away like a torn end (`journal/reader.rs`).
    WatermarkIgnored = "watermark-ignored";
    /// A start takes revisions that were shown before (`journal/recovery.rs`).
    RevisionReused = "revision-reused";
    /// A checkpoint is published before the journal has what it has seen (`journal/writer.rs`).
    CheckpointOutruns = "checkpoint-outruns";
    /// A start takes for durable what it reads, although a sync of it may have failed (`journal/recovery.rs`).
    TailNotRewritten = "tail-not-rewritten";
    /// A read of what may still be lost is answered at once (`server/holds.rs`).
    ReadsOutrun = "reads-outrun";
    /// An event is published before its change is durable (`server/changes.rs`).
    EventsOutrun = "events-outrun";
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this thread runs with that mistake.
    #[must_use]
    pub fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// Runs `body` with that mistake in this thread.
    pub fn with<T>(mutant: Mutant, body: impl FnOnce() -> T) -> T {
        /// Switches it off, also where `body` panics.
        struct Guard;
        impl Drop for Guard {
            fn drop(&mut self) {
                ON.set(None);
            }
        }
        let _guard = Guard;
        ON.set(Some(mutant));
        body()
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is_on, with};

/// No mistake is ever on.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn is_on(_: Mutant) -> bool {
    false
}

#[cfg(not(feature = "mutants"))]
const _: () = assert!(!is_on(Mutant::NoDedupe) && !is_on(Mutant::ScanSkipsSplit));
