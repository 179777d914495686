//! A source: a Kafka topic with a schema, an event-time column and a watermark. Defined by `CREATE
//! SOURCE`, decoded by `kafka`, archived by `offline`, scanned by `engine`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::domain::Domain;
use crate::format::SourceFormat;
use crate::limits::{EVENT_FUTURE_MAX_US, IDLE_TIMEOUT_US};
use crate::time::{Micros, SECOND_US};

/// Names of the columns that the archive adds to a source's own, in this order, behind them.
pub mod meta {
    /// Kafka topic (`Utf8`).
    pub const TOPIC: &str = "_topic";
    /// Kafka partition (`Int32`).
    pub const PARTITION: &str = "_partition";
    /// Kafka offset (`Int64`).
    pub const OFFSET: &str = "_offset";
    /// Kafka record time (timestamp, us, UTC).
    pub const KAFKA_TIME: &str = "_kafka_time";
    /// When the archive took the row (timestamp, us, UTC): one value per append.
    pub const INGEST_TIME: &str = "_ingest_time";
    /// Whether the row came too late for the online state (`Boolean`).
    pub const LATE: &str = "_late";
}

/// One column of a source or of a feature service's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name as written (lower case unless quoted).
    pub name: String,
    /// One of `Utf8`, `Float64`, `Int64`, `Int32`, `Boolean`, `Timestamp(us, UTC)`, or a `List` of
    /// one of these; in the sources that Forebay itself defines (predictions) also a `Struct` of
    /// these.
    #[serde(with = "crate::data_type")]
    pub data_type: DataType,
    /// False for NOT NULL: a record without it is a dead letter.
    pub nullable: bool,
}

/// The unit in which records count a time from 1970: `TIMESTAMP FROM EPOCH MILLIS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl EpochUnit {
    /// All of them, the longest first.
    pub const ALL: [Self; 4] = [Self::Seconds, Self::Millis, Self::Micros, Self::Nanos];

    /// Its word in SQL.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Seconds => "SECONDS",
            Self::Millis => "MILLIS",
            Self::Micros => "MICROS",
            Self::Nanos => "NANOS",
        }
    }

    /// Digits of a second that it counts: the 3 of `TIMESTAMP(3)`.
    #[must_use]
    pub fn precision(self) -> u32 {
        match self {
            Self::Seconds => 0,
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }

    /// The moment `count` of these from 1970, and whether digits beyond the microsecond were
    /// dropped, downwards. None beyond 64 bits.
    #[must_use]
    pub fn moment(self, count: i64) -> Option<(Micros, bool)> {
        match self {
            Self::Seconds => Some((count.checked_mul(SECOND_US)?, false)),
            Self::Millis => Some((count.checked_mul(1_000)?, false)),
            Self::Micros => Some((count, false)),
            Self::Nanos => Some((count.div_euclid(1_000), count.rem_euclid(1_000) != 0)),
        }
    }
}

/// A source as applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDef {
    /// Name in SQL, and of its archive table.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Index of the event-time column in `columns`; NOT NULL, a timestamp.
    pub time_column: usize,
    /// `WATERMARK FOR ts AS ts - INTERVAL d`: d in microseconds.
    pub watermark_delay_us: Micros,
    /// `idle_timeout`: how long a partition may be without a record to read before it no longer
    /// holds its source back, microseconds.
    pub idle_timeout_us: Micros,
    /// `event_future_max`: how far an event's time may lie ahead of its Kafka record's time, and
    /// how far it moves the watermark beyond what others support, microseconds.
    pub event_future_max_us: Micros,
    /// Kafka topic.
    pub topic: String,
    /// Encoding of its records.
    pub format: SourceFormat,
    /// By the name of a TIMESTAMP column: the unit of times that records give as integers. Where
    /// none is said, an integer is taken as microseconds, and that is counted.
    pub epoch_units: BTreeMap<String, EpochUnit>,
    /// By the name of a column: what its declared type admits of its `data_type`, where that is
    /// less than all.
    pub domains: BTreeMap<String, Domain>,
}

/// SQL's name of the type of a column, for messages and documents.
#[must_use]
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::List(item) => format!("{}[]", sql_name(item.data_type())),
        other => other.to_string(),
    }
}

impl SourceDef {
    /// A source of JSON records whose time options are the defaults.
    #[must_use]
    pub fn json(name: &str, topic: &str, columns: Vec<Column>, time_column: usize) -> Self {
        Self {
            name: name.to_owned(),
            columns,
            time_column,
            watermark_delay_us: 0,
            idle_timeout_us: IDLE_TIMEOUT_US,
            event_future_max_us: EVENT_FUTURE_MAX_US,
            topic: topic.to_owned(),
            format: SourceFormat::json(),
            epoch_units: BTreeMap::new(),
            domains: BTreeMap::new(),
        }
    }

    /// SQL's name of the declared type of a column.
    #[must_use]
    pub fn type_name(&self, column: &Column) -> String {
        match self.domains.get(&column.name) {
            Some(domain) if column.data_type.is_nested() => format!("{domain}[]"),
            Some(domain) => domain.to_string(),
            None => sql_name(&column.data_type),
        }
    }

    /// Schema of decoded rows: the source's own columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields()))
    }

    /// Schema of archived rows: the own columns and then those of [`meta`].
    #[must_use]
    pub fn archive_schema(&self) -> SchemaRef {
        let mut fields = self.fields();
        fields.extend([
            Field::new(meta::TOPIC, DataType::Utf8, false),
            Field::new(meta::PARTITION, DataType::Int32, false),
            Field::new(meta::OFFSET, DataType::Int64, false),
            Field::new(meta::KAFKA_TIME, crate::time::timestamp_type(), true),
            Field::new(meta::INGEST_TIME, crate::time::timestamp_type(), false),
            Field::new(meta::LATE, DataType::Boolean, false),
        ]);
        Arc::new(Schema::new(fields))
    }

    fn fields(&self) -> Vec<Field> {
        self.columns
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_moment_by_its_unit() {
        let moments = EpochUnit::ALL.map(|unit| unit.moment(1_714_521_600_001));
        let cut = |micros| Some((micros, true));
        let whole = |micros| Some((micros, false));
        assert_eq!(
            moments,
            [
                whole(1_714_521_600_001_000_000),
                whole(1_714_521_600_001_000),
                whole(1_714_521_600_001),
                cut(1_714_521_600),
            ]
        );
        assert_eq!(EpochUnit::Nanos.moment(-1), Some((-1, true)));
        assert_eq!(EpochUnit::Seconds.moment(i64::MAX), None);
        assert_eq!(EpochUnit::Millis.moment(i64::MIN), None);
        assert_eq!(EpochUnit::ALL.map(EpochUnit::precision), [0, 3, 6, 9]);
    }
}
