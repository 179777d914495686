//! What computes one operation over whole columns, and the rows at which it fails. Kernels come
//! from `functions` and from the operators; `code` calls them and decides which faults count.

use std::fmt::Debug;

use arrow_array::ArrayRef;
use forebay_core::PortResult;
use forebay_core::fault::FaultKind;

/// An argument of a kernel: one value for each row, or one for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) array: &'a ArrayRef,
    /// Whether `array` has one value, which holds for every row.
    pub(crate) constant: bool,
}

impl<'a> Operand<'a> {
    /// One value for all rows.
    pub(crate) fn constant(array: &'a ArrayRef) -> Self {
        let constant = true;
        Self { array, constant }
    }

    /// Where the value of `row` lies in the array.
    pub(crate) fn index(&self, row: usize) -> usize {
        if self.constant { 0 } else { row }
    }
}

/// Rows without a value, ascending, each with why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RowFaults(Vec<(u32, FaultKind)>);

impl RowFaults {
    /// Note that `row` fails. Rows come in ascending order; the first fault of a row stays.
    pub(crate) fn push(&mut self, row: usize, kind: FaultKind) {
        let row = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
        match self.0.last() {
            Some((last, _)) if *last == row => {}
            _ => self.0.push((row, kind)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, FaultKind)> + '_ {
        self.0.iter().copied()
    }
}

/// One operation, bound to its constants.
pub(crate) trait Kernel: Send + Sync + Debug {
    /// An array of `rows` values, of the type that the overload promised. Where a row fails, the
    /// value is NULL and the row is in `faults`; a row that other rows fail beside keeps its value.
    ///
    /// # Errors
    /// Something else than a row: a defect of the kernel, memory.
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef>;
}
