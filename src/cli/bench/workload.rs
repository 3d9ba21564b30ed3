//! What is asked: which key, read or write, and how long a value. Drawn from a seed, so that a run can be repeated.

use rand::{Rng, RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use rand_distr::Zipf;

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Distribution {
    /// Each key as often as any other.
    Uniform,
    /// The key of rank r in proportion to 1 / r^exponent.
    Zipf(f64),
}

/// Bytes of a value: one length, or any from a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) min: usize,
    pub(super) max: usize,
}

impl Sizes {
    /// The one length, where there is only one.
    pub(super) fn fixed(self) -> Option<usize> {
        (self.min == self.max).then_some(self.min)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Read,
    Write,
}

/// One request, before it has bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) op: Op,
    /// The key's number.
    pub(super) key: u64,
    /// Bytes of the value of a write, or of a command; 0 for a GET.
    pub(super) value_len: usize,
    /// Whether the answer is to be looked at in full.
    pub(super) check: bool,
}

/// What a workload is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) keys: u64,
    pub(super) distribution: Distribution,
    pub(super) sizes: Sizes,
    /// 0 to 100.
    pub(super) read_percent: u8,
    /// Whether reads have values as well: they are commands of any kind.
    pub(super) values_in_reads: bool,
    /// Every so many reads one is checked; 0: none.
    pub(super) check_every: u64,
    pub(super) seed: u64,
}

/// An endless row of requests.
pub(super) struct Workload {
    mix: Mix,
    keys: Keys,
    random: Xoshiro256PlusPlus,
    reads: u64,
}

enum Keys {
    Uniform,
    Zipf {
        zipf: Zipf<f64>,
    },
    /// From this number on, one after the other.
    InOrder(u64),
    One(u64),
}

/// Ranks are spread over the key space by this prime, so that the popular keys are not neighbours.
const SPREAD: u64 = 0x9E37_79B1;

impl Workload {
    /// Requests as the mix says.
    pub(super) fn new(mix: Mix) -> Workload {
        let keys = match mix.distribution {
            Distribution::Uniform => Keys::Uniform,
            // The arguments were checked: an exponent from 0 to 10, and at least one key.
            Distribution::Zipf(exponent) => {
                Zipf::new(mix.keys as f64, exponent).map_or(Keys::Uniform, |zipf| Keys::Zipf { zipf })
            }
        };
        Workload { mix, keys, random: Xoshiro256PlusPlus::seed_from_u64(mix.seed), reads: 0 }
    }

    /// Writes each key once, in order.
    pub(super) fn fill(mix: Mix) -> Workload {
        Workload { keys: Keys::InOrder(0), ..Workload::new(Mix { read_percent: 0, ..mix }) }
    }

    /// Always the same key.
    pub(super) fn one_key(mix: Mix, key: u64) -> Workload {
        Workload { keys: Keys::One(key), ..Workload::new(mix) }
    }

    pub(super) fn draw(&mut self) -> Request {
        let key = self.draw_key();
        let read = match self.mix.read_percent {
            0 => false,
            100 => true,
            percent => below(&mut self.random, 100) < u64::from(percent),
        };
        if read {
            self.reads += 1;
            let check = self.mix.check_every > 0 && self.reads.is_multiple_of(self.mix.check_every);
            let value_len = if self.mix.values_in_reads { self.draw_len() } else { 0 };
            return Request { op: Op::Read, key, value_len, check };
        }
        Request { op: Op::Write, key, value_len: self.draw_len(), check: false }
    }

    fn draw_len(&mut self) -> usize {
        let Sizes { min, max } = self.mix.sizes;
        min + if min == max { 0 } else { below(&mut self.random, (max - min) as u64 + 1) as usize }
    }

    fn draw_key(&mut self) -> u64 {
        match &mut self.keys {
            Keys::Uniform => below(&mut self.random, self.mix.keys),
            Keys::Zipf { zipf } => {
                let rank = (self.random.sample(*zipf) as u64 - 1).min(self.mix.keys - 1);
                (u128::from(rank) * u128::from(SPREAD) % u128::from(self.mix.keys)) as u64
            }
            Keys::InOrder(next) => {
                let key = *next % self.mix.keys;
                *next += 1;
                key
            }
            Keys::One(key) => *key,
        }
    }
}

/// A number below `bound`. The bias of one multiplication is below 2^-32 for any key space that fits a memory.
fn below(random: &mut Xoshiro256PlusPlus, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: Mix = Mix {
        keys: 1000,
        distribution: Distribution::Uniform,
        sizes: Sizes { min: 10, max: 20 },
        read_percent: 50,
        values_in_reads: false,
        check_every: 10,
        seed: 1,
    };

    fn draw(mut workload: Workload, count: usize) -> Vec<Request> {
        (0..count).map(|_| workload.draw()).collect()
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        assert_eq!(draw(Workload::new(MIX), 1000), draw(Workload::new(MIX), 1000));
        assert_ne!(draw(Workload::new(MIX), 1000), draw(Workload::new(Mix { seed: 2, ..MIX }), 1000));
    }

    #[test]
    fn shares_and_sizes_are_as_asked() {
        let requests = draw(Workload::new(MIX), 10_000);
        let reads = requests.iter().filter(|request| request.op == Op::Read).count();
        assert!((4_700..5_300).contains(&reads), "{reads}");
        assert_eq!(requests.iter().filter(|request| request.check).count(), reads / 10);
        let lengths: Vec<_> =
            requests.iter().filter(|r| r.op == Op::Write).map(|request| request.value_len).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&10), Some(&20)));
        assert!(requests.iter().all(|request| request.key < 1000));
    }

    #[test]
    fn commands_have_values_of_all_sizes() {
        let mix = Mix { read_percent: 100, values_in_reads: true, ..MIX };
        let lengths: Vec<_> =
            draw(Workload::new(mix), 1000).iter().map(|request| request.value_len).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&10), Some(&20)));
        let mix = Mix { values_in_reads: false, ..mix };
        assert!(draw(Workload::new(mix), 1000).iter().all(|request| request.value_len == 0));
    }

    #[test]
    fn a_fill_writes_each_key_once() {
        let keys: Vec<u64> = draw(Workload::fill(MIX), 1000).iter().map(|request| request.key).collect();
        assert_eq!(keys, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn zipf_has_favourites_and_all_keys_in_range() {
        let mix = Mix { distribution: Distribution::Zipf(0.99), ..MIX };
        let requests = draw(Workload::new(mix), 100_000);
        let mut counts = vec![0; 1000];
        requests.iter().for_each(|request| counts[request.key as usize] += 1);
        counts.sort_unstable();
        // 1 / sum of r^-0.99 for r to 1000 is 0.1289.
        assert!((12_000..13_800).contains(&counts[999]), "{}", counts[999]);
        // The ratio of the first rank to the second is 2^0.99.
        assert!((1.8..2.2).contains(&(f64::from(counts[999]) / f64::from(counts[998]))));
    }
}
