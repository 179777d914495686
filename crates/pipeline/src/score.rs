//! The scoring task: from pending scores to published predictions. For each finished epoch it reads
//! the features as of each event, asks the model, writes result and outbox in one second write
//! (which removes the pending score), and hands the outbox entries to the publishing thread, which
//! clears them once the broker has acknowledged.
//!
//! A crash before the second write scores again; a crash after it sends the same bytes again.
//! Consumers drop repeats.
//!
//! What an earlier run left in the outbox goes out before anything new is scored, so the outbox
//! stays within [`OUTBOX_MAX_RECORDS`] however often a run ends, and one entity's predictions stay
//! in order. A stop leaves what cannot be scored or sent now in the store, for the next start.
//!
//! A row is given up only where the row itself is at fault, or a defect of ours that panics on it.
//! Everything else, be it a model that does not answer or one that is deployed wrongly, is tried
//! until it passes, and ingest waits: a prediction is not lost to a configuration.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow_array::RecordBatch;
use forebay_core::limits::OUTBOX_MAX_RECORDS;
use forebay_core::ports::{At, FeatureReader, OnlineStore, OutboxEntry, Publisher, Scorer};
use forebay_core::prediction::{OutboxRecord, PendingScore};
use forebay_core::{ErrorKind, PortError};

use crate::contain::contain;
use crate::deployment::{Deployment, PlacedScore};
use crate::error::{PipelineError, first_cause};
use crate::pending::decode_rows;
use crate::prediction::{RecordEncoder, Scored, outbox_records};
use crate::retry::{Outage, Retry};
use crate::status::Counters;

/// Scores of one request to a model.
const BATCH_ROWS: usize = 4_096;
/// Outbox entries read at once when a restart sends what was left.
const RESEND_ROWS: usize = 1_000;
/// Batches that may wait for the publisher.
const PUBLISH_QUEUE: usize = 4;
// The outbox holds what waits for the publisher, what it sends, and what the scorer has just
// written.
const _: () = assert!((PUBLISH_QUEUE + 2) * BATCH_ROWS <= OUTBOX_MAX_RECORDS);

/// What scoring needs.
#[derive(Debug, Clone)]
pub struct ScoringParts {
    /// Holds pending scores and the outbox.
    pub store: Arc<dyn OnlineStore>,
    /// Reads features.
    pub reader: Arc<dyn FeatureReader>,
    /// Asks models.
    pub scorer: Arc<dyn Scorer>,
    /// Encodes predictions.
    pub encoder: Arc<dyn RecordEncoder>,
    /// Sends them.
    pub publisher: Arc<dyn Publisher>,
    /// Every deployment.
    pub deployments: Vec<Deployment>,
    /// Runs the scorer's futures.
    pub runtime: tokio::runtime::Handle,
    /// Set when the pipeline stops: retries end.
    pub stopping: Arc<AtomicBool>,
    /// Where to count.
    pub counters: Arc<Counters>,
}

type Acknowledge = (u16, Vec<OutboxEntry>);

/// The two threads.
#[derive(Debug)]
pub struct Scoring {
    threads: Vec<(&'static str, JoinHandle<Result<(), PipelineError>>)>,
}

impl Scoring {
    /// Start. Pending scores come through `epochs`; the threads end when its senders are dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        parts: &ScoringParts,
        epochs: Receiver<Vec<PlacedScore>>,
    ) -> Result<Self, PipelineError> {
        let (outbox, to_publish) = sync_channel(PUBLISH_QUEUE);
        let (resent, ready) = sync_channel(1);
        let publisher = parts.clone();
        let publish = spawn("publisher", parts, move || {
            publish_all(&publisher, &resent, &to_publish)
        })?;
        let scorer = parts.clone();
        let score = spawn("scorer", parts, move || match ready.recv() {
            Ok(()) => score_all(&scorer, &epochs, &outbox),
            Err(_) => scorer.gone("publisher"),
        })?;
        Ok(Self {
            threads: vec![("scorer", score), ("publisher", publish)],
        })
    }

    /// Wait for both threads and return their first error.
    ///
    /// # Errors
    /// Of either thread.
    pub fn join(self) -> Result<(), PipelineError> {
        let join = |(name, thread): (_, JoinHandle<_>)| {
            thread
                .join()
                .unwrap_or(Err(PipelineError::ThreadGone(name)))
        };
        first_cause(self.threads.into_iter().map(join))
    }
}

impl ScoringParts {
    fn retry(&self) -> Retry<'_> {
        Retry {
            stopping: &self.stopping,
            counters: &self.counters,
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The other thread has ended: with the pipeline, or by an error of its own.
    fn gone(&self, name: &'static str) -> Result<(), PipelineError> {
        if self.is_stopping() {
            Ok(())
        } else {
            Err(PipelineError::ThreadGone(name))
        }
    }

    /// An outside failure while the pipeline stops: what was not done stays in the store.
    fn leave(&self, what: &str, error: &PipelineError) -> bool {
        let leave = self.is_stopping() && error.kind().is_retriable();
        if leave {
            tracing::warn!(what, %error, "is left for the next start");
        }
        leave
    }
}

fn spawn(
    name: &'static str,
    parts: &ScoringParts,
    run: impl FnOnce() -> Result<(), PipelineError> + Send + 'static,
) -> Result<JoinHandle<Result<(), PipelineError>>, PipelineError> {
    let counters = Arc::clone(&parts.counters);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // A thread that is gone without a word would leave everything before it waiting.
            let outcome =
                catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(PipelineError::ThreadGone(name)));
            if let Err(error) = &outcome {
                tracing::error!(thread = name, %error, "scoring has stopped");
                counters.failed.store(true, Ordering::Relaxed);
            }
            outcome
        })
        .map_err(|e| {
            PortError::with_source(
                ErrorKind::ResourceExhausted,
                format!("cannot start {name}"),
                e,
            )
            .into()
        })
}

fn score_all(
    parts: &ScoringParts,
    epochs: &Receiver<Vec<PlacedScore>>,
    outbox: &SyncSender<Acknowledge>,
) -> Result<(), PipelineError> {
    while let Ok(mut scores) = epochs.recv() {
        while scores.len() < BATCH_ROWS
            && let Ok(more) = epochs.try_recv()
        {
            scores.extend(more);
        }
        for chunk in scores.chunks(BATCH_ROWS) {
            match score_chunk(parts, chunk, outbox) {
                Ok(Progress::Settled) => {}
                Ok(Progress::Stopped) => return Ok(()),
                Err(PipelineError::ThreadGone(name)) => return parts.gone(name),
                Err(error) if parts.leave("scoring", &error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        parts
            .counters
            .scores_waiting
            .fetch_sub(scores.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// How scoring one chunk ended.
enum Progress {
    Settled,
    /// The pipeline stops; what was not scored stays in the store.
    Stopped,
}

fn score_chunk(
    parts: &ScoringParts,
    chunk: &[PlacedScore],
    outbox: &SyncSender<Acknowledge>,
) -> Result<Progress, PipelineError> {
    let mut groups: BTreeMap<(&str, u32), Vec<&PlacedScore>> = BTreeMap::new();
    for placed in chunk {
        let key = &placed.score.key;
        groups
            .entry((&key.deployment, key.model_version))
            .or_default()
            .push(placed);
    }
    let mut settled: BTreeMap<u16, Vec<(PendingScore, Option<OutboxRecord>)>> = BTreeMap::new();
    for ((name, version), placed) in groups {
        let pending: Vec<PendingScore> = placed.iter().map(|p| p.score.clone()).collect();
        let records = match parts.deployments.iter().find(|d| d.def().name == name) {
            Some(deployment) => score_rows(parts, deployment, version, &pending),
            // The deployment was dropped after the event was read: nobody waits for the score.
            None => Some(vec![None; pending.len()]),
        };
        let Some(records) = records else {
            return Ok(Progress::Stopped);
        };
        for ((placed, pending), record) in placed.iter().zip(pending).zip(records) {
            settled
                .entry(placed.shard)
                .or_default()
                .push((pending, record));
        }
    }
    for (shard, scored) in settled {
        let entries = parts.retry().run("the write of scores", || {
            parts.store.settle(shard, scored.clone())
        })?;
        if !entries.is_empty() {
            outbox
                .send((shard, entries))
                .map_err(|_| PipelineError::ThreadGone("publisher"))?;
        }
    }
    Ok(Progress::Settled)
}

/// Score `pending`, all of one deployment and version. A row that cannot be scored is None: it is
/// found by halving, so that it does not take its neighbours with it. None for all when the
/// pipeline stops before they are scored.
fn score_rows(
    parts: &ScoringParts,
    deployment: &Deployment,
    version: u32,
    pending: &[PendingScore],
) -> Option<Vec<Option<OutboxRecord>>> {
    let name = &deployment.def().name;
    let mut outage = Outage::new("scoring");
    loop {
        match contain("scoring", || try_score(parts, deployment, version, pending)) {
            Ok(records) => return Some(records.into_iter().map(Some).collect()),
            Err(error) if !gives_up(deployment, version, &error) => {
                if !outage.wait(
                    parts.retry(),
                    error.kind(),
                    &format_args!("deployment {name}: {error}"),
                ) {
                    tracing::warn!(deployment = name, %error, "scoring is left for the next start");
                    return None;
                }
            }
            Err(error) if pending.len() == 1 => {
                tracing::warn!(deployment = name, id = pending[0].key.id(), %error, "not scored");
                parts.counters.unscored.fetch_add(1, Ordering::Relaxed);
                return Some(vec![None]);
            }
            Err(_) => {
                let (left, right) = pending.split_at(pending.len() / 2);
                let mut records = score_rows(parts, deployment, version, left)?;
                records.extend(score_rows(parts, deployment, version, right)?);
                return Some(records);
            }
        }
    }
}

/// Whether waiting cannot help: some row is at fault, or the version was taken off the route after
/// the event was read and cannot be asked any more.
fn gives_up(deployment: &Deployment, version: u32, error: &PipelineError) -> bool {
    let routed = || {
        deployment
            .def()
            .routes
            .iter()
            .any(|route| route.version == version)
    };
    match error {
        // The row's own bytes, which stay as they are.
        PipelineError::PendingBytes { .. } => true,
        error => error.kind().is_of_the_data() || !(error.kind().is_retriable() || routed()),
    }
}

fn try_score(
    parts: &ScoringParts,
    deployment: &Deployment,
    version: u32,
    pending: &[PendingScore],
) -> Result<Vec<OutboxRecord>, PipelineError> {
    let rows = decode_rows(&deployment.row_columns(), pending)?;
    let request: RecordBatch =
        rows.project(&(0..deployment.request_columns()).collect::<Vec<_>>())?;
    let times: Vec<i64> = pending.iter().map(|p| p.event_time_us).collect();
    let answer = parts
        .reader
        .read(deployment.service().as_ref(), &request, At::PerRow(&times))?;
    parts
        .counters
        .feature_rows
        .fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
    let scoring = parts
        .scorer
        .score(&deployment.def().model, version, answer.features.clone());
    let scores = parts.runtime.block_on(scoring)?;
    let scored = Scored {
        deployment,
        pending,
        rows: &rows,
        answer: &answer,
        scores: &scores,
    };
    outbox_records(&scored, parts.store.as_ref(), parts.encoder.as_ref())
}

fn publish_all(
    parts: &ScoringParts,
    resent: &SyncSender<()>,
    entries: &Receiver<Acknowledge>,
) -> Result<(), PipelineError> {
    let outcome = resend(parts).and_then(|()| {
        // A scorer that is gone has said why.
        let _gone = resent.send(());
        while let Ok((shard, entries)) = entries.recv() {
            publish(parts, shard, entries)?;
        }
        Ok(())
    });
    match outcome {
        Err(error) if parts.leave("publishing", &error) => Ok(()),
        outcome => outcome,
    }
}

/// Send what an earlier run left.
fn resend(parts: &ScoringParts) -> Result<(), PipelineError> {
    for shard in 0..parts.store.shards() {
        loop {
            let left = parts.retry().run("a read of the outbox", || {
                parts.store.outbox(shard, RESEND_ROWS)
            })?;
            if left.is_empty() {
                break;
            }
            publish(parts, shard, left)?;
        }
    }
    Ok(())
}

fn publish(
    parts: &ScoringParts,
    shard: u16,
    entries: Vec<OutboxEntry>,
) -> Result<(), PipelineError> {
    let last = entries.iter().map(|e| e.sequence).max().unwrap_or(0);
    let records: Vec<OutboxRecord> = entries.into_iter().map(|e| e.record).collect();
    parts
        .retry()
        .run("publishing", || parts.publisher.publish(&records))?;
    parts.retry().run("the write of the outbox", || {
        parts.store.clear_outbox(shard, last)
    })?;
    parts
        .counters
        .predictions
        .fetch_add(records.len() as u64, Ordering::Relaxed);
    Ok(())
}
