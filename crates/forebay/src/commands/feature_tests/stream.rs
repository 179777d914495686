//! The path of the stream, into an online store on disk: events are admitted, cut by shard and
//! committed as ingest does it, and features are read as the server reads them. A crash drops the
//! store where it stands, after some of the shards have an epoch and others not, and the events of
//! that epoch come again, as they do from a log.
//!
//! One store takes the events of all tests, whose views and topics have names of their own: to open
//! a store costs more than a test.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_array::RecordBatch;
use forebay_core::fault::RowFault;
use forebay_core::memory::Budget;
use forebay_core::ports::{
    At, CompiledService, CompiledView, EpochWriter as _, FeatureAnswer, FeatureReader as _,
    ShardWrite, SourceBatch, StateReader, ViewStates as _,
};
use forebay_core::progress::PartitionProgress;
use forebay_core::time::{DAY_US, Micros};
use forebay_online::{OPEN_FILES_MIN, OnlineOptions, RocksStore};
use forebay_pipeline::step::{Epoch, Step};
use forebay_serve::{ServiceReader, Watermarks};
use tempfile::TempDir;

/// Shards of a store: enough that keys part and that a crash can fall between them.
pub(super) const SHARDS: u16 = 2;
/// Rows are kept this long beyond what the windows need: nothing expires in a test.
const HISTORY_US: Micros = 365_000 * DAY_US;
/// Each of a store's caches, bytes.
const CACHE_BYTES: usize = 16 << 20;
/// Where Linux keeps files in memory. What is asked of the disk is that a store can be opened anew,
/// not that it outlives the machine.
const MEMORY_FOLDER: &str = "/dev/shm";

/// A row that a view leaves out: which view, which batch, and why.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) view: String,
    /// Number of the batch among those that were admitted together.
    pub(super) batch: usize,
    pub(super) fault: RowFault,
}

/// Fold `batches` of one test, whose views are `views`, into `epoch`. Returns the rows that views
/// leave out.
///
/// # Errors
/// A view fails.
pub(super) fn admit(
    views: &[Arc<dyn CompiledView>],
    batches: Vec<SourceBatch>,
    epoch: &mut Epoch,
) -> Result<Vec<LeftOut>> {
    let mut step = Step {
        views: views.to_vec(),
        deployments: Vec::new(),
        history_us: HISTORY_US,
        failed: BTreeSet::new(),
    };
    let mut left_out = Vec::new();
    for (number, batch) in batches.into_iter().enumerate() {
        let admitted = step.admit(batch)?;
        if let Some((_, why)) = admitted.failed.first() {
            bail!("a view fails on these events: {why}");
        }
        step.run(&admitted, |_, _| None, epoch)?;
        for (view, piece) in &admitted.folds {
            let faults = piece.iter().flat_map(|piece| &piece.left_out);
            left_out.extend(faults.map(|fault| LeftOut {
                view: view.spec().name.clone(),
                batch: number,
                fault: fault.clone(),
            }));
        }
    }
    Ok(left_out)
}

/// An epoch of no event.
pub(super) fn empty_epoch() -> Epoch {
    Epoch::new(SHARDS)
}

/// A store.
#[derive(Debug)]
pub(super) struct Stream {
    views: Vec<Arc<dyn CompiledView>>,
    budget: Arc<Budget>,
    store: Arc<RocksStore>,
    folder: TempDir,
}

impl Stream {
    /// An empty store for `views`.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn open(views: Vec<Arc<dyn CompiledView>>, budget: &Arc<Budget>) -> Result<Self> {
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("forebay-test-");
        let folder = match folder.tempdir_in(Path::new(MEMORY_FOLDER)) {
            Ok(folder) => folder,
            Err(_) => folder
                .tempdir()
                .context("cannot make a temporary folder for a store")?,
        };
        Ok(Self {
            store: opened(&folder, &views, budget)?,
            views,
            budget: Arc::clone(budget),
            folder,
        })
    }

    /// Commit `epoch` to all shards.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn commit(&self, epoch: Epoch) -> Result<()> {
        self.write(&with_progress(epoch))
    }

    /// Commit `epoch` to the first of so many `shards`, lose the process, open the store anew, and
    /// commit all of it again.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn crash(self, epoch: Epoch, shards: u16) -> Result<Self> {
        let writes = with_progress(epoch);
        self.write(&writes[..usize::from(shards)])?;
        let Self {
            views,
            budget,
            store,
            folder,
        } = self;
        // A directory has one owner: the old one lets go before the new one comes.
        drop(store);
        let opened = Self {
            store: opened(&folder, &views, &budget)?,
            views,
            budget,
            folder,
        };
        opened.write(&writes)?;
        Ok(opened)
    }

    fn write(&self, writes: &[ShardWrite]) -> Result<()> {
        for (shard, write) in (0..).zip(writes) {
            self.store.commit(shard, write)?;
        }
        Ok(())
    }

    /// What `service` answers to `request` as of `at_us`.
    ///
    /// # Errors
    /// As a read of the server.
    pub(super) fn read(
        &self,
        service: &Arc<dyn CompiledService>,
        request: &RecordBatch,
        at_us: Micros,
    ) -> Result<FeatureAnswer> {
        let store = Arc::clone(&self.store) as Arc<dyn StateReader>;
        let reader = ServiceReader::new(store, Arc::new(NoWatermarks), Arc::clone(&self.budget));
        reader.replace_services(vec![Arc::clone(service)]);
        Ok(reader.read(service.as_ref(), request, At::Instant(at_us))?)
    }
}

/// What each shard writes of `epoch`, its end with it.
fn with_progress(mut epoch: Epoch) -> Vec<ShardWrite> {
    let ends = epoch.ends.iter().map(|(place, next_offset)| {
        let progress = PartitionProgress {
            next_offset: *next_offset,
            ..PartitionProgress::default()
        };
        (place.clone(), progress)
    });
    let ends: Vec<_> = ends.collect();
    for write in &mut epoch.writes {
        write.progress.clone_from(&ends);
    }
    epoch.writes
}

/// The store in `folder`, with `views`.
fn opened(
    folder: &TempDir,
    views: &[Arc<dyn CompiledView>],
    budget: &Arc<Budget>,
) -> Result<Arc<RocksStore>> {
    let options = OnlineOptions {
        shards: SHARDS,
        history_us: HISTORY_US,
        table_bytes: CACHE_BYTES,
        cache_bytes: CACHE_BYTES,
        write_buffer_bytes: CACHE_BYTES,
        open_files_max: NonZeroU16::new(OPEN_FILES_MIN),
        ..OnlineOptions::default()
    };
    let store = RocksStore::open(folder.path(), &options, budget)?;
    for view in views {
        store.register_view(Arc::clone(view.spec()))?;
    }
    Ok(Arc::new(store))
}

/// Time does not pass in a test.
#[derive(Debug)]
struct NoWatermarks;

impl Watermarks for NoWatermarks {
    fn watermark_us(&self, _source: &str) -> Option<Micros> {
        None
    }
}
