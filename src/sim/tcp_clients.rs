//! Clients over TCP: the shipped client's encoding and reply reader, over connections that come in pieces and break.

use super::clock::{MILLISECOND, SECOND};
use super::commands::{Command, When};
use super::faults::Fault;
use super::history::{Action, Begun, Content, If, Seen};
use super::links::{Link, Owner};
use super::violation::{Violation, show, violation};
use super::workload::is_hot;
use super::world::{Event, World};
use crate::client::{Reply, encoded, whole_replies};
use crate::random::Random;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How long it takes to connect, at least.
const CONNECT_US: u64 = 5 * MILLISECOND;

/// What a client mostly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Any command on the keys that everybody fights over.
    Plain,
    /// Reads, and writes back if nothing has changed: WATCH, MULTI, EXEC.
    Careful,
    /// Nothing but plain GET and SET, in long pipelines: what the server looks up ahead.
    Busy,
    /// Fills the memory.
    Bulk,
    /// Walks through all keys.
    Scanner,
}

/// Commands that belong together, and what has come back of their answers.
#[derive(Debug)]
struct Ask {
    commands: Vec<Command>,
    replies: Vec<Reply>,
    at: u64,
    /// EXEC runs only if this key still holds this.
    still: Option<(Vec<u8>, Content)>,
}

/// A client.
pub struct TcpClient {
    role: Role,
    random: Random,
    link: Option<usize>,
    connecting: bool,
    /// It has shut its sending side, or stopped in the middle of a command.
    silent: bool,
    asks: VecDeque<Ask>,
    received: Vec<u8>,
    /// Commands sent before an answer has come, at most.
    depth: usize,
    think_us: u64,
    timeout_us: u64,
    cursor: Vec<u8>,
    /// What it has read under WATCH and is to write back.
    watched: Option<(Vec<u8>, Content)>,
    pub served: bool,
}

impl TcpClient {
    pub fn new(number: usize, root: &mut Random) -> TcpClient {
        let mut random = root.split();
        let any =
            random.pick(&[Role::Plain, Role::Careful, Role::Busy, Role::Busy, Role::Bulk, Role::Scanner]);
        // The first two make sure that most runs have memory that is short, and somebody who looks at it.
        let role = [Role::Bulk, any, Role::Plain].get(number).copied().unwrap_or(any);
        TcpClient {
            role,
            link: None,
            connecting: false,
            silent: false,
            asks: VecDeque::new(),
            received: Vec::new(),
            // A walk goes on from where the last page ended, and a transaction from what was read under WATCH.
            depth: if matches!(role, Role::Scanner | Role::Careful) { 1 } else { random.pick(&[1, 2, 8]) },
            think_us: random.pick(&[500, 5_000, 50_000]),
            timeout_us: random.pick(&[50 * MILLISECOND, SECOND, 5 * SECOND, 20 * SECOND]),
            cursor: b"0".to_vec(),
            watched: None,
            served: false,
            random,
        }
    }
}

impl World {
    /// A client asks for something, if it may, and thinks about the next thing.
    pub fn think_tcp(&mut self, client: usize) {
        let think = self.tcp[client].think_us;
        let pause = self.random.exponential(think) + 1;
        if !self.tcp[client].served {
            self.agenda.at(self.clock.now + pause, Event::ThinkTcp(client));
        }
        let now = self.clock.now;
        let tcp = &self.tcp[client];
        if tcp.asks.front().is_some_and(|ask| now > ask.at + tcp.timeout_us) {
            return self.break_off(client);
        }
        let Some(link) = self.tcp[client].link else {
            if !std::mem::replace(&mut self.tcp[client].connecting, true) {
                self.agenda.at(now + pause + CONNECT_US, Event::Connect(client));
            }
            return;
        };
        if self.strikes(Fault::Reset) {
            self.struck(Fault::Reset);
            return self.break_off(client);
        }
        let tcp = &self.tcp[client];
        if tcp.silent || tcp.asks.len() >= tcp.depth || self.healed && !tcp.asks.is_empty() {
            return;
        }
        let (commands, still) = self.draw_commands(client);
        if self.strikes(Fault::Stuck) {
            return self.get_stuck(client, &commands);
        }
        self.ask(client, commands, still);
        if self.strikes(Fault::SlowReading) {
            self.read_slowly(link);
        }
        if self.strikes(Fault::HalfClose) || self.healed && self.random.below(2) == 0 {
            if !self.healed {
                self.struck(Fault::HalfClose);
            }
            self.tcp[client].silent = true;
            self.send_end(link);
        }
    }

    fn draw_commands(&mut self, client: usize) -> (Vec<Command>, Option<(Vec<u8>, Content)>) {
        let World { workload, tcp, healed, .. } = self;
        let TcpClient { role, random, cursor, watched, .. } = &mut tcp[client];
        if *healed {
            let (key, value) = (workload.register(random).to_vec(), workload.value(random, 500).1);
            let set = Command::Set { key: key.clone(), value, ttl_ms: None, when: When::Always };
            return (vec![set, Command::Get(key)], None);
        }
        match role {
            Role::Plain => (vec![workload.command(random)], None),
            Role::Busy => {
                let count = random.pick(&[1, 3, 10, 40]);
                ((0..count).map(|_| workload.plain_command(random)).collect(), None)
            }
            Role::Bulk => {
                let count = random.pick(&[1, 4, 16]);
                ((0..count).map(|_| workload.bulk_command(random)).collect(), None)
            }
            Role::Scanner if random.below(4) > 0 => {
                (vec![Command::Scan { cursor: cursor.clone(), count: random.pick(&[3, 10, 100]) }], None)
            }
            Role::Scanner => (vec![workload.command(random)], None),
            Role::Careful => match watched.take() {
                None => {
                    let key = workload.register(random).to_vec();
                    let mut commands = Vec::new();
                    if random.below(2) == 0 {
                        // It will be gone by itself, perhaps between the watching and the transaction.
                        let (value, ttl_ms) =
                            (workload.value(random, 500).1, Some(1 + random.below(50) as u64));
                        commands.push(Command::Set { key: key.clone(), value, ttl_ms, when: When::Always });
                    }
                    commands.extend([Command::Watch(vec![key.clone()]), Command::Get(key)]);
                    (commands, None)
                }
                Some((key, content)) => {
                    let (value, ttl_ms) = (workload.value(random, 500).1, workload.maybe_ttl_ms(random));
                    let set = Command::Set { key: key.clone(), value, ttl_ms, when: When::Always };
                    let add = Command::Incrby {
                        key: workload.counter(random).to_vec(),
                        delta: workload.delta(random),
                    };
                    let last = if random.below(10) == 0 { Command::Discard } else { Command::Exec };
                    let commands = vec![Command::Multi, set, add, last];
                    (commands, Some((key, content)))
                }
            },
        }
    }

    fn ask(&mut self, client: usize, commands: Vec<Command>, still: Option<(Vec<u8>, Content)>) {
        let Some(link) = self.tcp[client].link else { return };
        self.report.asked_tcp += 1;
        let bytes = encode(&commands);
        self.tcp[client].asks.push_back(Ask {
            commands: commands.clone(),
            replies: Vec::new(),
            at: self.clock.now,
            still,
        });
        self.send_commands(link, commands, &bytes);
    }

    /// Sends the beginning of a command and then nothing: the server has to give this client up.
    fn get_stuck(&mut self, client: usize, commands: &[Command]) {
        let Some(link) = self.tcp[client].link else { return };
        self.struck(Fault::Stuck);
        let bytes = encode(&commands[..1]);
        let part = 1 + self.random.below(bytes.len() - 1);
        self.tcp[client].silent = true;
        self.send_up(link, &bytes[..part]);
    }

    /// The client gives its connection up; what it had asked for it will never know.
    pub fn break_off(&mut self, client: usize) {
        if let Some(link) = self.tcp[client].link {
            self.send_reset(link);
        }
        self.lose_link(client);
    }

    fn lose_link(&mut self, client: usize) {
        let tcp = &mut self.tcp[client];
        (tcp.link, tcp.silent, tcp.watched) = (None, false, None);
        tcp.received.clear();
        tcp.cursor = b"0".to_vec();
        for ask in std::mem::take(&mut self.tcp[client].asks) {
            self.report.unknown_tcp += 1;
            self.never_known(client, &ask);
        }
    }

    fn never_known(&mut self, client: usize, ask: &Ask) {
        // Those that were answered before the connection broke are known.
        let in_multi = matches!(ask.commands.first(), Some(Command::Multi));
        let known = if in_multi { 0 } else { ask.replies.len() };
        for answered in ask.commands.iter().zip(&ask.replies[..known]) {
            // A value that nobody wrote would be told of by the model.
            let _ = self.record(client, answered, ask);
        }
        for command in &ask.commands[known..] {
            for (key, action, _) in actions(command, None, ask.still.as_ref()) {
                let begun = Begun { client: 100 + client, key: key.into(), action, at: ask.at };
                match action {
                    Action::Clear => self.history.cleared(&begun, Seen::Unknown, &self.clock),
                    _ => self.history.unknown(&begun, &self.clock),
                }
            }
        }
    }

    /// An attempt to connect arrives at the server.
    pub fn connect(&mut self, client: usize) {
        let now = self.clock.reading();
        self.tcp[client].connecting = false;
        if self.tcp[client].link.is_some() || self.tcp[client].served {
            return;
        }
        let peer = SocketAddr::from(([10, 0, 1, client as u8], 50_000));
        match self.node.open(peer, now) {
            Ok(id) => {
                let link = self.links.len();
                self.links.push(Link::new(Owner::Tcp(client), id, link));
                self.tcp[client].link = Some(link);
                self.report.connections += 1;
                self.note(b"", |_| format!("TCP client {client} is connected"));
                let mut hello = vec![];
                if self.config.password.is_some() {
                    hello.push(Command::Handshake(vec!["AUTH", "secret"]));
                }
                if self.random.below(2) == 0 {
                    hello.push(Command::Handshake(vec!["HELLO", "3"]));
                }
                if !hello.is_empty() {
                    self.ask(client, hello, None);
                }
            }
            Err(_) => self.report.turned_away += 1,
        }
    }

    /// Bytes arrive at the client.
    pub fn down(&mut self, link: usize, bytes: &[u8]) -> Result<(), Violation> {
        match self.links[link].owner {
            Owner::Rogue => Ok(()),
            Owner::Tcp(client) if self.tcp[client].link == Some(link) => self.tcp_hears(client, bytes),
            Owner::Tcp(_) => Ok(()),
        }
    }

    /// The connection has ended, as the client sees it.
    pub fn down_end(&mut self, link: usize) {
        match self.links[link].owner {
            Owner::Rogue => self.rogue.link = None,
            Owner::Tcp(client) if self.tcp[client].link == Some(link) => {
                self.note(b"", |_| format!("TCP client {client} has lost its connection"));
                self.lose_link(client);
            }
            Owner::Tcp(_) => {}
        }
    }

    fn tcp_hears(&mut self, client: usize, bytes: &[u8]) -> Result<(), Violation> {
        let tcp = &mut self.tcp[client];
        tcp.received.extend_from_slice(bytes);
        let (replies, consumed) = whole_replies(&tcp.received)
            .map_err(|reason| violation(b"", format!("{reason}: {}", show(&tcp.received))))?;
        tcp.received.drain(..consumed);
        for reply in replies {
            let tcp = &mut self.tcp[client];
            // A last word that nobody asked for: the server gives a stuck client up.
            let Some(ask) = tcp.asks.front_mut() else { continue };
            ask.replies.push(reply);
            if ask.replies.len() == ask.commands.len()
                && let Some(ask) = tcp.asks.pop_front()
            {
                self.report.done_tcp += 1;
                self.answered_tcp(client, &ask)?;
            }
        }
        Ok(())
    }

    fn answered_tcp(&mut self, client: usize, ask: &Ask) -> Result<(), Violation> {
        let mut in_multi = Vec::new();
        let queues = matches!(ask.commands.first(), Some(Command::Multi));
        for (command, reply) in ask.commands.iter().zip(&ask.replies) {
            match (command, reply) {
                (Command::Multi | Command::Discard | Command::Watch(_), _) => {}
                (Command::Exec, Reply::Array(replies)) => {
                    self.report.exec_done += 1;
                    for (command, reply) in std::mem::take(&mut in_multi).into_iter().zip(replies) {
                        self.record(client, (command, reply), ask)?;
                    }
                }
                (Command::Exec, _) => self.report.exec_aborted += 1,
                (command, _) if queues => in_multi.push(command),
                _ => self.record(client, (command, reply), ask)?,
            }
        }
        let tcp = &mut self.tcp[client];
        if let [.., Command::Watch(keys), Command::Get(_)] = &ask.commands[..]
            && let Some(content) = ask.replies.last().and_then(content_of)
        {
            tcp.watched = Some((keys[0].clone(), content));
        }
        if let ([Command::Scan { .. }], [Reply::Array(parts)]) = (&ask.commands[..], &ask.replies[..])
            && let Some(Reply::Bulk(next)) = parts.first()
        {
            tcp.cursor = next.clone();
        }
        if self.healed && matches!(ask.commands[..], [Command::Set { .. }, Command::Get(_)]) {
            tcp.served = true;
            // Others may be waiting for the place.
            self.break_off(client);
        }
        Ok(())
    }

    /// What the clients' history takes up of an answer.
    fn record(
        &mut self,
        client: usize,
        (command, reply): (&Command, &Reply),
        ask: &Ask,
    ) -> Result<(), Violation> {
        for (key, action, seen) in actions(command, Some(reply), ask.still.as_ref()) {
            let begun = Begun { client: 100 + client, key: key.clone().into(), action, at: ask.at };
            match (action, seen) {
                (Action::Get, None) => {
                    return Err(violation(
                        &key,
                        format!("nobody wrote what {command:?} was answered: {reply:?}"),
                    ));
                }
                (_, None) => {}
                (Action::Clear, Some(seen)) => self.history.cleared(&begun, seen, &self.clock),
                (_, Some(seen)) => self.history.answered(&begun, seen, &self.clock),
            }
        }
        Ok(())
    }
}

fn encode(commands: &[Command]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        let words = command.words();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        bytes.extend(encoded(&words));
    }
    bytes
}

fn content_of(reply: &Reply) -> Option<Content> {
    match reply {
        Reply::Null => Some(Content::Absent),
        Reply::Bulk(bytes) => Content::of(bytes),
        _ => None,
    }
}

/// A key, what is asked of it, and what the answer says; `None` where it says nothing, or nothing that can be.
type Part = (Vec<u8>, Action, Option<Seen>);

/// A command as actions on hot keys. Without a reply: what it may do.
fn actions(command: &Command, reply: Option<&Reply>, still: Option<&(Vec<u8>, Content)>) -> Vec<Part> {
    let flag = || match reply {
        Some(Reply::Integer(count)) => Some(Seen::Done(*count != 0)),
        _ => None,
    };
    let is_ok = reply.is_some_and(|reply| matches!(reply, Reply::Simple(_)));
    let put = |key: &Vec<u8>, value: &[u8], ttl_ms, condition| {
        let content = Content::of(value).unwrap_or(Content::Absent);
        let condition = match still {
            Some((watched, content)) if watched == key => If::Still(*content),
            _ => condition,
        };
        let seen = match reply {
            Some(Reply::Simple(_)) => Some(Seen::Done(true)),
            Some(Reply::Null) => Some(Seen::Done(false)),
            _ => None,
        };
        (key.clone(), Action::Put { content, ttl_ms, keeps_ttl: false, condition }, seen)
    };
    let mut parts: Vec<Part> = match command {
        Command::Get(key) => {
            vec![(key.clone(), Action::Get, reply.and_then(content_of).map(Seen::Content))]
        }
        Command::Mget(keys) => {
            let replies = if let Some(Reply::Array(replies)) = reply { &replies[..] } else { &[] };
            let seen = |at: usize| replies.get(at).and_then(content_of).map(Seen::Content);
            keys.iter().enumerate().map(|(at, key)| (key.clone(), Action::Get, seen(at))).collect()
        }
        Command::Set { key, value, ttl_ms, when } => {
            let condition = match when {
                When::Always => If::Always,
                When::Absent => If::Absent,
                When::Present => If::Present,
            };
            vec![put(key, value, *ttl_ms, condition)]
        }
        Command::Mset(pairs) => pairs.iter().map(|(key, value)| put(key, value, None, If::Always)).collect(),
        Command::Incrby { key, delta } => {
            let seen = if let Some(Reply::Integer(sum)) = reply { Some(Seen::Sum(*sum)) } else { None };
            vec![(key.clone(), Action::Add(*delta), seen)]
        }
        Command::Pexpire { key, ttl_ms } => vec![(key.clone(), Action::Expire(Some(*ttl_ms)), flag())],
        // 0 stands for two things: no key, or no expiry.
        Command::Persist(key) => {
            let seen = flag().filter(|seen| *seen == Seen::Done(true));
            vec![(key.clone(), Action::Expire(None), seen)]
        }
        Command::Del(keys) => keys.iter().map(|key| (key.clone(), Action::Delete, flag())).collect(),
        Command::Flushall => {
            return vec![(Vec::new(), Action::Clear, is_ok.then_some(Seen::Done(true)))];
        }
        _ => Vec::new(),
    };
    parts.retain(|(key, ..)| is_hot(key));
    parts
}
