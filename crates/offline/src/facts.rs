//! What the log says of one data file, and whether a scan can do without the file. Pure: statistics
//! that are missing or strange exclude nothing, and those that are not what was committed are an
//! error.

use chrono::DateTime;
use deltalake::kernel::{Add, LogicalFileView};
use deltalake::table::state::DeltaTableState;
use forebay_core::date;
use forebay_core::ports::{ColumnRange, Scan};
use forebay_core::progress::Applied;
use forebay_core::source::meta;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use object_store::path::Path;
use serde_json::{Map, Value as Json, json};

use crate::error::OfflineError;
use crate::sums::{CHECKSUM_TAG, FACTS_TAG, ORDER_LOG, ORDER_TAG, sum_of};

/// Every data file of a table, in the order of their appends.
pub(crate) fn files_of(
    table: &str,
    state: &DeltaTableState,
) -> Result<Vec<FileFacts>, OfflineError> {
    let mut files = Vec::new();
    for file in state.log_data() {
        if file.deletion_vector_descriptor().is_some() {
            return Err(OfflineError::unsupported(
                table,
                "it has deletion vectors; rewrite it without them",
            ));
        }
        let add = add_of(&file);
        let facts = FileFacts::of(&add).ok_or_else(|| {
            OfflineError::unsupported(
                table,
                format!("file {} has no row count in the log", file.path()),
            )
        })?;
        facts.check(table)?;
        files.push(facts);
    }
    files.sort_by_cached_key(|file| (file.ingested(), file.path.to_string()));
    Ok(files)
}

/// One data file of a table.
#[derive(Debug, Clone)]
pub(crate) struct FileFacts {
    /// Its place in the table's store.
    pub(crate) path: Path,
    /// Rows, as the log counts them.
    pub(crate) rows: u64,
    /// Bytes, as the log counts them.
    pub(crate) size: u64,
    /// CRC-32C of its bytes, if it is a file of ours.
    pub(crate) checksum: Option<String>,
    /// Whether its rows are in log order.
    pub(crate) in_log_order: bool,
    /// The checksum of all this, if it was committed with it.
    vouched: Option<String>,
    least: Map<String, Json>,
    greatest: Map<String, Json>,
}

impl FileFacts {
    /// What an `add` action says of its file; None where it does not count the rows.
    pub(crate) fn of(add: &Add) -> Option<Self> {
        let statistics = add.stats.as_deref().unwrap_or_default();
        let mut statistics: Map<String, Json> =
            serde_json::from_str(statistics).unwrap_or_default();
        let mut bounds = |name: &str| match statistics.remove(name) {
            Some(Json::Object(bounds)) => bounds,
            _ => Map::new(),
        };
        let tags = add.tags.as_ref();
        let tag = |name: &str| tags.and_then(|tags| tags.get(name)).cloned().flatten();
        Some(Self {
            least: bounds("minValues"),
            greatest: bounds("maxValues"),
            // As it lies in the store; the log's own words where they are no such path.
            path: Path::parse(&add.path).unwrap_or_else(|_| Path::from(add.path.as_str())),
            rows: statistics.get("numRecords")?.as_u64()?,
            size: add.size.unsigned_abs(),
            checksum: tag(CHECKSUM_TAG),
            in_log_order: tag(ORDER_TAG).as_deref() == Some(ORDER_LOG),
            vouched: tag(FACTS_TAG),
        })
    }

    /// The checksum of all that is taken from the log, under the name of the file.
    pub(crate) fn sum(&self) -> String {
        let bounds = |bounds: &Map<String, Json>| -> Map<String, Json> {
            let word = |value: &Json| match bound(value, false) {
                Some(Value::Timestamp(us)) => json!({ "us": us }),
                _ => value.clone(),
            };
            let words = bounds
                .iter()
                .map(|(name, value)| (name.clone(), word(value)));
            words.collect()
        };
        sum_of(&json!({
            "path": self.path.as_ref(),
            "rows": self.rows,
            "size": self.size,
            "crc32c": self.checksum,
            "in_log_order": self.in_log_order,
            "least": bounds(&self.least),
            "greatest": bounds(&self.greatest),
        }))
    }

    /// Hold what the log says against the checksum that was committed with it.
    fn check(&self, table: &str) -> Result<(), OfflineError> {
        let Some(expected) = &self.vouched else {
            return Ok(());
        };
        let sum = self.sum();
        if sum == *expected {
            return Ok(());
        }
        Err(OfflineError::damaged(
            table,
            format!(
                "what the log says of file {} has changed since it was written (its CRC-32C is \
                 {sum} and was {expected}); restore the table's `_delta_log` from a backup",
                self.path
            ),
        ))
    }

    /// Whether it was written here, so that its rows, its order and its bytes are known.
    pub(crate) fn is_ours(&self) -> bool {
        self.in_log_order && self.checksum.is_some()
    }

    /// From when to when its rows were appended. Appends give strictly later times, so files whose
    /// times do not overlap follow one another in the log.
    pub(crate) fn ingested(&self) -> (Micros, Micros) {
        let time = |value: Option<Value>, other: Micros| match value {
            Some(Value::Timestamp(us)) => us,
            _ => other,
        };
        let (least, greatest) = self.bounds(meta::INGEST_TIME);
        (time(least, Micros::MIN), time(greatest, Micros::MAX))
    }

    /// Least and greatest value of `column`, where the log has them.
    pub(crate) fn bounds(&self, column: &str) -> (Option<Value>, Option<Value>) {
        let least = self.least.get(column).and_then(|value| bound(value, false));
        let greatest = self
            .greatest
            .get(column)
            .and_then(|value| bound(value, true));
        (least, greatest)
    }

    /// Whether any row of the file may be asked for. Facts that have no checksum (of another
    /// writer, or of a build before there was one) leave out a file by its offsets alone: a start
    /// reads what lies behind an offset within a time that the whole archive may not fit. By keys
    /// and times they leave out none, since a flipped bit would take rows away in silence.
    pub(crate) fn may_hold(&self, scan: &Scan) -> bool {
        match self.vouched {
            Some(_) => self.meets_all(scan),
            None => self.meets_offsets(scan),
        }
    }

    fn meets_all(&self, scan: &Scan) -> bool {
        scan.time.iter().chain(&scan.keys).all(|r| self.meets(r)) && self.meets_offsets(scan)
    }

    fn meets(&self, range: &ColumnRange) -> bool {
        let (least, greatest) = self.bounds(&range.column);
        let below = greatest.is_some_and(|greatest| is_less(&greatest, &range.least));
        let above = least.is_some_and(|least| is_less(&range.greatest, &least));
        !below && !above
    }

    /// Statistics bound the offsets of all partitions of a file together, so a file is excluded
    /// only where the bound of every partition that it may hold says so.
    fn meets_offsets(&self, scan: &Scan) -> bool {
        let Some(held) = self.held() else {
            return true;
        };
        let (least, greatest) = self.bounds(meta::OFFSET);
        let from = held.lowest(&scan.from);
        if matches!(greatest, Some(Value::Int(greatest)) if greatest < from) {
            return false;
        }
        let Some(below) = &scan.below else {
            return true;
        };
        !matches!(least, Some(Value::Int(least)) if least >= held.highest(below))
    }

    /// The file's greatest offset, and the greatest next offset that `applied` has of its
    /// partitions, where the first is not below the second.
    pub(crate) fn beyond(&self, applied: &Applied) -> Option<(i64, i64)> {
        let end = self.held()?.highest(applied);
        match self.bounds(meta::OFFSET).1 {
            Some(Value::Int(greatest)) if greatest >= end => Some((greatest, end)),
            _ => None,
        }
    }

    fn held(&self) -> Option<Held> {
        let text =
            |bounds: &Map<String, Json>| bounds.get(meta::TOPIC)?.as_str().map(str::to_owned);
        let topic = text(&self.least).filter(|t| text(&self.greatest).as_ref() == Some(t))?;
        match self.bounds(meta::PARTITION) {
            (Some(Value::Int(first)), Some(Value::Int(last))) => Some(Held { topic, first, last }),
            _ => None,
        }
    }
}

/// The partitions that a file may hold.
struct Held {
    topic: String,
    first: i64,
    last: i64,
}

impl Held {
    fn offsets<'b>(&'b self, applied: &'b Applied) -> impl Iterator<Item = i64> + 'b {
        let named = applied.0.iter().filter(|(place, _)| {
            *place.topic == *self.topic
                && (self.first..=self.last).contains(&i64::from(place.partition))
        });
        named.map(|(_, progress)| progress.next_offset)
    }

    /// The least next offset over the partitions; 0 where one is not named.
    fn lowest(&self, applied: &Applied) -> i64 {
        let named = self.offsets(applied).count();
        if usize::try_from(self.last - self.first + 1).is_ok_and(|all| named < all) {
            return 0;
        }
        self.offsets(applied).min().unwrap_or(0)
    }

    /// The greatest next offset over the partitions.
    fn highest(&self, applied: &Applied) -> i64 {
        self.offsets(applied).max().unwrap_or(0)
    }
}

/// The `add` action of a file.
fn add_of(file: &LogicalFileView) -> Add {
    #[expect(
        deprecated,
        reason = "the only way to a file's tags that deltalake makes public"
    )]
    file.add_action()
}

/// A bound as the log writes it. Other writers cut instants to milliseconds: then the true upper
/// one may lie up to a millisecond higher.
fn bound(value: &Json, is_upper: bool) -> Option<Value> {
    match value {
        Json::Number(number) => number.as_i64().map(Value::Int),
        Json::Bool(value) => Some(Value::Bool(*value)),
        Json::String(text) => Some(match DateTime::parse_from_rfc3339(text) {
            Ok(instant) => {
                let us = instant.timestamp_micros();
                let cut = is_upper && fraction_digits(text) < 6;
                Value::Timestamp(if cut { us.saturating_add(999) } else { us })
            }
            Err(_) => Value::Text(text.as_str().into()),
        }),
        _ => None,
    }
}

fn fraction_digits(instant: &str) -> usize {
    let fraction = instant.split('.').nth(1).unwrap_or_default();
    fraction.bytes().take_while(u8::is_ascii_digit).count()
}

/// Whether `a` is surely less than `b`; values of different types compare as nothing.
fn is_less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        // The log writes a DATE as text.
        (Value::Date(a), Value::Text(b)) => date::parse(b).is_some_and(|b| *a < b),
        (Value::Text(a), Value::Date(b)) => date::parse(a).is_some_and(|a| a < *b),
        (Value::Int(a), Value::Int(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a < b,
        (Value::Text(a), Value::Text(b)) => a < b,
        (Value::Bool(a), Value::Bool(b)) => !a & b,
        _ => false,
    }
}
