//! Predictions arrive at least once: a crash between "acknowledged" and "outbox cleared" sends them again with the same
//! id. The first one wins; here the others are dropped before archive and observers see them. The set is compact (ids are
//! offsets of one partition, nearly contiguous) and is rebuilt from the archive at start.

use std::collections::{BTreeMap, HashMap};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{BooleanArray, RecordBatch, UInt32Array};
use forebay_core::ports::SourceBatch;
use forebay_core::prediction::column;

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
        let before = self.intervals.range(..=offset).next_back().map(|(start, end)| (*start, *end));
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
}

impl Repeats {
    /// Note the predictions of `rows` (columns as [`forebay_core::prediction::prediction_columns`]). Returns for each row
    /// whether it is new.
    ///
    /// # Errors
    /// A column is missing.
    pub fn note(&mut self, rows: &RecordBatch) -> Result<BooleanArray, PipelineError> {
        let get = |name: &str| rows.column_by_name(name).ok_or_else(|| missing(name));
        let text = |name: &str| get(name).and_then(|c| c.as_string_opt::<i32>().ok_or_else(|| missing(name)));
        let int = |name: &str| get(name).and_then(|c| c.as_primitive_opt::<Int32Type>().ok_or_else(|| missing(name)));
        let (deployment, role) = (text(column::DEPLOYMENT)?, text(column::ROLE)?);
        let (topic, partition) = (text(column::SOURCE_TOPIC)?, int(column::SOURCE_PARTITION)?);
        let version = int(column::MODEL_VERSION)?;
        let offset = get(column::SOURCE_OFFSET)?;
        let offset = offset.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(column::SOURCE_OFFSET))?;
        Ok((0..rows.num_rows())
            .map(|row| {
                let stream = Stream {
                    deployment: deployment.value(row).to_owned(),
                    model_version: version.value(row),
                    role: role.value(row).to_owned(),
                    topic: topic.value(row).to_owned(),
                    partition: partition.value(row),
                };
                Some(self.seen.entry(stream).or_default().insert(offset.value(row)))
            })
            .collect())
    }

    /// `batch` without its repeats, and how many there were.
    ///
    /// # Errors
    /// A column is missing.
    pub fn drop_from(&mut self, batch: SourceBatch) -> Result<(SourceBatch, usize), PipelineError> {
        let new = self.note(&batch.rows)?;
        let repeats = new.len() - new.true_count();
        if repeats == 0 {
            return Ok((batch, 0));
        }
        let kept: Vec<u32> = new.values().set_indices_u32().collect();
        let rows = arrow_select::take::take_record_batch(&batch.rows, &UInt32Array::from(kept.clone()))?;
        let mut origin = batch.origin.clone();
        origin.partition = pick(&batch.origin.partition, &kept);
        origin.offset = pick(&batch.origin.offset, &kept);
        origin.kafka_time_us = pick(&batch.origin.kafka_time_us, &kept);
        origin.watermark_us = pick(&batch.origin.watermark_us, &kept);
        Ok((SourceBatch { rows, origin, ..batch }, repeats))
    }
}

fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().filter_map(|row| values.get(*row as usize).copied()).collect()
}

fn missing(name: &str) -> PipelineError {
    PipelineError::Port(forebay_core::PortError::internal(format!("a prediction record has no usable column '{name}'")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
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
