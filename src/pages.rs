//! Pages of memory that are given back to the system before their owner is, and pages that are to be large. This is one of the few
//! files that may use `unsafe`.
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
/// find the address of what they read in the processor's own tables, and nobody waits later for such a page to be cleared
/// (`MADV_HUGEPAGE`, `MADV_POPULATE_WRITE`, madvise(2); the latter since Linux 5.14). False: it has none.
pub(crate) fn make_huge(first: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the calls change neither what the memory holds nor whom it belongs to, and an address that is not mapped makes
    // them fail and do nothing.
    let advise = |advice| unsafe { libc::madvise(first.as_ptr().cast(), len, advice) == 0 };
    let has_any = advise(libc::MADV_HUGEPAGE);
    // Where there is too little memory, or the kernel is older, they come as they are touched.
    let _ = has_any && advise(libc::MADV_POPULATE_WRITE);
    has_any
}

#[cfg(test)]
mod tests {
    use super::*;

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
