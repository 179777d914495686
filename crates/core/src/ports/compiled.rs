//! Definitions, compiled: what `engine` makes of SQL and `pipeline`, `serve` and `monitor` evaluate
//! on batches. No plan is made per batch.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;

use crate::cells::Cells;
use crate::error::PortResult;
use crate::view::{FoldBatch, ServiceSpec, ViewSpec};

/// A feature view, compiled: what runs before its aggregates (*pre*: filters and
/// arguments over source columns) and after them (*post*: features over finished aggregates).
pub trait CompiledView: Send + Sync + Debug {
    /// Its checked form.
    fn spec(&self) -> &Arc<ViewSpec>;

    /// Indices of the source's columns that [`Self::fold`] reads, ascending, the event time among
    /// them. The others may hold anything, NULL too.
    fn reads(&self) -> &[usize];

    /// For each key column of the spec the source's column that it is.
    fn key_columns(&self) -> &[usize];

    /// Filter and project decoded rows of the view's source into what tiles fold. A row on which an
    /// expression fails (overflow, division by zero) is in [`FoldBatch::left_out`].
    ///
    /// # Errors
    /// The view fails, whatever rows there are: it is to be set aside.
    fn fold(&self, rows: &RecordBatch) -> PortResult<FoldBatch>;

    /// Names and types of the view's features (after *post*).
    fn features(&self) -> SchemaRef;

    /// From aggregates (arrays as [`ViewSpec::aggregates`]) to features. A feature whose expression
    /// fails on a row is NULL there and among the faults. Does not apply presence: callers take the
    /// rows whose status is not `Present` out by [`Cells::without`].
    ///
    /// # Errors
    /// Something else than a row.
    fn finish(
        &self,
        keys: &[ArrayRef],
        at: &TimestampMicrosecondArray,
        aggregates: &Cells,
    ) -> PortResult<Cells>;
}

/// A feature service, compiled: its on-demand expressions.
pub trait CompiledService: Send + Sync + Debug {
    /// Its checked form.
    fn spec(&self) -> &Arc<ServiceSpec>;

    /// The compiled views, in the order of [`ServiceSpec::views`].
    fn views(&self) -> &[Arc<dyn CompiledView>];

    /// From request rows, the moment as of which each is answered, and the features of each view
    /// (as [`CompiledView::features`], presence applied) to the service's features, one row for
    /// each request row. A feature whose expression fails on a row is NULL there and among the
    /// faults, as is one over a view's feature that has no value.
    ///
    /// # Errors
    /// Something else than a row.
    fn finish(
        &self,
        request: &RecordBatch,
        at: &TimestampMicrosecondArray,
        views: &[Cells],
    ) -> PortResult<Cells>;
}

/// A boolean expression over a source's rows: the label of a monitor. NULL is no label.
pub trait CompiledLabel: Send + Sync + Debug {
    /// One value for each row.
    ///
    /// # Errors
    /// The expression fails on the data.
    fn evaluate(&self, rows: &RecordBatch) -> PortResult<BooleanArray>;
}
