//! The one rounding at the end: from a ratio of big integers, or its square root, to the nearest double, ties to even.
//!
//! The quotient is taken to 64 bits or more (the root to 56 or more), what lies below is only known to be zero or not
//! ("sticky"), and then the bits are cut once, to 53 or to the grid of the least double, whichever is coarser. A result
//! that rounds to zero is +0.0. Rounding twice, say the sum before the division, would be wrong.

use super::magnitude::Magnitude;

/// Exponent of the least double's only bit.
const LEAST_EXPONENT: i64 = -1074;
/// Bits that a quotient has at least before it is cut.
const QUOTIENT_BITS: u32 = 64;
/// Bits that the radicand of a root has at least.
const RADICAND_BITS: u32 = 112;

/// `magnitude * 2^exponent`, plus something below its last bit where `sticky`, as a double. With `sticky` the magnitude
/// has at least 55 bits.
pub(super) fn round(negative: bool, magnitude: &Magnitude, exponent: i64, sticky: bool) -> f64 {
    if magnitude.is_zero() {
        return 0.0;
    }
    let bits = magnitude.bit_length();
    let unit = (i64::from(bits) + exponent - 53).max(LEAST_EXPONENT);
    let cut = unit - exponent;
    debug_assert!(!sticky || cut >= 2, "too few bits to round with a sticky tail");
    let mut kept = if cut <= 0 {
        (magnitude.top(0) as u64) << -cut
    } else if cut > i64::from(bits) {
        // Less than half of the least double.
        0
    } else {
        let cut = cut as u32;
        let kept = magnitude.top(cut) as u64;
        let half = magnitude.bit(cut - 1);
        kept + u64::from(half && (kept & 1 == 1 || sticky || magnitude.any_below(cut - 1)))
    };
    if kept == 0 {
        return 0.0;
    }
    // `kept` has its hidden bit from 2^52 on, so adding it to the exponent's bits, less one, is the encoding; a carry
    // to 2^53 moves the exponent by itself.
    let biased = unit - LEAST_EXPONENT;
    if biased > 2046 {
        kept = f64::INFINITY.to_bits();
    } else {
        kept = (kept + ((biased as u64) << 52)).min(f64::INFINITY.to_bits());
    }
    f64::from_bits(kept | u64::from(negative) << 63)
}

/// `magnitude * 2^exponent / (first * second)`, rounded.
pub(super) fn round_quotient(negative: bool, magnitude: &Magnitude, exponent: i64, first: u64, second: u64) -> f64 {
    let divisor_bits = 128 - first.leading_zeros() - second.leading_zeros();
    let (quotient, exponent, sticky) = quotient(magnitude, exponent, first, second, QUOTIENT_BITS + divisor_bits);
    round(negative, &quotient, exponent, sticky)
}

/// `sqrt(magnitude * 2^exponent / (first * second))`, rounded.
pub(super) fn round_root(magnitude: &Magnitude, exponent: i64, first: u64, second: u64) -> f64 {
    let divisor_bits = 128 - first.leading_zeros() - second.leading_zeros();
    let (quotient, mut exponent, mut sticky) =
        quotient(magnitude, exponent, first, second, RADICAND_BITS + divisor_bits);
    if quotient.is_zero() {
        return 0.0;
    }
    // At most 127 bits, and an even exponent, go under the root.
    let mut cut = quotient.bit_length().saturating_sub(127);
    if (exponent + i64::from(cut)).rem_euclid(2) != 0 {
        cut += 1;
    }
    sticky |= quotient.any_below(cut);
    exponent += i64::from(cut);
    let radicand = quotient.top(cut);
    let root = radicand.isqrt();
    sticky |= root * root != radicand;
    round(false, &Magnitude::from_words(smallvec::smallvec![root as u64]), exponent / 2, sticky)
}

/// Quotient of the magnitude, first shifted up to `bits`, its exponent, and whether a remainder was cut off.
fn quotient(magnitude: &Magnitude, exponent: i64, first: u64, second: u64, bits: u32) -> (Magnitude, i64, bool) {
    let shift = bits.saturating_sub(magnitude.bit_length());
    let mut quotient = magnitude.shift_left(shift);
    let sticky = quotient.divide(first) | quotient.divide(second);
    (quotient, exponent - i64::from(shift), sticky)
}
