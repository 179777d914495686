//! The scoring task: from pending scores to published predictions. For each finished epoch it reads the features as of
//! each event, asks the model, writes result and outbox in one second write (which removes the pending score), and hands
//! the outbox entries to the publishing thread, which clears them once the broker has acknowledged.
//!
//! A crash before the second write scores again; a crash after it sends the same bytes again. Consumers drop repeats.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::RecordBatch;
use forebay_core::ports::{At, FeatureReader, OnlineStore, OutboxEntry, Publisher, Scorer};
use forebay_core::prediction::{OutboxRecord, PendingScore};
use forebay_core::{ErrorKind, PortError};

use crate::deployment::{Deployment, PlacedScore};
use crate::error::PipelineError;
use crate::pending::decode_rows;
use crate::prediction::{RecordEncoder, Scored, outbox_records};
use crate::status::Counters;

/// Scores of one request to a model.
const BATCH_ROWS: usize = 4_096;
/// Outbox entries read at once when a restart sends what was left.
const RESEND_ROWS: usize = 1_000;
/// Batches that may wait for the publisher.
const PUBLISH_QUEUE: usize = 4;
/// Longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_secs(5);

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
    pub fn start(parts: &ScoringParts, epochs: Receiver<Vec<PlacedScore>>) -> Result<Self, PipelineError> {
        let (outbox, to_publish) = sync_channel(PUBLISH_QUEUE);
        let publisher = parts.clone();
        let publish = spawn("publisher", parts, move || publish_all(&publisher, &to_publish))?;
        let scorer = parts.clone();
        let score = spawn("scorer", parts, move || score_all(&scorer, &epochs, &outbox))?;
        Ok(Self { threads: vec![("scorer", score), ("publisher", publish)] })
    }

    /// Wait for both threads and return their first error.
    ///
    /// # Errors
    /// Of either thread.
    pub fn join(self) -> Result<(), PipelineError> {
        let mut outcome = Ok(());
        for (name, thread) in self.threads {
            outcome = outcome.and(thread.join().unwrap_or(Err(PipelineError::ThreadGone(name))));
        }
        outcome
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
            let outcome = run();
            if let Err(error) = &outcome {
                tracing::error!(thread = name, %error, "scoring has stopped");
                counters.failed.store(true, Ordering::Relaxed);
            }
            outcome
        })
        .map_err(|e| PortError::with_source(ErrorKind::ResourceExhausted, format!("cannot start {name}"), e).into())
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
            score_chunk(parts, chunk, outbox)?;
        }
        parts.counters.scores_waiting.fetch_sub(scores.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn score_chunk(
    parts: &ScoringParts,
    chunk: &[PlacedScore],
    outbox: &SyncSender<Acknowledge>,
) -> Result<(), PipelineError> {
    let mut groups: BTreeMap<(&str, u32), Vec<&PlacedScore>> = BTreeMap::new();
    for placed in chunk {
        let key = &placed.score.key;
        groups.entry((&key.deployment, key.model_version)).or_default().push(placed);
    }
    let mut settled: BTreeMap<u16, Vec<(PendingScore, Option<OutboxRecord>)>> = BTreeMap::new();
    for ((name, version), placed) in groups {
        let pending: Vec<PendingScore> = placed.iter().map(|p| p.score.clone()).collect();
        let records = match parts.deployments.iter().find(|d| d.def().name == name) {
            Some(deployment) => score_rows(parts, deployment, version, &pending)?,
            // The deployment was dropped after the event was read: nobody waits for the score.
            None => vec![None; pending.len()],
        };
        for ((placed, pending), record) in placed.iter().zip(pending).zip(records) {
            settled.entry(placed.shard).or_default().push((pending, record));
        }
    }
    for (shard, scored) in settled {
        let entries = parts.store.settle(shard, scored)?;
        if !entries.is_empty() {
            outbox.send((shard, entries)).map_err(|_| PipelineError::ThreadGone("publisher"))?;
        }
    }
    Ok(())
}

/// Score `pending`, all of one deployment and version. A row that cannot be scored is None: it is found by halving, so
/// that it does not take its neighbours with it.
fn score_rows(
    parts: &ScoringParts,
    deployment: &Deployment,
    version: u32,
    pending: &[PendingScore],
) -> Result<Vec<Option<OutboxRecord>>, PipelineError> {
    let mut pause = Duration::from_millis(50);
    loop {
        match try_score(parts, deployment, version, pending) {
            Ok(records) => return Ok(records.into_iter().map(Some).collect()),
            Err(error) if error.kind().is_retriable() => {
                if parts.stopping.load(Ordering::Relaxed) {
                    return Err(error);
                }
                tracing::warn!(deployment = deployment.def().name, %error, "scoring failed and is tried again");
                std::thread::sleep(pause);
                pause = (pause * 2).min(RETRY_MAX);
            }
            Err(error) if pending.len() == 1 => {
                tracing::warn!(deployment = deployment.def().name, id = pending[0].key.id(), %error, "not scored");
                parts.counters.unscored.fetch_add(1, Ordering::Relaxed);
                return Ok(vec![None]);
            }
            Err(_) => {
                let (left, right) = pending.split_at(pending.len() / 2);
                let mut records = score_rows(parts, deployment, version, left)?;
                records.extend(score_rows(parts, deployment, version, right)?);
                return Ok(records);
            }
        }
    }
}

fn try_score(
    parts: &ScoringParts,
    deployment: &Deployment,
    version: u32,
    pending: &[PendingScore],
) -> Result<Vec<OutboxRecord>, PipelineError> {
    let rows = decode_rows(&deployment.row_columns(), pending)?;
    let request: RecordBatch = rows.project(&(0..deployment.request_columns()).collect::<Vec<_>>())?;
    let times: Vec<i64> = pending.iter().map(|p| p.event_time_us).collect();
    let answer = parts.reader.read(deployment.service().as_ref(), &request, At::PerRow(&times))?;
    parts.counters.feature_rows.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
    let scoring = parts.scorer.score(&deployment.def().model, version, answer.features.clone());
    let scores = parts.runtime.block_on(scoring)?;
    let scored = Scored { deployment, pending, rows: &rows, answer: &answer, scores: &scores };
    outbox_records(&scored, parts.store.as_ref(), parts.encoder.as_ref())
}

fn publish_all(parts: &ScoringParts, entries: &Receiver<Acknowledge>) -> Result<(), PipelineError> {
    for shard in 0..parts.store.shards() {
        loop {
            let left = parts.store.outbox(shard, RESEND_ROWS)?;
            if left.is_empty() {
                break;
            }
            publish(parts, shard, left)?;
        }
    }
    while let Ok((shard, entries)) = entries.recv() {
        publish(parts, shard, entries)?;
    }
    Ok(())
}

fn publish(parts: &ScoringParts, shard: u16, entries: Vec<OutboxEntry>) -> Result<(), PipelineError> {
    let last = entries.iter().map(|e| e.sequence).max().unwrap_or(0);
    let records: Vec<OutboxRecord> = entries.into_iter().map(|e| e.record).collect();
    let mut pause = Duration::from_millis(100);
    while let Err(error) = parts.publisher.publish(&records) {
        if !error.kind().is_retriable() || parts.stopping.load(Ordering::Relaxed) {
            return Err(error.into());
        }
        tracing::warn!(%error, "publishing failed and is tried again");
        std::thread::sleep(pause);
        pause = (pause * 2).min(RETRY_MAX);
    }
    parts.store.clear_outbox(shard, last)?;
    parts.counters.predictions.fetch_add(records.len() as u64, Ordering::Relaxed);
    Ok(())
}
