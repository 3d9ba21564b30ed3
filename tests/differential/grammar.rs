//! The commands of the differential test, drawn under a seed.
//!
//! A pattern is words; a word of one capital letter stands for an argument of that kind:
//! K key, V value, S value that is not empty, I integer, F float, T seconds to live, P milliseconds to live, A unix seconds, B unix milliseconds,
//! O position of a bit, Q type of an integer for BITFIELD, R payload for RESTORE, L script of two keys and two arguments, N small number, D database, G glob, W a client's name, X any text. `[a|b c]` draws none, one or more of the alternatives.
//!
//! U seconds that hardly come twice, Y and Z as A and B but none of the past: Redis counts a key that SET has given such
//! a time until it comes across it.
//!
//! Short times to live are never drawn: both servers would have to be asked in the same millisecond. Nor is what differs
//! on purpose: verbs that Redis 7.0 has not (PUT, DELETE, SET IFEQ, DELIFEQ, DELEX, MSETEX, CLIENT SETINFO), SAVE and its kin, whose
//! OK would be untrue, the bytes of DUMP (Redis packs), strings that are too long for LCS, OBJECT FREQ and IDLETIME,
//! a client's name of more than 64 bytes, KEYS ** beside an empty key (which Redis leaves out), times beyond the year
//! 10,000 (Pannier keeps 48 bits), and numbers of INCRBYFLOAT that only C's `long double` reads (hexadecimal ones, or
//! beyond a double).

use crate::common::{Random, encode};

/// How exactly two replies are compared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tolerance {
    Exact,
    Near(i128),
    Unordered,
    Kind,
    /// The same, unless the reply begins so: Pannier's bound is narrower.
    Bounded(&'static str),
    /// As many elements: which ones is free.
    SomeOf,
}

#[derive(Clone)]
pub struct Command {
    pub bytes: Vec<u8>,
    pub replies: usize,
    pub tolerance: Tolerance,
}

/// What is sent at once over one of two connections.
#[derive(Clone)]
pub struct Step {
    pub connection: usize,
    pub commands: Vec<Command>,
}

impl Step {
    /// The same commands, each sent alone.
    pub fn split(&self) -> impl Iterator<Item = Step> {
        self.commands
            .iter()
            .map(|command| Step { connection: self.connection, commands: vec![command.clone()] })
    }
}

use Tolerance::{Bounded, Exact, Kind, Near, SomeOf, Unordered};

/// Commands that may stand in a transaction too.
const DATA: &[(&str, Tolerance)] = &[
    ("SET K V [EX T|PX P|EXAT Y|PXAT Z|KEEPTTL|NX|XX|GET]", Exact),
    ("SET K V", Exact),
    ("SET K V", Exact),
    ("SET K I", Exact),
    ("GET K", Exact),
    ("GET K", Exact),
    ("GETEX K [EX T|PX P|EXAT A|PXAT B|PERSIST]", Exact),
    ("GETDEL K", Exact),
    ("GETSET K V", Exact),
    ("SETNX K V", Exact),
    ("SETEX K T V", Exact),
    ("PSETEX K P V", Exact),
    ("MGET K K K", Exact),
    ("MSET K V K V", Exact),
    ("MSETNX K V K V", Exact),
    ("APPEND K S", Exact),
    ("STRLEN K", Exact),
    ("GETRANGE K I I", Exact),
    ("SUBSTR K I I", Exact),
    ("GETRANGE K N N", Exact),
    ("SETRANGE K N V", Exact),
    ("SETRANGE K I V", Exact),
    ("INCR K", Exact),
    ("DECR K", Exact),
    ("INCRBY K I", Exact),
    ("DECRBY K I", Exact),
    ("INCRBYFLOAT K F", Exact),
    ("DEL K K", Exact),
    ("UNLINK K", Exact),
    ("EXISTS K K K", Exact),
    ("TOUCH K K", Exact),
    ("TYPE K", Exact),
    ("EXPIRE K T [NX|XX]", Exact),
    ("EXPIRE K U [NX|XX|GT|LT]", Exact),
    ("PEXPIRE K P [NX|XX]", Exact),
    ("PEXPIRE K U000 [NX|XX|GT|LT]", Exact),
    ("EXPIREAT K A [NX|XX|GT|LT]", Exact),
    ("PEXPIREAT K B [NX|XX|GT|LT]", Exact),
    ("TTL K", Near(2)),
    ("PTTL K", Near(2000)),
    ("EXPIRETIME K", Near(2)),
    ("PEXPIRETIME K", Near(2000)),
    ("PERSIST K", Exact),
    ("RENAME K K", Exact),
    ("RENAMENX K K", Exact),
    ("COPY K K [DB D|REPLACE]", Exact),
    ("MOVE K D", Exact),
    ("SWAPDB D D", Exact),
    ("DBSIZE", Exact),
    ("ECHO X", Exact),
    ("PING", Exact),
    ("PING X", Exact),
    ("SELECT D", Exact),
    ("SETBIT K O O", Exact),
    ("SETBIT K O [0|1]", Exact),
    ("SETBIT K N 1", Exact),
    ("GETBIT K O", Exact),
    ("GETBIT K N", Exact),
    ("BITCOUNT K", Exact),
    ("BITCOUNT K N N", Exact),
    ("BITCOUNT K I I [BIT|BYTE|X]", Exact),
    ("BITCOUNT K N N BIT", Exact),
    ("BITPOS K [0|1]", Exact),
    ("BITPOS K 0 N", Exact),
    ("BITPOS K 1 N N", Exact),
    ("BITPOS K I I I", Exact),
    ("BITPOS K 1 N N BIT", Exact),
    ("BITPOS K 0 N N BIT", Exact),
    ("BITPOS K 0 N N [BIT|BYTE|X]", Exact),
    ("BITOP AND K K K", Exact),
    ("BITOP OR K K K [K]", Exact),
    ("BITOP XOR K K", Exact),
    ("BITOP NOT K K", Exact),
    ("BITOP NOT K K K", Exact),
    ("BITOP X K K", Exact),
    ("BITFIELD K [GET Q O|SET Q O I|INCRBY Q O I|OVERFLOW SAT|OVERFLOW FAIL|OVERFLOW WRAP]", Exact),
    ("BITFIELD K [GET Q #N|SET Q N I|INCRBY Q O N|OVERFLOW SAT|OVERFLOW FAIL|OVERFLOW X]", Exact),
    ("BITFIELD_RO K [GET Q O|GET Q O|GET Q O|SET Q O I]", Exact),
    ("RESTORE K Z R [REPLACE|IDLETIME N|FREQ N|X]", Exact),
    ("RESTORE K T000 R REPLACE [IDLETIME N]", Exact),
    ("RESTORE K B R ABSTTL REPLACE", Exact),
    ("HSET K X V [X V|X V]", Exact),
    ("HSET K X V [X V|X V]", Exact),
    ("HSET K X I", Exact),
    ("HSETNX K X V", Exact),
    ("HMSET K X V X V", Exact),
    ("HGET K X", Exact),
    ("HMGET K X X X", Exact),
    ("HDEL K X X", Exact),
    ("HEXISTS K X", Exact),
    ("HLEN K", Exact),
    ("HSTRLEN K X", Exact),
    ("HINCRBY K X I", Exact),
    ("SADD K X X I", Exact),
    ("SADD K I I", Exact),
    ("SREM K X I", Exact),
    ("SISMEMBER K X", Exact),
    ("SMISMEMBER K X I", Exact),
    ("SCARD K", Exact),
    ("SMOVE K K X", Exact),
    ("EVAL L 2 K K X I", Exact),
    ("EVAL L 2 K K X X", Exact),
    ("EVAL_RO L 2 K K X I", Exact),
    ("SINTERCARD [1|2] K K [LIMIT N]", Exact),
    ("SINTERSTORE K K K", Exact),
    ("SUNIONSTORE K K K", Exact),
    ("SDIFFSTORE K K K", Exact),
    ("SORT none [ASC|DESC|ALPHA|LIMIT N N|BY X|GET X|STORE K|X]", Exact),
];

/// Commands that stand alone.
const ALONE: &[(&str, Tolerance)] = &[
    ("HGETALL K", Unordered),
    ("HKEYS K", Unordered),
    ("HVALS K", Unordered),
    ("SMEMBERS K", Unordered),
    ("SORT K [ASC|DESC|ALPHA|LIMIT N N|BY X|GET X|X]", Bounded("-WRONGTYPE")),
    ("SORT_RO K [ASC|ALPHA|LIMIT I N|BY X|GET X|STORE K]", Bounded("-WRONGTYPE")),
    ("KEYS G", Unordered),
    ("SCAN 0 [MATCH G|TYPE string|TYPE list] COUNT 100000", Unordered),
    ("HSCAN K 0 [MATCH G] COUNT 100000", Unordered),
    ("SSCAN K 0 [MATCH G] COUNT 100000", Unordered),
    ("SINTER K K", Unordered),
    ("SUNION K K", Unordered),
    ("SDIFF K K", Unordered),
    ("SCAN 0 TYPE hash COUNT 100000", Unordered),
    ("HRANDFIELD K N", Kind),
    ("SRANDMEMBER K N", Kind),
    ("SCAN X", Kind),
    ("SCAN 0 COUNT I", Kind),
    ("SCAN 0 X", Exact),
    ("RANDOMKEY", Kind),
    ("TIME", Kind),
    ("LASTSAVE", Kind),
    ("WAIT 0 0", Exact),
    ("WAIT foo 0", Exact),
    ("WAIT 0 foo", Exact),
    ("WAIT 0 -1", Exact),
    ("FLUSHDB [ASYNC|SYNC|X]", Exact),
    ("FLUSHALL [ASYNC|SYNC]", Exact),
    ("OBJECT X K", Exact),
    ("OBJECT ENCODING K", Kind),
    ("OBJECT REFCOUNT K", Kind),
    ("OBJECT ENCODING", Exact),
    ("MEMORY USAGE K", Kind),
    ("MEMORY USAGE K SAMPLES N", Kind),
    ("MEMORY X", Exact),
    ("SLOWLOG LEN", Kind),
    ("SLOWLOG RESET", Exact),
    ("SLOWLOG X", Exact),
    ("CLIENT ID", Kind),
    ("CLIENT GETNAME", Exact),
    ("CLIENT SETNAME name", Exact),
    ("CLIENT SETNAME W", Exact),
    ("CLIENT NO-EVICT on", Exact),
    ("CLIENT NO-EVICT X", Exact),
    ("CLIENT REPLY on", Exact),
    ("CLIENT REPLY X", Exact),
    ("CLIENT X", Exact),
    ("CLIENT KILL 127.0.0.1:1", Exact),
    ("CLIENT KILL ID 999999999", Exact),
    ("CLIENT KILL ID X", Exact),
    ("CLIENT UNPAUSE", Exact),
    ("CLIENT PAUSE foo", Exact),
    ("CONFIG GET no-such-parameter", Exact),
    ("CONFIG SET no-such-parameter 1", Exact),
    ("CONFIG RESETSTAT", Exact),
    ("CONFIG X", Exact),
    ("CONFIG", Exact),
    ("COMMAND GETKEYS GET K", Exact),
    ("COMMAND GETKEYS MSET K V K V", Exact),
    ("COMMAND GETKEYS X", Exact),
    ("COMMAND INFO nosuch", Exact),
    ("COMMAND X", Exact),
    ("FUNCTION FLUSH", Exact),
    ("FUNCTION FLUSH X", Exact),
    ("LATENCY RESET", Exact),
    ("LATENCY X", Exact),
    ("HELLO 2", Kind),
    ("HELLO 3", Kind),
    ("HELLO 4", Exact),
    ("HELLO X", Exact),
    ("HELLO 2 X", Exact),
    ("HELLO 3 AUTH X X", Exact),
    ("HELLO 3 SETNAME W", Kind),
    ("AUTH X", Exact),
    ("AUTH default X", Kind),
    ("AUTH X X X", Exact),
    ("NOSUCH K X I", Exact),
    ("X K X", Exact),
    ("MULTI X", Exact),
    ("EXEC", Exact),
    ("DISCARD", Exact),
    ("UNWATCH", Exact),
    ("RESET", Exact),
    ("PING X X", Exact),
    ("DUMP K", Kind),
    ("LCS K K [LEN|IDX|MINMATCHLEN N|WITHMATCHLEN]", Bounded("-ERR strings are too long for LCS")),
    ("CLUSTER INFO", Exact),
    ("CLUSTER KEYSLOT X", Exact),
    ("READONLY", Exact),
    ("READWRITE", Exact),
    ("ASKING", Exact),
    ("ROLE", Exact),
    ("ACL WHOAMI", Exact),
    ("ACL USERS", Exact),
    ("ACL CAT X", Exact),
    ("MODULE LIST", Exact),
    ("LOLWUT", Kind),
    ("LOLWUT VERSION X", Kind),
    ("SAVE X", Exact),
    ("BGSAVE X", Exact),
    ("BGREWRITEAOF X", Exact),
    ("CLIENT UNBLOCK I [TIMEOUT|ERROR|X]", Exact),
    ("CLIENT GETREDIR", Exact),
    ("CLIENT TRACKINGINFO", Exact),
    ("COMMAND GETKEYSANDFLAGS SET K V", Exact),
    ("COMMAND GETKEYSANDFLAGS COPY K K", Exact),
    ("COMMAND GETKEYSANDFLAGS SORT K STORE K", Exact),
    ("COMMAND GETKEYSANDFLAGS X K", Exact),
    ("MEMORY PURGE", Exact),
];

const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"key:1",
    b"key:2",
    b"h[llo",
    b"",
    b"\0\xff\r\n",
    b"with space",
    b"n1",
    b"n2",
    &[b'l'; 900],
];
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "10",
    "-10",
    "100",
    "12345",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "9223372036854775806",
    "18446744073709551615",
    "18446744073709551616",
    "007",
    "-0",
    "+1",
    " 1",
    "1 ",
    "1.0",
    "1e3",
    "",
    "foo",
    "-",
    "4294967296",
    "-4294967296",
];
const FLOATS: &[&str] = &[
    "1.5",
    "-1.5",
    "0.1",
    "1e3",
    "3.0e5",
    "-0",
    "0",
    "10",
    "inf",
    "-inf",
    "nan",
    "1e-5",
    "0.000001",
    "123456789012345678",
    "",
    "foo",
    " 1",
    "1 ",
    "+2",
    ".5",
    "5.",
];
const SECONDS: &[&str] = &[
    "100",
    "1000",
    "100000",
    "0",
    "-1",
    "-9223372036854775808",
    "9223372036854775807",
    "9223372036854775",
    "9223372036854776",
    "-9223372036854776",
    "4611686018427387904",
    "foo",
    "",
    "1e3",
    "0100",
];
const MILLISECONDS: &[&str] = &[
    "100000",
    "1000000",
    "100000000",
    "0",
    "-1",
    "-9223372036854775808",
    "9223372036854775807",
    "foo",
    "",
    "1.5",
];
const UNIX_SECONDS: &[&str] = &[
    "4000000000",
    "5000000000",
    "1",
    "0",
    "-1",
    "1000000000",
    "9223372036854775807",
    "9223372036854776",
    "-9223372036854775808",
    "foo",
];
const UNIX_MILLISECONDS: &[&str] =
    &["4000000000000", "5000000000123", "1", "0", "-1", "1000000000000", "-9223372036854775808", "foo"];
const NUMBERS: &[&str] = &["0", "1", "2", "3", "5", "-1", "-2", "-5", "100", "1000", "-1000"];
/// Positions of bits. Far ones are refused: a value of half a gigabyte would take the test's time.
const OFFSETS: &[&str] = &[
    "0",
    "1",
    "7",
    "8",
    "9",
    "13",
    "100",
    "8190",
    "70001",
    "-1",
    "x",
    "",
    "4294967296",
    "9223372036854775807",
    "#1",
    "#9",
    "01",
];
const TYPES: &[&str] = &[
    "u8", "i8", "i16", "u1", "i1", "u2", "i64", "u63", "i5", "u33", "u64", "i65", "i0", "x8", "u", "i-1",
    "U8", "",
];
const DATABASES: &[&str] =
    &["0", "0", "1", "2", "15", "16", "-1", "foo", "", "9223372036854775808", "01", "4294967296"];
const GLOBS: &[&str] = &[
    "*", "a*", "?", "[a-c]", "[^a]", "key:?", "*1", "h\\[llo", "[", "\\", "", "[c-a]", "*[", "[a-", "k*y:*",
    "?*?",
];
const TEXTS: &[&str] = &[
    "foo",
    "bar baz",
    "",
    "\u{1}\u{2}\u{ff}",
    "line\r\nbreak",
    "0",
    "100000",
    "-1",
    "on",
    "EX",
    "NX",
    "get",
    "help-me",
    "a-rather-long-argument-that-an-error-message-would-have-to-cut-somewhere-because-it-is-longer-than-one-hundred-and-twenty-eight-bytes-in-all",
    "\"quoted\"",
    "'single'",
    "%s%n",
    "\\n41",
];

/// What locks and limiters send, conversions of collections in both protocols, errors caught and not.
const SCRIPTS: &[&str] = &[
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end",
    "local n = redis.call('INCR', KEYS[1]) if n == 1 then redis.call('PEXPIRE', KEYS[1], 100000) end return n",
    "return redis.call('SET', KEYS[1], ARGV[1], 'PX', 100000, 'NX')",
    "redis.call('RENAME', KEYS[1], KEYS[2]) return redis.call('TYPE', KEYS[2])",
    "return {redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], 'f', 1), redis.call('HGET', KEYS[1], ARGV[1])}",
    "return redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])",
    "return redis.pcall('HINCRBY', KEYS[1], ARGV[1], ARGV[2])",
    "return redis.call('HMGET', KEYS[1], unpack(ARGV))",
    "local h = redis.call('HGETALL', KEYS[1]) local n = 0 for i = 2, #h, 2 do n = n + #h[i] end return {#h, n}",
    "redis.setresp(3) local h = redis.call('HGETALL', KEYS[1]).map local n = 0 \
     for f, v in pairs(h) do n = n + #f + #v end return n",
    "return {redis.call('SADD', KEYS[1], ARGV[1], ARGV[2]), redis.call('SCARD', KEYS[1])}",
    "redis.setresp(3) local s = redis.pcall('SMEMBERS', KEYS[1]) if s.err then return s end local n = 0 \
     for member in pairs(s.set) do n = n + #member end return n",
    "local moved = 0 for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do \
     moved = moved + redis.call('SMOVE', KEYS[1], KEYS[2], member) end return moved",
    "local s = redis.pcall('SUNION', KEYS[1], KEYS[2]) if s.err then return {err = s.err} end return #s",
    "return {type(redis.pcall('SISMEMBER', KEYS[1], ARGV[1])), redis.call('EXISTS', KEYS[1], KEYS[2])}",
    "redis.call('HDEL', KEYS[1], 'f') redis.call('SREM', KEYS[2], ARGV[1]) return redis.status_reply('DONE')",
    "redis.setresp(3) return redis.call('HGET', KEYS[1], 'f')",
    "redis.setresp(3) return redis.call('SISMEMBER', KEYS[1], ARGV[2])",
    "return {KEYS[2], ARGV[1], ARGV[2], false, true, {1, nil, 2}}",
    "return ARGV[2] + 1",
    "return cjson.encode({KEYS[1] == KEYS[2], tonumber(ARGV[2]) == nil})",
];

/// The steps of a seed.
pub fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut random = Random(seed);
    // Each seed has its own mixture: some never leave RESP2, some are mostly transactions.
    let (alone_one_in, transaction_one_in) = (2 + random.below(12), 4 + random.below(30));
    let mut steps = Vec::new();
    if random.one_in(2) {
        steps.extend(
            (0..2)
                .map(|connection| Step { connection, commands: vec![command("HELLO 3", Kind, &mut random)] }),
        );
    }
    while steps.len() < count {
        let connection = usize::from(random.one_in(4));
        if random.one_in(transaction_one_in) {
            transaction(&mut steps, connection, &mut random);
        } else if random.one_in(alone_one_in) {
            let (pattern, tolerance) = ALONE[random.below(ALONE.len())];
            steps.push(Step { connection, commands: vec![command(pattern, tolerance, &mut random)] });
        } else {
            let length = if random.one_in(8) { 2 + random.below(20) } else { 1 };
            let commands = (0..length).map(|_| data(&mut random)).collect();
            steps.push(Step { connection, commands });
        }
    }
    steps
}

fn data(random: &mut Random) -> Command {
    let (pattern, tolerance) = DATA[random.below(DATA.len())];
    command(pattern, tolerance, random)
}

/// WATCH of keys that are there (one that comes and goes again meanwhile is as absent as before for Pannier, which
/// compares revisions, while Redis notes the touch) on one connection, perhaps a change by another, MULTI, commands, EXEC or DISCARD.
fn transaction(steps: &mut Vec<Step>, connection: usize, random: &mut Random) {
    let mut push = |connection, commands| steps.push(Step { connection, commands });
    if random.one_in(2) {
        let keys = [argument("K", random), argument("K", random)];
        for key in &keys {
            push(connection, vec![words(&[b"SET", key, b"watched"])]);
        }
        push(connection, vec![words(&[b"WATCH", &keys[0], &keys[1]])]);
        if random.one_in(2) {
            push(random.below(2), vec![data(random)]);
        }
    }
    push(connection, vec![plain("MULTI")]);
    for _ in 0..random.below(6) {
        let mut queued = if random.one_in(12) {
            let pattern = random.pick(&["MULTI", "WATCH a", "NOSUCH x", "GET", "UNWATCH"]);
            plain(pattern)
        } else {
            data(random)
        };
        queued.tolerance = Exact;
        push(connection, vec![queued]);
        if random.one_in(8) {
            push(1 - connection, vec![data(random)]);
        }
    }
    let mut end = plain(random.pick(&["EXEC", "EXEC", "EXEC", "EXEC", "DISCARD", "RESET"]));
    // Replies of TTL may be among those of EXEC.
    end.tolerance = Near(2000);
    push(connection, vec![end]);
}

fn plain(line: &str) -> Command {
    words(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

fn words(words: &[&[u8]]) -> Command {
    Command { bytes: encode(words), replies: 1, tolerance: Exact }
}

/// How the reply of a SORT that does not sort is compared: members are then in the order of the set, which is each
/// server's own. (No pattern of the grammar has an asterisk, by which there would be something to sort by.)
fn order_of(args: &[Vec<u8>]) -> Option<Tolerance> {
    let has = |word: &[u8]| args.iter().any(|arg| arg == word);
    match has(b"SORT") || has(b"SORT_RO") {
        true if has(b"BY") && has(b"LIMIT") => Some(SomeOf),
        true if has(b"BY") => Some(Unordered),
        _ => None,
    }
}

/// Draws a command of the pattern; one in ten is damaged.
fn command(pattern: &str, tolerance: Tolerance, random: &mut Random) -> Command {
    let mut args = draw(pattern, random);
    let mut tolerance = order_of(&args).unwrap_or(tolerance);
    // Longer forms of these could hold up the test, or differ on purpose (EXEC with an argument, options that fail midway, a cursor with a zero byte, appending nothing to a watched key).
    let whole = [
        "EXEC",
        "MULTI",
        "HELLO",
        "CLIENT KILL",
        "SCAN",
        "HSCAN",
        "SSCAN",
        "APPEND",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "CLUSTER",
        "LCS",
        "SORT",
        "DUMP",
        // Any text as a script: compile errors are in transcripts.
        "EVAL",
        // Without its last words, a time long past is a short time to live.
        "RESTORE K B",
    ]
    .iter()
    .any(|verb| pattern.starts_with(verb));
    let blocks = pattern.starts_with("WAIT") || pattern.starts_with("CLIENT PAUSE");
    if random.one_in(10) && !blocks && !whole {
        damage(&mut args, random);
        // A damaged command is mostly an error; where it is not, it still answers in its own kind.
        // What is left of these can still be a good command whose reply is each server's own.
        let own_reply = ["COMMAND", "OBJECT", "SCAN", "ACL CAT"].iter().any(|verb| pattern.starts_with(verb));
        tolerance = if tolerance == Exact && !own_reply { Exact } else { Kind };
    }
    if random.one_in(6) {
        let verb: String = String::from_utf8_lossy(&args[0])
            .chars()
            .map(|c| if random.one_in(2) { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
            .collect();
        args[0] = verb.into_bytes();
    }
    let bytes = if random.one_in(12) { inline(&args) } else { None }.unwrap_or_else(|| encode(&args));
    Command { bytes, replies: 1, tolerance }
}

fn draw(pattern: &str, random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        if let Some(options) = rest.strip_prefix('[') {
            let (options, behind) = options.split_once(']').expect("a closed bracket");
            let options: Vec<&str> = options.split('|').collect();
            while random.one_in(2) {
                for word in random.pick(&options).split(' ') {
                    args.push(argument(word, random));
                }
            }
            rest = behind.trim_start();
        } else {
            let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            args.push(argument(word, random));
            rest = behind;
        }
    }
    args
}

fn argument(word: &str, random: &mut Random) -> Vec<u8> {
    match word {
        "K" => random.pick(KEYS).to_vec(),
        "V" => value(random),
        "I" => number(INTEGERS, random),
        "F" => number(FLOATS, random),
        "T" => number(SECONDS, random),
        "P" => number(MILLISECONDS, random),
        "A" => number(UNIX_SECONDS, random),
        "B" => number(UNIX_MILLISECONDS, random),
        "Y" => random.pick(&["4000000000", "5000000000", "0", "-1", "9223372036854775807", "foo"]).into(),
        "Z" => {
            random.pick(&["4000000000000", "5000000000123", "0", "-1", "9223372036854775808", "foo"]).into()
        }
        "U" => distinct_seconds(random).into_bytes(),
        "U000" => (distinct_seconds(random) + "000").into_bytes(),
        "N" => random.pick(NUMBERS).into(),
        "D" => random.pick(DATABASES).into(),
        "G" => random.pick(GLOBS).into(),
        "S" => [value(random), b"s".to_vec()].concat(),
        "O" => number(OFFSETS, random),
        "Q" => random.pick(TYPES).into(),
        "R" => payload(random),
        "L" => random.pick(SCRIPTS).into(),
        "#N" => [b"#", random.pick(NUMBERS).as_bytes()].concat(),
        "T000" => (random.pick(&["100", "1000", "0", "-1"]).to_owned() + "000").into_bytes(),
        "W" => random.pick(&["short", "", "two words", "line\nbreak", "\u{7f}", "~!"]).into(),
        "X" => random.pick(TEXTS).into(),
        _ => word.into(),
    }
}

/// What DUMP of Redis 7.0.15 answered for several values, as it is or damaged.
fn payload(random: &mut Random) -> Vec<u8> {
    const PAYLOADS: &[&[u8]] = &[
        b"\x00\x08ohmytext\n\x00\xb6]\xeb\xe1\x8c\x03\xed\x88",
        b"\x00\xc0\x05\n\x00c/_f\x83/\xb3Q",
        b"\x00\xc1,\x01\n\x00\x95Ba\xf2e\x82\\\x10",
        b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5",
        b"\x00\x00\n\x00]\x9b\\@\x0f\x7f\xa2\xda",
        b"\x00\xc3\t<\x01aa\xe0/\x00\x01aa\n\x00\xa6~\x08\xb2\x17\xd0\x97\x80",
        b"\x00\xc3\x1a \x02aba\xa0\x01\x01cd@\x01\x01ef@\x01\x01gh@\x01\x031234\n\x00\xb8j\x10\x96)o\xf3\xd6",
        b"\x0b\x0e\x02\x00\x00\x00\x03\x00\x00\x00\xd4\xfe\x01\x00\x03\x00\n\x00\xbb\xbey\xca\xd0\xe5\t\x91",
        b"\x0b\x10\x04\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00p\x11\x01\x00\n\x00'5Cn\xfdfV\xc4",
        b"\x0b\x18\x08\x00\x00\x00\x02\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\xf2\x05*\x01\x00\x00\x00\n\x00|\\&\xb4nV\xfeb",
        b"\x02\x03\x01b\xc0\x0c\x01a\n\x00\x94&\x9e\x95]\x19\xeax",
        b", ",
        b"\x10\xc3:@s\x1fs\x00\x00\x00\n\x00\x81f\x02\x81v\x02\x81n\x02\xc1,\x02\x83neg\x04\xdf\xff\x02\x83big\x04\xf4\x04\x00\xf2\x05*\x01 #\t\t\x84long\x05\xe0@x\xe06\x00\x01B\xff\n\x00+\xe0,\xe3\xfa\xac\xc9s",
        b"\x04\x02\xc3\t@F\x01aa\xe09\x00\x01aa\xc0\x05\x01f\xc3\t@d\x01vv\xe0W\x00\x01vv\n\x00\x9f\xd15\xef.\xa5_X",
        b"\r@RR\x00\x00\x00N\x00\x00\x00\x10\x00\x00\x01f\x03\x01v\x03\x01n\x03\xc0,\x01\x04\x03neg\x05\xfe\xff\x03\x04five\x06\xf6\x02\x03big\x05\xe0\x00\xf2\x05*\x01\x00\x00\x00\n\x01m\x03\xf0\x90\xee\xfe\x05\x01t\x03\xd0\x00\x00\x00@\x06\x05after\x07\x01y\xff\t\x00\x9dQ\x1ca\xd1E\x9eK",
    ];
    let mut payload = random.pick(PAYLOADS).to_vec();
    if random.one_in(4) {
        let at = random.below(payload.len());
        payload[at] ^= 1 << random.below(8);
    }
    payload
}

/// Seconds to live that hardly come twice: GT and LT compare them with what was set a moment ago by another clock.
fn distinct_seconds(random: &mut Random) -> String {
    (1000 + 10 * random.below(10_000_000)).to_string()
}

/// Half of the numbers come from the first four of their list, which are good ones.
fn number(list: &[&str], random: &mut Random) -> Vec<u8> {
    let list = if random.one_in(2) { &list[..3] } else { list };
    random.pick(list).into()
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => random.bytes(9_000),
        1 => vec![b'x'; 8 * 1024 + random.below(3) - 1],
        2 => random.bytes(70_000),
        3..=5 => random.bytes(random.0 as usize % 300),
        6..=8 => random.pick(FLOATS).into(),
        9..=19 => random.pick(INTEGERS).into(),
        20 => Vec::new(),
        _ => random.pick(TEXTS).into(),
    }
}

/// Leaves out, adds, doubles or replaces arguments. Never a verb, and never by a short time to live.
fn damage(args: &mut Vec<Vec<u8>>, random: &mut Random) {
    const REPLACEMENTS: &[&str] =
        &["", "foo", "-1", "0", "EX", "NX", "XX", "GET", "KEEPTTL", "\0", "9223372036854775808", "DB"];
    let replacement = random.pick(REPLACEMENTS).as_bytes().to_vec();
    match random.below(4) {
        0 => args.truncate(1 + random.below(args.len())),
        1 => args.push(replacement),
        2 if args.len() > 1 => {
            let at = 1 + random.below(args.len() - 1);
            args[at] = replacement;
        }
        _ => {
            let at = 1 + random.below(args.len());
            args.insert(at, replacement);
        }
    }
}

/// The command as an inline one, quoted where it must be; None where it cannot be told from something else.
fn inline(args: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    for arg in args {
        if arg.len() > 1000 {
            return None;
        }
        if !arg.is_empty() && arg.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-+:.*".contains(byte)) {
            line.extend_from_slice(arg);
        } else {
            line.push(b'"');
            for byte in arg {
                line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
            line.push(b'"');
        }
        line.push(b' ');
    }
    // A first byte of '*' would be a count, and "POST" or "Host:" a browser's.
    if line[0] == b'*' {
        return None;
    }
    line.extend_from_slice(b"\r\n");
    Some(line)
}
