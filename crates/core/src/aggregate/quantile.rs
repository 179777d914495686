//! The constant of `approx_quantile`: a fraction with as many digits as a name of a function can
//! have, so that equal ones are one.

use serde::{Deserialize, Serialize};

/// A fraction, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quantile(u32);

const WHOLE: u32 = 1_000_000;

impl Quantile {
    /// The half.
    pub(super) const MEDIAN: Self = Self(WHOLE / 2);

    /// A fraction from 0 to 1 with at most six digits behind the point; None of another number.
    #[must_use]
    pub fn of(fraction: f64) -> Option<Self> {
        let millionths = (fraction * f64::from(WHOLE)).round();
        let exact = (0.0..=f64::from(WHOLE)).contains(&millionths)
            && millionths / f64::from(WHOLE) == fraction;
        exact.then_some(Self(millionths as u32))
    }

    /// The place, from 1, of the value that is asked for among `values` of them.
    pub(super) fn place(self, values: i128) -> i128 {
        let whole = i128::from(WHOLE);
        ((values * i128::from(self.0) + whole - 1) / whole).max(1)
    }
}
