//! Topics: which partitions they have, and making those that are missing. Calls wait for the
//! broker; they are made at start and by commands, never while events flow.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client::{ClientEvents, not_created};
use crate::error::Error;
use crate::settings::ClientSettings;

/// How long between two looks for a topic that was just made.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What [`Topics::ensure`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicStatus {
    /// It was missing and is there now.
    Created,
    /// It was there, with this many partitions.
    Existing {
        /// Its partitions.
        partitions: usize,
    },
}

/// The topics of one cluster.
pub struct Topics {
    settings: ClientSettings,
    client: AdminClient<ClientEvents>,
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Topics {
    /// For the brokers of `settings`. Does not wait for them.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub fn new(settings: ClientSettings) -> Result<Self, Error> {
        let mut config = settings.base_config()?;
        config.set("allow.auto.create.topics", "false");
        let client = config
            .create_with_context(ClientEvents::of(&settings))
            .map_err(not_created)?;
        Ok(Self { settings, client })
    }

    /// The partitions of `topic`, ascending; None where there is no such topic.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub fn partitions(&self, topic: &str) -> Result<Option<Vec<i32>>, Error> {
        let failed = |e| {
            self.settings
                .question_failed(format!("asking for the partitions of `{topic}`"), e)
        };
        let metadata = self
            .client
            .inner()
            .fetch_metadata(Some(topic), self.settings.request_timeout)
            .map_err(failed)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(None);
            }
            // Just made, and without a leader yet.
            Some(RDKafkaErrorCode::LeaderNotAvailable) => {}
            Some(code) => return Err(failed(KafkaError::MetadataFetch(code))),
        }
        let led = found
            .partitions()
            .iter()
            .filter(|partition| partition.leader() >= 0);
        let mut partitions: Vec<i32> = led.map(|partition| partition.id()).collect();
        partitions.sort_unstable();
        Ok((!partitions.is_empty()).then_some(partitions))
    }

    /// Records that `topic` holds, over its partitions; 0 where there is no such topic.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub fn records(&self, topic: &str) -> Result<u64, Error> {
        let failed = |e| {
            self.settings
                .question_failed(format!("asking what `{topic}` holds"), e)
        };
        let mut records = 0;
        for partition in self.partitions(topic)?.unwrap_or_default() {
            let timeout = self.settings.request_timeout;
            let (begin, end) = self
                .client
                .inner()
                .fetch_watermarks(topic, partition, timeout)
                .map_err(failed)?;
            // The client asks for both ends one after the other: retention may pass in between.
            records += end.saturating_sub(begin).max(0).unsigned_abs();
        }
        Ok(records)
    }

    /// Make `topic` with `partitions` partitions, `replication` copies of each, unless it is there
    /// already (with however many), and wait until it can be used. The embedded broker cannot do
    /// this: use its own method.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub fn ensure(
        &self,
        topic: &str,
        partitions: i32,
        replication: i32,
    ) -> Result<TopicStatus, Error> {
        if let Some(existing) = self.partitions(topic)? {
            return Ok(TopicStatus::Existing {
                partitions: existing.len(),
            });
        }
        let action = || format!("making topic `{topic}` with {partitions} partitions");
        let timeout = self.settings.request_timeout;
        let options = AdminOptions::new()
            .request_timeout(Some(timeout))
            .operation_timeout(Some(timeout));
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        let answers = futures::executor::block_on(self.client.create_topics([&new], &options))
            .map_err(|e| self.settings.question_failed(action(), e))?;
        let refused = answers
            .into_iter()
            .find_map(Result::err)
            .map(|(_, code)| code);
        match refused {
            None | Some(RDKafkaErrorCode::TopicAlreadyExists) => {}
            Some(code) => {
                return Err(self
                    .settings
                    .question_failed(action(), KafkaError::MetadataFetch(code)));
            }
        }
        self.wait_for(topic, partitions)?;
        Ok(TopicStatus::Created)
    }

    /// A topic that was just made appears in the brokers' answers a moment later.
    fn wait_for(&self, topic: &str, partitions: i32) -> Result<(), Error> {
        let deadline = Instant::now() + self.settings.request_timeout;
        loop {
            let seen = self
                .partitions(topic)?
                .map_or(0, |partitions| partitions.len());
            if i32::try_from(seen).is_ok_and(|seen| seen >= partitions) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self
                    .settings
                    .unreachable(format!("waiting for topic `{topic}` to appear"), None));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}
