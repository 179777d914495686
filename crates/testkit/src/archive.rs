//! An archive in memory: tables of rows, and for each partition the mark up to which a table covers
//! it. As the real one it drops rows below a mark, moves rows and marks together, dates each
//! append, and knows no event times in its marks. Its clock counts appends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::growth::grown;
use forebay_core::ports::{
    Archive, Beginnings, LogIdentity, RowStream, Scan, TableScan, TableSnapshot,
};
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::timestamp_type;
use forebay_core::value::Value;
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;

use crate::fate::{Fate, Point};
use crate::tables::scanned;

/// One row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchivedRow {
    /// Its record's topic and partition.
    pub place: TopicPartition,
    /// Its record's offset.
    pub offset: i64,
    /// Its columns by name, those of [`meta`] too (but `_ingest_time`).
    pub values: BTreeMap<String, Value>,
}

#[derive(Debug)]
struct Table {
    id: String,
    /// All columns, `_ingest_time` too.
    schema: SchemaRef,
    rows: Vec<ArchivedRow>,
    batches: Vec<RecordBatch>,
    /// For each batch the append that it came with, from 1.
    ingested: Vec<i64>,
    marks: BTreeMap<TopicPartition, i64>,
    beginnings: Beginnings,
    logs: BTreeMap<String, LogIdentity>,
    last: BTreeMap<TopicPartition, RecordDigest>,
    appends: u64,
}

/// The archive; clones share its contents and follow one fate each.
#[derive(Debug, Clone)]
pub struct MemoryArchive {
    tables: Arc<Mutex<BTreeMap<String, Table>>>,
    scans: Arc<Mutex<Vec<(String, Scan)>>>,
    /// Tables that were ever made.
    made: Arc<AtomicU64>,
    fate: Arc<Fate>,
}

impl MemoryArchive {
    /// An empty archive.
    #[must_use]
    pub fn new(fate: &Arc<Fate>) -> Self {
        Self {
            tables: Arc::default(),
            scans: Arc::default(),
            made: Arc::default(),
            fate: Arc::clone(fate),
        }
    }

    /// The same contents under another fate: after a restart.
    #[must_use]
    pub fn under(&self, fate: &Arc<Fate>) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
            scans: Arc::clone(&self.scans),
            made: Arc::clone(&self.made),
            fate: Arc::clone(fate),
        }
    }

    /// The rows of `table`, by place.
    #[must_use]
    pub fn rows(&self, table: &str) -> Vec<ArchivedRow> {
        let mut rows = self
            .tables
            .lock()
            .get(table)
            .map(|table| table.rows.clone())
            .unwrap_or_default();
        rows.sort_by(|a, b| (&a.place, a.offset).cmp(&(&b.place, b.offset)));
        rows
    }

    /// The batches of `table` as they were appended, rows that were dropped left out.
    #[must_use]
    pub fn batches(&self, table: &str) -> Vec<RecordBatch> {
        self.tables
            .lock()
            .get(table)
            .map(|table| table.batches.clone())
            .unwrap_or_default()
    }

    /// `table` is gone: the next one of its name is another.
    pub fn lose(&self, table: &str) {
        self.tables.lock().remove(table);
    }

    /// `table` is as an earlier build made it: it does not know its log.
    pub fn forget_log(&self, table: &str) {
        if let Some(table) = self.tables.lock().get_mut(table) {
            table.logs.clear();
            table.last.clear();
        }
    }

    /// What was asked of which table, in order.
    #[must_use]
    pub fn scans(&self) -> Vec<(String, Scan)> {
        self.scans.lock().clone()
    }

    /// Where the marks of `table` stand.
    #[must_use]
    pub fn marks(&self, table: &str) -> Applied {
        let tables = self.tables.lock();
        tables.get(table).map(applied).unwrap_or_default()
    }
}

impl MemoryArchive {
    /// What `name` holds is read, as far as fate allows.
    fn read(&self, name: &str) -> PortResult<()> {
        if self.fate.is_shut(name) {
            let words = format!("table '{name}' is damaged by the test");
            return Err(PortError::new(ErrorKind::DataLoss, words));
        }
        Ok(())
    }
}

impl Table {
    fn new(wanted: &SchemaRef, id: String) -> Self {
        let mut fields: Vec<Arc<Field>> = wanted.fields().iter().cloned().collect();
        if wanted.column_with_name(meta::INGEST_TIME).is_none() {
            fields.push(Arc::new(Field::new(
                meta::INGEST_TIME,
                timestamp_type(),
                false,
            )));
        }
        Self {
            id,
            schema: Arc::new(Schema::new(fields)),
            rows: Vec::new(),
            batches: Vec::new(),
            ingested: Vec::new(),
            marks: BTreeMap::new(),
            beginnings: Beginnings::default(),
            logs: BTreeMap::new(),
            last: BTreeMap::new(),
            appends: 0,
        }
    }

    /// Batch `number` as a reader sees it.
    fn whole(&self, number: usize) -> PortResult<RecordBatch> {
        let batch = &self.batches[number];
        let time: ArrayRef = Arc::new(
            TimestampMicrosecondArray::from_value(self.ingested[number], batch.num_rows())
                .with_timezone("UTC"),
        );
        let columns = self.schema.fields().iter().map(|field| {
            match batch.column_by_name(field.name()) {
                Some(column) => Arc::clone(column),
                None if field.name() == meta::INGEST_TIME => Arc::clone(&time),
                // The table has it since, or its source no longer has it.
                None => new_null_array(field.data_type(), batch.num_rows()),
            }
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())
            .map_err(|e| PortError::internal(format!("the rows do not fit their table: {e}")))
    }

    fn append(&mut self, batches: &[RecordBatch], up_to: &Applied) -> PortResult<u64> {
        let mut fresh = 0;
        for batch in batches {
            let mut kept: Option<(usize, usize)> = None;
            for row in 0..batch.num_rows() {
                let archived = read_row(batch, row)?;
                assert!(
                    archived.offset < up_to.next_offset(&archived.place),
                    "row {} of {:?} lies above the mark that it comes with",
                    archived.offset,
                    archived.place
                );
                if archived.offset >= self.marks.get(&archived.place).copied().unwrap_or(0) {
                    self.rows.push(archived);
                    fresh += 1;
                    kept = match kept {
                        Some((from, to)) if to == row => Some((from, row + 1)),
                        Some((from, to)) => {
                            self.batches.push(batch.slice(from, to - from));
                            Some((row, row + 1))
                        }
                        None => Some((row, row + 1)),
                    };
                }
            }
            self.batches
                .extend(kept.map(|(from, to)| batch.slice(from, to - from)));
        }
        for (place, progress) in &up_to.0 {
            let mark = self.marks.entry(place.clone()).or_default();
            if progress.next_offset > *mark {
                *mark = progress.next_offset;
                let last = progress.last.map(|last| (place.clone(), last));
                self.last.extend(last);
            }
        }
        self.appends += 1;
        let now = i64::try_from(self.appends).expect("few appends");
        self.ingested.resize(self.batches.len(), now);
        Ok(fresh)
    }
}

fn read_row(batch: &RecordBatch, row: usize) -> PortResult<ArchivedRow> {
    let mut values = BTreeMap::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        values.insert(
            field.name().clone(),
            Value::from_array(column.as_ref(), row)?,
        );
    }
    match (
        &values[meta::TOPIC],
        &values[meta::PARTITION],
        &values[meta::OFFSET],
    ) {
        (Value::Text(topic), Value::Int(partition), Value::Int(offset)) => {
            let place = TopicPartition::new(
                Arc::clone(topic),
                i32::try_from(*partition).expect("the column is an Int32"),
            );
            Ok(ArchivedRow {
                place,
                offset: *offset,
                values: values.clone(),
            })
        }
        other => Err(PortError::internal(format!(
            "{other:?} is no place in a log"
        ))),
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn open_table(&self, name: &str, schema: SchemaRef) -> PortResult<()> {
        let wanted = Table::new(&schema, String::new()).schema;
        let mut tables = self.tables.lock();
        let table = tables.entry(name.to_owned()).or_insert_with(|| {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            Table::new(&schema, format!("{name}-{number}"))
        });
        let differs = |why| {
            let words = format!("table '{name}' has another schema: {why}");
            PortError::new(ErrorKind::AlreadyExists, words)
        };
        if let Some(grown) = grown(&table.schema, &wanted).map_err(differs)? {
            table.schema = grown;
        }
        Ok(())
    }

    async fn begin(
        &self,
        name: &str,
        beginnings: &Beginnings,
        logs: &BTreeMap<String, LogIdentity>,
    ) -> PortResult<()> {
        self.fate.meet_note(name).await;
        let mut tables = self.tables.lock();
        let table = tables
            .get_mut(name)
            .ok_or_else(|| PortError::not_found(format!("no table '{name}'")))?;
        let noted = &mut table.beginnings;
        for (partition, cut) in &beginnings.cut {
            let begun = [&beginnings.from, &noted.from].map(|from| from.0.contains_key(partition));
            if begun != [true; 2] {
                noted.note_cut(partition, *cut);
            }
        }
        for (partition, from) in &beginnings.from.0 {
            if !noted.from.0.contains_key(partition) {
                noted.from.advance(partition, *from);
            }
        }
        for (topic, log) in logs {
            table.logs.entry(topic.clone()).or_default().take(log);
        }
        Ok(())
    }

    async fn progress(&self, name: &str) -> PortResult<Applied> {
        self.read(name)?;
        if !self.tables.lock().contains_key(name) {
            return Err(PortError::not_found(format!("no table '{name}'")));
        }
        Ok(self.marks(name))
    }

    async fn append(
        &self,
        name: &str,
        batches: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64> {
        self.fate.meet_table(name).await?;
        self.fate.meet(Point::Append, || {
            let mut tables = self.tables.lock();
            let table = tables
                .get_mut(name)
                .ok_or_else(|| PortError::not_found(format!("no table '{name}'")))?;
            table.append(&batches, up_to)
        })
    }

    async fn snapshot(&self, name: &str) -> PortResult<TableSnapshot> {
        self.fate.answers(name).await;
        self.read(name)?;
        let tables = self.tables.lock();
        let table = tables
            .get(name)
            .ok_or_else(|| PortError::not_found(format!("no table '{name}'")))?;
        Ok(TableSnapshot {
            id: table.id.clone(),
            version: i64::try_from(table.appends).expect("few appends"),
            schema: Arc::clone(&table.schema),
            rows: table.rows.len() as u64,
            applied: applied(table),
            beginnings: table.beginnings.clone(),
            logs: table.logs.clone(),
            last: table.last.clone(),
        })
    }
}

#[async_trait]
impl TableScan for MemoryArchive {
    async fn scan(&self, name: &str, scan: Scan) -> PortResult<RowStream> {
        self.scans.lock().push((name.to_owned(), scan.clone()));
        self.read(name)?;
        let broken = self.fate.meet_read(name).await?;
        let batches = {
            let tables = self.tables.lock();
            let table = tables
                .get(name)
                .ok_or_else(|| PortError::not_found(format!("no table '{name}'")))?;
            (0..table.batches.len())
                .map(|number| table.whole(number))
                .collect::<PortResult<Vec<_>>>()?
        };
        let rows = scanned(batches, &scan)?;
        let Some(kind) = broken else {
            return Ok(rows);
        };
        let is_empty = |batch: &PortResult<RecordBatch>| {
            let rows = batch.as_ref().map_or(1, RecordBatch::num_rows);
            std::future::ready(rows == 0)
        };
        let first = rows.skip_while(is_empty).take(1);
        let error = move || PortError::new(kind, "the read is broken off by the test");
        let breaks = first.flat_map(move |batch| stream::iter([batch, Err(error())]));
        Ok(Box::pin(breaks))
    }
}

fn applied(table: &Table) -> Applied {
    let progress = |next_offset| PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last: None,
    };
    Applied(
        table
            .marks
            .iter()
            .map(|(place, next)| (place.clone(), progress(*next)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_in_memory_does_what_every_archive_must() {
        futures::executor::block_on(crate::conformance::archive(|| {
            MemoryArchive::new(&Arc::default())
        }));
    }
}
