//! The events of one view that the spine's keys can see: their places in the total order, and their
//! argument and FILTER columns, kept in pieces as they were read. Sorted at the end by (key, event
//! time, partition, offset).

use std::ops::Range;

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_select::filter::filter;
use arrow_select::filter::prep_null_mask_filter;
use forebay_core::aggregate::{PartialSpec, RowOrder};
use forebay_core::key::KeyBuffer;
use forebay_core::memory::Reservation;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::FoldBatch;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::error::{EngineError, Result};
use crate::input::SpineKeys;

/// Where one event stands, in time, in the log and in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) time_us: Micros,
    pub(super) offset: i64,
    pub(super) partition: i32,
    /// Number of its (topic, partition).
    pub(super) place: u32,
    key: u32,
    chunk: u32,
    row: u32,
}

impl Event {
    /// Its place in the order that decides the last value.
    pub(super) fn order(&self) -> RowOrder {
        RowOrder {
            time_us: self.time_us,
            partition: self.partition,
            offset: self.offset,
        }
    }

    /// Whether it was applied under `cut`: next offsets by place.
    pub(super) fn is_below(&self, cut: &[i64]) -> bool {
        self.offset < cut[self.place as usize]
    }
}

/// For each row of a decoded batch: number of its (topic, partition), partition, offset.
#[derive(Debug)]
pub(super) struct BatchPlaces<'a> {
    pub(super) place: &'a [u32],
    pub(super) partition: &'a [i32],
    pub(super) offset: &'a [i64],
}

/// Columns of the kept rows of one batch.
#[derive(Debug)]
struct Chunk {
    arguments: Vec<ArrayRef>,
    filters: Vec<BooleanArray>,
}

/// Argument and FILTER values of events.
#[derive(Debug, Default)]
pub(super) struct Columns {
    chunks: Vec<Chunk>,
}

impl Columns {
    /// Whether `event` passes the FILTER of `spec`; NULL does not.
    pub(super) fn passes(&self, spec: &PartialSpec, event: &Event) -> bool {
        spec.filter.is_none_or(|index| {
            let filter = &self.chunks[event.chunk as usize].filters[index];
            filter.is_valid(event.row as usize) && filter.value(event.row as usize)
        })
    }

    /// Values of the arguments of `spec`.
    pub(super) fn arguments(&self, spec: &PartialSpec, event: &Event) -> Result<Vec<Value>> {
        let columns = &self.chunks[event.chunk as usize].arguments;
        let value = |index: &usize| Value::from_array(&columns[*index], event.row as usize);
        let values: PortResult<Vec<Value>> = spec.arguments.iter().map(value).collect();
        Ok(values?)
    }
}

/// Collects events of one view.
#[derive(Debug)]
pub(super) struct Collector {
    columns: Columns,
    events: Vec<Event>,
    memory: Reservation,
}

impl Collector {
    /// Draws on `memory` for what it keeps.
    pub(super) fn new(memory: Reservation) -> Self {
        Self {
            columns: Columns::default(),
            events: Vec::new(),
            memory,
        }
    }

    /// Take the rows of `folded` whose key and time the spine can see.
    pub(super) fn add(
        &mut self,
        folded: &FoldBatch,
        places: &BatchPlaces<'_>,
        keys: &SpineKeys,
    ) -> Result<()> {
        let encoded = KeyBuffer::encode_within(&folded.keys)?.0;
        let chunk = u32::try_from(self.columns.chunks.len()).map_err(|_| {
            EngineError::Internal("a table has more batches than u32 counts".to_owned())
        })?;
        let mut kept = vec![false; encoded.len()];
        let mut row = 0;
        for (index, keep) in kept.iter_mut().enumerate() {
            let time_us = folded.times.value(index);
            let Some(key) = encoded.get(index).and_then(|key| keys.find(key, time_us)) else {
                continue;
            };
            let source_row = folded.source_rows[index] as usize;
            self.events.push(Event {
                time_us,
                offset: places.offset[source_row],
                partition: places.partition[source_row],
                place: places.place[source_row],
                key,
                chunk,
                row,
            });
            *keep = true;
            row += 1;
        }
        if row > 0 {
            self.keep(folded, kept, row as usize)?;
        }
        Ok(())
    }

    /// Copy the columns of the kept `rows`. Their share of the batch is reserved before, and put
    /// right to what they hold afterwards.
    fn keep(&mut self, folded: &FoldBatch, kept: Vec<bool>, rows: usize) -> Result<()> {
        let before = self.memory.bytes();
        let whole = bytes_of(&folded.arguments, &folded.filters);
        let events = rows * size_of::<Event>();
        self.memory
            .grow(whole / kept.len().max(1) * rows + events)?;
        let chunk = chunk_of(folded, kept)?;
        let held = before + bytes_of(&chunk.arguments, &chunk.filters) + events;
        let more = held.saturating_sub(self.memory.bytes());
        self.memory.grow(more)?;
        self.memory.shrink_to(held);
        self.columns.chunks.push(chunk);
        Ok(())
    }

    /// All events, sorted, and where each key's lie.
    pub(super) fn finish(self, keys: usize) -> Events {
        let Self {
            columns,
            mut events,
            memory,
        } = self;
        events.sort_unstable_by_key(|e| (e.key, e.time_us, e.partition, e.offset, e.chunk, e.row));
        let mut ranges = vec![0..0; keys];
        let mut start = 0;
        for run in events.chunk_by(|a, b| a.key == b.key) {
            ranges[run[0].key as usize] = start..start + run.len();
            start += run.len();
        }
        Events {
            columns,
            events,
            ranges,
            _memory: memory,
        }
    }
}

/// What the columns hold, not counting what lies behind or beyond their rows in shared buffers.
fn bytes_of(arguments: &[ArrayRef], filters: &[BooleanArray]) -> usize {
    let arguments = arguments.iter().map(|array| array_bytes(array.as_ref()));
    let filters = filters.iter().map(|array| array_bytes(array));
    arguments.chain(filters).sum()
}

fn array_bytes(array: &dyn Array) -> usize {
    let data = array.to_data();
    // Text as views has no slice of its own: all of it counts.
    let sliced = data.get_slice_memory_size();
    sliced.unwrap_or_else(|_| data.get_buffer_memory_size())
}

fn chunk_of(folded: &FoldBatch, kept: Vec<bool>) -> Result<Chunk> {
    if kept.iter().all(|keep| *keep) {
        return Ok(Chunk {
            arguments: folded.arguments.clone(),
            filters: folded.filters.clone(),
        });
    }
    let mask = BooleanArray::from(kept);
    let failed = |e| EngineError::Internal(format!("keep the rows of the spine's keys: {e}"));
    let arguments = folded
        .arguments
        .iter()
        .map(|a| filter(a, &mask).map_err(failed))
        .collect::<Result<_>>()?;
    let filters = folded.filters.iter().map(|column| {
        // NULL counts as false, so the nulls need not be kept.
        let plain = if column.null_count() > 0 {
            prep_null_mask_filter(column)
        } else {
            column.clone()
        };
        filter(&plain, &mask)
            .map_err(failed)
            .map(|kept| BooleanArray::from(kept.to_data()))
    });
    Ok(Chunk {
        arguments,
        filters: filters.collect::<Result<_>>()?,
    })
}

/// Sorted events of one view.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) columns: Columns,
    events: Vec<Event>,
    ranges: Vec<Range<usize>>,
    /// For as long as the events are there.
    _memory: Reservation,
}

impl Events {
    /// Each record of the log is there once.
    ///
    /// # Errors
    /// One is there twice, and would count twice.
    pub(super) fn check_once(&self) -> Result<()> {
        let at = |e: &Event| (e.key, e.time_us, e.partition, e.offset);
        let runs = self.events.chunk_by(|a, b| at(a) == at(b));
        for run in runs.filter(|run| run.len() > 1) {
            // Records of several topics may have one number of partition and one offset.
            let mut places: Vec<u32> = run.iter().map(|event| event.place).collect();
            places.sort_unstable();
            if places.windows(2).any(|pair| pair[0] == pair[1]) {
                let Event {
                    offset, partition, ..
                } = run[0];
                let words = format!(
                    "the record at offset {offset} of partition {partition} is there twice; restore the events from a \
                     backup"
                );
                return Err(PortError::new(ErrorKind::DataLoss, words).into());
            }
        }
        Ok(())
    }

    /// Events of one key, in order.
    pub(super) fn of_key(&self, key: u32) -> &[Event] {
        &self.events[self.ranges[key as usize].clone()]
    }
}
