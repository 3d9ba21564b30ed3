//! A global allocator that counts, for the binary `tests/no_alloc`: it alone may say so, with
//! `#[global_allocator] static ALLOCATOR: CountingAllocator = CountingAllocator;`
//!
//! Only the thread that has called [`counting`] is counted, so that the test harness's own threads do not matter.
#![allow(unsafe_code)] // An allocator cannot be written without it; it hands everything on to the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

pub struct CountingAllocator;

thread_local! {
    // Constant initialisation and no destructor: touching them allocates nothing.
    static ON: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Runs `work` and returns how often this thread has allocated, reallocated or freed meanwhile.
pub fn counting(work: impl FnOnce()) -> u64 {
    COUNT.set(0);
    ON.set(true);
    work();
    ON.set(false);
    COUNT.get()
}

fn count() {
    if ON.get() {
        COUNT.set(COUNT.get() + 1);
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator, whose guarantees are the ones asked for.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises about `layout` are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: `pointer` came from `System` with this layout, as all of ours do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as in `dealloc`, and the caller's promise about `new_size` is that of `System`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
