//! The one rounding at the end: from a ratio of big integers, or its square root, to the nearest
//! double, ties to even.
//!
//! The quotient is taken to 64 bits or more (the root to 56 or more), what lies below is only known
//! to be zero or not ("sticky"), and then the bits are cut once, to 53 or to the grid of the least
//! double, whichever is coarser. A result that rounds to zero is +0.0. Rounding twice, say the sum
//! before the division, would be wrong.

use std::cmp::Ordering;

use super::fixed::split;
use super::magnitude::Magnitude;

/// Exponent of the least double's only bit.
const LEAST_EXPONENT: i64 = -1074;
/// Bits that a quotient has at least before it is cut.
const QUOTIENT_BITS: u32 = 64;
/// Bits that the radicand of a root has at least.
const RADICAND_BITS: u32 = 112;

/// `magnitude * 2^exponent`, plus something below its last bit where `sticky`, as a double. With
/// `sticky` the magnitude has at least 55 bits.
pub(super) fn round(negative: bool, magnitude: &Magnitude, exponent: i64, sticky: bool) -> f64 {
    let cut = magnitude.bit_length().saturating_sub(128);
    let sticky = sticky | magnitude.any_below(cut);
    round_bits(
        negative,
        magnitude.top(cut),
        exponent + i64::from(cut),
        sticky,
    )
}

/// [`round`] of at most 128 bits.
fn round_bits(negative: bool, magnitude: u128, exponent: i64, sticky: bool) -> f64 {
    let bits = 128 - magnitude.leading_zeros();
    let unit = (i64::from(bits) + exponent - 53).max(LEAST_EXPONENT);
    let cut = unit - exponent;
    debug_assert!(
        magnitude == 0 || !sticky || cut >= 2,
        "too few bits to round with a sticky tail"
    );
    let kept = if magnitude == 0 || cut > i64::from(bits) {
        // Nothing, or less than half of the least double.
        0
    } else if cut <= 0 {
        (magnitude as u64) << -cut
    } else {
        let cut = cut as u32;
        let kept = magnitude.checked_shr(cut).unwrap_or(0) as u64;
        let half = 1_u128 << (cut - 1);
        let up = magnitude & half != 0 && (kept & 1 == 1 || sticky || magnitude & (half - 1) != 0);
        kept + u64::from(up)
    };
    if kept == 0 {
        return 0.0;
    }
    // `kept` has its hidden bit from 2^52 on, so adding it to the exponent's bits, less one, is the
    // encoding; a carry to 2^53 moves the exponent by itself.
    let biased = unit - LEAST_EXPONENT;
    let encoded = if biased > 2046 {
        f64::INFINITY.to_bits()
    } else {
        (kept + ((biased as u64) << 52)).min(f64::INFINITY.to_bits())
    };
    f64::from_bits(encoded | u64::from(negative) << 63)
}

/// `magnitude * 2^exponent / (first * second)`, rounded.
pub(super) fn round_quotient(
    negative: bool,
    magnitude: &Magnitude,
    exponent: i64,
    first: u64,
    second: u64,
) -> f64 {
    let divisor_bits = 128 - first.leading_zeros() - second.leading_zeros();
    if let (Some(small), 1) = (magnitude.small(), second) {
        // The common mean: the quotient has at least 64 bits, and all of it fits in 128.
        let bits = 128 - small.leading_zeros();
        let shift = (QUOTIENT_BITS + divisor_bits - 1).saturating_sub(bits);
        let (scaled, divisor) = (small << shift, u128::from(first));
        return round_bits(
            negative,
            scaled / divisor,
            exponent - i64::from(shift),
            scaled % divisor != 0,
        );
    }
    let (quotient, exponent, sticky) = quotient(
        magnitude,
        exponent,
        first,
        second,
        QUOTIENT_BITS + divisor_bits,
    );
    round(negative, &quotient, exponent, sticky)
}

/// `sqrt(magnitude * 2^exponent / (first * second))`, rounded.
pub(super) fn round_root(magnitude: &Magnitude, exponent: i64, first: u64, second: u64) -> f64 {
    let divisor_bits = 128 - first.leading_zeros() - second.leading_zeros();
    let (quotient, mut exponent, mut sticky) = quotient(
        magnitude,
        exponent,
        first,
        second,
        RADICAND_BITS + divisor_bits,
    );
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
    round(
        false,
        &Magnitude::from_words(smallvec::smallvec![root as u64]),
        exponent / 2,
        sticky,
    )
}

/// `sqrt(top / bottom * 2^exponent)`, at most 1, rounded: the double is found by bisection, since a
/// candidate is compared exactly with two products, where a quotient of two numbers this long would
/// need a long division.
pub(super) fn round_root_of_ratio(top: &Magnitude, bottom: &Magnitude, exponent: i64) -> f64 {
    // Of `mantissa * 2^power` and the root.
    let compare = |mantissa: u64, power: i64| {
        let squared = bottom.times(mantissa).times(mantissa);
        squared.compare(2 * power, top, exponent)
    };
    let parts = |bits: u64| {
        let (mantissa, position) = split(f64::from_bits(bits));
        (mantissa, i64::from(position) + LEAST_EXPONENT)
    };
    let (mut low, mut high) = (0.0_f64.to_bits(), 1.0_f64.to_bits());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let (mantissa, power) = parts(middle);
        if compare(mantissa, power).is_gt() {
            high = middle;
        } else {
            low = middle;
        }
    }
    let (mantissa, power) = parts(low);
    let up = match compare(2 * mantissa + 1, power - 1) {
        Ordering::Less => true,
        Ordering::Equal => low % 2 == 1,
        Ordering::Greater => false,
    };
    f64::from_bits(if up { high } else { low })
}

/// Quotient of the magnitude, first shifted up to `bits`, its exponent, and whether a remainder was
/// cut off.
fn quotient(
    magnitude: &Magnitude,
    exponent: i64,
    first: u64,
    second: u64,
    bits: u32,
) -> (Magnitude, i64, bool) {
    let shift = bits.saturating_sub(magnitude.bit_length());
    let mut quotient = magnitude.shift_left(shift);
    let sticky = quotient.divide(first) | quotient.divide(second);
    (quotient, exponent - i64::from(shift), sticky)
}
