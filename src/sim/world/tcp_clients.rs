//! Clients over TCP: the shipped client's encoding and reply reader, over connections that come in pieces and break.

use super::{Event, World};
use crate::client::{Reply, whole_replies};
use crate::sim::clock::MILLISECOND;
use crate::sim::commands::{Command, is_last_word};
use crate::sim::faults::Fault;
use crate::sim::history::{Action, Begun, Content, Seen};
use crate::sim::link::{Link, Owner};
use crate::sim::tcp_client::{Ask, actions, content_of, encode};
use crate::sim::violation::{Violation, brief, show, violation};
use std::net::SocketAddr;

/// How long it takes to connect, at least.
const CONNECT_US: u64 = 5 * MILLISECOND;

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
        let (commands, still) = self.tcp[client].draw(&mut self.workload, self.healed);
        if self.strikes(Fault::Stuck) {
            return self.get_stuck(client, &commands);
        }
        self.ask(client, commands, still);
        if self.strikes(Fault::Greedy) {
            self.be_greedy(client, link);
        }
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

    /// Asks far more than others do, and takes no reply until all is sent.
    fn be_greedy(&mut self, client: usize, link: usize) {
        self.struck(Fault::Greedy);
        for _ in 0..self.random.pick(&[30, 100, 300]) {
            let (commands, still) = self.tcp[client].draw(&mut self.workload, self.healed);
            // A walk goes on from the cursor that its last step was answered: its steps cannot be sent ahead.
            if !commands.iter().any(|command| matches!(command, Command::Scan { .. })) {
                self.ask(client, commands, still);
            }
        }
        self.take_late(link, &[0, 1_000]);
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
            // The model reports a value that no client wrote.
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
            Owner::Rogue => {
                if self.rogue.link == Some(link) {
                    self.rogue_hears_stream(bytes);
                }
                Ok(())
            }
            Owner::Tcp(client) if self.tcp[client].link == Some(link) => self.tcp_hears(client, bytes),
            Owner::Tcp(_) | Owner::Hostile { .. } => Ok(()),
        }
    }

    /// The connection has ended, as the client sees it.
    pub fn down_end(&mut self, link: usize) {
        match self.links[link].owner {
            Owner::Rogue if self.rogue.link == Some(link) => self.rogue.lose_link(),
            Owner::Rogue => {}
            Owner::Tcp(client) if self.tcp[client].link == Some(link) => {
                self.note(b"", |_| format!("TCP client {client} has lost its connection"));
                self.lose_link(client);
            }
            Owner::Tcp(_) | Owner::Hostile { .. } => {}
        }
    }

    fn tcp_hears(&mut self, client: usize, bytes: &[u8]) -> Result<(), Violation> {
        let tcp = &mut self.tcp[client];
        tcp.received.extend_from_slice(bytes);
        let (replies, consumed) = whole_replies(&tcp.received)
            .map_err(|reason| violation(b"", format!("{reason}: {}", show(&tcp.received))))?;
        tcp.received.drain(..consumed);
        for reply in replies.into_iter().filter(|reply| !is_last_word(reply)) {
            let tcp = &mut self.tcp[client];
            let Some(ask) = tcp.asks.front_mut() else {
                return Err(violation(
                    b"",
                    format!("client {client} was answered what it never asked for: {}", brief(&reply)),
                ));
            };
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
        if let ([.., Command::Watch(keys), Command::Get(_)], [.., Reply::Simple(_), _]) =
            (&ask.commands[..], &ask.replies[..])
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
                        format!("nobody wrote what {} was answered: {}", brief(command), brief(reply)),
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
