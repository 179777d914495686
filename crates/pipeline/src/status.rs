//! Counters that the pipeline's threads add to and that metrics, the live view and the summary
//! read. They count what this process did, over every pipeline that it starts; nothing is decided
//! by them but whether to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::ports::ScoreLoad;
use forebay_core::prediction::{Arm, Role};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_telemetry::{Timing, Timings};
use parking_lot::Mutex;

use crate::deployment::Deployment;
use crate::halt::{Halt, HaltReason};
use forebay_core::error::with_causes;

/// Counters shared by the threads. Relaxed: they are for people, not for decisions.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows accepted. Rows that are read again after a crash or a halt are not counted again, here
    /// and in all that counts rows.
    pub rows: AtomicU64,
    /// Micro-batches that brought something.
    pub epochs: AtomicU64,
    /// From the answer of a poll that brought something to its epoch in the queues.
    pub epoch: Arc<Timing>,
    /// One epoch's write of one shard, with its retries.
    pub commit: Arc<Timing>,
    /// One append, by table, with its retries.
    pub appends: Timings,
    /// How long events wait for their score, by deployment.
    pub score_waits: Timings,
    /// Rows too late for some view.
    pub late_rows: AtomicU64,
    /// Rows that the archive has committed.
    pub archived_rows: AtomicU64,
    /// Predictions acknowledged by the broker.
    pub predictions: AtomicU64,
    /// Events that could not be scored.
    pub unscored: AtomicU64,
    /// Rows of features read for scoring.
    pub feature_rows: AtomicU64,
    /// Repeated predictions dropped.
    pub repeats: AtomicU64,
    /// Tries that failed and were made again. While it rises, ingest waits for a store, a model or
    /// the broker.
    pub retries: AtomicU64,
    /// What fails now and is tried until it passes, with its causes: writes and reads of state and
    /// archive that ingest or a deployment waits for.
    pub failing: Mutex<BTreeMap<String, String>>,
    /// Why the running pipeline reads no more; None while it does. What fails alone says so where
    /// it belongs: [`SourceStatus::state`], [`DeploymentStatus::reason`].
    failed: Mutex<Option<String>>,
    /// Panics of parts that were started again: any is a defect.
    pub panics: AtomicU64,
    /// Per source.
    pub sources: Mutex<BTreeMap<String, SourceStatus>>,
    /// Dead letters, by source and reason.
    pub dead_letters: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// Rows that a view leaves out, by source and view: an expression of it fails on them, or their
    /// key is over its limit.
    pub left_out: Mutex<BTreeMap<(String, String), u64>>,
    /// Per deployment.
    pub deployments: Mutex<BTreeMap<String, DeploymentStatus>>,
}

/// How a deployment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentState {
    /// It scores what comes.
    Scoring,
    /// Its model or its topic fails, and it tries until that passes.
    Retrying,
    /// Too much waits: events get a note and no score.
    Suspended,
}

impl DeploymentState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Scoring, Self::Retrying, Self::Suspended];

    /// Stable label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Scoring => "scoring",
            Self::Retrying => "retrying",
            Self::Suspended => "suspended",
        }
    }
}

/// What is known of one deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentStatus {
    /// Pending scores on disk, those under way among them.
    pub pending: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Scores under way: read from disk and not settled.
    pub in_flight: u64,
    /// Records in the outbox, to whichever topic.
    pub outbox: u64,
    /// Event time of the oldest pending score.
    pub oldest_us: Option<Micros>,
    /// How far that lies behind the watermark of the source.
    pub oldest_age_us: Option<Micros>,
    /// Predictions acknowledged by the broker, since the process started.
    pub predictions: u64,
    /// The same by version and role.
    pub published: BTreeMap<(u32, Role), u64>,
    /// Events that ended without a prediction since then, by reason.
    pub unscored: BTreeMap<&'static str, u64>,
    /// Predictions since then that do not name what some view of their features had applied, which
    /// the state no longer knew: they cannot be verified.
    pub without_offsets: u64,
    /// Why scoring fails now, by the arm that fails.
    pub scoring: BTreeMap<Arm, String>,
    /// Why publishing fails now, by the topic that takes nothing.
    pub publishing: BTreeMap<String, String>,
    /// Why no events are taken now, by the arm whose events are not.
    pub suspended: BTreeMap<Arm, String>,
}

impl DeploymentStatus {
    /// The worst that holds.
    #[must_use]
    pub fn state(&self) -> DeploymentState {
        if !self.suspended.is_empty() {
            DeploymentState::Suspended
        } else if !self.scoring.is_empty() || !self.publishing.is_empty() {
            DeploymentState::Retrying
        } else {
            DeploymentState::Scoring
        }
    }

    /// Why it is not just scoring, in words: each arm that does not, the suspended first, then what
    /// topics say; what holds of several of them, once, and what an arm has said of it, not again.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let suspended = self.suspended.iter();
        let fails = self.scoring.iter();
        let fails = fails.filter(|(arm, _)| !self.suspended.contains_key(arm));
        let words = suspended.chain(fails);
        let mut words: Vec<String> = words.map(|(arm, why)| format!("{arm}: {why}")).collect();
        let of_topics: BTreeSet<&str> = self.publishing.values().map(String::as_str).collect();
        for why in of_topics {
            // An arm is suspended for the trouble of its topic, in the topic's words.
            if !words.iter().any(|said| said.contains(why)) {
                words.push(why.to_owned());
            }
        }
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// What fails now of what `arm`, whose predictions go to `topic`, needs.
    pub(crate) fn trouble(&self, arm: Arm, topic: &str) -> Option<&str> {
        let scoring = self.scoring.get(&arm);
        let trouble = scoring.or_else(|| self.publishing.get(topic));
        trouble.map(String::as_str)
    }

    /// `load` waits, and the source's watermark stands at `watermark_us`.
    pub(crate) fn take_load(&mut self, load: &ScoreLoad, watermark_us: Option<Micros>) {
        let pending = load.pending();
        self.pending = pending.scores;
        self.pending_bytes = pending.bytes;
        self.outbox = load.outbox_records();
        self.oldest_us = pending.oldest_us;
        self.oldest_age_us = pending
            .oldest_us
            .zip(watermark_us)
            .map(|(oldest, watermark)| watermark.saturating_sub(oldest).max(0));
    }
}

/// Whether a source is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SourceState {
    /// Nobody has looked yet.
    #[default]
    Starting,
    /// It is, but for partitions that are halted alone.
    Reading,
    /// The broker does not answer, or what only the archive has is read first; in words. It is read
    /// when that is over.
    Waiting(String),
    /// It is not, for this reason, until the reason is gone. Other sources are.
    Halted(Halt),
}

impl SourceState {
    /// Stable label: `starting`, `reading`, `waiting`, `halted`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Reading => "reading",
            Self::Waiting(_) => "waiting",
            Self::Halted(_) => "halted",
        }
    }

    /// Why it is not read.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Waiting(reason) => Some(reason),
            Self::Halted(halt) => Some(&halt.reason),
            Self::Starting | Self::Reading => None,
        }
    }

    /// The code of that reason, where it is a halt.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Halted(halt) => Some(halt.code),
            Self::Waiting(_) | Self::Starting | Self::Reading => None,
        }
    }
}

/// What is known of one partition, as of the last look at its log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Partition.
    pub partition: i32,
    /// One past what every shard has.
    pub applied: i64,
    /// Last stable offset.
    pub last_stable: i64,
    /// Offsets below the last stable one that some shard has not and that nobody has accepted as a
    /// gap; None where nobody can tell.
    pub lag: Option<u64>,
    /// Why it is not read although its source is.
    pub halted: Option<Halt>,
    /// Why nobody answers for it, although somebody does for others: what else is said of it is as
    /// of the last answer.
    pub waiting: Option<String>,
}

/// What is known of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Rows accepted since the process started, without those that were read before.
    pub rows: u64,
    /// Rows since the process started that were read before: state or archive lacked them.
    pub again_rows: u64,
    /// Dead letters since the process started.
    pub dead_letters: u64,
    /// Lag over all partitions; None where it is not known of each.
    pub lag_records: Option<u64>,
    /// Rows since the process started whose event time lies further ahead than what others support
    /// and `event_future_max` allow: they are kept and move the watermark no further than that.
    pub ahead_rows: u64,
    /// Watermark.
    pub watermark_us: Option<Micros>,
    /// Whether it is read.
    pub state: SourceState,
    /// Its partitions, those that are not read too.
    pub partitions: Vec<PartitionStatus>,
}

/// A copy of the counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct PipelineStatus {
    /// See [`Counters::rows`].
    pub rows: u64,
    /// See [`Counters::epochs`].
    pub epochs: u64,
    /// Shard commits.
    pub commits: u64,
    /// See [`Counters::late_rows`].
    pub late_rows: u64,
    /// See [`Counters::archived_rows`].
    pub archived_rows: u64,
    /// See [`Counters::predictions`].
    pub predictions: u64,
    /// See [`Counters::unscored`].
    pub unscored: u64,
    /// See [`Counters::feature_rows`].
    pub feature_rows: u64,
    /// See [`Counters::repeats`].
    pub repeats: u64,
    /// See [`Counters::left_out`].
    pub left_out: BTreeMap<(String, String), u64>,
    /// See [`Counters::retries`].
    pub retries: u64,
    /// See [`Counters::failing`].
    pub failing: BTreeMap<String, String>,
    /// Scores that wait on disk, over all deployments.
    pub scores_waiting: u64,
    /// Why ingest has ended; None while it runs.
    pub failed: Option<String>,
    /// See [`Counters::panics`].
    pub panics: u64,
    /// Per source.
    pub sources: BTreeMap<String, SourceStatus>,
    /// See [`Counters::dead_letters`].
    pub dead_letters: BTreeMap<(String, &'static str), u64>,
    /// Per deployment.
    pub deployments: BTreeMap<String, DeploymentStatus>,
}

impl Counters {
    /// A pipeline over `sources` and `deployments` starts: what counts goes on, what describes the
    /// one before is forgotten.
    pub(crate) fn begin(&self, sources: &[Arc<SourceDef>], deployments: &[Deployment]) {
        *self.failed.lock() = None;
        let mut shown = self.deployments.lock();
        let mut before = std::mem::take(&mut *shown);
        for deployment in deployments {
            let name = &deployment.def().name;
            let counted = before.remove(name).unwrap_or_default();
            let status = DeploymentStatus {
                predictions: counted.predictions,
                unscored: counted.unscored,
                without_offsets: counted.without_offsets,
                ..DeploymentStatus::default()
            };
            shown.insert(name.clone(), status);
        }
        drop(shown);
        let mut known = self.sources.lock();
        let mut before = std::mem::take(&mut *known);
        known.extend(
            sources
                .iter()
                .filter_map(|source| before.remove_entry(&source.name)),
        );
        let mut letters = self.dead_letters.lock();
        letters.retain(|(of, _), _| sources.iter().any(|source| source.name == *of));
    }

    /// Nothing of `sources` is read for `reason`: what all of them need cannot be used.
    pub fn stand(
        &self,
        sources: &[Arc<SourceDef>],
        deployments: &[Deployment],
        reason: &HaltReason,
    ) {
        self.begin(sources, deployments);
        let mut known = self.sources.lock();
        for source in sources {
            let status = known.entry(source.name.clone()).or_default();
            status.state = SourceState::Halted(reason.into());
            status.lag_records = None;
        }
    }

    /// Ingest ends, because of `error`. The first reason stays: others follow from it.
    pub(crate) fn fail(&self, error: &dyn std::error::Error) {
        self.failed.lock().get_or_insert_with(|| with_causes(error));
    }

    /// Whether ingest has to end.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.lock().is_some()
    }

    /// The watermark of `source` is this.
    pub(crate) fn watermark(&self, source: &str, watermark_us: Option<Micros>) {
        let mut sources = self.sources.lock();
        sources.entry(source.to_owned()).or_default().watermark_us = watermark_us;
    }

    /// A copy.
    #[must_use]
    pub fn snapshot(&self) -> PipelineStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let deployments = self.deployments.lock().clone();
        PipelineStatus {
            rows: read(&self.rows),
            epochs: read(&self.epochs),
            commits: self.commit.count(),
            late_rows: read(&self.late_rows),
            archived_rows: read(&self.archived_rows),
            predictions: read(&self.predictions),
            unscored: read(&self.unscored),
            feature_rows: read(&self.feature_rows),
            repeats: read(&self.repeats),
            left_out: self.left_out.lock().clone(),
            retries: read(&self.retries),
            failing: self.failing.lock().clone(),
            scores_waiting: deployments.values().map(|d| d.pending).sum(),
            failed: self.failed.lock().clone(),
            panics: read(&self.panics),
            sources: self.sources.lock().clone(),
            dead_letters: self.dead_letters.lock().clone(),
            deployments,
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::ports::PendingLoad;

    use super::*;

    fn live(version: u32) -> Arm {
        let role = Role::Live;
        Arm { version, role }
    }

    /// Each of a topic of its own.
    fn of_topics(words: &[&str]) -> BTreeMap<String, String> {
        let words = words.iter().enumerate();
        words
            .map(|(number, why)| (format!("topic {number}"), (*why).to_owned()))
            .collect()
    }

    #[test]
    fn the_state_of_a_deployment_is_the_worst_that_holds_and_says_why() {
        type Words<'a> = &'a [(u32, &'a str)];
        // Scoring, publishing by topics, suspended: state, reason.
        type Case<'a> = (
            Words<'a>,
            &'a [&'a str],
            Words<'a>,
            &'a str,
            Option<&'a str>,
        );
        let table: [Case<'_>; 9] = [
            (&[], &[], &[], "scoring", None),
            (
                &[(2, "model")],
                &[],
                &[],
                "retrying",
                Some("version 2: model"),
            ),
            (&[], &["topic"], &[], "retrying", Some("topic")),
            (&[], &["b", "a"], &[], "retrying", Some("a; b")),
            (&[], &["away", "away"], &[], "retrying", Some("away")),
            (
                &[(1, "no"), (2, "model")],
                &["topic"],
                &[],
                "retrying",
                Some("version 1: no; version 2: model; topic"),
            ),
            (
                &[(2, "model")],
                &[],
                &[(2, "full: model")],
                "suspended",
                Some("version 2: full: model"),
            ),
            (
                &[(1, "no"), (2, "model")],
                &[],
                &[(2, "full: model")],
                "suspended",
                Some("version 2: full: model; version 1: no"),
            ),
            (
                &[],
                &[],
                &[(1, "full")],
                "suspended",
                Some("version 1: full"),
            ),
        ];
        for (scoring, publishing, suspended, state, reason) in table {
            let words = |of: Words<'_>| {
                of.iter()
                    .map(|(v, why)| (live(*v), (*why).to_owned()))
                    .collect()
            };
            let status = DeploymentStatus {
                scoring: words(scoring),
                publishing: of_topics(publishing),
                suspended: words(suspended),
                ..DeploymentStatus::default()
            };
            assert_eq!(status.state().label(), state);
            assert_eq!(status.reason().as_deref(), reason);
        }
    }

    #[test]
    fn what_a_topic_says_is_said_beside_what_arms_say_unless_one_of_them_has_said_it() {
        for (topics, suspended, reason) in [
            (vec!["topic"], "full", "version 1: full; topic"),
            (
                vec!["away", "gone"],
                "full: away",
                "version 1: full: away; gone",
            ),
        ] {
            let status = DeploymentStatus {
                publishing: of_topics(&topics),
                suspended: BTreeMap::from([(live(1), suspended.to_owned())]),
                ..DeploymentStatus::default()
            };
            assert_eq!(status.reason().as_deref(), Some(reason));
        }
    }

    #[test]
    fn the_age_of_the_oldest_is_its_distance_from_the_watermark() {
        let waiting = PendingLoad {
            scores: 1,
            bytes: 3,
            oldest_us: Some(40),
        };
        let load = ScoreLoad {
            arms: BTreeMap::from([(live(2), waiting)]),
            ..ScoreLoad::default()
        };
        let mut status = DeploymentStatus::default();
        for (watermark, age) in [(None, None), (Some(100), Some(60)), (Some(0), Some(0))] {
            status.take_load(&load, watermark);
            assert_eq!(status.oldest_age_us, age);
        }
    }
}
