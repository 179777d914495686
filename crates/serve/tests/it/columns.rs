//! Columns of an answer as plain values, for comparisons. Reads batches alone; [`crate::world`] has
//! what makes them.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};

/// The values of an integer column; None for NULL.
pub(crate) fn integers(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    let column = batch
        .column_by_name(name)
        .unwrap_or_else(|| panic!("no column {name} in {batch:?}"));
    column
        .as_primitive::<arrow_array::types::Int64Type>()
        .iter()
        .collect()
}

/// The values of a DOUBLE column; None for NULL.
pub(crate) fn doubles(batch: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    let column = batch
        .column_by_name(name)
        .unwrap_or_else(|| panic!("no column {name} in {batch:?}"));
    assert_eq!(column.len(), batch.num_rows());
    column.as_primitive::<Float64Type>().iter().collect()
}
