//! The pipeline's parts, its threads, and the order in which they start and stop. Start: scoring,
//! shard writers, archiver, the watch over the log, and the ingest thread that feeds them and reads
//! each source when the watch says so. Stop: the reader first, then each thread behind it when its
//! queue is empty.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::PortResult;
use forebay_core::memory::Budget;
use forebay_core::ports::{
    Archive, CompiledView, EpochWriter, EventLog, FeatureReader, LogInspector, LogNotes,
    OnlineStore, Publisher, Runtime, Scorer, StateProgress,
};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::{Clock, Micros};
use forebay_core::watermark::MarkRecord;
use futures::future::join;
use tokio::sync::oneshot;

use crate::archive::{Appending, Archiver, ArchiverParts, DeadLetterRows};
use crate::board::Board;
use crate::deployment::Deployment;
use crate::error::{PipelineError, first_cause};
use crate::gaps::{self, Accepted, GapRequest, Listed};
use crate::ingest::Ingest;
use crate::lost::Lost;
use crate::observer::BatchObserver;
use crate::own_cluster::{OwnCluster, OwnTopics};
use crate::pace::Pace;
use crate::prediction::RecordEncoder;
use crate::reads::Reads;
use crate::recovery::{self, Plan};
use crate::repeats::Repeats;
use crate::room::Room;
use crate::runtime::{ANSWER_MAX, Crew, Thread, in_time};
use crate::score::intake::{Intake, ScoringLimits};
use crate::score::released::Released;
use crate::score::{Scoring, ScoringLook, ScoringParts};
use crate::settings::PipelineSettings;
use crate::settlements::{SettledNotes, Settlements, Settling};
use crate::shards::ShardWriters;
use crate::status::{Counters, PipelineStatus};
use crate::step::Step;
use crate::watch::{LogWatch, WatchParts};
use crate::watermark::table::MARKS_TABLE;
use crate::watermark::{ArchivedMarks, PublishedWatermarks, Unrecorded, Watermarks, show_recorded};

/// What the pipeline runs on.
pub struct PipelineParts {
    /// The log.
    pub log: Box<dyn EventLog>,
    /// Answers about it.
    pub inspector: Box<dyn LogInspector>,
    /// What the state remembers of it.
    pub notes: Arc<dyn LogNotes>,
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
    /// Encodes predictions, and rows that become dead letters.
    pub encoder: Arc<dyn RecordEncoder>,
    /// Rows of the dead-letter table.
    pub dead_letter_rows: DeadLetterRows,
    /// All sources, those of predictions included.
    pub sources: Vec<Arc<SourceDef>>,
    /// Those of them whose table cannot be used, each with the reason. They are halted for as long
    /// as this run lasts: what the filter of repeats and the monitors know of them lacks its rows.
    pub unusable: BTreeMap<String, String>,
    /// Names of the sources that carry predictions: their repeats are dropped.
    pub prediction_sources: HashSet<String>,
    /// The predictions that the archive has ([`Repeats::note`]).
    pub repeats: Repeats,
    /// Those of the decisions about time which the archive has
    /// ([`crate::watermark::table`]) that the shards may lack.
    pub marks: Vec<MarkRecord>,
    /// What the archive has of them all.
    pub archived_marks: Arc<ArchivedMarks>,
    /// All views.
    pub views: Vec<Arc<dyn CompiledView>>,
    /// All deployments.
    pub deployments: Vec<Deployment>,
    /// Where the watermarks are shown to readers; outlives one run of the pipeline.
    pub watermarks: Arc<PublishedWatermarks>,
    /// The present: it bounds how far events move watermarks.
    pub clock: Arc<dyn Clock>,
    /// Where to count; outlives one run of the pipeline, and no two run at once over one.
    pub counters: Arc<Counters>,
    /// The monitor and the like.
    pub observers: Vec<Box<dyn BatchObserver>>,
    /// Where threads, sleeps and monotonic time come from.
    pub runtime: Arc<dyn Runtime>,
    /// What rows on their way to the archive draw on.
    pub memory: Arc<Budget>,
}

impl std::fmt::Debug for PipelineParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineParts")
            .field("sources", &self.sources)
            .field("views", &self.views)
            .finish_non_exhaustive()
    }
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    runtime: Arc<dyn Runtime>,
    stopping: Arc<AtomicBool>,
    counters: Arc<Counters>,
    watermarks: Arc<PublishedWatermarks>,
    archiver: Archiver,
    ingest: Thread<Result<(), PipelineError>>,
    scoring: Scoring,
    appending: Appending,
    settling: Settling,
    watch: LogWatch,
    pace: Arc<Pace>,
    publisher: Arc<dyn Publisher>,
}

impl PipelineParts {
    /// Keep all state, where events are scored. End offsets of the log are unknown until the first
    /// look at it, so that everything may be backlog.
    fn hold_expiry(&self) -> Option<Micros> {
        let held_us = (!self.deployments.is_empty()).then_some(Micros::MIN);
        self.store.keep_from(held_us);
        held_us
    }

    /// Where to count, from here on for these sources and deployments.
    fn begin_counters(&self) -> Arc<Counters> {
        self.counters.begin(&self.sources, &self.deployments);
        Arc::clone(&self.counters)
    }

    /// Publish nothing before the broker is known to be the one that the state follows: the board
    /// tells.
    fn publish_to_own_cluster(&mut self) -> Arc<Board> {
        let board = Arc::<Board>::default();
        let publisher = Arc::clone(&self.publisher);
        let topics = OwnTopics::new(Arc::clone(&board), Arc::clone(&self.runtime));
        self.publisher = Arc::new(OwnCluster::new(publisher, topics));
        board
    }
}

/// What each batch goes through.
fn step_of(
    views: Vec<Arc<dyn CompiledView>>,
    deployments: Vec<Deployment>,
    history_us: Micros,
) -> Step {
    Step {
        views,
        deployments,
        history_us,
        ..Step::default()
    }
}

impl Pipeline {
    /// Start. Views must be registered with the store, archive tables open. Not to be called from
    /// async code. Does not wait for the broker: each source is read as soon as its log is known to
    /// be the one that the state follows, and halted alone where it is not.
    ///
    /// # Errors
    /// Two sources over one topic, or the state cannot be read.
    pub fn start(
        mut parts: PipelineParts,
        settings: PipelineSettings,
    ) -> Result<Self, PipelineError> {
        recovery::check_topics(&parts.sources)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let crew = Arc::new(Crew::over(parts.runtime));
        parts.runtime = Arc::<Crew>::clone(&crew);
        parts.repeats.begin();
        let started = Self::start_parts(parts, settings, Arc::clone(&stopping));
        started.inspect_err(|_| {
            // What has started by then ends: nothing may run beside the next try.
            stopping.store(true, Ordering::Relaxed);
            crew.wait_for_all();
        })
    }

    fn start_parts(
        mut parts: PipelineParts,
        settings: PipelineSettings,
        stopping: Arc<AtomicBool>,
    ) -> Result<Self, PipelineError> {
        let (held_us, board) = (parts.hold_expiry(), parts.publish_to_own_cluster());
        let (counters, shards) = (parts.begin_counters(), parts.store.shards());
        let workers = start_workers(&parts, settings, &stopping, &counters)?;
        let (archiver, appending) = start_archiver(&parts, settings, &counters, &stopping)?;
        let (watermarks, unrecorded) = recovered_marks(&parts, &archiver)?;
        let watch = WatchParts {
            inspector: parts.inspector,
            notes: parts.notes,
            store: Arc::<dyn OnlineStore>::clone(&parts.store),
            archive: Arc::clone(&parts.archive),
            sources: parts.sources.clone(),
            marks: parts.marks,
            counters: Arc::clone(&counters),
            runtime: Arc::clone(&parts.runtime),
            memory: Arc::clone(&parts.memory),
            stopping: Arc::clone(&stopping),
            backlog: archiver.backlog(),
            unusable: parts.unusable,
        };
        let ingest = Ingest {
            shards,
            intake: Intake::new(settings.scoring),
            step: step_of(parts.views, parts.deployments, settings.history_us),
            log: parts.log,
            sources: parts.sources,
            scores: Arc::<dyn OnlineStore>::clone(&parts.store),
            store: parts.store,
            held_us,
            prediction_sources: parts.prediction_sources,
            repeats: parts.repeats,
            lost: Lost::default(),
            observers: parts.observers,
            archiver: archiver.clone(),
            counters: Arc::clone(&counters),
            stopping: Arc::clone(&stopping),
            archived: Applied::default(),
            archive_told: HashMap::new(),
            reads: Reads::default(),
            board,
            watermarks,
            clock: parts.clock,
            runtime: Arc::clone(&parts.runtime),
            unrecorded,
            archived_marks: parts.archived_marks,
            settled: workers.settled,
            writers: workers.writers,
            pace: Arc::default(),
            settings,
        };
        Ok(Self {
            runtime: parts.runtime,
            pace: Arc::clone(&ingest.pace),
            watch: LogWatch::start(watch, Arc::clone(&ingest.board))?,
            ingest: ingest.spawn()?,
            stopping,
            counters,
            watermarks: parts.watermarks,
            archiver,
            scoring: workers.scoring,
            appending,
            settling: workers.settling,
            publisher: parts.publisher,
        })
    }

    /// What is halted, and which of it can be accepted.
    #[must_use]
    pub fn halts(&self) -> Vec<Listed> {
        gaps::list(&self.watch.board.decisions())
    }

    /// Accept the gaps of `source`, or of one of its partitions: its log does not hold, or nobody
    /// can read, those offsets. The answer comes when they are in archive and state; reading goes
    /// on behind them by itself.
    ///
    /// # Errors
    /// Through the answer: there is no gap, or a store fails. None comes when the pipeline stops.
    #[must_use]
    pub fn accept_gaps(
        &self,
        source: &str,
        partition: Option<i32>,
        now_us: Micros,
    ) -> oneshot::Receiver<Result<Vec<Accepted>, PipelineError>> {
        self.watch.board.ask(GapRequest {
            source: source.to_owned(),
            partition,
            now_us,
        })
    }

    /// Publishes to the cluster that the state follows alone: whoever sends beside scoring sends
    /// through it too.
    #[must_use]
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::clone(&self.publisher)
    }

    /// What is asked before an event is sent beside scoring, by a publisher of one's own.
    #[must_use]
    pub fn own_topics(&self) -> OwnTopics {
        OwnTopics::new(Arc::clone(&self.watch.board), Arc::clone(&self.runtime))
    }

    /// Counters, now.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.counters.snapshot()
    }

    /// Whether events are read. False once any thread has failed for good: reads of features go on.
    #[must_use]
    pub fn is_ingesting(&self) -> bool {
        !self.ingest.is_finished()
    }

    /// Read so many rows a second at most, over all sources; None: as fast as it goes.
    pub fn limit_rows(&self, rows_per_s: Option<NonZeroU64>) {
        self.pace.limit(rows_per_s);
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

    /// What waits to be scored and published.
    #[must_use]
    pub fn scoring(&self) -> ScoringLook {
        self.scoring.look()
    }

    /// Stop reading, finish what was read (commits, scores, publishing, archive), and end. Scores
    /// and predictions that cannot be finished, or not in
    /// [`SCORING_DRAIN_MAX_MS`](forebay_core::limits::SCORING_DRAIN_MAX_MS), stay in the store, for
    /// the next start; an append that does not end in
    /// [`ARCHIVE_DRAIN_MAX_MS`](forebay_core::limits::ARCHIVE_DRAIN_MAX_MS) is left behind.
    pub async fn stop(self) -> Stopped {
        self.stopping.store(true, Ordering::Relaxed);
        let gone = || Err(PipelineError::ThreadGone("ingest"));
        let runtime = Arc::clone(&self.runtime);
        let threads = Thread::spawn(&self.runtime, "stop", move || {
            self.watch.stop(runtime.as_ref());
            let ingest = self.ingest.join().unwrap_or_else(gone);
            first_cause([ingest, self.scoring.join()])
        });
        let threads = match threads {
            Ok(threads) => threads.joined().await.unwrap_or_else(gone),
            Err(error) => Err(error.into()),
        };
        join(self.settling.finish(), self.archiver.close()).await;
        let mut unarchived = BTreeMap::new();
        for (table, lane) in self.appending {
            let gone = || Err(PipelineError::ThreadGone("archiver"));
            let appended = lane.joined().await;
            if let Err(error) = appended.map_or_else(gone, |done| Ok(done?)) {
                unarchived.insert(table, error);
            }
        }
        Stopped {
            failed: threads.err(),
            unarchived,
        }
    }
}

/// How ingest has ended.
#[derive(Debug, Default)]
pub struct Stopped {
    /// What the reader, a shard or scoring met.
    failed: Option<PipelineError>,
    /// Why a table lacks rows that were read, by its name, which is its source's. The next start
    /// reads them again.
    unarchived: BTreeMap<String, PipelineError>,
}

impl Stopped {
    /// The first error of any part; an append or a commit that fails is one.
    ///
    /// # Errors
    /// As said.
    pub fn all(self) -> Result<(), PipelineError> {
        let failed = self.failed.into_iter();
        first_cause(failed.chain(self.unarchived.into_values()).map(Err))
    }

    /// Whether the archive has all that was read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed.is_none() && self.unarchived.is_empty()
    }

    /// Why the archive lacks rows of `source` that were read; None where an append says nothing of
    /// that.
    #[must_use]
    pub fn lacks(&self, source: &str) -> Option<&PipelineError> {
        self.unarchived.get(source)
    }

    /// What the reader, a shard or scoring met. What the archive has then only a look at it tells.
    #[must_use]
    pub fn failed(&self) -> Option<&PipelineError> {
        self.failed.as_ref()
    }
}

/// What moves notes to the archive, and what it has moved.
fn settling(
    parts: &PipelineParts,
    stopping: &Arc<AtomicBool>,
    counters: &Arc<Counters>,
) -> Result<(Settling, Arc<SettledNotes>), PipelineError> {
    let settlements = Settlements {
        runtime: Arc::clone(&parts.runtime),
        store: Arc::<dyn OnlineStore>::clone(&parts.store),
        archive: Arc::clone(&parts.archive),
        counters: Arc::clone(counters),
        settled: Arc::<SettledNotes>::default(),
        ended: Arc::default(),
        stopping: Arc::clone(stopping),
    };
    let settled = Arc::clone(&settlements.settled);
    Ok((settlements.start()?, settled))
}

/// What takes epochs from the ingest thread: shard writers, and scoring behind them.
struct Workers {
    scoring: Scoring,
    settling: Settling,
    /// Events that are settled without a prediction, for observers.
    settled: Arc<SettledNotes>,
    writers: ShardWriters,
}

fn start_workers(
    parts: &PipelineParts,
    settings: PipelineSettings,
    stopping: &Arc<AtomicBool>,
    counters: &Arc<Counters>,
) -> Result<Workers, PipelineError> {
    // First: scoring notes what it cannot score, by the numbers that this finds.
    let (settling, settled) = settling(parts, stopping, counters)?;
    let released = released(parts);
    let scoring = scoring_parts(parts, settings.scoring, stopping, counters);
    let scoring = Scoring::start(scoring, &released)?;
    let writer: Arc<dyn EpochWriter> = Arc::<dyn OnlineStore>::clone(&parts.store);
    Ok(Workers {
        scoring,
        settled,
        settling,
        writers: ShardWriters::start(
            &parts.runtime,
            &writer,
            settings.writer_threads,
            &released,
            counters,
            stopping,
            Room::of(&parts.memory),
        )?,
    })
}

/// Of what every shard has recovered scores may be computed at once.
fn released(parts: &PipelineParts) -> Arc<Released> {
    let shards: Vec<_> = (0..parts.store.shards())
        .map(|shard| parts.store.applied(shard))
        .collect();
    let places = shards.iter().flat_map(|applied| applied.0.keys());
    let read = |place: &&TopicPartition| parts.sources.iter().any(|s| *s.topic == *place.topic);
    let now = parts.runtime.elapsed();
    Arc::new(Released::recovered(places.filter(read), &shards, now))
}

fn scoring_parts(
    parts: &PipelineParts,
    limits: ScoringLimits,
    stopping: &Arc<AtomicBool>,
    counters: &Arc<Counters>,
) -> ScoringParts {
    let sources = parts.sources.iter();
    ScoringParts {
        topics: sources.map(|s| (s.name.clone(), s.topic.clone())).collect(),
        store: Arc::<dyn OnlineStore>::clone(&parts.store),
        state: Arc::<dyn OnlineStore>::clone(&parts.store),
        reader: Arc::clone(&parts.reader),
        scorer: Arc::clone(&parts.scorer),
        encoder: Arc::clone(&parts.encoder),
        publisher: Arc::clone(&parts.publisher),
        deployments: parts.deployments.clone(),
        watermarks: Arc::clone(&parts.watermarks),
        runtime: Arc::clone(&parts.runtime),
        limits,
        memory: Arc::clone(&parts.memory),
        stopping: Arc::clone(stopping),
        counters: Arc::clone(counters),
    }
}

fn start_archiver(
    parts: &PipelineParts,
    settings: PipelineSettings,
    counters: &Arc<Counters>,
    stopping: &Arc<AtomicBool>,
) -> PortResult<(Archiver, Appending)> {
    let marks = parts.archive.progress(MARKS_TABLE);
    let archiver = ArchiverParts {
        runtime: Arc::clone(&parts.runtime),
        archive: Arc::clone(&parts.archive),
        dead_letter_rows: parts.dead_letter_rows,
        rule: settings.flush,
        counters: Arc::clone(counters),
        stopping: Arc::clone(stopping),
        known_marks: Arc::clone(&parts.archived_marks),
        marks_up_to: in_time(parts.runtime.as_ref(), (MARKS_TABLE, ANSWER_MAX), marks)?,
        room: Room::of(&parts.memory),
    };
    Archiver::start(archiver, &parts.sources)
}

/// Marks of a run that has read nothing yet, with what any shard and the archive have recorded for
/// when their partitions join. What only a shard has goes to the archive too, and what a shard
/// lacks, since a crash left it behind, to its next write.
fn recovered_marks(
    parts: &PipelineParts,
    archiver: &Archiver,
) -> Result<(Watermarks, Vec<Unrecorded>), PipelineError> {
    let shards = (0..parts.store.shards()).map(|shard| parts.store.marks(shard));
    let shards = shards.collect::<PortResult<Vec<_>>>()?;
    let mut records: BTreeSet<MarkRecord> = shards.iter().flatten().cloned().collect();
    let lacking: Vec<MarkRecord> = records
        .iter()
        .filter(|record| parts.archived_marks.lacks(record))
        .cloned()
        .collect();
    if !lacking.is_empty() {
        archiver.marks(&lacking)?;
    }
    records.extend(parts.marks.iter().cloned());
    let records: Vec<MarkRecord> = records.into_iter().collect();
    let published = &parts.watermarks;
    let store: &dyn StateProgress = parts.store.as_ref();
    let state = (store, parts.notes.as_ref());
    for source in &parts.sources {
        show_recorded(source, state, &records, published)?;
        let watermark_us = published.of(&source.name);
        parts.counters.watermark(&source.name, watermark_us);
    }
    let (plan, archived) = (Plan::default(), Applied::default());
    let marks = Watermarks::recovered(&plan, &records, &archived, Arc::clone(published));
    let all = Unrecorded::of_shard(&records);
    let lacked = |known: &Vec<MarkRecord>| {
        let mut unrecorded = all.clone();
        unrecorded.forget(known);
        unrecorded
    };
    let unrecorded = shards.iter().map(lacked).collect();
    Ok((marks, unrecorded))
}
