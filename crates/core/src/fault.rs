//! Why one row of an expression has no value. A fault is a value of its row: the rows beside it are
//! not touched, and whether it counts is decided by the expression around it (`engine/src/scalar`).

use std::fmt;
use std::sync::Arc;

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
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Division, Self::Overflow, Self::Cast, Self::Range];

    /// Name in metrics, statuses and tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Division => "division_by_zero",
            Self::Overflow => "overflow",
            Self::Cast => "cast",
            Self::Range => "out_of_range",
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
        })
    }
}

/// A row that has no place in what a view folds: an expression that counts has no value on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Its index in the decoded batch.
    pub row: u32,
    /// Why.
    pub kind: FaultKind,
    /// The expression as it reads, and the reason in words.
    pub what: Arc<str>,
}
