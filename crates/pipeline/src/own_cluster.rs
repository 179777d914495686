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
