//! What an error text says is to be done about a table is done, and afterwards the table has all
//! its rows, each once, and takes more.

use std::fs;
use std::path::{Path, PathBuf};

use forebay_core::ErrorKind;
use forebay_core::ports::Archive;
use serde_json::{Map, Value};

use crate::support::{TABLE, batch, by_place, expected, open, range, schema, up_to};

/// A table of seven rows after two appends.
async fn filled(root: &Path) {
    let archive = open(root, "first");
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(root, 0, 4).await;
    append(root, 4, 7).await;
}

async fn append(root: &Path, from: i64, to: i64) {
    let archive = open(root, &format!("append-{from}"));
    archive.open_table(TABLE, schema()).await.expect("opened");
    // From before the mark on, as after a crash.
    let rows = vec![batch(&range(0, (from - 2).max(0), to))];
    let fresh = archive.append(TABLE, rows, &up_to(&[(0, to)])).await;
    assert_eq!(fresh.expect("appended"), (to - from).unsigned_abs());
}

/// The error of a start over the table: of its kind, with these words.
async fn refused(root: &Path, kind: ErrorKind, words: &[&str]) {
    let error = open(root, "refused").open_table(TABLE, schema()).await;
    let error = error.expect_err("the table is not as it should be");
    assert_eq!(error.kind(), kind, "{error}");
    for part in words {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}

/// The table has its seven rows, and three more after an append.
async fn works_again(root: &Path) {
    append(root, 7, 10).await;
    assert_eq!(by_place(root), expected(&[(0, 10)]));
}

/// Entries of the table's log, oldest first.
fn entries(root: &Path) -> Vec<PathBuf> {
    let log = fs::read_dir(root.join(TABLE).join("_delta_log"));
    let entries = log
        .expect("a table")
        .map(|entry| entry.expect("listed").path());
    let mut entries: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    entries.sort();
    entries
}

/// Commit the table's metadata with other properties, as another writer does.
fn configure(root: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let entries = entries(root);
    let texts = entries
        .iter()
        .map(|path| fs::read_to_string(path).expect("readable"));
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let action = |line: &String| serde_json::from_str::<Value>(line).expect("JSON");
    let mut actions = lines.iter().map(action);
    let metadata = actions.rfind(|action| action.get("metaData").is_some());
    let mut metadata = metadata.expect("a table has metadata");
    let properties = metadata["metaData"]["configuration"].as_object_mut();
    change(properties.expect("it has properties"));
    let next = root
        .join(TABLE)
        .join(format!("_delta_log/{:020}.json", entries.len()));
    fs::write(next, format!("{metadata}\n")).expect("committed");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Put the backup in the place of the table's directory, as a whole.
fn restore(root: &Path, backup: &Path) {
    let table = root.join(TABLE);
    fs::remove_dir_all(&table).expect("out of the way");
    copy(backup, &table);
}

#[tokio::test]
async fn a_table_that_would_forget_its_offsets_works_again_when_the_property_is_unset() {
    const RETENTION: &str = "delta.setTransactionRetentionDuration";
    let root = tempfile::tempdir().expect("a directory");
    filled(root.path()).await;
    configure(root.path(), |properties| {
        properties.insert(RETENTION.to_owned(), "interval 7 days".into());
    });
    let words = [RETENTION, "is set", "unset it"];
    refused(root.path(), ErrorKind::FailedPrecondition, &words).await;
    configure(root.path(), |properties| {
        properties.remove(RETENTION).expect("it was set");
    });
    works_again(root.path()).await;
}

#[tokio::test]
async fn a_table_of_a_format_that_no_build_writes_works_again_from_a_backup() {
    let root = tempfile::tempdir().expect("a directory");
    let backup = tempfile::tempdir().expect("a directory");
    filled(root.path()).await;
    copy(&root.path().join(TABLE), backup.path());
    configure(root.path(), |properties| {
        let format = properties.get_mut("forebay.format");
        *format.expect("each table says its format") = "latest".into();
    });
    let words = [
        "`latest`",
        "which no build writes",
        "restore the table's directory from a backup",
    ];
    refused(root.path(), ErrorKind::FailedPrecondition, &words).await;
    restore(root.path(), backup.path());
    works_again(root.path()).await;
}

#[tokio::test]
async fn a_table_that_was_restored_in_parts_works_again_when_it_is_restored_as_a_whole() {
    let root = tempfile::tempdir().expect("a directory");
    let backup = tempfile::tempdir().expect("a directory");
    filled(root.path()).await;
    copy(&root.path().join(TABLE), backup.path());
    // The rows of the second append, and the marks of the first one.
    let newest = entries(root.path()).pop().expect("an entry");
    let text = fs::read_to_string(&newest).expect("readable");
    let older = text.replace("\"version\":7", "\"version\":4");
    assert_ne!(older, text, "the append's mark");
    // As a build before entries had a checksum wrote it (the first word of that name).
    let older = older.replacen("\"forebay.crc32c\":", "\"none\":", 1);
    fs::write(&newest, older).expect("written");
    let words = ["holds offset 6", "read up to 4", "from a backup as a whole"];
    refused(root.path(), ErrorKind::DataLoss, &words).await;
    restore(root.path(), backup.path());
    works_again(root.path()).await;
}

#[tokio::test]
async fn a_table_that_this_build_cannot_use_is_made_anew_from_its_log_in_an_empty_directory() {
    let no_owner = |properties: &mut Map<String, Value>| {
        properties.remove("forebay.deployment").expect("its owner");
    };
    let newer = |properties: &mut Map<String, Value>| {
        *properties.get_mut("forebay.format").expect("its format") = "99".into();
    };
    type Change<'a> = &'a dyn Fn(&mut Map<String, Value>);
    let cases: [(Change<'_>, &[&str]); 2] = [
        (
            &no_owner,
            &["does not say which server", "use an empty data directory"],
        ),
        (
            &newer,
            &["format 99 of a newer build", "use an empty data directory"],
        ),
    ];
    for (change, words) in cases {
        let root = tempfile::tempdir().expect("a directory");
        filled(root.path()).await;
        configure(root.path(), change);
        refused(root.path(), ErrorKind::FailedPrecondition, words).await;
        let empty = tempfile::tempdir().expect("a directory");
        filled(empty.path()).await;
        works_again(empty.path()).await;
    }
}

#[tokio::test]
async fn a_table_of_another_program_is_moved_out_and_made_anew() {
    let root = tempfile::tempdir().expect("a directory");
    let out = tempfile::tempdir().expect("a directory");
    filled(root.path()).await;
    configure(root.path(), |properties| {
        properties.remove("forebay.deployment").expect("its owner");
    });
    let words = [
        "made by another program",
        "move its directory out of the archive",
    ];
    refused(root.path(), ErrorKind::FailedPrecondition, &words).await;
    fs::rename(root.path().join(TABLE), out.path().join(TABLE)).expect("moved");
    filled(root.path()).await;
    works_again(root.path()).await;
}
