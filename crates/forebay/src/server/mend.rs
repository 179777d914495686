//! Looks at the tables that a start or a change had to set aside, when the recovery of `control`
//! says, and starts ingest again once one of them can be used: its source is read, and its monitors
//! count, from where they were. Ingest of all others stands for that moment, so nothing is started
//! again before the table is open, and one whose rows could not be read has given every row.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use forebay_control::source_tables;
use forebay_core::ports::{Scan, TableScan};
use forebay_offline::DeltaArchive;
use futures::StreamExt;

use super::app::App;

impl App {
    /// Names of the tables that are set aside.
    pub(super) fn aside(&self) -> BTreeSet<String> {
        self.running.lock().aside.why.keys().cloned().collect()
    }

    /// Start ingest again where a table that was set aside can be used. Blocks.
    pub(super) fn mend(&self) -> Result<()> {
        let (aside, sources) = {
            let running = self.running.lock();
            let sources = running.sources.iter().map(|read| &read.source);
            (running.aside.clone(), source_tables(sources))
        };
        let common = Self::common_tables();
        let unusable = self.open_tables(aside.to_open(sources, &common));
        if !aside.begins_anew(&common, &unusable, |table| self.is_whole(table)) {
            return Ok(());
        }
        let Some(_changing) = self.changing.try_lock() else {
            return Ok(());
        };
        // A change of definitions may have begun ingest anew meanwhile.
        if self.running.lock().aside == aside && !self.stop.is_asked() {
            tracing::info!("a table that was set aside can be used again: ingest starts anew");
            self.start_again(&self.catalog());
        }
        Ok(())
    }

    /// Whether every row of `table` can be read, in the order in which a start reads them. The
    /// first look at it begins to read; what came of that a later one tells.
    fn is_whole(&self, table: &str) -> bool {
        let mut reads = self.aside_reads.lock();
        match reads.remove(table) {
            Some(read) if read.is_finished() => self.runtime.block_on(read).unwrap_or(false),
            Some(read) => {
                reads.insert(table.to_owned(), read);
                false
            }
            None => {
                let (archive, stop) = (Arc::clone(&self.archive), self.stop.clone());
                let name = table.to_owned();
                let read = self.runtime.spawn(async move {
                    tokio::select! {
                        whole = reads_whole(&archive, &name) => whole.is_some(),
                        () = stop.asked() => false,
                    }
                });
                reads.insert(table.to_owned(), read);
                false
            }
        }
    }
}

/// Read all rows of `table`; None where one cannot be read.
async fn reads_whole(archive: &DeltaArchive, table: &str) -> Option<()> {
    let scan = Scan::default().in_log_order();
    let mut rows = archive.scan(table, scan).await.ok()?;
    while let Some(batch) = rows.next().await {
        batch.ok()?;
    }
    Some(())
}
