//! Predictions arrive at least once: a crash between "acknowledged" and "outbox cleared" sends them
//! again with the same id. The first one wins; here the others are dropped before views, archive
//! and observers see them. The set is compact (ids are offsets of one partition, nearly contiguous)
//! and is rebuilt from the archive at start.
//!
//! What the archive holds from where the reader starts on is left out then: the reader brings those
//! records again, and the first of them is no repeat to a shard that has not got it. The reader
//! starts at the smallest mark of the shards or of the archive itself, so all that every shard has
//! counts as seen at once; only the rest is kept row by row until the start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int32Array, Int64Array, RecordBatch, StringArray, UInt32Array};
use forebay_core::ports::SourceBatch;
use forebay_core::prediction::column;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::meta;

use crate::error::PipelineError;

/// Disjoint, sorted intervals of offsets.
#[derive(Debug, Default, Clone)]
pub struct OffsetSet {
    /// First offset of each interval -> one past its last.
    intervals: BTreeMap<i64, i64>,
}

impl OffsetSet {
    /// Add `offset`; false when it was there.
    pub fn insert(&mut self, offset: i64) -> bool {
        let before = self
            .intervals
            .range(..=offset)
            .next_back()
            .map(|(start, end)| (*start, *end));
        if before.is_some_and(|(_, end)| offset < end) {
            return false;
        }
        let start = match before {
            Some((start, end)) if end == offset => start,
            _ => offset,
        };
        let end = self.intervals.remove(&(offset + 1)).unwrap_or(offset + 1);
        self.intervals.insert(start, end);
        true
    }

    /// Number of intervals.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.intervals.len()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stream {
    deployment: String,
    model_version: i32,
    role: String,
    topic: String,
    partition: i32,
}

/// Which predictions were seen.
#[derive(Debug, Default)]
pub struct Repeats {
    seen: HashMap<Stream, OffsetSet>,
    /// What each shard has applied; none: nothing is known.
    shards: Vec<Arc<Applied>>,
    /// What the archive holds and a shard may lack: for each stream and place of its records the
    /// record's own offset and that of its event.
    archived: HashMap<(Stream, TopicPartition), Vec<(i64, i64)>>,
}

impl Repeats {
    /// For a pipeline that starts over shards with this progress.
    #[must_use]
    pub fn over(shards: Vec<Arc<Applied>>) -> Self {
        Self {
            shards,
            ..Self::default()
        }
    }

    /// Note archived predictions: rows with the columns of
    /// [`forebay_core::prediction::prediction_columns`] and of [`meta`], in any order. They count
    /// from [`Self::begin_at`] on.
    ///
    /// # Errors
    /// A column is missing.
    pub fn note(&mut self, rows: &RecordBatch) -> Result<(), PipelineError> {
        let events = Events::of(rows)?;
        let (topic, partition) = (text(rows, meta::TOPIC)?, int(rows, meta::PARTITION)?);
        let offset = long(rows, meta::OFFSET)?;
        let mut topics: HashMap<&str, Arc<str>> = HashMap::new();
        let mut settled: HashMap<TopicPartition, i64> = HashMap::new();
        for row in 0..rows.num_rows() {
            let name = topic.value(row);
            let name = Arc::clone(topics.entry(name).or_insert_with(|| name.into()));
            let place = TopicPartition::new(name, partition.value(row));
            let (stream, event) = (events.stream(row), events.offset.value(row));
            let settled = *settled
                .entry(place.clone())
                .or_insert_with_key(|place| self.settled(place));
            if offset.value(row) < settled {
                self.seen.entry(stream).or_default().insert(event);
            } else {
                self.archived
                    .entry((stream, place))
                    .or_default()
                    .push((offset.value(row), event));
            }
        }
        Ok(())
    }

    /// One past the records of `place` that every shard has: the reader starts there, or where the
    /// archive ends.
    fn settled(&self, place: &TopicPartition) -> i64 {
        self.shards
            .iter()
            .map(|applied| applied.next_offset(place))
            .min()
            .unwrap_or(0)
    }

    /// The reader starts here: archived records below count as seen, the others will be read again.
    pub fn begin_at(&mut self, starts: &BTreeMap<TopicPartition, i64>) {
        for ((stream, place), mut records) in std::mem::take(&mut self.archived) {
            let start = starts.get(&place).copied().unwrap_or(i64::MAX);
            records.retain(|(offset, _)| *offset < start);
            // Ascending, neighbours join into one interval at once.
            records.sort_unstable_by_key(|(_, event)| *event);
            let seen = self.seen.entry(stream).or_default();
            for (_, event) in records {
                seen.insert(event);
            }
        }
    }

    /// `batch` without its repeats, and how many there were.
    ///
    /// # Errors
    /// A column is missing.
    pub fn drop_from(&mut self, batch: SourceBatch) -> Result<(SourceBatch, usize), PipelineError> {
        let events = Events::of(&batch.rows)?;
        let mut fresh = |row: &u32| {
            let row = *row as usize;
            self.seen
                .entry(events.stream(row))
                .or_default()
                .insert(events.offset.value(row))
        };
        let rows = u32::try_from(batch.rows.num_rows()).unwrap_or(u32::MAX);
        let kept: Vec<u32> = (0..rows).filter(|row| fresh(row)).collect();
        let repeats = batch.rows.num_rows() - kept.len();
        if repeats == 0 {
            Ok((batch, 0))
        } else {
            Ok((keep_rows(batch, &kept)?, repeats))
        }
    }
}

/// The columns that say which event each prediction is of.
struct Events<'a> {
    deployment: &'a StringArray,
    version: &'a Int32Array,
    role: &'a StringArray,
    topic: &'a StringArray,
    partition: &'a Int32Array,
    offset: &'a Int64Array,
}

impl<'a> Events<'a> {
    fn of(rows: &'a RecordBatch) -> Result<Self, PipelineError> {
        Ok(Self {
            deployment: text(rows, column::DEPLOYMENT)?,
            version: int(rows, column::MODEL_VERSION)?,
            role: text(rows, column::ROLE)?,
            topic: text(rows, column::SOURCE_TOPIC)?,
            partition: int(rows, column::SOURCE_PARTITION)?,
            offset: long(rows, column::SOURCE_OFFSET)?,
        })
    }

    fn stream(&self, row: usize) -> Stream {
        Stream {
            deployment: self.deployment.value(row).to_owned(),
            model_version: self.version.value(row),
            role: self.role.value(row).to_owned(),
            topic: self.topic.value(row).to_owned(),
            partition: self.partition.value(row),
        }
    }
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray, PipelineError> {
    rows.column_by_name(name)
        .and_then(|c| c.as_string_opt::<i32>())
        .ok_or_else(|| missing(name))
}

fn int<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Int32Array, PipelineError> {
    rows.column_by_name(name)
        .and_then(|c| c.as_primitive_opt::<Int32Type>())
        .ok_or_else(|| missing(name))
}

fn long<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, PipelineError> {
    rows.column_by_name(name)
        .and_then(|c| c.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| missing(name))
}

/// `batch` with these of its rows, ascending; what else it brought stays.
pub(crate) fn keep_rows(batch: SourceBatch, kept: &[u32]) -> Result<SourceBatch, PipelineError> {
    let rows =
        arrow_select::take::take_record_batch(&batch.rows, &UInt32Array::from(kept.to_vec()))?;
    let mut origin = batch.origin;
    origin.partition = pick(&origin.partition, kept);
    origin.offset = pick(&origin.offset, kept);
    origin.kafka_time_us = pick(&origin.kafka_time_us, kept);
    origin.broker_time = pick(&origin.broker_time, kept);
    origin.watermark_us = pick(&origin.watermark_us, kept);
    Ok(SourceBatch {
        rows,
        origin,
        ..batch
    })
}

fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter()
        .filter_map(|row| values.get(*row as usize).copied())
        .collect()
}

fn missing(name: &str) -> PipelineError {
    PipelineError::Port(forebay_core::PortError::internal(format!(
        "a prediction record has no usable column '{name}'"
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow_array::ArrayRef;
    use forebay_core::progress::PartitionProgress;
    use proptest::prelude::*;

    use super::*;

    /// Predictions of one stream: the offset of each record and of its event.
    fn predictions(places: &[(i64, i64)]) -> RecordBatch {
        let text = |value: &str| Arc::new(StringArray::from(vec![value; places.len()])) as ArrayRef;
        let number = |value: i32| Arc::new(Int32Array::from(vec![value; places.len()])) as ArrayRef;
        let long = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        RecordBatch::try_from_iter([
            (column::DEPLOYMENT, text("d")),
            (column::MODEL_VERSION, number(1)),
            (column::ROLE, text("live")),
            (column::SOURCE_TOPIC, text("events")),
            (column::SOURCE_PARTITION, number(0)),
            (
                column::SOURCE_OFFSET,
                long(places.iter().map(|place| place.1).collect()),
            ),
            (meta::TOPIC, text("predictions")),
            (meta::PARTITION, number(0)),
            (
                meta::OFFSET,
                long(places.iter().map(|place| place.0).collect()),
            ),
        ])
        .expect("columns of one length")
    }

    fn shard(next_offset: i64) -> Arc<Applied> {
        let mut applied = Applied::default();
        let progress = PartitionProgress {
            next_offset,
            max_event_time_us: None,
        };
        applied.advance(&TopicPartition::new("predictions", 0), progress);
        Arc::new(applied)
    }

    #[test]
    fn what_every_shard_has_is_kept_as_intervals_and_the_rest_until_the_start() {
        let archive: Vec<(i64, i64)> = (0..1_000).map(|offset| (offset, offset)).collect();
        let mut repeats = Repeats::over(vec![shard(990), shard(1_000)]);
        repeats.note(&predictions(&archive)).expect("its columns");
        assert_eq!(repeats.archived.values().map(Vec::len).sum::<usize>(), 10);
        assert_eq!(
            repeats
                .seen
                .values()
                .map(OffsetSet::intervals)
                .sum::<usize>(),
            1
        );
    }

    proptest! {
        #[test]
        fn shards_that_are_known_change_no_answer(
            events in proptest::collection::vec(0_i64..60, 1..60),
            marks in proptest::collection::vec(0_i64..70, 1..3),
            order in any::<bool>(),
        ) {
            // One event may have several records; the archive's files come in any order.
            let mut archive: Vec<(i64, i64)> = events.into_iter().enumerate().map(|(o, e)| (o as i64, e)).collect();
            let start = marks.iter().copied().min().unwrap_or(0).min(archive.len() as i64);
            if order {
                archive.reverse();
            }
            let starts = BTreeMap::from([(TopicPartition::new("predictions", 0), start)]);
            let answers = |mut repeats: Repeats| {
                repeats.note(&predictions(&archive)).expect("its columns");
                repeats.begin_at(&starts);
                let seen = repeats.seen.into_values().next().unwrap_or_default();
                (0..60).map(|event| !seen.clone().insert(event)).collect::<Vec<bool>>()
            };
            let known = answers(Repeats::over(marks.iter().map(|mark| shard(*mark)).collect()));
            prop_assert_eq!(known, answers(Repeats::default()));
        }


        #[test]
        fn the_set_answers_as_a_plain_set_does(offsets in proptest::collection::vec(0_i64..200, 0..300)) {
            let (mut compact, mut plain) = (OffsetSet::default(), BTreeSet::new());
            for offset in offsets {
                prop_assert_eq!(compact.insert(offset), plain.insert(offset));
            }
            let runs = plain.iter().filter(|o| !plain.contains(&(*o - 1))).count();
            prop_assert_eq!(compact.intervals(), runs);
        }
    }
}
