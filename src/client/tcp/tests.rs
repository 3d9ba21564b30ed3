//! The client against a server that obeys, one that is a Redis, and ones that are silent, rude or gone.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
};

use super::*;
use crate::client::resolve;

#[path = "../../../tests/common/fake_server.rs"]
mod fake;
use fake::{Answer, fake_server};

/// A server with scripted answers, and the requests that it has got, as text.
fn scripted(script: &[&str]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut script: Vec<_> = script.iter().rev().map(|answer| answer.as_bytes().to_vec()).collect();
    let address = fake_server(move |request| {
        let words: Vec<_> = request.iter().map(|word| String::from_utf8_lossy(word)).collect();
        log.lock().unwrap().push(words.join(" "));
        script.pop().map_or(Answer::Silence, Answer::Bytes)
    });
    let timeout = Duration::from_millis(300);
    let client = Client::builder().call_timeout(timeout).connect(address.to_string()).unwrap();
    (client, seen)
}

#[test]
fn calls_become_commands_and_replies_become_values() {
    let (mut client, seen) = scripted(&[
        "+OK\r\n",
        "$-1\r\n",
        "_\r\n",
        "+OK\r\n",
        "$1\r\nv\r\n",
        "$-1\r\n",
        ":2\r\n",
        ":-4\r\n",
        ":-2\r\n",
        ":-1\r\n",
        ":1500\r\n",
        ":1\r\n",
        ":0\r\n",
        "+PONG\r\n",
        "=7\r\ntxt:a:1\r\n",
        "*1\r\n:1\r\n",
    ]);
    let ttl = PutOptions::new().ttl(Duration::from_micros(1_500));
    assert!(client.put(b"k", b"v", &ttl).unwrap());
    assert!(!client.put(b"k", b"v", &PutOptions::new().if_absent()).unwrap());
    assert!(!client.put(b"k", b"v", &PutOptions::new().if_present()).unwrap());
    assert!(client.put(b"k", b"v", &PutOptions::new().if_equal(b"u")).unwrap());
    assert_eq!(client.get(b"k").unwrap(), Some(b"v".to_vec()));
    assert_eq!(client.get(b"k").unwrap(), None);
    assert_eq!(client.delete(&[b"a", b"b"]).unwrap(), 2);
    assert_eq!(client.incr(b"n", -5).unwrap(), -4);
    assert_eq!(client.ttl(b"k").unwrap(), Ttl::Missing);
    assert_eq!(client.ttl(b"k").unwrap(), Ttl::Forever);
    assert_eq!(client.ttl(b"k").unwrap(), Ttl::Remaining(Duration::from_millis(1500)));
    assert!(client.expire(b"k", Duration::from_secs(2)).unwrap());
    assert!(!client.persist(b"k").unwrap());
    client.ping().unwrap();
    assert_eq!(client.info(Some("server")).unwrap(), "a:1");
    assert_eq!(client.command(&[b"TIME"]).unwrap(), Reply::Array(vec![Reply::Integer(1)]));
    let expected = "PUT k v PX 2, PUT k v NX, PUT k v XX, PUT k v IFEQ u, GET k, GET k, DELETE a b, INCRBY n -5, \
        PTTL k, PTTL k, PTTL k, PEXPIRE k 2000, PERSIST k, PING, INFO server, TIME";
    assert_eq!(seen.lock().unwrap().join(", "), expected);
}

#[test]
fn a_redis_gets_its_own_verbs() {
    let (mut client, seen) = scripted(&["-ERR unknown command 'PUT', with args\r\n", "+OK\r\n", ":1\r\n"]);
    assert!(client.put(b"k", b"v", &PutOptions::new()).unwrap());
    assert_eq!(client.delete(&[b"k"]).unwrap(), 1);
    assert_eq!(seen.lock().unwrap().join(", "), "PUT k v, SET k v, DEL k");
}

#[test]
fn a_scan_goes_from_page_to_page() {
    let (mut client, seen) = scripted(&[
        "*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n",
        "*2\r\n$1\r\n9\r\n*0\r\n",
        "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n",
    ]);
    let keys: Result<Vec<_>, _> = client.scan(Some(b"*"), 10).collect();
    assert_eq!(keys.unwrap(), [b"a", b"b", b"c"]);
    let expected = "SCAN 0 COUNT 10 MATCH *, SCAN 7 COUNT 10 MATCH *, SCAN 9 COUNT 10 MATCH *";
    assert_eq!(seen.lock().unwrap().join(", "), expected);
}

#[test]
fn a_scan_ends_at_an_error() {
    let (mut client, _) = scripted(&["-ERR no\r\n"]);
    let mut keys = client.scan(None, 10);
    assert!(matches!(keys.next(), Some(Err(Error::Server { .. }))));
    assert!(keys.next().is_none());
}

#[test]
fn error_answers_keep_the_connection() {
    let (mut client, _) =
        scripted(&["-OOM too full\r\n", "-NOAUTH Authentication required.\r\n", "+PONG\r\n"]);
    match client.put(b"k", b"v", &PutOptions::new()) {
        Err(Error::Server { code, text }) => assert_eq!((&code[..], &text[..]), ("OOM", "too full")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.get(b"k"), Err(Error::Auth(_))));
    client.ping().unwrap();
}

#[test]
fn silence_is_a_timeout_for_reads_and_unknown_for_writes() {
    let (mut client, seen) = scripted(&[]);
    let read = client.get(b"k").unwrap_err();
    assert!(matches!(read, Error::Timeout { .. }) && read.is_safe_to_retry(), "{read:?}");
    let write = client.incr(b"k", 1).unwrap_err();
    match &write {
        Error::OutcomeUnknown(cause) => assert!(matches!(**cause, Error::Timeout { .. })),
        other => panic!("{other:?}"),
    }
    assert!(!write.is_safe_to_retry());
    // Once each: nothing is sent again behind the caller's back.
    assert_eq!(seen.lock().unwrap().join(", "), "GET k, INCRBY k 1");
}

#[test]
fn a_broken_connection_is_made_anew_by_the_next_call() {
    let mut calls = 0;
    let address = fake_server(move |_| {
        calls += 1;
        if calls < 3 { Answer::Close } else { Answer::Bytes(b"+PONG\r\n".to_vec()) }
    });
    let mut client = Client::connect(address.to_string()).unwrap();
    assert!(matches!(client.ping(), Err(Error::Lost(_))));
    match client.delete(&[b"k"]) {
        Err(Error::OutcomeUnknown(cause)) => assert!(matches!(*cause, Error::Lost(_))),
        other => panic!("{other:?}"),
    }
    client.ping().unwrap();
}

#[test]
fn an_answer_of_another_type_is_no_success() {
    let (mut client, _) = scripted(&["+FINE\r\n", ":1\r\n", "HTTP/1.1 200 OK\r\n", "+PONG\r\n"]);
    assert!(matches!(client.ping(), Err(Error::Protocol(Malformed::UnexpectedReply))));
    assert!(matches!(client.get(b"k"), Err(Error::Protocol(Malformed::UnexpectedReply))));
    assert!(matches!(client.get(b"k"), Err(Error::Protocol(Malformed::UnknownType(b'H')))));
    client.ping().unwrap();
}

#[test]
fn passwords_go_first_and_may_be_refused() {
    let address = fake_server(|request| match request {
        [auth, password] if auth == b"AUTH" && password == b"right" => Answer::Bytes(b"+OK\r\n".to_vec()),
        [auth, _] if auth == b"AUTH" => Answer::Bytes(b"-WRONGPASS invalid\r\n".to_vec()),
        _ => Answer::Bytes(b"+PONG\r\n".to_vec()),
    });
    let server = address.to_string();
    let mut client = Client::builder().password("right").connect(&*server).unwrap();
    client.ping().unwrap();
    assert!(!format!("{client:?}").contains("right"));
    drop(client); // The server looks after one connection at a time.
    assert!(matches!(Client::builder().password("wrong").connect(&*server), Err(Error::Auth(_))));
}

#[test]
fn nobody_there_is_an_error_of_connecting() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    match Client::connect(closed.to_string()) {
        Err(error @ Error::Connect { .. }) => assert!(error.is_safe_to_retry()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn servers_may_be_named_without_a_port() {
    for (server, address) in [
        ("127.0.0.1:99", "127.0.0.1:99"),
        ("127.0.0.1", "127.0.0.1:7878"),
        ("::1", "[::1]:7878"),
        ("[::1]", "[::1]:7878"),
        ("[::1]:99", "[::1]:99"),
    ] {
        assert_eq!(resolve(server).unwrap(), [address.parse().unwrap()], "{server}");
    }
    assert!(resolve("127.0.0.1:port").is_err());
}

#[test]
fn a_long_value_goes_out_whole() {
    let address = fake_server(|request| match request {
        [verb, _, value] if verb == b"PUT" && value.len() == 3_000_000 => Answer::Bytes(b"+OK\r\n".to_vec()),
        _ => Answer::Close,
    });
    let mut client = Client::connect(address.to_string()).unwrap();
    assert!(client.put(b"k", &vec![b'v'; 3_000_000], &PutOptions::new()).unwrap());
}

#[test]
fn a_client_that_is_turned_away_is_not_one_with_a_wrong_password() {
    let full = "-ERR max number of clients reached\r\n";
    let (mut client, _) = scripted(&[full]);
    let error = client.put(b"k", b"v", &PutOptions::new()).unwrap_err();
    assert!(matches!(error, Error::TooManyClients) && error.is_safe_to_retry(), "{error}");
    let connect = |answer: &'static str| {
        let address = fake_server(move |_| Answer::Bytes(answer.as_bytes().to_vec()));
        Client::builder().password("pw").connect(address.to_string()).unwrap_err()
    };
    assert!(matches!(connect(full), Error::TooManyClients));
    assert!(matches!(connect("-WRONGPASS no\r\n"), Error::Auth(_)));
    assert!(matches!(connect("-ERR AUTH <password> called without any password\r\n"), Error::Auth(_)));
    assert!(matches!(connect("-LOADING later\r\n"), Error::Server { .. }));
}

#[test]
fn a_database_is_selected_on_every_connection() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let address = fake_server(move |request| {
        log.lock().unwrap().push(String::from_utf8_lossy(&request.join(&b' ')).into_owned());
        match &request[0][..] {
            b"PING" => Answer::Close,
            b"SELECT" if request[1] == b"99" => Answer::Bytes(b"-ERR DB index is out of range\r\n".to_vec()),
            _ => Answer::Bytes(b"+OK\r\n".to_vec()),
        }
    });
    let mut client = Client::builder().password("pw").database(3).connect(address.to_string()).unwrap();
    assert!(client.ping().is_err() && client.put(b"k", b"v", &PutOptions::new()).unwrap());
    drop(client);
    let steps = ["AUTH pw", "SELECT 3", "PING", "AUTH pw", "SELECT 3", "PUT k v"];
    assert_eq!(*seen.lock().unwrap(), steps);
    let refused = Client::builder().database(99).connect(address.to_string()).unwrap_err();
    assert!(matches!(refused, Error::Server { .. }), "{refused}");
}

#[test]
fn no_call_holds_more_of_a_reply_than_it_can_have() {
    let mut long = format!("${}\r\n", SHORT_REPLY_BYTES_MAX + 1).into_bytes();
    long.resize(long.len() + SHORT_REPLY_BYTES_MAX + 1, b'x');
    long.extend(b"\r\n");
    let address = fake_server(move |_| Answer::Bytes(long.clone()));
    let mut client = Client::connect(address.to_string()).unwrap();
    let too_large = |error: Error| {
        let error = match error {
            Error::OutcomeUnknown(cause) => *cause,
            error => error,
        };
        assert!(matches!(error, Error::Protocol(Malformed::TooLarge)), "{error}");
    };
    too_large(client.ping().unwrap_err());
    too_large(client.ttl(b"k").unwrap_err());
    too_large(client.delete(&[b"k"]).unwrap_err());
    too_large(client.exists(&[b"k"]).unwrap_err());
    assert_eq!(client.get(b"k").unwrap().unwrap().len(), SHORT_REPLY_BYTES_MAX + 1);
    assert!(client.command(&[b"GET", b"k"]).is_ok());
}
