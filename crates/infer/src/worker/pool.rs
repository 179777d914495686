//! The `Scorer` port over worker processes: spreads batches over the workers that serve a model
//! version and loses none.
//!
//! One `DoExchange` a (worker, model version, schema). A batch is kept until it is answered; when
//! its worker is gone, silent or draining, it goes to another one, which is harmless because
//! scoring has no effects. Credits bound what is in flight; without credit a caller waits, so that
//! pressure reaches ingest. Every wait ends at the deadline with a typed error. Tasks run on the
//! runtime that is given at the start, so `score` may be awaited from any executor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::limits::{WORKER_BATCH_MAX_ROWS, WORKER_CREDIT_ROWS};
use forebay_core::ports::{Scorer, Scores};
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_telemetry::Metrics;
use futures::future::try_join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};

use super::balance::{Candidate, choose};
use super::registry::WorkerRegistry;
use super::stream::{Outcome, WorkerStream};
use crate::error::{InferError, Result};
use crate::model::ModelId;
use crate::random::SplitMix64;
use crate::recorder::Recorder;

/// Bytes of one batch above which it is split further than by rows.
const BATCH_TARGET_BYTES: usize = 8 << 20;
/// HTTP/2 flow-control windows.
const WINDOW_BYTES: u32 = 4 << 20;
/// Longest time that a failing worker is left alone.
const EJECTION_MAX: Duration = Duration::from_secs(10);

/// Settings of a pool.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Rows in flight on one stream.
    pub credit_rows: usize,
    /// Rows of one batch; bigger requests are split.
    pub batch_max_rows: usize,
    /// How long opening a stream may take.
    pub connect_timeout: Duration,
    /// How long one worker may take for one batch before another one is asked.
    pub answer_timeout: Duration,
    /// How long to wait for a worker when none is known.
    pub worker_timeout: Duration,
    /// How long one call may take in all.
    pub deadline: Duration,
    /// How long a worker is left alone after its first failure; doubles with each further one, up
    /// to 10 s.
    pub ejection: Duration,
    /// Seed of the choices.
    pub seed: u64,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            credit_rows: WORKER_CREDIT_ROWS,
            batch_max_rows: WORKER_BATCH_MAX_ROWS,
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_secs(10),
            worker_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
            ejection: Duration::from_millis(100),
            seed: 0,
        }
    }
}

/// Scores on worker processes.
#[derive(Debug, Clone)]
pub struct WorkerPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Arc<WorkerRegistry>,
    options: PoolOptions,
    runtime: Handle,
    /// Fingerprint of the service that each model version reads.
    fingerprints: Mutex<HashMap<ModelId, String>>,
    slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
    random: Mutex<SplitMix64>,
    freed: Arc<Notify>,
    recorder: Recorder,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SlotKey {
    worker: String,
    id: ModelId,
    schema: SchemaRef,
}

/// The place of one stream.
#[derive(Debug, Default)]
struct Slot {
    /// Held while a stream is being opened, so that one is opened and not many.
    opening: tokio::sync::Mutex<()>,
    state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    stream: Option<Arc<WorkerStream>>,
    failures: u32,
    retry_at: Option<Instant>,
}

/// Where to go with a batch, given what is known now.
enum Plan {
    Ask(String, Arc<Slot>),
    /// Workers are there: all busy, or left alone until the instant.
    Wait(Option<Instant>),
    /// Nobody serves this model version.
    Nobody,
}

impl WorkerPool {
    /// Over the workers of `registry`; streams live on `runtime`.
    #[must_use]
    pub fn new(registry: Arc<WorkerRegistry>, runtime: Handle, options: PoolOptions) -> Self {
        let random = Mutex::new(SplitMix64::new(options.seed));
        let shared = Shared {
            registry,
            options,
            runtime,
            fingerprints: Mutex::default(),
            slots: Mutex::default(),
            random,
            freed: Arc::new(Notify::new()),
            recorder: Recorder::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Tell `metrics` which workers answer and what waits there, from now on.
    pub fn record_to(&self, metrics: Arc<Metrics>) {
        self.shared.recorder.record_to(metrics);
    }

    /// The workers that it spreads over.
    #[must_use]
    pub fn registry(&self) -> &Arc<WorkerRegistry> {
        &self.shared.registry
    }

    /// Features for this model version come from a service with this fingerprint: workers refuse it
    /// when theirs differs. Without it they check names and types alone.
    pub fn set_fingerprint(&self, model: &str, version: u32, fingerprint: &str) {
        self.shared
            .fingerprints
            .lock()
            .insert(ModelId::new(model, version), fingerprint.to_owned());
    }
}

#[async_trait]
impl Scorer for WorkerPool {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        let shared = Arc::clone(&self.shared);
        let id = ModelId::new(model, version);
        let work = self
            .shared
            .runtime
            .spawn(async move { shared.score(&id, &features).await });
        match work.await {
            Ok(result) => result.map_err(PortError::from),
            Err(error) => {
                let kind = if error.is_cancelled() {
                    ErrorKind::Unavailable
                } else {
                    ErrorKind::Internal
                };
                Err(PortError::with_source(
                    kind,
                    format!("scoring with {model} version {version} was cut off"),
                    error,
                ))
            }
        }
    }
}

impl Shared {
    /// Split, send, put together in order.
    async fn score(self: &Arc<Self>, id: &ModelId, features: &RecordBatch) -> Result<Scores> {
        let deadline = Instant::now() + self.options.deadline;
        let rows = features.num_rows();
        let schema: SchemaRef = Arc::new(Schema::new(features.schema_ref().fields().clone()));
        let row_bytes = (features.get_array_memory_size() / rows.max(1)).max(1);
        let part_rows =
            (BATCH_TARGET_BYTES / row_bytes).clamp(1, self.options.batch_max_rows.max(1));
        let parts = (0..rows).step_by(part_rows).map(|start| {
            let part = features.slice(start, part_rows.min(rows - start));
            self.score_part(id, &schema, part, deadline)
        });
        let mut scores = Scores {
            margin: Vec::with_capacity(rows),
            score: Vec::with_capacity(rows),
        };
        for part in try_join_all(parts).await? {
            scores.margin.extend(part.margin);
            scores.score.extend(part.score);
        }
        Ok(scores)
    }

    /// Ask workers until one answers or the deadline passes.
    async fn score_part(
        &self,
        id: &ModelId,
        schema: &SchemaRef,
        batch: RecordBatch,
        deadline: Instant,
    ) -> Result<Scores> {
        let nobody_until = (Instant::now() + self.options.worker_timeout).min(deadline);
        // Workers that do not serve this stream at all, with their words.
        let mut refusals: HashMap<String, InferError> = HashMap::new();
        let mut last_loss = None;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(late(
                    id,
                    &batch,
                    self.options.deadline,
                    last_loss.as_deref(),
                ));
            }
            // Made before the look at the facts, so that no change between the two is missed.
            let (mut freed, mut changed) = (
                Box::pin(self.freed.notified()),
                Box::pin(self.registry.changed()),
            );
            freed.as_mut().enable();
            changed.as_mut().enable();
            let wait_until = match self.plan(id, schema, batch.num_rows() as u64, &refusals, now) {
                Plan::Ask(worker, slot) => {
                    match self.ask(&worker, &slot, id, schema, &batch, deadline).await {
                        Outcome::Scored(scores) => return Ok(scores),
                        Outcome::Lost(reason) => {
                            last_loss = Some(format!("worker {worker}: {reason}"))
                        }
                        Outcome::Refused(error) if is_final(error.kind()) => return Err(error),
                        Outcome::Refused(error) => drop(refusals.insert(worker, error)),
                    }
                    continue;
                }
                Plan::Wait(until) => until.map_or(deadline, |until| until.min(deadline)),
                Plan::Nobody => match refusals.into_values().next() {
                    Some(refusal) => return Err(refusal),
                    None if now >= nobody_until => return Err(no_worker(id)),
                    None => {
                        refusals = HashMap::new();
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

    /// Read the facts and decide.
    fn plan(
        &self,
        id: &ModelId,
        schema: &SchemaRef,
        rows: u64,
        refusals: &HashMap<String, InferError>,
        now: Instant,
    ) -> Plan {
        let workers = self.registry.serving(id, now);
        self.forget_others(id, &workers);
        let (mut open, mut candidates, mut retry_at) = (Vec::new(), Vec::new(), None::<Instant>);
        for worker in workers
            .into_iter()
            .filter(|worker| !refusals.contains_key(worker))
        {
            let key = SlotKey {
                worker: worker.clone(),
                id: id.clone(),
                schema: Arc::clone(schema),
            };
            let slot = Arc::clone(self.slots.lock().entry(key).or_default());
            let state = slot.state.lock();
            match state.retry_at {
                Some(at) if at > now => retry_at = Some(retry_at.map_or(at, |known| known.min(at))),
                _ => {
                    let unknown = Candidate {
                        pending_rows: 0,
                        in_flight_rows: 0,
                        us_per_row: 0.0,
                        fixed_us: 0.0,
                    };
                    let candidate = match state.stream.as_ref() {
                        Some(stream) if stream.is_open() => stream.candidate(),
                        Some(_) => {
                            // Seen here, since the choice may not fall on it for long.
                            self.recorder.worker_down(&worker);
                            unknown
                        }
                        None => unknown,
                    };
                    candidates.push(candidate);
                    drop(state);
                    open.push((worker, slot));
                }
            }
        }
        if open.is_empty() {
            return retry_at.map_or(Plan::Nobody, |at| Plan::Wait(Some(at)));
        }
        let chosen = choose(
            &candidates,
            rows,
            self.options.credit_rows as u64,
            &mut self.random.lock(),
        );
        match chosen {
            Some(index) => {
                let (worker, slot) = open.swap_remove(index);
                Plan::Ask(worker, slot)
            }
            None => Plan::Wait(retry_at),
        }
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

    /// Ask one worker, opening the stream if needed.
    async fn ask(
        &self,
        worker: &str,
        slot: &Slot,
        id: &ModelId,
        schema: &SchemaRef,
        batch: &RecordBatch,
        deadline: Instant,
    ) -> Outcome {
        let left = deadline.saturating_duration_since(Instant::now());
        let stream = match timeout(
            self.options.connect_timeout.min(left),
            self.stream(worker, slot, id, schema),
        )
        .await
        {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() != ErrorKind::Unavailable => {
                return Outcome::Refused(not_of_the_batch(error));
            }
            Ok(Err(error)) => {
                self.lost(worker, slot, None);
                return Outcome::Lost(error.to_string());
            }
            Err(_) => {
                self.lost(worker, slot, None);
                return Outcome::Lost(format!("no stream in {:?}", self.options.connect_timeout));
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = stream
            .score(batch, self.options.answer_timeout.min(left))
            .await;
        match &outcome {
            Outcome::Scored(_) => {
                slot.state.lock().failures = 0;
                self.recorder
                    .worker_up(worker, stream.candidate().pending_rows);
            }
            Outcome::Lost(_) => self.lost(worker, slot, Some(&stream)),
            Outcome::Refused(_) => {}
        }
        outcome
    }

    fn lost(&self, worker: &str, slot: &Slot, stream: Option<&Arc<WorkerStream>>) {
        slot.fail(stream, self.options.ejection);
        self.recorder.worker_down(worker);
    }

    /// The slot's stream, opened if there is none.
    async fn stream(
        &self,
        worker: &str,
        slot: &Slot,
        id: &ModelId,
        schema: &SchemaRef,
    ) -> Result<Arc<WorkerStream>> {
        let current = || {
            slot.state
                .lock()
                .stream
                .clone()
                .filter(|stream| stream.is_open())
        };
        if let Some(stream) = current() {
            return Ok(stream);
        }
        let opening = slot.opening.lock().await;
        if let Some(stream) = current() {
            return Ok(stream);
        }
        let fingerprint = self
            .fingerprints
            .lock()
            .get(id)
            .cloned()
            .unwrap_or_default();
        let channel = connect(worker).await?;
        let freed = Arc::clone(&self.freed);
        let stream =
            Arc::new(WorkerStream::open(worker, channel, id, &fingerprint, schema, freed).await?);
        slot.state.lock().stream = Some(Arc::clone(&stream));
        drop(opening);
        Ok(stream)
    }
}

impl Slot {
    /// Leave the worker alone for a while. Many batches lose the same stream; it counts once.
    fn fail(&self, lost: Option<&Arc<WorkerStream>>, ejection: Duration) {
        let mut state = self.state.lock();
        if let Some(lost) = lost {
            match &state.stream {
                Some(current) if Arc::ptr_eq(current, lost) => state.stream = None,
                _ => return,
            }
        }
        let pause = ejection
            .saturating_mul(1 << state.failures.min(16))
            .min(EJECTION_MAX);
        state.failures = state.failures.saturating_add(1);
        state.retry_at = Some(Instant::now() + pause);
    }
}

async fn connect(worker: &str) -> Result<Channel> {
    let failed = |e: tonic::transport::Error| {
        InferError::worker(ErrorKind::Unavailable, format!("worker {worker}: {e}"))
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
fn not_of_the_batch(error: InferError) -> InferError {
    if is_final(error.kind()) {
        InferError::worker(ErrorKind::FailedPrecondition, error.to_string())
    } else {
        error
    }
}

/// Whether another worker would say the same of this batch.
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

fn late(id: &ModelId, batch: &RecordBatch, deadline: Duration, last: Option<&str>) -> InferError {
    let last = last.map_or(String::new(), |last| format!("; last: {last}"));
    let message = format!(
        "{} rows for {id} were not scored in {deadline:?}{last}",
        batch.num_rows()
    );
    InferError::worker(ErrorKind::DeadlineExceeded, message)
}
