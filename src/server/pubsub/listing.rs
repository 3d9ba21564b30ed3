//! What is subscribed to: PUBSUB CHANNELS, NUMSUB, and the same of sharded channels.

use super::Server;
use super::table::Kind;
use super::verbs::{CONFIRMATION_BYTES, Parts, PubsubStep};
use crate::command::VerbId;
use crate::engine::meter::KEY_UNITS;
use crate::engine::{Continuation, Flow, refused};
use crate::mutation::LargeRef;
use crate::reply::{Error, ErrorKind, Part};
use crate::time::Now;
use crate::wire::arguments::{Arg, Args};
use crate::wire::encode::BULK_OVERHEAD_BYTES;
use crate::wire::glob::{self, PATTERN_BYTES_MAX};
use crate::wire::number::{INTEGER_BYTES_MAX, write_u64};

/// Places of topics that PUBSUB CHANNELS looks at before it looks at its meter.
const TOPICS_AT_ONCE: usize = 128;

impl Server {
    /// `PUBSUB NUMSUB [channel …]`, `PUBSUB SHARDNUMSUB [shardchannel …]`
    pub(super) fn subscriber_counts(&mut self, kind: Kind, step: PubsubStep, first: usize) -> Flow {
        self.with_args(step, |parts, args| {
            parts.out.mute(parts.session.is_muted());
            if first == 2 {
                parts.out.array(2 * (args.len() - 2));
            }
            for at in first..args.len() {
                let name = args.bytes(at).unwrap_or_default();
                if parts.engine.meter.is_spent() || parts.out.room() < name.len() + CONFIRMATION_BYTES {
                    // A name may be longer than the room that there ever is without another buffer.
                    if at > first || !parts.out.make_room(name.len() + CONFIRMATION_BYTES) {
                        return Flow::Yield(Continuation::Answered { next: at as u32 });
                    }
                }
                parts.engine.meter.charge(KEY_UNITS);
                let hash = parts.hash(name);
                let table = &parts.pubsub.table;
                let count = table.find(kind, name, hash).map_or(0, |topic| table.subscriber_count(topic));
                parts.out.bulk(name);
                parts.out.integer(i64::from(count));
            }
            Flow::Done
        })
    }

    /// `PUBSUB CHANNELS [pattern]`, `PUBSUB SHARDCHANNELS [pattern]`: the names are collected as encoded replies in a large
    /// value, for the answer begins with their number.
    pub(super) fn topic_names(
        &mut self,
        kind: Kind,
        step: PubsubStep,
        continuation: Option<Continuation>,
    ) -> Flow {
        self.with_args(step, |parts, args| {
            parts.out.mute(parts.session.is_muted());
            let error = match parts.begin_names(&args, continuation, step.now) {
                Err(error) => error,
                Ok((pattern, mut collected)) => {
                    match parts.collect_names(kind, pattern, &mut collected, step.now) {
                        Ok(true) => return parts.answer_names(collected),
                        Ok(false) => {
                            let Collected { place, names, count } = collected;
                            return Flow::Yield(Continuation::Keys { cursor: place as u64, names, count });
                        }
                        Err(error) => {
                            parts.engine.store.large_release(collected.names);
                            error
                        }
                    }
                }
            };
            parts.fail(VerbId::PubsubChannels, &error);
            Flow::Done
        })
    }
}

/// How far PUBSUB CHANNELS has come: the next place of the table, the names so far, encoded, and their number.
struct Collected {
    place: usize,
    names: LargeRef,
    count: u64,
}

impl Parts<'_> {
    /// The pattern, and where the collection of names stands.
    fn begin_names<'a>(
        &mut self,
        args: &Args<'a>,
        continuation: Option<Continuation>,
        now: Now,
    ) -> Result<(Option<&'a [u8]>, Collected), Error<'a>> {
        if args.len() > 3 {
            let word = args.bytes(1).unwrap_or_default();
            return Err(ErrorKind::SubcommandSyntax.of_both(Part::Bytes(word), Part::Bytes(b"PUBSUB")));
        }
        let pattern = match args.get(2) {
            None => None,
            Some(Arg::Bytes(pattern)) if pattern.len() <= PATTERN_BYTES_MAX => Some(pattern),
            _ => return Err(ErrorKind::ArgumentTooLong.of(b"pubsub")),
        };
        let state = match continuation {
            Some(Continuation::Keys { cursor, names, count }) => {
                Collected { place: cursor as usize, names, count }
            }
            _ => {
                let names = self.engine.store.large_begin(0, now.unix).map_err(refused)?;
                Collected { place: 0, names, count: 0 }
            }
        };
        Ok((pattern, state))
    }

    /// Goes on until the meter is spent. True: all names are collected.
    fn collect_names(
        &mut self,
        kind: Kind,
        pattern: Option<&[u8]>,
        Collected { place, names, count }: &mut Collected,
        now: Now,
    ) -> Result<bool, Error<'static>> {
        let store = &mut self.engine.store;
        let (table, name) = (&self.pubsub.table, &mut self.pubsub.name);
        while *place < table.topics_end() {
            if place.is_multiple_of(TOPICS_AT_ONCE) && self.engine.meter.is_spent() {
                return Ok(false);
            }
            if let Some((topic, len)) = table.topic_at(*place, kind) {
                name.clear();
                table.append_name(topic, name);
                let mut steps = 0;
                if pattern.is_none_or(|pattern| glob::matches_counting(pattern, name, false, &mut steps)) {
                    let (mut digits, mut header) = ([0; INTEGER_BYTES_MAX], [0; BULK_OVERHEAD_BYTES]);
                    let digits = write_u64(len as u64, &mut digits);
                    header[0] = b'$';
                    header[1..=digits.len()].copy_from_slice(digits);
                    header[1 + digits.len()..3 + digits.len()].copy_from_slice(b"\r\n");
                    for part in [&header[..3 + digits.len()], name, b"\r\n"] {
                        store.large_append(names.id(), part, now.unix).map_err(refused)?;
                    }
                    *count += 1;
                }
                self.engine.meter.charge_pattern_steps(steps);
                self.engine.meter.charge(1);
            }
            *place += 1;
        }
        Ok(true)
    }

    fn answer_names(&mut self, Collected { names, count, .. }: Collected) -> Flow {
        self.out.array(count as usize);
        let len = self.engine.store.large_len(names.id());
        if let Some(names) = self.out.give_large_raw(names, len) {
            self.engine.store.large_release(names);
        }
        Flow::Done
    }
}
