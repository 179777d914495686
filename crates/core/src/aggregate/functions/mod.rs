//! The aggregate functions of feature views, one file each, and the one table of them. `engine`
//! plans calls by it, reads results by it and writes `docs/sql.md` by it: a function is its file
//! and a line of the list below.

mod avg;
mod count;
mod last_value;
mod max;
mod min;
mod sum;
mod variance;

use arrow_schema::DataType;

use super::cells::Cell;
use super::function::{Function, Planned};
use super::partial::Partial;
use crate::error::{PortError, PortResult};

/// Makes the enum over the list of functions.
macro_rules! functions {
    ($($kind:ident => $module:ident::$function:ident,)+) => {
        /// An aggregate function of a view.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AggregateKind {
            $(#[doc = concat!("See `functions/", stringify!($module), ".rs`.")] $kind,)+
        }

        impl AggregateKind {
            /// All of them, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// What it is.
            #[must_use]
            pub fn function(self) -> &'static Function {
                match self {
                    $(Self::$kind => &$module::$function,)+
                }
            }
        }
    };
}

functions! {
    Count => count::COUNT,
    Sum => sum::SUM,
    Avg => avg::AVG,
    Min => min::MIN,
    Max => max::MAX,
    VarPop => variance::VAR_POP,
    VarSamp => variance::VAR_SAMP,
    StddevPop => variance::STDDEV_POP,
    StddevSamp => variance::STDDEV_SAMP,
    Last => last_value::LAST_VALUE,
}

impl AggregateKind {
    /// The function that goes by `name` in SQL.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.function().names.contains(&name))
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
            let types: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            let (types, instead) = (types.join(", "), function.instead);
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
        (kind.function().finish)(self.state()).unwrap_or_else(|| {
            panic!(
                "{} is not read from a state of {:?}",
                kind.name(),
                self.class()
            )
        })
    }
}
