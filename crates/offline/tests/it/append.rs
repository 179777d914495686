//! Appends that succeed: idempotence over reopened archives, fencing, order, the ingest time,
//! schemas, limits of what is taken, care of the directory.

use std::fs;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_schema::{DataType, Field, Schema};
use forebay_core::ErrorKind;
use forebay_core::limits::ARCHIVE_CLOCK_GAP_MAX_DAYS;
use forebay_core::ports::Archive;
use forebay_core::progress::TopicPartition;
use forebay_core::time::{Clock, DAY_US};
use forebay_offline::{ArchiveSettings, DeltaArchive};
use futures::future::join_all;

use crate::support::{
    FakeClock, TABLE, TOPIC, batch, by_place, clock, expected, files, open, range, row_at, schema,
    stored, up_to,
};

#[tokio::test]
async fn overlapping_appends_over_reopened_archives_store_each_row_once() {
    let root = tempfile::tempdir().expect("a directory");
    for (owner, from, to) in [
        ("a", 0, 10),
        ("a2", 0, 10),
        ("b", 5, 25),
        ("c", 24, 26),
        ("d", 0, 26),
    ] {
        let archive = open(root.path(), owner);
        archive.open_table(TABLE, schema()).await.expect("opened");
        let before = archive
            .progress(TABLE)
            .await
            .expect("read")
            .next_offset(&TopicPartition::new(TOPIC, 1));
        let rows = [
            batch(&range(1, from, (from + to) / 2)),
            batch(&range(1, (from + to) / 2, to)),
        ];
        let new = archive
            .append(TABLE, rows.to_vec(), &up_to(&[(1, to), (4, 3)]))
            .await
            .expect("appended");
        assert_eq!(
            new,
            u64::try_from((to - before).max(0)).expect("not negative"),
            "{owner}"
        );
        let again = archive
            .append(TABLE, rows.to_vec(), &up_to(&[(1, to), (4, 3)]))
            .await
            .expect("appended");
        assert_eq!(again, 0);
    }
    let archive = open(root.path(), "reader");
    let snapshot = archive.snapshot(TABLE).await.expect("read");
    assert_eq!(by_place(root.path()), expected(&[(1, 26)]));
    assert_eq!(snapshot.applied, up_to(&[(1, 26), (4, 3)]));
    assert_eq!(
        snapshot.version, 3,
        "one commit for each append that brought something"
    );
    assert!(archive.scrub(TABLE).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_checkpoint_keeps_offsets_and_checksums() {
    let root = tempfile::tempdir().expect("a directory");
    let settings = |owner: &str| ArchiveSettings {
        checkpoint_interval: NonZeroU64::new(4).expect("not zero"),
        ..ArchiveSettings::new("prod", owner)
    };
    let archive = DeltaArchive::open(root.path(), settings("a"), clock()).expect("opened");
    archive.open_table(TABLE, schema()).await.expect("opened");
    for n in 0..9 {
        archive
            .append(
                TABLE,
                vec![batch(&range(0, n, n + 1))],
                &up_to(&[(0, n + 1), (1, n)]),
            )
            .await
            .expect("appended");
    }
    let log = root.path().join(TABLE).join("_delta_log");
    assert!(log.join("00000000000000000007.checkpoint.parquet").exists());
    let written = files(root.path(), TABLE);
    // What is left must be enough: entries that a checkpoint covers are cleaned by other writers.
    for version in 0..7 {
        fs::remove_file(log.join(format!("{version:020}.json"))).expect("there");
    }
    let archive = DeltaArchive::open(root.path(), settings("b"), clock()).expect("opened");
    archive.open_table(TABLE, schema()).await.expect("opened");
    assert_eq!(
        archive.progress(TABLE).await.expect("read"),
        up_to(&[(0, 9), (1, 8)])
    );
    assert_eq!(archive.snapshot(TABLE).await.expect("read").rows, 9);
    fs::write(&written[0], b"rotten").expect("written");
    let damage = archive.scrub(TABLE).await.expect("read");
    assert_eq!(
        damage.len(),
        1,
        "the tag survived the checkpoint: {damage:?}"
    );
    assert!(written[0].ends_with(&damage[0].file));
}

#[tokio::test]
async fn a_missing_log_entry_is_an_error_and_not_an_empty_table() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    archive
        .append(TABLE, vec![batch(&range(0, 0, 3))], &up_to(&[(0, 3)]))
        .await
        .expect("appended");
    let entry = root
        .path()
        .join(TABLE)
        .join("_delta_log/00000000000000000001.json");
    let text = fs::read_to_string(&entry).expect("there");
    fs::write(&entry, "").expect("written");
    let error = open(root.path(), "b")
        .open_table(TABLE, schema())
        .await
        .expect_err("torn");
    assert!(
        matches!(error.kind(), ErrorKind::DataLoss | ErrorKind::Unavailable),
        "{error}"
    );
    fs::write(&entry, text).expect("written");
    open(root.path(), "c")
        .open_table(TABLE, schema())
        .await
        .expect("whole again");
}

#[tokio::test]
async fn the_second_owner_is_fenced_and_reads_on() {
    let root = tempfile::tempdir().expect("a directory");
    let (first, second) = (open(root.path(), "first"), open(root.path(), "second"));
    for archive in [&first, &second] {
        archive.open_table(TABLE, schema()).await.expect("opened");
    }
    first
        .append(TABLE, vec![batch(&range(0, 0, 5))], &up_to(&[(0, 5)]))
        .await
        .expect("appended");
    let rows = vec![batch(&range(0, 0, 8))];
    for _ in 0..2 {
        let error = second
            .append(TABLE, rows.clone(), &up_to(&[(0, 8)]))
            .await
            .expect_err("fenced");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.message().contains("first"), "{error}");
    }
    assert_eq!(second.snapshot(TABLE).await.expect("read").rows, 5);
    assert_eq!(
        first
            .append(TABLE, rows, &up_to(&[(0, 8)]))
            .await
            .expect("appended"),
        3
    );
    assert_eq!(by_place(root.path()), expected(&[(0, 8)]));
}

#[tokio::test]
async fn owners_that_race_store_each_row_once() {
    let root = tempfile::tempdir().expect("a directory");
    let archives: Vec<DeltaArchive> = (0..4)
        .map(|n| open(root.path(), &format!("racer{n}")))
        .collect();
    for archive in &archives {
        archive.open_table(TABLE, schema()).await.expect("opened");
    }
    let marks = up_to(&[(0, 20)]);
    let outcomes = join_all(
        archives
            .iter()
            .map(|a| a.append(TABLE, vec![batch(&range(0, 0, 20))], &marks)),
    )
    .await;
    let won: Vec<u64> = outcomes
        .iter()
        .filter_map(|o| o.as_ref().ok().copied())
        .collect();
    assert_eq!(won, [20], "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .filter_map(|o| o.as_ref().err())
            .all(|e| e.kind() == ErrorKind::FailedPrecondition)
    );
    assert_eq!(by_place(root.path()), expected(&[(0, 20)]));
}

#[tokio::test]
async fn a_server_of_another_name_is_refused_and_the_old_name_goes_on() {
    let root = tempfile::tempdir().expect("a directory");
    let named = |deployment: &str, owner: &str| {
        let settings = ArchiveSettings::new(deployment, owner);
        DeltaArchive::open(root.path(), settings, clock()).expect("opened")
    };
    let prod = named("prod", "a");
    prod.open_table(TABLE, schema()).await.expect("opened");
    prod.append(TABLE, vec![batch(&range(0, 0, 5))], &up_to(&[(0, 5)]))
        .await
        .expect("appended");
    let renamed = named("staging", "b");
    let error = renamed
        .open_table(TABLE, schema())
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let words = error.message().to_owned();
    for needle in [TABLE, "`prod`", "`staging`", "server.name"] {
        assert!(words.contains(needle), "{needle}: {words}");
    }
    let rows = vec![batch(&range(0, 0, 5))];
    let outcome = renamed.append(TABLE, rows.clone(), &up_to(&[(0, 5)])).await;
    assert_eq!(
        outcome.expect_err("refused").kind(),
        ErrorKind::FailedPrecondition
    );
    // The remedy: the name that the error gives.
    let back = named("prod", "c");
    back.open_table(TABLE, schema()).await.expect("opened");
    let new = back.append(TABLE, rows, &up_to(&[(0, 5)])).await;
    assert_eq!(new.expect("appended"), 0, "nothing is appended twice");
    assert_eq!(by_place(root.path()), expected(&[(0, 5)]));
}

#[tokio::test]
async fn a_table_whose_marks_lie_below_its_rows_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    archive
        .append(TABLE, vec![batch(&range(0, 0, 5))], &up_to(&[(0, 5)]))
        .await
        .expect("appended");
    // Somebody restores the log's marks from one day and its files from another.
    let entry = root
        .path()
        .join(TABLE)
        .join("_delta_log/00000000000000000001.json");
    let good = fs::read_to_string(&entry).expect("there");
    let older = good.replace("\"version\":5", "\"version\":3");
    // As a build before entries had a checksum wrote it (the first word of that name).
    let older = older.replacen("\"forebay.crc32c\":", "\"none\":", 1);
    fs::write(&entry, older).expect("written");
    let error = open(root.path(), "b").open_table(TABLE, schema()).await;
    let error = error.expect_err("rows beyond their mark");
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.message().contains("offset 4"), "{error}");
    // The remedy.
    fs::write(&entry, good).expect("written");
    let again = open(root.path(), "c");
    again.open_table(TABLE, schema()).await.expect("opened");
    assert_eq!(again.snapshot(TABLE).await.expect("read").rows, 5);
}

#[tokio::test]
async fn ingest_time_rises_with_every_append_and_rows_are_in_log_order() {
    let root = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let mut seen = Vec::new();
    for (owner, now_us) in [("a", 1_000_000), ("b", 400), ("c", 2_000_000)] {
        let archive = DeltaArchive::open(
            root.path(),
            ArchiveSettings::new("prod", owner),
            Arc::<FakeClock>::clone(&clock),
        )
        .expect("opened");
        archive.open_table(TABLE, schema()).await.expect("opened");
        clock.0.store(now_us, Ordering::Relaxed);
        let next = archive
            .progress(TABLE)
            .await
            .expect("read")
            .next_offset(&TopicPartition::new(TOPIC, 0));
        archive
            .append(
                TABLE,
                vec![batch(&range(0, next, next + 50))],
                &up_to(&[(0, next + 50)]),
            )
            .await
            .expect("ok");
        let rows = stored(root.path());
        assert!(rows.is_sorted_by_key(|(row, _)| row.offset));
        seen.push(rows.last().expect("rows").1);
    }
    assert_eq!(seen, [1_000_000, 1_000_001, 2_000_000]);
}

#[tokio::test]
async fn rows_are_dated_by_no_clock_that_is_days_away_until_it_is_right_or_accepted() {
    let root = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let right = clock.now_us();
    let wrong = right + 83 * 365 * DAY_US;
    let open = |owner: &str, clock_gap_max_days| {
        let settings = ArchiveSettings {
            clock_gap_max_days,
            ..ArchiveSettings::new("prod", owner)
        };
        DeltaArchive::open(root.path(), settings, Arc::<FakeClock>::clone(&clock)).expect("opened")
    };
    let append = async |archive: &DeltaArchive, next: i64| {
        archive.open_table(TABLE, schema()).await.expect("opened");
        let rows = vec![batch(&range(0, next, next + 5))];
        let appended = archive.append(TABLE, rows, &up_to(&[(0, next + 5)])).await;
        appended.map(|_| stored(root.path()).last().expect("rows").1)
    };
    let limit = ARCHIVE_CLOCK_GAP_MAX_DAYS;
    assert_eq!(append(&open("a", limit), 0).await.expect("dated"), right);
    let set = |now_us| clock.0.store(now_us, Ordering::Relaxed);
    set(wrong);
    let archive = open("b", limit);
    let error = append(&archive, 5).await.expect_err("days away");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it may pass");
    for needle in ["2106-", "2023-", "archive.clock_gap_max_days"] {
        assert!(error.message().contains(needle), "{error}");
    }
    archive.hold_clock().expect_err("nothing goes by age");
    let week = Duration::from_hours(7 * 24);
    let (sweep, clean) = (archive.sweep(TABLE, week), archive.clean_log(TABLE, week));
    for error in [sweep.await, clean.await].map(|asked| asked.expect_err("by no such clock")) {
        assert!(error.to_string().contains("2106-"), "{error}");
    }
    assert_eq!(archive.snapshot(TABLE).await.expect("read").rows, 5);
    // The first remedy: the clock is set right.
    set(right + 7);
    archive.hold_clock().expect("it is right");
    assert_eq!(append(&archive, 5).await.expect("dated"), right + 7);
    set(wrong);
    append(&archive, 10)
        .await
        .expect_err("a step while it runs");
    // The second one: it is accepted. What comes back from there is said and not hidden.
    assert_eq!(
        append(&open("c", 40_000), 10).await.expect("accepted"),
        wrong
    );
    set(right);
    append(&open("d", limit), 15).await.expect_err("days away");
    let last = append(&open("e", 40_000), 15).await.expect("accepted");
    assert_eq!(last, wrong + 1, "dates rise");
    assert_eq!(by_place(root.path()), expected(&[(0, 20)]));
}

#[tokio::test]
async fn a_table_of_an_older_format_is_upgraded_and_one_of_a_newer_build_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    let rows = || vec![batch(&range(0, 0, 5))];
    let up_to = up_to(&[(0, 5)]);
    archive.append(TABLE, rows(), &up_to).await.expect("ok");
    let log = root.path().join(TABLE).join("_delta_log");
    let first = log.join("00000000000000000000.json");
    let written = fs::read_to_string(&first).expect("there");
    let property = "\"forebay.format\":\"2\"";
    assert!(written.contains(property), "{written}");
    for (other, needle) in [
        ("\"forebay.format\":\"3\"", "start the newer build again"),
        ("\"forebay.format\":\"two\"", "from a backup"),
    ] {
        fs::write(&first, written.replace(property, other)).expect("written");
        let newer = open(root.path(), "b");
        for error in [
            newer.open_table(TABLE, schema()).await.err(),
            newer.snapshot(TABLE).await.err(),
            newer.append(TABLE, rows(), &up_to).await.err(),
        ] {
            let error = error.expect("refused");
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
            let words = error.message();
            assert!(words.contains(TABLE) && words.contains(needle), "{words}");
        }
    }
    // As the first builds made it.
    let without = written.replace(&format!(",{property}"), "");
    let without = without.replace(&format!("{property},"), "");
    assert!(!without.contains(property), "{without}");
    fs::write(&first, without).expect("written");
    let entries = || fs::read_dir(&log).expect("there").count();
    let before = entries();
    let reader = open(root.path(), "c");
    assert_eq!(reader.snapshot(TABLE).await.expect("read").rows, 5);
    assert_eq!(entries(), before, "who only reads writes nothing");
    let upgraded = open(root.path(), "d");
    upgraded.open_table(TABLE, schema()).await.expect("opened");
    assert_eq!(entries(), before + 1);
    let entry = fs::read_to_string(log.join("00000000000000000002.json")).expect("there");
    assert!(entry.contains(property), "{entry}");
    assert_eq!(upgraded.append(TABLE, rows(), &up_to).await.expect("ok"), 0);
    let again = open(root.path(), "e");
    again.open_table(TABLE, schema()).await.expect("opened");
    assert_eq!(entries(), before + 1, "once");
    assert_eq!(by_place(root.path()), expected(&[(0, 5)]));
}

#[tokio::test]
async fn another_schema_is_refused_with_its_difference() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    archive
        .open_table(TABLE, schema())
        .await
        .expect("the same again");
    let mut fields: Vec<Field> = schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    fields[2] = Field::new("dep_delay", DataType::Int64, true);
    let changed = Arc::new(Schema::new(fields.clone()));
    for archive in [archive, open(root.path(), "b")] {
        let error = archive
            .open_table(TABLE, Arc::clone(&changed))
            .await
            .expect_err("another type");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let words = error.message();
        assert!(words.contains("it has `dep_delay` DOUBLE"), "{words}");
        assert!(words.contains("`dep_delay` BIGINT is wanted"), "{words}");
    }
    fields[2] = Field::new("dep_delay", DataType::UInt8, true);
    let error = open(root.path(), "c")
        .open_table("other", Arc::new(Schema::new(fields)))
        .await
        .expect_err("no type");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = open(root.path(), "d")
        .open_table("../up", schema())
        .await
        .expect_err("no name");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = open(root.path(), "e")
        .snapshot("nothing")
        .await
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_before_anything_is_written() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    let rows = batch(&range(0, 0, 5));
    let beyond = archive
        .append(TABLE, vec![rows.clone()], &up_to(&[(0, 4)]))
        .await
        .expect_err("beyond");
    let unnamed = archive
        .append(TABLE, vec![rows.clone()], &up_to(&[(1, 5)]))
        .await
        .expect_err("unnamed");
    let narrow = rows.project(&[0, 1, 2, 4, 5, 6, 7, 8]).expect("projected");
    let missing = archive
        .append(TABLE, vec![narrow], &up_to(&[(0, 5)]))
        .await
        .expect_err("missing");
    for error in [&beyond, &unnamed, &missing] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert!(missing.message().contains("`features`"), "{missing}");
    assert_eq!(archive.snapshot(TABLE).await.expect("read").version, 0);
    // A mark without rows: records that were all dead letters.
    assert_eq!(
        archive
            .append(TABLE, vec![], &up_to(&[(0, 3)]))
            .await
            .expect("appended"),
        0
    );
    assert_eq!(
        archive
            .append(TABLE, vec![rows], &up_to(&[(0, 5)]))
            .await
            .expect("appended"),
        2
    );
}

#[tokio::test]
async fn special_values_survive_bit_for_bit() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    let mut rows: Vec<_> = (0..4).map(|offset| row_at(0, offset)).collect();
    for (row, bits) in rows.iter_mut().zip([
        u64::MAX,
        0xfff0_0000_0000_0000,
        (-0.0_f64).to_bits(),
        0x7ff8_dead_beef_0001,
    ]) {
        row.delay_bits = Some(bits);
    }
    archive
        .append(TABLE, vec![batch(&rows)], &up_to(&[(0, 4)]))
        .await
        .expect("appended");
    assert_eq!(by_place(root.path()), rows);
}
