//! The place of one stream to one worker for one model version: the stream while it is open, and
//! what the worker's past answers say of it. Opens nothing itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use parking_lot::Mutex;

use super::breaker::Breaker;
use super::stream::WorkerStream;
use crate::model::ModelId;

/// What a stream is opened for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SlotKey {
    pub(super) worker: String,
    pub(super) id: ModelId,
    pub(super) schema: SchemaRef,
}

/// The stream to one worker for one model version.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Held while a stream is being opened, so that one is opened and not many.
    pub(super) opening: tokio::sync::Mutex<()>,
    pub(super) state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
pub(super) struct SlotState {
    pub(super) stream: Option<Arc<WorkerStream>>,
    pub(super) breaker: Breaker,
}

impl Slot {
    /// The stream, while answers can come.
    pub(super) fn open_stream(&self) -> Option<Arc<WorkerStream>> {
        let state = self.state.lock();
        state.stream.clone().filter(|stream| stream.is_open())
    }

    /// Whether batches may go there.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().breaker.is_closed()
    }

    /// The worker failed on `stream`, or before it was open. Many batches lose the same stream; it
    /// counts once. True when it had not failed before.
    pub(super) fn fail(
        &self,
        stream: Option<&Arc<WorkerStream>>,
        reason: &str,
        pause: Duration,
    ) -> bool {
        let mut state = self.state.lock();
        if let Some(lost) = stream {
            match &state.stream {
                Some(current) if Arc::ptr_eq(current, lost) => {}
                _ => return false,
            }
        }
        state.stream = None;
        state.breaker.fail(reason, Instant::now(), pause)
    }
}

/// The one probe of a slot; the next may be sent when it is dropped.
#[derive(Debug)]
pub(super) struct Probe(Arc<Slot>);

impl Probe {
    /// The probe of `slot`, if it is due at `now` and nobody sends it yet.
    pub(super) fn due(slot: &Arc<Slot>, now: Instant) -> Option<Self> {
        let due = slot.state.lock().breaker.takes_probe(now);
        due.then(|| Self(Arc::clone(slot)))
    }

    /// What is probed.
    pub(super) fn slot(&self) -> &Slot {
        &self.0
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.state.lock().breaker.end_probe();
    }
}
