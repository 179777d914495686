//! The ingest loop and its wiring: one thread polls the log, dates the rows, runs the views, and hands each epoch to the
//! shard writers, the archiver and the observers. It pauses (never sheds) when one of them is behind, because their
//! queues are bounded.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_core::ports::{
    Archive, CompiledView, EventLog, FeatureReader, OnlineStore, Publisher, Scorer, ShardWrite, SourceBatch,
};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::{ErrorKind, PortError};

use crate::archive::{Archiver, DeadLetterRows, FlushRule};
use crate::deployment::{Deployment, PlacedScore};
use crate::error::PipelineError;
use crate::prediction::RecordEncoder;
use crate::recovery::{self, Facts};
use crate::repeats::Repeats;
use crate::score::{Scoring, ScoringParts};
use crate::shards::ShardWriters;
use crate::status::{Counters, PipelineStatus};
use crate::step::{Epoch, Step};
use crate::watermark::{PublishedWatermarks, Watermarks};

/// Epochs whose scores may wait for the scorer; the shard writers wait beyond them.
const SCORE_QUEUE_EPOCHS: usize = 8;
/// Pending scores read at once at start.
const PENDING_ROWS: usize = 10_000_000;
/// How often an untouched shard records its progress, and lag is measured.
const IDLE_PROGRESS: Duration = Duration::from_secs(1);
const LAG_EVERY: Duration = Duration::from_millis(500);

/// Looks at every decoded batch, in log order: the monitor.
pub trait BatchObserver: Send {
    /// One batch, repeats dropped, watermarks filled.
    fn observe(&mut self, batch: &SourceBatch, watermark_us: Option<Micros>);
}

/// What the pipeline runs on.
pub struct PipelineParts {
    /// The log.
    pub log: Box<dyn EventLog>,
    /// State.
    pub store: Arc<dyn OnlineStore>,
    /// Delta.
    pub archive: Arc<dyn Archive>,
    /// Sends predictions.
    pub publisher: Arc<dyn Publisher>,
    /// Reads features for scoring.
    pub reader: Arc<dyn FeatureReader>,
    /// Asks models.
    pub scorer: Arc<dyn Scorer>,
    /// Encodes predictions.
    pub encoder: Arc<dyn RecordEncoder>,
    /// Rows of the dead-letter table.
    pub dead_letter_rows: DeadLetterRows,
    /// All sources, those of predictions included.
    pub sources: Vec<Arc<SourceDef>>,
    /// Names of the sources that carry predictions: their repeats are dropped.
    pub prediction_sources: HashSet<String>,
    /// Predictions that the archive already has.
    pub repeats: Repeats,
    /// All views.
    pub views: Vec<Arc<dyn CompiledView>>,
    /// All deployments.
    pub deployments: Vec<Deployment>,
    /// Where the watermarks are shown to readers; outlives one run of the pipeline.
    pub watermarks: Arc<PublishedWatermarks>,
    /// The monitor and the like.
    pub observers: Vec<Box<dyn BatchObserver>>,
    /// Runs what is async.
    pub runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for PipelineParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineParts")
            .field("sources", &self.sources)
            .field("views", &self.views)
            .finish_non_exhaustive()
    }
}

/// Settings of the loop.
#[derive(Debug, Clone, Copy)]
pub struct PipelineSettings {
    /// Rows of one micro-batch at most.
    pub epoch_max_rows: usize,
    /// How long a poll waits for the first record.
    pub epoch_wait: Duration,
    /// When the archive appends.
    pub flush: FlushRule,
    /// How long after its retention a row is still taken, microseconds.
    pub history_us: Micros,
    /// Threads that write shards.
    pub writer_threads: usize,
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    stopping: Arc<AtomicBool>,
    counters: Arc<Counters>,
    watermarks: Arc<PublishedWatermarks>,
    archiver: Archiver,
    ingest: JoinHandle<Result<(), PipelineError>>,
    scoring: Scoring,
    appending: tokio::task::JoinHandle<Result<(), PortError>>,
}

impl Pipeline {
    /// Recover and start. Views must be registered with the store, archive tables open.
    ///
    /// # Errors
    /// The state follows another log, a gap in the log, or an adapter fails.
    pub fn start(mut parts: PipelineParts, settings: PipelineSettings) -> Result<Self, PipelineError> {
        let plan = recover(&mut parts)?;
        parts.log.assign(&parts.sources, &plan.starts)?;
        let counters = Arc::new(Counters::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let (release, released) = sync_channel(SCORE_QUEUE_EPOCHS);
        let scoring = Scoring::start(&scoring_parts(&parts, &stopping, &counters), released)?;
        let writers = ShardWriters::start(&parts.store, settings.writer_threads, release, &counters)?;
        let (archiver, appending) = Archiver::start(
            &parts.runtime,
            Arc::clone(&parts.archive),
            parts.dead_letter_rows,
            settings.flush,
            Arc::clone(&counters),
        );
        let published = Arc::clone(&parts.watermarks);
        let watermarks = Watermarks::recovered(&plan.reached, parts.watermarks);
        let ingest = Ingest {
            recovered: (0..parts.store.shards()).map(|shard| parts.store.applied(shard)).collect(),
            waiting: recovered_scores(parts.store.as_ref())?,
            step: Step { views: parts.views, deployments: parts.deployments, history_us: settings.history_us },
            committed: vec![Instant::now(); usize::from(parts.store.shards())],
            log: parts.log,
            prediction_sources: parts.prediction_sources,
            repeats: parts.repeats,
            observers: parts.observers,
            archiver: archiver.clone(),
            reached: plan.reached,
            counters: Arc::clone(&counters),
            stopping: Arc::clone(&stopping),
            measured: Instant::now(),
            watermarks,
            writers,
            settings,
        };
        let ingest = std::thread::Builder::new()
            .name("ingest".to_owned())
            .spawn(move || ingest.run())
            .map_err(|e| PortError::with_source(ErrorKind::ResourceExhausted, "cannot start ingest", e))?;
        Ok(Self { stopping, counters, watermarks: published, archiver, ingest, scoring, appending })
    }

    /// Counters, now.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.counters.snapshot()
    }

    /// A handle to the counters.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Watermarks, now and later.
    #[must_use]
    pub fn watermarks(&self) -> Arc<PublishedWatermarks> {
        Arc::clone(&self.watermarks)
    }

    /// Append to Delta what was read before this call.
    #[must_use]
    pub fn archiver(&self) -> Archiver {
        self.archiver.clone()
    }

    /// Stop reading, finish what was read (commits, scores, publishing, archive), and end.
    ///
    /// # Errors
    /// The first error of any thread.
    pub async fn stop(self) -> Result<(), PipelineError> {
        self.stopping.store(true, Ordering::Relaxed);
        let threads = tokio::task::spawn_blocking(move || {
            let ingest = self.ingest.join().unwrap_or(Err(PipelineError::ThreadGone("ingest")));
            let scoring = self.scoring.join();
            ingest.and(scoring)
        });
        drop(self.archiver);
        let outcome = threads.await.unwrap_or(Err(PipelineError::ThreadGone("ingest")));
        let appended = self.appending.await.unwrap_or_else(|e| Err(PortError::internal(e.to_string())));
        let appended = appended.map_err(PipelineError::from);
        outcome.and(appended)
    }
}

fn scoring_parts(parts: &PipelineParts, stopping: &Arc<AtomicBool>, counters: &Arc<Counters>) -> ScoringParts {
    ScoringParts {
        store: Arc::clone(&parts.store),
        reader: Arc::clone(&parts.reader),
        scorer: Arc::clone(&parts.scorer),
        encoder: Arc::clone(&parts.encoder),
        publisher: Arc::clone(&parts.publisher),
        deployments: parts.deployments.clone(),
        runtime: parts.runtime.clone(),
        stopping: Arc::clone(stopping),
        counters: Arc::clone(counters),
    }
}

fn recover(parts: &mut PipelineParts) -> Result<recovery::Plan, PipelineError> {
    let mut facts = Facts {
        shards: (0..parts.store.shards()).map(|shard| parts.store.applied(shard)).collect(),
        known_cluster: parts.store.log_identity()?,
        found_cluster: parts.log.cluster_id()?,
        ..Facts::default()
    };
    for source in &parts.sources {
        let partitions = parts.log.partitions(&source.topic)?;
        facts.partitions.extend(partitions.into_iter().map(|p| TopicPartition::new(source.topic.as_str(), p)));
        let progress = parts.runtime.block_on(parts.archive.progress(&source.name))?;
        facts.archives.insert(source.topic.clone(), progress);
    }
    let plan = recovery::plan(&facts)?;
    parts.store.set_log_identity(&facts.found_cluster)?;
    tracing::info!(partitions = facts.partitions.len(), starts = ?plan.starts, "recovered");
    Ok(plan)
}

fn recovered_scores(store: &dyn OnlineStore) -> Result<Vec<PlacedScore>, PipelineError> {
    let mut scores = Vec::new();
    for shard in 0..store.shards() {
        let pending = store.pending(shard, PENDING_ROWS)?;
        scores.extend(pending.into_iter().map(|score| PlacedScore { shard, score }));
    }
    Ok(scores)
}

struct Ingest {
    log: Box<dyn EventLog>,
    step: Step,
    writers: ShardWriters,
    archiver: Archiver,
    observers: Vec<Box<dyn BatchObserver>>,
    prediction_sources: HashSet<String>,
    repeats: Repeats,
    watermarks: Watermarks,
    /// What each shard had at start: events below it are pending in the store or settled already.
    recovered: Vec<Arc<Applied>>,
    /// Pending scores found at start; released when every shard has what the furthest one had.
    waiting: Vec<PlacedScore>,
    reached: Applied,
    committed: Vec<Instant>,
    measured: Instant,
    settings: PipelineSettings,
    counters: Arc<Counters>,
    stopping: Arc<AtomicBool>,
}

impl Ingest {
    fn run(mut self) -> Result<(), PipelineError> {
        let outcome = self.serve();
        if let Err(error) = &outcome {
            tracing::error!(%error, "ingest has stopped; reads go on");
            self.counters.failed.store(true, Ordering::Relaxed);
        }
        let Self { writers, .. } = self;
        let stopped = writers.stop();
        outcome.and(stopped)
    }

    fn serve(&mut self) -> Result<(), PipelineError> {
        while !self.stopping.load(Ordering::Relaxed) {
            let batches = match self.log.poll(self.settings.epoch_max_rows, self.settings.epoch_wait) {
                Ok(batches) => batches,
                Err(error) if error.kind().is_retriable() => {
                    tracing::warn!(%error, "the log does not answer and is asked again");
                    std::thread::sleep(self.settings.epoch_wait.max(Duration::from_millis(50)));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.epoch(batches)?;
            self.measure();
        }
        // A clean stop leaves every shard at the reader's position, so that a restart reads nothing again.
        let all = (0..self.committed.len()).map(|shard| (index(shard), self.progress_only())).collect();
        self.writers.submit(all, Vec::new())
    }

    fn epoch(&mut self, batches: Vec<SourceBatch>) -> Result<(), PipelineError> {
        let mut epoch = Epoch::new(index(self.committed.len()));
        for batch in batches {
            self.batch(batch, &mut epoch)?;
        }
        epoch.scores.retain(|placed| is_new(&self.recovered, placed));
        let release = !self.waiting.is_empty() && self.caught_up();
        if release {
            let mut scores = std::mem::take(&mut self.waiting);
            scores.append(&mut epoch.scores);
            epoch.scores = scores;
        }
        let mut writes = Vec::with_capacity(epoch.writes.len());
        for (shard, mut write) in epoch.writes.into_iter().enumerate() {
            let touched = !write.folds.is_empty() || !write.pending.is_empty();
            let idle = self.committed[shard].elapsed() >= IDLE_PROGRESS;
            if touched || idle || release {
                write.progress = self.watermarks.all_progress();
                self.committed[shard] = Instant::now();
                writes.push((index(shard), write));
            }
        }
        if epoch.rows > 0 {
            self.counters.epochs.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.scores_waiting.fetch_add(epoch.scores.len() as u64, Ordering::Relaxed);
        if writes.is_empty() { Ok(()) } else { self.writers.submit(writes, epoch.scores) }
    }

    fn batch(&mut self, mut batch: SourceBatch, epoch: &mut Epoch) -> Result<(), PipelineError> {
        batch.origin.watermark_us = self.watermarks.pass(&batch);
        if self.prediction_sources.contains(&batch.source.name) {
            let (kept, repeats) = self.repeats.drop_from(batch)?;
            batch = kept;
            self.counters.repeats.fetch_add(repeats as u64, Ordering::Relaxed);
        }
        let late = self.step.run(&batch, epoch)?;
        let up_to = batch.read_up_to.iter().map(|(p, _)| (p.clone(), self.watermarks.progress(p))).collect();
        self.archiver.rows(&batch, &late, up_to)?;
        let watermark = self.watermarks.published().of(&batch.source.name);
        for observer in &mut self.observers {
            observer.observe(&batch, watermark);
        }
        self.count(&batch, &late, watermark);
        Ok(())
    }

    fn count(&self, batch: &SourceBatch, late: &[bool], watermark: Option<Micros>) {
        let rows = batch.rows.num_rows() as u64;
        self.counters.rows.fetch_add(rows, Ordering::Relaxed);
        self.counters.late_rows.fetch_add(late.iter().filter(|l| **l).count() as u64, Ordering::Relaxed);
        let mut sources = self.counters.sources.lock();
        let status = sources.entry(batch.source.name.clone()).or_default();
        status.rows += rows;
        status.dead_letters += batch.dead_letters.len() as u64;
        status.watermark_us = watermark;
    }

    /// Every partition stands where the furthest shard stood at start.
    fn caught_up(&self) -> bool {
        self.reached.0.iter().all(|(p, reached)| self.watermarks.progress(p).next_offset >= reached.next_offset)
    }

    fn progress_only(&self) -> ShardWrite {
        ShardWrite { progress: self.watermarks.all_progress(), ..ShardWrite::default() }
    }

    fn measure(&mut self) {
        if self.measured.elapsed() < LAG_EVERY {
            return;
        }
        self.measured = Instant::now();
        let Ok(ends) = self.log.end_offsets() else { return };
        let mut lag: BTreeMap<&str, u64> = BTreeMap::new();
        for (partition, end) in &ends {
            let behind = end - self.watermarks.progress(partition).next_offset;
            *lag.entry(&*partition.topic).or_default() += u64::try_from(behind).unwrap_or(0);
        }
        for (name, status) in self.counters.sources.lock().iter_mut() {
            status.lag_records = lag.get(name.as_str()).copied().unwrap_or(0);
        }
    }
}

fn is_new(recovered: &[Arc<Applied>], placed: &PlacedScore) -> bool {
    let key = &placed.score.key;
    let partition = TopicPartition::new(key.topic.as_str(), key.partition);
    key.offset >= recovered[usize::from(placed.shard)].next_offset(&partition)
}

fn index(shard: usize) -> u16 {
    u16::try_from(shard).unwrap_or(u16::MAX)
}
