//! What the probe and the batch lowering read and write alike: the spine that a caller hands over,
//! the events of a source (a stream of batches), and the answer, one row for each
//! spine row.
//!
//! Nothing here knows a window or an aggregate. Columns are brought to their declared types where
//! no value is lost and refused by name where one could be; events leave as batches with the
//! source's columns, spines as request rows.

mod events;
mod keys;
mod left_out;
mod lookup;
mod places;
mod presence;
mod spine;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use events::{EventBatch, TableReader, event_scan};
pub(crate) use keys::SpineKeys;
pub(crate) use left_out::LeftOut;
pub(crate) use lookup::{open_table, source_of};
pub(crate) use places::Places;
pub(crate) use presence::apply_presence;
pub(crate) use spine::Spine;
pub(crate) use worker::{STACK_BYTES, in_background};
