//! The shapes of partial states, one file each, and the one list of them. What a state does with a
//! row, with other states and with bytes is said in its file alone; [`super::Partial`] hands on to
//! it.

mod bits;
mod bools;
mod by;
mod count;
mod distinct;
mod edge;
mod extremum;
mod newest;
mod pairs;
mod registers;
mod sketch;
mod sums;

pub(super) use bits::Bits;
pub(super) use bools::BoolCounts;
pub(super) use by::By;
pub(super) use count::RowCount;
pub(super) use distinct::Distinct;
pub(super) use edge::Edge;
pub(super) use extremum::Extremum;
pub(super) use newest::Newest;
pub(super) use registers::Registers;
pub(super) use sketch::Sketch;

use super::rows::{Column, Rows};
use super::{PartialSpec, RowOrder};
use crate::bytes::{BytesResult, Reader};
use crate::value::Value;

/// How rows leave a state again, which is what a window that slides asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// The state takes a row away ([`super::Partial::retract`]).
    Retracted,
    /// The state is that of one of its rows alone: of two rows the one that the merged state equals
    /// is the better one, and stays so.
    Selected,
    /// Neither: the state is made anew from the rows that stay.
    Rebuilt,
}

/// A partial state. Merging is associative and commutative, and equal multisets of rows give equal
/// bytes; the laws are tested for every state of the list (`aggregate/tests/laws.rs`).
pub(super) trait State: Sized {
    /// How rows leave it.
    const LEAVING: Leaving;

    /// Of no row.
    fn new(spec: &PartialSpec) -> Self;

    /// Whether no row is in it that could change a value.
    fn is_empty(&self) -> bool;

    /// What it holds beside itself, bytes: texts may be shared with others.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Fold in one row.
    ///
    /// # Panics
    /// A value is not of its argument's type.
    fn update(&mut self, arguments: &[Value], order: RowOrder);

    /// Fold in the rows `passing`, ascending. States of numbers have loops of their own.
    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        let mut values = Vec::with_capacity(arguments.len());
        for row in passing {
            values.clear();
            let value = |index: &usize| rows.argument(*index).value(row);
            values.extend(arguments.iter().map(value));
            self.update(&values, rows.order(row));
        }
    }

    /// Take away one row that was folded in before; only of a state that is [`Leaving::Retracted`].
    fn retract(&mut self, _arguments: &[Value]) {
        unreachable!("the state does not retract")
    }

    /// Whether, of two rows that are states of their own, the one of `newer` is at least as good;
    /// only of a state that is [`Leaving::Selected`].
    fn gives_way_to(&self, _newer: &Self) -> bool {
        unreachable!("the state is not that of one row")
    }

    /// Fold in all rows of `other`.
    fn merge(&mut self, other: &Self);

    /// Append the canonical bytes, a code first.
    fn encode(&self, out: &mut Vec<u8>);

    /// Read what [`Self::encode`] wrote behind `code`; None where the code is another state's.
    fn read(code: u8, spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>>;
}

/// The state's only argument.
///
/// # Panics
/// It was planned with another number of them.
pub(super) fn only(arguments: &[Value]) -> &Value {
    let [argument] = arguments else {
        panic!("a state of one argument was given {arguments:?}")
    };
    argument
}

#[cold]
pub(super) fn mismatch(what: &str, value: &impl std::fmt::Debug) -> ! {
    panic!("{what} was given {value:?}; the planner casts arguments to the type of the state")
}
