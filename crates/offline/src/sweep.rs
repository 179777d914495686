//! Care of a table's directory: what nobody needs any more is deleted. Data files that were written
//! and never committed (a crash in between leaves them) go by age; files that compaction or another
//! writer has replaced, and entries of the log that a checkpoint covers, go when no reader of a
//! version within the retention needs them. Nothing that the newest version names is ever deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use deltalake::table::state::DeltaTableState;
use forebay_core::invariant;
use forebay_core::time::Micros;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::archive::DeltaArchive;
use crate::checkpoint_sum;
use crate::error::OfflineError;
use crate::log_files;
use crate::marks::Marks;
use crate::table::{Current, Table};

/// Youngest file that may be swept because nothing names it: an append in flight has written its
/// file and not committed yet, and another writer may take its time.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3_600);
/// Files of a log that are deleted at a time, while appends wait.
const LOG_FILES_AT_A_TIME: usize = 1_000;

impl DeltaArchive {
    /// Delete data files of `table` that its newest version does not name and that were replaced
    /// longer than `retention` ago or, where the log does not know them (any more), were written
    /// longer than a day ago. Returns how many were deleted.
    ///
    /// # Errors
    /// Unknown table; a clock that is not believed; the log or the directory cannot be read; a file
    /// cannot be deleted.
    pub async fn sweep(&self, table: &str, retention: Duration) -> Result<u64, OfflineError> {
        let table = self.table(table).await?;
        let now_us = self.held_now()?;
        let store = table.log.0.object_store(None);
        // Listed before the log is read: a file that is committed in between is named, and one that
        // an append has just written is too young.
        let listed = store.list_with_delimiter(None).await;
        let listed = listed.map_err(|source| not_listed(&table, source))?;
        let unnamed: Vec<ObjectMeta> = {
            let mut current = table.current.lock().await;
            self.refresh(&table, &mut current).await?;
            let replaced_us = before(now_us, retention);
            let named = named(&table, &current, replaced_us).await?;
            let is_swept = |file: &ObjectMeta| {
                let name = file.location.as_ref();
                let is_data = name.starts_with("part-") && name.ends_with(".parquet");
                is_data && !named.contains(name)
            };
            listed.objects.into_iter().filter(is_swept).collect()
        };
        let orphan_us = before(now_us, ORPHAN_AGE);
        let mut swept = 0;
        for file in unnamed {
            if file.last_modified.timestamp_micros() < orphan_us {
                delete(&table, store.as_ref(), &file.location).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Delete `table` if nothing was ever committed to it: it was made for definitions that never
    /// came into force, and would stand in the way of a table of its name with other columns.
    /// Returns whether it is gone. Nobody may append to it meanwhile.
    ///
    /// # Errors
    /// It cannot be read; a file cannot be deleted.
    pub async fn remove_unused(&self, table: &str) -> Result<bool, OfflineError> {
        let table = match self.table(table).await {
            Ok(table) => table,
            Err(OfflineError::UnknownTable { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut current = table.current.lock().await;
        self.refresh(&table, &mut current).await?;
        let files = current.state.log_data().iter().count();
        if current.state.version() > 0 || files > 0 || !current.marks.applied().0.is_empty() {
            return Ok(false);
        }
        let store = table.log.0.object_store(None);
        let listed: Result<Vec<ObjectMeta>, _> = store.list(None).try_collect().await;
        let listed = listed.map_err(|source| not_listed(&table, source))?;
        for file in listed {
            delete(&table, store.as_ref(), &file.location).await?;
        }
        self.forget(&table.name);
        Ok(true)
    }

    /// Delete entries and checkpoints of the log of `table` that no version needs which was the
    /// newest one within `retention`. Without it each checkpoint, which names every file, stays,
    /// and the log grows with the square of its age. Returns how many were deleted, a thousand at
    /// most.
    ///
    /// # Errors
    /// Unknown table; a clock that is not believed; the log cannot be read; a file cannot be
    /// deleted.
    pub async fn clean_log(&self, table: &str, retention: Duration) -> Result<u64, OfflineError> {
        let table = self.table(table).await?;
        let cutoff_us = before(self.held_now()?, retention);
        let log = table.log.0.as_ref();
        // Appends wait: what they have read of the log names files that go now.
        let mut current = table.current.lock().await;
        self.refresh(&table, &mut current).await?;
        let files = log_files::list(log, &table.name).await?;
        let covered = log_files::covered(&files, cutoff_us);
        let store = log.object_store(None);
        let mut deleted = 0;
        // Oldest first: cut off anywhere, what is left is a whole end of the log.
        for file in covered.into_iter().take(LOG_FILES_AT_A_TIME) {
            delete(&table, store.as_ref(), &file.path()).await?;
            deleted += 1;
        }
        if deleted > 0 {
            let before = current.state.version();
            checkpoint_sum::check(log, &table.name).await?;
            let state = DeltaTableState::try_new(log, None)
                .await
                .map_err(|e| OfflineError::delta(&table.name, "load", e))?;
            // Only to hold what was read just now against its checksums: it may have changed since
            // it was read first.
            Marks::load(log, self.deployment(), &table.name, state.version()).await?;
            current.state = state;
            invariant!(
                VersionNeverFalls,
                current.state.version() >= before,
                "table {}: {before} to {} by the loss of {deleted} files of its log",
                table.name,
                current.state.version()
            );
            self.refresh(&table, &mut current).await?;
        }
        Ok(deleted)
    }
}

/// The time `age` before `now_us`; an age that reaches beyond 1970 means that nothing is so old.
fn before(now_us: Micros, age: Duration) -> Micros {
    let since_1970 = Duration::from_micros(now_us.max(0).unsigned_abs());
    let at = since_1970.saturating_sub(age);
    i64::try_from(at.as_micros()).expect("no later than now, which is an i64")
}

/// Files that the newest version names, and those that were replaced at `replaced_us` or later.
async fn named(
    table: &Table,
    current: &Current,
    replaced_us: Micros,
) -> Result<BTreeSet<String>, OfflineError> {
    let log = table.log.0.as_ref();
    let files = current.state.log_data();
    let mut named: BTreeSet<String> = files.iter().map(|f| f.path().into_owned()).collect();
    // What is not named here is deleted: a path that stood for two files would lose one.
    invariant!(
        PartsMakeTheWhole,
        named.len() == files.iter().count(),
        "table {}: {} paths of {} files",
        table.name,
        named.len(),
        files.iter().count()
    );
    let mut tombstones = current.state.all_tombstones(log);
    let failed = |e| OfflineError::delta(&table.name, "read the tombstones of", e);
    while let Some(tombstone) = tombstones.try_next().await.map_err(failed)? {
        // Without a time nobody knows how long ago that was.
        let at_ms = tombstone.deletion_timestamp();
        if at_ms.is_none_or(|at_ms| at_ms.saturating_mul(1_000) >= replaced_us) {
            named.insert(tombstone.path().into_owned());
        }
    }
    Ok(named)
}

fn not_listed(table: &Table, source: object_store::Error) -> OfflineError {
    OfflineError::Store {
        action: "list",
        path: table.name.clone(),
        source,
    }
}

async fn delete(table: &Table, store: &dyn ObjectStore, path: &Path) -> Result<(), OfflineError> {
    store
        .delete(path)
        .await
        .map_err(|source| OfflineError::Store {
            action: "delete",
            path: format!("{}/{path}", table.name),
            source,
        })
}
