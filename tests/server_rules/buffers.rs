//! What clients that hold buffers, or wait for them, are to each other: who is slowed, who is closed, who is woken.

use crate::common::{KIB, MIB, encode, show};
use crate::in_process::InProcess;
use crate::rules::with_resources;
use pannier::connection::ConnectionId;
use pannier::server::{Resources, Socket};
use pannier::store::StoreConfig;

/// How long a client must have stalled before it is closed for the sake of others, in ms, and until that is looked at.
const STALL_MS: u64 = 1_100;

#[test]
fn a_client_that_queues_is_not_closed_for_the_input_of_others() {
    let resources = Resources { input_bytes: 128 * KIB, ..Resources::default() };
    let mut process = with_resources(40, resources);
    let queuing = process.connect();
    process.send(queuing, b"MULTI\r\n");
    for _ in 0..100 {
        assert_eq!(process.send(queuing, &encode(&[b"SET".as_slice(), b"k", &[b'x'; 1000]])), b"+QUEUED\r\n");
    }
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    let greedy: Vec<_> = (0..8).map(|_| process.connect()).collect();
    for &id in &greedy {
        process.send(id, &half[..40_000]);
    }
    assert!(!greedy.iter().any(|&id| process.is_closed(id)), "closed although all of them move");
    // Of those that stop where others starve, one after the other makes room; who queues holds none of that memory.
    process.advance(STALL_MS);
    process.attend();
    assert!(greedy.iter().any(|&id| process.is_closed(id)), "the input buffers were not exhausted");
    assert!(process.send(queuing, b"EXEC\r\n").starts_with(b"*100\r\n+OK\r\n"));
}

/// Many clients at once, as turns of the loop have them: those that are ready are all read, all run, all written to.
fn all_are_answered(process: &mut InProcess, clients: &[ConnectionId], request: &[u8], answer: &[u8]) {
    each_is_answered(process, clients, vec![request; clients.len()], answer);
}

fn each_is_answered(process: &mut InProcess, clients: &[ConnectionId], requests: Vec<&[u8]>, answer: &[u8]) {
    let mut to_send = requests;
    let mut answered = vec![Vec::new(); clients.len()];
    let mut ready: Vec<usize> = (0..clients.len()).collect();
    let mut unfinished = Vec::new();
    for _ in 0..100 {
        for &at in &ready {
            let taken = process.receive(clients[at], to_send[at]);
            to_send[at] = &to_send[at][taken..];
        }
        let group: Vec<_> = ready.iter().map(|&at| clients[at]).collect();
        unfinished.clear();
        process.server.run_group(&group, process.now, &mut unfinished);
        ready.retain(|&at| {
            let id = clients[at];
            let sent_any = process.take_output(id, usize::MAX, &mut answered[at]) > 0;
            assert!(!process.is_closing(id), "a client that takes all its answers is closed");
            let socket = Socket { readable: !to_send[at].is_empty(), writable: true, sent_any };
            unfinished.contains(&id) || process.server.can_go_on(id, socket)
        });
        // Those that waited for memory.
        while let Some(id) = process.server.poll_wake() {
            let at = clients.iter().position(|&client| client == id);
            ready.extend(at.filter(|at| !ready.contains(at)));
        }
        if ready.is_empty() {
            break;
        }
    }
    for answered in &answered {
        assert_eq!(show(answered), show(answer), "all of it, and nothing else");
    }
}

/// A client that asks for 16 KB and takes the first `taken` bytes of it.
fn stall(process: &mut InProcess, taken: usize) -> ConnectionId {
    let id = process.connect();
    process.receive(id, &encode(&[b"GET".as_slice(), b"k"]).repeat(16));
    process.server.run(id, process.now);
    process.take_output(id, taken, &mut Vec::new());
    // What more its replies may soak up.
    process.server.run(id, process.now);
    id
}

#[test]
fn clients_that_take_their_replies_are_served_beside_those_that_do_not() {
    let mut process = with_resources(40, Resources { output_bytes: 128 * KIB, ..Resources::default() });
    let value = [b'x'; 1000];
    let setting = process.connect();
    process.send(setting, &encode(&[b"SET".as_slice(), b"k", &value]));
    let polite: Vec<_> = (0..12).map(|_| process.connect()).collect();
    let request = encode(&[b"GET".as_slice(), b"k"]).repeat(8);
    let answer = [b"$1000\r\n".as_slice(), &value, b"\r\n"].concat().repeat(8);
    // Commands of other kinds than GET and SET too, some of them inline, which are not looked up ahead.
    let framed = encode(&[b"EXISTS".as_slice(), b"k"]);
    let mut requests = vec![framed.as_slice(); polite.len()];
    requests[..2].fill(b"EXISTS k\r\n");
    each_is_answered(&mut process, &polite, requests, b":1\r\n");
    // Seven of the eight buffers are taken by clients that stall; twelve clients share the last one.
    let stalled: Vec<_> = (0..7).map(|_| stall(&mut process, 10)).collect();
    all_are_answered(&mut process, &polite, &request, &answer);
    process.advance(10 * STALL_MS);
    assert!(!stalled.iter().any(|&id| process.is_closing(id)), "closed although nobody needs their buffers");
    // One that takes a little now and then has the last one: the others have to wait.
    let slow = stall(&mut process, 10);
    process.receive(polite[0], b"PING\r\n");
    process.server.run(polite[0], process.now);
    let mut answered = Vec::new();
    assert_eq!(process.take_output(polite[0], usize::MAX, &mut answered), 0);
    // Those that have stalled make room, and the one that moves stays.
    process.take_output(slow, 10, &mut Vec::new());
    process.advance(100);
    assert!(stalled.iter().any(|&id| process.is_closing(id)), "nobody makes room");
    assert!(!process.is_closing(slow));
    process.attend();
    process.take_output(polite[0], usize::MAX, &mut answered);
    assert_eq!(show(&answered), show(b"+PONG\r\n"));
    all_are_answered(&mut process, &polite, &request, &answer);
}

#[test]
fn those_that_are_being_closed_hold_up_nobody() {
    for takes_nothing in [false, true] {
        let mut process = with_resources(40, Resources { output_bytes: 64 * KIB, ..Resources::default() });
        let (leaving, staying): (Vec<_>, _) =
            ((0..4).map(|_| process.connect()).collect(), process.connect());
        for &id in &leaving {
            process.receive(id, &[b"PING\r\n".repeat(100).as_slice(), b"QUIT\r\n"].concat());
            process.server.run(id, process.now);
            if takes_nothing {
                process.take_output(id, 10, &mut Vec::new());
            }
        }
        process.receive(staying, b"PING\r\n");
        assert!(!process.server.run(staying, process.now), "it spins until there is memory");
        if takes_nothing {
            process.advance(STALL_MS);
        } else {
            process.take_output(leaving[0], usize::MAX, &mut Vec::new());
        }
        assert!(process.server.poll_wake().is_some(), "nothing wakes it");
        process.attend();
        process.server.run(staying, process.now);
        let mut answer = Vec::new();
        process.take_output(staying, usize::MAX, &mut answer);
        assert_eq!(show(&answer), show(b"+PONG\r\n"));
    }
}

#[test]
fn however_long_a_command_is_little_of_it_is_read_at_once() {
    let mut process = with_resources(4, Resources { input_bytes: 64 * MIB, ..Resources::default() });
    let id = process.connect();
    let command = [&b"*1000001\r\n$3\r\nDEL\r\n"[..], &b"$1\r\nk\r\n".repeat(1_000_000)].concat();
    let (mut at, mut len_max) = (0, 0);
    while at < command.len() {
        let len = process.server.input_space(id, process.now).expect("room").len().min(command.len() - at);
        len_max = len_max.max(len);
        at += process.receive(id, &command[at..at + len]);
        process.server.run(id, process.now);
    }
    assert_eq!(len_max, 128 * KIB, "what is read in a turn is decoded in it");
}

#[test]
fn a_command_that_waited_for_memory_is_not_late_when_there_is_some() {
    let mut process = with_resources(40, Resources { output_bytes: 64 * KIB, ..Resources::default() });
    let late = process.connect();
    assert_eq!(process.send(late, b"PIN"), b"");
    process.advance(9_990);
    let answered: Vec<_> = (0..4).map(|_| process.connect()).collect();
    for &id in &answered {
        process.receive(id, &b"PING\r\n".repeat(100));
        process.server.run(id, process.now);
    }
    // It comes whole within its ten seconds, and finds no room for its reply.
    process.receive(late, b"G\r\n");
    process.server.run(late, process.now);
    process.advance(20);
    process.take_output(answered[0], usize::MAX, &mut Vec::new());
    // There is room, and a deadline is looked at before the command.
    assert_eq!(process.server.poll_wake(), Some(late));
    process.advance(20);
    assert!(!process.is_closing(late), "closed for a command that is whole");
    process.server.run(late, process.now);
    let mut answer = Vec::new();
    process.take_output(late, usize::MAX, &mut answer);
    assert_eq!(show(&answer), show(b"+PONG\r\n"));
}

#[test]
fn clients_that_wait_for_their_turn_are_not_closed_for_the_input_of_others() {
    let mut process = with_resources(60, Resources { input_bytes: 64 * KIB, ..Resources::default() });
    // Each has more to say than its share, and all of it comes before anybody is run.
    let clients: Vec<_> = (0..50).map(|_| process.connect()).collect();
    let (request, answer) = (b"PING\r\n".repeat(1_500), b"+PONG\r\n".repeat(1_500));
    all_are_answered(&mut process, &clients, &request, &answer);
    // The same beside clients that hold three quarters of it and stall.
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    let stalled: Vec<_> = (0..3).map(|_| process.connect()).collect();
    for &id in &stalled {
        process.send(id, &half[..15_000]);
    }
    all_are_answered(&mut process, &clients, &request, &answer);
    assert!(!stalled.iter().any(|&id| process.is_closing(id)));
}

#[test]
fn a_command_longer_than_one_client_may_use_is_told_so() {
    let mut process = with_resources(4, Resources { input_bytes: 256 * KIB, ..Resources::default() });
    let id = process.connect();
    let many =
        encode(&[b"EXISTS".as_slice()].into_iter().chain([b"key".as_slice(); 20_000]).collect::<Vec<_>>());
    let answer = process.send(id, &many);
    assert!(
        show(&answer).starts_with("-ERR the command is longer than the 131072 bytes"),
        "{}",
        show(&answer)
    );
    assert!(process.is_closed(id));
    let half = process.connect();
    assert_eq!(show(&process.send(half, &encode(&[b"ECHO".as_slice(), &[b'x'; 60_000]])[..9])), "");
}

#[test]
fn a_client_that_takes_a_few_bytes_at_a_time_of_a_long_reply_is_closed() {
    let mut process = InProcess::with_memory(8 * MIB);
    let id = process.connect();
    process.send(id, &encode(&[b"SET".as_slice(), b"big", &vec![b'x'; MIB]]));
    process.receive(id, b"GET big\r\n");
    process.server.run(id, process.now);
    // 1 KiB every 5 s: less than 64 KiB within the write time limit of 30 s.
    for second in (0..30).step_by(5) {
        process.take_output(id, 1024, &mut Vec::new());
        assert!(!process.is_closing(id), "closed after {second} s");
        process.advance(5_000);
    }
    assert!(process.is_closing(id), "it holds a MiB of the store for ever");
    process.server.close(id);
    // One that takes 64 KiB in that time makes progress.
    let id = process.connect();
    process.receive(id, b"GET big\r\n");
    process.server.run(id, process.now);
    for _ in 0..24 {
        process.take_output(id, 16 * KIB, &mut Vec::new());
        process.advance(5_000);
        assert!(!process.is_closing(id), "closed although it takes 64 KiB in 20 s");
    }
}

/// Far more memory in half-sent commands than there is: a client with a short command is answered at once, and the half
/// commands are closed after a while without progress, all of them together and not one after the other.
#[test]
fn short_commands_are_answered_beside_half_commands_of_any_number() {
    let mut process = with_resources(400, Resources { input_bytes: MIB, ..Resources::default() });
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    let halves: Vec<_> = (0..300).map(|_| process.connect()).collect();
    let mut left: Vec<&[u8]> = vec![&half[..40_000]; halves.len()];
    for round in 0..60 {
        for (id, left) in halves.iter().zip(&mut left) {
            let taken = process.receive(*id, left);
            *left = &left[taken..];
            process.server.input_left(*id, !left.is_empty());
            process.server.run(*id, process.now);
        }
        process.attend();
        let polite = process.connect();
        assert_eq!(show(&process.send(polite, b"PING\r\n")), show(b"+PONG\r\n"));
        process.server.close(polite);
        if round >= 20 {
            process.advance(100);
        }
    }
    assert!(left.iter().any(|left| !left.is_empty()), "there was memory for all of them");
    let open = halves.iter().filter(|&&id| !process.is_closing(id)).count();
    assert!(open < 250, "{open} of {} half commands still hold their memory", halves.len());
}

#[test]
fn long_replies_that_cannot_be_cut_wait_for_an_empty_output() {
    let mut process = with_resources(400, Resources { output_bytes: 512 * KIB, ..Resources::default() });
    let clients: Vec<_> = (0..390).map(|_| process.connect()).collect();
    for (number, id) in clients.iter().enumerate() {
        process.send(*id, format!("CLIENT SETNAME a-client-with-a-long-name-{number}\r\n").as_bytes());
    }
    let asker = process.connect();
    let once = process.send(asker, b"CLIENT LIST\r\n").len();
    assert!(once > 64 * KIB, "{once} bytes are not long");
    // Ten of them, of which the client takes a little at a time.
    process.receive(asker, &b"PING\r\nCLIENT LIST\r\n".repeat(10));
    let mut answer = Vec::new();
    for _ in 0..10_000 {
        process.server.run(asker, process.now);
        let taken = process.take_output(asker, 1_000, &mut answer);
        // A slice that only collects answers nothing yet.
        if taken == 0 && !process.server.is_replying(asker) {
            break;
        }
        process.attend();
    }
    assert!(!process.is_closed(asker) && answer.len() > 10 * (once - 100), "{} bytes came", answer.len());
}

/// A reader that takes nothing gives way although more input of its own finds no memory either.
#[test]
fn stalled_readers_that_starve_for_input_give_way_too() {
    let resources = Resources { input_bytes: 128 * KIB, output_bytes: 64 * KIB, ..Resources::default() };
    let mut process = with_resources(40, resources);
    let setting = process.connect();
    process.send(setting, &encode(&[b"SET".as_slice(), b"k", &[b'x'; 1000]]));
    let push = |process: &mut InProcess, id: ConnectionId, bytes: &[u8]| {
        let mut rest = bytes;
        for _ in 0..8 {
            let taken = process.receive(id, rest);
            rest = &rest[taken..];
            process.server.run(id, process.now);
        }
        process.server.input_left(id, !rest.is_empty());
    };
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    for _ in 0..30 {
        let id = process.connect();
        push(&mut process, id, &half[..15_000]);
    }
    for _ in 0..4 {
        let id = stall(&mut process, 10);
        push(&mut process, id, &encode(&[b"GET".as_slice(), b"k"]).repeat(400));
    }
    let polite = process.connect();
    assert_eq!(process.receive(polite, b"PING\r\n"), 6, "a short command finds a buffer");
    process.server.run(polite, process.now);
    let mut answer = Vec::new();
    assert_eq!(process.take_output(polite, usize::MAX, &mut answer), 0, "there was memory for its reply");
    process.advance(STALL_MS);
    process.attend();
    process.server.run(polite, process.now);
    process.take_output(polite, usize::MAX, &mut answer);
    assert_eq!(show(&answer), show(b"+PONG\r\n"));
}

#[test]
fn stalled_holders_of_input_are_closed_while_another_client_pings_all_the_time() {
    let mut process = with_resources(40, Resources { input_bytes: 128 * KIB, ..Resources::default() });
    let whole = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    let polite = process.connect();
    // One after the other, until one finds no memory for what it sends: that one starves, and would go on.
    let mut stalled = Vec::new();
    let (starved, mut rest) = loop {
        let id = process.connect();
        let taken = (0..8).fold(0, |taken, _| taken + process.receive(id, &whole[taken..15_000]));
        process.server.input_left(id, taken < 15_000);
        process.server.run(id, process.now);
        if taken < 15_000 {
            break (id, &whole[taken..]);
        }
        stalled.push(id);
        assert!(stalled.len() < 30, "the input buffers are not exhausted");
    };
    // Each ping's buffer comes back, which wakes the one that starves: it finds too little, and starves again. When the
    // time is looked at, it is awake.
    for _ in 0..STALL_MS + 200 {
        rest = &rest[process.receive(starved, rest)..];
        process.server.input_left(starved, !rest.is_empty());
        process.server.run(starved, process.now);
        assert_eq!(show(&process.send(polite, b"PING\r\n")), show(b"+PONG\r\n"));
        process.advance(1);
    }
    assert!(stalled.iter().any(|&id| process.is_closed(id)), "none of those that stall made room");
    assert!(!process.is_closing(starved), "the one that moves was closed");
}

/// How much a stranger may hold depends on what others hold: when that is less, the stranger is read on.
#[test]
fn a_stranger_that_others_crowd_is_read_when_they_are_gone() {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let resources = Resources { input_bytes: 128 * KIB, ..Resources::default() };
    let mut process = InProcess::new(config, 8, resources, Some(b"secret"));
    let holder = process.connect();
    process.send(holder, b"AUTH secret\r\n");
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    process.send(holder, &half[..50_000]);
    // A command of 3 KB comes from one that has not said the password, which may hold 1 KiB now.
    let (stranger, long) = (process.connect(), encode(&[b"AUTH".as_slice(), &[b'x'; 3_000]]));
    let taken = process.receive(stranger, &long);
    process.server.run(stranger, process.now);
    assert!(taken < long.len(), "nobody crowds it");
    let socket = Socket { readable: true, writable: true, sent_any: false };
    assert!(!process.server.can_go_on(stranger, socket));
    process.server.close(holder);
    process.server.maintain(process.now, 64);
    let woken = std::iter::from_fn(|| process.server.poll_wake()).any(|id| id == stranger);
    assert!(woken, "nobody reads it again");
    let answer = process.send(stranger, &long[taken..]);
    assert!(answer.starts_with(b"-WRONGPASS"), "{}", show(&answer));
}

/// They are read on a few at a time; those that are not among the first need no buffer to come back.
#[test]
fn all_that_others_crowd_are_read_in_their_turn() {
    let config = StoreConfig { memory_bytes: 8 * MIB, ..StoreConfig::default() };
    let resources = Resources { input_bytes: 128 * KIB, ..Resources::default() };
    let mut process = InProcess::new(config, 16, resources, Some(b"secret"));
    let holder = process.connect();
    process.send(holder, b"AUTH secret\r\n");
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    process.send(holder, &half[..50_000]);
    let long = encode(&[b"AUTH".as_slice(), &[b'x'; 3_000]]);
    let mut waiting: Vec<_> = (0..10).map(|_| process.connect()).collect();
    for &stranger in &waiting {
        let taken = process.receive(stranger, &long);
        process.server.run(stranger, process.now);
        assert!(taken < long.len(), "nobody crowds it");
        assert!(
            !process.server.can_go_on(stranger, Socket { readable: true, writable: true, sent_any: false })
        );
    }
    process.server.close(holder);
    for _ in 0..waiting.len() {
        process.server.maintain(process.now, 64);
        let woken: Vec<_> = std::iter::from_fn(|| process.server.poll_wake()).collect();
        assert!(waiting.is_empty() || !woken.is_empty(), "{} are forgotten", waiting.len());
        waiting.retain(|id| !woken.contains(id));
    }
    assert!(waiting.is_empty());
}

/// The same for one that sends a whole pipeline before it reads: what fits is soaked up, when it fits.
#[test]
fn a_pipeline_that_waits_for_others_is_soaked_up_when_they_are_gone() {
    let resources = Resources { input_bytes: 512 * KIB, output_bytes: 64 * KIB, ..Resources::default() };
    let mut process = with_resources(8, resources);
    let half = encode(&[b"SET".as_slice(), b"k", &[b'x'; 60_000]]);
    let holders: Vec<_> = (0..5).map(|_| process.connect()).collect();
    for &id in &holders {
        process.send(id, &half[..50_000]);
    }
    let (pipelining, stream) = (process.connect(), encode(&[b"ECHO".as_slice(), &[b'x'; 900]]).repeat(1_000));
    let mut sent = 0;
    let mut ask = |process: &mut InProcess| {
        let taken = process.receive(pipelining, &stream[sent..]);
        sent += taken;
        process.server.run(pipelining, process.now);
        process.take_output(pipelining, 0, &mut Vec::new());
        let socket = Socket { readable: true, writable: false, sent_any: false };
        process.server.can_go_on(pipelining, socket);
        taken
    };
    assert!((0..500).any(|_| ask(&mut process) == 0), "it is read without a bound");
    holders.iter().for_each(|&id| process.server.close(id));
    process.server.maintain(process.now, 64);
    let woken = std::iter::from_fn(|| process.server.poll_wake()).any(|id| id == pipelining);
    assert!(woken, "nobody reads it again");
    assert!(ask(&mut process) > 0, "there is room, and it is not read");
}

/// One that starves in the middle of a command is not read, so that its end is not seen. Hundreds that have gone must not
/// take one's turn, nor those that come later.
#[test]
fn clients_that_starve_in_the_middle_of_a_command_are_served_in_their_order() {
    let mut process = with_resources(2_000, Resources { input_bytes: MIB, ..Resources::default() });
    let whole = encode(&[b"SET".as_slice(), b"k", &[b'x'; 30_000]]);
    let (mut sent, mut gone) = (std::collections::HashMap::new(), 0);
    let push = |process: &mut InProcess, id: ConnectionId, sent: &mut usize, len: usize| {
        for _ in 0..8 {
            *sent += process.receive(id, &whole[*sent..len]);
            process.server.run(id, process.now);
        }
        process.server.input_left(id, *sent < len);
    };
    let leave = |process: &mut InProcess, sent: &mut std::collections::HashMap<_, _>| {
        let (id, mut first) = (process.connect(), 0);
        push(process, id, &mut first, whole.len() / 2);
        sent.insert(id, first);
    };
    (0..200).for_each(|_| leave(&mut process, &mut sent));
    let (waits, mut first) = (process.connect(), 0);
    push(&mut process, waits, &mut first, whole.len());
    assert!(first < whole.len(), "nothing is short");
    let mut answer = Vec::new();
    // In far less time than any limit on waiting.
    for _ in 0..500 {
        process.advance(1);
        leave(&mut process, &mut sent);
        while let Some(id) = process.server.poll_wake() {
            if id == waits {
                push(&mut process, id, &mut first, whole.len());
                process.take_output(waits, usize::MAX, &mut answer);
            } else if let Some(before) = sent.get_mut(&id) {
                push(&mut process, id, before, whole.len() / 2);
            }
        }
        // Of those that have gone, the end is seen once all else is read.
        sent.retain(|id, sent| {
            let is_read = *sent == whole.len() / 2;
            if is_read {
                process.server.close(*id);
                gone += 1;
            }
            !is_read
        });
        if !answer.is_empty() {
            break;
        }
    }
    assert_eq!(show(&answer), show(b"+OK\r\n"), "{gone} have gone meanwhile");
}
