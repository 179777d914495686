//! What no permitted read can see goes away; what may still be seen does not; refusals name T_min.

use std::sync::Arc;

use forebay_core::ports::{
    At, EpochWriter, ScoreQueue, ShardWrite, StateProgress, StateReader, ViewStates,
};
use forebay_core::progress::TopicPartition;
use forebay_core::time::{DAY_US, HOUR_US};
use forebay_core::view::Window;
use forebay_core::watermark::{Bound, Hold, MarkFact, MarkRecord};
use forebay_testkit::unbounded;

use crate::model::*;
use crate::pending::*;

fn long_log(random: &mut Random) -> Vec<Event> {
    let shape = LogShape {
        events: 20_000,
        partitions: 2,
        keys: 40,
        step_us: 30_000_000,
        jitter_us: 600_000_000,
        start_us: 1_357_000_000_000_000,
    };
    let mut log = generate_log(random, shape);
    let mut newest = [None::<i64>; 2];
    for event in &mut log {
        let newest = &mut newest[event.partition as usize];
        event.watermark = newest.map(|t| t - 30 * 60_000_000);
        *newest = (*newest).max(Some(event.time));
    }
    log
}

#[test]
fn a_week_of_hourly_windows_stays_small() {
    let random = &mut Random(11);
    let hour = wide_view(
        1,
        &[Window::Range {
            preceding_us: HOUR_US,
        }],
        None,
    );
    let lifetime = wide_view(2, &[Window::Lifetime], None);
    let month = wide_view(
        3,
        &[Window::Range {
            preceding_us: 30 * DAY_US,
        }],
        None,
    );
    let views = [Arc::clone(&hour), Arc::clone(&lifetime), Arc::clone(&month)];
    let log = long_log(random);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(2, HOUR_US), &views);
    for (number, epoch) in log.chunks(100).enumerate() {
        commit_all(&store, &views, epoch);
        if number % 20 == 19 {
            let newest = epoch.iter().map(|e| e.time).max().expect("not empty");
            for _ in 0..20 {
                let at = newest - random.between(0, HOUR_US);
                let key = format!("key-{}", random.below(40));
                let applied = store.applied(0);
                for view in &views {
                    let found = read_one(&store, view, &key, at).expect("within the history");
                    let expected = evaluate(view, applied_events(&log, &applied), &key, at);
                    assert_same(&expected, &found, || format!("{} {key} {at}", view.name));
                }
            }
        }
    }
    let stats = store.stats();
    assert!(stats.tiles_expired > 0, "{stats:?}");
    assert_eq!(stats.rows_late, 0, "{stats:?}");
    // The month's view keeps all 20,000 rows in tiles of up to 32; the two others keep some hours
    // of them.
    let kept = store.tiles_in_memory();
    store.drop_view(3).expect("drop");
    let small = store.tiles_in_memory();
    assert!(
        small < 600 && kept > 1_000,
        "{small} tiles of the short views, {kept} in all"
    );
    let error = store
        .read(
            1,
            &encode_key("key-1"),
            At::Instant(log[0].time),
            &mut unbounded(),
        )
        .expect_err("long gone");
    assert_eq!(error.kind(), forebay_core::ErrorKind::OutOfRange);
    let t_min = store.t_min_us(1).expect("some rows expired");
    assert!(
        store
            .read(
                1,
                &encode_key("key-1"),
                At::Instant(t_min),
                &mut unbounded()
            )
            .is_ok()
    );
}

#[test]
fn lifetime_states_survive_expiry_and_restart() {
    let random = &mut Random(12);
    let mixed = wide_view(
        1,
        &[
            Window::Lifetime,
            Window::Range {
                preceding_us: HOUR_US,
            },
        ],
        Some(3 * HOUR_US),
    );
    let views = [Arc::clone(&mixed)];
    let log = long_log(random);
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut store = open(directory.path(), &options(1, 0), &views);
    for (number, epoch) in log.chunks(250).enumerate() {
        if number % 10 == 9 {
            drop(store);
            store = open(directory.path(), &options(1, 0), &views);
        }
        commit_all(&store, &views, epoch);
    }
    let newest = log.iter().map(|e| e.time).max().expect("not empty");
    for key in 0..40 {
        let key = format!("key-{key}");
        for at in [newest, newest + HOUR_US, newest + 4 * HOUR_US] {
            let found = read_one(&store, &mixed, &key, at).expect("the leading edge");
            assert_same(&evaluate(&mixed, log.iter(), &key, at), &found, || {
                format!("{key} at {at}")
            });
        }
    }
    assert!(store.stats().tiles_expired > 0);
}

/// Keys that nobody touches again are found by the sweep.
#[test]
fn the_sweep_finds_keys_that_went_quiet() {
    let view = wide_view(
        1,
        &[Window::Range {
            preceding_us: HOUR_US,
        }],
        None,
    );
    let views = [Arc::clone(&view)];
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(1, 0), &views);
    let event = |offset: i64, time: i64, key: String| Event {
        partition: 0,
        offset,
        time,
        key: Some(key),
        x: Some(1.0),
        i: None,
        s: None,
        passes: None,
        watermark: Some(time - 1),
    };
    let quiet: Vec<Event> = (0..1_000)
        .map(|i| event(i, 1_000 + i, format!("quiet-{i}")))
        .collect();
    commit_all(&store, &views, &quiet);
    assert!(store.tiles_in_memory() >= 1_000);
    for step in 0..40 {
        commit_all(
            &store,
            &views,
            &[event(1_000 + step, DAY_US + step * HOUR_US, "busy".into())],
        );
    }
    assert!(
        store.tiles_in_memory() < 10,
        "{} tiles are left",
        store.tiles_in_memory()
    );
    let row = read_one(&store, &view, "quiet-7", 70 * HOUR_US).expect("kept");
    assert_eq!(
        (row.status, row.newest_us),
        (1, Some(1_007)),
        "a known key with an empty window"
    );
    assert_eq!(row.values[0], forebay_core::value::Value::Int(0));
}

/// A pending score of any shard holds expiry back.
#[test]
fn pending_scores_hold_expiry_back() {
    let random = &mut Random(13);
    let view = wide_view(
        1,
        &[Window::Range {
            preceding_us: HOUR_US,
        }],
        None,
    );
    let views = [Arc::clone(&view)];
    let log = long_log(random);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(2, 0), &views);
    let waiting = log[120].clone();
    let mut held = None;
    for epoch in log[..4_000].chunks(100) {
        for shard in 0..2 {
            let mut write = shard_write(&views, epoch, shard, 2);
            if shard == 0
                && epoch
                    .iter()
                    .any(|e| e.offset == waiting.offset && e.partition == waiting.partition)
            {
                write.pending.push(pending_of(&waiting));
                held = Some(waiting.time);
            }
            store.commit(shard, &write).expect("commit");
        }
    }
    let at = held.expect("it was committed");
    assert!(
        read_one(&store, &view, "key-1", at).is_some(),
        "the score can still be computed"
    );
    let settled: Vec<_> = all_pending(&store, 0).iter().map(withdrawn).collect();
    store.settle(0, &settled).expect("settle");
    for epoch in log[4_000..8_000].chunks(100) {
        commit_all(&store, &views, epoch);
    }
    assert!(
        read_one(&store, &view, "key-1", at).is_none(),
        "now it is gone"
    );
}

/// A row that is too late is counted, not folded, and no read that could see it is answered.
#[test]
fn too_late_rows_are_counted_and_never_half_seen() {
    let view = wide_view(1, &[Window::Range { preceding_us: 100 }], None);
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        directory.path(),
        &options(1, 50),
        std::slice::from_ref(&view),
    );
    let base = Event {
        partition: 0,
        offset: 0,
        time: 10_000,
        key: Some("a".into()),
        x: Some(1.0),
        i: None,
        s: None,
        passes: None,
        watermark: None,
    };
    let late = Event {
        offset: 1,
        time: 9_800,
        watermark: Some(9_970),
        ..base.clone()
    };
    let unseen = Event {
        offset: 2,
        time: 9_700,
        key: Some("b".into()),
        watermark: Some(9_970),
        ..base.clone()
    };
    commit_all(&store, std::slice::from_ref(&view), &[base, late, unseen]);
    assert_eq!(store.late_rows(1), 2);
    assert_eq!(
        store.t_min_us(1),
        Some(9_901),
        "one microsecond after 9,800 has left the window"
    );
    assert!(read_one(&store, &view, "a", 9_900).is_none());
    let known = read_one(&store, &view, "b", 9_901).expect("answered");
    assert_eq!(
        (known.status, known.newest_us),
        (1, Some(9_700)),
        "the late row makes the key known"
    );
}

#[test]
fn an_idle_partition_holds_no_state_back_and_a_restart_remembers_that() {
    let hour = wide_view(
        1,
        &[Window::Range {
            preceding_us: HOUR_US,
        }],
        None,
    );
    let views = [Arc::clone(&hour)];
    let mut log = long_log(&mut Random(23));
    log.truncate(6_000);
    // Partition 1 has one row, long before all others, and nothing more.
    let first = log[0].time - DAY_US;
    for (offset, event) in log.iter_mut().enumerate() {
        event.partition = 0;
        event.offset = i64::try_from(offset).expect("few");
    }
    let lone = Event {
        partition: 1,
        offset: 0,
        time: first,
        watermark: None,
        ..log[0].clone()
    };
    let partition = TopicPartition::new(TOPIC, 1);
    let held = |mark_us: i64| MarkRecord {
        partition: partition.clone(),
        fact: MarkFact::Hold(Hold {
            at: 1,
            mark_us,
            watermark_us: mark_us,
        }),
    };
    let directory = tempfile::tempdir().expect("temporary directory");
    let options = options(1, HOUR_US);
    let store = open(directory.path(), &options, &views);
    commit_all(&store, &views, &[lone]);
    let (head, tail) = log.split_at(3_000);
    head.chunks(100)
        .for_each(|epoch| commit_all(&store, &views, epoch));
    assert_eq!(
        store.stats().tiles_expired,
        0,
        "partition 1 may bring older rows"
    );
    let newest = head.iter().map(|e| e.time).max().expect("not empty");
    let hold = ShardWrite {
        marks: vec![held(newest)],
        ..ShardWrite::default()
    };
    store.commit(0, &hold).expect("a hold alone");
    drop(store);
    let store = open(directory.path(), &options, &views);
    assert_eq!(store.marks(0).expect("readable"), [held(newest)]);
    tail.chunks(100)
        .for_each(|epoch| commit_all(&store, &views, epoch));
    let stats = store.stats();
    assert!(stats.tiles_expired > 0, "{stats:?}");
    let t_min = store.t_min_us(1).expect("something has expired");
    assert!(
        t_min <= newest,
        "no more than the held mark, the hour and the history allow"
    );
}

#[test]
fn bounds_are_read_back_and_one_that_goes_on_replaces_its_beginning() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(1, HOUR_US), &[]);
    let bound = |partition: i32, from: i64, until: i64| MarkRecord {
        partition: TopicPartition::new(TOPIC, partition),
        fact: MarkFact::Bound(Bound {
            from,
            until,
            mark_max_us: -7,
            watermark_max_us: i64::MAX,
        }),
    };
    for marks in [
        vec![bound(0, 5, 9), bound(1, 5, 9)],
        vec![bound(0, 5, 20), bound(0, 30, 31)],
    ] {
        let write = ShardWrite {
            marks,
            ..ShardWrite::default()
        };
        store.commit(0, &write).expect("bounds alone");
    }
    drop(store);
    let store = open(directory.path(), &options(1, HOUR_US), &[]);
    let expected = [bound(0, 5, 20), bound(0, 30, 31), bound(1, 5, 9)];
    assert_eq!(store.marks(0).expect("readable"), expected);
}
