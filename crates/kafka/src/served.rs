//! A producer whose reports a thread of its own serves. It rests while no record is under way: the
//! client library's own such thread wakes ten times a second, and each time is busy for most of a
//! millisecond. What the reports mean is [`crate::delivery`]'s business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use crate::client::not_created;
use crate::error::Error;

/// How long one look for reports takes while records are under way; a stop may wait for it.
const SERVE: Duration = Duration::from_millis(100);
/// How long the thread rests at most: an error that is about no record is logged this late.
const REST: Duration = Duration::from_secs(1);

/// A producer, and the thread that serves its reports.
pub(crate) struct ServedProducer<C: ProducerContext + 'static> {
    producer: Arc<BaseProducer<C>>,
    stopping: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl<C: ProducerContext + 'static> ServedProducer<C> {
    /// A producer of `config` that reports to `context`.
    ///
    /// # Errors
    /// The client does not take a property, or the system gives no thread.
    pub(crate) fn new(config: &ClientConfig, context: C) -> Result<Self, Error> {
        let producer = BaseProducer::from_config_and_context(config, context);
        let producer = Arc::new(producer.map_err(not_created)?);
        let stopping = Arc::new(AtomicBool::new(false));
        let (served, ends) = (Arc::clone(&producer), Arc::clone(&stopping));
        let thread = Builder::new().name("reports".to_owned());
        let serving = thread.spawn(move || serve(&served, &ends));
        let serving = serving.map_err(|error| Error::Settings {
            property: "the client".into(),
            problem: format!("got no thread: {error}"),
        })?;
        Ok(Self {
            producer,
            stopping,
            serving: Some(serving),
        })
    }

    /// The producer. After a send the caller must call [`Self::wake`].
    pub(crate) fn producer(&self) -> &BaseProducer<C> {
        &self.producer
    }

    /// A record is under way.
    pub(crate) fn wake(&self) {
        if let Some(serving) = &self.serving {
            serving.thread().unpark();
        }
    }
}

fn serve<C: ProducerContext + 'static>(producer: &BaseProducer<C>, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        if producer.in_flight_count() > 0 {
            producer.poll(SERVE);
        } else {
            producer.poll(Duration::ZERO);
            // A wake since the count is not lost: it ends this at once.
            park_timeout(REST);
        }
    }
}

impl<C: ProducerContext + 'static> Drop for ServedProducer<C> {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(serving) = self.serving.take()
            && serving.join().is_err()
        {
            tracing::error!("the thread that serves a producer's reports has panicked");
        }
    }
}
