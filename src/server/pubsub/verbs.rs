//! SUBSCRIBE, PUBLISH and their like, as far as they are not the delivery itself; and what these commands share.

use super::fan_out::{FanOutMode, Publication, Published};
use super::table::{Kind, NoRoom};
use super::{CHANNEL_BYTES_MAX, Server};
use crate::command::{Flags, Verb, VerbId};
use crate::connection::{ConnectionId, SubscriberId};
use crate::engine::meter::{COMMAND_UNITS, KEY_UNITS};
use crate::engine::{Continuation, Flow};
use crate::reply::{Error, ErrorKind, Part};
use crate::server::Source;
use crate::time::Now;
use crate::wire::arguments::{Arg, Args};
use crate::wire::encode::{Out, Protocol};
use crate::wire::glob::PATTERN_BYTES_MAX;

/// Bytes of a reply to one (un)subscription beside the name.
pub(super) const CONFIRMATION_BYTES: usize = 96;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum PubsubAction {
    Subscribe(Kind),
    Unsubscribe(Kind),
    Publish(Kind),
    Names(Kind),
    Counts(Kind),
    PatternCount,
}

impl PubsubAction {
    /// The action of a verb, if it is one of these.
    fn of(verb: VerbId) -> Option<PubsubAction> {
        use PubsubAction as A;
        Some(match verb {
            VerbId::Subscribe => A::Subscribe(Kind::Channel),
            VerbId::Psubscribe => A::Subscribe(Kind::Pattern),
            VerbId::Ssubscribe => A::Subscribe(Kind::Shard),
            VerbId::Unsubscribe => A::Unsubscribe(Kind::Channel),
            VerbId::Punsubscribe => A::Unsubscribe(Kind::Pattern),
            VerbId::Sunsubscribe => A::Unsubscribe(Kind::Shard),
            VerbId::Publish => A::Publish(Kind::Channel),
            VerbId::Spublish => A::Publish(Kind::Shard),
            VerbId::PubsubChannels => A::Names(Kind::Channel),
            VerbId::PubsubShardchannels => A::Names(Kind::Shard),
            VerbId::PubsubNumsub => A::Counts(Kind::Channel),
            VerbId::PubsubShardnumsub => A::Counts(Kind::Shard),
            VerbId::PubsubNumpat => A::PatternCount,
            _ => return None,
        })
    }
}

/// Which client runs a command, and where the command is.
#[derive(Clone, Copy)]
pub(in crate::server) struct PubsubStep {
    pub id: ConnectionId,
    pub source: Source,
    pub now: Now,
}

/// Whether a client of RESP2 that is subscribed to something may send this.
pub(in crate::server) fn is_allowed(verb: &Verb) -> bool {
    use VerbId as V;
    matches!(
        verb.id,
        V::Subscribe
            | V::Unsubscribe
            | V::Psubscribe
            | V::Punsubscribe
            | V::Ssubscribe
            | V::Sunsubscribe
            | V::Watchprefix
            | V::Unwatchprefix
            | V::Ping
            | V::Quit
            | V::Reset
    )
}

impl Server {
    /// Runs one of these commands, or its next piece; and the PING of a subscriber.
    pub(in crate::server) fn execute_pubsub(
        &mut self,
        verb: &'static Verb,
        step: PubsubStep,
        continuation: Option<Continuation>,
    ) -> Flow {
        self.engine.meter.charge(COMMAND_UNITS);
        if continuation.is_none() {
            self.engine.metrics.called(verb.id);
        }
        let flow = match PubsubAction::of(verb.id) {
            Some(action) => self.run_pubsub(action, step, continuation),
            None => self.ping_subscriber(step),
        };
        if !verb.flags.has(Flags::FAST) {
            // All but PUBLISH, SPUBLISH and PING.
            self.follow_listeners();
        }
        if !matches!(flow, Flow::Yield(_))
            && let Some(connection) = self.get_mut(step.id)
        {
            connection.session.finished();
        }
        flow
    }

    /// `PING [message]` of a client that is subscribed to something: in RESP2 the reply has the shape of a message.
    fn ping_subscriber(&mut self, step: PubsubStep) -> Flow {
        self.with_args(step, |parts, args| {
            parts.out.mute(parts.session.is_muted());
            let is_restricted = parts.session.protocol == Protocol::Resp2;
            let text = match (args.len(), args.get(1)) {
                (1, _) => Some(&b""[..]),
                (2, Some(Arg::Bytes(bytes))) => Some(bytes),
                (2, Some(Arg::Large(large))) if !is_restricted => {
                    let len = parts.engine.store.large_len(large);
                    if parts.out.large(large, len) {
                        parts.engine.store.large_retain(large).into_raw();
                    }
                    return Flow::Done;
                }
                _ => None,
            };
            match text {
                None => parts.fail(VerbId::Ping, &ErrorKind::WrongArity.of(b"ping")),
                Some(text) if is_restricted => {
                    parts.out.array(2);
                    parts.out.bulk(b"pong");
                    parts.out.bulk(text);
                }
                Some(_) if args.len() == 1 => parts.out.simple("PONG"),
                Some(text) => parts.out.bulk(text),
            }
            Flow::Done
        })
    }

    fn run_pubsub(
        &mut self,
        action: PubsubAction,
        step: PubsubStep,
        continuation: Option<Continuation>,
    ) -> Flow {
        let answered = match continuation {
            Some(Continuation::Answered { next }) => Some(next as usize),
            _ => None,
        };
        match action {
            PubsubAction::Subscribe(kind) => self.subscribe(kind, step, answered.unwrap_or(1)),
            PubsubAction::Unsubscribe(kind) => self.unsubscribe(kind, step, answered.unwrap_or(1)),
            PubsubAction::Publish(kind) => self.publish(kind, step, continuation),
            PubsubAction::Names(kind) => self.topic_names(kind, step, continuation),
            PubsubAction::Counts(kind) => self.subscriber_counts(kind, step, answered.unwrap_or(2)),
            PubsubAction::PatternCount => {
                let count = self.pubsub.table.count(Kind::Pattern);
                self.answer(step.id, |out| out.integer(i64::from(count)))
            }
        }
    }

    /// Hands `run` what the command works on, and its arguments.
    pub(super) fn with_args<R>(
        &mut self,
        step: PubsubStep,
        run: impl FnOnce(&mut Parts<'_>, Args<'_>) -> R,
    ) -> R {
        let Server { engine, connections, input, output, queues, args, pubsub, .. } = self;
        let connection = &mut connections[step.id.index as usize];
        let args = match step.source {
            Source::Input { len } => args.args(&connection.input.readable(input)[..len]),
            Source::Queue => args.spans(connection.transaction.queue.readable(queues)),
        };
        // Redis answers these although CLIENT REPLY is off: they are pushes.
        let (session, subscriber) = (&connection.session, &mut connection.subscriber);
        let out = Out::new(&mut connection.output, output, session.protocol);
        run(&mut Parts { engine, pubsub, session, subscriber, out, id: step.id }, args)
    }

    /// `SUBSCRIBE`, `PSUBSCRIBE`, `SSUBSCRIBE`: each of several channels has a reply of its own.
    fn subscribe(&mut self, kind: Kind, step: PubsubStep, first: usize) -> Flow {
        self.with_args(step, |parts, args| {
            for at in first..args.len() {
                if parts.has_no_room() {
                    return Flow::Yield(Continuation::Answered { next: at as u32 });
                }
                match parts.checked_name(args.get(at), kind) {
                    Ok(name) => match parts.add(kind, name) {
                        Ok(()) => parts.confirm(kind, subscribed_word(kind), Some(name)),
                        Err(NoRoom { used, max }) => {
                            let both = (Part::Number(used as u64), Part::Number(max as u64));
                            parts.fail(
                                subscribe_verb(kind),
                                &ErrorKind::SubscriptionsFull.of_both(both.0, both.1),
                            );
                        }
                    },
                    Err(error) => parts.fail(subscribe_verb(kind), &error),
                }
            }
            Flow::Done
        })
    }

    /// `UNSUBSCRIBE`, `PUNSUBSCRIBE`, `SUNSUBSCRIBE`: without arguments, of all of that kind.
    fn unsubscribe(&mut self, kind: Kind, step: PubsubStep, first: usize) -> Flow {
        let word = unsubscribed_word(kind);
        self.with_args(step, |parts, args| {
            if args.len() > 1 {
                for at in first..args.len() {
                    if parts.has_no_room() {
                        return Flow::Yield(Continuation::Answered { next: at as u32 });
                    }
                    match parts.checked_name(args.get(at), kind) {
                        Ok(name) => {
                            let hash = parts.hash(name);
                            if let Some(subscriber) = *parts.subscriber {
                                parts.pubsub.table.unsubscribe(subscriber, kind, name, hash);
                            }
                            parts.confirm(kind, word, Some(name));
                        }
                        Err(error) => parts.fail(unsubscribe_verb(kind), &error),
                    }
                }
                parts.release_if_idle();
                return Flow::Done;
            }
            let mut name = std::mem::take(&mut parts.pubsub.name);
            let mut done = first > 1;
            let mut flow = Flow::Done;
            while let Some(subscriber) = *parts.subscriber {
                if parts.has_no_room() {
                    flow = Flow::Yield(Continuation::Answered { next: if done { 2 } else { 1 } });
                    break;
                }
                if !parts.pubsub.table.unsubscribe_latest(subscriber, kind, &mut name) {
                    break;
                }
                parts.confirm(kind, word, Some(&name));
                done = true;
            }
            parts.pubsub.name = name;
            if flow == Flow::Done {
                if !done {
                    parts.confirm(kind, word, None);
                }
                parts.release_if_idle();
            }
            flow
        })
    }

    /// `PUBLISH channel message`, `SPUBLISH shardchannel message`
    fn publish(&mut self, kind: Kind, step: PubsubStep, continuation: Option<Continuation>) -> Flow {
        let PubsubStep { id, source, now } = step;
        if let Some(Continuation::Published { receivers }) = continuation {
            return self.answer(id, |out| out.integer(receivers as i64));
        }
        let mode = if matches!(source, Source::Queue) { FanOutMode::Whole } else { FanOutMode::Metered };
        // What was changed before is published before.
        let is_begun = self.fan_out_owner() == Some(Some(id));
        if mode == FanOutMode::Metered && !is_begun && self.publish_changes(now) {
            return Flow::Yield(Continuation::Publish);
        }
        while let Some(owner) = self.fan_out_owner() {
            let Some(receivers) = self.drive_fan_out(mode, now) else {
                return Flow::Yield(Continuation::Publish);
            };
            if owner == Some(id) {
                return self.answer(id, |out| out.integer(receivers as i64));
            }
            self.hand_over_receivers(owner, receivers);
        }
        let begun = self.with_args(step, |parts, args| {
            let Some(channel) = args.bytes(1) else {
                return Err(ErrorKind::ArgumentTooLong.of(if kind == Kind::Shard {
                    b"spublish"
                } else {
                    b"publish"
                }));
            };
            let text = match args.get(2) {
                Some(Arg::Bytes(bytes)) => Published::Bytes(bytes),
                Some(Arg::Large(large)) => Published::Large(large),
                _ => return Err(ErrorKind::Full.plain()),
            };
            let hash = parts.hash(channel);
            let publication = Publication { kind, channel, hash, text };
            parts.engine.meter.charge(KEY_UNITS);
            Server::begin_fan_out(parts.engine, parts.pubsub, &publication, now);
            Ok(())
        });
        if let Err(error) = begun {
            let verb = if kind == Kind::Shard { VerbId::Spublish } else { VerbId::Publish };
            return self.fail_with(id, verb, &error);
        }
        self.engine.metrics.counters.messages_published += 1;
        match self.drive_fan_out(mode, now) {
            Some(receivers) => self.answer(id, |out| out.integer(receivers as i64)),
            None => {
                self.own_fan_out(id);
                Flow::Yield(Continuation::Publish)
            }
        }
    }
}

/// What a command works on.
pub(super) struct Parts<'p> {
    pub(super) engine: &'p mut crate::engine::Engine,
    pub(super) pubsub: &'p mut super::Pubsub,
    pub(super) session: &'p crate::engine::session::Session,
    subscriber: &'p mut Option<SubscriberId>,
    pub(super) out: Out<'p>,
    id: ConnectionId,
}

impl Parts<'_> {
    pub(super) fn hash(&self, name: &[u8]) -> u64 {
        self.engine.store.hash_of(name)
    }

    /// Whether the next confirmation has to wait, for room or for the client's next turn.
    fn has_no_room(&self) -> bool {
        self.engine.meter.is_spent() || self.out.room() < CHANNEL_BYTES_MAX + CONFIRMATION_BYTES
    }

    fn checked_name<'a>(&mut self, arg: Option<Arg<'a>>, kind: Kind) -> Result<&'a [u8], Error<'a>> {
        self.engine.meter.charge(KEY_UNITS);
        let limit = if kind == Kind::Pattern { PATTERN_BYTES_MAX } else { CHANNEL_BYTES_MAX };
        match arg {
            Some(Arg::Bytes(name)) if name.len() <= limit => Ok(name),
            Some(Arg::Bytes(name)) => {
                let both = (Part::Number(name.len() as u64), Part::Number(limit as u64));
                Err(ErrorKind::ChannelTooLong.of_both(both.0, both.1))
            }
            _ => Err(ErrorKind::ArgumentTooLong.of(b"subscribe")),
        }
    }

    fn add(&mut self, kind: Kind, name: &[u8]) -> Result<(), NoRoom> {
        let subscriber: SubscriberId = match *self.subscriber {
            Some(subscriber) => subscriber,
            None => self.pubsub.table.add_subscriber(self.id)?,
        };
        *self.subscriber = Some(subscriber);
        let hash = self.hash(name);
        let added = self.pubsub.table.subscribe(subscriber, kind, name, hash);
        self.release_if_idle();
        added
    }

    /// A client without subscriptions is no subscriber.
    fn release_if_idle(&mut self) {
        if let Some(subscriber) = *self.subscriber
            && self.pubsub.table.has_none(subscriber)
            && self.pubsub.table.deferred_mut(subscriber).is_none()
        {
            self.pubsub.table.orphan(subscriber);
            self.pubsub.table.reap(1);
            *self.subscriber = None;
        }
    }

    fn confirm(&mut self, kind: Kind, word: &str, name: Option<&[u8]>) {
        let [channels, patterns, shards] = self.pubsub.counts(*self.subscriber);
        let count = if kind == Kind::Shard { shards } else { channels + patterns };
        self.out.push(3);
        self.out.bulk(word.as_bytes());
        match name {
            Some(name) => self.out.bulk(name),
            None => self.out.null(),
        }
        self.out.integer(i64::from(count));
    }

    pub(super) fn fail(&mut self, verb: VerbId, error: &Error<'_>) {
        error.write(|parts| self.out.error_parts(parts));
        self.engine.metrics.failed(verb, error.kind);
    }
}

fn subscribed_word(kind: Kind) -> &'static str {
    ["subscribe", "psubscribe", "ssubscribe"][kind as usize]
}

fn unsubscribed_word(kind: Kind) -> &'static str {
    ["unsubscribe", "punsubscribe", "sunsubscribe"][kind as usize]
}

fn subscribe_verb(kind: Kind) -> VerbId {
    [VerbId::Subscribe, VerbId::Psubscribe, VerbId::Ssubscribe][kind as usize]
}

fn unsubscribe_verb(kind: Kind) -> VerbId {
    [VerbId::Unsubscribe, VerbId::Punsubscribe, VerbId::Sunsubscribe][kind as usize]
}
