//! The table by itself: what is kept is what comes back, and nobody's place is lost when others come and go.

use super::*;
use crate::random::Random;

const LEASE_MS: u64 = 1000;

fn table(clients_max: usize) -> Sessions {
    Sessions::new(clients_max, LEASE_MS, [1, 2])
}

fn open(sessions: &mut Sessions, client_id: u64, at_ms: u64) -> Result<SessionIndex, NotOpened> {
    let opened = sessions.open(client_id, None, Millis(at_ms));
    sessions.invariants();
    opened
}

#[test]
fn a_kept_reply_comes_back_as_it_was_and_to_its_own_client() {
    let mut sessions = table(2);
    let both = [1, 2].map(|client_id| open(&mut sessions, client_id, 0).expect("room"));
    let kept = |session: usize, sequence: u32| CachedReply {
        status: Status::ALL[(sequence as usize + session) % Status::ALL.len()],
        // The largest revision there can be, and its neighbours.
        argument: (1 << 48) - 1 - u64::from(sequence),
        expect: u64::MAX - session as u64,
    };
    for sequence in 1..=64 {
        for (i, session) in both.into_iter().enumerate() {
            assert_eq!(sessions.look_up(session, sequence, 9), Known::New);
            sessions.keep(session, sequence, 9, kept(i, sequence));
        }
    }
    for sequence in 1..=64 {
        for (i, session) in both.into_iter().enumerate() {
            assert_eq!(sessions.look_up(session, sequence, 9), Known::Repeat(kept(i, sequence)));
            assert_eq!(sessions.look_up(session, sequence, 8), Known::Reused);
        }
    }
}

#[test]
fn only_a_write_that_has_run_and_is_remembered_has_run() {
    let mut sessions = table(1);
    let session = open(&mut sessions, 1, 0).expect("room");
    let kept = CachedReply { status: Status::Ok, argument: 0, expect: 0 };
    let has_run = |sessions: &Sessions| {
        (0..=202).filter(|sequence| sessions.has_run(session, *sequence)).collect::<Vec<u32>>()
    };
    assert!(has_run(&sessions).is_empty());
    for sequence in [100, 101, 105, 110] {
        sessions.keep(session, sequence, 9, kept);
    }
    assert_eq!(has_run(&sessions), [100, 101, 105, 110]);
    sessions.touch(session, 101, Millis(0));
    assert_eq!(has_run(&sessions), [101, 105, 110], "the client waits for the first no longer");
    sessions.keep(session, 168, 9, kept);
    assert_eq!(has_run(&sessions), [105, 110, 168], "64 writes are remembered");
    sessions.keep(session, 200, 9, kept);
    assert_eq!(has_run(&sessions), [168, 200]);
}

#[test]
fn a_lease_holds_to_its_last_millisecond() {
    let mut sessions = table(1);
    open(&mut sessions, 1, 50).expect("room");
    assert_eq!(open(&mut sessions, 2, 50 + LEASE_MS), Err(NotOpened::Busy));
    let second = open(&mut sessions, 2, 51 + LEASE_MS).expect("the lease has run out");
    assert_eq!((sessions.generation(second), sessions.opened(), sessions.dropped()), (2, 2, 1));
    assert_eq!(sessions.find(1), None);
}

/// Places half full, so that clients stand in each other's way: the invariants look every one of them up.
#[test]
fn clients_that_come_and_go_leave_the_others_where_they_are_found() {
    let mut sessions = table(16);
    let (mut random, mut now) = (Random(3), 0);
    let mut opened = 0;
    while opened < 3000 {
        let client_id = random.below(40) as u64;
        now += 1 + random.below(2 * LEASE_MS as usize / 16) as u64;
        match sessions.find(client_id) {
            Some(session) => sessions.touch(session, 1, Millis(now)),
            None => opened += u64::from(open(&mut sessions, client_id, now).is_ok()),
        }
        sessions.invariants();
    }
    assert_eq!((sessions.opened(), sessions.dropped()), (opened, opened - 16));
}

#[test]
fn memory_is_what_was_computed() {
    for clients_max in [1, 3, 4, 1000] {
        let mut sessions = table(clients_max);
        let reserved = size_of::<Head>() * sessions.heads.capacity()
            + size_of::<Slot>() * sessions.slots.capacity()
            + size_of::<u32>() * sessions.places.capacity();
        assert_eq!(Sessions::memory_bytes(clients_max), reserved, "{clients_max}");
        assert!(sessions.places.len() >= 2 * clients_max, "at most half full");
        assert!(sessions.is_empty());
        open(&mut sessions, 1, 0).expect("room");
        assert!(!sessions.is_empty());
    }
}
