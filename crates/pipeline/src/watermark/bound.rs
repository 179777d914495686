//! How far the rows of an epoch may move a mark. A producer chooses event times and record times,
//! so neither alone says what the present is: the bound lies beyond what the broker's append time,
//! another partition or the ingest clock support, by what the source declares. Pure: the clock's
//! reading is handed in.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::limits::PRESENT_STEP_US;
use forebay_core::ports::{Origin, SourceBatch};
use forebay_core::time::Micros;
use forebay_core::watermark::Bound;

/// The present of an epoch, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    ingest_us: Micros,
    history_us: Micros,
}

impl Present {
    /// The present when the ingest clock says `now_us`. State is kept `history_us` behind the
    /// watermark.
    #[must_use]
    pub fn new(now_us: Micros, history_us: Micros) -> Self {
        Self {
            ingest_us: now_us.div_euclid(PRESENT_STEP_US) * PRESENT_STEP_US,
            history_us,
        }
    }

    /// No row is too late by a watermark above this: what a read of the present looks at is kept.
    #[must_use]
    pub(crate) fn watermark_max_us(&self) -> Micros {
        self.ingest_us.saturating_add(self.history_us)
    }

    /// The bound of rows at offsets in `[from, until)`, of which the broker's append time and the
    /// other partitions support so much.
    #[must_use]
    pub fn bound(
        &self,
        (from, until): (i64, i64),
        broker_us: Option<Micros>,
        supported_us: Option<Micros>,
        future_max_us: Micros,
    ) -> Bound {
        let least = Some(self.ingest_us).max(broker_us).max(supported_us);
        Bound {
            from,
            until,
            mark_max_us: least
                .unwrap_or(self.ingest_us)
                .saturating_add(future_max_us),
            watermark_max_us: self.watermark_max_us(),
        }
    }
}

/// For each partition of `batch` the greatest time that its broker gave one of the rows.
pub(super) fn broker_times(origin: &Origin) -> Vec<Option<Micros>> {
    let mut newest = vec![None; origin.partitions.len()];
    for (row, of_broker) in origin.broker_time.iter().enumerate() {
        if *of_broker {
            let slot = &mut newest[origin.partition[row] as usize];
            *slot = origin.kafka_time_us[row].max(*slot);
        }
    }
    newest
}

/// Event times of the rows of `batch`.
pub(super) fn event_times(batch: &SourceBatch) -> &[Micros] {
    batch
        .rows
        .column(batch.source.time_column)
        .as_primitive::<TimestampMicrosecondType>()
        .values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_most_that_others_support_and_what_the_source_allows() {
        let step = PRESENT_STEP_US;
        // Clock, broker's append time, second-greatest mark, what it supports.
        let cases = [
            (5 * step + 3, None, None, 5 * step),
            (5 * step + 3, Some(step), Some(2 * step), 5 * step),
            (5 * step, Some(9 * step), None, 9 * step),
            (5 * step, None, Some(8 * step), 8 * step),
            (5 * step, Some(9 * step), Some(8 * step), 9 * step),
            (-1, None, None, -step),
        ];
        for (now, broker, second, supported) in cases {
            let bound = Present::new(now, 7).bound((3, 9), broker, second, 100);
            assert_eq!(
                bound.mark_max_us,
                supported + 100,
                "{now} {broker:?} {second:?}"
            );
            let ingest = now.div_euclid(step) * step;
            assert_eq!(bound.watermark_max_us, ingest + 7, "the present alone");
            assert_eq!((bound.from, bound.until), (3, 9));
        }
    }
}
