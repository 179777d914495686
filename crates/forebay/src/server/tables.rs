//! What becomes of a table of the archive that cannot be used ([`Aside`]): its source is not read
//! and the monitors that need it are set aside, so that neither a start nor a change of definitions
//! fails or waits for it. Tables that are no source's (dead letters, decisions about time, notes)
//! every source needs: without one of them ingest stands. Reads are answered in any case, and
//! recovery goes on with what is whole again. `control` decides; here it is carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_control::{Aside, Begun, Monitors, Outcome, Phase, source_tables};
use forebay_core::PortResult;
use forebay_core::ports::Checkpoints;
use forebay_engine::Catalog;
use forebay_pipeline::HaltReason;

use super::app::{App, Running};
use super::suspended::Suspended;
use super::wiring::Wiring;

/// Monitors and filter as far as the archive is.
pub(super) type CaughtUp = (Arc<Monitors>, Begun);

impl App {
    /// Make the tables that `wiring` needs and that are missing.
    ///
    /// # Errors
    /// As of [`forebay_control::TableLooks::make`].
    pub(super) fn make_tables(&self, wiring: &Wiring) -> PortResult<()> {
        let known = {
            let running = self.running.lock();
            source_tables(running.sources.iter().map(|known| &known.source))
        };
        let known = (self.life.phase() != Phase::Starting).then_some(known.as_slice());
        self.table_looks
            .make(&wiring.sources, known, self.is_ingesting())
    }

    /// Delete those of `tables` that hold nothing. One that cannot be read is not one that was just
    /// made; it stays, as it was.
    ///
    /// # Errors
    /// None: a table that is left is no reason to call the undoing of a change failed.
    pub(super) fn drop_empty_tables(&self, tables: &[String]) -> anyhow::Result<()> {
        for table in tables {
            let deleted = self.wait_for("deleting a table", self.archive.remove_unused(table));
            if let Err(error) = deleted.and_then(|deleted| deleted) {
                tracing::warn!(table, error = %crate::exit::words(&error), "a new table is not deleted");
            }
        }
        Ok(())
    }

    /// Bring the monitors of `wiring` and the filter of repeats as far as the archive is, without
    /// the tables that cannot be used; monitors that need one of them are set aside.
    ///
    /// # Errors
    /// The state or a checkpoint fails.
    pub(super) fn catch_up(
        &self,
        wiring: &mut Wiring,
        checkpoints: &Arc<dyn Checkpoints>,
    ) -> PortResult<Outcome<CaughtUp>> {
        let sources = wiring.sources.clone();
        self.table_looks.catch_up(&sources, |aside| {
            set_monitors_aside(wiring, aside);
            let monitors = Arc::new(self.begin_monitors(wiring, checkpoints)?);
            let begun = self.catch_up_monitors(wiring, checkpoints, &monitors, aside)?;
            Ok((monitors, begun))
        })
    }

    /// Nothing is read, since `table` cannot be used. The definitions are in force and reads are
    /// answered; ingest begins by itself when it can.
    pub(super) fn stand(&self, catalog: Catalog, wiring: Wiring, (table, aside): (String, Aside)) {
        let why = aside.why.get(&table).cloned().unwrap_or_default();
        tracing::error!(table, why, "ingest stands: every source needs this table");
        let reason = HaltReason::TableUnusable { table, why };
        self.counters
            .stand(&wiring.sources, &wiring.deployments, &reason);
        *self.running.lock() = Running {
            catalog: Some(catalog),
            sources: wiring.witnessed(),
            suspended: wiring.suspended,
            aside,
            ..Running::default()
        };
    }
}

/// Take the monitors that need a table in `aside` out of `wiring`.
fn set_monitors_aside(wiring: &mut Wiring, aside: &BTreeMap<String, String>) {
    for (table, why) in aside {
        let monitors = std::mem::take(&mut wiring.monitors).into_iter();
        let (needing, kept): (Vec<_>, Vec<_>) = monitors.partition(|m| m.reads(table));
        wiring.monitors = kept;
        for monitor in needing {
            let name = monitor.name().to_owned();
            let reason = format!(
                "table '{table}' of the archive, which it needs, cannot be used ({why}); it starts by \
                 itself when it can"
            );
            tracing::error!(monitor = name, reason, "set aside; everything else runs");
            wiring.suspended.push(Suspended {
                kind: "monitor",
                name,
                reason,
            });
        }
    }
}
