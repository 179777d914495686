//! What a decoder does with a record beyond taking its values as they are: each kind has a label
//! and is counted by column, so that nothing is guessed silently. The decoder counts as it goes, in
//! plain integers; `finish` returns the counts with the batch.

/// A kind of guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guess {
    /// The record lacks the column, which becomes NULL.
    Absent,
    /// The record has a field whose name differs from the column's in case only, and none of the
    /// very name.
    OtherCase,
    /// The record has a field that no column names; it is skipped. Counted by the object around it.
    UnknownField,
    /// A time given as an integer, taken as microseconds since 1970.
    IntegerTime,
    /// A time without an offset, taken as UTC.
    TimeWithoutZone,
    /// A time with digits beyond the microsecond, which are dropped.
    TimeCut,
    /// A DOUBLE given as an integer that it cannot hold exactly, rounded.
    RoundedInteger,
    /// A DOUBLE given as the text of NaN or an infinity.
    TextNumber,
}

impl Guess {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Absent,
        Self::OtherCase,
        Self::UnknownField,
        Self::IntegerTime,
        Self::TimeWithoutZone,
        Self::TimeCut,
        Self::RoundedInteger,
        Self::TextNumber,
    ];

    /// Its label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::OtherCase => "other_case",
            Self::UnknownField => "unknown_field",
            Self::IntegerTime => "integer_time",
            Self::TimeWithoutZone => "time_without_zone",
            Self::TimeCut => "time_cut",
            Self::RoundedInteger => "rounded_integer",
            Self::TextNumber => "text_number",
        }
    }
}

/// Name under which fields that no column of the record itself names are counted.
pub(crate) const WHOLE_RECORD: &str = "*";

/// How often a column was filled by a guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guessed {
    /// The column; one inside an object with its path, `outer.inner`; [`WHOLE_RECORD`] for fields
    /// of the record that no column names.
    pub(crate) column: String,
    /// What was guessed.
    pub(crate) guess: Guess,
    /// How often.
    pub(crate) count: u64,
}

/// Counts of one column, or of one object.
#[derive(Debug, Clone, Default)]
pub(super) struct GuessCounts([u64; Guess::ALL.len()]);

impl GuessCounts {
    pub(super) fn add(&mut self, guess: Guess) {
        self.0[guess as usize] += 1;
    }

    /// Move what was counted under `column` into `out`.
    pub(super) fn take(&mut self, column: &str, out: &mut Vec<Guessed>) {
        for guess in Guess::ALL {
            let count = std::mem::take(&mut self.0[guess as usize]);
            if count > 0 {
                out.push(Guessed {
                    column: column.to_owned(),
                    guess,
                    count,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
