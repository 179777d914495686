//! What an aggregate gives for one key at one moment, and how such cells become the columns that
//! the features are computed from. The online reader, the probe, the batch lowering and the stores
//! of tests all come here, so that a result that does not fit its type is the same everywhere.

use crate::fault::FaultKind;
use crate::value::Value;

/// The value, or why there is none.
pub type Cell = Result<Value, FaultKind>;

static NULL: Value = Value::Null;

/// What a column holds of a cell: NULL where there is no value.
#[must_use]
pub fn shown(cell: &Cell) -> &Value {
    cell.as_ref().unwrap_or(&NULL)
}
