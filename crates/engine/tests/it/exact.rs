//! Rounded results from exact integers: a double is an integer on the grid of 2^-1074, a result is
//! a fraction of such integers, and the nearest double is found by bisection over bit patterns and
//! one comparison with the midpoint of two neighbours. Slow, short, and nothing like the
//! accumulator that it judges.

use std::cmp::Ordering;

use num_bigint::BigInt;

/// The one NaN of results.
pub(crate) const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// `value * 2^1074`.
fn grid(value: f64) -> BigInt {
    let bits = value.abs().to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let magnitude = match bits >> 52 {
        0 => BigInt::from(fraction),
        exponent => BigInt::from(fraction | (1 << 52)) << (exponent - 1),
    };
    if value.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

/// The double nearest to `sign * (numerator / denominator * 2^-exponent) ^ (1 / power)`, ties to
/// even, zero as +0.0.
fn nearest(numerator: &BigInt, denominator: &BigInt, exponent: u32, power: u32) -> f64 {
    let zero = BigInt::from(0);
    if *numerator < zero {
        let result = -nearest(&-numerator, denominator, exponent, power);
        return if result == 0.0 { 0.0 } else { result };
    }
    // Of a pattern, in units of 2^-1075; the pattern of infinity stands for 2^1024.
    let doubled = |bits: u64| {
        let infinite = bits == f64::INFINITY.to_bits();
        if infinite {
            BigInt::from(1) << (1024 + 1075)
        } else {
            grid(f64::from_bits(bits)) << 1
        }
    };
    let compare = |candidate: &BigInt| -> Ordering {
        // numerator / denominator * 2^-exponent against candidate^power * 2^(-1075 * power)
        let (left, right) = (numerator.clone(), candidate.pow(power) * denominator);
        let shift = i64::from(power) * 1075 - i64::from(exponent);
        if shift >= 0 {
            (left << shift.unsigned_abs()).cmp(&right)
        } else {
            left.cmp(&(right << shift.unsigned_abs()))
        }
    };
    let (mut low, mut high) = (0_u64, f64::INFINITY.to_bits());
    if compare(&doubled(high)).is_ge() {
        return f64::INFINITY;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if compare(&doubled(middle)).is_ge() {
            low = middle
        } else {
            high = middle
        }
    }
    let midpoint: BigInt = (doubled(low) + doubled(high)) >> 1;
    let up = match compare(&midpoint) {
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal => low % 2 == 1,
    };
    f64::from_bits(if up { high } else { low })
}

/// What NaN and infinities among `values` make of a sum; None where all are finite.
fn special(values: &[f64]) -> Option<f64> {
    let (up, down) = (
        values.contains(&f64::INFINITY),
        values.contains(&f64::NEG_INFINITY),
    );
    if values.iter().any(|v| v.is_nan()) || up && down {
        Some(NAN)
    } else if up {
        Some(f64::INFINITY)
    } else if down {
        Some(f64::NEG_INFINITY)
    } else {
        None
    }
}

/// `sum` over DOUBLE.
pub(crate) fn sum(values: &[f64]) -> Option<f64> {
    mean(values, 1)
}

/// `avg`.
pub(crate) fn avg(values: &[f64]) -> Option<f64> {
    mean(values, values.len())
}

fn mean(values: &[f64], denominator: usize) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let total = || values.iter().map(|v| grid(*v)).sum::<BigInt>();
    Some(special(values).unwrap_or_else(|| nearest(&total(), &BigInt::from(denominator), 1074, 1)))
}

/// `var_pop` and `stddev_pop` (`degrees` 0), `var_samp` and `stddev_samp` (1); `power` 2 takes the
/// root.
pub(crate) fn variance(values: &[f64], degrees: usize, power: u32) -> Option<f64> {
    let n = values.len();
    if n <= degrees {
        return None;
    }
    if special(values).is_some() {
        return Some(NAN);
    }
    let grid: Vec<BigInt> = values.iter().map(|v| grid(*v)).collect();
    let (total, squares) = (
        grid.iter().sum::<BigInt>(),
        grid.iter().map(|v| v * v).sum::<BigInt>(),
    );
    let numerator = BigInt::from(n) * squares - &total * &total;
    Some(nearest(
        &numerator,
        &BigInt::from(n * (n - degrees)),
        2148,
        power,
    ))
}

#[test]
fn rounds_what_is_known() {
    assert_eq!(sum(&[0.1, 0.2]), Some(0.1 + 0.2));
    assert_eq!(sum(&[1e16, 1.0, -1e16]), Some(1.0));
    assert_eq!(sum(&[f64::MAX, f64::MAX]), Some(f64::INFINITY));
    assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), Some(f64::MAX));
    assert_eq!(sum(&[-0.0, -0.0]).map(f64::to_bits), Some(0));
    assert_eq!(
        avg(&[5e-324, 0.0]).map(f64::to_bits),
        Some(0),
        "a tie goes to even"
    );
    assert_eq!(avg(&[5e-324, 5e-324, 0.0]), Some(5e-324));
    assert_eq!(avg(&[f64::MAX, f64::MAX]), Some(f64::MAX));
    assert_eq!(avg(&[1.0, 1.0, 2.0]), Some(4.0 / 3.0));
    assert_eq!((sum(&[]), variance(&[1.0], 1, 1)), (None, None));
    assert_eq!(variance(&[1.0, 2.0, 3.0, 4.0], 0, 1), Some(1.25));
    assert_eq!(
        variance(&[1.0, 2.0, 3.0, 4.0], 1, 2),
        Some((5.0_f64 / 3.0).sqrt())
    );
    assert_eq!(variance(&[1e200, -1e200], 0, 1), Some(f64::INFINITY));
    assert_eq!(variance(&[1e200, -1e200], 0, 2), Some(1e200));
    assert_eq!(
        sum(&[f64::INFINITY, f64::NEG_INFINITY]).map(f64::to_bits),
        Some(NAN.to_bits())
    );
}
