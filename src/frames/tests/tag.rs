//! Passwords: only tagged frames run, a new password counts at once, and neither makes a write run again.

use super::*;

#[test]
fn with_a_password_only_tagged_frames_run() {
    let mut rig = Rig::with(Config { password: Some(b"secret"), ..Config::new(EPOCH, [7, 8]) });
    let keys = TagKeys::from_password(b"secret");
    let wrong = TagKeys::from_password(b"Secret");
    let from = address(5000);
    let mut cookie = [0; 16];
    let ask = |rig: &mut Rig, mut head: Head, cookie, key: Option<&crate::wire::tag::TagKey>| {
        head.cookie = cookie;
        head.epoch = if head.op() == Some(Op::Hello) { 0 } else { EPOCH };
        let mut out = [0; 256];
        let len = frame::encode(&mut out, &head, b"k", b"", key).expect("fits");
        rig.send(from, &out[..len]).map(|reply| {
            let frame = frame::decode_datagram(&rig.reply[..reply.len], Direction::Reply).expect("good");
            assert_eq!(frame.has_tag(), key.is_some());
            assert!(key.is_none() || frame.tag_is_good(&keys.reply));
            assert!(reply.status() != Status::Challenge || reply.len <= len);
            (reply.status(), reply.head.cookie)
        })
    };
    let hello = Head::request(Op::Hello, 1, 0);
    let put = Head::request(Op::Put, 1, 1);
    assert_eq!(ask(&mut rig, hello, cookie, Some(&wrong.request)), None);
    assert_eq!(ask(&mut rig, hello, cookie, Some(&keys.reply)), None, "a reply's key is another");
    let (status, fresh) = ask(&mut rig, hello, cookie, Some(&keys.request)).expect("a challenge");
    assert_eq!(status, Status::Challenge);
    cookie = fresh;
    let (status, fresh) = ask(&mut rig, hello, cookie, Some(&keys.request)).expect("a welcome");
    assert_eq!(status, Status::Ok);
    cookie = fresh;
    assert_eq!(ask(&mut rig, put, cookie, None).map(|reply| reply.0), Some(Status::Denied));
    assert_eq!(ask(&mut rig, put, cookie, Some(&wrong.request)), None);
    assert_eq!(rig.runs_total(), 0);
    assert_eq!(ask(&mut rig, put, cookie, Some(&keys.request)).map(|reply| reply.0), Some(Status::Ok));
    assert_eq!(rig.datagrams.counters().rejected[Reject::BadTag as usize], 3);
}

#[test]
fn a_new_password_counts_at_once_and_no_write_runs_again() {
    let mut rig = Rig::with(Config { password: Some(b"old"), ..Config::new(EPOCH, [7, 8]) });
    let (old, new) = (TagKeys::from_password(b"old"), TagKeys::from_password(b"new"));
    let ask = |rig: &mut Rig, keys: &TagKeys, head: Head| {
        let mut out = [0; 256];
        let len = frame::encode(&mut out, &head, b"k", b"", Some(&keys.request)).expect("fits");
        let reply = rig.send(address(5000), &out[..len])?;
        let frame = frame::decode_datagram(&rig.reply[..reply.len], Direction::Reply).expect("good");
        assert!(frame.tag_is_good(&keys.reply));
        Some((reply.status(), reply.head.cookie))
    };
    let (_, cookie) = ask(&mut rig, &old, Head::request(Op::Hello, 1, 0)).expect("a challenge");
    let hello = Head { cookie, ..Head::request(Op::Hello, 1, 0) };
    let (status, cookie) = ask(&mut rig, &old, hello).expect("a welcome");
    assert_eq!(status, Status::Ok);
    let put = Head { epoch: EPOCH, cookie, ..Head::request(Op::Put, 1, 1) };
    assert_eq!(ask(&mut rig, &old, put).map(|reply| reply.0), Some(Status::Ok));

    rig.datagrams.set_password(b"new");
    assert_eq!(ask(&mut rig, &old, put), None);
    assert_eq!(
        ask(&mut rig, &new, put).map(|reply| reply.0),
        Some(Status::Ok),
        "the cached reply, newly tagged"
    );
    assert_eq!(rig.runs_total(), 1);
}

#[test]
fn a_write_from_before_there_was_a_password_is_not_run_again_with_a_tag() {
    let mut rig = Rig::new(2);
    let peer = rig.connect(1, 5000);
    assert_eq!(rig.status(&peer, peer.put(1, 1)), Status::Ok);
    rig.datagrams.set_password(b"new");
    let head = Head { epoch: EPOCH, cookie: peer.cookie, ..peer.put(1, 1) };
    let mut out = [0; 256];
    let tag = TagKeys::from_password(b"new").request;
    let len = frame::encode(&mut out, &head, b"k", b"", Some(&tag)).expect("fits");
    assert_eq!(rig.send(peer.from, &out[..len]).expect("a reply").status(), Status::Ok);
    assert_eq!((rig.runs_total(), rig.datagrams.counters().repeats), (1, 1));
}
