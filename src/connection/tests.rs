//! What the log says of a close.

use super::*;
use std::collections::BTreeSet;

#[test]
fn every_reason_to_close_has_a_text_of_its_own() {
    use CloseReason::*;
    let reasons = [
        PeerClosed,
        Quit,
        ProtocolError,
        CrossProtocol,
        AuthTimeout,
        RequestTimeout,
        WriteTimeout,
        IdleTimeout,
        OutputFull,
        InputFull,
        CommandTooLong,
        ReplyTooLong,
        SlowSubscriber,
        Killed,
        Stopping,
        Failed,
    ];
    let texts: BTreeSet<&str> = reasons.iter().map(|reason| reason.text()).collect();
    assert_eq!(texts.len(), reasons.len());
    assert!(texts.iter().all(|text| text.len() > 3));
    assert!(RequestTimeout.text().contains("in time") && Killed.text().contains("KILL"));
}

#[test]
fn the_first_reason_to_close_stays() {
    let peer = SocketAddr::from(([127, 0, 0, 1], 5000));
    let mut connection = Connection::new(Session::new(1, true), peer, 0, Millis(0));
    assert_eq!((connection.peer(), connection.closing()), (peer, None));
    connection.close(CloseReason::ProtocolError);
    connection.close(CloseReason::Stopping);
    assert_eq!(connection.closing(), Some(CloseReason::ProtocolError));
}
