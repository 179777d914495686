//! The label join: predictions wait for labels and labels for predictions, by join key, until their
//! horizon has passed. A label counts for a prediction when 0 <= label time - prediction time <=
//! within; of several the latest counts (at equal times TRUE, so that the outcome has no order).
//! What follows for the counts goes out as [`Effect`]s.
//!
//! # Two marks
//!
//! With w = within and l = the monitor's lateness, each pair at a distance of -w to 2w meets,
//! whatever the order of arrival. A prediction is kept until no such label can come: it expires,
//! and is forgotten, by the mark of the **labels** (at time + w + l, and at time + 2w + l). A label
//! is kept until no such prediction can come, which the mark of the **predictions** says, at
//! time + w + l, and until it cannot be repeated, which its own mark says, at time + l. A row that
//! is later than l by the log of its own partition takes no part: then no mark can have passed what
//! does, so that the outcome is a function of the rows and of both marks, in whatever order they
//! came.
//!
//! Expiry moves in steps of a granule. Keys are 128-bit hashes of the encoded join key: a collision
//! is less likely than a broken disk.

use std::collections::BTreeMap;

use forebay_core::invariant;
use forebay_core::time::{HOUR_US, Micros, SECOND_US};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::marks::MonitorMarks;
use crate::quality::Credit;

/// What happened to labels. Gauges and counters of one monitor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelFates {
    /// Counted for at least one prediction.
    pub matched: u64,
    /// Came before each prediction of its key.
    pub early: u64,
    /// Came after the horizon of each prediction of its key.
    pub expired: u64,
    /// No prediction of its key turned up in time.
    pub unmatched: u64,
    /// Came later than the monitor's lateness, by the log of its partition: it takes no part.
    pub late: u64,
    /// Still wait for a prediction.
    pub waiting: u64,
    /// The label was NULL: no label.
    pub null: u64,
    /// A join key or event time was NULL or no key.
    pub invalid: u64,
    /// The same label of the same key and time again.
    pub duplicate: u64,
    /// Further labels of predictions that had one already.
    pub corrected: u64,
    /// Beyond a limit on waiting labels, hence dropped.
    pub overflowed: u64,
    /// Predictions beyond a limit on waiting predictions: they count as expired.
    pub untracked_predictions: u64,
    /// Predictions of events that came later than the monitor's lateness, by the log of their
    /// partition: they count as expired.
    pub late_predictions: u64,
}

/// A change of the counts of the pane that holds `time_us` of `series`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Effect {
    pub(crate) series: u16,
    pub(crate) time_us: Micros,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    Credit(Credit),
    Retract(Credit),
    /// The horizon passed without a label.
    Expire,
    /// A late label took an expiry back.
    Revive,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Prediction {
    pub(crate) time_us: Micros,
    pub(crate) score: f64,
    /// Time and value of the label that counts.
    pub(crate) credited: Option<(Micros, bool)>,
    pub(crate) series: u16,
    pub(crate) expired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelFate {
    Waiting,
    Unmatched,
    Expired,
    Early,
    Matched,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Label {
    pub(crate) time_us: Micros,
    pub(crate) value: bool,
    pub(crate) fate: LabelFate,
}

#[derive(Debug, Default)]
pub(crate) struct Key {
    pub(crate) predictions: Vec<Prediction>,
    pub(crate) labels: Vec<Label>,
}

/// Limits of one join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinLimits {
    pub(crate) predictions: usize,
    pub(crate) labels: usize,
    pub(crate) per_key: usize,
}

/// Keys with something due before the end of each granule. A key may stand there more than once.
#[derive(Debug, Default)]
struct Due {
    granules: BTreeMap<Micros, Vec<u128>>,
    /// Deadlines before this have passed.
    cutoff_us: Option<Micros>,
}

impl Due {
    fn schedule(&mut self, key: u128, granule: Micros) {
        self.granules.entry(granule).or_default().push(key);
    }

    /// The mark is at `granule`: it never goes back.
    fn reach(&mut self, granule: Option<Micros>) {
        self.cutoff_us = self.cutoff_us.max(granule);
    }

    /// Keys that are due, each granule once.
    fn pop(&mut self) -> Option<Vec<u128>> {
        let first = self.granules.first_entry()?;
        self.cutoff_us
            .is_some_and(|cutoff| *first.key() < cutoff)
            .then(|| first.remove())
    }

    fn has_passed(&self, deadline_us: Micros) -> bool {
        self.cutoff_us.is_some_and(|cutoff| deadline_us < cutoff)
    }
}

/// Waiting predictions and labels.
#[derive(Debug)]
pub(crate) struct LabelJoin {
    within_us: Micros,
    lateness_us: Micros,
    granule_us: Micros,
    limits: JoinLimits,
    pub(crate) keys: HashMap<u128, Key>,
    /// What the mark of the predictions lets go.
    by_predictions: Due,
    /// What the mark of the labels lets go.
    by_labels: Due,
    predictions: usize,
    labels: usize,
    fates: LabelFates,
}

impl LabelJoin {
    pub(crate) fn new(within_us: Micros, lateness_us: Micros, limits: JoinLimits) -> Self {
        Self {
            within_us,
            lateness_us,
            granule_us: (within_us / 256).clamp(SECOND_US, HOUR_US),
            limits,
            keys: HashMap::new(),
            by_predictions: Due::default(),
            by_labels: Due::default(),
            predictions: 0,
            labels: 0,
            fates: LabelFates::default(),
        }
    }

    pub(crate) fn fates(&self) -> &LabelFates {
        &self.fates
    }

    /// About what it holds: a key and its place in the table, and each row with its two deadlines.
    pub(crate) fn memory_bytes(&self) -> usize {
        const KEY_BYTES: usize = size_of::<(u128, Key)>() + size_of::<u64>();
        const DUE_BYTES: usize = 2 * size_of::<u128>();
        self.keys.len() * KEY_BYTES
            + self.predictions * (size_of::<Prediction>() + DUE_BYTES)
            + self.labels * (size_of::<Label>() + DUE_BYTES)
    }

    /// Predictions and labels that it counts as waiting.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.predictions, self.labels)
    }

    pub(crate) fn fates_mut(&mut self) -> &mut LabelFates {
        &mut self.fates
    }

    /// When no prediction up to `time_us` can be pending any more: the mark of the labels at which
    /// that is so.
    pub(crate) fn settled_at(&self, time_us: Micros) -> Micros {
        time_us
            .saturating_add(self.within_us)
            .saturating_add(self.lateness_us)
            .saturating_add(self.granule_us)
    }

    /// A new prediction of `key`.
    pub(crate) fn predict(
        &mut self,
        key: u128,
        series: u16,
        time_us: Micros,
        score: f64,
        effects: &mut Vec<Effect>,
    ) {
        let full = self.predictions >= self.limits.predictions;
        let entry = self.keys.entry(key).or_default();
        if full || entry.predictions.len() >= self.limits.per_key {
            if entry.predictions.is_empty() && entry.labels.is_empty() {
                self.keys.remove(&key);
            }
            self.fates.untracked_predictions += 1;
            effects.push(Effect {
                series,
                time_us,
                change: Change::Expire,
            });
            return;
        }
        let mut prediction = Prediction {
            time_us,
            score,
            credited: None,
            series,
            expired: false,
        };
        for label in &mut entry.labels {
            meet(
                &mut prediction,
                label,
                self.within_us,
                &mut self.fates,
                effects,
            );
        }
        entry.predictions.push(prediction);
        self.predictions += 1;
        self.schedule_prediction(key, time_us);
    }

    /// A label of `key`, not NULL.
    pub(crate) fn label(
        &mut self,
        key: u128,
        time_us: Micros,
        value: bool,
        effects: &mut Vec<Effect>,
    ) {
        let full = self.labels >= self.limits.labels;
        let entry = self.keys.entry(key).or_default();
        if entry
            .labels
            .iter()
            .any(|known| known.time_us == time_us && known.value == value)
        {
            self.fates.duplicate += 1;
            return;
        }
        if full || entry.labels.len() >= self.limits.per_key {
            if entry.predictions.is_empty() && entry.labels.is_empty() {
                self.keys.remove(&key);
            }
            self.fates.overflowed += 1;
            return;
        }
        let mut label = Label {
            time_us,
            value,
            fate: LabelFate::Waiting,
        };
        self.fates.waiting += 1;
        for prediction in &mut entry.predictions {
            meet(
                prediction,
                &mut label,
                self.within_us,
                &mut self.fates,
                effects,
            );
        }
        entry.labels.push(label);
        self.labels += 1;
        self.schedule_label(key, time_us);
    }

    /// A key as it was in an earlier run: everything due of it is due again.
    pub(crate) fn restore(&mut self, key: u128, entry: Key) {
        for prediction in &entry.predictions {
            self.schedule_prediction(key, prediction.time_us);
        }
        for label in &entry.labels {
            self.schedule_label(key, label.time_us);
        }
        self.predictions += entry.predictions.len();
        self.labels += entry.labels.len();
        self.keys.insert(key, entry);
    }

    fn schedule_prediction(&mut self, key: u128, time_us: Micros) {
        let expires = self.deadline(time_us, self.within_us);
        let forgotten = expires.saturating_add(self.within_us);
        self.by_labels.schedule(key, self.granule(expires));
        self.by_labels.schedule(key, self.granule(forgotten));
    }

    fn schedule_label(&mut self, key: u128, time_us: Micros) {
        let unmatched = self.granule(self.deadline(time_us, self.within_us));
        let unrepeated = self.granule(self.deadline(time_us, 0));
        self.by_predictions.schedule(key, unmatched);
        self.by_labels.schedule(key, unrepeated);
    }

    /// Let everything expire that is due at `marks`.
    pub(crate) fn advance(&mut self, marks: MonitorMarks, effects: &mut Vec<Effect>) {
        let (predictions, labels) = (
            marks.predictions_us.map(|mark| self.granule(mark)),
            marks.labels_us.map(|mark| self.granule(mark)),
        );
        self.by_predictions.reach(predictions);
        self.by_labels.reach(labels);
        self.expire(effects);
    }

    /// The same at the marks known already: for rows that came when they were due.
    pub(crate) fn expire(&mut self, effects: &mut Vec<Effect>) {
        while let Some(keys) = self.by_labels.pop().or_else(|| self.by_predictions.pop()) {
            for key in keys {
                self.sweep(key, effects);
            }
        }
    }

    fn deadline(&self, time_us: Micros, keep_us: Micros) -> Micros {
        time_us
            .saturating_add(keep_us)
            .saturating_add(self.lateness_us)
    }

    fn granule(&self, time_us: Micros) -> Micros {
        time_us
            .div_euclid(self.granule_us)
            .saturating_mul(self.granule_us)
    }

    /// Expire and forget what is due of one key.
    fn sweep(&mut self, key: u128, effects: &mut Vec<Effect>) {
        let Some(mut entry) = self.keys.remove(&key) else {
            return;
        };
        let within = self.within_us;
        for prediction in &mut entry.predictions {
            if !prediction.expired
                && prediction.credited.is_none()
                && self
                    .by_labels
                    .has_passed(self.deadline(prediction.time_us, within))
            {
                prediction.expired = true;
                effects.push(Effect {
                    series: prediction.series,
                    time_us: prediction.time_us,
                    change: Change::Expire,
                });
            }
        }
        let before = entry.predictions.len();
        let forget = within.saturating_mul(2);
        entry.predictions.retain(|prediction| {
            let deadline = self.deadline(prediction.time_us, forget);
            !self.by_labels.has_passed(deadline)
        });
        let forgotten = before - entry.predictions.len();
        invariant!(
            WaitingCounted,
            forgotten <= self.predictions,
            "{forgotten} of {} predictions",
            self.predictions
        );
        self.predictions -= forgotten;
        let before = entry.labels.len();
        let mut unmatched = 0;
        entry.labels.retain_mut(|label| {
            let alone = self
                .by_predictions
                .has_passed(self.deadline(label.time_us, within));
            if alone && label.fate == LabelFate::Waiting {
                label.fate = LabelFate::Unmatched;
                unmatched += 1;
            }
            !(alone && self.by_labels.has_passed(self.deadline(label.time_us, 0)))
        });
        let forgotten = before - entry.labels.len();
        invariant!(
            WaitingCounted,
            forgotten <= self.labels && unmatched <= self.fates.waiting,
            "{forgotten} of {} labels, {unmatched} of {} that wait",
            self.labels,
            self.fates.waiting
        );
        self.fates.waiting -= unmatched;
        self.fates.unmatched += unmatched;
        self.labels -= forgotten;
        if !(entry.predictions.is_empty() && entry.labels.is_empty()) {
            self.keys.insert(key, entry);
        }
    }
}

/// What a label and a prediction of one key mean to each other.
fn meet(
    prediction: &mut Prediction,
    label: &mut Label,
    within_us: Micros,
    fates: &mut LabelFates,
    effects: &mut Vec<Effect>,
) {
    let distance = label.time_us.saturating_sub(prediction.time_us);
    let fate = if distance < within_us.saturating_neg() || distance > within_us.saturating_mul(2) {
        return;
    } else if distance < 0 {
        LabelFate::Early
    } else if distance > within_us {
        LabelFate::Expired
    } else {
        LabelFate::Matched
    };
    if fate > label.fate {
        let counted = *counter(fates, label.fate);
        invariant!(FatesCounted, counted > 0, "{:?} to {fate:?}", label.fate);
        *counter(fates, label.fate) -= 1;
        *counter(fates, fate) += 1;
        label.fate = fate;
    }
    if fate == LabelFate::Matched {
        credit(prediction, (label.time_us, label.value), fates, effects);
    }
}

/// The latest label counts; the one that it replaces is taken back.
fn credit(
    prediction: &mut Prediction,
    label: (Micros, bool),
    fates: &mut LabelFates,
    effects: &mut Vec<Effect>,
) {
    let Prediction {
        time_us,
        score,
        series,
        ..
    } = *prediction;
    let credit = |(at, label): (Micros, bool)| Credit {
        score,
        label,
        delay_us: at.saturating_sub(time_us),
    };
    let mut effect = |change| {
        effects.push(Effect {
            series,
            time_us,
            change,
        })
    };
    if let Some(known) = prediction.credited {
        fates.corrected += 1;
        if label <= known {
            return;
        }
        effect(Change::Retract(credit(known)));
    } else if prediction.expired {
        prediction.expired = false;
        effect(Change::Revive);
    }
    effect(Change::Credit(credit(label)));
    prediction.credited = Some(label);
}

fn counter(fates: &mut LabelFates, fate: LabelFate) -> &mut u64 {
    match fate {
        LabelFate::Waiting => &mut fates.waiting,
        LabelFate::Unmatched => &mut fates.unmatched,
        LabelFate::Expired => &mut fates.expired,
        LabelFate::Early => &mut fates.early,
        LabelFate::Matched => &mut fates.matched,
    }
}

#[cfg(test)]
mod tests;
