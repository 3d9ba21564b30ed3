//! The checker against histories whose verdict is known.

use super::checker::{Verdict, check};
use super::history::{Action, Content, If, Operation, Seen};

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
