//! One series of a monitor: its windows, the alarms of its columns, and what an advancing watermark
//! makes of them. Alarms are folded from the closed windows each time, so that a late window or a
//! revision gives what a straight run would have given; what was announced is remembered, so that
//! only changes go out.

use std::collections::BTreeMap;

use forebay_core::definition::MonitorDef;
use forebay_core::invariant;
use forebay_core::prediction::Role;
use forebay_core::time::Micros;

use crate::alarm::{AlarmRule, AlarmState, Outcome};
use crate::counts::PaneCounts;
use crate::evaluate::{DriftRules, top_bins};
use crate::labels::LabelJoin;
use crate::marks::MonitorMarks;
use crate::profile::ReferenceProfile;
use crate::report::{
    AlarmNotice, ColumnReport, MonitorEvent, RaisedAlarm, SeriesReport, Verdict, WindowReport,
    WindowState,
};
use crate::window::{ClosedWindow, SeriesWindows, WindowPlan};

/// An alarm is over only clearly below its threshold.
const CLEAR_FACTOR: f64 = 0.8;
/// Bins that an alarm names.
const TOP_BINS: usize = 3;

/// What all series of a monitor share.
#[derive(Debug)]
pub(crate) struct SeriesContext {
    pub(crate) def: MonitorDef,
    pub(crate) profile: ReferenceProfile,
    pub(crate) rules: DriftRules,
    pub(crate) plan: WindowPlan,
    pub(crate) alarm: AlarmRule,
}

/// One model version in one role.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) version: u32,
    pub(crate) role: Role,
    pub(crate) windows: SeriesWindows,
    /// One for each column.
    pub(crate) alarms: Vec<ColumnAlarm>,
    /// Whether a deployment still routes to it; the alarms of one that gets no traffic are over.
    is_routed: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnAlarm {
    /// State before the oldest kept window, and when it went up.
    pub(crate) base: AlarmState,
    pub(crate) base_since_us: Option<Micros>,
    /// Changes that were announced: window start -> direction.
    pub(crate) announced: BTreeMap<Micros, bool>,
    /// The last word that went out.
    pub(crate) announced_up: bool,
    /// End of the window that raised the alarm; None while it is down.
    pub(crate) since_us: Option<Micros>,
}

impl Series {
    pub(crate) fn new(version: u32, role: Role, columns: usize, is_routed: bool) -> Self {
        Self {
            version,
            role,
            windows: SeriesWindows::default(),
            alarms: vec![ColumnAlarm::default(); columns],
            is_routed,
        }
    }

    /// Close what the mark of the predictions has passed, evaluate what changed, and say so.
    pub(crate) fn advance(
        &mut self,
        marks: MonitorMarks,
        context: &SeriesContext,
        join: Option<&LabelJoin>,
        events: &mut Vec<MonitorEvent>,
    ) {
        let Some(mark_us) = marks.predictions_us else {
            return;
        };
        let mut changed = self.windows.close(mark_us, &context.plan);
        changed.extend(
            self.windows
                .closed
                .iter_mut()
                .filter(|(_, window)| window.is_stale)
                .map(|(start, window)| {
                    window.is_stale = false;
                    *start
                }),
        );
        changed.sort_unstable();
        invariant!(
            WindowsAscend,
            changed.is_sorted_by(|a, b| a < b),
            "{changed:?} are evaluated"
        );
        let (version, role) = (self.version, self.role);
        for start in &changed {
            let window = self
                .windows
                .closed
                .get_mut(start)
                .expect("changed windows are closed ones");
            window.columns = context.rules.evaluate(&context.profile, &window.counts);
            let window = closed_report(*start, window, context);
            events.push(MonitorEvent::WindowClosed {
                version,
                role,
                window,
            });
        }
        if !changed.is_empty() {
            self.fold_alarms(context, events);
        }
        if let (Some(join), Some(labels_us)) = (join, marks.labels_us) {
            for (start, window) in self
                .windows
                .closed
                .iter_mut()
                .filter(|(_, window)| !window.is_matured)
            {
                let last = context.plan.window_end(*start).saturating_sub(1);
                if labels_us >= join.settled_at(last) {
                    window.is_matured = true;
                    let window = closed_report(*start, window, context);
                    events.push(MonitorEvent::WindowMatured {
                        version,
                        role,
                        window,
                    });
                }
            }
        }
        self.evict(mark_us, context);
    }

    /// The changes of its alarms in kept windows, said again: after a start nobody knows whether
    /// the last words went out. Where no deployment routes to it they are over, and saying them
    /// would raise again what a start then resolves.
    pub(crate) fn announced(&self, context: &SeriesContext, events: &mut Vec<MonitorEvent>) {
        if !self.is_routed {
            return;
        }
        let mut notices: Vec<(Micros, usize, bool)> = Vec::new();
        for (column, alarm) in self.alarms.iter().enumerate() {
            notices.extend(
                alarm
                    .announced
                    .iter()
                    .map(|(start, up)| (*start, column, *up)),
            );
        }
        self.announce(notices, context, events);
    }

    /// How the alarms of these `columns` stand, as of the newest closed window.
    pub(crate) fn stand(
        &self,
        columns: impl IntoIterator<Item = usize>,
        context: &SeriesContext,
        events: &mut Vec<MonitorEvent>,
    ) {
        let Some((start, _)) = self.windows.closed.last_key_value() else {
            return;
        };
        for column in columns {
            let firing = self.alarms[column].announced_up;
            events.push(word(self.notice(*start, column, firing, context)));
        }
    }

    fn announce(
        &self,
        mut notices: Vec<(Micros, usize, bool)>,
        context: &SeriesContext,
        events: &mut Vec<MonitorEvent>,
    ) {
        // Of one window and column the word that holds comes last.
        notices.sort_by_key(|(start, column, _)| (*start, *column));
        for (start, column, firing) in notices {
            events.push(word(self.notice(start, column, firing, context)));
        }
    }

    /// Say whether a deployment routes to it, and end its alarms when none does. A checkpoint does
    /// not tell under which routes it was made: those of before say nothing of what to fold.
    pub(crate) fn set_routed(
        &mut self,
        is_routed: bool,
        context: &SeriesContext,
        events: &mut Vec<MonitorEvent>,
    ) {
        self.is_routed = is_routed;
        self.fold_alarms(context, events);
    }

    pub(crate) fn report(&self, context: &SeriesContext) -> SeriesReport {
        let closed = self
            .windows
            .closed
            .iter()
            .map(|(start, window)| closed_report(*start, window, context));
        let open = self
            .windows
            .open(&context.plan)
            .into_iter()
            .map(|(start, counts)| {
                let columns = context.rules.evaluate(&context.profile, &counts);
                window_report(start, WindowState::Provisional, &counts, columns, context)
            });
        let mut windows: Vec<WindowReport> = closed.chain(open).collect();
        windows.sort_by_key(|window| window.start_us);
        let columns = context.profile.columns.iter().zip(&self.alarms);
        SeriesReport {
            version: self.version,
            role: self.role,
            is_routed: self.is_routed,
            windows,
            alarms: columns
                .filter_map(|(column, alarm)| {
                    let since_us = alarm.since_us?;
                    Some(RaisedAlarm {
                        column: column.name.clone(),
                        role: column.role,
                        since_us,
                    })
                })
                .collect(),
            overall: context
                .def
                .labels
                .is_some()
                .then(|| self.windows.total_quality().report()),
        }
    }

    /// Fold each column's alarm over the closed windows and announce what is new.
    fn fold_alarms(&mut self, context: &SeriesContext, events: &mut Vec<MonitorEvent>) {
        let mut notices: Vec<(Micros, usize, bool)> = Vec::new();
        let mut standing = Vec::new();
        for (column, alarm) in self.alarms.iter_mut().enumerate() {
            let (mut state, mut since) = (alarm.base.clone(), alarm.base_since_us);
            let mut changes = BTreeMap::new();
            for (start, window) in &self.windows.closed {
                let Some(up) = state.step(outcome(&window.columns[column]), context.alarm) else {
                    continue;
                };
                since = up.then(|| context.plan.window_end(*start));
                changes.insert(*start, up);
                if alarm.announced.get(start) != Some(&up) && self.is_routed {
                    notices.push((*start, column, up));
                    alarm.announced_up = up;
                }
            }
            let is_up = state.is_raised() && self.is_routed;
            alarm.announced = changes;
            alarm.since_us = since.filter(|_| is_up);
            // A version that is no longer routed sees no window that could end its alarm; or late
            // rows took back what was announced: the latest window says how it stands now.
            if alarm.announced_up != is_up && !self.windows.closed.is_empty() {
                standing.push(column);
                alarm.announced_up = is_up;
            }
        }
        self.announce(notices, context, events);
        self.stand(standing, context, events);
    }

    fn notice(
        &self,
        start_us: Micros,
        column: usize,
        firing: bool,
        context: &SeriesContext,
    ) -> AlarmNotice {
        let window = self
            .windows
            .closed
            .get(&start_us)
            .expect("alarms change with closed windows");
        let (report, reference) = (&window.columns[column], &context.profile.columns[column]);
        AlarmNotice {
            monitor: context.def.name.clone(),
            model: context.def.model.clone(),
            version: self.version,
            role: self.role,
            column: report.column.clone(),
            column_role: report.role,
            method: "psi".to_owned(),
            firing,
            window_start_us: start_us,
            window_end_us: context.plan.window_end(start_us),
            revision: revision(&window.counts),
            score: report.psi,
            threshold: report.threshold,
            p: report.p,
            values: report.values,
            reference_values: reference.values(),
            calibration: report.calibration,
            reference: context.profile.name.clone(),
            reference_digest: context.profile.digest.clone(),
            coverage: context
                .def
                .labels
                .as_ref()
                .and_then(|_| window.counts.quality.report().coverage),
            top_bins: top_bins(reference, &window.counts.columns[column], TOP_BINS),
        }
    }

    /// Let the oldest windows go; their outcomes live on in the alarms' base.
    fn evict(&mut self, mark_us: Micros, context: &SeriesContext) {
        while let Some((start, window)) = self.windows.evict(mark_us, &context.plan) {
            invariant!(
                ColumnsAgree,
                window.columns.len() == self.alarms.len(),
                "{} columns, {} alarms",
                window.columns.len(),
                self.alarms.len()
            );
            for (alarm, column) in self.alarms.iter_mut().zip(&window.columns) {
                if let Some(up) = alarm.base.step(outcome(column), context.alarm) {
                    let end_us = context.plan.window_end(start);
                    invariant!(
                        WindowsAscend,
                        alarm.base_since_us.is_none_or(|since| since < end_us),
                        "an alarm of {:?} changes at {end_us}",
                        alarm.base_since_us
                    );
                    alarm.base_since_us = up.then_some(end_us);
                }
                alarm.announced.remove(&start);
            }
        }
    }
}

/// What `notice` says as an event.
fn word(notice: AlarmNotice) -> MonitorEvent {
    if notice.firing {
        MonitorEvent::AlarmRaised(notice)
    } else {
        MonitorEvent::AlarmResolved(notice)
    }
}

/// Rows of a window that came after it had closed; a window has fewer than 2^32 of them, or says
/// so.
fn revision(counts: &PaneCounts) -> u32 {
    counts.late_rows.min(u64::from(u32::MAX)) as u32
}

fn outcome(column: &ColumnReport) -> Outcome {
    match (column.verdict, column.psi, column.threshold) {
        (Verdict::Drifted, _, _) => Outcome::Exceeds,
        (Verdict::Stable, Some(score), Some(threshold)) if score < CLEAR_FACTOR * threshold => {
            Outcome::Clear
        }
        (Verdict::Stable, _, _) => Outcome::Between,
        (Verdict::Insufficient | Verdict::NoReference, _, _) => Outcome::Skipped,
    }
}

/// A closed window as it stands: with late rows not yet evaluated, as the next advance will put it.
fn closed_report(start_us: Micros, window: &ClosedWindow, context: &SeriesContext) -> WindowReport {
    let columns = if window.is_stale {
        context.rules.evaluate(&context.profile, &window.counts)
    } else {
        window.columns.clone()
    };
    window_report(
        start_us,
        WindowState::Closed,
        &window.counts,
        columns,
        context,
    )
}

fn window_report(
    start_us: Micros,
    state: WindowState,
    counts: &PaneCounts,
    columns: Vec<ColumnReport>,
    context: &SeriesContext,
) -> WindowReport {
    let of = |wanted: Verdict| {
        columns
            .iter()
            .filter(|column| column.verdict == wanted)
            .count()
    };
    let (drifted, judged) = (
        of(Verdict::Drifted),
        of(Verdict::Drifted) + of(Verdict::Stable),
    );
    WindowReport {
        start_us,
        end_us: context.plan.window_end(start_us),
        state,
        revision: revision(counts),
        rows: counts.rows,
        drifted_ratio: (judged > 0).then(|| drifted as f64 / judged as f64),
        quality: context
            .def
            .labels
            .is_some()
            .then(|| counts.quality.report()),
        columns,
    }
}
