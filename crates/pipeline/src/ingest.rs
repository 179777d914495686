//! The ingest loop: one thread polls the log, drops repeats, runs the views, dates the rows, and
//! hands each epoch to the shard writers, the archiver and the observers. It pauses (never sheds)
//! when one of them is behind, because their queues are bounded; a source whose table goes on
//! taking nothing is left alone, to be read again from where the reader stands. It stops when a
//! shard has failed for good: reads go on. Scoring and publishing hold it back never.

mod brought;
mod time;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_core::error::with_causes;
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::memory::Reservation;
use forebay_core::ports::{EpochWriter, EventLog, Runtime, ScoreQueue, ShardWrite, SourceBatch};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::settlement::Unscored;
use forebay_core::source::SourceDef;
use forebay_core::time::{Clock, Micros};
use forebay_core::{PortError, PortResult};

use crate::admit::Admitted;
use crate::archive::Archiver;
use crate::board::{Board, KnownEnd};
use crate::error::{PipelineError, first_cause};
use crate::idle::{IdleWait, LastRecord};
use crate::log_throttle::LogThrottle;
use crate::lost::Lost;
use crate::observer::BatchObserver;
use crate::pace::Pace;
use crate::reads::Reads;
use crate::recovery::{Decision, Plan};
use crate::repeats::{Repeats, keep_rows};
use crate::retry::Pauses;
use crate::runtime::{Thread, pause};
use crate::score::intake::Intake;
use crate::settings::PipelineSettings;
use crate::settlements::SettledNotes;
use crate::shards::ShardWriters;
use crate::status::Counters;
use crate::step::{Epoch, Step};
use crate::watermark::{ArchivedMarks, Unrecorded, Watermarks};
use brought::Brought;

/// How often an untouched shard records its progress, and lag is measured, while records come.
const IDLE_PROGRESS: Duration = Duration::from_secs(1);
const LAG_EVERY: Duration = Duration::from_millis(500);

/// What the ingest thread owns.
pub(crate) struct Ingest {
    pub(crate) log: Box<dyn EventLog>,
    pub(crate) sources: Vec<Arc<SourceDef>>,
    pub(crate) store: Arc<dyn EpochWriter>,
    pub(crate) scores: Arc<dyn ScoreQueue>,
    /// Event time that the backlog of scored sources had reached at the last look; None without a
    /// backlog.
    pub(crate) held_us: Option<Micros>,
    pub(crate) step: Step,
    pub(crate) writers: ShardWriters,
    pub(crate) archiver: Archiver,
    pub(crate) observers: Vec<Box<dyn BatchObserver>>,
    pub(crate) prediction_sources: HashSet<String>,
    pub(crate) repeats: Repeats,
    /// Looks for events whose predictions lie in an accepted gap.
    pub(crate) lost: Lost,
    pub(crate) watermarks: Watermarks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Decisions about time that each shard does not have yet: its next write records them, so its
    /// progress never lies beyond a decision that it lacks.
    pub(crate) unrecorded: Vec<Unrecorded>,
    /// What the archive has of them.
    pub(crate) archived_marks: Arc<ArchivedMarks>,
    /// Events without a prediction that the archive has got: for the observers.
    pub(crate) settled: Arc<SettledNotes>,
    /// Number of shards.
    pub(crate) shards: u16,
    /// Which deployments take events.
    pub(crate) intake: Intake,
    /// What is read now.
    pub(crate) reads: Reads,
    /// Where the watch leaves its decisions.
    pub(crate) board: Arc<Board>,
    /// What the archive had at start.
    pub(crate) archived: Applied,
    /// Where the archiver was last told that the reader stands.
    pub(crate) archive_told: HashMap<TopicPartition, i64>,
    pub(crate) settings: PipelineSettings,
    pub(crate) pace: Arc<Pace>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// When things that are done now and then were done last.
struct Timers {
    /// The last commit of each shard.
    committed: Vec<Duration>,
    measured: Duration,
    /// The last record that came: both are rarer once the log rests.
    last_record: LastRecord,
    /// Polls that failed.
    unanswered: LogThrottle,
}

impl Ingest {
    /// Run on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn spawn(self) -> PortResult<Thread<Result<(), PipelineError>>> {
        let runtime = Arc::clone(&self.runtime);
        Thread::spawn(&runtime, "ingest", move || self.run())
    }

    fn run(mut self) -> Result<(), PipelineError> {
        let outcome = self.contained();
        if let Err(error) = &outcome {
            let words = with_causes(error);
            tracing::error!(error = words, "ingest has stopped; reads go on");
            self.counters.fail(error);
        }
        self.repeats.save(true);
        let Self { writers, .. } = self;
        first_cause([outcome, writers.stop()])
    }

    /// A panic ends ingest with its reason, as an error does.
    fn contained(&mut self) -> Result<(), PipelineError> {
        catch_unwind(AssertUnwindSafe(|| self.serve())).unwrap_or_else(|_| {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
            let words =
                "ingest panicked, which is a defect of Forebay: please report it with the log";
            Err(PortError::internal(words).into())
        })
    }

    fn serve(&mut self) -> Result<(), PipelineError> {
        let now = self.runtime.elapsed();
        let mut timers = Timers {
            committed: vec![now; usize::from(self.shards)],
            measured: now,
            last_record: LastRecord::at(now),
            unanswered: LogThrottle::default(),
        };
        let mut pauses = Pauses::default();
        let mut wait = IdleWait::new(self.settings.epoch_wait);
        while !self.stopping.load(Ordering::Relaxed) {
            if self.counters.has_failed() {
                return Err(PipelineError::ThreadGone("shard writer"));
            }
            if let Some(decisions) = self.board.take() {
                self.follow(&decisions)?;
            }
            let began = self.runtime.elapsed();
            let most = self.pace.epoch_rows(self.settings.epoch_max_rows);
            match self.log.poll(most, wait.next()) {
                Ok(batches) => {
                    pauses = Pauses::default();
                    wait.note(!batches.is_empty());
                    let records = |b: &SourceBatch| b.rows.num_rows() + b.dead_letters.len();
                    let rows: usize = batches.iter().map(records).sum();
                    self.epoch(batches, &mut timers)?;
                    self.hear_faults();
                    self.measure(&mut timers)?;
                    let took = self.runtime.elapsed().saturating_sub(began);
                    if let Some(wait) = self.pace.wait_behind(rows as u64, took) {
                        pause(self.runtime.as_ref(), wait);
                    }
                }
                Err(error) if error.kind().is_retriable() => {
                    if let Some(times) = timers.unanswered.add(1, self.runtime.elapsed()) {
                        let words = with_causes(&error);
                        tracing::warn!(
                            error = words,
                            times,
                            "the log does not answer and is asked again"
                        );
                    }
                    self.counters.retries.fetch_add(1, Ordering::Relaxed);
                    pauses.wait(self.runtime.as_ref(), &self.stopping);
                }
                Err(error) => return Err(error.into()),
            }
        }
        // A clean stop leaves archive and shards at the reader's position, so that a restart reads
        // nothing again.
        self.archive_passed()?;
        let progress = self.watermarks.all_progress();
        let write = |marks| ShardWrite {
            progress: progress.clone(),
            marks,
            ..ShardWrite::default()
        };
        let all = (0..)
            .zip(&mut self.unrecorded)
            .map(|(shard, unrecorded)| (shard, write(unrecorded.take())))
            .collect();
        self.writers.submit(all, Vec::new())
    }

    fn epoch(
        &mut self,
        batches: Vec<SourceBatch>,
        timers: &mut Timers,
    ) -> Result<(), PipelineError> {
        if !batches.is_empty() && !self.step.deployments.is_empty() {
            let deployments = self.step.deployments.iter();
            self.intake
                .look(deployments, self.scores.as_ref(), &self.counters)?;
        }
        let (began, brought) = (self.runtime.elapsed(), !batches.is_empty());
        if brought {
            timers.last_record = LastRecord::at(began);
            self.board.moves();
        }
        let mut epoch = Epoch::new(self.shards);
        for batch in batches {
            if let Some(memory) = self.room_for(&batch)? {
                self.batch(batch, memory, &mut epoch)?;
            }
        }
        let now = self.runtime.elapsed();
        let idle_progress = timers.last_record.wait(IDLE_PROGRESS, now);
        let mut writes = Vec::with_capacity(epoch.writes.len());
        // The same for every shard that writes.
        let mut progress = None;
        for ((shard, mut write), notes) in (0..).zip(epoch.writes).zip(epoch.notes) {
            write.unscored = notes.into_notes();
            write.aside.clone_from(&epoch.aside);
            self.count_unscored(&write.unscored);
            let touched = !write.folds.is_empty()
                || !write.pending.is_empty()
                || !write.unscored.is_empty()
                || !write.aside.is_empty();
            let committed = &mut timers.committed[usize::from(shard)];
            let unrecorded = &mut self.unrecorded[usize::from(shard)];
            let due = if unrecorded.is_empty() {
                idle_progress
            } else {
                IDLE_PROGRESS
            };
            if touched || now.saturating_sub(*committed) >= due {
                write
                    .progress
                    .clone_from(progress.get_or_insert_with(|| self.watermarks.all_progress()));
                write.marks = unrecorded.take();
                if unrecorded.is_crowded() {
                    unrecorded.thinned();
                    let shards = (0..self.shards).map(|shard| self.store.applied(shard));
                    write.forget_bounds = self.archived_marks.passed(&shards.collect::<Vec<_>>());
                }
                *committed = now;
                writes.push((shard, write));
            }
        }
        if epoch.rows > 0 {
            self.counters.epochs.fetch_add(1, Ordering::Relaxed);
        }
        if !writes.is_empty() || !epoch.ends.is_empty() {
            self.writers.submit(writes, epoch.ends)?;
        }
        if brought {
            let took = self.runtime.elapsed().saturating_sub(began);
            self.counters.epoch.record(took);
        }
        Ok(())
    }

    fn count_unscored(&self, notes: &[Unscored]) {
        for note in notes {
            let events = note.offsets.count();
            self.counters.unscored.fetch_add(events, Ordering::Relaxed);
            let mut deployments = self.counters.deployments.lock();
            let status = deployments.entry(note.deployment.clone()).or_default();
            *status.unscored.entry(note.reason.label()).or_default() += events;
        }
    }

    /// Room for `batch` on its way to the archive; None where it is left, to be read again.
    fn room_for(&mut self, batch: &SourceBatch) -> Result<Option<Reservation>, PipelineError> {
        let source = &batch.source.name;
        if self.reads.is_left(source) {
            return Ok(None);
        }
        let memory = self.archiver.admit(batch)?;
        if memory.is_none() {
            self.reads.leave(source);
        }
        Ok(memory)
    }

    /// Whether a batch of the source of `place` was left.
    fn is_left(&self, place: &TopicPartition) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|s| *s.topic == *place.topic && self.reads.is_left(&s.name))
    }

    /// One decoded batch on its way, with its room in `memory`: what does not count is sorted out
    /// first, so that watermarks, archive and observers see the same rows as the shards.
    fn batch(
        &mut self,
        mut batch: SourceBatch,
        memory: Reservation,
        epoch: &mut Epoch,
    ) -> Result<(), PipelineError> {
        check_order(&batch);
        if self.prediction_sources.contains(&batch.source.name) {
            let (kept, repeats) = self.repeats.drop_from(batch)?;
            batch = kept;
            self.counters
                .repeats
                .fetch_add(repeats as u64, Ordering::Relaxed);
        }
        let mut admitted = self.step.admit(batch)?;
        let present = self.present();
        let before = self.watermarks.read_before(&admitted.batch);
        let dated = self.watermarks.date(&admitted.batch, Some(&present));
        admitted.batch.origin.watermark_us = dated.watermark_us;
        let records = self.watermarks.take_records();
        self.record(&records)?;
        let suspended = |name: &str, arm| self.intake.suspended(name, arm);
        let late = self.step.run(&admitted, suspended, epoch)?;
        let Admitted { batch, folds, .. } = admitted;
        self.repeats.fill(&batch);
        self.repeats.save(false);
        let up_to = self.archive_up_to(batch.read_up_to.iter().map(|(place, _)| place));
        self.archiver.rows(&batch, &late, up_to, memory)?;
        let watermark = self.watermarks.published().of(&batch.source.name);
        let brought = Brought::of((&batch, &folds), &late, dated.ahead, &before);
        brought.count(&self.counters, &batch.source.name, watermark);
        if !self.observers.is_empty() {
            let batch = above(batch, &self.archived)?;
            for observer in &mut self.observers {
                observer.observe(&batch, &records, self.archiver.reach());
            }
        }
        Ok(())
    }

    /// Where the reader stands in those of `places` in which the archive was last told less.
    fn archive_up_to<'a>(
        &mut self,
        places: impl Iterator<Item = &'a TopicPartition>,
    ) -> Vec<(TopicPartition, PartitionProgress)> {
        let mut moved = Vec::new();
        for place in places {
            let progress = self.watermarks.progress(place);
            let told = self.archive_told.entry(place.clone()).or_default();
            if progress.next_offset > *told {
                *told = progress.next_offset;
                moved.push((place.clone(), progress));
            }
        }
        moved
    }

    /// Tell the archive of what the reader has passed without a row. With its mark below the
    /// shards' a log whose end retention has emptied would look like a gap.
    fn archive_passed(&mut self) -> Result<(), PipelineError> {
        let joined: Vec<TopicPartition> = self.reads.joined().cloned().collect();
        for source in self.sources.clone() {
            let of_source = joined.iter().filter(|place| *place.topic == *source.topic);
            let up_to = self.archive_up_to(of_source);
            if !up_to.is_empty() {
                self.archiver.passed(&source.name, up_to)?;
            }
        }
        Ok(())
    }

    /// Read what `decisions` say.
    fn follow(&mut self, decisions: &BTreeMap<String, Decision>) -> Result<(), PipelineError> {
        let before: BTreeSet<Arc<str>> = self
            .reads
            .joined()
            .map(|place| Arc::clone(&place.topic))
            .collect();
        let stands = |place: &TopicPartition| self.watermarks.progress(place).next_offset;
        let held: BTreeSet<String> = self.archiver.held().into_keys().collect();
        let change = self.reads.take(&self.sources, decisions, &held, stands);
        let join = change.join;
        for partition in &join.behind {
            tracing::warn!(
                topic = &*partition.topic,
                partition = partition.partition,
                begins_at = join.starts.get(partition),
                "a shard or the archive has read nothing of this partition before, and the log has lost its head by now; `forebay rebuild SOURCE` takes what the archive has of that into the state"
            );
        }
        for (place, progress) in &join.archived.0 {
            self.archived.advance(place, *progress);
        }
        if !join.starts.is_empty() {
            self.join(&join, &before)?;
        }
        if let Some(from) = change.assign {
            for (place, at) in &from {
                self.watermarks.stand(place, *at);
            }
            // Below these places nothing more comes: scores of what a shard had there, behind an
            // accepted gap, wait for nothing.
            let ends = from.iter().map(|(place, at)| (place.clone(), *at));
            self.writers.submit(Vec::new(), ends.collect())?;
            self.tell_where();
            tracing::info!(partitions = from.len(), "reads these partitions");
            tracing::debug!(?from, "where reading starts");
            if let Err(error) = self.log.assign(&self.sources, &from) {
                tracing::warn!(
                    error = with_causes(&error),
                    "partitions cannot be assigned; tried again"
                );
                self.reads.unassigned();
            }
        }
        Ok(())
    }

    /// Marks of partitions that this run reads for the first time: as they were recorded, or of one
    /// that its topic has got since the source had a watermark, where the source stands. It does
    /// not matter whether this process read the source then, or one before it.
    fn join(&mut self, join: &Plan, before: &BTreeSet<Arc<str>>) -> Result<(), PipelineError> {
        let present = self.present();
        let (mut known, mut grown) = (join.clone(), Vec::new());
        for source in &self.sources {
            let had_watermark = before.contains(source.topic.as_str())
                || self.watermarks.published().of(&source.name).is_some();
            let of_source = |place: &&TopicPartition| *place.topic == *source.topic;
            let new = join
                .starts
                .keys()
                .filter(of_source)
                .filter(|place| had_watermark && join.is_unread(place));
            for place in new {
                known.starts.remove(place);
                grown.push((source, place));
            }
        }
        self.watermarks.join(&known, &join.archived);
        for (source, place) in grown {
            self.watermarks.add(source, place, &present);
        }
        self.watermarks.join(join, &join.archived);
        self.tell_decisions()?;
        for source in &self.sources {
            self.watermarks.publish(source);
            let watermark_us = self.watermarks.published().of(&source.name);
            self.counters.watermark(&source.name, watermark_us);
        }
        Ok(())
    }

    /// Tell the watch what the reader has met; it decides what becomes of the partition.
    fn hear_faults(&mut self) {
        let faults = self.log.faults();
        if faults.is_empty() {
            return;
        }
        for (place, fault) in &faults {
            tracing::warn!(
                topic = &*place.topic,
                partition = place.partition,
                ?fault,
                "a partition is not read"
            );
            self.reads.fault(place);
        }
        self.tell_where();
        self.board.report(faults, self.runtime.elapsed());
    }

    fn tell_where(&self) {
        let joined = self.reads.joined();
        let stands = joined.map(|p| (p.clone(), self.watermarks.progress(p).next_offset));
        self.board.stand(stands.collect());
    }

    fn measure(&mut self, timers: &mut Timers) -> Result<(), PipelineError> {
        let now = self.runtime.elapsed();
        let every = timers.last_record.wait(LAG_EVERY, now);
        if now.saturating_sub(timers.measured) < every {
            return Ok(());
        }
        timers.measured = now;
        let mut positions = self.log.positions();
        positions.retain(|place, _| !self.is_left(place));
        let mut ends = self.board.ends();
        for (place, position) in &positions {
            self.watermarks.stand(place, position.next_offset);
            if position.end_reached() {
                // The reader has met this end, but nobody says that it is still the end.
                let met = KnownEnd {
                    last_stable: position.next_offset,
                    answered: None,
                };
                let end = ends.entry(place.clone()).or_insert(met);
                end.last_stable = position.next_offset.max(end.last_stable);
            }
        }
        self.archive_passed()?;
        let met = self.predictions_met(&ends, now);
        if let Some(asked) = met {
            self.repeats.met(asked, now);
        }
        self.settle_lost(met)?;
        // Of a partition that is halted the watermark waits too: it has records that were not read.
        ends.retain(|place, _| self.reads.has_joined(place));
        self.look(&ends)?;
        self.hold_expiry();
        self.tell_where();
        let mut statuses = self.counters.sources.lock();
        for source in &self.sources {
            let status = statuses.entry(source.name.clone()).or_default();
            status.watermark_us = self.watermarks.published().of(&source.name);
        }
        Ok(())
    }
}

/// What everything behind the reader relies on.
fn check_order(batch: &SourceBatch) {
    let (origin, source) = (&batch.origin, &batch.source.name);
    invariant!(
        OriginColumnsAgree,
        origin.offset.len() == batch.rows.num_rows()
            && origin.partition.len() == origin.offset.len(),
        "source {source}: {} offsets for {} rows",
        origin.offset.len(),
        batch.rows.num_rows()
    );
    invariant!(RowsInLogOrder, origin.is_in_log_order(), "source {source}");
    let read_to: HashMap<&TopicPartition, i64> =
        batch.read_up_to.iter().map(|(p, to)| (p, *to)).collect();
    // Once a partition, not once a row.
    let partitions = origin.partitions.iter();
    let ends: Vec<Option<i64>> = partitions.map(|p| read_to.get(p).copied()).collect();
    let is_below =
        |(slot, offset): (&u32, &i64)| ends[*slot as usize].is_some_and(|end| *offset < end);
    invariant!(
        RowsBelowReadTo,
        origin.partition.iter().zip(&origin.offset).all(is_below),
        "source {source}"
    );
}

/// `batch` without the rows that `archived` covers.
fn above(batch: SourceBatch, archived: &Applied) -> Result<SourceBatch, PipelineError> {
    let ends: Vec<i64> = batch
        .origin
        .partitions
        .iter()
        .map(|p| archived.next_offset(p))
        .collect();
    let places = batch.origin.partition.iter().zip(&batch.origin.offset);
    let kept: Vec<u32> = places
        .enumerate()
        .filter(|(_, (slot, offset))| **offset >= ends[**slot as usize])
        .map(|(row, _)| RowIndex::at(row).number())
        .collect();
    if kept.len() == batch.rows.num_rows() {
        Ok(batch)
    } else {
        keep_rows(batch, &kept)
    }
}
