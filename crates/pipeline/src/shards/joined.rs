//! Epochs that wait for one writer, made one write a shard. A shard that is behind then changes the
//! tiles of a key once for several epochs, and is behind no longer; one that keeps up has nothing
//! to join. Values do not depend on where the log is cut into writes.
//!
//! A shard drops rows below its progress as of the write, so the rows of one write must be there
//! once. An epoch is joined only where each of its rows stands above what the epochs before it have
//! read, which is not so where a partition is read again; else it is a write of its own.

use std::collections::HashMap;

use forebay_core::invariant;
use forebay_core::ports::{Origin, ShardWrite};

/// Epochs that are joined at most. Readers wait while a shard swaps the keys that a write has
/// changed.
pub(super) const JOINED_MAX_EPOCHS: usize = 4;
/// What they may hold together, bytes, if there are several: a write's batch is as large again.
pub(super) const JOINED_MAX_BYTES: usize = 16 << 20;

/// Add the epoch `later` to the one before it, or give it back.
pub(super) fn join(
    writes: &mut Vec<(u16, ShardWrite)>,
    later: Vec<(u16, ShardWrite)>,
) -> Result<(), Vec<(u16, ShardWrite)>> {
    let follow = later.iter().all(|(shard, later)| {
        let same = writes.iter().find(|(other, _)| other == shard);
        same.is_none_or(|(_, write)| follows(write, later))
    });
    if !follow {
        return Err(later);
    }
    for (shard, later) in later {
        match writes.iter_mut().find(|(other, _)| *other == shard) {
            Some((_, write)) => append(write, later),
            None => writes.push((shard, later)),
        }
    }
    writes.sort_by_key(|(shard, _)| *shard);
    invariant!(
        WritesByShard,
        writes.is_sorted_by(|a, b| a.0 < b.0),
        "{} writes",
        writes.len()
    );
    Ok(())
}

/// Whether one write may have both. Decisions about time and views that are set aside come before
/// the rows of their own epoch alone.
fn follows(write: &ShardWrite, later: &ShardWrite) -> bool {
    let is_plain = write.aside.is_empty()
        && later.aside.is_empty()
        && later.marks.is_empty()
        && later.forget_bounds.is_empty();
    if !is_plain {
        return false;
    }
    let read: HashMap<(&str, i32), i64> = write
        .progress
        .iter()
        .map(|(place, progress)| ((&*place.topic, place.partition), progress.next_offset))
        .collect();
    let is_above = |topic: &str, partition: i32, offset: i64| {
        let read = read.get(&(topic, partition));
        read.is_none_or(|next_offset| offset >= *next_offset)
    };
    let folds = later.folds.iter();
    let mut pending = later.pending.iter().map(|score| &score.key);
    let mut notes = later.unscored.iter();
    folds.map(|fold| &fold.origin).all(|origin| {
        let first = firsts(origin);
        let mut places = origin.partitions.iter().zip(first);
        places.all(|(place, first)| {
            first.is_none_or(|offset| is_above(&place.topic, place.partition, offset))
        })
    }) && pending.all(|key| is_above(&key.topic, key.partition, key.offset))
        && notes.all(|note| {
            let first = note.offsets.ranges().next();
            first.is_none_or(|run| is_above(&note.topic, note.partition, run.start))
        })
}

/// The first offset of each partition of a batch, whose rows are in the order of the log.
fn firsts(origin: &Origin) -> Vec<Option<i64>> {
    let mut firsts = vec![None; origin.partitions.len()];
    let mut missing = firsts.len();
    for (slot, offset) in origin.partition.iter().zip(&origin.offset) {
        let first = &mut firsts[*slot as usize];
        if first.is_none() {
            *first = Some(*offset);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    firsts
}

fn append(write: &mut ShardWrite, later: ShardWrite) {
    let ShardWrite {
        folds,
        pending,
        unscored,
        progress,
        marks: _,
        aside: _,
        forget_bounds: _,
    } = later;
    write.folds.extend(folds);
    write.pending.extend(pending);
    write.unscored.extend(unscored);
    // A partition whose reading has ended meanwhile has what the epoch before says of it.
    let mut places: HashMap<_, usize> = HashMap::new();
    for (index, (place, _)) in write.progress.iter().enumerate() {
        places.insert(place.clone(), index);
    }
    for (place, progress) in progress {
        match places.get(&place) {
            Some(index) => write.progress[*index].1 = progress,
            None => write.progress.push((place, progress)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::TimestampMicrosecondArray;
    use forebay_core::key::KeyBuffer;
    use forebay_core::ports::ShardFold;
    use forebay_core::progress::{PartitionProgress, TopicPartition};
    use forebay_core::view::FoldBatch;

    use super::*;

    /// A write of one row at each place, which reads up to behind it.
    fn write(places: &[(i32, i64)]) -> ShardWrite {
        let partitions = places.iter().map(|(p, _)| TopicPartition::new("t", *p));
        let partitions: Vec<TopicPartition> = partitions.collect();
        let progress = |(place, (_, offset)): (&TopicPartition, &(i32, i64))| {
            let progress = PartitionProgress {
                next_offset: offset + 1,
                ..PartitionProgress::default()
            };
            (place.clone(), progress)
        };
        let batch = FoldBatch {
            keys: Vec::new(),
            times: TimestampMicrosecondArray::from(vec![0; places.len()]),
            arguments: Vec::new(),
            filters: Vec::new(),
            source_rows: (0..).take(places.len()).collect(),
            left_out: Vec::new(),
        };
        let origin = Origin {
            partition: (0..).take(places.len()).collect(),
            offset: places.iter().map(|(_, offset)| *offset).collect(),
            partitions: partitions.clone(),
            ..Origin::default()
        };
        let fold = ShardFold {
            view: 1,
            rows: batch.source_rows.clone(),
            batch: Arc::new(batch),
            keys: Arc::new(KeyBuffer::default()),
            origin: Arc::new(origin),
        };
        ShardWrite {
            folds: vec![fold],
            progress: partitions.iter().zip(places).map(progress).collect(),
            ..ShardWrite::default()
        }
    }

    fn ends(write: &ShardWrite) -> Vec<(i32, i64)> {
        let ends = write.progress.iter();
        ends.map(|(place, progress)| (place.partition, progress.next_offset))
            .collect()
    }

    #[test]
    fn rows_that_go_on_are_joined_and_the_newest_progress_stands() {
        let mut writes = vec![(3, write(&[(0, 7), (1, 4)]))];
        let later = vec![(1, write(&[(0, 8)])), (3, write(&[(0, 9), (2, 0)]))];
        join(&mut writes, later).expect("it goes on");
        let shards: Vec<u16> = writes.iter().map(|(shard, _)| *shard).collect();
        assert_eq!(shards, [1, 3]);
        assert_eq!(writes[1].1.folds.len(), 2);
        assert_eq!(ends(&writes[1].1), [(0, 10), (1, 5), (2, 1)]);
    }

    #[test]
    fn a_partition_that_is_read_again_is_a_write_of_its_own() {
        let mut writes = vec![(0, write(&[(0, 7), (1, 4)]))];
        let later = vec![(0, write(&[(0, 8), (1, 4)]))];
        let later = join(&mut writes, later).expect_err("a row would be there twice");
        assert_eq!((writes[0].1.folds.len(), later.len()), (1, 1));
    }

    #[test]
    fn decisions_and_views_set_aside_keep_their_place_before_their_own_rows() {
        type Change = fn(&mut ShardWrite);
        let changes: [(Change, bool); 2] = [
            (|write| write.aside.push((1, "fails".into())), true),
            (
                |write| write.forget_bounds.push((TopicPartition::new("t", 0), 1)),
                false,
            ),
        ];
        for (change, also_before) in changes {
            let (mut plain, mut changed) = (write(&[(0, 7)]), write(&[(0, 8)]));
            change(&mut changed);
            assert!(!follows(&plain, &changed));
            change(&mut plain);
            assert_eq!(follows(&plain, &write(&[(0, 8)])), !also_before);
        }
    }
}
