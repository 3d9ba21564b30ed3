//! Words of a command as an error or a help text shows them.

use crate::store::{LargeCursor, Store};
use crate::wire::arguments::{Arg, Args};

/// Bytes that an error quotes of an argument, or of all arguments together: Redis stops there.
pub const QUOTED_BYTES_MAX: usize = 128;
/// Room for the arguments that the answer to an unknown command quotes, quotation marks of the last one included.
pub(super) const QUOTED_ARGS_BYTES: usize = QUOTED_BYTES_MAX + 8;

/// `'a' 'b' ` and so on, cut as Redis cuts it.
pub(super) fn quote_args<'b>(
    store: &Store,
    args: &Args<'_>,
    buffer: &'b mut [u8; QUOTED_ARGS_BYTES],
) -> &'b [u8] {
    let mut len = 0;
    for arg in args.from(1).iter() {
        if len >= QUOTED_BYTES_MAX {
            break;
        }
        for part in [b"'", shown(beginning(store, arg), QUOTED_BYTES_MAX - len), b"' "] {
            buffer[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
    }
    &buffer[..len]
}

/// The first bytes of an argument, as many as lie together.
pub(super) fn beginning<'a>(store: &'a Store, arg: Arg<'a>) -> &'a [u8] {
    match arg {
        Arg::Bytes(bytes) => bytes,
        Arg::Large(id) => store.large_slice(&mut LargeCursor::new(id, 0)),
        Arg::Refused => b"",
    }
}

/// What Redis shows of bytes: at most `len_max` of them, and none from a zero byte on, as printf does.
pub(super) fn shown(bytes: &[u8], len_max: usize) -> &[u8] {
    let cut = &bytes[..bytes.len().min(len_max)];
    cut.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A short name in upper case.
pub(super) fn upper<'b>(name: &str, buffer: &'b mut [u8; 16]) -> &'b [u8] {
    let len = name.len().min(buffer.len());
    buffer[..len].copy_from_slice(&name.as_bytes()[..len]);
    buffer[..len].make_ascii_uppercase();
    &buffer[..len]
}
