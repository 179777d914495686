//! The items of an array, which a format puts one by one into the column's own column of items, and
//! the end of the array behind them. How many there may be is asked before each.

use forebay_core::cast::too_many_items;
use forebay_core::limits::ARRAY_MAX_ITEMS;

use super::super::columns::{Column, Values};
use super::super::reject::Reject;

impl Column {
    /// The items of the row under construction; None of a column of no arrays.
    pub(in crate::decode) fn items(&mut self) -> Option<&mut Self> {
        match &mut self.values {
            Values::List(items, _) => Some(items),
            _ => None,
        }
    }

    /// Refuse one more item of the row under construction, where it has as many as it may.
    pub(in crate::decode) fn check_items(&self) -> Result<(), Reject> {
        let Values::List(items, ends) = &self.values else {
            return Ok(());
        };
        let count = items.len() - ends.last();
        if count < ARRAY_MAX_ITEMS {
            return Ok(());
        }
        Err(self.refuse(&too_many_items(count + 1).unwrap_or_default()))
    }

    /// The array of the row under construction is whole.
    pub(in crate::decode) fn end_items(&mut self) {
        if let Values::List(items, ends) = &mut self.values {
            ends.push(items.len());
            self.mark_valid();
        }
    }
}
