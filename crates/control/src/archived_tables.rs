//! Archived tables in the order of event time, batch by batch: what monitors and the filter of
//! repeats read at start, beyond their checkpoints. Any order gives the same monitors; this one
//! keeps predictions near their events, hence little in memory.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::PortError;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;

use crate::begin_error::BeginError;

/// Tables, merged by the least event time of their next batches; at equal times the first goes
/// first.
pub(crate) struct ArchivedTables<S> {
    tables: Vec<ArchivedTable<S>>,
}

/// One archived table, batch by batch.
struct ArchivedTable<S> {
    source: Arc<SourceDef>,
    rows: S,
    /// The next batch with its least event time.
    next: Option<(RecordBatch, Micros)>,
}

impl<S: Iterator<Item = Result<RecordBatch, BeginError>>> ArchivedTables<S> {
    /// The rows of each source, in log order within each partition.
    ///
    /// # Errors
    /// A table cannot be read.
    pub(crate) fn new(tables: Vec<(Arc<SourceDef>, S)>) -> Result<Self, BeginError> {
        let mut merged = Vec::with_capacity(tables.len());
        for (source, rows) in tables {
            let mut table = ArchivedTable {
                source,
                rows,
                next: None,
            };
            table.step()?;
            merged.push(table);
        }
        Ok(Self { tables: merged })
    }

    /// The next batch and its source; None at the end.
    ///
    /// # Errors
    /// A table cannot be read, or its columns are not those of the source.
    pub(crate) fn next(&mut self) -> Result<Option<(Arc<SourceDef>, RecordBatch)>, BeginError> {
        let waiting = self.tables.iter_mut().filter(|t| t.next.is_some());
        let Some(table) = waiting.min_by_key(|t| t.next.as_ref().map(|(_, first)| *first)) else {
            return Ok(None);
        };
        let source = Arc::clone(&table.source);
        Ok(table.step()?.map(|rows| (source, rows)))
    }
}

impl<S: Iterator<Item = Result<RecordBatch, BeginError>>> ArchivedTable<S> {
    /// The next batch; the one behind it takes its place.
    fn step(&mut self) -> Result<Option<RecordBatch>, BeginError> {
        let taken = self.next.take();
        for rows in self.rows.by_ref() {
            let rows = rows?;
            let name = &self.source.columns[self.source.time_column].name;
            let times = rows
                .column_by_name(name)
                .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
                .ok_or_else(|| {
                    let source = &self.source.name;
                    PortError::internal(format!("the archive of {source} has no times {name}"))
                })?;
            if let Some(first) = times.values().iter().min().copied() {
                self.next = Some((rows, first));
                break;
            }
        }
        Ok(taken.map(|(rows, _)| rows))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::TimestampMicrosecondArray;
    use forebay_core::source::Column;
    use forebay_core::time::timestamp_type;

    use super::*;

    #[test]
    fn batches_come_in_the_order_of_their_first_event() -> Result<(), BeginError> {
        let batches = |name: &str, batches: &[&[i64]]| -> (Arc<SourceDef>, _) {
            let time = Column {
                name: "ts".into(),
                data_type: timestamp_type(),
                nullable: false,
            };
            let source = Arc::new(SourceDef::json(name, name, vec![time], 0));
            let batch = |times: &&[i64]| {
                let times = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
                let rows = RecordBatch::try_from_iter([("ts", Arc::new(times) as _)]);
                Ok(rows.expect("one column"))
            };
            let rows: Vec<Result<RecordBatch, BeginError>> = batches.iter().map(batch).collect();
            (source, rows.into_iter())
        };
        let mut tables = ArchivedTables::new(vec![
            batches("a", &[&[5, 9], &[], &[7]]),
            batches("b", &[&[6], &[7, 2], &[8]]),
        ])?;
        let mut order = Vec::new();
        while let Some((source, rows)) = tables.next()? {
            order.push((source.name.clone(), rows.num_rows()));
        }
        let expected = [("a", 2), ("b", 1), ("b", 2), ("a", 1), ("b", 1)];
        assert_eq!(order, expected.map(|(name, rows)| (name.to_owned(), rows)));
        Ok(())
    }
}
