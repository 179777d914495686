//! Reading a table as a stream of batches: what fills, rebuilds, training sets and verification ask
//! of the archive, or of files that a user names. A scan says which columns, which rows and in
//! which order; where the rows lie is the adapter's alone, which is why no path and no file crosses
//! here.
//!
//! `offline` implements it over Delta and over plain Parquet files, `testkit` in memory. A reader
//! holds a bounded number of rows, whatever the size of the table.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures_core::Stream;

use crate::error::PortResult;
use crate::memory::{Budget, Part, Reservation};
use crate::progress::Applied;
use crate::time::Micros;
use crate::value::Value;

/// Key of a batch's schema metadata under which a reader of several files says where the rows come
/// from, so that an error can name the file.
pub const ORIGIN: &str = "forebay.origin";

/// Rows of a table, a batch at a time. It works only while it is polled, on the thread that polls.
pub type RowStream = Pin<Box<dyn Stream<Item = PortResult<RecordBatch>> + Send>>;

/// In which order rows come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ScanOrder {
    /// Whichever is cheapest.
    #[default]
    Any,
    /// Ascending offsets within each partition; partitions interleave.
    Log,
}

/// Rows whose `column` lies between two values, both ends in. NULL lies outside.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnRange {
    /// Name of the column.
    pub column: String,
    /// Least value.
    pub least: Value,
    /// Greatest value, of the same type.
    pub greatest: Value,
}

impl ColumnRange {
    /// Instants from `from_us` to `to_us`, both in.
    #[must_use]
    pub fn times(column: impl Into<String>, from_us: Micros, to_us: Micros) -> Self {
        Self {
            column: column.into(),
            least: Value::Timestamp(from_us),
            greatest: Value::Timestamp(to_us),
        }
    }
}

/// What to read of a table.
///
/// Over an archive columns and offsets are exact. `keys` and `time` are hints: every row inside
/// comes, and rows outside may come too, since statistics exclude files and not rows. Files that a
/// user made have no log: their rows come in the file's order, and bounds of offsets bound nothing.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Names of the columns, in the order of the answer; one that the table has not is left out.
    /// None: all columns.
    pub columns: Option<Vec<String>>,
    /// Ranges of the entity's key columns; a row must lie in all of them.
    pub keys: Vec<ColumnRange>,
    /// A range of the event time.
    pub time: Option<ColumnRange>,
    /// Lower bound: only offsets at or above the next offset of their partition here.
    pub from: Applied,
    /// Upper bound: only offsets below the next offset of their partition here; of a partition that
    /// it does not name, none. None: no bound.
    pub below: Option<Applied>,
    /// The order of the rows.
    pub order: ScanOrder,
    /// Whom what the scan holds is charged to, and of which pool; None: nobody. The stream ends
    /// with `ResourceExhausted` where it is refused.
    pub memory: Option<(Arc<Budget>, Part)>,
}

impl Scan {
    /// All rows, these columns.
    #[must_use]
    pub fn columns<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        Self {
            columns: Some(columns.into_iter().map(Into::into).collect()),
            ..Self::default()
        }
    }

    /// The same in log order.
    #[must_use]
    pub fn in_log_order(self) -> Self {
        Self {
            order: ScanOrder::Log,
            ..self
        }
    }

    /// The same, bounded above by what `applied` covers.
    #[must_use]
    pub fn below(self, applied: Applied) -> Self {
        Self {
            below: Some(applied),
            ..self
        }
    }

    /// The same, for whoever draws on `budget` as `part`.
    #[must_use]
    pub fn drawing(self, budget: &Arc<Budget>, part: Part) -> Self {
        Self {
            memory: Some((Arc::clone(budget), part)),
            ..self
        }
    }

    /// What the scan may hold from now on, nothing yet; None where nobody is charged.
    #[must_use]
    pub fn reservation(&self) -> Option<Reservation> {
        let (budget, part) = self.memory.as_ref()?;
        Some(budget.empty(*part))
    }

    /// Whether the offsets bound nothing.
    #[must_use]
    pub fn takes_all_offsets(&self) -> bool {
        self.from.0.is_empty() && self.below.is_none()
    }
}

/// Tables that can be read.
#[async_trait]
pub trait TableScan: Send + Sync + Debug {
    /// The rows of `table` that `scan` asks for, as of now: what is appended later does not come.
    ///
    /// # Errors
    /// Unknown table (`NotFound`); a store that fails. The stream ends with its first error; bytes
    /// that are not those that were written are `DataLoss` and name the table and the file.
    async fn scan(&self, table: &str, scan: Scan) -> PortResult<RowStream>;
}
