//! The events of one test: decoded, by source, with the order in which they are given and the place
//! of each in its file. Records go through the decoder of the stream; what is no row is kept with
//! its reason, as the dead letter that it would be.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use async_trait::async_trait;
use forebay_core::index::RowIndex;
use forebay_core::ports::{Origin, RowStream, Scan, SourceBatch, TableScan};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use forebay_core::{PortError, PortResult};
use forebay_engine::{Given, GivenEvents, Location};
use forebay_kafka::{Record, RecordDecoder};
use futures::stream;

/// An event: its source, and its row among that source's.
pub(super) type Event = (usize, u32);

/// A record that is no row.
#[derive(Debug)]
pub(super) struct Undecoded {
    pub(super) at: Location,
    pub(super) source: String,
    pub(super) why: String,
}

/// Events of one source.
#[derive(Debug)]
pub(super) struct SourceEvents {
    pub(super) source: Arc<SourceDef>,
    pub(super) rows: RecordBatch,
    pub(super) places: Vec<Location>,
}

/// All events of one test.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) sources: Vec<SourceEvents>,
    /// As they are given.
    pub(super) order: Vec<Event>,
    pub(super) undecoded: Vec<Undecoded>,
}

impl Events {
    /// What `given` brings.
    ///
    /// # Errors
    /// A source that the decoder cannot fill: a defect.
    pub(super) fn of(given: &[Given]) -> Result<Self> {
        let mut events = Self {
            sources: Vec::new(),
            order: Vec::new(),
            undecoded: Vec::new(),
        };
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for given in given {
            let (rows, places) = events.decode(given)?;
            let number = *numbers.entry(&given.source.name).or_insert_with(|| {
                events.sources.push(SourceEvents {
                    source: Arc::clone(&given.source),
                    rows: RecordBatch::new_empty(given.source.schema()),
                    places: Vec::new(),
                });
                events.sources.len() - 1
            });
            let of = &mut events.sources[number];
            let first = of.places.len();
            of.rows = concat_batches(&given.source.schema(), [&of.rows, &rows])?;
            of.places.extend(places);
            let rows = RowIndex::all(of.places.len()).skip(first);
            events.order.extend(rows.map(|row| (number, row.number())));
        }
        Ok(events)
    }

    fn decode(&mut self, given: &Given) -> Result<(RecordBatch, Vec<Location>)> {
        let records = match &given.events {
            GivenEvents::Rows(rows) => return Ok((rows.clone(), given.places.clone())),
            GivenEvents::Records(records) => records,
        };
        let source = &given.source;
        let mut decoder = RecordDecoder::new(source, source.event_future_max_us)?;
        let mut places = Vec::new();
        for (record, at) in records.iter().zip(&given.places) {
            let record = Record {
                payload: Some(record.as_bytes()),
                ..Record::default()
            };
            match decoder.push(&record) {
                Ok(()) => places.push(at.clone()),
                Err(reject) => self.undecoded.push(Undecoded {
                    at: at.clone(),
                    source: source.name.clone(),
                    why: format!("{} ({})", reject, reject.reason.label()),
                }),
            }
        }
        Ok((decoder.finish()?, places))
    }

    /// Where `event` stands.
    pub(super) fn place(&self, (source, row): Event) -> &Location {
        &self.sources[source].places[row as usize]
    }

    /// `events` of the test of number `test` as a log brings them: one batch for each run of one
    /// source. Where `spread`, each event is in a partition of its own, so that any order of
    /// arrival is one that logs allow; else all of a source are in one. Ties of event time break in
    /// the order of the text both ways.
    ///
    /// # Errors
    /// Rows cannot be taken: a defect.
    pub(super) fn batches(
        &self,
        test: usize,
        events: &[Event],
        spread: bool,
    ) -> Result<Vec<(SourceBatch, Vec<Event>)>> {
        let runs = events.chunk_by(|a, b| a.0 == b.0);
        runs.map(|run| Ok((self.batch(test, run, spread)?, run.to_vec())))
            .collect()
    }

    fn batch(&self, test: usize, run: &[Event], spread: bool) -> Result<SourceBatch> {
        let of = &self.sources[run[0].0];
        // Tests share a store, and none may have applied what another has.
        let topic: Arc<str> = format!("{test}/{}", of.source.topic).into();
        let rows = UInt32Array::from_iter_values(run.iter().map(|event| event.1));
        let partition = |row: u32| {
            let row = i32::try_from(row).expect("a test has few events");
            TopicPartition::new(Arc::clone(&topic), if spread { row } else { 0 })
        };
        let offset = |row: u32| if spread { 0 } else { i64::from(row) };
        let partitions: Vec<TopicPartition> = if spread {
            run.iter().map(|event| partition(event.1)).collect()
        } else {
            vec![partition(0)]
        };
        let slots = RowIndex::all(run.len()).map(|slot| if spread { slot.number() } else { 0 });
        let origin = Origin {
            partition: slots.collect(),
            offset: run.iter().map(|event| offset(event.1)).collect(),
            kafka_time_us: vec![None; run.len()],
            broker_time: Vec::new(),
            // Nothing is late in a test: what is too late is a matter of watermarks, not of SQL.
            watermark_us: vec![None; run.len()],
            partitions,
        };
        let last = run
            .iter()
            .map(|event| (partition(event.1), offset(event.1) + 1));
        let read_up_to: BTreeMap<TopicPartition, i64> = last.collect();
        Ok(SourceBatch {
            source: Arc::clone(&of.source),
            rows: take_record_batch(&of.rows, &rows)?,
            origin,
            dead_letters: Vec::new(),
            read_up_to: read_up_to.into_iter().collect(),
            last_records: Vec::new(),
        })
    }
}

/// The tables that a point-in-time join reads: of a source without events an empty one.
#[derive(Debug)]
pub(super) struct Tables(pub(super) BTreeMap<String, RecordBatch>);

#[async_trait]
impl TableScan for Tables {
    async fn scan(&self, table: &str, scan: Scan) -> PortResult<RowStream> {
        let rows = self.0.get(table);
        let rows = rows.ok_or_else(|| PortError::internal(format!("no table {table}")))?;
        let Some(columns) = &scan.columns else {
            return Ok(Box::pin(stream::iter([Ok(rows.clone())])));
        };
        let schema = rows.schema_ref();
        let indices: Vec<usize> = columns
            .iter()
            .filter_map(|name| schema.index_of(name).ok())
            .collect();
        let picked = rows.project(&indices);
        let picked = picked.map_err(|e| PortError::internal(format!("pick columns: {e}")));
        Ok(Box::pin(stream::iter([picked])))
    }
}
