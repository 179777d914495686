//! An archive in memory: tables of rows, and for each partition the mark up to which a table covers
//! it. As the real one it drops rows below a mark, moves rows and marks together, and knows no
//! event times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use forebay_core::ports::{Archive, TableSnapshot};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::meta;
use forebay_core::value::Value;
use forebay_core::{PortError, PortResult};
use parking_lot::Mutex;

use crate::fate::{Fate, Point};

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

#[derive(Debug, Default)]
struct Table {
    rows: Vec<ArchivedRow>,
    batches: Vec<RecordBatch>,
    marks: BTreeMap<TopicPartition, i64>,
    appends: u64,
}

/// The archive; clones share its contents and follow one fate each.
#[derive(Debug, Clone)]
pub struct MemoryArchive {
    tables: Arc<Mutex<BTreeMap<String, Table>>>,
    fate: Arc<Fate>,
}

impl MemoryArchive {
    /// An empty archive.
    #[must_use]
    pub fn new(fate: &Arc<Fate>) -> Self {
        Self {
            tables: Arc::default(),
            fate: Arc::clone(fate),
        }
    }

    /// The same contents under another fate: after a restart.
    #[must_use]
    pub fn under(&self, fate: &Arc<Fate>) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
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

    /// Where the marks of `table` stand.
    #[must_use]
    pub fn marks(&self, table: &str) -> Applied {
        let progress = |next_offset| PartitionProgress {
            next_offset,
            max_event_time_us: None,
        };
        let tables = self.tables.lock();
        let marks = tables.get(table).map(|table| table.marks.iter());
        Applied(
            marks
                .into_iter()
                .flatten()
                .map(|(place, next)| (place.clone(), progress(*next)))
                .collect(),
        )
    }
}

impl Table {
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
            *mark = (*mark).max(progress.next_offset);
        }
        self.appends += 1;
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
    async fn open_table(&self, name: &str, _schema: SchemaRef) -> PortResult<()> {
        self.tables.lock().entry(name.to_owned()).or_default();
        Ok(())
    }

    async fn progress(&self, name: &str) -> PortResult<Applied> {
        Ok(self.marks(name))
    }

    async fn append(
        &self,
        name: &str,
        batches: Vec<RecordBatch>,
        up_to: &Applied,
    ) -> PortResult<u64> {
        self.fate.meet(Point::Append, || {
            let mut tables = self.tables.lock();
            let table = tables
                .get_mut(name)
                .ok_or_else(|| PortError::not_found(format!("no table '{name}'")))?;
            table.append(&batches, up_to)
        })
    }

    async fn snapshot(&self, name: &str) -> PortResult<TableSnapshot> {
        let tables = self.tables.lock();
        let table = tables
            .get(name)
            .ok_or_else(|| PortError::not_found(format!("no table '{name}'")))?;
        let schema = table.batches.first().map(RecordBatch::schema);
        Ok(TableSnapshot {
            version: i64::try_from(table.appends).expect("nobody appends 2^63 times"),
            schema: schema
                .ok_or_else(|| PortError::not_found(format!("table '{name}' is empty")))?,
            files: Vec::<PathBuf>::new(),
            rows: table.rows.len() as u64,
            applied: {
                let progress = |next_offset| PartitionProgress {
                    next_offset,
                    max_event_time_us: None,
                };
                Applied(
                    table
                        .marks
                        .iter()
                        .map(|(place, next)| (place.clone(), progress(*next)))
                        .collect(),
                )
            },
        })
    }
}
