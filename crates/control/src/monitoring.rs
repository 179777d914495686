//! The monitors of a process: fed by the pipeline with every decoded batch, brought up to date at
//! start by what the archive has beyond their checkpoints (`beginning`), read by metrics and
//! summaries. What they raise goes out as [`Alarm`]s. `monitor` decides everything; here is what it
//! runs on: checkpoints, log lines, and a fence that keeps a panic of one monitor from all else.
//!
//! # Checkpoints
//!
//! A checkpoint is saved only when the archive has all that it covers, rows and decisions about
//! time alike. One that were ahead would know what a crash may take back: rows are read again after
//! it, but a decision that nobody has recorded is taken anew, by another clock. It says how many
//! rows of the tables of decisions and of notes it knows, so that a start reads those behind them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::definition::MonitorDef;
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::{Checkpoints, Runtime, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::scope::ScoringScopes;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::watermark::MarkRecord;
use forebay_monitor::{
    AlarmNotice, LabelFeed, Monitor, MonitorBinding, MonitorEvent, MonitorOptions, MonitorReport,
    ReferenceProfile, SourceRows, WatchedDeployment,
};
use forebay_pipeline::archive::ArchiveReach;
use forebay_pipeline::settlements::Settled;
use forebay_pipeline::watermark::ArchivedMarks;
use forebay_pipeline::{Awaited, BatchObserver, Look, PublishedWatermarks, contain};
use parking_lot::Mutex;

/// Rows after which a checkpoint is due, at least.
pub const CHECKPOINT_ROWS: u64 = 100_000;
/// A checkpoint of this many bytes costs as much as counting a row.
const CHECKPOINT_BYTES_PER_ROW: u64 = 256;
/// How long a batch waits at most for the memory that the monitors need, and between two tries.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(1);
const MEMORY_POLL: Duration = Duration::from_millis(20);

/// How an alarm stands, as its monitor says.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// What it is about: monitor, model version and column.
    pub identity: String,
    /// What there is to say.
    pub notice: AlarmNotice,
}

/// One monitor with what it reads, before it runs.
#[derive(Debug)]
pub struct MonitorParts {
    def: MonitorDef,
    reference: ReferenceProfile,
    deployments: Vec<WatchedDeployment>,
    labels: Option<LabelFeed>,
    options: MonitorOptions,
}

impl MonitorParts {
    /// A monitor as defined, against `reference`, that keeps to `options`.
    ///
    /// # Errors
    /// The profile contradicts itself or the definition.
    pub fn new(
        def: MonitorDef,
        reference: ReferenceProfile,
        deployments: Vec<WatchedDeployment>,
        labels: Option<LabelFeed>,
        options: MonitorOptions,
    ) -> PortResult<Self> {
        let parts = Self {
            def,
            reference,
            deployments,
            labels,
            options,
        };
        parts.bind(&ScoringScopes::default())?;
        Ok(parts)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.def.name
    }

    /// Whether it needs the rows of `source`.
    #[must_use]
    pub fn reads(&self, source: &str) -> bool {
        let watched = |d: &WatchedDeployment| d.scored.name == source || d.predictions == source;
        let labels = self.labels.as_ref();
        self.deployments.iter().any(watched) || labels.is_some_and(|l| l.source.name == source)
    }

    fn bind(&self, scopes: &ScoringScopes) -> PortResult<MonitorBinding> {
        let (def, reference) = (self.def.clone(), self.reference.clone());
        let monitor = Monitor::new(def, reference, self.options)?;
        let (deployments, labels) = (self.deployments.clone(), self.labels.clone());
        Ok(MonitorBinding::new(monitor, deployments, labels, scopes))
    }
}

/// A monitor that runs.
#[derive(Debug)]
struct Running {
    binding: MonitorBinding,
    /// Rows since its last checkpoint.
    rows: u64,
    /// Rows after which the next one is due.
    due_rows: u64,
    /// A checkpoint that the archive is behind.
    waiting: Option<Waiting>,
    /// End of the newest window that has closed since the start.
    closed_us: Option<Micros>,
}

impl Running {
    /// The alarms that `events` tell of, and how all of them stand where a window has closed: an
    /// earlier process may have said otherwise.
    fn words(&mut self, events: &[MonitorEvent]) -> Vec<Alarm> {
        let mut alarms = alarms_of(events);
        let closed = events.iter().filter_map(|event| match event {
            MonitorEvent::WindowClosed { window, .. } => Some(window.end_us),
            _ => None,
        });
        let closed_us = closed.max();
        if closed_us > self.closed_us || !alarms.is_empty() {
            self.closed_us = closed_us.max(self.closed_us);
            alarms.extend(alarms_of(&self.binding.standing()));
        }
        alarms
    }
}

/// Checkpoints that wait until the archive has what they cover.
#[derive(Debug)]
struct Waiting {
    /// Number of the hand-over that the archive must have.
    handed: u64,
    bytes: Vec<u8>,
}

/// All monitors of a process.
#[derive(Debug, Default)]
pub struct Monitors {
    running: Vec<Mutex<Running>>,
    checkpoints: Option<Arc<dyn Checkpoints>>,
    /// What all of them hold of the process's memory.
    memory: Option<Mutex<Reservation>>,
    /// See [`CHECKPOINT_ROWS`].
    checkpoint_rows: u64,
    /// What the archive has of decisions about time.
    decisions: Mutex<Option<Arc<ArchivedMarks>>>,
}

impl Monitors {
    /// The monitors `parts`, each from its checkpoint where that is one of the same definition,
    /// else from nothing. A checkpoint is due after so many rows.
    ///
    /// # Errors
    /// A definition is contradictory.
    pub fn begin(
        parts: &[MonitorParts],
        scopes: &ScoringScopes,
        checkpoints: Arc<dyn Checkpoints>,
        checkpoint_rows: u64,
        memory: &Arc<Budget>,
    ) -> PortResult<Self> {
        let mut running = Vec::with_capacity(parts.len());
        for parts in parts {
            let mut binding = parts.bind(scopes)?;
            if let Some(checkpoint) = load(checkpoints.as_ref(), binding.name())
                && let Err(why) = binding.restore(&checkpoint)
            {
                let monitor = binding.name();
                tracing::info!(monitor, %why, "no checkpoint to go on from; the archive is read");
                binding = parts.bind(scopes)?;
            }
            running.push(Mutex::new(Running {
                binding,
                rows: 0,
                due_rows: checkpoint_rows,
                waiting: None,
                closed_us: None,
            }));
        }
        Ok(Self {
            running,
            checkpoints: Some(checkpoints),
            memory: Some(Mutex::new(memory.empty(Part::Monitors))),
            checkpoint_rows,
            decisions: Mutex::default(),
        })
    }

    /// Whether any monitor reads `source`.
    pub(crate) fn reads(&self, source: &str) -> bool {
        let reads = |running: &Mutex<Running>| running.lock().binding.sources().contains(&source);
        self.running.iter().any(reads)
    }

    /// One past the rows of `partition` that every monitor which reads `source` has.
    pub(crate) fn covered(&self, source: &SourceDef, partition: i32) -> Option<i64> {
        let readers = self.readers(&source.name);
        let covered = |r: &Mutex<Running>| r.lock().binding.covered(&source.topic, partition);
        readers.map(covered).min()
    }

    /// `source` has these partitions.
    pub(crate) fn expect(&self, source: &SourceDef, partitions: &BTreeSet<i32>) {
        for running in self.readers(&source.name) {
            running.lock().binding.expect_partitions(source, partitions);
        }
    }

    /// Count archived rows; each monitor skips what it has.
    pub(crate) fn catch_up(&self, rows: &SourceRows) {
        self.count(rows);
        // What this brings is said with all else that an earlier run may not have said.
        for running in self.readers(&rows.source.name) {
            drop(running.lock().binding.advance());
        }
    }

    /// Every row of these partitions below these offsets is counted, of those that monitors read.
    pub(crate) fn stand(&self, stands: &[(TopicPartition, i64)]) {
        for running in &self.running {
            let binding = &mut running.lock().binding;
            for (place, offset) in stands {
                binding.stand((&place.topic, place.partition), *offset);
            }
        }
    }

    /// Move as far as what was read allows, before anything new is read.
    pub(crate) fn caught_up(&self) {
        for running in &self.running {
            drop(running.lock().binding.advance());
        }
    }

    /// Every alarm of the windows that are kept, and how all stand; most were published by an
    /// earlier run.
    #[must_use]
    pub fn announced(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for running in &self.running {
            let running = running.lock();
            let binding = &running.binding;
            alarms.extend(alarms_of(&binding.announced()));
            alarms.extend(alarms_of(&binding.standing()));
        }
        alarms
    }

    /// What every monitor knows now.
    #[must_use]
    pub fn reports(&self) -> Vec<MonitorReport> {
        let report = |running: &Mutex<Running>| running.lock().binding.report();
        self.running.iter().map(report).collect()
    }

    /// Keep every monitor's state with the offsets that it covers, all of which the archive has: a
    /// pipeline has stopped without an error. A failure costs reading the archive at the next
    /// start.
    pub fn save(&self) {
        for running in &self.running {
            let mut running = running.lock();
            running.waiting = None;
            if let Some(bytes) = self.checkpoint_of(&mut running) {
                self.keep(&mut running, &bytes);
            }
        }
    }

    /// Hold what the monitors keep by now. False where that is not there now, and will be: what is
    /// above the most that monitors may hold is counted as refused and let through, since nothing
    /// of it can be left out, and each monitor's own limits end it.
    fn hold_memory(&self) -> bool {
        let Some(memory) = &self.memory else {
            return true;
        };
        let kept = |running: &Mutex<Running>| running.lock().binding.memory_bytes();
        let bytes: usize = self.running.iter().map(kept).sum();
        let mut memory = memory.lock();
        let more = bytes.saturating_sub(memory.bytes());
        let grown = memory.grow(more);
        let held = memory.resize_up_to(bytes);
        invariant!(HeldAsKept, held <= bytes, "{held} of {bytes} bytes");
        grown.err().is_none_or(|full| full.never_fits())
    }

    fn readers<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Mutex<Running>> {
        self.running
            .iter()
            .filter(move |running| running.lock().binding.sources().contains(&source))
    }

    /// Count rows. A batch that cannot be counted is logged and skipped: monitoring must never stop
    /// the data path, nor a start.
    fn count(&self, rows: &SourceRows) {
        let source = &rows.source.name;
        let lengths = [rows.partition.len(), rows.offset.len()];
        invariant!(
            OriginColumnsAgree,
            lengths == [rows.rows.num_rows(); 2],
            "{} rows with {lengths:?} places",
            rows.rows.num_rows()
        );
        let last = rows.partition.last().zip(rows.offset.last());
        for running in self.readers(source) {
            let mut running = running.lock();
            running.rows += rows.offset.len() as u64;
            let counted = contain("counting", || -> PortResult<_> {
                Ok(running.binding.observe(rows)?)
            });
            let monitor = running.binding.name();
            match counted {
                Ok(failed) => {
                    let covered =
                        |partition| running.binding.covered(&rows.source.topic, partition);
                    invariant!(
                        CountedIsCovered,
                        last.is_none_or(|(partition, offset)| covered(*partition) > *offset),
                        "{monitor}: the last row is {last:?}"
                    );
                    if let Some(error) = failed.first {
                        let rows = failed.rows;
                        tracing::warn!(
                            monitor,
                            source,
                            rows,
                            error = with_causes(&error),
                            "rows without a label: it fails on them"
                        );
                    }
                }
                Err(error) => {
                    tracing::error!(
                        monitor,
                        source,
                        error = with_causes(&error),
                        "a batch was not counted"
                    );
                }
            }
        }
    }

    /// These events get no prediction, as the notes of a shard say in their order. Said again, it
    /// changes nothing.
    pub(crate) fn settle(&self, settled: &[Settled]) {
        for events in settled {
            let (notes, number) = &events.note;
            for running in &self.running {
                let whose = (events.deployment.as_str(), events.role);
                let place = (events.topic.as_str(), events.partition);
                let binding = &mut running.lock().binding;
                binding.settle(whose, place, events.offsets.ranges());
                binding.cover((&notes.topic, notes.partition), number.saturating_add(1));
            }
        }
    }

    /// Events whose predictions any monitor waits for.
    fn awaited(&self) -> Vec<Awaited> {
        let mut all = Vec::new();
        for running in &self.running {
            let running = running.lock();
            let awaited = running.binding.awaited();
            all.extend(awaited.map(|(watched, partition, offsets)| Awaited {
                deployment: watched.deployment.clone(),
                predictions: watched.predictions.clone(),
                place: TopicPartition::new(watched.scored.topic.as_str(), partition),
                offsets,
            }));
        }
        all
    }

    /// One past the rows at `place` of the table of notes that every monitor has; None without a
    /// monitor.
    pub(crate) fn noted_to(&self, place: &TopicPartition) -> Option<i64> {
        let known = |r: &Mutex<Running>| r.lock().binding.covered(&place.topic, place.partition);
        self.running.iter().map(known).min()
    }

    /// Rows about `place` in the table of decisions about time that every monitor has which dates
    /// by its topic.
    pub(crate) fn decided_to(&self, place: &TopicPartition) -> Option<i64> {
        let known = |r: &Mutex<Running>| r.lock().binding.decided_to(place);
        self.running.iter().filter_map(known).min()
    }

    /// Where it is said how many rows of that table there are.
    pub(crate) fn count_decisions(&self, archived: &Arc<ArchivedMarks>) {
        *self.decisions.lock() = Some(Arc::clone(archived));
    }

    /// The state of a monitor. It got every decision that their table has by now.
    fn checkpoint_of(&self, running: &mut Running) -> Option<Vec<u8>> {
        if let Some(archived) = &*self.decisions.lock() {
            running.binding.know(&archived.rows());
        }
        running.binding.checkpoint()
    }

    /// What was decided about time, before the rows that it is about.
    pub(crate) fn decide(&self, records: &[MarkRecord]) {
        for running in &self.running {
            running.lock().binding.decide(records);
        }
    }

    /// A source with a watermark has no partition whose first rows are still to come.
    pub(crate) fn open_gates(&self, marks: &PublishedWatermarks) {
        for running in &self.running {
            let binding = &mut running.lock().binding;
            let sources = binding.sources().into_iter();
            let begun = sources.filter(|source| marks.of(source).is_some());
            let begun: Vec<String> = begun.map(str::to_owned).collect();
            begun.iter().for_each(|source| binding.open_gate(source));
        }
    }

    /// Move every monitor as far as `marks` and what was read allow.
    fn advance(&self, marks: &PublishedWatermarks, reach: ArchiveReach) -> Vec<Alarm> {
        self.open_gates(marks);
        let mut alarms = Vec::new();
        for running in &self.running {
            let mut running = running.lock();
            let events = running.binding.advance();
            alarms.extend(running.words(&events));
            self.checkpoint(&mut running, reach);
        }
        alarms
    }

    fn checkpoint(&self, running: &mut Running, reach: ArchiveReach) {
        invariant!(
            ArchivedNotAhead,
            reach.archived <= reach.handed,
            "{} of {} hand-overs",
            reach.archived,
            reach.handed
        );
        if running.waiting.is_none() && running.rows >= running.due_rows {
            let handed = reach.handed;
            let bytes = self.checkpoint_of(running);
            running.waiting = bytes.map(|bytes| Waiting { handed, bytes });
        }
        let archived = |waiting: &mut Waiting| waiting.handed <= reach.archived;
        if let Some(waiting) = running.waiting.take_if(archived) {
            self.keep(running, &waiting.bytes);
        }
    }

    fn keep(&self, running: &mut Running, bytes: &[u8]) {
        let Some(checkpoints) = &self.checkpoints else {
            return;
        };
        let monitor = running.binding.name();
        if let Err(error) = checkpoints.save(&file_name(monitor), bytes) {
            tracing::warn!(
                monitor,
                error = with_causes(&error),
                "no checkpoint; the next start reads more of the archive"
            );
        }
        running.rows = 0;
        running.due_rows = self.checkpoint_rows + bytes.len() as u64 / CHECKPOINT_BYTES_PER_ROW;
    }
}

fn file_name(monitor: &str) -> String {
    format!("monitor-{monitor}")
}

fn load(checkpoints: &dyn Checkpoints, monitor: &str) -> Option<Vec<u8>> {
    checkpoints
        .load(&file_name(monitor))
        .unwrap_or_else(|error| {
            tracing::warn!(
                monitor,
                error = with_causes(&error),
                "the checkpoint cannot be read; the archive is"
            );
            None
        })
}

fn alarms_of(events: &[MonitorEvent]) -> Vec<Alarm> {
    let notices = events.iter().filter_map(MonitorEvent::alarm);
    let alarm = |notice: &AlarmNotice| Alarm {
        identity: notice.key(),
        notice: notice.clone(),
    };
    notices.map(alarm).collect()
}

/// Where alarms go.
pub(crate) type RaiseAlarm = Box<dyn FnMut(Alarm) + Send>;

/// The pipeline's end: counts batches, moves monitors, hands out alarms.
pub struct MonitorObserver {
    monitors: Arc<Monitors>,
    marks: Arc<PublishedWatermarks>,
    raise: RaiseAlarm,
    runtime: Arc<dyn Runtime>,
}

impl std::fmt::Debug for MonitorObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MonitorObserver")
            .field("monitors", &self.monitors)
            .finish_non_exhaustive()
    }
}

impl MonitorObserver {
    /// An observer whose alarms go to `raise`.
    #[must_use]
    pub fn new(
        monitors: Arc<Monitors>,
        marks: Arc<PublishedWatermarks>,
        raise: RaiseAlarm,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        Self {
            monitors,
            marks,
            raise,
            runtime,
        }
    }

    /// Hold ingest back while other parts have the memory that the monitors need: what ingest
    /// itself has comes back meanwhile. The wait is bounded: monitoring must not stop the data
    /// path.
    fn wait_for_memory(&self) {
        let began = self.runtime.elapsed();
        while !self.monitors.hold_memory() {
            if self.runtime.elapsed().saturating_sub(began) >= MEMORY_WAIT_MAX {
                return;
            }
            self.runtime.wait(self.runtime.sleep(MEMORY_POLL).as_mut());
        }
    }

    fn advance(&mut self, reach: ArchiveReach) {
        for alarm in self.monitors.advance(&self.marks, reach) {
            (self.raise)(alarm);
        }
    }
}

impl BatchObserver for MonitorObserver {
    fn observe(&mut self, batch: &SourceBatch, records: &[MarkRecord], reach: ArchiveReach) {
        self.monitors.decide(records);
        if self.monitors.reads(&batch.source.name) {
            self.monitors.count(&SourceRows::read(batch));
            self.advance(reach);
            self.wait_for_memory();
        }
    }

    fn look(&mut self, look: &Look<'_>) {
        self.monitors.decide(look.records);
        self.monitors.stand(look.stands);
        self.monitors.settle(look.settled);
        self.advance(look.reach);
    }

    fn awaited(&self) -> Vec<Awaited> {
        self.monitors.awaited()
    }
}
