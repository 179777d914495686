//! Makes the table of events and virtual rows, runs the lowered plan over it, and puts the virtual
//! rows' results into the order of the spine. Runs on a thread of its own
//! (`crate::input::in_background`), with a runtime that DataFusion's operators expect to find;
//! nothing of DataFusion outlives the call.

use std::sync::Arc;

use arrow_array::builder::Int64Builder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
    UInt64Array, new_null_array,
};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use datafusion::catalog::MemTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::collect;
use forebay_core::memory::Reservation;
use forebay_core::ports::{CompiledView, RowStream};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;

use super::lowering::{Lowering, extra};
use crate::error::{EngineError, Result};
use crate::input::TableReader;
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

/// The table's columns: the source's own, all nullable, then the extra ones.
fn table_schema(source: &SourceDef) -> SchemaRef {
    let mut fields: Vec<Field> = source
        .columns
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true))
        .collect();
    fields.extend([
        Field::new(extra::VIRTUAL, DataType::Boolean, false),
        Field::new(extra::ROW, DataType::Int64, true),
        Field::new(extra::PARTITION, DataType::Int32, true),
        Field::new(extra::OFFSET, DataType::Int64, true),
    ]);
    Arc::new(Schema::new(fields))
}

/// For each column of the view's source whether the view reads it.
pub(super) fn needed(view: &View) -> Vec<bool> {
    (0..view.source().columns.len())
        .map(|index| view.reads().contains(&index))
        .collect()
}

/// All events of `rows`, with the columns that the view reads, as rows of the table; `memory` grows
/// by what they hold.
pub(super) fn read_events(
    view: &View,
    rows: RowStream,
    memory: &mut Reservation,
) -> Result<Vec<RecordBatch>> {
    let source = view.source().as_ref();
    let needed = needed(view);
    let schema = table_schema(source);
    let mut batches = Vec::new();
    TableReader::new(source, &needed).read(rows, &mut |events| {
        let rows = events.rows.num_rows();
        let mut columns = events.rows.columns().to_vec();
        columns.push(Arc::new(BooleanArray::from(vec![false; rows])));
        columns.push(new_null_array(&DataType::Int64, rows));
        columns.push(Arc::new(events.partition));
        columns.push(Arc::new(events.offset));
        let batch = table_batch(&schema, columns)?;
        memory.grow(batch.get_array_memory_size())?;
        batches.push(batch);
        Ok(())
    })?;
    Ok(batches)
}

fn table_batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|e| EngineError::Internal(format!("the table of events and virtual rows: {e}")))
}

impl VirtualRows<'_> {
    /// One row of the table for each spine row; a NULL key matches no event, so nothing is lost by
    /// keeping it out.
    fn batch(&self) -> Result<RecordBatch> {
        let source = self.view.source().as_ref();
        let rows = self.at.len();
        let has_key = |row: &usize| self.keys.iter().all(|key| key.is_valid(*row));
        let kept: Vec<u64> = (0..rows).filter(has_key).map(|row| row as u64).collect();
        let kept = UInt64Array::from(kept);
        let pick = |array: &dyn Array| {
            take(array, &kept, None)
                .map_err(|e| EngineError::Internal(format!("pick the rows with a key: {e}")))
        };
        let mut columns = Vec::with_capacity(source.columns.len() + 4);
        for (index, column) in source.columns.iter().enumerate() {
            let key = self.view.key_columns().iter().position(|key| *key == index);
            columns.push(match key {
                Some(key) => pick(self.keys[key].as_ref())?,
                None if index == source.time_column => pick(self.at)?,
                None => new_null_array(&column.data_type, kept.len()),
            });
        }
        columns.push(Arc::new(BooleanArray::from(vec![true; kept.len()])));
        columns.push(Arc::new(
            kept.values()
                .iter()
                .map(|row| Some(row.cast_signed()))
                .collect::<Int64Array>(),
        ));
        columns.push(Arc::new(Int32Array::new_null(kept.len())));
        columns.push(Arc::new(Int64Array::new_null(kept.len())));
        table_batch(&table_schema(source), columns)
    }
}

/// The view's features for every spine row, before presence, and the newest event time of each.
pub(super) fn run_view(
    (session, environment): (&Session, &Arc<RuntimeEnv>),
    mut events: Vec<RecordBatch>,
    virtual_rows: &VirtualRows<'_>,
) -> Result<(Vec<ArrayRef>, Vec<Option<Micros>>)> {
    let view = virtual_rows.view;
    events.push(virtual_rows.batch()?);
    let rows = virtual_rows.at.len();
    let object = format!("feature view {}", view.spec().name);
    let context = session.context(Arc::clone(environment));
    let result =
        execute(&context, view, events).map_err(|e| EngineError::evaluation(&object, e))?;
    let positions = positions(&result, rows)?;
    let pick = |name: &str| {
        let column = result.column_by_name(name).ok_or_else(|| {
            EngineError::Internal(format!("{object}: its plan has no column {name}"))
        })?;
        take(column, &positions, None)
            .map_err(|e| EngineError::Internal(format!("{object}, column {name}: {e}")))
    };
    let schema = view.features();
    let features = schema.fields().iter().zip(view.feature_outputs());
    let columns = features.map(|(feature, output)| {
        let column = pick(view.plan().schema().field(*output).name())?;
        cast(&column, feature.data_type()).map_err(|e| {
            EngineError::Internal(format!("{object}, feature {}: {e}", feature.name()))
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let newest = pick(extra::NEWEST)?;
    let newest_us = newest
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .collect();
    Ok((columns, newest_us))
}

/// For each spine row where its result lies; NULL where it has none.
fn positions(result: &RecordBatch, rows: usize) -> Result<Int64Array> {
    let numbers = result
        .column_by_name(extra::ROW)
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

/// `state` without the rule that moves a projection below a filter: it would evaluate a feature's
/// expression on rows that nobody asks for, where it may fail.
fn without_projection_pushdown(state: SessionState) -> SessionState {
    let rules = state
        .physical_optimizers()
        .iter()
        .filter(|rule| rule.name() != "ProjectionPushdown")
        .cloned()
        .collect();
    SessionStateBuilder::new_from_existing(state)
        .with_physical_optimizer_rules(rules)
        .build()
}

/// Run the view's plan, lowered, over `batches`.
fn execute(
    context: &SessionContext,
    view: &View,
    batches: Vec<RecordBatch>,
) -> Result<RecordBatch, DataFusionError> {
    let state = without_projection_pushdown(context.state());
    let max = state.aggregate_functions().get("max").cloned();
    let max =
        max.ok_or_else(|| DataFusionError::Internal("function max is not registered".to_owned()))?;
    let table = provider_as_source(Arc::new(MemTable::try_new(
        table_schema(view.source()),
        vec![batches],
    )?));
    let lowered = Lowering {
        table,
        max,
        ttl_us: view.spec().ttl_us,
    }
    .lower(view.plan())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let results = runtime.block_on(Box::pin(async {
        // Not through the optimiser: the plan was simplified when it was checked, and is to run as
        // it is.
        let physical = state
            .query_planner()
            .create_physical_plan(&lowered, &state)
            .await?;
        collect(physical, context.task_ctx()).await
    }))?;
    let schema = results
        .first()
        .map_or_else(|| Arc::clone(lowered.schema().inner()), RecordBatch::schema);
    Ok(concat_batches(&schema, &results)?)
}
