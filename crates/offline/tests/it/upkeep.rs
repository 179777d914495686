//! What is deleted, and when: files that nobody committed, files that were replaced, entries of the
//! log that a checkpoint covers. Never what a version within the retention needs, and never the
//! file of an append under way. And the scrub that finds a flipped bit.

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Archive, Scan, TableScan};
use forebay_offline::{ArchiveSettings, DeltaArchive, DurableLocal};
use futures::TryStreamExt;
use url::Url;

use crate::compact::{append, appended, filled};
use crate::faulty::{FaultyStore, When};
use crate::readers::python;
use crate::support::{
    FakeClock, TABLE, batch, by_place, clock, files, open, plenty, range, schema, up_to,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

/// An archive with a checkpoint every `interval` commits, whose clock stands `ahead` of this
/// machine's.
pub(crate) fn ahead(root: &Path, owner: &str, interval: u64) -> (Arc<FakeClock>, DeltaArchive) {
    let clock = clock();
    set(&clock, Duration::ZERO);
    let settings = ArchiveSettings {
        checkpoint_interval: NonZeroU64::new(interval).expect("not zero"),
        ..ArchiveSettings::new("prod", owner)
    };
    let archive = DeltaArchive::open(root, settings, Arc::<FakeClock>::clone(&clock));
    (clock, archive.expect("opened"))
}

/// `ahead` has passed.
pub(crate) fn set(clock: &FakeClock, ahead: Duration) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("after 1970") + ahead;
    let now_us = i64::try_from(now.as_micros()).expect("fits");
    let passed_us = i64::try_from(ahead.as_micros()).expect("fits");
    clock.0.store(now_us, Ordering::Relaxed);
    clock.1.store(passed_us, Ordering::Relaxed);
}

fn log_files(root: &Path) -> Vec<PathBuf> {
    let log = root.join(TABLE).join("_delta_log");
    let mut files: Vec<PathBuf> = fs::read_dir(log)
        .expect("a table")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
}

/// Date a file so many hours back.
fn date_back(path: &Path, hours: u32) {
    let file = fs::File::options().write(true).open(path).expect("there");
    let then = SystemTime::now() - HOUR * hours;
    file.set_modified(then).expect("dated");
}

#[tokio::test]
async fn files_that_nobody_committed_are_swept_by_age_and_named_ones_never() {
    let root = tempfile::tempdir().expect("a directory");
    let (clock, archive) = ahead(root.path(), "a", 100);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 1).await;
    let directory = root.path().join(TABLE);
    for name in ["part-dead-00000000.zstd.parquet", "notes.parquet"] {
        fs::write(directory.join(name), b"x").expect("written");
    }
    for (age, swept) in [(23 * HOUR, 0), (25 * HOUR, 1)] {
        set(&clock, age);
        let found = archive.sweep(TABLE, HOUR).await.expect("swept");
        assert_eq!(found, swept, "{age:?}");
    }
    assert!(!directory.join("part-dead-00000000.zstd.parquet").exists());
    assert!(directory.join("notes.parquet").exists());
    assert_eq!(by_place(root.path()), appended(1));
}

#[tokio::test]
async fn a_file_that_an_append_is_about_to_commit_is_never_swept() {
    let root = tempfile::tempdir().expect("a directory");
    filled(root.path(), 1).await;
    let inner = Arc::new(DurableLocal::new());
    let store = Arc::new(FaultyStore::new(inner, u64::MAX, 0, When::Before));
    let url = Url::from_directory_path(root.path().canonicalize().expect("there"));
    let clock = clock();
    set(&clock, Duration::ZERO);
    // What is filled is dated by another clock.
    let settings = ArchiveSettings {
        clock_gap_max_days: 100_000,
        ..ArchiveSettings::new("prod", "b")
    };
    let archive = DeltaArchive::with_store(
        url.expect("absolute"),
        Arc::<FaultyStore>::clone(&store),
        settings,
        Arc::<FakeClock>::clone(&clock),
    );
    let archive = Arc::new(archive.expect("opened"));
    archive.open_table(TABLE, schema()).await.expect("opened");
    store.hold("_delta_log/");
    let appending = Arc::clone(&archive);
    let append = tokio::spawn(async move { append(&appending, 1, 2).await });
    store.is_held().await;
    // The disk hangs for ten days; the sweep finds the file old, and waits for the append.
    set(&clock, 10 * DAY);
    let sweeping = Arc::clone(&archive);
    let sweep = tokio::spawn(async move { sweeping.sweep(TABLE, DAY).await });
    tokio::task::yield_now().await;
    store.release();
    append.await.expect("appended");
    assert_eq!(sweep.await.expect("no panic").expect("swept"), 0);
    assert_eq!(by_place(root.path()), appended(2));
}

#[tokio::test]
async fn replaced_files_are_kept_for_the_retention_and_then_swept() {
    let root = tempfile::tempdir().expect("a directory");
    let (clock, archive) = ahead(root.path(), "a", 100);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 8).await;
    let old = files(root.path(), TABLE);
    archive.compact(TABLE, &plenty()).await.expect("compacted");
    for (age, swept) in [(6 * DAY, 0), (8 * DAY, 8)] {
        set(&clock, age);
        let found = archive.sweep(TABLE, WEEK).await.expect("swept");
        assert_eq!(found, swept, "after {age:?}");
    }
    assert!(old.iter().all(|file| !file.exists()));
    assert_eq!(by_place(root.path()), appended(8));
}

#[tokio::test]
async fn the_log_is_cleaned_below_a_checkpoint_and_versions_within_the_retention_stay() {
    let root = tempfile::tempdir().expect("a directory");
    let (_, archive) = ahead(root.path(), "a", 10);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 34).await;
    // Nothing is old yet.
    assert_eq!(archive.clean_log(TABLE, DAY).await.expect("cleaned"), 0);
    // Versions 0 to 25 are two days old: 25 was the newest one a day ago, and needs checkpoint 19.
    for file in log_files(root.path()) {
        let name = file.file_name().and_then(|n| n.to_str()).expect("UTF-8");
        let version = name.split('.').next().and_then(|v| v.parse::<u64>().ok());
        if version.is_some_and(|version| version <= 25) {
            date_back(&file, 48);
        }
    }
    // 19 entries and the checkpoint of version 9.
    assert_eq!(archive.clean_log(TABLE, DAY).await.expect("cleaned"), 20);
    let left = log_files(root.path());
    let first = left[0].file_name().and_then(|n| n.to_str());
    assert_eq!(first, Some("00000000000000000019.checkpoint.parquet"));
    assert_eq!(archive.clean_log(TABLE, DAY).await.expect("cleaned"), 0);
    // Who is open goes on (the next commits write a checkpoint), and so does who opens it anew,
    // also without the hint at the newest checkpoint.
    append(&archive, 34, 46).await;
    for hint in [true, false] {
        let hints = root.path().join(TABLE).join("_delta_log/_last_checkpoint");
        if !hint {
            fs::remove_file(hints).expect("there");
        }
        let again = open(root.path(), if hint { "b" } else { "c" });
        again.open_table(TABLE, schema()).await.expect("opened");
        let snapshot = again.snapshot(TABLE).await.expect("read");
        assert_eq!(snapshot.rows, 46 * 6);
        assert_eq!(snapshot.applied, up_to(&[(0, 230), (1, 46)]));
        let rows = vec![batch(&range(0, 225, 230))];
        let new = again.append(TABLE, rows, &up_to(&[(0, 230)])).await;
        assert_eq!(new.expect("appended"), 0, "what was appended is known");
    }
}

#[tokio::test]
async fn a_version_within_the_retention_stays_readable_and_an_older_one_is_refused() {
    let Some(python) = python() else { return };
    let root = tempfile::tempdir().expect("a directory");
    let (clock, archive) = ahead(root.path(), "a", 10);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 12).await;
    archive.compact(TABLE, &plenty()).await.expect("compacted");
    append(&archive, 12, 30).await;
    let read = |version: u64| {
        // Out at once: threads of the libraries may abort an interpreter that takes itself down.
        let code = "import os, sys, deltalake\n\
            table = deltalake.DeltaTable(sys.argv[1], version=int(sys.argv[2]))\n\
            print(table.to_pyarrow_table().num_rows, flush=True)\n\
            os._exit(0)";
        let output = Command::new(&python)
            .args(["-c", code])
            .arg(root.path().join(TABLE))
            .arg(version.to_string())
            .output()
            .expect("started");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.success(), text.trim().to_owned())
    };
    let upkeep = async || {
        archive.sweep(TABLE, WEEK).await.expect("swept");
        archive.clean_log(TABLE, WEEK).await.expect("cleaned");
    };
    set(&clock, 6 * DAY);
    upkeep().await;
    assert_eq!(
        read(5),
        (true, "30".to_owned()),
        "files from before the merge"
    );
    set(&clock, 8 * DAY);
    upkeep().await;
    assert_eq!(read(31), (true, "180".to_owned()), "the newest");
    let (readable, rows) = read(5);
    assert!(!readable, "refused, and not fewer rows: {rows}");
}

#[tokio::test]
async fn a_users_optimize_and_vacuum_and_our_upkeep_leave_the_rows_alone() {
    let Some(python) = python() else { return };
    let root = tempfile::tempdir().expect("a directory");
    let archive = filled(root.path(), 20).await;
    let optimize = || {
        let code = "import os, sys, deltalake\n\
            table = deltalake.DeltaTable(sys.argv[1])\n\
            table.optimize.compact()\n\
            table.vacuum(dry_run=False)\n\
            print(table.to_pyarrow_table().num_rows, flush=True)\n\
            os._exit(0)";
        let output = Command::new(&python)
            .args(["-c", code])
            .arg(root.path().join(TABLE))
            .output()
            .expect("started");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim()
            .to_owned()
    };
    assert_eq!(optimize(), "120");
    // It puts whole files behind one another, so nothing is sorted: there is no memory for that.
    let little = Budget::whole(64);
    let scan = Scan::default().in_log_order().drawing(&little, Part::Fills);
    let rows = archive.scan(TABLE, scan).await.expect("there");
    let batches: Vec<_> = rows.try_collect().await.expect("within the budget");
    assert_eq!(
        batches.iter().map(|rows| rows.num_rows()).sum::<usize>(),
        120
    );
    append(&archive, 20, 30).await;
    archive.compact(TABLE, &plenty()).await.expect("compacted");
    append(&archive, 30, 40).await;
    assert_eq!(optimize(), "240");
    assert_eq!(
        archive
            .compact(TABLE, &plenty())
            .await
            .expect("nothing of ours"),
        None
    );
    archive.sweep(TABLE, WEEK).await.expect("swept");
    append(&archive, 40, 48).await;
    archive.compact(TABLE, &plenty()).await.expect("compacted");
    assert_eq!(by_place(root.path()), appended(48));
    assert!(archive.scrub(TABLE).await.expect("read").is_empty());
    let again = open(root.path(), "b");
    again.open_table(TABLE, schema()).await.expect("opened");
    assert_eq!(again.snapshot(TABLE).await.expect("read").rows, 48 * 6);
}

#[tokio::test]
async fn a_scrub_reads_one_file_at_a_time_and_names_what_is_missing_or_changed() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = filled(root.path(), 5).await;
    let all = files(root.path(), TABLE);
    let mut bytes = fs::read(&all[1]).expect("there");
    bytes[50] ^= 1;
    fs::write(&all[1], &bytes).expect("written");
    fs::remove_file(&all[4]).expect("there");
    let mut scrub = archive.begin_scrub(TABLE).await.expect("begun");
    let (mut read, mut files, mut found) = (0, 0, Vec::new());
    while let Some(scrubbed) = archive.scrub_next(&mut scrub).await.expect("read") {
        read += scrubbed.bytes;
        files += 1;
        found.extend(scrubbed.damage.map(|damage| damage.file));
    }
    found.sort();
    let names: Vec<String> = [&all[1], &all[4]]
        .iter()
        .map(|path| {
            path.file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(found, names);
    let size = archive.size(TABLE).await.expect("read");
    assert_eq!((size.files, size.bytes, size.damaged), (files, read, 2));
    assert_eq!(files, 5);
}

#[tokio::test]
async fn a_file_that_was_replaced_while_a_scrub_ran_is_no_damage() {
    let root = tempfile::tempdir().expect("a directory");
    let (clock, archive) = ahead(root.path(), "a", 100);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 8).await;
    let mut scrub = archive.begin_scrub(TABLE).await.expect("begun");
    archive.compact(TABLE, &plenty()).await.expect("compacted");
    set(&clock, 8 * DAY);
    assert_eq!(archive.sweep(TABLE, WEEK).await.expect("swept"), 8);
    while let Some(scrubbed) = archive.scrub_next(&mut scrub).await.expect("read") {
        assert_eq!(scrubbed.damage, None);
    }
}

#[tokio::test]
async fn a_table_that_was_never_written_to_goes_and_comes_back_with_other_columns() {
    let root = tempfile::tempdir().expect("a directory");
    let (_, archive) = ahead(root.path(), "a", 100);
    archive.open_table(TABLE, schema()).await.expect("opened");
    assert!(archive.remove_unused(TABLE).await.expect("read"));
    assert!(!archive.remove_unused(TABLE).await.expect("it is gone"));
    assert!(log_files(root.path()).is_empty());
    let mut columns: Vec<_> = schema().fields().iter().cloned().collect();
    let other = arrow_schema::Field::new("other", arrow_schema::DataType::Utf8, true);
    columns.insert(0, Arc::new(other));
    let other = arrow_schema::Schema::new(columns);
    archive
        .open_table(TABLE, Arc::new(other))
        .await
        .expect("its columns are free");
    assert!(archive.remove_unused(TABLE).await.expect("read"));
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 1).await;
    assert!(!archive.remove_unused(TABLE).await.expect("read"));
    assert!(
        !files(root.path(), TABLE).is_empty(),
        "what has a row stays"
    );
}
