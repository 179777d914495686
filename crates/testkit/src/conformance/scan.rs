//! What fills, training sets and verification rely on when they scan a table: every row once, the
//! columns that were asked for, offsets as exact bounds where the table has a log. Tables in
//! memory, archives, files of a user and what bounds any of them run this over the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::ErrorKind;
use forebay_core::ports::{ColumnRange, RowStream, Scan, TableScan};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::timestamp_type;
use forebay_core::value::Value;
use futures::TryStreamExt;

/// Name of the table that the checks scan.
pub const TABLE: &str = "events";
pub(super) const TOPIC: &str = "topic.of.events";

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("ts", timestamp_type(), false),
        Field::new("n", DataType::Int64, true),
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
        Field::new(meta::KAFKA_TIME, timestamp_type(), true),
        Field::new(meta::LATE, DataType::Boolean, false),
    ]))
}

/// Event time of the record at an offset: out of order within a partition.
fn time_us(partition: i32, offset: i64) -> i64 {
    (offset * 7_919 + i64::from(partition)).rem_euclid(10_007) * 1_000
}

pub(super) fn rows(places: &[(i32, i64)]) -> RecordBatch {
    let times = |shift: i64| {
        let times = places.iter().map(|(p, o)| time_us(*p, *o) + shift);
        TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(
            places
                .iter()
                .map(|(_, o)| (o % 5 > 0).then(|| format!("k{}", o % 5))),
        )),
        Arc::new(times(0)),
        Arc::new(Int64Array::from_iter(
            places.iter().map(|(_, o)| (o % 3 > 0).then_some(*o)),
        )),
        Arc::new(StringArray::from_iter_values(places.iter().map(|_| TOPIC))),
        Arc::new(Int32Array::from_iter_values(places.iter().map(|(p, _)| *p))),
        Arc::new(Int64Array::from_iter_values(places.iter().map(|(_, o)| *o))),
        Arc::new(times(1)),
        Arc::new(BooleanArray::from(vec![false; places.len()])),
    ];
    RecordBatch::try_new(schema(), columns).expect("well formed")
}

pub(super) fn applied(marks: &[(i32, i64)]) -> Applied {
    let progress = |next_offset| PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last: None,
    };
    let marks = marks.iter();
    Applied(
        marks
            .map(|(p, next)| (TopicPartition::new(TOPIC, *p), progress(*next)))
            .collect(),
    )
}

pub(super) async fn batches(stream: RowStream) -> Vec<RecordBatch> {
    stream.try_collect().await.expect("readable")
}

pub(super) fn places(batches: &[RecordBatch]) -> Vec<(i32, i64)> {
    let of = |batch: &RecordBatch| {
        let column = |name: &str| Arc::clone(batch.column_by_name(name).expect("asked for"));
        let partitions = column(meta::PARTITION);
        let offsets = column(meta::OFFSET);
        let partitions = partitions.as_primitive::<Int32Type>().values().to_vec();
        let offsets = offsets.as_primitive::<Int64Type>().values().to_vec();
        partitions.into_iter().zip(offsets).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// What [`TABLE`] has to hold: appends, in their order, each with the next offsets after it. Twelve
/// over three partitions with holes in the offsets; partition 2 begins late.
#[must_use]
pub fn appends() -> Vec<(RecordBatch, Applied)> {
    let append = |step: i64| {
        let mut fresh: Vec<(i32, i64)> = (step * 10..step * 10 + 10)
            .filter(|offset| offset % 4 != 3)
            .flat_map(|offset| [(0, offset), (1, offset + 1_000)])
            .collect();
        if step > 6 {
            fresh.extend((step * 10..step * 10 + 10).map(|offset| (2, offset)));
        }
        let mut marks = vec![(0, step * 10 + 10), (1, step * 10 + 1_010)];
        if step > 6 {
            marks.push((2, step * 10 + 10));
        }
        (rows(&fresh), applied(&marks))
    };
    (0..12).map(append).collect()
}

/// Where every row of [`TABLE`] stands.
pub(super) fn all_places() -> BTreeSet<(i32, i64)> {
    let batches: Vec<RecordBatch> = appends().into_iter().map(|append| append.0).collect();
    places(&batches).into_iter().collect()
}

/// Everything that a [`TableScan`] promises, of tables of which [`TABLE`] holds [`appends`];
/// `has_log` is whether offsets bound it, as they do not where the rows are files of a user.
///
/// # Panics
/// A promise is not kept.
pub async fn table_scan(tables: &dyn TableScan, has_log: bool) {
    a_scan_gives_every_row_once_in_log_order(tables).await;
    a_scan_gives_the_columns_that_were_asked_for(tables).await;
    offsets_bound_a_scan_exactly(tables, has_log).await;
    keys_and_time_lose_no_row(tables).await;
    a_table_that_does_not_exist_is_named(tables).await;
}

async fn a_scan_gives_every_row_once_in_log_order(tables: &dyn TableScan) {
    let all = all_places();
    let scan = Scan::default().in_log_order();
    let found = places(&batches(tables.scan(TABLE, scan).await.expect("there")).await);
    assert_eq!(found.len(), all.len());
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), all);
    let mut last = BTreeMap::new();
    for (partition, offset) in found {
        let before = last.insert(partition, offset);
        assert!(
            before < Some(offset),
            "{offset} after {before:?} in {partition}"
        );
    }
}

async fn a_scan_gives_the_columns_that_were_asked_for(tables: &dyn TableScan) {
    let all = all_places();
    let scan = Scan::columns(["n", "no_such_column", "key"]).in_log_order();
    let found = batches(tables.scan(TABLE, scan).await.expect("there")).await;
    for batch in &found {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["n", "key"]);
        assert_eq!(batch.column(0).data_type(), &DataType::Int64);
        assert_eq!(batch.column(1).data_type(), &DataType::Utf8);
    }
    assert_eq!(
        found.iter().map(RecordBatch::num_rows).sum::<usize>(),
        all.len()
    );
}

async fn offsets_bound_a_scan_exactly(tables: &dyn TableScan, has_log: bool) {
    let all = all_places();
    for (from, below) in [
        (vec![(0, 37)], None),
        (
            vec![(0, 37), (1, 1_055), (2, 99)],
            Some(vec![(0, 90), (1, 1_061), (2, 101)]),
        ),
        (vec![], Some(vec![(1, 1_005)])),
        (vec![(0, 1_000), (1, 5_000), (2, 1_000)], None),
    ] {
        let (from, below) = (applied(&from), below.map(|below| applied(&below)));
        let expected: BTreeSet<(i32, i64)> = all
            .iter()
            .filter(|(partition, offset)| {
                let place = TopicPartition::new(TOPIC, *partition);
                !has_log
                    || *offset >= from.next_offset(&place)
                        && below
                            .as_ref()
                            .is_none_or(|b| *offset < b.next_offset(&place))
            })
            .copied()
            .collect();
        let scan = Scan {
            from: from.clone(),
            below: below.clone(),
            ..Scan::default()
        };
        let found = places(&batches(tables.scan(TABLE, scan).await.expect("there")).await);
        assert_eq!(found.len(), expected.len());
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{from:?} {below:?}"
        );
    }
}

async fn keys_and_time_lose_no_row(tables: &dyn TableScan) {
    let all = all_places();
    let text = |text: &str| Value::Text(text.into());
    let scan = Scan {
        keys: vec![ColumnRange {
            column: "key".to_owned(),
            least: text("k2"),
            greatest: text("k3"),
        }],
        time: Some(ColumnRange::times("ts", 1_000_000, 3_000_000)),
        ..Scan::default()
    };
    let found = places(&batches(tables.scan(TABLE, scan).await.expect("there")).await);
    let found: BTreeSet<(i32, i64)> = found.into_iter().collect();
    let wanted = all.iter().filter(|(partition, offset)| {
        (2..=3).contains(&(offset % 5))
            && (1_000_000..=3_000_000).contains(&time_us(*partition, *offset))
    });
    for place in wanted {
        assert!(found.contains(place), "{place:?} is inside");
    }
}

async fn a_table_that_does_not_exist_is_named(tables: &dyn TableScan) {
    let error = tables.scan("nowhere", Scan::default()).await.err();
    let error = error.expect("no such table");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("nowhere"), "{error}");
}
