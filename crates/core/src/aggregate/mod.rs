//! The aggregates of feature views as mergeable, order-free partial states. `online` keeps them in
//! tiles, `engine` wraps them as SQL functions, the probe lowering slides them: one implementation,
//! hence one value.
//!
//! `functions` is the table of SQL's functions, `states` has the shapes that they are read from,
//! [`Partial`] is one of these. `rows` says in what form rows are folded, `order` has the two total
//! orders, `scalar` and [`code`] the bytes on disk, [`cells`] how results become columns.

pub mod cells;
pub(crate) mod code;
mod function;
mod functions;
mod kept;
mod order;
mod partial;
mod quantile;
mod rows;
mod scalar;
mod states;
#[cfg(test)]
mod tests;

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

pub use function::{ConstantKind, Function, Planned};
pub use functions::AggregateKind;
pub use kept::Kept;
pub(crate) use order::compare_values;
pub use order::{RowOrder, compare_floats};
pub use partial::{Partial, PartialClass};
pub use quantile::Quantile;
pub use rows::{Column, ColumnKind, Rows};
pub use scalar::{read_items, write_items};
pub use states::Leaving;

/// What a tile stores for one aggregate: several functions over one argument and filter share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartialSpec {
    /// Shape of the state.
    pub class: PartialClass,
    /// Indices into the view's argument columns; none for `count(*)`.
    pub arguments: Vec<usize>,
    /// Types of the arguments.
    #[serde(with = "crate::data_type::list")]
    pub argument_types: Vec<DataType>,
    /// Index into the view's FILTER columns.
    pub filter: Option<usize>,
    /// How many rows it keeps, of a state that keeps some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Kept>,
}

impl PartialSpec {
    /// Type of the first argument.
    pub(crate) fn argument_type(&self) -> Option<&DataType> {
        self.argument_types.first()
    }

    /// Version of what tiles and states hold for it. 1 of integers: sums wrapped, and all else was
    /// a DOUBLE first.
    #[must_use]
    pub fn layout(&self) -> u32 {
        let integers = matches!(
            self.argument_type(),
            Some(DataType::Int32 | DataType::Int64)
        );
        match self.class {
            PartialClass::IntSum => 2,
            PartialClass::FloatMoments if integers => 2,
            _ => 1,
        }
    }
}
