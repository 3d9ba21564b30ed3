//! What is counted of frames: plain numbers with a table of names, for INFO and the admin port.
//!
//! For datagrams, `received == replied + throttled + held +` the sum of `rejected`, and `replied ==` the sum of `answered`.
//! What is counted of the frames of TCP connections alone is a part of the same without `stream_`.

use crate::wire::frame::{Op, Reject, Status};

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
            /// Operations that ran over UDP, by [`Op`]: repeats and refused ones are not among them.
            pub ran_udp: [u64; Op::ALL.len()],
            /// The same over TCP.
            pub ran_stream: [u64; Op::ALL.len()],
        }

        impl Counters {
            /// Calls `visit` with group, name, what it counts, and value of each counter. Groups are `""`,
            /// `"rejected"`, `"answered"`, `"ran_udp"` and `"ran_stream"`.
            pub fn each(&self, visit: &mut dyn FnMut(&'static str, &'static str, &'static str, u64)) {
                $(visit("", stringify!($name), concat!($($doc),+), self.$name);)+
                for (reason, value) in Reject::ALL.iter().zip(self.rejected) {
                    visit("rejected", reason.name(), reason.doc(), value);
                }
                for (status, value) in Status::ALL.iter().zip(self.answered) {
                    visit("answered", status.name(), status.doc(), value);
                }
                for (op, value) in Op::ALL.iter().zip(self.ran_udp) {
                    visit("ran_udp", op.name(), op.doc(), value);
                }
                for (op, value) in Op::ALL.iter().zip(self.ran_stream) {
                    visit("ran_stream", op.name(), op.doc(), value);
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
    /// Datagrams that CLIENT PAUSE held: neither run nor answered.
    held;
    /// Reads that ran.
    reads;
    /// Writes that ran.
    writes;
    /// Repeated writes that were answered from the table and did not run.
    repeats;
    /// Reads of a key that was there.
    hits;
    /// Reads of a key that was not.
    misses;
    /// Frames of TCP connections that arrived.
    stream_received;
    /// Bytes of frames that arrived over TCP.
    stream_bytes_received;
    /// Replies to frames over TCP that were made.
    stream_replied;
    /// Bytes of replies to frames over TCP.
    stream_bytes_replied;
}

impl Counters {
    /// Bytes that arrived as datagrams.
    #[must_use]
    pub fn udp_bytes_received(&self) -> u64 {
        self.bytes_received - self.stream_bytes_received
    }

    /// Bytes of the replies that went as datagrams.
    #[must_use]
    pub fn udp_bytes_replied(&self) -> u64 {
        self.bytes_replied - self.stream_bytes_replied
    }

    /// Counts an operation that ran.
    pub(crate) fn ran(&mut self, op: Op, over_tcp: bool) {
        let ran = if over_tcp { &mut self.ran_stream } else { &mut self.ran_udp };
        // Operations are numbered from 1 in the order of their table.
        ran[op as usize - 1] += 1;
    }

    /// Frames that were dropped without an answer, for whatever reason.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }
}
