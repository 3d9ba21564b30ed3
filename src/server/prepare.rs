//! Whether a decoded command runs now: the gate, the wait after wrong passwords, pauses, refusals for want of memory or of a
//! disk, the queue of a transaction, and room for a reply that cannot be cut.

use super::Server;
use super::auth_throttle::gives_password;
use crate::command::{Verb, VerbId};
use crate::connection::{Connection, ConnectionId};
use crate::reply::ErrorKind;
use crate::time::Now;
use crate::wire::encode::{Out, Protocol};

/// What is to be done with a decoded command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prepared {
    /// The server is paused: later, unconsumed.
    Held,
    /// Its reply is long and cannot be cut: later, unconsumed, when the replies before it are sent.
    NoRoom,
    /// It has been answered, by an error.
    Answered,
    /// It waits for EXEC; its references have moved to the queue.
    Queued,
    /// It is to be run.
    Runnable(&'static Verb),
}

impl Server {
    /// Looks the command up and decides whether it runs now; the argument table stays as it is.
    pub(super) fn prepare(&mut self, id: ConnectionId, len: usize, now: Now) -> Prepared {
        let Server { engine, connections, input, output, args, pubsub, .. } = self;
        let connection = &mut connections[id.index as usize];
        let is_replying = connection.is_replying();
        let Connection {
            session,
            output: pending,
            input: ring,
            transaction,
            request,
            last_verb,
            subscriber,
            is_watching,
            ..
        } = connection;
        let args = args.args(&ring.readable(input)[..len]);
        if is_replying {
            return crate::command::resolve(&args).map_or(Prepared::Answered, Prepared::Runnable);
        }
        let mut out = Out::new(pending, output, session.protocol);
        out.mute(session.is_muted());
        let Some(verb) = engine.admit(session, &args, &mut out) else {
            // Its own refusal has been answered; the next command's arguments are not to blame for this one's.
            request.refused = None;
            transaction.dirty |= transaction.open;
            return Prepared::Answered;
        };
        *last_verb = Some(verb);
        let listens = subscriber.is_some_and(|id| !pubsub.table.has_none(id)) || *is_watching;
        if listens && session.protocol == Protocol::Resp2 && !super::pubsub::is_allowed(verb) {
            request.refused = None;
            transaction.dirty |= transaction.open;
            let error = ErrorKind::OnlySubscriptions.of(verb.name.as_bytes());
            engine.refuse(session, Some(verb.id), &error, &mut out);
            return Prepared::Answered;
        }
        if matches!(verb.id, VerbId::Auth | VerbId::Hello)
            && engine.has_password()
            && gives_password(verb, &args)
        {
            if self.is_password_held(id, now.monotonic) {
                return Prepared::Held;
            }
            return self.prepare_rest(id, verb, len, now);
        }
        self.prepare_rest(id, verb, len, now)
    }

    /// The same for a command that was admitted.
    #[inline]
    fn prepare_rest(&mut self, id: ConnectionId, verb: &'static Verb, len: usize, now: Now) -> Prepared {
        let Server { engine, connections, output, .. } = self;
        let connection = &mut connections[id.index as usize];
        let Connection { session, output: pending, transaction, request, .. } = connection;
        let pending_len = pending.pending_len();
        let mut out = Out::new(pending, output, session.protocol);
        out.mute(session.is_muted());
        if let Some(error) = engine.persistence.refuses(verb, transaction.flags) {
            request.refused = None;
            transaction.dirty |= transaction.open;
            engine.refuse(session, Some(verb.id), &error.plain(), &mut out);
            if error == ErrorKind::ExecMisconf {
                self.drop_transaction(id);
            }
            return Prepared::Answered;
        }
        if engine.is_held(verb, transaction.flags, now.monotonic) {
            return Prepared::Held;
        }
        if let Some(refused) = request.refused.take() {
            transaction.dirty |= transaction.open;
            engine.refuse(session, Some(verb.id), &crate::engine::refused(refused), &mut out);
            return Prepared::Answered;
        }
        if transaction.open && !super::transaction::runs_at_once(verb) {
            return self.queue_command(id, verb, len, now);
        }
        if pending_len > LITTLE_BYTES && is_long_in_one_go(verb) {
            return Prepared::NoRoom;
        }
        if verb.id == VerbId::Waitaof && self.waits_for_sync(id, len, now.monotonic) {
            return Prepared::Held;
        }
        Prepared::Runnable(verb)
    }
}

/// Bytes of replies that may wait in front of one that may be long: those of a pipeline of short transactions or
/// scripts, which would else be sent one by one.
const LITTLE_BYTES: u64 = 1024;

/// Whether a verb's reply may be long and is made in one go: it begins with little in the output, so that nearly all that one
/// client may have of the output buffers is there for this reply.
fn is_long_in_one_go(verb: &Verb) -> bool {
    #[cfg(feature = "scripts")]
    if matches!(verb.id, VerbId::Eval | VerbId::EvalRo | VerbId::Evalsha | VerbId::EvalshaRo) {
        return true;
    }
    use VerbId::{
        Command, CommandDocs, CommandInfo, CommandList, ConfigGet, Exec, Info, LatencyHistogram, SlowlogGet,
    };
    matches!(
        verb.id,
        Command
            | CommandDocs
            | CommandInfo
            | CommandList
            | ConfigGet
            | Exec
            | Info
            | LatencyHistogram
            | SlowlogGet
    )
}

#[cfg(test)]
mod tests {
    use crate::config::ServerOptions;
    use crate::server::Resources;
    use crate::server::testing::{NOW, ask, connect, receive, server, take_text};
    use crate::store::StoreConfig;

    #[test]
    fn short_replies_of_what_may_answer_at_length_leave_together() {
        let mut server = server(StoreConfig::default(), ServerOptions::default(), Resources::default());
        let id = connect(&mut server);
        let mut kinds = vec![("MULTI\r\nSET a 1\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n")];
        if cfg!(feature = "scripts") {
            kinds.push(("EVAL \"return 1\" 0\r\n", ":1\r\n"));
        }
        for (command, reply) in kinds {
            // The first script takes memory for all of them.
            ask(&mut server, id, command.trim_end(), NOW);
            receive(&mut server, id, command.repeat(16).as_bytes(), NOW);
            server.run(id, NOW);
            assert_eq!(take_text(&mut server, id), reply.repeat(16), "{command}");
        }
    }
}
