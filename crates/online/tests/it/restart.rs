//! Restarts from what the disk has: dropped without a word, or cut in the middle of the write-ahead
//! log.

use std::path::Path;

use forebay_core::key::shard_of;
use forebay_core::ports::{EpochWriter, StateProgress};
use forebay_core::view::Window;
use forebay_testkit::unbounded_budget;
use proptest::prelude::*;

use crate::model::*;
use crate::pending::*;

/// Every key of every view, at some instants, equals the evaluator over exactly what its shard says
/// it has applied.
pub(crate) fn check_all(
    store: &forebay_online::RocksStore,
    views: &[std::sync::Arc<forebay_core::view::ViewSpec>],
    log: &[Event],
) {
    let last = log.iter().map(|e| e.time).max().unwrap_or(0);
    for key in (0..5).map(|k| format!("key-{k}")) {
        let shard = shard_of(encode_key(&key).get(0).expect("not null"), store.shards());
        let applied = store.applied(shard);
        for view in views {
            for at in [last / 2, last, last + 77] {
                let found = read_one(store, view, &key, at).expect("nothing expires here");
                let expected = evaluate(view, applied_events(log, &applied), &key, at);
                assert_same(&expected, &found, || format!("{} {key} at {at}", view.name));
            }
        }
    }
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("directory");
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}

/// Cut the newest write-ahead log of a shard at a random byte, as a power cut may.
fn cut_log(shard: &Path, random: &mut Random) {
    let mut logs: Vec<_> = std::fs::read_dir(shard)
        .expect("list")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    if let Some(path) = logs.last() {
        let length = std::fs::metadata(path).expect("metadata").len();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .expect("open");
        file.set_len(random.below(length + 1)).expect("cut");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// After a cut at any byte, each shard holds a prefix that agrees with its own offsets; replay
    /// from there ends where an undisturbed run does: lost 0, doubled 0.
    #[test]
    fn a_cut_log_leaves_a_consistent_prefix(seed: u64) {
        let random = &mut Random(seed);
        let views = [
            wide_view(1, &[Window::Range { preceding_us: 300 }, Window::Range { preceding_us: 100_000 }], Some(500)),
            wide_view(2, &[Window::Lifetime], None),
        ];
        let shape = LogShape { events: 600, partitions: 2, keys: 5, step_us: 4, jitter_us: 30, start_us: 0 };
        let log = generate_log(random, shape);
        let settings = options(2, 1_000_000);
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = open(directory.path(), &settings, &views);
        let mut rest = &log[..];
        while !rest.is_empty() {
            let (epoch, tail) = rest.split_at(1 + random.below(rest.len().min(60) as u64) as usize);
            for shard in 0..2 {
                let mut write = shard_write(&views, epoch, shard, 2);
                write.pending = epoch.iter().filter(|e| shard_of_event(e, 2) == Some(shard)).map(pending_of).collect();
                store.commit(shard, &write).expect("commit");
            }
            rest = tail;
        }
        drop(store);
        for _ in 0..3 {
            let copy = tempfile::tempdir().expect("temporary directory");
            copy_directory(directory.path(), copy.path());
            for shard in 0..2 {
                cut_log(&copy.path().join(format!("shard-{shard:04}")), random);
            }
            let store = open(copy.path(), &settings, &views);
            check_all(&store, &views, &log);
            for shard in 0..2 {
                let applied = store.applied(shard);
                let expected: Vec<_> = applied_events(&log, &applied)
                    .filter(|e| shard_of_event(e, 2) == Some(shard))
                    .map(pending_of)
                    .collect();
                prop_assert_eq!(scores(&all_pending(&store, shard)), expected);
            }
            // The reader seeks to the smallest offset that a shard needs: here simply the start.
            // Other cuts.
            for epoch in log.chunks(1 + random.below(90) as usize) {
                commit_all(&store, &views, epoch);
            }
            check_all(&store, &views, &log);
            prop_assert_eq!(store.applied(0), store.applied(1));
        }
    }
}

#[test]
fn a_directory_that_is_in_use_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let views = [wide_view(1, &[Window::Lifetime], None)];
    let _first = open(directory.path(), &options(1, 0), &views);
    let error =
        forebay_online::RocksStore::open(directory.path(), &options(1, 0), &unbounded_budget())
            .expect_err("in use")
            .to_string();
    for part in [
        directory.path().to_str().expect("text"),
        "in use by another forebay process",
        "--data-dir",
    ] {
        assert!(error.contains(part), "{error}");
    }
}
