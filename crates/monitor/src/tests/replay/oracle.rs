//! The evaluator: counts the whole log at once. It knows no monitor and no state, only sorted facts
//! and plain loops over them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use forebay_core::time::{DAY_US, HOUR_US, Micros};
use forebay_core::watermark::MarkFact;

use super::{DELAY, Figures, Row, Strand, monitor_def};
use crate::tests::fixtures::PredictionRow;

/// What the log says, all of it.
#[derive(Default)]
struct Facts<'a> {
    /// The watermark of each event's partition before it.
    events: BTreeMap<(i32, i64), Option<Micros>>,
    /// How far each partition of events has come in the end.
    events_newest: BTreeMap<i32, Micros>,
    answered: BTreeSet<(i32, i64)>,
    /// The first prediction of each event, and the watermark before the event.
    predictions: Vec<(&'a PredictionRow, Option<Micros>)>,
    /// Punctual labels: time, flight, value; each once.
    labels: Vec<(Micros, &'a str, bool)>,
    /// Newest event time of each partition of labels.
    labels_newest: Vec<Micros>,
}

pub(super) fn evaluate(strands: &[Strand]) -> Figures {
    let mut figures = Figures::default();
    let mut facts = Facts::default();
    strands
        .iter()
        .for_each(|strand| facts.read(strand, &mut figures));
    for row in strands.iter().flat_map(|strand| &strand.rows) {
        if let Row::Prediction { of, row, .. } = row {
            match facts.answered.insert(*of) {
                true => facts.predictions.push((row, facts.events[of])),
                false => figures.repeats += 1,
            }
        }
    }
    facts.labels.sort_unstable();
    facts.labels.dedup();
    let labels_mark = facts
        .labels_newest
        .iter()
        .min()
        .map(|newest| newest - DELAY);
    figures.marks = (facts.answered_until(), labels_mark);
    facts.windows(&mut figures);
    facts.fates(&mut figures);
    figures
}

fn lateness() -> Micros {
    monitor_def().lateness_us
}

fn within() -> Micros {
    monitor_def().labels.expect("labels").within_us
}

fn is_late(time: Micros, log: Option<Micros>) -> bool {
    log.is_some_and(|log| time + lateness() < log)
}

/// Expiry moves in steps.
fn has_passed(deadline: Micros, mark: Option<Micros>) -> bool {
    let step = (within() / 256).clamp(1_000_000, HOUR_US);
    mark.is_some_and(|mark| deadline < mark.div_euclid(step) * step)
}

/// The greatest mark at which `strand` was held at offsets in `at`.
fn held(strand: &Strand, at: impl RangeBounds<i64>) -> Option<Micros> {
    let mark = |fact: &MarkFact| match fact {
        MarkFact::Hold(hold) if at.contains(&hold.at) => Some(hold.mark_us),
        _ => None,
    };
    strand.decided.iter().filter_map(mark).max()
}

/// For how much the row at `offset` counts at most.
fn most(strand: &Strand, offset: i64) -> Micros {
    let mark = |fact: &MarkFact| match fact {
        MarkFact::Bound(bound) if (bound.from..bound.until).contains(&offset) => {
            Some(bound.mark_max_us)
        }
        _ => None,
    };
    strand.decided.iter().find_map(mark).unwrap_or(Micros::MAX)
}

impl<'a> Facts<'a> {
    fn read(&mut self, strand: &'a Strand, figures: &mut Figures) {
        let mut newest: Option<Micros> = None;
        for row in &strand.rows {
            newest = newest.max(held(strand, ..=row.offset()));
            let log = newest.map(|newest| newest - DELAY);
            let counted = |time: Micros| time.min(most(strand, row.offset()));
            match row {
                Row::Event { offset, time } => {
                    let place = (strand.partition, *offset);
                    self.events.insert(place, log);
                    newest = newest.max(Some(counted(*time)));
                }
                Row::Label {
                    time,
                    flight,
                    label,
                    ..
                } => {
                    match (flight, label) {
                        (Some(_), None) => figures.null += 1,
                        (Some(_), Some(_)) if is_late(*time, log) => figures.late += 1,
                        (Some(flight), Some(label)) => self.labels.push((*time, flight, *label)),
                        (None, _) => {}
                    }
                    newest = newest.max(Some(counted(*time)));
                }
                Row::Settled { of } => drop(self.answered.insert(*of)),
                Row::Prediction { .. } => {}
            }
        }
        newest = newest.max(held(strand, ..));
        match (strand.source.name.as_str(), newest) {
            ("arrivals", Some(newest)) => self.labels_newest.push(newest),
            ("departures", Some(newest)) if strand.partition >= 0 => {
                self.events_newest.insert(strand.partition, newest);
            }
            _ => {}
        }
    }

    /// Event time of the answered prefix of the slowest partition.
    fn answered_until(&self) -> Option<Micros> {
        let reached = |(partition, newest): (&i32, &Micros)| {
            let mut of = self.events.iter().filter(|((p, _), _)| p == partition);
            let waiting = of.find(|(place, _)| !self.answered.contains(place));
            waiting.map_or(Some(*newest - DELAY), |(_, log)| *log)
        };
        let reached: Option<Vec<Micros>> = self.events_newest.iter().map(reached).collect();
        reached?.into_iter().min()
    }

    fn windows(&self, figures: &mut Figures) {
        let (mark, labels_mark) = figures.marks;
        for (row, log) in &self.predictions {
            let start = row.time.div_euclid(DAY_US) * DAY_US;
            let closed_at = start + DAY_US + lateness();
            let key = (row.version as u32, start);
            let window = figures.windows.entry(key).or_default();
            window.0 += 1;
            window.1 += u32::from(log.is_some_and(|log| closed_at <= log));
            window.2 = mark.is_some_and(|mark| closed_at <= mark);
            window.6 += u64::from(row.delay.is_some());
            let mut mine = self.labels.iter().filter(|(at, flight, _)| {
                row.flight.as_deref() == Some(*flight) && (0..=within()).contains(&(at - row.time))
            });
            let expires = row.time + within() + lateness();
            if is_late(row.time, *log) {
                figures.late_predictions += 1;
                window.4 += 1;
            } else if let Some((_, _, label)) = mine.next_back() {
                window.3 += 1;
                window.5 += u64::from(*label && row.score >= 0.5);
            } else if row.flight.is_none() || has_passed(expires, labels_mark) {
                window.4 += 1;
            }
        }
    }

    fn fates(&self, figures: &mut Figures) {
        let mark = figures.marks.0;
        for (at, flight, _) in &self.labels {
            let near = self.predictions.iter().filter(|(row, log)| {
                !is_late(row.time, *log) && row.flight.as_deref() == Some(*flight)
            });
            let distances: Vec<Micros> = near.map(|(row, _)| at - row.time).collect();
            let within = within();
            if distances.iter().any(|d| (0..=within).contains(d)) {
                figures.matched += 1;
            } else if distances.iter().any(|d| (-within..=2 * within).contains(d)) {
                // Early, or beyond the horizon.
            } else if has_passed(at + within + lateness(), mark) {
                figures.unmatched += 1;
            } else {
                figures.waiting += 1;
            }
        }
    }
}
