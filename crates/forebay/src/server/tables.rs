//! What becomes of a table of the archive that cannot be used ([`Aside`]): its source is not read
//! and the monitors that need it are set aside, so that neither a start nor a change of definitions
//! fails or waits for it. Tables that are no source's (dead letters, decisions about time, notes)
//! every source needs: without one of them ingest stands. Reads are answered in any case, and
//! [`super::mend`] goes on with what is whole again. `control` decides; here it is carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use forebay_control::{
    Aside, BeginError, Begun, Monitors, Phase, WantedTable, refusal, refusal_of_new, source_tables,
};
use forebay_core::PortError;
use forebay_core::ports::Checkpoints;
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_engine::Catalog;
use forebay_offline::dead_letter_schema;
use forebay_pipeline::HaltReason;
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::settlements::settlement_schema;
use forebay_pipeline::watermark::table::{MARKS_TABLE, marks_schema};

use super::app::{App, Running};
use super::suspended::Suspended;
use super::wiring::Wiring;

/// Monitors and filter as far as the archive is, and what ingest goes on without.
pub(super) struct CaughtUp {
    pub(super) monitors: Arc<Monitors>,
    pub(super) begun: Begun,
    pub(super) aside: Aside,
}

/// Whether ingest can begin.
pub(super) enum Outcome {
    /// It can.
    Begins(Box<CaughtUp>),
    /// This table, which every source needs, cannot be used.
    Stands(String, Aside),
}

impl App {
    /// Those that no source has, and every one needs.
    pub(super) fn common_tables() -> Vec<WantedTable> {
        let tables = [
            (DEAD_LETTER_TABLE, dead_letter_schema()),
            (MARKS_TABLE, marks_schema()),
            (SETTLEMENT_TABLE, settlement_schema()),
        ];
        tables
            .map(|(name, schema)| (name.to_owned(), schema))
            .into()
    }

    /// Open `tables`, or make them: those that cannot be used, each with its error.
    pub(super) fn open_tables(&self, tables: Vec<WantedTable>) -> BTreeMap<String, PortError> {
        self.runtime.block_on(self.table_looks.open(tables))
    }

    /// Make the tables that `wiring` needs and that are missing.
    ///
    /// # Errors
    /// The table of a new source cannot be used: it has another shape. One that was there before
    /// stands in no change's way, and at a start all were; but an archive that belongs to another
    /// server is refused, and so is a change that would stop an ingest which runs, and could not
    /// begin it anew without a table that every source needs.
    pub(super) fn make_tables(&self, wiring: &Wiring) -> Result<()> {
        let common = self.open_tables(Self::common_tables());
        if let Some(error) = refusal(common, self.is_ingesting()) {
            return Err(error.into());
        }
        let next = source_tables(wiring.sources.iter());
        let unusable = self.open_tables(next.clone());
        if self.life.phase() == Phase::Starting {
            return Ok(());
        }
        let running = self.running.lock();
        let known = source_tables(running.sources.iter().map(|known| &known.source));
        match refusal_of_new(&next, &known, unusable) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
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
    ) -> Result<Outcome> {
        let common = self.open_tables(Self::common_tables());
        if let Some(table) = common.keys().next().cloned() {
            return Ok(Outcome::Stands(table, Aside::of(common)));
        }
        let mut aside = Aside::of(self.open_tables(source_tables(wiring.sources.iter())));
        loop {
            set_monitors_aside(wiring, &aside.why);
            let monitors = Arc::new(self.begin_monitors(wiring, checkpoints)?);
            match self.catch_up_monitors(wiring, checkpoints, &monitors, &aside.why) {
                Ok(begun) => {
                    let caught_up = CaughtUp {
                        monitors,
                        begun,
                        aside,
                    };
                    return Ok(Outcome::Begins(Box::new(caught_up)));
                }
                Err(BeginError::Table { table, source }) => {
                    if !aside.leave_out(&table, &source, &wiring.sources) {
                        return Ok(Outcome::Stands(table, aside));
                    }
                }
                Err(BeginError::Port(error)) => return Err(error.into()),
            }
        }
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
