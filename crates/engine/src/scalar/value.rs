//! Values of operations while code runs: a column, or one value for all rows, and the rows that
//! have none; and truth as bits, which conditions are computed with.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::faults::{Faults, everywhere};

/// The value of an operation while the code runs.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) array: ArrayRef,
    /// Whether the array has one value, for all rows.
    pub(super) constant: bool,
    pub(super) faults: Faults,
}

impl Value {
    /// Its faults where it has `rows` of them.
    pub(super) fn faults(&self, rows: usize) -> Faults {
        match self.faults.first() {
            Some(fault) if self.constant => everywhere(*fault, rows),
            _ => self.faults.clone(),
        }
    }

    /// Where it is true, and where it is NULL, of `rows`.
    pub(super) fn truth(&self, rows: usize) -> Truth {
        let array = self.array.as_boolean();
        if self.constant {
            let is_null = array.is_null(0);
            let bits = |set: bool| {
                if set {
                    BooleanBuffer::new_set(rows)
                } else {
                    BooleanBuffer::new_unset(rows)
                }
            };
            return Truth {
                is_true: bits(!is_null && array.value(0)),
                valid: is_null.then(|| bits(false)),
            };
        }
        let valid = array.nulls().map(NullBuffer::inner).cloned();
        let is_true = match &valid {
            Some(valid) => array.values() & valid,
            None => array.values().clone(),
        };
        Truth { is_true, valid }
    }
}

/// A column of true, false and NULL.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) is_true: BooleanBuffer,
    /// Where it is not NULL; None for everywhere.
    pub(super) valid: Option<BooleanBuffer>,
}

impl Truth {
    /// Where it is `truth`, and not NULL.
    pub(super) fn is(&self, truth: bool) -> BooleanBuffer {
        match &self.valid {
            _ if truth => self.is_true.clone(),
            Some(valid) => valid & &!&self.is_true,
            None => !&self.is_true,
        }
    }

    /// True and false as said, NULL where neither holds.
    pub(super) fn of(is_true: BooleanBuffer, is_false: &BooleanBuffer) -> BooleanArray {
        let valid = &is_true | is_false;
        let nulls = NullBuffer::new(valid);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        BooleanArray::new(is_true, nulls)
    }
}
