//! What every archive must do, whatever it is made of. `offline` runs this over real Delta tables,
//! the stand-in of this crate in memory. Each check makes its own archive, so that they may run
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::ErrorKind;
use forebay_core::ports::{Archive, Beginnings, LogIdentity, Scan};
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::source::meta;

use super::scan::{self, TABLE, TOPIC, applied, batches, places, rows, schema};

/// The table that scans are checked on.
async fn filled(archive: &dyn Archive) -> BTreeSet<(i32, i64)> {
    archive.open_table(TABLE, schema()).await.expect("opened");
    for (rows, up_to) in scan::appends() {
        let fresh = archive.append(TABLE, vec![rows], &up_to).await;
        fresh.expect("appended");
    }
    scan::all_places()
}

/// Run every check, each over an archive that `make` makes.
pub async fn archive<A: Archive>(mut make: impl FnMut() -> A) {
    let scanned = make();
    filled(&scanned).await;
    scan::table_scan(&scanned, true).await;
    a_snapshot_bounds_a_scan_for_ever(&make()).await;
    rows_below_a_mark_are_dropped(&make()).await;
    a_table_is_empty_when_opened_and_keeps_its_types(&make()).await;
    a_table_follows_the_columns_of_its_rows(&make()).await;
    appends_are_dated_in_their_order(&make()).await;
    where_a_table_begins_is_noted_once(&make()).await;
    a_table_knows_the_log_that_its_rows_came_from(&make()).await;
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

async fn a_table_is_empty_when_opened_and_keeps_its_types(archive: &dyn Archive) {
    archive.open_table(TABLE, schema()).await.expect("opened");
    let empty = archive.scan(TABLE, Scan::default().in_log_order()).await;
    assert!(batches(empty.expect("there")).await.is_empty());
    let changed = |name: &str, field: Field| {
        let schema = schema();
        let others = schema.fields().iter().filter(|f| f.name() != name);
        let fields = others.cloned().chain([Arc::new(field)]);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    for other in [
        changed("n", Field::new("n", DataType::Utf8, true)),
        changed("", Field::new("more", DataType::Utf8, false)),
        changed("", Field::new("KEY", DataType::Utf8, true)),
    ] {
        let error = archive.open_table(TABLE, other).await.err();
        let kind = error.expect("another schema").kind();
        assert_eq!(kind, ErrorKind::AlreadyExists);
    }
    assert!(archive.open_table(TABLE, schema()).await.is_ok());
}

async fn a_table_follows_the_columns_of_its_rows(archive: &dyn Archive) {
    let all = filled(archive).await;
    // `n` goes, `more` comes, `ts` may be NULL.
    let fields = schema()
        .fields()
        .iter()
        .filter_map(|f| match f.name().as_str() {
            "n" => None,
            "ts" => Some(Arc::new(f.as_ref().clone().with_nullable(true))),
            _ => Some(Arc::clone(f)),
        })
        .collect::<Vec<_>>();
    let more = Arc::new(Field::new("more", DataType::Utf8, true));
    let fields: Vec<_> = [more].into_iter().chain(fields).collect();
    let newer = Arc::new(Schema::new(fields));
    for _ in 0..2 {
        let opened = archive.open_table(TABLE, Arc::clone(&newer)).await;
        opened.expect("it follows");
    }
    let given = rows(&[(3, 20), (3, 21)]);
    let columns = newer
        .fields()
        .iter()
        .map(|field| match given.column_by_name(field.name()) {
            Some(column) => Arc::clone(column),
            None => Arc::new(StringArray::from(vec![Some("x"), None])) as ArrayRef,
        });
    let given = RecordBatch::try_new(Arc::clone(&newer), columns.collect()).expect("well formed");
    let fresh = archive
        .append(TABLE, vec![given], &applied(&[(3, 22)]))
        .await;
    assert_eq!(fresh.expect("appended"), 2);
    let columns = ["more", "n", meta::PARTITION, meta::OFFSET];
    for scan in [
        Scan::columns(columns),
        Scan::columns(columns).in_log_order(),
    ] {
        let found = batches(archive.scan(TABLE, scan).await.expect("there")).await;
        let mut new = 0;
        for batch in &found {
            let text = |row: usize| batch.column(0).as_string::<i32>().is_valid(row);
            let number = |row: usize| batch.column(1).is_valid(row);
            for (row, place) in places(std::slice::from_ref(batch)).into_iter().enumerate() {
                assert_eq!(text(row), place == (3, 20), "{place:?}");
                let had = all.contains(&place) && place.1 % 3 > 0;
                assert_eq!(number(row), had, "{place:?}");
                new += usize::from(!all.contains(&place));
            }
        }
        assert_eq!(new, 2);
    }
    // As it was before: the rows of the newer source stay.
    archive
        .open_table(TABLE, schema())
        .await
        .expect("it follows back");
    let given = rows(&[(3, 30)]);
    let fresh = archive
        .append(TABLE, vec![given], &applied(&[(3, 31)]))
        .await;
    assert_eq!(fresh.expect("appended"), 1);
    let snapshot = archive.snapshot(TABLE).await.expect("there");
    assert_eq!(snapshot.rows, all.len() as u64 + 3);
    assert!(snapshot.schema.column_with_name("more").is_some());
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
    let begin = |from: &[(i32, i64)], cut: &[(i32, i64)]| Beginnings {
        from: applied(from),
        cut: cut.iter().map(|(p, at)| (place(*p), *at)).collect(),
    };
    let noted = |archive| async move {
        let archive: &dyn Archive = archive;
        archive.snapshot(TABLE).await.expect("there").beginnings
    };
    assert_eq!(noted(archive).await, Beginnings::default());
    let none = BTreeMap::new();
    let first = begin(&[(0, 7), (1, 0)], &[(0, 7)]);
    archive.begin(TABLE, &first, &none).await.expect("noted");
    assert_eq!(noted(archive).await, first);
    let later = begin(&[(0, 90), (1, 3), (2, 5)], &[(1, 3), (2, 5)]);
    archive.begin(TABLE, &later, &none).await.expect("noted");
    let both = begin(&[(0, 7), (1, 0), (2, 5)], &[(0, 7), (2, 5)]);
    assert_eq!(noted(archive).await, both);
    archive
        .append(TABLE, vec![rows(&[(0, 9)])], &applied(&[(0, 10)]))
        .await
        .expect("appended");
    assert_eq!(noted(archive).await, both);
    for (cut, known) in [
        (&[(0, 20), (1, 9)][..], [(0, 20), (1, 9), (2, 5)]),
        (&[(0, 15), (3, 4)][..], [(0, 20), (1, 9), (2, 5)]),
    ] {
        let cut = begin(&[], cut);
        archive.begin(TABLE, &cut, &none).await.expect("noted");
        let mut known = begin(&[(0, 7), (1, 0), (2, 5)], &known);
        let new = cut.cut.into_iter().filter(|(p, _)| p.partition == 3);
        known.cut.extend(new);
        assert_eq!(noted(archive).await, known, "it only ascends");
    }
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
