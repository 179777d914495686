//! The form in which a scalar function is written down: names, meaning in words, overloads,
//! examples. One table of these is all that a definition may call (`functions`); the planner takes
//! names and types from it, `docs/functions.md` and the conformance tests are made from it.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use forebay_core::time::timestamp_type;
use forebay_core::value::list_type;
use serde::{Deserialize, Serialize};

use super::kernel::Kernel;

/// Types that expressions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Type {
    Boolean,
    Integer,
    BigInt,
    Double,
    Text,
    /// Days since 1970, of the years 0001 to 9999.
    Date,
    /// Microseconds since 1970, UTC.
    Timestamp,
    /// The difference of two timestamps: microseconds. No column type.
    Duration,
    /// Months, days and nanoseconds, as an `INTERVAL` literal has them. No column type.
    Interval,
    /// An array.
    List(Item),
}

/// Types that items of arrays have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Item {
    Boolean,
    Integer,
    BigInt,
    Double,
    Text,
    Date,
    Timestamp,
}

impl Item {
    pub(crate) const ALL: [Self; 7] = [
        Self::Boolean,
        Self::Integer,
        Self::BigInt,
        Self::Double,
        Self::Text,
        Self::Date,
        Self::Timestamp,
    ];

    /// Its type.
    pub(crate) const fn of(self) -> Type {
        match self {
            Self::Boolean => Type::Boolean,
            Self::Integer => Type::Integer,
            Self::BigInt => Type::BigInt,
            Self::Double => Type::Double,
            Self::Text => Type::Text,
            Self::Date => Type::Date,
            Self::Timestamp => Type::Timestamp,
        }
    }

    fn list_sql(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN[]",
            Self::Integer => "INTEGER[]",
            Self::BigInt => "BIGINT[]",
            Self::Double => "DOUBLE[]",
            Self::Text => "VARCHAR[]",
            Self::Date => "DATE[]",
            Self::Timestamp => "TIMESTAMP[]",
        }
    }
}

impl Type {
    /// The Arrow type of its arrays.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::Date => DataType::Date32,
            Self::Timestamp => timestamp_type(),
            Self::Duration => DataType::Duration(TimeUnit::Microsecond),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::List(item) => list_type(item.of().arrow()),
        }
    }

    /// The type of arrays of `data_type`; None for any other.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        [
            Self::Boolean,
            Self::Integer,
            Self::BigInt,
            Self::Double,
            Self::Text,
            Self::Date,
            Self::Timestamp,
            Self::Duration,
            Self::Interval,
        ]
        .into_iter()
        .chain(Item::ALL.map(Self::List))
        .find(|own| own.arrow() == *data_type)
    }

    /// Name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Integer => "INTEGER",
            Self::BigInt => "BIGINT",
            Self::Double => "DOUBLE",
            Self::Text => "VARCHAR",
            Self::Date => "DATE",
            Self::Timestamp => "TIMESTAMP",
            Self::Duration => "INTERVAL (of two timestamps)",
            Self::Interval => "INTERVAL",
            Self::List(item) => item.list_sql(),
        }
    }

    /// The type of arrays of it; None where there is none.
    pub(crate) fn list(self) -> Option<Self> {
        let item = Item::ALL.into_iter().find(|item| item.of() == self)?;
        Some(Self::List(item))
    }

    /// The type of its items, of an array.
    pub(crate) fn item(self) -> Option<Self> {
        match self {
            Self::List(item) => Some(item.of()),
            _ => None,
        }
    }

    /// Whether a value of this type is one of type `to` without being asked: integers widen, a
    /// DATE is its midnight in UTC, and arrays do as their items.
    pub(crate) fn widens_to(self, to: Self) -> bool {
        if let (Self::List(own), Self::List(to)) = (self, to) {
            return own.of().widens_to(to.of());
        }
        matches!(
            (self, to),
            (Self::Integer, Self::BigInt | Self::Double)
                | (Self::BigInt, Self::Double)
                | (Self::Date, Self::Timestamp)
        )
    }
}

/// An argument as it is known when a definition is compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Argument<'a> {
    /// Its value, an array of one row, where it is a constant.
    pub(crate) constant: Option<&'a ArrayRef>,
}

/// Makes the kernel for a call. A constant that can never give a value (a time zone that is none, a
/// pattern that does not parse) is refused here, with what to write.
pub(crate) type Bind = fn(&[Argument<'_>]) -> Result<Arc<dyn Kernel>, String>;

/// One list of argument types that a function takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overload {
    pub(crate) arguments: &'static [Type],
    /// Any number of further arguments of this type may follow.
    pub(crate) rest: Option<Type>,
    pub(crate) result: Type,
    pub(crate) bind: Bind,
}

/// What a function does at the edges, in words; part of `docs/functions.md`.
#[allow(
    dead_code,
    reason = "pages of functions and digests of definitions are made of it, which follow"
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// NULL arguments.
    pub(crate) null: &'static str,
    /// NaN, infinities and -0.0; empty for a function without DOUBLE.
    pub(crate) float: &'static str,
    /// When a row has no value: overflow, range, cast; empty for a function that always has one.
    pub(crate) fault: &'static str,
}

/// What a NULL argument gives almost everywhere.
pub(crate) const NULL_IN_NULL_OUT: &str = "NULL where an argument is NULL";

/// Whom a function agrees with, over every class of input.
#[allow(
    dead_code,
    reason = "pages of functions and digests of definitions are made of it, which follow"
)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reference {
    /// DuckDB, by this expression over the columns `a`, `b`, `c`, ..: the arguments.
    DuckDb(&'static str),
    /// DuckDB has it with other edges, or not at all: why ours differs, and whose rule it is.
    Differs(&'static str),
}

/// A call with its value, both as SQL. `value` is "error" where the row has none.
#[allow(
    dead_code,
    reason = "pages of functions and digests of definitions are made of it, which follow"
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Example {
    pub(crate) call: &'static str,
    pub(crate) value: &'static str,
}

/// A scalar function.
#[allow(
    dead_code,
    reason = "pages of functions and digests of definitions are made of it, which follow"
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// Version of its meaning; above 1 it is part of the digest of every definition that calls it.
    pub(crate) version: u32,
    /// One sentence: what it gives.
    pub(crate) summary: &'static str,
    pub(crate) rules: Rules,
    pub(crate) overloads: &'static [Overload],
    pub(crate) reference: Reference,
    pub(crate) examples: &'static [Example],
}

impl Function {
    /// The overload for arguments of these types (None: NULL, of any type): one that fits exactly,
    /// else the first that they widen to.
    pub(crate) fn overload(&self, arguments: &[Option<Type>]) -> Option<&'static Overload> {
        let fits = |overload: &&'static Overload, widening: bool| {
            let fixed = overload.arguments.len();
            let enough =
                arguments.len() == fixed || (arguments.len() > fixed && overload.rest.is_some());
            let wanted = overload
                .arguments
                .iter()
                .copied()
                .chain(overload.rest.into_iter().cycle());
            enough
                && arguments.iter().zip(wanted).all(|(given, wanted)| {
                    given.is_none_or(|given| {
                        given == wanted || (widening && given.widens_to(wanted))
                    })
                })
        };
        let exact = self.overloads.iter().find(|overload| fits(overload, false));
        exact.or_else(|| self.overloads.iter().find(|overload| fits(overload, true)))
    }
}
