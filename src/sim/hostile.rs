//! Hostile and careless TCP clients of every sort: what each sends once it is connected. None of them writes anything, so
//! whatever they do, the store has what the others' requests made of it, and the others are served.

use super::faults::Fault;
use crate::random::Random;

/// Bytes of a long argument: several of them take most of the buffers that all share.
const LONG_BYTES: [usize; 4] = [2_000, 20_000, 60_000, 147_000];
/// Arguments of a long command.
const ARGUMENTS: [usize; 3] = [100, 2_000, 10_000];

/// What one of them does.
#[derive(Debug)]
pub struct Attack {
    /// What it sends at once.
    pub bytes: Vec<u8>,
    /// It reads nothing.
    pub is_deaf: bool,
    /// It resets its connection a moment later.
    pub leaves: bool,
}

/// Whether nothing that a client of this sort sends may make the server drive out keys: it stores nothing, not even
/// for a while.
pub fn drives_out_nothing(sort: Fault) -> bool {
    !matches!(sort, Fault::HalfSent | Fault::OpenTransaction | Fault::AbandonedUpload)
}

impl Attack {
    pub fn draw(sort: Fault, random: &mut Random) -> Attack {
        let mut attack = Attack { bytes: Vec::new(), is_deaf: false, leaves: false };
        match sort {
            Fault::Silent => {}
            Fault::HalfSent => {
                // A command of one long argument, or of many, that never comes whole.
                attack.bytes = match random.below(3) {
                    0 => many(b"MSET", random),
                    1 => command(&[b"SET", b"a", &long(random)]),
                    _ => command(&[b"ECHO", &long(random)]),
                };
                let len = 1 + random.below(attack.bytes.len() - 1);
                attack.bytes.truncate(len);
            }
            Fault::AbandonedUpload => {
                attack.bytes = command(&[b"SET", b"b", &long(random)]);
                attack.bytes.truncate(attack.bytes.len() - 3);
                attack.leaves = true;
            }
            Fault::Deaf => {
                for _ in 0..random.pick(&[1, 10, 100]) {
                    attack.bytes.extend(match random.below(5) {
                        0 => command(&[b"KEYS", b"*"]),
                        1 => command(&[b"INFO"]),
                        2 => command(&[b"ECHO", &[b'x'; 900]]),
                        3 => command(&[b"MGET", b"a", b"b", b"c", b"d", b"e"]),
                        _ => command(&[b"GETRANGE", b"a", b"0", b"-1"]),
                    });
                }
                attack.is_deaf = true;
            }
            Fault::OpenTransaction => {
                if random.below(2) == 0 {
                    attack.bytes = many(b"WATCH", random);
                }
                attack.bytes.extend(command(&[b"MULTI"]));
                for _ in 0..random.pick(&[1, 30, 300]) {
                    let value = vec![b'q'; random.pick(&[1, 100, 5_000])];
                    attack.bytes.extend(command(&[b"SET", b"a", &value]));
                }
            }
            Fault::Patterns => {
                let pattern = [&b"*"[..], &b"a*".repeat(random.pick(&[3, 30, 300])), b"b"].concat();
                for _ in 0..random.pick(&[1, 20]) {
                    attack.bytes.extend(command(&[
                        b"SCAN",
                        b"0",
                        b"MATCH",
                        &pattern,
                        b"COUNT",
                        b"1000000000",
                    ]));
                    attack.bytes.extend(command(&[b"KEYS", &pattern]));
                    attack.bytes.extend(command(&[b"CONFIG", b"GET", &pattern]));
                }
            }
            Fault::ManyArguments => {
                let verb = random.pick(&[&b"EXISTS"[..], b"MGET", b"TOUCH", b"CONFIG GET"]);
                attack.bytes = many(verb, random);
            }
            Fault::Garbage => {
                attack.bytes = (0..random.pick(&LONG_BYTES)).map(|_| random.next() as u8).collect();
                attack.bytes.insert(0, random.pick(b"*$\x16G\r"));
            }
            Fault::UnknownCommand => attack.bytes = command(&[b"NOSUCH", &long(random)]),
            Fault::Guesses => {
                for guess in 0..random.pick(&[1, 10, 40]) {
                    attack.bytes.extend(command(&[b"AUTH", format!("guess{guess}").as_bytes()]));
                }
            }
            _ => unreachable!("{} is no client", sort.name()),
        }
        attack
    }
}

fn long(random: &mut Random) -> Vec<u8> {
    vec![b'v'; random.pick(&LONG_BYTES)]
}

/// A command of many arguments, keys that clients have among them.
fn many(verb: &[u8], random: &mut Random) -> Vec<u8> {
    let keys: Vec<[u8; 1]> = (0..random.pick(&ARGUMENTS)).map(|_| [b'a' + random.below(8) as u8]).collect();
    let mut words: Vec<&[u8]> = verb.split(|byte| *byte == b' ').collect();
    words.extend(keys.iter().map(|key| &key[..]));
    command(&words)
}

pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
