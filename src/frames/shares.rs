//! How many sessions of the at-most-once table each address and each stream connection holds: counters in fixed memory.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

/// One holder's counter; a key of 0 marks an empty place.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    key: u32,
    count: u32,
}

/// A holder of sessions: a keyed hash of 32 bits, never 0. Two holders that collide share one counter, which happens to
/// a given pair once in 2^32 and costs them no more than room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder(u32);

/// The counters: open addressing with linear probing, at most half full, so that probes stay short.
#[derive(Debug)]
pub struct Shares {
    places: Vec<Share>,
    key: [u64; 2],
}

impl Shares {
    /// Counters for up to `holders_max` holders. `key` must be random: it keeps peers from choosing addresses that
    /// collide with another's.
    #[must_use]
    pub fn new(holders_max: usize, key: [u64; 2]) -> Shares {
        Shares { places: vec![Share::default(); places_count(holders_max)], key }
    }

    /// Bytes that counters for so many holders reserve.
    #[must_use]
    pub const fn memory_bytes(holders_max: usize) -> usize {
        places_count(holders_max) * size_of::<Share>()
    }

    /// The holder that an address belongs to: an IPv4 address alone, an IPv6 address by its /64, which one machine
    /// usually has whole (RFC 6177).
    #[must_use]
    pub fn address(&self, ip: IpAddr) -> Holder {
        let (family, number) = network_of(ip);
        self.holder(family, number)
    }

    /// The holder that a stream connection is.
    #[must_use]
    pub fn stream(&self, connection: u64) -> Holder {
        self.holder(STREAM, connection)
    }

    /// Sessions that it holds.
    #[must_use]
    pub fn count(&self, holder: Holder) -> usize {
        self.places[self.place_of(holder)].count as usize
    }

    /// It holds one more.
    pub fn add(&mut self, holder: Holder) {
        let place = self.place_of(holder);
        self.places[place].key = holder.0;
        self.places[place].count += 1;
    }

    /// It holds one less; its place is given back with the last.
    pub fn remove(&mut self, holder: Holder) {
        let place = self.place_of(holder);
        let share = &mut self.places[place];
        share.count = share.count.saturating_sub(1);
        if share.count == 0 {
            self.clear(place);
        }
    }

    /// Holders with at least one session. Walks over everything, for tests.
    #[must_use]
    pub fn holders_count(&self) -> usize {
        self.places.iter().filter(|share| share.count > 0).count()
    }

    fn holder(&self, kind: u8, number: u64) -> Holder {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u8(kind);
        hasher.write_u64(number);
        Holder((hasher.finish() as u32).max(1))
    }

    /// The place of a holder, or the empty one where it would be put.
    fn place_of(&self, holder: Holder) -> usize {
        let mut place = holder.0 as usize % self.places.len();
        while self.places[place].key != 0 && self.places[place].key != holder.0 {
            place = (place + 1) % self.places.len();
        }
        place
    }

    /// Empties a place and closes the gap, so that no tombstones gather (Knuth, TAOCP 6.4, algorithm R).
    fn clear(&mut self, mut gap: usize) {
        let count = self.places.len();
        let mut next = (gap + 1) % count;
        while self.places[next].key != 0 {
            let home = self.places[next].key as usize % count;
            if (next + count - home) % count >= (next + count - gap) % count {
                self.places[gap] = self.places[next];
                gap = next;
            }
            next = (next + 1) % count;
        }
        self.places[gap] = Share::default();
    }
}

const fn places_count(holders_max: usize) -> usize {
    (holders_max * 2).next_power_of_two()
}

/// The kind of holder that a stream is, beside the families 4 and 6 of addresses.
const STREAM: u8 = 0;

/// The network that counts as one peer, as its family and a number: an IPv4 address (also one that is mapped into IPv6),
/// or an IPv6 /64.
#[must_use]
pub fn network_of(ip: IpAddr) -> (u8, u64) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => (4, u64::from(v4.to_bits())),
        IpAddr::V6(v6) => (6, (v6.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::HashMap;

    #[test]
    fn an_address_is_counted_by_itself_or_by_its_64_bits() {
        let shares = Shares::new(4, [1, 2]);
        let of = |text: &str| shares.address(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"), "one /64");
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"), "mapped");
        let all = ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8:0:1::1", "::1", "0.0.0.1"];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| of(one) != of(other)), "{one}");
        }
        assert_ne!(shares.stream(1), shares.stream(2));
    }

    #[test]
    fn counts_stay_right_while_holders_come_and_go() {
        let mut shares = Shares::new(16, [3, 4]);
        let mut random = Random(5);
        let mut model: HashMap<u64, usize> = HashMap::new();
        let mut held = 0;
        for _ in 0..20_000 {
            let connection = random.below(40) as u64;
            let holder = shares.stream(connection);
            let count = model.entry(connection).or_default();
            if held < 16 && random.below(2) == 0 {
                shares.add(holder);
                (*count, held) = (*count + 1, held + 1);
            } else if *count > 0 {
                shares.remove(holder);
                (*count, held) = (*count - 1, held - 1);
            }
            for (connection, count) in &model {
                assert_eq!(shares.count(shares.stream(*connection)), *count);
            }
            assert_eq!(shares.holders_count(), model.values().filter(|count| **count > 0).count());
        }
    }

    #[test]
    fn memory_is_what_was_computed() {
        let shares = Shares::new(100, [1, 2]);
        assert_eq!(Shares::memory_bytes(100), shares.places.capacity() * size_of::<Share>());
        assert!(shares.places.len() >= 200, "at most half full");
    }
}
