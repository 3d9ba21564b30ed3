//! What is made of pushes, without a server.

use super::*;

fn bulks(words: &[&str]) -> Vec<Reply> {
    words.iter().map(|word| Reply::Bulk(word.as_bytes().to_vec())).collect()
}

#[test]
fn messages_of_both_kinds_are_understood() {
    let plain = message(Reply::Array(bulks(&["message", "c", "x"]))).expect("a message");
    assert_eq!((plain.pattern, plain.channel, plain.payload), (None, b"c".to_vec(), b"x".to_vec()));
    let matched = message(Reply::Push(bulks(&["pmessage", "c*", "c1", "y"]))).expect("a message");
    assert_eq!(matched.pattern, Some(b"c*".to_vec()));
    assert_eq!(message(Reply::Null), None);
    assert_eq!(message(Reply::Array(bulks(&["message", "c"]))), None);
}

#[test]
fn changes_are_understood() {
    let mut parts = bulks(&["change", "p", "", "set", "p:1"]);
    parts[2] = Reply::Integer(7);
    let expected = WatchEvent::Changed { revision: 7, event: "set".into(), key: b"p:1".to_vec() };
    assert_eq!(changed(Reply::Push(parts.clone())), Some(expected));
    assert_eq!(changed(Reply::Array(bulks(&["compacted", "p", "9"]))), Some(WatchEvent::Compacted));
    parts[2] = Reply::Integer(-1);
    assert_eq!(changed(Reply::Array(parts)), None);
    assert_eq!(changed(Reply::Null), None);
}
