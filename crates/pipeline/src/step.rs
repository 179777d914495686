//! One decoded batch becomes what each shard writes: cut what the views made of it by shard, and
//! note the events that wait for a score. [`crate::admit`] has run the views. Pure: no I/O.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::index::{RowIndex, ShardId};
use forebay_core::invariant;
use forebay_core::key::shard_of;
use forebay_core::ports::{CompiledView, Origin, ShardFold, ShardWrite, SourceBatch};
use forebay_core::prediction::Arm;
use forebay_core::progress::TopicPartition;
use forebay_core::settlement::{UnscoredNotes, UnscoredReason};
use forebay_core::time::Micros;
use forebay_core::view::ViewId;

use crate::admit::{Admitted, Piece, admit};
use crate::deployment::Deployment;
use crate::error::PipelineError;

/// What one epoch collects before it is written.
#[derive(Debug)]
pub struct Epoch {
    /// One write a shard.
    pub writes: Vec<ShardWrite>,
    /// For each shard the notes on events that will have no score.
    pub notes: Vec<UnscoredNotes>,
    /// Views whose SQL has failed on its rows, and why.
    pub aside: Vec<(ViewId, Arc<str>)>,
    /// Where reading stands after it.
    pub ends: Vec<(TopicPartition, i64)>,
    /// Rows read.
    pub rows: usize,
}

impl Epoch {
    /// An empty epoch over `shards` shards.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self {
            writes: (0..shards).map(|_| ShardWrite::default()).collect(),
            notes: (0..shards).map(|_| UnscoredNotes::default()).collect(),
            aside: Vec::new(),
            ends: Vec::new(),
            rows: 0,
        }
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
    /// Views whose SQL has failed: nothing is folded for them any more.
    pub failed: BTreeSet<ViewId>,
}

impl Step {
    /// Run the views over `batch`. One that fails otherwise than on a row folds nothing from here
    /// on.
    ///
    /// # Errors
    /// A deployment's keys cannot be encoded.
    pub fn admit(&mut self, batch: SourceBatch) -> Result<Admitted, PipelineError> {
        let views = (self.views.as_slice(), &self.failed);
        let admitted = admit(views, &self.deployments, batch)?;
        self.failed
            .extend(admitted.failed.iter().map(|(view, _)| *view));
        Ok(admitted)
    }

    /// Add `admitted`, whose watermarks are filled by now, to `epoch`. An arm of a deployment for
    /// which `suspended` has words gets notes and no pending scores. Returns, for each row, whether
    /// it came too late for the online state of some view.
    ///
    /// # Errors
    /// A column that cannot be in a request.
    pub fn run<'a>(
        &self,
        admitted: &Admitted,
        suspended: impl Fn(&str, Arm) -> Option<&'a str>,
        epoch: &mut Epoch,
    ) -> Result<Vec<bool>, PipelineError> {
        let batch = &admitted.batch;
        let origin = Arc::new(batch.origin.clone());
        invariant!(
            OriginColumnsAgree,
            origin.watermark_us.len() == batch.rows.num_rows(),
            "source {} is not dated",
            batch.source.name
        );
        let times = batch
            .rows
            .column(batch.source.time_column)
            .as_primitive::<TimestampMicrosecondType>()
            .values();
        invariant!(
            WritesByShard,
            epoch.notes.len() == epoch.writes.len(),
            "{} notes for {} writes",
            epoch.notes.len(),
            epoch.writes.len()
        );
        epoch.rows += batch.rows.num_rows();
        let mut late = vec![false; batch.rows.num_rows()];
        for (view, piece) in &admitted.folds {
            let spec = view.spec();
            for (row, late) in late.iter_mut().enumerate() {
                *late |= spec.too_late(times[row], origin.watermark_us[row], self.history_us);
            }
            if let Some(piece) = piece {
                let by_shard = epoch.writes.iter_mut().map(|write| &mut write.folds);
                cut(spec.id, piece, &origin, by_shard);
            }
        }
        let shards = ShardId::count(epoch.writes.len());
        for (deployment, keys) in &admitted.keys {
            for placed in deployment.pending(&batch.rows, times, &origin, &keys.sticky, shards)? {
                let (shard, key) = (usize::from(placed.shard), &placed.score.key);
                if let Some(words) = keys.refused.get(&placed.row) {
                    epoch.notes[shard].add(key, UnscoredReason::RowRefused, words);
                } else if let Some(words) = suspended(&key.deployment, key.arm()) {
                    epoch.notes[shard].add(key, UnscoredReason::Suspended, words);
                } else {
                    epoch.writes[shard].pending.push(placed.score);
                }
            }
        }
        epoch.aside.extend(admitted.failed.iter().cloned());
        epoch.ends.extend(batch.read_up_to.iter().cloned());
        Ok(late)
    }
}

/// Hand each shard its rows of `piece`: `by_shard` is what each has to fold.
pub(crate) fn cut<'a>(
    view: ViewId,
    piece: &Piece,
    origin: &Arc<Origin>,
    by_shard: impl ExactSizeIterator<Item = &'a mut Vec<ShardFold>>,
) {
    let shards = ShardId::count(by_shard.len());
    invariant!(
        ColumnsAgree,
        piece.keys.len() == piece.fold.source_rows.len(),
        "view {view}: {} keys for {} rows",
        piece.keys.len(),
        piece.fold.source_rows.len()
    );
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); by_shard.len()];
    for row in RowIndex::all(piece.keys.len()) {
        if let Some(key) = piece.keys.get(row.index()) {
            rows[usize::from(shard_of(key, shards))].push(row.number());
        }
    }
    for (folds, rows) in by_shard.zip(rows).filter(|(_, rows)| !rows.is_empty()) {
        folds.push(ShardFold {
            view,
            batch: Arc::clone(&piece.fold),
            keys: Arc::clone(&piece.keys),
            origin: Arc::clone(origin),
            rows,
        });
    }
}
