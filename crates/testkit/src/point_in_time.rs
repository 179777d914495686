//! Values as of given instants as they are defined: a store that was given the events below a cut
//! and no others, read at the instant of each row. Slow, every event of a table in memory once for
//! each cut; it shares nothing with the lowerings of `engine`, so that it may be held against them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use async_trait::async_trait;
use forebay_core::cells::Cells;
use forebay_core::fault::LeftOutRows;
use forebay_core::index::RowIndex;
use forebay_core::key::KeyBuffer;
use forebay_core::ports::{
    At, CompiledService, CompiledView, FillNote, FillWrite, FillWriter, Known, Origin, PointInTime,
    Scan, ShardFold, SpineAnswer, StateReader, TableScan, ViewRows, ViewStates,
};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::{Column, SourceDef, meta};
use forebay_core::time::{Micros, SECOND_US};
use forebay_core::value::{Value, array_from_values};
use forebay_core::view::{FeatureStatus, FoldBatch, ServiceSpec};
use forebay_core::{PortError, PortResult};
use futures::TryStreamExt;

use crate::memory::unbounded;
use crate::reader::{conform, named};
use crate::store::MemoryStore;

/// Answers for services over tables of events, by looking at all of them.
#[derive(Debug)]
pub struct PlainEngine {
    sources: Vec<Arc<SourceDef>>,
    services: Vec<Arc<dyn CompiledService>>,
}

/// What a view takes of one batch of events.
struct Taken {
    batch: Arc<FoldBatch>,
    keys: Arc<KeyBuffer>,
    origin: Arc<Origin>,
}

impl PlainEngine {
    /// Answers for `services`, whose views read `sources`.
    #[must_use]
    pub fn new(sources: Vec<Arc<SourceDef>>, services: Vec<Arc<dyn CompiledService>>) -> Self {
        Self { sources, services }
    }

    fn service(&self, name: &str) -> PortResult<&Arc<dyn CompiledService>> {
        let mut services = self.services.iter();
        let found = services.find(|service| service.spec().name == name);
        found.ok_or_else(|| PortError::not_found(format!("no service '{name}'")))
    }

    /// The events of its table that `view` takes.
    async fn taken(
        &self,
        view: &dyn CompiledView,
        tables: &dyn TableScan,
    ) -> PortResult<Vec<Taken>> {
        let name = &view.spec().source;
        let source = self.sources.iter().find(|source| source.name == *name);
        let source = source.ok_or_else(|| PortError::not_found(format!("no source '{name}'")))?;
        let rows = tables.scan(name, Scan::default()).await?;
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let taken = batches.iter().map(|rows| Taken::of(view, source, rows));
        taken.collect()
    }
}

impl Taken {
    fn of(view: &dyn CompiledView, source: &SourceDef, rows: &RecordBatch) -> PortResult<Self> {
        let schema = rows.schema_ref();
        let index = |name: &str| {
            let found = schema.index_of(name).ok();
            found.ok_or_else(|| {
                let table = &source.name;
                PortError::invalid(format!("table {table} has no column {name}"))
            })
        };
        let columns = source.columns.iter().map(|column| index(&column.name));
        let columns = columns.collect::<PortResult<Vec<_>>>()?;
        let events = rows.project(&columns).map_err(|e| internal(&e))?;
        let batch = view.fold(&events)?;
        let partitions = rows.column(index(meta::PARTITION)?);
        let partitions = partitions.as_primitive::<Int32Type>().values();
        let offsets = rows.column(index(meta::OFFSET)?);
        let offsets = offsets.as_primitive::<Int64Type>().values();
        let origin = Origin {
            partitions: partitions
                .iter()
                .map(|partition| TopicPartition::new(source.topic.as_str(), *partition))
                .collect(),
            partition: RowIndex::all(rows.num_rows())
                .map(RowIndex::number)
                .collect(),
            offset: offsets.to_vec(),
            kafka_time_us: vec![None; rows.num_rows()],
            broker_time: Vec::new(),
            // Nothing comes too late where no event has a watermark.
            watermark_us: vec![None; rows.num_rows()],
        };
        Ok(Self {
            keys: Arc::new(KeyBuffer::encode_within(&batch.keys)?.0),
            batch: Arc::new(batch),
            origin: Arc::new(origin),
        })
    }

    /// Those of them that lie below `cut`.
    fn fold(&self, view: u32, cut: Option<&Applied>) -> ShardFold {
        let counts = |row: &RowIndex| {
            let event = self.batch.source_rows[row.index()] as usize;
            let place = &self.origin.partitions[event];
            cut.is_none_or(|cut| self.origin.offset[event] < cut.next_offset(place))
        };
        let rows = RowIndex::all(self.batch.source_rows.len()).filter(counts);
        ShardFold {
            view,
            batch: Arc::clone(&self.batch),
            keys: Arc::clone(&self.keys),
            origin: Arc::clone(&self.origin),
            rows: rows.map(RowIndex::number).collect(),
        }
    }
}

#[async_trait]
impl PointInTime for PlainEngine {
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer> {
        let service = self.service(service)?;
        let spec = service.spec();
        let at = instants(&spine, time_column)?;
        refuse_collisions(&spine, spec)?;
        let request = conform(&spine, spec)?;
        let (mut features, mut left_out) = (Vec::new(), Vec::new());
        for (number, view) in service.views().iter().enumerate() {
            let taken = self.taken(view.as_ref(), tables).await?;
            let columns = spec.views[number].key_columns.iter();
            let keys = columns.map(|column| Arc::clone(request.column(*column)));
            let keys: Vec<ArrayRef> = keys.collect();
            let (cuts, index) = cuts(&known, number, at.len())?;
            let read = |cut: &Option<&Applied>| read(view.as_ref(), &taken, *cut, &keys, &at);
            let answers = cuts.iter().map(read).collect::<PortResult<Vec<_>>>()?;
            let answers: Vec<&ViewRows> = index.iter().map(|cut| &answers[*cut]).collect();
            features.push(finish(view.as_ref(), &keys, &at, &answers)?);
            // The views that it is held against leave nothing out.
            left_out.push(LeftOutRows::default());
        }
        let moments = TimestampMicrosecondArray::from(at.clone()).with_timezone("UTC");
        let features = service.finish(&request, &moments, &features)?;
        Ok(SpineAnswer {
            rows: beside(&spine, &named(spec, features.columns)?)?,
            faults: features.faults,
            left_out,
        })
    }
}

/// Each cut that a row of view `number` may have, and that of each row.
fn cuts(
    known: &Known,
    number: usize,
    rows: usize,
) -> PortResult<(Vec<Option<&Applied>>, Vec<usize>)> {
    let Known::Applied { cuts, index } = known else {
        return Ok((vec![None], vec![0; rows]));
    };
    let cuts: Vec<_> = cuts.iter().map(|cut| Some(cut.as_ref())).collect();
    let index = index.get(number).filter(|index| index.len() == rows);
    let index = index.map(|index| index.iter().map(|cut| *cut as usize));
    let index: Option<Vec<usize>> = index.map(Iterator::collect);
    let index = index.filter(|index| index.iter().all(|cut| *cut < cuts.len()));
    let index = index.ok_or_else(|| PortError::invalid("a row of a view has no cut"))?;
    Ok((cuts, index))
}

/// The values of `keys` at `at` in a store that has seen what of `taken` lies below `cut`.
fn read(
    view: &dyn CompiledView,
    taken: &[Taken],
    cut: Option<&Applied>,
    keys: &[ArrayRef],
    at: &[Micros],
) -> PortResult<ViewRows> {
    let view = view.spec();
    let store = MemoryStore::new(1, Micros::MAX, &Arc::default());
    store.register_view(Arc::clone(view))?;
    let write = FillWrite {
        view: view.id,
        folds: taken.iter().map(|taken| taken.fold(view.id, cut)).collect(),
        note: FillNote::default(),
    };
    store.fill(0, &write)?;
    let keys = KeyBuffer::encode(keys)?;
    store.read(view.id, &keys, At::PerRow(at), &mut unbounded())
}

/// Features of each row by its own answer, NULL where the key is not present.
fn finish(
    view: &dyn CompiledView,
    keys: &[ArrayRef],
    at: &[Micros],
    answers: &[&ViewRows],
) -> PortResult<Cells> {
    let spec = view.spec();
    let aggregates = spec
        .aggregates
        .iter()
        .enumerate()
        .map(|(number, aggregate)| {
            let answers = answers.iter().enumerate();
            let columns = |answer: &ViewRows| Arc::clone(&answer.aggregates.columns[number]);
            let values = answers
                .map(|(row, answer)| Value::from_array(columns(answer).as_ref(), row))
                .collect::<PortResult<Vec<_>>>()?;
            array_from_values(&aggregate.data_type, values.iter())
        });
    let aggregates = aggregates.collect::<PortResult<Vec<_>>>()?;
    let times = TimestampMicrosecondArray::from(at.to_vec()).with_timezone("UTC");
    let features = view.finish(keys, &times, &aggregates.into())?;
    let rows = answers.iter().enumerate();
    let absent = rows.map(|(row, answer)| Some(answer.status[row] != FeatureStatus::Present));
    features.without(&absent.collect())
}

/// The instants of a spine, microseconds, whatever unit they are in.
fn instants(spine: &RecordBatch, name: &str) -> PortResult<Vec<Micros>> {
    let column = spine.column_by_name(name);
    let column =
        column.ok_or_else(|| PortError::invalid(format!("the spine has no column {name}")))?;
    if let Some(row) = (0..column.len()).find(|row| column.is_null(*row)) {
        return Err(PortError::invalid(format!("{name} of row {row} is NULL")));
    }
    macro_rules! values {
        ($unit:ty, $to_us:expr) => {{
            let values = column.as_primitive::<$unit>().values().iter();
            Ok(values.map(|value: &i64| $to_us(*value)).collect())
        }};
    }
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            values!(TimestampSecondType, |value| value * SECOND_US)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            values!(TimestampMillisecondType, |value| value * 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            values!(TimestampMicrosecondType, |value| value)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            values!(TimestampNanosecondType, |value: i64| value
                .div_euclid(1_000))
        }
        other => Err(PortError::invalid(format!(
            "{name} is of type {other} and no timestamp"
        ))),
    }
}

fn refuse_collisions(spine: &RecordBatch, service: &ServiceSpec) -> PortResult<()> {
    let collides = |feature: &&Column| spine.column_by_name(&feature.name).is_some();
    let Some(feature) = service.features.iter().find(collides) else {
        return Ok(());
    };
    let name = &feature.name;
    let words = format!("column {name} of the spine has the name of a feature");
    Err(PortError::invalid(words))
}

/// All columns of `spine`, then all of `features`.
fn beside(spine: &RecordBatch, features: &RecordBatch) -> PortResult<RecordBatch> {
    let (own, added) = (spine.schema(), features.schema());
    let fields = own.fields().iter().chain(added.fields());
    let fields: Vec<Arc<Field>> = fields.cloned().collect();
    let columns = spine.columns().iter().chain(features.columns());
    let columns: Vec<ArrayRef> = columns.cloned().collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| internal(&e))
}

fn internal(error: &arrow_schema::ArrowError) -> PortError {
    PortError::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use crate::conformance::point_in_time::{plain_engine, point_in_time};

    #[test]
    fn the_plain_engine_keeps_the_promises() {
        block_on(point_in_time(&plain_engine(), true));
    }
}
