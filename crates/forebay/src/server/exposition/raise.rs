//! A counter of the exposition follows a total that somebody else counts: it is read once a
//! second, and never falls.

use forebay_telemetry::Counter;

/// Counters only grow, over every start of ingest in this process: the difference to what was
/// exposed is added.
pub(super) fn raise(counter: &Counter, total: u64) {
    counter.add(total.saturating_sub(counter.value()));
}
