//! Peers that answer without ever serving: the session asks them a few times a second, and says what they answered.

use super::*;

/// A server that answers each frame as `answer` says, a tenth of a millisecond later; what came of one request after
/// another in five seconds of the session's time, and how many frames were sent.
fn served_by(
    mut answer: impl FnMut(&Head, u64) -> Head,
    request: impl Fn() -> Request,
) -> (Vec<Outcome>, u64) {
    let mut session = Session::new(SessionConfig::default(), 7);
    let (mut now, mut outcomes, mut replies) = (Duration::from_secs(1), Vec::new(), 0);
    let end = now + Duration::from_secs(5);
    while now < end {
        if session.outstanding() == 0 {
            session.start(request(), end.min(now + Duration::from_secs(2))).expect("room");
        }
        let mut out = [0; DATAGRAM_BYTES_MAX];
        while let Some(len) = session.poll_transmit(now, &mut out) {
            let asked = frame::decode_datagram(&out[..len], Direction::Request).expect("a request").head;
            replies += 1;
            let reply = answer(&asked, replies);
            let len = frame::encode(&mut out, &reply, b"", b"", None).expect("fits");
            session.handle_datagram(&out[..len], now + Duration::from_micros(100));
        }
        now += Duration::from_micros(100);
        session.handle_timeout(now);
        while let Some(event) = session.poll_event() {
            if let Event::Finished { outcome, .. } = event {
                outcomes.push(outcome);
            }
        }
    }
    (outcomes, session.counters().sent)
}

/// Whatever a peer answers that leads to a new try, at whichever step: it is asked a few times a second, and not at the
/// speed of its answers.
#[test]
fn answers_that_lead_to_a_new_try_are_backed_off() {
    const EPOCH: u32 = 5;
    let statuses = [Status::Challenge, Status::StaleSession, Status::WrongEpoch, Status::Busy];
    let get = || Request::get(b"k").expect("short");
    for status in statuses {
        let hello_is_refused =
            |asked: &Head, count: u64| Head { cookie: [count as u8; 16], ..asked.reply(status, EPOCH) };
        let (outcomes, sent) = served_by(hello_is_refused, get);
        assert!((5..=40).contains(&sent), "{status:?} to HELLO: {sent} frames in 5 s");
        assert_eq!(outcomes[0], Outcome::TimedOut { refusal: Some(status) }, "{status:?} to HELLO");
        for request in [get, add] {
            // The session is opened each time, and lost, or to be checked, with each request.
            let request_is_refused = |asked: &Head, count: u64| {
                let number = if count.is_multiple_of(3) { count } else { 9 };
                let status = if asked.op() == Some(Op::Hello) { Status::Ok } else { status };
                Head { cookie: [count as u8; 16], expect: number, ..asked.reply(status, EPOCH) }
            };
            let (outcomes, sent) = served_by(request_is_refused, request);
            if status != Status::Busy {
                assert!(sent <= 60, "{status:?} to a request: {sent} frames in 5 s");
                assert!(outcomes.len() <= 30, "{status:?}: {} calls were refused in 5 s", outcomes.len());
            }
        }
    }
    // Each answer names another epoch, as behind a balancer that spreads over two servers.
    let two_servers = |asked: &Head, count: u64| {
        let status = if count.is_multiple_of(2) { Status::Ok } else { Status::Challenge };
        Head { cookie: [1; 16], expect: count, ..asked.reply(status, 5 + (count % 2) as u32) }
    };
    let (_, sent) = served_by(two_servers, add);
    assert!(sent <= 60, "two servers: {sent} frames in 5 s");
}

#[test]
fn a_served_request_ends_the_back_off() {
    let mut world = World::new(11, Faults::default());
    for _ in 0..20 {
        world.restart(None);
        let begun = world.now;
        assert!(matches!(world.call(add()), Outcome::Done(_) | Outcome::Unknown { .. }));
        assert_eq!(status(&world.call(add())), Status::Ok);
        assert!(world.now - begun < Duration::from_millis(10), "a restart costs a few round trips");
    }
}
