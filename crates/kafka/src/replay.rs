//! Bulk production for `forebay replay` and load tests: records go out as fast as the broker takes
//! them, the caller is held back when too much is unsent, and failures surface at the next call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use forebay_core::time::Micros;
use rdkafka::producer::BaseRecord;

use crate::delivery::{Receipt, ReportingProducer, Ticket};
use crate::error::Error;
use crate::settings::ProducerSettings;

/// Produces records without waiting for each. Order is kept within a partition.
///
/// Over the embedded broker, pace the calls: it forgets all but 5 MiB of each partition (see
/// [`crate::EmbeddedBroker`]).
pub struct Replayer {
    settings: ProducerSettings,
    producer: ReportingProducer,
    ticket: Arc<Ticket>,
}

impl fmt::Debug for Replayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Replayer {
    /// A producer to the brokers of `settings`. Does not wait for them.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub fn new(settings: ProducerSettings) -> Result<Self, Error> {
        let producer = ReportingProducer::new(&settings)?;
        Ok(Self {
            settings,
            producer,
            ticket: Arc::default(),
        })
    }

    /// Queue one record; returns at once unless the queue (100,000 records, 64 MiB) is full, then
    /// as soon as it is not. Without a partition the key decides (as Java clients do), without a
    /// key chance. `timestamp_us` becomes the record's time, cut to milliseconds; None is the
    /// present. An empty key is no key.
    ///
    /// # Errors
    /// This record cannot be queued, or an earlier one was not acknowledged.
    pub fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: &[u8],
        payload: &[u8],
        timestamp_us: Option<Micros>,
    ) -> Result<(), Error> {
        let mut record =
            BaseRecord::with_opaque_to(topic, Receipt::of(&self.ticket)).payload(payload);
        if !key.is_empty() {
            record = record.key(key);
        }
        if let Some(partition) = partition {
            record = record.partition(partition);
        }
        if let Some(micros) = timestamp_us {
            record = record.timestamp(micros.div_euclid(1_000));
        }
        // The outcome, also of a failure to queue, is on the ticket.
        self.producer.queue(record, &AtomicBool::new(false)).ok();
        self.ticket.check(&self.settings.client)
    }

    /// Wait until every record sent so far is acknowledged: how many that are since the replayer
    /// was made.
    ///
    /// # Errors
    /// One was not, or `timeout` passed first.
    pub fn flush(&self, timeout: Duration) -> Result<u64, Error> {
        self.ticket.wait(&self.settings.client, timeout)?;
        Ok(self.ticket.acknowledged())
    }

    /// Records acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.ticket.acknowledged()
    }
}
