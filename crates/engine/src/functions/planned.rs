//! An aggregate of the table as DataFusion's planner sees it: names and types, no arithmetic. It
//! takes arguments as they are written, since an integer that is made a DOUBLE first is another
//! number; what a function does not take is refused once the plan is read, with its place.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility,
};
use forebay_core::aggregate::{AggregateKind, ConstantKind};

/// In front of names that DataFusion would plan as window functions of its own.
const PREFIX: &str = "forebay_";

/// The name under which a function of the table is planned.
pub(crate) fn planned_name(name: &str) -> String {
    match name {
        "first_value" | "last_value" => format!("{PREFIX}{name}"),
        name => name.to_owned(),
    }
}

/// The name in SQL of a function that is planned as `planned`.
pub(crate) fn sql_name(planned: &str) -> &str {
    planned.strip_prefix(PREFIX).unwrap_or(planned)
}

/// The function of the table that is planned as `planned`, called with DISTINCT or without.
pub(crate) fn aggregate_kind(planned: &str, is_distinct: bool) -> Option<AggregateKind> {
    AggregateKind::of(sql_name(planned), is_distinct)
}

/// `kind`, to plan calls with.
pub(super) fn function(kind: AggregateKind) -> Arc<AggregateUDF> {
    let names = kind.function().names.iter();
    let mut names = names.map(|name| planned_name(name));
    let any = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
    Arc::new(AggregateUDF::new_from_impl(PlannedAggregate {
        kind,
        name: names.next().expect("every function has a name"),
        aliases: names.collect(),
        signature: Signature::one_of(any, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PlannedAggregate {
    kind: AggregateKind,
    name: String,
    aliases: Vec<String>,
    signature: Signature,
}

impl AggregateUDFImpl for PlannedAggregate {
    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        // Of what is not taken any type does: it is refused after planning.
        let arguments = match (self.kind.function().constant, arguments) {
            (ConstantKind::None, arguments) | (_, arguments @ []) => arguments,
            (_, [arguments @ .., _]) => arguments,
        };
        let planned = self.kind.plan(arguments);
        Ok(planned.map_or(DataType::Float64, |planned| planned.data_type))
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        plan_err!(
            "{} has a meaning only OVER (PARTITION BY .. ORDER BY ..) in a feature view",
            self.kind.name()
        )
    }
}
