//! Care of a table's directory: files that were written and never committed (a crash in between
//! leaves them; harmless, they only take room) are swept by age, and checksums are compared so that
//! a flipped bit is found before it is served.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};

use crate::archive::DeltaArchive;
use crate::error::OfflineError;
use crate::facts::files_of;
use crate::scan::read_checked;

/// Youngest orphan that may be swept: an append in flight has written its file and not committed
/// yet.
const ORPHAN_MIN_AGE: Duration = Duration::from_secs(3_600);

/// A file whose bytes are not those that were committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to its table.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

impl DeltaArchive {
    /// Delete data files of ours that no version of `table` names and that are older than `age` (at
    /// least an hour). A file that was removed from the table counts as named while its tombstone
    /// is kept. Returns how many were deleted.
    ///
    /// # Errors
    /// Unknown table; the log or the directory cannot be read; a file cannot be deleted.
    pub async fn sweep_orphans(&self, table: &str, age: Duration) -> Result<u64, OfflineError> {
        let table = self.table(table).await?;
        let mut current = table.current.lock().await;
        self.refresh(&table, &mut current).await?;
        let log = &table.log.0;
        let mut named: BTreeSet<String> = current
            .state
            .log_data()
            .iter()
            .map(|f| f.path().into_owned())
            .collect();
        let mut tombstones = current.state.all_tombstones(log.as_ref());
        let failed = |e| OfflineError::delta(&table.name, "read the tombstones of", e);
        while let Some(tombstone) = tombstones.try_next().await.map_err(failed)? {
            named.insert(tombstone.path().into_owned());
        }
        let age_us = i64::try_from(age.max(ORPHAN_MIN_AGE).as_micros()).unwrap_or(i64::MAX);
        let horizon_us = self.clock().now_us().saturating_sub(age_us);
        let store = log.object_store(None);
        let store_failed = |action, path: &Path, source: StoreError| OfflineError::Store {
            action,
            path: format!("{}/{path}", table.name),
            source,
        };
        let listed = store.list_with_delimiter(None).await;
        let listed = listed.map_err(|e| store_failed("list", &Path::default(), e))?;
        let mut swept = 0;
        for object in listed.objects {
            let name = object.location.as_ref();
            let ours = name.starts_with("part-") && name.ends_with(".parquet");
            if !ours || named.contains(name) || object.last_modified.timestamp_micros() > horizon_us
            {
                continue;
            }
            store
                .delete(&object.location)
                .await
                .map_err(|e| store_failed("delete", &object.location, e))?;
            swept += 1;
        }
        Ok(swept)
    }

    /// Compare every file of `table` with the checksum of its commit. Reads the whole table. Files
    /// without a checksum (another writer's) are passed over.
    ///
    /// # Errors
    /// Unknown table; the log or the store cannot be read. A data file that is missing or changed is
    /// damage, not an error.
    pub async fn scrub(&self, table: &str) -> Result<Vec<Damage>, OfflineError> {
        let table = self.table(table).await?;
        let files = {
            let mut current = table.current.lock().await;
            self.refresh(&table, &mut current).await?;
            files_of(&table.name, &current.state)?
        };
        let store = table.log.0.object_store(None);
        let mut damage = Vec::new();
        for file in files {
            match read_checked(&table.name, store.as_ref(), &file).await {
                Ok(_) => {}
                Err(OfflineError::Damaged { why, .. }) => damage.push(Damage {
                    file: file.path.to_string(),
                    what: why,
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(damage)
    }
}
