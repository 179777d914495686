//! The way out: finished records, in order, through an idempotent producer (`acks=all`), until the
//! broker has acknowledged every one of them.
//!
//! Idempotence covers the retries of one producer; it does not survive a restart, and neither does
//! it know what an earlier, failed call delivered. Records therefore carry deterministic ids and
//! consumers drop repeats.

use std::fmt;
use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::ports::Publisher;
use forebay_core::prediction::OutboxRecord;
use forebay_core::progress::TopicPartition;
use parking_lot::RwLock;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::delivery::{ReportingProducer, Ticket};
use crate::error::Error;
use crate::settings::ProducerSettings;

/// Publishes records and waits for their acknowledgement. Calls from several threads run side by
/// side; each waits for its own records.
pub struct KafkaPublisher {
    settings: ProducerSettings,
    producer: RwLock<Arc<ReportingProducer>>,
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl KafkaPublisher {
    /// A publisher to the brokers of `settings`. Does not wait for them.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub fn new(settings: ProducerSettings) -> Result<Self, Error> {
        let producer = RwLock::new(Arc::new(ReportingProducer::new(&settings)?));
        Ok(Self { settings, producer })
    }

    /// As [`Publisher::publish`], with this crate's error; tells for each partition written to one
    /// past the last record's offset.
    ///
    /// # Errors
    /// [`Error::NotAcknowledged`] (send all again) or [`Error::Refused`] (sending again is
    /// useless).
    pub fn send_and_locate(
        &self,
        records: &[OutboxRecord],
    ) -> Result<Vec<(TopicPartition, i64)>, Error> {
        let ticket = Arc::new(Ticket::with_places());
        self.send(records, &ticket)?;
        Ok(ticket.places())
    }

    fn send(&self, records: &[OutboxRecord], ticket: &Arc<Ticket>) -> Result<(), Error> {
        let producer = Arc::clone(&self.producer.read());
        for record in records {
            // A record that cannot even be queued has its failure on the ticket; those before it
            // are waited for.
            if producer.queue(to_kafka(record, ticket)).is_err() {
                break;
            }
        }
        let outcome = ticket.wait(&self.settings.client, producer.report_timeout());
        if outcome.is_err() && producer.is_dead() {
            self.replace(&producer)?;
        }
        outcome
    }

    /// Put a new producer in the place of `dead`, unless another call already has.
    fn replace(&self, dead: &Arc<ReportingProducer>) -> Result<(), Error> {
        let mut current = self.producer.write();
        if Arc::ptr_eq(&current, dead) {
            tracing::warn!("the Kafka producer failed for good and is made anew");
            *current = Arc::new(ReportingProducer::new(&self.settings)?);
        }
        Ok(())
    }
}

impl Publisher for KafkaPublisher {
    fn publish(&self, records: &[OutboxRecord]) -> PortResult<()> {
        Ok(self.send(records, &Arc::new(Ticket::default()))?)
    }
}

fn to_kafka<'a>(
    record: &'a OutboxRecord,
    ticket: &Arc<Ticket>,
) -> BaseRecord<'a, [u8], [u8], Arc<Ticket>> {
    let mut message = BaseRecord::with_opaque_to(&record.topic, Arc::clone(ticket))
        .payload(record.payload.as_slice());
    if !record.key.is_empty() {
        message = message.key(record.key.as_slice());
    }
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        message = message.headers(
            record
                .headers
                .iter()
                .fold(headers, |headers, (name, value)| {
                    headers.insert(Header {
                        key: name,
                        value: Some(value),
                    })
                }),
        );
    }
    message
}
