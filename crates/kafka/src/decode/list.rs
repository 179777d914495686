//! Where the arrays of a column under construction end: their items lie in a column of their own,
//! one row's behind another's (`columns`), and are put there one by one (`cell/items`). A record
//! that is rejected in the middle of an array leaves items behind the last end, which `truncate`
//! tells to cut off with the row.

use std::sync::Arc;

use arrow_array::{ArrayRef, ListArray};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef};
use forebay_core::invariant;

use crate::error::Error;

/// The ends of the rows that are whole, in items.
#[derive(Debug, Default)]
pub(super) struct Ends(Vec<i32>);

impl Ends {
    /// Where the items of the row under construction begin.
    pub(super) fn last(&self) -> usize {
        self.0.last().map_or(0, |end| *end as usize)
    }

    /// The row under construction is whole, and with it there are `items`.
    pub(super) fn push(&mut self, items: usize) {
        // A batch is cut long before 2^31 items: each takes a byte of an event at least.
        self.0.push(items as i32);
    }

    /// Keep the first `rows` rows; how many items these have.
    pub(super) fn truncate(&mut self, rows: usize) -> usize {
        self.0.truncate(rows);
        self.last()
    }

    /// The column of `rows` rows with these items.
    pub(super) fn finish(
        &mut self,
        field: &FieldRef,
        rows: usize,
        items: ArrayRef,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, Error> {
        let too_large = || Error::BatchTooLarge {
            column: field.name().clone(),
        };
        i32::try_from(items.len()).map_err(|_| too_large())?;
        invariant!(
            ColumnsAgree,
            self.0.len() == rows && self.last() == items.len(),
            "column {}: {} ends for {rows} rows",
            field.name(),
            self.0.len()
        );
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        offsets.append(&mut self.0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let DataType::List(item) = field.data_type() else {
            return Err(too_large());
        };
        let array = ListArray::try_new(FieldRef::clone(item), offsets, items, nulls);
        Ok(Arc::new(array.expect(
            "items are of their field's type, and ends never fall",
        )))
    }
}
