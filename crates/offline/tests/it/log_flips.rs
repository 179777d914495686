//! A flipped bit anywhere in a table's log: an answer is right or refused. What the log says of its
//! files is what scans leave files out by, and what it says of offsets is where reading goes on, so
//! both are held against checksums that were committed with them.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use forebay_core::PortError;
use forebay_core::ports::{Archive, Scan, TableScan};
use forebay_core::progress::Applied;
use forebay_core::source::meta;
use futures::TryStreamExt;
use serde_json::Value;

use crate::compact::append;
use crate::support::{TABLE, files, open, plenty, schema, up_to};
use crate::upkeep::ahead;

/// Bits of one file that are flipped.
const FLIPS: usize = 60;

/// What a reader takes from a table: rows from an offset on, all rows, and how far it is read.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    some: Vec<(i32, i64)>,
    all: Vec<(i32, i64)>,
    applied: Applied,
}

async fn rows(archive: &impl TableScan, scan: Scan) -> Result<Vec<(i32, i64)>, PortError> {
    let batches: Vec<RecordBatch> = archive.scan(TABLE, scan).await?.try_collect().await?;
    let mut places = Vec::new();
    for batch in &batches {
        let column = |name: &str| batch.column_by_name(name).expect("asked for");
        let partitions = column(meta::PARTITION).as_primitive::<Int32Type>();
        let offsets = column(meta::OFFSET).as_primitive::<Int64Type>();
        places.extend(
            partitions
                .values()
                .iter()
                .copied()
                .zip(offsets.values().iter().copied()),
        );
    }
    places.sort_unstable();
    Ok(places)
}

async fn answer(root: &Path) -> Result<Answer, PortError> {
    let archive = open(root, "reader");
    archive.open_table(TABLE, schema()).await?;
    let columns = || Scan::columns([meta::PARTITION, meta::OFFSET]);
    let some = Scan {
        from: up_to(&[(0, 12), (1, 2)]),
        ..columns()
    };
    Ok(Answer {
        some: rows(&archive, some.in_log_order()).await?,
        all: rows(&archive, columns()).await?,
        applied: archive.snapshot(TABLE).await?.applied,
    })
}

/// Flip so many bits of the file, one after the other, at even distances: how many flips were
/// refused, and how many changed nothing.
async fn flip(root: &Path, path: &Path, flips: usize) -> (usize, usize) {
    let right = answer(root).await.expect("nothing has changed yet");
    let good = fs::read(path).expect("there");
    let bits = good.len() * 8;
    // An odd distance meets every bit of a byte.
    let every = (bits / flips) | 1;
    let (mut refused, mut same) = (0, 0);
    for bit in (0..bits).step_by(every) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(path, &bad).expect("written");
        match answer(root).await {
            Ok(found) => {
                let at = String::from_utf8_lossy(&bad[(bit / 8).saturating_sub(40)..]);
                let at: String = at.chars().take(80).collect();
                assert_eq!(found, right, "{}, bit {bit}: {at}", path.display());
                same += 1;
            }
            Err(error) => {
                assert!(!error.message().is_empty());
                refused += 1;
            }
        }
    }
    fs::write(path, good).expect("written");
    (refused, same)
}

fn log(root: &Path, ends: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(root.join(TABLE).join("_delta_log")).expect("a table");
    let paths = found.map(|entry| entry.expect("listed").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(ends))
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn a_flipped_bit_in_an_entry_gives_the_right_rows_and_offsets_or_an_error() {
    let root = tempfile::tempdir().expect("a directory");
    let (_, archive) = ahead(root.path(), "a", 100);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 8).await;
    archive.compact(TABLE, &plenty()).await.expect("compacted");
    append(&archive, 8, 10).await;
    let entries = log(root.path(), ".json");
    assert_eq!(entries.len(), 12);
    // The table's making, an append, the merge, the last append.
    for entry in [0, 1, 9, 11] {
        let (refused, same) = flip(root.path(), &entries[entry], FLIPS).await;
        assert!(refused > 0 && same > 0, "{refused} and {same}");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_checkpoint_or_beside_it_gives_the_right_rows_and_offsets_or_an_error() {
    let root = tempfile::tempdir().expect("a directory");
    let (_, archive) = ahead(root.path(), "a", 10);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 12).await;
    for entry in &log(root.path(), ".json")[..10] {
        fs::remove_file(entry).expect("the checkpoint covers it");
    }
    let checkpoints = log(root.path(), ".checkpoint.parquet");
    let (refused, same) = flip(root.path(), &checkpoints[0], FLIPS).await;
    assert!(refused > 0 && same == 0, "{refused} and {same}");
    for name in ["_last_checkpoint", "_forebay_checkpoint"] {
        flip(root.path(), &log(root.path(), name)[0], FLIPS).await;
    }
}

/// Change the `add` action of an entry, which keeps the checksum that it has.
fn change_add(entry: &Path, change: impl Fn(&mut Value)) {
    change_action(entry, "add", change);
}

/// Take the entry's checksum away, as a build before there was one wrote it.
fn strip_entry(entry: &Path) {
    change_action(entry, "commitInfo", |info| {
        let info = info.as_object_mut().expect("an object");
        info.remove("forebay.crc32c").expect("each of ours has one");
    });
}

fn change_action(entry: &Path, kind: &str, change: impl Fn(&mut Value)) {
    let text = fs::read_to_string(entry).expect("there");
    let lines = text.lines().map(|line| {
        let mut action: Value = serde_json::from_str(line).expect("JSON");
        if let Some(body) = action.get_mut(kind) {
            change(body);
        }
        action.to_string()
    });
    let lines: Vec<String> = lines.collect();
    fs::write(entry, lines.join("\n")).expect("written");
}

/// Say that the file's offsets end before they do.
fn lower_greatest_offset(add: &mut Value) {
    let statistics = add["stats"].as_str().expect("text");
    let mut statistics: Value = serde_json::from_str(statistics).expect("JSON");
    statistics["maxValues"]["_offset"] = 1.into();
    add["stats"] = statistics.to_string().into();
}

#[tokio::test]
async fn facts_that_are_not_those_that_were_committed_are_refused_and_unvouched_ones_leave_out_by_offsets_alone()
 {
    let root = tempfile::tempdir().expect("a directory");
    let (_, archive) = ahead(root.path(), "a", 100);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, 10).await;
    let path = log(root.path(), ".json").pop().expect("an entry");
    let good = fs::read(&path).expect("there");
    change_add(&path, lower_greatest_offset);
    let words = answer(root.path()).await.expect_err("changed").to_string();
    for part in [TABLE, "log entry 10", "backup"] {
        assert!(words.contains(part), "{words}");
    }

    // The entry has no checksum: the file's own is held against what is said of it.
    strip_entry(&path);
    let words = answer(root.path()).await.expect_err("changed").to_string();
    let file = files(root.path(), TABLE).pop().expect("a file");
    let file = file.file_name().expect("a name").to_string_lossy();
    for part in [TABLE, &*file, "backup"] {
        assert!(words.contains(part), "{words}");
    }

    // As a build before there were any of the two wrote it; and then changed.
    fs::write(&path, good).expect("written");
    let right = answer(root.path()).await.expect("as it was written");
    strip_entry(&path);
    change_add(&path, |add| {
        let tags = add["tags"].as_object_mut().expect("each of ours has tags");
        tags.remove("forebay.facts").expect("its facts");
    });
    assert_eq!(answer(root.path()).await.expect("an old table"), right);
    change_add(&path, lower_greatest_offset);
    let found = answer(root.path()).await.expect("an old table");
    assert_eq!(
        found.all, right.all,
        "a scan without bounds leaves nothing out"
    );
    change_add(&path, |add| {
        let statistics = add["stats"].as_str().expect("text");
        let mut statistics: Value = serde_json::from_str(statistics).expect("JSON");
        let greatest = statistics["maxValues"].as_object_mut().expect("columns");
        greatest.retain(|column, _| column == "_partition");
        add["stats"] = statistics.to_string().into();
    });
    assert_eq!(answer(root.path()).await.expect("no bounds"), right);
}
