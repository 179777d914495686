//! Scrub: every file of a table is compared with the checksum of its commit, one file a call, so
//! that the caller sets the pace. A flipped bit is found before it is needed; what is found is
//! remembered with the table until the file reads well again or leaves it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use object_store::ObjectStoreExt;

use crate::archive::DeltaArchive;
use crate::error::OfflineError;
use crate::facts::{FileFacts, files_of};
use crate::scan::read_checked;
use crate::table::Table;

/// A file whose bytes are not those that were committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to its table.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// One file that a scrub has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// Its bytes.
    pub bytes: u64,
    /// What was found.
    pub damage: Option<Damage>,
}

/// A scrub under way.
#[derive(Debug)]
pub struct Scrub {
    table: Arc<Table>,
    left: VecDeque<FileFacts>,
}

/// How large a table is, and in what state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// Files of its newest version.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are known to be damaged.
    pub damaged: usize,
}

impl DeltaArchive {
    /// Begin to scrub `table` as it is now. The first file is another one at each call: scrubs that
    /// are cut off again and again get everywhere.
    ///
    /// # Errors
    /// Unknown table; the log cannot be read.
    pub async fn begin_scrub(&self, table: &str) -> Result<Scrub, OfflineError> {
        let table = self.table(table).await?;
        let mut left: VecDeque<FileFacts> = self.newest_files(&table).await?.into();
        if let Ok(count @ 1..) = i64::try_from(left.len()) {
            let first = self.clock().now_us().rem_euclid(count);
            left.rotate_left(usize::try_from(first).expect("below the length"));
        }
        Ok(Scrub { table, left })
    }

    /// Read the next file of a scrub; None at its end. Of a file without a checksum (another
    /// writer's) nothing is read but whether it is there.
    ///
    /// # Errors
    /// The log or the store cannot be read. A file that is missing or changed is damage, not an
    /// error.
    pub async fn scrub_next(&self, scrub: &mut Scrub) -> Result<Option<Scrubbed>, OfflineError> {
        let Some(file) = scrub.left.pop_front() else {
            return Ok(None);
        };
        let bytes = if file.checksum.is_some() {
            file.size
        } else {
            0
        };
        let damage = self.examine(&scrub.table, &file).await?;
        Ok(Some(Scrubbed { bytes, damage }))
    }

    /// Scrub all of `table`.
    ///
    /// # Errors
    /// As [`Self::begin_scrub`] and [`Self::scrub_next`].
    pub async fn scrub(&self, table: &str) -> Result<Vec<Damage>, OfflineError> {
        let mut scrub = self.begin_scrub(table).await?;
        let mut damage = Vec::new();
        while let Some(scrubbed) = self.scrub_next(&mut scrub).await? {
            damage.extend(scrubbed.damage);
        }
        Ok(damage)
    }

    /// Files that are known to be damaged, by table; those of sound tables are absent.
    pub fn damaged(&self) -> BTreeMap<String, Vec<String>> {
        let tables = self.tables();
        let damaged = tables
            .iter()
            .map(|table| (table.name.clone(), table.damaged()));
        damaged.filter(|(_, files)| !files.is_empty()).collect()
    }

    /// How large `table` is now.
    ///
    /// # Errors
    /// Unknown table; the log cannot be read.
    pub async fn size(&self, table: &str) -> Result<TableSize, OfflineError> {
        let table = self.table(table).await?;
        let files = self.newest_files(&table).await?;
        Ok(TableSize {
            files: files.len(),
            bytes: files.iter().map(|file| file.size).sum(),
            damaged: table.damaged().len(),
        })
    }

    /// Look whether `file` is what was committed, and remember it.
    pub(crate) async fn examine(
        &self,
        table: &Table,
        file: &FileFacts,
    ) -> Result<Option<Damage>, OfflineError> {
        let store = table.log.0.object_store(None);
        let read = match &file.checksum {
            Some(_) => read_checked(&table.name, store.as_ref(), file)
                .await
                .map(|_| ()),
            None => match store.head(&file.path).await {
                Ok(_) => Ok(()),
                Err(error) => Err(OfflineError::unread(&table.name, &file.path, error)),
            },
        };
        match read {
            Ok(()) => {
                table.note_sound(&file.path);
                Ok(None)
            }
            Err(OfflineError::Damaged { why, .. }) => {
                // Compaction may have replaced it meanwhile, and the sweep deleted it.
                let files = self.newest_files(table).await?;
                if !files.iter().any(|named| named.path == file.path) {
                    return Ok(None);
                }
                table.note_damaged(&file.path);
                Ok(Some(Damage {
                    file: file.path.to_string(),
                    what: why,
                }))
            }
            Err(error) => Err(error),
        }
    }

    async fn newest_files(&self, table: &Table) -> Result<Vec<FileFacts>, OfflineError> {
        let mut current = table.current.lock().await;
        self.refresh(table, &mut current).await?;
        let files = files_of(&table.name, &current.state)?;
        table.keep_damaged(&files);
        Ok(files)
    }
}
