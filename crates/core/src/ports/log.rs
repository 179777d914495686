//! What `pipeline` asks of the log: partitions, offsets, decoded batches with the place of each row,
//! and records that cannot become rows. `kafka` implements it; `testkit` has one in memory.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;

use crate::error::PortResult;
use crate::progress::TopicPartition;
use crate::source::SourceDef;
use crate::time::Micros;

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
    /// For each row whether the broker set that timestamp when it appended the record
    /// (LogAppendTime), and not the producer (CreateTime). Empty: no row has one of the broker.
    pub broker_time: Vec<bool>,
    /// For each row its partition's watermark before the row ([`crate::watermark`]); None before the
    /// first. The reader leaves it empty; `pipeline` fills it.
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
