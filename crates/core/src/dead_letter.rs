//! Why a record is no row of its source: the stable reasons, which are labels in the dead-letter
//! table and in metrics. `kafka` finds them, `offline` stores them. Tables of older builds have one
//! more, `refused`: a row that a view could not take was no event of its source then.
//! `docs/errors.md` is written from the comments here.

/// The stable reasons, as [`crate::ports::DeadLetter::reason`] has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterReason {
    /// Not UTF-8, not JSON, not an object, or a field twice in one object. Remedy: correct what
    /// produces it; the letter keeps its bytes.
    NotJson,
    /// A record of a source with format 'csv' that is no line of CSV: not UTF-8, quotes that are
    /// not closed or doubled, or more fields than columns. Remedy: write a field that holds the
    /// delimiter or a quote in quotes, and its own quotes twice; the letter keeps its bytes.
    NotCsv,
    /// A record of a source with format 'arrow' that is no plain Arrow IPC stream: broken,
    /// compressed, or a wanted column twice. Remedy: write each row as a stream of its own, with
    /// schema, without compression.
    NotArrow,
    /// Several rows in one record, or none. Remedy: send each row as a record of its own; an offset
    /// names one row.
    NotOneRow,
    /// A NOT NULL column is absent or null. Remedy: produce the field under the column's name
    /// (`forebay doctor --topic` names the nearest field), or declare the column without NOT NULL
    /// and replay the letter (`forebay dead-letters replay`).
    MissingColumn,
    /// A value that its column cannot hold. Remedy: produce the declared type, or declare the type
    /// that is produced and replay the letter (`forebay dead-letters replay`).
    WrongType,
    /// Key and value are larger than `EVENT_MAX_BYTES`. Remedy: produce smaller records.
    TooLarge,
    /// Nested deeper than `EVENT_MAX_DEPTH`. Remedy: flatten the record.
    TooDeep,
    /// A tombstone, or an empty value. Remedy: none is needed where the topic is compacted: it
    /// deletes nothing from views.
    NoValue,
    /// The event time is an integer of a unit that the source does not say, and as microseconds
    /// since 1970 it lies further from the Kafka record's time than `INTEGER_TIME_DISTANCE_MAX_US`.
    /// Remedy: declare the unit, as `at TIMESTAMP FROM EPOCH MILLIS NOT NULL`.
    TimeUnit,
    /// The event time is too far ahead of the Kafka record's time. Remedy: set the producer's clock
    /// and check the unit of its times; the source's `event_future_max` says how far is too far.
    FutureTime,
}

impl DeadLetterReason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NotJson,
        Self::NotCsv,
        Self::NotArrow,
        Self::NotOneRow,
        Self::MissingColumn,
        Self::WrongType,
        Self::TooLarge,
        Self::TooDeep,
        Self::NoValue,
        Self::TimeUnit,
        Self::FutureTime,
    ];

    /// The label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotCsv => "not_csv",
            Self::NotArrow => "not_arrow",
            Self::NotOneRow => "not_one_row",
            Self::MissingColumn => "missing_column",
            Self::WrongType => "wrong_type",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
            Self::NoValue => "no_value",
            Self::TimeUnit => "time_unit",
            Self::FutureTime => "future_time",
        }
    }
}
