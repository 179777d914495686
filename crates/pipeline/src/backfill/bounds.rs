//! What bounds the rows that a fill folds: decisions about rows far ahead, from the shards and from
//! the archive's table of decisions. Read by [`super::backfill`] before each pass.

use std::collections::BTreeSet;

use forebay_core::ports::{Archive, Scan, StateProgress};
use forebay_core::progress::Applied;
use forebay_core::source::SourceDef;
use forebay_core::watermark::{MarkFact, MarkRecord};
use forebay_core::{ErrorKind, PortResult};
use futures::TryStreamExt;

use crate::watermark::recorded;
use crate::watermark::table::{self, MARKS_TABLE};

/// What bounds the rows of a source, as far as the archive's table of decisions was read: the last
/// pass, for which ingest stands, reads what came since the one before.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    pub(super) records: BTreeSet<MarkRecord>,
    read_to: Applied,
}

impl Bounds {
    /// Take in what bounds rows of `source` by now: of rows that are read again the shards have it,
    /// of all the archive. The shards are asked first, since they forget what the archive has.
    pub(super) async fn read(
        &mut self,
        source: &SourceDef,
        archive: &dyn Archive,
        store: &dyn StateProgress,
    ) -> PortResult<()> {
        let is_wanted = |record: &MarkRecord| {
            *record.partition.topic == *source.topic && matches!(record.fact, MarkFact::Bound(_))
        };
        let of_shards = recorded(store)?.into_iter();
        self.records.extend(of_shards.filter(is_wanted));
        let archived = match archive.progress(MARKS_TABLE).await {
            Ok(archived) if archived == self.read_to => return Ok(()),
            Ok(archived) => archived,
            // Nothing was ever decided.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let scan = Scan {
            from: self.read_to.clone(),
            ..Scan::default()
        };
        let mut rows = archive.scan(MARKS_TABLE, scan).await?;
        while let Some(rows) = rows.try_next().await? {
            let records = table::read(&rows)?.into_iter();
            self.records.extend(records.filter(is_wanted));
        }
        self.read_to = archived;
        Ok(())
    }
}
