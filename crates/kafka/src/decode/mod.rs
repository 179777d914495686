//! Records into the Arrow columns of a source, row by row, straight into column builders: no tree
//! of values per event. A record that is no row is rejected with a stable reason and leaves no
//! trace: every builder is cut back to the row before it. The formats are the files of `format`'s
//! table; all of them put their values by the rules of `cell`, so that a row is the same in each.
//!
//! What counts as which type (the same rules hold inside a nested object):
//!
//! | column | JSON | CSV | Arrow |
//! |---|---|---|---|
//! | VARCHAR | a string | any field | utf8 |
//! | VARCHAR(n) | a string of at most n characters | any such field | utf8 |
//! | DOUBLE | a number, rounded once and correctly, the sign of -0.0 kept; or `"NaN"`, `"Infinity"`, `"-Infinity"` | the same, without quotes | integers and floats |
//! | REAL | the same, the nearest value of 32 bits to what is written | the same | the nearest value |
//! | BIGINT, INTEGER, SMALLINT | a number without fraction or exponent, in range (`1.0` is a double; `-0` is 0, and `-0.0` with it) | digits with a sign | integers, in range |
//! | BOOLEAN | `true`, `false` | the same, in any case | bool |
//! | TIMESTAMP | RFC 3339 text, `2013-01-01 05:15:00` (UTC), or an integer in the unit of `FROM EPOCH`, microseconds where none is said; years 0000 to 9999 | the same | timestamps of any unit, utf8 and integers as in JSON |
//! | TIMESTAMP(p) | the same, without what is finer than p digits of a second | the same | the same |
//! | an array | an array of what its items are, or null | - | list, large_list, fixed_size_list of what its items are, or null |
//! | STRUCT | an object | - | - |
//! | any nullable column | also `null`, or absent | the NULL text, without quotes; or behind the line's last field | null, or absent |
//!
//! Digits of a second beyond the sixth, or beyond those of TIMESTAMP(p), are dropped, downwards. A
//! field fills the column of its name, or else the one whose name differs in case only. Fields that
//! no column names are skipped. All of this is counted, as is every value that is not taken as it
//! is ([`Guess`]); in an array, item by item. A field that occurs twice in one object is refused:
//! parsers disagree about which one counts.

mod arrow;
mod cell;
mod columns;
mod csv;
mod format;
mod guess;
mod json;
mod list;
mod names;
mod nesting;
mod reject;
mod row;
#[cfg(test)]
mod tests;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use forebay_core::invariant;
use forebay_core::limits::{EVENT_MAX_BYTES, INTEGER_TIME_DISTANCE_MAX_US};
use forebay_core::source::{EpochUnit, SourceDef};
use forebay_core::time::Micros;

use crate::error::Error;
use columns::Fields;
use format::Codec;
pub use format::encode_events;
pub use guess::Guess;
pub(crate) use guess::Guessed;
pub use reject::Reject;
pub(crate) use row::RecordField;
use row::RowDecoder;

/// One record as the broker gave it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Its key; it counts only towards the size limit.
    pub key: Option<&'a [u8]>,
    /// Its value; None is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Its timestamp.
    pub kafka_time_us: Option<Micros>,
    /// Whether the broker set that (LogAppendTime), and not the producer.
    pub broker_time: bool,
}

/// Decodes records of one source into batches of its columns.
#[derive(Debug)]
pub struct RecordDecoder {
    schema: SchemaRef,
    format: Box<dyn RowDecoder>,
    fields: Fields,
    time_column: usize,
    future_max_us: Micros,
    rows: usize,
}

impl RecordDecoder {
    /// A decoder for `source`. An event time more than `future_max_us` ahead of its Kafka record's
    /// time is rejected.
    ///
    /// # Errors
    /// A column of a type that its format cannot fill, or an event-time column that is no
    /// timestamp.
    pub fn new(source: &SourceDef, future_max_us: Micros) -> Result<Self, Error> {
        let schema = source.schema();
        let mut fields = Fields::new(schema.fields())?;
        for (column, unit) in &source.epoch_units {
            fields.set_unit(column, *unit);
        }
        for (column, domain) in &source.domains {
            fields.set_domain(column, *domain);
        }
        if !fields.is_timestamp(source.time_column) {
            let column = source.columns.get(source.time_column);
            return Err(Error::UnsupportedColumn {
                column: column
                    .map_or_else(|| format!("#{}", source.time_column), |c| c.name.clone()),
                data_type: column.map_or_else(
                    || "absent".into(),
                    |c| format!("{} as event time", c.data_type),
                ),
            });
        }
        Ok(Self {
            schema,
            format: (Codec::of(source).open)(source)?,
            fields,
            time_column: source.time_column,
            future_max_us,
            rows: 0,
        })
    }

    /// Append `record` as a row.
    ///
    /// # Errors
    /// It is no row of this source: why, with the column's name. The rows before it are untouched.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Reject> {
        match self.decode(record) {
            Ok(()) => {
                self.rows += 1;
                Ok(())
            }
            Err(reject) => {
                self.fields.truncate(self.rows);
                invariant!(
                    ColumnsAgree,
                    self.fields.have(self.rows),
                    "{} rows after a refused record",
                    self.rows
                );
                Err(reject)
            }
        }
    }

    /// Rows since the last [`Self::finish`].
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows pushed since the last call, in order, in the source's schema. The decoder is empty
    /// afterwards.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`]: more than 2 GiB of text in one column.
    pub fn finish(&mut self) -> Result<RecordBatch, Error> {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.fields.finish(rows)?;
        invariant!(
            ColumnsAgree,
            self.fields.have(0),
            "values are left behind a batch of {rows} rows"
        );
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), arrays)
            .expect("builders are made from this schema and hold equally many rows"))
    }

    /// What was guessed in the records pushed since the last call, also in those that were refused.
    #[must_use]
    pub(crate) fn take_guesses(&mut self) -> Vec<Guessed> {
        let mut guesses = Vec::new();
        self.fields.take_guesses("", &mut guesses);
        guesses
    }

    /// The fields of `record`, whether they name a column or not; None where it cannot be read.
    pub(crate) fn fields_of(&mut self, record: &Record<'_>) -> Option<Vec<RecordField>> {
        let names = self.schema.fields().iter().map(|f| f.name().as_str());
        let names: Vec<&str> = names.collect();
        let small = |payload: &&[u8]| (1..=EVENT_MAX_BYTES).contains(&payload.len());
        self.format.fields(record.payload.filter(small)?, &names)
    }

    fn decode(&mut self, record: &Record<'_>) -> Result<(), Reject> {
        let payload = record
            .payload
            .filter(|payload| !payload.is_empty())
            .ok_or_else(Reject::no_value)?;
        let size_bytes = payload.len() + record.key.map_or(0, <[u8]>::len);
        if size_bytes > EVENT_MAX_BYTES {
            return Err(Reject::too_large(size_bytes));
        }
        self.format.decode(payload, &mut self.fields, self.rows)?;
        self.check_time(record.kafka_time_us)
    }

    fn check_time(&self, kafka_time_us: Option<Micros>) -> Result<(), Reject> {
        let event_time_us = self.fields.last_timestamp(self.time_column);
        let guessed = self.fields.is_unit_guessed(self.time_column);
        let far = |event: Micros, kafka: Micros| {
            event.abs_diff(kafka) > INTEGER_TIME_DISTANCE_MAX_US.unsigned_abs()
        };
        match (event_time_us, kafka_time_us) {
            (Some(event), Some(kafka)) if guessed && far(event, kafka) => {
                let near = |unit: &EpochUnit| {
                    let moment = unit.moment(event);
                    moment.is_some_and(|(moment, _)| !far(moment, kafka))
                };
                let name = self.schema.field(self.time_column).name();
                let unit = EpochUnit::ALL.into_iter().find(near);
                Err(Reject::time_unit(name, event.saturating_sub(kafka), unit))
            }
            (Some(event), Some(kafka)) if event > kafka.saturating_add(self.future_max_us) => {
                Err(Reject::future_time(
                    self.schema.field(self.time_column).name(),
                    event.saturating_sub(kafka),
                    self.future_max_us,
                ))
            }
            _ => Ok(()),
        }
    }
}
