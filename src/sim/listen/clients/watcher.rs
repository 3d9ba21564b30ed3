//! A client that watches a prefix: it sees every change of it, over breaks too.

use super::{Listened, Truth};
use crate::client::{Reply, encoded};
use crate::sim::violation::{Violation, brief, show, violation};

/// Watches a prefix, and goes on where it was.
#[derive(Default)]
pub struct Watcher {
    prefix: Vec<u8>,
    /// The life of the server and the revision that it has seen.
    seen: Option<(usize, u64)>,
    /// What it asked to go on from, and the latest revision then.
    asked: Option<(Option<u64>, u64)>,
    is_running: bool,
}

impl Watcher {
    pub(super) fn new(prefix: &[u8]) -> Watcher {
        Watcher { prefix: prefix.to_vec(), ..Watcher::default() }
    }

    /// What it has not read of the old connection it never will.
    pub(super) fn disconnected(&mut self) {
        (self.is_running, self.asked) = (false, None);
    }

    /// Everything is read.
    pub(super) fn has_missed_nothing(&self, truth: &Truth) -> Result<(), Violation> {
        let Watcher { is_running: true, seen: Some((life, seen)), prefix, .. } = self else { return Ok(()) };
        truth.next_event(*life, *seen, prefix).map_or(Ok(()), |event| {
            let text = format!(
                "a watch of {} at {seen} was never sent {} {}",
                show(prefix),
                event.revision,
                event.event
            );
            Err(violation(&event.key, text))
        })
    }

    pub(super) fn ask(&mut self, up: &mut Vec<u8>, truth: &Truth) {
        if self.is_running || self.asked.is_some() {
            return;
        }
        let from = self.seen.map(|(_, revision)| revision);
        self.asked = Some((from, truth.latest()));
        match from {
            Some(from) => {
                let from = from.to_string();
                up.extend(encoded(&[b"WATCHPREFIX", &self.prefix, b"FROM", from.as_bytes()]));
            }
            None => up.extend(encoded(&[b"WATCHPREFIX", &self.prefix])),
        }
    }

    pub(super) fn heard(
        &mut self,
        reply: Reply,
        (life, truth): (usize, &Truth),
        seen: &mut Listened,
    ) -> Result<(), Violation> {
        let wrong = |text: String| Err(violation(b"", text));
        let parts = match reply {
            Reply::Error { code, text } => {
                let (from, _) = self.asked.take().unwrap_or_default();
                if code != "COMPACTED" || from.is_none() {
                    return wrong(format!("a watch was refused: {code} {text}"));
                }
                let floor = text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok());
                if self.seen.is_some_and(|(of, revision)| {
                    of == life && floor.is_none_or(|floor: u64| floor <= revision)
                }) {
                    return wrong(format!("{code} {text} where {from:?} was asked for"));
                }
                seen.refused += 1;
                self.seen = None;
                return Ok(());
            }
            Reply::Array(parts) | Reply::Push(parts) => parts,
            _ => return Ok(()),
        };
        let word = parts[0].clone().into_bytes().unwrap_or_default();
        match (&word[..], &parts[1..]) {
            (b"watchprefix", [_, Reply::Integer(revision)]) => {
                let Some((from, latest)) = self.asked.take() else {
                    return wrong("a watch begins that nobody asked for".into());
                };
                let revision = *revision as u64;
                if from.map_or(revision < latest, |from| from != revision) {
                    return wrong(format!("a watch begins at {revision}, asked was {from:?} at {latest}"));
                }
                seen.resumed += u64::from(from.is_some());
                (self.is_running, self.seen) = (true, Some((life, revision)));
                Ok(())
            }
            (b"compacted", _) => {
                seen.compacted += 1;
                (self.is_running, self.seen) = (false, None);
                Ok(())
            }
            (b"change", [_, Reply::Integer(revision), event, key]) => {
                let (revision, key) = (*revision as u64, key.clone().into_bytes().unwrap_or_default());
                let event = event.clone().into_bytes().unwrap_or_default();
                let Some((_, before)) = self.seen.replace((life, revision)) else {
                    return wrong("a watch that has not begun sends a change".into());
                };
                seen.changes += 1;
                let due = truth.next_event(life, before, &self.prefix);
                if due.is_some_and(|due| {
                    due.revision == revision && due.event.as_bytes() == event && due.key == key
                }) {
                    return Ok(());
                }
                let (event, due) = (show(&event), brief(&due));
                let text = format!("a watch at {before} is sent {revision} {event}, due is {due}");
                Err(violation(&key, text))
            }
            _ => Ok(()),
        }
    }
}
