//! What a commit costs is what it changes: bytes written and memory of the history do not depend on
//! the number of partitions that did not move, nor on the number of keys that it does not touch.
//! Counted, not timed.

use forebay_core::ports::{EpochWriter, ShardEpoch, ShardWrite, StateProgress, StateReader};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::view::Window;
use forebay_online::RocksStore;
use forebay_testkit::unbounded_budget;

use crate::model::*;

fn progress_to(partition: i32, next_offset: i64) -> (TopicPartition, PartitionProgress) {
    let progress = PartitionProgress {
        next_offset,
        max_event_time_us: Some(next_offset),
        last: None,
    };
    (TopicPartition::new(TOPIC, partition), progress)
}

/// A store of one shard that has read `partitions` partitions up to offset 5.
fn store_of(directory: &std::path::Path, partitions: i32) -> RocksStore {
    let views = [wide_view(1, &[Window::Range { preceding_us: 100 }], None)];
    let store = open(directory, &options(1, 0), &views);
    let write = ShardWrite {
        progress: (0..partitions).map(|p| progress_to(p, 5)).collect(),
        ..ShardWrite::default()
    };
    store.commit(0, &write).expect("commit");
    store
}

/// Bytes that 100 events of partition 3 write, each its own epoch, when the pipeline hands over the
/// progress of all partitions each time; and the changes that the history keeps of them.
fn cost_of_a_trickle(partitions: i32) -> (u64, u64) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let views = [wide_view(1, &[Window::Range { preceding_us: 100 }], None)];
    let store = store_of(directory.path(), partitions);
    let before = store.stats();
    for offset in 5..105 {
        let event = Event {
            partition: 3,
            offset,
            time: 1_000 + offset,
            key: Some("k".into()),
            x: Some(0.5),
            i: None,
            s: None,
            passes: None,
            watermark: Some(900),
        };
        let mut write = shard_write(&views, &[event], 0, 1);
        write.progress = (0..partitions).map(|p| progress_to(p, 5)).collect();
        write.progress[3] = progress_to(3, offset + 1);
        store.commit(0, &write).expect("commit");
    }
    let after = store.stats();
    (
        after.written_bytes - before.written_bytes,
        after.history_changes - before.history_changes,
    )
}

#[test]
fn a_trickle_costs_the_same_with_few_and_with_a_thousand_partitions() {
    let few = cost_of_a_trickle(4);
    let many = cost_of_a_trickle(1_000);
    assert_eq!(few, many);
    let (bytes, changes) = many;
    assert_eq!(changes, 100, "one partition moved in each of 100 epochs");
    // A tile of up to 32 rows of eleven states' arguments is rewritten each time: the bound is the
    // tile's, and far below what a thousand partitions took.
    assert!(bytes / 100 < 1_024, "{} bytes an event", bytes / 100);
}

#[test]
fn a_shard_that_nothing_touched_writes_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = store_of(directory.path(), 1_000);
    let before = store.stats();
    let idle = ShardWrite {
        progress: (0..1_000).map(|p| progress_to(p, 5)).collect(),
        ..ShardWrite::default()
    };
    let epoch = store.commit(0, &idle).expect("commit");
    assert_eq!(store.commit(0, &idle).expect("commit"), epoch);
    assert_eq!(store.stats().written_bytes, before.written_bytes);
    let at = ShardEpoch { shard: 0, epoch };
    assert_eq!(store.applied_at(at), Some(store.applied(0)));
}

#[test]
fn every_partition_is_known_after_a_restart() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = store_of(directory.path(), 1_000);
    let moved = ShardWrite {
        progress: vec![progress_to(17, 9)],
        ..ShardWrite::default()
    };
    store.commit(0, &moved).expect("commit");
    let applied = store.applied(0);
    assert_eq!(applied.0.len(), 1_000);
    drop(store);
    let store =
        RocksStore::open(directory.path(), &options(1, 0), &unbounded_budget()).expect("open");
    assert_eq!(store.applied(0), applied);
    assert_eq!(applied.next_offset(&TopicPartition::new(TOPIC, 17)), 9);
    assert_eq!(applied.next_offset(&TopicPartition::new(TOPIC, 18)), 5);
}

/// What 100 events of one key cost, each its own epoch followed by a read of the key, in a store of
/// `keys` keys: bytes and tiles written, keys loaded, rows computed, bytes of the log.
fn cost_of_a_key(keys: i64, reopened: bool) -> [u64; 5] {
    /// Numbers are as long in every case.
    const FIRST: i64 = 1_000_000;
    let directory = tempfile::tempdir().expect("temporary directory");
    let views = [wide_view(1, &[Window::Range { preceding_us: 100 }], None)];
    let at = |offset: i64, key: i64| Event {
        partition: 0,
        offset,
        time: 1_000 + (offset - FIRST).max(0),
        key: Some(format!("key-{key:06}")),
        x: Some(0.5),
        i: None,
        s: None,
        passes: None,
        watermark: Some(900),
    };
    let mut store = open(directory.path(), &options(1, 0), &views);
    let all: Vec<Event> = (0..keys).map(|key| at(key, key)).collect();
    commit_all(&store, &views, &all);
    if reopened {
        drop(store);
        store = open(directory.path(), &options(1, 0), &views);
    }
    let (before, log) = (store.stats(), store.stats().rocksdb.wal_bytes);
    for offset in FIRST..FIRST + 100 {
        let event = at(offset, 7);
        let read_at = event.time;
        commit_all(&store, &views, &[event]);
        read_one(&store, &views[0], "key-000007", read_at).expect("it is kept");
    }
    let after = store.stats();
    [
        after.written_bytes - before.written_bytes,
        after.tiles_written - before.tiles_written,
        after.keys_loaded - before.keys_loaded,
        after.recomputes - before.recomputes,
        store.stats().rocksdb.wal_bytes - log,
    ]
}

#[test]
fn events_of_a_key_cost_the_same_beside_few_keys_and_many() {
    for reopened in [false, true] {
        let few = cost_of_a_key(10, reopened);
        let many = cost_of_a_key(10_000, reopened);
        assert_eq!(
            few, many,
            "bytes, tiles, loads, recomputes, bytes of the log"
        );
    }
}
