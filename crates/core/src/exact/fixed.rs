//! A fixed-point integer in base 2^32 with signed digits: value = sum limb[i] * 2^(32 * (base + i)) * 2^E0, where E0 is
//! -1074 for sums of doubles and -2148 for sums of their squares. Only the touched range of limbs is held, so that a
//! sum of money takes four limbs in place and not 544 bytes.
//!
//! Limbs are `i64` that hold 32-bit digits and room for carries: an addition puts less than 2^32 on a limb, so 2^29 of
//! them fit before [`FixedPoint::normalise`] must carry. Every operation is exact; rounding is elsewhere.

use smallvec::{SmallVec, smallvec};

use super::magnitude::Magnitude;

/// Bits of a digit.
const DIGIT_BITS: u32 = 32;
/// Additions after which limbs are carried. A limb would take 2^31 of them.
const PENDING_MAX: u32 = 1 << 29;
/// Most limbs that a sum of doubles takes: 2,098 bits and 63 bits of count, and one for the sign.
pub(super) const SUM_MAX_LIMBS: usize = 69;
/// Most limbs that a sum of squares takes: 4,196 bits and 63 bits of count, and one for the sign.
pub(super) const SQUARES_MAX_LIMBS: usize = 135;

/// The accumulator of one sum. See the module.
#[derive(Debug, Clone, Default)]
pub struct FixedPoint {
    limbs: SmallVec<[i64; 4]>,
    /// Index of `limbs[0]` in the whole fixed-point number.
    base: u16,
    /// Additions since the last carry, an upper bound.
    pending: u32,
}

/// Mantissa and position of a finite double: its magnitude is `mantissa * 2^(position - 1074)`.
fn split(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as u32;
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 { (fraction, 0) } else { (fraction | (1 << 52), exponent - 1) }
}

impl FixedPoint {
    /// Add a finite `value` (`negate` false) or take it away (true).
    #[inline]
    pub fn add(&mut self, value: f64, negate: bool) {
        debug_assert!(value.is_finite(), "infinities and NaN are counted beside the limbs");
        let (mantissa, position) = split(value);
        let shifted = u128::from(mantissa) << (position % DIGIT_BITS);
        let sign = if value.is_sign_negative() == negate { 1 } else { -1 };
        let limbs = self.window::<3>(position / DIGIT_BITS);
        limbs[0] += sign * digit(shifted);
        limbs[1] += sign * digit(shifted >> 32);
        limbs[2] += sign * digit(shifted >> 64);
        self.note_additions(1);
    }

    /// Add the square of a finite `value`, or take it away.
    #[inline]
    pub fn add_square(&mut self, value: f64, negate: bool) {
        debug_assert!(value.is_finite(), "infinities and NaN are counted beside the limbs");
        let (mantissa, position) = split(value);
        let square = u128::from(mantissa) * u128::from(mantissa);
        let shift = (2 * position) % DIGIT_BITS;
        // 106 bits and a shift of up to 31 pass 128 bits: shift the two halves by themselves.
        let low = (square & u128::from(u64::MAX)) << shift;
        let high = ((square >> 64) << shift) + (low >> 64);
        let sign = if negate { -1 } else { 1 };
        let limbs = self.window::<5>(2 * position / DIGIT_BITS);
        limbs[0] += sign * digit(low);
        limbs[1] += sign * digit(low >> 32);
        limbs[2] += sign * digit(high);
        limbs[3] += sign * digit(high >> 32);
        limbs[4] += sign * digit(high >> 64);
        self.note_additions(1);
    }

    /// Add all of `other`, or take it away. Touches only the limbs that `other` holds.
    pub fn merge(&mut self, other: &Self, negate: bool) {
        if other.limbs.is_empty() {
            return;
        }
        if u64::from(self.pending) + u64::from(other.pending) + 1 >= u64::from(PENDING_MAX) {
            self.normalise();
        }
        self.reach(u32::from(other.base), other.limbs.len());
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

    /// Carry: afterwards every limb is a digit in [-2^31, 2^31) and the outermost ones are not zero. That form is
    /// unique: equal values have equal limbs.
    pub fn normalise(&mut self) {
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

    /// Whether the value is below zero.
    pub(super) fn is_negative(&self) -> bool {
        let mut normal = self.clone();
        normal.normalise();
        normal.limbs.last().is_some_and(|limb| *limb < 0)
    }

    /// Sign (true: negative), magnitude, and the exponent of the magnitude's lowest bit above E0.
    pub(super) fn parts(&self) -> (bool, Magnitude, u32) {
        let mut normal = self.clone();
        normal.normalise();
        let negative = normal.limbs.last().is_some_and(|limb| *limb < 0);
        let mut words: SmallVec<[u64; 8]> = smallvec![0; normal.limbs.len().div_ceil(2)];
        let mut borrow = 0_i64;
        for (index, limb) in normal.limbs.iter().enumerate() {
            let total = if negative { -limb } else { *limb } + borrow;
            words[index / 2] |= u64::from(total as u32) << (DIGIT_BITS * (index as u32 % 2));
            borrow = total >> DIGIT_BITS;
        }
        debug_assert_eq!(borrow, 0, "the top digit carries the sign");
        (negative, Magnitude::from_words(words), u32::from(normal.base) * DIGIT_BITS)
    }

    /// The value as the index of its lowest byte above E0 and its two's complement bytes, little endian, with zero low
    /// bytes and redundant sign bytes left out. Zero has none. Equal values give equal bytes.
    pub(super) fn to_bytes(&self) -> (u16, SmallVec<[u8; 32]>) {
        let mut normal = self.clone();
        normal.normalise();
        let mut bytes: SmallVec<[u8; 32]> = SmallVec::new();
        let mut carry = 0_i64;
        for limb in &normal.limbs {
            let total = limb + carry;
            bytes.extend_from_slice(&(total as u32).to_le_bytes());
            carry = total >> DIGIT_BITS;
        }
        bytes.push(carry as u8);
        let redundant = |last: u8, before: u8| (last == 0x00 && before < 0x80) || (last == 0xFF && before >= 0x80);
        while bytes.len() > 1 && redundant(bytes[bytes.len() - 1], bytes[bytes.len() - 2]) {
            bytes.pop();
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        if zeros == bytes.len() {
            return (0, SmallVec::new());
        }
        bytes.drain(..zeros);
        (normal.base * 4 + zeros as u16, bytes)
    }

    /// From what [`Self::to_bytes`] gave. None where the bytes are not in that form or pass `max_limbs`.
    pub(super) fn from_bytes(lowest: u16, bytes: &[u8], max_limbs: usize) -> Option<Self> {
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return (lowest == 0).then(Self::default);
        };
        let redundant = bytes.len() > 1 && {
            let before = bytes[bytes.len() - 2];
            (*last == 0x00 && before < 0x80) || (*last == 0xFF && before >= 0x80)
        };
        if *first == 0 || redundant || usize::from(lowest) + bytes.len() > max_limbs * 4 {
            return None;
        }
        let fill = if *last >= 0x80 { 0xFF } else { 0x00 };
        let low_zeros = usize::from(lowest % 4);
        let padded = low_zeros + bytes.len();
        let mut fixed = Self { limbs: SmallVec::new(), base: lowest / 4, pending: 1 };
        for start in (0..padded).step_by(4) {
            let mut digit = [0_u8; 4];
            for (offset, byte) in digit.iter_mut().enumerate() {
                let at = start + offset;
                *byte = if at < low_zeros { 0 } else { *bytes.get(at - low_zeros).unwrap_or(&fill) };
            }
            fixed.limbs.push(i64::from(u32::from_le_bytes(digit)));
        }
        if fill == 0xFF {
            let top = fixed.limbs.len() - 1;
            fixed.limbs[top] -= 1 << DIGIT_BITS;
        }
        fixed.normalise();
        Some(fixed)
    }

    /// The N limbs from whole index `index` on, made if not yet held.
    #[inline]
    fn window<const N: usize>(&mut self, index: u32) -> &mut [i64; N] {
        let base = u32::from(self.base);
        if index < base || (index - base) as usize + N > self.limbs.len() {
            self.reach(index, N);
        }
        let start = (index - u32::from(self.base)) as usize;
        self.limbs[start..].first_chunk_mut().expect("reach made these limbs")
    }

    /// Hold at least the limbs `index .. index + count`.
    #[cold]
    fn reach(&mut self, index: u32, count: usize) {
        if self.limbs.is_empty() {
            self.base = index as u16;
        }
        let base = u32::from(self.base);
        if index < base {
            self.limbs.insert_many(0, std::iter::repeat_n(0, (base - index) as usize));
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
impl PartialEq for FixedPoint {
    fn eq(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.clone(), other.clone());
        a.normalise();
        b.normalise();
        a.base == b.base && a.limbs == b.limbs
    }
}

impl Eq for FixedPoint {}

#[inline]
fn digit(bits: u128) -> i64 {
    i64::from(bits as u32)
}
