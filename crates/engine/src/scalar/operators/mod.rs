//! What is written between values instead of being called: arithmetic, comparisons, patterns, time
//! and intervals, and the conditions that are no three-valued logic. Each file is a kernel with its
//! rules in its first lines; `lower` picks them, `column` reads what they are given.

mod arithmetic;
mod arrays;
mod column;
mod compare;
mod concat;
mod conditions;
mod extremes;
mod members;
mod pattern;
mod time;

pub(super) use arithmetic::{Bits, Doubles, Integers, Negate};
pub(super) use arrays::{Items, MakeArray, array_of, lists_of, same_items};
pub(super) use column::{Column, nulls_of};
pub(super) use compare::{Compare, Comparison, NullIf};
pub(super) use concat::Concat;
pub(super) use conditions::{IsNull, IsTruth};
pub(super) use extremes::Extreme;
pub(super) use members::Members;
pub(super) use pattern::{like, similar};
pub(super) use time::{Moment, Spans};
