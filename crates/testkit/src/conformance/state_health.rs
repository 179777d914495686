//! What probes and metrics rely on: a store with which nothing went wrong says so, one that does
//! not know what became of a write says that, and one that finds a view's state damaged sets that
//! view aside alone. What a broken one says is held where it can be broken, by the tests of the
//! store on a disk.

use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{At, OnlineStore, StateHealth, StoreHealth, ViewDamage};
use forebay_core::view::{FeatureStatus, ViewId, ViewSpec};

use super::fills::{note, write_to_fill};
use super::{
    Check, MakeStore, VIEW, commit_all, count, key, partition, read, register, shard_of_key, spec,
    write_of,
};
use crate::memory::unbounded;

const OTHER: ViewId = 2;

pub(super) const CHECKS: &[Check] = &[
    a_store_that_works_says_so,
    a_view_that_a_write_sets_aside_folds_nothing_more,
];

fn a_store_that_works_says_so(store: &dyn OnlineStore) {
    let probed: &dyn StateHealth = store;
    assert_eq!(probed.health(), StoreHealth::Well, "a new store");
    register(store);
    commit_all(store, &[(0, 10, "a"), (1, 20, "b")]);
    assert_eq!(probed.health(), StoreHealth::Well, "nothing failed");
}

fn a_view_that_a_write_sets_aside_folds_nothing_more(store: &dyn OnlineStore) {
    register_both(store);
    commit_to_both(store, &[(0, 10, "a")]);
    let shards = 0..store.shards();
    for shard in shards.clone() {
        let mut write = write_of(store, shard, &[(1, 20, "a")]);
        write.folds.iter_mut().for_each(|fold| fold.view = OTHER);
        write.aside = vec![(VIEW, "its SQL fails".into()), (99, "unknown".into())];
        store.commit(shard, &write).expect("the rest is applied");
    }
    let expected: Vec<ViewDamage> = shards
        .map(|shard| ViewDamage {
            view: VIEW,
            shard,
            why: "its SQL fails".into(),
        })
        .collect();
    assert_eq!(store.set_aside(), expected, "the views that are known");
    // Another reason, and rows of it, change nothing.
    for shard in 0..store.shards() {
        let mut write = write_of(store, shard, &[(2, 30, "a")]);
        write.aside = vec![(VIEW, "another reason".into())];
        store.commit(shard, &write).expect("the rest is applied");
    }
    assert_eq!(store.set_aside(), expected);
    let read = store.read(VIEW, &key("a"), At::Instant(50), &mut unbounded());
    let error = read.expect_err("it lacks rows");
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert_eq!(other(store), Some(2));
    store.drop_view(VIEW).expect("dropped");
    assert_eq!(store.set_aside(), []);
}

/// Damages what a store has of a view in all its shards; returns the store, open again where that
/// needs it closed.
pub type Damage<'a> = &'a dyn Fn(Arc<dyn OnlineStore>, ViewId) -> Arc<dyn OnlineStore>;

/// A view whose state is damaged is set aside alone, by the write that meets it, until it is
/// dropped.
///
/// # Panics
/// It is not so.
pub fn a_damaged_view_is_set_aside_alone(make: MakeStore<'_>, damage: Damage<'_>) {
    let store = make();
    register_both(store.as_ref());
    commit_to_both(store.as_ref(), &[(0, 10, "a")]);
    let store = damage(store, VIEW);
    let store = store.as_ref();
    register_both(store);
    assert_eq!(store.set_aside(), [], "no write has met it");
    commit_to_both(store, &[(1, 20, "a")]);
    assert_aside(store, 2);
    commit_to_both(store, &[(2, 30, "a")]);
    assert_aside(store, 3);

    let shard = shard_of_key(store, "a");
    let fill = |events| write_to_fill(store, shard, events, note(1));
    for events in [&[][..], &[(0, 10, "a")]] {
        let filled = store.fill(shard, &fill(events));
        let error = filled.expect_err("it is set aside");
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    }

    store.drop_view(VIEW).expect("dropped");
    assert_eq!(store.set_aside(), []);
    register(store);
    assert_eq!(read(store, "a", 40).0, FeatureStatus::NotFound);
    let filled = store.fill(shard, &fill(&[(0, 10, "a")]));
    filled.expect("filled anew");
    assert_eq!(read(store, "a", 40).1, Some(1));
    commit_to_both(store, &[(3, 40, "a")]);
    assert_eq!(read(store, "a", 40).1, Some(2));
    assert_eq!(other(store), Some(4));
}

/// The next write of a shard is done, or not, and reported as failed.
pub type LoseReply<'a> = &'a dyn Fn(&Arc<dyn OnlineStore>, u16);

/// After a write that has failed nobody knows how far its shard is: the store says so, and shows
/// nothing of it, until the same write goes through. Then its rows count once.
///
/// # Panics
/// It is not so.
pub fn a_failed_write_leaves_its_shard_undecided(make: MakeStore<'_>, lose: LoseReply<'_>) {
    let store = make();
    register(store.as_ref());
    commit_all(store.as_ref(), &[(0, 10, "a")]);
    let shard = shard_of_key(store.as_ref(), "a");
    lose(&store, shard);
    let write = write_of(store.as_ref(), shard, &[(1, 20, "a")]);
    let error = store.commit(shard, &write).expect_err("the disk fails");
    assert!(error.kind().is_retriable(), "{error}");
    assert_undecided(store.as_ref(), shard);
    assert_eq!(read(store.as_ref(), "a", 40).1, Some(1), "nothing is shown");
    assert_eq!(store.applied(shard).next_offset(&partition()), 1);
    store.commit(shard, &write).expect("the disk is back");
    assert!(store.is_settled());
    assert_eq!(store.health(), StoreHealth::Well);
    assert_eq!(read(store.as_ref(), "a", 40).1, Some(2), "each row once");
    assert_eq!(store.applied(shard).next_offset(&partition()), 2);

    store.drop_view(VIEW).expect("dropped");
    register(store.as_ref());
    lose(&store, shard);
    let fill = write_to_fill(store.as_ref(), shard, &[(0, 10, "a")], note(1));
    let filled = store.fill(shard, &fill);
    assert!(filled.expect_err("it fails").kind().is_retriable());
    assert_undecided(store.as_ref(), shard);
    store.fill(shard, &fill).expect("the disk is back");
    assert!(store.is_settled());
    assert_eq!(read(store.as_ref(), "a", 40).1, Some(1), "each row once");
    assert_eq!(store.filled(shard, VIEW).expect("readable"), Some(note(1)));
}

fn assert_undecided(store: &dyn OnlineStore, shard: u16) {
    assert!(!store.is_settled(), "who fills a view must not trust it");
    let named = format!("shard {shard}");
    let health = store.health();
    let is_told = matches!(&health, StoreHealth::Troubled { why } if why.contains(&named));
    assert!(is_told, "{health:?}");
}

fn register_both(store: &dyn OnlineStore) {
    register(store);
    let mut other = ViewSpec::clone(&spec());
    (other.id, other.name) = (OTHER, "other".to_owned());
    store.register_view(Arc::new(other)).expect("registered");
}

fn commit_to_both(store: &dyn OnlineStore, events: &[super::Event]) {
    for shard in 0..store.shards() {
        let mut write = write_of(store, shard, events);
        for mut fold in write.folds.clone() {
            fold.view = OTHER;
            write.folds.push(fold);
        }
        store
            .commit(shard, &write)
            .expect("nothing else is held up");
    }
}

/// Count of the other view.
fn other(store: &dyn OnlineStore) -> Option<i64> {
    let at = At::Instant(50);
    let rows = store.read(OTHER, &key("a"), at, &mut unbounded());
    count(&rows.expect("answered"), 0)
}

/// The view is set aside in the shard of `a`, whose other view has counted `rows`.
fn assert_aside(store: &dyn OnlineStore, rows: i64) {
    let shard = shard_of_key(store, "a");
    let aside = store.set_aside();
    let places: Vec<_> = aside
        .iter()
        .map(|damage| (damage.view, damage.shard))
        .collect();
    assert_eq!(places, [(VIEW, shard)], "{aside:?}");
    let error = store
        .read(VIEW, &key("a"), At::Instant(50), &mut unbounded())
        .expect_err("it is damaged");
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert_eq!(other(store), Some(rows));
    assert_eq!(store.applied(shard).next_offset(&partition()), rows);
}
