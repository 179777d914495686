//! The partial states of one tile of one view, side by side, in the order of `ViewSpec::partials`,
//! and how a row of a `FoldBatch` enters all of them.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_schema::DataType;

use super::order::RowOrder;
use super::partial::Partial;
use super::{PartialClass, PartialSpec};
use crate::error::{PortError, PortResult};
use crate::value::Value;

/// One state for each spec of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialSet(pub Vec<Partial>);

impl PartialSet {
    /// States of no row.
    #[must_use]
    pub fn new(specs: &[PartialSpec]) -> Self {
        Self(specs.iter().map(Partial::new).collect())
    }

    /// Fold row `row` of the argument and filter columns into every state whose FILTER it passes
    /// (NULL does not).
    ///
    /// # Errors
    /// A column that is not there or not of the spec's type (`Internal`): the planner made both.
    pub fn update_row(
        &mut self,
        specs: &[PartialSpec],
        arguments: &[ArrayRef],
        filters: &[BooleanArray],
        row: usize,
        order: RowOrder,
    ) -> PortResult<()> {
        for (state, spec) in self.0.iter_mut().zip(specs) {
            if let Some(index) = spec.filter {
                let filter = filters.get(index).ok_or_else(|| missing("FILTER", index))?;
                if !filter.is_valid(row) || !filter.value(row) {
                    continue;
                }
            }
            match spec.argument {
                None => state.update_count(1),
                Some(index) => {
                    let column = arguments
                        .get(index)
                        .ok_or_else(|| missing("argument", index))?;
                    update_from(state, spec, column, row, order)?;
                }
            }
        }
        Ok(())
    }

    /// Fold in all rows of `other`, a set of the same specs.
    ///
    /// # Panics
    /// The sets are of different specs.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            self.0.len(),
            other.0.len(),
            "both sets were made from one view's partials"
        );
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(mine, theirs)| mine.merge(theirs));
    }

    /// Append the canonical bytes of all states.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|state| state.encode(out));
    }

    /// Read what [`Self::encode`] wrote for states of `specs`, and move `bytes` past it.
    ///
    /// # Errors
    /// Bytes that no such set has (`DataLoss`).
    pub fn decode(specs: &[PartialSpec], bytes: &mut &[u8]) -> PortResult<Self> {
        specs
            .iter()
            .map(|spec| Partial::decode(spec, bytes))
            .collect::<PortResult<Vec<_>>>()
            .map(Self)
    }
}

fn update_from(
    state: &mut Partial,
    spec: &PartialSpec,
    column: &ArrayRef,
    row: usize,
    order: RowOrder,
) -> PortResult<()> {
    if spec
        .argument_type
        .as_ref()
        .is_some_and(|expected| expected != column.data_type())
    {
        return Err(PortError::internal(format!(
            "an argument column is {}, the view was planned over {:?}",
            column.data_type(),
            spec.argument_type
        )));
    }
    match (spec.class, column.data_type()) {
        (PartialClass::Count, _) => state.update_count(i64::from(column.is_valid(row))),
        (PartialClass::Last, _) => {
            // An older row changes nothing: do not copy its text.
            if !matches!(state, Partial::Last(Some((newest, _))) if *newest >= order) {
                state.update(&Value::from_array(column.as_ref(), row)?, order);
            }
        }
        (_, DataType::Float64) => {
            let column = column.as_primitive::<Float64Type>();
            state.update_f64(column.is_valid(row).then(|| column.value(row)));
        }
        (_, DataType::Int64) => {
            let column = column.as_primitive::<Int64Type>();
            state.update_i64(column.is_valid(row).then(|| column.value(row)));
        }
        (_, DataType::Int32) => {
            let column = column.as_primitive::<Int32Type>();
            state.update_i64(column.is_valid(row).then(|| i64::from(column.value(row))));
        }
        _ => state.update(&Value::from_array(column.as_ref(), row)?, order),
    }
    Ok(())
}

fn missing(what: &str, index: usize) -> PortError {
    PortError::internal(format!(
        "{what} column {index} is missing from a fold batch"
    ))
}
