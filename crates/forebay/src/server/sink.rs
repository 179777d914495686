//! Pushed events (Flight's DoPut, `serve`) become records of their source's topic, so that there is
//! one way in: they come back through the reader like any other event. Answered when the broker has
//! all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::prediction::OutboxRecord;
use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_kafka::{KafkaPublisher, encode_rows};
use forebay_serve::{EventSink, PushReceipt};
use parking_lot::RwLock;

/// The sources that take events, and the producer.
#[derive(Debug)]
pub(crate) struct TopicSink {
    publisher: Arc<KafkaPublisher>,
    sources: RwLock<BTreeMap<String, Arc<SourceDef>>>,
}

impl TopicSink {
    /// A sink that knows no source yet.
    #[must_use]
    pub(crate) fn new(publisher: Arc<KafkaPublisher>) -> Self {
        Self {
            publisher,
            sources: RwLock::default(),
        }
    }

    /// Take events for these sources from now on.
    pub(crate) fn replace_sources(&self, sources: BTreeMap<String, Arc<SourceDef>>) {
        *self.sources.write() = sources;
    }
}

#[async_trait]
impl EventSink for TopicSink {
    fn source(&self, name: &str) -> PortResult<Arc<SourceDef>> {
        let sources = self.sources.read();
        sources.get(name).cloned().ok_or_else(|| {
            let known = sources
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            PortError::not_found(format!("there is no source {name}; known sources: {known}"))
        })
    }

    async fn push(&self, source: &SourceDef, rows: RecordBatch) -> PortResult<PushReceipt> {
        let records: Vec<OutboxRecord> = encode_rows(&rows)?
            .into_iter()
            .map(|payload| OutboxRecord {
                topic: source.topic.clone(),
                key: Vec::new(),
                payload,
                headers: Vec::new(),
            })
            .collect();
        let publisher = Arc::clone(&self.publisher);
        let sent = tokio::task::spawn_blocking(move || publisher.send_and_locate(&records)).await;
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
