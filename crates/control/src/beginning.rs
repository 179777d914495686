//! How monitors and the filter of repeats begin: from their checkpoints, and from what the archive
//! has beyond them. Read before ingest starts, near the order of event time. What was decided about
//! time is known before the first row, and takes effect where it did.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::ports::{
    Archive, Checkpoints, LogNotes, RowStream, Runtime, Scan, StateProgress,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::source::SourceDef;
use forebay_core::watermark::MarkRecord;
use forebay_core::{ErrorKind, PortResult};
use forebay_monitor::SourceRows;
use forebay_pipeline::repeats::Repeats;
use forebay_pipeline::runtime::block_on;
use forebay_pipeline::watermark::table::{self, MARKS_TABLE};
use forebay_pipeline::watermark::{recorded, show_recorded};
use forebay_pipeline::{PublishedWatermarks, settlements};
use futures::StreamExt;

use crate::archived_tables::ArchivedTables;
use crate::monitoring::Monitors;

/// What they begin from. Everything here blocks: not for async code.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// What was archived.
    pub archive: &'a dyn Archive,
    /// What the shards have recorded.
    pub store: &'a dyn StateProgress,
    /// What the state remembers of the log.
    pub notes: &'a dyn LogNotes,
    /// Where the filter of repeats was kept.
    pub checkpoints: &'a Arc<dyn Checkpoints>,
    /// All sources that are read.
    pub sources: &'a [Arc<SourceDef>],
    /// Names of those that carry predictions.
    pub prediction_sources: &'a HashSet<String>,
    /// Where watermarks are shown.
    pub marks: &'a Arc<PublishedWatermarks>,
    /// What to wait on.
    pub runtime: &'a dyn Runtime,
}

/// What is there when ingest starts.
#[derive(Debug)]
pub struct Begun {
    /// The filter of repeats.
    pub repeats: Repeats,
    /// The decisions about time that the archive has.
    pub archived_marks: Vec<MarkRecord>,
}

impl Beginning<'_> {
    /// Bring `monitors` and the filter of repeats as far as the archive is.
    ///
    /// # Errors
    /// The archive or the state cannot be read.
    pub fn catch_up(&self, monitors: &Monitors) -> PortResult<Begun> {
        let archived_marks = self.archived_marks()?;
        self.decide(monitors, &archived_marks)?;
        let mut repeats = Repeats::open(Arc::clone(self.checkpoints));
        let (mut tables, mut stands) = (Vec::new(), Vec::new());
        for source in self.sources {
            let progress = block_on(self.runtime, self.archive.progress(&source.name))?;
            if self.is_prediction(source) {
                repeats.note_archived(&progress);
            }
            if monitors.reads(&source.name) {
                monitors.expect(source, &self.partitions(source, &progress)?);
                let reached = progress.0.iter();
                stands.extend(reached.map(|(place, p)| (place.clone(), p.next_offset)));
            }
            if let Some(scan) = self.missing(source, &progress, monitors, &repeats) {
                let rows = block_on(self.runtime, self.archive.scan(&source.name, scan))?;
                tables.push((Arc::clone(source), blocking(self.runtime, rows)));
            }
        }
        self.settle_archived(monitors)?;
        // At equal times events go before their predictions.
        tables.sort_by_key(|(source, _)| self.is_prediction(source));
        let mut tables = ArchivedTables::new(tables)?;
        while let Some((source, rows)) = tables.next()? {
            if self.is_prediction(&source) {
                repeats.note(&rows)?;
            }
            if monitors.reads(&source.name) {
                monitors.catch_up(&SourceRows::archived(&source, rows)?);
            }
        }
        monitors.stand(&stands);
        monitors.caught_up();
        Ok(Begun {
            repeats,
            archived_marks,
        })
    }

    fn is_prediction(&self, source: &SourceDef) -> bool {
        self.prediction_sources.contains(&source.name)
    }

    /// Tell `monitors` what any shard or the archive has recorded, and which sources have a
    /// watermark by that.
    fn decide(&self, monitors: &Monitors, archived: &[MarkRecord]) -> PortResult<()> {
        let mut records: BTreeSet<MarkRecord> = archived.iter().cloned().collect();
        records.extend(recorded(self.store)?);
        let records: Vec<MarkRecord> = records.into_iter().collect();
        for source in self.sources {
            show_recorded(source, (self.store, self.notes), &records, self.marks)?;
        }
        monitors.decide(&records);
        monitors.open_gates(self.marks);
        Ok(())
    }

    /// The decisions about time that the archive has.
    fn archived_marks(&self) -> PortResult<Vec<MarkRecord>> {
        let rows = block_on(
            self.runtime,
            self.archive.scan(MARKS_TABLE, Scan::default()),
        )?;
        let mut records = Vec::new();
        for rows in blocking(self.runtime, rows) {
            records.extend(table::read(&rows?)?);
        }
        Ok(records)
    }

    /// The partitions of `source` that are known: its first rows may stand in any of them.
    fn partitions(&self, source: &SourceDef, archived: &Applied) -> PortResult<BTreeSet<i32>> {
        let noted = self.notes.topic_note(&source.topic)?;
        let noted = 0..noted.map_or(0, |note| note.partitions);
        let archived = archived.0.keys().map(|place| place.partition);
        Ok(noted.chain(archived).collect())
    }

    /// What the archive has of `source` beyond what all that read it have; None where that is
    /// nothing.
    fn missing(
        &self,
        source: &SourceDef,
        archived: &Applied,
        monitors: &Monitors,
        repeats: &Repeats,
    ) -> Option<Scan> {
        let known = |place: &TopicPartition| {
            let monitors = monitors.covered(source, place.partition);
            let repeats = self
                .is_prediction(source)
                .then(|| repeats.decided_to(place));
            monitors.into_iter().chain(repeats).min()
        };
        let mut scan = Scan::default().in_log_order();
        let mut is_behind = false;
        for (place, progress) in &archived.0 {
            let Some(next_offset) = known(place) else {
                continue;
            };
            is_behind |= next_offset < progress.next_offset;
            let from = PartitionProgress {
                next_offset,
                ..*progress
            };
            scan.from.advance(place, from);
        }
        is_behind.then_some(scan)
    }

    /// Events without a prediction, all of them: they are few, and said again change nothing.
    fn settle_archived(&self, monitors: &Monitors) -> PortResult<()> {
        let scan = self.archive.scan(SETTLEMENT_TABLE, Scan::default());
        let rows = match block_on(self.runtime, scan) {
            Ok(rows) => rows,
            // Nothing was ever settled.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for rows in blocking(self.runtime, rows) {
            monitors.settle(&settlements::read(&rows?)?);
        }
        Ok(())
    }
}

/// The batches of `rows`, one by one.
fn blocking(
    runtime: &dyn Runtime,
    mut rows: RowStream,
) -> impl Iterator<Item = PortResult<RecordBatch>> {
    std::iter::from_fn(move || block_on(runtime, rows.next()))
}
