//! What an archive costs does not grow with its history: after upkeep an open and an append take as
//! many calls of the store with few appends behind them as with many, and a scan holds a file and a
//! batch whatever the number of rows. Counted, not timed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::ports::{Archive, Scan, TableScan};
use forebay_offline::{ArchiveSettings, DeltaArchive, DurableLocal};
use futures::TryStreamExt;
use url::Url;

use crate::compact::append;
use crate::faulty::{FaultyStore, When};
use crate::support::{TABLE, batch, files, open, plenty, range, schema, up_to};
use crate::upkeep::{ahead, set};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What was asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    calls: u64,
    bytes: u64,
}

/// A store that counts, and never fails.
fn counting() -> Arc<FaultyStore> {
    let inner = Arc::new(DurableLocal::new());
    Arc::new(FaultyStore::new(inner, u64::MAX, 0, When::Before))
}

fn since(store: &FaultyStore, before: Cost) -> Cost {
    Cost {
        calls: store.made() - before.calls,
        bytes: store.bytes() - before.bytes,
    }
}

fn so_far(store: &FaultyStore) -> Cost {
    since(store, Cost { calls: 0, bytes: 0 })
}

/// The archive below `root` through `store`, ten days later.
fn later(root: &Path, store: &Arc<FaultyStore>) -> DeltaArchive {
    let url = Url::from_directory_path(root.canonicalize().expect("there")).expect("absolute");
    let clock = crate::support::clock();
    set(&clock, 10 * DAY);
    let store = Arc::<FaultyStore>::clone(store);
    let settings = ArchiveSettings::new("prod", "later");
    DeltaArchive::with_store(url, store, settings, clock).expect("opened")
}

/// What it costs to open a table that got so many appends, after upkeep, and to append to it.
async fn cost_after_upkeep(appends: i64) -> (Cost, Cost) {
    let root = tempfile::tempdir().expect("a directory");
    let (clock, archive) = ahead(root.path(), "a", 10);
    archive.open_table(TABLE, schema()).await.expect("opened");
    append(&archive, 0, appends).await;
    assert_eq!(files(root.path(), TABLE).len() as i64, appends);
    while archive
        .compact(TABLE, &plenty())
        .await
        .expect("compacted")
        .is_some()
    {}
    // Commits up to the next checkpoint of the log, as they come anyway.
    append(&archive, appends, appends + 10).await;
    while archive
        .compact(TABLE, &plenty())
        .await
        .expect("compacted")
        .is_some()
    {}
    set(&clock, 10 * DAY);
    archive.sweep(TABLE, DAY).await.expect("swept");
    archive.clean_log(TABLE, DAY).await.expect("cleaned");
    drop(archive);
    let store = counting();
    let archive = later(root.path(), &store);
    archive.open_table(TABLE, schema()).await.expect("opened");
    let opened = so_far(&store);
    append(&archive, appends + 10, appends + 11).await;
    (opened, since(&store, opened))
}

#[tokio::test]
async fn an_open_and_an_append_after_upkeep_cost_the_same_with_few_appends_behind_them_and_many() {
    let few = cost_after_upkeep(20).await;
    let many = cost_after_upkeep(200).await;
    for (few, many) in [(few.0, many.0), (few.1, many.1)] {
        assert!(many.calls <= few.calls + 4, "{few:?} and {many:?}");
        assert!(many.bytes <= few.bytes * 3 / 2, "{few:?} and {many:?}");
    }
}

/// Bytes that a scan in log order has read when its first batch is there, of a table of so many
/// files of 1,000 rows; and the rows of its largest batch.
async fn cost_of_a_first_batch(appends: i64) -> (u64, usize) {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive.open_table(TABLE, schema()).await.expect("opened");
    for number in 0..appends {
        let rows = range(0, number * 1_000, (number + 1) * 1_000);
        let marks = up_to(&[(0, (number + 1) * 1_000)]);
        let appended = archive.append(TABLE, vec![batch(&rows)], &marks).await;
        assert_eq!(appended.expect("appended"), 1_000);
    }
    drop(archive);
    let store = counting();
    let archive = later(root.path(), &store);
    archive.open_table(TABLE, schema()).await.expect("opened");
    let opened = so_far(&store);
    let scan = archive.scan(TABLE, Scan::default().in_log_order()).await;
    let mut rows = scan.expect("there");
    let first = rows.try_next().await.expect("readable").expect("rows");
    let cost = since(&store, opened);
    let rest: Vec<usize> = rows
        .map_ok(|rows| rows.num_rows())
        .try_collect()
        .await
        .expect("readable");
    assert_eq!(
        first.num_rows() + rest.iter().sum::<usize>(),
        appends as usize * 1_000
    );
    let largest = rest.into_iter().max().unwrap_or(0).max(first.num_rows());
    (cost.bytes, largest)
}

#[tokio::test]
async fn a_scan_holds_one_file_and_one_batch_whatever_the_number_of_rows() {
    let few = cost_of_a_first_batch(4).await;
    let many = cost_of_a_first_batch(40).await;
    assert_eq!(few.1, many.1);
    // The log says which files there are, a line for each.
    assert!(many.0 <= few.0 * 3 / 2, "{few:?} and {many:?} bytes");
}
