//! Publishes to the cluster and the topics that the state follows and to no others: what another
//! cluster or a topic made anew acknowledges would leave its outbox, or be told to whoever pushed
//! it, and be lost to the log that waits for it. Wraps the publisher that scoring and alarms use,
//! and is asked before an event is pushed; the watch over the log says what answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use forebay_core::ports::{Publication, Publisher, Runtime};
use forebay_core::prediction::OutboxRecord;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::board::Board;

/// How long one send waits for the first look at the log.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What the watch knows of where records would go. Cheap to clone; of a pipeline that has stopped
/// it says what its last look found.
#[derive(Debug, Clone)]
pub struct OwnTopics {
    board: Arc<Board>,
    runtime: Arc<dyn Runtime>,
}

impl OwnTopics {
    pub(crate) fn new(board: Arc<Board>, runtime: Arc<dyn Runtime>) -> Self {
        Self { board, runtime }
    }

    /// Whether a record for `topic` would reach the log that the state follows. Waits a moment for
    /// the first look.
    ///
    /// # Errors
    /// `Unavailable`: another cluster answers, nobody has answered yet, or another topic stands
    /// under the name of one that is read.
    pub fn check(&self, topic: &str) -> PortResult<()> {
        let other_log = || {
            let why = self.board.other_log(topic)?;
            Some(Err(PortError::new(ErrorKind::Unavailable, why)))
        };
        if let Some(refused) = other_log() {
            return refused;
        }
        let runtime = self.runtime.as_ref();
        if !self.board.wait_for_cluster(runtime, FIRST_LOOK) {
            let words = "the broker is not known to be of the cluster that the state follows";
            return Err(PortError::new(ErrorKind::Unavailable, words));
        }
        // The look that was waited for may have found another topic.
        other_log().unwrap_or(Ok(()))
    }
}

/// A publisher that sends only what [`OwnTopics`] lets pass.
#[derive(Debug)]
pub(crate) struct OwnCluster {
    inner: Arc<dyn Publisher>,
    topics: OwnTopics,
}

impl OwnCluster {
    pub(crate) fn new(inner: Arc<dyn Publisher>, topics: OwnTopics) -> Self {
        Self { inner, topics }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Publisher for OwnCluster {
    fn publish(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Publication> {
        let mut checked: BTreeMap<&str, PortResult<()>> = BTreeMap::new();
        for record in records {
            let topic = record.topic.as_str();
            checked
                .entry(topic)
                .or_insert_with(|| self.topics.check(topic));
        }
        let passes = |record: &&&OutboxRecord| checked[record.topic.as_str()].is_ok();
        let passed: Vec<&OutboxRecord> = records.iter().filter(passes).copied().collect();
        // One call for all that passes: each waits for the broker.
        let mut sent = self.inner.publish(&passed, abandoned).into_iter();
        let outcome = |record: &&OutboxRecord| match &checked[record.topic.as_str()] {
            Ok(()) => sent.next(),
            Err(error) => {
                let words = format!("{}: records wait", error.message());
                Some(Publication::unknown(ErrorKind::Unavailable, &words))
            }
        };
        records.iter().filter_map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::limits::EVENT_MAX_BYTES;
    use forebay_testkit::MemoryPublisher;
    use forebay_testkit::conformance::publish::{self, Outlet};

    use super::*;
    use crate::halt::HaltReason;
    use crate::recovery::Decision;
    use crate::runtime::for_tests;

    /// Topics of a cluster that is the one which the state follows.
    #[derive(Debug)]
    struct KnownCluster {
        inner: MemoryPublisher,
        board: Arc<Board>,
    }

    impl Outlet for KnownCluster {
        fn topic(&self) -> String {
            self.inner.topic()
        }

        fn publisher(&self) -> Box<dyn Publisher> {
            let (inner, board) = (Arc::new(self.inner.clone()), Arc::clone(&self.board));
            let topics = OwnTopics::new(board, Arc::new(for_tests()));
            Box::new(OwnCluster::new(inner, topics))
        }

        fn arrived(&self, topic: &str) -> Vec<i64> {
            self.inner.arrived(topic)
        }
    }

    #[test]
    fn a_publisher_to_the_known_cluster_keeps_the_promises() {
        let refuses = |record: &OutboxRecord| {
            let is_long = record.payload.len() > EVENT_MAX_BYTES;
            is_long.then(|| "too large".to_owned())
        };
        let known = KnownCluster {
            inner: MemoryPublisher::new(&Arc::default(), |_| {}).refusing(refuses),
            board: Arc::default(),
        };
        known.board.know_cluster(true);
        publish::publisher(&known);
    }

    #[test]
    fn nothing_is_sent_while_nobody_knows_the_cluster() {
        let inner = MemoryPublisher::new(&Arc::default(), |_| {});
        let board = Arc::default();
        let published = Arc::new(inner.clone());
        let topics = OwnTopics::new(board, Arc::new(for_tests()));
        let publisher = OwnCluster::new(published, topics);
        let record = record("predictions");
        let outcomes = publisher.publish(&[&record, &record], &AtomicBool::new(false));
        let unknown = |outcome: &Publication| matches!(outcome, Publication::Unknown(_));
        assert_eq!(outcomes.len(), 2, "one outcome for each record");
        assert!(outcomes.iter().all(unknown), "{outcomes:?}");
        assert_eq!(inner.published(), []);
    }

    fn record(topic: &str) -> OutboxRecord {
        OutboxRecord {
            topic: topic.to_owned(),
            key: Vec::new(),
            payload: Vec::new(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_sent_to_a_topic_that_was_made_anew_and_all_else_is() {
        let inner = MemoryPublisher::new(&Arc::default(), |_| {});
        let board: Arc<Board> = Arc::default();
        board.know_cluster(true);
        let made_anew = HaltReason::TopicMadeAnew {
            topic: "predictions".to_owned(),
            known: "a".to_owned(),
            found: "b".to_owned(),
        };
        let missing = HaltReason::TopicMissing {
            topic: "others".to_owned(),
        };
        let halts = [("p", made_anew), ("o", missing)];
        let halts = halts.map(|(source, why)| (source.to_owned(), Decision::Halt(why)));
        board.publish(halts.into(), BTreeMap::new(), Duration::ZERO);
        let topics = OwnTopics::new(board, Arc::new(for_tests()));
        let publisher = OwnCluster::new(Arc::new(inner.clone()), topics.clone());
        let records = ["others", "predictions", "alarms", "alarms"].map(record);
        let records: Vec<&OutboxRecord> = records.iter().collect();
        let outcomes = publisher.publish(&records, &AtomicBool::new(false));
        let acknowledged = |outcome: &Publication| matches!(outcome, Publication::Acknowledged);
        let acknowledged: Vec<bool> = outcomes.iter().map(acknowledged).collect();
        assert_eq!(acknowledged, [true, false, true, true], "{outcomes:?}");
        assert_eq!(inner.published().len(), 3);
        // A look that cannot see the topic clears nobody.
        let waits = ("p".to_owned(), Decision::Wait("nobody answers".to_owned()));
        let board = Arc::clone(&topics.board);
        board.publish([waits].into(), BTreeMap::new(), Duration::ZERO);
        let refused = topics
            .check("predictions")
            .expect_err("it is another topic");
        assert!(
            refused.message().contains("was deleted and made anew"),
            "{refused}"
        );
    }
}
