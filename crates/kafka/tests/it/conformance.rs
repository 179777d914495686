//! The log, the answers about it and the publisher behind a broker keep what every implementation
//! of their ports promises.

use std::fmt;
use std::time::Duration;

use forebay_core::ports::{EventLog, LogInspector, Publisher};
use forebay_kafka::{KafkaPublisher, ProducerSettings, Replayer};
use forebay_testkit::conformance::log::{self, WritableLog, from, numbers, read_all, source};
use forebay_testkit::conformance::log_inspector::{self, InspectedLog};
use forebay_testkit::conformance::publish::{self, Outlet};

use crate::support::{PATIENCE, TestBroker, good};

/// A broker and who writes to it.
struct Written<'a> {
    broker: &'a TestBroker,
    replayer: Replayer,
}

impl fmt::Debug for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({})", self.broker.bootstrap)
    }
}

impl WritableLog for Written<'_> {
    fn topic(&self, partitions: i32) -> String {
        self.broker.topic(partitions)
    }

    fn append(&self, topic: &str, partition: i32, number: Option<i64>) {
        let record = number.map_or_else(|| b"no row".to_vec(), good);
        let sent = self
            .replayer
            .send(topic, Some(partition), b"", &record, None);
        sent.expect("queued");
        self.replayer.flush(PATIENCE).expect("acknowledged");
    }

    fn reader(&self) -> Box<dyn EventLog> {
        Box::new(self.broker.reader())
    }
}

impl InspectedLog for Written<'_> {
    fn inspector(&self) -> Box<dyn LogInspector> {
        Box::new(self.broker.inspector())
    }
}

impl Outlet for Written<'_> {
    fn topic(&self) -> String {
        self.broker.topic(1)
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        let settings = ProducerSettings {
            delivery_timeout: Duration::from_secs(20),
            ..ProducerSettings::new(self.broker.client())
        };
        Box::new(KafkaPublisher::new(settings).expect("settings"))
    }

    fn arrived(&self, topic: &str) -> Vec<i64> {
        let mut reader = self.broker.reader();
        let assigned = reader.assign(&[source("s", topic)], &from(topic, &[0]));
        assigned.expect("within the log");
        let arrived = numbers(&read_all(&mut reader), "s");
        arrived.into_values().flatten().collect()
    }
}

fn keeps_the_promises(broker: &TestBroker) {
    let written = Written {
        broker,
        replayer: broker.replayer(),
    };
    log::event_log(&written);
    log_inspector::log_inspector(&written);
    publish::publisher(&written);
}

#[test]
fn the_embedded_broker_keeps_the_promises() {
    keeps_the_promises(&TestBroker::embedded());
}

#[test]
fn apache_keeps_the_promises() {
    if let Some(broker) = TestBroker::apache("apache_keeps_the_promises") {
        keeps_the_promises(&broker);
    }
}
