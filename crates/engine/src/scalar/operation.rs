//! A strict operation as data: which operator, cast or function it is. Equal operations over equal
//! arguments are one (`build`), and a saved program (`saved`) names its kernels by these.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::casts::Cast;
use super::constant::Constant;
use super::function::{Argument, Overload, Type};
use super::functions;
use super::kernel::Kernel;
use super::operators::{
    Bits, Compare, Comparison, Concat, Doubles, Extreme, Integers, IsNull, IsTruth, MakeArray,
    Members, Moment, Negate, NullIf, Spans, like, similar,
};

/// What is computed, but for the arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    Negate,
    Integers(Integers),
    Doubles(Doubles),
    Bits(Bits),
    Spans(Spans),
    Moment(Moment),
    Compare(Comparison),
    NullIf,
    Extreme(Extreme),
    Concat,
    IsNull {
        negated: bool,
    },
    IsTruth {
        truth: bool,
        negated: bool,
    },
    Like {
        pattern: String,
        escape: Option<char>,
        any_case: bool,
    },
    Similar {
        pattern: String,
        escape: Option<char>,
    },
    /// IN, over constants.
    Members(Vec<Constant>),
    Cast {
        to: Type,
        trying: bool,
    },
    /// An overload of a function of the table, by what it takes: lists of overloads grow.
    Function {
        name: String,
        arguments: Vec<Type>,
        rest: Option<Type>,
    },
    /// The array of its arguments, of this type.
    Array(Type),
}

impl Operation {
    /// The call of an overload of the function `name`.
    pub(super) fn function(name: &str, overload: &Overload) -> Self {
        Self::Function {
            name: name.to_owned(),
            arguments: overload.arguments.to_vec(),
            rest: overload.rest,
        }
    }

    /// The kernel for it.
    ///
    /// # Errors
    /// A constant argument can never give a value; there is no such function.
    pub(super) fn bind(&self, args: &[Argument<'_>]) -> Result<Arc<dyn Kernel>, String> {
        Ok(match self {
            Self::Negate => Arc::new(Negate),
            Self::Integers(kernel) => Arc::new(*kernel),
            Self::Doubles(kernel) => Arc::new(*kernel),
            Self::Bits(kernel) => Arc::new(*kernel),
            Self::Spans(kernel) => Arc::new(*kernel),
            Self::Moment(kernel) => Arc::new(*kernel),
            Self::Compare(comparison) => Arc::new(Compare(*comparison)),
            Self::NullIf => Arc::new(NullIf),
            Self::Extreme(kernel) => Arc::new(*kernel),
            Self::Concat => Arc::new(Concat),
            Self::IsNull { negated } => Arc::new(IsNull { negated: *negated }),
            Self::IsTruth { truth, negated } => Arc::new(IsTruth {
                truth: *truth,
                negated: *negated,
            }),
            Self::Like {
                pattern,
                escape,
                any_case,
            } => Arc::new(like(pattern, *escape, *any_case)?),
            Self::Similar { pattern, escape } => Arc::new(similar(pattern, *escape)?),
            Self::Members(list) => {
                let list: Vec<_> = list.iter().map(Constant::array).collect();
                Arc::new(Members::of(&list.iter().collect::<Vec<_>>()))
            }
            Self::Cast { to, trying } => Arc::new(Cast {
                to: *to,
                trying: *trying,
            }),
            Self::Function {
                name,
                arguments,
                rest,
            } => {
                let called = functions::function(name);
                let overload = called.and_then(|function| {
                    let mut overloads = function.overloads.iter();
                    overloads.find(|own| own.arguments == arguments && own.rest == *rest)
                });
                let missing = || format!("there is no function {name} of {arguments:?}");
                return (overload.ok_or_else(missing)?.bind)(args);
            }
            Self::Array(of) => Arc::new(MakeArray(*of)),
        })
    }
}
