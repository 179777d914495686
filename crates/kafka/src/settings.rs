//! Settings of the clients, validated: where the brokers are, how long to wait, and the few
//! properties of the client library that a user may set (TLS, SASL, sockets). Everything that
//! correctness rests on (offsets, isolation, idempotence) is set here and cannot be overridden.
//! Values of properties never appear in Debug output.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use forebay_core::limits::EVENT_MAX_BYTES;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::error::Error;

/// Prefixes of the properties that users may set.
const OPEN_PROPERTIES: [&str; 7] = [
    "security.",
    "ssl.",
    "sasl.",
    "socket.",
    "broker.address.",
    "reconnect.",
    "enable.ssl.",
];
/// Bytes that one consumer may hold fetched and unread.
const FETCHED_MAX_BYTES: usize = 64 << 20;
/// One response of a broker, bytes: what a compressed batch may inflate to.
const RESPONSE_MAX_BYTES: usize = 100_000_000;
/// Records and bytes that a producer may hold unsent.
const UNSENT_MAX_RECORDS: usize = 100_000;
/// See [`UNSENT_MAX_RECORDS`].
const UNSENT_MAX_KIB: usize = 64 << 10;

/// How to reach the brokers.
#[derive(Clone)]
pub struct ClientSettings {
    /// `host:port[,host:port]`.
    pub bootstrap: String,
    /// Name of this client in the broker's logs and quotas.
    pub client_id: String,
    /// How long a question to the broker may take.
    pub request_timeout: Duration,
    /// Further properties of the client library: only those that begin with `security.`, `ssl.`,
    /// `sasl.`, `socket.`, `broker.address.`, `reconnect.` or `enable.ssl.`. Values may be secret.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("request_timeout", &self.request_timeout)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl ClientSettings {
    /// The brokers at `bootstrap`, with the defaults: client id `forebay`, 10 s a request.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: "forebay".into(),
            request_timeout: Duration::from_secs(10),
            properties: BTreeMap::new(),
        }
    }

    /// What every client has in common.
    pub(crate) fn base_config(&self) -> Result<ClientConfig, Error> {
        if self.bootstrap.trim().is_empty() {
            return Err(Error::Settings {
                property: "bootstrap.servers".into(),
                problem: "is empty; give --bootstrap HOST:PORT".into(),
            });
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            .set("receive.message.max.bytes", RESPONSE_MAX_BYTES.to_string())
            .set("log.connection.close", "false")
            // The client's default waits up to 10 s before it tries a broker that came back.
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Warning);
        for (property, value) in &self.properties {
            if !OPEN_PROPERTIES
                .iter()
                .any(|prefix| property.starts_with(prefix))
            {
                return Err(Error::Settings {
                    property: property.clone(),
                    problem: format!(
                        "may not be set; those that may begin with {}",
                        OPEN_PROPERTIES.join(", ")
                    ),
                });
            }
            config.set(property, value);
        }
        Ok(config)
    }
}

/// Settings of [`crate::KafkaLog`].
#[derive(Debug, Clone)]
pub struct ReaderSettings {
    /// How to reach the brokers.
    pub client: ClientSettings,
}

impl ReaderSettings {
    /// The defaults for these brokers.
    #[must_use]
    pub fn new(client: ClientSettings) -> Self {
        Self { client }
    }

    /// Of [`crate::KafkaInspector`]: the same records, and no more of them than an answer must
    /// have.
    pub(crate) fn inspector_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.config()?;
        config
            .set("fetch.message.max.bytes", "1")
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "1024");
        Ok(config)
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.client.base_config()?;
        config
            // `assign` needs a group's name although no group is joined and nothing is committed.
            .set("group.id", &self.client.client_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A position outside the log is an error that we report, never a jump.
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            // Says where the reader stands behind control records.
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10")
            .set("fetch.min.bytes", "1")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.message.max.bytes", EVENT_MAX_BYTES.to_string())
            .set("queued.min.messages", "100000")
            .set(
                "queued.max.messages.kbytes",
                (FETCHED_MAX_BYTES >> 10).to_string(),
            );
        Ok(config)
    }
}

/// Settings of [`crate::KafkaPublisher`] and [`crate::Replayer`].
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// How to reach the brokers.
    pub client: ClientSettings,
    /// How long a record may wait for its acknowledgement, retries included.
    pub delivery_timeout: Duration,
    /// How long to gather records before a batch is sent.
    pub linger: Duration,
}

impl ProducerSettings {
    /// The defaults for these brokers: 30 s to deliver, 1 ms to gather.
    #[must_use]
    pub fn new(client: ClientSettings) -> Self {
        Self {
            client,
            delivery_timeout: Duration::from_secs(30),
            linger: Duration::from_millis(1),
        }
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.client.base_config()?;
        let delivery_ms = self.delivery_timeout.as_millis().max(1);
        // The client refuses to gather for longer than a record may live.
        let linger_ms = self.linger.as_millis().min(delivery_ms - 1);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Where Java clients put the same key.
            .set("partitioner", "murmur2_random")
            .set("allow.auto.create.topics", "false")
            .set("compression.codec", "lz4")
            .set("message.max.bytes", EVENT_MAX_BYTES.to_string())
            .set("message.timeout.ms", delivery_ms.to_string())
            .set("linger.ms", linger_ms.to_string())
            .set(
                "queue.buffering.max.messages",
                UNSENT_MAX_RECORDS.to_string(),
            )
            .set("queue.buffering.max.kbytes", UNSENT_MAX_KIB.to_string());
        Ok(config)
    }
}
