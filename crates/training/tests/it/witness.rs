//! The archive against the log, over stand-ins: each way in which an archive may come not to be
//! what the log was is found, and what is as it should be is told as that.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::ports::{AcceptedGap, Archive, LogNotes, TopicNote};
use forebay_core::prediction::column as named;
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{Column, SourceDef, meta};
use forebay_core::time::timestamp_type;
use forebay_core::value::{Value, array_from_values};
use forebay_testkit::{Fate, MemoryArchive, MemoryLog, MemoryStore};
use forebay_training::{
    FindingKind, OwnTables, PartitionVerdict, WITNESS_RECORDS, Witness, WitnessReport,
    WitnessedSource,
};

const TOPIC: &str = "rides";
const OWN: OwnTables<'_> = OwnTables {
    letters: "dead_letters",
    gaps: "_gaps",
    others: &["_marks"],
};

fn source() -> Arc<SourceDef> {
    let column = |name: &str, data_type| Column {
        name: name.to_owned(),
        data_type,
        nullable: true,
    };
    // Names of a prediction's identity, so that the same source may carry predictions.
    let columns = vec![
        column("at", timestamp_type()),
        column("fare", DataType::Float64),
        column(named::DEPLOYMENT, DataType::Utf8),
        column(named::ROLE, DataType::Utf8),
        column(named::SOURCE_TOPIC, DataType::Utf8),
        column(named::SOURCE_PARTITION, DataType::Int32),
        column(named::SOURCE_OFFSET, DataType::Int64),
    ];
    Arc::new(SourceDef::json("rides", TOPIC, columns, 0))
}

/// The event `number`.
fn event(number: i64) -> Vec<Value> {
    vec![
        Value::Timestamp(number * 1_000_000),
        Value::Float(number as f64 + 0.25),
        Value::Text("d".into()),
        Value::Text("live".into()),
        Value::Text("events".into()),
        Value::Int(0),
        Value::Int(number),
    ]
}

/// A log, an archive and what the state remembers.
struct World {
    source: Arc<SourceDef>,
    log: MemoryLog,
    archive: MemoryArchive,
    store: MemoryStore,
    predictions: bool,
    records: u64,
}

impl World {
    /// Over a log of `events` events in one partition.
    async fn new(events: i64) -> Self {
        let fate = Arc::new(Fate::default());
        let world = Self {
            source: source(),
            log: MemoryLog::new("c"),
            archive: MemoryArchive::new(&fate),
            store: MemoryStore::new(1, 0, &fate),
            predictions: false,
            records: WITNESS_RECORDS,
        };
        world.log.create_topic(TOPIC, 1);
        world.produce(0, events);
        world.begin_at(0);
        let schema = world.source.archive_schema();
        let opened = world.archive.open_table("rides", schema).await;
        opened.expect("a new table");
        world
    }

    fn produce(&self, from: i64, to: i64) {
        for number in from..to {
            self.log.append(TOPIC, 0, Ok(event(number)));
        }
    }

    fn begin_at(&self, offset: i64) {
        let note = TopicNote {
            begins: BTreeMap::from([(0, offset)]),
            ..TopicNote::default()
        };
        let noted = self.store.set_topic_note(TOPIC, &note);
        noted.expect("writable");
    }

    /// Archive what the log has at `offsets`, and say that the table covers all below `mark`.
    async fn archived(&self, offsets: impl IntoIterator<Item = i64>, mark: i64) {
        let records = self.log.records(TOPIC, 0);
        let at = |offset: i64| {
            records
                .iter()
                .find(|r| r.offset == offset)?
                .values
                .clone()
                .ok()
        };
        let rows: Vec<(i64, Vec<Value>)> = offsets
            .into_iter()
            .filter_map(|offset| Some((offset, at(offset)?)))
            .collect();
        self.append("rides", self.rows(&rows), mark).await;
    }

    fn rows(&self, rows: &[(i64, Vec<Value>)]) -> RecordBatch {
        let own = self.source.columns.iter().enumerate().map(|(at, column)| {
            let values = rows.iter().map(|(_, values)| &values[at]);
            array_from_values(&column.data_type, values).expect("values of the column")
        });
        let mut columns: Vec<ArrayRef> = own.collect();
        let time = TimestampMicrosecondArray::from_value(0, rows.len()).with_timezone("UTC");
        let offsets = rows.iter().map(|(offset, _)| *offset);
        columns.extend(place(&offsets.collect::<Vec<_>>()));
        columns.push(Arc::new(time));
        columns.push(Arc::new(BooleanArray::from(vec![false; rows.len()])));
        let fields = self.source.archive_schema();
        let fields = fields.fields().iter();
        let fields = fields
            .filter(|field| field.name() != meta::INGEST_TIME)
            .cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns).expect("rows of the table")
    }

    async fn append(&self, table: &str, batch: RecordBatch, mark: i64) {
        let done = self.archive.append(table, vec![batch], &up_to(mark)).await;
        done.expect("appended");
    }

    /// Dead letters of the records at `offsets`.
    async fn letters(&self, offsets: &[i64], mark: i64) {
        let mut columns = place(offsets).to_vec();
        columns.push(Arc::new(StringArray::from(vec!["rides"; offsets.len()])));
        let schema = table(&[("source", DataType::Utf8)]);
        let opened = self
            .archive
            .open_table(OWN.letters, Arc::clone(&schema))
            .await;
        opened.expect("a new table");
        let batch = RecordBatch::try_new(schema, columns).expect("letters");
        self.append(OWN.letters, batch, mark).await;
    }

    async fn testify(&self) -> WitnessReport {
        let fate = Arc::new(Fate::default());
        let witness = Witness {
            archive: Arc::new(self.archive.clone()),
            notes: Arc::new(self.store.clone()),
            log: Box::new(self.log.reader(1, &fate)),
            inspector: Box::new(self.log.inspector()),
            applied: Applied::default(),
            records: self.records,
        };
        let source = WitnessedSource {
            source: Arc::clone(&self.source),
            predictions: self.predictions,
        };
        let report = witness.testify(&[source], OWN).await;
        report.expect("the ports answer")
    }

    /// The outcome for the partition.
    async fn verdict(&self) -> PartitionVerdict {
        let mut report = self.testify().await;
        let mut rides = report.sources.remove("rides").expect("the source");
        rides.partitions.remove(&0).expect("the partition")
    }

    /// What is found, with the first range of offsets.
    async fn found(&self) -> Vec<(FindingKind, (i64, i64))> {
        let findings = self.verdict().await.findings.into_iter();
        findings
            .map(|found| (found.kind, found.ranges[0]))
            .collect()
    }
}

fn up_to(mark: i64) -> Applied {
    let progress = PartitionProgress {
        next_offset: mark,
        ..PartitionProgress::default()
    };
    Applied(BTreeMap::from([(TopicPartition::new(TOPIC, 0), progress)]))
}

fn place(offsets: &[i64]) -> [ArrayRef; 3] {
    [
        Arc::new(StringArray::from(vec![TOPIC; offsets.len()])),
        Arc::new(Int32Array::from(vec![0; offsets.len()])),
        Arc::new(Int64Array::from(offsets.to_vec())),
    ]
}

/// Columns that place a row, and `others`.
fn table(others: &[(&str, DataType)]) -> SchemaRef {
    let mut fields = vec![
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
    ];
    let others = others.iter();
    fields.extend(others.map(|(name, kind)| Field::new(*name, kind.clone(), false)));
    Arc::new(Schema::new(fields))
}

#[tokio::test]
async fn rows_dead_letters_and_control_records_account_for_all_that_was_read() {
    let world = World::new(20).await;
    world.log.append(TOPIC, 0, Err("not_json"));
    world.log.control(TOPIC, 0);
    world.produce(22, 30);
    world.log.control(TOPIC, 0);
    world.archived(0..30, 31).await;
    world.letters(&[20], 31).await;
    let report = world.testify().await;
    assert_eq!(report.failures(), Vec::<String>::new());
    let verdict = &report.sources["rides"].partitions[&0];
    let counts = (verdict.archived, verdict.compared, verdict.dead_letters);
    assert_eq!((counts, verdict.no_record), ((28, 28, 1), 2), "{verdict:?}");
    assert_eq!(report.unchecked(), (31, 0));
}

#[tokio::test]
async fn records_that_are_neither_archived_nor_dead_letters_are_lost() {
    let world = World::new(30).await;
    world.archived((0..10).chain(15..30), 30).await;
    assert_eq!(world.found().await, [(FindingKind::Lost, (10, 15))]);
    let failures = world.testify().await.failures();
    assert!(
        failures[0].contains("source rides, rides-0, offsets 10 to 14"),
        "{failures:?}"
    );
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_told_by_its_records() {
    let world = World::new(20).await;
    world.archived(0..20, 20).await;
    world.log.delete_topic(TOPIC);
    world.log.create_topic(TOPIC, 1);
    world.produce(100, 130);
    assert_eq!(world.found().await, [(FindingKind::OtherRecord, (0, 20))]);
    // One with fewer records than were read.
    world.log.delete_topic(TOPIC);
    world.log.create_topic(TOPIC, 1);
    world.produce(0, 15);
    assert_eq!(world.found().await, [(FindingKind::BeyondEnd, (15, 20))]);
}

#[tokio::test]
async fn a_value_that_is_not_what_the_log_says_is_found() {
    let world = World::new(20).await;
    let mut rows: Vec<(i64, Vec<Value>)> = (0..20).map(|n| (n, event(n))).collect();
    rows[7].1[1] = Value::Float(-0.0);
    world.append("rides", world.rows(&rows), 20).await;
    assert_eq!(world.found().await, [(FindingKind::OtherRecord, (7, 8))]);
}

#[tokio::test]
async fn rows_that_are_there_twice_are_found() {
    let world = World::new(20).await;
    world.archived((0..20).chain([3, 4, 5]), 20).await;
    assert_eq!(world.found().await, [(FindingKind::Doubled, (3, 6))]);
}

#[tokio::test]
async fn an_accepted_gap_is_no_loss_wherever_it_is_remembered() {
    let world = World::new(30).await;
    world.log.delete_before(TOPIC, 0, 20);
    world.archived(20..30, 30).await;
    assert_eq!(
        world.verdict().await.unchecked,
        20,
        "nobody has accepted anything"
    );
    let mut note = world
        .store
        .topic_note(TOPIC)
        .expect("readable")
        .expect("noted");
    note.gaps.push(AcceptedGap {
        partition: 0,
        from: 0,
        to: 12,
        applied_to: 0,
        accepted_us: 0,
    });
    world.store.set_topic_note(TOPIC, &note).expect("writable");
    let schema = table(&[
        ("from_offset", DataType::Int64),
        ("to_offset", DataType::Int64),
    ]);
    let mut columns = place(&[19]).to_vec();
    columns.push(Arc::new(Int64Array::from(vec![12])));
    columns.push(Arc::new(Int64Array::from(vec![20])));
    let opened = world
        .archive
        .open_table(OWN.gaps, Arc::clone(&schema))
        .await;
    opened.expect("a new table");
    let batch = RecordBatch::try_new(schema, columns).expect("gaps");
    world.append(OWN.gaps, batch, 20).await;
    let verdict = world.verdict().await;
    assert_eq!((verdict.gaps, verdict.unchecked), (20, 0), "{verdict:?}");
}

#[tokio::test]
async fn an_archive_that_lost_what_its_log_no_longer_holds_is_told_by_the_state() {
    let world = World::new(30).await;
    world.log.delete_before(TOPIC, 0, 20);
    world.archived(20..30, 30).await;
    let report = world.testify().await;
    assert_eq!(report.unchecked(), (30, 20));
    // Reading began there: nothing is missing.
    world.begin_at(20);
    assert_eq!(world.testify().await.unchecked(), (10, 0));
}

#[tokio::test]
async fn a_repeat_of_a_prediction_that_is_archived_was_dropped_and_another_one_was_lost() {
    let mut world = World::new(10).await;
    world.produce(4, 8);
    world.produce(50, 51);
    world.archived(0..10, 15).await;
    world.predictions = true;
    let verdict = world.verdict().await;
    assert_eq!((verdict.repeats, verdict.lost), (4, 1), "{verdict:?}");
    assert_eq!(world.found().await, [(FindingKind::Lost, (14, 15))]);
    world.predictions = false;
    assert_eq!(world.found().await, [(FindingKind::Lost, (10, 15))]);
}

#[tokio::test]
async fn no_more_is_read_than_was_asked_for_and_what_is_missing_comes_first() {
    let mut world = World::new(100).await;
    world.archived((0..50).chain(55..100), 100).await;
    world.records = 9;
    let verdict = world.verdict().await;
    assert_eq!((verdict.lost, verdict.compared), (5, 4), "{verdict:?}");
    world.records = 3;
    let verdict = world.verdict().await;
    let counts = (verdict.lost, verdict.unchecked, verdict.compared);
    assert_eq!(counts, (3, 2, 0), "{verdict:?}");
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_a_failure_and_not_silence() {
    let world = World::new(10).await;
    world.archived(0..10, 10).await;
    world.log.set_down(true);
    let failures = world.testify().await.failures();
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].contains("the log could not be asked"),
        "{failures:?}"
    );
}

#[tokio::test]
async fn records_before_a_damaged_batch_are_known_and_those_behind_it_are_not() {
    let world = World::new(10).await;
    world.archived(0..3, 10).await;
    // The partition stops in the very poll that brings the records before the damage.
    world.log.damage(TOPIC, 0, 7, 8);
    let verdict = world.verdict().await;
    let counts = (verdict.archived, verdict.lost, verdict.unchecked);
    assert_eq!(counts, (3, 4, 3), "{verdict:?}");
    assert_eq!(verdict.offsets, 10, "each offset is counted once");
    assert_eq!(world.found().await, [(FindingKind::Lost, (3, 7))]);
}
