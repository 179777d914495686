//! State in shards, as who writes it sees it: views, epochs, and how far each shard has come.
//! Reading is a role of its own ([`StateReader`]), and so are the queues of scores
//! ([`ScoreQueue`]). Calls block, on threads of their own. `online` implements it over RocksDB,
//! `testkit` in memory.

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::PortResult;
use crate::key::KeyBuffer;
use crate::prediction::PendingScore;
use crate::progress::{Applied, PartitionProgress, TopicPartition};
use crate::settlement::Unscored;
use crate::time::Micros;
use crate::view::{FoldBatch, ViewId, ViewSpec};
use crate::watermark::MarkRecord;

use super::log::Origin;
use super::scores::ScoreQueue;
use super::state_reader::StateReader;

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

/// How far the fill of a view from the archive is in one shard, in the write that folds its rows: a
/// fill that a crash has cut off goes on from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FillNote {
    /// What all its rows have in common (the table that they come from, how they are judged): a
    /// fill on another basis begins anew.
    pub basis: String,
    /// Rows of it that the fill had read.
    pub rows: u64,
    /// Of each partition the next offset, and the mark there.
    pub at: Applied,
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
    /// True for a backfill from the archive: rows count although they lie below the progress, and
    /// the progress stays.
    pub backfill: bool,
    /// How far the fill of a view is with this write. Replaces what an earlier write said.
    pub filled: Option<(ViewId, FillNote)>,
}

/// Whether a store can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// Everything was written and read.
    Well,
    /// Something failed and may be over by itself: the store tries again with each write. Or a read
    /// met damage, which stops nothing else.
    Troubled {
        /// Which part, and what failed.
        why: String,
    },
    /// A part will not be written again by this process: it should end with the reason.
    Lost {
        /// Which part, and what failed.
        why: String,
    },
}

/// Tiles, rows and offsets in shards; each shard has one writer at a time, any number of readers.
/// It is read by [`StateReader`], and the queues of the scoring stage live in the same shards
/// ([`ScoreQueue`]): who needs no more asks for these alone.
pub trait OnlineStore: StateReader + ScoreQueue + Send + Sync + Debug {
    /// S, fixed when the store was made.
    fn shards(&self) -> u16;

    /// Make a view known before its first fold or read. The same id with another digest is refused.
    ///
    /// # Errors
    /// As said.
    fn register_view(&self, view: Arc<ViewSpec>) -> PortResult<()>;

    /// Forget a view and delete its state, and how far its fill was.
    ///
    /// # Errors
    /// The disk fails.
    fn drop_view(&self, view: ViewId) -> PortResult<()>;

    /// The views that have state here, also those that were not registered by this process.
    ///
    /// # Errors
    /// The disk fails.
    fn views(&self) -> PortResult<Vec<ViewId>>;

    /// How far the fill of `view` was in `shard`; None where none was begun, or it is over.
    ///
    /// # Errors
    /// The disk fails, or the note cannot be decoded.
    fn filled(&self, shard: u16, view: ViewId) -> PortResult<Option<FillNote>>;

    /// The fill of `view` is over: its rows come from the log alone from now on. To be called
    /// before the first of them is folded.
    ///
    /// # Errors
    /// The disk fails.
    fn end_fill(&self, view: ViewId) -> PortResult<()>;

    /// Progress of `shard`, as recovered or last committed.
    fn applied(&self, shard: u16) -> Arc<Applied>;

    /// The decisions about time that `shard` has recorded ([`ShardWrite::marks`]), in no order.
    ///
    /// # Errors
    /// The disk fails, or a record cannot be decoded.
    fn marks(&self, shard: u16) -> PortResult<Vec<MarkRecord>>;

    /// Fold, in ONE atomic write with the progress, then publish to readers. Returns the new epoch.
    ///
    /// # Errors
    /// The disk fails: nothing was applied, but for decisions about time that may be recorded.
    fn commit(&self, shard: u16, write: &ShardWrite) -> PortResult<u64>;

    /// Wait until the disk has all that was committed. An epoch needs no such wait: the log brings
    /// it again. What is folded from the archive comes once.
    ///
    /// # Errors
    /// The disk fails.
    fn sync(&self) -> PortResult<()>;

    /// Whether the store can go on, from what its last calls met. Cheap: for probes and metrics.
    fn health(&self) -> StoreHealth;

    /// Keep what a read at this instant needs, beyond what the store keeps by itself; None: nothing
    /// more. Holds until the next call. A store that forgets nothing may ignore it.
    fn keep_from(&self, oldest_us: Option<Micros>);
}
