//! The little arithmetic on unsigned big integers that the final rounding needs: product with a
//! word, square, difference, shifts, division by a word. Values are words of 64 bits, lowest first,
//! without zero words on top.
//!
//! It sees at most 4,400 bits, so schoolbook methods are right. It never rounds: what a shift or a
//! division cuts off is reported as "sticky".

use std::cmp::Ordering;

use smallvec::{SmallVec, smallvec};

/// An unsigned big integer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Magnitude {
    words: SmallVec<[u64; 8]>,
}

impl Magnitude {
    pub(super) fn from_words(words: SmallVec<[u64; 8]>) -> Self {
        let mut magnitude = Self { words };
        magnitude.trim();
        magnitude
    }

    /// From digits of 32 bits, lowest first.
    pub(super) fn from_digits(digits: &[u32]) -> Self {
        let word = |pair: &[u32]| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 32;
        Self::from_words(digits.chunks(2).map(word).collect())
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.words.is_empty()
    }

    /// Position of the highest set bit, plus one.
    pub(super) fn bit_length(&self) -> u32 {
        self.words
            .last()
            .map_or(0, |top| self.words.len() as u32 * 64 - top.leading_zeros())
    }

    /// Whether any bit below `index` is set.
    pub(super) fn any_below(&self, index: u32) -> bool {
        let whole = (index as usize / 64).min(self.words.len());
        self.words[..whole].iter().any(|word| *word != 0)
            || self
                .words
                .get(index as usize / 64)
                .is_some_and(|word| word & ((1 << (index % 64)) - 1) != 0)
    }

    /// Bits `from ..` as a number; the caller knows that it has at most 128 bits.
    pub(super) fn top(&self, from: u32) -> u128 {
        debug_assert!(self.bit_length() <= from + 128);
        let (start, shift) = (from as usize / 64, from % 64);
        let word = |index: usize| u128::from(*self.words.get(start + index).unwrap_or(&0));
        let low = word(0) | word(1) << 64;
        if shift == 0 {
            low
        } else {
            low >> shift | word(2) << (128 - shift)
        }
    }

    /// The value as one number, where it fits.
    pub(super) fn small(&self) -> Option<u128> {
        match self.words.as_slice() {
            [] => Some(0),
            [low] => Some(u128::from(*low)),
            [low, high] => Some(u128::from(*low) | u128::from(*high) << 64),
            _ => None,
        }
    }

    pub(super) fn shift_left(&self, bits: u32) -> Self {
        if bits == 0 {
            return self.clone();
        }
        let (whole, shift) = (bits as usize / 64, bits % 64);
        let mut words: SmallVec<[u64; 8]> = smallvec![0; whole];
        let mut carry = 0;
        for word in &self.words {
            let wide = u128::from(*word) << shift;
            words.push(wide as u64 | carry);
            carry = (wide >> 64) as u64;
        }
        words.push(carry);
        Self::from_words(words)
    }

    pub(super) fn times(&self, factor: u64) -> Self {
        let mut words: SmallVec<[u64; 8]> = SmallVec::with_capacity(self.words.len() + 1);
        let mut carry = 0_u128;
        for word in &self.words {
            carry += u128::from(*word) * u128::from(factor);
            words.push(carry as u64);
            carry >>= 64;
        }
        words.push(carry as u64);
        Self::from_words(words)
    }

    pub(super) fn square(&self) -> Self {
        self.product(self)
    }

    pub(super) fn product(&self, other: &Self) -> Self {
        let mut words: SmallVec<[u64; 8]> = smallvec![0; self.words.len() + other.words.len()];
        for (i, a) in self.words.iter().enumerate() {
            let mut carry = 0_u128;
            for (j, b) in other.words.iter().enumerate() {
                carry += u128::from(*a) * u128::from(*b) + u128::from(words[i + j]);
                words[i + j] = carry as u64;
                carry >>= 64;
            }
            words[i + other.words.len()] = carry as u64;
        }
        Self::from_words(words)
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut words: SmallVec<[u64; 8]> = SmallVec::new();
        let mut carry = 0_u128;
        for index in 0..=self.words.len().max(other.words.len()) {
            let word = |of: &Self| u128::from(*of.words.get(index).unwrap_or(&0));
            carry += word(self) + word(other);
            words.push(carry as u64);
            carry >>= 64;
        }
        Self::from_words(words)
    }

    /// Order of `self * 2^shift` and `other * 2^other_shift`.
    pub(super) fn compare(&self, shift: i64, other: &Self, other_shift: i64) -> Ordering {
        if self.is_zero() || other.is_zero() {
            return other.is_zero().cmp(&self.is_zero());
        }
        let lengths = (
            i64::from(self.bit_length()) + shift,
            i64::from(other.bit_length()) + other_shift,
        );
        if lengths.0 != lengths.1 {
            return lengths.0.cmp(&lengths.1);
        }
        // Equally long, they are aligned by as much as one has fewer bits.
        let lowest = shift.min(other_shift);
        let aligned = |of: &Self, shift: i64| of.shift_left((shift - lowest) as u32);
        let (mine, theirs) = (aligned(self, shift), aligned(other, other_shift));
        mine.words.iter().rev().cmp(theirs.words.iter().rev())
    }

    /// `self - other`, None where `other` is the greater.
    pub(super) fn minus(&self, other: &Self) -> Option<Self> {
        if other.words.len() > self.words.len() {
            return None;
        }
        let mut words = self.words.clone();
        let mut borrow = false;
        for (index, word) in words.iter_mut().enumerate() {
            let (first, under_first) = word.overflowing_sub(*other.words.get(index).unwrap_or(&0));
            let (second, under_second) = first.overflowing_sub(u64::from(borrow));
            *word = second;
            borrow = under_first || under_second;
        }
        (!borrow).then(|| Self::from_words(words))
    }

    /// Divide in place by `divisor`, not zero. True where a remainder was cut off.
    pub(super) fn divide(&mut self, divisor: u64) -> bool {
        let mut remainder = 0_u64;
        for word in self.words.iter_mut().rev() {
            let wide = u128::from(remainder) << 64 | u128::from(*word);
            *word = (wide / u128::from(divisor)) as u64;
            remainder = (wide % u128::from(divisor)) as u64;
        }
        self.trim();
        remainder != 0
    }
}
