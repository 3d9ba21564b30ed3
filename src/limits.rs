//! Every bound of the server, with its unit and its reason, and the relations between them as assertions.

/// A kibibyte, in bytes.
pub const KIB: usize = 1024;
/// A mebibyte, in bytes.
pub const MIB: usize = 1024 * KIB;

/// Databases that SELECT can name, at most: a record's head has four bits for it.
pub const DATABASES_MAX: u8 = 16;
/// Bytes of a segment, the unit in which the store's pool is cut.
pub const SEGMENT_BYTES: usize = 64 * KIB;
/// Bytes of a key, at most. A record never spans segments, so a key leaves room for the record's head.
pub const KEY_BYTES_MAX: usize = 64 * KIB - 64;
/// Bytes of a value that is kept inside a record; a longer one becomes a chain of blocks.
pub const INLINE_VALUE_BYTES_MAX: usize = 8 * KIB;
/// Bytes of a hash's field or a set's member, at most: the feed's ring takes two of its largest entries, of a key, a
/// field and a value.
pub const FIELD_BYTES_MAX: usize = 32 * KIB;
/// Bytes of a value, at most (`--max-value` lowers it). Redis has the same bound.
pub const VALUE_BYTES_MAX: u64 = 512 * MIB as u64;

/// Arguments of one command, at most. Redis has the same bound.
pub const ARGUMENTS_MAX: usize = 1024 * 1024;
/// Arguments of one command before AUTH (CVE-2021-32675).
pub const ARGUMENTS_MAX_UNAUTHENTICATED: usize = 10;
/// Bytes of one argument before AUTH.
pub const BULK_BYTES_MAX_UNAUTHENTICATED: u64 = 16 * KIB as u64;
/// Bytes of a line without its end: an inline command, or a count. Redis has the same bound.
pub const LINE_BYTES_MAX: usize = 64 * KIB;
/// Bytes of an argument that waits in the input buffer until its command is whole; a longer one is streamed into
/// blocks of the store as it arrives. At least a key, so that keys are always contiguous.
pub const BUFFERED_BULK_BYTES_MAX: usize = 64 * KIB;

/// Bytes of a ring when it is first attached to a connection.
pub const RING_BYTES: usize = 16 * KIB;
/// Bytes of the ring of a client that has just sent, or been sent, more than [`RING_BYTES`] at once: a pipeline of a hundred
/// values of a kibibyte, so that it costs one read and one write.
pub const LONG_RING_BYTES: usize = 128 * KIB;
/// Bytes of a transaction's queue in the memory that all of them share; what is longer goes on in the store.
pub const QUEUE_RING_BYTES_MAX: usize = 64 * KIB;
/// Bytes of the shortest ring. Clients that stop in the middle of a short command keep only this much, so that
/// thousands of them do not exhaust the buffers; shorter still, bookkeeping would outweigh the gain.
pub const BUFFER_UNIT_BYTES: usize = KIB;
/// Bytes of a reply that is written whole: a command runs only when this much room is left in the output.
pub const REPLY_ROOM_BYTES: usize = INLINE_VALUE_BYTES_MAX + 512;

/// Bytes of a password, which are compared whole: before AUTH arguments have a bound.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// Entries of the slow log, which are reserved at start.
pub const SLOWLOG_LEN_MAX: usize = 128;

/// Bytes that scripts may have, unless `--script-memory` says otherwise.
pub const SCRIPT_MEMORY_BYTES_DEFAULT: u64 = MIB as u64;
/// Bytes that scripts need at least: Lua's libraries take 60 KiB of the half that is Lua's.
pub const SCRIPT_MEMORY_BYTES_MIN: u64 = 256 * KIB as u64;
/// Bytes that scripts may have at most.
pub const SCRIPT_MEMORY_BYTES_MAX: u64 = 1024 * MIB as u64;

/// Clients at once, unless `--max-clients` says otherwise.
pub const CLIENTS_DEFAULT: usize = 10_000;

const _: () = assert!(KEY_BYTES_MAX <= BUFFERED_BULK_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX + 64 <= SEGMENT_BYTES);
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(REPLY_ROOM_BYTES < RING_BYTES);
const _: () = assert!(
    RING_BYTES.is_multiple_of(BUFFER_UNIT_BYTES) && (RING_BYTES / BUFFER_UNIT_BYTES).is_power_of_two()
);
const _: () = assert!(BUFFER_UNIT_BYTES.is_power_of_two());
const _: () = assert!(VALUE_BYTES_MAX <= u32::MAX as u64);

/// Bytes of a datagram, each way: below the smallest MTU in common use, so that a frame is never cut by IP.
pub const DATAGRAM_BYTES_MAX: usize = 1200;
/// Bytes of a frame on a framed TCP connection: it waits whole in the input ring. Larger values travel over RESP.
pub const STREAM_FRAME_BYTES_MAX: usize = 64 * KIB;
/// Bytes of a reply on a framed TCP connection, at most; a longer value is answered USE_TCP, that is: ask by RESP.
pub const STREAM_REPLY_BYTES_MAX: usize = INLINE_VALUE_BYTES_MAX + 256;
const _: () = assert!(STREAM_REPLY_BYTES_MAX <= RING_BYTES);
/// Clients whose writes the at-most-once table remembers, unless configured otherwise.
pub const UDP_CLIENTS_DEFAULT: usize = 4096;
/// Writes of one client that are remembered, one for each slot, and requests that it may have outstanding.
pub const UDP_WINDOW: usize = 64;
/// A client that has been silent for this long, in ms, may be forgotten; never sooner.
pub const UDP_LEASE_MS: u64 = 120_000;
/// The longest time to live, in ms, that a frame can ask for: about 2,200 years.
pub const TTL_MS_MAX: u64 = 1 << 46;
