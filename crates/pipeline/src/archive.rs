//! The archive's half of ingest: collects decoded rows and dead letters, and appends them to Delta
//! by size or age. It has a cursor of its own (the tables' application transactions), so it may run
//! behind the shards: after a crash the reader starts at the smaller mark. Dead letters go first,
//! since the source's mark is what says that a bad record is dealt with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::PortResult;
use forebay_core::invariant;
use forebay_core::memory::Reservation;
use forebay_core::ports::{Archive, DeadLetter, Runtime, SourceBatch};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use forebay_core::watermark::MarkRecord;
use tokio::sync::{mpsc, oneshot};

use crate::error::PipelineError;
use crate::retry::Retry;
use crate::room::Room;
use crate::runtime::{Thread, block_on, within};
use crate::status::Counters;
use crate::watermark::{ArchivedMarks, Unrecorded, table};

/// Name of the dead-letter table.
pub const DEAD_LETTER_TABLE: &str = "dead_letters";
/// Batches that may wait for the archiver; the reader waits beyond them.
const QUEUE_BATCHES: usize = 64;

/// Turns dead letters into rows of their table; `offline` knows its schema.
pub type DeadLetterRows = fn(&[DeadLetter]) -> PortResult<RecordBatch>;

/// When to append.
#[derive(Debug, Clone, Copy)]
pub struct FlushRule {
    /// Oldest row's age.
    pub interval: Duration,
    /// Size of what is collected, bytes in memory.
    pub max_bytes: usize,
}

enum Message {
    Rows {
        table: String,
        batch: RecordBatch,
        up_to: Vec<(TopicPartition, PartitionProgress)>,
        memory: Reservation,
    },
    DeadLetters(Vec<DeadLetter>, Vec<(TopicPartition, PartitionProgress)>),
    Passed {
        table: String,
        up_to: Vec<(TopicPartition, PartitionProgress)>,
    },
    Marks(Vec<MarkRecord>),
    Flush(oneshot::Sender<()>),
    Close,
}

/// The sending end.
#[derive(Debug, Clone)]
pub struct Archiver {
    runtime: Arc<dyn Runtime>,
    queue: mpsc::Sender<Message>,
    handed: Arc<Handed>,
    room: Room,
}

/// Which holds of idle partitions a flush appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Those that the reader has gone on past: the others may still move.
    Passed,
    /// All of them.
    All,
}

/// How many messages were handed over, and how many of them the archive has.
#[derive(Debug, Default)]
struct Handed {
    over: AtomicU64,
    archived: AtomicU64,
}

/// How far the archive is behind what was handed over to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveReach {
    /// Number of the newest hand-over.
    pub handed: u64,
    /// Number of the newest one of which, as of all before, the archive has everything.
    pub archived: u64,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows { table, batch, .. } => write!(f, "Rows({table}, {})", batch.num_rows()),
            Self::DeadLetters(letters, _) => write!(f, "DeadLetters({})", letters.len()),
            Self::Passed { table, up_to } => write!(f, "Passed({table}, {})", up_to.len()),
            Self::Marks(records) => write!(f, "Marks({})", records.len()),
            Self::Flush(_) => write!(f, "Flush"),
            Self::Close => write!(f, "Close"),
        }
    }
}

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
    /// Start the archiver. It ends when it is closed, or every sender dropped, and all
    /// is appended; an append that fails while the pipeline is `stopping` is given up, since a
    /// restart reads its rows again.
    pub(crate) fn start(
        runtime: &Arc<dyn Runtime>,
        (archive, dead_letter_rows): (Arc<dyn Archive>, DeadLetterRows),
        rule: FlushRule,
        counters: Arc<Counters>,
        stopping: Arc<AtomicBool>,
        (known_marks, marks_up_to): (Arc<ArchivedMarks>, Applied),
        room: Room,
    ) -> PortResult<(Self, Thread<PortResult<()>>)> {
        let (queue, messages) = mpsc::channel(QUEUE_BATCHES);
        let handed = Arc::<Handed>::default();
        let max_bytes = rule.max_bytes.min(room.quarter_bytes());
        let worker = Worker {
            handed: Arc::clone(&handed),
            taken: 0,
            runtime: Arc::clone(runtime),
            archive,
            dead_letter_rows,
            rule: FlushRule { max_bytes, ..rule },
            counters,
            stopping,
            tables: BTreeMap::new(),
            dead_letters: Vec::new(),
            dead_letters_up_to: Applied::default(),
            marks: Unrecorded::of_archive(&known_marks.unarchived()),
            known_marks,
            kept_holds: Vec::new(),
            marks_up_to,
            bytes: 0,
            memory: Vec::new(),
            oldest: None,
        };
        let run = move || block_on(Arc::clone(&worker.runtime).as_ref(), worker.run(messages));
        let thread = Thread::spawn(runtime, "archiver", run)?;
        let runtime = Arc::clone(runtime);
        let archiver = Self {
            runtime,
            queue,
            handed,
            room,
        };
        Ok((archiver, thread))
    }

    /// Hand over the rows and dead letters of one decoded batch. Blocks while the archiver is
    /// behind, by batches or by bytes.
    ///
    /// # Errors
    /// The archiver has stopped, or Arrow refuses the columns.
    pub fn rows(
        &self,
        batch: &SourceBatch,
        late: &[bool],
        up_to: Vec<(TopicPartition, PartitionProgress)>,
    ) -> Result<(), PipelineError> {
        invariant!(
            OriginColumnsAgree,
            late.len() == batch.rows.num_rows(),
            "source {}: {} marks of late rows for {}",
            batch.source.name,
            late.len(),
            batch.rows.num_rows()
        );
        let rows = with_meta(batch, late)?;
        let letters = batch.dead_letters.iter().map(letter_bytes).sum::<usize>();
        let bytes = rows.get_array_memory_size() + letters;
        let gone = || self.queue.is_closed();
        let memory = self.room.take(bytes, self.runtime.as_ref(), gone);
        let memory = memory.ok_or(PipelineError::ThreadGone("archiver"))?;
        if !batch.dead_letters.is_empty() {
            self.send(Message::DeadLetters(
                batch.dead_letters.clone(),
                up_to.clone(),
            ))?;
        }
        self.send(Message::Rows {
            table: batch.source.name.clone(),
            batch: rows,
            up_to,
            memory,
        })
    }

    /// Offsets below `up_to` hold no more rows for `table`: control records, or an accepted gap.
    ///
    /// # Errors
    /// The archiver has stopped.
    pub(crate) fn passed(
        &self,
        table: &str,
        up_to: Vec<(TopicPartition, PartitionProgress)>,
    ) -> Result<(), PipelineError> {
        self.send(Message::Passed {
            table: table.to_owned(),
            up_to,
        })
    }

    /// Hand over decisions about time, before the rows that they are about.
    ///
    /// # Errors
    /// The archiver has stopped.
    pub(crate) fn marks(&self, records: Vec<MarkRecord>) -> Result<(), PipelineError> {
        self.send(Message::Marks(records))
    }

    /// Append all that was handed over before this call.
    ///
    /// # Errors
    /// The archiver has stopped.
    pub async fn flush(&self) -> Result<(), PipelineError> {
        let (done, wait) = oneshot::channel();
        self.queue
            .send(Message::Flush(done))
            .await
            .map_err(|_| PipelineError::ThreadGone("archiver"))?;
        wait.await
            .map_err(|_| PipelineError::ThreadGone("archiver"))
    }

    /// Append all that was handed over before this call, and end.
    pub(crate) async fn close(self) {
        // One that has ended already says why where it is waited for.
        let _ended = self.queue.send(Message::Close).await;
    }

    /// How far the archive is behind. For the thread that hands over.
    pub(crate) fn reach(&self) -> ArchiveReach {
        ArchiveReach {
            handed: self.handed.over.load(Ordering::Acquire),
            archived: self.handed.archived.load(Ordering::Acquire),
        }
    }

    fn send(&self, message: Message) -> Result<(), PipelineError> {
        self.handed.over.fetch_add(1, Ordering::AcqRel);
        block_on(self.runtime.as_ref(), self.queue.send(message))
            .map_err(|_| PipelineError::ThreadGone("archiver"))
    }
}

fn letter_bytes(letter: &DeadLetter) -> usize {
    letter.payload.len() + letter.detail.len()
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

#[derive(Debug, Default)]
struct Table {
    batches: Vec<RecordBatch>,
    up_to: Applied,
}

#[derive(Debug)]
struct Worker {
    runtime: Arc<dyn Runtime>,
    handed: Arc<Handed>,
    /// Messages that were collected.
    taken: u64,
    archive: Arc<dyn Archive>,
    dead_letter_rows: DeadLetterRows,
    rule: FlushRule,
    counters: Arc<Counters>,
    stopping: Arc<AtomicBool>,
    tables: BTreeMap<String, Table>,
    dead_letters: Vec<DeadLetter>,
    dead_letters_up_to: Applied,
    marks: Unrecorded,
    /// What the archive has of them.
    known_marks: Arc<ArchivedMarks>,
    /// Holds that were kept beside the table at the last flush.
    kept_holds: Vec<MarkRecord>,
    /// Rows that the table of marks has of each partition.
    marks_up_to: Applied,
    bytes: usize,
    /// What is held of the process's memory for what is collected.
    memory: Vec<Reservation>,
    /// When the oldest of what is collected came.
    oldest: Option<Duration>,
}

impl Worker {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> PortResult<()> {
        let outcome = self.serve(&mut messages).await;
        if let Err(error) = &outcome {
            tracing::error!(%error, "the archive cannot be written; ingest stops, reads go on");
            self.counters.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn serve(&mut self, messages: &mut mpsc::Receiver<Message>) -> PortResult<()> {
        loop {
            let due = self.oldest.map(|oldest| oldest + self.rule.interval);
            let message = match due {
                Some(due) => {
                    let left = due.saturating_sub(self.runtime.elapsed());
                    match within(self.runtime.as_ref(), left, messages.recv()).await {
                        Some(message) => message,
                        None => {
                            self.flush(Extent::Passed).await?;
                            continue;
                        }
                    }
                }
                None => messages.recv().await,
            };
            match message {
                Some(Message::Flush(done)) => {
                    self.flush(Extent::All).await?;
                    // Whoever asked may have given up waiting.
                    let _gone = done.send(());
                }
                None | Some(Message::Close) => return self.flush(Extent::All).await,
                Some(message) => self.collect(message),
            }
            if self.bytes >= self.rule.max_bytes
                || due.is_some_and(|due| due <= self.runtime.elapsed())
            {
                self.flush(Extent::Passed).await?;
            }
        }
    }

    fn collect(&mut self, message: Message) {
        self.oldest.get_or_insert_with(|| self.runtime.elapsed());
        self.taken += 1;
        match message {
            Message::Rows {
                table,
                batch,
                up_to,
                memory,
            } => {
                self.memory.push(memory);
                // Dead letters are charged with the rows behind them: a flush between the two must
                // not make what is held look smaller than it is.
                let held = self.memory.iter().map(Reservation::bytes).sum();
                self.bytes = (self.bytes + batch.get_array_memory_size()).max(held);
                self.table(table, &up_to).batches.push(batch);
            }
            Message::Passed { table, up_to } => {
                self.table(table, &up_to);
            }
            Message::DeadLetters(letters, up_to) => {
                self.bytes += letters.iter().map(letter_bytes).sum::<usize>();
                for (partition, progress) in up_to {
                    // The source's table says whose records these are.
                    let progress = PartitionProgress {
                        last: None,
                        ..progress
                    };
                    self.dead_letters_up_to.advance(&partition, progress);
                }
                self.dead_letters.extend(letters);
            }
            Message::Marks(records) => self.marks.add(&records),
            Message::Flush(_) | Message::Close => {}
        }
    }

    /// What is collected for the table `name`, with its marks moved on.
    fn table(&mut self, name: String, up_to: &[(TopicPartition, PartitionProgress)]) -> &mut Table {
        let table = self.tables.entry(name).or_default();
        for (partition, progress) in up_to {
            table.up_to.advance(partition, *progress);
        }
        table
    }

    async fn flush(&mut self, extent: Extent) -> PortResult<()> {
        self.flush_marks(extent).await?;
        if !self.dead_letters.is_empty() {
            let rows = (self.dead_letter_rows)(&self.dead_letters)?;
            self.append(
                DEAD_LETTER_TABLE,
                vec![rows],
                &self.dead_letters_up_to.clone(),
            )
            .await?;
            self.dead_letters.clear();
        }
        for (name, table) in std::mem::take(&mut self.tables) {
            let rows = self.append(&name, table.batches, &table.up_to).await?;
            self.known_marks.rows_archived(&table.up_to);
            self.counters
                .archived_rows
                .fetch_add(rows, Ordering::Relaxed);
        }
        self.bytes = 0;
        self.memory.clear();
        self.oldest = None;
        let handed = self.handed.over.load(Ordering::Acquire);
        invariant!(
            ArchivedNotAhead,
            self.taken <= handed,
            "{} of {handed} messages",
            self.taken
        );
        self.handed.archived.store(self.taken, Ordering::Release);
        Ok(())
    }

    /// Before the rows that they are about: rows in the archive never lack the marks that were in
    /// force. A crash between the two leaves marks that the next start takes over.
    async fn flush_marks(&mut self, extent: Extent) -> PortResult<()> {
        if self.marks.is_empty() {
            return Ok(());
        }
        let tables = &self.tables;
        let passed = |place: &TopicPartition| match extent {
            Extent::All => i64::MAX,
            Extent::Passed => {
                let reached = tables.values().map(|table| table.up_to.next_offset(place));
                reached.max().unwrap_or(0)
            }
        };
        let (due, holds) = self.known_marks.part(self.marks.take(), passed);
        let are_appended = !due.is_empty();
        self.append_marks(due).await?;
        if !are_appended && holds == self.kept_holds {
            self.marks.add(&holds);
            return Ok(());
        }
        match self.known_marks.keep(&holds) {
            Ok(()) => {
                self.marks.add(&holds);
                self.kept_holds = holds;
            }
            Err(error) => {
                tracing::warn!(%error, "no checkpoint; holds of idle partitions go to the archive");
                self.append_marks(holds).await?;
            }
        }
        Ok(())
    }

    async fn append_marks(&mut self, records: Vec<MarkRecord>) -> PortResult<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut up_to = Applied::default();
        let mut numbered = Vec::new();
        for record in records {
            let known = up_to.next_offset(&record.partition);
            let number = known.max(self.marks_up_to.next_offset(&record.partition));
            let progress = PartitionProgress {
                next_offset: number + 1,
                max_event_time_us: None,
                last: None,
            };
            up_to.advance(&record.partition, progress);
            numbered.push((record, number));
        }
        let rows = table::batch(&numbered)?;
        self.append(table::MARKS_TABLE, vec![rows], &up_to).await?;
        for (partition, progress) in &up_to.0 {
            self.marks_up_to.advance(partition, *progress);
        }
        self.known_marks.appended(&numbered);
        Ok(())
    }

    /// Append, and on a failure that may pass try again: meanwhile the queue fills and the reader
    /// pauses.
    async fn append(
        &self,
        table: &str,
        batches: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64> {
        let retry = Retry {
            runtime: self.runtime.as_ref(),
            stopping: &self.stopping,
            counters: &self.counters,
        };
        let given: usize = batches.iter().map(RecordBatch::num_rows).sum();
        // Rows that move no mark would be there twice after a restart.
        invariant!(
            MarksCoverRows,
            given == 0 || !up_to.0.is_empty(),
            "table {table}: {given} rows"
        );
        let (what, began) = (format!("an append to {table}"), self.runtime.elapsed());
        let attempt = async || self.archive.append(table, batches.clone(), up_to).await;
        let outcome = retry.run_again(&what, attempt).await;
        let took = self.runtime.elapsed().saturating_sub(began);
        self.counters.appends.of(table).record(took);
        if let Ok(stored) = outcome {
            invariant!(
                AppendStoresRows,
                stored <= given as u64,
                "table {table}: {stored} of {given}"
            );
        }
        outcome
    }
}
