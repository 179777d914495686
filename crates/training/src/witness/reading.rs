//! What the log says: its records at the offsets that somebody wants to know of, read by a client
//! of its own from given offsets, as ingest reads them; nothing is committed. A partition that
//! gives nothing for a while is left where it is, and what was not read counts as not read.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::invariant;
use forebay_core::offsets::OffsetSet;
use forebay_core::ports::{EventLog, LogFault, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;

use super::archived::Digests;
use super::rows::digests;
use crate::error::TrainingError;

/// Records of one poll.
const POLL_MAX_ROWS: usize = 4_096;
/// Longest wait of one poll.
const POLL_MAX: Duration = Duration::from_millis(250);
/// Polls in a row that bring nothing, after which the log counts as silent: ten seconds.
const SILENT_POLLS_MAX: u32 = 40;

/// What was read of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct PartitionRead {
    /// Offsets whose answer is known.
    pub(super) read: OffsetSet,
    /// Those with a record.
    pub(super) records: OffsetSet,
    /// Those whose record is not what the archive has there.
    pub(super) differing: OffsetSet,
    /// Those whose record is what the archive has there.
    pub(super) equal: OffsetSet,
    /// Offset and identity of the rows that the archive does not have.
    pub(super) unknown: Vec<(i64, u64)>,
}

/// What was read, by partition.
pub(super) type Reads = BTreeMap<TopicPartition, PartitionRead>;

/// One pass over the log.
pub(super) struct Reading<'a> {
    pub(super) source: &'a Arc<SourceDef>,
    /// What the archive has at the offsets that are read.
    pub(super) archived: &'a Digests,
    /// Columns that make two rows the same prediction; empty for a source that has no repeats.
    pub(super) identity: &'a [&'a str],
}

impl Reading<'_> {
    /// Read the offsets in `wanted`.
    pub(super) fn run(
        &self,
        log: &mut dyn EventLog,
        wanted: &BTreeMap<TopicPartition, OffsetSet>,
    ) -> Result<Reads, TrainingError> {
        let mut reads = Reads::new();
        let mut left: BTreeMap<TopicPartition, VecDeque<Range<i64>>> = BTreeMap::new();
        for (place, set) in wanted.iter().filter(|(_, set)| !set.is_empty()) {
            reads.insert(place.clone(), PartitionRead::default());
            left.insert(place.clone(), set.ranges().collect());
        }
        let mut silent = 0;
        while !left.is_empty() && silent < SILENT_POLLS_MAX {
            let mut fronts = left.values().map(VecDeque::front);
            invariant!(
                ReadsAreLeft,
                fronts.all(|front| front.is_some_and(|range| !range.is_empty())),
                "one of {} partitions is read to its end",
                left.len()
            );
            let from = left.iter().filter_map(|(place, ranges)| {
                let range = ranges.front()?;
                Some((place.clone(), range.start))
            });
            log.assign(std::slice::from_ref(self.source), &from.collect())?;
            let mut moved_on = false;
            while !moved_on && silent < SILENT_POLLS_MAX {
                // A broker that is away for a moment says so here; one that stays away is silent.
                let batches = log.poll(POLL_MAX_ROWS, POLL_MAX).unwrap_or_default();
                for batch in &batches {
                    self.take(batch, &left, &mut reads)?;
                }
                let (advanced, ended) = advance(log, &mut left, &mut reads);
                silent = if advanced { 0 } else { silent + 1 };
                moved_on = ended;
            }
        }
        Ok(reads)
    }

    /// Note the records of `batch` that are wanted.
    fn take(
        &self,
        batch: &SourceBatch,
        left: &BTreeMap<TopicPartition, VecDeque<Range<i64>>>,
        reads: &mut Reads,
    ) -> Result<(), TrainingError> {
        let own: Vec<&str> = self
            .source
            .columns
            .iter()
            .map(|c| c.name.as_str())
            .collect();
        let values = digests(&batch.rows, &own)?;
        let identities = digests(&batch.rows, self.identity)?;
        let rows = batch.origin.partition.iter().zip(&batch.origin.offset);
        let rows = rows.enumerate().map(|(row, (slot, offset))| {
            let place = &batch.origin.partitions[*slot as usize];
            (place, *offset, Some((values[row], identities[row])))
        });
        let letters = batch.dead_letters.iter();
        let letters = letters.map(|letter| (&letter.partition, letter.offset, None));
        for (place, offset, row) in rows.chain(letters) {
            let range = left.get(place).and_then(VecDeque::front);
            invariant!(
                ReadsFromWhereAsked,
                range.is_none_or(|range| range.start <= offset),
                "{place:?}: {offset} came, and {range:?} was asked for"
            );
            if !range.is_some_and(|range| range.contains(&offset)) {
                continue;
            }
            let read = reads.entry(place.clone()).or_default();
            // Its partition may be stopped before the reader's position says so.
            read.read.insert(offset);
            read.records.insert(offset);
            match (self.archived_at(place, offset), row) {
                (Some(archived), Some((value, _))) if archived == value => {
                    read.equal.insert(offset);
                }
                (Some(_), _) => {
                    read.differing.insert(offset);
                }
                (None, Some((_, identity))) => read.unknown.push((offset, identity)),
                (None, None) => {}
            }
        }
        for (place, read) in reads.iter() {
            let compared = read.equal.count() + read.differing.count();
            invariant!(
                CountsAddUp,
                compared <= read.records.count(),
                "{place:?}: {compared} records were compared of {}",
                read.records.count()
            );
        }
        Ok(())
    }

    fn archived_at(&self, place: &TopicPartition, offset: i64) -> Option<u64> {
        let pairs = self.archived.get(place)?;
        let found = pairs.binary_search_by_key(&offset, |(offset, _)| *offset);
        found.ok().map(|index| pairs[index].1)
    }
}

/// Take over how far `log` has come. Whether it has moved, and whether it has to be assigned again:
/// a range is read, or a partition cannot be read on.
fn advance(
    log: &mut dyn EventLog,
    left: &mut BTreeMap<TopicPartition, VecDeque<Range<i64>>>,
    reads: &mut Reads,
) -> (bool, bool) {
    let (mut advanced, mut ended) = (false, false);
    let mut reached: Vec<(TopicPartition, Option<i64>)> = log
        .positions()
        .into_iter()
        .map(|(place, position)| (place, Some(position.next_offset)))
        .collect();
    for (place, fault) in log.faults() {
        ended = true;
        // A long hole: the log goes on behind it. Whatever else it is, nothing more comes.
        let beyond = match fault {
            LogFault::OffsetJumped { found, .. } => Some(found),
            _ => None,
        };
        reached.push((place, beyond));
    }
    for (place, at) in reached {
        let Some(ranges) = left.get_mut(&place) else {
            continue;
        };
        let start = ranges.front().map(|range| range.start);
        invariant!(
            OffsetsNeverFall,
            at.zip(start).is_none_or(|(at, start)| at >= start),
            "{place:?}: the reader stands at {at:?}, behind {start:?}"
        );
        match (at, ranges.front_mut()) {
            (Some(at), Some(range)) if at > range.start => {
                let to = at.min(range.end);
                let read = reads.entry(place.clone()).or_default();
                read.read.insert_range(range.start, to);
                range.start = to;
                advanced = true;
                if range.is_empty() {
                    ranges.pop_front();
                    ended = true;
                }
            }
            (None, _) => ranges.clear(),
            _ => {}
        }
        if ranges.is_empty() {
            left.remove(&place);
            ended = true;
        }
    }
    (advanced, ended)
}
