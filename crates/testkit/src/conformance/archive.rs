//! What every archive must do, whatever it is made of. `offline` runs this over real Delta tables,
//! the stand-in of this crate in memory. Each check makes its own archive, so that they may run
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::ErrorKind;
use forebay_core::ports::{Archive, Beginnings, ColumnRange, LogIdentity, RowStream, Scan};
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::timestamp_type;
use forebay_core::value::Value;
use futures::TryStreamExt;

const TABLE: &str = "events";
const TOPIC: &str = "topic.of.events";

fn schema() -> SchemaRef {
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

fn rows(places: &[(i32, i64)]) -> RecordBatch {
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

fn applied(marks: &[(i32, i64)]) -> Applied {
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

async fn batches(stream: RowStream) -> Vec<RecordBatch> {
    stream.try_collect().await.expect("readable")
}

fn places(batches: &[RecordBatch]) -> Vec<(i32, i64)> {
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

/// Twelve appends over three partitions with holes in the offsets; partition 2 begins late.
async fn filled(archive: &dyn Archive) -> BTreeSet<(i32, i64)> {
    archive.open_table(TABLE, schema()).await.expect("opened");
    let mut all = BTreeSet::new();
    for step in 0..12_i64 {
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
        archive
            .append(TABLE, vec![rows(&fresh)], &applied(&marks))
            .await
            .expect("appended");
        all.extend(fresh);
    }
    all
}

/// Run every check, each over an archive that `make` makes.
pub async fn archive<A: Archive>(mut make: impl FnMut() -> A) {
    a_scan_gives_every_row_once_in_log_order(&make()).await;
    a_scan_gives_the_columns_that_were_asked_for(&make()).await;
    offsets_bound_a_scan_exactly(&make()).await;
    keys_and_time_lose_no_row(&make()).await;
    a_snapshot_bounds_a_scan_for_ever(&make()).await;
    rows_below_a_mark_are_dropped(&make()).await;
    what_does_not_exist_is_named(&make()).await;
    appends_are_dated_in_their_order(&make()).await;
    where_a_table_begins_is_noted_once(&make()).await;
    a_table_knows_the_log_that_its_rows_came_from(&make()).await;
}

async fn a_scan_gives_every_row_once_in_log_order(archive: &dyn Archive) {
    let all = filled(archive).await;
    let scan = Scan::default().in_log_order();
    let found = places(&batches(archive.scan(TABLE, scan).await.expect("there")).await);
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

async fn a_scan_gives_the_columns_that_were_asked_for(archive: &dyn Archive) {
    let all = filled(archive).await;
    let scan = Scan::columns(["n", "no_such_column", "key"]).in_log_order();
    let found = batches(archive.scan(TABLE, scan).await.expect("there")).await;
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

async fn offsets_bound_a_scan_exactly(archive: &dyn Archive) {
    let all = filled(archive).await;
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
                *offset >= from.next_offset(&place)
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
        let found = places(&batches(archive.scan(TABLE, scan).await.expect("there")).await);
        assert_eq!(found.len(), expected.len());
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{from:?} {below:?}"
        );
    }
}

async fn keys_and_time_lose_no_row(archive: &dyn Archive) {
    let all = filled(archive).await;
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
    let found = places(&batches(archive.scan(TABLE, scan).await.expect("there")).await);
    let found: BTreeSet<(i32, i64)> = found.into_iter().collect();
    let wanted = all.iter().filter(|(partition, offset)| {
        (2..=3).contains(&(offset % 5))
            && (1_000_000..=3_000_000).contains(&time_us(*partition, *offset))
    });
    for place in wanted {
        assert!(found.contains(place), "{place:?} is inside");
    }
}

async fn a_snapshot_bounds_a_scan_for_ever(archive: &dyn Archive) {
    let all = filled(archive).await;
    let snapshot = archive.snapshot(TABLE).await.expect("there");
    assert_eq!(snapshot.rows, all.len() as u64);
    let marks = applied(&[(0, 200), (1, 1_200), (3, 9)]);
    archive
        .append(TABLE, vec![rows(&[(0, 150), (1, 1_190), (3, 8)])], &marks)
        .await
        .expect("appended");
    let scan = Scan::default().below(snapshot.applied);
    let found = places(&batches(archive.scan(TABLE, scan).await.expect("there")).await);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all);
}

async fn rows_below_a_mark_are_dropped(archive: &dyn Archive) {
    let all = filled(archive).await;
    let again: Vec<(i32, i64)> = (100..130).map(|offset| (0, offset)).collect();
    let fresh = archive
        .append(TABLE, vec![rows(&again)], &applied(&[(0, 130)]))
        .await
        .expect("appended");
    assert_eq!(fresh, 10);
    let progress = archive.progress(TABLE).await.expect("there");
    assert_eq!(progress.next_offset(&TopicPartition::new(TOPIC, 0)), 130);
    let scan = Scan::default().in_log_order();
    let found = places(&batches(archive.scan(TABLE, scan).await.expect("there")).await);
    assert_eq!(found.len(), all.len() + 10);
}

async fn what_does_not_exist_is_named(archive: &dyn Archive) {
    let error = archive.scan("nowhere", Scan::default()).await.err();
    let error = error.expect("no such table");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("nowhere"), "{error}");
    archive.open_table(TABLE, schema()).await.expect("opened");
    let empty = archive.scan(TABLE, Scan::default().in_log_order()).await;
    assert!(batches(empty.expect("there")).await.is_empty());
    let other = Schema::new(schema().fields()[1..].to_vec());
    let error = archive.open_table(TABLE, Arc::new(other)).await.err();
    assert_eq!(
        error.expect("another schema").kind(),
        ErrorKind::AlreadyExists
    );
}

async fn appends_are_dated_in_their_order(archive: &dyn Archive) {
    filled(archive).await;
    let scan = Scan::columns([meta::INGEST_TIME, meta::PARTITION, meta::OFFSET]).in_log_order();
    let found = batches(archive.scan(TABLE, scan).await.expect("there")).await;
    let mut dates = BTreeMap::<i64, BTreeSet<i64>>::new();
    for batch in &found {
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        for (time, (partition, offset)) in times
            .values()
            .iter()
            .zip(places(std::slice::from_ref(batch)))
        {
            let step = (offset - if partition == 1 { 1_000 } else { 0 }) / 10;
            dates.entry(step).or_default().insert(*time);
        }
    }
    let dates: Vec<i64> = dates
        .into_values()
        .map(|times| {
            assert_eq!(times.len(), 1, "one time an append");
            times.into_iter().next().expect("one")
        })
        .collect();
    assert!(dates.windows(2).all(|pair| pair[0] < pair[1]), "{dates:?}");
}

async fn where_a_table_begins_is_noted_once(archive: &dyn Archive) {
    archive.open_table(TABLE, schema()).await.expect("opened");
    let place = |partition| TopicPartition::new(TOPIC, partition);
    let begin = |from: &[(i32, i64)], cut: &[i32]| Beginnings {
        from: applied(from),
        cut: cut.iter().map(|partition| place(*partition)).collect(),
    };
    let noted = |archive| async move {
        let archive: &dyn Archive = archive;
        archive.snapshot(TABLE).await.expect("there").beginnings
    };
    assert_eq!(noted(archive).await, Beginnings::default());
    let none = BTreeMap::new();
    let first = begin(&[(0, 7), (1, 0)], &[0]);
    archive.begin(TABLE, &first, &none).await.expect("noted");
    assert_eq!(noted(archive).await, first);
    let later = begin(&[(0, 90), (1, 3), (2, 5)], &[1, 2]);
    archive.begin(TABLE, &later, &none).await.expect("noted");
    let both = begin(&[(0, 7), (1, 0), (2, 5)], &[0, 2]);
    assert_eq!(noted(archive).await, both);
    archive
        .append(TABLE, vec![rows(&[(0, 9)])], &applied(&[(0, 10)]))
        .await
        .expect("appended");
    assert_eq!(noted(archive).await, both);
    let progress = archive.progress(TABLE).await.expect("there");
    assert_eq!(progress, applied(&[(0, 10)]), "a beginning is no progress");
}

async fn a_table_knows_the_log_that_its_rows_came_from(archive: &dyn Archive) {
    archive.open_table(TABLE, schema()).await.expect("opened");
    let log = |cluster: Option<&str>, id: Option<&str>, partitions| {
        let log = LogIdentity {
            cluster: cluster.map(str::to_owned),
            id: id.map(str::to_owned),
            partitions,
        };
        BTreeMap::from([(TOPIC.to_owned(), log)])
    };
    let digest = |offset: i64, time_us| RecordDigest {
        offset,
        kafka_time_us: time_us,
        hash: u64::MAX - offset.unsigned_abs(),
    };
    let marks = |partition, next_offset, last| {
        let progress = PartitionProgress {
            next_offset,
            max_event_time_us: None,
            last,
        };
        Applied(BTreeMap::from([(
            TopicPartition::new(TOPIC, partition),
            progress,
        )]))
    };
    let begin = async |log| {
        let beginnings = Beginnings::default();
        archive
            .begin(TABLE, &beginnings, &log)
            .await
            .expect("noted");
        archive.snapshot(TABLE).await.expect("there").logs
    };
    // A broker may tell the id of a topic later; an id has a slash now and then.
    assert_eq!(
        begin(log(Some("c/1"), None, 2)).await,
        log(Some("c/1"), None, 2)
    );
    let whole = log(Some("c/1"), Some("a/b=="), 3);
    assert_eq!(begin(log(Some("other"), Some("a/b=="), 3)).await, whole);
    assert_eq!(begin(log(Some("other"), Some("other"), 1)).await, whole);
    let last = async |up_to: Applied| {
        let none = archive.append(TABLE, Vec::new(), &up_to).await;
        assert_eq!(none.expect("appended"), 0);
        let last = archive.snapshot(TABLE).await.expect("there").last;
        let of = |partition| last.get(&TopicPartition::new(TOPIC, partition)).copied();
        [of(0), of(1)]
    };
    let (first, second) = (digest(4, None), digest(8, Some(-7)));
    assert_eq!(last(marks(0, 5, Some(first))).await, [Some(first), None]);
    assert_eq!(
        last(marks(0, 7, None)).await,
        [Some(first), None],
        "control records"
    );
    assert_eq!(
        last(marks(0, 6, Some(digest(5, None)))).await,
        [Some(first), None]
    );
    assert_eq!(last(marks(0, 9, Some(second))).await, [Some(second), None]);
    assert_eq!(
        last(marks(1, 5, Some(first))).await,
        [Some(second), Some(first)]
    );
    let snapshot = archive.snapshot(TABLE).await.expect("there");
    assert_eq!(snapshot.logs, whole);
    assert_eq!(snapshot.applied, applied(&[(0, 9), (1, 5)]));
    assert_eq!(snapshot.beginnings, Beginnings::default());
}
