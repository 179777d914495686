//! Rows of an expression without a value, and which of them count: of a strict operation each, of
//! the first of its arguments that has one; of a lazy one those that it reaches. Lists are
//! ascending by row, have a row once and are nearly always empty.

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use arrow_select::nullif::nullif;
use forebay_core::fault::FaultKind;
use forebay_core::{ErrorKind, PortError, PortResult};

use super::kernel::RowFaults;

/// A row without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) row: u32,
    pub(crate) kind: FaultKind,
    /// The operation that failed, as an index into the code.
    pub(crate) op: u32,
}

/// Rows without a value, ascending.
pub(crate) type Faults = Vec<Fault>;

/// What operation `op` raised.
pub(super) fn raised(rows: &RowFaults, op: u32) -> Faults {
    rows.iter()
        .map(|(row, kind)| Fault { row, kind, op })
        .collect()
}

/// The rows of either; a row of both has the fault of `first`.
pub(super) fn merge(first: Faults, second: Faults) -> Faults {
    if first.is_empty() {
        return second;
    }
    if second.is_empty() {
        return first;
    }
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let mut later = second.into_iter().peekable();
    for fault in first {
        while let Some(other) = later.next_if(|other| other.row < fault.row) {
            merged.push(other);
        }
        later.next_if(|other| other.row == fault.row);
        merged.push(fault);
    }
    merged.extend(later);
    merged
}

/// The fault of a constant, in all of `rows`.
pub(super) fn everywhere(fault: Fault, rows: usize) -> Faults {
    let rows = u32::try_from(rows).expect("a batch has fewer than 2^32 rows");
    (0..rows).map(|row| Fault { row, ..fault }).collect()
}

/// True at the rows of `faults`.
pub(super) fn mask(faults: &[Fault], rows: usize) -> BooleanBuffer {
    let mut faults = faults.iter().peekable();
    BooleanBuffer::collect_bool(rows, |row| {
        faults.next_if(|fault| fault.row as usize == row).is_some()
    })
}

/// `array` with NULL at the rows of `faults`.
pub(super) fn nulled(array: ArrayRef, faults: &[Fault]) -> PortResult<ArrayRef> {
    if faults.is_empty() {
        return Ok(array);
    }
    let mask = BooleanArray::new(mask(faults, array.len()), None);
    nullif(&array, &mask)
        .map_err(|e| PortError::with_source(ErrorKind::Internal, "rows without a value", e))
}
