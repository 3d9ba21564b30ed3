//! CLIENT KILL and CLIENT LIST: every filter, alone and in pairs, against clients that match and that do not.

use crate::common::{MIB, show};
use crate::in_process::InProcess;
use pannier::connection::ConnectionId;

/// Conditions that hold for the victim, and the same for nobody.
const FILTERS: [(&str, &str); 6] = [
    ("ID 2", "ID 99"),
    ("ADDR 127.0.0.1:5000", "ADDR 127.0.0.1:5001"),
    ("LADDR 127.0.0.1:6379", "LADDR 127.0.0.1:6380"),
    ("USER default", "TYPE pubsub"),
    ("TYPE normal", "TYPE replica"),
    ("MAXAGE 5", "MAXAGE 18446744073709552"),
];

fn three() -> (InProcess, [ConnectionId; 3]) {
    let mut process = InProcess::with_memory(8 * MIB);
    let clients = [process.connect(), process.connect(), process.connect()];
    process.advance(6_000);
    (process, clients)
}

fn killed(filter: &str) -> String {
    let (mut process, [admin, ..]) = three();
    let local = show(&process.send(admin, b"CLIENT INFO\r\n"));
    let local =
        local.split("laddr=").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address").to_owned();
    let filter = filter.replace("LADDR 127.0.0.1:6379", &format!("LADDR {local}"));
    show(&process.send(admin, format!("CLIENT KILL {filter}\r\n").as_bytes()))
}

#[test]
fn who_was_killed_is_listed_no_more() {
    let (mut process, [admin, ..]) = three();
    let replies = show(&process.send(admin, b"CLIENT KILL ID 2\r\nCLIENT LIST\r\n"));
    assert!(replies.contains("id=1 ") && replies.contains("id=3 "), "{replies}");
    assert!(!replies.contains("id=2 "), "{replies}");
}

#[test]
fn each_filter_of_client_kill_matches_and_spares_alone_and_in_pairs() {
    for (matching, other) in FILTERS {
        let expected = if matching.starts_with("ID") { ":1\\r\\n" } else { ":2\\r\\n" };
        assert_eq!(killed(matching), expected, "{matching}");
        assert_eq!(killed(other), ":0\\r\\n", "{other}");
        for (second, second_other) in FILTERS.into_iter().filter(|(second, _)| *second != matching) {
            let has_id = matching.starts_with("ID") || second.starts_with("ID");
            let expected = if has_id { ":1\\r\\n" } else { ":2\\r\\n" };
            assert_eq!(killed(&format!("{matching} {second}")), expected, "{matching} {second}");
            assert_eq!(
                killed(&format!("{matching} {second_other}")),
                ":0\\r\\n",
                "{matching} {second_other}"
            );
        }
    }
    assert_eq!(killed("TYPE normal SKIPME no"), ":3\\r\\n");
    assert_eq!(killed("ID 1"), ":0\\r\\n");
    assert_eq!(killed("USER nobody"), show(b"-ERR No such user 'nobody'\r\n"));
    assert_eq!(killed("MAXAGE 9223372036854775807"), ":0\\r\\n");
    assert_eq!(killed("MAXAGE 7"), ":0\\r\\n");
}

#[test]
fn client_list_filters_by_id_and_type() {
    let (mut process, [admin, ..]) = three();
    let mut lines = |command: &str| {
        let reply = process.send(admin, format!("{command}\r\n").as_bytes());
        String::from_utf8(reply).expect("text").lines().filter(|line| line.starts_with("id=")).count()
    };
    assert_eq!(lines("CLIENT LIST"), 3);
    assert_eq!(lines("CLIENT LIST ID 1 3 99"), 2);
    assert_eq!(lines("CLIENT LIST TYPE normal"), 3);
    assert_eq!(lines("CLIENT LIST TYPE pubsub"), 0);
}

#[test]
fn a_client_is_known_by_the_address_that_it_came_to() {
    let mut process = InProcess::with_memory(8 * MIB);
    let (id, other) = (process.connect(), process.connect());
    process.server.set_local(other, std::net::IpAddr::from([10, 1, 2, 3]));
    let line = show(&process.send(other, b"CLIENT INFO\r\n"));
    assert!(line.contains(" laddr=10.1.2.3:7878 "), "{line}");
    assert_eq!(show(&process.send(id, b"CLIENT KILL LADDR 10.1.2.3:7878\r\n")), show(b":1\r\n"));
    assert!(process.is_closed(other) && !process.is_closed(id));
}

/// The fields of a client's line in Redis 7.2, in its order: programs split them by position.
const FIELDS: &str = "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp \
     obl oll omem tot-mem events cmd user redir resp lib-name lib-ver";

#[test]
fn a_clients_line_has_the_fields_of_redis_in_its_order() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    for command in ["CLIENT LIST\r\n", "CLIENT INFO\r\n"] {
        let answer = process.send(id, command.as_bytes());
        let text = String::from_utf8(answer).expect("text");
        let line = text.lines().nth(1).expect("a line");
        let names: Vec<_> =
            line.split(' ').filter_map(|field| field.split_once('=')).map(|(name, _)| name).collect();
        assert_eq!(names, FIELDS.split_whitespace().collect::<Vec<_>>(), "{command}");
    }
}

#[test]
fn reset_takes_the_name_and_leaves_what_the_library_said_of_itself() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    process.send(
        id,
        b"CLIENT SETNAME me\r\nCLIENT SETINFO lib-name lib\r\nCLIENT SETINFO lib-ver 1.2\r\nSELECT 3\r\n",
    );
    assert_eq!(show(&process.send(id, b"RESET\r\n")), show(b"+RESET\r\n"));
    let line = String::from_utf8(process.send(id, b"CLIENT INFO\r\n")).expect("text");
    for field in [" name= ", " db=0 ", " lib-name=lib ", " lib-ver=1.2"] {
        assert!(line.contains(field), "{field} in {line}");
    }
}
