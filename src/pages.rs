//! Pages of memory that are given back to the system: before their owner is, or because only the start needed them. And pages that are
//! to be large. This is one of the few files that may use `unsafe`.
#![allow(unsafe_code)]

use std::ptr::NonNull;

/// The least length of a page of any machine.
const PAGE_BYTES: usize = 4096;

/// Gives the whole pages within `bytes` back to the system; they cost nothing until they are touched again. What `bytes`
/// holds afterwards is unspecified: zeros in those pages. Where the system's pages are longer than 4 KiB the call may do
/// nothing.
///
/// `bytes` must be memory of the process's own, as all that `alloc` gives is: a file's would be read again.
pub(crate) fn discard(bytes: &mut [u8]) {
    let first = bytes.as_ptr().align_offset(PAGE_BYTES).min(bytes.len());
    let len = (bytes.len() - first) / PAGE_BYTES * PAGE_BYTES;
    if len == 0 {
        return;
    }
    // SAFETY: the range lies within `bytes`, of which the exclusive borrow makes this the only reference. The pages are
    // private and anonymous, since they came from the allocator, so they read as zeros afterwards (madvise(2)), which are
    // valid bytes. A failure changes nothing.
    let _ = unsafe { libc::madvise(bytes.as_mut_ptr().add(first).cast(), len, libc::MADV_DONTNEED) };
}

/// Asks the system to have this memory in pages of 2 MiB, where it has such pages at all, and to have them now: then most look-ups
/// find the address of what they read in the processor's own tables, and no client waits later for such a page to be cleared
/// (`MADV_HUGEPAGE`, `MADV_POPULATE_WRITE`, madvise(2); the latter since Linux 5.14). False: it has none, and nothing is done.
pub(crate) fn make_huge(first: NonNull<u8>, len: usize) -> bool {
    // `never` is in brackets where they are switched off, which the call does not say.
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if setting.is_empty() || setting.contains("[never]") {
        return false;
    }
    // SAFETY: the calls change neither what the memory holds nor whom it belongs to, and an address that is not mapped makes
    // them fail and do nothing.
    let advise = |advice| unsafe { libc::madvise(first.as_ptr().cast(), len, advice) == 0 };
    let has_any = advise(libc::MADV_HUGEPAGE);
    // Where there is too little memory, or the kernel is older, they come as they are touched.
    let _ = has_any && advise(libc::MADV_POPULATE_WRITE);
    has_any
}

/// Gives back the pages of the program's code and constants that are in memory, most of which only the start has needed. What is
/// used again comes back from its file, which the system keeps in its own memory, sixteen pages at a time: a tenth of a
/// millisecond in all for what serves clients.
pub(crate) fn drop_what_the_start_needed() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (first, len) in maps.lines().filter_map(unwritten) {
        // SAFETY: these are pages of a file, mapped private, not writable and never written: see `unwritten`. So each
        // holds what the file does, and holds it again when it is read next (madvise(2)). A mapping that has gone since makes the
        // call fail.
        let _ = unsafe { libc::madvise(std::ptr::without_provenance_mut(first), len, libc::MADV_DONTNEED) };
    }
}

/// Where the memory of a line of `/proc/self/maps` lies, and how long it is, if it is a part of a program or a library that is as the
/// file has it: code, which in a position-independent program has no relocations, or the segment at the file's beginning, which
/// holds its headers and constants. (What the loader writes to and protects afterwards is a segment of its own behind them.)
fn unwritten(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, mode, offset) = (words.next()?, words.next()?, words.next()?);
    let inode = words.nth(1)?;
    let (first, end) = range.split_once('-')?;
    let hexadecimal = |digits| usize::from_str_radix(digits, 16).ok();
    let (first, end) = (hexadecimal(first)?, hexadecimal(end)?);
    let is_unwritten = mode == "r-xp" || mode == "r--p" && hexadecimal(offset)? == 0;
    (is_unwritten && inode != "0").then_some((first, end.checked_sub(first)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_writes_is_told_from_what_somebody_has() {
        let code = "5561f0a00000-5561f0a2a000 r-xp 0001f000 fe:01 1234   /usr/bin/pannier";
        let first = "5561f0900000-5561f0a00000 r--p 00000000 fe:01 1234   /usr/bin/pannier";
        assert_eq!(unwritten(code), Some((0x5561_f0a0_0000, 0x2_a000)));
        assert_eq!(unwritten(first), Some((0x5561_f090_0000, 0x10_0000)));
        for other in [
            &code.replace("r-xp", "r--p"),
            &code.replace("r-xp", "rwxp"),
            &code.replace("r-xp", "r-xs"),
            &first.replace("r--p", "rw-p"),
            "7ffd1c5f2000-7ffd1c5f4000 r-xp 00000000 00:00 0   [vdso]",
            "nonsense",
            "",
        ] {
            assert_eq!(unwritten(other), None, "{other}");
        }
        // It goes on running.
        drop_what_the_start_needed();
    }

    #[test]
    fn whole_pages_are_zeros_and_what_is_beside_them_stays() {
        let mut bytes = vec![7; 5 * PAGE_BYTES];
        let first = bytes.as_ptr().align_offset(PAGE_BYTES);
        let given = &mut bytes[first + 10..first + 3 * PAGE_BYTES + 10];
        discard(given);
        assert!(bytes[..first + PAGE_BYTES].iter().all(|byte| *byte == 7));
        assert!(bytes[first + PAGE_BYTES..first + 3 * PAGE_BYTES].iter().all(|byte| *byte == 0));
        assert!(bytes[first + 3 * PAGE_BYTES..].iter().all(|byte| *byte == 7));
        discard(&mut []);
        discard(&mut bytes[..1]);
    }
}
