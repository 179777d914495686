//! Notes on events without a prediction, on their way from the online store to the archive, where
//! monitors and people find them: a table of one row a note. The store's place of a note is its
//! offset there (`forebay.settlements`, shard, sequence), so each is archived once however often it
//! is tried; the store forgets it afterwards. The store has it on disk before the archive does: no
//! power cut takes back what the archive says of an event. A state that is new, or that a power cut
//! has set back, numbers on from what the table has, before anything is noted. A failing archive
//! holds up nothing but this.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::limits::ARCHIVE_DRAIN_MAX_MS;
use forebay_core::ports::{Archive, OnlineStore, Runtime, UnscoredEntry};
use forebay_core::prediction::Role;
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::settlement::{OffsetRuns, SETTLEMENT_TABLE};
use forebay_core::source::meta;
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::retry::{Outage, Retry};
use crate::runtime::{ANSWER_MAX, Thread, block_on, in_time, within};
use crate::status::Counters;

/// `_topic` of the rows: no Kafka topic, since notes have an order of their own.
const PLACE: &str = "forebay.settlements";
/// Notes of one append, over all shards.
const APPEND_ROWS: usize = 10_000;
/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Columns of the table but `_ingest_time`, which the archive adds. `offsets` lists runs of the
/// events' offsets, both ends in: `3-7,9`.
#[must_use]
pub fn settlement_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("deployment"),
        Field::new("model_version", DataType::Int64, false),
        text("role"),
        text("source_topic"),
        Field::new("source_partition", DataType::Int32, false),
        text("offsets"),
        Field::new("events", DataType::Int64, false),
        text("reason"),
        text("detail"),
        text(meta::TOPIC),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
    ]))
}

/// Where the table has the notes of `shard`.
pub(crate) fn place(shard: u16) -> TopicPartition {
    TopicPartition::new(PLACE, i32::from(shard))
}

/// `entries` of `shard` as rows of [`settlement_schema`].
fn rows(shard: u16, entries: &[UnscoredEntry]) -> PortResult<RecordBatch> {
    let texts = |value: &dyn Fn(&UnscoredEntry) -> String| {
        Arc::new(StringArray::from_iter_values(entries.iter().map(value))) as ArrayRef
    };
    let numbers = |value: &dyn Fn(&UnscoredEntry) -> i64| {
        Arc::new(Int64Array::from_iter_values(entries.iter().map(value))) as ArrayRef
    };
    let topics = vec![PLACE; entries.len()];
    let role = |entry: &UnscoredEntry| match entry.note.role {
        Role::Live => "live".to_owned(),
        Role::Shadow => "shadow".to_owned(),
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|e| e.note.deployment.clone()),
        numbers(&|e| i64::from(e.note.model_version)),
        texts(&role),
        texts(&|e| e.note.topic.clone()),
        Arc::new(Int32Array::from_iter_values(
            entries.iter().map(|e| e.note.partition),
        )),
        texts(&|e| e.note.offsets.to_text()),
        numbers(&|e| e.note.offsets.count().cast_signed()),
        texts(&|e| e.note.reason.label().to_owned()),
        texts(&|e| e.note.detail.clone()),
        Arc::new(StringArray::from(topics)),
        Arc::new(Int32Array::from(vec![i32::from(shard); entries.len()])),
        numbers(&|e| e.sequence.cast_signed()),
    ];
    RecordBatch::try_new(settlement_schema(), columns).map_err(|e| {
        let words = "notes on unscored events do not fit their table";
        PortError::with_source(ErrorKind::Internal, words, e)
    })
}

/// Events that get no prediction: monitors and the filter of repeats stop waiting for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Deployment that would have scored.
    pub deployment: String,
    /// Live or shadow.
    pub role: Role,
    /// Topic of the events.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Their offsets.
    pub offsets: OffsetRuns,
    /// Where the table has the note: its shard, and its number there.
    pub note: (TopicPartition, i64),
}

/// The events of archived notes.
///
/// # Errors
/// The rows are not those of the table.
pub fn read(rows: &RecordBatch) -> PortResult<Vec<Settled>> {
    let wrong = |name: &str| {
        PortError::internal(format!("the archive's notes have no usable column {name}"))
    };
    let text = |name: &'static str| {
        let column = rows.column_by_name(name);
        let column = column.and_then(|c| c.as_string_opt::<i32>());
        column.ok_or_else(|| wrong(name))
    };
    let (deployment, role) = (text("deployment")?, text("role")?);
    let (topic, offsets) = (text("source_topic")?, text("offsets")?);
    let partition = rows
        .column_by_name("source_partition")
        .and_then(|c| c.as_primitive_opt::<Int32Type>())
        .ok_or_else(|| wrong("source_partition"))?;
    let shard = rows
        .column_by_name(meta::PARTITION)
        .and_then(|c| c.as_primitive_opt::<Int32Type>())
        .ok_or_else(|| wrong(meta::PARTITION))?;
    let number = rows
        .column_by_name(meta::OFFSET)
        .and_then(|c| c.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| wrong(meta::OFFSET))?;
    let settled = |row: usize| {
        Ok(Settled {
            deployment: deployment.value(row).to_owned(),
            role: Role::parse(role.value(row)).ok_or_else(|| wrong("role"))?,
            topic: topic.value(row).to_owned(),
            partition: partition.value(row),
            offsets: OffsetRuns::of_text(offsets.value(row))?,
            note: (
                TopicPartition::new(PLACE, shard.value(row)),
                number.value(row),
            ),
        })
    };
    (0..rows.num_rows()).map(settled).collect()
}

/// What the archive has got since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct SettledNotes(Mutex<Vec<Settled>>);

impl SettledNotes {
    /// Those since the last call.
    pub(crate) fn take(&self) -> Vec<Settled> {
        std::mem::take(&mut self.0.lock())
    }

    fn add(&self, shard: u16, entries: Vec<UnscoredEntry>) {
        let notes = entries.into_iter().map(|entry| Settled {
            deployment: entry.note.deployment,
            role: entry.note.role,
            topic: entry.note.topic,
            partition: entry.note.partition,
            offsets: entry.note.offsets,
            note: (place(shard), entry.sequence.cast_signed()),
        });
        self.0.lock().extend(notes);
    }
}

/// Moves notes to the archive until the pipeline ends.
#[derive(Debug, Clone)]
pub(crate) struct Settlements {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) store: Arc<dyn OnlineStore>,
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) settled: Arc<SettledNotes>,
    /// Set when nothing more is noted: a last look follows.
    pub(crate) ended: Arc<Ended>,
    /// Set when the pipeline stops: nothing is tried again.
    pub(crate) stopping: Arc<AtomicBool>,
}

/// Set when no further note follows; wakes the threads that wait for one.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    is_set: AtomicBool,
    heard: Notify,
}

impl Ended {
    fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.heard.notify_waiters();
    }

    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Wait until it is set.
    async fn wait(&self) {
        // Listens before it looks, so that an end in between is heard.
        let heard = self.heard.notified();
        if !self.is_set() {
            heard.await;
        }
    }

    /// Wait until it is set, at most `longest`.
    async fn within(&self, runtime: &dyn Runtime, longest: Duration) {
        within(runtime, longest, self.wait()).await;
    }
}

/// The running task.
#[derive(Debug)]
pub(crate) struct Settling {
    ended: Arc<Ended>,
    thread: Option<Thread<()>>,
}

impl Settling {
    /// Nothing more is noted: move what there is, and end.
    pub(crate) async fn finish(mut self) {
        self.ended.set();
        let Some(thread) = self.thread.take() else {
            return;
        };
        if thread.joined().await.is_none() {
            tracing::error!("notes on events without a prediction are left for the next start");
        }
    }
}

impl Drop for Settling {
    /// Of a start that fails: nobody finishes it.
    fn drop(&mut self) {
        self.ended.set();
    }
}

impl Settlements {
    /// Open the table, number on from what it has, and start. To be called before anything is
    /// noted, and not from async code.
    ///
    /// # Errors
    /// The table exists with another schema; the disk fails.
    pub(crate) fn start(self) -> PortResult<Settling> {
        let opened = self
            .archive
            .open_table(SETTLEMENT_TABLE, settlement_schema());
        in_time(
            self.runtime.as_ref(),
            (SETTLEMENT_TABLE, ANSWER_MAX),
            opened,
        )?;
        self.number_on()?;
        let (runtime, ended) = (Arc::clone(&self.runtime), Arc::clone(&self.ended));
        let run = move || block_on(Arc::clone(&self.runtime).as_ref(), self.run());
        let thread = Thread::spawn(&runtime, "settlements", run)?;
        let thread = Some(thread);
        Ok(Settling { ended, thread })
    }

    /// A note with a place that the table has passed would be taken for a repeat, and lost.
    fn number_on(&self) -> PortResult<()> {
        let progress = self.archive.progress(SETTLEMENT_TABLE);
        let archived = in_time(
            self.runtime.as_ref(),
            (SETTLEMENT_TABLE, ANSWER_MAX),
            progress,
        )?;
        for shard in 0..self.store.shards() {
            let next = archived.next_offset(&place(shard));
            self.store.number_notes_from(shard, next.cast_unsigned())?;
        }
        Ok(())
    }

    /// Archive notes until the pipeline stops. What cannot be archived at the end stays in the
    /// store, for the next start.
    async fn run(self) {
        let mut outage = Outage::new("archiving of events without a prediction");
        loop {
            let is_last = self.ended.is_set();
            let Some(moved) = self.unless_left(self.move_all()).await else {
                tracing::warn!("an append of notes hangs; they are left for the next start");
                return;
            };
            match moved {
                Ok(()) if is_last => return,
                Ok(()) => {
                    outage.is_over(&SETTLEMENT_TABLE);
                    outage = Outage::new("archiving of events without a prediction");
                    self.ended.within(self.runtime.as_ref(), LOOK_EVERY).await;
                }
                Err(error) => {
                    let retry = Retry {
                        runtime: self.runtime.as_ref(),
                        stopping: &self.stopping,
                        counters: &self.counters,
                    };
                    if is_last
                        || !outage
                            .wait_async(retry, error.kind(), &with_causes(&error))
                            .await
                    {
                        tracing::warn!(
                            error = with_causes(&error),
                            "notes on events without a prediction are left for the next start"
                        );
                        return;
                    }
                }
            }
        }
    }

    /// What `work` gives; None where it has not ended in [`ARCHIVE_DRAIN_MAX_MS`] after the end:
    /// the store keeps the notes, and the table's mark tells which of them it got.
    async fn unless_left<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let left = async {
            self.ended.wait().await;
            let longest = Duration::from_millis(ARCHIVE_DRAIN_MAX_MS);
            self.runtime.sleep(longest).await;
        };
        match select(pin!(work), pin!(left)).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    async fn move_all(&self) -> PortResult<()> {
        loop {
            let round = self.round()?;
            if round.is_empty() {
                return Ok(());
            }
            // A power cut that took a note back would leave its event to be scored after all,
            // beside an archive that says that it never is.
            self.store.sync()?;
            let (mut batches, mut up_to) = (Vec::new(), Applied::default());
            let is_full = round
                .iter()
                .any(|(_, entries, _)| entries.len() >= self.each());
            for (shard, entries, last) in &round {
                let progress = PartitionProgress {
                    next_offset: last.cast_signed() + 1,
                    max_event_time_us: None,
                    last: None,
                };
                up_to.advance(&place(*shard), progress);
                batches.push(rows(*shard, entries)?);
            }
            let began = self.runtime.elapsed();
            self.archive
                .append(SETTLEMENT_TABLE, batches, &up_to)
                .await?;
            let took = self.runtime.elapsed().saturating_sub(began);
            self.counters.appends.of(SETTLEMENT_TABLE).record(took);
            for (shard, entries, last) in round {
                self.store.clear_unscored(shard, last)?;
                self.settled.add(shard, entries);
            }
            // What comes meanwhile has its turn after a pause: one sync and one commit for many.
            if !is_full {
                return Ok(());
            }
        }
    }

    /// Notes of one shard that one append takes, at most.
    fn each(&self) -> usize {
        (APPEND_ROWS / usize::from(self.store.shards().max(1))).max(1)
    }

    /// The oldest notes of each shard that has any, with the place of the last one.
    fn round(&self) -> PortResult<Vec<(u16, Vec<UnscoredEntry>, u64)>> {
        let mut round = Vec::new();
        for shard in 0..self.store.shards() {
            let entries = self.store.unscored(shard, 0, self.each())?;
            let Some(last) = entries.last().map(|entry| entry.sequence) else {
                continue;
            };
            invariant!(
                NotesAscend,
                entries.is_sorted_by(|a, b| a.sequence < b.sequence),
                "shard {shard} up to {last}"
            );
            invariant!(
                NotesCoverEvents,
                entries.iter().all(|e| e.note.offsets.count() > 0),
                "shard {shard} up to {last}"
            );
            round.push((shard, entries, last));
        }
        Ok(round)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run in real time")]
mod tests {
    use forebay_core::settlement::{OffsetRuns, Unscored, UnscoredReason};

    use super::*;

    #[test]
    fn an_end_is_heard_by_whoever_waits_and_by_whoever_comes_later() {
        let (ended, runtime) = (Ended::default(), crate::runtime::for_tests());
        block_on(&runtime, ended.within(&runtime, Duration::from_millis(1)));
        assert!(!ended.is_set(), "its time was over");
        let (waits, from) = ((&ended, &runtime), runtime.elapsed());
        std::thread::scope(|scope| {
            let long = Duration::from_secs(60);
            scope.spawn(move || block_on(waits.1, waits.0.within(waits.1, long)));
            ended.set();
        });
        block_on(&runtime, ended.within(&runtime, Duration::from_secs(60)));
        assert!(runtime.elapsed() - from < Duration::from_secs(30));
    }

    #[test]
    fn a_note_is_a_row_whose_offset_is_its_place_in_the_store() {
        let note = Unscored {
            deployment: "d".to_owned(),
            model_version: 2,
            role: Role::Shadow,
            topic: "t".to_owned(),
            partition: 3,
            offsets: OffsetRuns::of_runs(vec![(4, 6), (9, 9)]).expect("runs"),
            reason: UnscoredReason::Suspended,
            detail: "why".to_owned(),
        };
        let entry = UnscoredEntry { sequence: 7, note };
        let batch = rows(1, &[entry]).expect("they fit");
        let shown: Vec<String> = (0..batch.num_columns())
            .map(|column| {
                let value =
                    forebay_core::value::Value::from_array(batch.column(column).as_ref(), 0);
                format!("{:?}", value.expect("a value"))
            })
            .collect();
        let shown = shown.join(" ");
        for part in [
            "\"4-6,9\"",
            "Int(4)",
            "\"suspended\"",
            "Int(7)",
            "\"shadow\"",
            PLACE,
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
