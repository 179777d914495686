//! Which pending scores may be computed: those whose event every shard has applied, so that an
//! event's own effect is in the features that it is scored with. Epochs are committed by several
//! threads and may end in any order; an offset is released when its epoch and all before it are
//! committed. After a start it is what all shards had recovered. It also knows when that was, for
//! the time that events wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::invariant;
use forebay_core::ports::PendingEntry;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_telemetry::Timing;
use parking_lot::Mutex;

use crate::score::bell::Bell;
use crate::score::release_times::ReleaseTimes;

/// The offset of each partition below which all shards have committed.
#[derive(Debug, Default)]
pub(crate) struct Released {
    state: Mutex<State>,
    bells: Mutex<Vec<Arc<Bell>>>,
}

#[derive(Debug, Default)]
struct State {
    /// By topic and partition: which offsets are in every shard, and since when.
    times: HashMap<Arc<str>, HashMap<i32, ReleaseTimes>>,
    /// When this run began.
    began: Duration,
    /// Number of the first epoch in `open`.
    first: u64,
    open: VecDeque<OpenEpoch>,
}

#[derive(Debug)]
struct OpenEpoch {
    committed: bool,
    ends: Vec<(TopicPartition, i64)>,
}

impl State {
    fn times_of(&mut self, place: &TopicPartition) -> &mut ReleaseTimes {
        let topic = Arc::clone(&place.topic);
        let of_topic = self.times.entry(topic).or_default();
        of_topic.entry(place.partition).or_default()
    }

    /// When the event of `entry` was released; None: it is not yet. One of a partition that nobody
    /// reads any more is as applied as it will ever be.
    fn released_at(&self, entry: &PendingEntry) -> Option<Duration> {
        let key = &entry.score.key;
        let partitions = self.times.get(key.topic.as_str());
        let times = partitions.and_then(|partitions| partitions.get(&key.partition));
        times.map_or(Some(self.began), |times| times.of(key.offset))
    }
}

impl Released {
    /// `partitions` are read; `recovered` is what each shard had applied at the start, which is
    /// `now`.
    pub(crate) fn recovered<'a>(
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        recovered: &[Arc<Applied>],
        now: Duration,
    ) -> Self {
        let mut state = State {
            began: now,
            ..State::default()
        };
        for place in partitions {
            let least = recovered.iter().map(|shard| shard.next_offset(place)).min();
            state.times_of(place).note(least.unwrap_or(0), now);
        }
        Self {
            state: Mutex::new(state),
            bells: Mutex::default(),
        }
    }

    /// Ring `bell` too when something is released.
    pub(crate) fn ring_too(&self, bell: Arc<Bell>) {
        self.bells.lock().push(bell);
    }

    /// Ring every bell.
    pub(crate) fn ring_all(&self) {
        self.bells.lock().iter().for_each(|bell| bell.ring());
    }

    /// An epoch that reads up to `ends` is about to be committed; its number. Called in the order
    /// of reading, before any shard has it.
    pub(crate) fn begin(&self, ends: Vec<(TopicPartition, i64)>) -> u64 {
        let mut state = self.state.lock();
        // From now on the partition counts as read.
        for (place, _) in &ends {
            state.times_of(place);
        }
        state.open.push_back(OpenEpoch {
            committed: false,
            ends,
        });
        state.first + state.open.len() as u64 - 1
    }

    /// Every shard has epoch `number`, `now`.
    pub(crate) fn finish(&self, number: u64, now: Duration) {
        let mut state = self.state.lock();
        let at = number.checked_sub(state.first).map(usize::try_from);
        let open = at.and_then(|at| state.open.get_mut(at.ok()?));
        invariant!(
            EpochEndsOnce,
            open.as_ref().is_some_and(|epoch| !epoch.committed),
            "epoch {number}"
        );
        if let Some(epoch) = open {
            epoch.committed = true;
        }
        let mut moved = false;
        while let Some(epoch) = state.open.pop_front_if(|epoch| epoch.committed) {
            state.first += 1;
            moved |= !epoch.ends.is_empty();
            for (place, next_offset) in &epoch.ends {
                state.times_of(place).note(*next_offset, now);
            }
        }
        drop(state);
        if moved {
            self.ring_all();
        }
    }

    /// How many of `entries`, from the first on, may be computed.
    pub(crate) fn ready(&self, entries: &[PendingEntry]) -> usize {
        let state = self.state.lock();
        let is_released = |entry: &&PendingEntry| state.released_at(entry).is_some();
        entries.iter().take_while(is_released).count()
    }

    /// How long `entry` has waited since its release, `now`.
    pub(crate) fn waited(&self, entry: &PendingEntry, now: Duration) -> Duration {
        let released = self.state.lock().released_at(entry);
        released.map_or(Duration::ZERO, |at| now.saturating_sub(at))
    }

    /// Record how long each of `entries`, which are settled `now`, has waited since its release.
    pub(crate) fn record_waits<'a>(
        &self,
        entries: impl Iterator<Item = &'a PendingEntry>,
        now: Duration,
        waits: &Timing,
    ) {
        let state = self.state.lock();
        let released = entries.filter_map(|entry| state.released_at(entry));
        released.for_each(|at| waits.record(now.saturating_sub(at)));
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::prediction::{PendingScore, PredictionKey, Role};
    use forebay_core::progress::PartitionProgress;

    use super::*;

    const NOW: Duration = Duration::from_secs(7);

    fn entry(topic: &str, partition: i32, offset: i64) -> PendingEntry {
        let key = PredictionKey {
            deployment: "d".to_owned(),
            model_version: 1,
            role: Role::Live,
            topic: topic.to_owned(),
            partition,
            offset,
        };
        PendingEntry {
            sequence: 0,
            score: Arc::new(PendingScore {
                key,
                event_time_us: 0,
                request: Vec::new(),
            }),
        }
    }

    fn place(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn applied(next_offset: i64) -> Arc<Applied> {
        let progress = PartitionProgress {
            next_offset,
            max_event_time_us: None,
            last: None,
        };
        Arc::new(Applied([(place(0), progress)].into()))
    }

    #[test]
    fn an_offset_is_released_when_its_epoch_and_all_before_it_are_in_every_shard() {
        let released = Released::recovered([&place(0)], &[applied(5), applied(3)], NOW);
        let ready = |offset| released.ready(&[entry("t", 0, offset)]) == 1;
        assert!(ready(2) && !ready(3), "the least of the shards");
        let first = released.begin(vec![(place(0), 6)]);
        let second = released.begin(vec![(place(0), 9)]);
        released.finish(second, NOW);
        assert!(!ready(3), "the first epoch is still open");
        released.finish(first, NOW);
        assert!(ready(8) && !ready(9));
        let third = released.begin(vec![(place(0), 4)]);
        released.finish(third, NOW);
        assert!(ready(8), "what was read again takes nothing back");
    }

    #[test]
    fn a_partition_counts_as_read_from_its_first_epoch_on_and_an_unread_one_holds_nothing() {
        let released = Released::recovered([], &[], NOW);
        assert_eq!(released.ready(&[entry("gone", 0, 7)]), 1);
        let number = released.begin(vec![(place(4), 2)]);
        assert_eq!(released.ready(&[entry("t", 4, 1)]), 0);
        released.finish(number, NOW);
        let entries = [entry("t", 4, 1), entry("t", 4, 2), entry("gone", 0, 7)];
        assert_eq!(released.ready(&entries), 1, "order is kept");
    }

    #[test]
    fn a_wait_begins_with_the_release_or_with_the_start_that_found_the_event() {
        let released = Released::recovered([&place(0)], &[applied(3)], NOW);
        let number = released.begin(vec![(place(0), 6)]);
        let second = Duration::from_secs(1);
        released.finish(number, NOW + 10 * second);
        let wait = |entry: PendingEntry| {
            let waits = Timing::default();
            released.record_waits([&entry].into_iter(), NOW + 14 * second, &waits);
            waits.read().sum_seconds
        };
        assert_eq!(wait(entry("t", 0, 2)), 14.0, "recovered");
        assert_eq!(wait(entry("t", 0, 5)), 4.0, "released later");
        assert_eq!(wait(entry("gone", 0, 5)), 14.0, "nobody reads it");
        let waited = |offset| released.waited(&entry("t", 0, offset), NOW + 14 * second);
        assert_eq!((waited(2), waited(5)), (14 * second, 4 * second));
        assert_eq!(waited(6), Duration::ZERO, "not released yet");
    }
}
