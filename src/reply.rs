//! Errors that a command can answer: ONE table of texts, Redis's own wherever Redis has the case.
//!
//! An [`Error`] is a row of the table and at most three parts that its text quotes (`%`); it is `Copy`, borrows from the
//! request and is turned into bytes only when it is written. The first word of a text is the code under which
//! `INFO errorstats` counts it.

use crate::wire::number::{INTEGER_BYTES_MAX, write_i64, write_u64};

macro_rules! errors {
    ($($(#[$doc:meta])* $kind:ident = $text:literal;)*) => {
        /// Names a row of the table of errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// Every row.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The text, with a `%` for each part.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(ErrorKind::$kind => $text,)*
                }
            }
        }
    };
}

errors! {
    // Admission.
    UnknownCommand = "ERR unknown command '%', with args beginning with: %";
    UnknownSubcommand = "ERR unknown subcommand '%'. Try % HELP.";
    WrongArity = "ERR wrong number of arguments for '%' command";
    NoAuth = "NOAUTH Authentication required.";
    /// Pannier's: the part is a limit in bytes. The connection is closed, for what follows cannot be found.
    CommandTooLong = "ERR the command is longer than the % bytes that one client may use for it: send fewer arguments at once, or give the server more --memory";
    /// Pannier's: an argument that must be short (a key, an option) was longer than a buffer holds.
    ArgumentTooLong = "ERR argument too long for '%' command";

    // Arguments.
    Syntax = "ERR syntax error";
    NotAnInteger = "ERR value is not an integer or out of range";
    NotAFloat = "ERR value is not a valid float";
    /// WAITAOF.
    LocalOutOfRange = "ERR value is out of range, value must between 0 and 1";
    NotPositive = "ERR value is out of range, must be positive";
    NotAnInt32 = "ERR value is out of range, value must between -2147483648 and 2147483647";
    InvalidExpire = "ERR invalid expire time in '%' command";
    UnsupportedOption = "ERR Unsupported option %";
    ExpireNxWithOthers = "ERR NX and XX, GT or LT options at the same time are not compatible";
    ExpireGtWithLt = "ERR GT and LT options at the same time are not compatible";
    InvalidCursor = "ERR invalid cursor";
    DatabaseOutOfRange = "ERR DB index is out of range";
    InvalidFirstDatabase = "ERR invalid first DB index";
    InvalidSecondDatabase = "ERR invalid second DB index";

    // Values.
    Overflow = "ERR increment or decrement would overflow";
    DecrementOverflow = "ERR decrement would overflow";
    NotFinite = "ERR increment would produce NaN or Infinity";
    OffsetOutOfRange = "ERR offset is out of range";
    /// Pannier's: the parts are the pattern's length and the limit, in bytes.
    PatternTooLong = "ERR pattern of % bytes is longer than the limit of % bytes";
    StringTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    NoSuchKey = "ERR no such key";
    SameObject = "ERR source and destination objects are the same";
    Full = "OOM command not allowed when used memory > 'maxmemory'.";
    /// Pannier's: the parts are the value's length and the limit, in bytes.
    ValueTooLarge = "ERR value of % bytes is larger than the limit of % bytes";
    /// Pannier's: the parts are the key's length and the limit, in bytes.
    KeyTooLong = "ERR key of % bytes is longer than the limit of % bytes";

    /// Pannier's: the parts are the length of a hash's field or a set's member, and the limit, in bytes.
    FieldTooLong = "ERR field or member of % bytes is longer than the limit of % bytes";

    WrongType = "WRONGTYPE Operation against a key holding the wrong kind of value";
    BusyKey = "BUSYKEY Target key name already exists.";

    // Hashes and sets.
    HashNotAnInteger = "ERR hash value is not an integer";
    HashNotAFloat = "ERR hash value is not a float";
    FloatNotFinite = "ERR value is NaN or Infinity";
    FieldsMissing = "ERR Mandatory argument FIELDS is missing or not at the right position";
    FieldsMismatch = "ERR The `numfields` parameter must match the number of arguments";
    FieldCountNotPositive = "ERR Number of fields must be a positive integer";
    /// Of HEXPIRE and its kin.
    NumFieldsNotPositive = "ERR Parameter `numFields` should be greater than 0";
    /// Of HSETEX.
    FieldCountInvalid = "ERR invalid number of fields";
    FieldTimeNegative = "ERR invalid expire time, must be >= 0";
    FieldTimeMissing = "ERR missing expire time";
    FieldTimeTwice = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
    FieldPresenceTwice = "ERR Only one of FXX or FNX arguments can be specified";
    UnknownArgument = "ERR unknown argument: %";
    OutOfRange = "ERR value is out of range";
    NotALong = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    NumkeysNotPositive = "ERR numkeys should be greater than 0";
    NumkeysTooMany = "ERR Number of keys can't be greater than number of args";
    LimitNegative = "ERR LIMIT can't be negative";

    // Bits.
    BitOffset = "ERR bit offset is not an integer or out of range";
    BitValue = "ERR bit is not an integer or out of range";
    BitArgument = "ERR The bit argument must be 1 or 0.";
    BitopNotKeys = "ERR BITOP NOT must be called with a single source key.";
    BitfieldType = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
    BitfieldOverflow = "ERR Invalid OVERFLOW type specified";
    BitfieldReadOnly = "ERR BITFIELD_RO only supports the GET subcommand";

    // Other commands of strings and keys.
    DelexCondition = "ERR Invalid condition. Use IFEQ or IFNE";
    MsetexCount = "ERR invalid numkeys value";
    MsetexPairs = "ERR wrong number of key-value pairs";
    LcsNotStrings = "ERR The specified keys must contain string values";
    LcsBoth = "ERR If you want both the length and indexes, please just use IDX.";
    /// Pannier's: the part is the bound.
    LcsTooLong = "ERR strings are too long for LCS: the product of their lengths, the second one a multiple of 64, is bounded by %";
    SortScore = "ERR One or more scores can't be converted into double";
    /// Pannier's: what SORT stores is a list.
    SortStore = "ERR SORT can store only an empty result: it would be a list, and this server has no lists";
    RestoreTtl = "ERR Invalid TTL value, must be >= 0";
    RestoreIdleTime = "ERR Invalid IDLETIME value, must be >= 0";
    RestoreFrequency = "ERR Invalid FREQ value, must be >= 0 and <= 255";
    RestorePayload = "ERR DUMP payload version or checksum are wrong";
    RestoreFormat = "ERR Bad data format";
    RestoreFieldExpiry = "ERR Hashes whose fields expire cannot be restored from Valkey 9 or later";

    // Handshake.
    WrongPassword = "WRONGPASS invalid username-password pair or user is disabled.";
    NoPasswordSet = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
    HelloNoAuth = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
    UnsupportedProtocol = "NOPROTO unsupported protocol version";
    ProtocolNotAnInteger = "ERR Protocol version is not an integer or out of range";
    HelloOption = "ERR Syntax error in HELLO option '%'";
    ClientName = "ERR Client names cannot contain spaces, newlines or special characters.";
    /// Pannier's: all names of a connection share one fixed area.
    ClientNameTooLong = "ERR client names are too long";
    ClientInfoValue = "ERR % cannot contain spaces, newlines or special characters.";
    ClientInfoOption = "ERR Unrecognized option '%'";
    ClientInfoTooLong = "ERR % is too long";

    // Server.
    ObjectNoFrequency = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    ObjectNoIdleTime = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    ConfigUnknown = "ERR Unknown option or number of arguments for CONFIG SET - '%'";
    ConfigImmutable = "ERR CONFIG SET failed (possibly related to argument '%') - can't set immutable config";
    ConfigDuplicate = "ERR CONFIG SET failed (possibly related to argument '%') - duplicate parameter";
    ConfigNotAnInteger = "ERR CONFIG SET failed (possibly related to argument '%') - argument couldn't be parsed into an integer";
    ConfigNotBetween = "ERR CONFIG SET failed (possibly related to argument '%') - argument must be between % and % inclusive";
    ConfigLogLevel = "ERR CONFIG SET failed (possibly related to argument '%') - argument(s) must be one of the following: debug, verbose, notice, warning";
    ConfigKeyEvents = "ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
    GetkeysNone = "ERR The command has no key arguments";
    GetkeysInvalid = "ERR Invalid command specified";
    GetkeysArity = "ERR Invalid number of arguments specified for command";
    SlowlogCount = "ERR count should be greater than or equal to -1";
    DebugNotAllowed = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.";
    SubcommandSyntax = "ERR unknown subcommand or wrong number of arguments for '%'. Try % HELP.";
    TimeoutNotAnInteger = "ERR timeout is not an integer or out of range";
    TimeoutNegative = "ERR timeout is negative";
    FunctionFlushOption = "ERR FUNCTION FLUSH only supports SYNC|ASYNC option";
    FunctionListArgument = "ERR Unknown argument %";
    FunctionListNoName = "ERR library name argument was not given";

    ClusterDisabled = "ERR This instance has cluster support disabled";
    UnknownCategory = "ERR Unknown category '%'";
    /// Pannier's: the part is the verb.
    NotPersistent = "ERR '%' is not possible: this server keeps nothing on disk";
    /// Pannier's: it would hold all clients up.
    SaveStops = "ERR SAVE would stop all clients while the disk works: use BGSAVE; LASTSAVE tells when it is done";
    WaitNeedsJournal = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    SaveUnderWay = "ERR Background save already in progress";
    Loading = "LOADING Redis is loading the dataset in memory";
    /// Pannier's: INFO says what the system said.
    Misconf = "MISCONF Errors writing to the data directory: writes are refused until it works again. INFO persistence tells why.";
    /// Pannier's.
    ExecMisconf = "EXECABORT Transaction discarded because of: MISCONF Errors writing to the data directory. INFO persistence tells why.";
    UnblockReason = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
    /// Pannier's: what Redis can change while it runs, and Pannier cannot.
    ConfigFixed = "ERR CONFIG SET failed (possibly related to argument '%') - it cannot be changed while the server runs";

    // Scripts.
    NoScript = "NOSCRIPT No matching script. Please use EVAL.";
    NotBusy = "NOTBUSY No scripts in execution right now.";
    ScriptKeyCount = "ERR Number of keys can't be greater than number of args";
    ScriptKeysNegative = "ERR Number of keys can't be negative";
    ScriptFlushOption = "ERR SCRIPT FLUSH only support SYNC|ASYNC option";
    /// What the errors are counted as whose text a script makes.
    ScriptUnknownCommand = "ERR Unknown Redis command called from script";
    ScriptWrongArity = "ERR Wrong number of args calling Redis command from script";
    ScriptNotAllowed = "ERR This Redis command is not allowed from script";
    ScriptReadOnly = "ERR Write commands are not allowed from read-only scripts.";
    ScriptWritesInReadOnly = "ERR Can not execute a script with write flag using *_ro command.";
    ScriptFull = "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";
    /// Pannier's.
    ScriptReplyTooLong = "ERR the command's reply is longer than what a script can take (--script-memory)";
    /// Pannier's.
    ScriptsOff = "ERR scripts are off (--script-memory 0)";
    /// Pannier's.
    ScriptMemory = "ERR the memory for scripts is used up: drop scripts by SCRIPT FLUSH, or give the server more --script-memory";
    /// Pannier's: the part is the limit, in milliseconds.
    ScriptEnded = "ERR script ended: it ran for longer than % ms (--script-time); it had written nothing";
    /// Pannier's: the part is the limit, in milliseconds.
    ScriptEndedWrote = "ERR script ended: it ran for longer than % ms (--script-time); what it wrote is kept";

    // Connections and transactions (the server's).
    TooManyClients = "ERR max number of clients reached";
    NestedMulti = "ERR MULTI calls can not be nested";
    ExecWithoutMulti = "ERR EXEC without MULTI";
    DiscardWithoutMulti = "ERR DISCARD without MULTI";
    WatchInsideMulti = "ERR WATCH inside MULTI is not allowed";
    NotInsideMulti = "ERR Command not allowed inside a transaction";
    ExecAborted = "EXECABORT Transaction discarded because of previous errors.";
    /// Pannier's: names are collected in memory that is spare.
    NoReplyMemory = "ERR there is no memory to spare for a reply of this length; SCAN needs none";
    /// Pannier's: what is one step has as many keys as max-step-keys allows, at most; the parts are both.
    StepTooLarge = "ERR % keys in one step are more than the limit of % (max-step-keys)";
    /// Pannier's: the same of a transaction.
    ExecTooLarge = "EXECABORT Transaction discarded because of: % keys in one step are more than the limit of % (max-step-keys)";
    /// Pannier's: the queue of a transaction is bounded; the part is the bound, in bytes.
    QueueFull = "ERR transaction queue is larger than the limit of % bytes";
    /// Pannier's: what all transactions hold is bounded; the parts are what they hold and the bound, in bytes.
    QueuesExhausted = "ERR the transactions of all clients hold % of % bytes; try again when others have ended";
    /// Pannier's.
    ExecReclaimed = "EXECABORT Transaction discarded because of: no progress for 10 s while its memory was needed";
    /// Pannier's: the store is full.
    ExecFull = "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    /// The part is the verb.
    OnlySubscriptions = "ERR Can't execute '%': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
    /// Pannier's: subscriptions are bounded; the parts are how much of the table that is full is in use, and the bound.
    SubscriptionsFull = "ERR no room for another subscription: % of at most % are in use; unsubscribe what is not needed, or give the server more --memory";
    /// Pannier's: the parts are the name's length and the limit, in bytes.
    ChannelTooLong = "ERR channel or pattern of % bytes is longer than the limit of % bytes";
    TrackingTwoRedirects = "ERR A client can only redirect to a single other client";
    TrackingNoRedirect = "ERR The client ID you want redirect to does not exist";
    TrackingPrefix = "ERR PREFIX option requires BCAST mode to be enabled";
    TrackingSwitchBroadcast = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
    TrackingSwitchOpt = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
    TrackingOptBroadcast = "ERR OPTIN and OPTOUT are not compatible with BCAST";
    TrackingBothOpts = "ERR You can't specify both OPTIN mode and OPTOUT mode";
    TrackingOverlapGiven = "ERR Prefix '%' overlaps with another provided prefix '%'. Prefixes for a single client must not overlap.";
    TrackingOverlap = "ERR Prefix '%' overlaps with an existing prefix '%'. Prefixes for a single client must not overlap.";
    /// Pannier's: clients that track, and their prefixes, are bounded.
    TrackingFull = "ERR no room for another tracking client or prefix: end tracking where it is not needed, or give the server more --memory";
    CachingMode = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
    CachingYes = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
    CachingNo = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
    /// Pannier's: the part is the revision that the feed reaches back to.
    Compacted = "COMPACTED % is the first revision that can be gone on from: read the keys again, then watch from there";
    /// Pannier's.
    WatchesFull = "ERR no room for another watch: at most 1024 prefixes are watched at once; unwatch what is not needed";
    NoSuchClient = "ERR No such client";
    NoShutdown = "ERR No shutdown in progress.";
    NoSuchUser = "ERR No such user '%'";
    UnknownClientType = "ERR Unknown client type '%'";
    InvalidClientId = "ERR client-id should be greater than 0";
    InvalidClientIdInList = "ERR Invalid client ID";
    /// Pannier's: CLIENT LIST ID takes a bounded number of them.
    TooManyClientIds = "ERR too many client IDs";
    PauseMode = "ERR CLIENT PAUSE mode must be WRITE or ALL";
    /// Pannier's: what a client watches is bounded.
    WatchFull = "ERR too many watched keys";
}

/// The codes with which a text can begin.
pub const ERROR_CODES: [&str; 13] = [
    "ERR",
    "NOAUTH",
    "NOPROTO",
    "OOM",
    "WRONGPASS",
    "EXECABORT",
    "WRONGTYPE",
    "BUSYKEY",
    "COMPACTED",
    "LOADING",
    "MISCONF",
    "NOSCRIPT",
    "NOTBUSY",
];

impl ErrorKind {
    /// The index of its code in [`ERROR_CODES`].
    #[must_use]
    pub fn code_index(self) -> usize {
        let code = self.text().split(' ').next().unwrap_or_default();
        ERROR_CODES.iter().position(|known| *known == code).unwrap_or(0)
    }

    /// The error that quotes nothing.
    #[must_use]
    pub const fn plain(self) -> Error<'static> {
        Error { kind: self, parts: [NOTHING; 3] }
    }

    /// The error that quotes these bytes, of which the first [`QUOTED_BYTES_MAX`] are shown.
    #[must_use]
    pub const fn of(self, part: &[u8]) -> Error<'_> {
        Error { kind: self, parts: [Part::Bytes(part), NOTHING, NOTHING] }
    }

    /// The error that quotes three parts.
    #[must_use]
    pub const fn with<'a>(self, first: Part<'a>, second: Part<'a>, third: Part<'a>) -> Error<'a> {
        Error { kind: self, parts: [first, second, third] }
    }

    /// The error that quotes two parts.
    #[must_use]
    pub const fn of_both<'a>(self, first: Part<'a>, second: Part<'a>) -> Error<'a> {
        Error { kind: self, parts: [first, second, NOTHING] }
    }
}

/// Bytes of a request that an error quotes, at most, for each part.
pub const QUOTED_BYTES_MAX: usize = 256;

/// Something that an error's text quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    Integer(i64),
}

const NOTHING: Part<'static> = Part::Bytes(b"");

/// An error as a command returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    pub kind: ErrorKind,
    pub parts: [Part<'a>; 3],
}

impl From<ErrorKind> for Error<'_> {
    fn from(kind: ErrorKind) -> Self {
        kind.plain()
    }
}

impl Error<'_> {
    /// Hands the text to `write`, in pieces, without CR or LF being cleaned out of quoted parts.
    pub fn write<R>(&self, write: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut digits = [[0; INTEGER_BYTES_MAX]; 3];
        let mut quoted: [&[u8]; 3] = [b""; 3];
        for ((part, digits), quoted) in self.parts.iter().zip(&mut digits).zip(&mut quoted) {
            *quoted = match *part {
                Part::Bytes(bytes) => quote(bytes),
                Part::Number(number) => write_u64(number, digits),
                Part::Integer(number) => write_i64(number, digits),
            };
        }
        let mut pieces: [&[u8]; 7] = [b""; 7];
        for (index, piece) in self.kind.text().split('%').enumerate() {
            pieces[2 * index] = piece.as_bytes();
            if index > 0 {
                pieces[2 * index - 1] = quoted[index - 1];
            }
        }
        write(&pieces)
    }
}

/// What is shown of a quoted part: not more than [`QUOTED_BYTES_MAX`], and nothing from a zero byte on, where C's
/// strings end, and with them the texts of Redis.
fn quote(bytes: &[u8]) -> &[u8] {
    let shown = &bytes[..bytes.len().min(QUOTED_BYTES_MAX)];
    shown.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: Error<'_>) -> String {
        error.write(|pieces| String::from_utf8(pieces.concat()).unwrap())
    }

    #[test]
    fn parts_fill_their_places() {
        assert_eq!(text(ErrorKind::Syntax.plain()), "ERR syntax error");
        assert_eq!(text(ErrorKind::InvalidExpire.of(b"set")), "ERR invalid expire time in 'set' command");
        let both = ErrorKind::ValueTooLarge.of_both(Part::Number(u64::MAX), Part::Number(0));
        assert_eq!(text(both), "ERR value of 18446744073709551615 bytes is larger than the limit of 0 bytes");
        let both = ErrorKind::UnknownSubcommand.of_both(Part::Bytes(b"x%"), Part::Bytes(b"CONFIG"));
        assert_eq!(text(both), "ERR unknown subcommand 'x%'. Try CONFIG HELP.");
    }

    #[test]
    fn every_text_begins_with_a_known_code_and_has_at_most_three_parts() {
        for kind in ErrorKind::ALL {
            let code = kind.text().split(' ').next().unwrap();
            assert!(ERROR_CODES.contains(&code), "{kind:?}");
            assert!(kind.text().matches('%').count() <= 3, "{kind:?}");
            assert_eq!(ERROR_CODES[kind.code_index()], code);
        }
    }

    #[test]
    fn quotes_end_at_a_zero_byte() {
        assert_eq!(text(ErrorKind::UnsupportedOption.of(b"ab\0c")), "ERR Unsupported option ab");
        assert_eq!(text(ErrorKind::UnsupportedOption.of(b"\0")), "ERR Unsupported option ");
    }

    #[test]
    fn long_quotes_are_cut() {
        let long = vec![b'x'; 5000];
        assert!(text(ErrorKind::UnsupportedOption.of(&long)).len() < 2 * QUOTED_BYTES_MAX);
    }
}
