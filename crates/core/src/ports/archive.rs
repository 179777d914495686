//! The offline archive: exactly-once appends, and what was appended. `offline` implements it over
//! Delta, `testkit` in memory; both run the conformance suite of `testkit`. What was appended is
//! read through [`TableScan`], which every archive is.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;

use crate::error::PortResult;
use crate::ports::scan::TableScan;
use crate::progress::{Applied, RecordDigest, TopicPartition};

/// From where on a table has every record of its partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beginnings {
    /// For each partition the first offset that the table was ready to take.
    pub from: Applied,
    /// Partitions of which the table lacks records that the state has applied, each with the first
    /// offset from which on it has all again. Where that is its beginning, another table stood here
    /// once, and what only that one had is missing. Further on, a gap was accepted before the table
    /// had got what the state had. It only ascends.
    pub cut: BTreeMap<TopicPartition, i64>,
}

impl Beginnings {
    /// Whether what it lacks of `place` lies behind where it begins: no copy of it ever had that.
    #[must_use]
    pub fn is_cut_by_gap(&self, place: &TopicPartition) -> bool {
        let cut = self.cut.get(place).copied().unwrap_or_default();
        cut > self.from.next_offset(place)
    }

    /// `place` is cut below `offset`, if it was not further on.
    pub fn note_cut(&mut self, place: &TopicPartition, offset: i64) {
        let cut = self.cut.entry(place.clone()).or_insert(offset);
        *cut = (*cut).max(offset);
    }
}

/// What a table knows of a topic that its rows came from: another one of its name is told from it
/// also where the state is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogIdentity {
    /// Its cluster; None before its first record, and in a table of an earlier build.
    pub cluster: Option<String>,
    /// Its id; None where nobody could tell.
    pub id: Option<String>,
    /// How many partitions it had when it was looked at last. They never become fewer.
    pub partitions: i32,
}

impl LogIdentity {
    /// Whether `found` adds nothing to what is known.
    #[must_use]
    pub fn covers(&self, found: &Self) -> bool {
        (self.cluster.is_some() || found.cluster.is_none())
            && (self.id.is_some() || found.id.is_none())
            && self.partitions >= found.partitions
    }

    /// Take over of `found` what is not known; what is known stays.
    pub fn take(&mut self, found: &Self) {
        for (known, found) in [
            (&mut self.cluster, &found.cluster),
            (&mut self.id, &found.id),
        ] {
            if known.is_none() {
                known.clone_from(found);
            }
        }
        self.partitions = self.partitions.max(found.partitions);
    }
}

/// A table at a version: what it holds, not where. Bounded by `applied`, a scan gives these very
/// rows whenever it is made.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// What tells it from another table of the same name that stood here before.
    pub id: String,
    /// Delta version.
    pub version: i64,
    /// Schema of the rows.
    pub schema: SchemaRef,
    /// Rows in it.
    pub rows: u64,
    /// Offsets that it covers.
    pub applied: Applied,
    /// Where that begins.
    pub beginnings: Beginnings,
    /// By topic the log that the rows came from.
    pub logs: BTreeMap<String, LogIdentity>,
    /// The last record of each partition that is covered; what is not known of one is absent.
    pub last: BTreeMap<TopicPartition, RecordDigest>,
}

/// The archive.
#[async_trait]
pub trait Archive: TableScan {
    /// Open table `name`, or make it with `schema` (with or without
    /// [`crate::source::meta::INGEST_TIME`]; the table has it). One that exists with another schema
    /// follows it, as [`crate::growth::grown`] says.
    ///
    /// # Errors
    /// It exists with a schema that cannot follow (`AlreadyExists`); the disk fails.
    async fn open_table(&self, name: &str, schema: SchemaRef) -> PortResult<()>;

    /// Note where the table begins, for partitions of which that was not noted before, and by topic
    /// the log that it takes rows from; what was noted stays, but that partitions may be added. A
    /// cut that comes with a beginning is noted with it alone; one that comes without is noted
    /// wherever it lies further on. To be called before the first record of a partition is read, so
    /// that a table that takes the place of a lost one, and a log that takes the place of another,
    /// are known for what they are.
    ///
    /// # Errors
    /// As [`Self::append`].
    async fn begin(
        &self,
        name: &str,
        beginnings: &Beginnings,
        logs: &BTreeMap<String, LogIdentity>,
    ) -> PortResult<()>;

    /// The next offset that each partition needs, from the table's application transactions.
    /// Partitions without one are absent.
    ///
    /// # Errors
    /// The log cannot be read: never taken for "none".
    async fn progress(&self, name: &str) -> PortResult<Applied>;

    /// Append rows and move the partitions' marks and, where it is known, the last record of each
    /// of them, in one commit. Rows below a mark are dropped first. `batches` have the table's
    /// columns but `_ingest_time`, which is set here. Returns the number of rows that were new.
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
