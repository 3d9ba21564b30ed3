//! Tests count the work of a step: arguments, look-ups, bytes and pattern steps, where they are done and whether or not
//! a command charges its meter for them. So a verb that does much in one step is found though it charges nothing. In
//! every other build this is nothing.

/// Counts for one [unit](crate::engine::meter).
#[cfg(test)]
pub(crate) const PER_UNIT: u64 = 64;
/// What resolving an argument counts.
pub(crate) const ARGUMENT: u64 = 4;
/// What looking a key up counts.
pub(crate) const KEY: u64 = 128;

/// What going to a page of a collection counts.
pub(crate) const PAGE: u64 = 64;
/// What looking at one of its entries after another counts.
pub(crate) const ENTRY: u64 = 8;

/// What meeting a key in a scan counts: its neighbours are near.
pub(crate) const SCANNED_KEY: u64 = 64;

/// What touching so many bytes counts.
#[inline(always)]
pub(crate) const fn bytes(len: usize) -> u64 {
    len as u64 / 8
}

#[cfg(test)]
thread_local! {
    static DONE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Something was done.
#[cfg(test)]
pub(crate) fn count(work: u64) {
    DONE.with(|done| done.set(done.get() + work));
}

/// Units done on this thread since the last call.
#[cfg(test)]
pub(crate) fn take_units() -> u64 {
    DONE.with(|done| done.replace(0)) / PER_UNIT
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn count(_: u64) {}
