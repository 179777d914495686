//! From the finished rows of a read to the arrays that it answers with. The rows are shared with
//! the table; the arrays are copies, so what they take is reserved before they are built, and a
//! text that a short request asks for many times is refused by its sum. [`crate::store`] finds the
//! rows.

use std::sync::Arc;

use forebay_core::aggregate::cells::Cell;
use forebay_core::cells::Cells;
use forebay_core::limits::ANSWER_MAX_BYTES;
use forebay_core::memory::Reservation;
use forebay_core::ports::{ShardEpoch, ViewRows};
use forebay_core::value::Value;
use forebay_core::view::{FeatureStatus, ViewSpec};
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::key_state::HotRow;

/// What an answer holds of each row beside its values, bytes: status, time, what was applied.
const ROW_BYTES: usize = 64;
/// One value of an array and its bit of validity, or of a text its offset and spare room, bytes.
const CELL_BYTES: usize = 16;

/// The rows of an answer, in the order of the request; None: the key has no row.
pub(crate) struct Answers {
    pub(crate) rows: Vec<Option<Arc<HotRow>>>,
    pub(crate) applied: Vec<Option<ShardEpoch>>,
}

impl Answers {
    /// What the answer takes as arrays, bytes.
    fn bytes(&self, spec: &ViewSpec) -> PortResult<usize> {
        let text = |cell: &Cell| match cell {
            Ok(value) => value.text_bytes(),
            Err(_) => 0,
        };
        let texts = self.rows.iter().flatten().flat_map(|row| &row.values);
        let texts: usize = texts.map(text).sum();
        if texts > ANSWER_MAX_BYTES {
            return Err(PortError::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "the answer of view {} would hold {texts} bytes of text, above {ANSWER_MAX_BYTES} (ANSWER_MAX_BYTES); \
                     ask for fewer rows at once",
                    spec.name
                ),
            ));
        }
        Ok(self.rows.len() * (ROW_BYTES + spec.aggregates.len() * CELL_BYTES) + texts)
    }

    /// The arrays of the answer, once `memory` has room for them: a few bytes of request can ask
    /// for one long text many times.
    pub(crate) fn into_view_rows(
        self,
        spec: &ViewSpec,
        memory: &mut Reservation,
    ) -> PortResult<ViewRows> {
        memory.grow(self.bytes(spec)?)?;
        let null = Ok(Value::Null);
        let mut aggregates = Cells::default();
        for (output, aggregate) in spec.aggregates.iter().enumerate() {
            let cells = self
                .rows
                .iter()
                .map(|row| row.as_ref().map_or(&null, |row| &row.values[output]));
            aggregates.append(aggregate, cells)?;
        }
        let status = self
            .rows
            .iter()
            .map(|row| {
                row.as_ref()
                    .map_or(FeatureStatus::NotFound, |row| row.status)
            })
            .collect();
        let newest_us = self
            .rows
            .iter()
            .map(|row| row.as_ref().and_then(|row| row.newest_us))
            .collect();
        Ok(ViewRows {
            aggregates,
            status,
            newest_us,
            applied: self.applied,
        })
    }
}
