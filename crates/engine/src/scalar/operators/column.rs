//! Operands as slices, and loops over them: one value for each row, or one for all, so that no
//! constant is ever written out.

use arrow_array::cast::AsArray;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, NullBuffer};
use forebay_core::limits::TEXT_MAX_BYTES;

use crate::scalar::kernel::Operand;

/// The values of an operand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<'a, T> {
    Each(&'a [T]),
    One(T),
}

impl<'a, T: ArrowNativeType> Column<'a, T> {
    /// The values of an operand of this type, of which there are `rows`.
    pub(crate) fn of<A: ArrowPrimitiveType<Native = T>>(operand: Operand<'a>, rows: usize) -> Self {
        let values = operand.array.as_primitive::<A>().values();
        if operand.constant {
            Self::One(values[0])
        } else {
            Self::Each(&values[..rows])
        }
    }
}

impl<T: Copy> Column<'_, T> {
    pub(crate) fn value(&self, row: usize) -> T {
        match self {
            Self::Each(values) => values[row],
            Self::One(value) => *value,
        }
    }

    pub(crate) fn map<R>(self, rows: usize, mut f: impl FnMut(T) -> R) -> Vec<R> {
        match self {
            Self::Each(values) => values.iter().map(|value| f(*value)).collect(),
            Self::One(value) => (0..rows).map(|_| f(value)).collect(),
        }
    }
}

/// `f` of both operands in every row; where one is NULL, of whatever lies there.
pub(crate) fn binary<L: Copy, R: Copy, O>(
    left: Column<'_, L>,
    right: Column<'_, R>,
    rows: usize,
    mut f: impl FnMut(L, R) -> O,
) -> Vec<O> {
    match (left, right) {
        (Column::Each(left), Column::Each(right)) => left
            .iter()
            .zip(right)
            .map(|(left, right)| f(*left, *right))
            .collect(),
        (Column::Each(left), Column::One(right)) => {
            left.iter().map(|left| f(*left, right)).collect()
        }
        (Column::One(left), Column::Each(right)) => {
            right.iter().map(|right| f(left, *right)).collect()
        }
        (Column::One(left), Column::One(right)) => (0..rows).map(|_| f(left, right)).collect(),
    }
}

/// The same as bits.
pub(super) fn binary_bits<L: Copy, R: Copy>(
    left: Column<'_, L>,
    right: Column<'_, R>,
    rows: usize,
    f: impl Fn(L, R) -> bool,
) -> BooleanBuffer {
    match (left, right) {
        (Column::Each(left), Column::Each(right)) => {
            BooleanBuffer::collect_bool(rows, |row| f(left[row], right[row]))
        }
        (Column::Each(left), Column::One(right)) => {
            BooleanBuffer::collect_bool(rows, |row| f(left[row], right))
        }
        (Column::One(left), Column::Each(right)) => {
            BooleanBuffer::collect_bool(rows, |row| f(left, right[row]))
        }
        (Column::One(left), Column::One(right)) => {
            BooleanBuffer::collect_bool(rows, |_| f(left, right))
        }
    }
}

/// Texts of an operand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Texts<'a> {
    Each(&'a StringArray),
    One(&'a str),
}

impl<'a> Texts<'a> {
    pub(super) fn of(operand: Operand<'a>) -> Self {
        let array = operand.array.as_string::<i32>();
        if operand.constant {
            Self::One(array.value(0))
        } else {
            Self::Each(array)
        }
    }

    pub(super) fn value(&self, row: usize) -> &'a str {
        match self {
            Self::Each(array) => array.value(row),
            Self::One(text) => text,
        }
    }
}

/// Booleans of an operand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Booleans<'a> {
    Each(&'a BooleanArray),
    One(bool),
}

impl<'a> Booleans<'a> {
    pub(super) fn of(operand: Operand<'a>) -> Self {
        let array = operand.array.as_boolean();
        if operand.constant {
            Self::One(array.value(0))
        } else {
            Self::Each(array)
        }
    }

    pub(super) fn value(&self, row: usize) -> bool {
        match self {
            Self::Each(array) => array.value(row),
            Self::One(value) => *value,
        }
    }
}

/// NULL where an operand is, of `rows`; None for nowhere.
pub(crate) fn nulls_of(operands: &[Operand<'_>], rows: usize) -> Option<NullBuffer> {
    let mut nulls: Option<NullBuffer> = None;
    for operand in operands {
        if !operand.constant {
            nulls = NullBuffer::union(nulls.as_ref(), operand.array.nulls());
        } else if operand.array.is_null(0) {
            return Some(NullBuffer::new_null(rows));
        }
    }
    nulls.filter(|nulls| nulls.null_count() > 0)
}

/// Whether the value of `row` is NULL.
pub(super) fn is_null(operand: &Operand<'_>, row: usize) -> bool {
    operand.array.is_null(operand.index(row))
}

/// Where the operand is not NULL.
pub(super) fn valid_of(operand: &Operand<'_>, rows: usize) -> BooleanBuffer {
    if operand.constant {
        return if operand.array.is_null(0) {
            BooleanBuffer::new_unset(rows)
        } else {
            BooleanBuffer::new_set(rows)
        };
    }
    nullable(operand.array, rows)
}

fn nullable(array: &ArrayRef, rows: usize) -> BooleanBuffer {
    array.nulls().map_or_else(
        || BooleanBuffer::new_set(rows),
        |nulls| nulls.inner().clone(),
    )
}

/// Whether a text of so many bytes is over the limit of one value.
pub(crate) fn bytes_limit(bytes: usize) -> bool {
    bytes > TEXT_MAX_BYTES
}
