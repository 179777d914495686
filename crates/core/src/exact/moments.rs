//! The state of `var_*` and `stddev_*` over DOUBLE, INTEGER and BIGINT: exact sums of the values
//! and of their squares. With n values, S their sum and Q the sum of their squares,
//! A = n*Q - S^2 is an exact integer, never negative, and the population variance is A / n^2, the
//! sample variance A / (n * (n - 1)); each is rounded once.

use super::CANONICAL_NAN;
use super::fixed::FixedPoint;
use super::magnitude::Magnitude;
use super::rounding::{round_quotient, round_root};
use super::special::Counts;
use super::sum::SUM_EXPONENT;

/// Exponent of the grid of sums of squares; the square of a sum lies on it too.
pub(super) const SQUARES_EXPONENT: i64 = 2 * SUM_EXPONENT;

/// Exact, mergeable, retractable first and second moments of doubles or integers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloatMoments {
    pub(super) counts: Counts,
    pub(super) sum: FixedPoint<4>,
    pub(super) squares: FixedPoint<8>,
}

impl FloatMoments {
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
            self.squares.add_square(value, false);
        }
    }

    /// Take away one value that was added before.
    #[inline]
    pub fn retract(&mut self, value: f64) {
        if self.counts.note(value, -1) {
            self.sum.add(value, true);
            self.squares.add_square(value, true);
        }
    }

    /// Add one integer, exactly as it is.
    #[inline]
    pub(crate) fn add_integer(&mut self, value: i64) {
        self.counts.n += 1;
        self.sum.add_integer(value, false);
        self.squares.add_integer_square(value, false);
    }

    /// Take away one integer that was added before.
    #[inline]
    pub(crate) fn retract_integer(&mut self, value: i64) {
        self.counts.n -= 1;
        self.sum.add_integer(value, true);
        self.squares.add_integer_square(value, true);
    }

    /// Add all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts, false);
        self.sum.merge(&other.sum, false);
        self.squares.merge(&other.squares, false);
    }

    /// Take away all values of `other`, which were added before.
    pub fn subtract(&mut self, other: &Self) {
        self.counts.merge(&other.counts, true);
        self.sum.merge(&other.sum, true);
        self.squares.merge(&other.squares, true);
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

    /// Population variance, correctly rounded; None (NULL) over no value.
    #[must_use]
    pub(crate) fn var_pop(&self) -> Option<f64> {
        self.finish(0, |a, exponent, n| round_quotient(false, a, exponent, n, n))
    }

    /// Sample variance, correctly rounded; None below two values.
    #[must_use]
    pub(crate) fn var_samp(&self) -> Option<f64> {
        self.finish(1, |a, exponent, n| {
            round_quotient(false, a, exponent, n, n - 1)
        })
    }

    /// Square root of the exact population variance, rounded once.
    #[must_use]
    pub fn stddev_pop(&self) -> Option<f64> {
        self.finish(0, |a, exponent, n| round_root(a, exponent, n, n))
    }

    /// Square root of the exact sample variance, rounded once.
    #[must_use]
    pub(crate) fn stddev_samp(&self) -> Option<f64> {
        self.finish(1, |a, exponent, n| round_root(a, exponent, n, n - 1))
    }

    /// NULL unless there are more than `degrees` values, NaN where one is special, else `finite` of
    /// A, the exponent of its lowest bit, and n.
    fn finish(
        &self,
        degrees: i64,
        finite: impl FnOnce(&Magnitude, i64, u64) -> f64,
    ) -> Option<f64> {
        let n = self.counts.n;
        if n <= degrees {
            return None;
        }
        if self.counts.specials().is_some() {
            return Some(CANONICAL_NAN);
        }
        let n = n.unsigned_abs();
        let (_, sum, sum_exponent) = self.sum.parts();
        let (_, squares, squares_exponent) = self.squares.parts();
        // Put both on the finer of the two grids. A sum of zero has no grid of its own.
        let square_exponent = if sum.is_zero() {
            squares_exponent
        } else {
            2 * sum_exponent
        };
        let exponent = squares_exponent.min(square_exponent);
        let squares = squares.times(n).shift_left(squares_exponent - exponent);
        let sum_squared = sum.square().shift_left(square_exponent - exponent);
        // n*Q < S^2 holds for no list of values (Cauchy-Schwarz): only a state that was tampered
        // with gets there.
        let Some(a) = squares.minus(&sum_squared) else {
            return Some(CANONICAL_NAN);
        };
        Some(finite(&a, SQUARES_EXPONENT + i64::from(exponent), n))
    }
}
