//! The ingest loop: one thread polls the log, drops repeats, runs the views, dates the rows, and
//! hands each epoch to the shard writers, the archiver and the observers. It pauses (never sheds)
//! when one of them is behind, because their queues are bounded, and it stops when one of them has
//! failed for good: reads go on. Scoring and publishing hold it back never.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::dead_letter::DeadLetterReason;
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::ports::{EpochWriter, EventLog, Runtime, ScoreQueue, ShardWrite, SourceBatch};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::{Clock, Micros};
use forebay_core::watermark::MarkRecord;

use crate::archive::Archiver;
use crate::board::{Board, KnownEnd};
use crate::error::{PipelineError, first_cause};
use crate::idle::IdleWait;
use crate::observer::{BatchObserver, Look};
use crate::pace::Pace;
use crate::prediction::RecordEncoder;
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
use crate::watermark::{ArchivedMarks, LogFacts, Present, Unrecorded, Watermarks};

/// How often an untouched shard records its progress, and lag is measured.
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
    pub(crate) encoder: Arc<dyn RecordEncoder>,
    pub(crate) prediction_sources: HashSet<String>,
    pub(crate) repeats: Repeats,
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
        let outcome = self.serve();
        if let Err(error) = &outcome {
            tracing::error!(%error, "ingest has stopped; reads go on");
            self.counters.failed.store(true, Ordering::Relaxed);
        }
        self.repeats.save(true);
        let Self { writers, .. } = self;
        first_cause([outcome, writers.stop()])
    }

    fn serve(&mut self) -> Result<(), PipelineError> {
        let now = self.runtime.elapsed();
        let mut timers = Timers {
            committed: vec![now; usize::from(self.shards)],
            measured: now,
        };
        let mut pauses = Pauses::default();
        let mut wait = IdleWait::new(self.settings.epoch_wait);
        while !self.stopping.load(Ordering::Relaxed) {
            if self.counters.failed.load(Ordering::Relaxed) {
                return Err(PipelineError::ThreadGone(
                    "archiver, shard writer, scorer or publisher",
                ));
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
                    tracing::warn!(%error, "the log does not answer and is asked again");
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
            let names = deployments.map(|d| d.def().name.as_str());
            self.intake
                .look(names, self.scores.as_ref(), &self.counters)?;
        }
        let (began, brought) = (self.runtime.elapsed(), !batches.is_empty());
        if brought {
            self.board.moves();
        }
        let mut epoch = Epoch::new(self.shards);
        for batch in batches {
            self.batch(batch, &mut epoch)?;
        }
        let now = self.runtime.elapsed();
        let mut writes = Vec::with_capacity(epoch.writes.len());
        // The same for every shard that writes.
        let mut progress = None;
        for ((shard, mut write), notes) in (0..).zip(epoch.writes).zip(epoch.notes) {
            write.unscored = notes.into_notes();
            self.count_suspended(&write);
            let touched =
                !write.folds.is_empty() || !write.pending.is_empty() || !write.unscored.is_empty();
            let committed = &mut timers.committed[usize::from(shard)];
            if touched || now.saturating_sub(*committed) >= IDLE_PROGRESS {
                write
                    .progress
                    .clone_from(progress.get_or_insert_with(|| self.watermarks.all_progress()));
                let unrecorded = &mut self.unrecorded[usize::from(shard)];
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

    fn count_suspended(&self, write: &ShardWrite) {
        for note in &write.unscored {
            let events = note.offsets.count();
            self.counters.unscored.fetch_add(events, Ordering::Relaxed);
            let mut deployments = self.counters.deployments.lock();
            let status = deployments.entry(note.deployment.clone()).or_default();
            *status.unscored.entry(note.reason.label()).or_default() += events;
        }
    }

    /// One decoded batch on its way: what does not count is sorted out first, so that watermarks,
    /// archive and observers see the same rows as the shards.
    fn batch(&mut self, mut batch: SourceBatch, epoch: &mut Epoch) -> Result<(), PipelineError> {
        check_order(&batch);
        if self.prediction_sources.contains(&batch.source.name) {
            let (kept, repeats) = self.repeats.drop_from(batch)?;
            batch = kept;
            self.counters
                .repeats
                .fetch_add(repeats as u64, Ordering::Relaxed);
        }
        let mut admitted = self.step.admit(batch, self.encoder.as_ref())?;
        let present = self.present();
        let dated = self.watermarks.date(&admitted.batch, Some(&present));
        admitted.batch.origin.watermark_us = dated.watermark_us;
        let records = self.watermarks.take_records();
        self.record(&records)?;
        let suspended = |name: &str| self.intake.suspended(name);
        let late = self.step.run(&admitted, suspended, epoch)?;
        let batch = admitted.batch;
        self.repeats.fill(&batch);
        self.repeats.save(false);
        let up_to = self.archive_up_to(batch.read_up_to.iter().map(|(place, _)| place));
        self.archiver.rows(&batch, &late, up_to)?;
        let watermark = self.watermarks.published().of(&batch.source.name);
        self.count(&batch, &late, dated.ahead, watermark);
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

    fn count(&self, batch: &SourceBatch, late: &[bool], ahead: u64, watermark: Option<Micros>) {
        let rows = batch.rows.num_rows() as u64;
        self.counters.rows.fetch_add(rows, Ordering::Relaxed);
        self.counters.late_rows.fetch_add(
            late.iter().filter(|l| **l).count() as u64,
            Ordering::Relaxed,
        );
        let refused = batch
            .dead_letters
            .iter()
            .filter(|l| l.reason == DeadLetterReason::Refused.label())
            .count();
        self.counters
            .refused
            .fetch_add(refused as u64, Ordering::Relaxed);
        if !batch.dead_letters.is_empty() {
            let mut reasons = self.counters.dead_letters.lock();
            for letter in &batch.dead_letters {
                *reasons
                    .entry((letter.source.clone(), letter.reason))
                    .or_default() += 1;
            }
        }
        let mut sources = self.counters.sources.lock();
        let status = sources.entry(batch.source.name.clone()).or_default();
        status.rows += rows;
        status.dead_letters += batch.dead_letters.len() as u64;
        status.ahead_rows += ahead;
        status.watermark_us = watermark;
    }

    /// Read what `decisions` say.
    fn follow(&mut self, decisions: &BTreeMap<String, Decision>) -> Result<(), PipelineError> {
        let before: BTreeSet<Arc<str>> = self
            .reads
            .joined()
            .map(|place| Arc::clone(&place.topic))
            .collect();
        let stands = |place: &TopicPartition| self.watermarks.progress(place).next_offset;
        let change = self.reads.take(&self.sources, decisions, stands);
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
                tracing::warn!(%error, "partitions cannot be assigned; tried again");
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
        if now.saturating_sub(timers.measured) < LAG_EVERY {
            return Ok(());
        }
        timers.measured = now;
        let positions = self.log.positions();
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

impl Ingest {
    fn present(&self) -> Present {
        Present::new(self.clock.now_us(), self.settings.history_us)
    }

    /// Hand decisions about time to every shard's next write and to the archive: before the rows
    /// that they are about.
    fn record(&mut self, records: &[MarkRecord]) -> Result<(), PipelineError> {
        if records.is_empty() {
            return Ok(());
        }
        for unrecorded in &mut self.unrecorded {
            unrecorded.add(records);
        }
        self.archiver.marks(records.to_vec())
    }

    /// What the log says now: which partitions are idle, and the watermarks that follow.
    fn look(&mut self, ends: &BTreeMap<TopicPartition, KnownEnd>) -> Result<(), PipelineError> {
        let facts: BTreeMap<TopicPartition, LogFacts> = ends
            .iter()
            .map(|(partition, end)| {
                let facts = LogFacts {
                    position: self.watermarks.progress(partition).next_offset,
                    last_stable: Some(end.last_stable),
                    answered: end.answered,
                };
                (partition.clone(), facts)
            })
            .collect();
        let (now, present) = (self.runtime.elapsed(), self.present());
        for source in &self.sources {
            self.watermarks.look(source, &facts, now, &present);
        }
        self.tell_decisions()
    }

    /// Tell shards, archive and observers of decisions about time that no batch has brought.
    fn tell_decisions(&mut self) -> Result<(), PipelineError> {
        let (records, settled) = (self.watermarks.take_records(), self.settled.take());
        self.record(&records)?;
        self.repeats.settle(&settled);
        if self.observers.is_empty() {
            return Ok(());
        }
        let joined = self.reads.joined();
        let stands = joined.map(|p| (p.clone(), self.watermarks.progress(p).next_offset));
        let look = Look {
            records: &records,
            settled: &settled,
            stands: &stands.collect::<Vec<_>>(),
            reach: self.archiver.reach(),
        };
        for observer in &mut self.observers {
            observer.look(&look);
        }
        Ok(())
    }

    /// An event is scored with features as of its own time, also when it is read long after other
    /// sources went on. While a scored source has a backlog, state is kept from where that stands
    /// on; afterwards `history` is enough again.
    fn hold_expiry(&mut self) {
        let scored = !self.step.deployments.is_empty();
        // Before every source was looked at, everything may be backlog.
        let unknown = scored && !self.reads.is_settled(&self.sources);
        let oldest = self
            .sources
            .iter()
            .filter(|s| self.step.deployments.iter().any(|d| d.source() == s.name))
            .filter_map(|source| self.watermarks.backlog_us(source))
            .chain(unknown.then_some(Micros::MIN))
            .min();
        // Rows of epochs under way are pending only once their shards have them: what was held is
        // held once more.
        self.store
            .keep_from(self.held_us.into_iter().chain(oldest).min());
        self.held_us = oldest;
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
    let is_below = |(slot, offset): (&u32, &i64)| {
        let place = &origin.partitions[*slot as usize];
        read_to.get(place).is_some_and(|to| offset < to)
    };
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
