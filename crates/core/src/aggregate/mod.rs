//! The aggregates of feature views as mergeable, order-free partial states. `online` keeps them in
//! tiles, `engine` wraps them as SQL functions, the probe lowering slides them: one implementation,
//! hence one value.
//!
//! `planning` says which function takes which type, `partial` holds a state and its arithmetic,
//! `order` the two total orders, `codec` and [`code`] the bytes on disk, [`cells`] how results
//! become columns.

use arrow_schema::DataType;

pub mod cells;
pub(crate) mod code;
mod codec;
mod order;
mod partial;
mod planning;
#[cfg(test)]
mod tests;

pub use order::{RowOrder, compare_floats, compare_values};
pub use partial::Partial;

/// An aggregate function of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateKind {
    /// `count(*)` (no argument) or `count(x)` (rows where x is not NULL). BIGINT, never NULL.
    Count,
    /// `sum`: DOUBLE rounded once; BIGINT exact, a fault where the result does not fit.
    Sum,
    /// `avg`, DOUBLE, rounded once.
    Avg,
    /// `min`. NaN is the greatest value, -0.0 is 0.0.
    Min,
    /// `max`.
    Max,
    /// `var_pop`.
    VarPop,
    /// `var_samp`, `var`.
    VarSamp,
    /// `stddev_pop`.
    StddevPop,
    /// `stddev_samp`, `stddev`.
    StddevSamp,
    /// `last_value(x)`: x of the greatest (event time, topic, partition, offset), NULL or not.
    Last,
}

/// What a tile stores for one aggregate: several functions over one argument and filter share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartialSpec {
    /// Shape of the state.
    pub class: PartialClass,
    /// Index into the view's argument columns; None for `count(*)`.
    pub argument: Option<usize>,
    /// Type of the argument.
    pub argument_type: Option<DataType>,
    /// Index into the view's FILTER columns.
    pub filter: Option<usize>,
}

impl PartialSpec {
    /// Version of what tiles and states hold for it. 1 of integers: sums wrapped, and all else was
    /// a DOUBLE first.
    #[must_use]
    pub fn layout(&self) -> u32 {
        let integers = matches!(self.argument_type, Some(DataType::Int32 | DataType::Int64));
        match self.class {
            PartialClass::IntSum => 2,
            PartialClass::FloatMoments if integers => 2,
            _ => 1,
        }
    }
}

/// Shapes of partial states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartialClass {
    /// Rows, or rows whose argument is not NULL.
    Count,
    /// Exact sum of DOUBLE and its count: sum, avg.
    FloatSum,
    /// Exact sum and sum of squares of DOUBLE or integers: var, stddev.
    FloatMoments,
    /// Exact sum of integers and its count: sum, avg.
    IntSum,
    /// Least value.
    Min,
    /// Greatest value.
    Max,
    /// Value of the greatest (event time, topic, partition, offset).
    Last,
}
