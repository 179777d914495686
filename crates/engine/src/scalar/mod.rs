//! Scalar expressions, evaluated by ourselves: a row without a value is a value of that row, so
//! that SQL is lazy where it is lazy whatever the cut of the batch, one row fails alone, and
//! the bits are those of our own arithmetic on every machine.
//!
//! A text walks `desugar` (syntax that is a call of a function) -> DataFusion (names and types,
//! over the shells of `shell` and `planner`) -> `lower` -> `build` -> `code`, which
//! `expression` runs over batches. `function` is the form of a function, `functions` the table
//! of all, `operators` and `casts` what is no function; `kernel` is what computes one of them
//! over whole columns.

mod bounded_regex;
mod build;
mod casts;
mod choose;
mod code;
mod constant;
mod desugar;
mod faults;
mod forms;
mod function;
mod functions;
mod input;
mod kernel;
mod lower;
mod operation;
mod operators;
mod page;
mod planner;
mod reach;
mod refusal;
mod saved;
mod shell;
mod suggest;
#[cfg(test)]
mod tests;
mod value;
mod versions;

pub(crate) use code::{Code, Evaluated, Slot};
pub(crate) use desugar::{bare_aggregate, desugar};
pub(crate) use faults::Fault;
pub(crate) use function::Type;
pub(crate) use functions::parse_time;
pub(crate) use input::Input;
pub(crate) use lower::Lowering;
pub use page::{FunctionInfo, functions_page, scalar_functions};
pub(crate) use planner::Operators;
pub use reach::Branch;
pub(crate) use reach::{Guards, Trace};
pub(crate) use refusal::{Refusal, position_of};
pub(crate) use saved::SavedCode;
pub(crate) use shell::shells;
pub(crate) use versions::versions;
