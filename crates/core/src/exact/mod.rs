//! Exact sums: the state of `sum`, `avg`, `var_*` and `stddev_*` over DOUBLE and integers. Results
//! are the correctly rounded true value, hence the same for every order of arrival, every split
//! into tiles and after every retraction.
//!
//! [`FixedPoint`] holds an integer on the grid of the least double (or of its square); [`FloatSum`]
//! and [`FloatMoments`] add the counters of NaN and infinities beside it; [`IntegerSum`] needs no
//! grid. One rounding happens at the very end (`rounding`). After Neal's superaccumulators (arXiv
//! 1505.05571); `docs/decisions/0002-exact-sums.md` says why. The bytes of a state are
//! declared in `codec` and outlive the process.
//!
//! Nothing here may round before the end, and no result may depend on the order of the inputs.

mod codec;
mod comoments;
mod fixed;
mod integers;
mod magnitude;
mod moments;
mod rounding;
mod special;
mod sum;
#[cfg(test)]
mod tests;

pub use fixed::FixedPoint;
pub(crate) use integers::IntegerSum;
pub use moments::FloatMoments;
pub use sum::FloatSum;

pub(crate) use codec::corrupt;
pub(crate) use comoments::CoMoments;

/// The one NaN that results and states hold.
pub const CANONICAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// `value` as results show it: one NaN, and no negative zero.
#[must_use]
pub fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        CANONICAL_NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}
