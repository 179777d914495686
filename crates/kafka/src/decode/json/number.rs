//! Numbers of JSON: integers exactly, doubles rounded once and correctly. What has too many digits
//! to be sure of here is left to the general parser.

use super::fields::Value;

/// So many digits fit into 64 bits whatever they are.
const DIGITS_MAX: usize = 19;
/// Up to here every integer is a double.
const EXACT_MAX: u64 = 1 << 53;
/// Digits of an exponent; those of all finite doubles have three.
const EXPONENT_DIGITS_MAX: usize = 4;
/// The powers of ten that are doubles.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The number that begins at `start` of `text`, and where it ends. None: it is none, or is not read
/// here.
pub(super) fn read(text: &str, start: usize) -> Option<(Value, usize)> {
    let bytes = text.as_bytes();
    let negative = bytes.get(start) == Some(&b'-');
    let whole = start + usize::from(negative);
    let (value, end) = digits(bytes, whole, 0);
    let count = end - whole;
    if count == 0 || (count > 1 && bytes[whole] == b'0') {
        return None;
    }
    if !matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return (count <= DIGITS_MAX).then(|| (integer(negative, value), end));
    }
    let mut number = Decimal {
        value,
        digits: count,
        exponent: 0,
    };
    let end = number.read_behind_point(bytes, end)?;
    let value = match number.exact() {
        Some(value) if negative => -value,
        Some(value) => value,
        // Correctly rounded too. An infinity is a number beyond the largest double.
        None => text
            .get(start..end)?
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())?,
    };
    Some((Value::Double(value), end))
}

/// As the general parser tells integers: those below zero that no BIGINT holds, and `-0`, are
/// doubles.
fn integer(negative: bool, value: u64) -> Value {
    if !negative {
        return Value::Unsigned(value);
    }
    let below = (value as i64).wrapping_neg();
    if below < 0 {
        Value::Negative(below)
    } else {
        Value::Double(-(value as f64))
    }
}

/// The number `value` times ten to the power of `exponent`.
struct Decimal {
    /// Right where the digits are no more than [`DIGITS_MAX`].
    value: u64,
    digits: usize,
    exponent: i32,
}

impl Decimal {
    /// Read fraction and exponent, which begin at `at`: where they end.
    fn read_behind_point(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        if bytes.get(at) == Some(&b'.') {
            let (value, end) = digits(bytes, at + 1, self.value);
            let count = end - (at + 1);
            if count == 0 {
                return None;
            }
            self.value = value;
            self.digits += count;
            self.exponent = -i32::try_from(count).ok()?;
            at = end;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = bytes.get(at + 1);
            let first = at + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
            let (value, end) = digits(bytes, first, 0);
            if !(1..=EXPONENT_DIGITS_MAX).contains(&(end - first)) {
                return None;
            }
            let exponent = i32::try_from(value).ok()?;
            self.exponent += if sign == Some(&b'-') {
                -exponent
            } else {
                exponent
            };
            at = end;
        }
        Some(at)
    }

    /// The double where one operation on two exact ones gives it, which rounds once (Clinger, "How
    /// to read floating point numbers accurately", 1990).
    fn exact(&self) -> Option<f64> {
        if self.digits > DIGITS_MAX || self.value > EXACT_MAX {
            return None;
        }
        let power = *POWERS.get(self.exponent.unsigned_abs() as usize)?;
        let value = self.value as f64;
        Some(if self.exponent < 0 {
            value / power
        } else {
            value * power
        })
    }
}

/// The digits from `at` on behind those of `value`, and where they end. Wraps around.
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let Some(eight) = eight_digits(u64::from_le_bytes(*eight)) else {
            break;
        };
        value = value.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    (value, at)
}

/// The number that eight digits are, the first in the lowest byte; None where they are not all
/// digits. Neighbours are joined to pairs, these to fours, and these to eight.
fn eight_digits(word: u64) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let values = word.wrapping_sub(ZEROS);
    // A byte below '0' borrows, one above '9' carries: either shows in its upper half.
    let above = values.wrapping_add(0x7676_7676_7676_7676);
    if (values | above) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff)
}
