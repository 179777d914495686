//! The way out: finished records, in order, through an idempotent producer (`acks=all`), until the
//! broker has acknowledged every one of them.
//!
//! Idempotence covers the retries of one producer; it does not survive a restart, and neither does
//! it know what an earlier, failed call delivered. Records therefore carry deterministic ids and
//! consumers drop repeats.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::error::with_causes;
use forebay_core::ports::{Publication, Publisher};
use forebay_core::prediction::OutboxRecord;
use forebay_core::progress::TopicPartition;
use forebay_core::{ErrorKind, PortError};
use parking_lot::RwLock;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::client::{is_refusal, is_topic_missing};
use crate::delivery::{Receipt, Report, ReportingProducer, Ticket};
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

    /// Send `records` in order and wait until the broker has acknowledged all of them; tells for
    /// each partition written to one past the last record's offset.
    ///
    /// # Errors
    /// [`Error::NotAcknowledged`] (send all again), [`Error::UnknownTopic`] (nothing was written)
    /// or [`Error::Refused`] (sending again is useless).
    pub fn send_and_locate(
        &self,
        records: &[OutboxRecord],
    ) -> Result<Vec<(TopicPartition, i64)>, Error> {
        let ticket = Arc::new(Ticket::with_places());
        self.send(records, &ticket)?;
        Ok(ticket.places())
    }

    /// Whether a topic that was missing is there by now: then records for it are taken again.
    pub fn finds(&self, topic: &str) -> bool {
        let producer = Arc::clone(&self.producer.read());
        producer.finds(topic, self.settings.client.request_timeout)
    }

    fn send(&self, records: &[OutboxRecord], ticket: &Arc<Ticket>) -> Result<(), Error> {
        let producer = Arc::clone(&self.producer.read());
        let never = AtomicBool::new(false);
        for record in records {
            // A record that cannot even be queued has its failure on the ticket; those before it
            // are waited for.
            if producer
                .queue(to_kafka(record, Receipt::of(ticket)), &never)
                .is_err()
            {
                break;
            }
        }
        let outcome = ticket.wait(&self.settings.client, producer.report_timeout());
        if outcome.is_err() && producer.is_dead() {
            self.replace(&producer)?;
        }
        match (outcome, records.first()) {
            (Err(_), Some(record)) if ticket.found_no_topic() => Err(Error::UnknownTopic {
                topic: record.topic.clone(),
                bootstrap: self.settings.client.bootstrap.clone(),
            }),
            (outcome, _) => outcome,
        }
    }

    /// Send `records` and wait for the report on each; None: none came in time.
    fn send_each(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Option<Report>> {
        let ticket = Arc::new(Ticket::with_reports(records.len()));
        let producer = Arc::clone(&self.producer.read());
        for (number, record) in records.iter().enumerate() {
            // One that cannot even be queued has its failure on the ticket.
            let receipt = Receipt::numbered(&ticket, number);
            producer.queue(to_kafka(record, receipt), abandoned).ok();
        }
        let reports = ticket.wait_for_reports(producer.report_timeout(), abandoned);
        let missing = records.iter().zip(&reports).find(|(_, report)| {
            let error = report.as_ref().and_then(|report| report.as_ref().err());
            let code = error.and_then(|error| error.rdkafka_error_code());
            code.is_some_and(is_topic_missing)
        });
        if let Some((record, _)) = missing
            && !abandoned.load(Ordering::Relaxed)
        {
            // The caller sends again, and then the client knows.
            self.finds(&record.topic);
        }
        if producer.is_dead()
            && let Err(error) = self.replace(&producer)
        {
            tracing::error!(
                error = with_causes(&error),
                "the Kafka producer cannot be made anew"
            );
        }
        reports
    }

    fn outcome(&self, topic: &str, report: Option<Report>) -> Publication {
        let bootstrap = &self.settings.client.bootstrap;
        let error = match report {
            Some(Ok(())) => return Publication::Acknowledged,
            Some(Err(error)) => error,
            None => {
                let words = format!("no broker at {bootstrap} acknowledged a record in time");
                return Publication::unknown(ErrorKind::Unavailable, &words);
            }
        };
        let (kind, words) = match error.rdkafka_error_code() {
            Some(code) if is_of_the_record(code) => {
                return Publication::Refused(format!("topic `{topic}` refuses it: {code}"));
            }
            Some(code) if is_topic_missing(code) => (
                ErrorKind::NotFound,
                format!("topic `{topic}` is not there at {bootstrap} ({code}): create it"),
            ),
            Some(code) if is_refusal(code) => (
                ErrorKind::FailedPrecondition,
                format!("the brokers at {bootstrap} refuse records for topic `{topic}`: {code}"),
            ),
            _ => (
                ErrorKind::Unavailable,
                format!("the brokers at {bootstrap} did not acknowledge a record: {error}"),
            ),
        };
        Publication::Unknown(PortError::with_source(kind, words, error))
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
    fn publish(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Publication> {
        let mut reports = self.send_each(records, abandoned);
        // A broker refuses a whole batch for one of its records: each is asked for alone.
        let suspects: Vec<usize> = (0..reports.len())
            .filter(|number| reports[*number].as_ref().is_some_and(is_suspect))
            .collect();
        if suspects.len() > 1 {
            for number in suspects {
                reports[number] = self
                    .send_each(&records[number..=number], abandoned)
                    .pop()
                    .flatten();
            }
        }
        records
            .iter()
            .zip(reports)
            .map(|(record, report)| self.outcome(&record.topic, report))
            .collect()
    }
}

/// Whether the record, or another one of its batch, is at fault.
fn is_suspect(report: &Report) -> bool {
    let code = match report {
        Ok(()) => None,
        Err(error) => error.rdkafka_error_code(),
    };
    code.is_some_and(|code| {
        is_of_the_record(code) || code == RDKafkaErrorCode::InvalidDifferentRecord
    })
}

/// Whether the topic refuses the record itself, whenever it is sent.
fn is_of_the_record(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
    )
}

fn to_kafka(
    record: &OutboxRecord,
    receipt: Box<Receipt>,
) -> BaseRecord<'_, [u8], [u8], Box<Receipt>> {
    let mut message =
        BaseRecord::with_opaque_to(&record.topic, receipt).payload(record.payload.as_slice());
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
