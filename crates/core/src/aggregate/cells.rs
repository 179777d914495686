//! What an aggregate gives for one key at one moment, and how such cells become the columns that
//! the features are computed from. The online reader, the probe, the batch lowering and the stores
//! of tests all come here, so that a result that does not fit its type is the same everywhere.

use crate::cells::{CellFault, Cells};
use crate::error::PortResult;
use crate::fault::FaultKind;
use crate::index::RowIndex;
use crate::value::{Value, array_from_values};
use crate::view::AggregateSpec;

/// The value, or why there is none.
pub type Cell = Result<Value, FaultKind>;

static NULL: Value = Value::Null;

/// What a column holds of a cell: NULL where there is no value.
#[must_use]
pub fn shown(cell: &Cell) -> &Value {
    cell.as_ref().unwrap_or(&NULL)
}

/// Put the column of `aggregate` behind `into`, NULL and a fault where there is no value.
///
/// # Errors
/// As [`array_from_values`].
pub fn append<'a>(
    into: &mut Cells,
    aggregate: &AggregateSpec,
    cells: impl ExactSizeIterator<Item = &'a Cell> + Clone,
) -> PortResult<()> {
    if aggregate.may_fail() {
        let rows = RowIndex::all(cells.len());
        for (row, cell) in rows.zip(cells.clone()) {
            if let Err(kind) = cell {
                into.faults
                    .push(fault(aggregate, into.columns.len(), row, *kind));
            }
        }
    }
    let column = array_from_values(&aggregate.data_type, cells.map(shown))?;
    into.columns.push(column);
    Ok(())
}

/// That `aggregate`, in this column, has no value in `row`.
#[must_use]
pub fn fault(
    aggregate: &AggregateSpec,
    column: usize,
    row: RowIndex,
    kind: FaultKind,
) -> CellFault {
    CellFault {
        column,
        row: row.number(),
        kind,
        what: format!("{}(..)", aggregate.kind.name()).into(),
    }
}
