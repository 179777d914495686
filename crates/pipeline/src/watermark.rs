//! Watermarks: for row i of a partition, the greatest event time among the *earlier* rows less the
//! source's delay. A pure function of the log: no clock, no batch boundary. Owned by the ingest
//! thread; readers see a published copy.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::ports::SourceBatch;
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use parking_lot::RwLock;

use crate::recovery::Plan;

/// Running maxima of every partition.
#[derive(Debug, Default)]
pub struct Watermarks {
    partitions: HashMap<TopicPartition, Partition>,
    published: Arc<PublishedWatermarks>,
}

#[derive(Debug, Clone, Default)]
struct Partition {
    max_event_time_us: Option<Micros>,
    next_offset: i64,
    /// What shards had recorded when the process started, furthest first: each is taken over when
    /// the reader gets there.
    recorded: Vec<PartitionProgress>,
    /// How often it was found without a row and without a record to read, in a row.
    found_empty: u32,
}

/// Looks after which a partition that never had a row is taken for idle and no longer holds its
/// source back.
const IDLE_AFTER_LOOKS: u32 = 10;

/// The newest watermark of each source, for readers on other threads.
#[derive(Debug, Default)]
pub struct PublishedWatermarks {
    sources: RwLock<BTreeMap<String, Micros>>,
}

impl PublishedWatermarks {
    /// Smallest watermark over the partitions of `source`; None until each of them had a row or is
    /// known to be idle, since the first rows of the others may be older than any seen so far.
    #[must_use]
    pub fn of(&self, source: &str) -> Option<Micros> {
        self.sources.read().get(source).copied()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Micros> {
        self.sources.read().clone()
    }
}

impl Watermarks {
    /// The reader stands where `plan` starts it. Of each partition the maximum is what a shard had
    /// recorded for the prefix up to there, and grows over what the other shards had recorded as
    /// the reader passes it.
    #[must_use]
    pub fn recovered(plan: &Plan, published: Arc<PublishedWatermarks>) -> Self {
        let mut partitions = HashMap::with_capacity(plan.starts.len());
        for (partition, start) in &plan.starts {
            let mut recorded = plan.recorded.get(partition).cloned().unwrap_or_default();
            recorded.sort_unstable_by_key(|progress| Reverse(progress.next_offset));
            let mut state = Partition {
                next_offset: *start,
                recorded,
                ..Partition::default()
            };
            state.reach(*start);
            partitions.insert(partition.clone(), state);
        }
        Self {
            partitions,
            published,
        }
    }

    /// Where other threads read the watermarks.
    #[must_use]
    pub fn published(&self) -> Arc<PublishedWatermarks> {
        Arc::clone(&self.published)
    }

    /// For each row of `batch` the watermark before it; moves the maxima past the batch.
    pub fn pass(&mut self, batch: &SourceBatch) -> Vec<Option<Micros>> {
        let (source, origin) = (&batch.source, &batch.origin);
        let times = batch
            .rows
            .column(source.time_column)
            .as_primitive::<TimestampMicrosecondType>();
        // Looked up once a partition and not once a row.
        let mut states: Vec<Partition> = origin
            .partitions
            .iter()
            .map(|p| self.partitions.remove(p).unwrap_or_default())
            .collect();
        let mut before = Vec::with_capacity(times.len());
        for (row, slot) in origin.partition.iter().enumerate() {
            let state = &mut states[*slot as usize];
            state.reach(origin.offset[row]);
            before.push(
                state
                    .max_event_time_us
                    .map(|max| max.saturating_sub(source.watermark_delay_us)),
            );
            state.max_event_time_us = state.max_event_time_us.max(Some(times.value(row)));
        }
        self.partitions
            .extend(origin.partitions.iter().cloned().zip(states));
        for (partition, next_offset) in &batch.read_up_to {
            let state = self.partitions.entry(partition.clone()).or_default();
            state.reach(*next_offset);
            state.next_offset = state.next_offset.max(*next_offset);
        }
        self.publish(source);
        before
    }

    /// Progress of `partition` as of now.
    #[must_use]
    pub fn progress(&self, partition: &TopicPartition) -> PartitionProgress {
        self.partitions.get(partition).map_or(
            PartitionProgress {
                next_offset: 0,
                max_event_time_us: None,
            },
            |state| PartitionProgress {
                next_offset: state.next_offset,
                max_event_time_us: state.max_event_time_us,
            },
        )
    }

    /// Progress of every partition that was read.
    #[must_use]
    pub fn all_progress(&self) -> Vec<(TopicPartition, PartitionProgress)> {
        self.partitions
            .keys()
            .map(|p| (p.clone(), self.progress(p)))
            .filter(|(_, p)| p.next_offset > 0)
            .collect()
    }

    /// Show the watermark of `source` to readers, once no partition of it can hold older first
    /// rows.
    pub fn publish(&self, source: &SourceDef) {
        let mut oldest: Option<Micros> = None;
        for (_, state) in self
            .partitions
            .iter()
            .filter(|(partition, _)| *partition.topic == *source.topic)
        {
            match state.max_event_time_us {
                Some(newest) => oldest = Some(oldest.map_or(newest, |oldest| oldest.min(newest))),
                None if state.found_empty >= IDLE_AFTER_LOOKS => {}
                None => return,
            }
        }
        if let Some(oldest) = oldest {
            self.published.sources.write().insert(
                source.name.clone(),
                oldest.saturating_sub(source.watermark_delay_us),
            );
        }
    }

    /// The ends of the log, looked at now and then: a partition that stays without a record becomes
    /// idle.
    pub fn look_at_ends(&mut self, ends: &BTreeMap<TopicPartition, i64>) {
        for (partition, end) in ends {
            if let Some(state) = self.partitions.get_mut(partition) {
                let empty = state.max_event_time_us.is_none() && *end <= state.next_offset;
                state.found_empty = if empty {
                    state.found_empty.saturating_add(1)
                } else {
                    0
                };
            }
        }
    }
}

impl Partition {
    /// The reader stands at `offset`: take over what was recorded for the prefix below it.
    fn reach(&mut self, offset: i64) {
        while self
            .recorded
            .last()
            .is_some_and(|recorded| offset >= recorded.next_offset)
            && let Some(recorded) = self.recorded.pop()
        {
            self.max_event_time_us = self.max_event_time_us.max(recorded.max_event_time_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{RecordBatch, TimestampMicrosecondArray};
    use forebay_core::ports::Origin;
    use forebay_core::source::{Column, SourceFormat};
    use forebay_core::time::timestamp_type;

    use super::*;

    fn batch(first_offset: i64, times: &[Micros]) -> SourceBatch {
        let column = Column {
            name: "ts".into(),
            data_type: timestamp_type(),
            nullable: false,
        };
        let source = Arc::new(SourceDef {
            name: "s".into(),
            columns: vec![column],
            time_column: 0,
            watermark_delay_us: 10,
            topic: "t".into(),
            format: SourceFormat::Json,
        });
        let partition = TopicPartition::new("t", 0);
        let array = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
        let rows =
            RecordBatch::try_new(source.schema(), vec![Arc::new(array)]).expect("one column");
        let offset: Vec<i64> = (0..times.len() as i64).map(|i| first_offset + i).collect();
        SourceBatch {
            source,
            rows,
            read_up_to: vec![(partition.clone(), first_offset + times.len() as i64)],
            origin: Origin {
                partitions: vec![partition],
                partition: vec![0; times.len()],
                kafka_time_us: vec![None; times.len()],
                watermark_us: Vec::new(),
                offset,
            },
            dead_letters: Vec::new(),
        }
    }

    #[test]
    fn a_row_sees_the_maximum_of_the_rows_before_it_whatever_the_cuts() {
        let times = [100, 90, 130, 120, 200];
        let expected = vec![None, Some(90), Some(90), Some(120), Some(120)];
        assert_eq!(Watermarks::default().pass(&batch(0, &times)), expected);
        let mut cut = Watermarks::default();
        let pieces = [
            cut.pass(&batch(0, &times[..2])),
            cut.pass(&batch(2, &times[2..])),
        ]
        .concat();
        assert_eq!(pieces, expected);
        assert_eq!(cut.published().of("s"), Some(190));
    }

    #[test]
    fn a_partition_without_rows_holds_its_source_back_until_it_is_found_idle() {
        let mut plan = Plan::default();
        for partition in 0..2 {
            plan.starts.insert(TopicPartition::new("t", partition), 0);
        }
        let mut marks = Watermarks::recovered(&plan, Arc::default());
        let rows = batch(0, &[100]);
        marks.pass(&rows);
        assert_eq!(
            marks.published().of("s"),
            None,
            "partition 1 may still bring older rows"
        );
        let ends = |second| {
            BTreeMap::from([
                (TopicPartition::new("t", 0), 1),
                (TopicPartition::new("t", 1), second),
            ])
        };
        for _ in 0..IDLE_AFTER_LOOKS {
            marks.look_at_ends(&ends(5));
        }
        marks.publish(&rows.source);
        assert_eq!(
            marks.published().of("s"),
            None,
            "partition 1 has records that were not read yet"
        );
        for _ in 0..IDLE_AFTER_LOOKS {
            marks.look_at_ends(&ends(0));
        }
        marks.publish(&rows.source);
        assert_eq!(marks.published().of("s"), Some(90));
    }

    fn restart(start: i64, recorded: &[(i64, Micros)]) -> Watermarks {
        let partition = TopicPartition::new("t", 0);
        let progress = |(next_offset, max): &(i64, Micros)| PartitionProgress {
            next_offset: *next_offset,
            max_event_time_us: Some(*max),
        };
        let plan = Plan {
            starts: BTreeMap::from([(partition.clone(), start)]),
            recorded: BTreeMap::from([(partition, recorded.iter().map(progress).collect())]),
            ..Plan::default()
        };
        Watermarks::recovered(&plan, Arc::default())
    }

    #[test]
    fn a_restart_goes_on_with_the_maximum_of_the_prefix_whichever_shard_recorded_it() {
        let times = [100, 500, 90, 130, 120, 700, 110];
        let undisturbed = Watermarks::default().pass(&batch(0, &times));
        // One shard stood at 2 (where the reader starts), another at 5, a third at 6.
        let mut marks = restart(2, &[(6, 700), (2, 500), (5, 500)]);
        assert_eq!(marks.pass(&batch(2, &times[2..])), undisturbed[2..]);
        assert_eq!(
            marks
                .progress(&TopicPartition::new("t", 0))
                .max_event_time_us,
            Some(700)
        );
    }

    #[test]
    fn a_restart_below_every_record_takes_a_maximum_over_when_it_gets_there() {
        let mut marks = restart(1, &[(2, 500)]);
        assert_eq!(
            marks.pass(&batch(1, &[90, 130, 120])),
            vec![None, Some(490), Some(490)]
        );
    }

    #[test]
    fn a_restart_stands_where_it_starts_before_anything_is_read() {
        let marks = restart(7, &[(7, 500)]);
        let progress = PartitionProgress {
            next_offset: 7,
            max_event_time_us: Some(500),
        };
        assert_eq!(marks.progress(&TopicPartition::new("t", 0)), progress);
        assert_eq!(
            marks.all_progress(),
            vec![(TopicPartition::new("t", 0), progress)]
        );
        marks.publish(&batch(0, &[]).source);
        assert_eq!(marks.published().of("s"), Some(490));
    }
}
