//! Fills a new view from the archive, up to the offsets that each shard has applied: afterwards the
//! view's state is what it would be had it been there from the first event. Rows come as a stream
//! in log order of each partition, so that watermarks, and with them the too-late rule, are those
//! of the live path.
//!
//! # Beside ingest
//!
//! The long part runs while ingest goes on ([`Until::Shared`]): rows that *every* shard has applied
//! and the archive has. Ingest does not fold the view yet, and what a shard has applied only grows,
//! so such a row is folded by the fill and by nobody else. What came meanwhile is folded by the
//! next pass, and the rest while ingest stands ([`Until::Each`]): up to what *each* shard has
//! applied. From there on the view is folded like any other. A shard that a crash left behind the
//! archive gets the rows beyond its own offsets from the log, as ever.
//!
//! # Below the beginning of a state
//!
//! A new state beside an archive (its directory was moved away) begins where the log does by then,
//! and the archive has rows below that. No log brings those, so the fill folds them too: a row
//! below what a shard has applied is the fill's, whether the shard has read it or begins above it.
//! Where a state begins is known once its shards have a mark; before that
//! ([`not_begun`](crate::not_begun)) nothing may be filled.
//!
//! # After a crash
//!
//! Each shard notes how far the fill is in the write that folds the rows ([`FillNote`]), and
//! [`Filling::of`] reads the notes back: the fill goes on from there, in each shard from its own
//! place. A place is an offset *with the mark at it*, which decides what is too late behind it; so
//! a pass is cut where a shard ends ([`cuts`]), and every place is one up to which all rows were
//! seen.
//!
//! # Memory
//!
//! One batch of the columns that the view reads, cut to [`EPOCH_MAX_ROWS`], whatever the table's
//! size. The scan and what is made of a batch draw on the process's budget. Where that refuses, the
//! pass ends with `ResourceExhausted` after it has saved its position: the caller calls again. Each
//! is charged with half of what fills may hold, so that one alone goes on once others give back.

mod bounds;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::invariant;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::{
    Archive, CompiledView, FillNote, FillWrite, FillWriter, Origin, Scan, ShardFold, SourceBatch,
    StateProgress,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use forebay_core::time::Micros;
use forebay_core::view::ViewId;
use forebay_core::watermark::MarkRecord;
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::TryStreamExt;

use crate::admit::fold;
use crate::beginnings::check_whole;
use crate::error::PipelineError;
use crate::recovery::Plan;
use crate::step::cut;
use crate::watermark::Watermarks;
use bounds::Bounds;

/// Columns of the archive that place a row in its log.
pub(crate) const PLACE: [&str; 4] = [meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::KAFKA_TIME];

/// How far the fill of a view has got: what each shard has noted.
#[derive(Debug, Clone)]
pub struct Filling {
    view: ViewId,
    notes: Vec<FillNote>,
    bounds: Bounds,
}

impl Filling {
    /// As the shards of `store` have it. Nothing, where no fill of `view` was begun.
    ///
    /// # Errors
    /// The disk fails.
    pub fn of(store: &dyn FillWriter, view: ViewId) -> PortResult<Self> {
        let notes = (0..store.shards()).map(|shard| store.filled(shard, view));
        let notes = notes.map(|note| Ok(note?.unwrap_or_default()));
        Ok(Self {
            view,
            notes: notes.collect::<PortResult<_>>()?,
            bounds: Bounds::default(),
        })
    }

    /// Archived rows that were read for it; after a crash those that every shard has noted, which
    /// is exact but where a shard ends before the others.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let rows = self.notes.iter().map(|note| note.rows);
        rows.min().unwrap_or_default()
    }

    /// Offsets of `source` below `archived` that are not filled. Shards that no row has touched
    /// lately may not say yet that they have them, so a pass beside ingest may have to leave some.
    #[must_use]
    pub fn lacks(&self, source: &SourceDef, archived: &Applied) -> u64 {
        let of_source =
            |(place, _): &(&TopicPartition, &PartitionProgress)| *place.topic == *source.topic;
        let lacking = archived.0.iter().filter(of_source).map(|(place, end)| {
            let filled = self.notes.iter().map(|note| note.at.next_offset(place));
            (end.next_offset - filled.min().unwrap_or_default()).max(0)
        });
        lacking.map(i64::unsigned_abs).sum()
    }

    /// Whether it was begun, with rows of the topic of `source` in the table whose id is `table`,
    /// judged as the source says now, and with no others.
    #[must_use]
    pub fn is_from(&self, source: &SourceDef, table: &str) -> bool {
        let basis = basis(source, table);
        let of_source = |place: &TopicPartition| *place.topic == *source.topic;
        let is_from = |n: &FillNote| n.basis == basis && n.at.0.keys().all(of_source);
        let mut begun = self.notes.iter().filter(|n| !n.basis.is_empty()).peekable();
        begun.peek().is_some() && begun.all(is_from)
    }

    /// Whether any shard has noted something.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.notes.iter().any(|note| !note.basis.is_empty())
    }

    /// Where the next rows of each partition in `ends` begin: the least place, with its mark, of
    /// the shards that lack any. None where none does.
    fn start(&self, ends: &[Applied]) -> Option<Applied> {
        let mut start = Applied::default();
        for (note, ends) in self.notes.iter().zip(ends) {
            for (place, end) in &ends.0 {
                let own = note.at.0.get(place).copied().unwrap_or_default();
                if own.next_offset >= end.next_offset {
                    continue;
                }
                let least = start.0.entry(place.clone()).or_insert(own);
                if own.next_offset < least.next_offset {
                    *least = own;
                }
            }
        }
        if start.0.is_empty() {
            return None;
        }
        // Of the rest nothing is read.
        let mut rest = Applied::default();
        let all = ends.iter().flat_map(|ends| &ends.0);
        for (place, end) in all.filter(|(place, _)| !start.0.contains_key(*place)) {
            rest.advance(place, *end);
        }
        start.0.extend(rest.0);
        Some(start)
    }
}

/// What all rows of a fill must have in common: the table they come from, and the delay by which
/// they are too late.
fn basis(source: &SourceDef, table: &str) -> String {
    format!("{table} {}", source.watermark_delay_us)
}

/// Up to where one pass of a fill goes.
#[derive(Debug, Clone, Copy)]
pub enum Until<'a> {
    /// What every shard has applied, of what the archive has up to here. Ingest may run.
    Shared(&'a Applied),
    /// What each shard has applied. Ingest stands, and the archive is behind no shard.
    Each,
}

/// Fold the archived rows of `source` (the table of its name in `archive`) into `view`, from where
/// `filling` stands, and move it on. `progress` is told the rows done in this pass. Returns their
/// number.
///
/// # Errors
/// The table lacks what the state had applied, is another than before or cannot be read, a column
/// is missing, the view refuses a row (it is named), there is no memory now (`ResourceExhausted`),
/// or the store fails; the view's state is then incomplete, and as far as `filling` says.
pub async fn backfill(
    view: &dyn CompiledView,
    source: &Arc<SourceDef>,
    (archive, store, memory): (&dyn Archive, &dyn FillWriter, &Arc<Budget>),
    (filling, until): (&mut Filling, Until<'_>),
    mut progress: impl FnMut(usize) + Send,
) -> Result<usize, PipelineError> {
    let table = archive.snapshot(&source.name).await?;
    check_whole(source, &table.beginnings)?;
    if filling.is_begun() && !filling.is_from(source, &table.id) {
        return Err(another_table(source).into());
    }
    // What shards have applied is read before what bounds it, so that no row lacks its bound.
    let (basis, ends) = (basis(source, &table.id), ends(source, store, until));
    filling.bounds.read(source, archive, store).await?;
    let bounds: Vec<MarkRecord> = filling.bounds.records.iter().cloned().collect();
    let mut done = 0;
    for cut in cuts(&ends) {
        let ends = ends.iter().map(|end| below(end, &cut)).collect();
        let known = (basis.as_str(), bounds.as_slice());
        let Some(mut fill) = Fill::new((view, source, store), known, filling, ends, memory) else {
            continue;
        };
        let mut rows = archive.scan(&source.name, fill.scan(cut, memory)).await?;
        while let Some(batch) = rows.try_next().await? {
            for from in (0..batch.num_rows()).step_by(EPOCH_MAX_ROWS) {
                let rows = EPOCH_MAX_ROWS.min(batch.num_rows() - from);
                fill.fold(&batch.slice(from, rows), filling)?;
                done += rows;
                progress(done);
            }
        }
        fill.end(filling)?;
    }
    if matches!(until, Until::Each) {
        // What was folded is in no log that a restart after a power cut would read again.
        store.sync()?;
    }
    Ok(done)
}

fn another_table(source: &SourceDef) -> PortError {
    let words = format!(
        "the archive's table of source {} was replaced while a view was filled from it; apply again",
        source.name
    );
    PortError::new(ErrorKind::FailedPrecondition, words)
}

/// The marks at `start`, with what bounds the rows behind it.
fn marks_at(start: &Applied, bounds: &[MarkRecord]) -> Watermarks {
    let mut plan = Plan::default();
    for (place, progress) in &start.0 {
        plan.starts.insert(place.clone(), progress.next_offset);
        plan.recorded.insert(place.clone(), vec![*progress]);
    }
    Watermarks::recovered(&plan, bounds, start, Arc::default())
}

/// Up to where each shard is filled, by partition of `source`.
fn ends(source: &SourceDef, store: &dyn StateProgress, until: Until<'_>) -> Vec<Applied> {
    let shards: Vec<_> = (0..store.shards()).map(|s| store.applied(s)).collect();
    let of_source = |place: &&TopicPartition| *place.topic == *source.topic;
    let Until::Shared(archived) = until else {
        let own = |applied: &Arc<Applied>| {
            let places = applied.0.keys().filter(of_source);
            let ends = places.map(|place| (place.clone(), at(applied.next_offset(place), None)));
            Applied(ends.collect())
        };
        return shards.iter().map(own).collect();
    };
    let mut shared = Applied::default();
    for place in archived.0.keys().filter(of_source) {
        let applied = shards.iter().map(|shard| shard.next_offset(place)).min();
        let next_offset = applied.map_or(0, |applied| applied.min(archived.next_offset(place)));
        shared.advance(place, at(next_offset, None));
    }
    vec![shared; shards.len()]
}

/// Where a pass up to `ends` is cut, in order: at each shard's end. Mostly all of them are one.
fn cuts(ends: &[Applied]) -> Vec<Applied> {
    let mut by_place: BTreeMap<&TopicPartition, BTreeSet<i64>> = BTreeMap::new();
    for (place, end) in ends.iter().flat_map(|ends| &ends.0) {
        by_place.entry(place).or_default().insert(end.next_offset);
    }
    let count = by_place.values().map(BTreeSet::len).max().unwrap_or(0);
    let cut = |number: usize| {
        let places = by_place.iter().filter_map(|(place, ends)| {
            let end = ends.iter().nth(number).or_else(|| ends.last())?;
            Some(((*place).clone(), at(*end, None)))
        });
        Applied(places.collect())
    };
    let cuts: Vec<Applied> = (0..count).map(cut).collect();
    let last = cuts.last();
    let mut all = ends.iter().flat_map(|ends| &ends.0);
    invariant!(
        CutsReachEnds,
        all.all(|(place, end)| last.is_some_and(|cut| cut.next_offset(place) >= end.next_offset)),
        "{count} cuts of {} shards",
        ends.len()
    );
    cuts
}

/// `ends`, as far as they lie below `cut`.
fn below(ends: &Applied, cut: &Applied) -> Applied {
    let ends = ends.0.iter().map(|(place, end)| {
        let next_offset = end.next_offset.min(cut.next_offset(place));
        (place.clone(), at(next_offset, None))
    });
    Applied(ends.collect())
}

fn at(next_offset: i64, max_event_time_us: Option<Micros>) -> PartitionProgress {
    PartitionProgress {
        next_offset,
        max_event_time_us,
        last: None,
    }
}

/// A part of one pass, up to a cut.
struct Fill<'a> {
    view: &'a dyn CompiledView,
    source: &'a Arc<SourceDef>,
    store: &'a dyn FillWriter,
    /// See [`basis`].
    basis: &'a str,
    /// Where it begins.
    start: Applied,
    /// Up to where it goes in each shard: to the cut, or the shard had got to its end before.
    ends: Vec<Applied>,
    watermarks: Watermarks,
    /// The source's columns, all nullable: those that the view does not read are NULL.
    schema: SchemaRef,
    /// What is made of a batch, beside the batch that the scan holds.
    memory: Reservation,
}

impl<'a> Fill<'a> {
    /// None where nothing is left to be done.
    fn new(
        (view, source, store): (&'a dyn CompiledView, &'a Arc<SourceDef>, &'a dyn FillWriter),
        (basis, bounds): (&'a str, &[MarkRecord]),
        filling: &Filling,
        ends: Vec<Applied>,
        memory: &Arc<Budget>,
    ) -> Option<Self> {
        let start = filling.start(&ends)?;
        Some(Self {
            view,
            source,
            store,
            basis,
            ends,
            watermarks: marks_at(&start, bounds),
            start,
            schema: nullable_schema(source),
            memory: memory.empty(Part::Fills),
        })
    }

    /// What the view reads of its rows, in the order of the log.
    fn scan(&self, cut: Applied, memory: &Arc<Budget>) -> Scan {
        let own = self.view.reads().iter();
        let own = own.map(|index| self.source.columns[*index].name.as_str());
        let scan = Scan::columns(own.chain(PLACE)).in_log_order();
        Scan {
            from: self.start.clone(),
            ..scan.below(cut).drawing(memory, Part::Fills)
        }
    }

    fn fold(&mut self, rows: &RecordBatch, filling: &mut Filling) -> Result<(), PipelineError> {
        let folded = self.memory.hold(rows.get_array_memory_size());
        folded.map_err(PortError::from)?;
        let mut batch = self.batch(rows)?;
        invariant!(
            RowsInLogOrder,
            batch.origin.is_in_log_order(),
            "the archive of source {}",
            self.source.name
        );
        batch.origin.watermark_us = self.watermarks.pass(&batch);
        let mut by_shard = vec![Vec::new(); self.ends.len()];
        let origin = Arc::new(batch.origin.clone());
        let piece = fold(self.view, &batch.rows)?;
        cut(self.view.spec().id, &piece, &origin, by_shard.iter_mut());
        let rows = filling.rows() + rows.num_rows() as u64;
        let reached = self.behind(&origin);
        self.check_range(&origin, &reached);
        for (shard, mut folds) in (0..self.store.shards()).zip(by_shard) {
            let number = usize::from(shard);
            let (note, end) = (&filling.notes[number], &self.ends[number]);
            let lacks = |fold: &mut ShardFold| keep_lacking(fold, &note.at, end);
            folds.iter_mut().for_each(lacks);
            folds.retain(|fold| !fold.rows.is_empty());
            self.commit(shard, folds, (&reached, rows), filling)?;
        }
        Ok(())
    }

    /// What holds of the rows of a scan: none lies below its start, none at or beyond its cut.
    fn check_range(&self, origin: &Origin, reached: &Applied) {
        let starts: Vec<i64> = origin
            .partitions
            .iter()
            .map(|place| self.start.next_offset(place))
            .collect();
        let mut places = origin.partition.iter().zip(&origin.offset);
        invariant!(
            ScanInRange,
            places.all(|(slot, offset)| *offset >= starts[*slot as usize]),
            "source {}: a row below {starts:?}",
            self.source.name
        );
        let is_below = |(place, at): (&TopicPartition, &PartitionProgress)| {
            let ends = self.ends.iter().map(|end| end.next_offset(place));
            ends.max().is_some_and(|end| at.next_offset <= end)
        };
        invariant!(
            ScanInRange,
            reached.0.iter().all(is_below),
            "source {}: rows up to {reached:?}",
            self.source.name
        );
    }

    /// The places behind the rows of a batch.
    fn behind(&self, origin: &Origin) -> Applied {
        let mut next: Vec<i64> = vec![0; origin.partitions.len()];
        for (partition, offset) in origin.partition.iter().zip(&origin.offset) {
            let next = &mut next[*partition as usize];
            *next = (*next).max(offset + 1);
        }
        let places = origin.partitions.iter().zip(next);
        let places = places.map(|(place, next)| (place.clone(), self.place(place, next)));
        Applied(places.collect())
    }

    /// `next_offset` of a partition whose rows below were all seen.
    fn place(&self, place: &TopicPartition, next_offset: i64) -> PartitionProgress {
        let mark_us = self.watermarks.progress(place).max_event_time_us;
        at(next_offset, mark_us)
    }

    /// The cut is reached: note that where the last rows have not said it.
    fn end(&self, filling: &mut Filling) -> Result<(), PipelineError> {
        let rows = filling.rows();
        for (shard, ends) in (0..self.store.shards()).zip(&self.ends) {
            let places = ends.0.iter();
            let places = places.map(|(p, end)| (p.clone(), self.place(p, end.next_offset)));
            let reached = Applied(places.collect());
            self.commit(shard, Vec::new(), (&reached, rows), filling)?;
            let filled = &filling.notes[usize::from(shard)].at;
            let mut places = ends.0.iter();
            invariant!(
                FillReachesItsEnd,
                places.all(|(place, end)| filled.next_offset(place) >= end.next_offset),
                "shard {shard} of view {}: {filled:?}, and the end is {ends:?}",
                filling.view
            );
        }
        Ok(())
    }

    /// Commit `folds` with the note that the fill has `reached` those places; nothing where the
    /// shard was there before.
    fn commit(
        &self,
        shard: u16,
        folds: Vec<ShardFold>,
        (reached, rows): (&Applied, u64),
        filling: &mut Filling,
    ) -> Result<(), PipelineError> {
        let known = &mut filling.notes[usize::from(shard)];
        let mut note = FillNote {
            basis: self.basis.to_owned(),
            rows,
            at: known.at.clone(),
        };
        let ends = &self.ends[usize::from(shard)];
        for (place, progress) in &reached.0 {
            // A shard that ends below has got there before, with the mark that was there.
            let (from, end) = (known.at.next_offset(place), ends.next_offset(place));
            if from < progress.next_offset && progress.next_offset <= end {
                note.at.advance(place, *progress);
            }
        }
        let is_known = note.at == known.at && note.rows == known.rows;
        if is_known && folds.is_empty() {
            return Ok(());
        }
        let write = FillWrite {
            view: filling.view,
            folds,
            note,
        };
        self.store.fill(shard, &write)?;
        *known = write.note;
        Ok(())
    }

    /// Archived rows as the reader would have handed them over.
    fn batch(&self, rows: &RecordBatch) -> Result<SourceBatch, PipelineError> {
        let origin = origin_of(rows)?;
        invariant!(
            OriginColumnsAgree,
            origin.offset.len() == rows.num_rows() && origin.partition.len() == rows.num_rows(),
            "source {}: {} offsets for {} rows",
            self.source.name,
            origin.offset.len(),
            rows.num_rows()
        );
        Ok(SourceBatch {
            source: Arc::clone(self.source),
            rows: source_rows(self.view, self.source, &self.schema, rows)?,
            origin,
            dead_letters: Vec::new(),
            read_up_to: Vec::new(),
            last_records: Vec::new(),
        })
    }
}

/// The columns of `source`, all nullable.
pub(crate) fn nullable_schema(source: &SourceDef) -> SchemaRef {
    let columns = source.columns.iter();
    let fields = columns.map(|c| Field::new(&c.name, c.data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Archived `rows` in the columns `schema` of `source`; those that `view` does not read are NULL.
pub(crate) fn source_rows(
    view: &dyn CompiledView,
    source: &SourceDef,
    schema: &SchemaRef,
    rows: &RecordBatch,
) -> Result<RecordBatch, PipelineError> {
    let columns = source.columns.iter().enumerate().map(|(index, c)| {
        if view.reads().contains(&index) {
            column(rows, &c.name).map(Arc::clone)
        } else {
            Ok(new_null_array(&c.data_type, rows.num_rows()))
        }
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, PipelineError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// Leave out what the shard has by the fill, and what it has not applied, and will, from the log.
fn keep_lacking(fold: &mut ShardFold, filled: &Applied, end: &Applied) {
    let places = fold.origin.partitions.iter();
    let lacking = places.map(|p| filled.next_offset(p)..end.next_offset(p));
    let lacking: Vec<Range<i64>> = lacking.collect();
    let (batch, origin) = (Arc::clone(&fold.batch), Arc::clone(&fold.origin));
    fold.rows.retain(|row| {
        let source = batch.source_rows[*row as usize] as usize;
        lacking[origin.partition[source] as usize].contains(&origin.offset[source])
    });
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, PipelineError> {
    let found = rows.column_by_name(name);
    Ok(found.ok_or_else(|| {
        PortError::internal(format!(
            "the archive has no column '{name}'; was it written by Forebay?"
        ))
    })?)
}

/// Where archived rows stood in their log.
pub(crate) fn origin_of(rows: &RecordBatch) -> Result<Origin, PipelineError> {
    let wrong =
        |name: &str| PortError::internal(format!("the archive's column '{name}' has another type"));
    let topics = column(rows, meta::TOPIC)?
        .as_string_opt::<i32>()
        .ok_or_else(|| wrong(meta::TOPIC))?;
    let partitions = column(rows, meta::PARTITION)?
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(|| wrong(meta::PARTITION))?;
    let offsets = column(rows, meta::OFFSET)?
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(|| wrong(meta::OFFSET))?;
    let kafka_times = column(rows, meta::KAFKA_TIME)?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| wrong(meta::KAFKA_TIME))?;
    let mut origin = Origin {
        offset: offsets.values().to_vec(),
        kafka_time_us: kafka_times.iter().collect(),
        ..Origin::default()
    };
    for row in 0..rows.num_rows() {
        let (topic, partition) = (topics.value(row), partitions.value(row));
        let is_here = |p: &TopicPartition| p.partition == partition && *p.topic == *topic;
        let known = origin.partitions.iter().position(is_here);
        let index = known.unwrap_or_else(|| {
            origin
                .partitions
                .push(TopicPartition::new(topic, partition));
            origin.partitions.len() - 1
        });
        let index = u32::try_from(index).expect("a batch has fewer rows than u32 counts");
        origin.partition.push(index);
    }
    Ok(origin)
}
