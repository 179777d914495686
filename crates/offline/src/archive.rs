//! [`DeltaArchive`]: the archive of one deployment under one root, one Delta table a directory.
//! Knows which tables are open, who this process is and what time it is; the work on a table is in
//! `append`, `table` and `sweep`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with};
use forebay_core::PortResult;
use forebay_core::growth::grown;
use forebay_core::limits::ARCHIVE_CLOCK_GAP_MAX_DAYS;
use forebay_core::ports::{
    Archive, Beginnings, LogIdentity, RowStream, Scan, TableScan, TableSnapshot,
};
use forebay_core::progress::Applied;
use forebay_core::tables::table_name_fault;
use forebay_core::time::{Micros, PassingClock};
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use url::Url;

use crate::dating::{Dating, Reading};
use crate::durable::DurableLocal;
use crate::error::OfflineError;
use crate::schema;
use crate::table::{Table, note_checkpoint};

/// What an archive needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// Name of the deployment: scope of the offsets in the tables. Letters, digits, `_`, `-`, `.`.
    pub deployment: String,
    /// Name of this process, different at every start (a random UUID): whose commits are whose, and
    /// part of file names.
    pub owner: String,
    /// Commits between two checkpoints of a table's log.
    pub checkpoint_interval: NonZeroU64,
    /// How far the clock may be from the newest date in the archive at a start, days: beyond that
    /// nothing is dated by it.
    pub clock_gap_max_days: u32,
}

impl ArchiveSettings {
    /// Settings with a checkpoint each 100 commits.
    #[must_use]
    pub fn new(deployment: impl Into<String>, owner: impl Into<String>) -> Self {
        Self {
            deployment: deployment.into(),
            owner: owner.into(),
            checkpoint_interval: NonZeroU64::new(100).unwrap_or(NonZeroU64::MIN),
            clock_gap_max_days: ARCHIVE_CLOCK_GAP_MAX_DAYS,
        }
    }
}

/// A table that is open, or that somebody opens.
type Opened = Arc<OnceCell<Arc<Table>>>;

/// The Delta archive of one deployment.
pub struct DeltaArchive {
    root: Url,
    store: Arc<dyn ObjectStore>,
    settings: ArchiveSettings,
    clock: Arc<dyn PassingClock>,
    dating: Dating,
    commits: AtomicU64,
    /// Each table is opened once, and none waits for another: one may hang. Locked for moments.
    tables: Mutex<BTreeMap<String, Opened>>,
}

impl fmt::Debug for DeltaArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DeltaArchive({}, {}, {})",
            self.root, self.settings.deployment, self.settings.owner
        )
    }
}

impl DeltaArchive {
    /// The archive in the local directory `root`, which is made when it is missing. What it commits
    /// survives a power cut.
    ///
    /// # Errors
    /// The directory cannot be made; a name that a path cannot have.
    pub fn open(
        root: &FilePath,
        settings: ArchiveSettings,
        clock: Arc<dyn PassingClock>,
    ) -> Result<Self, OfflineError> {
        let failed = |e: std::io::Error| OfflineError::Store {
            action: "make the archive directory",
            path: root.display().to_string(),
            source: object_store::Error::Generic {
                store: "DeltaArchive",
                source: Box::new(e),
            },
        };
        std::fs::create_dir_all(root).map_err(failed)?;
        let directory = root.canonicalize().map_err(failed)?;
        let root = Url::from_directory_path(&directory).map_err(|()| OfflineError::Unfit {
            what: format!("directory `{}`", directory.display()),
            why: "it is no URL; use an absolute path".to_owned(),
        })?;
        Self::with_store(root, Arc::new(DurableLocal::new()), settings, clock)
    }

    /// The archive below `root` in `store`, whose own root is the file system's (`file:///`) or the
    /// bucket's. A store that does not fsync, or that ignores conditional puts, loses what this
    /// crate promises.
    ///
    /// # Errors
    /// A name that a path cannot have.
    pub fn with_store(
        root: Url,
        store: Arc<dyn ObjectStore>,
        settings: ArchiveSettings,
        clock: Arc<dyn PassingClock>,
    ) -> Result<Self, OfflineError> {
        check_name("deployment", &settings.deployment)?;
        check_name("owner", &settings.owner)?;
        Ok(Self {
            root,
            store,
            dating: Dating::within(settings.clock_gap_max_days),
            settings,
            clock,
            commits: AtomicU64::new(0),
            tables: Mutex::default(),
        })
    }

    pub(crate) fn deployment(&self) -> &str {
        &self.settings.deployment
    }

    pub(crate) fn owner(&self) -> &str {
        &self.settings.owner
    }

    pub(crate) fn clock(&self) -> &dyn PassingClock {
        self.clock.as_ref()
    }

    pub(crate) fn dating(&self) -> &Dating {
        &self.dating
    }

    /// Hold the clock against what it said last; whatever goes by age waits while that fails.
    ///
    /// # Errors
    /// The clock is days away from the newest date, or was set while the process ran.
    pub fn hold_clock(&self) -> Result<(), OfflineError> {
        self.held_now().map(drop)
    }

    /// What the clock says, held as [`Self::hold_clock`] does: to delete by.
    pub(crate) fn held_now(&self) -> Result<Micros, OfflineError> {
        let reading = Reading::of(self.clock());
        self.dating.hold(reading)?;
        Ok(reading.now_us)
    }

    /// Name of the next try of a commit: unique, since the owner's is.
    pub(crate) fn next_commit_id(&self) -> String {
        format!(
            "{}-{:08}",
            self.settings.owner,
            self.commits.fetch_add(1, Ordering::Relaxed)
        )
    }

    fn log_store(&self, name: &str) -> Result<LogStoreRef, OfflineError> {
        check_name("table", name)?;
        let location = self
            .root
            .join(&format!("{name}/"))
            .map_err(|e| OfflineError::Unfit {
                what: format!("table `{name}`"),
                why: format!("its directory is no URL: {e}"),
            })?;
        logstore_with(Arc::clone(&self.store), &location, StorageConfig::default())
            .map_err(|e| OfflineError::delta(name, "reach", e))
    }

    /// Open the table anew when it is asked for next.
    pub(crate) fn forget(&self, name: &str) {
        self.tables.lock().remove(name);
    }

    fn opened(&self, name: &str) -> Opened {
        let mut tables = self.tables.lock();
        Arc::clone(tables.entry(name.to_owned()).or_default())
    }

    /// The open table `name`; one that is on disk is opened as it is.
    pub(crate) async fn table(&self, name: &str) -> Result<Arc<Table>, OfflineError> {
        let opened = self.opened(name);
        let table = opened.get_or_try_init(|| self.load(name)).await?;
        Ok(Arc::clone(table))
    }

    async fn load(&self, name: &str) -> Result<Arc<Table>, OfflineError> {
        let log = self.log_store(name)?;
        if !log
            .is_delta_table_location()
            .await
            .map_err(|e| OfflineError::delta(name, "look for", e))?
        {
            return Err(OfflineError::UnknownTable {
                table: name.to_owned(),
            });
        }
        let table = Table::load(name, log, &self.settings.deployment).await?;
        self.dating.note(table.newest_us().await);
        Ok(Arc::new(table))
    }

    /// Names of the tables that are open.
    pub fn open_tables(&self) -> Vec<String> {
        let tables = self.tables().into_iter();
        tables.map(|table| table.name.clone()).collect()
    }

    pub(crate) fn tables(&self) -> Vec<Arc<Table>> {
        let tables = self.tables.lock();
        tables.values().filter_map(|t| t.get().cloned()).collect()
    }

    async fn open_as(&self, name: &str, schema: &SchemaRef) -> Result<(), OfflineError> {
        let log = self.log_store(name)?;
        let wanted = schema::table_schema(name, schema)?;
        let make = || async {
            let (settings, deployment) = (&self.settings, &self.settings.deployment);
            let interval = settings.checkpoint_interval.get();
            Table::create(name, &log, &wanted, deployment, interval).await?;
            let table = Table::load(name, Arc::clone(&log), deployment).await?;
            note_checkpoint(&table).await;
            self.upgrade(&table).await?;
            self.dating.note(table.newest_us().await);
            Ok(Arc::new(table))
        };
        let opened = self.opened(name);
        let table = opened.get_or_try_init(make).await?;
        let differs = |difference| OfflineError::SchemaDiffers {
            table: name.to_owned(),
            difference,
        };
        if let Some(grown) = grown(&table.schema, &wanted).map_err(differs)? {
            self.grow(table, &grown).await?;
            // Whoever holds the table as it was goes on with that.
            self.forget(name);
            self.table(name).await?;
        }
        Ok(())
    }

    async fn progress_of(&self, name: &str) -> Result<Applied, OfflineError> {
        let table = self.table(name).await?;
        let mut current = table.current.lock().await;
        self.refresh(&table, &mut current).await?;
        Ok(current.marks.applied())
    }

    /// Read what is new, and remember a fence without failing for it: reading goes on.
    pub(crate) async fn refresh(
        &self,
        table: &Table,
        current: &mut crate::table::Current,
    ) -> Result<(), OfflineError> {
        let facts = current.refresh(table).await?;
        current.note(crate::marks::outcome_of(&facts, self.owner(), ""));
        Ok(())
    }
}

/// A name of a table, or of the owner of an archive.
///
/// # Errors
/// [`OfflineError::Unfit`], with what a name may be.
pub fn check_name(what: &str, name: &str) -> Result<(), OfflineError> {
    match table_name_fault(name) {
        None => Ok(()),
        Some(why) => Err(OfflineError::Unfit {
            what: format!("{what} `{name}`"),
            why,
        }),
    }
}

#[async_trait]
impl TableScan for DeltaArchive {
    async fn scan(&self, table: &str, scan: Scan) -> PortResult<RowStream> {
        Ok(self.scan_table(table, scan).await?)
    }
}

#[async_trait]
impl Archive for DeltaArchive {
    async fn open_table(&self, name: &str, schema: SchemaRef) -> PortResult<()> {
        Ok(self.open_as(name, &schema).await?)
    }

    async fn begin(
        &self,
        name: &str,
        beginnings: &Beginnings,
        logs: &BTreeMap<String, LogIdentity>,
    ) -> PortResult<()> {
        let table = self.table(name).await?;
        Ok(self.note_beginnings(&table, beginnings, logs).await?)
    }

    async fn progress(&self, name: &str) -> PortResult<Applied> {
        Ok(self.progress_of(name).await?)
    }

    async fn append(
        &self,
        name: &str,
        batches: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64> {
        let table = self.table(name).await?;
        Ok(self.append_rows(&table, &batches, up_to).await?)
    }

    async fn snapshot(&self, name: &str) -> PortResult<TableSnapshot> {
        Ok(self.snapshot_of(name).await?)
    }
}
