//! Watermarks: for row i of a partition, the greatest event time among the *earlier* rows less the source's delay. A pure
//! function of the log: no clock, no batch boundary. Owned by the ingest thread; readers see a published copy.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::ports::SourceBatch;
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use parking_lot::RwLock;

/// Running maxima of every partition.
#[derive(Debug, Default)]
pub struct Watermarks {
    partitions: HashMap<TopicPartition, Partition>,
    published: Arc<PublishedWatermarks>,
}

#[derive(Debug, Clone, Copy)]
struct Partition {
    max_event_time_us: Option<Micros>,
    next_offset: i64,
    /// What a shard had recorded when the process started: taken over once the reader passes that offset.
    recovered: Option<PartitionProgress>,
}

/// The newest watermark of each source, for readers on other threads.
#[derive(Debug, Default)]
pub struct PublishedWatermarks {
    sources: RwLock<BTreeMap<String, Micros>>,
}

impl PublishedWatermarks {
    /// Smallest watermark over the partitions of `source` that ever had a row; None before the first.
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
    /// Maxima as recorded by shards: `recovered` holds for each partition the greatest progress any shard has. The reader
    /// starts at or below it; when it gets there, the recorded maximum is taken over.
    #[must_use]
    pub fn recovered(recovered: &Applied, published: Arc<PublishedWatermarks>) -> Self {
        let partitions = recovered
            .0
            .iter()
            .map(|(partition, progress)| {
                let state = Partition { max_event_time_us: None, next_offset: 0, recovered: Some(*progress) };
                (partition.clone(), state)
            })
            .collect();
        Self { partitions, published }
    }

    /// Where other threads read the watermarks.
    #[must_use]
    pub fn published(&self) -> Arc<PublishedWatermarks> {
        Arc::clone(&self.published)
    }

    /// For each row of `batch` the watermark before it; moves the maxima past the batch.
    pub fn pass(&mut self, batch: &SourceBatch) -> Vec<Option<Micros>> {
        let source = &batch.source;
        let times = batch.rows.column(source.time_column).as_primitive::<TimestampMicrosecondType>();
        let mut before = Vec::with_capacity(times.len());
        for row in 0..times.len() {
            let partition = &batch.origin.partitions[batch.origin.partition[row] as usize];
            let state = self.state(partition);
            state.reach(batch.origin.offset[row]);
            before.push(state.max_event_time_us.map(|max| max.saturating_sub(source.watermark_delay_us)));
            state.max_event_time_us = state.max_event_time_us.max(Some(times.value(row)));
        }
        for (partition, next_offset) in &batch.read_up_to {
            let state = self.state(partition);
            state.reach(*next_offset);
            state.next_offset = state.next_offset.max(*next_offset);
        }
        self.publish(source);
        before
    }

    /// Progress of `partition` as of now.
    #[must_use]
    pub fn progress(&self, partition: &TopicPartition) -> PartitionProgress {
        self.partitions.get(partition).map_or(PartitionProgress { next_offset: 0, max_event_time_us: None }, |state| {
            PartitionProgress { next_offset: state.next_offset, max_event_time_us: state.max_event_time_us }
        })
    }

    /// Progress of every partition that was read.
    #[must_use]
    pub fn all_progress(&self) -> Vec<(TopicPartition, PartitionProgress)> {
        self.partitions.keys().map(|p| (p.clone(), self.progress(p))).filter(|(_, p)| p.next_offset > 0).collect()
    }

    fn state(&mut self, partition: &TopicPartition) -> &mut Partition {
        self.partitions.entry(partition.clone()).or_insert(Partition {
            max_event_time_us: None,
            next_offset: 0,
            recovered: None,
        })
    }

    fn publish(&self, source: &SourceDef) {
        let oldest = self
            .partitions
            .iter()
            .filter(|(partition, _)| *partition.topic == *source.topic)
            .filter_map(|(_, state)| state.max_event_time_us)
            .min();
        if let Some(oldest) = oldest {
            self.published
                .sources
                .write()
                .insert(source.name.clone(), oldest.saturating_sub(source.watermark_delay_us));
        }
    }
}

impl Partition {
    /// The reader stands at `offset`: take over what was recorded for the prefix below it.
    fn reach(&mut self, offset: i64) {
        if self.recovered.is_some_and(|recorded| offset >= recorded.next_offset)
            && let Some(recorded) = self.recovered.take()
        {
            self.max_event_time_us = self.max_event_time_us.max(recorded.max_event_time_us);
            self.next_offset = self.next_offset.max(recorded.next_offset);
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
        let column = Column { name: "ts".into(), data_type: timestamp_type(), nullable: false };
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
        let rows = RecordBatch::try_new(source.schema(), vec![Arc::new(array)]).expect("one column");
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
        let pieces = [cut.pass(&batch(0, &times[..2])), cut.pass(&batch(2, &times[2..]))].concat();
        assert_eq!(pieces, expected);
        assert_eq!(cut.published().of("s"), Some(190));
    }

    #[test]
    fn a_restart_takes_over_the_recorded_maximum_when_it_passes_the_recorded_offset() {
        let mut recovered = Applied::default();
        let progress = PartitionProgress { next_offset: 2, max_event_time_us: Some(500) };
        recovered.advance(&TopicPartition::new("t", 0), progress);
        let mut marks = Watermarks::recovered(&recovered, Arc::default());
        assert_eq!(marks.pass(&batch(1, &[90, 130, 120])), vec![None, Some(490), Some(490)]);
    }
}
