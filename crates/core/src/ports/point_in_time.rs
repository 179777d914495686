//! Values as of given instants over the archive: what `training` asks of the engine.
//! `engine` implements it by its probe lowering.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::error::PortResult;
use crate::progress::Applied;

/// Where a source's events are read from, offline.
#[derive(Debug, Clone)]
pub enum TableInput {
    /// Parquet files with the source's columns (and possibly those of [`crate::source::meta`]).
    Parquet(Vec<PathBuf>),
    /// Batches in memory, the same columns.
    Memory(Vec<RecordBatch>),
}

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

/// Point-in-time values for a spine: the probe lowering.
#[async_trait]
pub trait PointInTime: Send + Sync + Debug {
    /// One row out for each row of `spine`, in its order: all spine columns, then the service's
    /// features. `spine` holds the service's request columns and `time_column` (any timestamp type;
    /// naive is UTC; NULL is an error that names the row).
    ///
    /// # Errors
    /// Unknown service, a missing or mistyped spine column, a spine column that collides with a
    /// feature, a missing table.
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &BTreeMap<String, TableInput>,
        known: Known,
    ) -> PortResult<RecordBatch>;
}
