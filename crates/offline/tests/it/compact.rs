//! Compaction: fewer files, the same rows in the same order, and nobody is disturbed: not appends,
//! not marks, not a reader of the files that were replaced, not another writer that replaces them
//! too. Whatever call of the store fails, and whenever the process dies, every row is there once.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::memory::Part;
use forebay_core::ports::{Archive, Scan, TableScan};
use forebay_core::progress::TopicPartition;
use forebay_core::source::meta;
use forebay_offline::{ArchiveSettings, DeltaArchive, DurableLocal};
use futures::TryStreamExt;
use serde_json::{Value, json};
use url::Url;

use crate::faulty::{FaultyStore, When};
use crate::support::{
    TABLE, TOPIC, batch, by_place, clock, expected, files, open, plenty, range, schema, stored,
    stored_in, up_to,
};

/// Append five rows a step to partition 0, and one to partition 1.
pub(crate) async fn append(archive: &DeltaArchive, from: i64, to: i64) {
    for step in from..to {
        let mut rows = range(0, step * 5, step * 5 + 5);
        rows.extend(range(1, step, step + 1));
        let marks = up_to(&[(0, step * 5 + 5), (1, step + 1)]);
        archive
            .append(TABLE, vec![batch(&rows)], &marks)
            .await
            .expect("appended");
    }
}

pub(crate) async fn filled(root: &Path, appends: i64) -> DeltaArchive {
    let archive = open(root, "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, appends).await;
    archive
}

/// The rows of so many steps.
pub(crate) fn appended(steps: i64) -> Vec<crate::support::Row> {
    expected(&[(0, steps * 5), (1, steps)])
}

async fn compact_all(archive: &DeltaArchive) {
    while archive
        .compact(TABLE, &plenty())
        .await
        .expect("compacted")
        .is_some()
    {}
}

fn through(root: &Path, store: Arc<FaultyStore>, owner: &str) -> DeltaArchive {
    let url = Url::from_directory_path(root.canonicalize().expect("there")).expect("absolute");
    let settings = ArchiveSettings::new("prod", owner);
    DeltaArchive::with_store(url, store, settings, clock()).expect("opened")
}

fn store(from: u64, calls: u64, when: When) -> Arc<FaultyStore> {
    let inner = Arc::new(DurableLocal::new());
    Arc::new(FaultyStore::new(inner, from, calls, when))
}

/// The archive below `root`, once more.
fn copy_of(root: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for directory in [TABLE.to_owned(), format!("{TABLE}/_delta_log")] {
        fs::create_dir(copy.path().join(&directory)).expect("made");
        for entry in fs::read_dir(root.join(&directory)).expect("there") {
            let from = entry.expect("readable").path();
            if from.is_file() {
                let name = from.file_name().expect("a file");
                fs::copy(&from, copy.path().join(&directory).join(name)).expect("copied");
            }
        }
    }
    copy
}

/// The actions of the log's entry `version`.
fn actions(root: &Path, version: u64) -> Vec<Value> {
    let entry = format!("{TABLE}/_delta_log/{version:020}.json");
    let text = fs::read_to_string(root.join(entry)).expect("there");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

async fn in_log_order(archive: &DeltaArchive) -> usize {
    let rows = archive.scan(TABLE, Scan::default().in_log_order()).await;
    let batches: Vec<_> = rows
        .expect("there")
        .try_collect()
        .await
        .expect("in log order");
    batches.iter().map(|b| b.num_rows()).sum()
}

#[tokio::test]
async fn a_merge_without_memory_changes_nothing_and_is_made_when_there_is_some() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = filled(root.path(), 9).await;
    let before = stored(root.path());
    let memory = plenty();
    let most = memory.most_bytes(Part::Upkeep);
    let others = memory.reserve(Part::Upkeep, most - 1).expect("free");
    let refused = archive.compact(TABLE, &memory).await;
    let error = refused.expect_err("others hold all of it");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(files(root.path(), TABLE).len(), 9);
    drop(others);
    let merged = archive.compact(TABLE, &memory).await.expect("compacted");
    assert_eq!(merged.expect("there were enough").files, 9);
    assert_eq!(memory.used_bytes(Part::Upkeep), 0, "given back");
    assert_eq!(stored(root.path()), before);
}

#[tokio::test]
async fn small_files_become_few_and_hold_the_same_rows_in_the_same_order() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = filled(root.path(), 19).await;
    let before = stored(root.path());
    assert_eq!(files(root.path(), TABLE).len(), 19);
    let merged = archive.compact(TABLE, &plenty()).await.expect("compacted");
    assert_eq!(merged.expect("there were enough").files, 19);
    assert_eq!(
        archive.compact(TABLE, &plenty()).await.expect("none left"),
        None
    );
    assert_eq!(files(root.path(), TABLE).len(), 1);
    assert_eq!(
        stored(root.path()),
        before,
        "rows, in their order, and when they were taken"
    );
    assert_eq!(in_log_order(&archive).await, 19 * 6);
    assert!(archive.scrub(TABLE).await.expect("read").is_empty());
    // Appends go on, here and after a restart.
    append(&archive, 19, 21).await;
    let again = open(root.path(), "b");
    again.open_table(TABLE, schema()).await.expect("opened");
    let progress = again.progress(TABLE).await.expect("read");
    assert_eq!(progress.next_offset(&TopicPartition::new(TOPIC, 0)), 105);
    append(&again, 20, 22).await;
    assert_eq!(by_place(root.path()), appended(22));
    let snapshot = again.snapshot(TABLE).await.expect("read");
    assert_eq!(snapshot.rows, 22 * 6);
}

#[tokio::test]
async fn a_merge_changes_no_data_moves_no_mark_and_describes_its_file() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = filled(root.path(), 8).await;
    let inputs: Vec<Value> = (1..=8).flat_map(|v| actions(root.path(), v)).collect();
    let marks = archive.progress(TABLE).await.expect("read");
    compact_all(&archive).await;
    assert_eq!(archive.progress(TABLE).await.expect("read"), marks);
    let merge = actions(root.path(), 9);
    let of = |kind: &str| {
        merge
            .iter()
            .filter_map(move |a| a.get(kind))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("remove").len(), of("add").len(), of("txn").len()),
        (8, 1, 0)
    );
    assert!(of("remove").iter().all(|a| a["dataChange"] == json!(false)));
    let add = of("add")[0];
    assert_eq!(add["dataChange"], json!(false));
    let bytes = fs::read(&files(root.path(), TABLE)[0]).expect("there");
    assert_eq!(add["size"], json!(bytes.len()));
    let checksum = format!("{:08x}", crc32c::crc32c(&bytes));
    let facts = add["tags"]["forebay.facts"].as_str().expect("a checksum");
    assert_eq!(facts.len(), 8, "{facts}");
    assert_eq!(
        add["tags"],
        json!({"forebay.crc32c": checksum, "forebay.order": "log", "forebay.facts": facts})
    );
    // Statistics are those of the inputs together.
    let stats = |add: &Value| -> Value {
        serde_json::from_str(add["stats"].as_str().expect("text")).expect("JSON")
    };
    let inputs: Vec<Value> = inputs
        .iter()
        .filter_map(|a| a.get("add"))
        .map(stats)
        .collect();
    let found = stats(add);
    assert_eq!(found["numRecords"], json!(48));
    for (kind, last) in [("minValues", 0), ("maxValues", inputs.len() - 1)] {
        for column in [
            meta::OFFSET,
            meta::PARTITION,
            meta::TOPIC,
            "origin",
            "dep_time",
        ] {
            let mut values: Vec<&Value> = inputs.iter().map(|s| &s[kind][column]).collect();
            values.sort_by_key(|v| (v.as_i64(), v.as_str()));
            assert_eq!(&found[kind][column], values[last], "{kind} of {column}");
        }
    }
    assert_eq!(
        found["minValues"].get("dep_delay"),
        None,
        "no bounds of floats"
    );
}

#[tokio::test]
async fn appends_go_on_while_files_are_joined() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = Arc::new(filled(root.path(), 10).await);
    let appending = Arc::clone(&archive);
    let appends = tokio::spawn(async move { append(&appending, 10, 60).await });
    let mut merges = 0;
    while !appends.is_finished() {
        merges += usize::from(
            archive
                .compact(TABLE, &plenty())
                .await
                .expect("compacted")
                .is_some(),
        );
        tokio::task::yield_now().await;
    }
    appends.await.expect("appended");
    compact_all(&archive).await;
    assert!(merges > 1, "both ran at once");
    assert_eq!(by_place(root.path()), appended(60));
    assert_eq!(in_log_order(&archive).await, 60 * 6);
    assert!(files(root.path(), TABLE).len() < 16);
}

#[tokio::test]
async fn a_scan_that_has_begun_reads_on_from_files_that_were_replaced() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = filled(root.path(), 9).await;
    let rows = archive.scan(TABLE, Scan::default()).await.expect("there");
    let old = files(root.path(), TABLE);
    compact_all(&archive).await;
    append(&archive, 9, 10).await;
    let batches: Vec<_> = rows.try_collect().await.expect("readable");
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 54);
    assert_eq!(stored_in(&old).len(), 54);
}

#[tokio::test]
async fn a_file_that_has_changed_is_named_and_left_alone_and_the_others_are_joined() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = filled(root.path(), 20).await;
    let path = files(root.path(), TABLE)[3].clone();
    let good = fs::read(&path).expect("there");
    let mut bytes = good.clone();
    bytes[100] ^= 4;
    fs::write(&path, &bytes).expect("written");
    let error = archive
        .compact(TABLE, &plenty())
        .await
        .expect_err("a bit has changed");
    let error = forebay_core::PortError::from(error);
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    let name = path.file_name().and_then(|n| n.to_str()).expect("UTF-8");
    assert!(error.message().contains(name), "{error}");
    assert_eq!(
        files(root.path(), TABLE).len(),
        20,
        "the table is as it was"
    );
    assert_eq!(archive.size(TABLE).await.expect("read").damaged, 1);
    let merged = archive.compact(TABLE, &plenty()).await.expect("the others");
    assert_eq!(merged.expect("there are enough").files, 16);
    assert_eq!(files(root.path(), TABLE).len(), 5);
    // The remedy.
    fs::write(&path, &good).expect("restored");
    assert!(archive.scrub(TABLE).await.expect("read").is_empty());
    assert_eq!(archive.size(TABLE).await.expect("read").damaged, 0);
    assert_eq!(by_place(root.path()), appended(20));
}

#[tokio::test]
async fn a_merge_that_dies_or_fails_anywhere_loses_and_doubles_nothing() {
    let before = tempfile::tempdir().expect("a directory");
    filled(before.path(), 9).await;
    let calls = {
        let root = copy_of(before.path());
        let store = store(u64::MAX, 0, When::Before);
        compact_all(&through(root.path(), Arc::clone(&store), "b")).await;
        store.made()
    };
    let mut failures = 0;
    for call in 0..calls {
        for (when, times) in [(When::After, 1), (When::Before, u64::MAX)] {
            let what = format!("call {call} failed, {when:?}, {times} times");
            let root = copy_of(before.path());
            let archive = through(root.path(), store(call, times, when), "b");
            failures += usize::from(archive.compact(TABLE, &plenty()).await.is_err());
            assert_eq!(by_place(root.path()), appended(9), "{what}");
            drop(archive);
            // Another process goes on.
            let again = open(root.path(), "c");
            again.open_table(TABLE, schema()).await.expect(&what);
            compact_all(&again).await;
            append(&again, 8, 10).await;
            assert_eq!(by_place(root.path()), appended(10), "{what}");
            assert_eq!(files(root.path(), TABLE).len(), 2, "{what}");
        }
    }
    assert!(failures > 20, "the faults must be felt: {failures}");
}

/// What delta-rs OPTIMIZE does to `files`: their rows in files of another writer, without our tags.
fn replace_by_hand(root: &Path, version: u64, files: &[std::path::PathBuf]) {
    let mut lines = vec![json!({"commitInfo": {"operation": "OPTIMIZE"}})];
    for (number, file) in files.iter().enumerate() {
        let name = file.file_name().and_then(|n| n.to_str()).expect("UTF-8");
        let added = (0..version).flat_map(|v| actions(root, v)).find_map(|a| {
            a.get("add")
                .filter(|add| add["path"] == json!(name))
                .cloned()
        });
        let mut add = added.expect("it was added");
        let other = format!("part-{number:05}-foreign-c000.zstd.parquet");
        fs::copy(file, root.join(TABLE).join(&other)).expect("copied");
        let gone = json!({"path": name, "dataChange": false, "deletionTimestamp": 1});
        lines.push(json!({"remove": gone}));
        add["path"] = json!(other);
        add["dataChange"] = json!(false);
        add.as_object_mut().expect("an object").remove("tags");
        lines.push(json!({"add": add}));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let entry = format!("{TABLE}/_delta_log/{version:020}.json");
    fs::write(root.join(entry), text).expect("written");
}

#[tokio::test]
async fn a_merge_gives_way_to_another_writer_that_replaced_one_of_its_files() {
    let before = tempfile::tempdir().expect("a directory");
    filled(before.path(), 8).await;
    // Before the merge looks again, and while its own commit is on the way.
    for held in ["/part-b-", "_delta_log/00000000000000000009.json"] {
        let root = copy_of(before.path());
        let store = store(u64::MAX, 0, When::Before);
        let archive = Arc::new(through(root.path(), Arc::clone(&store), "b"));
        archive.open_table(TABLE, schema()).await.expect("opened");
        store.hold(held);
        let merging = Arc::clone(&archive);
        let merge = tokio::spawn(async move { merging.compact(TABLE, &plenty()).await });
        store.is_held().await;
        replace_by_hand(root.path(), 9, &files(root.path(), TABLE)[2..3]);
        store.release();
        let outcome = merge.await.expect("no panic").expect("no error");
        assert_eq!(outcome, None, "given up");
        assert_eq!(by_place(root.path()), appended(8));
        assert_eq!(in_log_order(&archive).await, 8 * 6);
        append(&archive, 7, 9).await;
        assert_eq!(by_place(root.path()), appended(9));
    }
}

#[tokio::test]
async fn a_process_that_another_one_took_over_from_joins_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let old = filled(root.path(), 8).await;
    let new = open(root.path(), "b");
    new.open_table(TABLE, schema()).await.expect("opened");
    append(&new, 8, 9).await;
    let error = old.compact(TABLE, &plenty()).await.expect_err("fenced");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let merged = new.compact(TABLE, &plenty()).await.expect("its own");
    assert_eq!(merged.expect("there are enough").files, 9);
}
