//! last_value as an arg-max: the value of the row that is greatest by (event time, partition,
//! offset) in the frame, NULL or not. DataFusion's own takes the last of the peers in physical
//! order, which is an accident of arrival.
//!
//! A view's text calls it with one argument, which is enough to plan; the batch lowering adds event
//! time, partition and offset of the row as further arguments before the plan runs. A source is one
//! topic, so the topic never decides.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion::common::{internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;
use forebay_core::aggregate::RowOrder;
use forebay_core::exact::CANONICAL_NAN;

use super::LAST_VALUE;
use super::frontier::Frontier;

/// The function, as registered under `last_value`.
pub(crate) fn last_value_function() -> Arc<AggregateUDF> {
    let signature = Signature::one_of(
        vec![TypeSignature::Any(1), TypeSignature::Any(4)],
        Volatility::Immutable,
    );
    Arc::new(AggregateUDF::new_from_impl(LastValue { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LastValue {
    signature: Signature,
}

impl AggregateUDFImpl for LastValue {
    fn name(&self) -> &str {
        LAST_VALUE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let value = arg_types.first();
        Ok(value
            .expect("the signature asks for one argument or four")
            .clone())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.exprs.len() != 4 {
            return plan_err!(
                "last_value has a meaning only OVER (PARTITION BY .. ORDER BY ..) in a feature view"
            );
        }
        let null = ScalarValue::try_from(args.return_field.data_type())?;
        Ok(Box::new(LastAccumulator {
            null,
            frontier: Frontier::default(),
        }))
    }
}

#[derive(Debug)]
struct LastAccumulator {
    null: ScalarValue,
    frontier: Frontier<(RowOrder, ScalarValue)>,
}

impl Accumulator for LastAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let times = values[1].as_primitive::<TimestampMicrosecondType>();
        let partitions = values[2].as_primitive::<Int32Type>();
        let offsets = values[3].as_primitive::<Int64Type>();
        for row in 0..values[0].len() {
            let order = RowOrder {
                time_us: times.value(row),
                partition: partitions.value(row),
                offset: offsets.value(row),
            };
            let value = match ScalarValue::try_from_array(&values[0], row)? {
                // As states keep it: -0.0 as it is, but one NaN.
                ScalarValue::Float64(Some(value)) if value.is_nan() => {
                    ScalarValue::Float64(Some(CANONICAL_NAN))
                }
                value => value,
            };
            self.frontier
                .push((order, value), |newer, older| newer.0 >= older.0);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.frontier.pop_oldest(values[0].len());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self
            .frontier
            .best()
            .map_or_else(|| self.null.clone(), |(_, value)| value.clone()))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.frontier.allocated_bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("last_value runs over windows only and has no state to merge")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("last_value runs over windows only and has no state to merge")
    }
}
