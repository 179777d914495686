//! Why one row of an expression has no value. A fault is a value of its row: the rows beside it are
//! not touched, and whether it counts is decided by the expression around it (`engine/src/scalar`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::limits::{KEY_MAX_BYTES, LEFT_OUT_MAX_ROWS};
use crate::progress::TopicPartition;

/// Kinds of faults. The names are part of what users see and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// An integer is divided by zero.
    Division,
    /// A result does not fit into its type.
    Overflow,
    /// A value has no counterpart in the type that it is cast to.
    Cast,
    /// An argument lies outside of what the function is defined on.
    Range,
    /// The entity key is over its limit.
    Key,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Division,
        Self::Overflow,
        Self::Cast,
        Self::Range,
        Self::Key,
    ];

    /// Name in metrics, statuses and tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Division => "division_by_zero",
            Self::Overflow => "overflow",
            Self::Cast => "cast",
            Self::Range => "out_of_range",
            Self::Key => "key_too_long",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Division => "division by zero",
            Self::Overflow => "the result does not fit into its type",
            Self::Cast => "the value cannot be cast",
            Self::Range => "an argument is out of range",
            Self::Key => {
                return write!(f, "longer than {KEY_MAX_BYTES} bytes (KEY_MAX_BYTES)");
            }
        })
    }
}

/// A row that has no value, and what fails there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Index of the row in its batch.
    pub row: u32,
    /// Why.
    pub kind: FaultKind,
    /// The expression that fails, as it is written; of a key its columns.
    pub what: Arc<str>,
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.kind)
    }
}

/// Rows of a source that a view leaves out, by their places in the log: up to
/// [`LEFT_OUT_MAX_ROWS`], further ones are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOutRows {
    places: BTreeMap<TopicPartition, BTreeSet<i64>>,
    rows: usize,
}

impl LeftOutRows {
    /// The row at `offset` of `place` is left out.
    pub fn insert(&mut self, place: &TopicPartition, offset: i64) {
        if self.rows == LEFT_OUT_MAX_ROWS {
            return;
        }
        let of_place = match self.places.get_mut(place) {
            Some(of_place) => of_place,
            None => self.places.entry(place.clone()).or_default(),
        };
        self.rows += usize::from(of_place.insert(offset));
    }

    /// Those of `other` too.
    pub fn extend(&mut self, other: &Self) {
        for (place, offsets) in &other.places {
            offsets
                .iter()
                .for_each(|offset| self.insert(place, *offset));
        }
    }

    /// How many there are, each once.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_left_out_counts_once() {
        let place = |partition| TopicPartition::new("t", partition);
        let mut rows = LeftOutRows::default();
        rows.insert(&place(0), 7);
        rows.insert(&place(0), 7);
        rows.insert(&place(1), 7);
        let mut all = rows.clone();
        all.insert(&place(1), 8);
        all.extend(&rows);
        assert_eq!((rows.count(), all.count()), (2, 3));
    }

    #[test]
    fn rows_are_counted_up_to_the_limit() {
        let place = TopicPartition::new("t", 0);
        let mut rows = LeftOutRows::default();
        for offset in (0..).take(LEFT_OUT_MAX_ROWS) {
            rows.insert(&place, offset);
        }
        assert_eq!(rows.count(), LEFT_OUT_MAX_ROWS);
        rows.insert(&place, -1);
        assert_eq!(rows.count(), LEFT_OUT_MAX_ROWS);
    }
}
