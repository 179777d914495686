//! How an epoch moves a shard on: from the progress before it and what the pipeline hands over to
//! the partitions that moved. Only those are written and only those enter the history, so a commit
//! costs what it changed, whatever the number of partitions.
//!
//! Pure: nothing here writes. `commit` puts a [`Progression`] into its batch and, once RocksDB has
//! it, into the writer's record.

use std::collections::BTreeMap;

use forebay_core::invariant;
use forebay_core::ports::Origin;
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::time::Micros;

use crate::database::Batch;
use crate::format::{self, PartitionRecord, ProgressRecord};
use crate::work::Work;

/// What an epoch changes of the progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progression {
    pub(crate) epoch: u64,
    pub(crate) next_pending: u64,
    /// The partitions that moved, ascending, as the epoch leaves them.
    pub(crate) moved: Vec<(TopicPartition, PartitionRecord)>,
}

impl Progression {
    /// The epoch after `before` that `work` makes. A fill leaves all partitions where they are.
    pub(crate) fn of(before: &ProgressRecord, work: Work<'_>) -> Self {
        let mut moved = BTreeMap::new();
        if let Some(write) = work.epoch() {
            for (partition, read) in &write.progress {
                move_progress(&mut moved, before, partition, *read);
            }
            let mut seen: Vec<*const Origin> = Vec::new();
            for fold in &write.folds {
                let origin = std::sync::Arc::as_ptr(&fold.origin);
                if !seen.contains(&origin) {
                    seen.push(origin);
                    move_watermarks(&mut moved, before, &fold.origin);
                }
            }
        }
        Self {
            epoch: before.epoch + 1,
            next_pending: before.next_pending,
            moved: moved.into_iter().collect(),
        }
    }

    /// Next offset of `partition` after the epoch.
    pub(crate) fn next_offset(&self, before: &ProgressRecord, partition: &TopicPartition) -> i64 {
        self.moved
            .binary_search_by(|(moved, _)| moved.cmp(partition))
            .map_or_else(
                |_| before.applied.next_offset(partition),
                |at| self.moved[at].1.progress.next_offset,
            )
    }

    /// Put it into the epoch's batch.
    pub(crate) fn put(&self, batch: &mut Batch<'_>) {
        for (partition, record) in &self.moved {
            let key = format::partition_key(partition);
            batch.put(format::FAMILY_META, &key, &record.encode());
        }
        let record = format::encode_progress(self.epoch, self.next_pending);
        batch.put(format::FAMILY_META, format::META_PROGRESS, &record);
    }

    /// Take it over after it was written.
    pub(crate) fn apply(&self, progress: &mut ProgressRecord) {
        invariant!(
            EpochsAscend,
            self.epoch == progress.epoch + 1,
            "{} after {}",
            self.epoch,
            progress.epoch
        );
        progress.epoch = self.epoch;
        progress.next_pending = self.next_pending;
        for (partition, record) in &self.moved {
            invariant!(
                OffsetsNeverFall,
                record.progress.next_offset >= progress.applied.next_offset(partition),
                "{partition:?} to {}",
                record.progress.next_offset
            );
            progress.set(partition, *record);
        }
    }
}

/// The record of `partition` as the epoch has it so far; None where nothing was ever read.
fn current(
    moved: &BTreeMap<TopicPartition, PartitionRecord>,
    before: &ProgressRecord,
    partition: &TopicPartition,
) -> Option<PartitionRecord> {
    moved.get(partition).copied().or_else(|| {
        Some(PartitionRecord {
            progress: *before.applied.0.get(partition)?,
            watermark: before.watermarks.get(partition).copied(),
        })
    })
}

/// Offsets and times never fall: a replay that hands over less moves nothing.
fn move_progress(
    moved: &mut BTreeMap<TopicPartition, PartitionRecord>,
    before: &ProgressRecord,
    partition: &TopicPartition,
    read: PartitionProgress,
) {
    let current = current(moved, before, partition);
    let progress = current.map_or(read, |current| PartitionProgress {
        next_offset: current.progress.next_offset.max(read.next_offset),
        max_event_time_us: current
            .progress
            .max_event_time_us
            .max(read.max_event_time_us),
        last: if read.last.map(|last| last.offset) > current.progress.last.map(|last| last.offset) {
            read.last
        } else {
            current.progress.last
        },
    });
    if current.is_none_or(|current| current.progress != progress) {
        let watermark = current.and_then(|current| current.watermark);
        let record = PartitionRecord {
            progress,
            watermark,
        };
        moved.insert(partition.clone(), record);
    }
}

/// Watermarks never fall within a partition, so its last row has the greatest.
fn move_watermarks(
    moved: &mut BTreeMap<TopicPartition, PartitionRecord>,
    before: &ProgressRecord,
    origin: &Origin,
) {
    let mut last: Vec<Option<Micros>> = vec![None; origin.partitions.len()];
    let mut missing = last.len();
    for (partition, watermark) in origin.partition.iter().zip(&origin.watermark_us).rev() {
        let (Some(slot), Some(watermark)) = (last.get_mut(*partition as usize), watermark) else {
            continue;
        };
        if slot.is_none() {
            *slot = Some(*watermark);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    for (partition, watermark) in origin.partitions.iter().zip(last) {
        // Rows without progress of their partition break `ProgressCoversRows`, which says so.
        let Some(record) = current(moved, before, partition) else {
            continue;
        };
        if watermark > record.watermark {
            moved.insert(
                partition.clone(),
                PartitionRecord {
                    watermark,
                    ..record
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::ports::{FillNote, FillWrite, ShardWrite};
    use forebay_core::progress::Applied;

    use super::*;

    fn progress(next_offset: i64, max_event_time_us: Option<Micros>) -> PartitionProgress {
        PartitionProgress {
            next_offset,
            max_event_time_us,
            last: None,
        }
    }

    /// A shard that has read `partitions` partitions up to offset 10.
    fn shard(partitions: i32) -> ProgressRecord {
        let mut before = ProgressRecord::default();
        for number in 0..partitions {
            let record = PartitionRecord {
                progress: progress(10, Some(100)),
                watermark: Some(70),
            };
            before.set(&TopicPartition::new("t", number), record);
        }
        before
    }

    fn write_of(progress: &[(i32, PartitionProgress)]) -> ShardWrite {
        let of = |(number, progress): &(i32, PartitionProgress)| {
            (TopicPartition::new("t", *number), *progress)
        };
        ShardWrite {
            progress: progress.iter().map(of).collect(),
            ..ShardWrite::default()
        }
    }

    #[test]
    fn only_what_moved_is_kept() {
        type Case = (
            &'static str,
            Vec<(i32, PartitionProgress)>,
            Vec<(i32, PartitionProgress)>,
        );
        let cases: [Case; 5] = [
            ("nothing handed over", vec![], vec![]),
            (
                "all as they were",
                (0..1_000).map(|p| (p, progress(10, Some(100)))).collect(),
                vec![],
            ),
            ("a replay", vec![(3, progress(4, Some(50)))], vec![]),
            (
                "an offset",
                vec![(3, progress(11, None))],
                vec![(3, progress(11, Some(100)))],
            ),
            (
                "a new partition",
                vec![(1_000, progress(1, None))],
                vec![(1_000, progress(1, None))],
            ),
        ];
        for (what, handed, expected) in cases {
            let moved = Progression::of(&shard(1_000), Work::Epoch(&write_of(&handed))).moved;
            let found: Vec<_> = moved
                .iter()
                .map(|(p, record)| (p.partition, record.progress))
                .collect();
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_fill_moves_no_offset() {
        let write = FillWrite {
            view: 1,
            folds: Vec::new(),
            note: FillNote {
                rows: 9,
                at: Applied([(TopicPartition::new("t", 0), progress(99, Some(990)))].into()),
                ..FillNote::default()
            },
        };
        let step = Progression::of(&shard(1), Work::Fill(&write));
        assert_eq!((step.epoch, step.moved.len()), (1, 0));
    }

    #[test]
    fn what_was_applied_is_what_the_next_epoch_begins_with() {
        let mut record = shard(2);
        let step = Progression::of(
            &record,
            Work::Epoch(&write_of(&[(1, progress(12, Some(300)))])),
        );
        let partition = TopicPartition::new("t", 1);
        assert_eq!(step.next_offset(&record, &partition), 12);
        step.apply(&mut record);
        assert_eq!(record.applied.next_offset(&partition), 12);
        assert_eq!(record.watermarks.get(&partition), Some(&70), "it was kept");
        let again = Progression::of(
            &record,
            Work::Epoch(&write_of(&[(1, progress(12, Some(300)))])),
        );
        assert_eq!((again.epoch, again.moved.len()), (2, 0));
    }
}
