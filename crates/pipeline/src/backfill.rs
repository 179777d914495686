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
//! Memory: one batch of the columns that the view reads, cut to [`EPOCH_MAX_ROWS`], whatever the
//! size of the table.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::PortError;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::ports::{
    Archive, CompiledView, OnlineStore, Origin, Scan, ShardFold, ShardWrite, SourceBatch,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use forebay_core::time::Micros;
use futures::TryStreamExt;

use crate::admit::fold_whole;
use crate::beginnings::check_whole;
use crate::error::PipelineError;
use crate::recovery::Plan;
use crate::step::cut;
use crate::watermark::{Watermarks, recorded};

/// Columns of the archive that place a row in its log.
const PLACE: [&str; 4] = [meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::KAFKA_TIME];

/// How far a fill has got.
#[derive(Debug, Clone, Default)]
pub struct Filling {
    /// Of each partition the next offset, and the mark there.
    at: Applied,
    /// Rows that its passes have read.
    rows: u64,
}

impl Filling {
    /// Archived rows that its passes have read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
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
/// The table lacks what the state had applied or cannot be read, a column is missing, the view
/// refuses a row (it is named), or the store fails; the view's state is then incomplete and must be
/// dropped.
pub async fn backfill(
    view: &dyn CompiledView,
    source: &Arc<SourceDef>,
    (archive, store): (&dyn Archive, &dyn OnlineStore),
    (filling, until): (&mut Filling, Until<'_>),
    mut progress: impl FnMut(usize) + Send,
) -> Result<usize, PipelineError> {
    check_whole(source, &archive.snapshot(&source.name).await?.beginnings)?;
    let mut fill = Fill::new(view, source, store, filling, until)?;
    let mut rows = archive.scan(&source.name, fill.scan(filling)).await?;
    let mut done = 0;
    while let Some(batch) = rows.try_next().await? {
        for from in (0..batch.num_rows()).step_by(EPOCH_MAX_ROWS) {
            let rows = EPOCH_MAX_ROWS.min(batch.num_rows() - from);
            fill.fold(&batch.slice(from, rows))?;
            done += rows;
            progress(done);
        }
    }
    fill.moved(filling);
    filling.rows += done as u64;
    if matches!(until, Until::Each) {
        // What was folded is in no log that a restart after a power cut would read again.
        store.sync()?;
    }
    Ok(done)
}

/// The marks at the place where `filling` stands, with all that is recorded by now.
fn marks_at(filling: &Filling, store: &dyn OnlineStore) -> Result<Watermarks, PipelineError> {
    let mut plan = Plan::default();
    for (place, progress) in &filling.at.0 {
        plan.starts.insert(place.clone(), progress.next_offset);
        plan.recorded.insert(place.clone(), vec![*progress]);
    }
    let records = recorded(store)?;
    Ok(Watermarks::recovered(
        &plan,
        &records,
        &filling.at,
        Arc::default(),
    ))
}

/// Of each partition of `source` in `archived` the rows that every one of `shards` has applied.
fn shared(source: &SourceDef, archived: &Applied, shards: &[Arc<Applied>]) -> Applied {
    let mut shared = Applied::default();
    let of_source = archived
        .0
        .iter()
        .filter(|(place, _)| *place.topic == *source.topic);
    for (place, progress) in of_source {
        let applied = shards.iter().map(|shard| shard.next_offset(place)).min();
        let next_offset = applied.map_or(0, |applied| applied.min(progress.next_offset));
        shared.advance(place, at(next_offset, None));
    }
    shared
}

fn at(next_offset: i64, max_event_time_us: Option<Micros>) -> PartitionProgress {
    PartitionProgress {
        next_offset,
        max_event_time_us,
        last: None,
    }
}

/// One fill under way.
struct Fill<'a> {
    view: &'a dyn CompiledView,
    source: &'a Arc<SourceDef>,
    store: &'a dyn OnlineStore,
    /// What each shard has applied, and this pass folds into it.
    applied: Vec<Arc<Applied>>,
    watermarks: Watermarks,
    /// The source's columns, all nullable: those that the view does not read are NULL.
    schema: SchemaRef,
}

impl<'a> Fill<'a> {
    fn new(
        view: &'a dyn CompiledView,
        source: &'a Arc<SourceDef>,
        store: &'a dyn OnlineStore,
        filling: &Filling,
        until: Until<'_>,
    ) -> Result<Self, PipelineError> {
        // What shards have applied is read before what is recorded, so that no row lacks its bound.
        let mut applied: Vec<_> = (0..store.shards())
            .map(|shard| store.applied(shard))
            .collect();
        if let Until::Shared(archived) = until {
            let shared = Arc::new(shared(source, archived, &applied));
            applied = vec![shared; applied.len()];
        }
        let fields = source
            .columns
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), true));
        Ok(Self {
            view,
            source,
            store,
            applied,
            watermarks: marks_at(filling, store)?,
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        })
    }

    /// The furthest that this pass goes, by partition.
    fn reached(&self) -> Applied {
        let mut reached = Applied::default();
        for applied in &self.applied {
            for (partition, progress) in &applied.0 {
                reached.advance(partition, *progress);
            }
        }
        reached
    }

    /// What the view reads of the rows of this pass, in the order of the log.
    fn scan(&self, filling: &Filling) -> Scan {
        let own = self.view.reads().iter();
        let own = own.map(|index| self.source.columns[*index].name.as_str());
        let scan = Scan::columns(own.chain(PLACE)).in_log_order();
        Scan {
            from: filling.at.clone(),
            ..scan.below(self.reached())
        }
    }

    /// The pass is over.
    fn moved(&self, filling: &mut Filling) {
        let of_source = |place: &&TopicPartition| *place.topic == *self.source.topic;
        for place in self.reached().0.keys().filter(of_source) {
            let next_offset = self.reached().next_offset(place);
            let mark_us = self.watermarks.progress(place).max_event_time_us;
            filling.at.advance(place, at(next_offset, mark_us));
        }
    }

    fn fold(&mut self, rows: &RecordBatch) -> Result<(), PipelineError> {
        let mut batch = self.batch(rows)?;
        batch.origin.watermark_us = self.watermarks.pass(&batch);
        let mut writes: Vec<ShardWrite> = (0..self.store.shards())
            .map(|_| ShardWrite {
                backfill: true,
                ..ShardWrite::default()
            })
            .collect();
        let origin = Arc::new(batch.origin.clone());
        for piece in
            fold_whole(self.view, &batch.rows)?.map_err(|(row, why)| refused(&origin, row, why))?
        {
            cut(self.view.spec().id, &piece, &origin, &mut writes);
        }
        for (shard, mut write) in (0..self.store.shards()).zip(writes) {
            write
                .folds
                .iter_mut()
                .for_each(|fold| keep_applied(fold, &self.applied[usize::from(shard)]));
            write.folds.retain(|fold| !fold.rows.is_empty());
            if !write.folds.is_empty() {
                self.store.commit(shard, &write)?;
            }
        }
        Ok(())
    }

    /// Archived rows as the reader would have handed them over.
    fn batch(&self, rows: &RecordBatch) -> Result<SourceBatch, PipelineError> {
        let columns = self.source.columns.iter().enumerate().map(|(index, c)| {
            if self.view.reads().contains(&index) {
                column(rows, &c.name).map(Arc::clone)
            } else {
                Ok(new_null_array(&c.data_type, rows.num_rows()))
            }
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, PipelineError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(SourceBatch {
            source: Arc::clone(self.source),
            rows: RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?,
            origin: origin_of(rows)?,
            dead_letters: Vec::new(),
            read_up_to: Vec::new(),
            last_records: Vec::new(),
        })
    }
}

/// Leave out what the shard has not applied: it will read that from the log.
fn keep_applied(fold: &mut ShardFold, applied: &Applied) {
    let ends: Vec<i64> = fold
        .origin
        .partitions
        .iter()
        .map(|p| applied.next_offset(p))
        .collect();
    let (batch, origin) = (Arc::clone(&fold.batch), Arc::clone(&fold.origin));
    fold.rows.retain(|row| {
        let source = batch.source_rows[*row as usize] as usize;
        origin.offset[source] < ends[origin.partition[source] as usize]
    });
}

fn refused(origin: &Origin, row: usize, why: String) -> PipelineError {
    let place = &origin.partitions[origin.partition[row] as usize];
    PipelineError::Backfill {
        topic: place.topic.to_string(),
        partition: place.partition,
        offset: origin.offset[row],
        why,
    }
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
fn origin_of(rows: &RecordBatch) -> Result<Origin, PipelineError> {
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
