//! Fills a new view from the archive, up to the offsets that each shard has applied, while ingest
//! is stopped: afterwards the view's state is what it would be had it been there from the first
//! event. Rows come as a stream in log order of each partition, so that watermarks, and with them the
//! too-late rule, are those of the live path.
//!
//! Memory: one batch of the columns that the view reads, cut to [`EPOCH_MAX_ROWS`], whatever the size
//! of the table. A shard that a crash left behind the archive gets the rows beyond its own offsets
//! from the log, as ever. The archive must not be behind a shard: whoever calls has waited for it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::PortError;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::ports::{
    CompiledView, OnlineStore, Origin, Scan, ShardFold, ShardWrite, SourceBatch, TableScan,
};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::{SourceDef, meta};
use futures::TryStreamExt;

use crate::admit::fold_whole;
use crate::error::PipelineError;
use crate::step::cut;
use crate::watermark::{Watermarks, recorded};

/// Columns of the archive that place a row in its log.
const PLACE: [&str; 4] = [meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::KAFKA_TIME];

/// Fold the archived rows of `source` (the table of its name in `tables`) into `view`. `progress` is
/// told the rows done so far. Returns the number of rows read.
///
/// # Errors
/// The table cannot be read, a column is missing, the view refuses a row (it is named), or the store
/// fails; the view's state is then incomplete and must be dropped.
pub async fn backfill(
    view: &dyn CompiledView,
    source: &Arc<SourceDef>,
    tables: &dyn TableScan,
    store: &dyn OnlineStore,
    mut progress: impl FnMut(usize) + Send,
) -> Result<usize, PipelineError> {
    let mut fill = Fill::new(view, source, store);
    fill.watermarks = Watermarks::replay(&recorded(store)?);
    let mut rows = tables.scan(&source.name, fill.scan()).await?;
    let mut done = 0;
    while let Some(batch) = rows.try_next().await? {
        for from in (0..batch.num_rows()).step_by(EPOCH_MAX_ROWS) {
            let rows = EPOCH_MAX_ROWS.min(batch.num_rows() - from);
            fill.fold(&batch.slice(from, rows))?;
            done += rows;
            progress(done);
        }
    }
    Ok(done)
}

/// One fill under way.
struct Fill<'a> {
    view: &'a dyn CompiledView,
    source: &'a Arc<SourceDef>,
    store: &'a dyn OnlineStore,
    /// What each shard has applied.
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
    ) -> Self {
        let fields = source
            .columns
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), true));
        Self {
            view,
            source,
            store,
            applied: (0..store.shards())
                .map(|shard| store.applied(shard))
                .collect(),
            watermarks: Watermarks::default(),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        }
    }

    /// What the view reads of rows that some shard has applied, in the order of the log.
    fn scan(&self) -> Scan {
        let own = self.view.reads().iter();
        let own = own.map(|index| self.source.columns[*index].name.as_str());
        let mut reached = Applied::default();
        for applied in &self.applied {
            for (partition, progress) in &applied.0 {
                reached.advance(partition, *progress);
            }
        }
        Scan::columns(own.chain(PLACE))
            .in_log_order()
            .below(reached)
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
