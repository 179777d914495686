//! Where one batch goes: to a worker that serves its model version and has not failed, and to the
//! next one when that one is gone, silent, answers what no such model answers, or says that the
//! rows are at fault: the rows are refused when all say so, and who is contradicted by another
//! loses its claim.
//!
//! One `DoExchange` a (worker, model version, schema). A batch is kept until it is answered, and
//! sending it twice is harmless because scoring has no effects. Credits bound what is in flight;
//! without credit a caller waits, so that pressure reaches scoring. A worker that fails, by
//! refusing the stream, by an answer that is malformed or by none in its time, loses its claim: no
//! batch goes there until a probe was answered ([`super::breaker`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use forebay_core::ErrorKind;
use forebay_core::limits::WORKER_PROBE_ROWS;
use forebay_core::ports::Scores;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};

use super::balance::{Candidate, choose};
use super::options::PoolOptions;
use super::protocol::Expected;
use super::registry::WorkerRegistry;
use super::slot::{Probe, Slot, SlotKey};
use super::stream::{Outcome, WorkerStream};
use crate::error::{InferError, Result};
use crate::model::ModelId;
use crate::random::SplitMix64;
use crate::recorder::Recorder;

/// HTTP/2 flow-control windows.
const WINDOW_BYTES: u32 = 4 << 20;

/// What all calls of a pool share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) registry: Arc<WorkerRegistry>,
    pub(super) options: PoolOptions,
    pub(super) runtime: Handle,
    pub(super) expected: Mutex<HashMap<ModelId, Expected>>,
    pub(super) slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
    pub(super) random: Mutex<SplitMix64>,
    /// Told when credit comes back, a stream is lost, or a probe has ended.
    pub(super) freed: Arc<Notify>,
    pub(super) recorder: Recorder,
}

/// One request to the pool, whatever number of batches it is split into.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: ModelId,
    pub(super) schema: SchemaRef,
    pub(super) deadline: Instant,
    /// Whether workers that have failed, or that nobody knows yet, are waited for.
    pub(super) waits: bool,
    /// Whether it probes a worker that has failed.
    pub(super) probes: bool,
}

/// No worker scored, and why.
#[derive(Debug)]
pub struct Declined {
    /// Why.
    pub error: InferError,
    /// The workers that say that the rows are at fault, which `error` says only where all do.
    pub refused_by: Vec<String>,
}

impl Declined {
    /// Not the rows' fault.
    pub(super) fn by_nobody(error: InferError) -> Self {
        Self {
            error,
            refused_by: Vec::new(),
        }
    }
}

/// Where to go with a batch, given what is known now.
enum Plan {
    Ask(String, Arc<Slot>),
    /// Workers are there, and all are busy.
    Busy,
    /// Workers are there, and all have failed: when the next is probed, and what the last one said.
    Failed(Option<Instant>, String),
    /// Nobody serves this model version.
    Nobody,
}

/// What is known of the workers that may be asked.
#[derive(Default)]
struct Facts {
    open: Vec<(String, Arc<Slot>)>,
    candidates: Vec<Candidate>,
    failed: Option<String>,
    probe_at: Option<Instant>,
}

/// What the workers have said that were asked for one batch.
#[derive(Default)]
struct Asked {
    /// Those that do not score it, with their words: they are not asked again.
    refusals: HashMap<String, InferError>,
    /// Those among them that say that the rows are at fault.
    blames: Vec<String>,
    last_loss: Option<String>,
}

impl Asked {
    /// `worker` has answered with `outcome`; the scores, if it has scored.
    fn note(&mut self, worker: String, outcome: Outcome) -> Option<Scores> {
        match outcome {
            Outcome::Scored(scores) => return Some(scores),
            Outcome::Lost(reason) => self.last_loss = Some(format!("worker {worker}: {reason}")),
            Outcome::Refused(error) => {
                if is_final(error.kind()) {
                    self.blames.push(worker.clone());
                }
                self.refusals.insert(worker, error);
            }
        }
        None
    }

    /// All say that the rows are at fault.
    fn refused(mut self, id: &ModelId) -> Declined {
        let first = self.blames.first();
        let error = first.and_then(|worker| self.refusals.remove(worker));
        Declined {
            error: error.unwrap_or_else(|| no_worker(id)),
            refused_by: self.blames,
        }
    }
}

impl Shared {
    /// Ask workers until one answers, none is left, or the deadline passes.
    pub(super) async fn score_part(
        self: &Arc<Self>,
        call: &Arc<Call>,
        batch: RecordBatch,
    ) -> std::result::Result<Scores, Declined> {
        let nobody_until = (Instant::now() + self.options.worker_timeout).min(call.deadline);
        let mut asked = Asked::default();
        loop {
            let now = Instant::now();
            if now >= call.deadline {
                // Who has not answered for a whole deadline has no say: else rows that are at fault
                // would wait for it, and all behind them.
                let others = self.plan(call, &batch, &asked.refusals, now);
                let may_answer = matches!(others, Plan::Ask(..) | Plan::Busy);
                if !asked.blames.is_empty() && !may_answer {
                    return Err(asked.refused(&call.id));
                }
                let error = late(&call.id, &batch, self.options.deadline, asked.last_loss);
                return Err(Declined::by_nobody(error));
            }
            // Made before the look at the facts, so that no change between the two is missed.
            let (mut freed, mut changed) = (
                Box::pin(self.freed.notified()),
                Box::pin(self.registry.changed()),
            );
            freed.as_mut().enable();
            changed.as_mut().enable();
            let wait_until = match self.plan(call, &batch, &asked.refusals, now) {
                Plan::Ask(worker, slot) => {
                    let outcome = self.ask(&worker, &slot, call, &batch).await;
                    if let Some(scores) = asked.note(worker, outcome) {
                        for liar in &asked.blames {
                            self.contradict(liar, &call.id, "another worker");
                        }
                        return Ok(scores);
                    }
                    continue;
                }
                Plan::Busy => call.deadline,
                Plan::Nobody if !asked.blames.is_empty() => return Err(asked.refused(&call.id)),
                // Also where some blame the rows: a worker that has not answered may take them.
                Plan::Failed(_, reason) if !call.waits => {
                    return Err(Declined {
                        error: all_failed(&call.id, &reason),
                        refused_by: asked.blames,
                    });
                }
                Plan::Failed(probe_at, _) => {
                    probe_at.map_or(call.deadline, |at| at.min(call.deadline))
                }
                Plan::Nobody => match asked.refusals.into_values().next() {
                    Some(refusal) => return Err(Declined::by_nobody(refusal)),
                    None if !call.waits || now >= nobody_until => {
                        return Err(Declined::by_nobody(no_worker(&call.id)));
                    }
                    None => {
                        asked.refusals = HashMap::new();
                        nobody_until
                    }
                },
            };
            tokio::select! {
                () = &mut freed => {}
                () = &mut changed => {}
                () = sleep_until(wait_until.into()) => {}
            }
        }
    }

    /// Read the facts and decide. Probes what is due on the way.
    fn plan(
        self: &Arc<Self>,
        call: &Arc<Call>,
        batch: &RecordBatch,
        refusals: &HashMap<String, InferError>,
        now: Instant,
    ) -> Plan {
        let workers = self.registry.serving(&call.id, now);
        self.forget_others(&call.id, &workers);
        let mut facts = Facts::default();
        for worker in workers {
            let slot = self.slot(&worker, call);
            if let Some(probe) = Probe::due(&slot, now) {
                self.send_probe(&worker, probe, call, batch);
            }
            if !refusals.contains_key(&worker) {
                self.look(worker, slot, &mut facts);
            }
        }
        if facts.open.is_empty() {
            return match facts.failed {
                Some(reason) => Plan::Failed(facts.probe_at, reason),
                None => Plan::Nobody,
            };
        }
        let (rows, credit) = (batch.num_rows() as u64, self.options.credit_rows as u64);
        match choose(&facts.candidates, rows, credit, &mut self.random.lock()) {
            Some(index) => {
                let (worker, slot) = facts.open.swap_remove(index);
                Plan::Ask(worker, slot)
            }
            None => Plan::Busy,
        }
    }

    fn slot(&self, worker: &str, call: &Call) -> Arc<Slot> {
        let key = SlotKey {
            worker: worker.to_owned(),
            id: call.id.clone(),
            schema: Arc::clone(&call.schema),
        };
        Arc::clone(self.slots.lock().entry(key).or_default())
    }

    /// Add what is known of `worker` to `facts`.
    fn look(&self, worker: String, slot: Arc<Slot>, facts: &mut Facts) {
        let state = slot.state.lock();
        if !state.breaker.is_closed() {
            facts.probe_at = match (facts.probe_at, state.breaker.probe_at()) {
                (Some(known), Some(at)) => Some(known.min(at)),
                (known, at) => known.or(at),
            };
            facts.failed = Some(format!("worker {worker}: {}", state.breaker.reason()));
            return;
        }
        let candidate = match state.stream.as_ref() {
            Some(stream) if stream.is_open() => stream.candidate(),
            Some(_) => {
                // Seen here, since the choice may not fall on it for long.
                self.recorder.worker_down(&worker);
                Candidate::UNKNOWN
            }
            None => Candidate::UNKNOWN,
        };
        drop(state);
        facts.candidates.push(candidate);
        facts.open.push((worker, slot));
    }

    /// Send the first rows of `batch` to a worker that has failed, while another one scores them.
    fn send_probe(
        self: &Arc<Self>,
        worker: &str,
        probe: Probe,
        call: &Arc<Call>,
        batch: &RecordBatch,
    ) {
        let rows = batch.slice(0, batch.num_rows().min(WORKER_PROBE_ROWS));
        let patience = self.options.connect_timeout + self.options.answer_timeout;
        let call = Call {
            id: call.id.clone(),
            schema: Arc::clone(&call.schema),
            deadline: Instant::now() + patience,
            waits: false,
            probes: true,
        };
        let (shared, worker) = (Arc::clone(self), worker.to_owned());
        self.runtime.spawn(async move {
            // How it went is in the slot.
            drop(shared.ask(&worker, probe.slot(), &call, &rows).await);
            drop(probe);
            shared.freed.notify_waiters();
        });
    }

    /// Close the streams of workers that no longer serve `id`.
    fn forget_others(&self, id: &ModelId, workers: &[String]) {
        self.slots.lock().retain(|key, _| {
            let stays = key.id != *id || workers.contains(&key.worker);
            if !stays {
                self.recorder.worker_forgotten(&key.worker);
            }
            stays
        });
    }

    /// See [`super::pool::WorkerPool::contradict`].
    pub(super) fn contradict(&self, worker: &str, id: &ModelId, by: &str) {
        let slots: Vec<Arc<Slot>> = self
            .slots
            .lock()
            .iter()
            .filter(|(key, _)| key.worker == worker && key.id == *id)
            .map(|(_, slot)| Arc::clone(slot))
            .collect();
        for slot in slots {
            let stream = slot.open_stream();
            let reason = format!("it refuses rows that {by} scores");
            self.fail(worker, id, &slot, stream.as_ref(), &reason);
        }
    }

    /// Ask one worker, opening the stream if needed, and note how it does.
    async fn ask(&self, worker: &str, slot: &Slot, call: &Call, batch: &RecordBatch) -> Outcome {
        let left = call.deadline.saturating_duration_since(Instant::now());
        let opened = timeout(
            self.options.connect_timeout.min(left),
            self.stream(worker, slot, call),
        );
        let stream = match opened.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.failed(worker, call, slot, None, &error.to_string());
                return if error.kind() == ErrorKind::Unavailable {
                    Outcome::Lost(error.to_string())
                } else {
                    Outcome::Refused(not_of_the_batch(worker, &error))
                };
            }
            Err(_) => {
                let reason = format!("no stream in {:?}", self.options.connect_timeout);
                self.failed(worker, call, slot, None, &reason);
                return Outcome::Lost(reason);
            }
        };
        let left = call.deadline.saturating_duration_since(Instant::now());
        let outcome = stream
            .score(batch, self.options.answer_timeout.min(left))
            .await;
        match outcome {
            Outcome::Scored(scores) => {
                self.passed(worker, &call.id, slot);
                let pending_rows = stream.candidate().pending_rows;
                self.recorder.worker_up(worker, pending_rows);
                Outcome::Scored(scores)
            }
            Outcome::Refused(error) => {
                // A worker that finds a row at fault has scored the batch: it works.
                if is_final(error.kind()) {
                    self.passed(worker, &call.id, slot);
                } else {
                    self.failed(worker, call, slot, Some(&stream), &error.to_string());
                }
                Outcome::Refused(said_by(worker, error.kind(), &error))
            }
            Outcome::Lost(reason) => {
                self.failed(worker, call, slot, Some(&stream), &reason);
                Outcome::Lost(reason)
            }
        }
    }

    fn passed(&self, worker: &str, id: &ModelId, slot: &Slot) {
        if slot.state.lock().breaker.pass() {
            tracing::info!(worker, %id, "worker answers again and is asked");
        }
    }

    /// Many batches meet the same failure; it counts once.
    fn failed(
        &self,
        worker: &str,
        call: &Call,
        slot: &Slot,
        stream: Option<&Arc<WorkerStream>>,
        reason: &str,
    ) {
        if !call.probes && !slot.is_closed() {
            return;
        }
        self.fail(worker, &call.id, slot, stream, reason);
    }

    fn fail(
        &self,
        worker: &str,
        id: &ModelId,
        slot: &Slot,
        stream: Option<&Arc<WorkerStream>>,
        reason: &str,
    ) {
        if slot.fail(stream, reason, self.options.ejection) {
            tracing::warn!(worker, %id, reason, "worker fails and is probed until it answers");
        }
        self.recorder.worker_down(worker);
    }

    /// The slot's stream, opened if there is none.
    async fn stream(&self, worker: &str, slot: &Slot, call: &Call) -> Result<Arc<WorkerStream>> {
        if let Some(stream) = slot.open_stream() {
            return Ok(stream);
        }
        let opening = slot.opening.lock().await;
        if let Some(stream) = slot.open_stream() {
            return Ok(stream);
        }
        if !call.probes && !slot.is_closed() {
            // Who opened before has failed.
            let reason = slot.state.lock().breaker.reason().to_owned();
            return Err(InferError::worker(ErrorKind::Unavailable, reason));
        }
        let known = self.expected.lock().get(&call.id).cloned();
        let channel = connect(worker).await?;
        let freed = Arc::clone(&self.freed);
        let expected = known.unwrap_or_default();
        let opened = WorkerStream::open(channel, &call.id, expected, &call.schema, freed).await?;
        let stream = Arc::new(opened);
        slot.state.lock().stream = Some(Arc::clone(&stream));
        drop(opening);
        Ok(stream)
    }
}

async fn connect(worker: &str) -> Result<Channel> {
    let failed = |error: tonic::transport::Error| {
        // Its own words are "transport error"; the first cause says which.
        let mut first: &dyn std::error::Error = &error;
        while let Some(source) = first.source() {
            first = source;
        }
        InferError::worker(ErrorKind::Unavailable, format!("cannot connect: {first}"))
    };
    Endpoint::from_shared(format!("http://{worker}"))
        .map_err(failed)?
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(failed)
}

/// A worker that refuses to open a stream has seen no row: whatever it does not like, it is not the
/// batch.
fn not_of_the_batch(worker: &str, error: &InferError) -> InferError {
    let kind = match error.kind() {
        kind if is_final(kind) => ErrorKind::FailedPrecondition,
        kind => kind,
    };
    said_by(worker, kind, error)
}

fn said_by(worker: &str, kind: ErrorKind, error: &InferError) -> InferError {
    InferError::worker(kind, format!("worker {worker}: {error}"))
}

/// Whether it is said of the batch and not of the worker.
fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidArgument | ErrorKind::ResourceExhausted | ErrorKind::OutOfRange
    )
}

fn no_worker(id: &ModelId) -> InferError {
    let message =
        format!("no worker serves {id}; start one with `forebay worker` and let it register");
    InferError::worker(ErrorKind::Unavailable, message)
}

fn all_failed(id: &ModelId, reason: &str) -> InferError {
    let message = format!("every worker of {id} fails and is probed until it answers; {reason}");
    InferError::worker(ErrorKind::Unavailable, message)
}

fn late(id: &ModelId, batch: &RecordBatch, within: Duration, last: Option<String>) -> InferError {
    let last = last.map_or(String::new(), |last| format!("; last: {last}"));
    let message = format!(
        "{} rows for {id} were not scored in {within:?}{last}",
        batch.num_rows()
    );
    InferError::worker(ErrorKind::DeadlineExceeded, message)
}
