//! The check sum at the end of Redis's files and of what DUMP answers: CRC-64 of Jones's polynomial, reflected, from 0.
//! Eight bytes are taken at once (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC
//! Generation", 2008).

/// Jones's polynomial 0xad93d23594c935a9 with its bits in reverse order.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[n][byte]` is what a byte does to the sum `n` bytes later.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// The sum of `bytes` behind those whose sum is `sum` (at the beginning: 0).
#[must_use]
pub fn crc64(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| {
        let word = sum ^ u64::from_le_bytes(*word);
        (0..8).fold(0, |sum, at| sum ^ TABLES[7 - at][(word >> (8 * at) & 0xff) as usize])
    });
    rest.iter().fold(sum, |sum, byte| (sum >> 8) ^ TABLES[0][((sum ^ u64::from(*byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_the_published_one() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn pieces_have_the_sum_of_the_whole() {
        let bytes: Vec<u8> = (0..100).map(|number: u8| number.wrapping_mul(37)).collect();
        let whole = crc64(0, &bytes);
        for at in 0..=bytes.len() {
            assert_eq!(crc64(crc64(0, &bytes[..at]), &bytes[at..]), whole);
        }
        assert_eq!(bytes.iter().fold(0, |sum, byte| crc64(sum, &[*byte])), whole);
    }
}
