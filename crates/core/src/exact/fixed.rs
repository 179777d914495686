//! A fixed-point integer in base 2^32 with signed digits:
//! `value = sum limb[i] * 2^(32 * (base + i) + E0)`, where E0 is -1074 for sums of doubles and
//! -2148 for sums of their squares. Only the touched range of limbs is held, so that a sum of money
//! takes four limbs in place and not 544 bytes.
//!
//! Limbs are `i64` that hold 32-bit digits and room for carries: an addition puts less than 2^32 on
//! a limb, so 2^29 of them fit before [`FixedPoint::normalise`] must carry. Every operation is
//! exact; rounding is elsewhere.

use smallvec::SmallVec;

use super::magnitude::Magnitude;
use crate::bytes::write_unsigned;
use crate::invariant;

/// Bit of the number 1 on the grid of sums; on that of squares it is twice as high.
const ONE: u32 = 1074;
/// Bits of a digit.
const DIGIT_BITS: u32 = 32;
/// Additions after which limbs are carried. A limb would take 2^31 of them.
const PENDING_MAX: u32 = 1 << 29;
/// Most limbs that a sum of doubles takes: 2,098 bits and 63 bits of count, and one for the sign.
pub(super) const SUM_MAX_LIMBS: usize = 69;
/// Most limbs that a sum of squares takes: 4,196 bits and 63 bits of count, and one for the sign.
pub(super) const SQUARES_MAX_LIMBS: usize = 135;

/// Digits of a two's complement number, lowest first; two words of them are kept in place for
/// money-like sums.
type Digits = SmallVec<[u32; 16]>;

/// The accumulator of one sum, with room for `INLINE` limbs in place.
#[derive(Debug, Clone, Default)]
pub struct FixedPoint<const INLINE: usize> {
    limbs: SmallVec<[i64; INLINE]>,
    /// Index of `limbs[0]` in the whole fixed-point number.
    base: u16,
    /// Additions since the last carry, an upper bound.
    pending: u32,
}

/// Mantissa and position of a finite double: its magnitude is `mantissa * 2^(position - 1074)`.
pub(super) fn split(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as u32;
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 {
        (fraction, 0)
    } else {
        (fraction | (1 << 52), exponent - 1)
    }
}

impl<const INLINE: usize> FixedPoint<INLINE> {
    /// Add a finite `value` (`negate` false) or take it away (true).
    #[inline]
    pub fn add(&mut self, value: f64, negate: bool) {
        debug_assert!(
            value.is_finite(),
            "infinities and NaN are counted beside the limbs"
        );
        let (mantissa, position) = split(value);
        let shift = position % DIGIT_BITS;
        let low = mantissa << shift;
        // In two steps, since a shift by 64 is not defined.
        let high = (mantissa >> 1) >> (63 - shift);
        let sign = if value.is_sign_negative() == negate {
            1
        } else {
            -1
        };
        let pieces = [
            i64::from(low as u32),
            (low >> DIGIT_BITS) as i64,
            high as i64,
        ];
        self.add_pieces(position / DIGIT_BITS, pieces.map(|piece| sign * piece));
    }

    /// Add the square of a finite `value`, or take it away.
    #[inline]
    pub(crate) fn add_square(&mut self, value: f64, negate: bool) {
        debug_assert!(
            value.is_finite(),
            "infinities and NaN are counted beside the limbs"
        );
        let (mantissa, position) = split(value);
        let square = u128::from(mantissa) * u128::from(mantissa);
        self.add_wide(2 * position, square, negate);
    }

    /// Add the product of two finite values on the grid of squares, or take it away.
    #[inline]
    pub(super) fn add_product(&mut self, x: f64, y: f64, negate: bool) {
        let ((x_mantissa, x_position), (y_mantissa, y_position)) = (split(x), split(y));
        let product = u128::from(x_mantissa) * u128::from(y_mantissa);
        let negative = (x.is_sign_negative() != y.is_sign_negative()) != negate;
        self.add_wide(x_position + y_position, product, negative);
    }

    /// Add an integer on the grid of sums, or take it away.
    #[inline]
    pub(crate) fn add_integer(&mut self, value: i64, negate: bool) {
        let negative = (value < 0) != negate;
        self.add_wide(ONE, value.unsigned_abs().into(), negative);
    }

    /// Add the square of an integer on the grid of squares, or take it away.
    #[inline]
    pub(crate) fn add_integer_square(&mut self, value: i64, negate: bool) {
        let magnitude = u128::from(value.unsigned_abs());
        self.add_wide(2 * ONE, magnitude * magnitude, negate);
    }

    /// Add `magnitude`, at most 2^126, from bit `position` on.
    #[inline]
    fn add_wide(&mut self, position: u32, magnitude: u128, negative: bool) {
        let shift = position % DIGIT_BITS;
        // With a shift of up to 31 it passes 128 bits: shift the two halves by themselves.
        let low = (magnitude & u128::from(u64::MAX)) << shift;
        let high = ((magnitude >> 64) << shift) + (low >> 64);
        let sign = if negative { -1 } else { 1 };
        let pieces = [
            digit(low),
            digit(low >> 32),
            digit(high),
            digit(high >> 32),
            digit(high >> 64),
        ];
        self.add_pieces(position / DIGIT_BITS, pieces.map(|piece| sign * piece));
    }

    /// Add all of `other`, or take it away. Touches only the limbs that `other` holds.
    pub fn merge(&mut self, other: &Self, negate: bool) {
        if other.limbs.is_empty() {
            return;
        }
        if u64::from(self.pending) + u64::from(other.pending) + 1 >= u64::from(PENDING_MAX) {
            self.normalise();
        }
        let offset = usize::from(other.base.wrapping_sub(self.base));
        if offset + other.limbs.len() > self.limbs.len() {
            self.reach(u32::from(other.base), other.limbs.len());
        }
        let start = usize::from(other.base - self.base);
        let mine = &mut self.limbs[start..start + other.limbs.len()];
        if negate {
            mine.iter_mut().zip(&other.limbs).for_each(|(a, b)| *a -= b);
        } else {
            mine.iter_mut().zip(&other.limbs).for_each(|(a, b)| *a += b);
        }
        // A normalised limb may be as large as one addition, hence the one more.
        self.note_additions(other.pending + 1);
    }

    /// Carry: afterwards every limb is a digit in [-2^31, 2^31) and the outermost ones are not
    /// zero. That form is unique: equal values have equal limbs.
    pub(crate) fn normalise(&mut self) {
        let mut carry = 0_i64;
        for limb in &mut self.limbs {
            let total = *limb + carry;
            let kept = i64::from(total as i32);
            carry = (total - kept) >> DIGIT_BITS;
            *limb = kept;
        }
        while carry != 0 {
            let kept = i64::from(carry as i32);
            carry = (carry - kept) >> DIGIT_BITS;
            self.limbs.push(kept);
        }
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        let zeros = self.limbs.iter().take_while(|limb| **limb == 0).count();
        if zeros > 0 {
            self.limbs.drain(..zeros);
            self.base += zeros as u16;
        }
        if self.limbs.is_empty() {
            self.base = 0;
        }
        self.pending = 0;
    }

    /// Whether the value is zero.
    pub(super) fn is_zero(&self) -> bool {
        let (digits, negative) = self.twos_complement();
        !negative && digits.iter().all(|digit| *digit == 0)
    }

    /// Whether the value is below zero.
    pub(super) fn is_negative(&self) -> bool {
        self.twos_complement().1
    }

    /// Two's complement digits from limb `base` on, and whether they go on with ones for ever
    /// (negative) or zeros.
    fn twos_complement(&self) -> (Digits, bool) {
        let mut digits = Digits::new();
        let mut carry = 0_i64;
        for limb in &self.limbs {
            let total = limb + carry;
            digits.push(total as u32);
            carry = total >> DIGIT_BITS;
        }
        while carry != 0 && carry != -1 {
            digits.push(carry as u32);
            carry >>= DIGIT_BITS;
        }
        (digits, carry < 0)
    }

    /// Sign (true: negative), magnitude, and the exponent of the magnitude's lowest bit above E0.
    pub(super) fn parts(&self) -> (bool, Magnitude, u32) {
        let (mut digits, negative) = self.twos_complement();
        if negative {
            let mut carry = true;
            for digit in &mut digits {
                (*digit, carry) = (!*digit).overflowing_add(u32::from(carry));
            }
            // Only zero under ones for ever, minus a power of 2^32, carries out of the top.
            if carry {
                digits.push(1);
            }
        }
        (
            negative,
            Magnitude::from_digits(&digits),
            u32::from(self.base) * DIGIT_BITS,
        )
    }

    /// Append the value: the index of its lowest byte above E0 (varint), the number of bytes
    /// (varint) and its two's complement bytes, little endian, with zero low bytes and redundant
    /// sign bytes left out. Zero has none. Equal values give equal bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        invariant!(
            SumLimbs,
            usize::from(self.base) + self.limbs.len() <= SQUARES_MAX_LIMBS,
            "{} limbs from {}",
            self.limbs.len(),
            self.base
        );
        let (mut digits, negative) = self.twos_complement();
        digits.push(if negative { u32::MAX } else { 0 });
        let Some(first) = digits.iter().position(|digit| *digit != 0) else {
            out.extend_from_slice(&[0, 0]);
            return;
        };
        let fill = *digits.last().expect("the sign was pushed");
        let top = digits
            .iter()
            .rposition(|digit| *digit != fill)
            .unwrap_or(first)
            .max(first);
        let low_zeros = digits[first].trailing_zeros() / 8;
        // Bytes of the top digit: its value bits and one for the sign.
        let value_bits = DIGIT_BITS - (digits[top] ^ fill).leading_zeros();
        let bytes = (top - first) as u32 * 4 + value_bits / 8 + 1 - low_zeros;
        write_unsigned(
            out,
            u64::from((u32::from(self.base) + first as u32) * 4 + low_zeros),
        );
        write_unsigned(out, u64::from(bytes));
        let start = out.len();
        digits[first..]
            .iter()
            .take(top - first + 2)
            .for_each(|digit| out.extend_from_slice(&digit.to_le_bytes()));
        out.drain(start..start + low_zeros as usize);
        out.truncate(start + bytes as usize);
    }

    /// From what [`Self::encode`] wrote, its numbers read. None where the bytes are not in that
    /// form or pass `max_limbs`.
    pub(super) fn from_bytes(lowest: u64, bytes: &[u8], max_limbs: usize) -> Option<Self> {
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return (lowest == 0).then(Self::default);
        };
        let lowest = usize::try_from(lowest)
            .ok()
            .filter(|lowest| *lowest <= max_limbs * 4)?;
        let redundant = bytes.len() > 1 && {
            let before = bytes[bytes.len() - 2];
            (*last == 0x00 && before < 0x80) || (*last == 0xFF && before >= 0x80)
        };
        if *first == 0 || redundant || lowest + bytes.len() > max_limbs * 4 {
            return None;
        }
        let sign = if *last >= 0x80 { 0xFF } else { 0x00 };
        let low_zeros = lowest % 4;
        // Unsigned digits are larger than a normalised limb, not larger than one addition: hence
        // `pending`.
        let limbs = SmallVec::with_capacity((low_zeros + bytes.len()).div_ceil(4));
        let mut fixed = Self {
            limbs,
            base: (lowest / 4) as u16,
            pending: 1,
        };
        let (head, tail) = bytes.split_at(bytes.len().min(4 - low_zeros));
        let mut digit = [sign; 4];
        digit[..low_zeros].fill(0);
        digit[low_zeros..low_zeros + head.len()].copy_from_slice(head);
        fixed.limbs.push(i64::from(u32::from_le_bytes(digit)));
        for chunk in tail.chunks(4) {
            let mut digit = [sign; 4];
            digit[..chunk.len()].copy_from_slice(chunk);
            fixed.limbs.push(i64::from(u32::from_le_bytes(digit)));
        }
        if sign == 0xFF {
            *fixed.limbs.last_mut().expect("the head was pushed") -= 1 << DIGIT_BITS;
        }
        Some(fixed)
    }

    /// Add one piece, each below 2^32 in size, to each of the N limbs from whole index `index` on.
    #[inline]
    fn add_pieces<const N: usize>(&mut self, index: u32, pieces: [i64; N]) {
        // Below the base this wraps to a number that passes every length.
        let offset = index.wrapping_sub(u32::from(self.base)) as usize;
        if let Some(limbs) = self.limbs.get_mut(offset..offset + N) {
            limbs
                .iter_mut()
                .zip(pieces)
                .for_each(|(limb, piece)| *limb += piece);
        } else {
            self.reach(index, N);
            let start = (index - u32::from(self.base)) as usize;
            self.limbs[start..start + N]
                .iter_mut()
                .zip(pieces)
                .for_each(|(limb, piece)| *limb += piece);
        }
        self.note_additions(1);
    }

    /// Hold at least the limbs `index .. index + count`.
    #[cold]
    fn reach(&mut self, index: u32, count: usize) {
        if self.limbs.is_empty() {
            self.base = index as u16;
        }
        let base = u32::from(self.base);
        if index < base {
            self.limbs
                .insert_many(0, std::iter::repeat_n(0, (base - index) as usize));
            self.base = index as u16;
        }
        let needed = (index - u32::from(self.base)) as usize + count;
        if needed > self.limbs.len() {
            self.limbs.resize(needed, 0);
        }
    }

    #[inline]
    fn note_additions(&mut self, additions: u32) {
        self.pending += additions;
        if self.pending >= PENDING_MAX {
            self.normalise();
        }
    }
}

/// Equal values, however the limbs carry them.
impl<const INLINE: usize> PartialEq for FixedPoint<INLINE> {
    fn eq(&self, other: &Self) -> bool {
        let mut difference = self.clone();
        difference.merge(other, true);
        difference.is_zero()
    }
}

impl<const INLINE: usize> Eq for FixedPoint<INLINE> {}

#[inline]
fn digit(bits: u128) -> i64 {
    i64::from(bits as u32)
}
