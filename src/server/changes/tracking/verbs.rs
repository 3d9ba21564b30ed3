//! CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR.

use super::{Mode, PREFIX_BYTES_MAX, Redirect, Tracker, Tracking};
use crate::command::{Verb, VerbId};
use crate::connection::{ConnectionId, TrackerId};
use crate::engine::Flow;
use crate::reply::{Error, ErrorKind, Part};
use crate::server::pubsub::{Name, PubsubStep};
use crate::server::{Server, Source};
use crate::time::Now;
use crate::wire::arguments::Args;
use crate::wire::encode::Out;
use crate::wire::number::parse_i64;

/// Prefixes that one command can name: each is compared with all others.
const PREFIXES_OF_ONE_MAX: usize = 64;

/// What CLIENT TRACKING ON asks for.
#[derive(Clone, Copy, Default)]
struct Options {
    redirect: Option<u64>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    noloop: bool,
    has_prefix: bool,
}

impl Options {
    fn parse<'a>(args: &Args<'a>) -> Result<Options, Error<'a>> {
        let mut options = Options::default();
        let is_word = |at: usize, word: &str| {
            args.bytes(at).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()))
        };
        let mut at = 3;
        while at < args.len() {
            let has_more = at + 1 < args.len();
            if is_word(at, "REDIRECT") && has_more {
                at += 1;
                if options.redirect.is_some() {
                    return Err(ErrorKind::TrackingTwoRedirects.plain());
                }
                let id = args.bytes(at).and_then(parse_i64).ok_or(ErrorKind::NotAnInteger.plain())?;
                options.redirect = Some(u64::try_from(id).unwrap_or(u64::MAX));
            } else if is_word(at, "PREFIX") && has_more {
                at += 1;
                options.has_prefix = true;
            } else if is_word(at, "BCAST") {
                options.broadcast = true;
            } else if is_word(at, "OPTIN") {
                options.opt_in = true;
            } else if is_word(at, "OPTOUT") {
                options.opt_out = true;
            } else if is_word(at, "NOLOOP") {
                options.noloop = true;
            } else {
                return Err(ErrorKind::Syntax.plain());
            }
            at += 1;
        }
        Ok(options)
    }

    fn check(&self, current: Option<&Tracker>) -> Result<(), ErrorKind> {
        if self.has_prefix && !self.broadcast {
            return Err(ErrorKind::TrackingPrefix);
        }
        if let Some(current) = current
            && (current.mode == Mode::Broadcast) != self.broadcast
        {
            return Err(ErrorKind::TrackingSwitchBroadcast);
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err(ErrorKind::TrackingOptBroadcast);
        }
        if self.opt_in && self.opt_out {
            return Err(ErrorKind::TrackingBothOpts);
        }
        if let Some(current) = current
            && (self.opt_in && current.mode == Mode::OptOut || self.opt_out && current.mode == Mode::OptIn)
        {
            return Err(ErrorKind::TrackingSwitchOpt);
        }
        Ok(())
    }

    fn mode(&self) -> Mode {
        match (self.broadcast, self.opt_in, self.opt_out) {
            (true, ..) => Mode::Broadcast,
            (_, true, _) => Mode::OptIn,
            (.., true) => Mode::OptOut,
            _ => Mode::All,
        }
    }
}

/// The prefixes among the arguments; one that is too long for an argument of the buffer stands as nothing.
fn prefixes<'a>(args: &Args<'a>) -> impl Iterator<Item = &'a [u8]> + Clone {
    let args = *args;
    let is_prefix = move |at: &usize| {
        args.bytes(*at).is_some_and(|word| word.eq_ignore_ascii_case(b"prefix")) && *at + 1 < args.len()
    };
    let mut skip = false;
    (3..args.len())
        .filter(move |at| {
            !std::mem::take(&mut skip) && {
                skip = is_prefix(at);
                skip
            }
        })
        .map(move |at| args.bytes(at + 1).unwrap_or_default())
}

impl Server {
    /// Runs one of these commands.
    pub(in crate::server) fn execute_tracking(&mut self, verb: &'static Verb, step: PubsubStep) -> Flow {
        let PubsubStep { id, now, .. } = step;
        self.engine.metrics.called(verb.id);
        let flow = match verb.id {
            VerbId::ClientTracking => self.client_tracking(step),
            VerbId::ClientCaching => self.client_caching(step),
            VerbId::ClientGetredir => {
                let tracker = self.connections[id.index as usize].tracker;
                let redirect = tracker.map_or(-1, |tracker| {
                    self.changes
                        .tracking
                        .get(tracker)
                        .redirect
                        .map_or(0, |redirect| redirect.client_id as i64)
                });
                self.answer(id, |out| out.integer(redirect))
            }
            _ => self.tracking_info(id),
        };
        let _: Now = now;
        self.connections[id.index as usize].session.finished();
        flow
    }

    fn client_tracking(&mut self, step: PubsubStep) -> Flow {
        let PubsubStep { id, source, .. } = step;
        // The arguments are copied out as they are needed, for carrying this out touches other connections.
        let parsed = self.with_client_args(id, source, |args| {
            let is_word = |word: &[u8]| args.bytes(2).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word));
            if is_word(b"off") {
                return Options::parse(&args).map(|_| None).map_err(|error| error.kind);
            }
            if !is_word(b"on") {
                return Err(ErrorKind::Syntax);
            }
            Options::parse(&args).map(Some).map_err(|error| error.kind)
        });
        let options = match parsed {
            Err(kind) => return self.fail(id, VerbId::ClientTracking, kind),
            Ok(None) => {
                let connection = &mut self.connections[id.index as usize];
                connection.tracks_reads = false;
                let tracker = connection.tracker.take();
                self.drop_tracker(tracker);
                return self.answer(id, |out| out.ok());
            }
            Ok(Some(options)) => options,
        };
        let redirect = match options.redirect.map(|wanted| self.connection_of_client(wanted)) {
            Some(None) => return self.fail(id, VerbId::ClientTracking, ErrorKind::TrackingNoRedirect),
            found => found.flatten(),
        };
        let current = self.connections[id.index as usize].tracker;
        if let Err(kind) = options.check(current.map(|id| self.changes.tracking.get(id))) {
            return self.fail(id, VerbId::ClientTracking, kind);
        }
        self.begin_tracking(step, &options, redirect)
    }

    /// What was asked for is well-formed: carries it out.
    fn begin_tracking(&mut self, step: PubsubStep, options: &Options, redirect: Option<Redirect>) -> Flow {
        let PubsubStep { id, source, .. } = step;
        let connection = &self.connections[id.index as usize];
        let (client_id, current) = (connection.session.id, connection.tracker);
        let args = match source {
            Source::Input { len } => self.args.args(&connection.input.readable(&self.input)[..len]),
            Source::Queue => self.args.spans(connection.transaction.queue.readable(&self.queues)),
        };
        let tracking = &mut self.changes.tracking;
        if let Some(clash) = clash_of(tracking, current, &args) {
            // The prefix that is there already, for the error to quote.
            let mut text = std::mem::take(&mut tracking.text);
            text.clear();
            let error = match clash {
                Clash::Error(error) => error,
                Clash::Existing(prefix, name) => {
                    tracking.names.append(name, &mut text);
                    ErrorKind::TrackingOverlap.of_both(Part::Bytes(prefix), Part::Bytes(&text))
                }
            };
            let Server { engine, connections, output, changes, .. } = self;
            let connection = &mut connections[id.index as usize];
            let mut out = Out::new(&mut connection.output, output, connection.session.protocol);
            engine.refuse(&mut connection.session, Some(VerbId::ClientTracking), &error, &mut out);
            changes.tracking.text = text;
            return Flow::Done;
        }
        let tracker = Tracker {
            connection: id,
            client_id,
            mode: options.mode(),
            redirect,
            noloop: options.noloop,
            caching: false,
            is_broken: false,
            drops_all: false,
        };
        let added = match current {
            Some(id) => {
                *tracking.get_mut(id) = tracker;
                Some(id)
            }
            None => tracking.add(tracker),
        };
        let mut fits = added.is_some();
        if let Some(added) = added.filter(|_| options.broadcast) {
            for prefix in prefixes(&args) {
                fits &= tracking.add_prefix(added, prefix);
            }
            if !options.has_prefix && tracking.prefixes_of(added).next().is_none() {
                fits &= tracking.add_prefix(added, b"");
            }
        }
        let connection = &mut self.connections[id.index as usize];
        if !fits {
            connection.tracks_reads = false;
            connection.tracker = None;
            self.drop_tracker(added);
            return self.fail(id, VerbId::ClientTracking, ErrorKind::TrackingFull);
        }
        // In broadcast mode nothing is noted, but changes are told command by command, off the batched path.
        (connection.tracker, connection.tracks_reads) = (added, true);
        self.follow_listeners();
        self.answer(id, |out| out.ok())
    }

    fn connection_of_client(&mut self, client_id: u64) -> Option<Redirect> {
        self.engine.meter.charge(self.connections.len() as u32 / 16);
        let found = self.connections.iter().find(|(_, connection)| connection.session.id == client_id);
        found.map(|(index, connection)| Redirect {
            client_id,
            connection: ConnectionId { index: index as u32, generation: connection.generation },
        })
    }

    fn client_caching(&mut self, step: PubsubStep) -> Flow {
        let PubsubStep { id, source, .. } = step;
        let word = self.with_client_args(id, source, |args| {
            let is = |word: &[u8]| args.bytes(2).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word));
            if is(b"yes") {
                Some(true)
            } else if is(b"no") {
                Some(false)
            } else {
                None
            }
        });
        let tracker = self.connections[id.index as usize].tracker;
        let tracking = &mut self.changes.tracking;
        let mode = tracker.map(|id| tracking.get(id).mode);
        let error = match (mode, word) {
            (None | Some(Mode::All | Mode::Broadcast), _) => ErrorKind::CachingMode,
            (Some(Mode::OptOut), Some(true)) => ErrorKind::CachingYes,
            (Some(Mode::OptIn), Some(false)) => ErrorKind::CachingNo,
            (_, None) => ErrorKind::Syntax,
            _ => {
                if let Some(tracker) = tracker {
                    tracking.get_mut(tracker).caching = true;
                }
                return self.answer(id, |out| out.ok());
            }
        };
        self.fail(id, VerbId::ClientCaching, error)
    }

    fn tracking_info(&mut self, id: ConnectionId) -> Flow {
        let Server { connections, output, changes, .. } = self;
        let connection = &mut connections[id.index as usize];
        let tracking = &changes.tracking;
        let tracker = connection.tracker;
        let found = tracker.map(|id| tracking.get(id));
        let flag = |name: &'static str, is_set: bool| is_set.then_some(name);
        let flags: [Option<&str>; 8] = match found {
            None => [Some("off"), None, None, None, None, None, None, None],
            Some(found) => [
                Some("on"),
                flag("bcast", found.mode == Mode::Broadcast),
                flag("optin", found.mode == Mode::OptIn),
                flag("caching-yes", found.mode == Mode::OptIn && found.caching),
                flag("optout", found.mode == Mode::OptOut),
                flag("caching-no", found.mode == Mode::OptOut && found.caching),
                flag("noloop", found.noloop),
                flag("broken_redirect", found.is_broken),
            ],
        };
        let session = &connection.session;
        let mut out = Out::new(&mut connection.output, output, session.protocol);
        out.mute(session.is_muted());
        out.map(3);
        out.bulk(b"flags");
        out.set(flags.iter().flatten().count());
        flags.iter().flatten().for_each(|flag| out.bulk(flag.as_bytes()));
        out.bulk(b"redirect");
        out.integer(found.map_or(-1, |found| found.redirect.map_or(0, |redirect| redirect.client_id as i64)));
        out.bulk(b"prefixes");
        // An empty prefix stands for "all", which Redis shows as none.
        let shown = |name: &Name| name.len() > 0;
        let names = || tracker.into_iter().flat_map(|id| tracking.prefixes_of(id)).filter(shown);
        out.array(names().count());
        for name in names() {
            out.bulk_header(name.len());
            tracking.names.pieces(name).for_each(|piece| out.raw(piece));
            out.raw(b"\r\n");
        }
        Flow::Done
    }

    fn with_client_args<R>(&self, id: ConnectionId, source: Source, read: impl FnOnce(Args<'_>) -> R) -> R {
        let connection = &self.connections[id.index as usize];
        read(match source {
            Source::Input { len } => self.args.args(&connection.input.readable(&self.input)[..len]),
            Source::Queue => self.args.spans(connection.transaction.queue.readable(&self.queues)),
        })
    }
}

/// Why prefixes are refused.
enum Clash<'a> {
    Error(Error<'a>),
    /// This prefix and one that the client has already.
    Existing(&'a [u8], Name),
}

/// Whether one prefix begins with another one, or is too long.
fn clash_of<'a>(tracking: &Tracking, current: Option<TrackerId>, args: &Args<'a>) -> Option<Clash<'a>> {
    if prefixes(args).count() > PREFIXES_OF_ONE_MAX {
        return Some(Clash::Error(ErrorKind::TrackingFull.plain()));
    }
    for (at, prefix) in prefixes(args).enumerate() {
        if prefix.len() > PREFIX_BYTES_MAX {
            let both = (Part::Number(prefix.len() as u64), Part::Number(PREFIX_BYTES_MAX as u64));
            return Some(Clash::Error(ErrorKind::ChannelTooLong.of_both(both.0, both.1)));
        }
        let overlaps = |other: &[u8]| other.starts_with(prefix) || prefix.starts_with(other);
        let names = &tracking.names;
        let mut own = current.into_iter().flat_map(|id| tracking.prefixes_of(id));
        if let Some(name) = own.find(|name| names.begins(*name, prefix) || names.begins_with(*name, prefix)) {
            return Some(Clash::Existing(prefix, name));
        }
        if let Some(other) = prefixes(args).skip(at + 1).find(|other| overlaps(other)) {
            let error = ErrorKind::TrackingOverlapGiven.of_both(Part::Bytes(prefix), Part::Bytes(other));
            return Some(Clash::Error(error));
        }
    }
    None
}
