//! The marks of rows that only the archive has. A new state beside a kept archive (its directory
//! was moved away) begins where the log does by then; what is too late there follows from the rows
//! below too, as it did when they were read, and as a fill of a view says that reads the archive
//! from its first row. A shard that a crash has left without a mark begins there as well, whatever
//! the other shards have.
//!
//! The rows of one source are read by a thread of its own, before such a partition is read: the
//! watch goes on looking at all logs, and other sources are read. A read that fails is made again
//! from where it was. One that gives nothing for long, since it fails or hangs, halts its source
//! alone until it goes on; one that the watch has left ends.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{PrimitiveArray, RecordBatch};
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Archive, Runtime, Scan};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use forebay_core::watermark::{MarkRecord, PartitionMark};
use forebay_core::{PortError, PortResult};
use futures::TryStreamExt;
use futures::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::backfill::origin_of;
use crate::beginnings::TableReach;
use crate::board::Board;
use crate::error::PipelineError;
use crate::halt::HaltReason;
use crate::recovery::{Decision, Plan, SourceFacts};
use crate::retry::{Retry, Tries};
use crate::runtime::{Thread, block_on};
use crate::status::Counters;

/// How long a read may give nothing before its source counts as halted: until then the other
/// sources keep their state for it, which is to be read soon.
const STANDS_MAX: Duration = Duration::from_secs(10);

/// What reads work with.
#[derive(Debug, Clone)]
pub(crate) struct PrefixParts {
    pub(crate) archive: Arc<dyn Archive>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) counters: Arc<Counters>,
    /// Set when the pipeline stops: nothing is tried again.
    pub(crate) stopping: Arc<AtomicBool>,
    /// Where the end of a read is posted.
    pub(crate) board: Arc<Board>,
    /// The decisions about time that the archive has.
    pub(crate) records: Arc<[MarkRecord]>,
    /// What scans draw on.
    pub(crate) memory: Arc<Budget>,
}

/// Marks at which the partitions of a new state begin, by what the archive has below.
#[derive(Debug)]
pub(crate) struct Prefixes {
    parts: PrefixParts,
    /// By source.
    reads: BTreeMap<String, Read>,
}

/// What was read of one source.
#[derive(Debug, Default)]
struct Read {
    known: Known,
    /// The read that runs.
    running: Option<Running>,
}

/// Marks of partitions at the offsets below which all their rows were read.
#[derive(Debug, Default)]
struct Known {
    marks: BTreeMap<TopicPartition, PartitionMark>,
    up_to: Applied,
}

#[derive(Debug)]
struct Running {
    thread: Thread<Option<Known>>,
    shown: Arc<Mutex<Shown>>,
    /// The read ends with it.
    _wanted: oneshot::Sender<()>,
}

/// How a read does.
#[derive(Debug)]
struct Shown {
    /// When it gave rows last, or began.
    moved: Duration,
    /// Why the last try has failed; None once the next one gives rows.
    failing: Option<String>,
}

impl Shown {
    /// What becomes of the source `name` while the read runs.
    fn decision(&self, name: &str, now: Duration) -> Decision {
        if now.saturating_sub(self.moved) >= STANDS_MAX {
            let silent =
                || format!("a read of its first rows has given nothing for {STANDS_MAX:?}");
            return Decision::Halt(HaltReason::TableUnusable {
                table: name.to_owned(),
                why: self.failing.clone().unwrap_or_else(silent),
            });
        }
        let failing = self.failing.as_ref();
        let failing = failing.map(|why| format!(" (tried again after: {why})"));
        Decision::Wait(format!(
            "what the archive of '{name}' has below the beginning of the log is read first{}",
            failing.unwrap_or_default()
        ))
    }
}

impl Prefixes {
    /// Nothing is read yet.
    pub(crate) fn new(parts: PrefixParts) -> Self {
        Self {
            parts,
            reads: BTreeMap::new(),
        }
    }

    /// Tell `plan` the marks where partitions begin of which `reach` says that the archive has rows
    /// below, and some shard has recorded nothing. While these rows are read: what becomes of the
    /// source instead.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn date(
        &mut self,
        plan: &mut Plan,
        (source, facts, reach): (&Arc<SourceDef>, &SourceFacts, &TableReach),
    ) -> PortResult<Option<Decision>> {
        let wanted = undated(plan, facts, reach);
        if wanted.0.is_empty() {
            self.reads.remove(&source.name);
            return Ok(None);
        }
        let read = self.reads.entry(source.name.clone()).or_default();
        read.take_over(&self.parts.counters);
        if read.running.is_none() {
            if let Some(marks) = read.known.at(&wanted) {
                for (place, progress) in marks {
                    plan.recorded.entry(place).or_default().push(progress);
                }
                return Ok(None);
            }
            read.running = Some(read.known.read_on(source, wanted, &self.parts)?);
        }
        let shown = read.running.as_ref().map(|running| running.shown.lock());
        let now = self.parts.runtime.elapsed();
        Ok(shown.map(|shown| shown.decision(&source.name, now)))
    }
}

/// Where the partitions of `plan` begin that are to be dated: no shard that lacks a mark has rows
/// below, and the archive has. One that was read in this run was dated before.
fn undated(plan: &Plan, facts: &SourceFacts, reach: &TableReach) -> Applied {
    let mut undated = Applied::default();
    for (place, start) in &plan.starts {
        let recorded = plan.recorded.get(place).map_or(0, Vec::len);
        invariant!(
            MarkPerShard,
            recorded <= facts.shards.len(),
            "{place:?}: {recorded} marks of {} shards",
            facts.shards.len()
        );
        let is_read = facts.reader.contains_key(&place.partition);
        if !is_read && recorded < facts.shards.len() && reach.has_below(place, *start) {
            undated.advance(place, at(*start));
        }
    }
    undated
}

impl Read {
    /// Take over what a read that has ended knows. One that has panicked begins anew.
    fn take_over(&mut self, counters: &Counters) {
        if let Some(ended) = self.running.take_if(|r| r.thread.is_finished()) {
            match ended.thread.join() {
                Some(known) => self.known = known.unwrap_or_default(),
                None => {
                    counters.panics.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        "a read of what only the archive has has panicked, which is a defect of \
                         Forebay; it begins anew"
                    );
                }
            }
        }
    }
}

impl Known {
    /// Progress at `wanted`, of partitions that have a mark there; None where rows below are
    /// unread. One without a mark is as new to its source as if the archive had nothing of it.
    fn at(&self, wanted: &Applied) -> Option<Vec<(TopicPartition, PartitionProgress)>> {
        let mut marks = Vec::new();
        for (place, start) in &wanted.0 {
            let read_to = self.up_to.0.get(place)?.next_offset;
            if read_to != start.next_offset {
                return None;
            }
            let mark_us = self.marks.get(place).and_then(PartitionMark::mark_us);
            if mark_us.is_some() {
                let progress = PartitionProgress {
                    max_event_time_us: mark_us,
                    ..*start
                };
                marks.push((place.clone(), progress));
            }
        }
        Some(marks)
    }

    /// Read on, up to `wanted`, on a thread that gives back what is known then; None where it was
    /// left before.
    fn read_on(
        &mut self,
        source: &Arc<SourceDef>,
        wanted: Applied,
        parts: &PrefixParts,
    ) -> PortResult<Running> {
        let mut known = std::mem::take(self);
        known.begin(&wanted, &parts.records);
        let shown = Arc::new(Mutex::new(Shown {
            moved: parts.runtime.elapsed(),
            failing: None,
        }));
        let mut reader = Reader {
            parts: parts.clone(),
            source: Arc::clone(source),
            wanted,
            known,
            shown: Arc::clone(&shown),
        };
        let (wanted, left) = oneshot::channel();
        let run = move || {
            let (runtime, board) = (
                Arc::clone(&reader.parts.runtime),
                Arc::clone(&reader.parts.board),
            );
            let is_done = block_on(runtime.as_ref(), reader.run_until(left));
            board.look_now();
            is_done.then_some(reader.known)
        };
        let name = format!("prefix-{}", source.name);
        let thread = Thread::spawn(&parts.runtime, &name, run)?;
        Ok(Running {
            thread,
            shown,
            _wanted: wanted,
        })
    }

    /// Marks of the partitions of `wanted`, also of those that begin. A log that begins earlier
    /// than before is read anew.
    fn begin(&mut self, wanted: &Applied, records: &[MarkRecord]) {
        for (place, start) in &wanted.0 {
            if self.up_to.next_offset(place) > start.next_offset {
                self.up_to.0.remove(place);
                self.marks.remove(place);
            }
            self.marks.entry(place.clone()).or_insert_with(|| {
                let of_place = records.iter().filter(|record| record.partition == *place);
                let facts = of_place.map(|record| record.fact);
                PartitionMark::recovered(0, &[], facts, i64::MAX)
            });
        }
    }

    /// Where the rows that are still to be read begin.
    fn from(&self) -> Applied {
        let next = self.marks.iter().map(|(place, mark)| {
            let read_to = self.up_to.next_offset(place);
            (place.clone(), at(mark.next_offset().max(read_to)))
        });
        Applied(next.collect())
    }
}

/// Reads the archived rows of one source below where its log begins.
struct Reader {
    parts: PrefixParts,
    source: Arc<SourceDef>,
    wanted: Applied,
    known: Known,
    shown: Arc<Mutex<Shown>>,
}

impl Reader {
    /// Read until all is known, or nobody wants it any more. Whether all is known.
    async fn run_until(&mut self, left: oneshot::Receiver<()>) -> bool {
        match select(pin!(self.run()), left).await {
            Either::Left((is_done, _)) => is_done,
            Either::Right(_) => false,
        }
    }

    async fn run(&mut self) -> bool {
        let parts = self.parts.clone();
        let retry = Retry {
            runtime: parts.runtime.as_ref(),
            stopping: &parts.stopping,
            counters: &parts.counters,
        };
        let what = format!("a read of the first rows of {}", self.source.name);
        let mut tries = Tries::new(retry, &what);
        loop {
            let from = self.known.from();
            match self.pass().await {
                Ok(()) => return true,
                Err(_) if retry.is_stopping() => return false,
                Err(error) => {
                    let words = "rows below the log's beginning";
                    let error = PortError::with_source(error.kind(), words, error);
                    self.shown.lock().failing = Some(with_causes(&error));
                    // The watch shows it at once.
                    self.parts.board.look_now();
                    if self.known.from() != from {
                        tries.got_further();
                    }
                    tries.failed(&error);
                    tries.wait().await;
                }
            }
        }
    }

    /// Read on from where the last pass has ended.
    async fn pass(&mut self) -> Result<(), PipelineError> {
        let time = self.source.columns[self.source.time_column].name.clone();
        let place = [meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::KAFKA_TIME];
        let columns = place.into_iter().chain([time.as_str()]);
        let scan = Scan {
            from: self.known.from(),
            ..Scan::columns(columns)
                .in_log_order()
                .below(self.wanted.clone())
                .drawing(&self.parts.memory, Part::Fills)
        };
        let archive = Arc::clone(&self.parts.archive);
        let mut batches = archive.scan(&self.source.name, scan).await?;
        while let Some(rows) = batches.try_next().await? {
            self.count(&rows, &time)?;
            let mut shown = self.shown.lock();
            shown.moved = self.parts.runtime.elapsed();
            shown.failing = None;
        }
        for (place, start) in &self.wanted.0 {
            self.known.up_to.advance(place, *start);
        }
        Ok(())
    }

    fn count(&mut self, rows: &RecordBatch, time: &str) -> Result<(), PipelineError> {
        let origin = origin_of(rows)?;
        let times = rows.column_by_name(time).and_then(|c| c.as_primitive_opt());
        let times: &PrimitiveArray<TimestampMicrosecondType> =
            times.ok_or_else(|| lacks(&self.source, time))?;
        invariant!(
            RowsInLogOrder,
            origin.is_in_log_order(),
            "the archive of source {}",
            self.source.name
        );
        let places = origin.partition.iter().zip(&origin.offset);
        for ((slot, offset), time_us) in places.zip(times.values()) {
            let place = &origin.partitions[*slot as usize];
            invariant!(
                ScanInRange,
                *offset < self.wanted.next_offset(place),
                "{place:?}: a row at {offset} of {:?}",
                self.wanted.0.get(place)
            );
            if let Some(mark) = self.known.marks.get_mut(place) {
                let delay_us = self.source.watermark_delay_us;
                mark.pass(*offset, *time_us, delay_us, None);
            }
        }
        Ok(())
    }
}

fn at(next_offset: i64) -> PartitionProgress {
    PartitionProgress {
        next_offset,
        ..PartitionProgress::default()
    }
}

fn lacks(source: &SourceDef, time: &str) -> PortError {
    let name = &source.name;
    PortError::internal(format!(
        "the archive of {name} has no event times in '{time}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_waits_for_its_first_rows_and_is_halted_where_none_come_or_they_cannot_be_read() {
        let (second, began) = (Duration::from_secs(1), Duration::from_secs(100));
        let decide = |failing: Option<&str>, now| {
            let shown = Shown {
                moved: began,
                failing: failing.map(str::to_owned),
            };
            shown.decision("events", now)
        };
        let halted = |decision| match decision {
            Decision::Halt(reason) => reason.to_string(),
            other => panic!("it is not halted: {other:?}"),
        };
        for now in [began, began + STANDS_MAX - second] {
            let decision = decide(None, now);
            assert!(matches!(&decision, Decision::Wait(why) if why.contains("'events'")));
            // A try that fails once halts nothing.
            let failed = decide(Some("a torn file"), now);
            assert!(matches!(failed, Decision::Wait(why) if why.contains("a torn file")));
        }
        assert!(halted(decide(None, began + STANDS_MAX)).contains("nothing for 10s"));
        assert!(halted(decide(Some("a torn file"), began + STANDS_MAX)).contains("a torn file"));
    }
}
