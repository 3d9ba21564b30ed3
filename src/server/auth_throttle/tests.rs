//! Which addresses wait, for how long, and which ones the table keeps.

use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn failed(count: u32, now: Millis) -> AuthThrottle {
    let mut throttle = AuthThrottle::new();
    (0..count).for_each(|_| throttle.note_failure(PEER, now));
    throttle
}

#[test]
fn delays_double_up_to_a_second_and_are_forgotten_after_a_minute() {
    let delays =
        [0, 1, 5, 6, 7, 8, 10, 11, 1_000].map(|count| failed(count, Millis(9)).delay_ms(PEER, Millis(9)));
    assert_eq!(delays, [0, 0, 0, 50, 100, 200, 800, 1_000, 1_000]);
    let mut throttle = failed(100, Millis(9));
    assert_eq!(throttle.delay_ms(PEER, Millis(60_008)), 1_000);
    assert_eq!(throttle.delay_ms(PEER, Millis(60_009)), 0);
    throttle.note_failure(PEER, Millis(60_009));
    assert_eq!(throttle.delay_ms(PEER, Millis(60_009)), 0, "it begins at zero again");
}

#[test]
fn others_are_not_delayed_and_a_network_is_one_source() {
    let mut throttle = failed(100, Millis(9));
    assert_eq!(throttle.delay_ms(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), Millis(9)), 0);
    let v6 = |host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host));
    (0..50).for_each(|host| throttle.note_failure(v6(host), Millis(9)));
    assert_eq!(throttle.delay_ms(v6(999), Millis(9)), 1_000);
    assert_eq!(throttle.delay_ms(IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()), Millis(9)), 1_000);
}

#[test]
fn the_table_keeps_those_that_failed_last() {
    let mut throttle = AuthThrottle::new();
    for number in 0..10_000_u32 {
        throttle.note_failure(IpAddr::V4(number.into()), Millis(u64::from(number)));
    }
    (0..20).for_each(|_| throttle.note_failure(PEER, Millis(10_000)));
    assert_eq!(throttle.delay_ms(PEER, Millis(10_000)), 1_000);
}
