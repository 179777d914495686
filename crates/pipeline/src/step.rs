//! One decoded batch becomes what each shard writes: run the views over it, encode the entity keys, cut the rows by
//! shard, and note the events that wait for a score. Pure: no I/O.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::key::{KeyBuffer, shard_of};
use forebay_core::ports::{CompiledView, Origin, ShardFold, ShardWrite, SourceBatch};
use forebay_core::time::Micros;

use crate::deployment::{Deployment, PlacedScore};
use crate::error::PipelineError;

/// What one epoch collects before it is written.
#[derive(Debug)]
pub struct Epoch {
    /// One write a shard.
    pub writes: Vec<ShardWrite>,
    /// The epoch's pending scores, in log order, as they stand in the writes.
    pub scores: Vec<PlacedScore>,
    /// Rows read.
    pub rows: usize,
}

impl Epoch {
    /// An empty epoch over `shards` shards.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self { writes: (0..shards).map(|_| ShardWrite::default()).collect(), scores: Vec::new(), rows: 0 }
    }
}

/// The views and deployments that each batch runs through.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// All views; each looks at the batches of its own source.
    pub views: Vec<Arc<dyn CompiledView>>,
    /// All deployments, likewise.
    pub deployments: Vec<Deployment>,
    /// How long after its retention a row is still taken, microseconds.
    pub history_us: Micros,
}

impl Step {
    /// Add `batch` to `epoch`. `batch.origin.watermark_us` is filled. Returns, for each row, whether it came too late for
    /// the online state of some view.
    ///
    /// # Errors
    /// An expression fails on the data, or a key is over its limit.
    pub fn run(&self, batch: &SourceBatch, epoch: &mut Epoch) -> Result<Vec<bool>, PipelineError> {
        let origin = Arc::new(batch.origin.clone());
        let times = batch.rows.column(batch.source.time_column).as_primitive::<TimestampMicrosecondType>().values();
        epoch.rows += batch.rows.num_rows();
        let mut late = vec![false; batch.rows.num_rows()];
        for view in self.views.iter().filter(|v| v.spec().source == batch.source.name) {
            for (row, late) in late.iter_mut().enumerate() {
                *late |= view.spec().too_late(times[row], origin.watermark_us[row], self.history_us);
            }
            fold_view(view.as_ref(), batch, &origin, &mut epoch.writes)?;
        }
        let shards = u16::try_from(epoch.writes.len()).unwrap_or(u16::MAX);
        for deployment in self.deployments.iter().filter(|d| d.source() == batch.source.name) {
            for placed in deployment.pending(&batch.rows, times, &origin, shards)? {
                epoch.writes[usize::from(placed.shard)].pending.push(placed.score.clone());
                epoch.scores.push(placed);
            }
        }
        Ok(late)
    }
}

/// Run `view` over `batch` and hand each shard its rows.
pub(crate) fn fold_view(
    view: &dyn CompiledView,
    batch: &SourceBatch,
    origin: &Arc<Origin>,
    writes: &mut [ShardWrite],
) -> Result<(), PipelineError> {
    let folded = Arc::new(view.fold(&batch.rows)?);
    if folded.source_rows.is_empty() {
        return Ok(());
    }
    let keys = Arc::new(KeyBuffer::encode(&folded.keys)?);
    let shards = u16::try_from(writes.len()).unwrap_or(u16::MAX);
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); writes.len()];
    for row in 0..keys.len() {
        if let Some(key) = keys.get(row) {
            rows[usize::from(shard_of(key, shards))].push(u32::try_from(row).unwrap_or(u32::MAX));
        }
    }
    for (write, rows) in writes.iter_mut().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
        write.folds.push(ShardFold {
            view: view.spec().id,
            batch: Arc::clone(&folded),
            keys: Arc::clone(&keys),
            origin: Arc::clone(origin),
            rows,
        });
    }
    Ok(())
}
