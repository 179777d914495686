//! A Kafka broker inside this process: librdkafka's mock cluster, for the demo and the tests. It
//! speaks Kafka over TCP on loopback, so other processes and languages can use it too.
//!
//! It is not a place to keep events:
//! - each partition holds **5 MiB or 100,000 message sets; the oldest go silently** (a reader that
//!   is behind them gets [`crate::Error::Gap`]): pace the producer, give a topic more partitions;
//! - everything is in memory, a new cluster id comes with every start: state that outlives the
//!   process must not follow it;
//! - transactions are accepted and not honoured, there is no admin API
//!   ([`EmbeddedBroker::create_topic`] stands in), no replication, no authentication.

use std::fmt;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::client::not_created;
use crate::error::Error;

/// Bytes that a partition holds before it forgets its oldest records.
pub const PARTITION_MAX_BYTES: usize = 5 << 20;
/// Message sets (what a producer sends at once for a partition) that it holds.
pub const PARTITION_MAX_MESSAGE_SETS: usize = 100_000;

/// A broker that lives as long as this value.
pub struct EmbeddedBroker {
    /// A client that owns the cluster and, unlike the bare cluster, may be shared between threads.
    owner: BaseProducer,
    bootstrap: String,
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBroker")
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}

impl EmbeddedBroker {
    /// Start one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// [`Error::Client`]: it cannot listen.
    pub fn start() -> Result<Self, Error> {
        let mut config = rdkafka::ClientConfig::new();
        config.set("test.mock.num.brokers", "1");
        let owner: BaseProducer = config.create().map_err(not_created)?;
        let bootstrap = cluster_of(&owner).bootstrap_servers();
        Ok(Self { owner, bootstrap })
    }

    /// `host:port`, for [`crate::ClientSettings::new`] and for clients in other processes.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Make a topic. One that exists is refused by the cluster.
    ///
    /// # Errors
    /// It exists, or the name or the number is impossible.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), Error> {
        let made = cluster_of(&self.owner).create_topic(topic, partitions, 1);
        made.map_err(|e| Error::Client {
            action: format!("making topic `{topic}`"),
            source: Box::new(e),
        })
    }

    /// Stop answering (true) or answer again (false): connections break, topics and records stay.
    ///
    /// # Errors
    /// The cluster refuses.
    pub fn set_down(&self, down: bool) -> Result<(), Error> {
        let cluster = cluster_of(&self.owner);
        // -1 is every broker.
        let done = if down {
            cluster.broker_down(-1)
        } else {
            cluster.broker_up(-1)
        };
        done.map_err(|e| Error::Client {
            action: "switching the embedded broker".into(),
            source: Box::new(e),
        })
    }

    /// Let the next `times` produce requests fail after the client sent them, as a broker that
    /// lacks replicas does.
    pub fn fail_produce(&self, times: usize) {
        let errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; times];
        cluster_of(&self.owner).request_errors(RDKafkaApiKey::Produce, &errors);
    }
}

fn cluster_of(owner: &BaseProducer) -> MockCluster<'_, DefaultProducerContext> {
    owner
        .client()
        .mock_cluster()
        .expect("the client was made with test.mock.num.brokers, so it owns a cluster")
}
