//! Where a string of JSON stops being plain: its end, an escape, or a byte that must be escaped.
//! Eight bytes at a time, because most bytes of most records lie in strings.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The first byte from `from` on that is a quote, a backslash or a control character.
pub(super) fn plain_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut rest = bytes.get(from..)?;
    let mut at = from;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        rest = behind;
        at += word.len();
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    rest.iter().position(is_special).map(|place| at + place)
}

/// A bit in each byte of `word` that is special. Bytes above the lowest one that has its bit may
/// have theirs wrongly: a borrow runs upwards.
fn special(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), 0x1e_u8..=0x24, 0x5a_u8..=0x5e, Just(0x7f_u8), Just(0x80_u8)], 0..40,
        ), from in 0_usize..42) {
            let simple = (from..bytes.len()).find(|at| matches!(bytes[*at], b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_end(&bytes, from), simple);
        }
    }
}
