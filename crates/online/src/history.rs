//! What the last epochs of one shard had applied. A shard answers with its epoch; scoring and
//! verification resolve that epoch to offsets some epochs later.
//!
//! Kept is the newest vector, whole and shared with readers, and behind it, for each epoch, the
//! partitions that moved in it with the progress that they had before. So an epoch costs what it
//! changed, whatever the number of partitions, and an older vector is made on demand by going back
//! over the changes. Bounded by a number of epochs and by a number of changes; what is older is
//! forgotten, and a restart begins anew. The writer's commit feeds it; it never reads the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};

/// How much the history may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryLimits {
    /// Epochs, the newest included; at least 1.
    pub(crate) epochs: usize,
    /// Changes of single partitions, over all epochs.
    pub(crate) changes: usize,
}

/// The progress of one partition before the epoch that moved it.
#[derive(Debug, Clone, Copy)]
struct Change {
    epoch: u64,
    /// Index into [`AppliedHistory::partitions`].
    partition: u32,
    before: Option<PartitionProgress>,
}

/// The applied offsets of the last epochs of one shard.
#[derive(Debug)]
pub(crate) struct AppliedHistory {
    limits: HistoryLimits,
    epoch: u64,
    /// The oldest epoch that can be restored.
    oldest: u64,
    applied: Arc<Applied>,
    changes: VecDeque<Change>,
    partitions: Vec<TopicPartition>,
    numbers: HashMap<TopicPartition, u32>,
}

impl AppliedHistory {
    /// A history that begins at `epoch`.
    pub(crate) fn new(epoch: u64, applied: Arc<Applied>, limits: HistoryLimits) -> Self {
        Self {
            limits,
            epoch,
            oldest: epoch,
            applied,
            changes: VecDeque::new(),
            partitions: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// The newest epoch.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the newest epoch has applied.
    pub(crate) fn applied(&self) -> &Arc<Applied> {
        &self.applied
    }

    /// Changes that are kept.
    pub(crate) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Move on to `epoch`, in which `moved` advanced.
    pub(crate) fn advance<'a>(
        &mut self,
        epoch: u64,
        moved: impl Iterator<Item = (&'a TopicPartition, PartitionProgress)>,
    ) {
        invariant!(
            HistoryAscends,
            epoch > self.epoch,
            "{epoch} after {}",
            self.epoch
        );
        // Copies the map only while a reader still holds the one before.
        let applied = Arc::make_mut(&mut self.applied);
        for (partition, progress) in moved {
            let number = match self.numbers.get(partition) {
                Some(number) => *number,
                None => {
                    let number = RowIndex::at(self.partitions.len()).number();
                    self.partitions.push(partition.clone());
                    self.numbers.insert(partition.clone(), number);
                    number
                }
            };
            let before = applied.next_offset(partition);
            invariant!(
                OffsetsNeverFall,
                progress.next_offset >= before,
                "{partition:?}: {} after {before}",
                progress.next_offset
            );
            self.changes.push_back(Change {
                epoch,
                partition: number,
                before: applied.0.get(partition).copied(),
            });
            applied.advance(partition, progress);
        }
        self.epoch = epoch;
        self.trim();
    }

    /// Forget the oldest epochs until the limits hold. The newest is always known.
    fn trim(&mut self) {
        let kept = self.limits.epochs.max(1) as u64;
        let least = (self.epoch + 1).saturating_sub(kept);
        while self.oldest < self.epoch
            && (self.oldest < least || self.changes.len() > self.limits.changes)
        {
            self.oldest += 1;
            while self
                .changes
                .front()
                .is_some_and(|change| change.epoch <= self.oldest)
            {
                self.changes.pop_front();
            }
        }
    }

    /// What `epoch` had applied; None when it is not kept.
    pub(crate) fn at(&self, epoch: u64) -> Option<Arc<Applied>> {
        if epoch == self.epoch {
            return Some(Arc::clone(&self.applied));
        }
        if !(self.oldest..self.epoch).contains(&epoch) {
            return None;
        }
        let mut applied = Applied::clone(&self.applied);
        for change in self.changes.iter().rev().take_while(|c| c.epoch > epoch) {
            let partition = &self.partitions[change.partition as usize];
            let now = applied.next_offset(partition);
            match change.before {
                Some(before) => {
                    invariant!(
                        HistoryRestores,
                        before.next_offset <= now,
                        "{partition:?}: {now} back to {}",
                        before.next_offset
                    );
                    applied.0.insert(partition.clone(), before);
                }
                None => {
                    applied.0.remove(partition);
                }
            }
        }
        Some(Arc::new(applied))
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::limits::APPLIED_HISTORY_MAX_CHANGES;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HistoryLimits = HistoryLimits {
        epochs: 8,
        changes: 20,
    };

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("t", number)
    }

    fn progress(next_offset: i64) -> PartitionProgress {
        PartitionProgress {
            next_offset,
            max_event_time_us: Some(next_offset * 10),
            last: None,
        }
    }

    proptest! {
        /// Every epoch within the limits is what a history of whole vectors gives.
        #[test]
        fn kept_epochs_are_those_of_whole_vectors(steps in proptest::collection::vec(
            proptest::collection::btree_map(0_i32..6, 1_i64..5, 0..5), 1..40)) {
            let mut history = AppliedHistory::new(7, Arc::default(), LIMITS);
            let mut whole = vec![(7_u64, Applied::default(), 0_usize)];
            for step in steps {
                let (last, mut applied, _) = whole.last().expect("the first").clone();
                let moved: Vec<_> = step
                    .iter()
                    .map(|(p, by)| (partition(*p), progress(applied.next_offset(&partition(*p)) + by)))
                    .collect();
                history.advance(last + 1, moved.iter().map(|(p, progress)| (p, *progress)));
                moved.iter().for_each(|(p, progress)| applied.advance(p, *progress));
                whole.push((last + 1, applied, moved.len()));
            }
            let newest = whole.last().expect("the first").0;
            let mut changes = 0;
            for (back, (epoch, applied, moved)) in whole.iter().rev().enumerate() {
                let is_kept = back == 0 || (back < LIMITS.epochs && changes <= LIMITS.changes);
                let expected = is_kept.then(|| applied.clone());
                prop_assert_eq!(history.at(*epoch).map(|a| Applied::clone(&a)), expected, "epoch {} of {}", epoch, newest);
                changes += moved;
            }
            prop_assert_eq!(history.at(newest + 1), None);
            prop_assert!(history.changes() <= LIMITS.changes);
        }
    }

    #[test]
    fn partitions_that_do_not_move_cost_nothing() {
        let many: Vec<_> = (0..1_000).map(|p| (partition(p), progress(1))).collect();
        let limits = HistoryLimits {
            epochs: 8_192,
            changes: APPLIED_HISTORY_MAX_CHANGES,
        };
        let mut history = AppliedHistory::new(0, Arc::default(), limits);
        history.advance(1, many.iter().map(|(p, progress)| (p, *progress)));
        for epoch in 2..=4_000 {
            let moved = [(&many[3].0, progress(epoch))];
            history.advance(epoch as u64, moved.into_iter());
        }
        assert_eq!(history.changes(), 1_000 + 3_999);
        assert_eq!(
            history.at(1).expect("kept").next_offset(&many[3].0),
            1,
            "and the oldest is still known"
        );
    }

    /// A thousand partitions that move in every epoch reach the limit of changes first.
    #[test]
    fn the_history_stays_within_its_limit_of_changes() {
        let limits = HistoryLimits {
            epochs: usize::MAX,
            changes: APPLIED_HISTORY_MAX_CHANGES,
        };
        let many: Vec<_> = (0..1_000).map(partition).collect();
        let mut history = AppliedHistory::new(0, Arc::default(), limits);
        for epoch in 1..=200 {
            history.advance(epoch, many.iter().map(|p| (p, progress(epoch as i64))));
            assert!(history.changes() <= APPLIED_HISTORY_MAX_CHANGES);
        }
        assert_eq!(
            history.changes(),
            APPLIED_HISTORY_MAX_CHANGES / 1_000 * 1_000
        );
        assert!(history.at(200 - 131).is_some() && history.at(200 - 132).is_none());
    }

    #[test]
    fn a_reader_keeps_the_vector_that_it_took() {
        let mut history = AppliedHistory::new(0, Arc::default(), LIMITS);
        let taken = Arc::clone(history.applied());
        history.advance(1, [(&partition(0), progress(5))].into_iter());
        assert_eq!(*taken, Applied::default());
        assert_eq!(history.applied().next_offset(&partition(0)), 5);
    }
}
