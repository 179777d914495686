//! One aggregate of DataFusion over DOUBLE, replaced: same name, aliases, signature and types as
//! the built-in, but exact and independent of order. Inputs that are not DOUBLE (integers,
//! decimals) go to the built-in, which is exact there.
//!
//! What must not be delegated: `value_from_stats` (Parquet statistics lose NaN) and
//! `simplify_expr_op_literal` (it turns `sum(x + c)` into another rounding); both stay at their
//! defaults, which do nothing.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};
use forebay_core::aggregate::AggregateKind;

use super::accumulator::{ExactAccumulator, SlidingExtremum};

/// One built-in aggregate with an exact one for DOUBLE in its place.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactAggregate {
    kind: AggregateKind,
    built_in: Arc<AggregateUDF>,
}

impl ExactAggregate {
    pub(super) fn new(kind: AggregateKind, built_in: Arc<AggregateUDF>) -> Self {
        Self { kind, built_in }
    }

    fn is_ours(args: &AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
            && args
                .expr_fields
                .first()
                .is_some_and(|f| f.data_type() == &DataType::Float64)
    }
}

impl AggregateUDFImpl for ExactAggregate {
    fn name(&self) -> &str {
        self.built_in.name()
    }

    fn aliases(&self) -> &[String] {
        self.built_in.aliases()
    }

    fn signature(&self) -> &Signature {
        self.built_in.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.built_in.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.built_in.coerce_types(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if Self::is_ours(&args) {
            return Ok(Box::new(ExactAccumulator::new(self.kind)));
        }
        self.built_in.accumulator(args)
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        if !Self::is_ours(&args) {
            return self.built_in.create_sliding_accumulator(args);
        }
        Ok(match self.kind {
            AggregateKind::Min | AggregateKind::Max => Box::new(SlidingExtremum::new(self.kind)),
            _ => Box::new(ExactAccumulator::new(self.kind)),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let ours = !args.is_distinct
            && args
                .input_fields
                .first()
                .is_some_and(|f| f.data_type() == &DataType::Float64);
        if ours {
            let name = format_state_name(args.name, "exact");
            return Ok(vec![Arc::new(Field::new(name, DataType::Binary, false))]);
        }
        self.built_in.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !Self::is_ours(&args) && self.built_in.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.built_in.create_groups_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
