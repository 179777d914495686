//! Records that are produced once more to their own partition, with key, headers and value as they
//! were, through an idempotent producer (`acks=all`): what `forebay dead-letters replay` sends.
//! Each has an outcome of its own, so that the caller can note those that the broker has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use forebay_core::ports::RecordHeader;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::client::{is_refusal, is_topic_missing};
use crate::delivery::{Receipt, Report, ReportingProducer, Ticket};
use crate::error::Error;
use crate::settings::ProducerSettings;

/// A record to produce once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordAgain {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its key; an empty one is not the same as none.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Vec<u8>,
    /// Its headers, in their order.
    pub headers: Vec<RecordHeader>,
}

/// Produces records once more.
pub struct Republisher {
    settings: ProducerSettings,
    producer: ReportingProducer,
}

impl fmt::Debug for Republisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Republisher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Republisher {
    /// A producer to the brokers of `settings`. Does not wait for them.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub fn new(settings: ProducerSettings) -> Result<Self, Error> {
        let producer = ReportingProducer::new(&settings)?;
        Ok(Self { settings, producer })
    }

    /// Send `records` in order and wait until the broker has acknowledged, or refused, each of
    /// them; one outcome for each. Of one that was not acknowledged in time nobody knows whether it
    /// was written.
    #[must_use]
    pub fn publish(&self, records: &[RecordAgain]) -> Vec<Result<(), Error>> {
        let (ticket, never) = (
            Arc::new(Ticket::with_reports(records.len())),
            AtomicBool::new(false),
        );
        for (number, record) in records.iter().enumerate() {
            let receipt = Receipt::numbered(&ticket, number);
            // One that cannot even be queued has its failure on the ticket.
            self.producer.queue(to_kafka(record, receipt), &never).ok();
        }
        let reports = ticket.wait_for_reports(self.producer.report_timeout(), &never);
        let outcomes = records.iter().zip(reports);
        outcomes
            .map(|(record, report)| self.outcome(record, report))
            .collect()
    }

    fn outcome(&self, record: &RecordAgain, report: Option<Report>) -> Result<(), Error> {
        let bootstrap = self.settings.client.bootstrap.clone();
        let source = match report {
            Some(Ok(())) => return Ok(()),
            Some(Err(source)) => Some(source),
            None => None,
        };
        let code = source
            .as_ref()
            .and_then(|source| source.rdkafka_error_code());
        match (code, source) {
            (Some(code), _) if is_topic_missing(code) => Err(Error::UnknownTopic {
                topic: record.topic.clone(),
                bootstrap,
            }),
            (Some(code), Some(source)) if is_refusal(code) || is_of_the_record(code) => {
                Err(Error::Refused {
                    bootstrap,
                    action: format!("a record for topic `{}`", record.topic),
                    source,
                })
            }
            (_, source) => Err(Error::NotAcknowledged {
                failed: 1,
                sent: 1,
                bootstrap,
                source,
            }),
        }
    }
}

/// Whether the broker, or the client before it, refuses the record itself.
fn is_of_the_record(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::UnknownPartition
    )
}

fn to_kafka(
    record: &RecordAgain,
    receipt: Box<Receipt>,
) -> BaseRecord<'_, [u8], [u8], Box<Receipt>> {
    let mut message = BaseRecord::with_opaque_to(&record.topic, receipt)
        .partition(record.partition)
        .payload(record.payload.as_slice());
    if let Some(key) = &record.key {
        message = message.key(key.as_slice());
    }
    if record.headers.is_empty() {
        return message;
    }
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    let add = |headers: OwnedHeaders, header: &RecordHeader| {
        headers.insert(Header {
            key: &header.name,
            value: header.value.as_ref(),
        })
    };
    message.headers(record.headers.iter().fold(headers, add))
}
