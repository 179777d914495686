//! The broker that a process talks to: a cluster at an address, or the embedded one, which lives as
//! long as this value. Gives out the clients that ask it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use forebay_core::ports::{EventLog, LogInspector};
use forebay_kafka::{
    ClientSettings, Connections, EmbeddedBroker, KafkaInspector, KafkaLog, ReaderSettings,
    ReaderStats, TopicStatus, Topics,
};

use crate::settings::{Broker, Kafka, Settings};

/// How often clients say how their connections stand.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(15);
/// Number of the embedded cluster's only broker.
const EMBEDDED_BROKER: i32 = 1;

/// A broker.
#[derive(Debug)]
pub(crate) struct BrokerLink {
    /// The settings in force.
    kafka: Kafka,
    bootstrap: String,
    embedded: Option<EmbeddedBroker>,
    connections: Connections,
}

impl BrokerLink {
    /// Connect, or start the embedded broker.
    ///
    /// # Errors
    /// The embedded broker cannot listen.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let embedded = match settings.kafka.broker {
            Broker::Kafka => None,
            Broker::Embedded => Some(EmbeddedBroker::start()?),
        };
        let of_embedded = embedded.as_ref().map(EmbeddedBroker::bootstrap);
        if let Some(bootstrap) = of_embedded {
            // Its port is another one at each start: producers must be told.
            tracing::info!(bootstrap, "an embedded Kafka broker listens");
        }
        let bootstrap = of_embedded.unwrap_or(&settings.kafka.bootstrap).to_owned();
        Ok(Self {
            kafka: settings.kafka.clone(),
            bootstrap,
            embedded,
            connections: Connections::new(CONNECTIONS_EVERY),
        })
    }

    /// Address for clients.
    #[must_use]
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Whether records are forgotten at the end of the process, and soon dropped when nobody reads
    /// them.
    #[must_use]
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// How clients connect.
    #[must_use]
    pub(crate) fn client(&self) -> ClientSettings {
        self.kafka.client(&self.bootstrap)
    }

    /// How the client connects that is known as `name` in [`Self::connections`].
    #[must_use]
    pub(crate) fn watched(&self, name: &str) -> ClientSettings {
        ClientSettings {
            watch: Some(self.connections.watch(name)),
            ..self.client()
        }
    }

    /// How the connections of the watched clients stand.
    #[must_use]
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A reader of the log by `client` that adds to `stats` and holds `fetched_bytes` at most.
    ///
    /// # Errors
    /// The client does not take the settings.
    pub(crate) fn log(
        &self,
        client: ClientSettings,
        stats: &Arc<ReaderStats>,
        fetched_bytes: usize,
    ) -> Result<Box<dyn EventLog>> {
        let settings = self.reading(client, fetched_bytes);
        Ok(Box::new(
            KafkaLog::new(settings)?.counting(Arc::clone(stats)),
        ))
    }

    /// How `client` reads. The embedded broker needs its own wait, whatever is set.
    fn reading(&self, client: ClientSettings, fetched_bytes: usize) -> ReaderSettings {
        let settings = self.kafka.reader(client, fetched_bytes);
        match self.embedded {
            Some(_) => settings.embedded(),
            None => settings,
        }
    }

    /// Answers about the log.
    ///
    /// # Errors
    /// The client does not take the settings.
    pub(crate) fn inspector(&self) -> Result<Box<dyn LogInspector>> {
        let inspector = KafkaInspector::new(ReaderSettings::new(self.client()))?;
        Ok(Box::new(match self.embedded {
            Some(_) => inspector.describing_by(EMBEDDED_BROKER),
            None => inspector,
        }))
    }

    /// Make `topic` if it is missing.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub(crate) fn ensure_topic(
        &self,
        topic: &str,
        partitions: i32,
        replication: i32,
    ) -> Result<()> {
        let admin = Topics::new(self.client())?;
        match &self.embedded {
            Some(broker) if admin.partitions(topic)?.is_none() => {
                broker.create_topic(topic, partitions)?;
            }
            Some(_) => {}
            None => {
                if admin.ensure(topic, partitions, replication)? == TopicStatus::Created {
                    tracing::info!(topic, partitions, replication, "made the topic");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings of `broker` with a long wait for records.
    fn patient(broker: Broker) -> Settings {
        let mut settings = Settings::default();
        settings.kafka.broker = broker;
        settings.kafka.client_id = "second".to_owned();
        settings.kafka.fetch_wait_ms = 5_000;
        settings.kafka.request_timeout_ms = 1_500;
        settings
    }

    #[test]
    fn the_settings_reach_the_readers_of_a_cluster() {
        let link = BrokerLink::open(&patient(Broker::Kafka)).expect("connects when it is asked");
        let reading = link.reading(link.watched("reader"), 7);
        assert_eq!(reading.fetch_wait, Duration::from_secs(5));
        assert_eq!(reading.fetched_bytes, 7);
        assert_eq!(reading.client.bootstrap, link.bootstrap());
        assert_eq!(reading.client.client_id, "second");
        assert_eq!(reading.client.request_timeout, Duration::from_millis(1_500));
        assert!(reading.client.watch.is_some());
    }

    #[test]
    fn the_embedded_broker_keeps_its_short_wait_whatever_is_set() {
        let link = BrokerLink::open(&patient(Broker::Embedded)).expect("listens");
        let (reading, known) = (
            link.reading(link.client(), 7),
            ReaderSettings::new(link.client()),
        );
        assert_eq!(reading.fetch_wait, known.clone().embedded().fetch_wait);
        assert!(reading.fetch_wait < known.fetch_wait);
    }
}
