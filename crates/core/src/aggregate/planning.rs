//! Which state and which output type an aggregate of an argument type has, and what it refuses.
//! `engine` asks this while it plans; what is refused here is refused at CREATE, with the
//! function's name and what to write instead.

use arrow_schema::{DataType, TimeUnit};

use super::{AggregateKind, PartialClass};
use crate::error::{PortError, PortResult};

impl AggregateKind {
    /// The function's name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::VarPop => "var_pop",
            Self::VarSamp => "var_samp",
            Self::StddevPop => "stddev_pop",
            Self::StddevSamp => "stddev_samp",
            Self::Last => "last_value",
        }
    }

    /// The state that this function over an argument of this type is read from. `argument` is None
    /// for `count(*)`.
    ///
    /// # Errors
    /// The function does not take the type; the text says what to write (`InvalidArgument`).
    pub fn partial_class(self, argument: Option<&DataType>) -> PortResult<PartialClass> {
        let Some(argument) = argument else {
            return match self {
                Self::Count => Ok(PartialClass::Count),
                _ => Err(PortError::invalid(format!(
                    "{name} needs one argument; write {name}(column)",
                    name = self.name()
                ))),
            };
        };
        match (self, argument) {
            (Self::Count, _) => Ok(PartialClass::Count),
            (Self::Sum | Self::Avg, DataType::Float64) => Ok(PartialClass::FloatSum),
            (Self::Sum | Self::Avg, DataType::Int64 | DataType::Int32) => Ok(PartialClass::IntSum),
            (
                Self::VarPop | Self::VarSamp | Self::StddevPop | Self::StddevSamp,
                DataType::Float64 | DataType::Int64 | DataType::Int32,
            ) => Ok(PartialClass::FloatMoments),
            (Self::Min, scalar) if is_scalar(scalar) => Ok(PartialClass::Min),
            (Self::Max, scalar) if is_scalar(scalar) => Ok(PartialClass::Max),
            (Self::Last, scalar) if is_scalar(scalar) => Ok(PartialClass::Last),
            _ => Err(self.refuse(argument)),
        }
    }

    /// Type of the function's result over an argument of this type.
    ///
    /// # Errors
    /// As [`Self::partial_class`].
    pub fn output_type(self, argument: Option<&DataType>) -> PortResult<DataType> {
        Ok(match (self.partial_class(argument)?, argument) {
            (PartialClass::IntSum, _) if self == Self::Avg => DataType::Float64,
            (PartialClass::Count | PartialClass::IntSum, _) => DataType::Int64,
            (PartialClass::FloatSum | PartialClass::FloatMoments, _) => DataType::Float64,
            (PartialClass::Min | PartialClass::Max | PartialClass::Last, Some(argument)) => {
                argument.clone()
            }
            (PartialClass::Min | PartialClass::Max | PartialClass::Last, None) => {
                return Err(PortError::internal(format!(
                    "{} was planned without an argument",
                    self.name()
                )));
            }
        })
    }

    fn refuse(self, argument: &DataType) -> PortError {
        let name = self.name();
        let instead = match self {
            Self::Sum
            | Self::Avg
            | Self::VarPop
            | Self::VarSamp
            | Self::StddevPop
            | Self::StddevSamp => {
                format!("write {name}(CAST(x AS DOUBLE)) or {name}(CAST(x AS BIGINT))")
            }
            _ => format!(
                "cast the argument of {name} to BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR or TIMESTAMP"
            ),
        };
        PortError::invalid(format!(
            "{name} does not take an argument of type {argument}; {instead}"
        ))
    }
}

/// Types that a [`crate::value::Value`] holds.
fn is_scalar(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Utf8
            | DataType::Utf8View
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}
