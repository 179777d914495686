//! Fills a new view from the archive, up to the offsets that each shard has applied, while ingest
//! is stopped: afterwards the view's state is what it would be had it been there from the first
//! event. Rows are taken in log order of each partition, so that watermarks, and with them the
//! too-late rule, are those of the live path.
//!
//! A shard that a crash left behind the archive gets the rows beyond its own offsets from the log,
//! as ever. The archive must not be behind a shard: whoever calls has waited for it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch, UInt32Array};
use forebay_core::PortError;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::ports::{CompiledView, OnlineStore, Origin, ShardFold, ShardWrite, SourceBatch};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::{SourceDef, meta};

use crate::admit::fold_whole;
use crate::error::PipelineError;
use crate::step::cut;
use crate::watermark::Watermarks;

/// Fold `rows` (the archive's columns of `source`, any order) into `view`. `progress` is told the
/// rows done so far. Returns the number of rows read.
///
/// # Errors
/// A column is missing, the view refuses a row (it is named), or the store fails; the view's state
/// is then incomplete and must be dropped.
pub fn backfill(
    view: &dyn CompiledView,
    source: &Arc<SourceDef>,
    rows: &[RecordBatch],
    store: &dyn OnlineStore,
    mut progress: impl FnMut(usize),
) -> Result<usize, PipelineError> {
    let Some(first) = rows.first() else {
        return Ok(0);
    };
    let all = arrow_select::concat::concat_batches(&first.schema(), rows)?;
    let places = Places::read(&all)?;
    let applied: Vec<Arc<Applied>> = (0..store.shards())
        .map(|shard| store.applied(shard))
        .collect();
    let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).collect();
    order.sort_by_key(|row| places.of(*row as usize));
    let mut watermarks = Watermarks::default();
    for (number, chunk) in order.chunks(EPOCH_MAX_ROWS).enumerate() {
        let mut batch = places.batch(source, &all, chunk)?;
        batch.origin.watermark_us = watermarks.pass(&batch);
        let mut writes: Vec<ShardWrite> = (0..store.shards())
            .map(|_| ShardWrite {
                backfill: true,
                ..ShardWrite::default()
            })
            .collect();
        let origin = Arc::new(batch.origin.clone());
        for piece in
            fold_whole(view, &batch.rows)?.map_err(|(row, why)| refused(&origin, row, why))?
        {
            cut(view.spec().id, &piece, &origin, &mut writes);
        }
        for (shard, mut write) in writes.into_iter().enumerate() {
            write
                .folds
                .iter_mut()
                .for_each(|fold| keep_applied(fold, &applied[shard]));
            write.folds.retain(|fold| !fold.rows.is_empty());
            if !write.folds.is_empty() {
                store.commit(u16::try_from(shard).unwrap_or(u16::MAX), &write)?;
            }
        }
        progress((number * EPOCH_MAX_ROWS) + chunk.len());
    }
    Ok(all.num_rows())
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

/// The meta columns of archived rows.
struct Places {
    topic: Arc<dyn Array>,
    partition: Vec<i32>,
    offset: Vec<i64>,
    kafka_time_us: Vec<Option<i64>>,
}

impl Places {
    fn read(rows: &RecordBatch) -> Result<Self, PipelineError> {
        let column = |name: &str| {
            rows.column_by_name(name).cloned().ok_or_else(|| {
                PortError::internal(format!(
                    "the archive has no column '{name}'; was it written by Forebay?"
                ))
            })
        };
        let wrong = |name: &str| {
            PortError::internal(format!("the archive's column '{name}' has another type"))
        };
        let partition = column(meta::PARTITION)?;
        let offset = column(meta::OFFSET)?;
        let kafka_time = column(meta::KAFKA_TIME)?;
        let partition = partition
            .as_primitive_opt::<Int32Type>()
            .ok_or_else(|| wrong(meta::PARTITION))?;
        let offset = offset
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| wrong(meta::OFFSET))?;
        let kafka_time = kafka_time
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| wrong(meta::KAFKA_TIME))?;
        Ok(Self {
            topic: column(meta::TOPIC)?,
            partition: partition.values().to_vec(),
            offset: offset.values().to_vec(),
            kafka_time_us: kafka_time.iter().collect(),
        })
    }

    fn of(&self, row: usize) -> (i32, i64) {
        (self.partition[row], self.offset[row])
    }

    fn batch(
        &self,
        source: &Arc<SourceDef>,
        all: &RecordBatch,
        rows: &[u32],
    ) -> Result<SourceBatch, PipelineError> {
        let own: Vec<usize> = (0..source.columns.len()).collect();
        let taken = arrow_select::take::take_record_batch(
            &all.project(&own)?,
            &UInt32Array::from(rows.to_vec()),
        )?;
        let mut origin = Origin::default();
        for row in rows.iter().map(|row| *row as usize) {
            let place =
                TopicPartition::new(topic_of(self.topic.as_ref(), row)?, self.partition[row]);
            let known = origin.partitions.iter().position(|p| *p == place);
            let index = known.unwrap_or_else(|| {
                origin.partitions.push(place);
                origin.partitions.len() - 1
            });
            origin
                .partition
                .push(u32::try_from(index).unwrap_or(u32::MAX));
            origin.offset.push(self.offset[row]);
            origin.kafka_time_us.push(self.kafka_time_us[row]);
        }
        let schema = source.schema();
        let rows = RecordBatch::try_new(schema, taken.columns().to_vec())?;
        Ok(SourceBatch {
            source: Arc::clone(source),
            rows,
            origin,
            dead_letters: Vec::new(),
            read_up_to: Vec::new(),
        })
    }
}

fn topic_of(topics: &dyn Array, row: usize) -> Result<&str, PipelineError> {
    if let Some(text) = topics.as_string_opt::<i32>() {
        return Ok(text.value(row));
    }
    let text = topics.as_string_view_opt();
    Ok(text
        .ok_or_else(|| PortError::internal("the archive's column '_topic' is no text"))?
        .value(row))
}
