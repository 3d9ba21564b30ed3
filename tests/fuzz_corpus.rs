//! The bodies of the fuzz targets, without a fuzzer: on their corpus, on the transcripts, and on bytes of fixed seeds. And
//! the dictionaries, which are to have every verb.
#![cfg(feature = "cli")]
#![allow(clippy::disallowed_methods)] // What it shares with tests over real sockets waits by a real clock.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;
mod common;
#[path = "common/transcript.rs"]
mod transcript;

use bodies::TARGETS;
use common::{Random, encode};
use pannier::command::VERBS;
use pannier::wire::frame::{self, Head, Op};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Names and contents of a target's corpus, in the order of the names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

/// Runs a body, and says what it was given when it panics.
fn run(body: fn(&[u8]), what: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(bytes))) {
        eprintln!("{what}: {}", bytes.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_corpus_holds() {
    for (target, body) in TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{target} has no corpus");
        for (path, bytes) in corpus {
            run(body, &path.display().to_string(), &bytes);
        }
    }
}

/// The corpus with a few bytes changed, cut off, or put together with another entry.
#[test]
fn what_is_near_the_corpus_holds() {
    let mut random = Random(7);
    for (target, body) in TARGETS {
        let corpus = corpus(target);
        for round in 0..150 {
            let mut bytes = corpus[random.below(corpus.len())].1.clone();
            for _ in 0..1 + random.below(4) {
                match random.below(4) {
                    0 if !bytes.is_empty() => {
                        let at = random.below(bytes.len());
                        bytes[at] = random.below(256) as u8;
                    }
                    1 => bytes.truncate(random.below(bytes.len() + 1)),
                    2 => {
                        let other = &corpus[random.below(corpus.len())].1;
                        bytes.truncate(random.below(bytes.len() + 1));
                        bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
                    }
                    _ => bytes.insert(random.below(bytes.len() + 1), random.below(256) as u8),
                }
            }
            run(body, &format!("{target}, round {round}"), &bytes);
        }
    }
}

/// Bytes of fixed seeds. How likely small numbers are is drawn too: evenly drawn lengths are mostly too long to be useful.
#[test]
fn fixed_seeds_hold() {
    for (target, body) in TARGETS {
        for seed in 0..100 {
            let mut random = Random(seed);
            let small = random.below(256);
            let len = random.below(1500);
            let byte = |random: &mut Random| {
                if random.below(256) < small { random.below(24) as u8 } else { random.below(256) as u8 }
            };
            let bytes: Vec<u8> = (0..len).map(|_| byte(&mut random)).collect();
            run(body, &format!("{target}, seed {seed}"), &bytes);
        }
    }
}

/// A number and as many bytes, as `fuzz/bodies/script.rs` reads them.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat()
}

/// For each target a few inputs that are made well, so that a fuzzer begins where it becomes interesting.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for transcript in transcript::all() {
        let name = transcript.path.file_stem().expect("a name").to_string_lossy().into_owned();
        // Step 0: the first client sends; step 7: it takes all that waits.
        let mut script = vec![0];
        for exchange in transcript.exchanges.iter().take(40) {
            script.extend([&[0], &counted(&exchange.request)[..], &[7]].concat());
        }
        seeds.push(("server", name.clone(), script));
        let stream: Vec<u8> = transcript.requests().into_iter().take(2000).collect();
        seeds.push((
            "resp",
            name.clone(),
            [&[0, 3, 5, 0, 40, 0, 200, 0], &counted(&stream)[..], &[0, 0, 0]].concat(),
        ));
        let replies = transcript.exchanges.iter().flat_map(|exchange| &exchange.replies).take(60);
        let replies = replies.filter_map(|reply| match reply {
            transcript::Expected::Bytes(bytes) => Some(bytes.clone()),
            transcript::Expected::Any => None,
        });
        let replies: Vec<u8> = replies.flatten().collect();
        seeds.push(("reply", name, [&[2, 0], &replies[..]].concat()));
    }
    for op in Op::ALL {
        let mut bytes = [0; 1200];
        let len = frame::encode(&mut bytes, &Head::request(*op, 1, 1), b"key", b"value", None).expect("room");
        seeds.push(("frame", op.name().to_owned(), [&[0], &bytes[..len]].concat()));
        // Hello for a cookie, hello with it, then the operation; over datagrams by step 12, framed TCP by 14.
        let request = |step: u8, op: Op| {
            let head = [step, op as u8 - 1, 0, 1];
            [&head[..], &[0; 9], &counted(b"key"), &counted(b"17")].concat()
        };
        for step in [12, 14] {
            let steps =
                [request(step, Op::Hello), request(step, Op::Hello), request(step, *op), request(step, *op)];
            seeds.push((
                "server",
                format!("{}{step}", op.name()),
                [&[0], &steps.concat()[..], &[7]].concat(),
            ));
        }
    }
    for verb in VERBS {
        let mut args: Vec<&[u8]> = verb.container().map(str::as_bytes).into_iter().collect();
        args.extend([verb.word().as_bytes(), b"1", b"2", b"3"]);
        let steps: Vec<u8> = (1..=args.len())
            .flat_map(|count| [&[0], &counted(&encode(&args[..count]))[..], &[7]].concat())
            .collect();
        let name = verb.name.replace('|', "_");
        seeds.push(("server", format!("verb_{name}"), [&[0], &steps[..]].concat()));
    }
    // Step 15: a large value, all of it or its beginning; then it is read, overwritten, taken in parts, and deleted.
    for (name, step) in [("large", [15, 0, 128, 1, 0]), ("part", [15, 0, 128, 1, 200])] {
        let get = [&[0], &counted(&encode(&[&b"GET"[..], b"1"]))[..]].concat();
        let take = [6, 0, 48];
        let more = counted(&encode(&[&b"APPEND"[..], b"1", b"xyz"]));
        let delete = [&[16], &counted(&encode(&[&b"DEL"[..], b"1"]))[..]].concat();
        let script = [&[0], &step[..], &get, &take, &[16], &more[..], &step, &take, &delete, &[7]].concat();
        seeds.push(("server", name.to_owned(), script));
    }
    let get = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
    seeds.push(("admin", "get".into(), [&[0, 9, 0], &get[..]].concat()));
    seeds.push(("admin", "head".into(), b"\x01\x03\x00HEAD /readyz HTTP/1.0\r\n\r\n".to_vec()));
    let pattern = [&[0], &counted(b"h[a-c]?l*\\*[^x]*")[..], b"hbxlo*yworld"].concat();
    seeds.push(("patterns", "glob".into(), pattern));
    seeds.push(("patterns", "line".into(), b"\x01set \"a \\x41\\n\" 'it\\'s' \\x \"\"\r".to_vec()));
    seeds
}

#[test]
fn what_is_made_well_holds() {
    for (target, name, bytes) in seeds() {
        let (_, body) = TARGETS.iter().find(|(of, _)| *of == target).expect("a target");
        run(*body, &format!("{target}, {name}"), &bytes);
    }
}

/// For a new corpus: `PANNIER_SEEDS=FOLDER cargo test --test fuzz_corpus -- --ignored`.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let folder = PathBuf::from(std::env::var_os("PANNIER_SEEDS").expect("PANNIER_SEEDS names a folder"));
    for (target, name, bytes) in seeds() {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(name), bytes).expect("a file");
    }
}

/// Every line of a dictionary is a comment or a string in quotes, as libFuzzer wants it.
#[test]
fn the_dictionaries_are_well_formed_and_have_every_verb() {
    let read =
        |name: &str| std::fs::read_to_string(fuzz_folder().join("dictionaries").join(name)).expect("a file");
    for name in ["resp.dict", "frame.dict", "http.dict", "glob.dict"] {
        for line in read(name).lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let inner = line.strip_prefix('"').and_then(|line| line.strip_suffix('"'));
            assert!(inner.is_some_and(|inner| !inner.is_empty()), "{name}: {line}");
        }
    }
    let resp = read("resp.dict");
    for verb in VERBS {
        let line = format!("\"{}\"", verb.word().to_ascii_uppercase());
        assert!(resp.lines().any(|entry| entry == line), "resp.dict lacks {line}");
    }
}
