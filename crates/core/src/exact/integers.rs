//! The state of `sum` and `avg` over INTEGER and BIGINT: an exact sum and the number of values. The
//! sum has 128 bits, which 2^63 values of 64 bits do not fill, so nothing wraps before it is asked
//! for; whether the result fits into its type is decided at the end.

use smallvec::smallvec;

use super::magnitude::Magnitude;
use super::rounding::round_quotient;
use crate::bytes::{BytesResult, Reader, write_signed_wide, write_unsigned};
use crate::fault::FaultKind;
use crate::invariant;

/// Exact, mergeable, retractable sum of integers, and their number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct IntegerSum {
    count: i64,
    /// The sum's two halves: one i128 would align every state to 16 bytes.
    low: u64,
    high: i64,
}

impl IntegerSum {
    /// Of no value.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Add one value (NULLs are left out by the caller).
    #[inline]
    pub(crate) fn add(&mut self, value: i64) {
        self.count += 1;
        self.set(self.total() + i128::from(value));
    }

    /// Take away one value that was added before.
    #[inline]
    pub(crate) fn retract(&mut self, value: i64) {
        self.count -= 1;
        self.set(self.total() - i128::from(value));
    }

    /// Add all values of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.set(self.total() + other.total());
    }

    /// Whether no value is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sum; None (NULL) over no value.
    ///
    /// # Errors
    /// It does not fit BIGINT.
    pub(crate) fn sum(&self) -> Result<Option<i64>, FaultKind> {
        if self.count <= 0 {
            return Ok(None);
        }
        let sum = i64::try_from(self.total());
        sum.map(Some).map_err(|_| FaultKind::Overflow)
    }

    /// The correctly rounded mean; None over no value.
    pub(crate) fn avg(&self) -> Option<f64> {
        if self.count <= 0 {
            return None;
        }
        let sum = self.total();
        let magnitude = sum.unsigned_abs();
        let words = smallvec![magnitude as u64, (magnitude >> 64) as u64];
        let magnitude = Magnitude::from_words(words);
        let n = self.count.unsigned_abs();
        Some(round_quotient(sum < 0, &magnitude, 0, n, 1))
    }

    /// Append the number of values (varint) and the sum (zigzag varint of 128 bits).
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        invariant!(CountsNotNegative, self.count >= 0, "{}", self.count);
        invariant!(
            NothingSumsToZero,
            self.count != 0 || self.total() == 0,
            "a sum of no value is {}",
            self.total()
        );
        write_unsigned(out, self.count as u64);
        write_signed_wide(out, self.total());
    }

    /// Read what [`Self::write`] wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> BytesResult<Self> {
        let mut state = Self {
            count: reader.count()?,
            ..Self::default()
        };
        let sum = reader.signed_wide()?;
        // That many values reach no further; what is within never fills 128 bits when it is merged.
        if sum.unsigned_abs() > u128::from(state.count.unsigned_abs()) << 63 {
            return Err(format!("an integer sum of {} values is {sum}", state.count).into());
        }
        state.set(sum);
        Ok(state)
    }

    fn total(&self) -> i128 {
        i128::from(self.high) << 64 | i128::from(self.low)
    }

    #[inline]
    fn set(&mut self, total: i128) {
        (self.low, self.high) = (total as u64, (total >> 64) as i64);
    }
}
