//! Rows as a state folds them: columns of arguments in whatever form their owner keeps them, read
//! in place. The owner says of which kind a column is, so that a loop over its rows is compiled for
//! that kind and that form; nothing here is called through a pointer.

use arrow_schema::{DataType, TimeUnit};

use super::RowOrder;
use crate::value::Value;

/// What the values of an argument column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// DOUBLE.
    Float,
    /// INTEGER, BIGINT.
    Int,
    /// DATE.
    Date,
    /// TIMESTAMP.
    Timestamp,
    /// BOOLEAN.
    Bool,
    /// VARCHAR.
    Text,
    /// An array.
    List,
}

impl ColumnKind {
    /// That of a type; None for types that no argument has.
    #[must_use]
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Float64 => Self::Float,
            DataType::Int32 | DataType::Int64 => Self::Int,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Timestamp,
            DataType::Boolean => Self::Bool,
            DataType::Utf8 | DataType::Utf8View => Self::Text,
            DataType::List(item) if !item.data_type().is_nested() => {
                Self::of(item.data_type())?;
                Self::List
            }
            _ => return None,
        })
    }

    /// Whether values of a type have an order and so an equality by which they are counted. Arrays
    /// have none.
    #[must_use]
    pub(super) fn is_ordered(data_type: &DataType) -> bool {
        Self::of(data_type).is_some_and(|kind| kind != Self::List)
    }
}

/// One argument of some rows.
pub trait Column {
    /// What its values are.
    fn kind(&self) -> ColumnKind;
    /// Whether it is NULL in a row.
    fn is_null(&self, row: usize) -> bool;
    /// Of a column of DOUBLE; of a row that is NULL anything.
    fn float(&self, row: usize) -> f64;
    /// Of a column of integers; of a row that is NULL anything.
    fn int(&self, row: usize) -> i64;
    /// Of any column.
    fn value(&self, row: usize) -> Value;
}

/// Rows in their total order, ascending.
pub trait Rows {
    /// How they keep an argument.
    type Column: Column;
    /// Argument column `index` of the view.
    fn argument(&self, index: usize) -> &Self::Column;
    /// Where a row stands in the order.
    fn order(&self, row: usize) -> RowOrder;
}
