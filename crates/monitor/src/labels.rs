//! The label join: predictions wait for labels and labels for predictions, by join key, until their
//! horizon has passed. A label counts for a prediction when 0 <= label time - prediction time <=
//! within; of several the latest counts (at equal times TRUE, so that the outcome has no order).
//! What follows for the counts goes out as [`Effect`]s.
//!
//! With w = within, each pair at a distance of -w to 2w meets, whatever the order of arrival,
//! because predictions are kept for 2w and labels for w (plus the monitor's lateness) of event
//! time. Expiry is a function of the watermark alone, in steps of a granule. Keys are 128-bit
//! hashes of the encoded join key: a collision is less likely than a broken disk.

use std::collections::BTreeMap;

use forebay_core::time::{HOUR_US, Micros, SECOND_US};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

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
struct Prediction {
    time_us: Micros,
    score: f64,
    /// Time and value of the label that counts.
    credited: Option<(Micros, bool)>,
    series: u16,
    expired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Waiting,
    Expired,
    Early,
    Matched,
}

#[derive(Debug, Clone, Copy)]
struct Label {
    time_us: Micros,
    value: bool,
    fate: Fate,
}

#[derive(Debug, Default)]
struct Key {
    predictions: Vec<Prediction>,
    labels: Vec<Label>,
}

/// Limits of one join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinLimits {
    pub(crate) predictions: usize,
    pub(crate) labels: usize,
    pub(crate) per_key: usize,
}

/// Waiting predictions and labels.
#[derive(Debug)]
pub(crate) struct LabelJoin {
    within_us: Micros,
    lateness_us: Micros,
    granule_us: Micros,
    limits: JoinLimits,
    keys: HashMap<u128, Key>,
    /// Keys with something due before the end of each granule. A key may stand there more than
    /// once.
    due: BTreeMap<Micros, Vec<u128>>,
    predictions: usize,
    labels: usize,
    cutoff_us: Micros,
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
            due: BTreeMap::new(),
            predictions: 0,
            labels: 0,
            cutoff_us: Micros::MIN,
            fates: LabelFates::default(),
        }
    }

    pub(crate) fn fates(&self) -> &LabelFates {
        &self.fates
    }

    pub(crate) fn fates_mut(&mut self) -> &mut LabelFates {
        &mut self.fates
    }

    /// When no prediction up to `time_us` can be pending any more: the watermark at which that is
    /// so.
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
        let expires = time_us
            .saturating_add(self.within_us)
            .saturating_add(self.lateness_us);
        self.schedule(key, expires);
        self.schedule(key, expires.saturating_add(self.within_us));
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
            fate: Fate::Waiting,
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
        self.schedule(
            key,
            time_us
                .saturating_add(self.within_us)
                .saturating_add(self.lateness_us),
        );
    }

    /// Let everything expire that is due at `watermark_us`.
    pub(crate) fn advance(&mut self, watermark_us: Micros, effects: &mut Vec<Effect>) {
        let cutoff = watermark_us
            .div_euclid(self.granule_us)
            .saturating_mul(self.granule_us);
        self.cutoff_us = self.cutoff_us.max(cutoff);
        self.expire(effects);
    }

    /// The same at the watermark known already: for rows that came when they were due.
    pub(crate) fn expire(&mut self, effects: &mut Vec<Effect>) {
        while let Some(first) = self.due.first_entry() {
            if *first.key() >= self.cutoff_us {
                break;
            }
            for key in first.remove() {
                self.sweep(key, effects);
            }
        }
    }

    fn schedule(&mut self, key: u128, deadline_us: Micros) {
        let granule = deadline_us
            .div_euclid(self.granule_us)
            .saturating_mul(self.granule_us);
        self.due.entry(granule).or_default().push(key);
    }

    /// Expire and forget what is due of one key.
    fn sweep(&mut self, key: u128, effects: &mut Vec<Effect>) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        let (cutoff, within, lateness) = (self.cutoff_us, self.within_us, self.lateness_us);
        let passed = |time: Micros, keep: Micros| {
            time.saturating_add(keep).saturating_add(lateness) < cutoff
        };
        for prediction in &mut entry.predictions {
            if !prediction.expired
                && prediction.credited.is_none()
                && passed(prediction.time_us, within)
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
        entry
            .predictions
            .retain(|prediction| !passed(prediction.time_us, within.saturating_mul(2)));
        self.predictions -= before - entry.predictions.len();
        let fates = &mut self.fates;
        let before = entry.labels.len();
        entry.labels.retain(|label| {
            let keep = !passed(label.time_us, within);
            if !keep && label.fate == Fate::Waiting {
                fates.waiting -= 1;
                fates.unmatched += 1;
            }
            keep
        });
        self.labels -= before - entry.labels.len();
        if entry.predictions.is_empty() && entry.labels.is_empty() {
            self.keys.remove(&key);
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
        Fate::Early
    } else if distance > within_us {
        Fate::Expired
    } else {
        Fate::Matched
    };
    if fate > label.fate {
        *counter(fates, label.fate) -= 1;
        *counter(fates, fate) += 1;
        label.fate = fate;
    }
    if fate == Fate::Matched {
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

fn counter(fates: &mut LabelFates, fate: Fate) -> &mut u64 {
    match fate {
        Fate::Waiting => &mut fates.waiting,
        Fate::Expired => &mut fates.expired,
        Fate::Early => &mut fates.early,
        Fate::Matched => &mut fates.matched,
    }
}

#[cfg(test)]
mod tests;
