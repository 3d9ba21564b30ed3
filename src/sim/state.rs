//! What a key may be, as far as its clients can know, and what an operation makes of it.

use super::history::{Action, Content, If, Operation, Seen};

/// What a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub content: Content,
    /// The wall clock's ms between which it goes.
    pub expiry: Option<(u64, u64)>,
}

/// There is no such key.
pub const ABSENT: State = State { content: Content::Absent, expiry: None };

/// The states after this operation with this answer: as it is, and as it is if the key has gone by itself before.
pub fn outcomes(operation: &Operation, state: State, evicts: bool) -> [Option<State>; 2] {
    let (from, highest) = (operation.wall.0, operation.wall_highest);
    let present = state.content != Content::Absent;
    let may_go = present && (evicts || state.expiry.is_some_and(|(earliest, _)| earliest <= highest));
    let must_go = present && state.expiry.is_some_and(|(_, latest)| latest <= from);
    let stays = if must_go { None } else { after(operation, state) };
    let goes = if may_go { after(operation, ABSENT) } else { None };
    [stays, goes]
}

/// The state after this operation if it found the key's time run out, and the key is still stored: a look-up does not
/// remove. It may be seen again once the wall clock is set back, and not before: until then the clock shows at least what
/// this operation saw.
pub fn hidden(operation: &Operation, state: State) -> Option<State> {
    let (earliest, latest) = state.expiry?;
    let shown = operation.wall.1;
    let is_untouched = earliest <= shown && after(operation, ABSENT) == Some(ABSENT);
    is_untouched.then_some(State { expiry: Some((earliest, latest.min(shown))), ..state })
}

/// The state after this operation with this answer; `None`: it cannot have that answer here.
fn after(operation: &Operation, state: State) -> Option<State> {
    let (from, to) = operation.wall;
    let window = |ttl: Option<u64>| ttl.map(|ttl| (from.saturating_add(ttl), to.saturating_add(ttl)));
    let present = state.content != Content::Absent;
    let unknown = operation.seen == Seen::Unknown;
    match operation.action {
        Action::Get => (operation.seen == Seen::Content(state.content)).then_some(state),
        Action::Put { content, ttl_ms, keeps_ttl, condition } => {
            let holds = match condition {
                If::Always => true,
                If::Absent => !present,
                If::Present => present,
                If::Still(content) => state.content == content,
            };
            let expiry = if keeps_ttl { state.expiry } else { window(ttl_ms) };
            match operation.seen {
                Seen::Done(false) => (!holds).then_some(state),
                _ => holds.then_some(State { content, expiry }),
            }
        }
        Action::Delete if unknown => present.then_some(ABSENT),
        Action::Delete => (operation.seen == Seen::Done(present)).then_some(ABSENT),
        Action::Add(delta) => {
            let before = match state.content {
                Content::Absent => 0,
                Content::Number(number) => number,
                Content::Text(_) => return None,
            };
            let sum = before.wrapping_add(delta);
            (unknown || operation.seen == Seen::Sum(sum))
                .then_some(State { content: Content::Number(sum), expiry: state.expiry })
        }
        Action::Expire(ttl) if unknown || operation.seen == Seen::Done(present) => {
            let expiry = if present { window(ttl) } else { None };
            (!unknown || present).then_some(State { expiry, ..state })
        }
        Action::Expire(_) => None,
        Action::Clear => Some(ABSENT),
    }
}
