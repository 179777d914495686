//! One event into one state, as both ways of answering a probe do it: the slide over all events of
//! a key, and the leaves of the tree. WHERE and FILTER are decided before.

use forebay_core::aggregate::{Partial, PartialSpec};

use super::collect::{Columns, Event};
use crate::error::Result;

/// Fold `event`, which passes the FILTER, into `state`.
pub(super) fn fold(
    state: &mut Partial,
    spec: &PartialSpec,
    columns: &Columns,
    event: &Event,
) -> Result<()> {
    let arguments = columns.arguments(spec, event)?;
    state.update(&arguments, event.order());
    Ok(())
}
