//! Records of one view that do not decode: whatever meets them sets that view aside alone, and that
//! outlives the process until the view is dropped.

use std::path::Path;
use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{At, OnlineStore, StateHealth, StateReader, StoreHealth, ViewStates};
use forebay_core::view::{ViewId, ViewSpec, Window};
use forebay_online::RocksStore;
use forebay_testkit::conformance::state_health::a_damaged_view_is_set_aside_alone;
use forebay_testkit::{unbounded, unbounded_budget};
use rocksdb::{DB, IteratorMode, Options};

use crate::model::*;

/// Change each record of `family` in the closed shards under `root` whose key `is_meant`; returns
/// how many there are.
fn change(
    root: &Path,
    family: &str,
    is_meant: impl Fn(&[u8]) -> bool,
    rewrite: impl Fn(&mut Vec<u8>),
) -> usize {
    let mut changed = 0;
    for shard in std::fs::read_dir(root).expect("a store") {
        let path = shard.expect("a shard").path();
        let families = DB::list_cf(&Options::default(), &path).expect("a database");
        let db = DB::open_cf(&Options::default(), &path, families).expect("closed");
        let handle = db.cf_handle(family).expect("a family of the store");
        let all: Vec<_> = db.iterator_cf(handle, IteratorMode::Start).collect();
        for record in all {
            let (key, value) = record.expect("readable");
            if is_meant(&key) {
                let mut value = value.into_vec();
                rewrite(&mut value);
                db.put_cf(handle, &key, value).expect("written");
                changed += 1;
            }
        }
    }
    changed
}

/// The numbers of a record behind its version code are not what was written.
fn garble(value: &mut Vec<u8>) {
    value.truncate(1);
    value.extend_from_slice(&[0xFF; 7]);
}

/// Garble the tiles of `view` whose entity key has `part` in it.
fn garble_tiles(root: &Path, view: ViewId, part: &str) {
    let is_part = |key: &[u8]| {
        key.windows(part.len())
            .any(|bytes| bytes == part.as_bytes())
    };
    let of_view = |key: &[u8]| key.starts_with(&view.to_be_bytes()) && is_part(key);
    assert!(
        change(root, "tile", of_view, garble) > 0,
        "nothing is stored of {part}"
    );
}

/// The shards in which `view` is set aside, and the reason.
fn aside(store: &RocksStore) -> Vec<(ViewId, u16, String)> {
    let damages = store.set_aside().into_iter();
    damages
        .map(|damage| (damage.view, damage.shard, damage.why.to_string()))
        .collect()
}

/// The view is not read: the error names it, what is damaged and the remedy.
fn assert_refused(store: &RocksStore, view: &ViewSpec, key: &str, what: &str) {
    let at = At::Instant(i64::MAX / 2);
    let error = store
        .read(view.id, &encode_key(key), at, &mut unbounded())
        .expect_err("it is damaged");
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    let remedy = format!("`forebay rebuild {}`", view.name);
    for part in [&view.name, what, &remedy] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn the_store_on_rocksdb_sets_a_damaged_view_aside_alone() {
    for shards in [1, 3] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let open = || -> Arc<dyn OnlineStore> {
            let options = options(shards, 1_000);
            let store = RocksStore::open(directory.path(), &options, &unbounded_budget());
            Arc::new(store.expect("open"))
        };
        a_damaged_view_is_set_aside_alone(&open, &|store, view| {
            drop(store);
            garble_tiles(directory.path(), view, "a");
            open()
        });
    }
}

fn views() -> [Arc<ViewSpec>; 2] {
    let range = |preceding_us| Window::Range { preceding_us };
    [1, 2].map(|id| wide_view(id, &[range(40), range(400)], None))
}

/// Events of `key`, one each ten microseconds.
fn events(key: &str, offsets: std::ops::Range<i64>) -> Vec<Event> {
    let event = |offset: i64| Event {
        partition: 0,
        offset,
        time: offset * 10,
        key: Some(key.to_owned()),
        x: Some(offset as f64 / 3.0),
        i: Some(offset),
        s: None,
        passes: Some(true),
        watermark: Some(offset * 10 - 10),
    };
    offsets.map(event).collect()
}

fn assert_values(store: &RocksStore, view: &ViewSpec, log: &[Event], key: &str, at: i64) {
    let found = read_one(store, view, key, at).expect("kept");
    assert_same(&evaluate(view, log.iter(), key, at), &found, || {
        format!("{key} at {at}")
    });
}

/// No event of the damaged key comes any more: the sweep that looks for what has expired meets it.
#[test]
fn a_sweep_that_meets_damage_sets_the_view_aside_for_as_long_as_it_is_there() {
    let (views, settings) = (views(), options(1, 1_000_000));
    let [damaged, other] = &views;
    let directory = tempfile::tempdir().expect("temporary directory");
    let reopen = || open(directory.path(), &settings, &views);
    let mut log = events("resting", 0..50);
    commit_all(&reopen(), &views, &log);
    garble_tiles(directory.path(), damaged.id, "resting");

    let store = reopen();
    let busy = events("busy", 50..52);
    commit_all(&store, &views, &busy);
    log.extend(busy);
    assert_eq!(
        aside(&store),
        [],
        "an event of another key does not meet it"
    );
    assert_values(&store, damaged, &log, "busy", 600);
    assert_refused(&store, damaged, "resting", "cannot be decoded");

    let mut next = 200_000;
    while aside(&store).is_empty() {
        assert!(next < 10_000_000, "no sweep has come by");
        let later = events("busy", next..next + 1);
        commit_all(&store, &views, &later);
        log.extend(later);
        next += 20_000;
    }
    let why = aside(&store)[0].2.clone();
    assert_eq!(aside(&store), [(damaged.id, 0, why.clone())]);
    assert!(why.contains("a tile cannot be decoded"), "{why}");
    let at = log[log.len() - 1].time;
    assert_refused(&store, damaged, "busy", "a tile cannot be decoded");
    assert_values(&store, other, &log, "busy", at);
    assert_eq!(store.health(), StoreHealth::Well, "nothing else is wrong");
    drop(store);

    let store = reopen();
    assert_eq!(aside(&store), [(damaged.id, 0, why)]);
    assert_refused(&store, damaged, "never-seen", "a tile cannot be decoded");
    assert_values(&store, other, &log, "busy", at);
    store.drop_view(damaged.id).expect("dropped");
    drop(store);
    assert_eq!(aside(&reopen()), []);
}

/// The records by which a long history is read in parts.
#[test]
fn a_damaged_record_of_a_branch_sets_its_view_aside_alone() {
    let (views, settings) = (views(), options(1, 1_000_000));
    let [damaged, other] = &views;
    let directory = tempfile::tempdir().expect("temporary directory");
    let reopen = || open(directory.path(), &settings, &views);
    let mut log = events("busy", 0..2_000);
    let store = reopen();
    for epoch in log.chunks(40) {
        commit_all(&store, &views, epoch);
    }
    drop(store);
    let of_view = |key: &[u8]| key.starts_with(&damaged.id.to_be_bytes());
    assert!(change(directory.path(), "branch", of_view, garble) > 0);

    let store = reopen();
    assert_refused(&store, damaged, "busy", "a branch cannot be decoded");
    assert_values(&store, other, &log, "busy", 20_000);
    let more = events("busy", 2_000..2_001);
    commit_all(&store, &views, &more);
    log.extend(more);
    let found: Vec<ViewId> = aside(&store).iter().map(|damage| damage.0).collect();
    assert_eq!(found, [damaged.id]);
    assert_values(&store, other, &log, "busy", 20_020);
}

/// One commit meets damage of two views.
#[test]
fn each_damaged_view_is_set_aside_and_the_rest_of_the_commit_is_applied() {
    let settings = options(1, 1_000_000);
    let views = [1, 2, 3].map(|id| wide_view(id, &[Window::Range { preceding_us: 400 }], None));
    let directory = tempfile::tempdir().expect("temporary directory");
    let reopen = || open(directory.path(), &settings, &views);
    let mut log = events("busy", 0..50);
    commit_all(&reopen(), &views, &log);
    for view in &views[..2] {
        garble_tiles(directory.path(), view.id, "busy");
    }
    let store = reopen();
    let more = events("busy", 50..60);
    commit_all(&store, &views, &more);
    log.extend(more);
    let found: Vec<ViewId> = aside(&store).iter().map(|damage| damage.0).collect();
    assert_eq!(found, [1, 2]);
    assert_values(&store, &views[2], &log, "busy", 600);
}

/// What is read of a view before any of its keys.
#[test]
fn a_view_whose_own_records_are_damaged_is_set_aside_at_a_start() {
    for family_key in ["horizon/", "view/"] {
        let (views, settings) = (views(), options(2, 1_000_000));
        let [damaged, other] = &views;
        let directory = tempfile::tempdir().expect("temporary directory");
        let reopen = || open(directory.path(), &settings, &views);
        let mut log = events("busy", 0..50);
        commit_all(&reopen(), &views, &log);
        let record = [family_key.as_bytes(), &damaged.id.to_be_bytes()].concat();
        let changed = change(directory.path(), "meta", |key| key == record, garble);
        assert!(changed > 0, "{family_key}");

        let store = reopen();
        let found = aside(&store);
        assert!(!found.is_empty(), "{family_key}");
        assert!(
            found.iter().all(|(view, ..)| *view == damaged.id),
            "{found:?}"
        );
        assert_refused(&store, damaged, "busy", "record cannot be decoded");
        let more = events("busy", 50..60);
        commit_all(&store, &views, &more);
        log.extend(more);
        assert_values(&store, other, &log, "busy", 600);
        drop(store);
        // The mark is on disk by itself: rows were skipped, and nobody may apply the next ones.
        let store = RocksStore::open(directory.path(), &settings, &unbounded_budget());
        let store = store.expect("open");
        assert_eq!(aside(&store), found, "{family_key}");
        store.drop_view(damaged.id).expect("dropped");
        store
            .register_view(Arc::clone(damaged))
            .expect("registered");
        assert_eq!(aside(&store), [], "{family_key}");
    }
}

/// A build whose functions mean something else begins with the state of the one before.
#[test]
fn a_view_whose_state_follows_another_meaning_is_set_aside_and_the_older_build_still_opens_it() {
    let (views, settings) = (views(), options(3, 1_000_000));
    let [outdated, other] = &views;
    let directory = tempfile::tempdir().expect("temporary directory");
    let reopen = |spec: &Arc<ViewSpec>| {
        let store = RocksStore::open(directory.path(), &settings, &unbounded_budget());
        let store = store.expect("open");
        let is_aside = store.set_outdated_aside(spec, "its functions differ");
        for view in [spec, other] {
            store.register_view(Arc::clone(view)).expect("registered");
        }
        (is_aside.expect("the disk works"), store)
    };
    let newer = Arc::new(ViewSpec {
        digest: "another".to_owned(),
        ..ViewSpec::clone(outdated)
    });
    let log: Vec<Event> = ["a", "b", "c"]
        .into_iter()
        .flat_map(|key| events(key, 0..5))
        .collect();
    let (is_aside, store) = reopen(&newer);
    assert!(!is_aside, "nothing is stored of it");
    store.drop_view(newer.id).expect("dropped");
    drop(store);
    let (is_aside, store) = reopen(outdated);
    assert!(!is_aside);
    commit_all(&store, &views, &log);
    drop(store);
    for _ in 0..2 {
        let (is_aside, store) = reopen(&newer);
        assert!(is_aside);
        assert_eq!(aside(&store).len(), 3, "in all shards, on disk too");
        assert_refused(&store, &newer, "a", "its functions differ");
        assert_values(&store, other, &log, "a", 45);
    }
    let (is_aside, store) = reopen(outdated);
    assert!(!is_aside, "its own build");
    assert_refused(&store, outdated, "a", "its functions differ");
    store.drop_view(outdated.id).expect("dropped");
    drop(store);
    let (is_aside, store) = reopen(&newer);
    assert!(!is_aside && aside(&store).is_empty());
}
