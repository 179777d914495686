//! One process of the server: `control` changes its definitions, over the stores of a world and
//! under faults. It does to them, step by step, what the binary does to RocksDB, Delta and Kafka.
//!
//! Definitions are the views beyond those of the world; what is saved of them is a [`Disk`], which
//! outlives the process.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use forebay_control::{
    AlarmPublisher, ApplyFacts, Beginning, Begun, ChangeFailed, Course, FillHost, Filler,
    Leftovers, Life, MonitorObserver, Monitors, Parts, Step, Stop, Which, alarm_queue, begin,
    change_scopes, delete_leftovers, execute, fills_after, furthest, plan_apply, take_over,
};
use forebay_core::memory::Budget;
use forebay_core::ports::{Checkpoints, CompiledView, Publisher, Runtime, ViewStates};
use forebay_core::progress::Applied;
use forebay_core::time::{Clock, MINUTE_US};
use forebay_core::view::{ViewId, Window};
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_monitor::MonitorReport;
use forebay_pipeline::archive::Archiver;
use forebay_pipeline::gaps::Listed;
use forebay_pipeline::runtime::block_on;
use forebay_pipeline::{
    Pipeline, PipelineError, PipelineParts, PipelineSettings, PublishedWatermarks, Stopped,
};
use forebay_testkit::{
    FakeScorer, Fate, MemoryArchive, MemoryCheckpoints, MemoryStore, PlainView, Random,
};
use parking_lot::Mutex;

use crate::faults::{Effect, Faults, Part};
use crate::faulty::{
    FaultyArchive, FaultyCheckpoints, FaultyInspector, FaultyLog, FaultyPublisher, FaultyReader,
    FaultyScorer, FaultyStore,
};
use crate::monitored;
use crate::runtime::{SimClock, SimRuntime};
use crate::world::{POOL_BYTES, PREDICTIONS, START_US, TOPIC, World};

/// Views that definitions may add.
pub const EXTRA: [ViewId; 3] = [10, 11, 12];
/// Rows that a fill may leave for the time in which ingest stands: as few as the worlds are small.
pub const REST_MAX_ROWS: u64 = 16;
/// Virtual time in which a process must have stopped.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long a poll waits on the virtual clock.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// What definitions a start finds.
#[derive(Debug, Default)]
pub struct Disk(Mutex<BTreeSet<ViewId>>);

impl Disk {
    /// The views that are saved.
    #[must_use]
    pub fn saved(&self) -> BTreeSet<ViewId> {
        self.0.lock().clone()
    }
}

/// One process of the server over a [`World`].
#[derive(Debug)]
pub struct Server {
    world: Arc<World>,
    disk: Arc<Disk>,
    faults: Arc<Faults>,
    store: Arc<FaultyStore<MemoryStore>>,
    archive: Arc<FaultyArchive<MemoryArchive>>,
    /// Watermarks that this process has shown.
    marks: Arc<PublishedWatermarks>,
    random: Mutex<Random>,
    running: Mutex<Option<Pipeline>>,
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

/// A change of definitions under way.
#[derive(Debug)]
pub struct Change {
    current: BTreeSet<ViewId>,
    next: BTreeSet<ViewId>,
    course: Course,
}

impl Change {
    /// From `views` to themselves.
    fn to(views: &BTreeSet<ViewId>) -> Self {
        Self {
            current: views.clone(),
            next: views.clone(),
            course: Course::default(),
        }
    }

    fn of(&self, which: Which) -> &BTreeSet<ViewId> {
        match which {
            // All sources are read from the beginning.
            Which::Current | Which::Sources => &self.current,
            Which::Next | Which::Saved => &self.next,
        }
    }
}

/// Extra view `id`: it looks back so many minutes.
fn extra(world: &World, id: ViewId) -> Arc<dyn CompiledView> {
    let window = Window::Range {
        preceding_us: MINUTE_US,
    };
    Arc::new(PlainView::new(id, &world.sources[0], "k", "x", window))
}

fn id_of(view: &str) -> PortResult<ViewId> {
    let parsed = view.parse();
    parsed.map_err(|_| PortError::internal(format!("{view} is no number of a view")))
}

impl Server {
    /// A process over `world` and `disk`; nothing runs yet.
    #[must_use]
    pub fn new(world: &Arc<World>, disk: &Arc<Disk>, faults: &Arc<Faults>, seed: u64) -> Self {
        Self {
            world: Arc::clone(world),
            disk: Arc::clone(disk),
            faults: Arc::clone(faults),
            store: Arc::new(FaultyStore::new(world.store.clone(), faults)),
            archive: Arc::new(FaultyArchive::new(world.archive.clone(), faults)),
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
            stop: Stop::new(Arc::new(faults.runtime().clone())),
        }
    }

    /// Go on with the definitions that are saved. State that no definition names is deleted.
    ///
    /// # Errors
    /// A store fails.
    pub fn begin(&self) -> PortResult<()> {
        let mut change = Change::to(&self.disk.saved());
        let clock = self.clock();
        let begun = begin(self, &mut change, (&self.life, &self.stop, &clock));
        begun.map_err(|failed| {
            PortError::with_source(failed.kind(), "the server does not start", failed)
        })
    }

    /// Bring the definitions `next` into force.
    ///
    /// # Errors
    /// A step has failed; the text says what holds now.
    pub fn apply(&self, next: &BTreeSet<ViewId>) -> Result<(), ChangeFailed> {
        let current = self.disk.saved();
        let only = |these: &BTreeSet<ViewId>, those: &BTreeSet<ViewId>| -> Vec<String> {
            these.difference(those).map(ViewId::to_string).collect()
        };
        let steps = plan_apply(&ApplyFacts {
            changes: current != *next,
            ingesting: self.is_ingesting(),
            unread: false,
            added: only(next, &current),
            removed: only(&current, next),
        });
        let mut change = Change {
            current,
            next: next.clone(),
            course: Course::default(),
        };
        let clock = self.clock();
        let surroundings: (_, _, &dyn Clock) = (&self.life, &self.stop, &clock);
        let outcome = execute(self, &mut change, &steps, surroundings);
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

    /// Finish what was read, and stop ingest.
    ///
    /// # Errors
    /// The first error of any thread.
    ///
    /// # Panics
    /// It takes longer than a stop may take, or a part of it has panicked, which only looks like a
    /// fault that heals.
    pub fn pause(&self) -> Result<(), PipelineError> {
        self.stop_ingest().all()
    }

    /// The same; how ingest has ended.
    fn stop_ingest(&self) -> Stopped {
        let Some(pipeline) = self.running.lock().take() else {
            return Stopped::default();
        };
        let (began, counters) = (self.runtime().elapsed(), pipeline.counters());
        let stopped = block_on(self.runtime(), pipeline.stop());
        assert_eq!(counters.snapshot().panics, 0, "a part has panicked");
        if stopped.is_whole() {
            self.monitors.lock().clone().save();
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

    fn resume(&self, views: &BTreeSet<ViewId>) -> PortResult<()> {
        let extra: Vec<_> = views.iter().map(|id| extra(&self.world, *id)).collect();
        for view in &extra {
            take_over(self.store.as_ref(), view.spec())?;
        }
        *self.recovered.lock() = furthest(self.store.as_ref());
        let mut parts = self.parts();
        parts.views.extend(extra);
        let (monitors, begun) = self.begin_monitors(self.world.checkpoints.clone())?;
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
        Ok(())
    }

    fn checkpoints(&self, kept: MemoryCheckpoints) -> Arc<dyn Checkpoints> {
        Arc::new(FaultyCheckpoints::new(kept, &self.faults))
    }

    /// The monitors as far as the archive is, from what is kept in `checkpoints`.
    fn begin_monitors(&self, checkpoints: MemoryCheckpoints) -> PortResult<(Monitors, Begun)> {
        let (world, setup) = (&self.world, &self.world.setup);
        let checkpoints = self.checkpoints(checkpoints);
        let current: &[(&str, &str)] = if setup.scored {
            &[("scorer", TOPIC)]
        } else {
            &[]
        };
        let scopes = change_scopes(
            checkpoints.as_ref(),
            current,
            &furthest(self.store.as_ref()),
        )?;
        let watched = setup.monitored.then(|| monitored::parts(world));
        let watched: Vec<_> = watched.into_iter().collect::<PortResult<_>>()?;
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
            unusable: &BTreeMap::new(),
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
        let (monitors, _) = self.begin_monitors(checkpoints)?;
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
        let scorer = FakeScorer::new(&calm, None);
        PipelineParts {
            log: Box::new(FaultyLog::new(world.log.reader(seed, &calm), faults)),
            inspector: Box::new(FaultyInspector::new(world.log.inspector(), faults)),
            notes: Arc::<FaultyStore<_>>::clone(&self.store),
            store: Arc::<FaultyStore<_>>::clone(&self.store),
            archive: Arc::<FaultyArchive<_>>::clone(&self.archive),
            publisher: Arc::new(FaultyPublisher::new(world.publisher.clone(), faults)),
            reader: Arc::new(FaultyReader::new(world.reader(), faults)),
            scorer: Arc::new(FaultyScorer::new(scorer, faults)),
            clock: Arc::new(self.clock()),
            watermarks: Arc::clone(&self.marks),
            runtime: Arc::new(self.runtime().clone()),
            memory: Arc::clone(&self.memory),
            ..world.parts(&calm, seed)
        }
    }

    /// The views of definitions that have `extra` beyond those of the world.
    fn named(&self, extra: &BTreeSet<ViewId>) -> HashSet<ViewId> {
        let world = self.world.views.iter().map(|view| view.spec().id);
        world.chain(extra.iter().copied()).collect()
    }

    fn filler(&self) -> Filler<'_> {
        Filler {
            host: self,
            archive: self.archive.as_ref(),
            store: self.store.as_ref(),
            memory: &self.memory,
            runtime: self.runtime(),
            life: &self.life,
            stop: &self.stop,
            rest_max_rows: REST_MAX_ROWS,
        }
    }

    fn save(&self, views: &BTreeSet<ViewId>) -> PortResult<()> {
        let act = || {
            self.disk.0.lock().clone_from(views);
            Ok(())
        };
        self.faults.meet(Part::Store, Effect::Write, act)
    }
}

impl Parts for Server {
    type Change = Change;

    fn carry_out(&self, change: &mut Change, step: &Step) -> PortResult<()> {
        match step {
            Step::DropUnnamed => {
                let named = self.named(&change.next);
                delete_leftovers(self.store.as_ref(), &named, Leftovers::ButFills)
            }
            Step::MakeTables => Ok(()),
            Step::BeginView(view) => {
                let (source, view) = (&self.world.sources[0], extra(&self.world, id_of(view)?));
                Ok(self.filler().begin(source, view.as_ref())?)
            }
            Step::FillBeside(view) => {
                let (source, view) = (&self.world.sources[0], extra(&self.world, id_of(view)?));
                let course = &mut change.course;
                Ok(self.filler().beside(source, view.as_ref(), course)?)
            }
            Step::CatchUp => {
                let source = || Arc::clone(&self.world.sources[0]);
                let added = change.next.difference(&change.current);
                let views = added.map(|id| (source(), extra(&self.world, *id)));
                let views: Vec<_> = views.collect();
                let course = &mut change.course;
                Ok(self.filler().catch_up_with_ingest(&views, course)?)
            }
            Step::Pause => {
                // All new views read the first source.
                let name = &self.world.sources[0].name;
                let is_added = change.next.difference(&change.current).next().is_some();
                let needed = is_added.then(|| name.clone()).into_iter().collect();
                Ok(fills_after(self.stop_ingest(), &needed)?)
            }
            Step::FillRest(view) => {
                let (source, view) = (&self.world.sources[0], extra(&self.world, id_of(view)?));
                Ok(self.filler().rest(source, view.as_ref()).map(drop)?)
            }
            Step::Save(which) => self.save(change.of(*which)),
            Step::Resume(which) => {
                // A resume that failed may have started ingest with the other definitions.
                fills_after(self.stop_ingest(), &BTreeSet::new())?;
                self.resume(change.of(*which))
            }
            Step::DropView(view) => self.store.drop_view(id_of(view)?),
            Step::DropLeftovers => {
                let named = self.named(&change.next);
                delete_leftovers(self.store.as_ref(), &named, Leftovers::All)
            }
        }
    }
}

impl FillHost for Server {
    fn is_ingesting(&self) -> bool {
        Server::is_ingesting(self)
    }

    fn archiver(&self) -> Option<Archiver> {
        self.running.lock().as_ref().map(Pipeline::archiver)
    }

    // All definitions read all sources.
    fn recovered(&self, _: &str) -> Option<Applied> {
        Some(self.recovered.lock().clone())
    }

    fn limit_ingest(&self, rows_per_s: Option<NonZeroU64>) {
        if let Some(pipeline) = &*self.running.lock()
            && !self.unlimited.load(Ordering::Relaxed)
        {
            pipeline.limit_rows(rows_per_s);
        }
    }

    fn halts(&self) -> Vec<Listed> {
        let running = self.running.lock();
        running.as_ref().map(Pipeline::halts).unwrap_or_default()
    }

    fn waits_for(&self, _: &str) -> Option<String> {
        None
    }

    fn folded(&self, _: &str, rows: u64, _: u64, _: u64) {
        if self.running.lock().is_none() {
            self.rest.fetch_add(rows, Ordering::Relaxed);
        }
    }

    fn passed(&self, _: &str, _: Duration) {}
}

fn port_error(error: PipelineError) -> PortError {
    PortError::with_source(error.kind(), "the pipeline", error)
}
