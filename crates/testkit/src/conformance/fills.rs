//! What who fills a view relies on: rows that count below the progress, and the note of how far it
//! is.

use forebay_core::ErrorKind;
use forebay_core::ports::{FillNote, FillWrite, OnlineStore, ShardWrite};
use forebay_core::progress::{Applied, PartitionProgress};

use super::{Check, Event, VIEW, partition, read, register, shard_of_key, write_of};

pub(super) const CHECKS: &[Check] = &[
    a_fill_counts_and_leaves_the_progress,
    a_fill_is_noted_with_its_rows_until_it_is_over,
    a_fill_of_an_unknown_view_is_refused_with_its_note,
];

fn a_fill_counts_and_leaves_the_progress(store: &dyn OnlineStore) {
    register(store);
    let shard = shard_of_key(store, "a");
    let read_up_to = PartitionProgress {
        next_offset: 10,
        max_event_time_us: Some(90),
        last: None,
    };
    let write = ShardWrite {
        progress: vec![(partition(), read_up_to)],
        ..ShardWrite::default()
    };
    store.commit(shard, &write).expect("committed");
    fill(store, shard, &[(3, 30, "a"), (7, 70, "a")], note(8));
    assert_eq!(read(store, "a", 80).1, Some(2));
    assert_eq!(store.applied(shard).next_offset(&partition()), 10);
    assert!(store.is_settled());
}

fn a_fill_is_noted_with_its_rows_until_it_is_over(store: &dyn OnlineStore) {
    register(store);
    let shard = shard_of_key(store, "a");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), None);
    for next_offset in [8, 12] {
        // The second one has no row of this shard.
        let events: &[Event] = if next_offset == 8 {
            &[(7, 70, "a")]
        } else {
            &[]
        };
        fill(store, shard, events, note(next_offset));
        let noted = store.filled(shard, VIEW).expect("readable");
        assert_eq!(noted, Some(note(next_offset)));
    }
    assert_eq!(read(store, "a", 80).1, Some(1));
    assert_eq!(store.views().expect("readable"), [VIEW]);
    store.end_fill(VIEW).expect("over");
    store.end_fill(VIEW).expect("over already");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), None);
    assert_eq!(read(store, "a", 80).1, Some(1), "what it has folded stays");
    fill(store, shard, &[], note(8));
    store.drop_view(VIEW).expect("dropped");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), None);
    assert!(store.views().expect("readable").is_empty());
}

fn a_fill_of_an_unknown_view_is_refused_with_its_note(store: &dyn OnlineStore) {
    let shard = shard_of_key(store, "a");
    let write = write_to_fill(store, shard, &[(3, 30, "a")], note(4));
    let error = store.fill(shard, &write).expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(store.is_settled(), "what is refused is never written");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), None);
    register(store);
    store.fill(shard, &write).expect("known by now");
    store.sync().expect("on disk");
    assert_eq!(read(store, "a", 80).1, Some(1));
    let outside = store.fill(store.shards(), &write);
    let kind = outside.expect_err("no such shard").kind();
    assert_eq!(kind, ErrorKind::InvalidArgument);
}

pub(super) fn note(next_offset: i64) -> FillNote {
    let at = PartitionProgress {
        next_offset,
        max_event_time_us: Some(90),
        last: None,
    };
    FillNote {
        basis: "t".to_owned(),
        rows: 7,
        at: Applied([(partition(), at)].into()),
    }
}

pub(super) fn write_to_fill(
    store: &dyn OnlineStore,
    shard: u16,
    events: &[Event],
    note: FillNote,
) -> FillWrite {
    FillWrite {
        view: VIEW,
        folds: write_of(store, shard, events).folds,
        note,
    }
}

fn fill(store: &dyn OnlineStore, shard: u16, events: &[Event], note: FillNote) {
    let write = write_to_fill(store, shard, events, note);
    store.fill(shard, &write).expect("filled");
}
