//! What who writes epochs relies on: all of a write or nothing, replays that change nothing, and
//! epochs that ascend.

use forebay_core::ErrorKind;
use forebay_core::ports::{At, OnlineStore, ShardWrite};

use super::{Check, VIEW, commit_all, key, partition, read, register, shard_of_key, write_of};
use crate::memory::unbounded;

pub(super) const CHECKS: &[Check] = &[
    what_is_unknown_is_refused_and_nothing_is_applied,
    a_replay_changes_nothing,
    epochs_ascend_and_what_they_need_is_kept,
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
