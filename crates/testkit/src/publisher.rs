//! A publisher that keeps what it is given, and may hand it on: to a topic of the log, where it
//! comes back. What it was given outlives a process, as the records on a broker do.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay_core::ports::{Publication, Publisher};
use forebay_core::prediction::OutboxRecord;
use parking_lot::Mutex;

use crate::conformance::publish::{Outlet, number};
use crate::fate::{Fate, Point};

type HandOn = Arc<dyn Fn(&OutboxRecord) + Send + Sync>;
type Refuses = Arc<dyn Fn(&OutboxRecord) -> Option<String> + Send + Sync>;

/// Keeps what is published. Clones share what was published and follow one fate each.
#[derive(Clone)]
pub struct MemoryPublisher {
    published: Arc<Mutex<Vec<OutboxRecord>>>,
    hand_on: HandOn,
    refuses: Refuses,
    fate: Arc<Fate>,
}

impl fmt::Debug for MemoryPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MemoryPublisher({} records)",
            self.published.lock().len()
        )
    }
}

impl MemoryPublisher {
    /// A publisher that also gives each record to `hand_on`.
    pub fn new(fate: &Arc<Fate>, hand_on: impl Fn(&OutboxRecord) + Send + Sync + 'static) -> Self {
        Self {
            published: Arc::default(),
            hand_on: Arc::new(hand_on),
            refuses: Arc::new(|_| None),
            fate: Arc::clone(fate),
        }
    }

    /// The same, whose topics refuse the records for which `refuses` has words.
    #[must_use]
    pub fn refusing(
        self,
        refuses: impl Fn(&OutboxRecord) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            refuses: Arc::new(refuses),
            ..self
        }
    }

    /// What was published before, under another fate: after a restart.
    #[must_use]
    pub fn under(&self, fate: &Arc<Fate>) -> Self {
        Self {
            fate: Arc::clone(fate),
            ..self.clone()
        }
    }

    /// All records in the order of sending, repeats too.
    #[must_use]
    pub fn published(&self) -> Vec<OutboxRecord> {
        self.published.lock().clone()
    }
}

impl Publisher for MemoryPublisher {
    fn publish(&self, records: &[&OutboxRecord], _abandoned: &AtomicBool) -> Vec<Publication> {
        let outcome = self.fate.meet(Point::Publish, || {
            let mut published = self.published.lock();
            let mut outcomes = Vec::with_capacity(records.len());
            for record in records {
                if let Some(words) = (self.refuses)(record) {
                    outcomes.push(Publication::Refused(words));
                    continue;
                }
                published.push(OutboxRecord::clone(record));
                (self.hand_on)(record);
                outcomes.push(Publication::Acknowledged);
            }
            Ok(outcomes)
        });
        outcome.unwrap_or_else(|error| {
            let failed = || Publication::unknown(error.kind(), error.message());
            records.iter().map(|_| failed()).collect()
        })
    }
}

/// The topics of a [`MemoryPublisher`] are there as soon as they are named.
impl Outlet for MemoryPublisher {
    fn topic(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        format!("topic-{}", MADE.fetch_add(1, Ordering::Relaxed))
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(self.clone())
    }

    fn arrived(&self, topic: &str) -> Vec<i64> {
        let published = self.published();
        let of_topic = published.iter().filter(|record| record.topic == topic);
        of_topic.map(|record| number(&record.payload)).collect()
    }
}
