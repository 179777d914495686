//! A world that outlives processes: a log with events and predictions, a store, an archive, and
//! everything published. A [`Process`] is one pipeline over it, with a fate of its own; the next
//! one goes on from what is left.

#![allow(
    clippy::disallowed_methods,
    reason = "tests over threads of the system use this world too"
)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use forebay_control::{WantedTable, source_tables};
use forebay_core::definition::{DeploymentDef, Route};
use forebay_core::memory::Budget;
use forebay_core::ports::{
    Archive, At, CompiledService, CompiledView, FeatureReader, SourceBatch, ViewStates,
};
use forebay_core::prediction::{Role, column};
use forebay_core::progress::TopicPartition;
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::source::SourceDef;
use forebay_core::time::{DAY_US, MINUTE_US, Micros, SECOND_US};
use forebay_core::value::{Value, array_from_values};
use forebay_core::view::Window;
use forebay_core::watermark::MarkRecord;
use forebay_pipeline::archive::{ArchiveReach, DEAD_LETTER_TABLE, FlushRule};
use forebay_pipeline::gaps::Accepted;
use forebay_pipeline::repeats::Repeats;
use forebay_pipeline::settlements::settlement_schema;
use forebay_pipeline::watermark::ArchivedMarks;
use forebay_pipeline::watermark::table::{self, MARKS_TABLE, marks_schema};
use forebay_pipeline::{
    BatchObserver, Deployment, Look, Pipeline, PipelineError, PipelineParts, PipelineSettings,
    PublishedWatermarks, SystemRuntime,
};
use forebay_testkit::{
    FakeClock, FakeScorer, Fate, MemoryArchive, MemoryCheckpoints, MemoryLog, MemoryPublisher,
    MemoryStore, PassingRuntime, PlainService, PlainView, StoreReader, wait_until,
};
use parking_lot::Mutex;

use crate::deployed::{Deployed, Routes};
use crate::drift::{is_refused, said};
use crate::encoding::{JsonEncoder, dead_letter_rows, decode};
use crate::monitored::{LABEL_PARTITIONS, LABELS, LABELS_TOPIC};
use crate::oracle::Oracle;
pub use crate::setup::Setup;
pub use crate::sources::{event, event_source, source};
use crate::sources::{label_source, prediction_source};

/// The source of events.
pub const EVENTS: &str = "events";
/// The source of predictions that come back.
pub const PREDICTIONS: &str = "predictions";
/// Where events lie.
pub const TOPIC: &str = "topic.events";
/// Where predictions go.
pub const PREDICTIONS_TOPIC: &str = "topic.predictions";
/// Where those of shadows go.
pub const SHADOWS_TOPIC: &str = "topic.predictions.shadow";
/// Keys of events; a test may use others.
pub const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// What [`World::views`] number one and two count: a minute back, and everything.
pub const RECENT: u32 = 1;
/// See [`RECENT`].
pub const LIFETIME: u32 = 2;
/// Scores by deployment.
pub const OF_PREDICTIONS: u32 = 3;
/// The argument at which the expression of a view fails: it leaves the row out.
pub const LEFT_OUT: f64 = 13.0;
/// Memory of a process.
pub(crate) const POOL_BYTES: usize = 256 << 10;
/// `WATERMARK FOR ts AS ts - INTERVAL '5' SECOND`.
pub const DELAY_US: Micros = 5 * SECOND_US;
/// First event time.
pub const START_US: Micros = 1_000_000 * SECOND_US;

/// What outlives the processes of one simulation.
#[derive(Debug)]
pub struct World {
    /// How it was built.
    pub setup: Setup,
    /// Events and predictions.
    pub log: MemoryLog,
    /// State.
    pub store: MemoryStore,
    /// What was archived.
    pub archive: MemoryArchive,
    /// What was published.
    pub publisher: MemoryPublisher,
    /// The topic of alarms.
    pub alarms: MemoryPublisher,
    /// Events, then predictions; labels, where a monitor wants them.
    pub sources: Vec<Arc<SourceDef>>,
    /// All views.
    pub views: Vec<Arc<dyn CompiledView>>,
    /// Watermarks, over all processes.
    pub watermarks: Arc<PublishedWatermarks>,
    /// The present: long after all events, unless a test says otherwise.
    pub clock: Arc<FakeClock>,
    /// What observers saw, over all processes: source, place, offset.
    pub observed: Arc<Mutex<Vec<(String, TopicPartition, i64)>>>,
    /// What monitors and the filter of repeats have kept.
    pub checkpoints: MemoryCheckpoints,
    /// How far somebody has set the clock of simulated processes.
    pub clock_stepped_us: Arc<AtomicI64>,
    /// By how much the next events are later than the first ones.
    pub(crate) later_us: AtomicI64,
    /// Whether the next events are such as the reference of the monitor hardly has.
    pub(crate) shifted: AtomicBool,
    /// What the deployment was, by offsets.
    pub deployed: Deployed,
}

/// One run of the pipeline.
#[derive(Debug)]
pub struct Process {
    /// What runs.
    pub pipeline: Pipeline,
    /// What may happen to it.
    pub fate: Arc<Fate>,
}

/// The system's runtime, one for all tests.
///
/// # Panics
/// The system gives no threads.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

impl World {
    /// A world without events.
    pub fn new(setup: Setup) -> Self {
        let log = MemoryLog::new("cluster");
        let (events, predictions) = (
            event_source(EVENTS, TOPIC),
            prediction_source(PREDICTIONS_TOPIC),
        );
        log.create_topic(TOPIC, setup.partitions);
        log.create_topic(PREDICTIONS_TOPIC, 1);
        let range = Window::Range {
            preceding_us: MINUTE_US,
        };
        let views: Vec<Arc<dyn CompiledView>> = vec![
            Arc::new(PlainView::new(RECENT, &events, "k", "x", range).leaving_out(LEFT_OUT)),
            Arc::new(PlainView::new(
                LIFETIME,
                &events,
                "k",
                "x",
                Window::Lifetime,
            )),
            Arc::new(PlainView::new(
                OF_PREDICTIONS,
                &predictions,
                column::ROLE,
                column::SCORE,
                Window::Lifetime,
            )),
        ];
        let fate = Arc::new(Fate::default());
        let (back, decoder) = (log.clone(), Arc::clone(&predictions));
        // Predictions come back on their topic; shadow ones are published and not read again.
        let publisher = MemoryPublisher::new(&fate, move |record| {
            if record.topic == PREDICTIONS_TOPIC {
                back.append(PREDICTIONS_TOPIC, 0, Ok(decode(&decoder, &record.payload)));
            }
        });
        let refusals = setup.refusals;
        let publisher = publisher.refusing(move |record| refusals.words(record));
        let refuses = setup.refuses_alarms;
        let alarms = MemoryPublisher::new(&fate, |_| {}).refusing(move |record| {
            let (end_us, _) = said(record).word;
            (refuses && is_refused(end_us)).then(|| "the topic refuses it".to_owned())
        });
        let mut sources = vec![events, predictions];
        if setup.monitored {
            log.create_topic(LABELS_TOPIC, LABEL_PARTITIONS);
            sources.push(label_source(LABELS, LABELS_TOPIC));
        }
        for source in &mut sources {
            Arc::make_mut(source).idle_timeout_us = setup.idle_timeout_us;
        }
        Self {
            store: MemoryStore::new(setup.shards, 0, &fate),
            archive: MemoryArchive::new(&fate),
            checkpoints: MemoryCheckpoints::default(),
            clock_stepped_us: Arc::default(),
            later_us: AtomicI64::new(0),
            shifted: AtomicBool::new(false),
            deployed: Deployed::new(setup.scored.then(|| Routes::of(&setup))),
            sources,
            watermarks: Arc::default(),
            clock: Arc::new(FakeClock::at(START_US + 365 * DAY_US)),
            observed: Arc::default(),
            publisher,
            alarms,
            views,
            setup,
            log,
        }
    }

    /// A world with `count` events that follow from `seed`: bad records, rows that a view leaves
    /// out, late ones, NULL keys and holes among them.
    pub fn with_events(setup: Setup, count: usize, seed: u64) -> Self {
        let world = Self::new(setup);
        world.append_events(count, seed);
        world
    }

    /// The service that asks for [`RECENT`], or for what the setup says; a model that refuses
    /// events gets their numbers too.
    pub fn service(&self) -> Arc<dyn CompiledService> {
        let asked = self.setup.asks;
        let view = self
            .views
            .iter()
            .find(|view| view.spec().id == asked)
            .expect("a view of the world");
        let service = PlainService::new("service", Arc::clone(view));
        if !self.setup.refusals.of_the_model {
            return Arc::new(service);
        }
        let columns = &self.sources[0].columns;
        let number = columns.iter().find(|column| column.name == "n");
        Arc::new(service.echoing(number.expect("events have it").clone()))
    }

    /// The deployment that scores the events.
    ///
    /// # Panics
    /// A column that it needs is missing.
    pub fn deployment(&self) -> Deployment {
        self.deployment_with(Routes::of(&self.setup))
    }

    /// The same with other routes.
    ///
    /// # Panics
    /// As there.
    pub fn deployment_with(&self, routes: Routes) -> Deployment {
        let arm = |(version, role)| Route {
            version,
            weight: u32::from(role == Role::Live),
            shadow: role == Role::Shadow,
        };
        let routes = routes.versions().map(arm).collect();
        let def = DeploymentDef {
            name: "scorer".to_owned(),
            model: "model".to_owned(),
            source: EVENTS.to_owned(),
            topic: PREDICTIONS_TOPIC.to_owned(),
            carry: vec!["n".to_owned()],
            sticky_by: self
                .setup
                .sticky_by
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            routes,
        };
        Deployment::bind(Arc::new(def), Arc::clone(&self.sources[0]), self.service())
            .expect("its columns are there")
    }

    /// What a process reads features with.
    pub fn reader(&self) -> StoreReader {
        StoreReader::new(Arc::new(self.store.clone()), vec![self.service()])
    }

    /// Count of [`RECENT`] for `key` at `at`; None where it is NULL.
    pub fn count_of(&self, key: &str, at: Micros) -> Option<i64> {
        let (service, request) = (self.service(), request_for(key));
        let answer = self
            .reader()
            .read(service.as_ref(), &request, At::Instant(at))
            .expect("readable");
        match Value::from_array(answer.features.column(0).as_ref(), 0).expect("a count") {
            Value::Int(count) => Some(count),
            _ => None,
        }
    }

    /// What a process under `fate` runs on; `seed` decides in which order it reads.
    ///
    /// # Panics
    /// A table or a view is of another shape than before.
    pub fn parts(&self, fate: &Arc<Fate>, seed: u64) -> PipelineParts {
        let mut tables = self.common_tables();
        tables.extend(source_tables(self.sources.iter()));
        for (table, schema) in tables {
            let opened = self.archive.open_table(&table, schema);
            runtime().block_on(opened).expect("in memory");
        }
        for view in &self.views {
            self.store
                .register_view(Arc::clone(view.spec()))
                .expect("the same view");
        }
        self.bare_parts(fate, seed)
    }

    /// [`World::parts`] over tables and views that the process has opened itself.
    pub(crate) fn bare_parts(&self, fate: &Arc<Fate>, seed: u64) -> PipelineParts {
        let mut repeats = Repeats::default();
        for batch in self.archive.batches(PREDICTIONS) {
            repeats.note(&batch).expect("the columns of predictions");
        }
        if let Ok(archived) = runtime().block_on(self.archive.progress(PREDICTIONS)) {
            repeats.note_archived(&archived);
        }
        PipelineParts {
            log: Box::new(self.log.reader(seed, fate)),
            inspector: Box::new(self.log.inspector()),
            notes: Arc::new(self.store.under(fate)),
            store: Arc::new(self.store.under(fate)),
            archive: Arc::new(self.archive.under(fate)),
            publisher: Arc::new(self.publisher.under(fate)),
            reader: Arc::new(self.reader()),
            scorer: Arc::new(
                FakeScorer::new(fate, self.setup.model_refuses)
                    .panicking(self.setup.model_panics)
                    .lacking(self.setup.model_lacks),
            ),
            encoder: Arc::new(JsonEncoder),
            dead_letter_rows,
            sources: self.sources.clone(),
            unusable: BTreeMap::new(),
            prediction_sources: HashSet::from([PREDICTIONS.to_owned()]),
            repeats,
            marks: self.archived_marks(),
            archived_marks: Arc::new(self.known_marks()),
            views: self.views.clone(),
            deployments: if self.setup.scored {
                vec![self.deployment()]
            } else {
                Vec::new()
            },
            watermarks: Arc::clone(&self.watermarks),
            clock: Arc::<FakeClock>::clone(&self.clock),
            counters: Arc::default(),
            observers: vec![Box::new(Observer(Arc::clone(&self.observed)))],
            runtime: Arc::new(PassingRuntime::over(
                Arc::new(SystemRuntime::new(runtime().handle().clone())),
                &self.clock,
            )),
            // Little enough that ingest waits for the archive now and then.
            memory: Budget::shared(POOL_BYTES),
        }
    }

    /// The tables that no source has, and every one needs.
    pub(crate) fn common_tables(&self) -> Vec<WantedTable> {
        let tables = [
            (DEAD_LETTER_TABLE, self.sources[0].schema()),
            (MARKS_TABLE, marks_schema()),
            (SETTLEMENT_TABLE, settlement_schema()),
        ];
        tables
            .map(|(name, schema)| (name.to_owned(), schema))
            .into()
    }

    /// What is known of them when nothing was kept.
    fn known_marks(&self) -> ArchivedMarks {
        let known = ArchivedMarks::default();
        for rows in self.archive.batches(MARKS_TABLE) {
            known.note(&rows).expect("its own rows");
        }
        known
    }

    /// The decisions about time that the archive has.
    pub fn archived_marks(&self) -> Vec<MarkRecord> {
        let batches = self.archive.batches(MARKS_TABLE);
        let read = |rows| table::read(rows).expect("its own rows");
        batches.iter().flat_map(read).collect()
    }

    /// Settings that make everything happen soon.
    pub fn settings(&self) -> PipelineSettings {
        PipelineSettings {
            epoch_max_rows: self.setup.epoch_max_rows,
            epoch_wait: Duration::from_millis(2),
            flush: FlushRule {
                interval: self.setup.flush,
                max_bytes: 16 << 10,
            },
            history_us: 0,
            writer_threads: self.setup.writer_threads,
            scoring: self.setup.scoring,
        }
    }

    /// Start a process.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&self, fate: Fate, seed: u64) -> Process {
        let fate = Arc::new(fate);
        let pipeline =
            Pipeline::start(self.parts(&fate, seed), self.settings()).expect("it starts");
        Process { pipeline, fate }
    }

    /// Whether all that the log asks for is done, but for the archive's last append and marks.
    pub fn is_done(&self) -> bool {
        self.log.is_read()
            && self.store.unfinished() == (0, 0)
            && (!self.setup.scored || Oracle::of(self).missing(&self.published_ids()).is_empty())
            && self.log.is_read()
    }

    /// What keeps it from being done, in words.
    pub fn lacking(&self) -> Vec<String> {
        let mut lacking = Vec::new();
        if !self.log.is_read() {
            lacking.push("records are unread".to_owned());
        }
        if self.store.unfinished() != (0, 0) {
            lacking.push(format!("unfinished scores {:?}", self.store.unfinished()));
        }
        if self.setup.scored {
            lacking.extend(Oracle::of(self).missing(&self.published_ids()));
        }
        lacking
    }

    /// Run a process until all is done, and stop it.
    pub fn finish(&self, seed: u64) {
        let process = self.start(Fate::default(), seed);
        wait_until("the log is read and all is scored and sent", || {
            self.is_done()
        });
        process.stop().expect("nothing is in the way");
    }

    /// Ids that were published, each once.
    pub fn published_ids(&self) -> BTreeSet<String> {
        self.publisher
            .published()
            .iter()
            .map(|record| id_of(&record.headers))
            .collect()
    }
}

/// A request of a service for the features of `key`.
///
/// # Panics
/// Never: it is one column.
#[must_use]
pub fn request_for(key: &str) -> RecordBatch {
    let keys = [Value::Text(key.into())];
    let array = array_from_values(&DataType::Utf8, keys.iter()).expect("text");
    RecordBatch::try_from_iter([("k", array)]).expect("one column")
}

/// The id in the headers of a prediction.
///
/// # Panics
/// There is none.
pub fn id_of(headers: &[(String, Vec<u8>)]) -> String {
    let id = headers
        .iter()
        .find(|(name, _)| name == "forebay.prediction_id");
    String::from_utf8(id.expect("each prediction carries its id").1.clone()).expect("hex")
}

impl Process {
    /// Accept the gaps of `source`, or of one of its partitions.
    ///
    /// # Errors
    /// There is none, or a store fails.
    ///
    /// # Panics
    /// No answer comes.
    pub fn accept_gaps(
        &self,
        source: &str,
        partition: Option<i32>,
    ) -> Result<Vec<Accepted>, PipelineError> {
        let patience = Duration::from_secs(30);
        let answer = self.pipeline.accept_gaps(source, partition, 77);
        let answered = async move { tokio::time::timeout(patience, answer).await };
        let answered = runtime().block_on(answered);
        answered.expect("in time").expect("an answer")
    }

    /// Stop it.
    ///
    /// # Errors
    /// The first error of any of its threads.
    pub fn stop(self) -> Result<(), PipelineError> {
        runtime().block_on(self.pipeline.stop()).all()
    }
}

struct Observer(Arc<Mutex<Vec<(String, TopicPartition, i64)>>>);

impl BatchObserver for Observer {
    fn observe(&mut self, batch: &SourceBatch, _records: &[MarkRecord], _reach: ArchiveReach) {
        let mut seen = self.0.lock();
        for (row, slot) in batch.origin.partition.iter().enumerate() {
            let place = batch.origin.partitions[*slot as usize].clone();
            seen.push((batch.source.name.clone(), place, batch.origin.offset[row]));
        }
    }

    fn look(&mut self, _look: &Look<'_>) {}
}
