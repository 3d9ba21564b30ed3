//! Walks over commands that the machine has passed: the table of arguments filled again, and the large values among them.

use super::{Decoder, MARKER_BYTES, Stage, count_looked};
use crate::mutation::LargeId;
use crate::wire::arguments::{ArgTable, HEAD_ARGS, WINDOW_ARGS};
use crate::wire::inline;

impl Decoder {
    /// Fills the table with what is known of a command when [`Step::Body`] announces one of its arguments: the first
    /// arguments, at most [`HEAD_ARGS`], of those before it, and how many the whole command has.
    pub fn head(&self, bytes: &[u8], table: &mut ArgTable) {
        debug_assert_eq!(self.stage, Stage::Large, "a body that nobody announced");
        table.reset();
        let mut walk = Walk { bytes, at: 0 };
        let count = walk.number();
        for _ in 0..HEAD_ARGS {
            if walk.at >= self.line as usize {
                break;
            }
            walk.argument_into(table);
        }
        table.is_part_of(count);
    }

    /// Calls `visit` for every large value that the incomplete or held command holds, for a close in the middle of it.
    pub fn large_ids(&self, bytes: &[u8], mut visit: impl FnMut(LargeId)) {
        if bytes.first() != Some(&b'*') {
            return;
        }
        let end = match self.stage {
            Stage::Start | Stage::Inline | Stage::Count => return,
            Stage::Size | Stage::Large => self.line,
            Stage::Type | Stage::Body | Stage::Held => self.scanned,
        };
        let mut walk = Walk { bytes, at: 0 };
        walk.number();
        while walk.at < end as usize {
            if let Found::Large(Some(id)) = walk.argument() {
                visit(id);
            }
        }
    }

    /// Fills the table again for a command for which `decode` has said [`Step::Ready`], from the bytes that it
    /// consumed: for a reply that is made in several turns, between which the table serves others.
    pub fn again(bytes: &[u8], table: &mut ArgTable) {
        table.reset();
        if bytes.first() != Some(&b'*') {
            // It was split without an error before.
            let _ = inline::split(inline::without_end(bytes), table);
            return;
        }
        let mut walk = Walk { bytes, at: 0 };
        for _ in 0..walk.number() {
            walk.argument_into(table);
        }
    }

    /// The same for the first arguments, as many as a window has.
    pub fn begin_again(bytes: &[u8], table: &mut ArgTable) {
        Decoder::window(bytes, (0, 0), table);
    }

    /// The same for a window: the first arguments, and those from number `first` on, which begins at `at` (0: the first of
    /// all). All of them, where they are few.
    pub(super) fn window(bytes: &[u8], (at, first): (usize, usize), table: &mut ArgTable) {
        if bytes.first() != Some(&b'*') {
            return Decoder::again(bytes, table);
        }
        table.reset();
        let mut walk = Walk { bytes, at: 0 };
        let count = walk.number();
        // So few that all of them are no more work.
        let is_window = count > HEAD_ARGS + WINDOW_ARGS;
        let head_count = if is_window { HEAD_ARGS } else { count };
        for _ in 0..head_count {
            walk.argument_into(table);
        }
        if is_window {
            let mut next = HEAD_ARGS;
            if first > HEAD_ARGS {
                (walk.at, next) = (at, first);
            }
            table.begin_window(next, count);
            for _ in next..count.min(next + WINDOW_ARGS) {
                walk.argument_into(table);
            }
        }
    }

    /// Calls `visit` for every large value among the arguments of a whole command.
    pub fn each_large(bytes: &[u8], mut visit: impl FnMut(LargeId)) {
        if bytes.first() != Some(&b'*') {
            return;
        }
        let mut walk = Walk { bytes, at: 0 };
        for _ in 0..walk.number() {
            if let Found::Large(Some(id)) = walk.argument() {
                visit(id);
            }
        }
    }
}

/// A walk over the headers of arguments that the machine has passed.
pub(super) struct Walk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

pub(super) enum Found {
    Bytes { at: usize, len: usize },
    Large(Option<LargeId>),
}

impl Walk<'_> {
    /// The number on a line with a type byte.
    pub(super) fn number(&mut self) -> usize {
        let mut number = 0;
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            number = number * 10 + usize::from(byte - b'0');
            self.at += 1;
            count_looked(1);
        }
        self.at += 2;
        count_looked(3);
        number
    }

    pub(super) fn argument(&mut self) -> Found {
        if let Some([0, header_len, has_id, a, b, c, d]) = self.bytes.get(self.at..self.at + MARKER_BYTES) {
            count_looked(MARKER_BYTES);
            self.at += usize::from(*header_len) + 2;
            let id = LargeId(u32::from_le_bytes([*a, *b, *c, *d]));
            return Found::Large((*has_id == 1).then_some(id));
        }
        let len = self.number();
        let at = self.at;
        self.at += len + 2;
        Found::Bytes { at, len }
    }

    /// The next argument, into the table.
    fn argument_into(&mut self, table: &mut ArgTable) {
        match self.argument() {
            Found::Bytes { at, len } => table.push(at, len),
            Found::Large(id) => table.push_large(id),
        }
    }
}
