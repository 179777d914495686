//! How monitors and the filter of repeats begin: from their checkpoints, and from what the archive
//! has beyond them. Read before ingest starts, near the order of event time. What was decided about
//! time is known before the first row, and takes effect where it did.
//!
//! Ingest stands meanwhile, so a start reads what came since the checkpoints and not the history:
//! of each table the rows behind those that every reader of it knows, a batch at a time. What a
//! reader without a checkpoint needs is all of it.
//!
//! A table that does not answer or is damaged is named ([`BeginError::Table`]): the caller may
//! begin without its source and without the monitors that read it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use forebay_core::ports::{
    Archive, Checkpoints, LogNotes, RowStream, Runtime, Scan, StateProgress,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::source::SourceDef;
use forebay_core::watermark::{Hold, MarkFact, MarkRecord};
use forebay_core::{ErrorKind, PortError, PortResult, invariant};
use forebay_monitor::SourceRows;
use forebay_pipeline::repeats::Repeats;
use forebay_pipeline::runtime::block_on;
use forebay_pipeline::watermark::table::MARKS_TABLE;
use forebay_pipeline::watermark::{ArchivedMarks, recorded, show_recorded};
use forebay_pipeline::{PublishedWatermarks, settlements};
use futures::StreamExt;
use futures::future::{Either, select};

use crate::archived_tables::ArchivedTables;
use crate::begin_error::BeginError;
use crate::monitoring::Monitors;

/// How long a table may take for an answer, or for its next batch.
const ANSWER_MAX: Duration = Duration::from_secs(30);

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
    /// All sources that are defined.
    pub sources: &'a [Arc<SourceDef>],
    /// Names of those that are not read, since their tables cannot be used, each with the reason.
    /// No monitor needs them.
    pub unusable: &'a BTreeMap<String, String>,
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
    /// Those of the decisions about time which the archive has that a shard may lack.
    pub marks: Vec<MarkRecord>,
    /// What the archive has of them all.
    pub archived_marks: Arc<ArchivedMarks>,
    /// Archived rows of sources that were read: those that no checkpoint covers.
    pub rows: u64,
}

impl Beginning<'_> {
    /// Bring `monitors` and the filter of repeats as far as the archive is.
    ///
    /// # Errors
    /// The archive or the state cannot be read.
    pub fn catch_up(&self, monitors: &Monitors) -> Result<Begun, BeginError> {
        let archived = self.archived()?;
        let (archived_marks, marks) = self.decisions(monitors, &archived)?;
        self.decide(monitors, &marks)?;
        let mut repeats = Repeats::open(Arc::clone(self.checkpoints));
        let (mut tables, mut stands) = (Vec::new(), Vec::new());
        for (source, progress) in self.usable().zip(&archived) {
            if self.is_prediction(source) {
                repeats.note_archived(progress);
            }
            if monitors.reads(&source.name) {
                monitors.expect(source, &self.partitions(source, progress)?);
                let reached = progress.0.iter();
                stands.extend(reached.map(|(place, p)| (place.clone(), p.next_offset)));
            }
            if let Some(scan) = self.missing(source, progress, monitors, &repeats) {
                let rows = self.scan(&source.name, scan)?;
                tables.push((Arc::clone(source), rows));
            }
        }
        self.settle_archived(monitors, &mut repeats)?;
        // At equal times events go before their predictions.
        tables.sort_by_key(|(source, _)| self.is_prediction(source));
        let mut tables = ArchivedTables::new(tables)?;
        let mut read = 0;
        while let Some((source, rows)) = tables.next()? {
            read += rows.num_rows() as u64;
            if self.is_prediction(&source) {
                repeats.note(&rows).map_err(PortError::from)?;
            }
            if monitors.reads(&source.name) {
                let rows = SourceRows::archived(&source, rows).map_err(PortError::from)?;
                monitors.catch_up(&rows);
            }
        }
        monitors.stand(&stands);
        monitors.caught_up();
        Ok(Begun {
            repeats,
            marks,
            archived_marks,
            rows: read,
        })
    }

    /// The sources whose tables can be used.
    fn usable(&self) -> impl Iterator<Item = &Arc<SourceDef>> {
        let is_usable = |source: &&Arc<SourceDef>| !self.unusable.contains_key(&source.name);
        self.sources.iter().filter(is_usable)
    }

    /// What the archive has of each of these.
    fn archived(&self) -> Result<Vec<Applied>, BeginError> {
        let progress = |source: &Arc<SourceDef>| self.progress(&source.name);
        self.usable().map(progress).collect()
    }

    fn progress(&self, table: &str) -> Result<Applied, BeginError> {
        self.ask(table, self.archive.progress(table))
    }

    /// The batches of a scan, one by one.
    fn scan(
        &self,
        table: &str,
        scan: Scan,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, BeginError>>, BeginError> {
        let mut rows: RowStream = self.ask(table, self.archive.scan(table, scan))?;
        let table = table.to_owned();
        let next = move || {
            let next = async { rows.next().await.transpose() };
            self.ask(&table, next).transpose()
        };
        Ok(std::iter::from_fn(next))
    }

    /// What `table` answers, unless it takes too long.
    fn ask<T>(
        &self,
        table: &str,
        work: impl Future<Output = PortResult<T>>,
    ) -> Result<T, BeginError> {
        let work = pin!(work);
        let limited = select(work, self.runtime.sleep(ANSWER_MAX));
        let outcome = match block_on(self.runtime, limited) {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => {
                let words = format!("it has not answered for {ANSWER_MAX:?}");
                Err(PortError::new(ErrorKind::DeadlineExceeded, words))
            }
        };
        outcome.map_err(|source| BeginError::Table {
            table: table.to_owned(),
            source,
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

    /// What the archive has of decisions about time: `monitors` get those that they do not know,
    /// and those come back that a shard may lack. `archived` is what the archive has of the
    /// sources.
    fn decisions(
        &self,
        monitors: &Monitors,
        archived: &[Applied],
    ) -> Result<(Arc<ArchivedMarks>, Vec<MarkRecord>), BeginError> {
        let shards: Vec<_> = (0..self.store.shards())
            .map(|s| self.store.applied(s))
            .collect();
        // Below this offset nothing is read again.
        let applied = |place: &TopicPartition| {
            let of_shards = shards.iter().map(|shard| shard.next_offset(place));
            let of_archive = archived.iter().filter_map(|a| a.0.get(place));
            let of_archive = of_archive.map(|progress| progress.next_offset);
            of_shards.chain(of_archive).min().unwrap_or(0)
        };
        let archived = self.progress(MARKS_TABLE)?;
        let known = ArchivedMarks::open(Arc::clone(self.checkpoints), &archived);
        let of_shards = known.unread(applied);
        let known_to = |place: &TopicPartition| {
            let of_monitors = monitors.decided_to(place);
            let of_shards = of_shards.next_offset(place);
            of_monitors.map_or(of_shards, |known| known.min(of_shards))
        };
        let mut needed = Needed::default();
        if let Some(scan) = behind(&archived, known_to) {
            for rows in self.scan(MARKS_TABLE, scan)? {
                let records = known.note(&rows?)?;
                monitors.decide(&records);
                needed.add(records, applied);
            }
        }
        let (rows, of_table) = (known.rows(), &archived.0);
        invariant!(
            BeganWhereArchived,
            of_table
                .iter()
                .all(|(place, p)| rows.next_offset(place) >= p.next_offset),
            "{rows:?} of {archived:?} decisions about time are known"
        );
        needed.add(known.holds(), applied);
        let known = Arc::new(known);
        monitors.count_decisions(&known);
        Ok((known, needed.into_records()))
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

    /// Events without a prediction that a monitor or the filter of repeats does not know of.
    fn settle_archived(
        &self,
        monitors: &Monitors,
        repeats: &mut Repeats,
    ) -> Result<(), BeginError> {
        let archived = match self.progress(SETTLEMENT_TABLE) {
            Ok(archived) => archived,
            // Nothing was ever settled.
            Err(BeginError::Table { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let known_to = |place: &TopicPartition| {
            let of_repeats = repeats.noted_to(place);
            let of_monitors = monitors.noted_to(place);
            of_monitors.map_or(of_repeats, |known| known.min(of_repeats))
        };
        let Some(scan) = behind(&archived, known_to) else {
            return Ok(());
        };
        // The notes of a shard in their order, so that the last one says how many are known.
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for rows in self.scan(SETTLEMENT_TABLE, scan.in_log_order())? {
            let settled = settlements::read(&rows?)?;
            for (place, number) in settled.iter().map(|settled| &settled.note) {
                let before = last.insert(place.partition, *number);
                invariant!(
                    NotesAscend,
                    before.is_none_or(|before| before < *number),
                    "{place:?}: {before:?} to {number}"
                );
            }
            monitors.settle(&settled);
            repeats.settle(&settled);
        }
        Ok(())
    }
}

/// The rows of a table with `archived` rows of each place that lie behind those that are known;
/// None where there are none. Of a place of which more is known than the table has another table
/// was read: all of this one is new.
fn behind(archived: &Applied, known_to: impl Fn(&TopicPartition) -> i64) -> Option<Scan> {
    let mut scan = Scan::default();
    let mut is_behind = false;
    for (place, progress) in &archived.0 {
        let known = known_to(place);
        let next_offset = if known > progress.next_offset {
            0
        } else {
            known
        };
        is_behind |= next_offset < progress.next_offset;
        let from = PartitionProgress {
            next_offset,
            ..PartitionProgress::default()
        };
        scan.from.advance(place, from);
    }
    is_behind.then_some(scan)
}

/// What ingest needs of the decisions about time that the archive has: those about records that a
/// shard has not applied, and where each partition was held last.
#[derive(Debug, Default)]
struct Needed {
    ahead: BTreeSet<MarkRecord>,
    held: BTreeMap<TopicPartition, Hold>,
}

impl Needed {
    fn add(&mut self, records: Vec<MarkRecord>, applied: impl Fn(&TopicPartition) -> i64) {
        for record in records {
            let applied = applied(&record.partition);
            match record.fact {
                MarkFact::Bound(bound) if bound.until <= applied => {}
                MarkFact::Hold(hold) if hold.at <= applied => {
                    let last = self.held.entry(record.partition).or_insert(hold);
                    if (hold.at, hold.mark_us) > (last.at, last.mark_us) {
                        *last = hold;
                    }
                }
                _ => {
                    self.ahead.insert(record);
                }
            }
        }
    }

    fn into_records(self) -> Vec<MarkRecord> {
        let held = self.held.into_iter().map(|(partition, hold)| MarkRecord {
            partition,
            fact: MarkFact::Hold(hold),
        });
        self.ahead.into_iter().chain(held).collect()
    }
}
