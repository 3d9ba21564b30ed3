//! What the engine knows of the journal: whether commands may run, figures for INFO, and the commands about saving.

use super::{Call, Engine, Flow, Outcome};
use crate::command::{Flags, Verb, VerbId};
use crate::journal::{Condition, Durability, JournalStatus, WriteGate};
use crate::mutation::Revision;
use crate::reply::{Error, ErrorKind};
use crate::store::Store;
use crate::wire::arguments::Args;
use crate::wire::frame::Status;
use crate::wire::number::parse_i64;

/// How far a server is with its data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It has none.
    #[default]
    Off,
    /// So many bytes of its files are read.
    Loading {
        done: u64,
        total: u64,
    },
    Serving,
}

/// The engine's view of the journal; the loop keeps it up to date.
#[derive(Clone, Copy, Debug, Default)]
pub struct Persistence {
    pub stage: Stage,
    pub gate: WriteGate,
    pub status: Option<JournalStatus>,
    /// A checkpoint was asked for.
    pub wants_checkpoint: bool,
    /// A client waits until everything so far is durable.
    pub wants_sync: bool,
    /// What the WAITAOF that runs now has waited for; `None`: it has not waited.
    pub awaited: Option<Revision>,
    /// Keys and changes that the start has loaded.
    pub loaded_count: u64,
    /// Commands were held that are to be looked at again.
    pub has_held: bool,
}

impl Persistence {
    /// Whether nothing is held or refused.
    #[inline]
    #[must_use]
    pub fn is_open(&self, store: &Store) -> bool {
        match self.stage {
            Stage::Off => true,
            Stage::Loading { .. } => false,
            Stage::Serving => self.gate == WriteGate::Open && !store.feed_blocks_writers(),
        }
    }

    /// Whether commands may run without a look at what each of them sees: where replies wait for the disk, only as long
    /// as everything is durable.
    #[inline]
    #[must_use]
    pub fn lets_run(&self, store: &Store) -> bool {
        self.is_open(store)
            && self.status.is_none_or(|status| {
                status.durability != Durability::Always || status.durable >= store.revision()
            })
    }

    /// Whether writers wait for the disk.
    #[must_use]
    pub fn holds_writers(&self, store: &Store) -> bool {
        self.stage == Stage::Serving
            && (self.gate == WriteGate::Wait || self.gate == WriteGate::Open && store.feed_blocks_writers())
    }

    /// Whether everything up to a revision is durable.
    #[must_use]
    pub fn is_durable(&self, revision: Revision) -> bool {
        self.status.is_some_and(|status| status.durable >= revision)
    }

    /// How many milliseconds a WAITAOF with these arguments waits for the disk at most, 0 for as long as it takes.
    /// `None`: it does not wait, or is wrong.
    #[must_use]
    pub fn wait_ms(&self, args: &Args<'_>) -> Option<u64> {
        let request = WaitAof::parse(args).ok()?;
        (request.local && self.stage == Stage::Serving).then_some(request.timeout_ms)
    }

    /// Why a frame is refused, if it is.
    #[must_use]
    pub fn refuses_frame(&self, is_write: bool) -> Option<Status> {
        match self.stage {
            Stage::Loading { .. } => Some(Status::Loading),
            Stage::Serving if is_write && self.gate == WriteGate::Refuse => Some(Status::Misconf),
            Stage::Off | Stage::Serving => None,
        }
    }

    /// Why a command is refused, if it is. `queued` are the flags of what a transaction holds.
    #[must_use]
    pub fn refuses(&self, verb: &Verb, queued: Flags) -> Option<ErrorKind> {
        match self.stage {
            Stage::Off => None,
            Stage::Loading { .. } if verb.flags.has(Flags::LOADING) => None,
            Stage::Loading { .. } => Some(ErrorKind::Loading),
            Stage::Serving if self.gate != WriteGate::Refuse => None,
            Stage::Serving if verb.flags.has(Flags::WRITE) => Some(ErrorKind::Misconf),
            Stage::Serving if verb.id == VerbId::Exec && queued.has(Flags::WRITE) => {
                Some(ErrorKind::ExecMisconf)
            }
            Stage::Serving => None,
        }
    }
}

/// `SAVE`, `BGSAVE [SCHEDULE]`, `BGREWRITEAOF`: all mean a checkpoint. Without a data directory an OK would promise what a
/// restart does not keep; and SAVE would stop all clients until the disk is done, which nothing does here.
pub(super) fn save<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let verb = call.verb.id;
    if verb == VerbId::Bgsave && (call.args.len() > 2 || call.args.len() == 2 && !call.is_word(1, "SCHEDULE"))
    {
        return Err(ErrorKind::Syntax.plain());
    }
    let persistence = &mut call.engine.persistence;
    let Some(status) = persistence.status.filter(|_| persistence.stage == Stage::Serving) else {
        return Err(ErrorKind::NotPersistent.of(call.verb.name.as_bytes()));
    };
    if verb == VerbId::Save {
        return Err(ErrorKind::SaveStops.plain());
    }
    if status.is_checkpoint_under_way || persistence.wants_checkpoint {
        return Err(ErrorKind::SaveUnderWay.plain());
    }
    persistence.wants_checkpoint = true;
    call.out.simple(match verb {
        VerbId::Bgsave => "Background saving started",
        _ => "Background append only file rewriting started",
    });
    Ok(Flow::Done)
}

/// What WAITAOF asks for.
struct WaitAof {
    /// That it is durable here.
    local: bool,
    timeout_ms: u64,
}

impl WaitAof {
    fn parse<'a>(args: &Args<'a>) -> Result<WaitAof, Error<'a>> {
        let integer = |at| args.bytes(at).and_then(parse_i64).ok_or(ErrorKind::NotAnInteger.plain());
        let local = match integer(1)? {
            local @ (0 | 1) => local == 1,
            _ => return Err(ErrorKind::LocalOutOfRange.plain()),
        };
        if integer(2)? < 0 {
            return Err(ErrorKind::NotPositive.plain());
        }
        let timeout = integer(3).map_err(|_| ErrorKind::TimeoutNotAnInteger.plain())?;
        let timeout_ms = u64::try_from(timeout).map_err(|_| ErrorKind::TimeoutNegative.plain())?;
        Ok(WaitAof { local, timeout_ms })
    }
}

/// `WAITAOF numlocal numreplicas ms`: whether what was written is durable here, once the server has waited for that, and the
/// number of replicas, of which there are none. In a transaction and in a script it does not wait.
pub(super) fn waitaof<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let request = WaitAof::parse(&call.args)?;
    let persistence = &mut call.engine.persistence;
    if request.local && persistence.stage == Stage::Off {
        return Err(ErrorKind::WaitNeedsJournal.plain());
    }
    let awaited = persistence.awaited.take().unwrap_or(call.engine.store.revision());
    let is_durable = call.engine.persistence.is_durable(awaited);
    call.out.array(2);
    call.out.integer(i64::from(is_durable));
    call.out.integer(0);
    Ok(Flow::Done)
}

/// `LASTSAVE`: when the last checkpoint was durable; without one, when the server started.
pub(super) fn lastsave<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let started = call.now.0.saturating_sub(call.engine.process_stats.uptime_ms);
    let saved = call.engine.persistence.status.map_or(started, |status| status.saved.0);
    call.done((saved / 1000) as i64)
}

/// INFO's section, with Redis's names: a checkpoint stands for its snapshots and for its rewritten base file, the journal
/// for its append-only file. Nothing is forked here, so nothing is copied on write.
pub(super) fn info(engine: &Engine, text: &mut String) -> std::fmt::Result {
    use std::fmt::Write;
    let persistence = &engine.persistence;
    let status = persistence.status;
    let last = status.and_then(|status| status.last_checkpoint);
    let status_word = |is_ok: bool| if is_ok { "ok" } else { "err" };
    let now = engine.process_stats.started_unix_ms + engine.process_stats.uptime_ms;
    let running = status.filter(|status| status.is_checkpoint_under_way);
    let running_s =
        running.map_or(-1, |status| (now.saturating_sub(status.checkpoint_began.0) / 1000) as i64);
    let is_running = u8::from(running.is_some());
    let last_s = last.map_or(-1, |last| (last.took_ms / 1000) as i64);
    let last_status = status_word(last.is_none_or(|last| last.is_ok));
    let count = status.map_or(0, |status| status.checkpoint_count);
    write!(
        text,
        "loading:{}\r\nasync_loading:0\r\ncurrent_cow_peak:0\r\ncurrent_cow_size:0\r\ncurrent_cow_size_age:0\r\n\
         current_fork_perc:0.00\r\nrdb_changes_since_last_save:{}\r\nrdb_bgsave_in_progress:{is_running}\r\n\
         rdb_last_save_time:{}\r\nrdb_last_bgsave_status:{last_status}\r\nrdb_last_bgsave_time_sec:{last_s}\r\n\
         rdb_current_bgsave_time_sec:{running_s}\r\nrdb_saves:{count}\r\nrdb_last_cow_size:0\r\n\
         rdb_last_load_keys_expired:0\r\nrdb_last_load_keys_loaded:{}\r\naof_enabled:{}\r\n\
         aof_rewrite_in_progress:{is_running}\r\naof_rewrite_scheduled:0\r\naof_last_rewrite_time_sec:{last_s}\r\n\
         aof_current_rewrite_time_sec:{running_s}\r\naof_last_bgrewrite_status:{last_status}\r\naof_rewrites:{count}\r\n\
         aof_last_write_status:{}\r\naof_last_cow_size:0\r\nmodule_fork_in_progress:0\r\n\
         module_fork_last_cow_size:0\r\n",
        u8::from(matches!(persistence.stage, Stage::Loading { .. })),
        status.map_or(0, |status| status.revision.0 - status.saved_revision.0),
        status.map_or(engine.process_stats.started_unix_ms, |status| status.saved.0) / 1000,
        persistence.loaded_count,
        u8::from(persistence.stage != Stage::Off),
        status_word(status.is_none_or(|status| status.condition == Condition::Running)),
    )?;
    if let Stage::Loading { done, total } = persistence.stage {
        let percent = done as f64 * 100.0 / total.max(1) as f64;
        write!(
            text,
            "loading_start_time:{}\r\nloading_total_bytes:{total}\r\nloading_loaded_bytes:{done}\r\n\
             loading_loaded_perc:{percent:.2}\r\n",
            engine.process_stats.started_unix_ms / 1000,
        )?;
    }
    status.map_or(Ok(()), |status| journal_info(&status, text))
}

/// The lines that there are only with a journal.
fn journal_info(status: &JournalStatus, text: &mut String) -> std::fmt::Result {
    use std::fmt::Write;
    write!(
        text,
        "aof_current_size:{}\r\naof_base_size:{}\r\naof_pending_rewrite:0\r\naof_pending_bio_fsync:{}\r\n\
         journal_bytes:{}\r\ncheckpoint_bytes:{}\r\njournal_durability:{}\r\njournal_revision:{}\r\n\
         journal_durable_revision:{}\r\njournal_failures:{}\r\njournal_overruns:{}\r\n",
        status.journal_bytes + status.checkpoint_bytes,
        status.checkpoint_bytes,
        u8::from(status.durable < status.revision),
        status.journal_bytes,
        status.checkpoint_bytes,
        status.durability.name(),
        status.revision.0,
        status.durable.0,
        status.failure_count,
        status.lost_count,
    )?;
    match status.last_error {
        Some(error) => write!(text, "journal_error:{error}\r\n"),
        None => Ok(()),
    }
}
