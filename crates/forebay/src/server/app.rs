//! One server's parts, and the order in which they start, change and stop. Everything here blocks:
//! it runs on the main thread or on threads for blocking work, never on one that serves.
//!
//! Start: state and archive open, the definitions of the last run are compiled, ingest recovers.
//! Apply: the new definitions are bound first; then ingest stops, new views are filled from the
//! archive up to the same offsets, the catalog is saved, and ingest goes on. Stop: listeners drain
//! before this, then ingest finishes what it read, then the state closes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use forebay_core::PortResult;
use forebay_core::ports::{Archive, CompiledView, OnlineStore};
use forebay_core::progress::Applied;
use forebay_core::time::{Clock, Micros};
use forebay_core::view::ViewId;
use forebay_engine::{Catalog, CatalogPlan, Change, ChangeAction, DefinitionFile};
use forebay_infer::{LocalScorer, ModelStore, PoolOptions, WorkerPool, WorkerRegistry};
use forebay_kafka::{KafkaLog, KafkaPublisher, ProducerSettings, ReaderSettings, encode_rows};
use forebay_monitor::MonitorReport;
use forebay_offline::{ArchiveSettings, DeltaArchive, dead_letter_batch, dead_letter_schema};
use forebay_online::{OnlineOptions, RocksStore};
use forebay_pipeline::archive::{DEAD_LETTER_TABLE, FlushRule};
use forebay_pipeline::backfill::backfill;
use forebay_pipeline::prediction::RecordEncoder;
use forebay_pipeline::{
    Counters, Pipeline, PipelineParts, PipelineSettings, PipelineStatus, PublishedWatermarks,
};
use forebay_serve::{ServiceReader, Watermarks};
use forebay_telemetry::Metrics;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::alarms::{AlarmPublisher, PublishedAlarms};
use super::archived::read_files;
use super::broker::BrokerLink;
use super::catalog_file;
use super::monitoring::{MonitorObserver, Monitors};
use super::scorer::RoutedScorer;
use super::sink::TopicSink;
use super::wiring::{Models, Wiring};
use crate::settings::Settings;

/// How long an apply waits for the archive to reach what the shards have applied.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// Time between two looks.
const CATCH_UP_POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct App {
    /// Settings in force.
    pub(crate) settings: Settings,
    /// The present.
    pub(crate) clock: Arc<dyn Clock>,
    /// Runs what is async.
    pub(crate) runtime: Handle,
    /// The broker.
    pub(crate) broker: Arc<BrokerLink>,
    /// State.
    pub(crate) store: Arc<RocksStore>,
    /// Delta.
    pub(crate) archive: Arc<DeltaArchive>,
    /// Reads features.
    pub(crate) reader: Arc<ServiceReader>,
    /// Takes pushed events.
    pub(crate) sink: Arc<TopicSink>,
    /// Where to record.
    pub(crate) metrics: Arc<Metrics>,
    /// Models of this process.
    pub(crate) models: Arc<ModelStore>,
    /// Who scores.
    pub(crate) scorer: Arc<RoutedScorer>,
    publisher: Arc<KafkaPublisher>,
    marks: Arc<PublishedWatermarks>,
    /// Of ingest, over every start of it.
    counters: Arc<Counters>,
    /// Held by whoever changes the definitions or stops ingest, for as long as that takes.
    changing: Mutex<()>,
    /// What is in force; locked for moments only, never while something is waited for.
    running: Mutex<Running>,
}

/// What changes with the definitions.
#[derive(Default)]
struct Running {
    catalog: Option<Catalog>,
    pipeline: Option<Pipeline>,
    /// What the shards had applied when it started.
    recovered: Applied,
    monitors: Arc<Monitors>,
    alarms: Option<AlarmPublisher>,
}

/// Watermarks of the pipeline, as serving asks for them.
#[derive(Debug)]
struct Marks(Arc<PublishedWatermarks>);

impl Watermarks for Marks {
    fn watermark_us(&self, source: &str) -> Option<Micros> {
        self.0.of(source)
    }
}

/// Predictions as JSON, by the encoder whose inverse reads them.
#[derive(Debug)]
struct JsonEncoder;

impl RecordEncoder for JsonEncoder {
    fn encode(&self, rows: &arrow_array::RecordBatch) -> PortResult<Vec<Vec<u8>>> {
        Ok(encode_rows(rows)?)
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Open state, archive and broker, and go on with the definitions of the last run.
    ///
    /// # Errors
    /// A directory, the broker, or a definition of the last run is not usable; the text names it.
    pub(crate) fn start(
        settings: Settings,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Result<Self> {
        settings.validate()?;
        let data_dir = &settings.server.data_dir;
        std::fs::create_dir_all(data_dir).with_context(|| {
            format!(
                "cannot make data directory {}; give another with --data-dir",
                data_dir.display()
            )
        })?;
        let catalog = catalog_file::load(data_dir)?;
        let store = Arc::new(RocksStore::open(
            &data_dir.join("online"),
            &online_options(&settings),
        )?);
        let owner = format!(
            "{}-{}-{}",
            settings.server.name,
            std::process::id(),
            clock.now_us()
        );
        let archive_settings = ArchiveSettings::new(settings.server.name.clone(), owner);
        let archive = DeltaArchive::open(
            &data_dir.join("offline"),
            archive_settings,
            Arc::clone(&clock),
        )?;
        let broker = Arc::new(BrokerLink::open(&settings)?);
        let publisher = Arc::new(KafkaPublisher::new(ProducerSettings::new(broker.client()))?);
        let marks = Arc::new(PublishedWatermarks::default());
        let metrics = Arc::new(Metrics::new()?);
        let models = Arc::new(ModelStore::new());
        let scorer = open_scorer(&settings, &models, &metrics, &runtime)?;
        let online: Arc<dyn OnlineStore> = Arc::<RocksStore>::clone(&store);
        let reader = Arc::new(ServiceReader::new(
            online,
            Arc::new(Marks(Arc::clone(&marks))),
        ));
        let app = Self {
            sink: Arc::new(TopicSink::new(Arc::clone(&publisher))),
            counters: Arc::default(),
            changing: Mutex::default(),
            running: Mutex::default(),
            archive: Arc::new(archive),
            settings,
            clock,
            runtime,
            broker,
            store,
            reader,
            metrics,
            models,
            scorer,
            publisher,
            marks,
        };
        let wiring = app.bind(&catalog)?;
        app.prepare(&wiring)?;
        app.resume(catalog, wiring)?;
        Ok(app)
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
    #[must_use]
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

    /// Append to Delta all that was read before this call.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub(crate) fn flush(&self) -> Result<()> {
        let archiver = self
            .running
            .lock()
            .pipeline
            .as_ref()
            .map(Pipeline::archiver);
        if let Some(archiver) = archiver {
            self.runtime.block_on(archiver.flush())?;
        }
        Ok(())
    }

    /// What applying `files` would change.
    ///
    /// # Errors
    /// A definition is wrong.
    pub(crate) fn plan(&self, files: &[DefinitionFile]) -> Result<Vec<Change>> {
        let planned = self.catalog().plan(files)?;
        self.bind(&planned.catalog)?;
        Ok(planned.changes)
    }

    /// Apply `files`. What can be refused is refused while ingest still runs; what fails after that
    /// brings back the definitions before.
    ///
    /// # Errors
    /// A definition is wrong or a store fails: the definitions before stay in force, and ingest
    /// goes on with them.
    pub(crate) fn apply(&self, files: &[DefinitionFile]) -> Result<Vec<Change>> {
        let _changing = self.changing.lock();
        let current = self.catalog();
        let planned = current.plan(files)?;
        let unchanged = planned
            .changes
            .iter()
            .all(|c| c.action == ChangeAction::Unchanged);
        if unchanged && self.is_ingesting() {
            return Ok(planned.changes);
        }
        let wiring = self.bind(&planned.catalog)?;
        self.prepare(&wiring)?;
        let added = new_views(&current, &planned);
        self.catch_up(&planned.catalog, &added)?;
        if let Err(error) = self.change(&planned.catalog, wiring, &added) {
            catalog_file::save(&self.settings.server.data_dir, &current)?;
            self.resume(current.clone(), self.bind(&current)?)?;
            return Err(
                error.context("nothing was applied; ingest goes on with the definitions before")
            );
        }
        let kept: HashSet<ViewId> = planned
            .catalog
            .views()
            .values()
            .map(|v| v.spec().id)
            .collect();
        for view in current
            .views()
            .values()
            .filter(|v| !kept.contains(&v.spec().id))
        {
            self.store.drop_view(view.spec().id)?;
        }
        Ok(planned.changes)
    }

    /// From the definitions in force to `next`.
    fn change(
        &self,
        next: &Catalog,
        wiring: Wiring,
        added: &[Arc<dyn CompiledView>],
    ) -> Result<()> {
        self.pause()?;
        self.fill(next, added)?;
        catalog_file::save(&self.settings.server.data_dir, next)?;
        self.resume(next.clone(), wiring)
    }

    /// Stop ingest: finish what was read.
    ///
    /// # Errors
    /// The first error of any of its threads.
    pub(crate) fn stop(&self) -> Result<()> {
        let _changing = self.changing.lock();
        self.pause()
    }

    fn bind(&self, catalog: &Catalog) -> Result<Wiring> {
        let root = &self.settings.server.model_root;
        Wiring::of(
            catalog,
            Models {
                store: &self.models,
                pool: self.scorer.pool(),
                root,
            },
        )
    }

    fn pause(&self) -> Result<()> {
        let (pipeline, alarms, monitors) = {
            let mut running = self.running.lock();
            let monitors = Arc::clone(&running.monitors);
            (running.pipeline.take(), running.alarms.take(), monitors)
        };
        let Some(pipeline) = pipeline else {
            return Ok(());
        };
        let stopped = self.runtime.block_on(pipeline.stop());
        monitors.save();
        alarms.map_or(Ok(()), AlarmPublisher::finish)?;
        Ok(stopped?)
    }

    /// Make the topics and tables that are missing. A table of another shape is refused here.
    fn prepare(&self, wiring: &Wiring) -> Result<()> {
        let kafka = &self.settings.kafka;
        let topics = wiring.topics.iter().map(String::as_str);
        self.broker
            .ensure_topics(topics, kafka.partitions, kafka.create_topics)?;
        self.runtime.block_on(self.open_tables(wiring))
    }

    /// Register views, rebuild what lives in memory, and start ingest.
    fn resume(&self, catalog: Catalog, wiring: Wiring) -> Result<()> {
        let views: Vec<Arc<dyn CompiledView>> = catalog.views().values().cloned().collect();
        for view in &views {
            self.store.register_view(Arc::clone(view.spec()))?;
        }
        let monitors = Arc::new(self.begin_monitors(&wiring)?);
        let repeats = self.catch_up_monitors(&wiring, &monitors)?;
        let past = monitors.announced();
        let announced = PublishedAlarms::open(&self.settings.server.data_dir);
        let (observer, raised) =
            MonitorObserver::new(Arc::clone(&monitors), Arc::clone(&self.marks));
        let log = Box::new(KafkaLog::new(ReaderSettings::new(self.broker.client()))?);
        let parts = PipelineParts {
            log,
            store: Arc::<RocksStore>::clone(&self.store),
            archive: Arc::<DeltaArchive>::clone(&self.archive),
            publisher: Arc::<KafkaPublisher>::clone(&self.publisher),
            reader: Arc::<ServiceReader>::clone(&self.reader),
            scorer: Arc::<RoutedScorer>::clone(&self.scorer),
            encoder: Arc::new(JsonEncoder),
            dead_letter_rows: dead_letter_batch,
            sources: wiring.sources,
            prediction_sources: wiring.prediction_sources,
            repeats,
            views,
            deployments: wiring.deployments,
            watermarks: Arc::clone(&self.marks),
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.counters),
            observers: vec![Box::new(observer)],
            runtime: self.runtime.clone(),
        };
        self.reader
            .replace_services(catalog.services().values().cloned().collect());
        self.sink.replace_sources(catalog.sources().clone());
        let recovered = self.applied();
        let pipeline = Pipeline::start(parts, pipeline_settings(&self.settings))?;
        // Only now is it sure that the broker is the one that this state belongs to.
        let alarms = AlarmPublisher::start(
            past,
            raised,
            Arc::<KafkaPublisher>::clone(&self.publisher),
            announced,
        );
        let mut running = self.running.lock();
        *running = Running {
            catalog: Some(catalog),
            pipeline: Some(pipeline),
            recovered,
            monitors,
            alarms: None,
        };
        running.alarms = Some(alarms?);
        Ok(())
    }

    async fn open_tables(&self, wiring: &Wiring) -> Result<()> {
        for source in &wiring.sources {
            self.archive
                .open_table(&source.name, source.archive_schema())
                .await?;
        }
        self.archive
            .open_table(DEAD_LETTER_TABLE, dead_letter_schema())
            .await?;
        Ok(())
    }

    /// Wait until the archive covers what the shards had applied of the sources of `views`: a crash
    /// leaves it behind them, and it can fill a view only when it is not. (A clean stop archives
    /// all that was read.)
    fn catch_up(&self, next: &Catalog, views: &[Arc<dyn CompiledView>]) -> Result<()> {
        let (archiver, recovered, current) = {
            let running = self.running.lock();
            (
                running.pipeline.as_ref().map(Pipeline::archiver),
                running.recovered.clone(),
                running.catalog.clone(),
            )
        };
        let deadline = Instant::now() + CATCH_UP_MAX;
        for source in views
            .iter()
            .filter_map(|view| next.sources().get(&view.spec().source))
        {
            let read_now = current
                .as_ref()
                .is_some_and(|c| c.sources().contains_key(&source.name));
            let applied = if read_now {
                recovered.clone()
            } else {
                self.applied()
            };
            let needed: Vec<_> = applied
                .0
                .iter()
                .filter(|(p, _)| *p.topic == *source.topic)
                .collect();
            loop {
                if let Some(archiver) = archiver.as_ref().filter(|_| read_now) {
                    self.runtime.block_on(archiver.flush())?;
                }
                let archived = self.runtime.block_on(self.archive.progress(&source.name))?;
                if needed.iter().all(|(partition, reached)| {
                    archived.next_offset(partition) >= reached.next_offset
                }) {
                    break;
                }
                if !read_now {
                    bail!(
                        "topic {} was read before by a source of another name, and the archive of {} lacks those events; \
                         give the source its old name, or use an empty data directory",
                        source.topic,
                        source.name
                    );
                }
                if Instant::now() > deadline {
                    bail!(
                        "the archive of source {} did not reach the state within {CATCH_UP_MAX:?}; apply again when \
                         ingest has caught up",
                        source.name
                    );
                }
                std::thread::sleep(CATCH_UP_POLL);
            }
        }
        Ok(())
    }

    /// The furthest that any shard is, by partition.
    pub(super) fn applied(&self) -> Applied {
        let mut reached = Applied::default();
        for shard in 0..self.store.shards() {
            for (partition, progress) in &self.store.applied(shard).0 {
                reached.advance(partition, *progress);
            }
        }
        reached
    }

    /// Fill views that are new from the archive, up to what the shards have applied.
    fn fill(&self, next: &Catalog, views: &[Arc<dyn CompiledView>]) -> Result<()> {
        for view in views {
            let spec = view.spec();
            // What an apply that crashed half-way left behind.
            self.store.drop_view(spec.id)?;
            self.store.register_view(Arc::clone(spec))?;
            let Some(source) = next.sources().get(&spec.source) else {
                continue;
            };
            let files = self
                .runtime
                .block_on(self.archive.snapshot(&source.name))?
                .files;
            let rows = read_files(files).collect::<Result<Vec<_>>>()?;
            let done = backfill(view.as_ref(), source, &rows, self.store.as_ref(), |done| {
                tracing::debug!(view = spec.name, rows = done, "filling");
            })?;
            if done > 0 {
                tracing::info!(
                    view = spec.name,
                    version = spec.version,
                    rows = done,
                    "filled from the archive"
                );
            }
        }
        Ok(())
    }
}

/// The views of the planned catalog that the current one does not have.
fn new_views(current: &Catalog, planned: &CatalogPlan) -> Vec<Arc<dyn CompiledView>> {
    let known: HashSet<ViewId> = current.views().values().map(|v| v.spec().id).collect();
    planned
        .catalog
        .views()
        .values()
        .filter(|v| !known.contains(&v.spec().id))
        .cloned()
        .collect()
}

fn online_options(settings: &Settings) -> OnlineOptions {
    OnlineOptions {
        shards: settings.state.shards,
        history_us: settings.history_us(),
        cache_bytes: settings.state.cache_mib << 20,
        write_buffer_bytes: settings.state.write_buffer_mib << 20,
        ..OnlineOptions::default()
    }
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
    let pool = WorkerPool::new(registry, runtime.clone(), PoolOptions::default());
    pool.record_to(Arc::clone(metrics));
    models.record_to(Arc::clone(metrics));
    let local = LocalScorer::new(Arc::clone(models));
    local.record_to(Arc::clone(metrics));
    Ok(RoutedScorer::shared(local, pool))
}

fn pipeline_settings(settings: &Settings) -> PipelineSettings {
    PipelineSettings {
        epoch_max_rows: settings.ingest.epoch_max_rows,
        epoch_wait: settings.epoch_wait(),
        flush: FlushRule {
            interval: Duration::from_millis(settings.ingest.archive_flush_ms),
            max_bytes: settings.ingest.archive_flush_mib << 20,
        },
        history_us: settings.history_us(),
        writer_threads: settings.ingest.writer_threads,
    }
}
