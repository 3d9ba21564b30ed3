//! Floors and ceilings: memory that data does not need serves clients, and comes back when data needs it.

use crate::common::{KIB, MIB, encode, show};
use crate::in_process::InProcess;
use pannier::connection::ConnectionId;
use pannier::server::{Floors, Resources};
use pannier::store::{OnFull, RemovalPolicy, StoreConfig};

const FLOORS: Floors = Floors {
    input_bytes: MIB,
    output_bytes: 512 * KIB,
    queue_bytes: 256 * KIB,
    clients: 4,
    client_bytes: 16 * KIB,
    sessions: 16,
    session_bytes: 2 * KIB,
};
/// What is between the floors and the ceilings of buffers.
const LENT: u64 = (3 * MIB + 7 * MIB / 2 + 7 * MIB / 4) as u64;

fn process(on_full: OnFull) -> InProcess {
    let config = StoreConfig { memory_bytes: 32 * MIB, on_full, ..StoreConfig::default() };
    let resources = Resources {
        input_bytes: 4 * MIB,
        output_bytes: 4 * MIB,
        queue_bytes: 2 * MIB,
        floors: Some(FLOORS),
        ..Resources::default()
    };
    InProcess::new(config, 1_000, resources, None)
}

fn lent(process: &InProcess) -> u64 {
    process.server.engine().store.memory().lent
}

/// Sets keys of 1 KiB in pipelines until a write is refused (or `most` are set); how many were set. Each pipeline is a turn.
fn fill(process: &mut InProcess, id: ConnectionId, most: usize) -> usize {
    let value = [b'x'; 1024];
    let mut count = 0;
    while count < most {
        let pipeline: Vec<u8> = (count..count + 100)
            .flat_map(|number| encode(&[b"SET".as_slice(), format!("key:{number}").as_bytes(), &value]))
            .collect();
        let answer = process.send(id, &pipeline);
        process.advance(1);
        process.server.invariants();
        count += answer.windows(5).filter(|window| window == b"+OK\r\n").count();
        if answer.windows(4).any(|window| window == b"-OOM") {
            break;
        }
    }
    count
}

#[test]
fn data_gets_what_clients_do_not_use_and_clients_get_it_again() {
    let mut process = process(OnFull::Refuse);
    let id = process.connect();
    assert_eq!(lent(&process), LENT);
    let count = fill(&mut process, id, usize::MAX);
    assert_eq!(lent(&process), 0, "a write was refused while memory was lent");
    // 32 MiB less tables and what is kept for cleaning; without what was lent it were some 8,000 fewer.
    assert!(count > 26_000, "{count}");
    let used = process.server.engine().store.memory().used_of(100);
    assert!(used >= 97, "{used} hundredths at the first refusal");
    process.send(id, b"FLUSHALL\r\n");
    for _ in 0..500 {
        process.advance(1);
    }
    process.server.invariants();
    assert_eq!(lent(&process), LENT);
}

/// A command of so many bytes in arguments of 1,000 each.
fn long_mset(bytes: usize) -> Vec<u8> {
    let keys: Vec<String> = (0..bytes / 2_000).map(|number| format!("{number:01000}")).collect();
    let value = [b'v'; 1_000];
    let mut words = vec![b"MSET".as_slice()];
    words.extend(keys.iter().flat_map(|key| [key.as_bytes(), &value]));
    encode(&words)
}

#[test]
fn a_full_cache_evicts_for_a_command_that_is_longer_than_what_is_there_for_input() {
    let mut process = process(OnFull::Evict);
    let id = process.connect();
    fill(&mut process, id, 40_000);
    let before = lent(&process);
    assert!(before < LENT / 4, "{before}");
    // Half of the input buffers is what a command may have: 512 KiB of the floor, 2 MiB of the ceiling.
    let command = long_mset(3 * MIB / 2);
    let mut answer = Vec::new();
    let mut rest = &command[..];
    for _ in 0..1_000 {
        let taken = process.receive(id, rest);
        rest = &rest[taken..];
        process.exchange(id, b"", &mut answer);
        process.advance(1);
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(show(&answer), show(b"+OK\r\n"));
    process.server.invariants();
    // Then data has it again, and there is nothing to do.
    for _ in 0..40 {
        process.advance(100);
    }
    assert!(!process.server.maintain(process.now, 64), "it goes on for ever");
    assert!(lent(&process) <= before, "{} of {before}", lent(&process));
    process.server.invariants();
}

#[test]
fn a_stranger_s_long_command_borrows_nothing() {
    let config = StoreConfig { memory_bytes: 32 * MIB, on_full: OnFull::Evict, ..StoreConfig::default() };
    let resources = Resources { input_bytes: 4 * MIB, floors: Some(FLOORS), ..Resources::default() };
    let mut process = InProcess::new(config, 100, resources, Some(b"secret"));
    let id = process.connect();
    process.send(id, b"AUTH secret\r\n");
    fill(&mut process, id, 40_000);
    let before = lent(&process);
    let stranger = process.connect();
    process.send(stranger, &[&b"*3\r\n"[..], &encode(&[&[b'x'; 16_000][..], &[b'y'; 16_000]])[4..]].concat());
    for _ in 0..50 {
        process.advance(1);
    }
    assert_eq!(lent(&process), before);
    assert!(!process.server.maintain(process.now, 64));
}

#[test]
fn what_is_loaded_finds_all_memory_that_data_had() {
    let mut process = process(OnFull::Refuse);
    process.server.give_memory_back();
    process.server.engine_mut().store.set_removal_policy(RemovalPolicy::Follow);
    assert_eq!(lent(&process), 0);
    // Clients that come meanwhile have what is theirs, and take nothing.
    while process.server.open(crate::in_process::PEER, process.now).is_ok() {}
    for _ in 0..50 {
        process.advance(1);
    }
    assert_eq!((lent(&process), process.server.connection_count()), (0, FLOORS.clients));
    process.server.engine_mut().store.set_removal_policy(RemovalPolicy::Own);
    for _ in 0..50 {
        process.advance(1);
    }
    assert_eq!(lent(&process), LENT);
    process.server.invariants();
}

#[test]
fn clients_beyond_the_floor_come_while_there_is_memory_for_them() {
    let mut process = process(OnFull::Refuse);
    let id = process.connect();
    // Four places are the floor, and four more are a segment.
    for _ in 0..100 {
        process.connect();
    }
    process.server.invariants();
    let of_clients = lent(&process) - LENT;
    assert_eq!(of_clients, (97_u64).div_ceil(4) * 64 * KIB as u64);
    fill(&mut process, id, usize::MAX);
    // Places that were granted stay; there is no memory for further ones until data goes.
    assert_eq!(lent(&process), of_clients);
    while process.server.open(crate::in_process::PEER, process.now).is_ok() {
        assert!(process.server.connection_count() <= 4 + 25 * 4);
    }
    assert_eq!(process.send(id, b"PING\r\n"), b"+PONG\r\n");
    process.send(id, b"FLUSHALL\r\n");
    for _ in 0..500 {
        process.advance(1);
    }
    assert!(process.server.open(crate::in_process::PEER, process.now).is_ok());
    process.server.invariants();
}
