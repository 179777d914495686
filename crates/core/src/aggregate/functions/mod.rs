//! The aggregate functions of feature views, one file each, and the one table of them. `engine`
//! plans calls by it, reads results by it and writes `docs/sql.md` by it: a function is its file
//! and a line of the list below.

mod approx_distinct;
mod approx_quantile;
mod array_agg;
mod avg;
mod bits;
mod bools;
mod by;
mod count;
mod covariance;
mod distinct;
mod first_value;
mod last_value;
mod max;
mod min;
mod sum;
mod variance;

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use super::cells::Cell;
use super::function::{Function, Planned};
use super::kept::Kept;
use super::partial::Partial;
use super::quantile::Quantile;
use crate::error::{PortError, PortResult};
use crate::source::sql_name;

/// Makes the enum over the list of functions.
macro_rules! functions {
    ($($kind:ident $(($constant:ty = $example:expr))? => $module:ident::$function:ident,)+) => {
        /// An aggregate function of a view.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum AggregateKind {
            $(#[doc = concat!("See `functions/", stringify!($module), ".rs`.")] $kind $(($constant))?,)+
        }

        impl AggregateKind {
            /// All of them, in the order of the documents; those with a constant with one.
            pub const ALL: &'static [Self] = &[$(Self::$kind $(($example))?,)+];

            /// What it is.
            #[must_use]
            pub fn function(self) -> &'static Function {
                match self {
                    $(Self::$kind { .. } => &$module::$function,)+
                }
            }
        }
    };
}

functions! {
    Count => count::COUNT,
    CountDistinct => distinct::COUNT_DISTINCT,
    ApproxDistinct => approx_distinct::APPROX_DISTINCT,
    Sum => sum::SUM,
    Avg => avg::AVG,
    Min => min::MIN,
    Max => max::MAX,
    VarPop => variance::VAR_POP,
    VarSamp => variance::VAR_SAMP,
    StddevPop => variance::STDDEV_POP,
    StddevSamp => variance::STDDEV_SAMP,
    MinBy => by::MIN_BY,
    MaxBy => by::MAX_BY,
    First => first_value::FIRST_VALUE,
    Last => last_value::LAST_VALUE,
    CovarSamp => covariance::COVAR_SAMP,
    CovarPop => covariance::COVAR_POP,
    Corr => covariance::CORR,
    ApproxQuantile(Quantile = Quantile::MEDIAN) => approx_quantile::APPROX_QUANTILE,
    ApproxMedian => approx_quantile::APPROX_MEDIAN,
    BoolAnd => bools::BOOL_AND,
    BoolOr => bools::BOOL_OR,
    BitAnd => bits::BIT_AND,
    BitOr => bits::BIT_OR,
    BitXor => bits::BIT_XOR,
    ArrayAgg(Kept = Kept::THREE) => array_agg::ARRAY_AGG,
}

impl AggregateKind {
    /// The function that goes by `name` in SQL, called with DISTINCT or without.
    #[must_use]
    pub fn of(name: &str, is_distinct: bool) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| {
            let function = kind.function();
            function.is_distinct == is_distinct && function.names.contains(&name)
        })
    }

    /// The function with its constant, if it takes one.
    #[must_use]
    pub fn with_fraction(self, fraction: Quantile) -> Option<Self> {
        match self {
            Self::ApproxQuantile(_) => Some(Self::ApproxQuantile(fraction)),
            _ => None,
        }
    }

    /// The function with the number of rows that it keeps, if it takes one.
    #[must_use]
    pub fn keeping(self, kept: Kept) -> Option<Self> {
        match self {
            Self::ArrayAgg(_) => Some(Self::ArrayAgg(kept)),
            _ => None,
        }
    }

    /// How many rows its state keeps, where the call says it.
    #[must_use]
    pub fn keep(self) -> Option<Kept> {
        match self {
            Self::ArrayAgg(kept) => Some(kept),
            _ => None,
        }
    }

    fn fraction(self) -> Option<Quantile> {
        match self {
            Self::ApproxQuantile(fraction) => Some(fraction),
            _ => None,
        }
    }

    /// The function's name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.function().names[0]
    }

    /// State and result over arguments of these types; of none for `count(*)`.
    ///
    /// # Errors
    /// The function does not take them; the text says what to write (`InvalidArgument`).
    pub fn plan(self, arguments: &[DataType]) -> PortResult<Planned> {
        let (name, function) = (self.name(), self.function());
        if !function.arguments.contains(&arguments.len()) {
            let least = function.arguments.start();
            let number = match function.arguments.end() {
                1 => "one argument".to_owned(),
                most if most == least => format!("{most} arguments"),
                most => format!("{least} to {most} arguments"),
            };
            let call = function.call;
            return Err(PortError::invalid(format!(
                "{name} takes {number}; write {call}"
            )));
        }
        (function.plan)(arguments).ok_or_else(|| {
            let types: Vec<String> = arguments.iter().map(sql_name).collect();
            let instead = match arguments {
                [DataType::Boolean] if function.instead == sum::CAST_TO_NUMBER => format!(
                    "cast it: {name}(CAST(x AS INTEGER)), or count what is true: count(*) FILTER (WHERE x)"
                ),
                _ => function.instead.to_owned(),
            };
            let types = types.join(", ");
            PortError::invalid(format!(
                "{name} does not take an argument of type {types}; {instead}"
            ))
        })
    }
}

impl Partial {
    /// The value of `kind` over the rows in it.
    ///
    /// # Errors
    /// There is none: the result does not fit its type.
    ///
    /// # Panics
    /// `kind` is not read from this class of state ([`AggregateKind::plan`] pairs them).
    pub fn evaluate(&self, kind: AggregateKind) -> Cell {
        (kind.function().finish)(self.state(), kind.fraction()).unwrap_or_else(|| {
            panic!(
                "{} is not read from a state of {:?}",
                kind.name(),
                self.class()
            )
        })
    }
}
