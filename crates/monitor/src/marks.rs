//! How far event time has come for a monitor: two marks, because predictions and labels come from
//! different feeds and one may stop. The mark of the **predictions** closes windows and lets labels
//! go unmatched; the mark of the **labels** lets predictions expire. Both come from `binding`,
//! which reads them from the log; nothing here knows a clock.

use std::collections::BTreeSet;

use forebay_core::time::Micros;

/// Nothing earlier will come, but for what the log itself calls late. Marks never go back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MonitorMarks {
    /// Event time up to which every scored event has its prediction or its settlement.
    pub(crate) predictions_us: Option<Micros>,
    /// Event time up to which the label source has been read.
    pub(crate) labels_us: Option<Micros>,
}

impl MonitorMarks {
    /// Predictions and labels have come equally far.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn both(mark_us: Micros) -> Self {
        Self {
            predictions_us: Some(mark_us),
            labels_us: Some(mark_us),
        }
    }

    /// The further of each.
    #[must_use]
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            predictions_us: self.predictions_us.max(other.predictions_us),
            labels_us: self.labels_us.max(other.labels_us),
        }
    }
}

/// Whether partitions of which nothing is known yet hold a source back: their first rows may be
/// older than any seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Whether each partition of the source has had a row or was held: its watermark is there.
    has_begun: bool,
    /// Partitions whose first row, or hold, is still to be read.
    unread: BTreeSet<i32>,
}

impl Gate {
    /// Whether the source is held back.
    pub(crate) fn holds(&self) -> bool {
        !self.has_begun || !self.unread.is_empty()
    }

    /// Whether the source has a watermark.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The source has a watermark.
    pub(crate) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Something will be read of `partition`.
    pub(crate) fn expect(&mut self, partition: i32) {
        self.unread.insert(partition);
    }

    /// A row of `partition` was read, or it was held.
    pub(crate) fn pass(&mut self, partition: i32) {
        self.unread.remove(&partition);
    }
}

/// The mark of a source: the least event time that its partitions have reached, less its delay;
/// None while one of them has reached none.
pub(crate) fn slowest(
    reached_us: impl Iterator<Item = Option<Micros>>,
    delay_us: Micros,
) -> Option<Micros> {
    let mut least: Option<Micros> = None;
    for reached in reached_us {
        let reached = reached?;
        least = Some(least.map_or(reached, |least| least.min(reached)));
    }
    least.map(|least| least.saturating_sub(delay_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_as_far_as_its_slowest_partition_and_nowhere_while_one_is_unread() {
        let mark = |reached: &[Option<Micros>]| slowest(reached.iter().copied(), 10);
        assert_eq!(mark(&[Some(500), Some(300)]), Some(290));
        assert_eq!(mark(&[Some(500), None]), None);
        assert_eq!(mark(&[]), None);
        let mut gate = Gate::default();
        gate.expect(0);
        gate.expect(1);
        gate.pass(1);
        gate.begin();
        assert!(gate.holds(), "partition 0 is unread");
        gate.pass(0);
        assert!(!gate.holds() && Gate::default().holds());
    }
}
