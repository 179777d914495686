//! The application transactions of a table's newest checkpoint: the `txn` column of its Parquet
//! files, found through `_last_checkpoint`, or by listing where that is missing or names one beyond
//! the wanted version (the log below a checkpoint may be gone, so none must be missed). Our tables
//! have classic checkpoints of one or more parts; another kind is refused by name, since guessing
//! would mean to forget offsets.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatchReader, StructArray};
use deltalake::logstore::LogStore;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};
use serde::Deserialize;

use crate::error::OfflineError;
use crate::log_files;
use crate::parquet_file::{self, Types};

/// `_delta_log/_last_checkpoint`, what we need of it.
#[derive(Debug, Deserialize)]
struct Hint {
    version: u64,
    parts: Option<u32>,
}

/// The transactions that a checkpoint holds.
#[derive(Debug)]
pub(crate) struct CheckpointTransactions {
    /// Version of the checkpoint.
    pub(crate) version: u64,
    /// Application id and version, each id once.
    pub(crate) transactions: Vec<(String, i64)>,
}

/// The newest checkpoint at or below `version`; None where there is none.
pub(crate) async fn newest(
    log: &dyn LogStore,
    table: &str,
    version: u64,
) -> Result<Option<CheckpointTransactions>, OfflineError> {
    let hint = match read(log, table, "_last_checkpoint").await? {
        Some(hint) => Some(serde_json::from_slice::<Hint>(&hint).map_err(|e| {
            OfflineError::damaged(
                table,
                format!("`_last_checkpoint` is not what Delta writes ({e}); delete it"),
            )
        })?),
        None => None,
    };
    let hint = match hint.filter(|hint| hint.version <= version) {
        Some(hint) => hint,
        None => {
            let files = log_files::list(log, table).await?;
            match log_files::newest_checkpoint(&files, version) {
                Some((version, parts)) => Hint { version, parts },
                None => return Ok(None),
            }
        }
    };
    let mut transactions = Vec::new();
    for name in file_names(hint.version, hint.parts) {
        let bytes = read(log, table, &name).await?.ok_or_else(|| {
            OfflineError::unsupported(
                table,
                format!(
                    "its checkpoint {} is not a classic one ({name} is missing)",
                    hint.version
                ),
            )
        })?;
        transactions.extend(transactions_of(table, bytes)?);
    }
    Ok(Some(CheckpointTransactions {
        version: hint.version,
        transactions,
    }))
}

/// The files of a classic checkpoint.
pub(crate) fn file_names(version: u64, parts: Option<u32>) -> Vec<String> {
    match parts {
        None => vec![format!("{version:020}.checkpoint.parquet")],
        Some(parts) => (1..=parts)
            .map(|part| format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"))
            .collect(),
    }
}

/// The file `name` of the log; None where it is not there.
pub(crate) async fn read(
    log: &dyn LogStore,
    table: &str,
    name: &str,
) -> Result<Option<bytes::Bytes>, OfflineError> {
    let path = Path::from_iter(["_delta_log", name]);
    let failed = |source| OfflineError::Store {
        action: "read",
        path: format!("{table}/{path}"),
        source,
    };
    match log.object_store(None).get(&path).await {
        Ok(found) => found.bytes().await.map(Some).map_err(failed),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn transactions_of(table: &str, bytes: bytes::Bytes) -> Result<Vec<(String, i64)>, OfflineError> {
    let refused = |source| OfflineError::Encode {
        table: table.to_owned(),
        source,
    };
    let damaged = || {
        OfflineError::damaged(
            table,
            "its checkpoint's txn column is not what Delta writes",
        )
    };
    let reader = parquet_file::open(bytes, Types::Plain, |name| name == "txn").map_err(refused)?;
    if RecordBatchReader::schema(&reader).fields().is_empty() {
        return Ok(Vec::new());
    }
    let mut transactions = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| refused(e.into()))?;
        let rows: &StructArray = batch.column(0).as_struct_opt().ok_or_else(damaged)?;
        let ids = rows
            .column_by_name("appId")
            .and_then(|c| c.as_string_opt::<i32>())
            .ok_or_else(damaged)?;
        let versions = rows
            .column_by_name("version")
            .and_then(|c| c.as_primitive_opt::<Int64Type>())
            .ok_or_else(damaged)?;
        for row in (0..rows.len()).filter(|row| rows.is_valid(*row) && ids.is_valid(*row)) {
            transactions.push((ids.value(row).to_owned(), versions.value(row)));
        }
    }
    Ok(transactions)
}
