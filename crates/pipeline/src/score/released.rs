//! Which pending scores may be computed: those whose event every shard has applied, so that an
//! event's own effect is in the features that it is scored with. Epochs are committed by several
//! threads and may end in any order; an offset is released when its epoch and all before it are
//! committed. After a start it is what all shards had recovered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use forebay_core::ports::PendingEntry;
use forebay_core::progress::{Applied, TopicPartition};
use parking_lot::Mutex;

use crate::score::bell::Bell;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Released {
    state: Mutex<State>,
    bells: Mutex<Vec<Arc<Bell>>>,
}

#[derive(Debug, Default)]
struct State {
    /// By topic and partition: all offsets below are in every shard.
    next_offsets: HashMap<Arc<str>, HashMap<i32, i64>>,
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
    fn advance(&mut self, place: &TopicPartition, next_offset: i64) {
        let of_topic = self
            .next_offsets
            .entry(Arc::clone(&place.topic))
            .or_default();
        let known = of_topic.entry(place.partition).or_insert(0);
        *known = (*known).max(next_offset);
    }

    /// An event of a partition that nobody reads any more is as applied as it will ever be.
    fn covers(&self, entry: &PendingEntry) -> bool {
        let key = &entry.score.key;
        let partitions = self.next_offsets.get(key.topic.as_str());
        let next = partitions.and_then(|partitions| partitions.get(&key.partition));
        next.is_none_or(|next| key.offset < *next)
    }
}

impl Released {
    /// `partitions` are read; `recovered` is what each shard had applied at the start.
    pub(crate) fn recovered<'a>(
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        recovered: &[Arc<Applied>],
    ) -> Self {
        let mut state = State::default();
        for place in partitions {
            let least = recovered.iter().map(|shard| shard.next_offset(place)).min();
            state.advance(place, least.unwrap_or(0));
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

    /// An epoch that reads up to `ends` is about to be committed; its number. Called in the order of
    /// reading, before any shard has it.
    pub(crate) fn begin(&self, ends: Vec<(TopicPartition, i64)>) -> u64 {
        let mut state = self.state.lock();
        // From now on the partition counts as read.
        ends.iter().for_each(|(place, _)| state.advance(place, 0));
        state.open.push_back(OpenEpoch {
            committed: false,
            ends,
        });
        state.first + state.open.len() as u64 - 1
    }

    /// Every shard has epoch `number`.
    pub(crate) fn finish(&self, number: u64) {
        let mut state = self.state.lock();
        let at = usize::try_from(number - state.first).expect("an open epoch has an index");
        state.open[at].committed = true;
        let mut moved = false;
        while let Some(epoch) = state.open.pop_front_if(|epoch| epoch.committed) {
            state.first += 1;
            moved |= !epoch.ends.is_empty();
            for (place, next_offset) in &epoch.ends {
                state.advance(place, *next_offset);
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
        entries.iter().take_while(|e| state.covers(e)).count()
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::prediction::{PendingScore, PredictionKey, Role};
    use forebay_core::progress::PartitionProgress;

    use super::*;

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
        let released = Released::recovered([&place(0)], &[applied(5), applied(3)]);
        let ready = |offset| released.ready(&[entry("t", 0, offset)]) == 1;
        assert!(ready(2) && !ready(3), "the least of the shards");
        let first = released.begin(vec![(place(0), 6)]);
        let second = released.begin(vec![(place(0), 9)]);
        released.finish(second);
        assert!(!ready(3), "the first epoch is still open");
        released.finish(first);
        assert!(ready(8) && !ready(9));
        let third = released.begin(vec![(place(0), 4)]);
        released.finish(third);
        assert!(ready(8), "what was read again takes nothing back");
    }

    #[test]
    fn a_partition_counts_as_read_from_its_first_epoch_on_and_an_unread_one_holds_nothing() {
        let released = Released::recovered([], &[]);
        assert_eq!(released.ready(&[entry("gone", 0, 7)]), 1);
        let number = released.begin(vec![(place(4), 2)]);
        assert_eq!(released.ready(&[entry("t", 4, 1)]), 0);
        released.finish(number);
        let entries = [entry("t", 4, 1), entry("t", 4, 2), entry("gone", 0, 7)];
        assert_eq!(released.ready(&entries), 1, "order is kept");
    }
}
