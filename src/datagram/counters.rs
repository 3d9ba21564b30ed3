//! What is counted of frames: plain numbers with a table of names, for INFO and the admin port.
//!
//! For datagrams, `received == replied + throttled +` the sum of `rejected`, and `replied ==` the sum of `answered`.

use crate::wire::frame::{Reject, Status};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// The counters; all of them only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Dropped without an answer, by [`Reject`].
            pub rejected: [u64; Reject::ALL.len()],
            /// Replies, by [`Status`].
            pub answered: [u64; Status::ALL.len()],
        }

        impl Counters {
            /// Calls `visit` with group, name, what it counts, and value of each counter. Groups are `""`,
            /// `"rejected"` and `"answered"`.
            pub fn each(&self, visit: &mut dyn FnMut(&'static str, &'static str, &'static str, u64)) {
                $(visit("", stringify!($name), concat!($($doc),+), self.$name);)+
                for (reason, value) in Reject::ALL.iter().zip(self.rejected) {
                    visit("rejected", reason.name(), reason.doc(), value);
                }
                for (status, value) in Status::ALL.iter().zip(self.answered) {
                    visit("answered", status.name(), status.doc(), value);
                }
            }
        }
    };
}

counters! {
    /// Datagrams and stream frames that arrived.
    received;
    /// Their bytes.
    bytes_received;
    /// Replies that were made.
    replied;
    /// Their bytes.
    bytes_replied;
    /// Errors that were not sent because the source has had its share of them.
    throttled;
    /// Reads that ran.
    reads;
    /// Writes that ran.
    writes;
    /// Repeated writes that were answered from the table and did not run.
    repeats;
}

impl Counters {
    /// Frames that were dropped without an answer, for whatever reason.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }
}
