//! Keys that are in memory in part: values are those of the naive evaluator wherever rows arrive
//! and whatever a read needs, appends to a long history read none of it, and readers beside a
//! writer see one epoch.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay_core::ErrorKind;
use forebay_core::memory::Budget;
use forebay_core::ports::{At, StateReader, ViewStates};
use forebay_core::view::{ViewSpec, Window};
use forebay_online::{OnlineOptions, RocksStore};
use forebay_testkit::unbounded;
use proptest::prelude::*;

use crate::model::*;

/// [`open`] with keys in memory that draw from a pool of so many bytes.
pub(crate) fn open_within(
    path: &Path,
    options: &OnlineOptions,
    views: &[Arc<ViewSpec>],
    pool_bytes: usize,
) -> RocksStore {
    let store = RocksStore::open(path, options, &Budget::whole(pool_bytes)).expect("open");
    for view in views {
        store.register_view(Arc::clone(view)).expect("register");
    }
    store
}

fn range(preceding_us: i64) -> Window {
    Window::Range { preceding_us }
}

fn views(random: &mut Random) -> Vec<Arc<ViewSpec>> {
    let (short, long) = (random.between(0, 200), random.between(200, 6_000));
    vec![
        wide_view(1, &[range(short), range(long)], None),
        wide_view(
            2,
            &[Window::Lifetime, range(short)],
            Some(random.between(50, 3_000)),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn reads_equal_the_naive_evaluator_where_memory_is_short(seed: u64) {
        let random = &mut Random(seed);
        let views = views(random);
        let shape = LogShape {
            events: random.between(300, 1_500) as usize,
            partitions: random.between(1, 3) as i32,
            keys: 1 + random.below(5),
            // A step of 0 puts very many events on one microsecond.
            step_us: [0, 1, 7, 60][random.below(4) as usize],
            // Up to far behind what stays in memory.
            jitter_us: [0, 40, 4_000][random.below(3) as usize],
            start_us: [-500, 0, 1_357_000_000_000_000][random.below(3) as usize],
        };
        let log = generate_log(random, shape);
        let history_us = [0, 500, 1_000_000][random.below(3) as usize];
        let settings = options(1 + random.below(2) as u16, history_us);
        let pool_bytes = [20_000, 60_000, 200_000][random.below(3) as usize];
        let directory = tempfile::tempdir().expect("temporary directory");
        let reopen = || open_within(directory.path(), &settings, &views, pool_bytes);
        let mut store = reopen();
        let mut rest = &log[..];
        while !rest.is_empty() {
            let (epoch, tail) = rest.split_at(1 + random.below(rest.len().min(150) as u64) as usize);
            commit_all(&store, &views, epoch);
            rest = tail;
            probe(&store, &views, &log, random, 15, history_us);
            if random.chance(8) {
                drop(store);
                store = reopen();
            }
        }
        let answered = probe(&store, &views, &log, random, 150, history_us);
        prop_assert!(answered > 0);
    }
}

/// Events of `keys` keys in turn, each with a history of its own, in the order of time.
pub(crate) fn in_turn(keys: i64, offsets: std::ops::Range<i64>) -> Vec<Event> {
    let event = |offset: i64| Event {
        partition: 0,
        offset,
        time: 1_357_000_000_000_000 + offset * 1_000,
        key: Some(format!("key-{:02}", offset % keys)),
        x: Some(offset as f64 / 3.0),
        i: Some(offset),
        s: None,
        passes: Some(true),
        watermark: None,
    };
    offsets.map(event).collect()
}

/// A store of 20 keys with `rows` rows each, whose histories have a tenth of the memory that they
/// take or less.
fn store_of_long_histories(directory: &Path, views: &[Arc<ViewSpec>], rows: i64) -> RocksStore {
    const POOL_BYTES: usize = 500_000;
    let settings = options(1, 1_000_000_000_000);
    let store = open_within(directory, &settings, views, POOL_BYTES);
    for epoch in in_turn(20, 0..20 * rows).chunks(100) {
        commit_all(&store, views, epoch);
        assert!(store.stats().table_bytes <= POOL_BYTES as u64);
    }
    store
}

#[test]
fn appends_to_a_long_history_read_none_of_it() {
    let views = [wide_view(1, &[range(1_000_000_000)], None)];
    for rows in [500, 2_000] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = store_of_long_histories(directory.path(), &views, rows);
        let before = store.stats();
        for epoch in in_turn(20, 20 * rows..20 * rows + 2_000).chunks(100) {
            commit_all(&store, &views, epoch);
        }
        let after = store.stats();
        assert!(after.keys_trimmed > before.keys_trimmed, "{after:?}");
        assert_eq!(after.keys_loaded, before.keys_loaded, "{rows} rows a key");
        assert_eq!(after.spans_loaded, before.spans_loaded, "{rows} rows a key");
        let blocks = |stats: forebay_online::StoreStats| {
            stats.rocksdb.block_hits + stats.rocksdb.block_misses
        };
        assert_eq!(blocks(after), blocks(before), "{rows} rows a key");
    }
}

#[test]
fn keys_that_are_written_seldom_are_not_read_anew_for_those_that_are_written_often() {
    const KEYS: i64 = 60;
    const ROWS: i64 = 400;
    let views = [wide_view(1, &[range(1_000_000_000)], None)];
    let directory = tempfile::tempdir().expect("temporary directory");
    let settings = options(1, 1_000_000_000_000);
    let store = open_within(directory.path(), &settings, &views, 1_300_000);
    for epoch in in_turn(KEYS, 0..KEYS * ROWS).chunks(100) {
        commit_all(&store, &views, epoch);
    }
    let before = store.stats();
    // The key of number n comes once for n + 1 times that the first one comes.
    let mut random = Random(3);
    let mut log = in_turn(KEYS, KEYS * ROWS..KEYS * ROWS + 10_000);
    for event in &mut log {
        let share = random.below(1 << 20) as f64 / f64::from(1 << 20);
        let number = (KEYS as f64).powf(share) as i64 - 1;
        event.key = Some(format!("key-{number:02}"));
    }
    for epoch in log.chunks(100) {
        commit_all(&store, &views, epoch);
    }
    let after = store.stats();
    assert!(after.keys_trimmed > before.keys_trimmed, "{after:?}");
    assert_eq!(after.keys_loaded, before.keys_loaded);
    assert_eq!(after.spans_loaded, before.spans_loaded);
}

#[test]
fn a_row_of_the_far_future_does_not_make_every_append_read_the_history() {
    const ROWS: i64 = 500;
    const YEAR_US: i64 = 365 * 86_400_000_000;
    let views = [wide_view(1, &[range(1_000_000_000)], None)];
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = store_of_long_histories(directory.path(), &views, ROWS);
    let mut ahead = in_turn(20, 20 * ROWS..20 * ROWS + 20);
    for event in &mut ahead {
        event.time += YEAR_US;
    }
    commit_all(&store, &views, &ahead);
    let next = 20 * ROWS + 20;
    // The first row after it may find that its place was on disk.
    commit_all(&store, &views, &in_turn(20, next..next + 20));
    let before = store.stats();
    for epoch in in_turn(20, next + 20..next + 4_000).chunks(100) {
        commit_all(&store, &views, epoch);
    }
    let after = store.stats();
    assert!(after.keys_trimmed > before.keys_trimmed, "{after:?}");
    assert_eq!(after.spans_loaded, before.spans_loaded);
    assert_eq!(after.keys_loaded, before.keys_loaded);
}

#[test]
fn a_late_row_and_the_edge_of_a_window_read_the_part_of_the_history_they_need() {
    const ROWS: i64 = 1_000;
    let view = wide_view(1, &[range(1_000_000_000), range(3_000_000)], None);
    let views = [Arc::clone(&view)];
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = store_of_long_histories(directory.path(), &views, ROWS);
    let mut log = in_turn(20, 0..20 * ROWS);
    let spans = store.stats().spans_loaded;

    // Far behind the newest row of its key.
    let late = Event {
        offset: 20 * ROWS,
        time: log[4_000].time + 1,
        ..log[4_000].clone()
    };
    commit_all(&store, &views, std::slice::from_ref(&late));
    log.push(late);
    assert!(store.stats().spans_loaded > spans, "its span was read");

    let mut random = Random(5);
    for _ in 0..200 {
        let event = &log[random.below(log.len() as u64) as usize];
        let (key, at) = (event.key.as_deref().expect("a key"), event.time + 1_000);
        let found = read_one(&store, &view, key, at).expect("kept");
        assert_same(&evaluate(&view, log.iter(), key, at), &found, || {
            format!("{key} at {at}")
        });
    }
}

/// Commit `log` while two readers hold their answers against the evaluator over what the store says
/// it had applied; returns how many reads were answered.
fn read_beside_commits(store: &RocksStore, views: &[Arc<ViewSpec>], log: &[Event]) -> u64 {
    let (is_done, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let names: BTreeSet<&str> = log
        .iter()
        .filter_map(|event| event.key.as_deref())
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let read = |seed: u64| {
        let random = &mut Random(seed);
        while !is_done.load(Ordering::Relaxed) {
            let view = &views[random.below(views.len() as u64) as usize];
            let now = &log[random.below(log.len() as u64) as usize];
            let some: Vec<&str> = (0..4)
                .map(|_| names[random.below(names.len() as u64) as usize])
                .collect();
            let at: Vec<i64> = some
                .iter()
                .map(|_| now.time + random.between(0, 300))
                .collect();
            let keys = encode_keys(&some.iter().map(|name| Some(*name)).collect::<Vec<_>>());
            let answer = match store.read(view.id, &keys, At::PerRow(&at), &mut unbounded()) {
                Ok(answer) => answer,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
                    continue;
                }
            };
            let epoch = answer.applied[0].expect("a key");
            assert!(answer.applied.iter().all(|applied| *applied == Some(epoch)));
            let applied = store.applied_at(epoch).expect("all epochs are kept");
            for (row, name) in some.iter().enumerate() {
                let expected = evaluate(view, applied_events(log, &applied), name, at[row]);
                assert_same(&expected, &row_of(&answer, row), || {
                    format!("{name} at {} in epoch {}", at[row], epoch.epoch)
                });
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let readers = [1, 2].map(|seed| scope.spawn(move || read(seed)));
        for epoch in log.chunks(20) {
            commit_all(store, views, epoch);
        }
        is_done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("no reader fails");
        }
    });
    answered.into_inner()
}

#[test]
fn readers_beside_a_writer_see_one_epoch_where_memory_is_short() {
    let views = [
        wide_view(1, &[range(400), range(5_000)], None),
        wide_view(2, &[Window::Lifetime], None),
    ];
    let shape = LogShape {
        events: 6_000,
        partitions: 2,
        keys: 6,
        step_us: 4,
        jitter_us: 200,
        start_us: 0,
    };
    let log = generate_log(&mut Random(17), shape);
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut settings = options(1, 1_000_000_000);
    settings.applied_kept_epochs = 100_000;
    let store = open_within(directory.path(), &settings, &views, 100_000);
    assert!(read_beside_commits(&store, &views, &log) > 0);
    let stats = store.stats();
    assert!(
        stats.keys_trimmed > 0 && stats.spans_loaded > 0,
        "{stats:?}"
    );
}

/// A key that is not in memory when a sweep finds it may be read before the sweep's commit is
/// published.
#[test]
fn readers_beside_a_writer_meet_no_rows_that_a_sweep_has_removed() {
    let views = [
        wide_view(1, &[range(3_000)], None),
        wide_view(2, &[Window::Lifetime, range(500)], None),
    ];
    let shape = LogShape {
        events: 20_000,
        partitions: 1,
        keys: 60,
        step_us: 2,
        jitter_us: 10,
        start_us: 0,
    };
    let mut log = generate_log(&mut Random(23), shape);
    for event in &mut log {
        // Busy keys, and many that rest for long: those are swept.
        let era = event.time.div_euclid(4_000);
        let is_busy = event.offset % 2 == 0;
        let number = if is_busy {
            0
        } else {
            event.offset % 40 + era % 7 * 40
        };
        event.key = event.key.take().map(|_| format!("key-{number}"));
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut settings = options(1, 500);
    settings.applied_kept_epochs = 100_000;
    let store = open_within(directory.path(), &settings, &views, 60_000);
    assert!(read_beside_commits(&store, &views, &log) > 0);
    let stats = store.stats();
    assert!(
        stats.tiles_expired > 0 && stats.keys_loaded > 0,
        "{stats:?}"
    );
    assert!(stats.keys_trimmed > 0, "{stats:?}");
}
