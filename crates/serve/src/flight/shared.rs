//! What all calls of the Flight service share: the ports behind it, the permits of large reads, the
//! phase of the server, and the runtime on which administration runs. The binary fills in
//! [`FlightServices`]; nothing here answers a call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use forebay_core::memory::Budget;
use forebay_core::ports::{CompiledService, FeatureReader, StateReader};
use forebay_core::time::Clock;
use forebay_telemetry::Metrics;
use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tonic::Status;

use crate::answer::Answerer;
use crate::gaps::LogGaps;
use crate::phase::Phase;
use crate::ports::{AdminPort, EventSink};
use crate::recorder::Stages;
use crate::ticket::AnswerOptions;

/// Rows above which a read leaves the serving thread, so that it does not hold up the small ones on
/// that core.
pub(crate) const INLINE_MAX_ROWS: usize = 128;

/// What the Flight service works with; the binary fills it in.
#[derive(Clone)]
pub struct FlightServices {
    /// Reads features.
    pub reader: Arc<dyn FeatureReader>,
    /// The present, for requests that name no instant.
    pub clock: Arc<dyn Clock>,
    /// Where to record.
    pub metrics: Arc<Metrics>,
    /// What connections, streams and messages draw on.
    pub memory: Arc<Budget>,
    /// The accepted gaps of the sources; none unless somebody replaces them.
    pub gaps: Arc<LogGaps>,
    /// Resolves epochs to offsets, for requests with FULL_APPLIED; without it they are refused.
    pub store: Option<Arc<dyn StateReader>>,
    /// Where pushed events go; without it DoPut is refused.
    pub sink: Option<Arc<dyn EventSink>>,
    /// Who carries out administration; without it only `health` and `services` are there.
    pub admin: Option<Arc<dyn AdminPort>>,
}

impl FlightServices {
    /// Features alone; fill in the rest by field.
    #[must_use]
    pub fn new(
        reader: Arc<dyn FeatureReader>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        memory: Arc<Budget>,
    ) -> Self {
        Self {
            reader,
            clock,
            metrics,
            memory,
            gaps: Arc::default(),
            store: None,
            sink: None,
            admin: None,
        }
    }
}

impl fmt::Debug for FlightServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightServices")
            .field("sink", &self.sink.is_some())
            .field("admin", &self.admin.is_some())
            .finish_non_exhaustive()
    }
}

/// A stream of messages, or of why there are no more.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) services: FlightServices,
    pub(crate) stages: Stages,
    /// One permit for each read off the serving threads.
    pub(crate) large_reads: Arc<Semaphore>,
    /// Whether the server is going away.
    pub(crate) phase: watch::Receiver<Phase>,
    /// The control runtime: administration and pushes run there, so that they do not hold up reads.
    /// None: on the serving threads.
    pub(crate) control: Option<Handle>,
}

impl Shared {
    /// What makes answers of `service`.
    pub(crate) fn answerer(
        &self,
        service: Arc<dyn CompiledService>,
        options: AnswerOptions,
    ) -> Answerer {
        let FlightServices { metrics, gaps, .. } = &self.services;
        Answerer::new(service, options, (metrics, gaps))
    }

    /// Run `work` on the control runtime, off the serving thread. None if it panicked or the
    /// runtime is shut down.
    pub(crate) async fn on_control<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        match &self.control {
            Some(control) => control.spawn(work).await.ok(),
            None => Some(work.await),
        }
    }
}
