//! Keys of long histories, read in parts: what is read after a restart follows the depth of a key's
//! tree and not its length, whatever is written, late or expired; and a store that was made before
//! branches had records is read as it is. Counted, not timed.

use std::path::Path;
use std::sync::Arc;

use forebay_core::ports::ViewStates;
use forebay_core::view::{ViewSpec, Window};
use forebay_online::{RocksStore, StoreStats};
use proptest::prelude::*;
use rocksdb::{DB, IteratorMode, Options};

use crate::model::*;
use crate::trimmed::{in_turn, open_within};

const KEY: &str = "key-00";

fn range(preceding_us: i64) -> Window {
    Window::Range { preceding_us }
}

/// Windows of a tenth of a second, of three seconds, and over everything.
fn view() -> Arc<ViewSpec> {
    wide_view(
        1,
        &[range(100_000), range(3_000_000), Window::Lifetime],
        None,
    )
}

/// The database of the only shard, closed by its store.
fn raw(directory: &Path) -> DB {
    let path = directory.join("shard-0000");
    let families = DB::list_cf(&Options::default(), &path).expect("a database");
    DB::open_cf(&Options::default(), &path, families).expect("closed")
}

/// Records of branches on disk.
fn branches(directory: &Path) -> usize {
    let db = raw(directory);
    let family = db.cf_handle("branch").expect("a family of the store");
    db.iterator_cf(family, IteratorMode::Start).count()
}

/// A directory with `rows` rows of one key, a millisecond apart, and what the store has done.
fn long_history(directory: &Path, log: &[Event]) -> StoreStats {
    let views = [view()];
    let store = open(directory, &options(1, 1_000_000_000_000), &views);
    for epoch in log.chunks(50) {
        commit_all(&store, &views, epoch);
    }
    store.stats()
}

fn reopen(directory: &Path) -> RocksStore {
    open(directory, &options(1, 1_000_000_000_000), &[view()])
}

/// Tiles and records of branches that were read between the two.
fn read_between(before: StoreStats, after: StoreStats) -> (u64, u64) {
    (
        after.tiles_read - before.tiles_read,
        after.branches_read - before.branches_read,
    )
}

fn assert_value(store: &RocksStore, log: &[Event], at: i64) {
    let (view, found) = (view(), read_one(store, &view(), KEY, at).expect("kept"));
    assert_same(&evaluate(&view, log.iter(), KEY, at), &found, || {
        format!("{} rows at {at}", log.len())
    });
}

/// Tiles and records that the first read of a key of so many rows reads, and a write after it.
fn cost_of_first_touch(rows: i64) -> [(u64, u64); 2] {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut log = in_turn(1, 0..rows);
    long_history(directory.path(), &log);

    let store = reopen(directory.path());
    let opened = store.stats();
    assert_value(&store, &log, log[log.len() - 1].time + 7);
    let read = store.stats();
    let next = in_turn(1, rows..rows + 1);
    commit_all(&store, &[view()], &next);
    assert_eq!(store.stats().tiles_read, read.tiles_read, "all was there");
    drop(store);
    log.extend(next);

    let store = reopen(directory.path());
    let before = store.stats();
    let next = in_turn(1, rows + 1..rows + 2);
    commit_all(&store, &[view()], &next);
    log.extend(next);
    let written = store.stats();
    assert_value(&store, &log, log[log.len() - 1].time + 7);
    [read_between(opened, read), read_between(before, written)]
}

#[test]
fn the_first_read_and_the_first_write_of_a_long_history_read_a_path_and_not_its_rows() {
    let [short, long] = [2_000, 32_000].map(cost_of_first_touch);
    for ((tiles, branches), rows) in short.into_iter().chain(long).zip([2_000, 2_000, 32_000]) {
        assert!(
            tiles + branches < 200,
            "{tiles} tiles and {branches} branches of {rows} rows"
        );
    }
    let [read, written] = long;
    assert!(read.1 > 0 && written.1 > 0, "{read:?} {written:?}");
    assert!(written.0 <= read.0, "a write needs no edge of a window");
}

#[test]
fn a_read_at_any_instant_reads_the_paths_to_the_edges_of_its_windows() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let log = in_turn(1, 0..16_000);
    long_history(directory.path(), &log);
    for place in [10, 1_234, 8_191, 15_000] {
        let store = reopen(directory.path());
        let before = store.stats();
        assert_value(&store, &log, log[place].time + 3);
        let (tiles, branches) = read_between(before, store.stats());
        assert!(
            tiles + branches < 300,
            "{tiles} tiles and {branches} branches for row {place}"
        );
    }
}

#[test]
fn a_row_that_comes_late_is_seen_where_a_branch_had_its_record() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut log = in_turn(1, 0..4_000);
    long_history(directory.path(), &log);
    for (number, place) in [(0, 5), (1, 2_000), (2, 3_100), (3, 2_001)] {
        let store = reopen(directory.path());
        let late = Event {
            offset: 4_000 + number,
            time: log[place].time + 1,
            ..log[place].clone()
        };
        let before = store.stats();
        commit_all(&store, &[view()], std::slice::from_ref(&late));
        let (tiles, branches) = read_between(before, store.stats());
        assert!(tiles + branches < 300, "{tiles} {branches}");
        log.push(late);
        for at in [log[place].time + 10, log[3_999].time] {
            assert_value(&store, &log, at);
        }
        drop(store);
        let store = reopen(directory.path());
        for at in [log[place].time + 10, log[3_999].time] {
            assert_value(&store, &log, at);
        }
    }
}

#[test]
fn a_store_from_before_the_records_is_read_as_it_is_and_gets_them() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut log = in_turn(1, 0..4_000);
    let stats = long_history(directory.path(), &log);
    assert!(stats.branches_written > 0, "{stats:?}");
    raw(directory.path()).drop_cf("branch").expect("dropped");

    let store = reopen(directory.path());
    assert_value(&store, &log, log[3_999].time);
    assert_eq!(store.stats().branches_read, 0);
    for offset in 4_000..4_020 {
        let next = in_turn(1, offset..offset + 1);
        commit_all(&store, &[view()], &next);
        log.extend(next);
    }
    assert!(store.stats().branches_written > 0);
    drop(store);
    let store = reopen(directory.path());
    assert_value(&store, &log, log[4_019].time);
    let stats = store.stats();
    assert!(
        stats.branches_read > 0 && stats.tiles_read < 200,
        "{stats:?}"
    );
}

#[test]
fn records_of_branches_go_with_their_rows_and_with_their_view() {
    let views = [wide_view(1, &[range(1_000)], None)];
    let directory = tempfile::tempdir().expect("temporary directory");
    let reopen = || open(directory.path(), &options(1, 0), &views);
    let mut log = in_turn(1, 0..4_000);
    for event in &mut log {
        event.watermark = Some(0);
    }
    let store = reopen();
    for epoch in log.chunks(50) {
        commit_all(&store, &views, epoch);
    }
    drop(store);
    let had = branches(directory.path());
    assert!(had > 3, "{had} records");

    // An hour later the key comes again: all else has expired.
    let store = reopen();
    for offset in 4_000..4_010 {
        let mut event = in_turn(1, offset..offset + 1).remove(0);
        event.time += 3_600_000_000;
        event.watermark = Some(event.time - 100);
        commit_all(&store, &views, &[event]);
    }
    assert!(store.stats().tiles_expired > 200, "{:?}", store.stats());
    drop(store);
    assert_eq!(branches(directory.path()), 0);

    let store = reopen();
    let log = in_turn(1, 5_000..9_000);
    for epoch in log.chunks(50) {
        let mut epoch = epoch.to_vec();
        for event in &mut epoch {
            event.time += 7_200_000_000;
        }
        commit_all(&store, &views, &epoch);
    }
    drop(store);
    assert!(branches(directory.path()) > 3);
    let store = reopen();
    store.drop_view(1).expect("dropped");
    drop(store);
    assert_eq!(branches(directory.path()), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    /// Long histories with late rows, expiry, restarts and memory that is short by turns.
    #[test]
    fn long_histories_in_parts_equal_the_naive_evaluator(seed: u64) {
        let random = &mut Random(seed);
        let views = [
            wide_view(1, &[range(random.between(0, 300)), range(random.between(300, 9_000))], None),
            wide_view(2, &[Window::Lifetime, range(random.between(10, 2_000))], None),
        ];
        let shape = LogShape {
            events: random.between(1_500, 3_000) as usize,
            partitions: random.between(1, 3) as i32,
            keys: 1 + random.below(2),
            step_us: [0, 1, 7][random.below(3) as usize],
            jitter_us: [0, 40, 3_000][random.below(3) as usize],
            start_us: [-500, 1_357_000_000_000_000][random.below(2) as usize],
        };
        let log = generate_log(random, shape);
        let history_us = [300, 6_000, 1_000_000][random.below(3) as usize];
        let settings = options(1, history_us);
        let directory = tempfile::tempdir().expect("temporary directory");
        let pools = [40_000, 400_000, 1_000_000_000];
        let open = |random: &mut Random| {
            let pool_bytes = pools[random.below(3) as usize];
            open_within(directory.path(), &settings, &views, pool_bytes)
        };
        let mut store = open(random);
        // From here on the store stays open, so that a branch that rows leave has its record in
        // time.
        let stays_open = log.len() / 3;
        let (mut rest, mut written) = (&log[..], 0);
        while !rest.is_empty() {
            let (epoch, tail) = rest.split_at(1 + random.below(rest.len().min(60) as u64) as usize);
            commit_all(&store, &views, epoch);
            rest = tail;
            probe(&store, &views, &log, random, 3, history_us);
            if rest.len() > stays_open && random.chance(12) {
                written += store.stats().branches_written;
                drop(store);
                store = open(random);
            }
        }
        written += store.stats().branches_written;
        let answered = probe(&store, &views, &log, random, 60, history_us);
        prop_assert!(answered > 0);
        // A branch is left where rows come in order, and has enough tiles where one key has them
        // all and none expires.
        let is_in_order = shape.step_us > 0 && shape.jitter_us <= 40;
        let is_long = shape.keys == 1 && history_us == 1_000_000;
        prop_assert!(written > 0 || !is_in_order || !is_long, "no branch was closed");
    }
}
