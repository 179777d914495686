//! Keys whose TTL, windows and history are long over leave disk and memory; no permitted read
//! changes its values by that, and keys that can still change an answer stay.

use std::sync::Arc;

use forebay_core::ports::{EpochWriter, ScoreQueue};
use forebay_core::time::HOUR_US;
use forebay_core::view::{FeatureStatus, ViewSpec, Window};
use forebay_online::RocksStore;
use proptest::prelude::*;

use crate::model::*;
use crate::pending::*;

const RANGE: Window = Window::Range { preceding_us: 300 };

fn event(offset: i64, time: i64, key: String) -> Event {
    Event {
        partition: 0,
        offset,
        time,
        key: Some(key),
        x: Some(1.5),
        i: Some(offset),
        s: None,
        passes: None,
        watermark: Some(time - 1),
    }
}

/// Go on with one busy key until `until`, `step` at a time, so that sweeps come around.
fn go_on(store: &RocksStore, views: &[Arc<ViewSpec>], from: (i64, i64), until: i64, step: i64) {
    let (mut offset, mut time) = from;
    while time < until {
        commit_all(store, views, &[event(offset, time, "busy".into())]);
        (offset, time) = (offset + 1, time + step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// A log of many keys that come and go, with late rows, scores that hold expiry back and
    /// restarts: every answered read has the values that the definition gives.
    #[test]
    fn no_permitted_read_changes_its_values(seed: u64) {
        let random = &mut Random(seed);
        let history_us = random.between(0, 400);
        let views = [
            wide_view(1, &[RANGE], Some(200)),
            wide_view(2, &[RANGE, Window::Range { preceding_us: 50 }], None),
            wide_view(3, &[Window::Lifetime, RANGE], Some(100)),
        ];
        let shape = LogShape { events: 2_500, partitions: 2, keys: 3, step_us: 6, jitter_us: 40, start_us: 0 };
        let mut log = generate_log(random, shape);
        for event in &mut log {
            // A key is in use for some time and then never again, but for a few.
            let era = if random.chance(40) { 0 } else { event.time.div_euclid(500) };
            event.key = event.key.take().map(|key| format!("{key}-{era}"));
        }
        let settings = options(2, history_us);
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut store = open(directory.path(), &settings, &views);
        for (number, epoch) in log.chunks(25).enumerate() {
            for shard in 0..2 {
                let mut write = shard_write(&views, epoch, shard, 2);
                if number % 20 == 3 && shard_of_event(&epoch[0], 2) == Some(shard) {
                    write.pending.push(pending_of(&epoch[0]));
                }
                store.commit(shard, &write).expect("commit");
                if number % 20 == 13 {
                    let pending = store.pending(shard, DEPLOYMENT, ARM, 0, 100).expect("pending");
                    let settled: Vec<_> = pending.iter().map(withdrawn).collect();
                    store.settle(shard, &settled).expect("settle");
                }
            }
            if number % 30 == 29 {
                drop(store);
                store = open(directory.path(), &settings, &views);
            }
            if number % 10 == 9 {
                let applied_to = &log[..(number + 1) * 25];
                probe(&store, &views, applied_to, random, 60, history_us);
            }
        }
        prop_assert!(store.stats().keys_forgotten > 0 || history_us > 300);
    }
}

#[test]
fn a_key_long_over_is_outside_its_age_first_and_then_not_found() {
    let view = wide_view(
        1,
        &[Window::Range {
            preceding_us: HOUR_US,
        }],
        Some(HOUR_US),
    );
    let views = [Arc::clone(&view)];
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(1, 0), &views);
    let many: Vec<Event> = (0..3_000)
        .map(|i| event(i, 1_000 + i, format!("old-{i}")))
        .collect();
    commit_all(&store, &views, &many);
    let status = |at: i64| read_one(&store, &view, "old-7", at).expect("kept").status;
    assert_eq!(status(HOUR_US), FeatureStatus::Present as u8);
    // Above the TTL and within the same time again, the key is known.
    go_on(
        &store,
        &views,
        (3_000, HOUR_US),
        2 * HOUR_US - 60_000_000,
        HOUR_US / 100,
    );
    assert_eq!(status(2 * HOUR_US), FeatureStatus::OutsideMaxAge as u8);
    assert_eq!(store.stats().keys_forgotten, 0);
    go_on(
        &store,
        &views,
        (4_000, 2 * HOUR_US),
        6 * HOUR_US,
        HOUR_US / 100,
    );
    assert_eq!(status(6 * HOUR_US), FeatureStatus::NotFound as u8);
    let stats = store.stats();
    assert_eq!(
        (stats.keys_forgotten, stats.keys_in_memory),
        (3_000, 1),
        "{stats:?}"
    );
    // On disk too.
    drop(store);
    let store = open(directory.path(), &options(1, 0), &views);
    let row = read_one(&store, &view, "old-7", 6 * HOUR_US).expect("kept");
    assert_eq!(
        (row.status, row.newest_us),
        (FeatureStatus::NotFound as u8, None)
    );
    // And it may come back.
    commit_all(&store, &views, &[event(9_000, 6 * HOUR_US, "old-7".into())]);
    let row = read_one(&store, &view, "old-7", 6 * HOUR_US).expect("kept");
    assert_eq!(row.status, FeatureStatus::Present as u8);
}

#[test]
fn keys_without_a_ttl_or_with_lifetime_aggregates_never_die() {
    let views = [
        wide_view(
            1,
            &[Window::Range {
                preceding_us: HOUR_US,
            }],
            None,
        ),
        wide_view(2, &[Window::Lifetime], None),
        wide_view(3, &[Window::Lifetime], Some(HOUR_US)),
    ];
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(1, 0), &views);
    let old = event(0, 1_000, "old".into());
    commit_all(&store, &views, std::slice::from_ref(&old));
    go_on(&store, &views, (1, HOUR_US), 20 * HOUR_US, HOUR_US / 20);
    assert_eq!(store.stats().keys_forgotten, 0);
    let again = event(1_000, 20 * HOUR_US, "old".into());
    commit_all(&store, &views, std::slice::from_ref(&again));
    let log = [old, again];
    for view in &views {
        let found = read_one(&store, view, "old", 20 * HOUR_US).expect("kept");
        let expected = evaluate(view, log.iter(), "old", 20 * HOUR_US);
        assert_same(&expected, &found, || view.name.clone());
    }
}
