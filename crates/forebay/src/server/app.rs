//! One server's parts: opened once, shared by listeners, commands and changes of the definitions.
//! [`super::change`] starts, changes and stops what runs on them.
//!
//! Everything here blocks: it runs on the main thread or on threads for blocking work, never on one
//! that serves.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use forebay_control::{AlarmPublisher, Aside, FillHost, Life, Monitors, Phase, Stop, TableLooks};
use forebay_core::memory::Budget;
use forebay_core::ports::{Runtime, StateHealth, StateReader};
use forebay_core::progress::Applied;
use forebay_core::time::{Clock, Micros, PassingClock};
use forebay_engine::Catalog;
use forebay_infer::{LocalScorer, ModelStore, WorkerPool, WorkerRegistry};
use forebay_kafka::{KafkaPublisher, ReaderStats};
use forebay_monitor::MonitorReport;
use forebay_offline::{DeltaArchive, check_name};
use forebay_online::RocksStore;
use forebay_pipeline::{Counters, Pipeline, PipelineStatus, PublishedWatermarks, SystemRuntime};
use forebay_serve::{LogGaps, Readiness, ServiceReader, Watermarks};
use forebay_telemetry::Metrics;
use forebay_training::WitnessedSource;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::broker::BrokerLink;
use super::catalog_file;
use super::common_tables::common_tables;
use super::deployment_name;
use super::descriptors;
use super::plannings::Plannings;
use super::scorer::RoutedScorer;
use super::sink::TopicSink;
use super::state::online_options;
use super::suspended::{Suspended, broken_parts, damaged_views, set_unusable_aside};
use super::takeover::Takeover;
use super::topics::TopicMaker;
use super::verifications::Verifications;
use crate::available::available_bytes;
use crate::settings::Settings;
use crate::settings::memory::Shares;
use crate::steady_clock::SteadyClock;

mod gaps;

/// The condition of [`App::reads`].
pub(super) const SERVING: &str = "serving";
/// The condition of [`App::ingest`].
pub(super) const INGEST: &str = "ingest";
/// How long a flush of the archive may take before the command that asked for it fails.
const FLUSH_MAX: Duration = Duration::from_secs(60);
/// Time between two looks whether ingest runs again.
const FLUSH_POLL: Duration = Duration::from_millis(20);

/// The parts.
pub(crate) struct App {
    /// Settings in force.
    pub(crate) settings: Settings,
    /// What each part of the process may hold in memory.
    pub(crate) shares: Shares,
    /// What all that has no fixed share draws on.
    pub(crate) budget: Arc<Budget>,
    /// Wall clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// The same without its steps, for what lasts: the dates of rows, the present of ingest.
    pub(super) steady_clock: Arc<dyn Clock>,
    /// Runs what is async.
    pub(crate) runtime: Handle,
    /// Where the server is in its life.
    pub(crate) life: Life,
    /// Set when it has to stop.
    pub(crate) stop: Stop,
    /// Whether reads are answered.
    pub(crate) reads: Readiness,
    /// Whether ingest moves.
    pub(crate) ingest: Readiness,
    /// The broker.
    pub(crate) broker: Arc<BrokerLink>,
    /// Connections that each listener takes at once.
    pub(super) connections: usize,
    /// Online state.
    pub(crate) store: Arc<RocksStore>,
    /// Offline archive.
    pub(crate) archive: Arc<DeltaArchive>,
    /// Reads features.
    pub(crate) reader: Arc<ServiceReader>,
    /// The accepted gaps that answers speak of.
    pub(crate) gaps: Arc<LogGaps>,
    /// Takes pushed events.
    pub(crate) sink: Arc<TopicSink>,
    /// Where to record.
    pub(crate) metrics: Arc<Metrics>,
    /// Models of this process.
    pub(crate) models: Arc<ModelStore>,
    /// Who scores.
    pub(crate) scorer: Arc<RoutedScorer>,
    /// Sends predictions, alarms and pushed events.
    pub(super) publisher: Arc<KafkaPublisher>,
    /// Watermarks, over every start of ingest.
    pub(super) marks: Arc<PublishedWatermarks>,
    /// Counters of ingest, over every start of it.
    pub(super) counters: Arc<Counters>,
    /// Counters of the reader, over every start of ingest.
    pub(super) read: Arc<ReaderStats>,
    /// Held for as long as a change of the definitions takes. A stop does not need it.
    pub(super) changing: Mutex<()>,
    /// The change under way, and what one that gave way leaves; locked for moments only.
    pub(super) takeover: Mutex<Takeover>,
    /// What is in force; locked for moments only, never while something is waited for.
    pub(super) running: Mutex<Running>,
    /// Makes the topics that this server writes.
    pub(super) topics: Mutex<Option<TopicMaker>>,
    /// Looks at the archive's tables.
    pub(super) table_looks: TableLooks,
    /// How many verifications may be under way.
    pub(super) verifications: Verifications,
    /// Who plans definitions now.
    pub(super) plannings: Plannings,
}

/// What changes with the definitions.
#[derive(Default)]
pub(super) struct Running {
    pub(super) catalog: Option<Catalog>,
    pub(super) pipeline: Option<Pipeline>,
    /// What the shards had applied when ingest started.
    pub(super) recovered: Applied,
    pub(super) monitors: Arc<Monitors>,
    pub(super) alarms: Option<AlarmPublisher>,
    /// Parts of the definitions that could not be started, each with its reason.
    pub(super) suspended: Vec<Suspended>,
    /// What is read, predictions included.
    pub(super) sources: Vec<WitnessedSource>,
    /// Tables that ingest goes on without, or stands for.
    pub(super) aside: Aside,
}

impl Running {
    /// `catalog`, of which nothing runs yet.
    fn of(catalog: Catalog) -> Self {
        Self {
            catalog: Some(catalog),
            ..Self::default()
        }
    }
}

/// Watermarks of the pipeline, as serving asks for them.
#[derive(Debug)]
struct Marks(Arc<PublishedWatermarks>);

impl Watermarks for Marks {
    fn watermark_us(&self, source: &str) -> Option<Micros> {
        self.0.of(source)
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The definitions that were applied before, with a line that says how many were not bound as they
/// were compiled then.
fn applied(data_dir: &Path) -> Result<Catalog> {
    let catalog = catalog_file::load(data_dir)?;
    let (objects, planned) = (catalog.state().objects.len(), catalog.planned());
    tracing::info!(objects, planned, "took up the applied definitions");
    Ok(catalog)
}

impl App {
    /// Open state, archive and broker. Nothing is read or answered before [`App::begin`].
    ///
    /// # Errors
    /// A directory, a setting, or the catalog of the last run is not usable; the text names it.
    pub(crate) fn open(
        settings: Settings,
        clock: Arc<dyn PassingClock>,
        runtime: Handle,
    ) -> Result<Self> {
        settings.validate()?;
        let shares = Shares::of(&settings, available_bytes())?;
        let data_dir = &settings.server.data_dir;
        claim_directory(data_dir, &settings.server.name)?;
        let catalog = applied(data_dir)?;
        let files = descriptors::shares(descriptors::raise(), settings.state.shards)?;
        let budget = Budget::shared(shares.pool);
        let options = online_options(&settings, &shares, files.shard_files);
        let store = RocksStore::open(&data_dir.join("online"), &options, &budget)?;
        set_unusable_aside(&store, &catalog)?;
        let store = Arc::new(store);
        let steady_clock: Arc<dyn PassingClock> = Arc::new(SteadyClock::over(Arc::clone(&clock)));
        let archive = Arc::new(open_archive(&settings, &steady_clock)?);
        let system: Arc<dyn Runtime> = Arc::new(SystemRuntime::new(runtime.clone()));
        let broker = Arc::new(BrokerLink::open(&settings)?);
        let publishing = broker.watched("publisher");
        let publishing = settings.kafka.producer(publishing, shares.unsent);
        let publisher = Arc::new(KafkaPublisher::new(publishing)?);
        let marks = Arc::new(PublishedWatermarks::default());
        let metrics = Arc::new(Metrics::new()?);
        let models = Arc::new(ModelStore::new());
        let scorer = open_scorer(&settings, &models, &metrics, &runtime)?;
        let online: Arc<dyn StateReader> = Arc::<RocksStore>::clone(&store);
        let shown = Arc::new(Marks(Arc::clone(&marks)));
        let running = Running::of(catalog);
        let stop = Stop::new(Arc::clone(&system));
        Ok(Self {
            sink: Arc::new(TopicSink::new(Arc::clone(&publisher))),
            reader: Arc::new(ServiceReader::new(online, shown, Arc::clone(&budget))),
            gaps: Arc::default(),
            budget,
            shares,
            counters: Arc::default(),
            read: Arc::default(),
            changing: Mutex::default(),
            takeover: Mutex::default(),
            running: Mutex::new(running),
            topics: Mutex::default(),
            table_looks: TableLooks::new(
                Arc::<DeltaArchive>::clone(&archive),
                system,
                stop.clone(),
                common_tables(),
            ),
            life: Life::default(),
            stop,
            verifications: Verifications::default(),
            plannings: Plannings::default(),
            reads: Readiness::waiting_for(&[(SERVING, "the server is starting")]),
            ingest: Readiness::waiting_for(&[(INGEST, "ingest has not started")]),
            archive,
            connections: files.connections,
            settings,
            clock,
            steady_clock,
            runtime,
            broker,
            store,
            metrics,
            models,
            scorer,
            publisher,
            marks,
        })
    }

    /// The definitions in force.
    #[must_use]
    pub(crate) fn catalog(&self) -> Catalog {
        self.running
            .lock()
            .catalog
            .clone()
            .unwrap_or_else(Catalog::empty)
    }

    /// Whether ingest runs: not while definitions change, and not after it has failed.
    #[must_use]
    pub(crate) fn is_ingesting(&self) -> bool {
        self.running
            .lock()
            .pipeline
            .as_ref()
            .is_some_and(Pipeline::is_ingesting)
    }

    /// Counters of ingest, since this process started.
    pub(crate) fn status(&self) -> PipelineStatus {
        self.counters.snapshot()
    }

    /// Watermarks, by source.
    #[must_use]
    pub(crate) fn marks(&self) -> &Arc<PublishedWatermarks> {
        &self.marks
    }

    /// What the monitors know now.
    #[must_use]
    pub(crate) fn reports(&self) -> Vec<MonitorReport> {
        let monitors = Arc::clone(&self.running.lock().monitors);
        monitors.reports()
    }

    /// Reads are answered from now on.
    pub(crate) fn answers(&self) {
        self.reads.met(SERVING);
    }

    /// Parts of the definitions that could not be started.
    #[must_use]
    pub(super) fn suspended(&self) -> Vec<Suspended> {
        self.running.lock().suspended.clone()
    }

    /// Everything that is set aside: parts that could not be started, definitions that this build
    /// does not take, and views whose state is damaged.
    #[must_use]
    pub(crate) fn set_aside(&self) -> Vec<Suspended> {
        let mut parts = self.suspended();
        let catalog = self.catalog();
        parts.extend(broken_parts(&catalog));
        let damages = self.store.set_aside();
        if !damages.is_empty() {
            parts.extend(damaged_views(&catalog, &damages));
        }
        parts
    }

    /// Append to the archive all that was read before this call. While definitions change and
    /// ingest stands, wait until it runs again: what was read is on its way to the archive until
    /// then.
    ///
    /// # Errors
    /// The archive cannot be written, or not in time; the server stops.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut left = FLUSH_MAX;
        let is_paused = || self.running.lock().pipeline.is_none();
        let changes = || matches!(self.life.phase(), Phase::Changing { .. });
        while is_paused() && changes() && !left.is_zero() && self.stop.wait(FLUSH_POLL) {
            left = left.saturating_sub(FLUSH_POLL);
        }
        match self.archiver() {
            Some(archiver) => self.wait_for("a flush of the archive", archiver.flush())?,
            None => Ok(()),
        }
    }

    /// What `work` gives, unless it takes longer than a flush may take or the server stops
    /// meanwhile.
    ///
    /// # Errors
    /// As said; `what` names it.
    pub(super) fn wait_for<T, E>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T>>
    where
        anyhow::Error: From<E>,
    {
        self.runtime.block_on(async {
            tokio::select! {
                outcome = work => Ok(outcome.map_err(anyhow::Error::from)),
                () = tokio::time::sleep(FLUSH_MAX) => bail!(
                    "{what} took longer than {FLUSH_MAX:?}; the log says what it waits for (a full disk?)"
                ),
                () = self.stop.asked() => bail!("the server is stopping; {what} was given up"),
            }
        })
    }
}

fn make_directory(data_dir: &Path) -> Result<()> {
    std::fs::create_dir_all(data_dir).with_context(|| {
        format!(
            "cannot make data directory {}; give another with --data-dir",
            data_dir.display()
        )
    })
}

/// Make the directory where it is missing; it is that of the server `name` from then on.
fn claim_directory(data_dir: &Path, name: &str) -> Result<()> {
    make_directory(data_dir)?;
    // Before the name is claimed: else it could not be corrected.
    check_name("server.name", name)?;
    deployment_name::claim(data_dir, name)
}

fn open_archive(settings: &Settings, clock: &Arc<dyn PassingClock>) -> Result<DeltaArchive> {
    let name = &settings.server.name;
    let owner = format!("{name}-{}-{}", std::process::id(), clock.now_us());
    let archive = settings.archive.of(name, owner);
    Ok(DeltaArchive::open(
        &settings.archive_dir(),
        archive,
        Arc::clone(clock),
    )?)
}

fn open_scorer(
    settings: &Settings,
    models: &Arc<ModelStore>,
    metrics: &Arc<Metrics>,
    runtime: &Handle,
) -> Result<Arc<RoutedScorer>> {
    let registry = Arc::new(WorkerRegistry::new());
    for address in &settings.inference.workers {
        registry.add_static(address)?;
    }
    let pool = WorkerPool::new(registry, runtime.clone(), settings.inference.pool_options());
    pool.record_to(Arc::clone(metrics));
    models.record_to(Arc::clone(metrics));
    let local = LocalScorer::new(Arc::clone(models));
    local.record_to(Arc::clone(metrics));
    let scores_here = settings.inference.local_scoring;
    Ok(RoutedScorer::shared(
        local,
        pool,
        scores_here,
        Arc::clone(metrics),
    ))
}
