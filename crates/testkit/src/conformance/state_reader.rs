//! What readers rely on: values as of an instant, with the epochs that answered.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use forebay_core::key::KeyBuffer;
use forebay_core::ports::{At, OnlineStore, ShardEpoch};
use forebay_core::view::FeatureStatus;

use super::{Check, VIEW, commit_all, count, partition, read, register, shard_of_key, write_of};
use crate::memory::unbounded;

pub(super) const CHECKS: &[Check] = &[
    an_epoch_is_read_with_what_it_applied,
    earlier_epochs_resolve_to_what_they_had_applied,
];

fn an_epoch_is_read_with_what_it_applied(store: &dyn OnlineStore) {
    register(store);
    commit_all(
        store,
        &[(0, 10, "a"), (1, 60, "a"), (3, 110, "a"), (4, 20, "b")],
    );
    // Both ends of the window are in; later events are not seen.
    let cases = [
        ("a", 9, (FeatureStatus::NotFound, None, None)),
        ("a", 10, (FeatureStatus::Present, Some(1), Some(10))),
        ("a", 110, (FeatureStatus::Present, Some(3), Some(110))),
        ("a", 111, (FeatureStatus::Present, Some(2), Some(110))),
        ("a", 500, (FeatureStatus::Present, Some(0), Some(110))),
        ("b", 20, (FeatureStatus::Present, Some(1), Some(20))),
        ("c", 20, (FeatureStatus::NotFound, None, None)),
    ];
    for (key, at, expected) in cases {
        assert_eq!(read(store, key, at), expected, "{key} at {at}");
    }
    let many: ArrayRef = Arc::new(StringArray::from(vec![
        Some("b"),
        None,
        Some("a"),
        Some("b"),
    ]));
    let keys = KeyBuffer::encode(&[many]).expect("text keys");
    let instants = [20, 20, 60, 19];
    let rows = store
        .read(VIEW, &keys, At::PerRow(&instants), &mut unbounded())
        .expect("answered");
    assert_eq!(rows.status.len(), 4);
    let counts: Vec<Option<i64>> = (0..4).map(|row| count(&rows, row)).collect();
    assert_eq!(counts, [Some(1), None, Some(2), None]);
    assert_eq!(rows.applied[1], None, "a NULL key has no shard");
    for row in [0, 2, 3] {
        let at = rows.applied[row].expect("answered by a shard");
        assert_eq!(store.applied_at(at), Some(store.applied(at.shard)));
    }
    for shard in 0..store.shards() {
        let applied = store.applied(shard);
        assert_eq!(
            applied.next_offset(&partition()),
            5,
            "also where no row hashed"
        );
    }
}

fn earlier_epochs_resolve_to_what_they_had_applied(store: &dyn OnlineStore) {
    register(store);
    let shard = shard_of_key(store, "a");
    let epochs: Vec<u64> = (0..20)
        .map(|offset| {
            let write = write_of(store, shard, &[(offset, 10 * offset, "a")]);
            store.commit(shard, &write).expect("committed")
        })
        .collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    for (next_offset, epoch) in (1..).zip(&epochs) {
        let at = ShardEpoch {
            shard,
            epoch: *epoch,
        };
        let applied = store.applied_at(at).expect("kept");
        assert_eq!(applied.next_offset(&partition()), next_offset);
    }
    let unknown = ShardEpoch {
        shard,
        epoch: epochs[19] + 1,
    };
    assert_eq!(store.applied_at(unknown), None);
}
