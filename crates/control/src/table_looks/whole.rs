//! Reads of all rows of tables that are set aside because one of them could not be read. One that
//! hangs keeps its read, and with it a thread for blocking work: it is not read a second time
//! beside it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use forebay_core::ports::{Archive, Runtime, Scan, Task};
use futures::StreamExt;
use futures::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::stop::Stop;

/// Whether all rows were read; None until the read has ended.
type Answer = watch::Receiver<Option<bool>>;

/// The reads that have not ended, and those whose outcome nobody has asked for.
#[derive(Debug)]
pub(super) struct WholeReads {
    archive: Arc<dyn Archive>,
    runtime: Arc<dyn Runtime>,
    stop: Stop,
    reads: Mutex<BTreeMap<String, Answer>>,
}

impl WholeReads {
    pub(super) fn new(archive: Arc<dyn Archive>, runtime: Arc<dyn Runtime>, stop: Stop) -> Self {
        Self {
            archive,
            runtime,
            stop,
            reads: Mutex::default(),
        }
    }

    /// Whether every row of `table` can be read. The first look begins to read; what came of that a
    /// later one tells, once.
    pub(super) fn is_whole(&self, table: &str) -> bool {
        let task = {
            let mut reads = self.reads.lock();
            if let Some(read) = reads.get(table) {
                let outcome = outcome(read);
                if outcome.is_some() {
                    reads.remove(table);
                }
                return outcome.unwrap_or(false);
            }
            let (tell, answer) = watch::channel(None);
            reads.insert(table.to_owned(), answer);
            self.read(table, tell)
        };
        // A runtime may run others as it spawns: not under the lock.
        self.runtime.spawn_task("table read", task);
        false
    }

    /// Forget the reads that have ended.
    pub(super) fn forget_finished(&self) {
        self.reads.lock().retain(|_, read| outcome(read).is_none());
    }

    fn read(&self, table: &str, tell: watch::Sender<Option<bool>>) -> Task<()> {
        let (archive, stop) = (Arc::clone(&self.archive), self.stop.clone());
        let table = table.to_owned();
        Box::pin(async move {
            let reads = pin!(reads_whole(archive.as_ref(), &table));
            let whole = match select(reads, pin!(stop.asked())).await {
                Either::Left((whole, _)) => whole.is_some(),
                Either::Right(_) => false,
            };
            tell.send_replace(Some(whole));
        })
    }
}

/// What came of `read`; None until it has ended. One that was lost has read nothing.
fn outcome(read: &Answer) -> Option<bool> {
    // Asked first: one that ends in between has told by the time it is lost.
    let is_lost = read.has_changed().is_err();
    let told = *read.borrow();
    told.or_else(|| is_lost.then_some(false))
}

/// Read all rows of `table`, in the order in which a start reads them; None where one cannot be
/// read.
async fn reads_whole(archive: &dyn Archive, table: &str) -> Option<()> {
    let scan = Scan::default().in_log_order();
    let mut rows = archive.scan(table, scan).await.ok()?;
    while let Some(batch) = rows.next().await {
        batch.ok()?;
    }
    Some(())
}
