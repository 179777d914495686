//! Looks at the tables that a start or a change had to set aside, with growing pauses, and starts
//! ingest again once one of them can be used: its source is read, and its monitors count, from
//! where they were. Ingest of all others stands for that moment, so nothing is started again before
//! the table is open, and one whose rows could not be read has given every row.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_core::ports::{Scan, TableScan};
use forebay_offline::DeltaArchive;
use futures::StreamExt;

use super::app::App;

/// Pause before the first look; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause: a table is whole for so long at most before its source is read again.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// When to look again.
#[derive(Debug, Default)]
pub(super) struct Mending {
    tables: BTreeSet<String>,
    pause: Duration,
    next: Option<Instant>,
}

impl Mending {
    /// Whether `tables`, which are set aside, are to be looked at, `now`.
    pub(super) fn is_due(&mut self, tables: BTreeSet<String>, now: Instant) -> bool {
        if tables.is_empty() {
            // Those that are set aside again after a start are looked at less and less.
            return false;
        }
        if tables != self.tables {
            (self.pause, self.next) = (FIRST_PAUSE, Some(now + FIRST_PAUSE));
            self.tables = tables;
        }
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due {
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
            self.next = Some(now + self.pause);
        }
        is_due
    }
}

impl App {
    /// Names of the tables that are set aside.
    pub(super) fn aside(&self) -> BTreeSet<String> {
        self.running.lock().aside.why.keys().cloned().collect()
    }

    /// Start ingest again where a table that was set aside can be used. Blocks.
    pub(super) fn mend(&self) -> Result<()> {
        let (aside, mut wanted) = {
            let running = self.running.lock();
            let sources = running.sources.iter().map(|read| &read.source);
            (running.aside.clone(), Self::tables_of(sources))
        };
        wanted.retain(|(table, _)| aside.why.contains_key(table));
        // Ingest that runs goes on without a table that every source needs; it does not begin.
        let common = Self::common_tables();
        wanted.extend(common.iter().cloned());
        let unusable = self.open_tables(wanted);
        if common.iter().any(|(table, _)| unusable.contains_key(table)) {
            return Ok(());
        }
        let mut opened = aside
            .why
            .keys()
            .filter(|table| !unusable.contains_key(*table));
        if !opened.any(|table| !aside.unread.contains(table) || self.is_whole(table)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_looked_at_with_growing_pauses_also_when_they_are_set_aside_again() {
        let (mut mending, began) = (Mending::default(), Instant::now());
        let tables = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut looks = Vec::new();
        for second in 0..400 {
            // Each look starts ingest again; for a moment nothing is set aside.
            let names: &[&str] = if looks.last().is_some_and(|last| last + 1 == second) {
                &[]
            } else {
                &["a"]
            };
            if mending.is_due(tables(names), began + Duration::from_secs(second)) {
                looks.push(second);
            }
        }
        assert_eq!(looks, [2, 6, 14, 30, 62, 126, 246, 366]);
        let now = began + Duration::from_secs(400);
        assert!(!mending.is_due(tables(&["a", "b"]), now));
        assert!(
            mending.is_due(tables(&["a", "b"]), now + FIRST_PAUSE),
            "others"
        );
    }
}
