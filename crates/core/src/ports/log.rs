//! What `pipeline` asks of the log: partitions, offsets, decoded batches with the place of each
//! row, and records that cannot become rows. `kafka` implements it; `testkit` has one in memory.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;

use crate::error::PortResult;
use crate::progress::{RecordDigest, TopicPartition};
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
    /// For each row its partition's watermark before the row ([`crate::watermark`]); None before
    /// the first. The reader leaves it empty; `pipeline` fills it.
    pub watermark_us: Vec<Option<Micros>>,
}

impl Origin {
    /// Whether the rows of each partition ascend by offset.
    #[must_use]
    pub fn is_in_log_order(&self) -> bool {
        let mut least = vec![i64::MIN; self.partitions.len()];
        let mut places = self.partition.iter().zip(&self.offset);
        places.all(|(slot, offset)| {
            let least = &mut least[*slot as usize];
            let ascends = *offset >= *least;
            *least = offset.saturating_add(1);
            ascends
        })
    }
}

/// A header of a record. Names may occur more than once; their order counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its name.
    pub name: String,
    /// Its value; None is Kafka's null.
    pub value: Option<Vec<u8>>,
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
    /// The record's key, cut at [`crate::limits::DEAD_LETTER_KEY_MAX_BYTES`].
    pub key: Option<Vec<u8>>,
    /// The record's value, cut at [`crate::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES`].
    pub payload: Vec<u8>,
    /// Its headers, the first that fit [`crate::limits::DEAD_LETTER_HEADERS_MAX_BYTES`].
    pub headers: Vec<RecordHeader>,
    /// Whether key, value or headers are not all of the record's: it cannot be produced again from
    /// them.
    pub is_cut: bool,
    /// Stable label of a [`crate::dead_letter::DeadLetterReason`].
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
    /// For each partition read: its last record, good or bad.
    pub last_records: Vec<(TopicPartition, RecordDigest)>,
}

/// Where the reader stands in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// One past all that was read: records, and the control records of transactions behind them.
    pub next_offset: i64,
    /// The last stable offset, one past the newest record that may be read, as it was when somebody
    /// looked last; None before that. It may have grown since.
    pub last_stable: Option<i64>,
}

impl LogPosition {
    /// Whether all that was there at the last look has been read. False where nobody has looked.
    #[must_use]
    pub fn end_reached(&self) -> bool {
        self.last_stable
            .is_some_and(|last_stable| self.next_offset >= last_stable)
    }
}

/// Why one partition is not read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFault {
    /// The log does not hold the reader's position, or the topic is not there: it lost its head or
    /// its tail, or was deleted.
    PositionLost {
        /// The client's words.
        why: String,
    },
    /// What stands at the reader's position cannot be read: its checksum is wrong, or it inflates
    /// beyond what one answer may hold.
    Unreadable {
        /// Where.
        offset: i64,
        /// The client's words.
        why: String,
    },
    /// A record came whose offset does not ascend.
    OffsetFell {
        /// The offset that was to come, or one above it.
        expected: i64,
        /// The offset that came.
        found: i64,
    },
    /// A record came far above its forerunner ([`crate::limits::LOG_OFFSET_JUMP_MAX`]), and was not
    /// taken.
    OffsetJumped {
        /// The offset that was to come, or one above it.
        expected: i64,
        /// The offset that came.
        found: i64,
    },
    /// The broker refuses the partition: authorization.
    Refused {
        /// Its words.
        why: String,
    },
}

/// A source of events that can be read from given offsets. One owner thread; nothing here waits for
/// an answer of the broker but [`Self::poll`], and that only until its timeout. What the log is and
/// where it begins and ends is asked elsewhere ([`super::LogInspector`]).
pub trait EventLog: Send + Debug {
    /// Read these partitions from these offsets, and no others; a batch is decoded for each of
    /// `sources` whose topic it is of. Replaces what was assigned before, and forgets its faults
    /// and a pause.
    ///
    /// # Errors
    /// A source whose columns records cannot fill; the client refuses.
    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()>;

    /// Up to `max_rows` records, waiting at most `timeout` for the first. Empty when none came.
    ///
    /// # Errors
    /// No broker is connected, or the client is broken: nothing can be read. What concerns one
    /// partition is among [`Self::faults`].
    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>>;

    /// Partitions that are not read any more, each once, since the last call. They are read again
    /// when they are assigned again.
    fn faults(&mut self) -> Vec<(TopicPartition, LogFault)>;

    /// Where the reader stands in each assigned partition, and whether it has met the end there.
    fn positions(&mut self) -> BTreeMap<TopicPartition, LogPosition>;

    /// Stop reading (true) or go on (false) without losing the position: how ingest pauses.
    ///
    /// # Errors
    /// The client refuses.
    fn set_paused(&mut self, paused: bool) -> PortResult<()>;
}
