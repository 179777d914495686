//! `[kafka]`: defaults, bounds, and the settings of the clients, written out without a default so
//! that none can be reached from code alone. Owns no key (those are in [`super`], from which the
//! pages are written); sizes of memory are [`super::memory`]'s; `server/broker` makes the clients.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_kafka::{ClientSettings, ProducerSettings, ReaderSettings};

use super::{Broker, Kafka, within};

/// Most `kafka.replication_factor`.
const COPIES_MAX: i32 = 16;
/// Most `kafka.partitions`.
const PARTITIONS_MAX: i32 = 10_000;
/// Longest `kafka.client_id`, bytes.
const CLIENT_ID_MAX_BYTES: usize = 249;
/// Bounds of `kafka.request_timeout_ms`: a stop, which is cut off after 9 s, waits for a question.
const REQUEST_TIMEOUT_MIN_MS: u64 = 100;
const REQUEST_TIMEOUT_MAX_MS: u64 = 5_000;
/// Bounds of `kafka.fetch_wait_ms`: without a wait an idle partition is asked for all the time, and
/// partitions that are added wait for it.
const FETCH_WAIT_MIN_MS: u64 = 5;
const FETCH_WAIT_MAX_MS: u64 = 10_000;
/// Bounds of `kafka.delivery_timeout_ms`: a record may have to be sent again to another broker.
const DELIVERY_TIMEOUT_MIN_MS: u64 = 1_000;
const DELIVERY_TIMEOUT_MAX_MS: u64 = 600_000;
/// Longest `kafka.linger_ms`.
const LINGER_MAX_MS: u64 = 10_000;

impl Default for Kafka {
    fn default() -> Self {
        Self {
            broker: Broker::Kafka,
            bootstrap: "127.0.0.1:9092".into(),
            create_topics: true,
            create_source_topics: false,
            partitions: 4,
            replication_factor: 1,
            client_id: "forebay".into(),
            request_timeout_ms: 3_000,
            fetch_wait_ms: 500,
            delivery_timeout_ms: 30_000,
            linger_ms: 1,
            fetched_mib: 0,
            unsent_mib: 0,
        }
    }
}

impl Kafka {
    /// Refuse values that contradict limits or one another; sizes of memory are
    /// [`super::memory`]'s.
    pub(super) fn validate(&self) -> Result<()> {
        within("kafka.partitions", self.partitions, 1, PARTITIONS_MAX)?;
        within(
            "kafka.replication_factor",
            self.replication_factor,
            1,
            COPIES_MAX,
        )?;
        for (key, value, least, most) in [
            (
                "kafka.request_timeout_ms",
                self.request_timeout_ms,
                REQUEST_TIMEOUT_MIN_MS,
                REQUEST_TIMEOUT_MAX_MS,
            ),
            (
                "kafka.fetch_wait_ms",
                self.fetch_wait_ms,
                FETCH_WAIT_MIN_MS,
                FETCH_WAIT_MAX_MS,
            ),
            (
                "kafka.delivery_timeout_ms",
                self.delivery_timeout_ms,
                DELIVERY_TIMEOUT_MIN_MS,
                DELIVERY_TIMEOUT_MAX_MS,
            ),
            ("kafka.linger_ms", self.linger_ms, 0, LINGER_MAX_MS),
        ] {
            within(key, value, least, most)?;
        }
        ensure!(
            self.linger_ms < self.delivery_timeout_ms,
            "kafka.linger_ms = {} gathers records for as long as kafka.delivery_timeout_ms = {} lets one wait; lower the \
             first, or raise the second",
            self.linger_ms,
            self.delivery_timeout_ms
        );
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        ensure!(
            (1..=CLIENT_ID_MAX_BYTES).contains(&self.client_id.len())
                && self.client_id.chars().all(plain),
            "kafka.client_id = '{}' is no client id; give 1 to {CLIENT_ID_MAX_BYTES} letters, digits, '_', '-' and '.'",
            self.client_id
        );
        ensure!(
            self.broker == Broker::Embedded || !self.bootstrap.trim().is_empty(),
            "kafka.bootstrap is empty; give --bootstrap HOST:PORT or --broker embedded"
        );
        Ok(())
    }

    /// How clients connect to `bootstrap`, unwatched.
    pub(crate) fn client(&self, bootstrap: &str) -> ClientSettings {
        ClientSettings {
            bootstrap: bootstrap.to_owned(),
            client_id: self.client_id.clone(),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            properties: BTreeMap::new(),
            watch: None,
        }
    }

    /// How `client` reads the log, with `fetched_bytes` of memory.
    pub(crate) fn reader(&self, client: ClientSettings, fetched_bytes: usize) -> ReaderSettings {
        ReaderSettings {
            client,
            fetched_bytes,
            fetch_wait: Duration::from_millis(self.fetch_wait_ms),
        }
    }

    /// How `client` sends, with `unsent_bytes` of memory.
    pub(crate) fn producer(&self, client: ClientSettings, unsent_bytes: usize) -> ProducerSettings {
        ProducerSettings {
            client,
            delivery_timeout: Duration::from_millis(self.delivery_timeout_ms),
            linger: Duration::from_millis(self.linger_ms),
            unsent_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reaches_its_client() {
        let kafka = Kafka {
            client_id: "two".into(),
            request_timeout_ms: 101,
            fetch_wait_ms: 103,
            delivery_timeout_ms: 1_007,
            linger_ms: 11,
            ..Kafka::default()
        };
        kafka.validate().expect("within its bounds");
        let ms = Duration::from_millis;
        let client = kafka.client("a:1");
        assert_eq!((&*client.bootstrap, &*client.client_id), ("a:1", "two"));
        assert_eq!(client.request_timeout, ms(101));
        let reader = kafka.reader(client.clone(), 13);
        assert_eq!((reader.fetched_bytes, reader.fetch_wait), (13, ms(103)));
        assert_eq!(reader.client.client_id, "two");
        let producer = kafka.producer(client, 17);
        assert_eq!(
            (producer.delivery_timeout, producer.linger),
            (ms(1_007), ms(11))
        );
        assert_eq!(producer.unsent_bytes, 17);
        assert_eq!(producer.client.client_id, "two");
    }

    #[test]
    fn the_defaults_are_those_of_the_clients_but_for_the_questions_that_a_stop_waits_for() {
        let (kafka, theirs) = (Kafka::default(), ClientSettings::new("a:1"));
        let ours = kafka.client("a:1");
        assert_eq!(ours.client_id, theirs.client_id);
        assert!(ours.request_timeout < theirs.request_timeout);
        let (reader, producer) = (
            ReaderSettings::new(theirs.clone()),
            ProducerSettings::new(theirs),
        );
        assert_eq!(kafka.reader(ours.clone(), 0).fetch_wait, reader.fetch_wait);
        let ours = kafka.producer(ours, 0);
        assert_eq!(
            (ours.delivery_timeout, ours.linger),
            (producer.delivery_timeout, producer.linger)
        );
    }

    #[test]
    fn names_and_waits_that_contradict_are_refused_with_the_way_out() {
        let refused = |kafka: Kafka| kafka.validate().expect_err("refused").to_string();
        for name in ["", "two words", &"x".repeat(CLIENT_ID_MAX_BYTES + 1)] {
            let client_id = name.to_owned();
            let error = refused(Kafka {
                client_id,
                ..Kafka::default()
            });
            assert!(error.starts_with("kafka.client_id = "), "{error}");
        }
        let mut kafka = Kafka {
            linger_ms: 1_000,
            delivery_timeout_ms: 1_000,
            ..Kafka::default()
        };
        let error = refused(kafka.clone());
        assert!(
            error.contains("kafka.linger_ms = 1000") && error.contains("kafka.delivery_timeout_ms"),
            "{error}"
        );
        kafka.delivery_timeout_ms = 1_001;
        kafka.validate().expect("as the error says");
    }
}
