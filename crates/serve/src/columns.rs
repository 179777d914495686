//! From columns as a caller sends them to columns as a definition declares them: found by name,
//! cast where no information is lost, checked for NULL. The same for a service's request rows and
//! for rows pushed into a source.

use std::fmt;

use arrow_array::{Array, ArrayRef, RecordBatch};
use forebay_core::cast::conform;
use forebay_core::source::{Column, sql_name};
use forebay_core::{PortError, PortResult};

/// What declares columns, for error texts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    Service(&'a str),
    Source(&'a str),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Source(name) => write!(f, "source {name}"),
        }
    }
}

/// The column `column` of `batch`, as `owner` declares it.
///
/// # Errors
/// It is missing, or of a type that does not cast without loss.
pub(crate) fn declared(
    batch: &RecordBatch,
    column: &Column,
    owner: Owner<'_>,
) -> PortResult<ArrayRef> {
    let Some(array) = batch.column_by_name(&column.name) else {
        let names: Vec<&str> = batch
            .schema_ref()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let names = if names.is_empty() {
            "no column".to_owned()
        } else {
            names.join(", ")
        };
        return Err(PortError::invalid(format!(
            "{owner} needs column {} {}; the rows have: {names}",
            column.name,
            sql_name(&column.data_type)
        )));
    };
    conform(array, &column.data_type).map_err(|reason| {
        PortError::invalid(format!(
            "column {} of {owner} is {}, the rows have {}{reason}",
            column.name,
            sql_name(&column.data_type),
            array.data_type()
        ))
    })
}

/// The first row that is NULL, where `column` does not admit it.
pub(crate) fn first_forbidden_null(array: &ArrayRef, column: &Column) -> Option<usize> {
    if column.nullable || array.null_count() == 0 {
        return None;
    }
    (0..array.len()).find(|row| array.is_null(*row))
}
