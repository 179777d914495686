//! The entity keys of a spine, numbered: equal keys get one number, a key with a NULL part, or over
//! its limit, gets none, as no event has it. Keys are compared as core encodes them, the same bytes
//! that shards and tiles use.

use std::collections::HashMap;

use arrow_array::{Array, ArrayRef};
use forebay_core::key::KeyBuffer;
use forebay_core::time::Micros;

use crate::error::Result;

/// Rows encoded at a time: the encodings of one piece are the only copy of all keys.
const PIECE_ROWS: usize = 65_536;

/// Numbers of the spine's distinct keys.
#[derive(Debug, Default)]
pub(crate) struct SpineKeys {
    numbers: HashMap<Box<[u8]>, u32>,
    /// For each spine row the number of its key.
    of_row: Vec<Option<u32>>,
    /// For each key the last instant that is asked for: younger events are of no use.
    last_at_us: Vec<Micros>,
}

impl SpineKeys {
    /// Number the rows of `columns`, whose instants are `at`.
    pub(crate) fn new(columns: &[ArrayRef], at: &[Micros]) -> Result<Self> {
        let mut keys = Self {
            of_row: Vec::with_capacity(at.len()),
            ..Self::default()
        };
        for start in (0..at.len()).step_by(PIECE_ROWS) {
            let rows = PIECE_ROWS.min(at.len() - start);
            let piece: Vec<ArrayRef> = columns.iter().map(|c| c.slice(start, rows)).collect();
            let encoded = KeyBuffer::encode_within(&piece)?.0;
            for row in 0..rows {
                let number = encoded
                    .get(row)
                    .map(|key| keys.number(key, at[start + row]));
                keys.of_row.push(number);
            }
        }
        Ok(keys)
    }

    fn number(&mut self, key: &[u8], at_us: Micros) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            let last = &mut self.last_at_us[*number as usize];
            *last = (*last).max(at_us);
            return *number;
        }
        let number =
            u32::try_from(self.last_at_us.len()).expect("a spine has fewer rows than u32 counts");
        self.numbers.insert(key.into(), number);
        self.last_at_us.push(at_us);
        number
    }

    /// The number of `key` if a row of the spine can see an event of it at `time_us`.
    pub(crate) fn find(&self, key: &[u8], time_us: Micros) -> Option<u32> {
        let number = *self.numbers.get(key)?;
        (time_us <= self.last_at_us[number as usize]).then_some(number)
    }

    /// Distinct keys.
    pub(crate) fn count(&self) -> usize {
        self.last_at_us.len()
    }

    /// The key of each spine row.
    pub(crate) fn of_rows(&self) -> &[Option<u32>] {
        &self.of_row
    }
}
