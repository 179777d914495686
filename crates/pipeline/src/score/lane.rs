//! What the threads of one deployment have in common: the parts that they work on, the room in its
//! outboxes, when they end, and where they show how they do. Holds no state of its own but that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use forebay_core::PortResult;
use forebay_core::limits::SCORING_CHUNK_MAX_ROWS;
use forebay_core::memory::Budget;
use forebay_core::ports::{
    FeatureReader, Publisher, Runtime, ScoreLoad, ScoreQueue, Scorer, StateReader,
};
use forebay_core::prediction::Arm;
use forebay_core::time::Micros;
use forebay_telemetry::Timing;
use parking_lot::Mutex;

use crate::deployment::Deployment;
use crate::log_throttle::LogThrottle;
use crate::prediction::{RecordEncoder, SourceTopics};
use crate::retry::Retry;
use crate::score::bell::Bell;
use crate::score::intake::ScoringLimits;
use crate::score::released::Released;
use crate::status::{Counters, DeploymentStatus};
use crate::watermark::PublishedWatermarks;

/// What scoring needs.
#[derive(Debug, Clone)]
pub(crate) struct ScoringParts {
    /// Holds pending scores, outbox and notes.
    pub(crate) store: Arc<dyn ScoreQueue>,
    /// Says what a prediction had applied.
    pub(crate) state: Arc<dyn StateReader>,
    /// Reads features.
    pub(crate) reader: Arc<dyn FeatureReader>,
    /// Asks models.
    pub(crate) scorer: Arc<dyn Scorer>,
    /// Encodes predictions.
    pub(crate) encoder: Arc<dyn RecordEncoder>,
    /// Sends them.
    pub(crate) publisher: Arc<dyn Publisher>,
    /// The topics of all sources.
    pub(crate) topics: SourceTopics,
    /// Every deployment.
    pub(crate) deployments: Vec<Deployment>,
    /// Tells how old a waiting event is.
    pub(crate) watermarks: Arc<PublishedWatermarks>,
    /// Runs threads and the scorer's futures.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// How much may wait and be under way.
    pub(crate) limits: ScoringLimits,
    /// Where the rows of a chunk are charged; their features are charged by the reader.
    pub(crate) memory: Arc<Budget>,
    /// Set when the pipeline stops: nothing is tried again.
    pub(crate) stopping: Arc<AtomicBool>,
    /// Where to count.
    pub(crate) counters: Arc<Counters>,
}

/// Whether there is room for one more chunk of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is, and it is taken.
    Taken,
    /// No more waits than is under way.
    Unneeded,
    /// Too much waits for the topic; event time of the oldest pending score of the arm.
    Full(Option<Micros>),
}

/// When the threads of a stage end.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Nothing new becomes pending: end when all is done.
    pub(crate) drained: AtomicBool,
    /// End now, and leave the rest.
    pub(crate) abandoned: AtomicBool,
}

/// One deployment's share of the stage: what its threads have in common.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) parts: Arc<ScoringParts>,
    pub(crate) name: String,
    /// None for one that is no longer defined and left something behind.
    pub(crate) deployment: Option<Deployment>,
    pub(crate) released: Arc<Released>,
    pub(crate) bell: Arc<Bell>,
    /// How long its events wait.
    pub(crate) waits: Arc<Timing>,
    pub(crate) ends: Arc<Ends>,
    /// Scoring threads that have not ended, one for each arm: without any nothing more comes into
    /// the outbox.
    pub(crate) scorers: Arc<AtomicUsize>,
    /// Arms for which something waited at the start and to which no route leads any more.
    pub(crate) unrouted: Arc<[Arm]>,
    /// Rows of each arm that are under way, or for which room in the outbox is taken.
    pub(crate) under_way: Arc<Mutex<BTreeMap<Arm, usize>>>,
    /// Rows that its model refuses.
    pub(crate) refused_rows: Arc<LogThrottle>,
    /// Predictions that a topic refuses.
    pub(crate) refused_predictions: Arc<LogThrottle>,
    /// Predictions that do not name what their features had applied.
    pub(crate) unnamed: Arc<LogThrottle>,
}

impl Lane {
    pub(crate) fn retry(&self) -> Retry<'_> {
        Retry {
            runtime: self.runtime(),
            stopping: &self.parts.stopping,
            counters: &self.parts.counters,
        }
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        self.parts.runtime.as_ref()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.parts.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.ends.abandoned.load(Ordering::Acquire)
    }

    /// What waits over all shards.
    pub(crate) fn load(&self) -> PortResult<ScoreLoad> {
        let mut load = ScoreLoad::default();
        for shard in 0..self.parts.store.shards() {
            if let Some(of_shard) = self.parts.store.score_load(shard)?.get(&self.name) {
                load = load.and(of_shard);
            }
        }
        Ok(load)
    }

    /// Watermark of the deployment's source.
    pub(crate) fn watermark_us(&self) -> Option<Micros> {
        let source = self.deployment.as_ref()?.source();
        self.parts.watermarks.of(source)
    }

    /// Whether scoring by `arm` fails now.
    pub(crate) fn is_failing(&self, arm: Arm) -> bool {
        let deployments = self.parts.counters.deployments.lock();
        let status = deployments.get(&self.name);
        status.is_some_and(|status| status.scoring.contains_key(&arm))
    }

    /// Why publishing to `topic` fails now.
    pub(crate) fn publishing_failure(&self, topic: &str) -> Option<String> {
        let deployments = self.parts.counters.deployments.lock();
        let status = deployments.get(&self.name)?;
        status.publishing.get(topic).cloned()
    }

    /// Change what is shown of this deployment.
    pub(crate) fn show(&self, change: impl FnOnce(&mut DeploymentStatus)) {
        let mut deployments = self.parts.counters.deployments.lock();
        change(deployments.entry(self.name.clone()).or_default());
    }

    /// Room for one more chunk of `arm` among what waits for `topic`, that of its role; where there
    /// is some, it is taken from now on. What waits for another topic takes none of it. Nothing is
    /// taken where no more of the arm waits than is under way. An arm with nothing under way asks
    /// nobody what others have: one that hangs would keep its room from them. So the limit may be
    /// exceeded by a chunk for each further arm of the role.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(crate) fn take_room(&self, arm: Arm, topic: &str) -> PortResult<Room> {
        let mut under_way = self.under_way.lock();
        // Looked at under the lock: what another arm settles meanwhile counts in the outbox, or as
        // under way still.
        let load = self.load()?;
        let own = under_way.get(&arm).copied().unwrap_or_default();
        let of_role = under_way.iter().filter(|(of, _)| of.role == arm.role);
        let before: usize = match own {
            0 => 0,
            _ => of_role.map(|(_, rows)| rows).sum(),
        };
        let limit = self.parts.limits.outbox_records as u64;
        let has_room = load.outbox_of(topic) + (before + SCORING_CHUNK_MAX_ROWS) as u64 <= limit;
        let waiting = load.of(arm);
        let room = match waiting.scores > own as u64 {
            false => Room::Unneeded,
            true if has_room => Room::Taken,
            true => Room::Full(waiting.oldest_us),
        };
        if room == Room::Taken {
            under_way.insert(arm, own + SCORING_CHUNK_MAX_ROWS);
        }
        drop(under_way);
        self.show_load(&load);
        Ok(room)
    }

    /// So many rows of `arm` are under way.
    pub(crate) fn note_under_way(&self, arm: Arm, rows: usize) {
        let mut under_way = self.under_way.lock();
        under_way.insert(arm, rows);
        let all: usize = under_way.values().sum();
        drop(under_way);
        self.show(|status| status.in_flight = all as u64);
    }

    /// Show what waits.
    pub(crate) fn show_load(&self, load: &ScoreLoad) {
        let watermark_us = self.watermark_us();
        self.show(|status| status.take_load(load, watermark_us));
    }

    /// Events end without a prediction.
    pub(crate) fn count_unscored(&self, reason: &'static str, events: u64) {
        let counter = &self.parts.counters.unscored;
        counter.fetch_add(events, Ordering::Relaxed);
        self.show(|status| *status.unscored.entry(reason).or_default() += events);
    }

    /// Predictions are written that do not name what some view of their features had applied.
    pub(crate) fn count_without_offsets(&self, predictions: u64) {
        if predictions == 0 {
            return;
        }
        self.show(|status| status.without_offsets += predictions);
        let now = self.runtime().elapsed();
        if let Some(predictions) = self.unnamed.add(predictions, now) {
            let deployment = &self.name;
            tracing::warn!(
                deployment,
                predictions,
                "name no offsets of some view, because the state keeps those of so many epochs alone: \
                 their features cannot be verified"
            );
        }
    }
}
