use super::*;

thread_local!(static NOW_US: Cell<u64> = const { Cell::new(0) });

fn limits(scratch_bytes: usize) -> Limits {
    Limits::new(|| NOW_US.get(), scratch_bytes)
}

#[test]
fn time_that_is_up_stays_up_until_the_next_script() {
    let limits = limits(0);
    limits.start(50);
    NOW_US.set(NOW_US.get() + 50);
    assert_eq!(limits.check_clock(), Ok(()));
    NOW_US.set(NOW_US.get() + 1);
    assert_eq!(limits.check_clock(), Err(Raised::TimeLimit));
    NOW_US.set(0);
    assert_eq!(limits.check_clock(), Err(Raised::TimeLimit));
    limits.start(0);
    NOW_US.set(1 << 40);
    assert_eq!(limits.check_clock(), Ok(()), "no limit");
}

#[test]
fn buffers_share_what_there_is_and_give_it_back() {
    let limits = limits(1000);
    let mut first = limits.buffer();
    assert_eq!(first.extend(&[7; 600]), Ok(()));
    let mut second = limits.buffer();
    assert_eq!(second.extend(&[7; 600]), Err(Raised::Memory));
    assert_eq!(second.pad(usize::MAX), Err(Raised::Memory));
    drop(first);
    assert_eq!(second.extend(&[7; 600]), Ok(()));
    assert_eq!(second.len(), 600);
    drop(second);
    assert_eq!(limits.scratch_left.get(), 1000);
}

#[test]
fn nesting_is_bounded() {
    let limits = limits(0);
    let all: Vec<_> = std::iter::from_fn(|| limits.nest()).take(100).collect();
    assert_eq!(all.len(), NESTED_MAX as usize);
    drop(all);
    assert!(limits.nest().is_some());
}
