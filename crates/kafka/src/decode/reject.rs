//! Why a record is no row: a stable reason, which is a label in the dead-letter table and in
//! metrics, and a sentence for people that names the column. The sentence never repeats the
//! record's values: the dead letter keeps its bytes.

use std::fmt;

use forebay_core::limits::{EVENT_MAX_BYTES, EVENT_MAX_DEPTH};
use forebay_core::time::Micros;

/// The stable reasons, as [`forebay_core::ports::DeadLetter::reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not UTF-8, not JSON, not an object, or a field twice in one object.
    NotJson,
    /// A NOT NULL column is absent or null.
    MissingColumn,
    /// A value that its column cannot hold.
    WrongType,
    /// Key and value are larger than `EVENT_MAX_BYTES`.
    TooLarge,
    /// Nested deeper than `EVENT_MAX_DEPTH`.
    TooDeep,
    /// A tombstone, or an empty value.
    NoValue,
    /// The event time is too far ahead of the Kafka record's time.
    FutureTime,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NotJson,
        Self::MissingColumn,
        Self::WrongType,
        Self::TooLarge,
        Self::TooDeep,
        Self::NoValue,
        Self::FutureTime,
    ];

    /// The label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::MissingColumn => "missing_column",
            Self::WrongType => "wrong_type",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::NoValue => "no_value",
            Self::FutureTime => "future_time",
        }
    }
}

/// A record that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The label.
    pub reason: Reason,
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

    fn new(reason: Reason, problem: impl Into<String>) -> Self {
        Self {
            reason,
            path: Vec::new(),
            problem: problem.into(),
        }
    }

    pub(super) fn not_json(problem: impl Into<String>) -> Self {
        Self::new(Reason::NotJson, problem)
    }

    pub(super) fn twice() -> Self {
        Self::new(Reason::NotJson, "occurs twice in one object")
    }

    pub(super) fn missing(null: bool) -> Self {
        Self::new(
            Reason::MissingColumn,
            if null {
                "is NOT NULL and the record has null"
            } else {
                "is NOT NULL and the record lacks it"
            },
        )
    }

    pub(super) fn wrong_type(problem: impl Into<String>) -> Self {
        Self::new(Reason::WrongType, problem)
    }

    pub(super) fn too_large(size_bytes: usize) -> Self {
        Self::new(
            Reason::TooLarge,
            format!(
                "key and value have {size_bytes} bytes, {EVENT_MAX_BYTES} are allowed (EVENT_MAX_BYTES)"
            ),
        )
    }

    pub(super) fn too_deep() -> Self {
        Self::new(
            Reason::TooDeep,
            format!("nested deeper than {EVENT_MAX_DEPTH} (EVENT_MAX_DEPTH)"),
        )
    }

    pub(super) fn no_value() -> Self {
        Self::new(Reason::NoValue, "the record has no value")
    }

    pub(super) fn future_time(column: &str, ahead_us: Micros, limit_us: Micros) -> Self {
        let problem =
            format!("is {ahead_us} us ahead of the Kafka record's time, {limit_us} us are allowed");
        Self::new(Reason::FutureTime, problem).within(column)
    }

    /// The same, inside the column or object `name`.
    pub(super) fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }
}
