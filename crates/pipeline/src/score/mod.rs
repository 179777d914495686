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
//! That holds for what fails for good and for a panic too ([`again`]). Nothing is lost to an outage
//! or a configuration: only a row that is itself at fault, one that grew too old, and one that its
//! topic refuses end without a prediction, each with a durable note. A crash before the second
//! write scores again; a crash after it sends the same bytes again; consumers drop repeats. A stop
//! leaves what cannot be finished to the next start.

mod again;
mod ask;
pub(crate) mod bell;
mod bounded;
pub(crate) mod intake;
mod lane;
mod look;
mod publish;
pub(crate) mod release_times;
pub(crate) mod released;
mod settle;
mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::limits::SCORING_DRAIN_MAX_MS;
use forebay_core::ports::Runtime;

use crate::deployment::Deployment;
use crate::error::{PipelineError, first_cause};
use crate::runtime::{Thread, pause};
use crate::score::again::run_again;
use crate::score::bell::Bell;
use crate::score::lane::{Ends, Lane};
use crate::score::publish::Publishing;
use crate::score::released::Released;
use crate::score::stage::Stage;

pub use intake::ScoringLimits;
pub(crate) use lane::ScoringParts;
pub use look::{ScoringLook, Waiting};

/// How often a stop looks whether the threads have ended.
const JOIN_LOOK: Duration = Duration::from_millis(5);

/// The threads.
#[derive(Debug)]
pub(crate) struct Scoring {
    runtime: Arc<dyn Runtime>,
    look: ScoringLook,
    released: Arc<Released>,
    ends: Arc<Ends>,
    threads: Vec<(&'static str, Thread<()>)>,
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
        let (store, runtime) = (Arc::clone(&parts.store), Arc::clone(&parts.runtime));
        let mut scoring = Self {
            look: ScoringLook::over(store, Arc::clone(released), Arc::clone(&runtime)),
            runtime,
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
                name: name.clone(),
                deployment,
                released: Arc::clone(released),
                bell,
                ends: Arc::clone(&scoring.ends),
                scored: Arc::default(),
                refused_rows: Arc::default(),
                refused_predictions: Arc::default(),
                unnamed: Arc::default(),
            };
            let (scoring_lane, publishing_lane) = (lane.clone(), lane);
            let score = move || {
                let lane = scoring_lane;
                let run = || Stage::new(lane.clone()).run();
                run_again(&lane, "scoring", |status| &mut status.scoring, run);
                lane.scored.store(true, Ordering::Release);
                lane.bell.ring();
            };
            let publish = move || {
                let lane = publishing_lane;
                let run = || Publishing::new(lane.clone()).run();
                run_again(&lane, "publishing", |status| &mut status.publishing, run);
            };
            let thread = spawn(&parts, &name, "scorer", score)?;
            scoring.threads.push(("scorer", thread));
            let thread = spawn(&parts, &name, "publisher", publish)?;
            scoring.threads.push(("publisher", thread));
        }
        Ok(scoring)
    }

    /// What waits, now and later.
    pub(crate) fn look(&self) -> ScoringLook {
        self.look.clone()
    }

    /// Nothing new becomes pending: let the threads finish what they can in
    /// [`SCORING_DRAIN_MAX_MS`], and end them. What fails is left for the next start.
    ///
    /// # Errors
    /// A thread is gone without having said why.
    pub(crate) fn join(mut self) -> Result<(), PipelineError> {
        let runtime = self.runtime.as_ref();
        let deadline = runtime.elapsed() + Duration::from_millis(SCORING_DRAIN_MAX_MS);
        self.ends.drained.store(true, Ordering::Release);
        self.released.ring_all();
        while runtime.elapsed() < deadline && !self.threads.iter().all(|(_, t)| t.is_finished()) {
            pause(runtime, JOIN_LOOK);
        }
        self.abandon();
        let join =
            |(name, thread): (_, Thread<()>)| thread.join().ok_or(PipelineError::ThreadGone(name));
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
    parts: &ScoringParts,
    deployment: &str,
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<Thread<()>, PipelineError> {
    let of_lane = format!("{name}-{deployment}");
    Ok(Thread::spawn(&parts.runtime, &of_lane, run)?)
}
