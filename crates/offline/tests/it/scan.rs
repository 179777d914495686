//! Scans: the conformance suite of every archive, what is pruned and what may not be, a table that
//! another writer has mixed, and bytes that changed on disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::ErrorKind;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Archive, ColumnRange, Scan, TableScan};
use forebay_core::source::meta;
use forebay_offline::{DeltaArchive, ParquetFolder, ParquetRows};
use forebay_testkit::conformance::scan;
use futures::TryStreamExt;

use crate::support::{Row, TABLE, TOPIC, batch, files, open, range, row_at, schema, up_to};

#[tokio::test]
async fn a_delta_archive_does_what_every_archive_must() {
    let root = tempfile::tempdir().expect("a directory");
    let made = AtomicU64::new(0);
    forebay_testkit::conformance::archive(|| {
        let number = made.fetch_add(1, Ordering::Relaxed);
        open(&root.path().join(number.to_string()), "a")
    })
    .await;
}

#[tokio::test]
async fn a_folder_of_files_does_what_all_tables_must_but_knows_no_offsets() {
    let folder = tempfile::tempdir().expect("a directory");
    let tables = ParquetFolder::new(folder.path());
    let file = fs::File::create(tables.path(scan::TABLE)).expect("created");
    let appends = scan::appends();
    let mut rows = ParquetRows::begin(file, appends[0].0.schema()).expect("begun");
    for (batch, _) in &appends {
        rows.write(batch).expect("written");
    }
    rows.finish().expect("ended");
    scan::table_scan(&tables, false).await;
}

async fn places(archive: &DeltaArchive, scan: Scan) -> Vec<(i32, i64)> {
    let rows = archive.scan(TABLE, scan).await.expect("there");
    let batches: Vec<RecordBatch> = rows.try_collect().await.expect("readable");
    let of = |batch: &RecordBatch| {
        let partitions = batch.column_by_name(meta::PARTITION).expect("asked for");
        let offsets = batch.column_by_name(meta::OFFSET).expect("asked for");
        let partitions = partitions.as_primitive::<Int32Type>().values().to_vec();
        let offsets = offsets.as_primitive::<Int64Type>().values().to_vec();
        partitions.into_iter().zip(offsets).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// Three files of ten rows.
async fn three_files(root: &Path) -> DeltaArchive {
    let archive = open(root, "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    for to in [10, 20, 30] {
        archive
            .append(
                TABLE,
                vec![batch(&range(0, to - 10, to))],
                &up_to(&[(0, to)]),
            )
            .await
            .expect("appended");
    }
    archive
}

#[tokio::test]
async fn files_outside_the_bounds_of_a_scan_are_not_opened() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = three_files(root.path()).await;
    // A file that is opened is found out.
    for unread in [0, 2] {
        fs::write(&files(root.path(), TABLE)[unread], b"rotten").expect("written");
    }
    let scan = Scan {
        from: up_to(&[(0, 10)]),
        below: Some(up_to(&[(0, 20)])),
        ..Scan::default()
    };
    assert_eq!(
        places(&archive, scan).await,
        (10..20).map(|offset| (0, offset)).collect::<Vec<_>>()
    );
    let times: Vec<i64> = (10..20).map(|offset| row_at(0, offset).time_us).collect();
    let time = |range: (i64, i64)| Scan {
        time: Some(ColumnRange::times("dep_time", range.0, range.1)),
        ..Scan::default()
    };
    let beyond = times.iter().max().expect("ten") + 1_000_000_000;
    assert_eq!(places(&archive, time((beyond, beyond))).await, []);
    let origin = |least: &str, greatest: &str| Scan {
        keys: vec![ColumnRange {
            column: "origin".to_owned(),
            least: forebay_core::value::Value::Text(least.into()),
            greatest: forebay_core::value::Value::Text(greatest.into()),
        }],
        ..Scan::default()
    };
    assert_eq!(places(&archive, origin("L", "Z")).await, []);
    let error = archive
        .scan(TABLE, origin("K0", "K1"))
        .await
        .expect("opened");
    let error = error.try_collect::<Vec<_>>().await.expect_err("all files");
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

#[tokio::test]
async fn a_single_flipped_bit_is_refused_and_the_right_bytes_are_taken_again() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = three_files(root.path()).await;
    let path = &files(root.path(), TABLE)[1];
    let good = fs::read(path).expect("there");
    for place in (0..good.len()).step_by(good.len() / 40) {
        for bit in [0, 7] {
            let mut bad = good.clone();
            bad[place] ^= 1 << bit;
            fs::write(path, &bad).expect("written");
            let rows = archive.scan(TABLE, Scan::default()).await.expect("there");
            let outcome: Result<Vec<RecordBatch>, _> = rows.try_collect().await;
            let error = outcome.expect_err("a bit has changed");
            assert_eq!(error.kind(), ErrorKind::DataLoss);
            let words = error.message();
            let name = path.file_name().expect("a name").to_string_lossy();
            assert!(
                words.contains(TABLE) && words.contains(&*name) && words.contains("backup"),
                "{words}"
            );
        }
    }
    // The remedy: the file as a backup has it.
    fs::write(path, &good).expect("written");
    assert_eq!(places(&archive, Scan::default()).await.len(), 30);
    fs::remove_file(path).expect("there");
    let rows = archive.scan(TABLE, Scan::default()).await.expect("there");
    let error = rows.try_collect::<Vec<_>>().await.expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

/// Rewrite the table's log as another writer's OPTIMIZE would: one file with all rows, in no order
/// and with no tags of ours.
fn mix(root: &Path) {
    let mut rows: Vec<_> = range(0, 0, 30);
    rows.sort_by_key(|row| (row.offset % 7, -row.offset));
    join(root, &rows, |_| 0);
}

/// The same with the rows in this order, of appends that are told by their numbers.
fn join(root: &Path, rows: &[Row], append_of: impl Fn(&Row) -> i64) {
    let directory = root.join(TABLE);
    let without = batch(rows);
    let names: Vec<_> = files(root, TABLE);
    let times = rows
        .iter()
        .map(|row| 1_700_000_000_000_000 + append_of(row));
    let times = arrow_array::TimestampMicrosecondArray::from_iter_values(times);
    let times = times.with_timezone("UTC");
    let mut fields: Vec<Arc<Field>> = without.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(meta::INGEST_TIME, times_type(), false)));
    let mut columns = without.columns().to_vec();
    columns.push(Arc::new(times));
    let all = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("well formed");
    let path = directory.join("optimized.parquet");
    let mut writer = parquet::arrow::ArrowWriter::try_new(
        fs::File::create(&path).expect("made"),
        all.schema(),
        None,
    )
    .expect("a writer");
    writer.write(&all).expect("written");
    writer.close().expect("closed");
    let size = fs::metadata(&path).expect("there").len();
    let mut lines = vec![format!(
        r#"{{"add":{{"path":"optimized.parquet","partitionValues":{{}},"size":{size},"modificationTime":1,"dataChange":false,"stats":"{{\"numRecords\":30}}"}}}}"#
    )];
    for name in names {
        let name = name
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        lines.push(format!(
            r#"{{"remove":{{"path":"{name}","deletionTimestamp":1,"dataChange":false}}}}"#
        ));
    }
    let entry = directory.join("_delta_log/00000000000000000004.json");
    fs::write(entry, lines.join("\n")).expect("written");
}

fn times_type() -> DataType {
    forebay_core::time::timestamp_type()
}

#[tokio::test]
async fn rows_that_another_writer_mixed_come_in_log_order_and_every_one_once() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = three_files(root.path()).await;
    mix(root.path());
    archive
        .append(TABLE, vec![batch(&range(0, 30, 35))], &up_to(&[(0, 35)]))
        .await
        .expect("appended");
    let expected: Vec<(i32, i64)> = (0..35).map(|offset| (0, offset)).collect();
    assert_eq!(
        places(&archive, Scan::default().in_log_order()).await,
        expected
    );
}

#[tokio::test]
async fn rows_that_another_writer_left_in_order_append_by_append_are_not_sorted() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = three_files(root.path()).await;
    // Two files at a time, the newest first, a batch of each in turn; as delta-rs does.
    let batches = [20..28, 10..18, 28..30, 18..20, 0..10];
    let rows = batches.map(|offsets| offsets.map(|offset| row_at(0, offset)).collect::<Vec<_>>());
    join(root.path(), &rows.concat(), |row| row.offset / 10);
    let little = Budget::whole(64);
    let scan = || Scan::default().in_log_order().drawing(&little, Part::Fills);
    let expected: Vec<(i32, i64)> = (0..30).map(|offset| (0, offset)).collect();
    assert_eq!(places(&archive, scan()).await, expected);
    assert_eq!(little.used_bytes(Part::Fills), 0, "nothing leaks");
    // Columns that say nothing of places are enough to ask for.
    let origins = Scan::columns(["origin"]).in_log_order();
    let rows = archive.scan(TABLE, origins).await.expect("there");
    let batches: Vec<RecordBatch> = rows.try_collect().await.expect("readable");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 30);
}

#[tokio::test]
async fn rows_that_another_writer_mixed_are_charged_in_full_and_refused_with_the_remedy() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = three_files(root.path()).await;
    mix(root.path());
    let read = |budget: &Arc<Budget>| {
        let scan = Scan::default().in_log_order().drawing(budget, Part::Fills);
        let rows = archive.scan(TABLE, scan);
        async {
            let mut rows = rows.await.expect("there");
            rows.try_next().await.map(|first| (first, rows))
        }
    };
    let budget = Budget::whole(1 << 20);
    let (first, rows) = read(&budget).await.expect("enough memory");
    let first = first.expect("rows").get_array_memory_size();
    let held = budget.used_bytes(Part::Fills);
    assert!(
        held >= first,
        "{held} bytes are held, the rows have {first}"
    );
    drop(rows);
    assert_eq!(budget.used_bytes(Part::Fills), 0, "nothing leaks");
    // Others use what there is: it may pass later.
    let others = budget.reserve(Part::Answers, (1 << 20) - held / 2);
    let error = read(&budget).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    drop(others);
    assert!(read(&budget).await.is_ok());
    // It never fits.
    let little = Budget::whole(held / 2);
    let error = read(&little).await.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    let words = error.to_string();
    assert!(
        words.contains("another writer") && words.contains("memory.limit_mib"),
        "{words}"
    );
    assert_eq!(little.used_bytes(Part::Fills), 0, "nothing leaks");
}

#[tokio::test]
async fn partitions_keep_the_interleaving_in_which_their_rows_arrived() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    let arrived = [(1, 0), (0, 0), (0, 1), (1, 1), (0, 2), (1, 5)];
    let rows: Vec<_> = arrived.iter().map(|(p, o)| row_at(*p, *o)).collect();
    archive
        .append(TABLE, vec![batch(&rows)], &up_to(&[(0, 3), (1, 6)]))
        .await
        .expect("appended");
    let scan = Scan::columns([meta::PARTITION, meta::OFFSET]).in_log_order();
    assert_eq!(places(&archive, scan).await, arrived);
}

/// More text than 32-bit offsets can address passes through a scan batch by batch: nothing joins a
/// table's rows.
#[tokio::test]
async fn more_than_two_gib_of_text_in_one_column_are_scanned() {
    const TEXT_BYTES: usize = 1 << 20;
    const ROWS_PER_APPEND: i64 = 64;
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    let schema = Arc::new(Schema::new(vec![
        Field::new("text", DataType::Utf8, false),
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
    ]));
    archive
        .open_table("big", Arc::clone(&schema))
        .await
        .expect("opened");
    let text = "x".repeat(TEXT_BYTES);
    let rows = usize::try_from(ROWS_PER_APPEND).expect("small");
    for step in 0..33 {
        let offsets = step * ROWS_PER_APPEND..(step + 1) * ROWS_PER_APPEND;
        let end = offsets.end;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values((0..rows).map(|_| &text))),
            Arc::new(StringArray::from_iter_values((0..rows).map(|_| TOPIC))),
            Arc::new(Int32Array::from(vec![0; rows])),
            Arc::new(Int64Array::from_iter_values(offsets)),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("well formed");
        archive
            .append("big", vec![batch], &up_to(&[(0, end)]))
            .await
            .expect("appended");
    }
    let scan = Scan::columns(["text", meta::OFFSET]).in_log_order();
    let mut rows = archive.scan("big", scan).await.expect("there");
    let mut bytes = 0;
    while let Some(batch) = rows.try_next().await.expect("readable") {
        let texts = batch.column(0).as_string::<i32>();
        bytes += texts.iter().flatten().map(str::len).sum::<usize>();
    }
    assert_eq!(bytes, 33 * 64 * TEXT_BYTES);
    assert!(bytes > 1 << 31);
}

#[tokio::test]
async fn a_scan_holds_what_it_reads_and_ends_where_it_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = three_files(root.path()).await;
    let budget = Budget::whole(1 << 20);
    let scan = || Scan::default().in_log_order().drawing(&budget, Part::Fills);
    let mut rows = archive.scan(TABLE, scan()).await.expect("there");
    let first = rows.try_next().await.expect("readable").expect("rows");
    let held = budget.used_bytes(Part::Fills);
    let file = fs::metadata(&files(root.path(), TABLE)[0]).expect("there");
    assert!(held as u64 > file.len() && held > first.get_array_memory_size());
    drop(rows);
    assert_eq!(budget.used_bytes(Part::Fills), 0, "nothing leaks");

    let others = budget.reserve(Part::Answers, 1 << 20).expect("free");
    let mut rows = archive.scan(TABLE, scan()).await.expect("there");
    let error = rows.try_next().await.expect_err("all memory is used");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    drop((rows, others));

    // A file that is larger than all that there is goes through alone.
    let little = Budget::whole(64);
    let scan = Scan::default().drawing(&little, Part::Fills);
    let rows = archive.scan(TABLE, scan).await.expect("there");
    let batches: Vec<RecordBatch> = rows.try_collect().await.expect("readable");
    let read: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!((read, little.used_bytes(Part::Fills)), (30, 0));
}
