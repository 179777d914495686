//! The broker that a process talks to: a cluster at an address, or the embedded one, which lives as
//! long as this value. Makes the topics that the definitions need.

use anyhow::{Result, bail};
use forebay_kafka::{ClientSettings, EmbeddedBroker, TopicStatus, Topics};

use crate::settings::{Broker, Settings};

/// A broker.
#[derive(Debug)]
pub(crate) struct BrokerLink {
    bootstrap: String,
    embedded: Option<EmbeddedBroker>,
}

impl BrokerLink {
    /// Connect, or start the embedded broker.
    ///
    /// # Errors
    /// The embedded broker cannot listen.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        Ok(match settings.kafka.broker {
            Broker::Kafka => Self {
                bootstrap: settings.kafka.bootstrap.clone(),
                embedded: None,
            },
            Broker::Embedded => {
                let broker = EmbeddedBroker::start()?;
                Self {
                    bootstrap: broker.bootstrap().to_owned(),
                    embedded: Some(broker),
                }
            }
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
        ClientSettings::new(&self.bootstrap)
    }

    /// Make those of `topics` that are missing.
    ///
    /// # Errors
    /// The broker does not answer, or a topic is missing and may not be made.
    pub(crate) fn ensure_topics<'a>(
        &self,
        topics: impl IntoIterator<Item = &'a str>,
        partitions: i32,
        may_create: bool,
    ) -> Result<()> {
        let admin = Topics::new(self.client())?;
        for topic in topics {
            if admin.partitions(topic)?.is_some() {
                continue;
            }
            if !may_create {
                bail!(
                    "topic '{topic}' does not exist at {}; make it, or set kafka.create_topics = true",
                    self.bootstrap
                );
            }
            match &self.embedded {
                Some(broker) => broker.create_topic(topic, partitions)?,
                None => match admin.ensure(topic, partitions, 1)? {
                    TopicStatus::Created => tracing::info!(topic, partitions, "made the topic"),
                    TopicStatus::Existing { .. } => {}
                },
            }
        }
        Ok(())
    }
}
