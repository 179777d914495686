//! The monitors of a process: fed by the pipeline with every decoded batch, brought up to date at
//! start by what the archive has beyond their checkpoints, read by metrics and summaries. What they
//! raise goes to `alarms`. `monitor` decides everything; here is what it runs on: files, log lines,
//! and a fence that keeps a panic of one monitor from all else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result};
use forebay_core::definition::MonitorDef;
use forebay_core::ports::{Checkpoints, SourceBatch};
use forebay_core::scope::ScoringScopes;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::watermark::{MarkFact, MarkRecord};
use forebay_monitor::{
    LabelFeed, Monitor, MonitorBinding, MonitorEvent, MonitorOptions, MonitorReport,
    ReferenceProfile, SourceRows, WatchedDeployment,
};
use forebay_pipeline::settlements::Settled;
use forebay_pipeline::{BatchObserver, PublishedWatermarks, contain};
use parking_lot::Mutex;

use super::alarms::{ALARMS_WAITING_MAX, Alarm, AlarmStatus};

/// Rows after which a checkpoint is due, at least.
const CHECKPOINT_ROWS: u64 = 100_000;
/// A checkpoint of this many bytes costs as much as counting a row.
const CHECKPOINT_BYTES_PER_ROW: u64 = 256;

/// One monitor with what it reads, before it runs.
#[derive(Debug)]
pub(crate) struct MonitorParts {
    def: MonitorDef,
    reference: ReferenceProfile,
    deployments: Vec<WatchedDeployment>,
    labels: Option<LabelFeed>,
}

/// Where the reference profile of a monitor lies: beside the model version that it was made for.
#[must_use]
pub(crate) fn profile_path(model_dir: &Path, reference: &str) -> PathBuf {
    model_dir.join(format!("reference-{reference}.json"))
}

impl MonitorParts {
    /// A monitor as defined, with the profile at `profile`.
    ///
    /// # Errors
    /// The profile is missing or damaged, or contradicts the definition; the text says how to make
    /// one.
    pub(crate) fn open(
        def: MonitorDef,
        profile: &Path,
        deployments: Vec<WatchedDeployment>,
        labels: Option<LabelFeed>,
    ) -> Result<Self> {
        let text = std::fs::read_to_string(profile).with_context(|| {
            format!(
                "monitor '{}' has no reference at {}; make it with: forebay profile {} \
                 --training-set FILE --model DIR",
                def.name,
                profile.display(),
                def.reference
            )
        })?;
        let reference: ReferenceProfile = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a reference profile", profile.display()))?;
        let parts = Self {
            def,
            reference,
            deployments,
            labels,
        };
        parts.bind(&ScoringScopes::default())?;
        Ok(parts)
    }

    fn bind(&self, scopes: &ScoringScopes) -> Result<MonitorBinding> {
        let (def, reference) = (self.def.clone(), self.reference.clone());
        let monitor = Monitor::new(def, reference, MonitorOptions::default())?;
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
}

/// All monitors of a process.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    running: Vec<Mutex<Running>>,
    checkpoints: Option<Arc<dyn Checkpoints>>,
}

impl Monitors {
    /// The monitors `parts`, each from its checkpoint where that is one of the same definition,
    /// else from nothing.
    ///
    /// # Errors
    /// A definition is contradictory.
    pub(crate) fn begin(
        parts: &[MonitorParts],
        scopes: &ScoringScopes,
        checkpoints: Arc<dyn Checkpoints>,
    ) -> Result<Self> {
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
                due_rows: CHECKPOINT_ROWS,
            }));
        }
        Ok(Self {
            running,
            checkpoints: Some(checkpoints),
        })
    }

    /// Whether any monitor reads `source`.
    pub(crate) fn reads(&self, source: &str) -> bool {
        let reads = |running: &Mutex<Running>| running.lock().binding.sources().contains(&source);
        self.running.iter().any(reads)
    }

    /// One past the rows of `topic` and `partition` that every monitor which reads `source` has.
    pub(crate) fn covered(&self, source: &SourceDef, partition: i32) -> Option<i64> {
        let readers = self.running.iter().filter_map(|running| {
            let running = running.lock();
            let reads = running.binding.sources().contains(&source.name.as_str());
            reads.then(|| running.binding.covered(&source.topic, partition))
        });
        readers.min()
    }

    /// `source` has rows in these partitions.
    pub(crate) fn expect(&self, source: &SourceDef, partitions: &[i32]) {
        let partitions = partitions.iter().copied().collect();
        for running in &self.running {
            running
                .lock()
                .binding
                .expect_partitions(source, &partitions);
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

    /// Every alarm of the windows that are kept; most were published by an earlier run.
    pub(crate) fn announced(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for running in &self.running {
            let running = running.lock();
            let events = running.binding.announced();
            alarms.extend(alarms_of(running.binding.name(), &events));
        }
        alarms
    }

    /// What every monitor knows now.
    #[must_use]
    pub(crate) fn reports(&self) -> Vec<MonitorReport> {
        let report = |running: &Mutex<Running>| running.lock().binding.report();
        self.running.iter().map(report).collect()
    }

    /// Keep every monitor's state with the offsets that it covers. A failure costs reading the
    /// archive at the next start.
    pub(crate) fn save(&self) {
        for running in &self.running {
            self.checkpoint(&mut running.lock());
        }
    }

    fn readers<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Mutex<Running>> {
        self.running
            .iter()
            .filter(move |running| running.lock().binding.sources().contains(&source))
    }

    /// Count rows, where a batch that cannot be counted is told and passed over: monitoring must
    /// never stop the data path, neither at a start.
    fn count(&self, rows: &SourceRows) {
        let source = &rows.source.name;
        for running in self.readers(source) {
            let mut running = running.lock();
            running.rows += rows.offset.len() as u64;
            let counted = contain("counting", || -> Result<_> {
                Ok(running.binding.observe(rows)?)
            });
            let monitor = running.binding.name();
            match counted {
                Ok(failed) => {
                    if let Some(error) = failed.first {
                        let rows = failed.rows;
                        tracing::warn!(monitor, source, rows, %error, "rows without a label: it fails on them");
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(monitor, source, error, "a batch was not counted");
                }
            }
        }
    }

    /// These events get no prediction. Said again, it changes nothing.
    pub(crate) fn settle(&self, settled: &[Settled]) {
        for events in settled {
            let runs = events.offsets.runs().iter();
            let offsets = runs.flat_map(|(first, last)| *first..=*last);
            for running in &self.running {
                let whose = (events.deployment.as_str(), events.role);
                let place = (events.topic.as_str(), events.partition);
                running.lock().binding.settle(whose, place, offsets.clone());
            }
        }
    }

    /// Partitions that are idle hold nothing back.
    fn hold(&self, records: &[MarkRecord]) {
        for record in records {
            let MarkFact::Hold(hold) = record.fact else {
                continue;
            };
            let place = (&*record.partition.topic, record.partition.partition);
            for running in &self.running {
                running.lock().binding.hold(place, &hold);
            }
        }
    }

    /// Move every monitor as far as `marks` and what was read allow.
    fn advance(&self, marks: &PublishedWatermarks) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for running in &self.running {
            let mut running = running.lock();
            let sources: Vec<String> = running
                .binding
                .sources()
                .into_iter()
                .filter(|source| marks.of(source).is_some())
                .map(str::to_owned)
                .collect();
            // A source with a watermark has no partition whose first rows are still to come.
            for source in sources {
                running.binding.open_gate(&source);
            }
            let events = running.binding.advance();
            alarms.extend(alarms_of(running.binding.name(), &events));
            if running.rows >= running.due_rows {
                self.checkpoint(&mut running);
            }
        }
        alarms
    }

    fn checkpoint(&self, running: &mut Running) {
        let (Some(checkpoints), Some(bytes)) = (&self.checkpoints, running.binding.checkpoint())
        else {
            return;
        };
        let monitor = running.binding.name();
        if let Err(error) = checkpoints.save(&file_name(monitor), &bytes) {
            tracing::warn!(monitor, %error, "no checkpoint; the next start reads more of the archive");
        }
        running.rows = 0;
        running.due_rows = CHECKPOINT_ROWS + bytes.len() as u64 / CHECKPOINT_BYTES_PER_ROW;
    }
}

fn file_name(monitor: &str) -> String {
    format!("monitor-{monitor}")
}

fn load(checkpoints: &dyn Checkpoints, monitor: &str) -> Option<Vec<u8>> {
    checkpoints
        .load(&file_name(monitor))
        .unwrap_or_else(|error| {
            tracing::warn!(monitor, %error, "the checkpoint cannot be read; the archive is");
            None
        })
}

fn alarms_of(monitor: &str, events: &[MonitorEvent]) -> Vec<Alarm> {
    let alarm = |event: &MonitorEvent| {
        let notice = event.alarm()?;
        match notice.outbox_record() {
            Ok(record) => Some(Alarm {
                identity: String::from_utf8_lossy(&record.key).into_owned(),
                status: AlarmStatus {
                    window_end_us: notice.window_end_us,
                    firing: notice.firing,
                },
                record,
            }),
            Err(error) => {
                tracing::error!(monitor, %error, "an alarm cannot be encoded; the monitor still shows it");
                None
            }
        }
    };
    events.iter().filter_map(alarm).collect()
}

/// The pipeline's end: counts batches, moves monitors, hands out alarms.
#[derive(Debug)]
pub(crate) struct MonitorObserver {
    monitors: Arc<Monitors>,
    marks: Arc<PublishedWatermarks>,
    alarms: SyncSender<Alarm>,
}

impl MonitorObserver {
    /// An observer and the alarms that it will raise.
    #[must_use]
    pub(crate) fn new(
        monitors: Arc<Monitors>,
        marks: Arc<PublishedWatermarks>,
    ) -> (Self, Receiver<Alarm>) {
        let (alarms, raised) = sync_channel(ALARMS_WAITING_MAX);
        let observer = Self {
            monitors,
            marks,
            alarms,
        };
        (observer, raised)
    }
}

impl BatchObserver for MonitorObserver {
    fn observe(&mut self, batch: &SourceBatch, _watermark_us: Option<Micros>) {
        if self.monitors.reads(&batch.source.name) {
            self.monitors.count(&SourceRows::read(batch));
            self.look(&[], &[]);
        }
    }

    fn look(&mut self, records: &[MarkRecord], settled: &[Settled]) {
        self.monitors.hold(records);
        self.monitors.settle(settled);
        for alarm in self.monitors.advance(&self.marks) {
            if let Err(refused) = self.alarms.try_send(alarm) {
                tracing::warn!(%refused, "an alarm was not published; the next start does it");
            }
        }
    }
}
