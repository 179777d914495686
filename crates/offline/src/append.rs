//! Exactly-once append (the scheme: read the marks, drop what they cover, write the file, commit
//! file and marks together, and after any failure read the log again before deciding). Kafka's
//! offsets are the only memory: a process that dies anywhere here leaves at most a file that no
//! table names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{Action, Add, MetadataExt as _, StructField, Transaction};
use deltalake::protocol::DeltaOperation;
use deltalake::table::config::TableProperty;
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::ports::{Beginnings, LogIdentity};
use forebay_core::progress::Applied;
use forebay_core::time::Micros;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions};
use serde_json::Value;

use crate::archive::DeltaArchive;
use crate::blocking::blocking;
use crate::dating::{Reading, ingest_time};
use crate::error::OfflineError;
use crate::file::DataFile;
use crate::marks::{Outcome, commit_info, outcome_of};
use crate::rows;
use crate::schema;
use crate::sums::{ENTRY_SUM, sum_of_commit};
use crate::table::{Current, FORMAT, FORMAT_VERSION, Table, append_operation, commit};

/// Commits of unrelated writers that one append steps aside for before it gives up.
const TRIES: u32 = 5;

/// What one append is about to commit.
struct Prepared {
    /// `forebay.commit`: names this try in the log.
    id: String,
    add: Option<Add>,
    transactions: Vec<Transaction>,
    rows: u64,
}

impl DeltaArchive {
    /// Append `batches` and move the marks to `up_to`; returns the number of rows that were new.
    pub(crate) async fn append_rows(
        &self,
        table: &Table,
        batches: &[RecordBatch],
        up_to: &Applied,
    ) -> Result<u64, OfflineError> {
        let rows = rows::align(&table.name, &table.schema, batches, up_to)?;
        let mut current = table.current.lock().await;
        current.check_fence(table)?;
        let mut tries = 0;
        loop {
            current.refresh_as(table, self.owner()).await?;
            let Some(prepared) = self.prepare(table, &current, &rows, up_to).await? else {
                return Ok(0);
            };
            let actions: Vec<Action> = prepared.add.into_iter().map(Action::Add).collect();
            let properties = self.properties(&actions, prepared.transactions, &prepared.id);
            let Err(error) = commit(
                table,
                &current.state,
                properties,
                actions,
                append_operation(),
            )
            .await
            else {
                read_back(table, &mut current, up_to, &prepared.id).await;
                return Ok(prepared.rows);
            };
            let facts =
                current
                    .refresh(table)
                    .await
                    .map_err(|source| OfflineError::MaybeWritten {
                        table: table.name.clone(),
                        source: Box::new(source),
                    })?;
            match outcome_of(&facts, self.owner(), &prepared.id) {
                Outcome::Landed => {
                    invariant!(
                        AppendCovered,
                        current.marks.moves(up_to).is_empty(),
                        "table {} after commit {}",
                        table.name,
                        prepared.id
                    );
                    return Ok(prepared.rows);
                }
                fenced @ Outcome::Fenced(_) => {
                    current.note(fenced);
                    current.check_fence(table)?;
                }
                Outcome::Absent => {
                    tries += 1;
                    if tries == TRIES || facts.is_empty() {
                        return Err(OfflineError::delta(&table.name, "append to", error));
                    }
                    tracing::info!(
                        table = table.name,
                        error = with_causes(&error),
                        "another writer was first; the append starts again"
                    );
                }
            }
        }
    }

    /// Note where the table begins and whose records it takes. A try that fails leaves nothing
    /// behind and is made again at the next start.
    pub(crate) async fn note_beginnings(
        &self,
        table: &Table,
        beginnings: &Beginnings,
        logs: &BTreeMap<String, LogIdentity>,
    ) -> Result<(), OfflineError> {
        let mut current = table.current.lock().await;
        current.refresh_as(table, self.owner()).await?;
        let mut notes = current.marks.notes(beginnings);
        notes.extend(current.marks.log_notes(logs));
        if notes.is_empty() {
            return Ok(());
        }
        let now_ms = self.clock().now_us().div_euclid(1_000);
        let transactions = notes
            .into_iter()
            .map(|(id, at)| Transaction::new_with_last_update(id, at, Some(now_ms)));
        let properties = self.properties(&[], transactions.collect(), &self.next_commit_id());
        commit(
            table,
            &current.state,
            properties,
            Vec::new(),
            append_operation(),
        )
        .await
        .map_err(|e| OfflineError::delta(&table.name, "note the beginning of", e))?;
        current.refresh(table).await.map(|_| ())
    }

    /// Give a table of an older format the newest one: what is new in it is written from now on.
    pub(crate) async fn upgrade(&self, table: &Table) -> Result<(), OfflineError> {
        if table.format == FORMAT_VERSION {
            return Ok(());
        }
        let failed = |e: DeltaTableError| OfflineError::delta(&table.name, "upgrade", e);
        let mut current = table.current.lock().await;
        let version = FORMAT_VERSION.to_string();
        let metadata = current.state.metadata().clone();
        let metadata = metadata.add_config_key(FORMAT.to_owned(), version.clone());
        let operation = DeltaOperation::SetTableProperties {
            properties: HashMap::from([(FORMAT.to_owned(), version)]),
        };
        let actions = vec![Action::Metadata(metadata.map_err(|e| failed(e.into()))?)];
        let properties = self.properties(&actions, Vec::new(), &self.next_commit_id());
        commit(table, &current.state, properties, actions, operation)
            .await
            .map_err(failed)?;
        current.refresh(table).await?;
        let (table, from) = (&table.name, table.format);
        tracing::info!(table, from, to = FORMAT_VERSION, "a table was upgraded");
        Ok(())
    }

    /// Give the table the columns of `schema`, which are its own and new ones.
    pub(crate) async fn grow(&self, table: &Table, schema: &SchemaRef) -> Result<(), OfflineError> {
        let failed = |e: DeltaTableError| OfflineError::delta(&table.name, "add columns to", e);
        let mut current = table.current.lock().await;
        current.refresh_as(table, self.owner()).await?;
        let columns = schema::delta_schema(&table.name, schema)?;
        let metadata = current.state.metadata().clone();
        let statistics = TableProperty::DataSkippingStatsColumns.as_ref().to_owned();
        let metadata = metadata
            .with_schema(&columns)
            .and_then(|m| m.add_config_key(statistics, schema::statistics_columns(schema)));
        let metadata = metadata.map_err(|e| failed(e.into()))?;
        let is_new = |f: &&StructField| table.schema.column_with_name(f.name()).is_none();
        let fields: Vec<StructField> = columns.fields().filter(is_new).cloned().collect();
        let added: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        let actions = vec![Action::Metadata(metadata)];
        let properties = self.properties(&actions, Vec::new(), &self.next_commit_id());
        let operation = DeltaOperation::AddColumn { fields };
        commit(table, &current.state, properties, actions, operation)
            .await
            .map_err(failed)?;
        current.refresh(table).await?;
        invariant!(
            ColumnsAgree,
            current.state.schema().fields().count() == schema.fields().len(),
            "the table {} has other columns than it was given",
            table.name
        );
        let (table, added) = (&table.name, added.join(", "));
        tracing::info!(table, added, "a table follows its source's columns");
        Ok(())
    }

    /// Properties of one of our commits, which does `actions` and `transactions`.
    pub(crate) fn properties(
        &self,
        actions: &[Action],
        transactions: Vec<Transaction>,
        id: &str,
    ) -> CommitProperties {
        let sum = sum_of_commit(self.owner(), id, actions, &transactions);
        CommitProperties::default()
            .with_application_transactions(transactions)
            .with_cleanup_expired_logs(Some(false))
            .with_metadata([
                (commit_info::OWNER.to_owned(), Value::from(self.owner())),
                (commit_info::COMMIT.to_owned(), Value::from(id)),
                (ENTRY_SUM.to_owned(), Value::from(sum)),
            ])
    }

    /// Drop what the marks cover, write the rest. None when there is nothing to commit.
    async fn prepare(
        &self,
        table: &Table,
        current: &Current,
        rows: &RecordBatch,
        up_to: &Applied,
    ) -> Result<Option<Prepared>, OfflineError> {
        let fresh = rows::above(&table.name, rows, &current.marks)?;
        let moves = current.marks.moves(up_to);
        // Rows above a mark lie below `up_to`, which then moves the mark.
        invariant!(
            RowsMoveMarks,
            !moves.is_empty() || fresh.num_rows() == 0,
            "table {}: {} rows",
            table.name,
            fresh.num_rows()
        );
        if moves.is_empty() {
            return Ok(None);
        }
        let reading = Reading::of(self.clock());
        let now_us = reading.now_us;
        let now_ms = now_us.div_euclid(1_000);
        let transaction = |app_id: &str, version: i64| {
            Transaction::new_with_last_update(app_id, version, Some(now_ms))
        };
        let mut transactions: Vec<Transaction> = moves
            .iter()
            .flat_map(|(partition, progress)| current.marks.transactions(partition, progress))
            .map(|(app_id, version)| transaction(&app_id, version))
            .collect();
        let id = self.next_commit_id();
        let mut add = None;
        if fresh.num_rows() > 0 {
            self.dating().date(reading)?;
            let last_us = current.marks.ingest_time_us();
            let ingest_time_us = ingest_time(now_us, last_us);
            invariant!(
                IngestTimeAscends,
                last_us.is_none_or(|last| last < ingest_time_us),
                "table {}: {last_us:?} to {ingest_time_us}",
                table.name
            );
            table.note_dated(ingest_time_us.saturating_sub(now_us));
            transactions.push(transaction(
                current.marks.ingest_time_app_id(),
                ingest_time_us,
            ));
            let name = format!("part-{id}.zstd.parquet");
            let file = self.encode(table, &fresh, ingest_time_us).await?;
            put_new(table, &name, &file).await?;
            add = Some(file.add(&name, now_ms));
        }
        Ok(Some(Prepared {
            id,
            add,
            transactions,
            rows: fresh.num_rows() as u64,
        }))
    }

    async fn encode(
        &self,
        table: &Table,
        fresh: &RecordBatch,
        ingest_time_us: Micros,
    ) -> Result<DataFile, OfflineError> {
        let full = rows::with_ingest_time(&table.name, fresh, &table.schema, ingest_time_us)?;
        let rows = rows::in_log_order(&table.name, &full)?;
        let failed = |source| OfflineError::Encode {
            table: table.name.clone(),
            source,
        };
        // Compressing a flush takes up to a second: not on the threads that others wait for.
        blocking(move || DataFile::encode(&rows))
            .await
            .map_err(|e| OfflineError::lost_task(&table.name, e))?
            .map_err(failed)
    }
}

/// Take in what was committed: it is in the log. If reading it back fails, the next append reads
/// it.
async fn read_back(table: &Table, current: &mut Current, up_to: &Applied, id: &str) {
    match current.refresh(table).await {
        Ok(_) => invariant!(
            AppendCovered,
            current.marks.moves(up_to).is_empty(),
            "table {} after commit {id}",
            table.name
        ),
        Err(error) => {
            tracing::warn!(table = %table.name, %error, "the log cannot be read after a commit");
        }
    }
}

pub(crate) async fn put_new(
    table: &Table,
    name: &str,
    file: &DataFile,
) -> Result<(), OfflineError> {
    let store: Arc<dyn ObjectStore> = table.log.0.object_store(None);
    let options = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    store
        .put_opts(&Path::from(name), file.bytes.clone().into(), options)
        .await
        .map(|_| ())
        .map_err(|source| OfflineError::Store {
            action: "write",
            path: format!("{}/{name}", table.name),
            source,
        })
}
