//! What the engine knows of the journal: whether commands may run, figures for INFO, and the commands about saving.

use super::{Call, Engine, Flow, Outcome};
use crate::command::{Flags, Verb, VerbId};
use crate::journal::{Condition, JournalStatus, WriteGate};
use crate::reply::ErrorKind;
use crate::store::Store;

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

    /// Whether writers wait for the disk.
    #[must_use]
    pub fn holds_writers(&self, store: &Store) -> bool {
        self.stage == Stage::Serving
            && (self.gate == WriteGate::Wait || self.gate == WriteGate::Open && store.feed_blocks_writers())
    }

    /// Whether frames wait: there is no reply that says why to all of their clients, and they ask again.
    #[must_use]
    pub fn holds_frame(&self, is_write: bool, store: &Store) -> bool {
        match self.stage {
            Stage::Off => false,
            Stage::Loading { .. } => true,
            Stage::Serving => is_write && !self.is_open(store),
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

/// `LASTSAVE`: when the last checkpoint was durable; without one, when the server started.
pub(super) fn lastsave<'a>(call: &mut Call<'_, 'a, '_>) -> Outcome<'a> {
    let started = call.now.0.saturating_sub(call.engine.process_stats.uptime_ms);
    let saved = call.engine.persistence.status.map_or(started, |status| status.saved.0);
    call.done((saved / 1000) as i64)
}

/// INFO's section, with Redis's names: a checkpoint stands for its snapshots, the journal for its append-only file.
pub(super) fn info(engine: &Engine, text: &mut String) -> std::fmt::Result {
    use std::fmt::Write;
    let persistence = &engine.persistence;
    let status = persistence.status;
    let is_loading = matches!(persistence.stage, Stage::Loading { .. });
    let last = status.and_then(|status| status.last_checkpoint);
    let ok = |is_ok: bool| if is_ok { "ok" } else { "err" };
    let under_way = status.is_some_and(|status| status.is_checkpoint_under_way);
    let started_s = engine.process_stats.started_unix_ms / 1000;
    let changes = status.map_or(0, |status| status.revision.0 - status.saved_revision.0);
    write!(
        text,
        "loading:{}\r\nasync_loading:0\r\nrdb_changes_since_last_save:{changes}\r\n\
         rdb_bgsave_in_progress:{}\r\nrdb_last_save_time:{}\r\nrdb_last_bgsave_status:{}\r\n\
         rdb_last_bgsave_time_sec:{}\r\naof_enabled:{}\r\naof_rewrite_in_progress:{}\r\naof_rewrite_scheduled:0\r\n\
         aof_last_bgrewrite_status:{}\r\naof_last_write_status:{}\r\n",
        u8::from(is_loading),
        u8::from(under_way),
        status.map_or(started_s, |status| status.saved.0 / 1000),
        ok(last.is_none_or(|last| last.is_ok)),
        last.map_or(-1, |last| (last.took_ms / 1000) as i64),
        u8::from(persistence.stage != Stage::Off),
        u8::from(under_way),
        ok(last.is_none_or(|last| last.is_ok)),
        ok(status.is_none_or(|status| status.condition == Condition::Running)),
    )?;
    if let Stage::Loading { done, total } = persistence.stage {
        let percent = done as f64 * 100.0 / total.max(1) as f64;
        write!(
            text,
            "loading_total_bytes:{total}\r\nloading_loaded_bytes:{done}\r\nloading_loaded_perc:{percent:.2}\r\n"
        )?;
    }
    let Some(status) = status else { return Ok(()) };
    write!(
        text,
        "aof_current_size:{}\r\ncheckpoint_bytes:{}\r\njournal_durability:{}\r\njournal_revision:{}\r\n\
         journal_durable_revision:{}\r\njournal_failures:{}\r\njournal_overruns:{}\r\n",
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
