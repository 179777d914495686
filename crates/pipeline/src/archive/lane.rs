//! One table's lane of the archive: a thread that collects the rows of one source, with the marks
//! and dead letters that go before them, and appends them by size or age. It goes on collecting
//! while an append runs, so ingest waits only while too much is queued ([`Backlog`]), never for an
//! append. One append runs at a time; it is tried until it passes, whatever the error is or the
//! panic, because another lane must not end by it: the reason is shown, and the source is held
//! back.

use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use forebay_core::invariant;
use forebay_core::limits::ARCHIVE_DRAIN_MAX_MS;
use forebay_core::memory::Reservation;
use forebay_core::ports::{Archive, DeadLetter, Runtime};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::watermark::MarkRecord;
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::FutureExt;
use futures::future::{Either, select};
use tokio::sync::{mpsc, oneshot};

use crate::archive::backlog::Backlog;
use crate::retry::{Retry, Tries, may_be_made_again};
use crate::status::Counters;
use crate::watermark::{ArchivedMarks, Unrecorded, table};
use forebay_core::error::with_causes;
pub use forebay_core::tables::DEAD_LETTER_TABLE;

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

/// Where reading stands.
pub(crate) type UpTo = Vec<(TopicPartition, PartitionProgress)>;

/// What the archiver sends to a lane.
pub(crate) enum Message {
    /// The rows of a batch, with its dead letters, which go before them.
    Rows {
        batch: RecordBatch,
        letters: Vec<DeadLetter>,
        up_to: UpTo,
        memory: Reservation,
    },
    /// Offsets below hold no more rows.
    Passed(UpTo),
    /// Decisions about time, which go before the rows that they are about.
    Marks(Vec<MarkRecord>),
    /// Append what is collected; the answer, where one is wanted, comes when that is done.
    Flush(Option<oneshot::Sender<()>>),
    /// The same, and end.
    Close,
}

/// What the lanes of an archive share.
#[derive(Debug, Clone)]
pub(crate) struct LaneParts {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) dead_letter_rows: DeadLetterRows,
    pub(crate) rule: FlushRule,
    pub(crate) counters: Arc<Counters>,
    /// Set when the pipeline stops: nothing is tried again, since a restart reads it again.
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) backlog: Arc<Backlog>,
    /// What the archive has of decisions about time.
    pub(crate) known_marks: Arc<ArchivedMarks>,
}

/// Which holds of idle partitions an append takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Those that the reader has gone on past: the others may still move.
    Passed,
    /// All of them.
    All,
}

/// What is recorded of the decisions about time of one lane: those of its own topic, so that no two
/// lanes number rows of one partition.
#[derive(Debug, Default)]
struct Recorded {
    /// Rows that the table of marks has of each partition.
    up_to: Applied,
    /// Holds that are kept beside the table.
    kept: Vec<MarkRecord>,
}

/// What is collected for the next append.
#[derive(Debug, Default)]
struct Collected {
    letters: Vec<DeadLetter>,
    batches: Vec<RecordBatch>,
    up_to: Applied,
    bytes: usize,
    /// What is held of the process's memory for it.
    memory: Vec<Reservation>,
    messages: usize,
    /// When the oldest of it came.
    oldest: Option<Duration>,
    /// Flushes that wait for it.
    replies: Vec<oneshot::Sender<()>>,
}

/// The lane of one table.
#[derive(Debug)]
pub(crate) struct Lane {
    parts: LaneParts,
    table: String,
    collected: Collected,
    marks: Unrecorded,
    recorded: Recorded,
    is_flush_asked: bool,
    /// When it was closed.
    closed: Option<Duration>,
    /// When its last append began.
    began: Duration,
}

/// One append under way.
type Append = Pin<Box<dyn Future<Output = PortResult<Recorded>> + Send>>;

/// What a lane waits for.
enum Event {
    Appended(PortResult<Recorded>),
    Message(Option<Message>),
    Due,
}

impl Lane {
    /// The lane of `table`, for which the holds `kept` are kept; the table of marks has
    /// `marks_up_to`.
    pub(crate) fn new(
        parts: LaneParts,
        table: String,
        kept: &[MarkRecord],
        marks_up_to: Applied,
    ) -> Self {
        Self {
            parts,
            table,
            collected: Collected::default(),
            marks: Unrecorded::of_archive(kept),
            recorded: Recorded {
                up_to: marks_up_to,
                kept: Vec::new(),
            },
            is_flush_asked: false,
            closed: None,
            began: Duration::ZERO,
        }
    }

    /// Until it is closed, or every sender dropped, and all is appended.
    ///
    /// # Errors
    /// An append failed while the pipeline stops, or does not end in [`ARCHIVE_DRAIN_MAX_MS`]: it
    /// is left behind, and nothing further is begun. Rows and their mark are one commit, and the
    /// table answers when it has landed or failed, so the next run reads on from where the table
    /// then is.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> PortResult<()> {
        let mut append: Option<Append> = None;
        loop {
            if append.is_none() && self.is_due() {
                append = Some(self.begin());
            }
            if append.is_none() && self.closed.is_some() {
                return Ok(());
            }
            match self.next(&mut append, &mut messages).await {
                Event::Appended(outcome) => {
                    append = None;
                    self.recorded = outcome?;
                    self.marks.add(&self.recorded.kept);
                }
                Event::Message(None | Some(Message::Close)) => {
                    self.closed = Some(self.parts.runtime.elapsed());
                    self.is_flush_asked = true;
                }
                Event::Message(Some(message)) => self.collect(message),
                Event::Due if self.closed.is_some() => return Err(unfinished(&self.table)),
                Event::Due => self.is_flush_asked = true,
            }
        }
    }

    async fn next(
        &self,
        append: &mut Option<Append>,
        messages: &mut mpsc::Receiver<Message>,
    ) -> Event {
        let oldest = self.collected.oldest.filter(|_| append.is_none());
        let due = oldest.map(|oldest| oldest + self.parts.rule.interval);
        let left = |closed: Duration| closed.max(self.began) + drain_max();
        let due = self.closed.map(left).or(due);
        let appended = pin!(async {
            match append {
                Some(append) => append.as_mut().await,
                None => pending().await,
            }
        });
        let message = pin!(async {
            if self.closed.is_some() {
                return pending().await;
            }
            messages.recv().await
        });
        let due = pin!(async {
            match due {
                Some(due) => {
                    let runtime = &self.parts.runtime;
                    runtime.sleep(due.saturating_sub(runtime.elapsed())).await;
                }
                None => pending().await,
            }
        });
        match select(select(appended, message), due).await {
            Either::Left((Either::Left((outcome, _)), _)) => Event::Appended(outcome),
            Either::Left((Either::Right((message, _)), _)) => Event::Message(message),
            Either::Right(_) => Event::Due,
        }
    }

    /// Whether what is collected is to be appended now.
    fn is_due(&self) -> bool {
        let (collected, now) = (&self.collected, self.parts.runtime.elapsed());
        let is_old = |oldest: Duration| oldest + self.parts.rule.interval <= now;
        let is_wanted = self.is_flush_asked
            || collected.bytes >= self.parts.rule.max_bytes
            || collected.oldest.is_some_and(is_old);
        // A kept hold goes to the table at the latest when the lane is closed.
        let has_held = self.closed.is_some() && !self.marks.is_empty();
        is_wanted && (collected.messages > 0 || !collected.replies.is_empty() || has_held)
    }

    fn collect(&mut self, message: Message) {
        let collected = &mut self.collected;
        if let Message::Flush(reply) = message {
            collected.replies.extend(reply);
            // Where there is nothing, what comes next is not to be appended by itself.
            self.is_flush_asked |= collected.messages > 0 || !collected.replies.is_empty();
            return;
        }
        let now = self.parts.runtime.elapsed();
        collected.oldest.get_or_insert(now);
        collected.messages += 1;
        let up_to = match message {
            Message::Rows {
                batch,
                letters,
                up_to,
                memory,
            } => {
                collected.bytes += memory.bytes();
                collected.memory.push(memory);
                collected.letters.extend(letters);
                collected.batches.push(batch);
                up_to
            }
            Message::Passed(up_to) => up_to,
            Message::Marks(records) => {
                self.marks.add(&records);
                UpTo::new()
            }
            Message::Flush(_) | Message::Close => UpTo::new(),
        };
        for (partition, progress) in &up_to {
            collected.up_to.advance(partition, *progress);
        }
    }

    /// Begin to append what is collected.
    fn begin(&mut self) -> Append {
        self.is_flush_asked = false;
        self.began = self.parts.runtime.elapsed();
        let job = Job {
            parts: self.parts.clone(),
            table: self.table.clone(),
            marks: self.marks.take(),
            // A flush is asked for the sake of rows. A hold that the reader has not gone on past
            // dates none of them, and appending it would add a row to the table with each flush.
            extent: if self.closed.is_some() {
                Extent::All
            } else {
                Extent::Passed
            },
            recorded: std::mem::take(&mut self.recorded),
            collected: std::mem::take(&mut self.collected),
        };
        self.parts.backlog.begins(&self.table, self.began);
        Box::pin(job.run())
    }
}

/// What one append is made of.
struct Job {
    parts: LaneParts,
    table: String,
    /// Decisions about time.
    marks: Vec<MarkRecord>,
    /// Which holds among them go to the table.
    extent: Extent,
    recorded: Recorded,
    collected: Collected,
}

impl Job {
    /// Marks and dead letters go before the rows: rows in the archive never lack the marks that
    /// were in force, and the source's mark says that a bad record is dealt with. A crash in
    /// between leaves marks that the next start takes over.
    async fn run(mut self) -> PortResult<Recorded> {
        self.record_marks().await?;
        let Self {
            parts,
            table,
            collected,
            ..
        } = &self;
        if !collected.letters.is_empty() {
            let rows = || Ok(vec![(parts.dead_letter_rows)(&collected.letters)?]);
            let up_to = of_dead_letters(&collected.up_to);
            self.append(DEAD_LETTER_TABLE, rows, &up_to).await?;
        }
        if !collected.up_to.0.is_empty() || !collected.batches.is_empty() {
            let rows = || Ok(collected.batches.clone());
            let stored = self.append(table, rows, &collected.up_to).await?;
            parts.known_marks.rows_archived(&collected.up_to);
            let counter = &parts.counters.archived_rows;
            counter.fetch_add(stored, Ordering::Relaxed);
        }
        let held = collected.memory.iter().map(Reservation::bytes).sum();
        let done = (collected.messages, collected.batches.len(), held);
        self.parts.backlog.ends(&self.table, done);
        for reply in self.collected.replies {
            // Ignore the send error: the flush has given up waiting.
            let _gone = reply.send(());
        }
        Ok(self.recorded)
    }

    /// Record the decisions about time: in the table, but for the newest hold of a partition that
    /// nobody has read past, which is kept beside it until it is passed, or all are wanted.
    async fn record_marks(&mut self) -> PortResult<()> {
        if self.marks.is_empty() {
            return Ok(());
        }
        let (extent, up_to) = (self.extent, &self.collected.up_to);
        let passed = |place: &TopicPartition| match extent {
            Extent::All => i64::MAX,
            Extent::Passed => up_to.next_offset(place),
        };
        let known = Arc::clone(&self.parts.known_marks);
        let marks = std::mem::take(&mut self.marks);
        let given = marks.len();
        let (due, holds) = known.part(marks, passed);
        // A decision that is lost here would let a rebuild date rows otherwise.
        invariant!(
            PartsMakeTheWhole,
            due.len() + holds.len() == given,
            "table {}: {} and {} of {given} decisions",
            self.table,
            due.len(),
            holds.len()
        );
        let are_appended = !due.is_empty();
        self.append_marks(due).await?;
        if !are_appended && holds == self.recorded.kept {
            return Ok(());
        }
        match known.keep(&holds).await {
            Ok(()) => self.recorded.kept = holds,
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(
                    error,
                    "no checkpoint; holds of idle partitions go to the archive"
                );
                self.append_marks(holds).await?;
                self.recorded.kept.clear();
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
            let number = known.max(self.recorded.up_to.next_offset(&record.partition));
            let progress = PartitionProgress {
                next_offset: number + 1,
                max_event_time_us: None,
                last: None,
            };
            up_to.advance(&record.partition, progress);
            numbered.push((record, number));
        }
        let known = &self.recorded.up_to;
        invariant!(
            OffsetsNeverFall,
            up_to
                .0
                .iter()
                .all(|(p, to)| to.next_offset > known.next_offset(p)),
            "table {}: {} decisions about time",
            self.table,
            numbered.len()
        );
        let rows = || Ok(vec![table::batch(&numbered)?]);
        self.append(table::MARKS_TABLE, rows, &up_to).await?;
        for (partition, progress) in &up_to.0 {
            self.recorded.up_to.advance(partition, *progress);
        }
        self.parts.known_marks.appended(&numbered);
        Ok(())
    }

    /// Append what `rows` gives to `table`, and on any failure try again: meanwhile the lane
    /// collects, up to its share.
    async fn append(
        &self,
        table: &str,
        rows: impl Fn() -> PortResult<Vec<RecordBatch>> + Send + Sync,
        up_to: &Applied,
    ) -> PortResult<u64> {
        let parts = &self.parts;
        let retry = Retry {
            runtime: parts.runtime.as_ref(),
            stopping: &parts.stopping,
            counters: &parts.counters,
        };
        let (what, began) = (format!("an append to {table}"), parts.runtime.elapsed());
        let mut tries = Tries::new(retry, &what);
        let outcome = loop {
            let attempt = AssertUnwindSafe(self.attempt(table, &rows, up_to));
            let attempt = attempt.catch_unwind().await;
            match attempt.unwrap_or_else(|_| Err(self.panicked(table))) {
                Err(error) if !retry.is_stopping() => {
                    tries.failed(&error);
                    let is_final = !may_be_made_again(error.kind());
                    let (why, now) = (with_causes(&error), parts.runtime.elapsed());
                    parts.backlog.fails(&self.table, why, is_final, now);
                    tries.wait().await;
                }
                outcome => break outcome,
            }
        };
        let took = parts.runtime.elapsed().saturating_sub(began);
        parts.counters.appends.of(table).record(took);
        outcome
    }

    async fn attempt(
        &self,
        table: &str,
        rows: &(impl Fn() -> PortResult<Vec<RecordBatch>> + Send + Sync),
        up_to: &Applied,
    ) -> PortResult<u64> {
        let rows = rows()?;
        let given: usize = rows.iter().map(RecordBatch::num_rows).sum();
        // Rows that move no mark would be there twice after a restart.
        invariant!(
            MarksCoverRows,
            given == 0 || !up_to.0.is_empty(),
            "table {table}: {given} rows"
        );
        let stored = self.to_its_end(table, rows, up_to).await?;
        invariant!(
            AppendStoresRows,
            stored <= given as u64,
            "table {table}: {stored} of {given}"
        );
        Ok(stored)
    }

    /// What the archive makes of `rows`. A lane that leaves an append behind does not cut it off:
    /// what is under way at the disk may land all the same, and the next run must not learn how far
    /// the table is before that is known. So it runs to its end on a task of its own, and calls to
    /// the same table wait for it.
    async fn to_its_end(
        &self,
        table: &str,
        rows: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64> {
        let archive = Arc::clone(&self.parts.archive);
        let (name, up_to) = (table.to_owned(), up_to.clone());
        let (done, outcome) = oneshot::channel();
        let task = async move {
            let append = AssertUnwindSafe(archive.append(&name, rows, &up_to));
            if let Ok(outcome) = append.catch_unwind().await {
                // Nobody hears of it where the lane has left it behind.
                let _left = done.send(outcome);
            }
        };
        self.parts.runtime.spawn_task("append", Box::pin(task));
        outcome.await.unwrap_or_else(|_| Err(self.panicked(table)))
    }

    fn panicked(&self, table: &str) -> PortError {
        let counter = &self.parts.counters.panics;
        counter.fetch_add(1, Ordering::Relaxed);
        let words = format!(
            "an append to {table} panicked, which is a defect of Forebay: please report it with the log"
        );
        PortError::internal(words)
    }
}

/// `up_to` for the table of dead letters: the source's own says whose records these are.
fn of_dead_letters(up_to: &Applied) -> Applied {
    let without_last = |(place, progress): (&TopicPartition, &PartitionProgress)| {
        let progress = PartitionProgress {
            last: None,
            ..*progress
        };
        (place.clone(), progress)
    };
    Applied(up_to.0.iter().map(without_last).collect())
}

/// How long a lane that is closed waits for one append.
fn drain_max() -> Duration {
    Duration::from_millis(ARCHIVE_DRAIN_MAX_MS)
}

/// Of a lane that is closed: what it has not appended is read again by the next start.
fn unfinished(table: &str) -> PortError {
    let words = format!(
        "an append to table '{table}' did not end in {ARCHIVE_DRAIN_MAX_MS} ms and is left behind \
         (ARCHIVE_DRAIN_MAX_MS); its rows are read again; check the disk of the data directory"
    );
    PortError::new(ErrorKind::DeadlineExceeded, words)
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows { batch, letters, .. } => {
                write!(f, "Rows({}, {} letters)", batch.num_rows(), letters.len())
            }
            Self::Passed(up_to) => write!(f, "Passed({})", up_to.len()),
            Self::Marks(records) => write!(f, "Marks({})", records.len()),
            Self::Flush(_) => write!(f, "Flush"),
            Self::Close => write!(f, "Close"),
        }
    }
}
