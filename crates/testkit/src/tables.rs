//! Tables of batches in memory, and the plain meaning of a scan over batches: what an archive or a
//! folder of files must answer with, computed row by row with no statistics and no files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{RecordBatch, UInt64Array};
use arrow_select::take::take_record_batch;
use async_trait::async_trait;
use forebay_core::ports::{RowStream, Scan, ScanOrder, TableScan};
use forebay_core::progress::TopicPartition;
use forebay_core::source::meta;
use forebay_core::{PortError, PortResult};
use futures::stream;

/// Tables by name.
#[derive(Debug, Clone, Default)]
pub struct MemoryTables(pub BTreeMap<String, Vec<RecordBatch>>);

impl MemoryTables {
    /// One table.
    #[must_use]
    pub fn one(name: &str, batches: Vec<RecordBatch>) -> Self {
        Self(BTreeMap::from([(name.to_owned(), batches)]))
    }
}

#[async_trait]
impl TableScan for MemoryTables {
    async fn scan(&self, table: &str, scan: Scan) -> PortResult<RowStream> {
        let batches = self.0.get(table).cloned().ok_or_else(|| {
            let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let given = match names.join(", ") {
                names if names.is_empty() => "none".to_owned(),
                names => names,
            };
            PortError::not_found(format!("there is no table {table}; tables given: {given}"))
        })?;
        scanned(batches, &scan)
    }
}

/// What `scan` asks of `batches`, which are in the order of their appends. Keys and time are hints,
/// so all rows pass them.
pub(crate) fn scanned(batches: Vec<RecordBatch>, scan: &Scan) -> PortResult<RowStream> {
    let mut greatest: HashMap<TopicPartition, i64> = HashMap::new();
    let mut answer = Vec::with_capacity(batches.len());
    for batch in batches {
        let has_places = batch.column_by_name(meta::OFFSET).is_some();
        let unbounded = scan.takes_all_offsets() && scan.order == ScanOrder::Any;
        let batch = if unbounded || !has_places {
            batch
        } else {
            bounded(&batch, scan, &mut greatest)?
        };
        answer.push(projected(&batch, scan));
    }
    Ok(Box::pin(stream::iter(answer)))
}

fn bounded(
    batch: &RecordBatch,
    scan: &Scan,
    greatest: &mut HashMap<TopicPartition, i64>,
) -> PortResult<RecordBatch> {
    let column = |name: &str| {
        let found = batch.column_by_name(name);
        found.ok_or_else(|| PortError::invalid(format!("the table has no column `{name}`")))
    };
    let topics = batch
        .column_by_name(meta::TOPIC)
        .map(AsArray::as_string::<i32>);
    let partitions = column(meta::PARTITION)?.as_primitive::<Int32Type>();
    let offsets = column(meta::OFFSET)?.as_primitive::<Int64Type>();
    let mut kept = Vec::new();
    for row in 0..batch.num_rows() {
        let place = TopicPartition::new(topics.map_or("", |t| t.value(row)), partitions.value(row));
        let offset = offsets.value(row);
        let below = scan.below.as_ref();
        if offset < scan.from.next_offset(&place)
            || below.is_some_and(|below| offset >= below.next_offset(&place))
        {
            continue;
        }
        if scan.order == ScanOrder::Log {
            let last = greatest.insert(place, offset);
            assert!(
                last.is_none_or(|last| last < offset),
                "the batches of a table in memory are appended in log order"
            );
        }
        kept.push(row as u64);
    }
    take_record_batch(batch, &UInt64Array::from(kept))
        .map_err(|e| PortError::internal(format!("pick rows: {e}")))
}

fn projected(batch: &RecordBatch, scan: &Scan) -> PortResult<RecordBatch> {
    let Some(columns) = &scan.columns else {
        return Ok(batch.clone());
    };
    let schema = Arc::clone(batch.schema_ref());
    let indices: Vec<usize> = columns
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .collect();
    batch
        .project(&indices)
        .map_err(|e| PortError::internal(format!("pick columns: {e}")))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::conformance::scan;

    #[test]
    fn tables_in_memory_keep_the_promises() {
        let batches = scan::appends().into_iter().map(|append| append.0);
        let tables = MemoryTables::one(scan::TABLE, batches.collect());
        block_on(scan::table_scan(&tables, true));
    }
}
