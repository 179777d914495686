//! Epochs, as ingest writes them: rows of the log, the events that wait for a score, and the
//! offsets up to which both reach, in one write a shard. Calls block, on threads of their own.
//! `online` implements it over RocksDB, `testkit` in memory.

use std::sync::Arc;

use crate::error::PortResult;
use crate::key::KeyBuffer;
use crate::prediction::PendingScore;
use crate::progress::{PartitionProgress, TopicPartition};
use crate::settlement::Unscored;
use crate::time::Micros;
use crate::view::{FoldBatch, ViewId};
use crate::watermark::MarkRecord;

use super::log::Origin;
use super::state_progress::StateProgress;

/// The rows of one view that one shard folds.
#[derive(Debug, Clone)]
pub struct ShardFold {
    /// Which view.
    pub view: ViewId,
    /// The view's rows of one decoded batch, for all shards.
    pub batch: Arc<FoldBatch>,
    /// Encoded keys of those rows.
    pub keys: Arc<KeyBuffer>,
    /// Where the decoded batch's rows stand (indexed by [`FoldBatch::source_rows`]).
    pub origin: Arc<Origin>,
    /// Indices into `batch` of the rows that belong to this shard, ascending.
    pub rows: Vec<u32>,
}

/// All that one epoch writes to one shard, atomically.
#[derive(Debug, Clone, Default)]
pub struct ShardWrite {
    /// Rows to fold. Rows below the shard's own progress are dropped by the shard.
    pub folds: Vec<ShardFold>,
    /// Events that wait for a score, with where they stand for the same drop rule (topic, partition
    /// and offset are in their key).
    pub pending: Vec<Arc<PendingScore>>,
    /// Notes on events that will have no score, under the same drop rule.
    pub unscored: Vec<Unscored>,
    /// Progress of every partition read up to the epoch's end, also where no row hashed here.
    pub progress: Vec<(TopicPartition, PartitionProgress)>,
    /// Decisions about time since the shard's last write: what its progress and watermarks follow
    /// from beside the log. One replaces an earlier one of the same partition and first offset; a
    /// hold every earlier hold of its partition. They are on disk before anything of the write can
    /// be read: what follows from a decision must not outlive it.
    pub marks: Vec<MarkRecord>,
    /// Views that cannot go on with the rows of this write, and why: they are set aside with it.
    pub aside: Vec<(ViewId, Arc<str>)>,
    /// Below these offsets no row is read again, and the archive has what bounds them: the shard
    /// forgets those bounds ([`forgettable`](crate::watermark::forgettable)).
    pub forget_bounds: Vec<(TopicPartition, i64)>,
}

/// Writes what comes from the log; each shard has one writer at a time.
pub trait EpochWriter: StateProgress {
    /// Fold, in ONE atomic write with the progress, then publish to readers. Returns the new epoch.
    ///
    /// A view that the write sets aside, or of which it meets damaged state, is set aside
    /// ([`super::ViewDamage`]), and the rest is applied.
    ///
    /// # Errors
    /// The disk fails: nothing was applied, but for decisions about time that may be recorded.
    fn commit(&self, shard: u16, write: &ShardWrite) -> PortResult<u64>;

    /// Keep what a read at this instant needs, beyond what the store keeps by itself; None: nothing
    /// more. Holds until the next call. A store that forgets nothing may ignore it.
    fn keep_from(&self, oldest_us: Option<Micros>);
}
