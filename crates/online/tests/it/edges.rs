//! Named cases at the edges: windows and TTL to the microsecond, ties, future events, unknown keys,
//! wrong callers.

use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{
    At, EpochWriter, LogNotes, ShardWrite, StateProgress, StateReader, ViewStates,
};
use forebay_core::value::Value;
use forebay_core::view::Window;
use forebay_online::RocksStore;
use forebay_testkit::{unbounded, unbounded_budget};

use crate::model::*;

fn event(offset: i64, time: i64, x: f64) -> Event {
    Event {
        partition: 0,
        offset,
        time,
        key: Some("a".into()),
        x: Some(x),
        i: Some(offset),
        s: Some(format!("s{offset}")),
        passes: Some(true),
        watermark: None,
    }
}

fn count_at(store: &RocksStore, view: &forebay_core::view::ViewSpec, at: i64) -> (u8, Value) {
    let row = read_one(store, view, "a", at).expect("kept");
    (row.status, row.values[0].clone())
}

#[test]
fn both_ends_of_a_window_are_in_to_the_microsecond() {
    let view = wide_view(1, &[Window::Range { preceding_us: 10 }], Some(20));
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(1, 1_000),
        std::slice::from_ref(&view),
    );
    commit_all(&store, std::slice::from_ref(&view), &[event(1, 100, 1.0)]);
    let cases = [
        (99, 3, Value::Null),    // not yet: a future event
        (100, 1, Value::Int(1)), // enters
        (110, 1, Value::Int(1)), // at t - W
        (111, 1, Value::Int(0)), // left: count 0, the key is known
        (120, 1, Value::Int(0)), // age equal to the TTL
        (121, 4, Value::Null),   // older
    ];
    for (at, status, count) in cases.iter().chain(cases.iter().rev()) {
        assert_eq!(
            count_at(&store, &view, *at),
            (*status, count.clone()),
            "t {at}"
        );
    }
}

#[test]
fn a_future_event_is_not_seen_before_its_time_even_by_a_kept_row() {
    let view = wide_view(
        1,
        &[Window::Range {
            preceding_us: 1_000,
        }],
        None,
    );
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(1, 10_000),
        std::slice::from_ref(&view),
    );
    commit_all(
        &store,
        std::slice::from_ref(&view),
        &[event(1, 100, 1.0), event(2, 500, 2.0)],
    );
    assert_eq!(count_at(&store, &view, 200).1, Value::Int(1));
    assert_eq!(count_at(&store, &view, 499).1, Value::Int(1));
    assert_eq!(count_at(&store, &view, 500).1, Value::Int(2));
    assert_eq!(count_at(&store, &view, 100).1, Value::Int(1));
    assert_eq!(
        store.stats().hot_hits,
        1,
        "499 is a copy of 200; 500 and 100 are not"
    );
}

#[test]
fn what_is_read_of_each_view_is_counted_for_that_view() {
    let views = [1, 2].map(|id| wide_view(id, &[Window::Lifetime], None));
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(1, 10_000), &views);
    commit_all(&store, &views, &[event(1, 100, 1.0)]);
    for _ in 0..3 {
        count_at(&store, &views[0], 200);
    }
    let stats = store.view_stats();
    let of = |id: u32| {
        let mut of_view = stats.iter().filter(|(spec, _)| spec.id == id);
        of_view.next().expect("registered").1
    };
    assert_eq!((of(1).hits, of(1).recomputes), (2, 1));
    assert_eq!((of(2).hits, of(2).recomputes), (0, 0));
}

#[test]
fn a_commit_makes_kept_rows_invalid() {
    let view = wide_view(
        1,
        &[Window::Range {
            preceding_us: 1_000,
        }],
        None,
    );
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(1, 10_000),
        std::slice::from_ref(&view),
    );
    commit_all(&store, std::slice::from_ref(&view), &[event(1, 100, 1.0)]);
    assert_eq!(count_at(&store, &view, 300).1, Value::Int(1));
    commit_all(&store, std::slice::from_ref(&view), &[event(2, 200, 1.0)]);
    assert_eq!(count_at(&store, &view, 300).1, Value::Int(2));
}

#[test]
fn ties_of_time_go_by_partition_and_offset() {
    let view = wide_view(1, &[Window::Lifetime], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(1, 10_000),
        std::slice::from_ref(&view),
    );
    let other = Event {
        partition: 1,
        ..event(2, 50, 2.0)
    };
    commit_all(
        &store,
        std::slice::from_ref(&view),
        &[other.clone(), event(9, 50, 9.0)],
    );
    let row = read_one(&store, &view, "a", 50).expect("kept");
    assert_eq!(
        row.values[7],
        Value::Text("s2".into()),
        "partition 1 is after partition 0, whatever the offset"
    );
}

#[test]
fn a_null_key_has_no_row_and_an_unknown_key_no_value() {
    let view = wide_view(1, &[Window::Lifetime], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(2, 0),
        std::slice::from_ref(&view),
    );
    commit_all(&store, std::slice::from_ref(&view), &[event(1, 50, 2.0)]);
    let answer = store
        .read(
            1,
            &encode_keys(&[None, Some("b"), Some("a")]),
            At::Instant(60),
            &mut unbounded(),
        )
        .expect("read");
    assert_eq!(
        answer.status.iter().map(|s| *s as u8).collect::<Vec<_>>(),
        [3, 3, 1]
    );
    assert_eq!(
        answer.aggregates.columns[0].null_count(),
        2,
        "counts are NULL too"
    );
    assert!(answer.applied[0].is_none() && answer.applied[1].is_some());
}

#[test]
fn wrong_callers_get_typed_errors() {
    let view = wide_view(1, &[Window::Lifetime], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(2, 0),
        std::slice::from_ref(&view),
    );
    let keys = encode_key("a");
    let kind = |e: forebay_core::PortError| e.kind();
    assert_eq!(
        store
            .read(9, &keys, At::Instant(0), &mut unbounded())
            .map_err(kind)
            .err(),
        Some(ErrorKind::NotFound)
    );
    assert_eq!(
        store
            .read(1, &keys, At::PerRow(&[]), &mut unbounded())
            .map_err(kind)
            .err(),
        Some(ErrorKind::Internal)
    );
    assert_eq!(
        store.commit(2, &ShardWrite::default()).map_err(kind).err(),
        Some(ErrorKind::InvalidArgument)
    );
    let unknown = wide_view(7, &[Window::Lifetime], None);
    let write = shard_write(&[unknown], &[event(1, 50, 1.0)], 0, 1);
    assert_eq!(
        store.commit(0, &write).map_err(kind).err(),
        Some(ErrorKind::NotFound)
    );
    let mut changed = view.as_ref().clone();
    changed.digest = "another".into();
    let error = store
        .register_view(Arc::new(changed))
        .expect_err("the id is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.message().contains("needs a new id"), "{error}");
    assert!(store.applied(9).0.is_empty());
}

#[test]
fn the_number_of_shards_is_fixed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    drop(open(directory.path(), &options(3, 0), &[]));
    let error = RocksStore::open(directory.path(), &options(4, 0), &unbounded_budget())
        .expect_err("made with 3");
    assert!(error.to_string().contains("set shards = 3"), "{error}");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let error = RocksStore::open(directory.path(), &options(0, 0), &unbounded_budget())
        .expect_err("no shard");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(RocksStore::open(directory.path(), &options(3, 0), &unbounded_budget()).is_ok());
}

#[test]
fn the_log_is_fixed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(1, 0), &[]);
    assert_eq!(store.log_identity().expect("read"), None);
    store.set_log_identity("cluster-1").expect("first");
    drop(store);
    let store = open(directory.path(), &options(1, 0), &[]);
    assert_eq!(
        store.log_identity().expect("read").as_deref(),
        Some("cluster-1")
    );
    store.set_log_identity("cluster-1").expect("the same");
    let error = store.set_log_identity("cluster-2").expect_err("another");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn a_dropped_view_leaves_nothing_and_its_id_is_free_again() {
    let view = wide_view(1, &[Window::Lifetime], None);
    let neighbour = wide_view(2, &[Window::Lifetime], None);
    let views = [Arc::clone(&view), Arc::clone(&neighbour)];
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(2, 0), &views);
    commit_all(&store, &views, &[event(1, 50, 1.0)]);
    store.drop_view(1).expect("drop");
    assert!(
        store
            .read(1, &encode_key("a"), At::Instant(60), &mut unbounded())
            .is_err()
    );
    assert_eq!(count_at(&store, &neighbour, 60), (1, Value::Int(1)));
    store
        .register_view(Arc::clone(&view))
        .expect("register again");
    assert_eq!(count_at(&store, &view, 60), (3, Value::Null));
    drop(store);
    let store = open(directory.path(), &options(2, 0), &views);
    assert_eq!(count_at(&store, &view, 60), (3, Value::Null));
    assert_eq!(count_at(&store, &neighbour, 60), (1, Value::Int(1)));
}

#[test]
fn old_epochs_are_forgotten_and_recent_ones_known() {
    let view = wide_view(1, &[Window::Lifetime], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let settings = forebay_online::OnlineOptions {
        applied_kept_epochs: 3,
        ..options(1, 0)
    };
    let store = open(directory.path(), &settings, std::slice::from_ref(&view));
    for offset in 1..=5 {
        commit_all(
            &store,
            std::slice::from_ref(&view),
            &[event(offset, 50, 1.0)],
        );
    }
    let at = |epoch| store.applied_at(forebay_core::ports::ShardEpoch { shard: 0, epoch });
    assert!(at(2).is_none() && at(6).is_none());
    let next = |epoch| {
        at(epoch).map(|a| a.next_offset(&forebay_core::progress::TopicPartition::new(TOPIC, 0)))
    };
    assert_eq!((next(3), next(4), next(5)), (Some(4), Some(5), Some(6)));
}
