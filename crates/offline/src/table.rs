//! One open table: its log store, its schema, and, behind a lock that an append holds, the snapshot
//! and the marks that were read last. Opening makes the table where it is missing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_schema::SchemaRef;
use deltalake::DeltaTableError;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::logstore::{LogStore, LogStoreRef};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::config::TableProperty;
use deltalake::table::state::DeltaTableState;
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::progress::Applied;
use forebay_core::time::{MINUTE_US, Micros};
use object_store::path::Path;
use tokio::sync::Mutex;

use crate::checkpoint_sum;
use crate::error::OfflineError;
use crate::facts::{FileFacts, files_of};
use crate::log_files;
use crate::marks::{CommitFacts, Marks, Outcome, outcome_of};
use crate::schema;

/// Table property that would make Delta forget application ids.
const RETENTION: &str = "delta.setTransactionRetentionDuration";

/// Table property: the deployment (`server.name`) whose offsets the table's marks are.
const DEPLOYMENT: &str = "forebay.deployment";

/// Table property: the version of what this crate writes into a table's log beside what Delta asks.
pub(crate) const FORMAT: &str = "forebay.format";

/// 1: marks and beginnings, without the property. 2: the log that the rows came from, too.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// An open table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) log: LogStoreRefDebug,
    /// All columns, `_ingest_time` too.
    pub(crate) schema: SchemaRef,
    pub(crate) current: Mutex<Current>,
    /// Files whose bytes are not those that were committed, as far as somebody has looked. They are
    /// refused wherever they are read; compaction leaves them alone.
    damaged: parking_lot::Mutex<BTreeSet<Path>>,
    /// Whether rows are dated after the clock, since those before them are.
    dates_ahead: AtomicBool,
    /// Version of its format when it was opened.
    pub(crate) format: u32,
}

impl Table {
    /// The newest `_ingest_time`.
    pub(crate) async fn newest_us(&self) -> Option<Micros> {
        self.current.lock().await.marks.ingest_time_us()
    }

    /// Rows were dated `ahead_us` after the clock. Said once, and once more when it is over.
    pub(crate) fn note_dated(&self, ahead_us: Micros) {
        let ahead = ahead_us > MINUTE_US;
        if self.dates_ahead.swap(ahead, Ordering::Relaxed) == ahead {
            return;
        }
        let table = &self.name;
        if ahead {
            let ahead_s = ahead_us / 1_000_000;
            tracing::warn!(
                table,
                ahead_s,
                "the newest rows are dated after the machine's clock; those that come are dated \
                 right behind them until the clock has passed them"
            );
        } else {
            tracing::info!(table, "rows are dated by the machine's clock again");
        }
    }

    /// Remember that the file at `path` is damaged.
    pub(crate) fn note_damaged(&self, path: &Path) {
        self.damaged.lock().insert(path.clone());
    }

    /// The file at `path` reads well (again).
    pub(crate) fn note_sound(&self, path: &Path) {
        self.damaged.lock().remove(path);
    }

    /// Whether the file at `path` is known to be damaged.
    pub(crate) fn is_damaged(&self, path: &Path) -> bool {
        self.damaged.lock().contains(path)
    }

    /// Forget what is not among `files` any more.
    pub(crate) fn keep_damaged(&self, files: &[FileFacts]) {
        let mut damaged = self.damaged.lock();
        if !damaged.is_empty() {
            damaged.retain(|path| files.iter().any(|file| file.path == *path));
        }
    }

    /// The files that are known to be damaged.
    pub(crate) fn damaged(&self) -> Vec<String> {
        self.damaged.lock().iter().map(Path::to_string).collect()
    }
}

/// What is damaged in a log that Delta cannot load; None where nothing is found.
async fn damage_of_log(name: &str, log: &dyn LogStore, deployment: &str) -> Option<OfflineError> {
    let files = log_files::list(log, name).await.ok()?;
    let newest = files.last()?.version;
    let error = Marks::load(log, deployment, name, newest).await.err()?;
    matches!(error, OfflineError::Damaged { .. }).then_some(error)
}

/// A log store in a struct that has Debug.
#[derive(Clone)]
pub(crate) struct LogStoreRefDebug(pub(crate) LogStoreRef);

impl std::fmt::Debug for LogStoreRefDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogStore({})", self.0.root_url())
    }
}

/// What was read of a table last.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) state: DeltaTableState,
    pub(crate) marks: Marks,
    /// Who took the table over; set once, never cleared.
    pub(crate) fenced_by: Option<String>,
}

impl Table {
    /// Make the table if nothing is at its place. Another process that makes it at the same time is
    /// no error.
    pub(crate) async fn create(
        name: &str,
        log: &LogStoreRef,
        wanted: &SchemaRef,
        deployment: &str,
        checkpoint_interval: u64,
    ) -> Result<(), OfflineError> {
        let exists = || async {
            log.is_delta_table_location()
                .await
                .map_err(|e| OfflineError::delta(name, "look for", e))
        };
        if exists().await? {
            return Ok(());
        }
        let columns: Vec<_> = schema::delta_schema(name, wanted)?
            .fields()
            .cloned()
            .collect();
        let made = CreateBuilder::new()
            .with_log_store(Arc::clone(log))
            .with_table_name(name)
            .with_columns(columns)
            .with_raise_if_key_not_exists(false)
            .with_configuration([
                (DEPLOYMENT, Some(deployment.to_owned())),
                (FORMAT, Some(FORMAT_VERSION.to_string())),
            ])
            .with_configuration_property(
                TableProperty::CheckpointInterval,
                Some(checkpoint_interval.to_string()),
            )
            .with_configuration_property(TableProperty::EnableExpiredLogCleanup, Some("false"))
            .with_configuration_property(
                TableProperty::DataSkippingStatsColumns,
                Some(schema::statistics_columns(wanted)),
            )
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(_) if exists().await? => Ok(()),
            Err(error) => Err(OfflineError::delta(name, "make", error)),
        }
    }

    /// Load the table.
    pub(crate) async fn load(
        name: &str,
        log: LogStoreRef,
        deployment: &str,
    ) -> Result<Self, OfflineError> {
        checkpoint_sum::check(log.as_ref(), name).await?;
        let state = match DeltaTableState::try_new(log.as_ref(), None).await {
            Ok(state) => state,
            // Our own reading names the entry and says what to do.
            Err(error) => {
                return Err(damage_of_log(name, log.as_ref(), deployment)
                    .await
                    .unwrap_or_else(|| OfflineError::delta(name, "load", error)));
            }
        };
        if !state.metadata().partition_columns().is_empty() {
            return Err(OfflineError::unsupported(
                name,
                "it is partitioned; archive tables are not",
            ));
        }
        if state.metadata().configuration().contains_key(RETENTION) {
            return Err(OfflineError::unsupported(
                name,
                format!("{RETENTION} is set, so it would forget offsets; unset it"),
            ));
        }
        let format = check_format(name, state.metadata().configuration().get(FORMAT))?;
        let owner = state.metadata().configuration().get(DEPLOYMENT);
        check_owner(name, owner.map(String::as_str), deployment)?;
        let marks = Marks::load(log.as_ref(), deployment, name, state.version()).await?;
        cross_check(name, &log, &state, &marks).await?;
        check_reach(name, &files_of(name, &state)?, &marks.applied())?;
        let schema = schema::read_schema(&state.snapshot().arrow_schema());
        let current = Mutex::new(Current {
            state,
            marks,
            fenced_by: None,
        });
        Ok(Self {
            name: name.to_owned(),
            log: LogStoreRefDebug(log),
            schema,
            current,
            damaged: parking_lot::Mutex::default(),
            dates_ahead: AtomicBool::new(false),
            format,
        })
    }
}

/// The format of the table; refuse one that a newer build has made, whose log may say what this one
/// would pass over.
fn check_format(name: &str, property: Option<&String>) -> Result<u32, OfflineError> {
    let Some(text) = property else {
        return Ok(1);
    };
    match text.parse() {
        Ok(version) if version > FORMAT_VERSION => Err(OfflineError::unsupported(
            name,
            format!(
                "it has format {version} of a newer build, and this one knows {FORMAT_VERSION} at most; start the newer \
                 build again, or use an empty data directory"
            ),
        )),
        Ok(version) if version > 1 => Ok(version),
        _ => Err(OfflineError::unsupported(
            name,
            format!(
                "its property {FORMAT} is `{text}`, which no build writes; restore the table's directory from a backup"
            ),
        )),
    }
}

/// Marks carry the deployment's name: under another name there would be none, and every record of
/// the log would be appended again.
fn check_owner(name: &str, owner: Option<&str>, deployment: &str) -> Result<(), OfflineError> {
    match owner {
        Some(owner) if owner == deployment => Ok(()),
        Some(owner) => Err(OfflineError::unsupported(
            name,
            format!(
                "it belongs to the server named `{owner}`, and this one is named `{deployment}`; set server.name back \
                 to `{owner}`, or give this server a data directory of its own"
            ),
        )),
        None => Err(OfflineError::unsupported(
            name,
            "it does not say which server it belongs to, so it was made by another program or an older version; move \
             its directory out of the archive, or use an empty data directory",
        )),
    }
}

/// A row at or above its partition's mark would be appended a second time.
fn check_reach(name: &str, files: &[FileFacts], applied: &Applied) -> Result<(), OfflineError> {
    let beyond = files.iter().find_map(|file| {
        let (greatest, end) = file.beyond(applied)?;
        Some((&file.path, greatest, end))
    });
    let Some((path, greatest, end)) = beyond else {
        return Ok(());
    };
    Err(OfflineError::damaged(
        name,
        format!(
            "file {path} holds offset {greatest}, and the offsets of its partitions are marked as read up to {end} \
             only, so its records would be appended again; restore the table's directory from a backup as a whole"
        ),
    ))
}

/// Our reading of the log against delta-rs's: two that differ mean that one of them would lose or
/// double rows.
async fn cross_check(
    name: &str,
    log: &LogStoreRef,
    state: &DeltaTableState,
    marks: &Marks,
) -> Result<(), OfflineError> {
    for (partition, progress) in marks.applied().0 {
        let app_id = marks.app_id(&partition);
        let theirs = state.transaction_version(log.as_ref(), &app_id).await;
        let theirs = theirs.map_err(|e| OfflineError::delta(name, "read the offsets of", e))?;
        if theirs != Some(progress.next_offset) {
            return Err(OfflineError::damaged(
                name,
                format!(
                    "transaction `{app_id}` reads as {} and as {theirs:?}",
                    progress.next_offset
                ),
            ));
        }
    }
    Ok(())
}

impl Current {
    /// Read what is new in the log. Returns what each new entry said.
    pub(crate) async fn refresh(
        &mut self,
        table: &Table,
    ) -> Result<Vec<CommitFacts>, OfflineError> {
        let log = table.log.0.as_ref();
        self.state
            .update(log, None)
            .await
            .map_err(|e| OfflineError::delta(&table.name, "read the log of", e))?;
        self.marks
            .advance(log, &table.name, self.state.version())
            .await
    }

    /// The same before an append by `owner`: an entry by somebody else that moved our marks fences
    /// this process.
    pub(crate) async fn refresh_as(
        &mut self,
        table: &Table,
        owner: &str,
    ) -> Result<(), OfflineError> {
        let facts = self.refresh(table).await?;
        // No commit has an empty name, so this asks about the others only.
        self.note(outcome_of(&facts, owner, ""));
        self.check_fence(table)
    }

    /// Remember a fence.
    pub(crate) fn note(&mut self, outcome: Outcome) {
        if let Outcome::Fenced(by) = outcome {
            self.fenced_by.get_or_insert(by);
        }
    }

    /// Error if another owner took over.
    pub(crate) fn check_fence(&self, table: &Table) -> Result<(), OfflineError> {
        match &self.fenced_by {
            Some(owner) => Err(OfflineError::Fenced {
                table: table.name.clone(),
                owner: owner.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Note the checksum of the table's newest checkpoint. Where that fails the log is as it should be,
/// and the next checkpoint or start tries again.
pub(crate) async fn note_checkpoint(table: &Table) {
    let noted = checkpoint_sum::note_newest(table.log.0.as_ref(), &table.name).await;
    if let Err(error) = noted {
        tracing::warn!(
            table = table.name,
            error = with_causes(&error),
            "the checksum of a checkpoint cannot be noted"
        );
    }
}

/// What an append says that it does.
pub(crate) fn append_operation() -> DeltaOperation {
    DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: None,
        predicate: None,
    }
}

/// One commit on top of `state`.
pub(crate) async fn commit(
    table: &Table,
    state: &DeltaTableState,
    properties: CommitProperties,
    actions: Vec<Action>,
    operation: DeltaOperation,
) -> Result<(), DeltaTableError> {
    let commit = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(state), Arc::clone(&table.log.0), operation)
        .await?;
    invariant!(
        CommitOnTop,
        commit.version() > state.version(),
        "table {}: version {} on top of {}",
        table.name,
        commit.version(),
        state.version()
    );
    if commit.metrics.new_checkpoint_created {
        note_checkpoint(table).await;
    }
    Ok(())
}
