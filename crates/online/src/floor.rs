//! The floor of each view: the event time below which no read that is still answered looks. It is
//! the least watermark of the view's partitions, idle ones left out, less the view's reach and the
//! history, and never above what a pending score of any shard still reads. A function of what the
//! shard has applied, never of a clock; `expiry` removes what lies below.

use std::collections::HashMap;

use forebay_core::time::Micros;
use forebay_core::view::ViewId;

use crate::view::{ViewRuntime, Views};
use crate::writer::Writer;

/// Floors of the registered views, as of the epoch before: the rows of this epoch's own scores lie
/// above. A view that is set aside has none.
#[derive(Debug, Default)]
pub(crate) struct Floors(HashMap<ViewId, Micros>);

impl Floors {
    pub(crate) fn new(
        writer: &Writer,
        views: &Views,
        oldest_pending_us: Micros,
        history_us: Micros,
    ) -> Self {
        let floor = |view: &ViewRuntime| {
            if writer.damage(view.spec.id).is_some() {
                return None;
            }
            let topics = &writer.horizons.get(&view.spec.id)?.topics;
            let mut least: Option<Micros> = None;
            for (partition, progress) in &writer.progress.applied.0 {
                // A partition that never had a row holds nothing back.
                if progress.max_event_time_us.is_none() || !topics.contains(&partition.topic) {
                    continue;
                }
                // An idle partition is held where the others stand: what it brings later lies
                // below the floor, where no read that is answered looks.
                let watermark = writer.progress.watermarks.get(partition).copied();
                let watermark = watermark.max(writer.holds.watermark_us(partition))?;
                least = Some(least.map_or(watermark, |l| l.min(watermark)));
            }
            let readable = least?.saturating_sub(history_us).min(oldest_pending_us);
            Some(readable.saturating_sub(view.reach_us))
        };
        Self(
            views
                .iter()
                .filter_map(|(id, view)| Some((*id, floor(view)?)))
                .collect(),
        )
    }

    /// No read of `view` is answered any more.
    pub(crate) fn forget(&mut self, view: ViewId) {
        self.0.remove(&view);
    }

    pub(crate) fn of(&self, view: ViewId) -> Option<Micros> {
        self.0.get(&view).copied()
    }
}
