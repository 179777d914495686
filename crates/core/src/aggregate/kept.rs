//! The constant of `array_agg`: how many values it keeps. `engine` reads it from a call's literal;
//! `states/newest` holds no more rows than it says, which bounds the state.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::ARRAY_AGG_MAX_ITEMS;

/// How many of the newest rows a state keeps, from 1 to [`ARRAY_AGG_MAX_ITEMS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kept(u16);

impl Kept {
    /// That of the examples.
    pub(super) const THREE: Self = Self(3);

    /// So many; None of a number that is not taken.
    #[must_use]
    pub fn of(count: i64) -> Option<Self> {
        let within = usize::try_from(count).is_ok_and(|n| (1..=ARRAY_AGG_MAX_ITEMS).contains(&n));
        let count = u16::try_from(count).ok().filter(|_| within)?;
        Some(Self(count))
    }

    /// The number.
    pub(super) fn rows(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_from_one_to_the_limit() {
        let most = ARRAY_AGG_MAX_ITEMS as i64;
        for count in [1, 3, most] {
            assert_eq!(Kept::of(count).map(|kept| kept.rows() as i64), Some(count));
        }
        for count in [0, -1, most + 1, 65_537, i64::MAX] {
            assert_eq!(Kept::of(count), None, "{count}");
        }
    }
}
