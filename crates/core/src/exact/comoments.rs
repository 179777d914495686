//! The state of `covar_*` and `corr`: exact sums of two columns, of their squares and of their
//! products. With n pairs, n^2 times the population covariance is A = n*Sxy - Sx*Sy, and the
//! correlation is A / sqrt(B * C), with B and C the same of each column with itself; all three are
//! exact integers, and each result is rounded once.

use super::CANONICAL_NAN;
use super::codec::read_fixed;
use super::fixed::{FixedPoint, SQUARES_MAX_LIMBS, SUM_MAX_LIMBS};
use super::magnitude::Magnitude;
use super::moments::SQUARES_EXPONENT;
use super::rounding::{round_quotient, round_root_of_ratio};
use crate::bytes::{BytesResult, Reader, write_unsigned};
use crate::invariant;

/// Exact, mergeable, retractable moments of pairs of doubles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CoMoments {
    pairs: i64,
    /// Pairs with a NaN or an infinity, which add to no sum.
    odd: i64,
    x: FixedPoint<4>,
    y: FixedPoint<4>,
    xx: FixedPoint<8>,
    yy: FixedPoint<8>,
    xy: FixedPoint<8>,
}

/// A signed big integer times two to a power: whether it is negative, its size, the power.
type Signed = (bool, Magnitude, u32);

impl CoMoments {
    /// Add one pair (pairs with a NULL are left out by the caller).
    pub(crate) fn add(&mut self, x: f64, y: f64) {
        self.note(x, y, false);
    }

    /// Take away one pair that was added before.
    pub(crate) fn retract(&mut self, x: f64, y: f64) {
        self.note(x, y, true);
    }

    fn note(&mut self, x: f64, y: f64, negate: bool) {
        let by = if negate { -1 } else { 1 };
        self.pairs += by;
        if !x.is_finite() || !y.is_finite() {
            self.odd += by;
            return;
        }
        self.x.add(x, negate);
        self.y.add(y, negate);
        self.xx.add_square(x, negate);
        self.yy.add_square(y, negate);
        self.xy.add_product(x, y, negate);
    }

    /// Add all pairs of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.odd += other.odd;
        self.x.merge(&other.x, false);
        self.y.merge(&other.y, false);
        self.xx.merge(&other.xx, false);
        self.yy.merge(&other.yy, false);
        self.xy.merge(&other.xy, false);
    }

    /// Whether no pair is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// Population covariance, correctly rounded; None (NULL) over no pair.
    pub(crate) fn covar_pop(&self) -> Option<f64> {
        self.covariance(0)
    }

    /// Sample covariance, correctly rounded; None below two pairs.
    pub(crate) fn covar_samp(&self) -> Option<f64> {
        self.covariance(1)
    }

    fn covariance(&self, degrees: i64) -> Option<f64> {
        if self.pairs <= degrees {
            return None;
        }
        if self.odd > 0 {
            return Some(CANONICAL_NAN);
        }
        let (negative, a, exponent) = self.spread(&self.xy, &self.x, &self.y);
        let n = self.pairs.unsigned_abs();
        let exponent = SQUARES_EXPONENT + i64::from(exponent);
        let less = n - degrees.unsigned_abs();
        Some(round_quotient(negative, &a, exponent, n, less))
    }

    /// Correlation, correctly rounded; None below two pairs and where a column has one value only.
    pub(crate) fn corr(&self) -> Option<f64> {
        if self.pairs < 2 {
            return None;
        }
        if self.odd > 0 {
            return Some(CANONICAL_NAN);
        }
        let (negative, a, a_exponent) = self.spread(&self.xy, &self.x, &self.y);
        let (_, b, b_exponent) = self.spread(&self.xx, &self.x, &self.x);
        let (_, c, c_exponent) = self.spread(&self.yy, &self.y, &self.y);
        if b.is_zero() || c.is_zero() {
            return None;
        }
        let exponent = 2 * i64::from(a_exponent) - i64::from(b_exponent) - i64::from(c_exponent);
        let root = round_root_of_ratio(&a.square(), &b.product(&c), exponent);
        Some(if negative && root != 0.0 { -root } else { root })
    }

    /// n times a sum of products, less the product of two sums.
    fn spread(&self, products: &FixedPoint<8>, x: &FixedPoint<4>, y: &FixedPoint<4>) -> Signed {
        let n = self.pairs.unsigned_abs();
        let (negative, products, mut exponent) = products.parts();
        let (x_negative, x, x_exponent) = x.parts();
        let (y_negative, y, y_exponent) = y.parts();
        let (products, sums) = (products.times(n), x.product(&y));
        let mut sums_exponent = x_exponent + y_exponent;
        // Zero has no grid of its own.
        if products.is_zero() {
            exponent = sums_exponent;
        } else if sums.is_zero() {
            sums_exponent = exponent;
        }
        let finer = exponent.min(sums_exponent);
        let products = products.shift_left(exponent - finer);
        let sums = sums.shift_left(sums_exponent - finer);
        if negative != (x_negative != y_negative) {
            return (negative, products.plus(&sums), finer);
        }
        match products.minus(&sums) {
            Some(difference) => (negative, difference, finer),
            None => {
                let difference = sums.minus(&products);
                (
                    !negative,
                    difference.expect("one of two is not the lesser"),
                    finer,
                )
            }
        }
    }

    /// Append pairs and odd pairs (varints) and the five sums, each as in `codec`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        invariant!(
            SpecialsCounted,
            (0..=self.pairs).contains(&self.odd),
            "{} of {} pairs are odd",
            self.odd,
            self.pairs
        );
        write_unsigned(out, self.pairs as u64);
        write_unsigned(out, self.odd as u64);
        self.x.encode(out);
        self.y.encode(out);
        self.xx.encode(out);
        self.yy.encode(out);
        self.xy.encode(out);
    }

    /// Read what [`Self::write`] wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> BytesResult<Self> {
        let (pairs, odd) = (reader.count()?, reader.count()?);
        let state = Self {
            pairs,
            odd,
            x: read_fixed(reader, SUM_MAX_LIMBS)?,
            y: read_fixed(reader, SUM_MAX_LIMBS)?,
            xx: read_fixed(reader, SQUARES_MAX_LIMBS)?,
            yy: read_fixed(reader, SQUARES_MAX_LIMBS)?,
            xy: read_fixed(reader, SQUARES_MAX_LIMBS)?,
        };
        let sums = [&state.x, &state.y].map(FixedPoint::is_zero);
        let squares = [&state.xx, &state.yy, &state.xy].map(FixedPoint::is_zero);
        let nothing = sums.iter().chain(&squares).all(|zero| *zero);
        let negative = state.xx.is_negative() || state.yy.is_negative();
        if odd > pairs || negative || pairs == odd && !nothing {
            return Err("the sums of pairs contradict each other".into());
        }
        Ok(state)
    }
}
