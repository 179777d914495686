//! What a monitor must say of the scores in its windows, and which alarms follow: the population
//! stability index over two bins, and `FOR k OF m WINDOWS` as a plain loop. Written apart from the
//! monitor; [`crate::evaluator`] counts the rows, [`check_alarms`] reads what was published.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::prediction::OutboxRecord;
use forebay_core::time::Micros;
use forebay_monitor::{ColumnReport, Verdict};
use serde_json::Value as Json;

use crate::deployed::VERSIONS;
use crate::evaluator::Evaluated;
use crate::monitored::{MIN_ROWS, PSI_LIMIT, REFERENCE_HIGH, REFERENCE_LOW, WINDOW_US};
use crate::world::World;

/// An alarm is over only below this share of its threshold.
const CLEAR: f64 = 0.8;
/// What an empty bin counts as.
const LEAST_SHARE: f64 = 1e-4;

/// Scores of a window by bin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scores {
    /// Up to [`crate::monitored::SPLIT_SCORE`].
    pub low: u64,
    /// Above it.
    pub high: u64,
}

/// What a window says of its scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Judged {
    /// Too few rows.
    #[default]
    Skipped,
    /// Clearly below the threshold.
    Clear,
    /// Not above it.
    Between,
    /// Above it.
    Drifted,
}

/// One word on the alarm: end of the window that it is about, and whether it went up.
pub type Word = (Micros, bool);

/// What was published of alarms, repeats dropped by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alarms {
    /// That went up.
    pub raised: u64,
    /// That went down.
    pub resolved: u64,
    /// Repeats that were dropped.
    pub repeats: u64,
}

impl Scores {
    /// What a window with these says.
    #[must_use]
    pub fn judged(self) -> Judged {
        let values = self.low + self.high;
        if values < MIN_ROWS {
            return Judged::Skipped;
        }
        let reference = REFERENCE_LOW + REFERENCE_HIGH;
        let index = term((REFERENCE_LOW, reference), (self.low, values))
            + term((REFERENCE_HIGH, reference), (self.high, values));
        match index {
            index if index > PSI_LIMIT => Judged::Drifted,
            index if index < CLEAR * PSI_LIMIT => Judged::Clear,
            _ => Judged::Between,
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            high: self.high + other.high,
        }
    }

    /// Whether it says the same with any of `late` added.
    #[must_use]
    pub fn is_steady(self, late: Self) -> bool {
        let some = |low: u64| (0..=late.high).map(move |high| Self { low, high });
        let mut all = (0..=late.low).flat_map(some);
        all.all(|some| self.with(some).judged() == self.judged())
    }
}

/// What one bin adds: the difference of its shares times the logarithm of their quotient.
fn term((of_reference, reference): (u64, u64), (of_window, window): (u64, u64)) -> f64 {
    let share = |count: u64, all: u64| match count {
        0 => LEAST_SHARE,
        _ => count as f64 / all as f64,
    };
    let (expected, found) = (share(of_reference, reference), share(of_window, window));
    (found - expected) * (found / expected).ln()
}

impl Judged {
    /// What `column` says.
    #[must_use]
    pub fn of_report(column: &ColumnReport) -> Self {
        match (column.verdict, column.psi) {
            (Verdict::Drifted, _) => Self::Drifted,
            (Verdict::Stable, Some(index)) if index < CLEAR * PSI_LIMIT => Self::Clear,
            (Verdict::Stable, _) => Self::Between,
            (Verdict::Insufficient | Verdict::NoReference, _) => Self::Skipped,
        }
    }
}

/// The words on an alarm that goes up with one drifted window of the last `of`, and down with `of`
/// clear ones in a row. `windows` are closed, ascending by their ends.
pub(crate) fn words(windows: impl Iterator<Item = (Micros, Judged)>, of: usize) -> Vec<Word> {
    let (mut words, mut seen, mut up) = (Vec::new(), Vec::new(), false);
    for (end_us, judged) in windows.filter(|(_, judged)| *judged != Judged::Skipped) {
        seen.push(judged);
        let last = &seen[seen.len().saturating_sub(of)..];
        let goes_up = !up && last.contains(&Judged::Drifted);
        let is_over = last.len() == of && last.iter().all(|judged| *judged == Judged::Clear);
        if goes_up || (up && is_over) {
            up = goes_up;
            words.push((end_us, up));
        }
    }
    words
}

/// Whether the topic of alarms refuses those of the window that ends at `end_us`.
pub(crate) fn is_refused(end_us: Micros) -> bool {
    (end_us / WINDOW_US) % 3 == 0
}

/// A record of the topic of alarms.
#[derive(Debug)]
pub(crate) struct Said {
    /// What it says.
    pub(crate) word: Word,
    version: u32,
    id: String,
}

/// What `record` of the topic of alarms says.
pub(crate) fn said(record: &OutboxRecord) -> Said {
    let event: Json = serde_json::from_slice(&record.payload).expect("alarms are JSON");
    let end_us = event["data"]["window_end_us"].as_i64().expect("a window");
    let is_up = event["data"]["firing"].as_bool().expect("a direction");
    let version = event["data"]["version"].as_u64().expect("a version");
    Said {
        word: (end_us, is_up),
        version: u32::try_from(version).expect("few"),
        id: event["id"].as_str().expect("an id").to_owned(),
    }
}

/// The topic of alarms has of each version, repeats dropped by id, the words that `evaluated` asks
/// for, in their order, but those that it refuses. Where rows that came late have changed what a
/// closed window says, words that were true once stand there too, and where routes have changed,
/// the alarm of a version is over while no events go to it: then the last one holds.
///
/// # Panics
/// It has not.
pub fn check_alarms(world: &World, evaluated: &Evaluated) -> Alarms {
    let published = world.alarms.published();
    let (mut ids, mut found) = (BTreeSet::new(), BTreeMap::<u32, Vec<Word>>::new());
    for said in published.iter().map(said) {
        let of_version = found.entry(said.version).or_default();
        if ids.insert(said.id) {
            of_version.push(said.word);
        }
    }
    let refuses = world.setup.refuses_alarms;
    let is_steady = evaluated.is_steady() && !world.deployed.has_changed();
    for version in 1..=VERSIONS {
        let found = found.get(&version).map_or(&[][..], Vec::as_slice);
        let mut expected = evaluated.words(version).to_vec();
        expected.retain(|(end_us, _)| !(refuses && is_refused(*end_us)));
        if is_steady {
            assert_eq!(found, expected, "the words on the alarm of {version}");
        } else if !refuses {
            let (last, holds) = (found.last(), evaluated.is_up(version));
            let is_up = last.is_some_and(|(_, up)| *up);
            assert_eq!(
                is_up, holds,
                "the last word of {found:?} on the alarm of {version}, for {expected:?}"
            );
        }
    }
    let raised = found.values().flatten().filter(|(_, up)| *up).count();
    Alarms {
        raised: raised as u64,
        resolved: (ids.len() - raised) as u64,
        repeats: (published.len() - ids.len()) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_judged_by_its_shares_and_few_rows_say_nothing() {
        let judged = |low, high| Scores { low, high }.judged();
        let cases = [
            (0, 4, Judged::Skipped),
            (9, 1, Judged::Clear),
            (10, 0, Judged::Clear),
            (5, 5, Judged::Between),
            (2, 8, Judged::Drifted),
        ];
        for (low, high, expected) in cases {
            assert_eq!(judged(low, high), expected, "{low} and {high}");
        }
        let (few, late) = (Scores { low: 2, high: 2 }, Scores { low: 1, high: 0 });
        assert!(!few.is_steady(late) && few.is_steady(Scores::default()));
    }

    #[test]
    fn an_alarm_goes_up_with_one_window_and_down_with_all_that_are_asked_for() {
        use Judged::{Between, Clear, Drifted, Skipped};
        let windows = [
            Clear, Drifted, Clear, Skipped, Between, Clear, Clear, Drifted, Drifted, Clear,
        ];
        let told = |of| words((1..).zip(windows), of);
        assert_eq!(told(2), [(2, true), (7, false), (8, true)]);
        assert_eq!(told(1), [(2, true), (3, false), (8, true), (10, false)]);
    }
}
