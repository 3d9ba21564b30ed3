use super::*;

#[test]
fn a_permutation_meets_every_number_once() {
    for len in [1, 2, 3, 7, 16, 100, 1000] {
        for seed in [1, 0xDEAD_BEEF, u64::MAX] {
            let mut met: Vec<u64> = (0..len).map(|number| permuted(number, len, seed)).collect();
            met.sort_unstable();
            assert_eq!(met, (0..len).collect::<Vec<u64>>());
        }
    }
    let first: Vec<u64> = (0..20).map(|number| permuted(number, 1000, 1)).collect();
    assert_ne!(first, (0..20).map(|number| permuted(number, 1000, 2)).collect::<Vec<u64>>());
}
