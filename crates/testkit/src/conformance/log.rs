//! What ingest and the witness rely on when they read a log: what was assigned comes, from there
//! on, in order and once, each record a row or a dead letter, and a partition that cannot be read
//! stops alone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use forebay_core::ports::{EventLog, LogFault, LogPosition, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::timestamp_type;

/// How long one poll waits.
const WAIT: Duration = Duration::from_millis(50);
/// Polls after which what is waited for counts as missing: 30 seconds.
const POLLS_MAX: usize = 600;

/// A log that the checks write to, and who reads it.
pub trait WritableLog: Debug {
    /// A new, empty topic: its name.
    fn topic(&self, partitions: i32) -> String;

    /// Add the record of [`source`] with this number; without one a record that cannot be a row.
    /// It can be read when this returns.
    fn append(&self, topic: &str, partition: i32, number: Option<i64>);

    /// A new reader.
    fn reader(&self) -> Box<dyn EventLog>;
}

/// Everything that an [`EventLog`] promises.
///
/// # Panics
/// A promise is not kept.
pub fn event_log(log: &dyn WritableLog) {
    what_is_assigned_is_read_from_there_on_in_order(log);
    each_record_is_a_row_or_a_dead_letter_in_its_place(log);
    sources_of_one_topic_get_its_records_each(log);
    a_poll_brings_no_more_records_than_it_is_asked_for(log);
    a_partition_that_cannot_be_read_stops_alone_and_says_so_once(log);
    assigned_anew_it_reads_from_there_and_forgets_faults_and_pauses(log);
    a_pause_keeps_the_position(log);
    a_source_that_no_record_can_fill_is_refused(log);
}

/// Source `name` over `topic`: a number `n` and a time `at`.
#[must_use]
pub fn source(name: &str, topic: &str) -> Arc<SourceDef> {
    let columns = vec![column("n", DataType::Int64), column("at", timestamp_type())];
    Arc::new(SourceDef::json(name, topic, columns, 1))
}

/// The same offsets for partitions 0, 1 and so on.
#[must_use]
pub fn from(topic: &str, offsets: &[i64]) -> BTreeMap<TopicPartition, i64> {
    let places = (0..).map(|partition| TopicPartition::new(topic, partition));
    places.zip(offsets.iter().copied()).collect()
}

/// Of a reader of one source that was just assigned: what the log has, batch by batch.
///
/// # Panics
/// An end is not met, or a partition cannot be read.
pub fn read_all(reader: &mut dyn EventLog) -> Vec<SourceBatch> {
    let mut batches = Vec::new();
    wait("the reader meets every end", || {
        batches.extend(reader.poll(1_000, WAIT).expect("readable"));
        reader.positions().values().all(LogPosition::end_reached)
    });
    assert!(reader.faults().is_empty());
    batches
}

/// Of a reader of one source: the next `records`, good or bad, batch by batch.
///
/// # Panics
/// Fewer come, or more, or a partition cannot be read.
pub fn read(reader: &mut dyn EventLog, records: usize) -> Vec<SourceBatch> {
    let mut batches = Vec::new();
    let mut came = 0;
    wait("the records are read", || {
        let more = reader.poll(1_000, WAIT).expect("readable");
        let of = |batch: &SourceBatch| batch.rows.num_rows() + batch.dead_letters.len();
        came += more.iter().map(of).sum::<usize>();
        batches.extend(more);
        came >= records
    });
    assert_eq!(came, records);
    assert!(reader.faults().is_empty());
    batches
}

/// The numbers of the rows of `source`, by partition in the order in which they came.
#[must_use]
pub fn numbers(batches: &[SourceBatch], source: &str) -> BTreeMap<i32, Vec<i64>> {
    let mut numbers: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for batch in batches.iter().filter(|batch| batch.source.name == source) {
        let column = batch.rows.column(0).as_primitive::<Int64Type>();
        for (slot, number) in batch.origin.partition.iter().zip(column.values()) {
            let place = &batch.origin.partitions[*slot as usize];
            numbers.entry(place.partition).or_default().push(*number);
        }
    }
    numbers
}

fn column(name: &str, data_type: DataType) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        nullable: false,
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    assert!((0..POLLS_MAX).any(|_| condition()), "polled until {what}");
}

/// A topic whose partitions have these many good records, numbered from 0 by tens of thousands.
fn filled(log: &dyn WritableLog, records: &[i64]) -> String {
    let topic = log.topic(i32::try_from(records.len()).expect("few"));
    for (partition, records) in (0_i32..).zip(records) {
        for number in 0..*records {
            let number = i64::from(partition) * 10_000 + number;
            log.append(&topic, partition, Some(number));
        }
    }
    topic
}

fn what_is_assigned_is_read_from_there_on_in_order(log: &dyn WritableLog) {
    let topic = filled(log, &[40, 7, 5]);
    let mut reader = log.reader();
    let assigned = from(&topic, &[25, 0]);
    let source = source("s", &topic);
    reader.assign(&[source], &assigned).expect("within the log");
    let begin = reader.positions();
    assert_eq!(begin.len(), 2, "two of three partitions are assigned");
    for (place, position) in &begin {
        assert_eq!(position.next_offset, assigned[place]);
        assert!(!position.end_reached(), "there is something to read");
    }
    let batches = read_all(reader.as_mut());
    let expected = BTreeMap::from([
        (0, (25..40).collect::<Vec<_>>()),
        (1, (10_000..10_007).collect()),
    ]);
    assert_eq!(numbers(&batches, "s"), expected);
    let ends = reader.positions().into_values().map(|p| p.next_offset);
    assert_eq!(ends.collect::<Vec<_>>(), [40, 7]);
    assert!(reader.poll(10, WAIT).expect("readable").is_empty());
    log.append(&topic, 0, Some(40));
    let batches = read(reader.as_mut(), 1);
    assert_eq!(numbers(&batches, "s"), BTreeMap::from([(0, vec![40])]));
}

fn each_record_is_a_row_or_a_dead_letter_in_its_place(log: &dyn WritableLog) {
    let topic = log.topic(1);
    let bad = [0, 3, 4, 9];
    for offset in 0..10 {
        log.append(&topic, 0, (!bad.contains(&offset)).then_some(offset));
    }
    let mut reader = log.reader();
    reader
        .assign(&[source("s", &topic)], &from(&topic, &[0]))
        .expect("within the log");
    let (mut letters, mut next) = (Vec::new(), 0);
    for batch in read_all(reader.as_mut()) {
        let rows = batch.rows.num_rows();
        assert_eq!(batch.rows.schema(), batch.source.schema());
        let origin = &batch.origin;
        assert_eq!([origin.partition.len(), origin.offset.len()], [rows, rows]);
        assert_eq!(origin.kafka_time_us.len(), rows);
        assert!(origin.broker_time.is_empty() || origin.broker_time.len() == rows);
        assert!(origin.watermark_us.is_empty(), "the pipeline fills it");
        assert!(origin.is_in_log_order());
        let numbers = batch.rows.column(0).as_primitive::<Int64Type>();
        assert_eq!(numbers.values().to_vec(), origin.offset, "the record's own");
        for letter in &batch.dead_letters {
            assert_eq!(
                (letter.source.as_str(), letter.partition.partition),
                ("s", 0)
            );
            letters.push(letter.offset);
        }
        let (place, read_up_to) = &batch.read_up_to[0];
        let (of, last) = &batch.last_records[0];
        assert_eq!((batch.read_up_to.len(), batch.last_records.len()), (1, 1));
        assert_eq!((place, *read_up_to), (of, last.offset + 1));
        let offsets = origin.offset.iter().copied();
        let offsets = offsets.chain(batch.dead_letters.iter().map(|letter| letter.offset));
        let offsets: Vec<i64> = offsets.collect();
        assert_eq!(offsets.iter().max(), Some(&last.offset), "good or bad");
        assert_eq!(offsets.iter().min(), Some(&next), "none is left out");
        next = *read_up_to;
    }
    assert_eq!((letters.as_slice(), next), (&bad[..], 10));
}

fn sources_of_one_topic_get_its_records_each(log: &dyn WritableLog) {
    let (topic, other) = (filled(log, &[3]), filled(log, &[2]));
    let sources = [
        source("a", &topic),
        source("b", &topic),
        source("c", &other),
    ];
    let mut assigned = from(&topic, &[0]);
    assigned.extend(from(&other, &[1]));
    let mut reader = log.reader();
    reader.assign(&sources, &assigned).expect("within the log");
    let batches = read_all(reader.as_mut());
    for (name, expected) in [("a", vec![0, 1, 2]), ("b", vec![0, 1, 2]), ("c", vec![1])] {
        let expected = BTreeMap::from([(0, expected)]);
        assert_eq!(numbers(&batches, name), expected, "source {name}");
    }
}

fn a_poll_brings_no_more_records_than_it_is_asked_for(log: &dyn WritableLog) {
    let topic = filled(log, &[20, 20]);
    let mut reader = log.reader();
    reader
        .assign(&[source("s", &topic)], &from(&topic, &[0, 0]))
        .expect("within the log");
    let mut read = 0;
    wait("all is read", || {
        let batches = reader.poll(3, WAIT).expect("readable");
        let records: usize = batches.iter().map(|batch| batch.rows.num_rows()).sum();
        assert!(records <= 3, "{records} records of 3");
        read += records;
        read >= 40
    });
    assert_eq!(read, 40);
}

fn a_partition_that_cannot_be_read_stops_alone_and_says_so_once(log: &dyn WritableLog) {
    let topic = filled(log, &[5, 5]);
    let mut reader = log.reader();
    reader
        .assign(&[source("s", &topic)], &from(&topic, &[2, 900]))
        .expect("a position is looked at when it is read");
    let (mut batches, mut faults) = (Vec::new(), Vec::new());
    wait("one partition is read and the other one stopped", || {
        batches.extend(reader.poll(1_000, WAIT).expect("readable"));
        faults.extend(reader.faults());
        let read = reader.positions().values().all(LogPosition::end_reached);
        read && !faults.is_empty()
    });
    assert_eq!(numbers(&batches, "s"), BTreeMap::from([(0, vec![2, 3, 4])]));
    let [(place, LogFault::PositionLost { .. })] = faults.as_slice() else {
        panic!("{faults:?}");
    };
    assert_eq!(place.partition, 1);
    assert!(reader.faults().is_empty(), "each once");
    assert_eq!(reader.positions().len(), 1, "it is not read any more");
    log.append(&topic, 0, Some(5));
    log.append(&topic, 1, Some(10_005));
    let batches = read(reader.as_mut(), 1);
    assert_eq!(numbers(&batches, "s"), BTreeMap::from([(0, vec![5])]));
    reader
        .assign(&[source("s", &topic)], &from(&topic, &[6, 4]))
        .expect("within the log");
    let batches = read_all(reader.as_mut());
    let both = BTreeMap::from([(1, vec![10_004, 10_005])]);
    assert_eq!(numbers(&batches, "s"), both, "it is read again");
}

fn assigned_anew_it_reads_from_there_and_forgets_faults_and_pauses(log: &dyn WritableLog) {
    let topic = filled(log, &[6]);
    let of = source("s", &topic);
    let mut reader = log.reader();
    let sources = std::slice::from_ref(&of);
    reader
        .assign(sources, &from(&topic, &[900]))
        .expect("taken");
    wait("the partition is stopped", || {
        reader.poll(10, WAIT).expect("readable");
        reader.positions().is_empty()
    });
    reader.set_paused(true).expect("paused");
    for first in [3, 1] {
        let assigned = from(&topic, &[first]);
        reader.assign(sources, &assigned).expect("within the log");
        assert!(reader.faults().is_empty(), "those of before are forgotten");
        let batches = read_all(reader.as_mut());
        let expected = BTreeMap::from([(0, (first..6).collect())]);
        assert_eq!(numbers(&batches, "s"), expected);
    }
}

fn a_pause_keeps_the_position(log: &dyn WritableLog) {
    let topic = filled(log, &[4]);
    let mut reader = log.reader();
    reader
        .assign(&[source("s", &topic)], &from(&topic, &[0]))
        .expect("within the log");
    read_all(reader.as_mut());
    reader.set_paused(true).expect("paused");
    log.append(&topic, 0, Some(4));
    for _ in 0..3 {
        assert!(reader.poll(10, WAIT).expect("readable").is_empty());
    }
    let positions: Vec<LogPosition> = reader.positions().into_values().collect();
    assert_eq!(positions.len(), 1);
    assert_eq!(positions[0].next_offset, 4);
    reader.set_paused(false).expect("goes on");
    let batches = read(reader.as_mut(), 1);
    assert_eq!(numbers(&batches, "s"), BTreeMap::from([(0, vec![4])]));
}

fn a_source_that_no_record_can_fill_is_refused(log: &dyn WritableLog) {
    let topic = filled(log, &[1]);
    let columns = vec![
        column("n", DataType::Binary),
        column("at", timestamp_type()),
    ];
    let unfit = Arc::new(SourceDef::json("s", &topic, columns, 1));
    let refused = log.reader().assign(&[unfit], &from(&topic, &[0]));
    assert!(refused.is_err(), "bytes stand in no record");
}
