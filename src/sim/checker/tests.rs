//! The checker against histories whose verdict is known, and its two searches against each other.

use super::{Verdict, check, search};
use crate::random::Random;
use crate::sim::history::{Action, Content, If, Operation, Seen};
use crate::sim::state::{ABSENT, State, outcomes};
use crate::sim::witness::has_witness;

fn operation(action: Action, seen: Seen, begun: u64, ended: u64) -> Operation {
    Operation { client: 0, action, seen, begun, ended, wall: (begun, ended), wall_highest: ended }
}

fn put(number: u32, seen: Seen, begun: u64, ended: u64) -> Operation {
    let action =
        Action::Put { content: Content::Text(number), ttl_ms: None, keeps_ttl: false, condition: If::Always };
    operation(action, seen, begun, ended)
}

fn get(number: u32, begun: u64, ended: u64) -> Operation {
    operation(Action::Get, Seen::Content(Content::Text(number)), begun, ended)
}

const DONE: Seen = Seen::Done(true);

#[test]
fn what_is_read_was_written_before() {
    assert_eq!(check(&[put(1, DONE, 0, 1), get(1, 2, 3)], false), Verdict::Explained);
    assert_eq!(check(&[put(1, DONE, 2, 3), get(1, 0, 1)], false), Verdict::Impossible { operation: 1 });
    assert_eq!(check(&[get(1, 0, 1)], false), Verdict::Impossible { operation: 0 });
}

#[test]
fn an_older_value_does_not_come_back() {
    let history = [put(1, DONE, 0, 1), put(2, DONE, 2, 3), get(2, 4, 5), get(1, 6, 7)];
    assert_eq!(check(&history, false), Verdict::Impossible { operation: 3 });
    // Both under way at the time of the first reading, either may be last; but not one after the other again.
    let history = [put(1, DONE, 0, 10), put(2, DONE, 0, 10), get(2, 1, 2), get(1, 3, 4), get(2, 5, 6)];
    assert_eq!(check(&history, false), Verdict::Impossible { operation: 4 });
    assert_eq!(check(&history[..4], false), Verdict::Explained);
}

#[test]
fn what_has_no_answer_happens_once_or_never() {
    let unknown = put(1, Seen::Unknown, 0, 100);
    assert_eq!(check(&[unknown, put(2, DONE, 1, 2), get(2, 3, 4)], false), Verdict::Explained);
    assert_eq!(check(&[unknown, put(2, DONE, 1, 2), get(1, 3, 4)], false), Verdict::Explained);
    let back = [unknown, put(2, DONE, 1, 2), get(1, 3, 4), put(3, DONE, 5, 6), get(1, 7, 8)];
    assert_eq!(check(&back, false), Verdict::Impossible { operation: 4 });
    // After the end of the server's life it can take no effect any more.
    let late = [put(1, Seen::Unknown, 0, 5), put(2, DONE, 1, 2), get(2, 6, 7), get(1, 8, 9)];
    assert_eq!(check(&late, false), Verdict::Impossible { operation: 3 });
}

#[test]
fn a_key_whose_time_ran_out_comes_back_only_with_the_clock() {
    let until = |ttl| Action::Put {
        content: Content::Text(1),
        ttl_ms: Some(ttl),
        keeps_ttl: false,
        condition: If::Always,
    };
    let gone = operation(Action::Get, Seen::Content(Content::Absent), 20, 21);
    let again = |wall| Operation { wall, wall_highest: 31, ..get(1, 30, 31) };
    let history = [operation(until(10), DONE, 0, 1), gone, again((30, 31))];
    assert_eq!(check(&history, false), Verdict::Impossible { operation: 2 });
    // The clock was set back to 5.
    let history = [operation(until(10), DONE, 0, 1), gone, again((5, 6))];
    assert_eq!(check(&history, false), Verdict::Explained);
    // What was deleted, or written anew, does not come back.
    let deleted = operation(Action::Delete, DONE, 2, 3);
    let history = [operation(until(10), DONE, 0, 1), deleted, gone, again((5, 6))];
    assert_eq!(check(&history, false), Verdict::Impossible { operation: 3 });
}

#[test]
fn additions_count_once_each() {
    let add = |delta, seen, begun, ended| operation(Action::Add(delta), seen, begun, ended);
    let history = [add(5, Seen::Sum(5), 0, 1), add(7, Seen::Unknown, 2, 100), add(1, Seen::Sum(13), 3, 4)];
    assert_eq!(check(&history, false), Verdict::Explained);
    let twice = [add(5, Seen::Sum(5), 0, 1), add(7, Seen::Unknown, 2, 100), add(1, Seen::Sum(20), 3, 4)];
    assert_eq!(check(&twice, false), Verdict::Impossible { operation: 2 });
    let lost = [add(5, Seen::Sum(5), 0, 1), add(7, Seen::Sum(7), 2, 3)];
    assert_eq!(check(&lost, false), Verdict::Impossible { operation: 1 });
}

#[test]
fn a_key_goes_at_its_time_or_where_the_server_evicts() {
    let absent = |begun, ended| operation(Action::Get, Seen::Content(Content::Absent), begun, ended);
    let lasting = [put(1, DONE, 0, 1), absent(5, 6)];
    assert_eq!(check(&lasting, false), Verdict::Impossible { operation: 1 });
    assert_eq!(check(&lasting, true), Verdict::Explained);
    let action =
        Action::Put { content: Content::Text(1), ttl_ms: Some(10), keeps_ttl: false, condition: If::Always };
    let short = operation(action, DONE, 0, 1);
    assert_eq!(check(&[short, absent(5, 6)], false), Verdict::Impossible { operation: 1 });
    assert_eq!(check(&[short, absent(10, 11)], false), Verdict::Explained);
    assert_eq!(check(&[short, get(1, 5, 20)], false), Verdict::Explained);
    assert_eq!(check(&[short, get(1, 11, 20)], false), Verdict::Impossible { operation: 1 });
}

#[test]
fn conditions_are_held_to_what_stood() {
    let put_if = |number, condition, seen, begun, ended| {
        let content = Content::Text(number);
        operation(Action::Put { content, ttl_ms: None, keeps_ttl: false, condition }, seen, begun, ended)
    };
    let both = [put_if(1, If::Absent, DONE, 0, 5), put_if(2, If::Absent, DONE, 0, 5)];
    assert_eq!(check(&both, false), Verdict::Impossible { operation: 1 });
    let one = [put_if(1, If::Absent, DONE, 0, 5), put_if(2, If::Absent, Seen::Done(false), 0, 5)];
    assert_eq!(check(&one, false), Verdict::Explained);
    let lost_update = [
        put(1, DONE, 0, 1),
        put_if(2, If::Still(Content::Text(1)), DONE, 2, 5),
        put_if(3, If::Still(Content::Text(1)), DONE, 2, 5),
    ];
    assert_eq!(check(&lost_update, false), Verdict::Impossible { operation: 2 });
}

/// What really happened: requests of a few clients take effect one after the other, each somewhere between its beginning
/// and its end; some are never answered.
fn real_history(random: &mut Random) -> Vec<Operation> {
    let mut state = ABSENT;
    let mut operations = Vec::new();
    let with_numbers = random.below(2) == 0;
    for number in 0..1 + random.below(40) as u32 {
        let at = 100 + 10 * u64::from(number);
        let (begun, ended) = (at - random.below(60) as u64, at + random.below(60) as u64);
        let content = Content::Text(number);
        let condition = random.pick(&[If::Always, If::Always, If::Absent, If::Present]);
        let action = match random.below(6) {
            0 | 1 => Action::Get,
            2 if random.below(3) == 0 => Action::Delete,
            3 if random.below(3) == 0 => Action::Clear,
            _ if with_numbers => Action::Add(1 + random.below(1 << 40) as i64),
            _ => Action::Put { content, ttl_ms: None, keeps_ttl: false, condition },
        };
        let present = state.content != Content::Absent;
        let seen = match action {
            Action::Get => Seen::Content(state.content),
            Action::Delete => Seen::Done(present),
            Action::Put { condition, .. } => Seen::Done(match condition {
                If::Absent => !present,
                If::Present => present,
                _ => true,
            }),
            Action::Add(delta) => {
                let before = if let Content::Number(number) = state.content { number } else { 0 };
                Seen::Sum(before + delta)
            }
            _ => Seen::Done(true),
        };
        let mut told = operation(action, seen, begun, ended);
        state = outcomes(&told, state, false)[0].expect("this is what happened");
        if random.below(6) == 0 && action != Action::Get && seen != Seen::Done(false) {
            (told.seen, told.ended) = (Seen::Unknown, 10_000);
            if random.below(2) == 0 {
                // Sent as well, and never arrived.
                let lost = Operation { begun: begun + 1, ..told };
                operations.extend(matches!(lost.action, Action::Delete | Action::Clear).then_some(lost));
            }
        }
        operations.push(told);
    }
    operations.sort_by_key(|operation| operation.begun);
    operations
}

#[test]
fn what_really_happened_is_explained_by_one_order() {
    let mut random = Random(7);
    for round in 0..1_000 {
        let operations = real_history(&mut random);
        assert!(has_witness(&operations, false), "round {round}: {operations:#?}");
    }
}

/// An order that is found is a proof: where the complete search finds none, there is none to be found.
#[test]
fn one_order_is_never_found_where_there_is_none() {
    let mut random = Random(11);
    let (mut impossible, mut explained) = (0, 0);
    for round in 0..500 {
        let mut operations = real_history(&mut random);
        let at = random.below(operations.len());
        let [one, other] = [at, random.below(operations.len())].map(|at| operations[at].seen);
        let told = &mut operations[at];
        told.seen = match told.seen {
            Seen::Done(done) => Seen::Done(!done),
            Seen::Content(_) if matches!(other, Seen::Content(_)) => other,
            Seen::Sum(sum) => Seen::Sum(sum + 1),
            _ => one,
        };
        match search(&operations, false) {
            Verdict::Impossible { .. } => {
                impossible += 1;
                assert!(!has_witness(&operations, false), "round {round}: {operations:#?}");
            }
            Verdict::Explained => explained += 1,
            Verdict::Undecided => {}
        }
    }
    assert!(impossible > 100 && explained > 100, "{impossible} impossible, {explained} explained");
}

#[test]
fn a_state_that_expires_is_one_state_until_then() {
    let until = State { content: Content::Text(1), expiry: Some((50, 60)) };
    let get = |seen, at| Operation { wall: (at, at), ..operation(Action::Get, Seen::Content(seen), at, at) };
    assert_eq!(outcomes(&get(Content::Text(1), 55), until, false)[0], Some(until));
    assert_eq!(outcomes(&get(Content::Absent, 55), until, false)[1], Some(ABSENT));
    assert_eq!(outcomes(&get(Content::Absent, 49), until, false), [None, None]);
    assert_eq!(outcomes(&get(Content::Text(1), 60), until, false), [None, None]);
}
