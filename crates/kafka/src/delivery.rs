//! Delivery reports: who counts them and who waits for them. Every record sent carries a
//! [`Ticket`]; the client's own thread reports on it once per record, acknowledged or given up.
//! Nothing here can panic: reports come through C.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay_core::progress::TopicPartition;
use parking_lot::{Condvar, Mutex};
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::client::{ClientEvents, is_refusal, is_topic_missing};
use crate::error::Error;
use crate::served::ServedProducer;
use crate::settings::{ClientSettings, ProducerSettings};

/// How long to let the client work when its queue is full, before trying again.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(10);
/// How often a wait looks whether it was abandoned.
const ABANDON_LOOK: Duration = Duration::from_millis(100);
/// How long a wait goes on after that: a broker that is there answers sooner.
const ABANDON_GRACE: Duration = Duration::from_millis(800);
/// Time beyond the delivery time-out in which the client must have reported on every record.
const REPORT_SLACK: Duration = Duration::from_secs(5);

/// The reports on a group of records.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    counts: Mutex<Counts>,
    changed: Condvar,
    /// One past the greatest acknowledged offset of each partition, where the sender asked for it.
    places: Option<Mutex<BTreeMap<TopicPartition, i64>>>,
    /// The report on each record, where the sender asked for it.
    reports: Mutex<Vec<Option<Report>>>,
}

/// What the client says of one record: acknowledged, or its error.
pub(crate) type Report = Result<(), Box<KafkaError>>;

/// A record's way back to its ticket.
#[derive(Debug)]
pub(crate) struct Receipt {
    ticket: Arc<Ticket>,
    /// Which record of the ticket it is.
    number: usize,
}

impl Receipt {
    /// For a record whose own report nobody reads.
    pub(crate) fn of(ticket: &Arc<Ticket>) -> Box<Self> {
        Self::numbered(ticket, usize::MAX)
    }

    /// For record `number` of a ticket made by [`Ticket::with_reports`].
    pub(crate) fn numbered(ticket: &Arc<Ticket>, number: usize) -> Box<Self> {
        Box::new(Self {
            ticket: Arc::clone(ticket),
            number,
        })
    }
}

#[derive(Debug, Default, Clone)]
struct Counts {
    sent: u64,
    acknowledged: u64,
    failed: u64,
    /// Of them those whose topic is not there: nothing of them was written.
    missing_topic: u64,
    first_failure: Option<Box<KafkaError>>,
}

impl Ticket {
    /// A ticket that also notes where the records went.
    pub(crate) fn with_places() -> Self {
        Self {
            places: Some(Mutex::default()),
            ..Self::default()
        }
    }

    /// A ticket that keeps the report on each of `records` records.
    pub(crate) fn with_reports(records: usize) -> Self {
        Self {
            reports: Mutex::new((0..records).map(|_| None).collect()),
            ..Self::default()
        }
    }

    /// Wait until every record sent has its report, `timeout` has passed, or `abandoned` was set a
    /// moment ago; the reports so far.
    pub(crate) fn wait_for_reports(
        &self,
        timeout: Duration,
        abandoned: &AtomicBool,
    ) -> Vec<Option<Report>> {
        let mut deadline = Instant::now() + timeout;
        let mut is_abandoned = false;
        let mut counts = self.counts.lock();
        while counts.acknowledged + counts.failed < counts.sent {
            let now = Instant::now();
            if !is_abandoned && abandoned.load(Ordering::Relaxed) {
                is_abandoned = true;
                deadline = deadline.min(now + ABANDON_GRACE);
            }
            if now >= deadline {
                break;
            }
            self.changed
                .wait_until(&mut counts, deadline.min(now + ABANDON_LOOK));
        }
        drop(counts);
        std::mem::take(&mut *self.reports.lock())
    }

    /// Where the records went so far: one past the last offset of each partition. Empty without
    /// [`Self::with_places`].
    pub(crate) fn places(&self) -> Vec<(TopicPartition, i64)> {
        self.places
            .iter()
            .flat_map(|places| places.lock().clone())
            .collect()
    }

    fn note_place(&self, topic: &str, partition: i32, offset: i64) {
        if let Some(places) = &self.places {
            let mut places = places.lock();
            let next = places
                .entry(TopicPartition::new(topic, partition))
                .or_default();
            *next = (*next).max(offset + 1);
        }
    }

    fn sent(&self) {
        self.counts.lock().sent += 1;
    }

    fn report(&self, number: usize, failure: Option<KafkaError>) {
        if let Some(report) = self.reports.lock().get_mut(number) {
            *report = Some(failure.clone().map_or(Ok(()), |error| Err(Box::new(error))));
        }
        let mut counts = self.counts.lock();
        match failure {
            None => counts.acknowledged += 1,
            Some(error) => {
                counts.failed += 1;
                let is_missing = error.rdkafka_error_code().is_some_and(is_topic_missing);
                counts.missing_topic += u64::from(is_missing);
                counts.first_failure.get_or_insert_with(|| Box::new(error));
            }
        }
        if counts.acknowledged + counts.failed >= counts.sent {
            self.changed.notify_all();
        }
    }

    /// Whether the topic of every record is missing, so that nothing was written.
    pub(crate) fn found_no_topic(&self) -> bool {
        let counts = self.counts.lock();
        counts.sent > 0 && counts.missing_topic == counts.sent
    }

    /// Records acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.counts.lock().acknowledged
    }

    /// The error of the records that failed so far.
    ///
    /// # Errors
    /// At least one has.
    pub(crate) fn check(&self, client: &ClientSettings) -> Result<(), Error> {
        self.counts.lock().outcome(client)
    }

    /// Wait until every record sent has its report.
    ///
    /// # Errors
    /// One failed, or `timeout` passed first (the records without report count as failed).
    pub(crate) fn wait(&self, client: &ClientSettings, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        let mut counts = self.counts.lock();
        while counts.acknowledged + counts.failed < counts.sent {
            if self.changed.wait_until(&mut counts, deadline).timed_out() {
                let mut seen = counts.clone();
                seen.failed = seen.sent.saturating_sub(seen.acknowledged);
                return seen.outcome(client);
            }
        }
        counts.outcome(client)
    }
}

impl Counts {
    fn outcome(&self, client: &ClientSettings) -> Result<(), Error> {
        if self.failed == 0 {
            return Ok(());
        }
        let bootstrap = client.bootstrap.clone();
        match &self.first_failure {
            Some(source) if source.rdkafka_error_code().is_some_and(is_refusal) => {
                Err(Error::Refused {
                    bootstrap,
                    action: format!("{} of {} records", self.failed, self.sent),
                    source: source.clone(),
                })
            }
            source => Err(Error::NotAcknowledged {
                failed: self.failed,
                sent: self.sent,
                bootstrap,
                source: source.clone(),
            }),
        }
    }
}

/// The producer's context: passes reports to tickets, log lines to `tracing`.
#[derive(Debug)]
pub(crate) struct Reports(ClientEvents);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.0.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        let ticket = &receipt.ticket;
        if let Ok(message) = result {
            ticket.note_place(message.topic(), message.partition(), message.offset());
        }
        let failure = result.as_ref().err().map(|(error, _)| error.clone());
        ticket.report(receipt.number, failure);
    }
}

/// An idempotent producer whose own thread serves the reports.
pub(crate) struct ReportingProducer {
    served: ServedProducer<Reports>,
    delivery_timeout: Duration,
}

impl ReportingProducer {
    pub(crate) fn new(settings: &ProducerSettings) -> Result<Self, Error> {
        let reports = Reports(ClientEvents::of(&settings.client));
        Ok(Self {
            served: ServedProducer::new(&settings.config()?, reports)?,
            delivery_timeout: settings.delivery_timeout,
        })
    }

    /// Longest time until every record has its report.
    pub(crate) fn report_timeout(&self) -> Duration {
        self.delivery_timeout + REPORT_SLACK
    }

    /// Whether the client has failed for good (an idempotent producer that lost its sequence) and
    /// must be made anew.
    pub(crate) fn is_dead(&self) -> bool {
        self.served.producer().client().fatal_error().is_some()
    }

    /// Ask whether `topic` is there. The client itself looks for a topic that was missing only once
    /// in minutes, and refuses its records until then; an answer that names it ends that.
    pub(crate) fn finds(&self, topic: &str, timeout: Duration) -> bool {
        let client = self.served.producer().client();
        let found = client.fetch_metadata(Some(topic), timeout);
        found.is_ok_and(|found| found.topics().iter().any(|found| found.error().is_none()))
    }

    /// Queue a record. When the queue is full, wait for reports to make room rather than spin;
    /// records leave the queue within the delivery time-out, so that is how long this may take,
    /// unless `abandoned` is set.
    pub(crate) fn queue(
        &self,
        mut record: BaseRecord<'_, [u8], [u8], Box<Receipt>>,
        abandoned: &AtomicBool,
    ) -> Result<(), KafkaError> {
        let ticket = Arc::clone(&record.delivery_opaque.ticket);
        let deadline = Instant::now() + self.report_timeout();
        ticket.sent();
        loop {
            match self.served.producer().send(record) {
                Ok(()) => {
                    self.served.wake();
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused))
                    if Instant::now() < deadline && !abandoned.load(Ordering::Relaxed) =>
                {
                    record = refused;
                    self.served.producer().poll(FULL_QUEUE_WAIT);
                }
                Err((error, refused)) => {
                    ticket.report(refused.delivery_opaque.number, Some(error.clone()));
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_waits_for_every_report_and_keeps_the_first_failure() {
        let client = ClientSettings::new("127.0.0.1:1");
        let ticket = Arc::new(Ticket::default());
        for _ in 0..3 {
            ticket.sent();
        }
        ticket.report(0, None);
        ticket.report(
            1,
            Some(KafkaError::MessageProduction(
                RDKafkaErrorCode::MessageTimedOut,
            )),
        );
        let unreported = ticket
            .wait(&client, Duration::from_millis(1))
            .expect_err("one report is out");
        assert!(
            matches!(
                unreported,
                Error::NotAcknowledged {
                    failed: 2,
                    sent: 3,
                    ..
                }
            ),
            "{unreported}"
        );
        let reporter = {
            let ticket = Arc::clone(&ticket);
            std::thread::spawn(move || ticket.report(2, None))
        };
        let error = ticket
            .wait(&client, Duration::from_secs(10))
            .expect_err("one failed");
        reporter.join().expect("reporter");
        assert!(
            matches!(
                error,
                Error::NotAcknowledged {
                    failed: 1,
                    sent: 3,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(ticket.acknowledged(), 2);
    }
}
