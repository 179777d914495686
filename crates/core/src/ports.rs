//! The ports: what `pipeline`, `training`, `serve` and `monitor` ask of the adapters. Batches, not
//! rows, cross them. Reads and writes of the hot path are synchronous (they run on threads of their
//! own); what waits for a network or an object store is async.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use async_trait::async_trait;

use crate::error::PortResult;
use crate::key::KeyBuffer;
use crate::prediction::{OutboxRecord, PendingScore};
use crate::progress::{Applied, PartitionProgress, TopicPartition};
use crate::source::SourceDef;
use crate::time::Micros;
use crate::view::{FeatureStatus, FoldBatch, ServiceSpec, ViewId, ViewSpec};

// ---- the log
// ---------------------------------------------------------------------------------------------------

/// Where each row of a decoded batch stands in its log. All vectors are as long as the batch.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The partitions that occur.
    pub partitions: Vec<TopicPartition>,
    /// For each row the index of its partition in `partitions`.
    pub partition: Vec<u32>,
    /// For each row its offset.
    pub offset: Vec<i64>,
    /// For each row the Kafka record's timestamp; None where the broker gave none.
    pub kafka_time_us: Vec<Option<Micros>>,
    /// For each row its partition's watermark before the row (max event time of earlier accepted
    /// rows, less the delay); None before the first. The reader leaves it empty; `pipeline` fills
    /// it.
    pub watermark_us: Vec<Option<Micros>>,
}

/// A record that cannot become a row. Found in `kafka`, carried by `pipeline`, stored by `offline`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Source that it was meant for.
    pub source: String,
    /// Where it stands.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp.
    pub kafka_time_us: Option<Micros>,
    /// The record's value, or of a refused row its columns as JSON; cut at
    /// [`crate::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES`].
    pub payload: Vec<u8>,
    /// Stable label: `not_json`, `missing_column`, `wrong_type`, `future_time`, `too_large`,
    /// `too_deep`, `no_value`; of `pipeline` itself `refused`: an expression of a view fails on the
    /// row, or a key is over its limit.
    pub reason: &'static str,
    /// The reason in words, with the column's name.
    pub detail: String,
}

/// What one poll brought of one source: rows in log order within each partition.
#[derive(Debug, Clone)]
pub struct SourceBatch {
    /// The source.
    pub source: Arc<SourceDef>,
    /// Decoded rows: the source's own columns.
    pub rows: RecordBatch,
    /// Where each row stands.
    pub origin: Origin,
    /// Records that did not become rows.
    pub dead_letters: Vec<DeadLetter>,
    /// For each partition read: one past the last record, good or bad.
    pub read_up_to: Vec<(TopicPartition, i64)>,
}

/// A source of events that can be read from given offsets. One owner thread.
pub trait EventLog: Send + Debug {
    /// The partitions of `topic`, ascending.
    ///
    /// # Errors
    /// Unknown topic, or the broker does not answer.
    fn partitions(&mut self, topic: &str) -> PortResult<Vec<i32>>;

    /// The oldest offset that the log holds of each of `partitions`: 0, or more where its head was
    /// deleted.
    ///
    /// # Errors
    /// The broker does not answer.
    fn begin_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, i64>>;

    /// Start (or start again) at these offsets, one entry for each partition of each source's
    /// topic. An offset below the log's start or above its end is refused with the remedy.
    ///
    /// # Errors
    /// As said, or the broker does not answer.
    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()>;

    /// Up to `max_rows` records, waiting at most `timeout` for the first. Empty when none came.
    ///
    /// # Errors
    /// The broker is gone or the log has a gap.
    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>>;

    /// Stop reading (true) or go on (false) without losing the position: how ingest pauses.
    ///
    /// # Errors
    /// The client refuses.
    fn set_paused(&mut self, paused: bool) -> PortResult<()>;

    /// The end of each assigned partition: one past its newest record.
    ///
    /// # Errors
    /// The broker does not answer.
    fn end_offsets(&mut self) -> PortResult<BTreeMap<TopicPartition, i64>>;

    /// Identity of the cluster, kept in the state so that another log is never mistaken for this
    /// one.
    ///
    /// # Errors
    /// The broker does not answer.
    fn cluster_id(&mut self) -> PortResult<String>;
}

/// Publishes finished records.
pub trait Publisher: Send + Sync + Debug {
    /// Send `records` in order and wait until the broker has acknowledged all of them.
    ///
    /// # Errors
    /// At least one was not acknowledged: the outcome of the others is unknown, send all again.
    fn publish(&self, records: &[OutboxRecord]) -> PortResult<()>;
}

// ---- the engine
// ------------------------------------------------------------------------------------------------

/// A feature view, compiled: the *pre* and *post* of DESIGN section 4.
pub trait CompiledView: Send + Sync + Debug {
    /// Its checked form.
    fn spec(&self) -> &Arc<ViewSpec>;

    /// Filter and project decoded rows of the view's source into what tiles fold.
    ///
    /// # Errors
    /// An expression fails on the data (overflow, division by zero).
    fn fold(&self, rows: &RecordBatch) -> PortResult<FoldBatch>;

    /// Names and types of the view's features (after *post*).
    fn features(&self) -> SchemaRef;

    /// From aggregates (arrays as [`ViewSpec::aggregates`]) to features. Does not apply presence:
    /// callers NULL the rows whose status is not `Present`.
    ///
    /// # Errors
    /// An expression fails on the data.
    fn finish(
        &self,
        keys: &[ArrayRef],
        at: &TimestampMicrosecondArray,
        aggregates: &[ArrayRef],
    ) -> PortResult<Vec<ArrayRef>>;
}

/// A feature service, compiled: its on-demand expressions.
pub trait CompiledService: Send + Sync + Debug {
    /// Its checked form.
    fn spec(&self) -> &Arc<ServiceSpec>;

    /// The compiled views, in the order of [`ServiceSpec::views`].
    fn views(&self) -> &[Arc<dyn CompiledView>];

    /// From request rows and the features of each view (as [`CompiledView::features`], presence
    /// applied) to the service's features, one row for each request row.
    ///
    /// # Errors
    /// An expression fails on the data.
    fn finish(&self, request: &RecordBatch, views: &[Vec<ArrayRef>]) -> PortResult<RecordBatch>;
}

/// A boolean expression over a source's rows: the label of a monitor. NULL is no label.
pub trait CompiledLabel: Send + Sync + Debug {
    /// One value for each row.
    ///
    /// # Errors
    /// The expression fails on the data.
    fn evaluate(&self, rows: &RecordBatch) -> PortResult<BooleanArray>;
}

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

// ---- the online store
// ------------------------------------------------------------------------------------------

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
    pub pending: Vec<PendingScore>,
    /// Progress of every partition read up to the epoch's end, also where no row hashed here.
    pub progress: Vec<(TopicPartition, PartitionProgress)>,
    /// True for a backfill from the archive: rows count although they lie below the progress, and
    /// the progress stays.
    pub backfill: bool,
}

/// The instant of a read.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// One for all rows.
    Instant(Micros),
    /// One for each row.
    PerRow(&'a [Micros]),
}

impl At<'_> {
    /// The instant of `row`.
    #[must_use]
    pub fn of(&self, row: usize) -> Micros {
        match self {
            Self::Instant(at) => *at,
            Self::PerRow(at) => at[row],
        }
    }
}

/// A shard as of an epoch: what an answer has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardEpoch {
    /// Shard number.
    pub shard: u16,
    /// Epoch of that shard.
    pub epoch: u64,
}

/// What a view answers for a list of keys.
#[derive(Debug, Clone)]
pub struct ViewRows {
    /// Arrays as [`ViewSpec::aggregates`]; rows whose status is not `Present` are NULL.
    pub aggregates: Vec<ArrayRef>,
    /// One for each key.
    pub status: Vec<FeatureStatus>,
    /// Newest event time at or before the read's instant, one for each key.
    pub newest_us: Vec<Option<Micros>>,
    /// For each key the shard and the epoch that answered; None for a NULL key.
    pub applied: Vec<Option<ShardEpoch>>,
}

/// A record of the outbox, with its place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Place: ascending in the order of the second writes.
    pub sequence: u64,
    /// What to publish.
    pub record: OutboxRecord,
}

/// Tiles, rows and offsets in shards; each shard has one writer at a time, any number of readers.
pub trait OnlineStore: Send + Sync + Debug {
    /// S, fixed when the store was made.
    fn shards(&self) -> u16;

    /// Make a view known before its first fold or read. The same id with another digest is refused.
    ///
    /// # Errors
    /// As said.
    fn register_view(&self, view: Arc<ViewSpec>) -> PortResult<()>;

    /// Forget a view and delete its state.
    ///
    /// # Errors
    /// The disk fails.
    fn drop_view(&self, view: ViewId) -> PortResult<()>;

    /// Progress of `shard`, as recovered or last committed.
    fn applied(&self, shard: u16) -> Arc<Applied>;

    /// Progress that `epoch` of `shard` had; None when it is older than what is kept.
    fn applied_at(&self, at: ShardEpoch) -> Option<Arc<Applied>>;

    /// Identity of the log that the state follows; None in a new store.
    ///
    /// # Errors
    /// The disk fails.
    fn log_identity(&self) -> PortResult<Option<String>>;

    /// Set the identity, once.
    ///
    /// # Errors
    /// It is set to another one.
    fn set_log_identity(&self, identity: &str) -> PortResult<()>;

    /// Fold, in ONE atomic write with the progress, then publish to readers. Returns the new epoch.
    ///
    /// # Errors
    /// The disk fails: nothing was applied.
    fn commit(&self, shard: u16, write: ShardWrite) -> PortResult<u64>;

    /// Values of `view` for `keys` at `at`.
    ///
    /// # Errors
    /// Unknown view; an instant older than what is kept (`OutOfRange`).
    fn read(&self, view: ViewId, keys: &KeyBuffer, at: At<'_>) -> PortResult<ViewRows>;

    /// Keep what a read at this instant needs, beyond what the store keeps by itself; None: nothing
    /// more. Holds until the next call. A store that forgets nothing need not listen.
    fn keep_from(&self, _oldest_us: Option<Micros>) {}

    /// Up to `limit` pending scores of `shard`, oldest first.
    ///
    /// # Errors
    /// The disk fails.
    fn pending(&self, shard: u16, limit: usize) -> PortResult<Vec<PendingScore>>;

    /// The second write: delete these pending scores and append these records to the outbox,
    /// atomically. A key that is no longer pending is skipped together with its record. Returns the
    /// entries written.
    ///
    /// # Errors
    /// The disk fails: nothing was written.
    fn settle(
        &self,
        shard: u16,
        scored: Vec<(PendingScore, Option<OutboxRecord>)>,
    ) -> PortResult<Vec<OutboxEntry>>;

    /// Up to `limit` outbox entries of `shard`, oldest first.
    ///
    /// # Errors
    /// The disk fails.
    fn outbox(&self, shard: u16, limit: usize) -> PortResult<Vec<OutboxEntry>>;

    /// Delete the entries up to and including `sequence`, after they were acknowledged.
    ///
    /// # Errors
    /// The disk fails.
    fn clear_outbox(&self, shard: u16, sequence: u64) -> PortResult<()>;
}

// ---- serving
// ---------------------------------------------------------------------------------------------------

/// An answer of a feature service.
#[derive(Debug, Clone)]
pub struct FeatureAnswer {
    /// The service's features, one row for each request row.
    pub features: RecordBatch,
    /// For each view of the service, for each row, its status.
    pub status: Vec<Vec<FeatureStatus>>,
    /// For each view, for each row, its newest event time.
    pub newest_us: Vec<Vec<Option<Micros>>>,
    /// For each view, for each row, what was applied.
    pub applied: Vec<Vec<Option<ShardEpoch>>>,
    /// The instant that was asked for; with one for each row, the greatest.
    pub as_of_us: Micros,
    /// Smallest watermark over the sources that the service reads; None before the first event.
    pub watermark_us: Option<Micros>,
}

/// Reads features: the one way that serving, scoring and verification share.
pub trait FeatureReader: Send + Sync + Debug {
    /// The service `name`, newest version.
    ///
    /// # Errors
    /// Unknown name: the text lists the known ones.
    fn service(&self, name: &str) -> PortResult<Arc<dyn CompiledService>>;

    /// Names of all services.
    fn services(&self) -> Vec<String>;

    /// Features for the rows of `request` (the service's request columns, in any order, extra
    /// columns ignored).
    ///
    /// # Errors
    /// A missing or mistyped column, a limit, an instant older than what is kept.
    fn read(
        &self,
        service: &dyn CompiledService,
        request: &RecordBatch,
        at: At<'_>,
    ) -> PortResult<FeatureAnswer>;
}

// ---- the offline store
// -----------------------------------------------------------------------------------------

/// A Delta table at a version.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// Delta version.
    pub version: i64,
    /// Schema of the rows.
    pub schema: SchemaRef,
    /// Its data files.
    pub files: Vec<PathBuf>,
    /// Rows in them.
    pub rows: u64,
    /// Offsets that it covers.
    pub applied: Applied,
}

/// The Delta archive.
#[async_trait]
pub trait Archive: Send + Sync + Debug {
    /// Open table `name`, or make it with `schema` (with or without
    /// [`crate::source::meta::INGEST_TIME`]; the table has it).
    ///
    /// # Errors
    /// It exists with another schema; the disk fails.
    async fn open_table(&self, name: &str, schema: SchemaRef) -> PortResult<()>;

    /// The next offset that each partition needs, from the table's application transactions.
    /// Partitions without one are absent.
    ///
    /// # Errors
    /// The log cannot be read: never taken for "none".
    async fn progress(&self, name: &str) -> PortResult<Applied>;

    /// Append rows and move the partitions' marks, in one commit. Rows below a mark are dropped
    /// first. `batches` have the table's columns but `_ingest_time`, which is set here. Returns the
    /// number of rows that were new.
    ///
    /// # Errors
    /// Another owner committed (`FailedPrecondition`); the disk fails; the outcome is unknown
    /// (`MaybeWritten`).
    async fn append(
        &self,
        name: &str,
        batches: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64>;

    /// The newest version.
    ///
    /// # Errors
    /// Unknown table; the disk fails.
    async fn snapshot(&self, name: &str) -> PortResult<TableSnapshot>;
}

// ---- inference
// -------------------------------------------------------------------------------------------------

/// Scores of one batch.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Raw model output, f32 widened to f64 without loss, one for each row.
    pub margin: Vec<f64>,
    /// The output that the objective defines (a probability for a classifier), one for each row.
    pub score: Vec<f64>,
}

/// A pool of workers, or a model in this process.
#[async_trait]
pub trait Scorer: Send + Sync + Debug {
    /// Score `features` (a service's features) with version `version` of `model`.
    ///
    /// # Errors
    /// Unknown model or version, another feature fingerprint, no worker.
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores>;
}
