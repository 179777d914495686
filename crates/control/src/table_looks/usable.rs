//! What a start and a change of definitions do about tables that cannot be used: ingest begins
//! without the sources that need them, and not at all where all need one. Blocks, on the runtime of
//! the looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::source::SourceDef;
use forebay_core::{PortError, PortResult};
use forebay_pipeline::runtime::block_on;

use super::TableLooks;
use crate::aside::{Aside, WantedTable, refusal, refusal_of_new, source_tables};
use crate::begin_error::BeginError;

/// Whether ingest can begin.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It can, from what was caught up, without the tables that are set aside.
    Begins(T, Aside),
    /// This table, which every source needs, cannot be used.
    Stands(String, Aside),
}

impl TableLooks {
    /// Make the tables that `next` needs and that are missing. `known` are those of the sources
    /// before; None at a start.
    ///
    /// # Errors
    /// The table of a new source cannot be used: it has another shape. One that was there before
    /// stands in no change's way, and at a start all were; but an archive that belongs to another
    /// server is refused, and so is a change that would stop an ingest which runs
    /// (`is_ingesting`), and could not begin it anew without a table that every source needs.
    pub fn make(
        &self,
        next: &[Arc<SourceDef>],
        known: Option<&[WantedTable]>,
        is_ingesting: bool,
    ) -> PortResult<()> {
        if let Some(error) = refusal(self.open_common(), is_ingesting) {
            return Err(error);
        }
        let next = source_tables(next.iter());
        let unusable = self.opened(next.clone());
        let refused = known.and_then(|known| refusal_of_new(&next, known, unusable));
        refused.map_or(Ok(()), Err)
    }

    /// Bring what lives in memory as far as the archive is, by `attempt`: it is told the tables to
    /// do without, and once more without one that turns out to be such.
    ///
    /// # Errors
    /// Something other than a table fails.
    pub fn catch_up<T>(
        &self,
        sources: &[Arc<SourceDef>],
        mut attempt: impl FnMut(&BTreeMap<String, String>) -> Result<T, BeginError>,
    ) -> PortResult<Outcome<T>> {
        let common = self.open_common();
        if let Some(table) = common.keys().next().cloned() {
            return Ok(Outcome::Stands(table, Aside::of(common)));
        }
        let mut aside = Aside::of(self.opened(source_tables(sources.iter())));
        loop {
            match attempt(&aside.why) {
                Ok(begun) => return Ok(Outcome::Begins(begun, aside)),
                Err(BeginError::Table { table, source }) => {
                    if !aside.leave_out(&table, &source, sources) {
                        return Ok(Outcome::Stands(table, aside));
                    }
                }
                Err(BeginError::Port(error)) => return Err(error),
            }
        }
    }

    fn open_common(&self) -> BTreeMap<String, PortError> {
        self.opened(self.common.clone())
    }

    /// [`TableLooks::open`], on this thread.
    pub fn opened(&self, tables: Vec<WantedTable>) -> BTreeMap<String, PortError> {
        block_on(self.runtime.as_ref(), self.open(tables))
    }
}
