//! The labels of a batch of the label source, by the monitor's expression. A row on which the
//! expression fails has none: it is found by halving, so that it does not take its neighbours with
//! it. Pure: what failed goes back to the caller, who says so.

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::concat::concat;
use forebay_core::ports::CompiledLabel;
use forebay_core::{PortError, PortResult};

/// Rows on which a label's expression fails, and the first error.
#[derive(Debug, Default)]
pub struct FailedLabels {
    /// How many.
    pub rows: usize,
    /// Why the first of them fails.
    pub first: Option<PortError>,
}

/// The labels of `rows`.
pub(crate) fn labels_of(
    expression: &dyn CompiledLabel,
    rows: &RecordBatch,
    failed: &mut FailedLabels,
) -> PortResult<BooleanArray> {
    let error = match expression.evaluate(rows) {
        Ok(labels) => return Ok(labels),
        Err(error) if error.kind().is_of_the_data() && rows.num_rows() > 0 => error,
        Err(error) => return Err(error),
    };
    if rows.num_rows() == 1 {
        failed.rows += 1;
        failed.first.get_or_insert(error);
        return Ok(BooleanArray::new_null(1));
    }
    let half = rows.num_rows() / 2;
    let left = labels_of(expression, &rows.slice(0, half), failed)?;
    let right = rows.slice(half, rows.num_rows() - half);
    let right = labels_of(expression, &right, failed)?;
    let both = concat(&[&left, &right])
        .map_err(|e| PortError::internal(format!("labels do not make an array: {e}")))?;
    Ok(both.as_boolean().clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_array::types::Int64Type;
    use forebay_core::ErrorKind;

    use super::*;

    /// `100 / x > 5`, which no batch with a zero survives.
    #[derive(Debug)]
    struct Quotient;

    impl CompiledLabel for Quotient {
        fn evaluate(&self, rows: &RecordBatch) -> PortResult<BooleanArray> {
            let values = rows.column(0).as_primitive::<Int64Type>().values();
            let quotient = |x: &i64| 100_i64.checked_div(*x).map(|q| Some(q > 5));
            values
                .iter()
                .map(quotient)
                .collect::<Option<_>>()
                .ok_or_else(|| PortError::invalid("divide by zero"))
        }
    }

    #[test]
    fn a_row_on_which_the_label_fails_has_none_and_its_neighbours_have_theirs() {
        let column = |values: Vec<i64>| {
            RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(values)) as _)])
                .expect("one column")
        };
        let mut failed = FailedLabels::default();
        let labels = labels_of(&Quotient, &column(vec![1, 0, 50, 2, 0]), &mut failed);
        let expected = vec![Some(true), None, Some(false), Some(true), None];
        assert_eq!(labels.expect("of the data"), BooleanArray::from(expected));
        let first = failed.first.map(|error| error.kind());
        assert_eq!((failed.rows, first), (2, Some(ErrorKind::InvalidArgument)));
        let none = labels_of(&Quotient, &column(Vec::new()), &mut FailedLabels::default());
        assert_eq!(none.expect("no row").len(), 0);
    }
}
