//! The archive's table of decisions about time: one row for each bound and each hold, so that a
//! later reader of the archived rows gets the marks that were in force. `_offset` numbers the rows
//! of a partition; the offsets of the log at which a decision holds have columns of their own. The
//! archiver appends what [`batch`] makes, a start and the filling of a view read it back by
//! [`read`].

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::invariant;
use forebay_core::progress::TopicPartition;
use forebay_core::source::meta;
use forebay_core::time::timestamp_type;
use forebay_core::watermark::{Bound, Hold, MarkFact, MarkRecord};
use forebay_core::{PortError, PortResult};

/// Name of the table.
pub const MARKS_TABLE: &str = "_marks";

const KIND: &str = "kind";
const FROM: &str = "from_offset";
const UNTIL: &str = "until_offset";
const MARK: &str = "mark";
const WATERMARK: &str = "watermark";
/// Rows at offsets in `[from_offset, until_offset)` counted for no more than `mark`.
const BOUND: &str = "bound";
/// At `from_offset` the partition was idle and held at `mark`.
const HOLD: &str = "hold";

/// Columns of the table but `_ingest_time`, which the archive adds.
#[must_use]
pub fn marks_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
        Field::new(KIND, DataType::Utf8, false),
        Field::new(FROM, DataType::Int64, false),
        Field::new(UNTIL, DataType::Int64, false),
        Field::new(MARK, timestamp_type(), false),
        Field::new(WATERMARK, timestamp_type(), false),
    ]))
}

/// `records`, each with its number within its partition, as rows.
pub(crate) fn batch(records: &[(MarkRecord, i64)]) -> PortResult<RecordBatch> {
    let columns_of = |record: &MarkRecord| match record.fact {
        MarkFact::Bound(b) => (BOUND, b.from, b.until, b.mark_max_us, b.watermark_max_us),
        MarkFact::Hold(h) => (HOLD, h.at, h.at, h.mark_us, h.watermark_us),
    };
    let facts: Vec<_> = records
        .iter()
        .map(|(record, _)| columns_of(record))
        .collect();
    invariant!(
        BoundCoversRows,
        facts.iter().all(|f| f.0 == HOLD || f.1 < f.2),
        "{} records",
        facts.len()
    );
    let long = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let time = |values: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            records.iter().map(|(r, _)| &*r.partition.topic),
        )),
        Arc::new(Int32Array::from_iter_values(
            records.iter().map(|(r, _)| r.partition.partition),
        )),
        long(records.iter().map(|(_, number)| *number).collect()),
        Arc::new(StringArray::from_iter_values(facts.iter().map(|f| f.0))),
        long(facts.iter().map(|f| f.1).collect()),
        long(facts.iter().map(|f| f.2).collect()),
        time(facts.iter().map(|f| f.3).collect()),
        time(facts.iter().map(|f| f.4).collect()),
    ];
    RecordBatch::try_new(marks_schema(), columns).map_err(|e| PortError::internal(e.to_string()))
}

/// The decisions that `rows` of the table hold.
///
/// # Errors
/// The columns are others, or a row is of a kind that this build does not know.
pub fn read(rows: &RecordBatch) -> PortResult<Vec<MarkRecord>> {
    let numbered = read_numbered(rows)?;
    Ok(numbered.into_iter().map(|(record, _)| record).collect())
}

/// The same, each with its number within its partition.
pub(super) fn read_numbered(rows: &RecordBatch) -> PortResult<Vec<(MarkRecord, i64)>> {
    let column = |name: &str| {
        rows.column_by_name(name)
            .ok_or_else(|| unreadable(&format!("has no column {name}")))
    };
    let long = |name: &str| {
        let column = column(name)?.as_primitive_opt::<Int64Type>();
        column.ok_or_else(|| unreadable(&format!("has another column {name}")))
    };
    let time = |name: &str| {
        let column = column(name)?.as_primitive_opt::<TimestampMicrosecondType>();
        column.ok_or_else(|| unreadable(&format!("has another column {name}")))
    };
    let (topics, kinds) = (column(meta::TOPIC)?, column(KIND)?);
    let partitions = column(meta::PARTITION)?
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(|| unreadable("has another column of partitions"))?;
    let (from, until, mark, watermark) = (long(FROM)?, long(UNTIL)?, time(MARK)?, time(WATERMARK)?);
    let numbers = long(meta::OFFSET)?;
    (0..rows.num_rows())
        .map(|row| {
            let fact = match text(kinds.as_ref(), row)? {
                BOUND => MarkFact::Bound(Bound {
                    from: from.value(row),
                    until: until.value(row),
                    mark_max_us: mark.value(row),
                    watermark_max_us: watermark.value(row),
                }),
                HOLD => MarkFact::Hold(Hold {
                    at: from.value(row),
                    mark_us: mark.value(row),
                    watermark_us: watermark.value(row),
                }),
                other => return Err(unreadable(&format!("holds a row of kind '{other}'"))),
            };
            let topic = text(topics.as_ref(), row)?;
            let record = MarkRecord {
                partition: TopicPartition::new(topic, partitions.value(row)),
                fact,
            };
            Ok((record, numbers.value(row)))
        })
        .collect()
}

fn text(column: &dyn Array, row: usize) -> PortResult<&str> {
    if let Some(text) = column.as_string_opt::<i32>() {
        return Ok(text.value(row));
    }
    let text = column.as_string_view_opt();
    Ok(text
        .ok_or_else(|| unreadable("has a column that is no text"))?
        .value(row))
}

fn unreadable(why: &str) -> PortError {
    PortError::internal(format!(
        "the archive's table {MARKS_TABLE} {why}; use the version of forebay that wrote it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() -> PortResult<()> {
        let of = |number: i32, fact| MarkRecord {
            partition: TopicPartition::new("t", number),
            fact,
        };
        let bound = Bound {
            from: 3,
            until: 9,
            mark_max_us: 500,
            watermark_max_us: i64::MAX,
        };
        let hold = Hold {
            at: 9,
            mark_us: -700,
            watermark_us: -710,
        };
        let records = vec![of(0, MarkFact::Bound(bound)), of(7, MarkFact::Hold(hold))];
        let numbered: Vec<_> = records.iter().cloned().zip([0, 4]).collect();
        let rows = batch(&numbered)?;
        assert_eq!(read(&rows)?, records);
        assert_eq!(read_numbered(&rows)?, numbered);
        let other = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let error = read(&other).expect_err("no column").to_string();
        assert!(
            error.contains("_marks") && error.contains("version"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn a_decision_of_another_version_is_left_to_the_version_that_wrote_it() -> PortResult<()> {
        let hold = Hold {
            at: 9,
            mark_us: 0,
            watermark_us: 0,
        };
        let known = MarkRecord {
            partition: TopicPartition::new("t", 0),
            fact: MarkFact::Hold(hold),
        };
        let rows = batch(&[(known.clone(), 0)])?;
        let kind = rows.schema().index_of(KIND).expect("its own column");
        let of_kind = |word: &str| {
            let mut columns = rows.columns().to_vec();
            columns[kind] = Arc::new(StringArray::from(vec![word]));
            RecordBatch::try_new(rows.schema(), columns).expect("the same types")
        };
        let error = read(&of_kind("of tomorrow")).expect_err("an unknown kind");
        let words = error.to_string();
        assert!(
            words.contains("kind 'of tomorrow'; use the version of forebay that wrote it"),
            "{words}"
        );
        assert_eq!(read(&of_kind(HOLD))?, [known]);
        Ok(())
    }
}
