//! The checksum of a table's newest checkpoint. Delta-rs writes checkpoints and compares their
//! bytes with nothing, and the entries below one are deleted in time: a flipped bit in it could
//! take a file or an offset away, and nothing would tell. So the checksum is noted beside the
//! checkpoint as soon as it is written, and compared before the log is read from it. A checkpoint
//! that was found without one (of an older build or another writer, or the process died in between)
//! is noted when the table is opened to append: from then on what changes is found.
//!
//! # Layout
//! `_delta_log/_forebay_checkpoint`, a JSON object: `version`; `files`, each with its CRC-32C;
//! `sum`, the CRC-32C of both ([`crate::sums`]), so that a note that has changed is told from a
//! checkpoint that has. Readers of Delta pass over files whose names begin with an underscore.

use std::collections::BTreeMap;

use deltalake::logstore::LogStore;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::blocking::blocking;
use crate::checkpoint::{file_names, read};
use crate::error::OfflineError;
use crate::log_files;
use crate::sums::{checksum_text, sum_of};

/// Its name in the log's directory.
const NAME: &str = "_forebay_checkpoint";

/// What is noted of a checkpoint.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    version: u64,
    files: BTreeMap<String, String>,
    sum: String,
}

impl Note {
    fn new(version: u64, files: BTreeMap<String, String>) -> Self {
        let sum = sum_of(&json!({ "version": version, "files": files }));
        Self {
            version,
            files,
            sum,
        }
    }
}

/// Compare the checkpoint that was noted last with its checksum. One that is not there any more is
/// read by nobody.
pub(crate) async fn check(log: &dyn LogStore, table: &str) -> Result<(), OfflineError> {
    let Some(note) = noted(log, table).await? else {
        return Ok(());
    };
    for (name, expected) in &note.files {
        match sum_of_file(log, table, name).await? {
            Some(sum) if sum != *expected => {
                return Err(OfflineError::damaged(
                    table,
                    format!(
                        "`_delta_log/{name}` has changed since it was written (its CRC-32C is {sum} and was \
                         {expected}); restore it from a backup, or, if another program has written it anew, delete \
                         `_delta_log/{NAME}`"
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Note the newest checkpoint, if it is not noted yet.
pub(crate) async fn note_newest(log: &dyn LogStore, table: &str) -> Result<(), OfflineError> {
    let files = log_files::list(log, table).await?;
    let Some((version, parts)) = log_files::newest_checkpoint(&files, u64::MAX) else {
        return Ok(());
    };
    if noted(log, table)
        .await?
        .is_some_and(|note| note.version == version)
    {
        return Ok(());
    }
    let mut files = BTreeMap::new();
    for name in file_names(version, parts) {
        let Some(sum) = sum_of_file(log, table, &name).await? else {
            return Ok(());
        };
        files.insert(name, sum);
    }
    let note = serde_json::to_vec(&Note::new(version, files)).expect("strings and a number");
    let path = Path::from_iter(["_delta_log", NAME]);
    let put = log.object_store(None).put(&path, note.into()).await;
    put.map(|_| ()).map_err(|source| OfflineError::Store {
        action: "write",
        path: format!("{table}/{path}"),
        source,
    })
}

async fn noted(log: &dyn LogStore, table: &str) -> Result<Option<Note>, OfflineError> {
    let Some(bytes) = read(log, table, NAME).await? else {
        return Ok(None);
    };
    let note = serde_json::from_slice::<Note>(&bytes).ok();
    let whole = |note: &Note| *note == Note::new(note.version, note.files.clone());
    note.filter(whole).map(Some).ok_or_else(|| {
        OfflineError::damaged(
            table,
            format!(
                "`_delta_log/{NAME}` has changed since it was written; delete it, the next start writes it anew"
            ),
        )
    })
}

async fn sum_of_file(
    log: &dyn LogStore,
    table: &str,
    name: &str,
) -> Result<Option<String>, OfflineError> {
    let Some(bytes) = read(log, table, name).await? else {
        return Ok(None);
    };
    let sum = blocking(move || checksum_text(crc32c::crc32c(&bytes))).await;
    sum.map(Some).map_err(|e| OfflineError::lost_task(table, e))
}
