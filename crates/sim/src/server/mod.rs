//! One process of the server: `control` changes its definitions, over the stores of a world and
//! under faults. It does to them, step by step, what the binary does to RocksDB, Delta and Kafka.
//!
//! What it does for each step is in [`steps`], how ingest that has ended comes back in
//! [`recovery`].
//!
//! What it runs with are the world's sources and views and its [`Definitions`]; what is saved of
//! these is a [`Disk`], which outlives the process.

mod recovery;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use forebay_control::{
    AlarmPublisher, ApplyFacts, Around, Aside, BeginError, Beginning, Begun, ChangeFailed, Course,
    FillHost, Life, MonitorObserver, Monitors, Outcome, Stop, TableLooks, alarm_queue, begin,
    change_scopes, execute, furthest, plan_apply, take_over,
};
use forebay_core::memory::Budget;
use forebay_core::ports::{Archive, Checkpoints, Publisher, Runtime};
use forebay_core::progress::Applied;
use forebay_core::time::{Clock, MINUTE_US};
use forebay_core::view::ViewId;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_monitor::MonitorReport;
use forebay_pipeline::runtime::block_on;
use forebay_pipeline::{
    Pipeline, PipelineError, PipelineParts, PipelineSettings, PublishedWatermarks, Stopped,
};
use forebay_testkit::{FakeScorer, Fate, MemoryArchive, MemoryCheckpoints, Random};
use parking_lot::Mutex;

use crate::definitions::{Definitions, Disk, extra};
use crate::faults::{Faults, Part, REFUSED};
use crate::faulty::{
    FaultyArchive, FaultyCheckpoints, FaultyInspector, FaultyLog, FaultyPublisher, FaultyReader,
    FaultyScorer, FaultyStore,
};
use crate::monitored;
use crate::refusals::RefusingModel;
use crate::runtime::{SimClock, SimRuntime};
use crate::world::{POOL_BYTES, PREDICTIONS, START_US, TOPIC, World};
pub use recovery::Met;
use recovery::Recovered;
pub use steps::Change;

/// Rows that a fill may leave for the time in which ingest stands: as few as the worlds are small.
pub const REST_MAX_ROWS: u64 = 16;
/// Virtual time in which a process must have stopped.
const STOP_MAX: Duration = Duration::from_secs(60);
/// Virtual time for which a change waits until ingest has begun anew.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// How long a poll waits on the virtual clock.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// One process of the server over a [`World`].
#[derive(Debug)]
pub struct Server {
    world: Arc<World>,
    disk: Arc<Disk>,
    faults: Arc<Faults>,
    store: Arc<FaultyStore>,
    archive: Arc<FaultyArchive<MemoryArchive>>,
    /// Watermarks that this process has shown.
    marks: Arc<PublishedWatermarks>,
    random: Mutex<Random>,
    running: Mutex<Option<Pipeline>>,
    /// Tables that ingest goes on without, or stands for.
    aside: Mutex<Aside>,
    looks: TableLooks,
    /// Set while definitions change, or ingest begins anew.
    changing: AtomicBool,
    /// What ingest runs with, or is to once it runs.
    in_force: Mutex<Definitions>,
    recovery: Recovered,
    /// Publishes what the monitors raise, while ingest runs.
    alarms: Mutex<Option<AlarmPublisher>>,
    monitors: Mutex<Arc<Monitors>>,
    memory: Arc<Budget>,
    /// The furthest that any shard was when ingest started.
    recovered: Mutex<Applied>,
    life: Life,
    stop: Stop,
    /// Rows that fills have folded while ingest stood.
    rest: AtomicU64,
    /// Whether ingest goes on as it is, whatever limit a fill sets.
    unlimited: AtomicBool,
}

impl Server {
    /// A process over `world` and `disk`, which opens the store; nothing runs yet.
    #[must_use]
    pub fn new(world: &Arc<World>, disk: &Arc<Disk>, faults: &Arc<Faults>, seed: u64) -> Arc<Self> {
        world.store.reopen();
        let archive = Arc::new(FaultyArchive::new(world.archive.clone(), faults));
        let of_looks: Arc<dyn Archive> = Arc::<FaultyArchive<_>>::clone(&archive);
        let runtime: Arc<dyn Runtime> = Arc::new(faults.runtime().clone());
        let stop = Stop::new(Arc::clone(&runtime));
        Arc::new(Self {
            looks: TableLooks::new(of_looks, runtime, stop.clone(), world.common_tables()),
            aside: Mutex::default(),
            changing: AtomicBool::new(false),
            in_force: Mutex::new(disk.saved(&world.setup)),
            recovery: Recovered::default(),
            world: Arc::clone(world),
            disk: Arc::clone(disk),
            faults: Arc::clone(faults),
            store: Arc::new(FaultyStore::new(world.store.clone(), faults)),
            archive,
            marks: Arc::default(),
            random: Mutex::new(Random::new(seed)),
            running: Mutex::default(),
            alarms: Mutex::default(),
            monitors: Mutex::default(),
            memory: Budget::shared(POOL_BYTES),
            recovered: Mutex::default(),
            life: Life::default(),
            rest: AtomicU64::new(0),
            unlimited: AtomicBool::new(false),
            stop,
        })
    }

    /// Go on with the definitions that are saved. State that no definition names is deleted. From
    /// then on ingest that has ended comes back by itself, and tables that were set aside do.
    ///
    /// # Errors
    /// A store fails.
    pub fn begin(self: &Arc<Self>) -> PortResult<()> {
        let saved = self.disk.saved(&self.world.setup);
        self.in_force.lock().clone_from(&saved);
        let clock = self.clock();
        let around: Around<'_> = (&self.life, &self.stop, &clock);
        let begun = begin(self.as_ref(), &mut Change::to(&saved), around);
        begun.map_err(|failed| {
            PortError::with_source(failed.kind(), "the server does not start", failed)
        })?;
        self.recover();
        Ok(())
    }

    /// Bring the definitions in force with these views into force.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_views(&self, views: &BTreeSet<ViewId>) -> PortResult<()> {
        let next = self.in_force.lock().with_views(views);
        self.apply(&next)
    }

    /// Bring the definitions `next` into force.
    ///
    /// # Errors
    /// A step has failed, or ingest begins anew and does not get on; the text says what holds now.
    pub fn apply(&self, next: &Definitions) -> PortResult<()> {
        let changing = || self.changing.swap(true, Ordering::SeqCst);
        if !self.runtime().wait_until(CHANGE_WAIT, || !changing()) {
            return Err(PortError::new(
                ErrorKind::FailedPrecondition,
                "ingest begins anew",
            ));
        }
        let outcome = self.change_to(next);
        self.changing.store(false, Ordering::SeqCst);
        outcome.map_err(|failed| PortError::with_source(failed.kind(), failed.to_string(), failed))
    }

    fn change_to(&self, next: &Definitions) -> Result<(), ChangeFailed> {
        let current = self.in_force.lock().clone();
        if !self.is_ingesting() {
            self.start_again();
        }
        let only = |these: &BTreeSet<ViewId>, those: &BTreeSet<ViewId>| -> Vec<String> {
            these.difference(those).map(ViewId::to_string).collect()
        };
        let steps = plan_apply(&ApplyFacts {
            changes: current != *next,
            ingesting: self.is_ingesting(),
            unread: false,
            added: only(&next.views, &current.views),
            removed: only(&current.views, &next.views),
        });
        let mut change = Change {
            current,
            next: next.clone(),
            course: Course::default(),
        };
        let clock = self.clock();
        let around: Around<'_> = (&self.life, &self.stop, &clock);
        let outcome = execute(self, &mut change, &steps, &self.stop.under(), around);
        self.filler().release();
        outcome
    }

    /// Let ingest go on as it is, whatever limit a fill sets.
    pub fn ignore_limits(&self) {
        self.unlimited.store(true, Ordering::Relaxed);
    }

    /// Rows that fills have folded while ingest stood.
    #[must_use]
    pub fn rest(&self) -> u64 {
        self.rest.load(Ordering::Relaxed)
    }

    /// Whether somebody has asked for the stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_asked()
    }

    /// Ask for the stop: whatever waits gives up soon.
    pub fn ask_to_stop(&self) {
        self.life.stopping();
        self.stop.ask();
    }

    /// Models do not answer for so long: scores wait.
    pub(crate) fn silence_models(&self, lasts: Duration) {
        self.faults.take_away(Part::Scorer, lasts);
    }

    /// Whether events are read.
    #[must_use]
    pub fn is_ingesting(&self) -> bool {
        let running = self.running.lock();
        running.as_ref().is_some_and(Pipeline::is_ingesting)
    }

    /// Sources that are halted.
    #[must_use]
    pub fn halted(&self) -> Vec<String> {
        self.halts().into_iter().map(|halt| halt.source).collect()
    }

    /// Accept whatever gaps `source` has.
    ///
    /// # Errors
    /// There is none, a store fails, or ingest does not run.
    pub fn accept_gaps(&self, source: &str) -> PortResult<()> {
        let now_us = self.clock().now_us();
        let answer = {
            let running = self.running.lock();
            running
                .as_ref()
                .map(|p| p.accept_gaps(source, None, now_us))
        };
        let gone = || PortError::new(ErrorKind::Unavailable, "ingest does not run");
        let answer = block_on(self.runtime(), answer.ok_or_else(gone)?);
        answer.map_err(|_| gone())?.map(drop).map_err(port_error)
    }

    /// What it says of itself.
    #[must_use]
    pub fn words(&self) -> String {
        let running = self.running.lock();
        format!("{:?}", running.as_ref().map(Pipeline::status))
    }

    /// The end of the process: finish what was read, and stop ingest.
    ///
    /// # Errors
    /// The first error of any thread.
    ///
    /// # Panics
    /// It takes longer than a stop may take; ingest had ended by itself, and not for a shard that
    /// was refused; a part of it has panicked, which only looks like a fault that heals.
    pub fn pause(&self) -> Result<(), PipelineError> {
        self.stop.ask();
        let ended = self.runtime().wait_until(STOP_MAX, || !self.recovers());
        assert!(ended, "recovery goes on after the stop");
        self.note_end();
        let ends = self.ends();
        let expected = self.faults.is_over() || ends.iter().all(|why| why.contains(REFUSED));
        assert!(expected, "ingest has ended by itself: {ends:?}");
        self.stop_ingest().all()
    }

    /// Stop ingest; how it has ended.
    fn stop_ingest(&self) -> Stopped {
        self.looks.forget_reads();
        *self.aside.lock() = Aside::default();
        let Some(pipeline) = self.running.lock().take() else {
            return Stopped::default();
        };
        let (began, counters) = (self.runtime().elapsed(), pipeline.counters());
        let stopped = block_on(self.runtime(), pipeline.stop());
        assert_eq!(counters.snapshot().panics, 0, "a part has panicked");
        if stopped.is_whole() {
            self.monitors.lock().clone().save();
        } else {
            self.note(|met| met.cut_off += 1);
        }
        if let Some(alarms) = self.alarms.lock().take() {
            alarms.finish().expect("the thread has not panicked");
        }
        let took = self.runtime().elapsed().saturating_sub(began);
        assert!(took <= STOP_MAX, "the stop took {took:?}");
        stopped
    }

    /// The present: about when the events happen.
    fn clock(&self) -> SimClock {
        let stepped_us = &self.world.clock_stepped_us;
        SimClock::new(self.runtime(), START_US + MINUTE_US, stepped_us)
    }

    fn runtime(&self) -> &SimRuntime {
        self.faults.runtime()
    }

    fn resume(&self, definitions: &Definitions) -> PortResult<()> {
        let views = definitions.views.iter();
        let extra: Vec<_> = views.map(|id| extra(&self.world, *id)).collect();
        for view in self.world.views.iter().chain(&extra) {
            take_over(self.store.as_ref(), view.spec())?;
        }
        *self.recovered.lock() = furthest(self.store.as_ref());
        let sources = &self.world.sources;
        let begun = self.looks.catch_up(sources, |aside| {
            self.begin_monitors(definitions, self.world.checkpoints.clone(), aside)
        })?;
        let ((monitors, begun), aside) = match begun {
            Outcome::Begins(caught_up, aside) => (caught_up, aside),
            Outcome::Stands(_, aside) => {
                *self.aside.lock() = aside;
                self.in_force.lock().clone_from(definitions);
                return Ok(());
            }
        };
        let mut parts = self.parts();
        parts.views.extend(extra);
        parts.deployments = definitions
            .routes
            .map(|routes| self.world.deployment_with(routes))
            .into_iter()
            .collect();
        parts.unusable.clone_from(&aside.why);
        let monitors = Arc::new(monitors);
        let checkpoints = self.checkpoints(self.world.checkpoints.clone());
        let (raise, outgoing) = alarm_queue(&monitors.announced(), checkpoints);
        let observed = Arc::clone(&monitors);
        let observer = MonitorObserver::new(
            observed,
            Arc::clone(&self.marks),
            raise,
            Arc::new(self.runtime().clone()),
        );
        parts.observers.push(Box::new(observer));
        parts.repeats = begun.repeats;
        parts.marks = begun.marks;
        parts.archived_marks = begun.archived_marks;
        *self.monitors.lock() = monitors;
        let settings = PipelineSettings {
            epoch_wait: POLL_WAIT,
            ..self.world.settings()
        };
        let pipeline = Pipeline::start(parts, settings);
        *self.running.lock() = Some(pipeline.map_err(port_error)?);
        let publisher = FaultyPublisher::new(self.world.alarms.clone(), &self.faults);
        let publisher: Arc<dyn Publisher> = Arc::new(publisher);
        let runtime: Arc<dyn Runtime> = Arc::new(self.runtime().clone());
        let alarms = AlarmPublisher::start(outgoing, publisher, &runtime)?;
        *self.alarms.lock() = Some(alarms);
        if !aside.why.is_empty() {
            self.note(|met| met.left_out += 1);
        }
        *self.aside.lock() = aside;
        self.in_force.lock().clone_from(definitions);
        Ok(())
    }

    fn checkpoints(&self, kept: MemoryCheckpoints) -> Arc<dyn Checkpoints> {
        Arc::new(FaultyCheckpoints::new(kept, &self.faults))
    }

    /// The monitors as far as the archive is, from what is kept in `checkpoints`, but for those
    /// that need a table in `aside`.
    fn begin_monitors(
        &self,
        definitions: &Definitions,
        checkpoints: MemoryCheckpoints,
        aside: &BTreeMap<String, String>,
    ) -> Result<(Monitors, Begun), BeginError> {
        let world = &self.world;
        let checkpoints = self.checkpoints(checkpoints);
        let (scored, applied) = (scored(definitions), furthest(self.store.as_ref()));
        let scopes = change_scopes(checkpoints.as_ref(), &scored, &applied)?;
        let routes = definitions.routes.filter(|_| definitions.monitored);
        let watched = routes.map(|routes| monitored::parts(world, routes));
        let mut watched: Vec<_> = watched.into_iter().collect::<PortResult<_>>()?;
        watched.retain(|monitor| !aside.keys().any(|table| monitor.reads(table)));
        let rows = 1 + self.random.lock().below(40) as u64;
        let monitors = Monitors::begin(
            &watched,
            &scopes,
            Arc::clone(&checkpoints),
            rows,
            &self.memory,
        )?;
        let begun = Beginning {
            archive: self.archive.as_ref(),
            store: self.store.as_ref(),
            notes: self.store.as_ref(),
            checkpoints: &checkpoints,
            sources: &world.sources,
            unusable: aside,
            prediction_sources: &HashSet::from([PREDICTIONS.to_owned()]),
            marks: &self.marks,
            runtime: self.runtime(),
        }
        .catch_up(&monitors)?;
        Ok((monitors, begun))
    }

    /// What the monitors know.
    #[must_use]
    pub fn reports(&self) -> Vec<MonitorReport> {
        self.monitors.lock().clone().reports()
    }

    /// What they would know at a start that finds these `checkpoints`.
    ///
    /// # Errors
    /// A store fails.
    pub fn reports_from(&self, checkpoints: MemoryCheckpoints) -> PortResult<Vec<MonitorReport>> {
        let definitions = self.disk.saved(&self.world.setup);
        let (monitors, _) = self.begin_monitors(&definitions, checkpoints, &BTreeMap::new())?;
        Ok(monitors.reports())
    }

    /// The memory of this process.
    #[must_use]
    pub fn memory(&self) -> &Arc<Budget> {
        &self.memory
    }

    /// What a pipeline runs on: the world's parts, under faults.
    fn parts(&self) -> PipelineParts {
        let (world, faults) = (&self.world, &self.faults);
        let (calm, seed) = (Arc::<Fate>::default(), self.random.lock().bits());
        let honest = FakeScorer::new(&calm, None);
        let scorer = RefusingModel::new(honest, world.setup.refusals, faults);
        PipelineParts {
            log: Box::new(FaultyLog::new(world.log.reader(seed, &calm), faults)),
            inspector: Box::new(FaultyInspector::new(world.log.inspector(), faults)),
            notes: Arc::<FaultyStore>::clone(&self.store),
            store: Arc::<FaultyStore>::clone(&self.store),
            archive: Arc::<FaultyArchive<_>>::clone(&self.archive),
            publisher: Arc::new(FaultyPublisher::new(world.publisher.clone(), faults)),
            reader: Arc::new(FaultyReader::new(world.reader(), faults)),
            scorer: Arc::new(FaultyScorer::new(scorer, faults)),
            clock: Arc::new(self.clock()),
            watermarks: Arc::clone(&self.marks),
            runtime: Arc::new(self.runtime().clone()),
            memory: Arc::clone(&self.memory),
            ..world.bare_parts(&calm, seed)
        }
    }
}

/// The deployment of `definitions` with the topic of its source.
fn scored(definitions: &Definitions) -> Vec<(&'static str, &'static str)> {
    let scored = definitions.routes.map(|_| ("scorer", TOPIC));
    scored.into_iter().collect()
}

fn port_error(error: PipelineError) -> PortError {
    PortError::with_source(error.kind(), "the pipeline", error)
}
