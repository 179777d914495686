//! One monitor: predictions and labels in, reports and alarms out. A deterministic state machine
//! with no clock and no I/O: `binding` passes in rows and says how far event time has come. Hot
//! path: [`Monitor::observe_predictions`] groups a batch's rows by pane and counts column by
//! column.
//!
//! Equal rows and equal marks give equal reports, in whatever order and batches the rows came and
//! the marks moved (as long as no limit is reached): each row says how far the log of its own
//! partition had come before it, and that alone decides whether it is late.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, BooleanArray, PrimitiveArray, RecordBatch};
use forebay_core::definition::{AlertThreshold, MonitorDef};
use forebay_core::invariant;
use forebay_core::prediction::Role;
use forebay_core::time::Micros;
use hashbrown::HashMap;

use crate::alarm::AlarmRule;
use crate::batch::{PredictionBatch, join_keys};
use crate::binner::Binner;
use crate::counts::PaneCounts;
use crate::error::{MonitorError, Result};
use crate::evaluate::DriftRules;
use crate::labels::{Change, Effect, JoinLimits, LabelJoin};
use crate::marks::MonitorMarks;
use crate::options::MonitorOptions;
use crate::profile::ReferenceProfile;
use crate::report::{InputCounts, MonitorEvent, MonitorReport};
use crate::series::{Series, SeriesContext};
use crate::window::{NoPane, WindowPlan};

/// The state of one monitor.
#[derive(Debug)]
pub struct Monitor {
    pub(crate) context: SeriesContext,
    options: MonitorOptions,
    binners: Vec<Binner>,
    /// In order of appearance; `positions` orders them for reports.
    pub(crate) series: Vec<Series>,
    pub(crate) positions: BTreeMap<(u32, Role), u16>,
    pub(crate) join: Option<LabelJoin>,
    pub(crate) marks: MonitorMarks,
    pub(crate) input: InputCounts,
    /// Versions that get traffic; None: all.
    routed: Option<BTreeSet<(u32, Role)>>,
}

/// Rows of one batch that fall into one pane.
#[derive(Debug)]
struct Slot {
    series: u16,
    pane_us: Micros,
    rows: Vec<u32>,
}

/// What becomes of the rows of one model version in one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    OtherModel,
    Overflowed,
    Series(u16),
}

impl Monitor {
    /// A monitor as defined, against `profile`. Rows of other models are ignored, so one stream can
    /// feed many monitors.
    ///
    /// # Errors
    /// A contradictory definition; a profile that fails its own checks.
    pub fn new(
        def: MonitorDef,
        profile: ReferenceProfile,
        options: MonitorOptions,
    ) -> Result<Self> {
        check(&def)?;
        profile.check()?;
        let limits = options.limits;
        let join = def.labels.as_ref().map(|labels| {
            let limits = JoinLimits {
                predictions: limits.pending_predictions,
                labels: limits.pending_labels,
                per_key: limits.per_key,
            };
            LabelJoin::new(labels.within_us, def.lateness_us, limits)
        });
        let plan = WindowPlan {
            window_us: def.window_us,
            pane_us: WindowPlan::pane_of(def.window_us),
            lateness_us: def.lateness_us,
            windows_max: limits.windows.max(1) as i64,
            panes_max: limits.open_panes.max(1),
        };
        let alarm = AlarmRule {
            raised_windows: def.raised_windows,
            of_windows: def.of_windows,
        };
        Ok(Self {
            binners: profile
                .columns
                .iter()
                .map(|column| Binner::new(&column.bins))
                .collect(),
            context: SeriesContext {
                rules: DriftRules::new(&profile, def.threshold, options.min_rows),
                def,
                profile,
                plan,
                alarm,
            },
            options,
            series: Vec::new(),
            positions: BTreeMap::new(),
            join,
            marks: MonitorMarks::default(),
            input: InputCounts::default(),
            routed: None,
        })
    }

    /// Its definition.
    #[must_use]
    pub(crate) fn definition(&self) -> &MonitorDef {
        &self.context.def
    }

    /// Definition, reference and options as text: equal texts count alike.
    pub(crate) fn described(&self) -> String {
        let SeriesContext { def, profile, .. } = &self.context;
        format!("{def:?}|{}|{:?}", profile.digest, self.options)
    }

    /// Count prediction records: the columns of `core::prediction::column` that say who scored what
    /// and when, the carried columns that labels join on, and `features`, a struct with at least
    /// the reference's features. Each row comes once: [`crate::MonitorBinding`] drops repeats. Rows
    /// of other models are dropped, rows that make no sense are counted as invalid.
    ///
    /// `logs_us` says for each row the watermark of its event's partition before the event: a row
    /// that is older by more than the lateness is late, wherever the marks stand.
    ///
    /// # Errors
    /// A missing or mistyped column, `logs_us` of another length: nothing of the batch was counted.
    pub(crate) fn observe_predictions(
        &mut self,
        batch: &RecordBatch,
        logs_us: &[Option<Micros>],
    ) -> Result<()> {
        check_lengths(batch, batch.num_rows(), logs_us.len())?;
        let predictions = PredictionBatch::read(batch, &self.context.profile, &self.binners)?;
        let keys = match &self.context.def.labels {
            Some(labels) => join_keys(batch, &labels.using, "the batch of predictions")?,
            None => Vec::new(),
        };
        let before = self.input.rows();
        let mut effects = Vec::new();
        for slot in self.route(&predictions, logs_us) {
            self.count(&predictions, &keys, logs_us, &slot, &mut effects);
        }
        invariant!(
            PartsMakeTheWhole,
            self.input.rows() - before == batch.num_rows() as u64,
            "{:?} after a batch of {} rows, {before} before it",
            self.input,
            batch.num_rows()
        );
        self.settle(effects);
        Ok(())
    }

    /// Join labels: rows of the label source with the USING columns, the label of each row, its
    /// event time, and the watermark of its partition before it. A label that is older than that by
    /// more than the lateness takes no part.
    ///
    /// # Errors
    /// A monitor without LABELS, a missing USING column, arrays of unequal length: no label was
    /// counted.
    pub(crate) fn observe_labels(
        &mut self,
        rows: &RecordBatch,
        labels: &BooleanArray,
        event_times: &PrimitiveArray<TimestampMicrosecondType>,
        logs_us: &[Option<Micros>],
    ) -> Result<()> {
        let (Some(def), Some(join)) = (&self.context.def.labels, &mut self.join) else {
            return Err(problem(
                &self.context.def,
                "it has no LABELS clause, hence takes no labels",
            ));
        };
        check_lengths(rows, labels.len(), event_times.len())?;
        check_lengths(rows, rows.num_rows(), logs_us.len())?;
        let keys = join_keys(rows, &def.using, "the batch of labels")?;
        let lateness_us = self.context.plan.lateness_us;
        let mut effects = Vec::new();
        for (row, key) in keys.into_iter().enumerate() {
            let time_us = event_times.is_valid(row).then(|| event_times.value(row));
            let label = labels.is_valid(row).then(|| labels.value(row));
            match (key, time_us, label) {
                (Some(_), Some(time_us), Some(_))
                    if is_late(time_us, logs_us[row], lateness_us) =>
                {
                    join.fates_mut().late += 1;
                }
                (Some(key), Some(time_us), Some(label)) => {
                    join.label(key, time_us, label, &mut effects);
                }
                (Some(_), Some(_), None) => join.fates_mut().null += 1,
                _ => join.fates_mut().invalid += 1,
            }
        }
        self.settle(effects);
        Ok(())
    }

    /// Say how far event time has come. Closes windows, expires labels, and returns what follows,
    /// in event-time order within each series. Smaller marks change nothing, but late rows are
    /// still evaluated.
    pub(crate) fn advance(&mut self, marks: MonitorMarks) -> Vec<MonitorEvent> {
        self.marks = self.marks.max(marks);
        let marks = self.marks;
        if let Some(join) = &mut self.join {
            let mut effects = Vec::new();
            join.advance(marks, &mut effects);
            self.apply(effects);
        }
        let mut events = Vec::new();
        for position in self.positions.values() {
            let series = &mut self.series[usize::from(*position)];
            series.advance(marks, &self.context, self.join.as_ref(), &mut events);
            let open = series.windows.panes.first_key_value();
            let is_passed = open
                .zip(marks.predictions_us)
                .is_some_and(|((pane, _), mark)| {
                    let plan = &self.context.plan;
                    plan.has_closed(plan.window_start(*pane), mark)
                });
            invariant!(OpenWindowsAhead, !is_passed, "{marks:?}");
        }
        events
    }

    /// Say which versions get traffic, live or shadow. The alarms of the others are over: no window
    /// will come that could end them.
    pub(crate) fn set_routed(&mut self, routed: BTreeSet<(u32, Role)>) -> Vec<MonitorEvent> {
        let mut events = Vec::new();
        for series in &mut self.series {
            let is_routed = routed.contains(&(series.version, series.role));
            series.set_routed(is_routed, &self.context, &mut events);
        }
        self.routed = Some(routed);
        events
    }

    /// The alarms of the windows that are kept, again: what an earlier run may have failed to say.
    #[must_use]
    pub(crate) fn announced(&self) -> Vec<MonitorEvent> {
        let mut events = Vec::new();
        for position in self.positions.values() {
            let series = &self.series[usize::from(*position)];
            series.announced(&self.context, &mut events);
        }
        events
    }

    /// About what it holds: panes and windows, and the labels and predictions that wait.
    pub(crate) fn memory_bytes(&self) -> usize {
        let windows = self.series.iter().map(|series| &series.windows);
        let panes: usize = windows.map(|w| w.panes.len() + w.closed.len()).sum();
        let join = self.join.as_ref().map_or(0, LabelJoin::memory_bytes);
        panes * PaneCounts::memory_bytes(&self.context.profile) + join
    }

    /// How every alarm stands, up or down, as of the newest closed window of its series.
    #[must_use]
    pub(crate) fn standing(&self) -> Vec<MonitorEvent> {
        let mut events = Vec::new();
        for position in self.positions.values() {
            let series = &self.series[usize::from(*position)];
            series.stand(0..series.alarms.len(), &self.context, &mut events);
        }
        events
    }

    /// `orphans` predictions are of no event that the source has.
    pub(crate) fn note_orphans(&mut self, orphans: u64) {
        self.input.invalid += orphans;
    }

    /// `repeats` rows were dropped because they had been counted before.
    pub(crate) fn note_repeats(&mut self, repeats: u64) {
        self.input.repeats += repeats;
    }

    /// Everything known now: closed windows, and open ones as provisional.
    #[must_use]
    pub(crate) fn snapshot(&self) -> MonitorReport {
        let SeriesContext { def, profile, .. } = &self.context;
        MonitorReport {
            monitor: def.name.clone(),
            model: def.model.clone(),
            reference: profile.name.clone(),
            reference_digest: profile.digest.clone(),
            window_us: def.window_us,
            watermark_us: self.marks.predictions_us,
            labels_watermark_us: self.marks.labels_us.filter(|_| self.join.is_some()),
            input: self.input,
            labels: self.join.as_ref().map(|join| *join.fates()),
            series: self
                .positions
                .values()
                .map(|at| self.series[usize::from(*at)].report(&self.context))
                .collect(),
        }
    }

    /// Drop what must not count, and group the rest by series and pane.
    fn route(
        &mut self,
        predictions: &PredictionBatch<'_>,
        logs_us: &[Option<Micros>],
    ) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut positions: HashMap<(u16, Micros), usize> = HashMap::new();
        let mut run: Option<(&str, (u32, Role), Destination)> = None;
        let mut last: Option<(u16, Micros, usize)> = None;
        for (row, log_us) in logs_us.iter().enumerate().take(predictions.rows) {
            let (Some((model, lineage)), Some(time)) =
                (predictions.identity(row), predictions.time_us(row))
            else {
                self.input.invalid += 1;
                continue;
            };
            let destination = match run {
                Some((same_model, same, known)) if same_model == model && same == lineage => known,
                _ => {
                    let destination = self.destination(model, lineage);
                    run = Some((model, lineage, destination));
                    destination
                }
            };
            let series = match destination {
                Destination::OtherModel => {
                    self.input.other_model += 1;
                    continue;
                }
                Destination::Overflowed => {
                    self.input.overflowed += 1;
                    continue;
                }
                Destination::Series(series) => series,
            };
            let plan = &self.context.plan;
            if log_us.is_some_and(|log| plan.has_gone(plan.window_start(time), log)) {
                self.input.too_old += 1;
                continue;
            }
            let pane_us = self.context.plan.pane_start(time);
            let slot = match last {
                Some((known, pane, slot)) if known == series && pane == pane_us => slot,
                _ => *positions.entry((series, pane_us)).or_insert_with(|| {
                    slots.push(Slot {
                        series,
                        pane_us,
                        rows: Vec::new(),
                    });
                    slots.len() - 1
                }),
            };
            last = Some((series, pane_us, slot));
            slots[slot]
                .rows
                .push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
        }
        slots
    }

    fn destination(&mut self, model: &str, key: (u32, Role)) -> Destination {
        if model != self.context.def.model {
            return Destination::OtherModel;
        }
        let room = self.options.limits.series.min(usize::from(u16::MAX));
        if !self.positions.contains_key(&key) && self.series.len() >= room {
            return Destination::Overflowed;
        }
        let series = *self.positions.entry(key).or_insert_with(|| {
            let columns = self.context.profile.columns.len();
            let is_routed = self
                .routed
                .as_ref()
                .is_none_or(|routed| routed.contains(&key));
            self.series
                .push(Series::new(key.0, key.1, columns, is_routed));
            u16::try_from(self.series.len() - 1).expect("series are limited to 2^16")
        });
        let found = &self.series[usize::from(series)];
        invariant!(
            SeriesOfItsVersion,
            (found.version, found.role) == key,
            "series {series} is not that of version {}",
            key.0
        );
        Destination::Series(series)
    }

    /// Count the rows of one pane, column by column, and let them wait for their labels.
    fn count(
        &mut self,
        predictions: &PredictionBatch<'_>,
        keys: &[Option<u128>],
        logs_us: &[Option<Micros>],
        slot: &Slot,
        effects: &mut Vec<Effect>,
    ) {
        let SeriesContext { plan, profile, .. } = &self.context;
        let windows = &mut self.series[usize::from(slot.series)].windows;
        let rows = slot.rows.len() as u64;
        let counts = match windows.target(slot.pane_us, plan, profile) {
            Ok(counts) => counts,
            Err(NoPane::TooOld) => {
                self.input.too_old += rows;
                return;
            }
            Err(NoPane::Overflowed) => {
                self.input.overflowed += rows;
                return;
            }
        };
        self.input.accepted += rows;
        counts.rows += rows;
        let start_us = plan.window_start(slot.pane_us);
        let came_late =
            |row: &&u32| logs_us[**row as usize].is_some_and(|log| plan.has_closed(start_us, log));
        counts.late_rows += slot.rows.iter().filter(came_late).count() as u64;
        invariant!(
            CountsAddUp,
            counts.late_rows <= counts.rows,
            "{} of {} rows came late",
            counts.late_rows,
            counts.rows
        );
        for ((binner, column), counts) in self
            .binners
            .iter()
            .zip(&predictions.watched)
            .zip(&mut counts.columns)
        {
            binner.count(column, &slot.rows, counts);
        }
        let Some(join) = &mut self.join else { return };
        for row in slot.rows.iter().map(|row| *row as usize) {
            let Some(score) = predictions
                .score
                .number(row)
                .filter(|score| score.is_finite())
            else {
                continue;
            };
            let time = predictions
                .time_us(row)
                .expect("routed rows have an event time");
            counts.quality.predictions += 1;
            match keys[row] {
                _ if is_late(time, logs_us[row], plan.lateness_us) => {
                    join.fates_mut().late_predictions += 1;
                    counts.quality.expired += 1;
                }
                Some(key) => join.predict(key, slot.series, time, score, effects),
                None => {
                    join.fates_mut().untracked_predictions += 1;
                    counts.quality.expired += 1;
                }
            }
        }
    }

    /// Apply `effects`, and what is due at once because the watermark was there first.
    fn settle(&mut self, mut effects: Vec<Effect>) {
        if let Some(join) = &mut self.join {
            join.expire(&mut effects);
        }
        self.apply(effects);
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        let threshold = self.options.score_threshold;
        for Effect {
            series,
            time_us,
            change,
        } in effects
        {
            let quality = self.series[usize::from(series)]
                .windows
                .quality(time_us, &self.context.plan);
            match change {
                Change::Credit(credit) => quality.credit(&credit, threshold),
                Change::Retract(credit) => quality.retract(&credit, threshold),
                Change::Expire => quality.expired += 1,
                Change::Revive => {
                    invariant!(CountsAddUp, quality.expired > 0, "none has expired");
                    quality.expired -= 1;
                }
            }
            invariant!(CountsAddUp, quality.adds_up(), "after {change:?}");
        }
    }
}

/// Whether a row at `time_us` came later than `lateness_us` allows, where the log of its partition
/// had come to `log_us`.
fn is_late(time_us: Micros, log_us: Option<Micros>, lateness_us: Micros) -> bool {
    log_us.is_some_and(|log| time_us.saturating_add(lateness_us) < log)
}

fn check_lengths(rows: &RecordBatch, labels: usize, times: usize) -> Result<()> {
    let rows = rows.num_rows();
    if labels == rows && times == rows {
        return Ok(());
    }
    Err(MonitorError::UnequalLengths {
        rows,
        labels,
        times,
    })
}

fn check(def: &MonitorDef) -> Result<()> {
    let threshold = match def.threshold {
        AlertThreshold::FalseAlarmRate(rate) => rate > 0.0 && rate < 1.0,
        AlertThreshold::Psi(limit) => limit > 0.0 && limit.is_finite(),
    };
    if def.window_us <= 0 || def.lateness_us < 0 {
        Err(problem(
            def,
            "WINDOW must be longer than 0, LATENESS not negative",
        ))
    } else if def.raised_windows == 0 || def.raised_windows > def.of_windows {
        Err(problem(def, "FOR k OF m WINDOWS needs 1 <= k <= m"))
    } else if !threshold {
        Err(problem(
            def,
            "a false alarm rate lies between 0 and 1, a fixed threshold is positive",
        ))
    } else if def
        .labels
        .as_ref()
        .is_some_and(|labels| labels.within_us <= 0 || labels.using.is_empty())
    {
        Err(problem(
            def,
            "LABELS need USING columns and a WITHIN longer than 0",
        ))
    } else {
        Ok(())
    }
}

fn problem(def: &MonitorDef, problem: &str) -> MonitorError {
    MonitorError::Definition {
        monitor: def.name.clone(),
        problem: problem.to_owned(),
    }
}
