//! Makes the table of folded events and virtual rows, runs the windows over it, and finishes the
//! features of the spine's rows from their aggregates. Runs on a thread of its own
//! (`crate::input::in_background`), with a runtime that DataFusion's operators expect to find;
//! nothing of DataFusion outlives the call.

use std::sync::Arc;

use arrow_array::builder::Int64Builder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
    UInt32Array, UInt64Array, new_null_array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use datafusion::catalog::MemTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::collect;
use forebay_core::cells::{CellFault, Cells};
use forebay_core::fault::{FaultKind, LeftOutRows};
use forebay_core::index::RowIndex;
use forebay_core::key::KeyBuffer;
use forebay_core::memory::Reservation;
use forebay_core::ports::{CompiledView, RowStream};
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::view::{FoldBatch, ViewSpec};

use super::lowering::{column, windows};
use crate::error::{EngineError, Result};
use crate::input::{EventBatch, LeftOut, Places, SpineKeys, TableReader, apply_presence};
use crate::session::Session;
use crate::view::View;

/// The spine as one view sees it.
#[derive(Debug)]
pub(super) struct VirtualRows<'a> {
    pub(super) view: &'a View,
    /// Key columns, as the view's.
    pub(super) keys: Vec<ArrayRef>,
    pub(super) at: &'a TimestampMicrosecondArray,
}

/// The table's columns: key, time, arguments and FILTERs as the view folds them, and which row it
/// is.
fn table_schema(spec: &ViewSpec) -> SchemaRef {
    let mut fields = Vec::new();
    for (index, key) in spec.key.iter().enumerate() {
        fields.push(Field::new(column::key(index), key.data_type.clone(), true));
    }
    fields.push(Field::new(column::TIME, timestamp_type(), false));
    for (index, data_type) in spec.arguments.iter().enumerate() {
        fields.push(Field::new(column::argument(index), data_type.clone(), true));
    }
    for index in 0..spec.filters {
        fields.push(Field::new(column::filter(index), DataType::Boolean, true));
    }
    fields.extend([
        Field::new(column::EVENT, DataType::Boolean, false),
        Field::new(column::VIRTUAL, DataType::Boolean, false),
        Field::new(column::ROW, DataType::Int64, true),
        Field::new(column::PARTITION, DataType::Int32, true),
        Field::new(column::OFFSET, DataType::Int64, true),
    ]);
    Arc::new(Schema::new(fields))
}

/// For each column of the view's source whether the view reads it.
pub(super) fn needed(view: &View) -> Vec<bool> {
    (0..view.source().columns.len())
        .map(|index| view.reads().contains(&index))
        .collect()
}

/// The events of one view.
pub(super) struct ViewEvents {
    /// Those that it folds, as rows of the table.
    pub(super) rows: Vec<RecordBatch>,
    /// Those that it leaves out and a spine row would see.
    pub(super) left_out: LeftOutRows,
}

/// All events of `rows`, for the view of `asked`; `memory` grows by what they hold.
pub(super) fn read_events(
    asked: &VirtualRows<'_>,
    rows: RowStream,
    memory: &mut Reservation,
) -> Result<ViewEvents> {
    let view = asked.view;
    let (needed, source) = (needed(view), view.source());
    let schema = table_schema(view.spec());
    let keys = SpineKeys::new(&asked.keys, asked.at.values())?;
    let (mut places, mut left_out) = (Places::new(&source.topic), LeftOut::default());
    let mut batches = Vec::new();
    TableReader::new(source, &needed).read(rows, &mut |events| {
        let folded = view.fold(&events.rows)?;
        let place = places.of(&events);
        let noted = (&events, source.time_column, place.as_slice());
        left_out.note(view, noted, &folded.left_out, &keys)?;
        let batch = table_batch(&schema, event_columns(folded, &events)?)?;
        memory.grow(batch.get_array_memory_size())?;
        batches.push(batch);
        Ok(())
    })?;
    let at_us = asked.at.values();
    Ok(ViewEvents {
        rows: batches,
        left_out: left_out.seen(view.spec(), (&keys, at_us), &places, |_, _| true),
    })
}

/// The table's columns for what was folded of `events`.
fn event_columns(folded: FoldBatch, events: &EventBatch) -> Result<Vec<ArrayRef>> {
    let rows = folded.source_rows.len();
    let source_rows = UInt32Array::from(folded.source_rows);
    let pick = |array: &dyn Array| {
        take(array, &source_rows, None)
            .map_err(|e| EngineError::Internal(format!("pick the rows that count: {e}")))
    };
    let mut columns = folded.keys;
    columns.push(Arc::new(folded.times.with_data_type(timestamp_type())));
    columns.extend(folded.arguments);
    columns.extend(folded.filters.into_iter().map(|f| Arc::new(f) as ArrayRef));
    columns.push(Arc::new(BooleanArray::from(vec![true; rows])));
    columns.push(Arc::new(BooleanArray::from(vec![false; rows])));
    columns.push(new_null_array(&DataType::Int64, rows));
    columns.push(pick(&events.partition)?);
    columns.push(pick(&events.offset)?);
    Ok(columns)
}

fn table_batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|e| EngineError::Internal(format!("the table of events and virtual rows: {e}")))
}

impl VirtualRows<'_> {
    /// One row of the table for each spine row; a NULL key matches no event, so nothing is lost by
    /// keeping it out.
    fn batch(&self) -> Result<RecordBatch> {
        let spec = self.view.spec();
        let rows = self.at.len();
        // One that is NULL or over its limit is no key of any event.
        let encoded = KeyBuffer::encode_within(&self.keys)?.0;
        let has_key = |row: &usize| encoded.get(*row).is_some();
        let kept: Vec<u64> = (0..rows).filter(has_key).map(|row| row as u64).collect();
        let kept = UInt64Array::from(kept);
        let pick = |array: &dyn Array| {
            take(array, &kept, None)
                .map_err(|e| EngineError::Internal(format!("pick the rows with a key: {e}")))
        };
        let rows = kept.len();
        let mut columns = Vec::new();
        for key in &self.keys {
            columns.push(pick(key.as_ref())?);
        }
        let at = self.at.clone().with_data_type(timestamp_type());
        columns.push(pick(&at)?);
        let nulls = |data_type: &DataType| new_null_array(data_type, rows);
        columns.extend(spec.arguments.iter().map(nulls));
        let bits = |value: bool| Arc::new(BooleanArray::from(vec![value; rows])) as ArrayRef;
        columns.extend((0..spec.filters).map(|_| bits(false)));
        columns.push(bits(false));
        columns.push(bits(true));
        columns.push(Arc::new(
            kept.values()
                .iter()
                .map(|row| Some(row.cast_signed()))
                .collect::<Int64Array>(),
        ));
        columns.push(Arc::new(Int32Array::new_null(rows)));
        columns.push(Arc::new(Int64Array::new_null(rows)));
        table_batch(&table_schema(spec), columns)
    }
}

/// The view's features for every spine row, presence applied.
pub(super) fn run_view(
    (session, environment): (&Session, &Arc<RuntimeEnv>),
    mut events: Vec<RecordBatch>,
    virtual_rows: &VirtualRows<'_>,
) -> Result<Cells> {
    let view = virtual_rows.view;
    let spec = view.spec();
    events.push(virtual_rows.batch()?);
    let rows = virtual_rows.at.len();
    let object = format!("feature view {}", spec.name);
    let result = execute(session, environment, view, events)
        .map_err(|e| EngineError::evaluation(&object, e))?;
    let positions = positions(&result, rows)?;
    let pick = |name: &str| {
        let column = result.column_by_name(name).ok_or_else(|| {
            EngineError::Internal(format!("{object}: its plan has no column {name}"))
        })?;
        take(column, &positions, None)
            .map_err(|e| EngineError::Internal(format!("{object}, column {name}: {e}")))
    };
    let newest_us: Vec<Option<Micros>> = pick(column::NEWEST)?
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .collect();
    let mut aggregates = Cells::default();
    for (index, aggregate) in spec.aggregates.iter().enumerate() {
        aggregates.columns.push(pick(&column::aggregate(index))?);
        if aggregate.may_fail() {
            let failed = pick(&column::fault(index))?;
            let failed = failed.as_boolean().iter().zip(RowIndex::all(rows));
            let failed = failed.filter(|(failed, _)| *failed == Some(true));
            let of_row =
                |(_, row)| CellFault::of_aggregate(aggregate, index, row, FaultKind::Overflow);
            aggregates.faults.extend(failed.map(of_row));
        }
    }
    // A row that nobody has an answer for has no aggregates either, whatever a count of nothing is.
    let at_us = virtual_rows.at.values();
    let known = apply_presence(aggregates, &newest_us, at_us, spec.ttl_us)?;
    let features = view.finish(&virtual_rows.keys, virtual_rows.at, &known)?;
    apply_presence(features, &newest_us, at_us, spec.ttl_us)
}

/// For each spine row where its result lies; NULL where it has none.
fn positions(result: &RecordBatch, rows: usize) -> Result<Int64Array> {
    let numbers = result
        .column_by_name(column::ROW)
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    let numbers = numbers
        .ok_or_else(|| EngineError::Internal("a plan lost the numbers of its rows".to_owned()))?;
    let mut found: Vec<Option<i64>> = vec![None; rows];
    for (position, number) in numbers.iter().enumerate() {
        let Some(number) = number else { continue };
        let slot = usize::try_from(number)
            .ok()
            .and_then(|number| found.get_mut(number));
        match slot {
            Some(slot @ None) => *slot = i64::try_from(position).ok(),
            _ => {
                return Err(EngineError::Internal(format!(
                    "a plan answered spine row {number} more than once"
                )));
            }
        }
    }
    let mut positions = Int64Builder::with_capacity(rows);
    found
        .into_iter()
        .for_each(|position| positions.append_option(position));
    Ok(positions.finish())
}

/// Run the windows of the view over `batches`.
fn execute(
    session: &Session,
    environment: &Arc<RuntimeEnv>,
    view: &View,
    batches: Vec<RecordBatch>,
) -> Result<RecordBatch, DataFusionError> {
    let context = session.context(Arc::clone(environment));
    let state = context.state();
    let spec = view.spec();
    let table = MemTable::try_new(table_schema(spec), vec![batches])?;
    let plan = windows(spec, provider_as_source(Arc::new(table)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let results = runtime.block_on(Box::pin(async {
        // Not through the optimiser: the plan is to run as it is.
        let physical = state
            .query_planner()
            .create_physical_plan(&plan, &state)
            .await?;
        collect(physical, context.task_ctx()).await
    }))?;
    let schema = results
        .first()
        .map_or_else(|| Arc::clone(plan.schema().inner()), RecordBatch::schema);
    Ok(concat_batches(&schema, &results)?)
}
