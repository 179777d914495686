//! Whether a source is read, from where, or why not: a pure decision over facts already read. The
//! thread of `watch` reads the facts, at a start and at every look at the log, and asks for a
//! decision; ingest takes it from there, and `reads` makes an assignment of it. Nothing here asks a
//! broker, reads a disk or a clock.
//!
//! # Facts
//!
//! * Of each shard: next offset, mark and digest of the last record of each partition.
//! * Of the archive's table, before the first read of this run: the same without marks, and
//!   cluster, topic id and number of partitions of the log that its rows came from. Both count, so
//!   that a state that was lost takes no other log for that of its archive.
//! * Of the state: cluster, topic id, number of partitions, and the gaps that a person has
//!   accepted.
//! * Of the broker: the same of the log as it is, the first and the last stable offset of each
//!   partition, and what stands where the last applied records stood.
//! * Of the reader: where it stands, what it met, and whether the source is read or halted.
//!
//! # Decision
//!
//! The first of these that holds decides on the whole source:
//!
//! 1. The broker is away: wait. What is read goes on being read.
//! 2. It refuses, belongs to another cluster, has no such topic, has the topic with another id, or
//!    lacks a partition that was read: halt.
//! 3. Partition by partition: nobody answers for it: wait. Its log ends below what was applied, or
//!    has another record there: halt. Nobody answers for its last applied record: wait. Of a source
//!    that is read already, a partition without an answer goes on and holds back no other.
//! 4. A partition is wanted from below the log's beginning: halt, with all gaps of the source. What
//!    a person accepts as a gap is passed from then on. Where its reader is at work, the look may
//!    be behind it: the reader says itself when it has lost its place.
//! 5. Else read, but for the partitions whose reader met something that neither an accepted gap nor
//!    a hole in the log explains: these are halted alone.
//!
//! A record that compaction or retention has taken says nothing: it can no longer differ.
//!
//! # Where reading starts
//!
//! Each shard and the archive need a partition from their own next offset on, behind accepted gaps.
//! Reading starts at the least of these, and each of them drops what it already has:
//!
//! ```text
//! offsets     40          52        60
//! archive      |--------------------------->  needs 40
//! shard 0                  |--------------->  needs 52, drops 40 to 51
//! shard 1                            |----->  needs 60, drops 40 to 59
//! start        ^
//! ```
//!
//! One that knows nothing of the partition needs it from the log's beginning. A partition that this
//! run has read goes on where the reader stands.
//!
//! # Watermarks
//!
//! The mark goes on where it was: with [`Plan::recorded`] each shard's mark is taken over as the
//! reader passes the offset that it was recorded at. The archive's offsets come without marks.
//! Where its need alone is the least, rows up to the first shard's offset are dated by the rows
//! since the start alone, so they may miss their `_late` flag in the archive. No value depends on
//! that: every shard has those rows. Where shards know nothing and the archive has rows below the
//! start, `prefix` adds the mark that those make.
//!
//! # Invariants
//!
//! `decided_once`: a partition is read, halted or in a gap. `offsets_never_fall`: to pass a fault
//! never leads back. `start_within_log`: reading starts at or before the log's end.
//!
//! Why no consumer group: docs/decisions/0005-no-consumer-group.md.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::invariant;
use forebay_core::ports::{
    AcceptedGap, FirstRecord, LogBounds, LogFault, LogIdentity, TopicFacts, TopicNote,
};
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::source::SourceDef;

use crate::error::PipelineError;
use crate::halt::{HaltReason, OpenGap};

/// What the broker says of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundLog {
    /// Nobody answers; the words of the client.
    Away(String),
    /// It refuses; its words.
    Refused(String),
    /// There is no such topic on this cluster.
    Missing {
        /// The cluster that answered.
        cluster: String,
    },
    /// It is there.
    There {
        /// The cluster that answered.
        cluster: String,
        /// Id and partitions.
        topic: TopicFacts,
        /// Where each partition begins and ends; those that nobody answers for are absent.
        bounds: BTreeMap<i32, LogBounds>,
        /// What stands at each applied record that was asked for, by partition and offset.
        records: BTreeMap<(i32, i64), FirstRecord>,
    },
}

/// Facts about one source: what is recorded of its log, and what is found.
#[derive(Debug, Clone)]
pub(crate) struct SourceFacts {
    /// Its name.
    pub(crate) source_name: String,
    /// Its topic.
    pub(crate) topic: Arc<str>,
    /// Cluster that the state follows, or that an archive table does where the state is new; None
    /// where neither knows one.
    pub(crate) known_cluster: Option<String>,
    /// What the state remembers of the topic.
    pub(crate) note: TopicNote,
    /// Progress of each shard.
    pub(crate) shards: Vec<Arc<Applied>>,
    /// Progress of the archive table, as it was before the first read of this run.
    pub(crate) archive: Applied,
    /// What that table knows of the topic.
    pub(crate) archived_log: LogIdentity,
    /// The last record of each partition that the table had then; none where the source is read
    /// already: it was compared before.
    pub(crate) archived_last: BTreeMap<TopicPartition, RecordDigest>,
    /// Whether the last decision was to read it. One that is not read is compared whole.
    pub(crate) reading: bool,
    /// Whether it was halted, by the last decision that did not wait for a broker.
    pub(crate) halted: bool,
    /// Where the reader stands in the partitions that it has read in this run.
    pub(crate) reader: BTreeMap<i32, i64>,
    /// What the reader has met.
    pub(crate) faults: BTreeMap<i32, LogFault>,
    /// What the broker says.
    pub(crate) found: FoundLog,
}

/// How to read a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Where to start each partition.
    pub starts: BTreeMap<TopicPartition, i64>,
    /// What the shards have recorded of each of them, in no order.
    pub recorded: BTreeMap<TopicPartition, Vec<PartitionProgress>>,
    /// Of each of them the greatest progress that any shard had: how far the reader must get before
    /// recovered pending scores see what they would have seen.
    pub reached: Applied,
    /// What the archive has of them.
    pub archived: Applied,
    /// Partitions of which some sink has read more than the log's beginning, and another nothing at
    /// all: that one gets what the log still holds.
    pub behind: Vec<TopicPartition>,
    /// Partitions that are not read although the source is.
    pub halted: BTreeMap<i32, HaltReason>,
}

impl Plan {
    /// Whether neither a shard nor the archive has a record of `place`. The archive may know where
    /// it begins: that is noted before it is read, and a crash may come between.
    pub(crate) fn is_unread(&self, place: &TopicPartition) -> bool {
        let start = self.starts.get(place).copied().unwrap_or_default();
        self.recorded.get(place).is_none_or(Vec::is_empty)
            && self.archived.next_offset(place) <= start
    }

    /// Whether neither a shard nor the archive knows anything of `place`.
    pub(crate) fn is_new(&self, place: &TopicPartition) -> bool {
        self.recorded.get(place).is_none_or(Vec::is_empty) && !self.archived.0.contains_key(place)
    }
}

/// What to do with one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Read it.
    Read(Plan),
    /// Look again: nobody answers, or what only the archive has is read first. What is read goes on
    /// being read.
    Wait(String),
    /// Read it no more until the reason is gone.
    Halt(HaltReason),
}

impl SourceFacts {
    pub(crate) fn place(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), partition)
    }

    /// Progress of each shard in `partition`, gaps passed.
    fn shard_progress(&self, place: &TopicPartition) -> Vec<Option<PartitionProgress>> {
        self.shards
            .iter()
            .map(|applied| applied.0.get(place).copied())
            .collect()
    }

    /// Partitions that any sink has read of.
    fn known_partitions(&self) -> impl Iterator<Item = i32> {
        let of_shards = self.shards.iter().flat_map(|applied| applied.0.keys());
        let of_archive = self.archive.0.keys();
        let noted = self.note.partitions.max(self.archived_log.partitions);
        of_shards
            .chain(of_archive)
            .filter(|place| place.topic == self.topic)
            .map(|place| place.partition)
            .chain(noted.checked_sub(1).filter(|last| *last >= 0))
    }

    /// What has to stand in the log still: the furthest record that a shard has applied of each
    /// partition, and the last one of the archive.
    #[must_use]
    pub(crate) fn last_records(&self) -> BTreeMap<TopicPartition, Vec<RecordDigest>> {
        let mut furthest: BTreeMap<TopicPartition, RecordDigest> = BTreeMap::new();
        for (place, progress) in self.shards.iter().flat_map(|applied| applied.0.iter()) {
            if place.topic == self.topic
                && let Some(digest) = progress.last
            {
                let entry = furthest.entry(place.clone()).or_insert(digest);
                if digest.offset > entry.offset {
                    *entry = digest;
                }
            }
        }
        let mut all: BTreeMap<TopicPartition, Vec<RecordDigest>> = furthest
            .into_iter()
            .map(|(p, last)| (p, vec![last]))
            .collect();
        let archived = self.archived_last.iter();
        for (place, last) in archived.filter(|(place, _)| place.topic == self.topic) {
            let known = all.entry(place.clone()).or_default();
            if !known.contains(last) {
                known.push(*last);
            }
        }
        all
    }
}

/// `offset`, or where the accepted gap that it lies in ends.
#[must_use]
pub(crate) fn pass_gaps(gaps: &[AcceptedGap], partition: i32, mut offset: i64) -> i64 {
    // Two gaps may touch, and their order is that of their acceptance.
    while let Some(gap) = gaps
        .iter()
        .find(|gap| gap.partition == partition && gap.from <= offset && offset < gap.to)
    {
        offset = gap.to;
    }
    offset
}

/// Decide.
#[must_use]
pub(crate) fn decide(facts: &SourceFacts) -> Decision {
    let topic = || facts.topic.to_string();
    let (cluster, there) = match &facts.found {
        FoundLog::Away(why) => return Decision::Wait(why.clone()),
        FoundLog::Refused(why) => {
            return Decision::Halt(HaltReason::Refused {
                topic: topic(),
                why: why.clone(),
            });
        }
        FoundLog::Missing { cluster } => (cluster, None),
        FoundLog::There {
            cluster,
            topic,
            bounds,
            records,
        } => (cluster, Some((topic, bounds, records))),
    };
    let archived = &facts.archived_log;
    let clusters = [&facts.known_cluster, &archived.cluster];
    if let Some(known) = clusters.into_iter().flatten().find(|k| *k != cluster) {
        return Decision::Halt(HaltReason::OtherCluster {
            topic: topic(),
            known: known.clone(),
            found: cluster.clone(),
        });
    }
    let Some((found, bounds, records)) = there else {
        return Decision::Halt(HaltReason::TopicMissing { topic: topic() });
    };
    let ids = [&facts.note.id, &archived.id];
    if let Some(id) = &found.id
        && let Some(known) = ids.into_iter().flatten().find(|known| *known != id)
    {
        return Decision::Halt(HaltReason::TopicMadeAnew {
            topic: topic(),
            known: known.clone(),
            found: id.clone(),
        });
    }
    if let Some(partition) = facts
        .known_partitions()
        .find(|known| !found.partitions.contains(known))
    {
        return Decision::Halt(HaltReason::PartitionGone {
            topic: topic(),
            partition,
            found: found.partitions.len(),
        });
    }
    read(facts, found, bounds, records)
}

/// [`decide`] where cluster, topic and partitions are the known ones.
fn read(
    facts: &SourceFacts,
    found: &TopicFacts,
    bounds: &BTreeMap<i32, LogBounds>,
    records: &BTreeMap<(i32, i64), FirstRecord>,
) -> Decision {
    let last_records = facts.last_records();
    let (mut plan, mut gaps) = (Plan::default(), Vec::new());
    for partition in &found.partitions {
        let place = facts.place(*partition);
        let Some(bounds) = bounds.get(partition) else {
            // One partition without a leader does not hold back the others, once it was read in
            // this run: also where the broker was away in between. But nothing that is gone ends a
            // halt: what it was for can then not be compared.
            let was_read = facts.reader.contains_key(partition) && !facts.halted;
            if !facts.reading && !was_read {
                return Decision::Wait(format!("nobody answers for {}-{partition}", facts.topic));
            }
            keep(facts, &mut plan, &place);
            continue;
        };
        let last = last_records.get(&place).map_or(&[][..], Vec::as_slice);
        if let Some(reason) = other_log(facts, &place, *bounds, last, records) {
            return Decision::Halt(reason);
        }
        let compared = last.iter().all(|last| {
            last.offset < bounds.begin || records.contains_key(&(*partition, last.offset))
        });
        if !compared && !facts.reading {
            return Decision::Wait(format!(
                "nobody answers for the last applied record of {}-{partition}",
                facts.topic
            ));
        }
        let start = place_start(facts, &mut plan, &place, *bounds);
        // A reader at work may be beyond what was asked before it moved on, and says itself when it
        // has lost its place.
        let is_read = facts.reading && facts.reader.contains_key(partition);
        let at_work = is_read && !facts.faults.contains_key(partition);
        if start < bounds.begin && !at_work {
            gaps.push(OpenGap {
                partition: *partition,
                from: start,
                to: bounds.begin,
            });
            continue;
        }
        match fault(facts, *partition, start, *bounds) {
            Ok(past) => {
                check_start(facts, &place, (start, past), *bounds);
                plan.starts.insert(place, past);
            }
            Err(reason) => {
                plan.halted.insert(*partition, reason);
            }
        }
    }
    check_decided_once(&plan, &gaps);
    if gaps.is_empty() {
        return Decision::Read(plan);
    }
    Decision::Halt(HaltReason::Gap {
        source_name: facts.source_name.clone(),
        topic: facts.topic.to_string(),
        gaps,
    })
}

/// What holds of where a partition is read from: `past` the fault that was met at `start`, if any.
fn check_start(
    facts: &SourceFacts,
    place: &TopicPartition,
    (start, past): (i64, i64),
    bounds: LogBounds,
) {
    invariant!(
        OffsetsNeverFall,
        past >= start,
        "{place:?}: a fault at {start} is passed at {past}"
    );
    // The end was asked for before a reader at work moved on.
    invariant!(
        StartWithinLog,
        past <= bounds.last_stable || facts.reader.contains_key(&place.partition),
        "{place:?}: {past} in {bounds:?}"
    );
}

/// What holds of every plan, whatever was found.
fn check_decided_once(plan: &Plan, gaps: &[OpenGap]) {
    let is_halted = |partition: i32| plan.halted.contains_key(&partition);
    let mut read = plan.starts.keys().map(|place| place.partition);
    let is_gap = |partition: i32| gaps.iter().any(|gap| gap.partition == partition);
    invariant!(
        DecidedOnce,
        read.all(|partition| !is_halted(partition) && !is_gap(partition))
            && gaps.iter().all(|gap| !is_halted(gap.partition)),
        "{} read, {} halted, {} gaps",
        plan.starts.len(),
        plan.halted.len(),
        gaps.len()
    );
}

/// A partition that is read and that nobody answers for goes on where it is.
fn keep(facts: &SourceFacts, plan: &mut Plan, place: &TopicPartition) {
    if let Some(at) = facts.reader.get(&place.partition) {
        plan.starts.insert(place.clone(), *at);
    }
}

/// Why the partition's log is not the one that was read; None where nothing says so.
fn other_log(
    facts: &SourceFacts,
    place: &TopicPartition,
    bounds: LogBounds,
    last: &[RecordDigest],
    records: &BTreeMap<(i32, i64), FirstRecord>,
) -> Option<HaltReason> {
    let (topic, partition) = (facts.topic.to_string(), place.partition);
    let furthest = facts
        .shard_progress(place)
        .into_iter()
        .flatten()
        .chain(facts.archive.0.get(place).copied())
        .map(|progress| progress.next_offset)
        .max()
        .unwrap_or(0);
    if furthest > bounds.last_stable {
        return Some(HaltReason::LogShorter {
            topic,
            partition,
            offset: furthest,
            end: bounds.last_stable,
        });
    }
    // Compaction may have taken the record; then the next one stands above it.
    let differs = |last: &&RecordDigest| {
        let found = records.get(&(partition, last.offset));
        matches!(found, Some(FirstRecord::Record(found)) if found.offset == last.offset && found != *last)
    };
    let other = last.iter().find(differs)?;
    Some(HaltReason::RecordDiffers {
        topic,
        partition,
        offset: other.offset,
    })
}

/// Where `place` is to be read from; what the shards had of it goes into `plan`.
fn place_start(
    facts: &SourceFacts,
    plan: &mut Plan,
    place: &TopicPartition,
    bounds: LogBounds,
) -> i64 {
    let passed = |offset| pass_gaps(&facts.note.gaps, place.partition, offset);
    let shards = facts.shard_progress(place);
    let archive = facts.archive.0.get(place);
    let marks = || {
        let of_shards = shards.iter().flatten().map(|p| p.next_offset);
        of_shards.chain(archive.map(|p| p.next_offset)).map(passed)
    };
    let new = shards.iter().any(Option::is_none) || archive.is_none();
    if new && bounds.begin > 0 && marks().any(|mark| mark > bounds.begin) {
        plan.behind.push(place.clone());
    }
    let recorded: Vec<PartitionProgress> = shards.iter().flatten().copied().collect();
    recorded
        .iter()
        .for_each(|progress| plan.reached.advance(place, *progress));
    plan.recorded.insert(place.clone(), recorded);
    if let Some(archive) = archive {
        plan.archived.advance(place, *archive);
    }
    if let Some(at) = facts.reader.get(&place.partition) {
        return passed(*at);
    }
    // A sink that has no mark starts where the log does, wherever that is; one that has goes on
    // from it.
    marks()
        .chain(new.then_some(bounds.begin))
        .min()
        .unwrap_or(bounds.begin)
}

/// Where to go on after what the reader met at `start`, or why not.
fn fault(
    facts: &SourceFacts,
    partition: i32,
    start: i64,
    bounds: LogBounds,
) -> Result<i64, HaltReason> {
    let (source_name, topic) = (facts.source_name.clone(), facts.topic.to_string());
    let met = match facts.faults.get(&partition) {
        Some(LogFault::Unreadable { offset, .. }) => Some(*offset),
        Some(LogFault::OffsetFell { expected, .. } | LogFault::OffsetJumped { expected, .. }) => {
            Some(*expected)
        }
        _ => None,
    };
    // Holes may lie between the reader's place and the gap: what it met is what was accepted.
    let past = met.map(|met| (met, pass_gaps(&facts.note.gaps, partition, met)));
    if let Some((_, past)) = past.filter(|(met, past)| past > met) {
        return Ok(past.max(start));
    }
    match facts.faults.get(&partition) {
        Some(LogFault::Unreadable { offset, why }) if start <= *offset => {
            Err(HaltReason::Unreadable {
                source_name,
                topic,
                partition,
                offset: *offset,
                why: why.clone(),
            })
        }
        Some(LogFault::OffsetFell { expected, found }) if start <= *expected => {
            Err(HaltReason::OffsetFell {
                source_name,
                topic,
                partition,
                expected: *expected,
                found: *found,
            })
        }
        Some(LogFault::OffsetJumped { expected, found }) if start <= *expected => {
            if *found < bounds.last_stable {
                // The log reaches so far: a long hole, and nothing was read of it.
                return Ok(*found);
            }
            Err(HaltReason::OffsetBeyondEnd {
                source_name,
                topic,
                partition,
                expected: *expected,
                found: *found,
                end: bounds.last_stable,
            })
        }
        Some(LogFault::Refused { why }) => Err(HaltReason::Refused {
            topic,
            why: why.clone(),
        }),
        _ => Ok(start),
    }
}

/// Refuse two sources over one topic: watermarks and marks belong to the topic's partitions, and a
/// topic's records have one event time.
///
/// # Errors
/// [`PipelineError::SharedTopic`].
pub fn check_topics(sources: &[Arc<SourceDef>]) -> Result<(), PipelineError> {
    let mut readers: BTreeMap<&str, &str> = BTreeMap::new();
    for source in sources {
        if let Some(first) = readers.insert(&source.topic, &source.name)
            && first != source.name
        {
            let (topic, first, second) =
                (source.topic.clone(), first.to_owned(), source.name.clone());
            return Err(PipelineError::SharedTopic {
                topic,
                first,
                second,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
