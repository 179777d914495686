//! Events that a view leaves out, of those that a row of the spine would see: noted while the
//! table is read, judged when all of it is. Both lowerings count them by this rule, so the number
//! does not depend on what a scan was narrowed to, nor on how a spine is cut.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, UInt32Array};
use arrow_select::take::take;
use forebay_core::fault::{LeftOutRows, RowFault};
use forebay_core::key::KeyBuffer;
use forebay_core::limits::LEFT_OUT_MAX_ROWS;
use forebay_core::ports::CompiledView;
use forebay_core::time::Micros;
use forebay_core::view::ViewSpec;

use super::events::EventBatch;
use super::keys::SpineKeys;
use super::places::Places;
use crate::error::{EngineError, Result};

/// An event of one of the spine's keys that is not younger than all of the key's instants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeftOutEvent {
    key: u32,
    pub(crate) time_us: Micros,
    /// Number of its (topic, partition).
    pub(crate) place: u32,
    pub(crate) offset: i64,
}

/// What one view leaves out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Vec<LeftOutEvent>);

impl LeftOut {
    /// Note rows of `batch` that `view` leaves out; `place` numbers the batch's rows, `time` is the
    /// source's column of event times.
    pub(crate) fn note(
        &mut self,
        view: &dyn CompiledView,
        (batch, time, place): (&EventBatch, usize, &[u32]),
        left_out: &[RowFault],
        keys: &SpineKeys,
    ) -> Result<()> {
        if left_out.is_empty() {
            return Ok(());
        }
        let rows: UInt32Array = left_out.iter().map(|fault| Some(fault.row)).collect();
        let pick = |column: &usize| {
            take(batch.rows.column(*column), &rows, None)
                .map_err(|e| EngineError::Internal(format!("pick the rows left out: {e}")))
        };
        let columns = view.key_columns().iter().map(pick);
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let encoded = KeyBuffer::encode_within(&columns)?.0;
        let times = batch.rows.column(time);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for (index, fault) in left_out.iter().enumerate() {
            let row = fault.row as usize;
            let time_us = times.value(row);
            let key = encoded.get(index).and_then(|key| keys.find(key, time_us));
            if let Some(key) = key.filter(|_| self.0.len() < LEFT_OUT_MAX_ROWS) {
                self.0.push(LeftOutEvent {
                    key,
                    time_us,
                    place: place[row],
                    offset: batch.offset.value(row),
                });
            }
        }
        Ok(())
    }

    /// Those that a row of the spine would see: `sees` tells whether a row has applied an event.
    pub(crate) fn seen(
        self,
        spec: &ViewSpec,
        (keys, at_us): (&SpineKeys, &[Micros]),
        places: &Places,
        sees: impl Fn(usize, &LeftOutEvent) -> bool,
    ) -> LeftOutRows {
        let mut rows = LeftOutRows::default();
        if self.0.is_empty() {
            return rows;
        }
        let mut of_key: HashMap<u32, Vec<usize>> = HashMap::new();
        for (row, key) in keys.of_rows().iter().enumerate() {
            if let Some(key) = key {
                of_key.entry(*key).or_default().push(row);
            }
        }
        for asking in of_key.values_mut() {
            asking.sort_by_key(|row| at_us[*row]);
        }
        let reach_us = spec.reach_us();
        for event in &self.0 {
            let asking = &of_key[&event.key];
            let last_us = reach_us.map_or(Micros::MAX, |r| event.time_us.saturating_add(r));
            let from = asking.partition_point(|row| at_us[*row] < event.time_us);
            let mut seeing = asking[from..]
                .iter()
                .take_while(|row| at_us[**row] <= last_us);
            if seeing.any(|row| sees(*row, event)) {
                rows.insert(places.get(event.place), event.offset);
            }
        }
        rows
    }
}
