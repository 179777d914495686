//! The windows of one series (one model version in one role): open panes, closed windows, and the
//! totals of windows that are no longer kept. Panes are aligned to the UTC epoch, in the
//! *prediction's* event time; a window is the sum of its panes and closes when the mark of the
//! predictions passes its end plus lateness. Rows that come later still count, and are told apart
//! as late. A window is kept for a fixed span behind the mark, so which windows there are, and what
//! they hold, is a function of the rows and the mark.

use std::collections::BTreeMap;

use forebay_core::invariant;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros};

use crate::counts::PaneCounts;
use crate::profile::ReferenceProfile;
use crate::quality::QualityCounts;
use crate::report::ColumnReport;

/// Lengths and limits of a monitor's windows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowPlan {
    pub(crate) window_us: Micros,
    pub(crate) pane_us: Micros,
    pub(crate) lateness_us: Micros,
    /// Closed windows that are kept, those without rows counted too.
    pub(crate) windows_max: i64,
    pub(crate) panes_max: usize,
}

impl WindowPlan {
    /// The greatest of day, hour and minute that cuts the window into several panes; else the
    /// window itself.
    pub(crate) fn pane_of(window_us: Micros) -> Micros {
        let cuts = |pane: &Micros| window_us % pane == 0 && window_us / pane > 1;
        [DAY_US, HOUR_US, MINUTE_US]
            .into_iter()
            .find(cuts)
            .unwrap_or(window_us)
    }

    pub(crate) fn pane_start(&self, time_us: Micros) -> Micros {
        time_us
            .div_euclid(self.pane_us)
            .saturating_mul(self.pane_us)
    }

    pub(crate) fn window_start(&self, time_us: Micros) -> Micros {
        time_us
            .div_euclid(self.window_us)
            .saturating_mul(self.window_us)
    }

    pub(crate) fn window_end(&self, start_us: Micros) -> Micros {
        start_us.saturating_add(self.window_us)
    }

    /// Whether the window that starts at `start_us` has closed at `mark_us`.
    pub(crate) fn has_closed(&self, start_us: Micros, mark_us: Micros) -> bool {
        self.window_end(start_us).saturating_add(self.lateness_us) <= mark_us
    }

    /// Whether it is no longer kept: `windows_max` further ones have closed, with or without rows.
    pub(crate) fn has_gone(&self, start_us: Micros, mark_us: Micros) -> bool {
        let kept_us = self.windows_max.saturating_mul(self.window_us);
        self.has_closed(start_us.saturating_add(kept_us), mark_us)
    }
}

/// A window behind the watermark.
#[derive(Debug)]
pub(crate) struct ClosedWindow {
    pub(crate) counts: PaneCounts,
    /// Late rows came since `columns` was computed.
    pub(crate) is_stale: bool,
    /// All its labels are settled, and that was said.
    pub(crate) is_matured: bool,
    pub(crate) columns: Vec<ColumnReport>,
}

/// Why a row finds no pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPane {
    TooOld,
    Overflowed,
}

/// Panes and windows of one series.
#[derive(Debug, Default)]
pub(crate) struct SeriesWindows {
    pub(crate) panes: BTreeMap<Micros, PaneCounts>,
    pub(crate) closed: BTreeMap<Micros, ClosedWindow>,
    pub(crate) evicted_quality: QualityCounts,
    /// Windows that start before this are no longer kept.
    pub(crate) evicted_before_us: Option<Micros>,
}

impl SeriesWindows {
    /// The counts that a prediction at `time_us` adds to.
    pub(crate) fn target(
        &mut self,
        time_us: Micros,
        plan: &WindowPlan,
        profile: &ReferenceProfile,
    ) -> Result<&mut PaneCounts, NoPane> {
        let start = plan.window_start(time_us);
        if self.evicted_before_us.is_some_and(|before| start < before) {
            return Err(NoPane::TooOld);
        }
        if let Some(window) = self.closed.get_mut(&start) {
            window.is_stale = true;
            return Ok(&mut window.counts);
        }
        let pane = plan.pane_start(time_us);
        if self.panes.len() >= plan.panes_max && !self.panes.contains_key(&pane) {
            return Err(NoPane::Overflowed);
        }
        Ok(self
            .panes
            .entry(pane)
            .or_insert_with(|| PaneCounts::new(profile)))
    }

    /// The quality counts that a label of a prediction at `time_us` changes. The prediction was
    /// counted before.
    pub(crate) fn quality(&mut self, time_us: Micros, plan: &WindowPlan) -> &mut QualityCounts {
        if let Some(window) = self.closed.get_mut(&plan.window_start(time_us)) {
            return &mut window.counts.quality;
        }
        match self.panes.get_mut(&plan.pane_start(time_us)) {
            Some(pane) => &mut pane.quality,
            None => &mut self.evicted_quality,
        }
    }

    /// Close the windows that `mark_us` has passed. Returns their starts, ascending; their
    /// reports are stale.
    pub(crate) fn close(&mut self, mark_us: Micros, plan: &WindowPlan) -> Vec<Micros> {
        let mut starts: Vec<Micros> = Vec::new();
        while let Some(pane) = self.panes.first_entry() {
            let start = plan.window_start(*pane.key());
            if !plan.has_closed(start, mark_us) {
                break;
            }
            let counts = pane.remove();
            match self.closed.get_mut(&start) {
                Some(window) => {
                    window.counts.merge(&counts);
                    window.is_stale = !window.columns.is_empty();
                }
                None => {
                    let window = ClosedWindow {
                        counts,
                        is_stale: false,
                        is_matured: false,
                        columns: Vec::new(),
                    };
                    self.closed.insert(start, window);
                    starts.push(start);
                }
            }
        }
        invariant!(WindowsAscend, starts.is_sorted(), "{starts:?} close");
        starts
    }

    /// Drop the oldest closed window when it is no longer kept; its labels live on in the totals.
    pub(crate) fn evict(
        &mut self,
        mark_us: Micros,
        plan: &WindowPlan,
    ) -> Option<(Micros, ClosedWindow)> {
        let oldest = *self.closed.first_key_value()?.0;
        if !plan.has_gone(oldest, mark_us) {
            return None;
        }
        let (start, window) = self.closed.pop_first()?;
        self.evicted_quality.merge(&window.counts.quality);
        let before_us = Some(plan.window_end(start));
        invariant!(
            WindowsAscend,
            self.evicted_before_us <= before_us,
            "{before_us:?} after {:?}",
            self.evicted_before_us
        );
        self.evicted_before_us = before_us;
        Some((start, window))
    }

    /// The open windows, each the sum of its panes.
    pub(crate) fn open(&self, plan: &WindowPlan) -> BTreeMap<Micros, PaneCounts> {
        let mut windows: BTreeMap<Micros, PaneCounts> = BTreeMap::new();
        for (pane, counts) in &self.panes {
            windows
                .entry(plan.window_start(*pane))
                .and_modify(|window| window.merge(counts))
                .or_insert_with(|| counts.clone());
        }
        windows
    }

    /// Quality over all predictions so far.
    pub(crate) fn total_quality(&self) -> QualityCounts {
        let mut total = self.evicted_quality.clone();
        self.closed
            .values()
            .for_each(|window| total.merge(&window.counts.quality));
        self.panes
            .values()
            .for_each(|pane| total.merge(&pane.quality));
        total
    }
}
