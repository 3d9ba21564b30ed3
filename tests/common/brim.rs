//! What goes on in a store that is full to the brim: values of every size are replaced, get times to live, other names and
//! ends. One script for a server in the process and for one behind a socket.

use crate::common::show;
use pannier::limits::MIB;

/// Around each bound at which a value is kept in another way: in its record (8 KiB), in blocks (4 KiB each, 15 of them), in
/// spans (64 KiB), and an argument that comes whole (64 KiB) or in pieces.
pub const LENS: [usize; 17] = [
    1, 100, 4096, 8191, 8192, 8193, 12_288, 12_289, 20_000, 61_440, 61_441, 65_535, 65_536, 65_537, 200_000,
    1_000_000, MIB,
];

/// A server that is asked one command at a time.
pub struct Brim<'a> {
    pub ask: &'a mut dyn FnMut(&[&[u8]]) -> Vec<u8>,
    pub evicts: bool,
    fillers: u32,
}

impl<'a> Brim<'a> {
    pub fn new(ask: &'a mut dyn FnMut(&[&[u8]]) -> Vec<u8>, evicts: bool) -> Brim<'a> {
        Brim { ask, evicts, fillers: 0 }
    }

    /// Every way to replace a value of `len` bytes, or what belongs to it.
    pub fn check(&mut self, len: usize) {
        assert_eq!((self.ask)(&[b"FLUSHALL"]), b"+OK\r\n");
        // The first script takes memory for all of them.
        assert_eq!((self.ask)(&[b"EVAL", b"return 1", b"0"]), b":1\r\n");
        self.replace(len);
        self.shorten(len);
        self.change_in_part(len);
        self.answer_the_old_value(len);
        self.change_times_and_names(len);
        self.replace_in_one_step(len);
        self.end(len);
    }

    fn replace(&mut self, len: usize) {
        let new = vec![b'n'; len];
        for words in [
            &[b"SET".as_slice(), b"key", &new] as &[&[u8]],
            &[b"SET", b"key", &new, b"EX", b"100"],
            &[b"SET", b"key", &new, b"XX", b"KEEPTTL"],
            &[b"SETEX", b"key", b"100", &new],
            &[b"PSETEX", b"key", b"100000", &new],
        ] {
            for ttl in [None, Some(b"1000".as_slice())] {
                self.set_up(len, ttl);
                self.is_ok(words);
                self.has(b"key", &new);
            }
        }
    }

    fn shorten(&mut self, len: usize) {
        for to in [len - 1, len / 2, len / 10, 1] {
            let new = vec![b's'; to];
            for ex in [&[] as &[&[u8]], &[b"EX", b"100"]] {
                self.set_up(len, None);
                self.is_ok(&[&[b"SET".as_slice(), b"key", &new], ex].concat());
                self.has(b"key", &new);
            }
        }
    }

    fn change_in_part(&mut self, len: usize) {
        let mut expected = vec![b'o'; len];
        self.set_up(len, None);
        for (at, part_len) in [(0, len), (len / 2, len - len / 2), (len - 1, 1)] {
            let part = vec![b'a' + (at % 26) as u8; part_len.min(60_000)];
            let reply = (self.ask)(&[b"SETRANGE", b"key", at.to_string().as_bytes(), &part]);
            assert_eq!(
                show(&reply),
                format!(":{len}\\r\\n"),
                "SETRANGE {at} of {} in {len} bytes",
                part.len()
            );
            expected[at..at + part.len()].copy_from_slice(&part);
        }
        let reply = (self.ask)(&[b"APPEND", b"key", b""]);
        assert_eq!(show(&reply), format!(":{len}\\r\\n"), "APPEND of nothing to {len} bytes");
        self.has(b"key", &expected);
        // All of it, in pieces where it is long.
        let whole = vec![b'w'; len];
        let reply = (self.ask)(&[b"SETRANGE", b"key", b"0", &whole]);
        assert_eq!(show(&reply), format!(":{len}\\r\\n"), "SETRANGE of all of {len} bytes");
        self.has(b"key", &whole);
    }

    fn answer_the_old_value(&mut self, len: usize) {
        let new = vec![b'n'; len];
        for words in [
            &[b"SET".as_slice(), b"key", &new, b"GET"] as &[&[u8]],
            &[b"GETSET", b"key", &new],
            &[b"SET", b"key", &new[1..], b"GET", b"EX", b"100"],
        ] {
            self.set_up(len, None);
            let old = (self.ask)(words);
            // A cache may have let it go for what is to replace it.
            let is_gone = self.evicts && len > 60_000 && old == b"$-1\r\n";
            let is_old = old.starts_with(format!("${len}\r\n").as_bytes());
            assert!(is_gone || is_old, "{}: {}", name(words), head(&old));
            self.has(b"key", words[2]);
        }
    }

    fn change_times_and_names(&mut self, len: usize) {
        let old = vec![b'o'; len];
        self.set_up(len, None);
        for words in [
            &[b"EXPIRE".as_slice(), b"key", b"100"] as &[&[u8]],
            &[b"EXPIRE", b"key", b"1000"],
            &[b"PERSIST", b"key"],
        ] {
            let reply = (self.ask)(words);
            assert_eq!(show(&reply), ":1\\r\\n", "{} of {len} bytes", name(words));
        }
        for words in
            [&[b"GETEX".as_slice(), b"key", b"EX", b"100"] as &[&[u8]], &[b"GETEX", b"key", b"PERSIST"]]
        {
            let reply = (self.ask)(words);
            assert!(reply.starts_with(format!("${len}\r\n").as_bytes()), "{}: {}", name(words), head(&reply));
        }
        self.is_ok(&[b"RENAME", b"key", b"k"]);
        self.has(b"k", &old);
        assert_eq!(show(&(self.ask)(&[b"MOVE", b"k", b"1"])), ":1\\r\\n", "MOVE of {len} bytes");
        self.is_ok(&[b"SELECT", b"1"]);
        self.has(b"k", &old);
        (self.ask)(&[b"DEL", b"k"]);
        self.is_ok(&[b"SELECT", b"0"]);
    }

    fn replace_in_one_step(&mut self, len: usize) {
        let new = vec![b'n'; len];
        self.set_up(len, None);
        self.is_ok(&[b"MULTI"]);
        assert_eq!(show(&(self.ask)(&[b"SET", b"key", &new, b"EX", b"100"])), "+QUEUED\\r\\n", "{len} bytes");
        let reply = (self.ask)(&[b"EXEC"]);
        assert_eq!(show(&reply), "*1\\r\\n+OK\\r\\n", "EXEC of a SET of {len} bytes");
        self.has(b"key", &new);
        // Scripts have a mebibyte for all that they hold.
        if len > 200_000 {
            return;
        }
        self.set_up(len, None);
        let script: &[u8] = b"return redis.call('SET', KEYS[1], string.rep('n', tonumber(ARGV[1])))";
        self.is_ok(&[b"EVAL", script, b"1", b"key", len.to_string().as_bytes()]);
        self.has(b"key", &new);
    }

    fn end(&mut self, len: usize) {
        self.set_up(len, None);
        let reply = (self.ask)(&[b"GETDEL", b"key"]);
        assert!(reply.starts_with(format!("${len}\r\n").as_bytes()), "GETDEL: {}", head(&reply));
        self.set_up(len, None);
        assert_eq!(show(&(self.ask)(&[b"DEL", b"key"])), ":1\\r\\n");
    }

    /// Gives the key a value of so many bytes, and fills the store.
    fn set_up(&mut self, len: usize, ttl: Option<&[u8]>) {
        (self.ask)(&[b"DEL", b"key", b"k"]);
        let old = vec![b'o'; len];
        let ex = ttl.map(|ttl| [b"EX".as_slice(), ttl]);
        let set = [b"SET".as_slice(), b"key", &old];
        let words = [&set[..], ex.as_ref().map_or(&[], |ex| &ex[..])].concat();
        // What was freed last took the key's place.
        while !self.evicts && (self.ask)(&words) != b"+OK\r\n" {
            assert!(self.fillers > 0, "{len} bytes do not fit into an empty store");
            self.fillers -= 1;
            (self.ask)(&[b"DEL", format!("filler:{}", self.fillers).as_bytes()]);
        }
        for filler_len in [len.max(4000), 4000, 500, 10] {
            let value = vec![b'f'; filler_len];
            while !self.is_full(&value) {
                self.fillers += 1;
            }
        }
        if self.evicts {
            self.is_ok(&words);
        }
    }

    fn is_full(&mut self, value: &[u8]) -> bool {
        let reply = (self.ask)(&[b"SET", format!("filler:{}", self.fillers).as_bytes(), value]);
        if self.evicts {
            assert_eq!(show(&reply), "+OK\\r\\n");
            return self.fillers % 16 == 15 && {
                self.fillers += 1;
                let stats = (self.ask)(&[b"INFO", b"stats"]);
                !String::from_utf8_lossy(&stats).contains("\nevicted_keys:0\r")
            };
        }
        reply.starts_with(b"-OOM")
    }

    fn is_ok(&mut self, words: &[&[u8]]) {
        let reply = (self.ask)(words);
        assert_eq!(show(&reply), "+OK\\r\\n", "{}", name(words));
    }

    fn has(&mut self, key: &[u8], value: &[u8]) {
        let reply = (self.ask)(&[b"GET", key]);
        let expected = [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
        assert!(reply == expected, "{} instead of {}", head(&reply), head(&expected));
    }
}

/// A command without its value, for messages.
fn name(words: &[&[u8]]) -> String {
    words
        .iter()
        .map(|word| match word.len() {
            0..20 => String::from_utf8_lossy(word).into_owned(),
            len => format!("<{len} bytes>"),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn head(reply: &[u8]) -> String {
    show(&reply[..reply.len().min(60)])
}
