//! The marks of rows that only the archive has. A new state beside a kept archive (its directory
//! was moved away) begins where the log does by then; what is too late there follows from the rows
//! below too, as it did when they were read, and as a fill of a view says that reads the archive
//! from its first row. Reads one column of times, once, before such a partition is read.

use std::collections::BTreeMap;

use arrow_array::PrimitiveArray;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::ports::{Archive, Runtime, Scan};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use forebay_core::watermark::{MarkRecord, PartitionMark};
use forebay_core::{PortError, PortResult};
use futures::TryStreamExt;

use crate::backfill::origin_of;
use crate::error::PipelineError;
use crate::recovery::Plan;
use crate::runtime::block_on;

/// Marks at which the partitions of a new state begin, by what the archive has below.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// The decisions about time that the archive has.
    records: Vec<MarkRecord>,
    /// The marks where partitions begin, of those that were read already.
    known: BTreeMap<TopicPartition, PartitionProgress>,
}

impl Prefixes {
    /// With the decisions that the archive has.
    pub(crate) fn new(records: Vec<MarkRecord>) -> Self {
        Self {
            records,
            known: BTreeMap::new(),
        }
    }

    /// Tell `plan` the marks where partitions begin of which the archive has rows, and no shard has
    /// recorded anything.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(crate) fn date(
        &mut self,
        plan: &mut Plan,
        source: &SourceDef,
        (archive, runtime): (&dyn Archive, &dyn Runtime),
    ) -> PortResult<()> {
        let is_new = |place: &TopicPartition, start: i64| {
            let recorded = plan.recorded.get(place);
            let unknown = recorded.is_none_or(Vec::is_empty);
            unknown && start > 0 && plan.archived.next_offset(place) > 0
        };
        let starts = plan.starts.iter();
        let new = starts.filter(|(place, start)| is_new(place, **start));
        let new: Vec<(TopicPartition, i64)> = new.map(|(p, start)| (p.clone(), *start)).collect();
        let mut unread = Applied::default();
        for (place, start) in new.iter().filter(|(p, _)| !self.known.contains_key(p)) {
            unread.advance(place, at(*start));
        }
        if !unread.0.is_empty() {
            let read = marks_below(source, &unread, &self.records, archive);
            let read = block_on(runtime, read);
            self.known.extend(read.map_err(|error| {
                PortError::with_source(error.kind(), "rows below the log's beginning", error)
            })?);
        }
        for (place, _) in new {
            if let Some(progress) = self.known.get(&place) {
                plan.recorded.insert(place, vec![*progress]);
            }
        }
        Ok(())
    }
}

/// Progress at the offsets of `starts`, with the marks of the archived rows below them.
async fn marks_below(
    source: &SourceDef,
    starts: &Applied,
    records: &[MarkRecord],
    archive: &dyn Archive,
) -> Result<BTreeMap<TopicPartition, PartitionProgress>, PipelineError> {
    let mut marks: BTreeMap<TopicPartition, PartitionMark> = BTreeMap::new();
    for place in starts.0.keys() {
        let of_place = records.iter().filter(|record| record.partition == *place);
        let facts = of_place.map(|record| record.fact);
        let mark = PartitionMark::recovered(0, &[], facts, i64::MAX);
        marks.insert(place.clone(), mark);
    }
    let time = source.columns[source.time_column].name.as_str();
    let place = [meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::KAFKA_TIME];
    let scan = Scan::columns(place.into_iter().chain([time])).in_log_order();
    let scan = archive.scan(&source.name, scan.below(starts.clone()));
    let mut batches = scan.await?;
    while let Some(rows) = batches.try_next().await? {
        let origin = origin_of(&rows)?;
        let times = rows.column_by_name(time).and_then(|c| c.as_primitive_opt());
        let times: &PrimitiveArray<TimestampMicrosecondType> =
            times.ok_or_else(|| lacks(source, time))?;
        let places = origin.partition.iter().zip(&origin.offset);
        for ((slot, offset), time_us) in places.zip(times.values()) {
            if let Some(mark) = marks.get_mut(&origin.partitions[*slot as usize]) {
                mark.pass(*offset, *time_us, source.watermark_delay_us, None);
            }
        }
    }
    let progress = marks.into_iter().map(|(place, mark)| {
        let progress = PartitionProgress {
            max_event_time_us: mark.mark_us(),
            ..at(starts.next_offset(&place))
        };
        (place, progress)
    });
    Ok(progress.collect())
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
