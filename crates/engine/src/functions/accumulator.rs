//! DataFusion's accumulators over one partial state of `core`. State is one Binary field, the
//! state's canonical bytes, so that equal multisets give equal bytes between operators too.
//! Evaluating is not destructive.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion::common::{exec_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;
use forebay_core::aggregate::cells::shown;
use forebay_core::aggregate::{AggregateKind, Partial, PartialSpec, compare_floats};
use forebay_core::exact::canonical;
use forebay_core::value::Value;

use super::frontier::Frontier;

/// An aggregate over numbers, updated and merged in any order; all but min and max also retract.
#[derive(Debug)]
pub(super) struct ExactAccumulator {
    kind: AggregateKind,
    spec: PartialSpec,
    state: Partial,
}

impl ExactAccumulator {
    /// Over `argument`, a type that the function takes.
    pub(super) fn new(kind: AggregateKind, argument: &DataType) -> Self {
        let argument_type = Some(argument.clone());
        let class = kind
            .partial_class(argument_type.as_ref())
            .expect("only aggregates that take the type are wrapped");
        let spec = PartialSpec {
            class,
            argument: Some(0),
            argument_type,
            filter: None,
        };
        let state = Partial::new(&spec);
        Self { kind, spec, state }
    }
}

impl Accumulator for ExactAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (values, state) = (&values[0], &mut self.state);
        match values.data_type() {
            DataType::Float64 => {
                let values = values.as_primitive::<Float64Type>();
                values.iter().for_each(|value| state.update_f64(value));
            }
            DataType::Int64 => {
                let values = values.as_primitive::<Int64Type>();
                values.iter().for_each(|value| state.update_i64(value));
            }
            DataType::Int32 => {
                let values = values.as_primitive::<Int32Type>().iter();
                values.for_each(|value| state.update_i64(value.map(i64::from)));
            }
            other => return internal_err!("{} over {other}", self.kind.name()),
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            let value = Value::from_array(&values[0], row).map_err(external)?;
            if !self.state.retract(&value) {
                return internal_err!("{} was asked to retract", self.kind.name());
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        !matches!(self.kind, AggregateKind::Min | AggregateKind::Max)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let data_type = self.kind.output_type(self.spec.argument_type.as_ref());
        let cell = self.state.evaluate(self.kind);
        match (shown(&cell), data_type.map_err(external)?) {
            (Value::Null, data_type) => ScalarValue::try_from(&data_type),
            (Value::Float(value), DataType::Float64) => Ok(ScalarValue::Float64(Some(*value))),
            (Value::Int(value), DataType::Int64) => Ok(ScalarValue::Int64(Some(*value))),
            (other, _) => internal_err!("{} gave {other:?}", self.kind.name()),
        }
    }

    fn size(&self) -> usize {
        // The limbs of an exact sum of squares at their widest; a bound, not a measure.
        size_of::<Self>() + 2_048
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.state.encode(&mut bytes);
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = states[0].as_binary::<i32>();
        for mut bytes in states.iter().flatten() {
            let other = Partial::decode(&self.spec, &mut bytes).map_err(external)?;
            if !bytes.is_empty() {
                return exec_err!(
                    "{} bytes follow a state of {}",
                    bytes.len(),
                    self.kind.name()
                );
            }
            self.state.merge(&other);
        }
        Ok(())
    }
}

fn external(error: forebay_core::PortError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// min or max over DOUBLE in a sliding frame: rows leave in the order in which they came.
#[derive(Debug)]
pub(super) struct SlidingExtremum {
    kind: AggregateKind,
    frontier: Frontier<f64>,
}

impl SlidingExtremum {
    pub(super) fn new(kind: AggregateKind) -> Self {
        Self {
            kind,
            frontier: Frontier::default(),
        }
    }
}

impl Accumulator for SlidingExtremum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let is_min = self.kind == AggregateKind::Min;
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.frontier.push(canonical(value), |newer, older| {
                let order = compare_floats(*newer, *older);
                if is_min { order.is_le() } else { order.is_ge() }
            });
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        // NULLs never came in.
        self.frontier
            .pop_oldest(values[0].len() - values[0].null_count());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.frontier.best().copied()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.frontier.allocated_bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a sliding {} has no state to merge", self.kind.name())
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("a sliding {} has no state to merge", self.kind.name())
    }
}
