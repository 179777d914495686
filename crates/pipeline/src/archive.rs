//! The archive's half of ingest: hands decoded rows, dead letters and decisions about time to one
//! lane for each source's table ([`lane`]), which appends them to Delta by size or age. The tables'
//! application transactions are cursors of their own, so the archive may run behind the shards:
//! after a crash the reader starts at the smaller mark. A table that takes nothing holds back its
//! source ([`backlog`]) and nothing else.

mod backlog;
mod lane;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::invariant;
use forebay_core::memory::Reservation;
use forebay_core::ports::{Archive, DeadLetter, RecordHeader, Runtime, SourceBatch};
use forebay_core::progress::Applied;
use forebay_core::source::{SourceDef, meta};
use forebay_core::watermark::MarkRecord;
use forebay_core::{PortError, PortResult};
use tokio::sync::{mpsc, oneshot};

use crate::archive::backlog::{Entry, Shares};
use crate::archive::lane::{Lane, LaneParts, Message, UpTo};
use crate::error::PipelineError;
use crate::halt::HaltReason;
use crate::room::Room;
use crate::runtime::{Thread, block_on, pause, within};
use crate::status::Counters;
use crate::watermark::ArchivedMarks;

pub use backlog::ArchiveReach;
pub(crate) use backlog::Backlog;
pub use lane::{DEAD_LETTER_TABLE, DeadLetterRows, FlushRule};

/// Messages that may wait for a lane, which takes them at once.
const QUEUE_MESSAGES: usize = 64;
/// Time between two looks whether a table that is behind has room.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// Time between two looks whether a flush waits for a table that takes nothing.
const FLUSH_LOOK: Duration = Duration::from_millis(100);

/// The sending end.
#[derive(Debug, Clone)]
pub struct Archiver {
    runtime: Arc<dyn Runtime>,
    /// By source.
    lanes: BTreeMap<String, mpsc::Sender<Message>>,
    /// The source of each topic.
    sources: BTreeMap<String, String>,
    backlog: Arc<Backlog>,
    room: Room,
}

/// What an archiver is started with.
pub(crate) struct ArchiverParts {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) dead_letter_rows: DeadLetterRows,
    pub(crate) rule: FlushRule,
    pub(crate) counters: Arc<Counters>,
    /// An append that fails while the pipeline stops is given up, since a restart reads its rows
    /// again.
    pub(crate) stopping: Arc<AtomicBool>,
    /// What the archive has of decisions about time.
    pub(crate) known_marks: Arc<ArchivedMarks>,
    /// Rows that the table of marks has.
    pub(crate) marks_up_to: Applied,
    pub(crate) room: Room,
}

/// The threads of the lanes, by table.
pub(crate) type Appending = BTreeMap<String, Thread<PortResult<()>>>;

/// Schema of what [`Archiver::rows`] hands over: the archive's but `_ingest_time`, which the
/// archive sets.
#[must_use]
pub(crate) fn append_schema(source: &SourceDef) -> SchemaRef {
    let schema = source.archive_schema();
    let fields: Vec<Arc<Field>> = schema
        .fields()
        .iter()
        .filter(|f| f.name() != meta::INGEST_TIME)
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
}

impl Archiver {
    /// Start a lane for each of `sources`. They end when they are closed, or every sender dropped,
    /// and all is appended.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        parts: ArchiverParts,
        sources: &[Arc<SourceDef>],
    ) -> PortResult<(Self, Appending)> {
        let shares = Shares::of(parts.room.quarter_bytes(), sources.len());
        let names = sources.iter().map(|source| source.name.clone());
        let backlog = Arc::new(Backlog::of(names, shares));
        let of_lane = LaneParts {
            runtime: Arc::clone(&parts.runtime),
            archive: parts.archive,
            dead_letter_rows: parts.dead_letter_rows,
            rule: FlushRule {
                // So much again may be collected while it is appended.
                max_bytes: parts.rule.max_bytes.min(shares.most_bytes() / 2),
                ..parts.rule
            },
            counters: parts.counters,
            stopping: parts.stopping,
            backlog: Arc::clone(&backlog),
            known_marks: Arc::clone(&parts.known_marks),
        };
        let by_topic = |source: &Arc<SourceDef>| (source.topic.clone(), source.name.clone());
        let by_topic: BTreeMap<String, String> = sources.iter().map(by_topic).collect();
        let first = sources.iter().map(|source| source.name.as_str()).min();
        let mut kept = by_source(&by_topic, first, &parts.known_marks.unarchived());
        let (mut lanes, mut appending) = (BTreeMap::new(), Appending::new());
        for source in sources {
            let (queue, messages) = mpsc::channel(QUEUE_MESSAGES);
            let table = source.name.clone();
            let kept = kept.remove(&table).unwrap_or_default();
            let lane = Lane::new(of_lane.clone(), table, &kept, parts.marks_up_to.clone());
            let runtime = Arc::clone(&parts.runtime);
            let run = move || block_on(runtime.as_ref(), lane.run(messages));
            let name = format!("archiver-{}", source.name);
            let thread = Thread::spawn(&parts.runtime, &name, run)?;
            appending.insert(source.name.clone(), thread);
            lanes.insert(source.name.clone(), queue);
        }
        let archiver = Self {
            runtime: parts.runtime,
            lanes,
            sources: by_topic,
            backlog,
            room: parts.room,
        };
        Ok((archiver, appending))
    }

    /// Room for `batch` on its way to its table, to be asked for before anything is made of it.
    /// Waits while the table or memory is behind, also while the pipeline stops, which finishes
    /// what was read; None where the table holds its source back: then the batch is to be left, and
    /// read again later.
    ///
    /// # Errors
    /// The lane has stopped.
    pub(crate) fn admit(&self, batch: &SourceBatch) -> Result<Option<Reservation>, PipelineError> {
        let (table, runtime) = (batch.source.name.as_str(), self.runtime.as_ref());
        let bytes = bytes_of(batch);
        let lane = self.lane(table)?;
        let (began, mut is_told) = (runtime.elapsed(), false);
        let is_gone = || lane.is_closed();
        while !is_gone() {
            let now = runtime.elapsed();
            match self
                .backlog
                .enter(table, bytes, now.saturating_sub(began), now)
            {
                Entry::Held => return Ok(None),
                Entry::Behind if !is_told => {
                    // What is collected may not be due for long.
                    is_told = true;
                    let told = lane.send(Message::Flush(None));
                    block_on(runtime, told).map_err(|_| gone())?;
                }
                Entry::Behind => pause(runtime, ASK_AGAIN),
                Entry::Free(bytes) => return self.take_room(bytes, is_gone).map(Some),
            }
        }
        Err(gone())
    }

    fn take_room(
        &self,
        bytes: usize,
        is_gone: impl Fn() -> bool,
    ) -> Result<Reservation, PipelineError> {
        if let Some(memory) = self.room.ask(bytes) {
            return Ok(memory);
        }
        // What others have collected gives memory back once it is appended.
        for lane in self.lanes.values() {
            let told = lane.send(Message::Flush(None));
            block_on(self.runtime.as_ref(), told).map_err(|_| gone())?;
        }
        let memory = self.room.take(bytes, self.runtime.as_ref(), is_gone);
        memory.ok_or_else(gone)
    }

    /// Hand over the rows and dead letters of one decoded batch, for which `memory` was taken.
    ///
    /// # Errors
    /// The lane has stopped, or Arrow refuses the columns.
    pub(crate) fn rows(
        &self,
        batch: &SourceBatch,
        late: &[bool],
        up_to: UpTo,
        memory: Reservation,
    ) -> Result<(), PipelineError> {
        invariant!(
            OriginColumnsAgree,
            late.len() == batch.rows.num_rows(),
            "source {}: {} marks of late rows for {}",
            batch.source.name,
            late.len(),
            batch.rows.num_rows()
        );
        let (table, bytes) = (&batch.source.name, memory.bytes());
        let message = Message::Rows {
            batch: with_meta(batch, late)?,
            letters: batch.dead_letters.clone(),
            up_to,
            memory,
        };
        self.hand_over(table, Some(bytes), message)
    }

    /// Offsets below `up_to` hold no more rows for `table`: control records, or an accepted gap.
    ///
    /// # Errors
    /// The lane has stopped.
    pub(crate) fn passed(&self, table: &str, up_to: UpTo) -> Result<(), PipelineError> {
        self.hand_over(table, None, Message::Passed(up_to))
    }

    /// Hand over decisions about time, before the rows that they are about. Those about topics that
    /// no source reads any more go with the first source.
    ///
    /// # Errors
    /// A lane has stopped.
    pub(crate) fn marks(&self, records: &[MarkRecord]) -> Result<(), PipelineError> {
        let first = self.lanes.keys().next().map(String::as_str);
        for (source, records) in by_source(&self.sources, first, records) {
            self.hand_over(&source, None, Message::Marks(records))?;
        }
        Ok(())
    }

    /// Append all that was handed over before this call.
    ///
    /// # Errors
    /// A table takes nothing: the words say which and why; a lane has stopped.
    pub async fn flush(&self) -> Result<(), PipelineError> {
        for source in self.lanes.keys() {
            self.flush_of(source).await?;
        }
        Ok(())
    }

    /// The same of `source` alone; nothing where it is not read.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn flush_of(&self, source: &str) -> Result<(), PipelineError> {
        let Some(lane) = self.lanes.get(source) else {
            return Ok(());
        };
        let (done, mut wait) = oneshot::channel();
        let message = Message::Flush(Some(done));
        lane.send(message).await.map_err(|_| gone())?;
        loop {
            match within(self.runtime.as_ref(), FLUSH_LOOK, &mut wait).await {
                Some(done) => return done.map_err(|_| gone()),
                None => {
                    if let Some(why) = self.held().remove(source) {
                        return Err(PortError::new(why.kind(), why.to_string()).into());
                    }
                }
            }
        }
    }

    /// Append all that was handed over before this call, and end.
    pub(crate) async fn close(self) {
        for lane in self.lanes.values() {
            // One that has ended already says why where it is waited for.
            let _ended = lane.send(Message::Close).await;
        }
    }

    /// How far the archive is behind. For the thread that hands over.
    pub(crate) fn reach(&self) -> ArchiveReach {
        self.backlog.reach()
    }

    /// Tables that hold their source back, each with its reason.
    pub(crate) fn held(&self) -> BTreeMap<String, HaltReason> {
        self.backlog.held(self.runtime.elapsed())
    }

    /// For how long the append of each table that is under way has run; 0 where none is.
    #[must_use]
    pub fn running(&self) -> BTreeMap<String, Duration> {
        self.backlog.running(self.runtime.elapsed())
    }

    /// What waits for the tables.
    pub(crate) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }

    fn lane(&self, table: &str) -> Result<&mpsc::Sender<Message>, PipelineError> {
        self.lanes.get(table).ok_or_else(gone)
    }

    fn hand_over(
        &self,
        table: &str,
        bytes: Option<usize>,
        message: Message,
    ) -> Result<(), PipelineError> {
        let lane = self.lane(table)?;
        self.backlog.hand_over(table, bytes);
        block_on(self.runtime.as_ref(), lane.send(message)).map_err(|_| gone())
    }
}

/// `records` by the source whose lane has them: that of their topic in `sources`, or the `first`
/// one, always the same within a run, because a lane numbers the rows of its partitions alone.
/// Without any source the shards, or the checkpoint, keep them for the next start.
fn by_source(
    sources: &BTreeMap<String, String>,
    first: Option<&str>,
    records: &[MarkRecord],
) -> BTreeMap<String, Vec<MarkRecord>> {
    let mut parted: BTreeMap<String, Vec<MarkRecord>> = BTreeMap::new();
    for record in records {
        let known = sources.get(&*record.partition.topic).map(String::as_str);
        if let Some(source) = known.or(first) {
            let of_source = parted.entry(source.to_owned()).or_default();
            of_source.push(record.clone());
        }
    }
    parted
}

fn gone() -> PipelineError {
    PipelineError::ThreadGone("archiver")
}

/// What `batch` takes on its way, roughly: its rows, with the columns that tell where each comes
/// from, and its dead letters.
fn bytes_of(batch: &SourceBatch) -> usize {
    /// `_partition`, `_offset`, `_kafka_time`, `_late` and the end of `_topic`.
    const ORIGIN_BYTES: usize = 4 + 8 + 8 + 1 + 4;
    let row = ORIGIN_BYTES + batch.source.topic.len();
    let letters = batch.dead_letters.iter().map(letter_bytes).sum::<usize>();
    batch.rows.get_array_memory_size() + batch.rows.num_rows() * row + letters
}

fn letter_bytes(letter: &DeadLetter) -> usize {
    let header = |h: &RecordHeader| h.name.len() + h.value.as_ref().map_or(0, Vec::len);
    let headers = letter.headers.iter().map(header).sum::<usize>();
    let key = letter.key.as_ref().map_or(0, Vec::len);
    key + letter.payload.len() + headers + letter.detail.len()
}

fn with_meta(batch: &SourceBatch, late: &[bool]) -> Result<RecordBatch, PipelineError> {
    let origin = &batch.origin;
    let place = |row: usize| &origin.partitions[origin.partition[row] as usize];
    let rows = batch.rows.num_rows();
    let mut columns = batch.rows.columns().to_vec();
    let kafka_time =
        TimestampMicrosecondArray::from(origin.kafka_time_us.clone()).with_timezone("UTC");
    let added: [ArrayRef; 5] = [
        Arc::new(StringArray::from_iter_values(
            (0..rows).map(|row| &*place(row).topic),
        )),
        Arc::new(Int32Array::from_iter_values(
            (0..rows).map(|row| place(row).partition),
        )),
        Arc::new(Int64Array::from(origin.offset.clone())),
        Arc::new(kafka_time),
        Arc::new(BooleanArray::from(late.to_vec())),
    ];
    columns.extend(added);
    Ok(RecordBatch::try_new(append_schema(&batch.source), columns)?)
}
