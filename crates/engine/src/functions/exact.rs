//! One aggregate of DataFusion over numbers, replaced: same name and aliases as the built-in, but
//! exact and independent of order, and with arguments taken as they are: an integer that is made a
//! DOUBLE first is another number. Minimum and maximum of what is not DOUBLE go to the built-in,
//! which is exact there.
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
    Volatility,
};
use forebay_core::aggregate::AggregateKind;

use super::accumulator::{ExactAccumulator, SlidingExtremum};

/// One built-in aggregate with an exact one in its place.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactAggregate {
    kind: AggregateKind,
    built_in: Arc<AggregateUDF>,
    signature: Signature,
}

impl ExactAggregate {
    pub(super) fn new(kind: AggregateKind, built_in: Arc<AggregateUDF>) -> Self {
        Self {
            kind,
            built_in,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    fn is_extremum(&self) -> bool {
        matches!(self.kind, AggregateKind::Min | AggregateKind::Max)
    }

    /// The type of the argument where the exact state takes it.
    fn ours<'a>(&self, is_distinct: bool, fields: &'a [FieldRef]) -> Option<&'a DataType> {
        let argument = fields.first()?.data_type();
        let taken = *argument == DataType::Float64
            || !self.is_extremum() && self.kind.partial_class(Some(argument)).is_ok();
        (taken && !is_distinct).then_some(argument)
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
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if self.is_extremum() {
            return self.built_in.return_type(arg_types);
        }
        // What is not taken is refused once the plan is read, with its place; until then it has the
        // type that most of these functions give.
        let known = self.kind.output_type(arg_types.first());
        Ok(known.unwrap_or(DataType::Float64))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if self.is_extremum() {
            return self.built_in.coerce_types(arg_types);
        }
        Ok(arg_types.to_vec())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.ours(args.is_distinct, args.expr_fields) {
            Some(argument) => Ok(Box::new(ExactAccumulator::new(self.kind, argument))),
            None => self.built_in.accumulator(args),
        }
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        Ok(match self.ours(args.is_distinct, args.expr_fields) {
            None => return self.built_in.create_sliding_accumulator(args),
            Some(_) if self.is_extremum() => Box::new(SlidingExtremum::new(self.kind)),
            Some(argument) => Box::new(ExactAccumulator::new(self.kind, argument)),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if self.ours(args.is_distinct, args.input_fields).is_some() {
            let name = format_state_name(args.name, "exact");
            return Ok(vec![Arc::new(Field::new(name, DataType::Binary, false))]);
        }
        self.built_in.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.ours(args.is_distinct, args.expr_fields).is_none()
            && self.built_in.groups_accumulator_supported(args)
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
