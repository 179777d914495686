//! One aggregate of a view as DataFusion's window operators run it, over columns of the batch
//! lowering's table: the arguments, then time, partition and offset, which say where a row stands
//! in the log. A frame that never loses a row keeps one state, one that slides a [`Sliding`].

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::{DataType, TimeUnit};
use datafusion::common::internal_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use forebay_core::aggregate::cells::{Cell, shown};
use forebay_core::aggregate::{AggregateKind, Partial, PartialSpec, RowOrder};
use forebay_core::value::{Value, array_from_values};

use super::sliding::Sliding;

/// The function for one aggregate of a view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WindowAggregate {
    /// Unique in its plan.
    name: String,
    kind: AggregateKind,
    spec: PartialSpec,
    tells: Tells,
    signature: Signature,
}

/// What it tells of a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Tells {
    /// Its value, NULL where there is none.
    Value(DataType),
    /// Whether it has none.
    Fault,
}

impl WindowAggregate {
    /// `kind` of `data_type`, read from a state of `spec`; its arguments are the first columns.
    pub(crate) fn function(
        name: String,
        kind: AggregateKind,
        spec: &PartialSpec,
        data_type: &DataType,
    ) -> Arc<AggregateUDF> {
        Self::telling(name, kind, spec, Tells::Value(data_type.clone()))
    }

    /// Whether that has no value.
    pub(crate) fn fault(
        name: String,
        kind: AggregateKind,
        spec: &PartialSpec,
    ) -> Arc<AggregateUDF> {
        Self::telling(name, kind, spec, Tells::Fault)
    }

    fn telling(
        name: String,
        kind: AggregateKind,
        spec: &PartialSpec,
        tells: Tells,
    ) -> Arc<AggregateUDF> {
        Arc::new(AggregateUDF::new_from_impl(Self {
            name,
            kind,
            spec: spec.clone(),
            tells,
            signature: Signature::variadic_any(Volatility::Immutable),
        }))
    }
}

impl WindowAggregate {
    fn tell(&self, cell: &Cell) -> Result<ScalarValue> {
        match &self.tells {
            Tells::Value(data_type) => scalar(cell, data_type),
            Tells::Fault => Ok(ScalarValue::Boolean(Some(cell.is_err()))),
        }
    }
}

impl AggregateUDFImpl for WindowAggregate {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match &self.tells {
            Tells::Value(data_type) => data_type.clone(),
            Tells::Fault => DataType::Boolean,
        })
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Growing {
            state: Partial::new(&self.spec),
            function: self.clone(),
        }))
    }

    fn create_sliding_accumulator(
        &self,
        _args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Shifting {
            rows: Sliding::new(&self.spec),
            function: self.clone(),
        }))
    }
}

/// A frame that only grows.
#[derive(Debug)]
struct Growing {
    state: Partial,
    function: WindowAggregate,
}

impl Accumulator for Growing {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each_row(values, |arguments, order| {
            self.state.update(arguments, order)
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.function.tell(&self.state.evaluate(self.function.kind))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.state.heap_bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        no_state(&self.function)
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        no_state(&self.function)
    }
}

/// A frame that slides.
#[derive(Debug)]
struct Shifting {
    rows: Sliding,
    function: WindowAggregate,
}

impl Accumulator for Shifting {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each_row(values, |arguments, order| {
            self.rows.enter(&self.function.spec, arguments, order)
        })
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each_row(values, |arguments, _| {
            self.rows.leave(&self.function.spec, arguments)
        })
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let WindowAggregate { spec, kind, .. } = &self.function;
        self.function.tell(&self.rows.evaluate(spec, *kind))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.rows.allocated_bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        no_state(&self.function)
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        no_state(&self.function)
    }
}

fn no_state<T>(function: &WindowAggregate) -> Result<T> {
    let name = function.kind.name();
    internal_err!("{name} runs over windows only and has no state to merge")
}

/// Run `each` on the arguments and the place of every row.
fn each_row(values: &[ArrayRef], mut each: impl FnMut(&[Value], RowOrder)) -> Result<()> {
    let Some((arguments, [times, partitions, offsets])) = values.split_last_chunk::<3>() else {
        return internal_err!("a window runs over {} columns", values.len());
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let partitions = partitions.as_primitive::<Int32Type>();
    let offsets = offsets.as_primitive::<Int64Type>();
    let mut row_values = Vec::with_capacity(arguments.len());
    for row in 0..times.len() {
        row_values.clear();
        for argument in arguments {
            let value = Value::from_array(argument, row);
            row_values.push(value.map_err(|e| DataFusionError::External(Box::new(e)))?);
        }
        let order = RowOrder {
            time_us: times.value(row),
            partition: partitions.value(row),
            offset: offsets.value(row),
        };
        each(&row_values, order);
    }
    Ok(())
}

/// A cell of a column of `data_type`.
fn scalar(cell: &Cell, data_type: &DataType) -> Result<ScalarValue> {
    Ok(match (shown(cell), data_type) {
        (Value::Null, data_type) => ScalarValue::try_from(data_type)?,
        (Value::Bool(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (Value::Int(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (Value::Int(value), DataType::Int32) => {
            ScalarValue::Int32(Some(i32::try_from(*value).map_err(|e| {
                DataFusionError::Internal(format!("an INTEGER aggregate: {e}"))
            })?))
        }
        (Value::Float(value), DataType::Float64) => ScalarValue::Float64(Some(*value)),
        (Value::Text(value), DataType::Utf8) => ScalarValue::Utf8(Some(value.to_string())),
        (Value::Date(value), DataType::Date32) => ScalarValue::Date32(Some(*value)),
        (Value::Timestamp(value), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
        }
        (list @ Value::List(_), data_type @ DataType::List(_)) => {
            let array = array_from_values(data_type, std::iter::once(list));
            let array = array.map_err(|e| DataFusionError::External(Box::new(e)))?;
            ScalarValue::try_from_array(&array, 0)?
        }
        (value, data_type) => {
            return internal_err!("an aggregate of type {data_type} gave {value:?}");
        }
    })
}
