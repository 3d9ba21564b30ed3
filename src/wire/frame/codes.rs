//! The vocabulary of frames, each in one table: operations, statuses, and the reasons for which bytes are dropped.

use super::flags;

macro_rules! byte_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $byte:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])+ $variant = $byte,)+ }
        impl $name {
            /// Every one of them, in the order of the table.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The one that this byte stands for.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<$name> {
                match byte { $($byte => Some($name::$variant),)+ _ => None }
            }
            /// Its name, as in the protocol's page (operations, statuses) or as a counter's name (reasons).
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
            /// One line on what it means.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

byte_enum! {
    /// What a request asks for.
    Op {
        /// Opens a session: answered by CHALLENGE until it carries a good cookie.
        Hello = 1, "HELLO";
        /// Nothing: are you there?
        Ping = 2, "PING";
        /// The key's value.
        Get = 3, "GET";
        /// Gives the key a value.
        Put = 4, "PUT";
        /// Removes the key.
        Delete = 5, "DELETE";
        /// Adds a signed delta to a decimal integer.
        Add = 6, "ADD";
        /// Gives the key a time to live.
        Expire = 7, "EXPIRE";
    }
}

impl Op {
    /// Whether running it twice could differ from running it once: these are remembered, the others run again.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Op::Put | Op::Delete | Op::Add | Op::Expire)
    }

    /// The flags (without `TAG`) that the operation knows; others make the request a BAD_OP.
    #[must_use]
    pub const fn flags_known(self) -> u8 {
        match self {
            Op::Put => flags::IF_ABSENT | flags::IF_PRESENT | flags::IF_REVISION | flags::KEEP_TTL,
            Op::Delete | Op::Expire => flags::IF_REVISION,
            Op::Hello | Op::Ping | Op::Get | Op::Add => 0,
        }
    }
}

byte_enum! {
    /// How a request was answered.
    Status {
        /// Done.
        Ok = 0, "OK";
        /// There is no such key.
        NotFound = 1, "NOT_FOUND";
        /// The condition does not hold; nothing was changed.
        NotMet = 2, "NOT_MET";
        /// ADD: the value is no 64-bit decimal integer, or the sum would not be one.
        WrongType = 3, "WRONG_TYPE";
        /// No memory is left for it; nothing was changed.
        Full = 4, "FULL";
        /// The key or the value passes a bound of the server; nothing was changed.
        TooLarge = 5, "TOO_LARGE";
        /// The reply does not fit; ask again over TCP.
        UseTcp = 6, "USE_TCP";
        /// The operation, its flags or its numbers are not known or make no sense.
        BadOp = 7, "BAD_OP";
        /// Here is a cookie; ask again with it.
        Challenge = 8, "CHALLENGE";
        /// The sequence or the session is too old to tell whether this ran; it was not run now.
        StaleSession = 9, "STALE_SESSION";
        /// The epoch is not this run's; nothing was run.
        WrongEpoch = 10, "WRONG_EPOCH";
        /// The sequence was used for another request; nothing was run.
        IdReused = 11, "ID_REUSED";
        /// The table of sessions is full of live ones; ask again later.
        Busy = 12, "BUSY";
        /// A password is set and the tag is missing, or the other way round.
        Denied = 13, "DENIED";
        /// A write, and the disk that keeps what is written has failed; nothing was changed.
        Misconf = 14, "MISCONF";
        /// The server still loads what it has kept; nothing was run. Ask again.
        Loading = 15, "LOADING";
    }
}

impl Status {
    /// Whether it says that the request was refused rather than answered; these pass a token bucket.
    #[must_use]
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Status::BadOp
                | Status::StaleSession
                | Status::WrongEpoch
                | Status::IdReused
                | Status::Busy
                | Status::Denied
                | Status::Loading
        )
    }

    /// Whether it says something of a key, as it is or as it was changed.
    #[must_use]
    pub const fn tells_of_a_key(self) -> bool {
        matches!(
            self,
            Status::Ok
                | Status::NotFound
                | Status::NotMet
                | Status::WrongType
                | Status::Full
                | Status::TooLarge
                | Status::UseTcp
        )
    }
}

byte_enum! {
    /// Why bytes were dropped without an answer. Each has its own counter.
    Reject {
        /// Shorter than the shortest frame.
        TooShort = 0, "too_short";
        /// Longer than a frame may be here.
        TooLong = 1, "too_long";
        /// The first two bytes are not a frame's.
        BadMagic = 2, "bad_magic";
        /// A frame of the other direction: a reflected one, or two servers that talk to each other.
        WrongDirection = 3, "wrong_direction";
        /// A version of the protocol that is not spoken here.
        BadVersion = 4, "bad_version";
        /// The frame length is not the datagram's size.
        BadLength = 5, "bad_length";
        /// The key would reach beyond the frame.
        BadKeyLength = 6, "bad_key_length";
        /// The checksum does not match: damage on the way.
        BadCrc = 7, "bad_crc";
        /// The tag does not match the password.
        BadTag = 8, "bad_tag";
        /// A reply whose status is not known.
        BadStatus = 9, "bad_status";
    }
}
