//! What disks do to the state: power cuts with several write-ahead logs, files that are missing,
//! cut or flipped, a directory that takes no writes for a while. Each shard opens to a prefix that
//! equals its own offsets, or is refused with the file and a remedy; an outage heals by itself.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{
    At, EpochWriter, FillWriter, ShardWrite, StateHealth, StateProgress, StateReader, StoreHealth,
};
use forebay_core::progress::TopicPartition;
use forebay_core::view::{ViewSpec, Window};
use forebay_core::watermark::{Hold, MarkFact, MarkRecord};
use forebay_online::{OnlineError, OnlineOptions, RocksStore};
use forebay_testkit::{unbounded, unbounded_budget};

use crate::model::*;
use crate::restart::{check_all, copy_directory};

fn views() -> [Arc<ViewSpec>; 1] {
    let range = Window::Range { preceding_us: 400 };
    [wide_view(1, &[range], None)]
}

/// A log whose events take 3 kB each, so that few of them fill a memtable.
fn heavy_log(random: &mut Random, events: usize) -> Vec<Event> {
    let shape = LogShape {
        events,
        partitions: 2,
        keys: 5,
        step_us: 400,
        jitter_us: 30,
        start_us: 0,
    };
    let mut log = generate_log(random, shape);
    for event in &mut log {
        event.s = Some(format!("{:x}", random.next()).repeat(190));
    }
    log
}

fn settings(rate: Option<u32>) -> OnlineOptions {
    OnlineOptions {
        write_buffer_bytes: 1 << 20,
        background_write_bytes_per_second: rate.and_then(NonZeroU32::new),
        ..options(1, 1_000_000_000)
    }
}

fn files(shard: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(shard)
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

fn cut_in_half(file: &Path) {
    let length = std::fs::metadata(file).expect("metadata").len();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(file)
        .expect("open");
    file.set_len(length / 2).expect("cut");
}

fn assert_damage(error: &OnlineError, file: &Path) {
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert!(!error.kind().is_retriable());
    let words = error.to_string();
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    for part in [name, "move the state directory away", "start again"] {
        assert!(words.contains(part), "{words}");
    }
}

/// Flushes are held back, so that several logs hold what no table does; then the power fails.
#[test]
fn each_of_several_logs_is_missed_when_it_is_gone_or_cut() {
    let random = &mut Random(41);
    let (views, log) = (views(), heavy_log(random, 700));
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &settings(Some(192 << 10)), &views);
    for epoch in log.chunks(10) {
        commit_all(&store, &views, epoch);
        if files(&directory.path().join("shard-0000"), "log").len() >= 3 {
            break;
        }
    }
    let cut = tempfile::tempdir().expect("temporary directory");
    copy_directory(directory.path(), cut.path());
    drop(store);
    let logs = files(&cut.path().join("shard-0000"), "log");
    assert!(logs.len() >= 3, "{logs:?}");
    // As it is: nothing is missing.
    let whole = tempfile::tempdir().expect("temporary directory");
    copy_directory(cut.path(), whole.path());
    check_all(&open(whole.path(), &settings(None), &views), &views, &log);
    for (number, log_file) in logs.iter().enumerate() {
        for is_cut in [false, true] {
            let copy = tempfile::tempdir().expect("temporary directory");
            copy_directory(cut.path(), copy.path());
            let file = copy
                .path()
                .join("shard-0000")
                .join(log_file.file_name().expect("a name"));
            if is_cut {
                cut_in_half(&file);
            } else {
                std::fs::remove_file(&file).expect("remove");
            }
            if number + 1 < logs.len() {
                let error = RocksStore::open(copy.path(), &settings(None), &unbounded_budget())
                    .expect_err("damaged");
                assert_damage(&error, &file);
                continue;
            }
            // The newest is what a power cut takes: a prefix is left, and replay ends where an
            // undisturbed run does.
            let store = open(copy.path(), &settings(None), &views);
            check_all(&store, &views, &log);
            log.chunks(50)
                .for_each(|epoch| commit_all(&store, &views, epoch));
            check_all(&store, &views, &log);
        }
    }
}

/// What was shown under a decision about time must not outlive it: a power cut would have the rows
/// judged by another one.
#[test]
fn a_decision_about_time_is_on_disk_before_what_follows_from_it_is_shown() {
    let (views, log) = (views(), heavy_log(&mut Random(43), 40));
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &settings(None), &views);
    let syncs = || store.stats().rocksdb.wal_syncs;
    let before = syncs();
    commit_all(&store, &views, &log[..20]);
    assert_eq!(syncs(), before, "the log of Kafka brings rows again");
    let write = ShardWrite {
        marks: vec![MarkRecord {
            partition: TopicPartition::new(TOPIC, 0),
            fact: MarkFact::Hold(Hold {
                at: 3,
                mark_us: 70,
                watermark_us: 60,
            }),
        }],
        ..shard_write(&views, &log[20..], 0, 1)
    };
    store.commit(0, &write).expect("commit");
    assert_eq!(syncs(), before + 1);
    assert_eq!(store.marks(0).expect("readable"), write.marks);
    check_all(&store, &views, &log);
}

/// A store whose rows lie in tables, closed.
fn store_in_tables(directory: &Path) -> Vec<Event> {
    let random = &mut Random(42);
    let log = heavy_log(random, 100);
    let store = open(directory, &settings(None), &views());
    log.chunks(20)
        .for_each(|epoch| commit_all(&store, &views(), epoch));
    drop(store);
    // Opening writes what the logs hold into tables.
    drop(open(directory, &settings(None), &views()));
    log
}

#[test]
fn a_flipped_table_is_damage_with_its_name_and_never_an_outage() {
    let directory = tempfile::tempdir().expect("temporary directory");
    store_in_tables(directory.path());
    let tables = files(&directory.path().join("shard-0000"), "sst");
    let largest = tables
        .iter()
        .max_by_key(|file| std::fs::metadata(file).expect("metadata").len())
        .expect("tables");
    let mut bytes = std::fs::read(largest).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(largest, bytes).expect("write");
    let store = open(directory.path(), &settings(None), &views());
    let failures: Vec<_> = (0..5)
        .filter_map(|key| {
            let key = encode_key(&format!("key-{key}"));
            store
                .read(1, &key, At::Instant(1_000_000), &mut unbounded())
                .err()
        })
        .collect();
    assert!(!failures.is_empty(), "some key's tile lies in the block");
    let name = largest
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    for error in &failures {
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
        assert!(error.message().contains(name), "{error}");
        assert!(
            error.message().contains("move the state directory away"),
            "{error}"
        );
    }
    assert!(matches!(store.health(), StoreHealth::Troubled { why } if why.contains(name)));
}

#[test]
fn a_missing_table_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("temporary directory");
    store_in_tables(directory.path());
    let tables = files(&directory.path().join("shard-0000"), "sst");
    std::fs::remove_file(&tables[0]).expect("remove");
    let error = RocksStore::open(directory.path(), &settings(None), &unbounded_budget())
        .expect_err("damaged");
    assert_damage(&error, &tables[0]);
}

/// The directory is gone for a while, as a disk that takes no new files: RocksDB stops writing and
/// does not come back by itself.
#[test]
fn a_store_that_could_not_write_heals_when_the_disk_does() {
    let random = &mut Random(43);
    let (views, log) = (views(), heavy_log(random, 1_500));
    let directory = tempfile::tempdir().expect("temporary directory");
    let state = directory.path().join("state");
    let away = directory.path().join("away");
    let store = open(&state, &settings(None), &views);
    let mut epochs = log.chunks(10);
    let mut commit = |expected: bool| {
        let epoch = epochs.next().expect("the log is long enough");
        let write = shard_write(&views, epoch, 0, 1);
        for _ in 0..8 {
            match store.commit(0, &write) {
                Ok(_) => return true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    if !expected {
                        return false;
                    }
                }
            }
        }
        panic!("it does not heal: {:?}", store.health());
    };
    assert!(commit(true));
    std::fs::rename(&state, &away).expect("rename");
    let mut committed = 0;
    while commit(false) {
        committed += 1;
        assert!(
            committed < 140,
            "the memtable was filled and no new log could be made"
        );
    }
    assert!(matches!(store.health(), StoreHealth::Troubled { .. }));
    assert!(!store.is_settled(), "the failed write may be there");
    let answer = store.read(
        1,
        &encode_key("key-1"),
        At::Instant(i64::MAX / 2),
        &mut unbounded(),
    );
    assert!(answer.is_ok(), "reads go on");
    std::fs::rename(&away, &state).expect("rename");
    // Epochs that failed are handed over again.
    for epoch in log.chunks(10) {
        let write = shard_write(&views, epoch, 0, 1);
        let healed = (0..8).any(|_| store.commit(0, &write).is_ok());
        assert!(healed, "{:?}", store.health());
    }
    assert_eq!(store.health(), StoreHealth::Well);
    assert!(store.is_settled());
    check_all(&store, &views, &log);
    drop(store);
    check_all(&open(&state, &settings(None), &views), &views, &log);
}

/// Opening the shard anew fails as often as it is tried, though the disk takes files: a person must
/// mend the directory, and the process has given up by then.
#[test]
fn a_shard_that_is_lost_says_so_and_a_restart_over_a_mended_disk_brings_it_back() {
    let (views, log) = (views(), heavy_log(&mut Random(44), 1_500));
    let directory = tempfile::tempdir().expect("temporary directory");
    let state = directory.path().join("state");
    let away = directory.path().join("away");
    let store = open(&state, &settings(None), &views);
    let mut epochs = log.chunks(10);
    let mut commit = || {
        let epoch = epochs.next().expect("the log is long enough");
        store.commit(0, &shard_write(&views, epoch, 0, 1)).err()
    };
    assert!(commit().is_none());
    std::fs::rename(&state, &away).expect("rename");
    while commit().is_none() {}
    // The first failure may have been the disk's; the second has the shard opened anew.
    assert!(commit().is_some());
    std::fs::rename(&away, &state).expect("rename");
    let current = state.join("shard-0000").join("CURRENT");
    std::fs::rename(&current, &away).expect("rename");
    std::fs::create_dir(&current).expect("something in its place");
    let write = shard_write(&views, &log[..10], 0, 1);
    let lost = (0..40).find_map(|_| {
        let error = store.commit(0, &write).expect_err("it cannot be opened");
        (!error.kind().is_retriable()).then_some(error)
    });
    let lost = lost.expect("it gives up");
    assert_eq!(lost.kind(), ErrorKind::Internal, "{lost}");
    for part in [
        "cannot be brought back",
        "check the disk of the data directory and restart",
    ] {
        assert!(lost.message().contains(part), "{lost}");
    }
    assert!(matches!(store.health(), StoreHealth::Lost { .. }));
    // The disk is checked and mended. The process has given up, so it is restarted.
    std::fs::remove_dir(&current).expect("out of the way");
    std::fs::rename(&away, &current).expect("back in its place");
    assert!(
        store.commit(0, &write).is_err(),
        "a process that gave up does not come back"
    );
    drop(store);
    let store = open(&state, &settings(None), &views);
    log.chunks(10)
        .for_each(|epoch| commit_all(&store, &views, epoch));
    assert_eq!(store.health(), StoreHealth::Well);
    check_all(&store, &views, &log);
}
