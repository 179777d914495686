//! Values as of given instants over the archive: what `training` asks of the engine.
//! `engine` implements it by its probe lowering.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::cells::CellFault;
use crate::error::PortResult;
use crate::fault::LeftOutRows;
use crate::ports::scan::TableScan;
use crate::progress::Applied;

/// Which events each spine row may see, beside `event time <= t`.
#[derive(Debug, Clone)]
pub enum Known {
    /// All of them.
    All,
    /// For spine row i and view v: those below `cuts[index[v][i]]`. This is how served values are
    /// recomputed.
    Applied {
        /// Distinct vectors.
        cuts: Vec<Arc<Applied>>,
        /// For each view of the service, for each spine row, an index into `cuts`.
        index: Vec<Vec<u32>>,
    },
}

/// What a spine is answered with.
#[derive(Debug)]
pub struct SpineAnswer {
    /// One row for each spine row, in its order: all spine columns, then the service's features.
    pub rows: RecordBatch,
    /// Cells of the features that are NULL because an expression failed on their row, ascending by
    /// feature, then by row. Columns count the features.
    pub faults: Vec<CellFault>,
    /// For each view of the service the events that it leaves out and a spine row would see: they
    /// are of its key and not younger than its instant.
    pub left_out: Vec<LeftOutRows>,
}

/// Point-in-time values for a spine: the probe lowering.
#[async_trait]
pub trait PointInTime: Send + Sync + Debug {
    /// One row out for each row of `spine`. It holds the service's request columns and
    /// `time_column` (any timestamp type; naive is UTC; NULL is an error that names the row). The
    /// events of each source are scanned
    /// from the table of its name in `tables`: the columns that the views read, narrowed by the
    /// spine's instants and keys and by the offsets of `known`.
    ///
    /// # Errors
    /// Unknown service, a missing or mistyped spine column, a spine column that collides with a
    /// feature, a missing table.
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer>;
}
