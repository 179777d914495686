//! Values of rows as columns, and the cells among them that have none because an expression failed
//! on their row. `engine` makes them of aggregates and of request rows; `serve`, scoring and
//! `training` answer with the columns and tell of the cells. What a failing cell says travels with
//! it: a service that reads a feature without a value has none either.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_select::nullif::nullif;

use crate::aggregate::cells::{Cell, shown};
use crate::error::{ErrorKind, PortError, PortResult};
use crate::fault::FaultKind;
use crate::index::RowIndex;
use crate::value::array_from_values;
use crate::view::AggregateSpec;

/// A cell without a value, and what fails there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellFault {
    /// Number of its column.
    pub column: usize,
    /// Index of its row.
    pub row: u32,
    /// Why.
    pub kind: FaultKind,
    /// The expression that fails, as it is written.
    pub what: Arc<str>,
}

impl fmt::Display for CellFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.kind)
    }
}

impl CellFault {
    /// That `aggregate`, in this column, has no value in `row`.
    #[must_use]
    pub fn of_aggregate(
        aggregate: &AggregateSpec,
        column: usize,
        row: RowIndex,
        kind: FaultKind,
    ) -> Self {
        Self {
            column,
            row: row.number(),
            kind,
            what: format!("{}(..)", aggregate.kind.name()).into(),
        }
    }
}

/// Columns of equal length.
#[derive(Debug, Clone, Default)]
pub struct Cells {
    /// The values; a cell without one is NULL.
    pub columns: Vec<ArrayRef>,
    /// Cells without a value, ascending by column, then by row. Nearly always there is none.
    pub faults: Vec<CellFault>,
}

impl From<Vec<ArrayRef>> for Cells {
    fn from(columns: Vec<ArrayRef>) -> Self {
        Self {
            columns,
            faults: Vec::new(),
        }
    }
}

impl Cells {
    /// The column of `aggregate` behind those of `self`, NULL and a fault where there is no value.
    ///
    /// # Errors
    /// A value is not of the aggregate's type.
    pub fn append<'a>(
        &mut self,
        aggregate: &AggregateSpec,
        cells: impl ExactSizeIterator<Item = &'a Cell> + Clone,
    ) -> PortResult<()> {
        let column = self.columns.len();
        if aggregate.may_fail() {
            let rows = RowIndex::all(cells.len()).zip(cells.clone());
            let failed = rows.filter_map(|(row, cell)| Some((row, cell.as_ref().err()?)));
            let fault = |(row, kind): (RowIndex, &FaultKind)| {
                CellFault::of_aggregate(aggregate, column, row, *kind)
            };
            self.faults.extend(failed.map(fault));
        }
        let values = array_from_values(&aggregate.data_type, cells.map(shown))?;
        self.columns.push(values);
        Ok(())
    }

    /// These columns behind those of `self`.
    pub fn extend(&mut self, behind: &Self) {
        let before = self.columns.len();
        self.columns.extend(behind.columns.iter().cloned());
        let moved = behind.faults.iter().map(|fault| CellFault {
            column: before + fault.column,
            ..fault.clone()
        });
        self.faults.extend(moved);
    }

    /// `length` rows from `from` on.
    #[must_use]
    pub fn slice(&self, from: usize, length: usize) -> Self {
        let columns = self.columns.iter();
        let columns = columns.map(|column| column.slice(from, length)).collect();
        let within = |fault: &CellFault| {
            let row = RowIndex::at((fault.row as usize).checked_sub(from)?);
            (row.index() < length).then(|| CellFault {
                row: row.number(),
                ..fault.clone()
            })
        };
        let faults = self.faults.iter().filter_map(within).collect();
        Self { columns, faults }
    }

    /// The same, NULL in the rows of `absent`, where nothing failed either: nobody has an answer
    /// for them.
    ///
    /// # Errors
    /// `absent` has another length than the columns.
    pub fn without(self, absent: &BooleanArray) -> PortResult<Self> {
        if absent.true_count() == 0 {
            return Ok(self);
        }
        let columns = self.columns.iter().map(|column| nullif(column, absent));
        let columns = columns.collect::<Result<_, _>>().map_err(|e| {
            let words = "the rows of a view that have no answer";
            PortError::with_source(ErrorKind::Internal, words, e)
        })?;
        let mut faults = self.faults;
        faults.retain(|fault| !absent.value(fault.row as usize));
        Ok(Self { columns, faults })
    }

    /// The faults of column `number`, ascending by row.
    #[must_use]
    pub fn faults_of(&self, number: usize) -> &[CellFault] {
        let from = self.faults.partition_point(|fault| fault.column < number);
        let to = self.faults.partition_point(|fault| fault.column <= number);
        &self.faults[from..to]
    }

    /// The fault of one cell.
    #[must_use]
    pub fn fault_at(&self, number: usize, row: u32) -> Option<&CellFault> {
        let of_column = self.faults_of(number);
        let at = of_column.binary_search_by_key(&row, |fault| fault.row);
        at.ok().map(|at| &of_column[at])
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Int64Array};

    use super::*;

    fn fault(column: usize, row: u32) -> CellFault {
        CellFault {
            column,
            row,
            kind: FaultKind::Division,
            what: "1 / x".into(),
        }
    }

    fn cells(values: Vec<Option<i64>>, faults: Vec<CellFault>) -> Cells {
        Cells {
            columns: vec![Arc::new(Int64Array::from(values))],
            faults,
        }
    }

    #[test]
    fn columns_behind_others_bring_their_faults() {
        let mut all = cells(vec![Some(1), None], vec![fault(0, 1)]);
        all.extend(&cells(vec![None, Some(2)], vec![fault(0, 0)]));
        assert_eq!(all.faults, [fault(0, 1), fault(1, 0)]);
        assert_eq!(all.faults_of(1), [fault(1, 0)]);
        assert_eq!(all.faults_of(2), []);
        assert_eq!(all.fault_at(0, 1), Some(&fault(0, 1)));
        assert_eq!(all.fault_at(0, 0), None);
    }

    #[test]
    fn a_slice_has_its_own_faults() {
        let all = cells(vec![Some(1), None, None], vec![fault(0, 1), fault(0, 2)]);
        let middle = all.slice(1, 1);
        assert_eq!((middle.columns[0].len(), middle.faults.len()), (1, 1));
        assert_eq!(middle.fault_at(0, 0), Some(&fault(0, 0)));
        assert!(all.slice(0, 1).faults.is_empty());
    }

    #[test]
    fn an_absent_row_is_null_and_no_fault() {
        let all = cells(vec![Some(1), None, None], vec![fault(0, 1), fault(0, 2)]);
        let absent = BooleanArray::from(vec![true, true, false]);
        let left = all.without(&absent).expect("of one length");
        assert_eq!(left.columns[0].null_count(), 3);
        assert_eq!(left.faults, [fault(0, 2)]);
    }
}
