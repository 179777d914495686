//! Watermarks of what is read: each row gets the watermark of its partition before it, by the rule
//! of [`forebay_core::watermark`]. Owned by the ingest thread; readers see a published copy.
//!
//! What the rule takes from a clock is decided here and recorded: `bound` says how far the rows of
//! an epoch may move a mark, `partition` says which partitions are idle and hold nothing back. Each
//! decision that has an effect becomes a [`MarkRecord`], which shards and archive write beside the
//! offsets. A restart and a filling of a view repeat the records and decide nothing anew below
//! them.

mod archived;
mod bound;
mod partition;
mod published;
mod record;
mod shown;
pub mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::invariant;
use forebay_core::ports::{SourceBatch, StateProgress};
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::watermark::{Bound, Hold, MarkFact, MarkRecord, PartitionMark, SourceMarks};

pub use archived::ArchivedMarks;
pub use bound::Present;
pub use partition::{Answered, LogFacts, PartitionFacts, PartitionState};
pub use published::PublishedWatermarks;
pub(crate) use record::Unrecorded;
pub use shown::show_recorded;

use crate::recovery::Plan;
use bound::{broker_times, event_times};

/// Marks of every partition.
#[derive(Debug, Default)]
pub struct Watermarks {
    /// By topic.
    sources: HashMap<Arc<str>, SourceMarks>,
    seen: BTreeMap<TopicPartition, Seen>,
    /// Of each partition the last record that this run has read.
    last_records: HashMap<TopicPartition, RecordDigest>,
    /// What is known of partitions that were not read yet: of a filling.
    records: BTreeMap<TopicPartition, Vec<MarkFact>>,
    /// Of each partition the last bound that had an effect.
    last: BTreeMap<TopicPartition, Recorded>,
    /// Decisions that nobody has taken yet.
    fresh: Vec<MarkRecord>,
    published: Arc<PublishedWatermarks>,
}

/// The last bound of a partition that had an effect.
#[derive(Debug, Clone, Copy)]
struct Recorded {
    bound: Bound,
    /// Whether every row since was read under an equal bound, with an effect or without: the next
    /// equal one goes on. One that differed ends it, since the rows under that one are none of
    /// this record's.
    goes_on: bool,
}

/// When a partition last moved, by the runtime's time.
#[derive(Debug, Clone, Copy)]
struct Seen {
    position: i64,
    moved: Duration,
    state: PartitionState,
}

/// What [`Watermarks::date`] says of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dated {
    /// For each row the watermark before it.
    pub watermark_us: Vec<Option<Micros>>,
    /// Rows whose event time lies beyond the bound.
    pub ahead: u64,
}

impl Watermarks {
    /// The reader stands where `plan` starts it. Of each partition the mark is what a shard had
    /// recorded for the prefix up to there, and grows over what the other shards had recorded as
    /// the reader passes it. `records` are those of all shards and of the archive, which has read
    /// up to `archived`.
    #[must_use]
    pub fn recovered(
        plan: &Plan,
        records: &[MarkRecord],
        archived: &Applied,
        published: Arc<PublishedWatermarks>,
    ) -> Self {
        let mut marks = Self {
            published,
            ..Self::replay(records)
        };
        marks.join(plan, archived);
        marks
    }

    /// Partitions that are read from now on, as [`Self::recovered`] takes them. One that
    /// [`Self::add`] has taken up keeps its mark.
    pub(crate) fn join(&mut self, plan: &Plan, archived: &Applied) {
        for (partition, start) in &plan.starts {
            if self.mark(partition).is_some() {
                self.stand(partition, *start);
                continue;
            }
            let progress = plan.recorded.get(partition).map_or(&[][..], Vec::as_slice);
            let facts = self.records.remove(partition).unwrap_or_default();
            let decided = archived.next_offset(partition);
            let mark = PartitionMark::recovered(*start, progress, facts, decided);
            self.sources
                .entry(Arc::clone(&partition.topic))
                .or_default()
                .insert(partition.partition, mark);
        }
    }

    /// The reader stands at `next_offset` of `partition`, behind control records or an accepted
    /// gap.
    pub(crate) fn stand(&mut self, partition: &TopicPartition, next_offset: i64) {
        if let Some(marks) = self.sources.get_mut(&partition.topic)
            && marks.get(partition.partition).is_some()
        {
            marks.partition(partition.partition).read_up_to(next_offset);
        }
    }

    /// Marks of partitions that are read from their beginning once more, of which `records` are
    /// known.
    #[must_use]
    pub fn replay(records: &[MarkRecord]) -> Self {
        let mut marks = Self::default();
        for record in records {
            let of = marks.records.entry(record.partition.clone()).or_default();
            of.push(record.fact);
        }
        marks
    }

    /// Where other threads read the watermarks.
    #[must_use]
    pub fn published(&self) -> Arc<PublishedWatermarks> {
        Arc::clone(&self.published)
    }

    /// For each row of `batch` the watermark before it, by what is recorded alone; moves the marks
    /// past the batch.
    pub fn pass(&mut self, batch: &SourceBatch) -> Vec<Option<Micros>> {
        self.date(batch, None).watermark_us
    }

    /// For each row of `batch` the watermark before it; moves the marks past the batch. Rows that
    /// were never decided on are bounded by `present`; a bound that has an effect is recorded.
    pub fn date(&mut self, batch: &SourceBatch, present: Option<&Present>) -> Dated {
        let (source, origin) = (&batch.source, &batch.origin);
        let topic: Arc<str> = source.topic.as_str().into();
        let mut marks = self.sources.remove(&topic).unwrap_or_default();
        let supported = present.and_then(|_| marks.supported_us(source.event_future_max_us));
        let broker = broker_times(origin);
        let mut slots: Vec<Slot> = origin
            .partitions
            .iter()
            .zip(broker)
            .map(|(partition, broker_us)| {
                let mark = self.take(&mut marks, partition);
                let bound = present.map(|present| {
                    let from = mark.next_offset().max(mark.decided_until());
                    let support = (broker_us, supported);
                    present.bound(
                        (from, from),
                        support.0,
                        support.1,
                        source.event_future_max_us,
                    )
                });
                Slot {
                    mark,
                    bound,
                    bounded: false,
                }
            })
            .collect();
        let mut dated = Dated::default();
        let rows = origin.partition.iter().zip(&origin.offset);
        for ((slot, offset), time) in rows.zip(event_times(batch)) {
            let slot = &mut slots[*slot as usize];
            let delay = source.watermark_delay_us;
            let passed = slot.mark.pass(*offset, *time, delay, slot.bound.as_ref());
            let fresh = *offset >= slot.mark.decided_until();
            slot.bounded |= passed.bounded && fresh;
            dated.ahead += u64::from(passed.ahead && fresh);
            dated.watermark_us.push(passed.watermark_us);
        }
        invariant!(
            OriginColumnsAgree,
            dated.watermark_us.len() == batch.rows.num_rows(),
            "source {}: {} watermarks for {} rows",
            source.name,
            dated.watermark_us.len(),
            batch.rows.num_rows()
        );
        for (partition, slot) in origin.partitions.iter().zip(slots) {
            if let Some(bound) = slot.bound {
                self.bound(partition, bound, slot.bounded, slot.mark.next_offset());
            }
            marks.insert(partition.partition, slot.mark);
        }
        for (partition, next_offset) in &batch.read_up_to {
            let mut mark = self.take(&mut marks, partition);
            mark.read_up_to(*next_offset);
            marks.insert(partition.partition, mark);
        }
        self.sources.insert(topic, marks);
        self.last_records.extend(batch.last_records.iter().cloned());
        self.publish(source);
        dated
    }

    /// Rows of `partition` below `until` were read under `bound`. It is recorded where it had an
    /// effect on one.
    fn bound(
        &mut self,
        partition: &TopicPartition,
        mut bound: Bound,
        had_effect: bool,
        until: i64,
    ) {
        let last = self.last.get_mut(partition);
        let values = |bound: &Bound| (bound.mark_max_us, bound.watermark_max_us);
        let goes_on = last
            .as_ref()
            .filter(|last| last.goes_on && values(&last.bound) == values(&bound))
            .map(|last| last.bound.from);
        if !had_effect {
            if let Some(last) = last {
                last.goes_on = goes_on.is_some();
            }
            return;
        }
        bound.until = until;
        invariant!(
            BoundCoversRows,
            bound.from < until,
            "{partition:?}: {} to {until}",
            bound.from
        );
        invariant!(
            BoundsApart,
            last.as_ref()
                .is_none_or(|last| last.bound.until <= bound.from),
            "{partition:?}: {last:?} before {}",
            bound.from
        );
        bound.from = goes_on.unwrap_or(bound.from);
        let recorded = Recorded {
            bound,
            goes_on: true,
        };
        self.last.insert(partition.clone(), recorded);
        self.fresh.push(MarkRecord {
            partition: partition.clone(),
            fact: MarkFact::Bound(bound),
        });
    }

    /// The mark of `partition`, to be put back.
    fn take(&mut self, marks: &mut SourceMarks, partition: &TopicPartition) -> PartitionMark {
        if let Some(facts) = self.records.remove(partition) {
            return PartitionMark::recovered(0, &[], facts, i64::MAX);
        }
        std::mem::take(marks.partition(partition.partition))
    }

    /// Decisions since the last call: to be recorded with the next progress, by every sink.
    pub(crate) fn take_records(&mut self) -> Vec<MarkRecord> {
        std::mem::take(&mut self.fresh)
    }

    /// For each partition of `batch`, not yet dated, the offset below which this run or one before
    /// has read it: whatever it brings from below is read again.
    pub(crate) fn read_before(&self, batch: &SourceBatch) -> BTreeMap<TopicPartition, i64> {
        let until = |place| {
            let mark = self.mark(place)?;
            Some(mark.next_offset().max(mark.decided_until()))
        };
        let places = batch.read_up_to.iter().map(|(place, _)| place);
        places
            .map(|place| (place.clone(), until(place).unwrap_or(0)))
            .collect()
    }

    fn mark(&self, partition: &TopicPartition) -> Option<&PartitionMark> {
        self.sources.get(&partition.topic)?.get(partition.partition)
    }

    /// Progress of `partition` as of now.
    #[must_use]
    pub fn progress(&self, partition: &TopicPartition) -> PartitionProgress {
        let progress = self.mark(partition).map(PartitionMark::progress);
        PartitionProgress {
            last: self.last_records.get(partition).copied(),
            ..progress.unwrap_or_default()
        }
    }

    /// Progress of every partition that was read.
    #[must_use]
    pub(crate) fn all_progress(&self) -> Vec<(TopicPartition, PartitionProgress)> {
        let mut all = Vec::new();
        for (topic, marks) in &self.sources {
            let read = marks.iter().map(|(number, _)| {
                let place = TopicPartition::new(Arc::clone(topic), number);
                let progress = self.progress(&place);
                (place, progress)
            });
            all.extend(read.filter(|(_, progress)| progress.next_offset > 0));
        }
        all
    }

    /// Show the watermark of `source` to readers, once no partition of it can hold older first
    /// rows.
    pub fn publish(&self, source: &SourceDef) {
        let marks = self.sources.get(source.topic.as_str());
        if let Some(mark_us) = marks.and_then(SourceMarks::mark_us) {
            let watermark_us = mark_us.saturating_sub(source.watermark_delay_us);
            self.published.publish(&source.name, watermark_us);
        }
    }

    /// What the log says of the partitions of `source`, now and then: those that are idle are held
    /// where the others stand, and the watermark that results is shown. `now` is the runtime's, and
    /// never steps; `present` is the wall clock's, and goes into what is recorded alone.
    pub fn look(
        &mut self,
        source: &SourceDef,
        log: &BTreeMap<TopicPartition, LogFacts>,
        now: Duration,
        present: &Present,
    ) {
        let Some(marks) = self.sources.get_mut(source.topic.as_str()) else {
            return;
        };
        let mut idle = BTreeSet::new();
        for (partition, log) in log.iter().filter(|(p, _)| *p.topic == *source.topic) {
            let first = Seen {
                position: log.position,
                moved: now,
                state: PartitionState::Live,
            };
            let seen = self.seen.entry(partition.clone()).or_insert(first);
            invariant!(
                OffsetsNeverFall,
                log.position >= seen.position,
                "{partition:?}: {} to {}",
                seen.position,
                log.position
            );
            if log.position > seen.position {
                (seen.position, seen.moved) = (log.position, now);
            }
            let mark = marks.get(partition.partition);
            seen.state = PartitionState::of(&PartitionFacts {
                log: *log,
                has_rows: mark.is_some_and(|mark| mark.mark_us().is_some()),
                moved: seen.moved,
                idle_timeout_us: source.idle_timeout_us,
            });
            if !seen.state.holds_back() {
                idle.insert(partition.partition);
            }
        }
        let (moved, mark_us) = marks.hold_idle(|number| idle.contains(&number));
        if let Some(mark_us) = mark_us {
            for (number, at) in moved {
                self.hold(source, number, at, mark_us, present);
            }
        }
        self.publish(source);
    }

    /// Take up `partition`, which its topic has got while it was read: it pulls the source's
    /// watermark no further back.
    pub fn add(&mut self, source: &SourceDef, partition: &TopicPartition, present: &Present) {
        let marks = self
            .sources
            .entry(Arc::clone(&partition.topic))
            .or_default();
        let facts = self.records.remove(partition).unwrap_or_default();
        if let Some(mark_us) = marks.join(partition.partition, facts) {
            self.hold(source, partition.partition, 0, mark_us, present);
        }
    }

    fn hold(
        &mut self,
        source: &SourceDef,
        partition: i32,
        at: i64,
        mark_us: Micros,
        present: &Present,
    ) {
        let watermark_us = mark_us.saturating_sub(source.watermark_delay_us);
        invariant!(
            HoldBehindItsMark,
            watermark_us <= mark_us,
            "{}-{partition}: a delay of {}",
            source.topic,
            source.watermark_delay_us
        );
        self.fresh.push(MarkRecord {
            partition: TopicPartition::new(source.topic.as_str(), partition),
            fact: MarkFact::Hold(Hold {
                at,
                mark_us,
                watermark_us: watermark_us.min(present.watermark_max_us()),
            }),
        });
    }

    /// Event time that the backlog of `source` has reached; None without one. A partition of which
    /// nothing was read may hold anything.
    #[must_use]
    pub(crate) fn backlog_us(&self, source: &SourceDef) -> Option<Micros> {
        let unread = |(partition, seen): (&TopicPartition, &Seen)| {
            let holds = seen.state == PartitionState::Unread && *partition.topic == *source.topic;
            holds.then(|| {
                let mark = self.mark(partition).and_then(PartitionMark::mark_us);
                mark.map_or(Micros::MIN, |mark| {
                    mark.saturating_sub(source.watermark_delay_us)
                })
            })
        };
        self.seen.iter().filter_map(unread).min()
    }

    /// What `partition` was when it was last looked at; None before the first look.
    #[must_use]
    pub fn state(&self, partition: &TopicPartition) -> Option<PartitionState> {
        self.seen.get(partition).map(|seen| seen.state)
    }
}

/// The decisions about time that any shard of `store` has recorded.
///
/// # Errors
/// The store cannot be read.
pub fn recorded(store: &dyn StateProgress) -> PortResult<Vec<MarkRecord>> {
    let mut records = BTreeSet::new();
    for shard in 0..store.shards() {
        records.extend(store.marks(shard)?);
    }
    Ok(records.into_iter().collect())
}

/// One partition while a batch passes.
struct Slot {
    mark: PartitionMark,
    bound: Option<Bound>,
    bounded: bool,
}

#[cfg(test)]
mod tests;
