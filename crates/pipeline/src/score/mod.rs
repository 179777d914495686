//! Scoring, a stage of its own for each deployment: from pending scores to published predictions.
//! The queue is the store's own ([`ScoreQueue`](forebay_core::ports::ScoreQueue)): an epoch's write
//! puts pending scores on disk, and the stage reads them back when it is free, so ingest never
//! waits for a model and memory holds no more than the chunks under way.
//!
//! A deployment has two threads. [`stage`] reads the features as of each event, asks the model
//! ([`ask`], several chunks at once), and settles each chunk in the order of the queue: a record
//! for the outbox, or a note why there is none. [`publish`] sends the outbox and clears what the
//! broker has. [`settle`] decides what follows from an error, [`intake`] when a deployment takes no
//! more events.
//!
//! A deployment that fails is tried again alone, with growing pauses; its reason is in its status.
//! Nothing is lost to an outage or a configuration: only a row that is itself at fault, one that
//! grew too old, and one that its topic refuses end without a prediction, each with a durable note.
//! A crash before the second write scores again; a crash after it sends the same bytes again;
//! consumers drop repeats. A stop leaves what cannot be finished to the next start.

mod ask;
pub(crate) mod bell;
pub(crate) mod intake;
mod lane;
mod publish;
pub(crate) mod release_times;
pub(crate) mod released;
mod settle;
mod stage;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::limits::SCORING_DRAIN_MAX_MS;
use forebay_core::ports::Runtime;

use crate::deployment::Deployment;
use crate::error::{PipelineError, first_cause};
use crate::runtime::{Thread, pause};
use crate::score::bell::Bell;
use crate::score::lane::{Ends, Lane};
use crate::score::publish::Publishing;
use crate::score::released::Released;
use crate::score::stage::Stage;

pub use intake::ScoringLimits;
pub(crate) use lane::ScoringParts;

/// How often a stop looks whether the threads have ended.
const JOIN_LOOK: Duration = Duration::from_millis(5);

/// The threads.
#[derive(Debug)]
pub(crate) struct Scoring {
    runtime: Arc<dyn Runtime>,
    released: Arc<Released>,
    ends: Arc<Ends>,
    threads: Vec<(&'static str, Thread<Result<(), PipelineError>>)>,
}

impl Scoring {
    /// Start. What was pending before waits until `released` covers it.
    ///
    /// # Errors
    /// The store cannot be read; the system gives no thread.
    pub(crate) fn start(
        parts: ScoringParts,
        released: &Arc<Released>,
    ) -> Result<Self, PipelineError> {
        let mut scoring = Self {
            runtime: Arc::clone(&parts.runtime),
            released: Arc::clone(released),
            ends: Arc::default(),
            threads: Vec::new(),
        };
        let parts = Arc::new(parts);
        for (name, deployment) in lanes(&parts)? {
            let bell = Arc::new(Bell::default());
            released.ring_too(Arc::clone(&bell));
            let waits = parts.counters.score_waits.of(&name);
            let lane = Lane {
                waits,
                parts: Arc::clone(&parts),
                name,
                deployment,
                released: Arc::clone(released),
                bell,
                ends: Arc::clone(&scoring.ends),
                scored: Arc::default(),
            };
            let (stage, publishing) = (Stage::new(lane.clone()), Publishing::new(lane.clone()));
            let end = lane.clone();
            let score = spawn("scorer", &lane, move || {
                let outcome = stage.run();
                end.scored.store(true, Ordering::Release);
                end.bell.ring();
                outcome
            })?;
            let publish = spawn("publisher", &lane, move || publishing.run())?;
            scoring
                .threads
                .extend([("scorer", score), ("publisher", publish)]);
        }
        Ok(scoring)
    }

    /// Nothing new becomes pending: let the threads finish what they can in
    /// [`SCORING_DRAIN_MAX_MS`], end them, and return their first error.
    ///
    /// # Errors
    /// Of any thread.
    pub(crate) fn join(mut self) -> Result<(), PipelineError> {
        let runtime = self.runtime.as_ref();
        let deadline = runtime.elapsed() + Duration::from_millis(SCORING_DRAIN_MAX_MS);
        self.ends.drained.store(true, Ordering::Release);
        self.released.ring_all();
        while runtime.elapsed() < deadline && !self.threads.iter().all(|(_, t)| t.is_finished()) {
            pause(runtime, JOIN_LOOK);
        }
        self.abandon();
        let join = |(name, thread): (_, Thread<_>)| {
            thread
                .join()
                .unwrap_or(Err(PipelineError::ThreadGone(name)))
        };
        first_cause(std::mem::take(&mut self.threads).into_iter().map(join))
    }

    fn abandon(&self) {
        self.ends.abandoned.store(true, Ordering::Release);
        self.released.ring_all();
    }
}

impl Drop for Scoring {
    /// Of a start that fails: nobody joins it.
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Every deployment, and the names of those that left something in the store and are gone.
fn lanes(parts: &ScoringParts) -> Result<Vec<(String, Option<Deployment>)>, PipelineError> {
    let mut lanes: Vec<(String, Option<Deployment>)> = parts
        .deployments
        .iter()
        .map(|d| (d.def().name.clone(), Some(d.clone())))
        .collect();
    let mut gone = BTreeSet::new();
    for shard in 0..parts.store.shards() {
        gone.extend(parts.store.score_load(shard)?.into_keys());
    }
    for (known, _) in &lanes {
        gone.remove(known);
    }
    lanes.extend(gone.into_iter().map(|name| (name, None)));
    Ok(lanes)
}

fn spawn(
    name: &'static str,
    lane: &Lane,
    run: impl FnOnce() -> Result<(), PipelineError> + Send + 'static,
) -> Result<Thread<Result<(), PipelineError>>, PipelineError> {
    let (counters, deployment) = (Arc::clone(&lane.parts.counters), lane.name.clone());
    let of_lane = format!("{name}-{deployment}");
    let thread = Thread::spawn(&lane.parts.runtime, &of_lane, move || {
        // A thread that is gone without a word would leave everything before it waiting.
        let outcome =
            catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(PipelineError::ThreadGone(name)));
        if let Err(error) = &outcome {
            tracing::error!(thread = name, deployment, %error, "scoring has stopped");
            counters.failed.store(true, Ordering::Relaxed);
        }
        outcome
    })?;
    Ok(thread)
}
