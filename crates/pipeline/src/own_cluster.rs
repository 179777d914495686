//! Publishes to the cluster that the state follows and to no other: a prediction or an alarm that
//! another cluster acknowledges would leave its outbox and be lost to the one that waits for it.
//! Wraps the publisher that scoring and alarms use; the watch over the log says which cluster
//! answers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::ports::{Publication, Publisher, Runtime};
use forebay_core::prediction::OutboxRecord;

use crate::board::Board;

/// How long one send waits for the first look at the log.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// A publisher that sends only while the cluster that answers is the one that the state follows.
#[derive(Debug)]
pub(crate) struct OwnCluster {
    inner: Arc<dyn Publisher>,
    board: Arc<Board>,
    runtime: Arc<dyn Runtime>,
}

impl OwnCluster {
    pub(crate) fn new(
        inner: Arc<dyn Publisher>,
        board: Arc<Board>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        Self {
            inner,
            board,
            runtime,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Publisher for OwnCluster {
    fn publish(&self, records: &[&OutboxRecord], abandoned: &AtomicBool) -> Vec<Publication> {
        if self
            .board
            .wait_for_cluster(self.runtime.as_ref(), FIRST_LOOK)
        {
            return self.inner.publish(records, abandoned);
        }
        let words =
            "the broker is not known to be of the cluster that the state follows: records wait";
        let unknown = |_: &&OutboxRecord| Publication::unknown(ErrorKind::Unavailable, words);
        records.iter().map(unknown).collect()
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::limits::EVENT_MAX_BYTES;
    use forebay_testkit::MemoryPublisher;
    use forebay_testkit::conformance::publish::{self, Outlet};

    use super::*;
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
            Box::new(OwnCluster::new(inner, board, Arc::new(for_tests())))
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
        let publisher = OwnCluster::new(published, board, Arc::new(for_tests()));
        let record = OutboxRecord {
            topic: "predictions".to_owned(),
            key: Vec::new(),
            payload: Vec::new(),
            headers: Vec::new(),
        };
        let outcomes = publisher.publish(&[&record, &record], &AtomicBool::new(false));
        let unknown = |outcome: &Publication| matches!(outcome, Publication::Unknown(_));
        assert_eq!(outcomes.len(), 2, "one outcome for each record");
        assert!(outcomes.iter().all(unknown), "{outcomes:?}");
        assert_eq!(inner.published(), []);
    }
}
