//! Why a record is no row: its reason, and a sentence for people that names the column. The
//! sentence never repeats the record's values: the dead letter keeps its bytes.

use std::fmt;

use forebay_core::dead_letter::DeadLetterReason;
use forebay_core::limits::{EVENT_MAX_BYTES, EVENT_MAX_DEPTH, INTEGER_TIME_DISTANCE_MAX_US};
use forebay_core::source::EpochUnit;
use forebay_core::time::{DAY_US, Micros};

/// A record that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The label.
    pub reason: DeadLetterReason,
    /// Names of the column and, before it, of the objects around it: innermost first.
    path: Vec<String>,
    problem: String,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((outermost, inner)) = self.path.split_last() {
            write!(f, "column `{outermost}")?;
            for name in inner.iter().rev() {
                write!(f, ".{name}")?;
            }
            f.write_str("`: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl Reject {
    /// The column that is at fault, with the objects inside it: `outer.inner`. None where the whole
    /// record is.
    #[must_use]
    pub fn column(&self) -> Option<String> {
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        (!path.is_empty()).then(|| path.join("."))
    }

    fn new(reason: DeadLetterReason, problem: impl Into<String>) -> Self {
        Self {
            reason,
            path: Vec::new(),
            problem: problem.into(),
        }
    }

    pub(super) fn not_json(problem: impl Into<String>) -> Self {
        Self::new(DeadLetterReason::NotJson, problem)
    }

    pub(super) fn not_csv(problem: impl Into<String>) -> Self {
        Self::new(DeadLetterReason::NotCsv, problem)
    }

    pub(super) fn not_arrow(problem: impl Into<String>) -> Self {
        Self::new(DeadLetterReason::NotArrow, problem)
    }

    pub(super) fn not_one_row(problem: impl Into<String>) -> Self {
        let problem: String = problem.into();
        let problem =
            format!("{problem}; an offset names one row: send each as a record of its own");
        Self::new(DeadLetterReason::NotOneRow, problem)
    }

    pub(super) fn twice() -> Self {
        Self::new(DeadLetterReason::NotJson, "occurs twice in one object")
    }

    pub(super) fn twice_in_arrow() -> Self {
        Self::new(DeadLetterReason::NotArrow, "occurs twice in one record")
    }

    pub(super) fn missing(null: bool) -> Self {
        Self::new(
            DeadLetterReason::MissingColumn,
            if null {
                "is NOT NULL and the record has null"
            } else {
                "is NOT NULL and the record lacks it"
            },
        )
    }

    pub(super) fn wrong_type(problem: impl Into<String>) -> Self {
        Self::new(DeadLetterReason::WrongType, problem)
    }

    pub(super) fn too_large(size_bytes: usize) -> Self {
        Self::new(
            DeadLetterReason::TooLarge,
            format!(
                "key and value have {size_bytes} bytes, {EVENT_MAX_BYTES} are allowed (EVENT_MAX_BYTES)"
            ),
        )
    }

    pub(super) fn too_deep() -> Self {
        Self::new(
            DeadLetterReason::TooDeep,
            format!("nested deeper than {EVENT_MAX_DEPTH} (EVENT_MAX_DEPTH)"),
        )
    }

    pub(super) fn no_value() -> Self {
        Self::new(DeadLetterReason::NoValue, "the record has no value")
    }

    /// An integer of no declared unit lies `away_us` from the record's time; in `unit` it would
    /// not.
    pub(super) fn time_unit(column: &str, away_us: Micros, unit: Option<EpochUnit>) -> Self {
        const YEAR_US: i64 = 365 * DAY_US;
        let (years, side) = (
            away_us.saturating_abs() / YEAR_US,
            if away_us < 0 { "before" } else { "after" },
        );
        let limit = INTEGER_TIME_DISTANCE_MAX_US / YEAR_US;
        let declare = |unit: EpochUnit| format!("TIMESTAMP FROM EPOCH {}", unit.word());
        let remedy = match unit {
            Some(unit) => format!(
                "declare it as {}, which lies near, or as {} where that is meant",
                declare(unit),
                declare(EpochUnit::Micros)
            ),
            None => format!("declare {} where that is meant", declare(EpochUnit::Micros)),
        };
        let problem = format!(
            "is an integer of a unit that the source does not say; as microseconds since 1970 it lies {years} years \
             {side} the Kafka record's time, more than {limit} (INTEGER_TIME_DISTANCE_MAX_US): {remedy}"
        );
        Self::new(DeadLetterReason::TimeUnit, problem).within(column)
    }

    pub(super) fn future_time(column: &str, ahead_us: Micros, limit_us: Micros) -> Self {
        let problem =
            format!("is {ahead_us} us ahead of the Kafka record's time, {limit_us} us are allowed");
        Self::new(DeadLetterReason::FutureTime, problem).within(column)
    }

    /// The same, with a remedy behind it.
    pub(super) fn adding(mut self, words: &str) -> Self {
        self.problem = format!("{}: {words}", self.problem);
        self
    }

    /// The same, inside the column or object `name`.
    pub(super) fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }
}
