//! The table of verbs itself: name, arity, how it takes any number of arguments ([`Arguments`]; only where the arity is
//! negative), flags, keys; then group, since, complexity, summary. Arity, flags, keys and texts are Redis's where Redis has
//! the verb.

use super::{Arguments, Flags, Keys, Verb};

macro_rules! arguments {
    () => {
        Arguments::Fixed
    };
    (few) => {
        Arguments::Few
    };
    (sliced) => {
        Arguments::Sliced
    };
    (whole) => {
        Arguments::Whole
    };
}

macro_rules! verbs {
    ($($(#[$attribute:meta])* $id:ident = $name:literal, $arity:literal $($arguments:ident)?, $($flag:ident)|+, $keys:expr,
        $group:literal, $since:literal, $complexity:literal, $summary:literal;)*) => {
        /// Names a row of [`VERBS`]; as a number it is the row's index.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum VerbId {
            $($(#[$attribute])* $id,)*
        }

        /// Every verb; the subcommands of a container follow it.
        pub static VERBS: &[Verb] = &[$($(#[$attribute])* Verb {
            id: VerbId::$id,
            name: $name,
            arity: $arity,
            arguments: arguments!($($arguments)?),
            flags: Flags::PLAIN$(.with(Flags::$flag))+,
            keys: $keys,
            group: $group,
            since: $since,
            complexity: $complexity,
            summary: $summary,
        },)*];
    };
}

const NONE: Keys = keys(0, 0, 0);

const fn keys(first: i8, last: i8, step: i8) -> Keys {
    Keys { first, last, step }
}

verbs! {
    Put = "put", -3 few, WRITE | DENYOOM | STRING | PLANNED, keys(1, 1, 1),
        "string", "0.1.0", "O(1)", "Set the string value of a key; Pannier's word for SET";

    Delete = "delete", -2 sliced, WRITE | KEYSPACE | PLANNED, keys(1, -1, 1),
        "generic", "0.1.0", "O(N) where N is the number of keys", "Delete a key; Pannier's word for DEL";

    Get = "get", 2, READONLY | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Get the value of a key";
    Getrev = "getrev", 2, READONLY | FAST | STRING, keys(1, 1, 1),
        "string", "0.1.0", "O(1)", "Get the revision and the value of a key; Pannier's own";
    Set = "set", -3 few, WRITE | DENYOOM | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Set the string value of a key";
    Getex = "getex", -2 few, WRITE | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "6.2.0", "O(1)", "Get the value of a key and optionally set its expiration";
    Getdel = "getdel", 2, WRITE | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "6.2.0", "O(1)", "Get the value of a key and delete the key";
    Getset = "getset", 3, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Set the string value of a key and return its old value";
    Setnx = "setnx", 3, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Set the value of a key, only if the key does not exist";
    Setex = "setex", 4, WRITE | DENYOOM | STRING | PLANNED, keys(1, 1, 1),
        "string", "2.0.0", "O(1)", "Set the value and expiration of a key";
    Psetex = "psetex", 4, WRITE | DENYOOM | STRING | PLANNED, keys(1, 1, 1),
        "string", "2.6.0", "O(1)", "Set the value and expiration in milliseconds of a key";
    Mget = "mget", -2 sliced, READONLY | FAST | STRING | PLANNED, keys(1, -1, 1),
        "string", "1.0.0", "O(N)", "Get the values of all the given keys";
    Mset = "mset", -3 whole, WRITE | DENYOOM | STRING, keys(1, -1, 2),
        "string", "1.0.1", "O(N) where N is the number of keys", "Set multiple keys to multiple values";
    Msetnx = "msetnx", -3 whole, WRITE | DENYOOM | STRING, keys(1, -1, 2),
        "string", "1.0.1", "O(N)", "Set multiple keys to multiple values, only if none of the keys exist";
    Append = "append", 3, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "2.0.0", "O(1)", "Append a value to a key";
    Strlen = "strlen", 2, READONLY | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "2.2.0", "O(1)", "Get the length of the value stored in a key";
    Getrange = "getrange", 4, READONLY | STRING, keys(1, 1, 1),
        "string", "2.4.0", "O(N) where N is the returned length", "Get a substring of the string stored at a key";
    Substr = "substr", 4, READONLY | STRING, keys(1, 1, 1),
        "string", "1.0.0", "O(N) where N is the returned length", "Get a substring of the string stored at a key";
    Setrange = "setrange", 4, WRITE | DENYOOM | STRING, keys(1, 1, 1),
        "string", "2.2.0", "O(N) where N is the written length", "Overwrite part of a string at key starting at the specified offset";
    Incr = "incr", 2, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Increment the integer value of a key by one";
    Decr = "decr", 2, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Decrement the integer value of a key by one";
    Incrby = "incrby", 3, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Increment the integer value of a key by the given amount";
    Decrby = "decrby", 3, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "1.0.0", "O(1)", "Decrement the integer value of a key by the given number";
    Incrbyfloat = "incrbyfloat", 3, WRITE | DENYOOM | FAST | STRING | PLANNED, keys(1, 1, 1),
        "string", "2.6.0", "O(1)", "Increment the float value of a key by the given amount";
    Delifeq = "delifeq", 3, WRITE | FAST | STRING, keys(1, 1, 1),
        "string", "8.1.0", "O(1)", "Delete a key if its value is the given one";
    Delex = "delex", -2 few, WRITE | FAST | STRING, keys(1, 1, 1),
        "string", "8.4.0", "O(1), and O(N) where N is the length of a value that is compared", "Conditionally removes the specified key based on a comparison of its value.";
    Msetex = "msetex", -4 whole, WRITE | DENYOOM | STRING | MOVABLE_KEYS, keys(2, -1, 2),
        "string", "8.4.0", "O(N) where N is the number of keys to set.", "Atomically sets multiple string keys with an optional shared expiration.";

    Lcs = "lcs", -3 few, READONLY | STRING, keys(1, 2, 1),
        "string", "7.0.0", "O(N*M) where N and M are the lengths of s1 and s2, respectively", "Find longest common substring";

    Setbit = "setbit", 4, WRITE | DENYOOM | BITMAP, keys(1, 1, 1),
        "bitmap", "2.2.0", "O(1)", "Sets or clears the bit at offset in the string value stored at key";
    Getbit = "getbit", 3, READONLY | FAST | BITMAP, keys(1, 1, 1),
        "bitmap", "2.2.0", "O(1)", "Returns the bit value at offset in the string value stored at key";
    Bitcount = "bitcount", -2 few, READONLY | BITMAP, keys(1, 1, 1),
        "bitmap", "2.6.0", "O(N)", "Count set bits in a string";
    Bitpos = "bitpos", -3 few, READONLY | BITMAP, keys(1, 1, 1),
        "bitmap", "2.8.7", "O(N)", "Find first bit set or clear in a string";
    Bitop = "bitop", -4 whole, WRITE | DENYOOM | BITMAP, keys(2, -1, 1),
        "bitmap", "2.6.0", "O(N)", "Perform bitwise operations between strings";
    Bitfield = "bitfield", -2 few, WRITE | DENYOOM | BITMAP, keys(1, 1, 1),
        "bitmap", "3.2.0", "O(1) for each subcommand specified", "Perform arbitrary bitfield integer operations on strings";
    BitfieldRo = "bitfield_ro", -2 few, READONLY | FAST | BITMAP, keys(1, 1, 1),
        "bitmap", "6.0.0", "O(1) for each subcommand specified", "Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD";

    Hset = "hset", -4 sliced, WRITE | DENYOOM | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.", "Set the string value of a hash field";
    Hsetnx = "hsetnx", 4, WRITE | DENYOOM | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(1)", "Set the value of a hash field, only if the field does not exist";
    Hmset = "hmset", -4 sliced, WRITE | DENYOOM | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(N) where N is the number of fields being set.", "Set multiple hash fields to multiple values";
    Hget = "hget", 3, READONLY | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(1)", "Get the value of a hash field";
    Hmget = "hmget", -3 sliced, READONLY | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(N) where N is the number of fields being requested.", "Get the values of all the given hash fields";
    Hgetall = "hgetall", 2, READONLY | HASH, keys(1, 1, 1),
        "hash", "2.0.0", "O(N) where N is the size of the hash.", "Get all the fields and values in a hash";
    Hdel = "hdel", -3 sliced, WRITE | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(N) where N is the number of fields to be removed.", "Delete one or more hash fields";
    Hexists = "hexists", 3, READONLY | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(1)", "Determine if a hash field exists";
    Hlen = "hlen", 2, READONLY | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(1)", "Get the number of fields in a hash";
    Hstrlen = "hstrlen", 3, READONLY | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "3.2.0", "O(1)", "Get the length of the value of a hash field";
    Hkeys = "hkeys", 2, READONLY | HASH, keys(1, 1, 1),
        "hash", "2.0.0", "O(N) where N is the size of the hash.", "Get all the fields in a hash";
    Hvals = "hvals", 2, READONLY | HASH, keys(1, 1, 1),
        "hash", "2.0.0", "O(N) where N is the size of the hash.", "Get all the values in a hash";
    Hincrby = "hincrby", 4, WRITE | DENYOOM | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.0.0", "O(1)", "Increment the integer value of a hash field by the given number";
    Hincrbyfloat = "hincrbyfloat", 4, WRITE | DENYOOM | FAST | HASH | PLANNED, keys(1, 1, 1),
        "hash", "2.6.0", "O(1)", "Increment the float value of a hash field by the given amount";
    Hscan = "hscan", -3 few, READONLY | HASH, keys(1, 1, 1),
        "hash", "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection..", "Incrementally iterate hash fields and associated values";
    Hrandfield = "hrandfield", -2 few, READONLY | HASH, keys(1, 1, 1),
        "hash", "6.2.0", "O(N) where N is the number of fields returned", "Get one or multiple random fields from a hash";

    Hexpire = "hexpire", -6 sliced, WRITE | DENYOOM | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using relative time to expire (seconds)";
    Hpexpire = "hpexpire", -6 sliced, WRITE | DENYOOM | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using relative time to expire (milliseconds)";
    Hexpireat = "hexpireat", -6 sliced, WRITE | DENYOOM | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using an absolute Unix timestamp (seconds)";
    Hpexpireat = "hpexpireat", -6 sliced, WRITE | DENYOOM | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Set expiry for hash field using an absolute Unix timestamp (milliseconds)";
    Httl = "httl", -5 sliced, READONLY | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Returns the TTL in seconds of a hash field.";
    Hpttl = "hpttl", -5 sliced, READONLY | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Returns the TTL in milliseconds of a hash field.";
    Hexpiretime = "hexpiretime", -5 sliced, READONLY | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Returns the expiration time of a hash field as a Unix timestamp, in seconds.";
    Hpexpiretime = "hpexpiretime", -5 sliced, READONLY | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Returns the expiration time of a hash field as a Unix timestamp, in msec.";
    Hpersist = "hpersist", -5 sliced, WRITE | FAST | HASH, keys(1, 1, 1),
        "hash", "7.4.0", "O(N) where N is the number of specified fields", "Removes the expiration time for each specified field";
    Hgetdel = "hgetdel", -5 sliced, WRITE | FAST | HASH, keys(1, 1, 1),
        "hash", "8.0.0", "O(N) where N is the number of specified fields", "Returns the value of a field and deletes it from the hash.";
    Hgetex = "hgetex", -5 sliced, WRITE | FAST | HASH, keys(1, 1, 1),
        "hash", "8.0.0", "O(N) where N is the number of specified fields", "Get the value of one or more fields of a given hash key, and optionally set their expiration.";
    Hsetex = "hsetex", -6 whole, WRITE | DENYOOM | FAST | HASH, keys(1, 1, 1),
        "hash", "8.0.0", "O(N) where N is the number of fields being set.", "Set the value of one or more fields of a given hash key, and optionally set their expiration.";

    Sadd = "sadd", -3 sliced, WRITE | DENYOOM | FAST | SET | PLANNED, keys(1, 1, 1),
        "set", "1.0.0", "O(1) for each element added, so O(N) to add N elements when the command is called with multiple arguments.", "Add one or more members to a set";
    Srem = "srem", -3 sliced, WRITE | FAST | SET | PLANNED, keys(1, 1, 1),
        "set", "1.0.0", "O(N) where N is the number of members to be removed.", "Remove one or more members from a set";
    Sismember = "sismember", 3, READONLY | FAST | SET | PLANNED, keys(1, 1, 1),
        "set", "1.0.0", "O(1)", "Determine if a given value is a member of a set";
    Smismember = "smismember", -3 sliced, READONLY | FAST | SET | PLANNED, keys(1, 1, 1),
        "set", "6.2.0", "O(N) where N is the number of elements being checked for membership", "Returns the membership associated with the given elements for a set";
    Scard = "scard", 2, READONLY | FAST | SET | PLANNED, keys(1, 1, 1),
        "set", "1.0.0", "O(1)", "Get the number of members in a set";
    Smembers = "smembers", 2, READONLY | SET, keys(1, 1, 1),
        "set", "1.0.0", "O(N) where N is the set cardinality.", "Get all the members in a set";
    Spop = "spop", -2 few, WRITE | FAST | SET, keys(1, 1, 1),
        "set", "1.0.0", "Without the count argument O(1), otherwise O(N) where N is the value of the passed count.", "Remove and return one or multiple random members from a set";
    Srandmember = "srandmember", -2 few, READONLY | SET, keys(1, 1, 1),
        "set", "1.0.0", "Without the count argument O(1), otherwise O(N) where N is the absolute value of the passed count.", "Get one or multiple random members from a set";
    Sscan = "sscan", -3 few, READONLY | SET, keys(1, 1, 1),
        "set", "2.8.0", "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection..", "Incrementally iterate Set elements";
    Smove = "smove", 4, WRITE | FAST | SET, keys(1, 2, 1),
        "set", "1.0.0", "O(1)", "Move a member from one set to another";
    Sinter = "sinter", -2 few, READONLY | SET, keys(1, -1, 1),
        "set", "1.0.0", "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.", "Intersect multiple sets";
    Sintercard = "sintercard", -3 few, READONLY | SET | MOVABLE_KEYS, keys(2, -1, 1),
        "set", "7.0.0", "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.", "Intersect multiple sets and return the cardinality of the result";
    Sinterstore = "sinterstore", -3 few, WRITE | DENYOOM | SET, keys(1, -1, 1),
        "set", "1.0.0", "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets.", "Intersect multiple sets and store the resulting set in a key";
    Sunion = "sunion", -2 few, READONLY | SET, keys(1, -1, 1),
        "set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Add multiple sets";
    Sunionstore = "sunionstore", -3 few, WRITE | DENYOOM | SET, keys(1, -1, 1),
        "set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Add multiple sets and store the resulting set in a key";
    Sdiff = "sdiff", -2 few, READONLY | SET, keys(1, -1, 1),
        "set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Subtract multiple sets";
    Sdiffstore = "sdiffstore", -3 few, WRITE | DENYOOM | SET, keys(1, -1, 1),
        "set", "1.0.0", "O(N) where N is the total number of elements in all given sets.", "Subtract multiple sets and store the resulting set in a key";

    Del = "del", -2 sliced, WRITE | KEYSPACE | PLANNED, keys(1, -1, 1),
        "generic", "1.0.0", "O(N) where N is the number of keys", "Delete a key";
    Unlink = "unlink", -2 sliced, WRITE | FAST | KEYSPACE | PLANNED, keys(1, -1, 1),
        "generic", "4.0.0", "O(1) for each key", "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.";
    Exists = "exists", -2 sliced, READONLY | FAST | KEYSPACE | PLANNED, keys(1, -1, 1),
        "generic", "1.0.0", "O(N)", "Determine if a key exists";
    Touch = "touch", -2 sliced, READONLY | FAST | KEYSPACE | PLANNED, keys(1, -1, 1),
        "generic", "3.2.1", "O(N)", "Alters the last access time of a key(s). Returns the number of existing keys specified.";
    Type = "type", 2, READONLY | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "1.0.0", "O(1)", "Determine the type stored at key";
    Expire = "expire", -3 few, WRITE | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "1.0.0", "O(1)", "Set a key's time to live in seconds";
    Pexpire = "pexpire", -3 few, WRITE | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "2.6.0", "O(1)", "Set a key's time to live in milliseconds";
    Expireat = "expireat", -3 few, WRITE | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "1.2.0", "O(1)", "Set the expiration for a key as a UNIX timestamp";
    Pexpireat = "pexpireat", -3 few, WRITE | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "2.6.0", "O(1)", "Set the expiration for a key as a UNIX timestamp specified in milliseconds";
    Ttl = "ttl", 2, READONLY | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "1.0.0", "O(1)", "Get the time to live for a key in seconds";
    Pttl = "pttl", 2, READONLY | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "2.6.0", "O(1)", "Get the time to live for a key in milliseconds";
    Expiretime = "expiretime", 2, READONLY | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "7.0.0", "O(1)", "Get the expiration Unix timestamp for a key";
    Pexpiretime = "pexpiretime", 2, READONLY | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "7.0.0", "O(1)", "Get the expiration Unix timestamp for a key in milliseconds";
    Persist = "persist", 2, WRITE | FAST | KEYSPACE | PLANNED, keys(1, 1, 1),
        "generic", "2.2.0", "O(1)", "Remove the expiration from a key";
    Rename = "rename", 3, WRITE | KEYSPACE, keys(1, 2, 1),
        "generic", "1.0.0", "O(1)", "Rename a key";
    Renamenx = "renamenx", 3, WRITE | FAST | KEYSPACE, keys(1, 2, 1),
        "generic", "1.0.0", "O(1)", "Rename a key, only if the new key does not exist";
    Copy = "copy", -3 few, WRITE | DENYOOM | KEYSPACE, keys(1, 2, 1),
        "generic", "6.2.0", "O(1)", "Copy a key";
    Dump = "dump", 2, READONLY | KEYSPACE, keys(1, 1, 1),
        "generic", "2.6.0", "O(N) where N is the length of the value", "Return a serialized version of the value stored at the specified key.";
    Restore = "restore", -4 few, WRITE | DENYOOM | KEYSPACE | DANGEROUS, keys(1, 1, 1),
        "generic", "2.6.0", "O(N) where N is the length of the value", "Create a key using the provided serialized value, previously obtained using DUMP.";
    Sort = "sort", -2 few, WRITE | DENYOOM | MOVABLE_KEYS | DANGEROUS, keys(1, 1, 1),
        "generic", "1.0.0", "O(1)", "Sort the elements in a list, set or sorted set";
    SortRo = "sort_ro", -2 few, READONLY | MOVABLE_KEYS | DANGEROUS, keys(1, 1, 1),
        "generic", "7.0.0", "O(1)", "Sort the elements in a list, set or sorted set. Read-only variant of SORT.";
    Randomkey = "randomkey", 1, READONLY | KEYSPACE, NONE,
        "generic", "1.0.0", "O(1)", "Return a random key from the keyspace";
    Keys = "keys", 2, READONLY | KEYSPACE | DANGEROUS, NONE,
        "generic", "1.0.0", "O(N) where N is the number of keys", "Find all keys matching the given pattern";
    Scan = "scan", -2 few, READONLY | KEYSPACE, NONE,
        "generic", "2.8.0", "O(1) for every call", "Incrementally iterate the keys space";
    Object = "object", -2 few, CONTAINER, NONE,
        "generic", "2.2.3", "Depends on subcommand", "A container for object introspection commands";
    ObjectEncoding = "object|encoding", 3, READONLY | KEYSPACE, keys(2, 2, 1),
        "generic", "2.2.3", "O(1)", "Inspect the internal encoding of a Redis object";
    ObjectFreq = "object|freq", 3, READONLY | KEYSPACE, keys(2, 2, 1),
        "generic", "4.0.0", "O(1)", "Get the logarithmic access frequency counter of a Redis object";
    ObjectIdletime = "object|idletime", 3, READONLY | KEYSPACE, keys(2, 2, 1),
        "generic", "2.2.3", "O(1)", "Get the time since a Redis object was last accessed";
    ObjectRefcount = "object|refcount", 3, READONLY | KEYSPACE, keys(2, 2, 1),
        "generic", "2.2.3", "O(1)", "Get the number of references to the value of the key";
    ObjectHelp = "object|help", 2, LOADING | STALE | KEYSPACE, NONE,
        "generic", "6.2.0", "O(1)", "Show helpful text about the different subcommands";

    Dbsize = "dbsize", 1, READONLY | FAST | KEYSPACE, NONE,
        "server", "1.0.0", "O(1)", "Return the number of keys in the selected database";
    Flushdb = "flushdb", -1 few, WRITE | KEYSPACE | DANGEROUS, NONE,
        "server", "1.0.0", "O(1)", "Remove all keys from the current database";
    Flushall = "flushall", -1 few, WRITE | KEYSPACE | DANGEROUS, NONE,
        "server", "1.0.0", "O(1)", "Remove all keys from all databases";

    Move = "move", 3, WRITE | FAST | KEYSPACE, keys(1, 1, 1),
        "generic", "1.0.0", "O(1)", "Move a key to another database";

    Swapdb = "swapdb", 3, WRITE | FAST | KEYSPACE | DANGEROUS, NONE,
        "server", "4.0.0", "O(1)", "Swaps two Redis databases";

    Hello = "hello", -1 few, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | CONN, NONE,
        "connection", "6.0.0", "O(1)", "Handshake with Redis";
    Auth = "auth", -2 few, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | CONN, NONE,
        "connection", "1.0.0", "O(N)", "Authenticate to the server";
    Ping = "ping", -1 few, FAST | CONN, NONE,
        "connection", "1.0.0", "O(1)", "Ping the server";
    Echo = "echo", 2, LOADING | STALE | FAST | CONN, NONE,
        "connection", "1.0.0", "O(1)", "Echo the given string";
    Quit = "quit", -1 few, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | CONN | CONNECTION, NONE,
        "connection", "1.0.0", "O(1)", "Close the connection";
    Reset = "reset", 1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | CONN | CONNECTION, NONE,
        "connection", "6.2.0", "O(1)", "Reset the connection";
    Select = "select", 2, LOADING | STALE | FAST | CONN, NONE,
        "connection", "1.0.0", "O(1)", "Change the selected database for the current connection";
    Client = "client", -2 few, CONTAINER, NONE,
        "connection", "2.4.0", "Depends on subcommand", "A container for client connection commands";
    ClientId = "client|id", 2, NOSCRIPT | LOADING | STALE | CONN, NONE,
        "connection", "5.0.0", "O(1)", "Returns the client ID for the current connection";
    ClientGetname = "client|getname", 2, NOSCRIPT | LOADING | STALE | CONN, NONE,
        "connection", "2.6.9", "O(1)", "Get the current connection name";
    ClientSetname = "client|setname", 3, NOSCRIPT | LOADING | STALE | CONN, NONE,
        "connection", "2.6.9", "O(1)", "Set the current connection name";
    ClientSetinfo = "client|setinfo", 4, NOSCRIPT | LOADING | STALE | CONN, NONE,
        "connection", "7.2.0", "O(1)", "Set information specific to the client or connection";
    ClientInfo = "client|info", 2, NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "6.2.0", "O(1)", "Returns information about the current client connection.";
    ClientList = "client|list", -2 few, ADMIN | NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "2.4.0", "O(N)", "Get the list of client connections";
    ClientKill = "client|kill", -3 few, ADMIN | NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "2.4.0", "O(N)", "Kill the connection of a client";
    ClientNoEvict = "client|no-evict", 3, ADMIN | NOSCRIPT | LOADING | STALE | CONN, NONE,
        "connection", "7.0.0", "O(1)", "Set client eviction mode for the current connection";
    ClientNoTouch = "client|no-touch", 3, NOSCRIPT | LOADING | STALE | CONN, NONE,
        "connection", "7.2.0", "O(1)", "Controls whether commands sent by the client affect the LRU/LFU of accessed keys";
    ClientReply = "client|reply", 3, NOSCRIPT | LOADING | STALE | NO_MULTI | CONN, NONE,
        "connection", "3.2.0", "O(1)", "Instruct the server whether to reply to commands";
    ClientUnpause = "client|unpause", 2, ADMIN | NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "6.2.0", "O(N) Where N is the number of paused clients", "Resume processing of clients that were paused";
    ClientPause = "client|pause", -3 few, ADMIN | NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "2.9.50", "O(1)", "Stop processing commands from clients for some time";
    ClientUnblock = "client|unblock", -3 few, ADMIN | NOSCRIPT | LOADING | STALE | CONN, NONE,
        "connection", "5.0.0", "O(1)", "Unblock a client blocked in a blocking command from a different connection";
    ClientTracking = "client|tracking", -3 few, NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "6.0.0", "O(1). Some options may introduce additional complexity.", "Enable or disable server assisted client side caching support";
    ClientCaching = "client|caching", 3, NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "6.0.0", "O(1)", "Instruct the server about tracking or not keys in the next request";
    ClientGetredir = "client|getredir", 2, NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "6.0.0", "O(1)", "Get tracking notifications redirection client ID if any";
    ClientTrackinginfo = "client|trackinginfo", 2, NOSCRIPT | LOADING | STALE | CONN | CONNECTION, NONE,
        "connection", "6.2.0", "O(1)", "Return information about server assisted client side caching for the current connection";
    ClientHelp = "client|help", 2, LOADING | STALE | CONN, NONE,
        "connection", "5.0.0", "O(1)", "Show helpful text about the different subcommands";

    Multi = "multi", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | TRANSACTION | CONNECTION, NONE,
        "transactions", "1.2.0", "O(1)", "Mark the start of a transaction block";
    Exec = "exec", 1, NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | TRANSACTION | CONNECTION, NONE,
        "transactions", "1.2.0", "Depends on commands in the transaction", "Execute all commands issued after MULTI";
    Discard = "discard", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | TRANSACTION | CONNECTION, NONE,
        "transactions", "2.0.0", "O(N), when N is the number of queued commands", "Discard all commands issued after MULTI";
    Watch = "watch", -2 few, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | TRANSACTION | CONNECTION, keys(1, -1, 1),
        "transactions", "2.2.0", "O(1) for every key", "Watch the given keys to determine execution of the MULTI/EXEC block";
    Unwatch = "unwatch", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | TRANSACTION | CONNECTION, NONE,
        "transactions", "2.2.0", "O(1)", "Forget about all watched keys";

    Publish = "publish", 3, PUBSUB | LOADING | STALE | FAST | CONNECTION, NONE,
        "pubsub", "2.0.0", "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).", "Post a message to a channel";
    Spublish = "spublish", 3, PUBSUB | LOADING | STALE | FAST | CONNECTION, keys(1, 1, 1),
        "pubsub", "7.0.0", "O(N) where N is the number of clients subscribed to the receiving shard channel.", "Post a message to a shard channel";
    Subscribe = "subscribe", -2 whole, PUBSUB | NOSCRIPT | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "2.0.0", "O(N) where N is the number of channels to subscribe to.", "Listen for messages published to the given channels";
    Unsubscribe = "unsubscribe", -1 whole, PUBSUB | NOSCRIPT | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "2.0.0", "O(N) where N is the number of channels", "Stop listening for messages posted to the given channels";
    Psubscribe = "psubscribe", -2 whole, PUBSUB | NOSCRIPT | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "2.0.0", "O(N) where N is the number of patterns", "Listen for messages published to channels matching the given patterns";
    Punsubscribe = "punsubscribe", -1 whole, PUBSUB | NOSCRIPT | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "2.0.0", "O(N) where N is the number of patterns", "Stop listening for messages posted to channels matching the given patterns";
    Ssubscribe = "ssubscribe", -2 whole, PUBSUB | NOSCRIPT | LOADING | STALE | CONNECTION, keys(1, -1, 1),
        "pubsub", "7.0.0", "O(N) where N is the number of shard channels to subscribe to.", "Listen for messages published to the given shard channels";
    Sunsubscribe = "sunsubscribe", -1 whole, PUBSUB | NOSCRIPT | LOADING | STALE | CONNECTION, keys(1, -1, 1),
        "pubsub", "7.0.0", "O(N) where N is the number of shard channels", "Stop listening for messages posted to the given shard channels";
    Watchprefix = "watchprefix", -2 few, NOSCRIPT | CONNECTION, NONE,
        "pubsub", "0.1.0", "O(1) for every change", "Tells every change of the keys with a prefix, with its revision; Pannier's own";
    Unwatchprefix = "unwatchprefix", -1 few, NOSCRIPT | CONNECTION, NONE,
        "pubsub", "0.1.0", "O(N) where N is the number of watches", "Ends a watch of a prefix, or all; Pannier's own";
    Pubsub = "pubsub", -2 few, CONTAINER, NONE,
        "pubsub", "2.8.0", "Depends on subcommand", "A container for Pub/Sub commands";
    PubsubChannels = "pubsub|channels", -2 few, PUBSUB | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "2.8.0", "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)", "List active channels";
    PubsubNumpat = "pubsub|numpat", 2, PUBSUB | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "2.8.0", "O(1)", "Get the count of unique patterns pattern subscriptions";
    PubsubNumsub = "pubsub|numsub", -2 whole, PUBSUB | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "2.8.0", "O(N) for the NUMSUB subcommand, where N is the number of requested channels", "Get the count of subscribers for channels";
    PubsubShardchannels = "pubsub|shardchannels", -2 few, PUBSUB | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "7.0.0", "O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short channels).", "List active shard channels";
    PubsubShardnumsub = "pubsub|shardnumsub", -2 whole, PUBSUB | LOADING | STALE | CONNECTION, NONE,
        "pubsub", "7.0.0", "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels", "Get the count of subscribers for shard channels";
    PubsubHelp = "pubsub|help", 2, LOADING | STALE, NONE,
        "pubsub", "6.2.0", "O(1)", "Show helpful text about the different subcommands";

    Info = "info", -1 few, LOADING | STALE | DANGEROUS, NONE,
        "server", "1.0.0", "O(1)", "Get information and statistics about the server";
    Config = "config", -2 few, CONTAINER, NONE,
        "server", "2.0.0", "Depends on subcommand", "A container for server configuration commands";
    ConfigGet = "config|get", -3 few, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "2.0.0", "O(N) where N is the number of parameters", "Get the values of configuration parameters";
    ConfigSet = "config|set", -4 few, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "2.0.0", "O(N) where N is the number of parameters", "Set configuration parameters to the given values";
    ConfigResetstat = "config|resetstat", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "2.0.0", "O(1)", "Reset the stats returned by INFO";
    ConfigHelp = "config|help", 2, LOADING | STALE, NONE,
        "server", "5.0.0", "O(1)", "Show helpful text about the different subcommands";
    Command = "command", -1 few, LOADING | STALE | CONN | CONTAINER, NONE,
        "server", "2.8.13", "O(N)", "Get array of Redis command details";
    CommandCount = "command|count", 2, LOADING | STALE | CONN, NONE,
        "server", "2.8.13", "O(1)", "Get total number of Redis commands";
    CommandList = "command|list", -2 few, LOADING | STALE | CONN, NONE,
        "server", "7.0.0", "O(N)", "Get an array of Redis command names";
    CommandInfo = "command|info", -2 sliced, LOADING | STALE | CONN, NONE,
        "server", "2.8.13", "O(N)", "Get array of specific Redis command details, or all when no argument is given.";
    CommandDocs = "command|docs", -2 sliced, LOADING | STALE | CONN, NONE,
        "server", "7.0.0", "O(N)", "Get array of specific Redis command documentation";
    CommandGetkeys = "command|getkeys", -4 few, LOADING | STALE | CONN, NONE,
        "server", "2.8.13", "O(N)", "Extract keys given a full Redis command";
    CommandGetkeysandflags = "command|getkeysandflags", -4 few, LOADING | STALE | CONN, NONE,
        "server", "7.0.0", "O(N) where N is the number of arguments to the command", "Extract keys and access flags given a full Redis command";
    CommandHelp = "command|help", 2, LOADING | STALE | CONN, NONE,
        "server", "5.0.0", "O(1)", "Show helpful text about the different subcommands";
    Time = "time", 1, LOADING | STALE | FAST, NONE,
        "server", "2.6.0", "O(1)", "Return the current server time";
    Memory = "memory", -2 few, CONTAINER, NONE,
        "server", "4.0.0", "Depends on subcommand", "A container for memory diagnostics commands";
    MemoryUsage = "memory|usage", -3 few, READONLY, keys(2, 2, 1),
        "server", "4.0.0", "O(1)", "Estimate the memory usage of a key";
    MemoryDoctor = "memory|doctor", 2, PLAIN, NONE,
        "server", "4.0.0", "O(1)", "Outputs memory problems report";
    MemoryStats = "memory|stats", 2, PLAIN, NONE,
        "server", "4.0.0", "O(1)", "Show memory usage details";
    MemoryPurge = "memory|purge", 2, PLAIN, NONE,
        "server", "4.0.0", "O(1)", "Ask the allocator to release memory";
    MemoryHelp = "memory|help", 2, LOADING | STALE, NONE,
        "server", "4.0.0", "O(1)", "Show helpful text about the different subcommands";
    Slowlog = "slowlog", -2 few, CONTAINER, NONE,
        "server", "2.2.12", "Depends on subcommand", "A container for slow log commands";
    SlowlogGet = "slowlog|get", -2 few, ADMIN | LOADING | STALE, NONE,
        "server", "2.2.12", "O(N)", "Get the slow log's entries";
    SlowlogLen = "slowlog|len", 2, ADMIN | LOADING | STALE, NONE,
        "server", "2.2.12", "O(1)", "Get the slow log's length";
    SlowlogReset = "slowlog|reset", 2, ADMIN | LOADING | STALE, NONE,
        "server", "2.2.12", "O(N)", "Clear all entries from the slow log";
    SlowlogHelp = "slowlog|help", 2, LOADING | STALE, NONE,
        "server", "6.2.0", "O(1)", "Show helpful text about the different subcommands";
    Latency = "latency", -2 few, CONTAINER, NONE,
        "server", "2.8.13", "Depends on subcommand", "A container for latency diagnostics commands";
    LatencyReset = "latency|reset", -2 few, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "2.8.13", "O(1)", "Reset latency data for one or more events.";
    LatencyHistogram = "latency|histogram", -2 few, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "7.0.0", "O(N)", "Return the cumulative distribution of latencies of a subset of commands or all.";
    LatencyLatest = "latency|latest", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "2.8.13", "O(1)", "Return the latest latency samples for all events.";
    LatencyHistory = "latency|history", 3, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "2.8.13", "O(1)", "Return timestamp-latency samples for the event.";
    LatencyHelp = "latency|help", 2, LOADING | STALE, NONE,
        "server", "2.8.13", "O(1)", "Show helpful text about the different subcommands.";
    Debug = "debug", -2 few, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "1.0.0", "O(1)", "A container for debugging commands";
    Shutdown = "shutdown", -1 few, ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY | CONNECTION, NONE,
        "server", "1.0.0", "O(N) when saving,", "Synchronously save the dataset to disk and then shut down the server";
    Lastsave = "lastsave", 1, LOADING | STALE | FAST | ADMINISTRATIVE, NONE,
        "server", "1.0.0", "O(1)", "Get the UNIX time stamp of the last successful save to disk";
    Save = "save", 1, ADMIN | NOSCRIPT | NO_MULTI, NONE,
        "server", "1.0.0", "O(1)", "Synchronously save the dataset to disk";
    Bgsave = "bgsave", -1 few, ADMIN | NOSCRIPT, NONE,
        "server", "1.0.0", "O(1)", "Asynchronously save the dataset to disk";
    Bgrewriteaof = "bgrewriteaof", 1, ADMIN | NOSCRIPT, NONE,
        "server", "1.0.0", "O(1)", "Asynchronously rewrite the append-only file";
    Role = "role", 1, NOSCRIPT | LOADING | STALE | FAST | ADMINISTRATIVE, NONE,
        "server", "2.8.12", "O(1)", "Return the role of the instance in the context of replication";
    Lolwut = "lolwut", -1 few, READONLY | FAST, NONE,
        "server", "5.0.0", "O(1)", "Display some computer art and the Redis version";
    Acl = "acl", -2 few, CONTAINER, NONE,
        "server", "6.0.0", "Depends on subcommand.", "A container for Access List Control commands";
    AclWhoami = "acl|whoami", 2, NOSCRIPT | LOADING | STALE, NONE,
        "server", "6.0.0", "O(1)", "Return the name of the user associated to the current connection";
    AclUsers = "acl|users", 2, ADMIN | NOSCRIPT | LOADING | STALE, NONE,
        "server", "6.0.0", "O(N). Where N is the number of configured users.", "List the username of all the configured ACL rules";
    AclCat = "acl|cat", -2 few, NOSCRIPT | LOADING | STALE, NONE,
        "server", "6.0.0", "O(1) since the categories and commands are a fixed set.", "List the ACL categories or the commands inside a category";
    AclHelp = "acl|help", 2, LOADING | STALE, NONE,
        "server", "6.0.0", "O(1)", "Show helpful text about the different subcommands";
    Module = "module", -2 few, CONTAINER, NONE,
        "server", "4.0.0", "Depends on subcommand.", "A container for module commands";
    ModuleList = "module|list", 2, ADMIN | NOSCRIPT, NONE,
        "server", "4.0.0", "O(N) where N is the number of loaded modules.", "List all modules loaded by the server";
    ModuleHelp = "module|help", 2, LOADING | STALE, NONE,
        "server", "5.0.0", "O(1)", "Show helpful text about the different subcommands";

    Cluster = "cluster", -2 few, STALE, NONE,
        "cluster", "3.0.0", "O(1)", "Commands of a cluster, which this server is not part of";
    Readonly = "readonly", 1, LOADING | STALE | FAST | CONN, NONE,
        "cluster", "3.0.0", "O(1)", "Enables read queries for a connection to a cluster replica node";
    Readwrite = "readwrite", 1, LOADING | STALE | FAST | CONN, NONE,
        "cluster", "3.0.0", "O(1)", "Disables read queries for a connection to a cluster replica node";
    Asking = "asking", 1, FAST | CONN, NONE,
        "cluster", "3.0.0", "O(1)", "Sent by cluster clients after an -ASK redirect";

    Wait = "wait", 3, NOSCRIPT | CONN, NONE,
        "generic", "3.0.0", "O(1)", "Wait for the synchronous replication of all the write commands sent in the context of the current connection";

    Waitaof = "waitaof", 4, CONN, NONE,
        "generic", "7.2.0", "O(1)", "Blocks until all of the preceding write commands sent by the connection are written to the append-only file of the master and/or replicas";

    #[cfg(feature = "scripts")]
    Eval = "eval", -3 whole, NOSCRIPT | STALE | SKIP_MONITOR | MAY_WRITE | NO_MANDATORY_KEYS | SCRIPTING | MOVABLE_KEYS, NONE,
        "scripting", "2.6.0", "Depends on the script that is executed.", "Execute a Lua script server side";
    #[cfg(feature = "scripts")]
    EvalRo = "eval_ro", -3 whole, READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | SCRIPTING | MOVABLE_KEYS, NONE,
        "scripting", "7.0.0", "Depends on the script that is executed.", "Execute a read-only Lua script server side";
    #[cfg(feature = "scripts")]
    Evalsha = "evalsha", -3 whole, NOSCRIPT | STALE | SKIP_MONITOR | MAY_WRITE | NO_MANDATORY_KEYS | SCRIPTING | MOVABLE_KEYS, NONE,
        "scripting", "2.6.0", "Depends on the script that is executed.", "Execute a Lua script server side";
    #[cfg(feature = "scripts")]
    EvalshaRo = "evalsha_ro", -3 whole, READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | SCRIPTING | MOVABLE_KEYS, NONE,
        "scripting", "7.0.0", "Depends on the script that is executed.", "Execute a read-only Lua script server side";
    #[cfg(feature = "scripts")]
    Script = "script", -2 few, CONTAINER, NONE,
        "scripting", "2.6.0", "Depends on subcommand.", "A container for Lua scripts management commands";
    #[cfg(feature = "scripts")]
    ScriptLoad = "script|load", 3, NOSCRIPT | STALE | SCRIPTING, NONE,
        "scripting", "2.6.0", "O(N) with N being the length in bytes of the script body.", "Load the specified Lua script into the script cache.";
    #[cfg(feature = "scripts")]
    ScriptExists = "script|exists", -3 few, NOSCRIPT | SCRIPTING, NONE,
        "scripting", "2.6.0", "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).", "Check existence of scripts in the script cache.";
    #[cfg(feature = "scripts")]
    ScriptFlush = "script|flush", -2 few, NOSCRIPT | SCRIPTING, NONE,
        "scripting", "2.6.0", "O(N) with N being the number of scripts in cache", "Remove all the scripts from the script cache.";
    #[cfg(feature = "scripts")]
    ScriptKill = "script|kill", 2, NOSCRIPT | ALLOW_BUSY | SCRIPTING, NONE,
        "scripting", "2.6.0", "O(1)", "Kill the script currently in execution.";
    #[cfg(feature = "scripts")]
    ScriptHelp = "script|help", 2, LOADING | STALE | SCRIPTING, NONE,
        "scripting", "5.0.0", "O(1)", "Show helpful text about the different subcommands";

    Function = "function", -2 few, CONTAINER, NONE,
        "scripting", "7.0.0", "Depends on subcommand", "A container for function commands";
    FunctionFlush = "function|flush", -2 few, WRITE | NOSCRIPT | SCRIPTING, NONE,
        "scripting", "7.0.0", "O(1)", "Deleting all functions";
    FunctionList = "function|list", -2 few, NOSCRIPT | SCRIPTING, NONE,
        "scripting", "7.0.0", "O(N) where N is the number of functions", "List information about all the functions";
    FunctionHelp = "function|help", 2, LOADING | STALE | SCRIPTING, NONE,
        "scripting", "7.0.0", "O(1)", "Show helpful text about the different subcommands";
}
