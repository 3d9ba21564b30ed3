//! LCS against the textbook's table of lengths, and Redis's way back through it.

use crate::engine::testing::Bench;

/// The subsequence that Redis finds.
fn textbook(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[i][j] = if a[i - 1] == b[j - 1] {
                table[i - 1][j - 1] + 1
            } else {
                table[i - 1][j].max(table[i][j - 1])
            };
        }
    }
    let (mut i, mut j, mut found) = (a.len(), b.len(), Vec::new());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            found.push(a[i - 1]);
            (i, j) = (i - 1, j - 1);
        } else if table[i - 1][j] > table[i][j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    found.reverse();
    found
}

#[test]
fn of_several_subsequences_it_is_the_one_that_redis_finds() {
    let mut bench = Bench::new();
    let mut random = 7_u32;
    let mut draw = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % below
    };
    for round in 0..200 {
        let letters = 2 + draw(5);
        let (a_len, b_len) =
            (draw(if round < 150 { 20 } else { 200 }), draw(if round < 150 { 140 } else { 300 }));
        let [a, b] =
            [a_len, b_len].map(|len| (0..len).map(|_| b'a' + draw(letters) as u8).collect::<Vec<_>>());
        bench.run_args(&[b"SET", b"a", &a]);
        bench.run_args(&[b"SET", b"b", &b]);
        let expected = textbook(&a, &b);
        let header = format!("${}\r\n", expected.len());
        let reply = bench.run("LCS a b");
        assert_eq!(reply, format!("{header}{}\r\n", String::from_utf8_lossy(&expected)), "{a:?} {b:?}");
        assert_eq!(bench.run("LCS a b LEN"), format!(":{}\r\n", expected.len()));
    }
}

#[test]
fn long_values_count_as_far_as_the_bound() {
    let mut bench = Bench::new();
    let mut long = vec![b'x'; 15_000];
    long[14_000] = b'y';
    bench.run_args(&[b"SET", b"a", &long]);
    bench.run("SET b yx");
    assert_eq!(bench.run("LCS a b"), "$2\r\nyx\r\n");
    let matches = "*2\r\n*2\r\n*2\r\n:1\r\n:1\r\n*2\r\n:14999\r\n:14999\r\n*2\r\n*2\r\n:0\r\n:0\r\n*2\r\n:14000\r\n:14000\r\n";
    let expected = format!("*4\r\n$7\r\nmatches\r\n{matches}$3\r\nlen\r\n:2\r\n");
    assert_eq!(bench.run("LCS b a IDX"), expected);
    bench.run_args(&[b"SET", b"a", &[b'x'; 15_700]]);
    let reply = bench.run("LCS a b");
    assert_eq!(
        reply,
        "-ERR strings are too long for LCS: the product of their lengths, the second one a multiple of 64, is bounded by 1000000\r\n"
    );
}
