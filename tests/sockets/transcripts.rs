//! Replays `tests/transcripts/*.txt` over a real socket. Their format is described in `common/transcript.rs`.
//!
//! To record them again from a Redis server whose databases may be emptied:
//! `PANNIER_RECORD_FROM=127.0.0.1:6379 cargo test --test sockets transcripts:: -- --ignored record`

use crate::common::{Client, Server, encode};
use crate::transcript::{Expected, Transcript};
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn replies_over_a_socket_are_those_recorded() {
    let server = Server::start(&[]);
    let transcripts = crate::transcript::all();
    assert!(transcripts.len() > 5);
    let failures: Vec<String> =
        transcripts.iter().filter_map(|transcript| replay(server.address, transcript).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn all_requests_in_one_write_give_the_same_replies() {
    let server = Server::start(&[]);
    for transcript in crate::transcript::all() {
        let mut client = fresh(server.address);
        client.send(&transcript.requests());
        client.half_close();
        transcript.compare(&client.rest()).unwrap();
    }
}

/// A connection to a server that has just been emptied.
fn fresh(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    assert_eq!(client.line("FLUSHALL"), b"+OK\r\n");
    client
}

fn replay(address: SocketAddr, transcript: &Transcript) -> Result<(), String> {
    let mut client = fresh(address);
    let mut failures = String::new();
    for exchange in &transcript.exchanges {
        client.send_if_open(&exchange.request);
        for expected in &exchange.replies {
            let reply = client.try_reply().unwrap_or_default();
            if let Err(difference) = transcript.check(exchange, expected, &reply) {
                failures += &(difference + "\n");
            }
        }
    }
    if transcript.closes && !client.is_closed_silently() {
        failures += &format!("{}: the connection stays open at the end\n", transcript.path.display());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

#[test]
#[ignore = "records the transcripts again from the Redis server in PANNIER_RECORD_FROM"]
fn record() {
    let address: SocketAddr =
        std::env::var("PANNIER_RECORD_FROM").expect("PANNIER_RECORD_FROM").parse().expect("an address");
    for transcript in crate::transcript::all().into_iter().filter(|transcript| !transcript.by_hand) {
        let mut client = fresh(address);
        let mut text = String::new();
        for exchange in &transcript.exchanges {
            client.send_if_open(&exchange.request);
            text += &exchange.source;
            // A line may hold several commands, so the replies are whatever comes within a moment.
            client.stream.set_read_timeout(Some(Duration::from_millis(30))).expect("set a time limit");
            let mut recorded = Vec::new();
            while let Ok(Some(reply)) = client.reply_within_limit() {
                recorded.push(Expected::Bytes(reply));
            }
            // What holds for any reply stays so.
            if let [Expected::Any] = exchange.replies[..] {
                recorded = vec![Expected::Any];
            }
            text += &recorded.iter().map(|reply| format!("{reply}\n")).collect::<String>();
        }
        client.send_if_open(&encode(&["PING"]));
        if matches!(client.reply_within_limit(), Ok(None)) {
            text += "<closed\n";
        }
        std::fs::write(&transcript.path, text).expect("write the transcript");
    }
}
