//! Makes the topics that this server writes (predictions, alerts), and those of sources only where
//! the settings ask for it, on a thread that tries until the broker answers: neither a start nor an
//! apply waits for it. A source whose topic is missing is halted until somebody makes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::broker::BrokerLink;
use super::wiring::Wiring;
use crate::exit;
use crate::settings::Kafka;

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(2);

/// Topics to be made where they are missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Each with its partitions.
    topics: BTreeMap<String, i32>,
    replication_factor: i32,
}

impl Wanted {
    /// What `settings` allow of what `wiring` reads and writes. Nobody else can make a topic of the
    /// embedded broker.
    pub(crate) fn of(wiring: &Wiring, settings: &Kafka, embedded: bool) -> Self {
        let written = wiring.written_topics();
        let only_read = wiring
            .sources
            .iter()
            .map(|source| &source.topic)
            .filter(|topic| !written.contains(*topic))
            .cloned()
            .collect::<Vec<_>>();
        let mut topics = BTreeMap::new();
        if settings.create_topics || embedded {
            topics.extend(
                written
                    .into_iter()
                    .map(|topic| (topic, settings.partitions)),
            );
        }
        if settings.create_source_topics || embedded {
            topics.extend(
                only_read
                    .into_iter()
                    .map(|topic| (topic, settings.partitions)),
            );
        }
        Self {
            topics,
            replication_factor: settings.replication_factor,
        }
    }
}

/// The thread; ends when all are there, or with this value.
#[derive(Debug)]
pub(crate) struct TopicMaker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TopicMaker {
    /// Make `wanted`; of the embedded broker at once.
    ///
    /// # Errors
    /// The embedded broker refuses a topic, or the system gives no thread.
    pub(crate) fn start(broker: &Arc<BrokerLink>, wanted: Wanted) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut maker = Self {
            stop: Arc::clone(&stop),
            thread: None,
        };
        if broker.is_embedded() {
            make(broker, &wanted)?;
            return Ok(maker);
        }
        let broker = Arc::clone(broker);
        let thread = std::thread::Builder::new()
            .name("topics".to_owned())
            .spawn(move || until_made(&broker, &wanted, &stop));
        maker.thread = Some(thread.context("cannot start a thread that makes topics")?);
        Ok(maker)
    }
}

impl Drop for TopicMaker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that makes topics has panicked");
            }
        }
    }
}

fn until_made(broker: &BrokerLink, wanted: &Wanted, stop: &AtomicBool) {
    let mut told = String::new();
    while !stop.load(Ordering::Relaxed) {
        let Err(error) = make(broker, wanted) else {
            return;
        };
        let words = exit::words(&error);
        if words != told {
            tracing::warn!(error = words, "topics cannot be made yet; tried again");
            told = words;
        }
        std::thread::park_timeout(AGAIN);
    }
}

fn make(broker: &BrokerLink, wanted: &Wanted) -> Result<()> {
    for (topic, partitions) in &wanted.topics {
        broker.ensure_topic(topic, *partitions, wanted.replication_factor)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use forebay_core::source::SourceDef;

    use super::*;

    fn wanted(settings: &Kafka, embedded: bool) -> Vec<String> {
        let source = |name, topic| Arc::new(SourceDef::json(name, topic, Vec::new(), 0));
        let wiring = Wiring {
            sources: vec![source("clicks", "clicks.topic"), source("back", "scores")],
            prediction_sources: ["back".to_owned()].into(),
            ..Wiring::default()
        };
        let wanted = Wanted::of(&wiring, settings, embedded);
        wanted.topics.into_keys().collect()
    }

    #[test]
    fn by_default_topics_that_are_written_are_made_and_those_of_sources_are_not() {
        let mut settings = Kafka::default();
        assert_eq!(wanted(&settings, false), ["scores"]);
        assert_eq!(wanted(&settings, true), ["clicks.topic", "scores"]);
        settings.create_source_topics = true;
        assert_eq!(wanted(&settings, false), ["clicks.topic", "scores"]);
        settings.create_topics = false;
        assert_eq!(wanted(&settings, false), ["clicks.topic"]);
        settings.create_source_topics = false;
        assert!(wanted(&settings, false).is_empty());
    }
}
