//! Rounding to decimals, on decimal digits: a power of ten that no double holds would round before
//! the rounding that was asked for.

use forebay_core::fault::FaultKind;

/// Decimals that the finest double has.
const MAX_DECIMALS: i64 = 1_074;
/// Digits before the point of the greatest double.
const MAX_WHOLE_DIGITS: i64 = 309;

/// `x` rounded to `decimals`, halves away from zero, judged on its exact value. NaN and infinities
/// pass.
pub(super) fn round_float(x: f64, decimals: i64) -> Result<f64, FaultKind> {
    if !x.is_finite() || x == 0.0 || decimals >= fraction_bits(x) {
        return Ok(x);
    }
    let rounded = if decimals >= 0 {
        to_decimals(x.abs(), decimals)
    } else {
        to_tens(x.abs(), decimals)
    };
    if rounded.is_infinite() {
        return Err(FaultKind::Overflow);
    }
    Ok(rounded.copysign(x))
}

/// Bits behind the binary point, which is also how many decimals the exact value has.
fn fraction_bits(x: f64) -> i64 {
    let bits = x.to_bits();
    let exponent = i64::from((bits >> 52) as u16 & 0x7ff);
    let fraction = bits & ((1 << 52) - 1);
    // Of a subnormal, the bit before the point is zero and the exponent that of the least normal.
    let (mantissa, exponent) = if exponent == 0 {
        (fraction, 1)
    } else {
        (fraction | 1 << 52, exponent)
    };
    let trailing = i64::from(mantissa.trailing_zeros());
    (MAX_DECIMALS + 1 - exponent - trailing).max(0)
}

/// A value above zero with more than `decimals` decimals. Formatting rounds the exact value, ties
/// to even; a tie has exactly one decimal more (x * 10^n is an odd number of halves), and the value
/// next above it rounds up.
fn to_decimals(x: f64, decimals: i64) -> f64 {
    let x = if fraction_bits(x) == decimals + 1 {
        x.next_up()
    } else {
        x
    };
    let places = usize::try_from(decimals).expect("0 to 1,074");
    format!("{x:.places$}").parse().expect("digits and a point")
}

/// A value above zero, to whole tens, hundreds, ..: the digit behind the last that stays decides.
fn to_tens(x: f64, decimals: i64) -> f64 {
    if decimals < -MAX_WHOLE_DIGITS {
        return 0.0;
    }
    let zeros = usize::try_from(-decimals).expect("1 to 309");
    let digits = format!("{:.0}", libm::trunc(x));
    let Some(kept) = digits.len().checked_sub(zeros) else {
        return 0.0;
    };
    let (kept, cut) = digits.split_at(kept);
    let mut kept = format!("0{kept}").into_bytes();
    if cut.as_bytes().first().is_some_and(|digit| *digit >= b'5') {
        for digit in kept.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                break;
            }
        }
    }
    let kept = String::from_utf8(kept).expect("digits");
    format!("{kept}e{zeros}")
        .parse()
        .expect("digits and an exponent")
}

/// `x` * 10^`decimals`, rounded to a whole number, halves away from zero, judged on the exact
/// value; None where 64 bits do not hold it.
pub(super) fn scaled_int(x: f64, decimals: usize) -> Option<i64> {
    if !x.is_finite() {
        return None;
    }
    let tie = fraction_bits(x) == i64::try_from(decimals).ok()? + 1;
    let x = if tie {
        x.abs().next_up().copysign(x)
    } else {
        x
    };
    let digits = format!("{x:.decimals$}").replace('.', "");
    digits.parse().ok()
}

/// `x` cut to `decimals`, judged on the shortest decimal that names it.
pub(super) fn trunc_float(x: f64, decimals: i64) -> f64 {
    if !x.is_finite() || x == 0.0 || decimals > MAX_DECIMALS {
        return x;
    }
    if decimals < -MAX_WHOLE_DIGITS {
        return 0.0_f64.copysign(x);
    }
    let text = x.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let cut = match usize::try_from(decimals) {
        Ok(decimals) if decimals >= fraction.len() => return x,
        Ok(decimals) => format!("{whole}.{}0", fraction.get(..decimals).unwrap_or_default()),
        Err(_) => {
            let zeros = usize::try_from(-decimals).expect("1 to 309");
            let kept = whole.len().saturating_sub(zeros);
            format!("0{}e{zeros}", whole.get(..kept).unwrap_or_default())
        }
    };
    let cut: f64 = cut.parse().expect("digits, a point, an exponent");
    cut.copysign(x)
}

/// `n` rounded to tens, hundreds, .. by negative `decimals`, halves away from zero.
pub(super) fn round_int(n: i64, decimals: i64) -> Option<i64> {
    let Some(unit) = unit(decimals) else {
        return Some(if decimals >= 0 { n } else { 0 });
    };
    let (n, half) = (i128::from(n), unit / 2);
    let away = if n < 0 { n - half } else { n + half };
    i64::try_from(away / unit * unit).ok()
}

/// `n` cut to tens, hundreds, .. by negative `decimals`.
pub(super) fn trunc_int(n: i64, decimals: i64) -> Option<i64> {
    let Some(unit) = unit(decimals) else {
        return Some(if decimals >= 0 { n } else { 0 });
    };
    i64::try_from(i128::from(n) / unit * unit).ok()
}

/// 10^-decimals; None where that is no whole number above 1, or so great that a BIGINT is nothing.
fn unit(decimals: i64) -> Option<i128> {
    (-19..0)
        .contains(&decimals)
        .then(|| (0..-decimals).fold(1, |unit, _| unit * 10))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_judged_on_the_exact_value() {
        let cases = [
            (2.5, 0, 3.0),
            (-2.5, 0, -3.0),
            (0.125, 2, 0.13),
            (0.375, 2, 0.38),
            (2.675, 2, 2.67),
            (1.005, 2, 1.0),
            (0.1, 60, 0.1),
            (5e-324, 0, 0.0),
            (5e-324, 1_074, 5e-324),
            (1234.5, -2, 1200.0),
            (1250.0, -2, 1300.0),
            (999.0, -1, 1000.0),
            (5.0, -1, 10.0),
            (4.999, -1, 0.0),
            (1e300, -308, 0.0),
            (6e307, -308, 1e308),
            (f64::MAX, -400, 0.0),
            (0.5, i64::MIN, 0.0),
            (0.5, i64::MAX, 0.5),
        ];
        for (x, decimals, expected) in cases {
            assert_eq!(
                round_float(x, decimals),
                Ok(expected),
                "round({x}, {decimals})"
            );
        }
        assert_eq!(round_float(f64::MAX, -308), Err(FaultKind::Overflow));
        assert!(round_float(-0.3, 0).is_ok_and(|zero| zero == 0.0 && zero.is_sign_negative()));
    }

    #[test]
    fn a_cut_is_judged_on_the_shortest_decimal() {
        let cases = [
            (0.3, 1, 0.3),
            (4.35, 2, 4.35),
            (4.359, 2, 4.35),
            (-2.7, 0, -2.0),
            (1299.9, -2, 1200.0),
            (99.0, -2, 0.0),
            (1e22, -1, 1e22),
            (f64::MAX, -309, 0.0),
        ];
        for (x, decimals, expected) in cases {
            assert_eq!(trunc_float(x, decimals), expected, "trunc({x}, {decimals})");
        }
    }

    #[test]
    fn integers_round_and_are_cut_by_tens() {
        assert_eq!(round_int(15, -1), Some(20));
        assert_eq!(round_int(-15, -1), Some(-20));
        assert_eq!(round_int(14, -1), Some(10));
        assert_eq!(round_int(i64::MAX, -1), None);
        assert_eq!(round_int(i64::MAX, -19), None);
        assert_eq!(round_int(i64::MAX / 2, -19), Some(0));
        assert_eq!(round_int(i64::MAX, i64::MIN), Some(0));
        assert_eq!(round_int(7, 3), Some(7));
        assert_eq!(trunc_int(i64::MIN, -1), Some(-9_223_372_036_854_775_800));
        assert_eq!(trunc_int(-1299, -2), Some(-1200));
    }

    #[test]
    fn scaled_numbers_are_whole() {
        assert_eq!(scaled_int(0.25, 6), Some(250_000));
        assert_eq!(scaled_int(-0.000_000_4, 6), Some(0));
        assert_eq!(scaled_int(2_f64.powi(-7), 6), Some(7_813));
        assert_eq!(scaled_int(-(2_f64.powi(-7)), 6), Some(-7_813));
        assert_eq!(scaled_int(1e300, 6), None);
        assert_eq!(scaled_int(f64::NAN, 6), None);
    }

    proptest! {
        #[test]
        fn rounding_is_within_half_a_unit_and_rests(x in -1e6_f64..1e6, decimals in 0_i64..8) {
            let rounded = round_float(x, decimals).expect("finite");
            let unit = 10_f64.powi(-i32::try_from(decimals).expect("small"));
            prop_assert!((rounded - x).abs() <= unit * 0.500_001);
            prop_assert_eq!(round_float(rounded, decimals), Ok(rounded));
            let cut = trunc_float(x, decimals);
            prop_assert!(cut.abs() <= x.abs());
            prop_assert_eq!(trunc_float(cut, decimals), cut);
        }
    }
}
