//! Scoring, a stage of its own for each arm of a deployment (a version in its role): from pending
//! scores to published predictions.
//! The queue is the store's own ([`ScoreQueue`](forebay_core::ports::ScoreQueue)): an epoch's write
//! puts pending scores on disk, and the stage reads them back when it is free, so ingest never
//! waits for a model and memory holds no more than the chunks under way.
//!
//! Each arm of a deployment has a thread that scores, and each topic of it one that publishes: live
//! predictions go to one topic and those of shadows to another. [`stage`] reads the features as of
//! each event, asks the model ([`ask`], several chunks at once), and settles each chunk in the
//! order of the arm's queue: a record for the outbox, or a note why there is none. [`publish`]
//! sends what waits for its topic and clears what the broker has. [`settle`] decides what follows
//! from an error, [`intake`] when an arm takes no more events, [`expire`] what has waited for too
//! long.
//!
//! An arm or a topic that fails is tried again alone, with growing pauses; its reason is in the
//! status of its deployment, and the others go on: a shadow whose model cannot be read, or whose
//! topic takes nothing, costs no live prediction. Each has its limit for itself, also of what waits
//! (docs/decisions/0019-an-outbox-for-each-topic.md). That holds for what fails for good and for a
//! panic too ([`again`]). Nothing is lost to an outage or a configuration: only a row that is
//! itself at fault, one that grew too old, and one that its topic refuses end without a prediction,
//! each with a durable note. A crash before the second write scores again; a crash after it sends
//! the same bytes again; consumers drop repeats. A stop leaves what cannot be finished to the next
//! start.
//!
//! One entity's predictions by one arm are in order. Those by another version follow what waits for
//! their topic. After a change by which one of the two has left the routes, or was brought back,
//! they follow too what came before them and waits for the other's model ([`turn`]); they overtake
//! it where that model fails or takes too long. Versions that both stay, while only their weights
//! change, keep no order with each other.

mod again;
mod ask;
pub(crate) mod bell;
mod bounded;
mod expire;
pub(crate) mod intake;
mod lane;
mod look;
mod publish;
pub(crate) mod release_times;
pub(crate) mod released;
mod settle;
mod stage;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_core::limits::SCORING_DRAIN_MAX_MS;
use forebay_core::ports::Runtime;
use forebay_core::prediction::Arm;

use crate::deployment::Deployment;
use crate::error::{PipelineError, first_cause};
use crate::runtime::{Thread, pause};
use crate::score::again::run_again;
use crate::score::bell::Bell;
use crate::score::lane::{Ends, Lane};
use crate::score::publish::Publishing;
use crate::score::released::Released;
use crate::score::stage::Stage;
use crate::status::DeploymentStatus;

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
        for (name, share) in shares(&parts)? {
            let bell = Arc::new(Bell::default());
            released.ring_too(Arc::clone(&bell));
            let waits = parts.counters.score_waits.of(&name);
            let unrouted = share.unrouted();
            let lane = Lane {
                waits,
                parts: Arc::clone(&parts),
                name,
                deployment: share.deployment,
                released: Arc::clone(released),
                bell,
                ends: Arc::clone(&scoring.ends),
                scorers: Arc::new(AtomicUsize::new(share.arms.len())),
                unrouted: unrouted.into(),
                under_way: Arc::default(),
                refused_rows: Arc::default(),
                refused_predictions: Arc::default(),
                unnamed: Arc::default(),
            };
            for arm in share.arms {
                scoring.spawn_scorer(&lane, arm)?;
            }
            for topic in share.topics {
                scoring.spawn_publisher(&lane, topic)?;
            }
        }
        Ok(scoring)
    }

    fn spawn_scorer(&mut self, lane: &Lane, arm: Arm) -> Result<(), PipelineError> {
        let (role, version) = (arm.role.as_str(), arm.version);
        let of = format!("{}-{role}-{version}", lane.name);
        let parts = Arc::clone(&lane.parts);
        let lane = lane.clone();
        let score = move || {
            let who = format!("deployment {} {arm}", lane.name);
            let show = |status: &mut DeploymentStatus, words| {
                status.scoring.insert(arm, words);
            };
            let run = || Stage::new(lane.clone(), arm).run();
            run_again(&lane, ("scoring", &who), show, run);
            lane.scorers.fetch_sub(1, Ordering::AcqRel);
            lane.bell.ring();
        };
        let thread = spawn(&parts, &of, "scorer", score)?;
        self.threads.push(("scorer", thread));
        Ok(())
    }

    fn spawn_publisher(&mut self, lane: &Lane, topic: String) -> Result<(), PipelineError> {
        let (parts, of) = (Arc::clone(&lane.parts), format!("{}-{topic}", lane.name));
        let lane = lane.clone();
        let publish = move || {
            let who = format!("deployment {}, topic {topic}", lane.name);
            let show = |status: &mut DeploymentStatus, words| {
                status.publishing.insert(topic.clone(), words);
            };
            let run = || Publishing::new(lane.clone(), topic.clone()).run();
            run_again(&lane, ("publishing", &who), show, run);
        };
        let thread = spawn(&parts, &of, "publisher", publish)?;
        self.threads.push(("publisher", thread));
        Ok(())
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

/// What threads are for, of one name.
#[derive(Default)]
struct Share {
    /// None: it left something in the store, and is gone.
    deployment: Option<Deployment>,
    /// Those on its routes, and those for which something waits.
    arms: BTreeSet<Arm>,
    /// Where the predictions of its arms go, and those for which something waits.
    topics: BTreeSet<String>,
}

impl Share {
    /// Those of its arms to which no route leads.
    fn unrouted(&self) -> Vec<Arm> {
        let routed: BTreeSet<Arm> = self.deployment.iter().flat_map(Deployment::arms).collect();
        self.arms.difference(&routed).copied().collect()
    }
}

/// By name every deployment, and those that left something in the store and are gone.
fn shares(parts: &ScoringParts) -> Result<BTreeMap<String, Share>, PipelineError> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for deployment in &parts.deployments {
        let share = Share {
            deployment: Some(deployment.clone()),
            arms: deployment.arms().collect(),
            topics: BTreeSet::new(),
        };
        shares.insert(deployment.def().name.clone(), share);
    }
    for shard in 0..parts.store.shards() {
        for (name, load) in parts.store.score_load(shard)? {
            let share = shares.entry(name).or_default();
            share.arms.extend(load.arms.into_keys());
            share.topics.extend(load.outbox.into_keys());
        }
    }
    for share in shares.values_mut() {
        if let Some(deployment) = &share.deployment {
            let roles = share.arms.iter().map(|arm| arm.role);
            share
                .topics
                .extend(roles.map(|role| deployment.topic_of(role)));
        }
    }
    Ok(shares)
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
