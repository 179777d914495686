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

use crate::connections::Watch;
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
/// Bytes that one consumer may hold fetched and unread, where nobody says otherwise.
const FETCHED_BYTES: usize = 64 << 20;
/// Least of [`ReaderSettings::fetched_bytes`]: a quarter of it still holds the largest record.
pub const FETCHED_MIN_BYTES: usize = 4 * EVENT_MAX_BYTES;
/// Bytes that a producer may hold unsent, where nobody says otherwise.
const UNSENT_BYTES: usize = 64 << 20;
/// Least of [`ProducerSettings::unsent_bytes`].
pub const UNSENT_MIN_BYTES: usize = 4 * EVENT_MAX_BYTES;
/// What the client library keeps of a record beside its bytes, about, bytes: an operation in a
/// queue of the consumer, a message of the producer.
const RECORD_OVERHEAD_BYTES: usize = 512;
/// Records that a queue of the client may hold, whatever its bytes.
const QUEUED_MAX_RECORDS: usize = 100_000;
/// One response of a broker, bytes: what a compressed batch may inflate to.
const RESPONSE_MAX_BYTES: usize = 100_000_000;
/// The most that the client library takes for one fetch (an answer has 512 bytes around it), bytes,
/// and for what a consumer queues, kibibytes.
const FETCH_MAX_BYTES: usize = RESPONSE_MAX_BYTES - 512;
const QUEUED_MAX_KBYTES: usize = 2_097_151;
/// How long a record waits for a topic that the brokers do not know, at most, milliseconds: a new
/// one may not have come to all of them yet.
const TOPIC_MISSING_MAX_MS: u128 = 10_000;
/// How long a broker keeps a fetch that finds no record, where nobody says otherwise: with a
/// thousand partitions each question and its answer are some 100 kB.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// The same of a client whose next fetch must not wait for the last one.
const SHORT_FETCH_WAIT: Duration = Duration::from_millis(10);

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
    /// Where the client says how its connections stand; None: nowhere.
    pub watch: Option<Watch>,
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
            watch: None,
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
        if let Some(watch) = &self.watch {
            let every_ms = watch.interval_ms().to_string();
            config.set("statistics.interval.ms", every_ms);
        }
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
    /// Memory for what is fetched and unread, bytes, at least [`FETCHED_MIN_BYTES`]: half of it
    /// records, a quarter one answer of a broker, a quarter what the client keeps beside them.
    pub fetched_bytes: usize,
    /// How long a broker may keep a fetch that finds no record. It answers with the first record
    /// that comes, so this delays none; partitions that are assigned meanwhile wait for it.
    pub fetch_wait: Duration,
}

impl ReaderSettings {
    /// The defaults for these brokers.
    #[must_use]
    pub fn new(client: ClientSettings) -> Self {
        Self {
            client,
            fetched_bytes: FETCHED_BYTES,
            fetch_wait: FETCH_WAIT,
        }
    }

    /// For the embedded broker, which looks for records again only when a fetch has waited.
    #[must_use]
    pub fn embedded(self) -> Self {
        Self {
            fetch_wait: SHORT_FETCH_WAIT,
            ..self
        }
    }

    /// Bytes of keys and values that one poll takes at most (one record above it still fits). What
    /// a poll brings is there several times over: decoded, waiting for shards, in their write.
    pub(crate) fn poll_max_bytes(&self) -> usize {
        self.fetched_bytes.max(FETCHED_MIN_BYTES) / 8
    }

    /// Of [`crate::KafkaInspector`]: the same records, and no more of them than an answer must
    /// have. Each question assigns anew, so none waits for a fetch of the one before. It connects
    /// to the brokers when it is made: else the first wait for the cluster's id would ask for
    /// nothing by which it connects, and end when the client's own timer looks, after a second.
    pub(crate) fn inspector_config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.config()?;
        config
            .set("enable.sparse.connections", "false")
            .set("fetch.message.max.bytes", "1")
            .set(
                "fetch.wait.max.ms",
                SHORT_FETCH_WAIT.as_millis().to_string(),
            )
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "1024");
        Ok(config)
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.client.base_config()?;
        let fetched = self.fetched_bytes.max(FETCHED_MIN_BYTES);
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
            .set("fetch.wait.max.ms", self.fetch_wait.as_millis().to_string())
            .set("fetch.min.bytes", "1")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.message.max.bytes", EVENT_MAX_BYTES.to_string())
            .set(
                "fetch.max.bytes",
                (fetched / 4).min(FETCH_MAX_BYTES).to_string(),
            )
            .set("queued.min.messages", records_of(fetched / 4).to_string())
            .set(
                "queued.max.messages.kbytes",
                (fetched >> 11).min(QUEUED_MAX_KBYTES).to_string(),
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
    /// Memory for what is not sent or not acknowledged, bytes, at least [`UNSENT_MIN_BYTES`]: half
    /// of it records, half what the client keeps beside them. Who sends more waits.
    pub unsent_bytes: usize,
}

impl ProducerSettings {
    /// The defaults for these brokers: 30 s to deliver, 1 ms to gather.
    #[must_use]
    pub fn new(client: ClientSettings) -> Self {
        Self {
            client,
            delivery_timeout: Duration::from_secs(30),
            linger: Duration::from_millis(1),
            unsent_bytes: UNSENT_BYTES,
        }
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, Error> {
        let mut config = self.client.base_config()?;
        let delivery_ms = self.delivery_timeout.as_millis().max(1);
        // The client refuses to gather for longer than a record may live.
        let linger_ms = self.linger.as_millis().min(delivery_ms - 1);
        // Else a record for a missing topic ends by its own time, which does not tell why.
        let missing_ms = (delivery_ms / 2).clamp(1, TOPIC_MISSING_MAX_MS);
        let half = self.unsent_bytes.max(UNSENT_MIN_BYTES) / 2;
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
            .set("topic.metadata.propagation.max.ms", missing_ms.to_string())
            .set("queue.buffering.max.messages", records_of(half).to_string())
            .set("queue.buffering.max.kbytes", (half >> 10).to_string());
        Ok(config)
    }
}

/// Records whose overhead fits `bytes`.
fn records_of(bytes: usize) -> usize {
    (bytes / RECORD_OVERHEAD_BYTES).min(QUEUED_MAX_RECORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(config: &ClientConfig, property: &str) -> usize {
        let value = config.get(property).expect("set");
        value.parse().expect("a number")
    }

    #[test]
    fn what_a_reader_may_hold_bounds_records_answers_and_overhead() {
        let reader = |fetched_bytes| ReaderSettings {
            fetched_bytes,
            ..ReaderSettings::new(ClientSettings::new("a:1"))
        };
        for bytes in [FETCHED_MIN_BYTES, 64 << 20, 512 << 20, 8 << 30] {
            let config = reader(bytes).config().expect("valid");
            let client = config.create::<rdkafka::consumer::BaseConsumer>();
            assert!(client.is_ok(), "{bytes}: {:?}", client.err());
            let records = number(&config, "queued.max.messages.kbytes") << 10;
            let answer = number(&config, "fetch.max.bytes");
            let overhead = number(&config, "queued.min.messages") * RECORD_OVERHEAD_BYTES;
            assert!(records + answer + overhead <= bytes, "{bytes}");
            assert!(
                answer >= EVENT_MAX_BYTES,
                "the largest record can be fetched"
            );
        }
        let least = reader(0).config().expect("valid");
        assert_eq!(number(&least, "fetch.max.bytes"), EVENT_MAX_BYTES);
    }

    #[test]
    fn what_a_producer_may_hold_bounds_records_and_overhead() {
        for bytes in [UNSENT_MIN_BYTES, 64 << 20, 512 << 20] {
            let settings = ProducerSettings {
                unsent_bytes: bytes,
                ..ProducerSettings::new(ClientSettings::new("a:1"))
            };
            let config = settings.config().expect("valid");
            let records = number(&config, "queue.buffering.max.kbytes") << 10;
            let overhead = number(&config, "queue.buffering.max.messages") * RECORD_OVERHEAD_BYTES;
            assert!(records + overhead <= bytes, "{bytes}");
        }
    }
}
