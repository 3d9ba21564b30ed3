//! After the start, serving takes nothing from the heap: a counting allocator is this test's global one, and the
//! I/O-free server runs under it. A new verb in the table without a case here fails the test.

use crate::common::{KIB, MIB, Random, encode, show};
use crate::counting_allocator::counting;
use crate::in_process::{EPOCH, InProcess};
use pannier::command::VERBS;
use pannier::connection::ConnectionId;
use pannier::limits::DATAGRAM_BYTES_MAX;
use pannier::server::Resources;
use pannier::store::feed::FEED_BYTES_MIN;
use pannier::store::{OnFull, StoreConfig};
use pannier::wire::frame::{self, Direction, Head, Op, Status};
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock by which every command takes a while, so that the slow log and the histograms have work.
fn clock_us() -> u64 {
    static MICROS: AtomicU64 = AtomicU64::new(0);
    MICROS.fetch_add(700, Ordering::Relaxed)
}

const CLIENTS_MAX: usize = 64;

fn resources() -> Resources {
    Resources { clock_us, fill_process_stats: pannier::net::fill_process_stats, ..Resources::default() }
}

/// A server, a client of it, and room for its answers.
struct Rig {
    process: InProcess,
    client: ConnectionId,
    answer: Vec<u8>,
}

impl Rig {
    fn new(config: StoreConfig, password: Option<&[u8]>) -> Rig {
        let mut process = InProcess::new(config, CLIENTS_MAX, resources(), password);
        let client = process.connect();
        // Touched, so that the first answer finds it mapped.
        let mut answer = vec![0; 32 * MIB];
        answer.clear();
        Rig { process, client, answer }
    }

    fn with_memory(memory_bytes: usize) -> Rig {
        Rig::new(StoreConfig { memory_bytes, feed_bytes: FEED_BYTES_MIN, ..StoreConfig::default() }, None)
    }

    fn evicting(memory_bytes: usize) -> Rig {
        Rig::new(StoreConfig { memory_bytes, on_full: OnFull::Evict, ..StoreConfig::default() }, None)
    }

    /// Sends bytes and has the answer in `answer`.
    fn send(&mut self, bytes: &[u8]) {
        self.answer.clear();
        self.process.exchange(self.client, bytes, &mut self.answer);
    }

    /// Sends bytes; serving them must not allocate.
    fn send_counted(&mut self, bytes: &[u8]) {
        let allocations = counting(|| self.send(bytes));
        assert_eq!(allocations, 0, "allocated by {}, answered {}", show(bytes), show(&self.answer));
    }
}

/// Commands that make a verb do its work, on an empty database and a fresh connection, words between spaces. `@` is
/// a value that is kept in blocks, `!` in front says that an error is the answer.
///
/// # Panics
/// On a verb that has no case: write one.
fn cases(verb: &str) -> &'static [&'static str] {
    match verb {
        "put" => &["PUT k v", "PUT k v2 PX 100000", "PUT k @", "PUT k @ KEEPTTL", "PUT k v NX"],
        "delete" => &["PUT k v", "PUT l @", "DELETE k l m"],
        "get" => &["GET k", "SET k v", "GET k", "SET k @", "GET k"],
        "set" => &[
            "SET k v",
            "SET k v EX 100",
            "SET k w NX",
            "SET k w XX KEEPTTL",
            "SET k w XX GET",
            "SET k w PXAT 1",
            "SET k @ EXAT 2000000000",
            "SET k @ GET",
            "SET k w",
            "!SET k w NX XX",
        ],
        "getex" => &["SET k v", "GETEX k", "GETEX k EX 100", "GETEX k PERSIST", "GETEX k PXAT 1"],
        "getdel" => &["SET k v", "GETDEL k", "SET k @", "GETDEL k", "GETDEL k"],
        "getset" => &["GETSET k v", "GETSET k @", "GETSET k v"],
        "setnx" => &["SETNX k v", "SETNX k v"],
        "setex" => &["SETEX k 100 v", "SETEX k 1 @", "!SETEX k 0 v"],
        "psetex" => &["PSETEX k 100 v", "PSETEX k 100 @"],
        "mget" => &["MSET a 1 b @ c 3", "MGET a b c d b b"],
        "mset" => &["MSET a 1 b 2", "MSET a @ b 2 a 3"],
        "msetnx" => &["MSETNX a 1 b @", "MSETNX b 1 c 2"],
        "append" => &["APPEND k abc", "APPEND k abc", "APPEND k @", "APPEND k x", "APPEND k @"],
        "strlen" => &["STRLEN k", "SET k @", "STRLEN k"],
        "getrange" => &["SET k hello", "GETRANGE k 1 -2", "SET k @", "GETRANGE k 5 90000"],
        "substr" => &["SET k hello", "SUBSTR k 1 -2"],
        "setrange" => {
            &["SETRANGE k 10 x", "SETRANGE k 9000 x", "SETRANGE k 100000 xyz", "SET l @", "SETRANGE l 3 y"]
        }
        "incr" => &["INCR n", "INCR n"],
        "decr" => &["DECR n", "SET n 10", "DECR n"],
        "incrby" => &["INCRBY n 9223372036854775807", "!INCRBY n 1"],
        "decrby" => &["DECRBY n 5", "!DECRBY n -9223372036854775808"],
        "incrbyfloat" => {
            &["INCRBYFLOAT f 1.5", "INCRBYFLOAT f 1e10", "INCRBYFLOAT f 0.1", "!INCRBYFLOAT f x"]
        }
        "delifeq" => &["SET k v", "DELIFEQ k w", "DELIFEQ k v", "SET k @", "DELIFEQ k @"],
        "delex" => &["SET k v", "DELEX k IFEQ w", "DELEX k IFNE w", "SET k @", "DELEX k IFEQ @", "DELEX k"],
        "msetex" => &[
            "MSETEX 2 a 1 b @ EX 100",
            "MSETEX 2 a 2 b 2 XX KEEPTTL",
            "MSETEX 1 a 1 NX",
            "MSETEX 2 a @ a 3 PXAT 1",
            "!MSETEX 3 a 1",
        ],
        "setbit" => &["SETBIT k 7 1", "SETBIT k 99999 1", "SET l @", "SETBIT l 5 0", "!SETBIT l 5 2"],
        "getbit" => &["SETBIT k 7 1", "GETBIT k 7", "SET l @", "GETBIT l 79999"],
        "bitcount" => &["SET k v", "BITCOUNT k", "BITCOUNT k 1 -2 BIT", "SET l @", "BITCOUNT l 5 -5"],
        "bitpos" => &["SET k v", "BITPOS k 1", "BITPOS k 0 1 2 BIT", "SET l @", "BITPOS l 0 99"],
        "bitop" => &[
            "MSET a abc b @ c @",
            "BITOP AND d a b c none",
            "BITOP NOT d a",
            "BITOP XOR b b c a",
            "BITOP OR d none",
            "!BITOP NOT d a b",
        ],
        "hset" => &["HSET h a 1 b 2 c 3", "HSET h a 11 d @", "HSET h a @"],
        "hmset" => &["HMSET h a 1 b 2"],
        "hsetnx" => &["HSETNX h a 1", "HSETNX h a 2"],
        "hget" => &["HSET h a 1 b @", "HGET h a", "HGET h b", "HGET h c", "HGET nothing c"],
        "hmget" => &["HSET h a 1 b @", "HMGET h a b c", "HMGET nothing a b"],
        "hgetall" => &["HSET h a 1 b @", "HGETALL h", "HGETALL nothing"],
        "hdel" => &["HSET h a 1 b @ c 2", "HDEL h a x", "HDEL h b c"],
        "hexists" => &["HSET h a 1", "HEXISTS h a", "HEXISTS h b"],
        "hlen" => &["HSET h a 1", "HLEN h"],
        "hstrlen" => &["HSET h a 1 b @", "HSTRLEN h a", "HSTRLEN h b"],
        "hkeys" => &["HSET h a 1 b @", "HKEYS h"],
        "hvals" => &["HSET h a 1 b @", "HVALS h"],
        "hincrby" => &["HINCRBY h a 5", "HINCRBY h a -7"],
        "hincrbyfloat" => &["HINCRBYFLOAT h a 5.5", "HINCRBYFLOAT h a 1e3"],
        "hscan" => &["HSET h a 1 b @", "HSCAN h 0 MATCH a* COUNT 5", "HSCAN nothing 0"],
        "hrandfield" => &["HSET h a 1 b 2", "HRANDFIELD h", "HRANDFIELD h 5 WITHVALUES", "HRANDFIELD h -9"],
        "hexpire" => &[
            "HSET h a 1 b @ c 3",
            "HEXPIRE h 100 FIELDS 2 a x",
            "HEXPIRE h 50 GT FIELDS 2 b c",
            "HEXPIRE h 60 FIELDS 2 b c",
            "HEXPIRE h 0 FIELDS 1 c",
        ],
        "hpexpire" => &["HSET h a 1", "HPEXPIRE h 100000 NX FIELDS 1 a"],
        "hexpireat" => &["HSET h a 1", "HEXPIREAT h 2000000000 FIELDS 1 a"],
        "hpexpireat" => &["HSET h a 1", "HPEXPIREAT h 2000000000000 FIELDS 1 a"],
        "httl" => &["HSETEX h EX 9 FIELDS 2 a 1 b @", "HTTL h FIELDS 3 a b c"],
        "hpttl" => &["HSETEX h EX 9 FIELDS 2 a 1 b @", "HPTTL h FIELDS 3 a b c"],
        "hexpiretime" => &["HSETEX h EX 9 FIELDS 2 a 1 b @", "HEXPIRETIME h FIELDS 3 a b c"],
        "hpexpiretime" => &["HSETEX h EX 9 FIELDS 2 a 1 b @", "HPEXPIRETIME h FIELDS 3 a b c"],
        "hpersist" => &["HSETEX h EX 9 FIELDS 2 a 1 b @", "HPERSIST h FIELDS 3 a b c"],
        "hgetdel" => &["HSET h a 1 b @ c 3", "HGETDEL h FIELDS 3 a b x", "HGETDEL h FIELDS 1 c"],
        "hgetex" => &[
            "HSET h a 1 b @ c 3",
            "HGETEX h EX 5 FIELDS 3 a b x",
            "HGETEX h PERSIST FIELDS 1 a",
            "HGETEX h PXAT 1 FIELDS 1 c",
        ],
        "hsetex" => &[
            "HSETEX h PX 90000 FIELDS 2 a 1 b @",
            "HSETEX h FXX KEEPTTL FIELDS 2 a @ b 2",
            "HSETEX h FNX FIELDS 1 c 2",
            "HSETEX h EXAT 1 FIELDS 1 c 2",
        ],
        "sadd" => &["SADD s 1 2 3", "SADD s a 2 b"],
        "srem" => &["SADD s 1 2 3", "SREM s 1 9", "SREM s 2 3"],
        "sismember" => &["SADD s 1 2 3", "SISMEMBER s 1", "SISMEMBER s x"],
        "smismember" => &["SADD s 1 2 3", "SMISMEMBER s 1 x"],
        "scard" => &["SADD s 1 2 3", "SCARD s"],
        "smembers" => &["SADD s 1 2 3", "SMEMBERS s", "SMEMBERS nothing"],
        "spop" => &["SADD s 1 2 3 4 5", "SPOP s", "SPOP s 2", "SPOP s 100", "SPOP s"],
        "srandmember" => &["SADD s 1 2 3", "SRANDMEMBER s", "SRANDMEMBER s 2", "SRANDMEMBER s -8"],
        "sscan" => &["SADD s 1 2 3", "SSCAN s 0"],
        "smove" => &["SADD s 1 2 3", "SMOVE s t 2", "SMOVE s t 9"],
        "sinter" => &["SADD s 1 2 3", "SADD t 2 3 4", "SINTER s t"],
        "sintercard" => &["SADD s 1 2 3", "SADD t 2 3 4", "SINTERCARD 2 s t LIMIT 5"],
        "sinterstore" => &["SADD s 1 2 3", "SADD t 2 3 4", "SINTERSTORE d s t"],
        "sunion" => &["SADD s 1 2 3", "SADD t 2 3 4", "SUNION s t"],
        "sunionstore" => &["SADD s 1 2 3", "SADD t 2 3 4", "SUNIONSTORE s s t"],
        "sdiff" => &["SADD s 1 2 3", "SADD t 2 3 4", "SDIFF s t"],
        "sdiffstore" => &["SADD s 1 2 3", "SADD t 2 3 4", "SDIFFSTORE d s t"],
        "lcs" => &["MSET a ohmytext b mynewtext", "LCS a b", "LCS a b LEN", "LCS a b IDX WITHMATCHLEN"],
        "dump" => &[
            "DUMP k",
            "SET k v",
            "DUMP k",
            "SET k 5",
            "DUMP k",
            "SET k @",
            "DUMP k",
            "HSET h f v g @",
            "DUMP h",
            "SADD s a b 3",
            "DUMP s",
        ],
        "restore" => &["!RESTORE k 0 x", "!RESTORE k 0 @ REPLACE ABSTTL IDLETIME 1"],
        "bitfield" => &[
            "BITFIELD k SET u8 0 255 OVERFLOW FAIL INCRBY u8 0 1 GET i64 3",
            "SET l @",
            "BITFIELD l SET i64 790000 -1 INCRBY u3 5 7",
            "!BITFIELD k GET u64 0",
        ],
        "bitfield_ro" => &["SETBIT k 7 1", "BITFIELD_RO k GET u8 0", "!BITFIELD_RO k SET u8 0 1"],
        "sort" => &[
            "SORT none",
            "SORT none BY w_* GET # LIMIT 0 1 STORE k",
            "SET k v",
            "!SORT k",
            "SADD s 3 1 2",
            "SORT s DESC GET # GET w_*->f",
        ],
        "sort_ro" => {
            &["SORT_RO none ALPHA", "SET k v", "!SORT_RO k", "SADD s c a b", "SORT_RO s ALPHA BY w_*"]
        }
        "save" => &["!SAVE"],
        "bgsave" => &["!BGSAVE", "!BGSAVE SCHEDULE"],
        "bgrewriteaof" => &["!BGREWRITEAOF"],
        "role" => &["ROLE"],
        "lolwut" => &["LOLWUT", "LOLWUT VERSION 5"],
        "acl" => &["!ACL", "!ACL NONSENSE"],
        "acl|whoami" => &["ACL WHOAMI"],
        "acl|users" => &["ACL USERS"],
        "acl|cat" => &["ACL CAT", "ACL CAT bitmap", "!ACL CAT none"],
        "acl|help" => &["ACL HELP"],
        "module" => &["!MODULE", "!MODULE NONSENSE"],
        "module|list" => &["MODULE LIST"],
        "module|help" => &["MODULE HELP"],
        "cluster" => &["!CLUSTER INFO"],
        "readonly" => &["!READONLY"],
        "readwrite" => &["!READWRITE"],
        "asking" => &["!ASKING"],
        "del" => &["MSET a 1 b @", "DEL a b c"],
        "unlink" => &["MSET a 1 b @", "UNLINK a b c"],
        "exists" => &["MSET a 1 b @", "EXISTS a a b c"],
        "touch" => &["MSET a 1 b @", "TOUCH a b c"],
        "type" => &["SET k v", "TYPE k", "TYPE l"],
        "expire" => &["SET k v", "EXPIRE k 100", "EXPIRE k 50 GT", "SET l @", "EXPIRE l 100", "EXPIRE k -1"],
        "pexpire" => &["SET k v", "PEXPIRE k 100000 NX", "PEXPIRE k 50 LT"],
        "expireat" => &["SET k v", "EXPIREAT k 2000000000", "EXPIREAT k 1"],
        "pexpireat" => &["SET k v", "PEXPIREAT k 2000000000000", "PEXPIREAT k 1"],
        "ttl" => &["SET k v EX 100", "TTL k", "TTL l"],
        "pttl" => &["SET k v EX 100", "PTTL k"],
        "expiretime" => &["SET k v EX 100", "EXPIRETIME k"],
        "pexpiretime" => &["SET k v EX 100", "PEXPIRETIME k"],
        "persist" => &["SET k v EX 100", "PERSIST k", "PERSIST k"],
        "rename" => &["SET k v", "RENAME k l", "SET k @", "RENAME k l", "!RENAME k l"],
        "renamenx" => &["MSET k v l w", "RENAMENX k l", "RENAMENX k m"],
        "copy" => &["SET k v", "COPY k l", "SET k @", "COPY k l REPLACE", "COPY k l DB 1"],
        "randomkey" => &["RANDOMKEY", "SET k v", "RANDOMKEY"],
        "keys" => &["MSET a 1 b 2 c 3", "KEYS *", "KEYS [ab]", "KEYS none"],
        "scan" => &["MSET a 1 b 2 c 3", "SCAN 0", "SCAN 0 MATCH a* COUNT 100 TYPE string"],
        "object" => &["!OBJECT", "!OBJECT NONSENSE k"],
        "object|encoding" => &["SET k v", "OBJECT ENCODING k", "SET n 1", "OBJECT ENCODING n"],
        "object|freq" => &["SET k v", "!OBJECT FREQ k"],
        "object|idletime" => &["SET k v", "!OBJECT IDLETIME k"],
        "object|refcount" => &["SET k v", "OBJECT REFCOUNT k"],
        "object|help" => &["OBJECT HELP"],
        "dbsize" => &["DBSIZE"],
        "flushdb" => &["MSET a 1 b @", "FLUSHDB", "FLUSHDB ASYNC"],
        "flushall" => &["MSET a 1 b @", "FLUSHALL", "FLUSHALL SYNC"],
        "move" => &["SET k v", "MOVE k 5", "SET k @", "MOVE k 6", "MOVE k 6"],
        "swapdb" => &["SET k v", "SWAPDB 0 1", "SWAPDB 0 1"],
        "hello" => &["HELLO", "HELLO 3", "HELLO 2 SETNAME me", "!HELLO 4"],
        "auth" => &["!AUTH password", "AUTH default password"],
        "ping" => &["PING", "PING hello", "PING @"],
        "echo" => &["ECHO hello", "ECHO @"],
        "quit" => &["QUIT"],
        "reset" => &["RESET", "MULTI", "SET k @", "RESET"],
        "select" => &["SELECT 3", "!SELECT 99"],
        "client" => &["!CLIENT", "!CLIENT NONSENSE"],
        "client|id" => &["CLIENT ID"],
        "client|getname" => &["CLIENT GETNAME"],
        "client|setname" => &["CLIENT SETNAME me", "CLIENT GETNAME"],
        "client|setinfo" => &["CLIENT SETINFO LIB-NAME lib", "CLIENT SETINFO LIB-VER 1.2"],
        "client|info" => &["CLIENT INFO"],
        "client|list" => &["CLIENT LIST", "CLIENT LIST TYPE normal", "CLIENT LIST ID 1 2 3"],
        "client|kill" => {
            &["CLIENT KILL ID 999", "!CLIENT KILL 1.2.3.4:5", "CLIENT KILL TYPE normal SKIPME no"]
        }
        "client|no-evict" => &["CLIENT NO-EVICT on"],
        "client|no-touch" => &["CLIENT NO-TOUCH on"],
        "client|reply" => {
            &["CLIENT REPLY SKIP", "PING", "CLIENT REPLY OFF", "SET k @", "GET k", "CLIENT REPLY ON"]
        }
        "client|unpause" => &["CLIENT UNPAUSE"],
        "client|pause" => &["CLIENT PAUSE 100000 WRITE", "GET k", "CLIENT UNPAUSE"],
        "client|unblock" => &["CLIENT UNBLOCK 1", "CLIENT UNBLOCK 1 ERROR", "!CLIENT UNBLOCK 1 X"],
        "client|tracking" => &[
            "CLIENT TRACKING ON",
            "GET k",
            "SET k v",
            "CLIENT TRACKING OFF",
            "CLIENT TRACKING ON BCAST PREFIX k",
            "SET k v",
            "FLUSHALL",
        ],
        "client|caching" => {
            &["CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", "GET k", "!CLIENT CACHING NO"]
        }
        "client|getredir" => &["CLIENT GETREDIR"],
        "client|trackinginfo" => &["CLIENT TRACKINGINFO"],
        "client|help" => &["CLIENT HELP"],
        "multi" => &["MULTI", "!MULTI", "DISCARD"],
        "exec" => &["MULTI", "SET k v", "SET l @", "GET l", "KEYS *", "MGET k l", "EXEC", "!EXEC"],
        "discard" => &["MULTI", "SET k @", "DISCARD", "!DISCARD"],
        "watch" => &["WATCH k l", "SET k v", "MULTI", "GET k", "EXEC"],
        "unwatch" => &["WATCH k", "UNWATCH", "MULTI", "UNWATCH", "EXEC"],
        "info" => &["INFO", "INFO all", "INFO everything", "INFO memory clients stats", "INFO commandstats"],
        "config" => &["!CONFIG", "!CONFIG NONSENSE"],
        "config|get" => &["CONFIG GET *", "CONFIG GET maxmemory timeout"],
        "config|set" => &[
            "CONFIG SET slowlog-log-slower-than 100",
            "CONFIG SET timeout 0",
            "CONFIG SET appendonly no",
            "CONFIG SET maxmemory 1gb",
            "!CONFIG SET maxmemory much",
            "!CONFIG SET none 1",
        ],
        "config|resetstat" => &["CONFIG RESETSTAT"],
        "config|help" => &["CONFIG HELP"],
        "command" => &["COMMAND"],
        "command|count" => &["COMMAND COUNT"],
        "command|list" => {
            &["COMMAND LIST", "COMMAND LIST FILTERBY PATTERN g*", "COMMAND LIST FILTERBY ACLCAT read"]
        }
        "command|info" => &["COMMAND INFO", "COMMAND INFO get none config|get"],
        "command|docs" => &["COMMAND DOCS", "COMMAND DOCS set client"],
        "command|getkeys" => &["COMMAND GETKEYS MSET a 1 b 2"],
        "command|getkeysandflags" => {
            &["COMMAND GETKEYSANDFLAGS MSET a 1 b 2", "!COMMAND GETKEYSANDFLAGS x y"]
        }
        "command|help" => &["COMMAND HELP"],
        "watchprefix" => &["WATCHPREFIX a", "WATCHPREFIX a LIMIT 1", "!WATCHPREFIX a NO 1"],
        "unwatchprefix" => &["WATCHPREFIX a", "UNWATCHPREFIX a", "UNWATCHPREFIX"],
        "getrev" => &["SET k v", "GETREV k", "GETREV none", "SET k @", "GETREV k"],
        "publish" => &["PUBLISH c v", "PUBLISH c @"],
        "spublish" => &["SPUBLISH c v", "SPUBLISH c @"],
        "subscribe" => &["SUBSCRIBE a b", "SUBSCRIBE a"],
        "unsubscribe" => &["SUBSCRIBE a b", "UNSUBSCRIBE a", "UNSUBSCRIBE", "UNSUBSCRIBE"],
        "psubscribe" => &["PSUBSCRIBE a* b*"],
        "punsubscribe" => &["PSUBSCRIBE a* b*", "PUNSUBSCRIBE a*", "PUNSUBSCRIBE"],
        "ssubscribe" => &["SSUBSCRIBE a b"],
        "sunsubscribe" => &["SSUBSCRIBE a b", "SUNSUBSCRIBE a", "SUNSUBSCRIBE"],
        "pubsub" => &["!PUBSUB", "!PUBSUB NONSENSE"],
        "pubsub|channels" => &["PUBSUB CHANNELS", "PUBSUB CHANNELS a*", "!PUBSUB CHANNELS a b"],
        "pubsub|numpat" => &["PUBSUB NUMPAT"],
        "pubsub|numsub" => &["PUBSUB NUMSUB", "PUBSUB NUMSUB a b"],
        "pubsub|shardchannels" => &["PUBSUB SHARDCHANNELS"],
        "pubsub|shardnumsub" => &["PUBSUB SHARDNUMSUB a b"],
        "pubsub|help" => &["PUBSUB HELP"],
        "time" => &["TIME"],
        "memory" => &["!MEMORY", "!MEMORY NONSENSE"],
        "memory|usage" => &["SET k v", "MEMORY USAGE k", "SET k @", "MEMORY USAGE k SAMPLES 0"],
        "memory|doctor" => &["MEMORY DOCTOR"],
        "memory|stats" => &["MEMORY STATS"],
        "memory|purge" => &["MEMORY PURGE"],
        "memory|help" => &["MEMORY HELP"],
        "slowlog" => &["!SLOWLOG", "!SLOWLOG NONSENSE"],
        "slowlog|get" => &["SET k @", "SLOWLOG GET", "SLOWLOG GET -1"],
        "slowlog|len" => &["SLOWLOG LEN"],
        "slowlog|reset" => &["SLOWLOG RESET"],
        "slowlog|help" => &["SLOWLOG HELP"],
        "latency" => &["!LATENCY", "!LATENCY NONSENSE"],
        "latency|reset" => &["LATENCY RESET"],
        "latency|histogram" => &["LATENCY HISTOGRAM", "LATENCY HISTOGRAM set get"],
        "latency|latest" => &["LATENCY LATEST"],
        "latency|history" => &["LATENCY HISTORY command"],
        "latency|help" => &["LATENCY HELP"],
        "debug" => &["!DEBUG NONSENSE", "!DEBUG SLEEP 0"],
        "shutdown" => &["SHUTDOWN NOSAVE"],
        "lastsave" => &["LASTSAVE"],
        "wait" => &["WAIT 0 0"],
        "waitaof" => &["WAITAOF 0 0 0", "!WAITAOF 1 0 0"],
        // What a script takes is bounded and counted, but it is taken from the allocator; before one came, nothing is.
        "evalsha" => &["!EVALSHA ffffffffffffffffffffffffffffffffffffffff 0"],
        "evalsha_ro" => &["!EVALSHA_RO ffffffffffffffffffffffffffffffffffffffff 0"],
        "script" => &["!SCRIPT", "!SCRIPT NONSENSE"],
        "script|exists" => &["SCRIPT EXISTS ffffffffffffffffffffffffffffffffffffffff"],
        "script|flush" => &["SCRIPT FLUSH"],
        "script|kill" => &["!SCRIPT KILL"],
        "script|help" => &["SCRIPT HELP"],
        "function" => &["!FUNCTION", "!FUNCTION NONSENSE"],
        "function|flush" => &["FUNCTION FLUSH"],
        "function|list" => &["FUNCTION LIST"],
        "function|help" => &["FUNCTION HELP"],
        other => panic!("the verb {other} has no case in tests/no_alloc/server.rs"),
    }
}

/// A case's words as a command.
fn command(line: &str) -> Vec<u8> {
    let large = vec![b'L'; 100_000];
    let words = line.split(' ').map(|word| if word == "@" { &large } else { word.as_bytes() });
    encode(&words.collect::<Vec<_>>())
}

#[test]
fn no_verb_allocates() {
    let mut failures = Vec::new();
    for protocol in ["HELLO 2", "HELLO 3"] {
        let mut rig = Rig::with_memory(32 * MIB);
        rig.send(&command("CONFIG SET slowlog-log-slower-than 0"));
        let runs_scripts = |name: &str| matches!(name, "eval" | "eval_ro" | "script|load");
        for verb in VERBS.iter().filter(|verb| !runs_scripts(verb.name)) {
            rig.send(&command("FLUSHALL"));
            let mut client = None;
            let opening = counting(|| client = Some(rig.process.connect()));
            assert_eq!(opening, 0, "opening a connection allocates");
            let old = std::mem::replace(&mut rig.client, client.expect("just made"));
            assert_eq!(counting(|| rig.process.server.close(old)), 0, "closing a connection allocates");
            rig.send_counted(&command(protocol));
            let name = verb.name.replace('|', " ");
            let mut met = false;
            for case in cases(verb.name) {
                let line = case.trim_start_matches('!');
                met |= line.to_lowercase().starts_with(&name);
                let bytes = command(line);
                let allocations = counting(|| rig.send(&bytes));
                let failed = rig.answer.starts_with(b"-");
                if allocations > 0 || failed != case.starts_with('!') {
                    failures.push(format!("{line}: {allocations} allocations: {}", show(&rig.answer)));
                }
            }
            assert!(met, "the case of {name} does not run it");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn authentication_does_not_allocate() {
    let mut rig = Rig::new(StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() }, Some(b"secret"));
    for line in ["GET k", "AUTH wrong", "HELLO 3 AUTH default wrong", "HELLO 3 AUTH default secret", "GET k"]
    {
        rig.send_counted(&command(line));
    }
    assert_eq!(show(&rig.answer), "_\\r\\n");
}

#[test]
fn protocol_errors_do_not_allocate() {
    let mut rig = Rig::with_memory(8 * MIB);
    for input in ["*3\r\n$-10\r\n", "*1\r\nfoo\r\n", "set \"k v\r\n", "GET / HTTP/1.0\r\n", "*3000000000\r\n"]
    {
        rig.client = rig.process.connect();
        rig.send_counted(input.as_bytes());
        assert!(rig.process.is_closed(rig.client));
    }
    rig.client = rig.process.connect();
    rig.send_counted(b"NONSENSE with arguments\r\nGET\r\nCLIENT NONSENSE\r\n");
}

/// Pipelines of commands, made ahead.
fn pipeline(count: usize, one: impl FnMut(usize) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(one).collect()
}

#[test]
fn growing_by_a_hundred_thousand_keys_does_not_allocate() {
    let mut rig = Rig::with_memory(64 * MIB);
    let sets =
        pipeline(100_000, |index| encode(&["SET", &format!("key:{index:012}"), &format!("{index:032}")]));
    rig.send_counted(&sets);
    assert_eq!(rig.answer.len(), 100_000 * "+OK\r\n".len());
    rig.send_counted(&encode(&["DBSIZE"]));
    assert_eq!(rig.answer, b":100000\r\n");
    rig.send_counted(&encode(&["KEYS", "*"]));
    assert!(rig.answer.starts_with(b"*100000\r\n"));
    rig.send_counted(&pipeline(1000, |index| encode(&["GET", &format!("key:{index:012}")])));
    rig.send_counted(&encode(&["SCAN", "0", "COUNT", "1000"]));
    rig.send_counted(&encode(&["FLUSHALL"]));
    rig.settle_counted();
}

impl Rig {
    /// Has the server do what it owes itself, without allocating.
    fn settle_counted(&mut self) {
        let mut turns = 0;
        let allocations = counting(|| {
            while self.process.server.maintain(self.process.now, 64) {
                turns += 1;
                assert!(turns < 1_000_000, "maintenance has no end");
            }
        });
        assert_eq!(allocations, 0, "maintenance allocates");
    }
}

#[test]
fn expiry_does_not_allocate() {
    let mut rig = Rig::with_memory(32 * MIB);
    let large = vec![b'x'; 70_000];
    for round in 0..5 {
        let mut random = Random(round);
        let sets = pipeline(10_000, |index| {
            let ttl = (1 + random.below(5_000)).to_string();
            let (value, key) = (vec![b'v'; random.below(200)], format!("{round}:{index}"));
            if random.one_in(500) {
                encode(&[b"SET".as_slice(), key.as_bytes(), &large, b"PX", ttl.as_bytes()])
            } else {
                encode(&[b"SET".as_slice(), key.as_bytes(), &value, b"PX", ttl.as_bytes()])
            }
        });
        rig.send_counted(&sets);
        for _ in 0..120 {
            let allocations = counting(|| rig.process.advance(50));
            assert_eq!(allocations, 0, "expiry allocates");
        }
        rig.settle_counted();
        rig.send_counted(&encode(&["DBSIZE"]));
        assert_eq!(show(&rig.answer), ":0\\r\\n");
    }
    assert!(rig.process.server.engine().store.statistics().expired >= 40_000);
}

/// Overwrites of mixed sizes, more than fit, with deletions between.
fn overwrites(random: &mut Random, count: usize, keys: usize) -> Vec<u8> {
    let value = vec![b'v'; 100_000];
    pipeline(count, |_| {
        let key = format!("key:{}", random.below(keys));
        let len = match random.below(100) {
            0 => 10_000 + random.below(90_000),
            1..10 => random.below(8_000),
            _ => random.below(500),
        };
        match random.below(10) {
            0 => encode(&["DEL", &key]),
            1 => encode(&[b"APPEND".as_slice(), key.as_bytes(), &value[..len / 4]]),
            2 => encode(&["GETSET", &key, "short"]),
            _ => encode(&[b"SET".as_slice(), key.as_bytes(), &value[..len]]),
        }
    })
}

#[test]
fn cleaning_and_refusing_do_not_allocate() {
    let mut rig = Rig::with_memory(8 * MIB);
    let mut random = Random(1);
    for _ in 0..10 {
        let commands = overwrites(&mut random, 5_000, 20_000);
        rig.send_counted(&commands);
        let allocations = counting(|| rig.process.advance(1));
        assert_eq!(allocations, 0);
    }
    let statistics = rig.process.server.engine().store.statistics();
    assert!(statistics.cleaned_segments > 50 && statistics.refused > 0, "{statistics:?}");
}

#[test]
fn evicting_does_not_allocate() {
    let mut rig = Rig::evicting(8 * MIB);
    let mut random = Random(2);
    for _ in 0..10 {
        let commands = overwrites(&mut random, 5_000, 50_000);
        rig.send_counted(&commands);
    }
    let statistics = rig.process.server.engine().store.statistics();
    assert!(statistics.evicted > 1_000, "{statistics:?}");
}

#[test]
fn large_values_do_not_allocate() {
    let mut rig = Rig::with_memory(64 * MIB);
    let sets: Vec<Vec<u8>> = [9 * KIB, 64 * KIB, 64 * KIB + 1, MIB, 8 * MIB]
        .into_iter()
        .map(|len| encode(&[b"SET".as_slice(), b"big", &vec![b'x'; len]]))
        .collect();
    for set in &sets {
        rig.send_counted(set);
        assert_eq!(rig.answer, b"+OK\r\n");
        rig.send_counted(&pipeline(3, |_| encode(&["GET", "big"])));
        assert!(rig.answer.len() > 3 * (set.len() - 64));
        // In the pieces that a network makes of it.
        for piece in set.chunks(1448) {
            rig.send_counted(piece);
        }
        rig.send_counted(&encode(&["SETRANGE", "big", "5000", "changed"]));
        rig.send_counted(&encode(&["COPY", "big", "other", "REPLACE"]));
    }
    // One that goes away in the middle, and one that is refused.
    rig.send_counted(&sets[4][..4 * MIB]);
    let client = rig.client;
    assert_eq!(counting(|| rig.process.server.close(client)), 0);
    rig.client = rig.process.connect();
    let too_large = encode(&[b"SET".as_slice(), b"k", &vec![b'x'; 80 * MIB]]);
    rig.send_counted(&too_large);
    assert!(rig.answer.starts_with(b"-ERR value of"), "{}", show(&rig.answer));
    let fits_but_for_the_others = encode(&[b"SET".as_slice(), b"k", &vec![b'x'; 58 * MIB]]);
    rig.send_counted(&fits_but_for_the_others);
    assert!(rig.answer.starts_with(b"-OOM"), "{}", show(&rig.answer));
}

#[test]
fn transactions_do_not_allocate() {
    let mut rig = Rig::with_memory(32 * MIB);
    rig.send_counted(&pipeline(500, |index| encode(&["WATCH", &format!("watched:{index}")])));
    let queued = pipeline(5_000, |index| match index % 4 {
        0 => encode(&["SET", &format!("key:{index}"), "value"]),
        1 => encode(&["GET", &format!("key:{}", index - 1)]),
        2 => encode(&["INCR", "counter"]),
        _ => encode(&["CLIENT", "INFO"]),
    });
    let transaction = [encode(&["MULTI"]), queued, encode(&["EXEC"])].concat();
    rig.send_counted(&transaction);
    rig.send_counted(&transaction[..transaction.len() / 2]);
    let client = rig.client;
    assert_eq!(counting(|| rig.process.server.close(client)), 0);
}

#[test]
fn time_limits_and_exhausted_buffers_do_not_allocate() {
    let mut process = InProcess::new(
        StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() },
        CLIENTS_MAX,
        Resources { input_bytes: 64 * KIB, output_bytes: 64 * KIB, queue_bytes: 64 * KIB, ..resources() },
        None,
    );
    let half = encode(&[b"SET".as_slice(), b"k", &vec![b'x'; 5_000]]);
    let allocations = counting(|| {
        for _ in 0..10 {
            while process.server.connection_count() < 60 {
                let id = process.connect();
                process.receive(id, &half[..4_000]);
                process.server.run(id, process.now);
                process.attend();
            }
            process.advance(11_000);
            process.attend();
            process.advance(60_000);
            process.attend();
        }
    });
    assert_eq!(allocations, 0);
}

/// A client of the frames: over datagrams, or over its own connection.
struct Framed {
    rig: Rig,
    cookie: [u8; 16],
    sequence: u32,
    stream: bool,
}

impl Framed {
    /// Sends one request and checks that it is done.
    fn ask(&mut self, op: Op, key: &[u8], value: &[u8]) {
        let mut head = Head::request(op, 9, self.sequence);
        head.cookie = self.cookie;
        if op == Op::Add {
            head.argument = 5;
        }
        if op != Op::Hello {
            head.epoch = EPOCH;
        }
        let (mut bytes, mut reply) = ([0; DATAGRAM_BYTES_MAX], [0; DATAGRAM_BYTES_MAX]);
        let len = frame::encode(&mut bytes, &head, key, value, None).expect("fits");
        let mut reply_len = 0;
        let allocations = counting(|| {
            if self.stream {
                self.rig.send(&bytes[..len]);
                reply_len = self.rig.answer.len();
                reply[..reply_len].copy_from_slice(&self.rig.answer);
            } else {
                reply_len = self.rig.process.datagram(&bytes[..len], &mut reply).expect("a reply");
            }
        });
        assert_eq!(allocations, 0, "{op:?} allocates");
        let answer = frame::decode_datagram(&reply[..reply_len], Direction::Reply).expect("a frame");
        if op == Op::Hello {
            self.cookie = answer.head.cookie;
        } else {
            assert_eq!(answer.head.status(), Some(Status::Ok), "{op:?}");
        }
        self.sequence += 1;
    }
}

#[test]
fn frames_do_not_allocate() {
    for stream in [false, true] {
        let rig = Rig::with_memory(8 * MIB);
        let mut framed = Framed { rig, cookie: [0; 16], sequence: 0, stream };
        framed.ask(Op::Hello, b"", b"");
        framed.sequence = 0;
        framed.ask(Op::Hello, b"", b"");
        for index in 0..200 {
            let key = format!("key:{index}");
            framed.ask(Op::Put, key.as_bytes(), b"value");
            framed.ask(Op::Get, key.as_bytes(), b"");
            framed.ask(Op::Add, b"counter", b"");
            framed.ask(Op::Delete, key.as_bytes(), b"");
            framed.ask(Op::Ping, b"", b"");
        }
        let mut reply = [0; DATAGRAM_BYTES_MAX];
        let damaged = [0xF5; 300];
        let process = &mut framed.rig.process;
        assert_eq!(counting(|| assert!(process.datagram(&damaged, &mut reply).is_none())), 0);
    }
}
