//! The state of `sum` and `avg` over DOUBLE: an exact sum and the counters beside it. Values come
//! from tiles' rows or from Arrow columns, states from tiles; the results go into feature columns.
//! No result is rounded before it is asked for.

use super::CANONICAL_NAN;
use super::fixed::FixedPoint;
use super::rounding::{round, round_quotient};
use super::special::Counts;

/// Exponent of the grid of sums: that of the least double.
pub(super) const SUM_EXPONENT: i64 = -1074;

/// Exact, mergeable, retractable sum of doubles, and their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloatSum {
    pub(super) counts: Counts,
    pub(super) sum: FixedPoint<4>,
}

impl FloatSum {
    /// Of no value.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Add one value (NULLs are left out by the caller).
    #[inline]
    pub fn add(&mut self, value: f64) {
        if self.counts.note(value, 1) {
            self.sum.add(value, false);
        }
    }

    /// Take away one value that was added before.
    #[inline]
    pub fn retract(&mut self, value: f64) {
        if self.counts.note(value, -1) {
            self.sum.add(value, true);
        }
    }

    /// Add all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts, false);
        self.sum.merge(&other.sum, false);
    }

    /// Take away all values of `other`, which were added before.
    pub fn subtract(&mut self, other: &Self) {
        self.counts.merge(&other.counts, true);
        self.sum.merge(&other.sum, true);
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.counts.n
    }

    /// Whether no value is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.n == 0
    }

    /// The correctly rounded sum; None (NULL) over no value.
    #[must_use]
    pub fn sum(&self) -> Option<f64> {
        self.special_or(|| {
            let (negative, magnitude, exponent) = self.sum.parts();
            round(
                negative,
                &magnitude,
                SUM_EXPONENT + i64::from(exponent),
                false,
            )
        })
    }

    /// The correctly rounded mean; None over no value.
    #[must_use]
    pub fn avg(&self) -> Option<f64> {
        self.special_or(|| {
            let (negative, magnitude, exponent) = self.sum.parts();
            let n = self.counts.n.unsigned_abs();
            round_quotient(
                negative,
                &magnitude,
                SUM_EXPONENT + i64::from(exponent),
                n,
                1,
            )
        })
    }

    /// NULL over nothing, NaN or an infinity where the counters say so, else `finite`.
    fn special_or(&self, finite: impl FnOnce() -> f64) -> Option<f64> {
        if self.counts.n <= 0 {
            return None;
        }
        let Some(specials) = self.counts.specials() else {
            return Some(finite());
        };
        Some(
            match (
                specials.nan > 0,
                specials.positive_infinity > 0,
                specials.negative_infinity > 0,
            ) {
                (true, _, _) | (_, true, true) => CANONICAL_NAN,
                (_, true, false) => f64::INFINITY,
                (_, false, true) => f64::NEG_INFINITY,
                (false, false, false) => finite(),
            },
        )
    }
}
