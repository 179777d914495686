//! What who starts from a state relies on: where its shards stand, and what they have recorded
//! about time.

use forebay_core::ErrorKind;
use forebay_core::ports::{OnlineStore, ShardWrite};
use forebay_core::view::FeatureStatus;
use forebay_core::watermark::{Bound, Hold, MarkFact, MarkRecord};

use super::{Check, partition, read, register};

pub(super) const CHECKS: &[Check] = &[
    a_new_store_is_empty,
    decisions_about_time_are_kept_and_replaced_in_their_own_shard,
];

fn a_new_store_is_empty(store: &dyn OnlineStore) {
    assert!(store.shards() >= 1);
    for shard in 0..store.shards() {
        assert!(store.applied(shard).0.is_empty());
        assert!(store.marks(shard).expect("readable").is_empty());
    }
    register(store);
    let row = read(store, "a", 50);
    assert_eq!(row, (FeatureStatus::NotFound, None, None));
}

fn decisions_about_time_are_kept_and_replaced_in_their_own_shard(store: &dyn OnlineStore) {
    let record = |fact| MarkRecord {
        partition: partition(),
        fact,
    };
    let hold = |at| {
        record(MarkFact::Hold(Hold {
            at,
            mark_us: 70,
            watermark_us: 60,
        }))
    };
    let bound = |until, mark_max_us| {
        record(MarkFact::Bound(Bound {
            from: 3,
            until,
            mark_max_us,
            watermark_max_us: mark_max_us,
        }))
    };
    let last = store.shards() - 1;
    for marks in [vec![hold(3), bound(4, 80)], vec![hold(5), bound(9, 90)]] {
        let write = ShardWrite {
            marks,
            ..ShardWrite::default()
        };
        store.commit(last, &write).expect("committed");
    }
    let mut marks = store.marks(last).expect("readable");
    marks.sort();
    assert_eq!(
        marks,
        [bound(9, 90), hold(5)],
        "each replaces the one before"
    );
    for other in 0..last {
        assert!(store.marks(other).expect("readable").is_empty());
    }
    let outside = store.marks(store.shards()).expect_err("no such shard");
    assert_eq!(outside.kind(), ErrorKind::InvalidArgument);
}
