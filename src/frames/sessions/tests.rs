//! The table by itself: what is kept is what comes back, and no client loses its place when others come and go.

use super::*;
use crate::random::Random;

const LEASE_MS: u64 = 1000;

fn table(clients_max: usize) -> Sessions {
    Sessions::new(clients_max, LEASE_MS, [1, 2])
}

fn opener(host: u32) -> Opener {
    Opener { ip: IpAddr::from(host.to_be_bytes()), connection: None }
}

fn open_from(
    sessions: &mut Sessions,
    client_id: u64,
    opener: Opener,
    at_ms: u64,
) -> Result<SessionIndex, Busy> {
    let opened = sessions.open(client_id, opener, Millis(at_ms));
    sessions.invariants();
    opened
}

fn open(sessions: &mut Sessions, client_id: u64, at_ms: u64) -> Result<SessionIndex, Busy> {
    open_from(sessions, client_id, opener(1), at_ms)
}

/// The session runs a write, so that it has an answer to lose.
fn write(sessions: &mut Sessions, session: SessionIndex) {
    let kept = CachedReply { status: Status::Ok, argument: 0, expect: 0 };
    let active = sessions.heads[session.0 as usize].active;
    sessions.touch(session, 1, active);
    sessions.keep(session, 1, 9, kept);
    sessions.invariants();
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
    sessions.keep(session, 169, 9, kept);
    assert_eq!(has_run(&sessions), [101, 110, 169], "105 has the same slot");
    sessions.keep(session, 200, 9, kept);
    assert_eq!(has_run(&sessions), [101, 110, 169, 200], "the other slots are not touched");
}

/// One write is lost and sent again while hundreds of later ones run in the other slots.
#[test]
fn a_slot_that_is_held_up_holds_up_no_other() {
    let mut sessions = table(1);
    let session = open(&mut sessions, 1, 0).expect("room");
    let kept = CachedReply { status: Status::Ok, argument: 0, expect: 0 };
    for sequence in (2..1000).filter(|sequence| sequence % 64 != 1) {
        sessions.touch(session, 1, Millis(0));
        assert_eq!(sessions.look_up(session, sequence, 9), Known::New);
        sessions.keep(session, sequence, 9, kept);
        assert_eq!(sessions.look_up(session, sequence, 9), Known::Repeat(kept));
        if sequence > 66 {
            assert_eq!(sessions.look_up(session, sequence - 64, 9), Known::Stale);
        }
    }
    assert_eq!(sessions.look_up(session, 1, 9), Known::New, "it runs late, and once");
    sessions.keep(session, 1, 9, kept);
    assert_eq!(sessions.look_up(session, 1, 9), Known::Repeat(kept));
}

#[test]
fn a_place_that_is_used_again_knows_nothing_of_its_last_client() {
    let mut sessions = table(1);
    let session = open(&mut sessions, 1, 0).expect("room");
    write(&mut sessions, session);
    let session = open(&mut sessions, 2, LEASE_MS + 1).expect("the lease has run out");
    assert_eq!((sessions.look_up(session, 1, 9), sessions.has_run(session, 1)), (Known::New, false));
}

#[test]
fn a_lease_holds_to_its_last_millisecond() {
    let mut sessions = table(1);
    let first = open(&mut sessions, 1, 50).expect("room");
    write(&mut sessions, first);
    assert_eq!(open(&mut sessions, 2, 50 + LEASE_MS), Err(Busy));
    let second = open(&mut sessions, 2, 51 + LEASE_MS).expect("the lease has run out");
    assert_eq!((sessions.number(second), sessions.opened(), sessions.dropped()), (2, 2, 1));
    assert_eq!(sessions.find(1), None);
}

#[test]
fn a_session_is_found_by_its_own_number_alone() {
    let mut sessions = table(1);
    open(&mut sessions, 7, 0).expect("room");
    assert!(sessions.find_numbered(7, 1).is_some());
    open(&mut sessions, 8, 0).expect("the first has written nothing");
    open(&mut sessions, 7, 0).expect("nor has the second");
    assert_eq!((sessions.find_numbered(7, 1), sessions.find_numbered(7, 0)), (None, None), "a later session");
    assert!(sessions.find_numbered(7, 3).is_some());
}

#[test]
fn sessions_that_never_wrote_make_room_first_and_the_longest_silent_of_them() {
    let mut sessions = table(3);
    for client_id in 1..=3 {
        open_from(&mut sessions, client_id, opener(client_id as u32), client_id).expect("room");
    }
    let first = sessions.find(1).expect("open");
    write(&mut sessions, first);
    let second = sessions.find(2).expect("open");
    sessions.touch(second, 0, Millis(9));
    open_from(&mut sessions, 4, opener(4), 10).expect("room is made");
    let standing =
        |sessions: &Sessions| (1..=5).filter(|id| sessions.find(*id).is_some()).collect::<Vec<_>>();
    assert_eq!(standing(&sessions), [1, 2, 4]);
    for client_id in [2, 4] {
        let session = sessions.find(client_id).expect("open");
        write(&mut sessions, session);
    }
    assert_eq!(open_from(&mut sessions, 5, opener(5), 11), Err(Busy));
    assert_eq!(standing(&sessions), [1, 2, 4], "sessions that wrote keep their places");
}

/// However few write and however many do not, one address never keeps another from opening a session.
#[test]
fn an_address_that_hoards_leaves_room_to_the_others() {
    for writes in [false, true] {
        let mut sessions = table(1000);
        let mut refused = 0;
        for client_id in 1..=5000 {
            match open(&mut sessions, client_id, 1) {
                Ok(session) if writes => write(&mut sessions, session),
                Ok(_) => {}
                Err(Busy) => refused += 1,
            }
        }
        assert_eq!((sessions.len(), refused), (500, if writes { 4500 } else { 0 }), "half of the table");
        for host in 2..=200 {
            let session = open_from(&mut sessions, 10_000 + u64::from(host), opener(host), 2);
            write(&mut sessions, session.expect("room for a newcomer"));
        }
        // The hoarder's own later sessions cost it its earlier ones, and the others nothing.
        for client_id in 20_000..22_000 {
            let _ = open(&mut sessions, client_id, 3);
        }
        assert!((2..=200).all(|host| sessions.find(10_000 + host).is_some()));
    }
}

#[test]
fn many_addresses_that_hoard_share_what_is_free() {
    let mut sessions = table(1000);
    for client_id in 0..20_000 {
        let host = 1 + (client_id % 20) as u32;
        if let Ok(session) = open_from(&mut sessions, client_id, opener(host), 1) {
            write(&mut sessions, session);
        }
    }
    assert!(sessions.len() < 1000, "each held {} of 1,000", sessions.len() / 20);
    assert!(open_from(&mut sessions, 100_000, opener(99), 2).is_ok());
}

#[test]
fn a_stream_connection_has_a_share_of_its_own() {
    let mut sessions = table(1000);
    let by = |connection| Opener { connection: Some(connection), ..opener(1) };
    for client_id in 1..=100 {
        let opened = open_from(&mut sessions, client_id, by(7), 1);
        assert_eq!(opened.is_ok(), client_id <= STREAM_SESSIONS_MAX as u64, "{client_id}");
    }
    assert!(open_from(&mut sessions, 200, by(8), 1).is_ok(), "another connection from the same address");
    assert!(open_from(&mut sessions, 201, by(7), 2 + LEASE_MS).is_ok(), "their leases have run out");
    assert_eq!(sessions.len(), 1);
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
            Some(session) if random.below(4) == 0 => {
                let sequence = 1 + random.below(100) as u32;
                sessions.touch(session, 1, Millis(now));
                sessions.keep(
                    session,
                    sequence,
                    9,
                    CachedReply { status: Status::Ok, argument: 0, expect: 0 },
                );
            }
            Some(session) => sessions.touch(session, 1, Millis(now)),
            None => {
                let host = 1 + random.below(3) as u32;
                opened += u64::from(open_from(&mut sessions, client_id, opener(host), now).is_ok());
            }
        }
        sessions.invariants();
    }
    assert_eq!(sessions.opened(), opened);
}

#[test]
fn memory_is_what_was_computed() {
    for clients_max in [1, 3, 4, 1000] {
        let mut sessions = table(clients_max);
        let reserved = size_of::<Head>() * sessions.heads.capacity()
            + size_of::<Slot>() * sessions.slots.capacity()
            + size_of::<u32>() * sessions.places.capacity()
            + Shares::memory_bytes(2 * clients_max);
        assert_eq!(Sessions::memory_bytes(clients_max), reserved, "{clients_max}");
        assert!(sessions.places.len() >= 2 * clients_max, "at most half full");
        assert!(sessions.is_empty());
        open(&mut sessions, 1, 0).expect("room");
        assert!(!sessions.is_empty());
    }
}

#[test]
fn one_address_may_have_its_part_of_the_table_though_little_of_it_has_its_memory_yet() {
    let mut sessions = Sessions::new(64, 1_000, [1, 2]);
    sessions.grant(20, true);
    let opener = Opener { ip: "10.0.0.1".parse().expect("an address"), connection: None };
    for id in 1..=20 {
        sessions.open(id, opener, Millis(1)).expect("there is room");
    }
    assert!((1..=20).all(|id| sessions.find(id).is_some()), "none was dropped for another");
    // There is no more memory: one that never wrote makes room, until more is granted.
    sessions.open(21, opener, Millis(1)).expect("another goes");
    assert_eq!((sessions.len(), sessions.find(1)), (20, None));
    sessions.grant(64, true);
    sessions.open(22, opener, Millis(1)).expect("there is room");
    assert_eq!(sessions.len(), 21);
}

#[test]
fn where_there_is_no_more_memory_one_address_does_not_have_all_of_it() {
    let mut sessions = Sessions::new(256, 1_000, [1, 2]);
    sessions.grant(64, true);
    let opener = |host: u8| Opener { ip: [10, 0, 0, host].into(), connection: None };
    let mut opened = 0;
    for id in 1..=64 {
        // As the server does it: half of what there is, and no more is to be had.
        if sessions.len() > 32 {
            sessions.grant(64, false);
        }
        if let Ok(session) = sessions.open(id, opener(1), Millis(1)) {
            write(&mut sessions, session);
            opened += 1;
        }
    }
    assert!((32..40).contains(&opened), "{opened}");
    (100..116).for_each(|id| _ = sessions.open(id, opener(2), Millis(1)).expect("another has a place"));
}
