//! What who writes epochs relies on: all of a write or nothing, replays that change nothing, and
//! epochs that ascend.

use forebay_core::ErrorKind;
use forebay_core::ports::{At, OnlineStore, ShardWrite};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::watermark::{Bound, MarkFact, MarkRecord};

use super::{Check, VIEW, commit_all, key, partition, read, register, shard_of_key, write_of};
use crate::memory::unbounded;

pub(super) const CHECKS: &[Check] = &[
    what_is_unknown_is_refused_and_nothing_is_applied,
    a_replay_changes_nothing,
    epochs_ascend_and_what_they_need_is_kept,
    bounds_of_rows_that_nobody_reads_again_are_forgotten_but_for_the_last,
];

fn what_is_unknown_is_refused_and_nothing_is_applied(store: &dyn OnlineStore) {
    let error = store
        .read(VIEW, &key("a"), At::Instant(5), &mut unbounded())
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let events = [(0, 10, "a")];
    let shard = shard_of_key(store, "a");
    let error = store
        .commit(shard, &write_of(store, shard, &events))
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        store.applied(shard).0.is_empty(),
        "a refused commit applied something"
    );
    let outside = store.commit(store.shards(), &ShardWrite::default());
    assert_eq!(
        outside.expect_err("no such shard").kind(),
        ErrorKind::InvalidArgument
    );
    // The same commit succeeds once the view is there.
    register(store);
    commit_all(store, &events);
    assert_eq!(read(store, "a", 10).1, Some(1));
}

fn a_replay_changes_nothing(store: &dyn OnlineStore) {
    register(store);
    commit_all(store, &[(0, 10, "a"), (1, 20, "b")]);
    commit_all(store, &[(0, 10, "a"), (1, 20, "b"), (2, 30, "a")]);
    commit_all(store, &[(0, 10, "a")]);
    assert_eq!(read(store, "a", 40).1, Some(2));
    assert_eq!(read(store, "b", 40).1, Some(1));
    for shard in 0..store.shards() {
        assert_eq!(
            store.applied(shard).next_offset(&partition()),
            3,
            "it never falls"
        );
    }
}

fn epochs_ascend_and_what_they_need_is_kept(store: &dyn OnlineStore) {
    register(store);
    let shard = shard_of_key(store, "a");
    // A read at the first event stays possible, however far later ones are.
    store.keep_from(Some(10));
    let mut before = 0;
    for (offset, time) in [(0, 10), (1, 20), (2, 1 << 40)] {
        let write = write_of(store, shard, &[(offset, time, "a")]);
        let epoch = store.commit(shard, &write).expect("committed");
        assert!(epoch > before, "{epoch} after {before}");
        before = epoch;
    }
    assert_eq!(read(store, "a", 10).1, Some(1));
    store.keep_from(None);
}

fn bounds_of_rows_that_nobody_reads_again_are_forgotten_but_for_the_last(store: &dyn OnlineStore) {
    let bound = |from: i64, mark_max_us: i64| MarkRecord {
        partition: partition(),
        fact: MarkFact::Bound(Bound {
            from,
            until: from + 2,
            mark_max_us,
            watermark_max_us: 900,
        }),
    };
    let all = [
        bound(0, 50),
        bound(2, 70),
        bound(4, 80),
        bound(6, 90),
        bound(8, 95),
    ];
    let write = |marks: &[MarkRecord], forget_bounds: &[(TopicPartition, i64)]| {
        let progress = PartitionProgress {
            next_offset: 10,
            max_event_time_us: Some(70),
            last: None,
        };
        let write = ShardWrite {
            progress: vec![(partition(), progress)],
            marks: marks.to_vec(),
            forget_bounds: forget_bounds.to_vec(),
            ..ShardWrite::default()
        };
        store.commit(0, &write).expect("commit");
        let mut marks = store.marks(0).expect("readable");
        marks.sort();
        marks
    };
    assert_eq!(write(&all, &[]), all);
    // The mark stands at the bound of 2; 8 is the last one.
    let kept = [bound(2, 70), bound(6, 90), bound(8, 95)];
    assert_eq!(write(&[], &[(partition(), 7)]), kept);
    let kept = [bound(2, 70), bound(8, 95)];
    assert_eq!(write(&[], &[(partition(), 100)]), kept);
    let elsewhere = TopicPartition::new("elsewhere", 0);
    assert_eq!(write(&[], &[(elsewhere, 100)]), kept);
}
