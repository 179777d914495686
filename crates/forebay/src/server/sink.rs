//! Pushed events (Flight's DoPut, `serve`) become records of their source's topic, so that there is
//! one way in: they come back through the reader like any other event. Answered when the broker has
//! all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::prediction::OutboxRecord;
use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_kafka::{Error, KafkaPublisher, encode_events};
use forebay_pipeline::OwnTopics;
use forebay_serve::{EventSink, PushReceipt};
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};

/// Pushes that wait for the broker at once, each on a thread of the runtime's pool, which has 512.
/// The others wait for their turn without one: half of the pool is left to everything else, however
/// many push while a broker is away.
const PUSHES_AT_ONCE: usize = 256;

/// How long a push waits for the start of the server to come to ingest.
const BEGIN_MAX: Duration = Duration::from_secs(10);

/// The sources that take events, and the producer.
#[derive(Debug)]
pub(crate) struct TopicSink {
    publisher: Arc<KafkaPublisher>,
    sources: RwLock<BTreeMap<String, Arc<SourceDef>>>,
    topics: watch::Sender<Option<OwnTopics>>,
    turns: Arc<Semaphore>,
}

impl TopicSink {
    /// A sink that knows no source yet.
    #[must_use]
    pub(crate) fn new(publisher: Arc<KafkaPublisher>) -> Self {
        Self {
            publisher,
            sources: RwLock::default(),
            topics: watch::Sender::new(None),
            turns: Arc::new(Semaphore::new(PUSHES_AT_ONCE)),
        }
    }

    /// Take events for these sources from now on.
    pub(crate) fn replace_sources(&self, sources: BTreeMap<String, Arc<SourceDef>>) {
        *self.sources.write() = sources;
    }

    /// Ask `topics` from now on whether an event would reach the log that the state follows.
    pub(crate) fn follow(&self, topics: OwnTopics) {
        self.topics.send_replace(Some(topics));
    }

    /// What is asked, once ingest has begun for the first time.
    async fn own_topics(&self) -> PortResult<OwnTopics> {
        let mut topics = self.topics.subscribe();
        let begun = topics.wait_for(Option::is_some);
        let begun = tokio::time::timeout(BEGIN_MAX, begun).await;
        let topics = begun.ok().and_then(|begun| begun.ok()?.clone());
        topics.ok_or_else(|| {
            let words = "ingest has not begun, so that nobody has looked whether the broker is of \
                         the cluster that the state follows; `status` says why, send again then";
            PortError::new(ErrorKind::Unavailable, words)
        })
    }
}

#[async_trait]
impl EventSink for TopicSink {
    fn source(&self, name: &str) -> PortResult<Arc<SourceDef>> {
        let sources = self.sources.read();
        sources.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = sources.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none yet".to_owned()
            } else {
                known.join(", ")
            };
            PortError::not_found(format!("there is no source {name}; known sources: {known}"))
        })
    }

    async fn push(&self, source: &SourceDef, rows: RecordBatch) -> PortResult<PushReceipt> {
        let records: Vec<OutboxRecord> = encode_events(source, &rows)?
            .into_iter()
            .map(|payload| OutboxRecord {
                topic: source.topic.clone(),
                key: Vec::new(),
                payload,
                headers: Vec::new(),
            })
            .collect();
        let (topics, topic) = (self.own_topics().await?, source.topic.clone());
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.expect("the semaphore of pushes is never closed");
        let publisher = Arc::clone(&self.publisher);
        let sent = tokio::task::spawn_blocking(move || {
            // Kept as long as the thread is, also where nobody waits for the answer any more.
            let _turn = turn;
            topics.check(&topic)?;
            match publisher.send_and_locate(&records) {
                // Made meanwhile: by whom, the watch says.
                Err(Error::UnknownTopic { .. }) if publisher.finds(&topic) => {
                    topics.check(&topic)?;
                    Ok(publisher.send_and_locate(&records)?)
                }
                outcome => Ok(outcome?) as PortResult<_>,
            }
        });
        let sent = sent.await;
        let next_offsets = sent.map_err(|e| {
            PortError::with_source(
                ErrorKind::MaybeWritten,
                "the push was cut off; look before it is sent again",
                e,
            )
        })??;
        Ok(PushReceipt { next_offsets })
    }
}
