//! Every call that an append makes to its store fails once, and then it and all that follow for a
//! while, before and after their effect; then the process tries again, or another one starts. Rows
//! lost 0, doubled 0.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::ports::Archive;
use forebay_core::progress::TopicPartition;
use forebay_offline::{ArchiveSettings, DeltaArchive, DurableLocal};
use url::Url;

use crate::faulty::{FaultyStore, When};
use crate::support::{TABLE, TOPIC, batch, by_place, clock, expected, open, range, schema, up_to};

/// Appends of a scenario: partition 0 up to these offsets, each time from the mark less two.
const ENDS: [i64; 3] = [4, 7, 12];

fn faulty(root: &Path, from: u64, calls: u64, when: When) -> (Arc<FaultyStore>, DeltaArchive) {
    let store = Arc::new(FaultyStore::new(
        Arc::new(DurableLocal::new()),
        from,
        calls,
        when,
    ));
    let url = Url::from_directory_path(root.canonicalize().expect("there")).expect("absolute");
    // A checkpoint every second commit, so that its writes fail too.
    let checkpoint_interval = NonZeroU64::new(2).expect("not zero");
    let settings = ArchiveSettings {
        checkpoint_interval,
        ..ArchiveSettings::new("prod", format!("faulty-{from}"))
    };
    let archive =
        DeltaArchive::with_store(url, Arc::<FaultyStore>::clone(&store), settings, clock())
            .expect("opened");
    (store, archive)
}

/// Open and append up to each end as `pipeline` does: from the table's own mark, with an overlap.
async fn feed(archive: &DeltaArchive) -> Result<(), forebay_core::PortError> {
    archive.open_table(TABLE, schema()).await?;
    for end in ENDS {
        let next = archive
            .progress(TABLE)
            .await?
            .next_offset(&TopicPartition::new(TOPIC, 0));
        let from = (next - 2).clamp(0, end);
        archive
            .append(
                TABLE,
                vec![batch(&range(0, from, end))],
                &up_to(&[(0, end), (1, end)]),
            )
            .await?;
    }
    Ok(())
}

/// Calls of the scenario when nothing fails.
async fn calls() -> u64 {
    let root = tempfile::tempdir().expect("a directory");
    let (store, archive) = faulty(root.path(), u64::MAX, 0, When::Before);
    feed(&archive).await.expect("nothing fails");
    store.made()
}

async fn check(root: &Path, what: &str) {
    let archive = open(root, "judge");
    let snapshot = archive.snapshot(TABLE).await.expect("read");
    let end = ENDS[ENDS.len() - 1];
    assert_eq!(by_place(root), expected(&[(0, end)]), "{what}");
    assert_eq!(snapshot.applied, up_to(&[(0, end), (1, end)]), "{what}");
}

#[tokio::test]
async fn a_restart_after_any_failure_stores_each_row_once() {
    let mut failures = 0;
    for call in 0..calls().await {
        for when in [When::Before, When::After] {
            let root = tempfile::tempdir().expect("a directory");
            let (_, archive) = faulty(root.path(), call, u64::MAX, when);
            failures += u64::from(feed(&archive).await.is_err());
            drop(archive);
            let what = format!("dead from call {call}, {when:?}");
            feed(&open(root.path(), "restarted")).await.expect(&what);
            check(root.path(), &what).await;
        }
    }
    assert!(failures > 20, "the faults must be felt: {failures}");
}

#[tokio::test]
async fn trying_again_after_any_single_failure_stores_each_row_once() {
    for call in 0..calls().await {
        for when in [When::Before, When::After] {
            let root = tempfile::tempdir().expect("a directory");
            let (_, archive) = faulty(root.path(), call, 1, when);
            let what = format!("call {call} failed, {when:?}");
            if let Err(error) = feed(&archive).await {
                assert_ne!(
                    error.kind(),
                    ErrorKind::FailedPrecondition,
                    "{what}: fenced by nobody: {error}"
                );
                feed(&archive).await.expect(&what);
            }
            check(root.path(), &what).await;
        }
    }
}

/// How long what does not hang may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_table_whose_opening_hangs_holds_up_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, archive) = faulty(directory.path(), u64::MAX, 0, When::Before);
    let archive = Arc::new(archive);
    store.hold("hanging/");
    let opening = tokio::spawn({
        let archive = Arc::clone(&archive);
        async move { archive.open_table("hanging", schema()).await }
    });
    store.is_held().await;
    let others = async {
        feed(&archive).await.expect("the other table");
        assert_eq!(archive.open_tables(), [TABLE]);
        assert!(archive.damaged().is_empty());
    };
    tokio::time::timeout(PATIENCE, others)
        .await
        .expect("it waits for nobody");
    assert!(!opening.is_finished());
    store.release();
    opening.await.expect("no panic").expect("opened at last");
    assert_eq!(archive.open_tables().len(), 2);
}

/// Whoever begins to read beside an append that was left behind learns what became of it.
#[tokio::test]
async fn a_table_says_how_far_it_is_when_the_append_under_way_has_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, archive) = faulty(directory.path(), u64::MAX, 0, When::Before);
    let archive = Arc::new(archive);
    archive.open_table(TABLE, schema()).await.expect("opened");
    store.hold("_delta_log");
    let appends = Arc::clone(&archive);
    let append = tokio::spawn(async move {
        let rows = vec![batch(&range(0, 0, 4))];
        appends.append(TABLE, rows, &up_to(&[(0, 4)])).await
    });
    store.is_held().await;
    let progress = archive.progress(TABLE);
    let mut progress = std::pin::pin!(progress);
    let early = tokio::time::timeout(Duration::from_millis(100), progress.as_mut()).await;
    assert!(early.is_err(), "nobody knows yet");
    store.release();
    let reached = progress.await.expect("read");
    assert_eq!(reached.next_offset(&TopicPartition::new(TOPIC, 0)), 4);
    append.await.expect("no panic").expect("appended");
}

/// What hangs is left behind: whether it lands afterwards or not, the rows are there once.
#[tokio::test]
async fn an_append_that_is_left_behind_and_one_after_it_lose_and_double_nothing() {
    for (part, lands) in [
        ("part-", false),
        ("_delta_log", false),
        ("_delta_log", true),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, archive) = faulty(directory.path(), u64::MAX, 0, When::Before);
        let archive = Arc::new(archive);
        archive.open_table(TABLE, schema()).await.expect("opened");
        store.hold(part);
        let append = |archive: Arc<DeltaArchive>, end| async move {
            let rows = vec![batch(&range(0, 0, end))];
            archive.append(TABLE, rows, &up_to(&[(0, end)])).await
        };
        let hanging = tokio::spawn(append(Arc::clone(&archive), 4));
        store.is_held().await;
        if lands {
            store.release();
            hanging.await.expect("no panic").expect("appended");
        } else {
            hanging.abort();
            let left = hanging.await.expect_err("left behind");
            assert!(left.is_cancelled());
        }
        let after = tokio::time::timeout(PATIENCE, append(Arc::clone(&archive), 7));
        let fresh = after.await.expect("it waits for nobody").expect("appended");
        assert_eq!(fresh, if lands { 3 } else { 7 }, "{part}");
        assert_eq!(by_place(directory.path()), expected(&[(0, 7)]), "{part}");
    }
}
