//! Reading: from given offsets, in order, good and bad records, several sources, pauses, refusals.
//! Each scenario runs against the embedded broker here and against Apache Kafka in `apache.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::dead_letter::DeadLetterReason;
use forebay_core::ports::{EventLog, FirstRecord, LogFault, LogInspector};
use forebay_core::progress::TopicPartition;
use forebay_kafka::sample::{Sampled, newest_records};
use forebay_kafka::{ReaderSettings, Record};

use crate::support::{
    Gathered, PATIENCE, TestBroker, ends, fault, from, good, read, source, wait_until,
};

/// Ten records on partition 0, one of them of a wrong type; on partition 1 a good one, one that is
/// no JSON and one of the future.
fn send_good_and_bad(broker: &TestBroker, topic: &str) {
    let replayer = broker.replayer();
    let record_time_us = 1_357_017_300_123_456;
    for n in 0..10 {
        let payload = if n == 4 {
            br#"{"n":1.5,"at":0}"#.to_vec()
        } else {
            good(n)
        };
        replayer
            .send(topic, Some(0), b"key", &payload, Some(record_time_us))
            .expect("queued");
    }
    replayer
        .send(topic, Some(1), b"", &good(100), Some(record_time_us))
        .expect("queued");
    replayer
        .send(topic, Some(1), b"", b"not json", Some(record_time_us))
        .expect("queued");
    let late = record_time_us - 20 * 60 * 1_000_000;
    replayer
        .send(topic, Some(1), b"", &good(101), Some(late))
        .expect("queued");
    assert_eq!(replayer.flush(PATIENCE).expect("acknowledged"), 13);
}

fn a_letter_says_what_was_wrong(all: &Gathered) {
    let wrong_type = all
        .dead_letters
        .iter()
        .find(|d| d.reason == "wrong_type")
        .expect("just seen");
    assert_eq!(wrong_type.source, "s");
    assert_eq!(wrong_type.payload, br#"{"n":1.5,"at":0}"#);
    assert_eq!(
        wrong_type.kafka_time_us,
        Some(1_357_017_300_123_000),
        "Kafka keeps milliseconds"
    );
    assert!(wrong_type.detail.contains("`n`"), "{}", wrong_type.detail);
}

/// Rows and dead letters of two partitions, from the start and from the middle.
pub(crate) fn rows_and_dead_letters(broker: &TestBroker) {
    let topic = broker.topic(2);
    send_good_and_bad(broker, &topic);

    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[0, 0]))
        .expect("within the log");
    let all = read(&mut log, 13);
    let expected: Vec<(i64, i64)> = (0..10).filter(|n| *n != 4).map(|n| (n, n)).collect();
    assert_eq!(all.of_partition(0), expected);
    assert_eq!(all.of_partition(1), [(0, 100)]);
    assert_eq!(all.next, from(&topic, &[10, 3]));
    let mut dead: Vec<_> = all
        .dead_letters
        .iter()
        .map(|d| (d.partition.partition, d.offset, d.reason))
        .collect();
    dead.sort_unstable();
    assert_eq!(
        dead,
        [
            (0, 4, "wrong_type"),
            (1, 1, "not_json"),
            (1, 2, "future_time")
        ]
    );
    a_letter_says_what_was_wrong(&all);
    assert_eq!(ends(&mut log), [10, 3]);
    let stats = log.stats();
    assert_eq!(
        (
            stats.records(),
            DeadLetterReason::ALL
                .iter()
                .map(|r| stats.dead_letters(*r))
                .sum::<u64>(),
            stats.dead_letters(DeadLetterReason::NotJson)
        ),
        (13, 3, 1)
    );

    log.assign(&[source("s", &topic)], &from(&topic, &[7, 3]))
        .expect("the end is within the log");
    let rest = read(&mut log, 3);
    assert_eq!(rest.of_partition(0), [(7, 7), (8, 8), (9, 9)]);
    assert_eq!(
        rest.next,
        BTreeMap::from([(TopicPartition::new(topic.as_str(), 0), 10)])
    );
}

/// Each source of a topic sees all its records, and a poll keeps to its limit.
pub(crate) fn sources_share_a_topic_and_polls_are_limited(broker: &TestBroker) {
    let topic = broker.topic(1);
    let other = broker.topic(1);
    broker.produce(&topic, 0, 0..50);
    broker.produce(&other, 0, 500..510);
    let mut log = broker.reader();
    let mut offsets = from(&topic, &[0]);
    offsets.extend(from(&other, &[0]));
    log.assign(
        &[
            source("a", &topic),
            source("b", &topic),
            source("c", &other),
        ],
        &offsets,
    )
    .expect("within the logs");
    let mut read: BTreeMap<String, Gathered> = BTreeMap::new();
    wait_until("all sources have all", || {
        let batches = log.poll(7, Duration::from_millis(50)).expect("readable");
        let mut records: BTreeMap<&str, usize> = BTreeMap::new();
        for batch in &batches {
            records.insert(&batch.source.topic, batch.rows.num_rows());
            read.entry(batch.source.name.clone())
                .or_default()
                .add(batch);
        }
        assert!(records.values().sum::<usize>() <= 7, "{records:?}");
        let counts: Vec<usize> = read.values().map(Gathered::count).collect();
        counts == [50, 50, 10]
    });
    let all: Vec<(i64, i64)> = (0..50).map(|n| (n, n)).collect();
    assert_eq!(read["a"].of_partition(0), all);
    assert_eq!(read["b"].of_partition(0), all);
    assert_eq!(read["c"].of_partition(0)[0], (0, 500));
    assert_eq!(log.stats().records(), 60, "a record counts once");
}

/// A pause loses nothing and doubles nothing, wherever it falls.
pub(crate) fn a_pause_keeps_the_position(broker: &TestBroker) {
    let topic = broker.topic(2);
    broker.produce(&topic, 0, 0..100);
    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[0, 0]))
        .expect("within the log");
    let mut gathered = Gathered::default();
    wait_until("some are read", || {
        log.poll(10, Duration::from_millis(50))
            .expect("readable")
            .iter()
            .for_each(|batch| gathered.add(batch));
        gathered.count() >= 30
    });
    let before = gathered.count();
    log.set_paused(true).expect("pause");
    broker.produce(&topic, 1, 1_000..1_010);
    for _ in 0..5 {
        assert!(
            log.poll(10, Duration::from_millis(50))
                .expect("quiet")
                .is_empty(),
            "nothing comes while paused"
        );
    }
    assert!(before < 100, "the pause fell in the middle");
    log.set_paused(false).expect("resume");
    wait_until("all are read", || {
        log.poll(1_000, Duration::from_millis(50))
            .expect("readable")
            .iter()
            .for_each(|batch| gathered.add(batch));
        gathered.count() >= 110
    });
    assert_eq!(
        gathered.of_partition(0),
        (0..100).map(|n| (n, n)).collect::<Vec<_>>()
    );
    assert_eq!(
        gathered.of_partition(1),
        (0..10).map(|n| (n, n + 1_000)).collect::<Vec<_>>()
    );
    log.set_paused(true).expect("pause");
    log.assign(&[source("s", &topic)], &from(&topic, &[99, 9]))
        .expect("within the log");
    assert_eq!(read(&mut log, 2).count(), 2, "assigning anew ends a pause");
}

/// A position that the log does not hold stops its partition, and that one alone.
pub(crate) fn a_position_outside_the_log_stops_its_partition_alone(broker: &TestBroker) {
    let topic = broker.topic(2);
    broker.produce(&topic, 0, 0..5);
    broker.produce(&topic, 1, 0..5);
    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[9, 2]))
        .expect("partitions that are there");
    let mut gathered = Gathered::default();
    let (place, fault) = fault(&mut log, &mut gathered);
    assert_eq!(place, TopicPartition::new(topic.as_str(), 0));
    assert!(matches!(fault, LogFault::PositionLost { .. }), "{fault:?}");
    wait_until("the other partition is read", || {
        let batches = log.poll(10, Duration::from_millis(50)).expect("readable");
        batches.iter().for_each(|batch| gathered.add(batch));
        gathered.count() >= 3
    });
    assert_eq!(gathered.of_partition(1), [(2, 2), (3, 3), (4, 4)]);
    assert_eq!(log.positions().len(), 1);
    log.assign(&[source("s", &topic)], &from(&topic, &[4, 5]))
        .expect("assigned again");
    assert_eq!(read(&mut log, 1).rows, [(0, 4, 4)]);
    assert!(log.faults().is_empty());
}

/// What is asked before anything is read.
pub(crate) fn a_log_tells_what_it_is(broker: &TestBroker) {
    let (topic, other) = (broker.topic(2), broker.topic(1));
    broker.produce(&topic, 0, 0..5);
    let mut inspector = broker.inspector();
    assert!(!inspector.cluster_id().expect("answers").is_empty());
    let facts = inspector.topic(&topic).expect("answers").expect("there");
    assert_eq!(facts.partitions, [0, 1]);
    let id = facts.id.expect("the broker tells ids");
    let again = inspector.topic(&topic).expect("answers").expect("there");
    assert_eq!(again.id, Some(id.clone()));
    let other = inspector.topic(&other).expect("answers").expect("there");
    assert_ne!(other.id, Some(id));
    assert_eq!(inspector.topic("no-such-topic").expect("answers"), None);
    let places: Vec<TopicPartition> = from(&topic, &[0, 0]).into_keys().collect();
    let bounds = inspector.bounds(&places).expect("answers");
    let bounds: Vec<(i64, i64)> = bounds.values().map(|b| (b.begin, b.last_stable)).collect();
    assert_eq!(bounds, [(0, 5), (0, 0)]);
    let records = inspector
        .first_records(&from(&topic, &[3, 0]))
        .expect("answers");
    let (place, empty) = (&places[0], &places[1]);
    assert_eq!(records[empty], FirstRecord::End);
    // The reader remembers the same record in the same way.
    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[3]))
        .expect("assigned");
    let mut batches = Vec::new();
    wait_until("it is read", || {
        batches.extend(log.poll(1, Duration::from_millis(50)).expect("readable"));
        !batches.is_empty()
    });
    let last = (place.clone(), batches[0].last_records[0].1);
    assert_eq!(batches[0].last_records, vec![last.clone()]);
    assert_eq!(records[place], FirstRecord::Record(last.1));
    let later = inspector
        .first_records(&from(&topic, &[4]))
        .expect("answers");
    assert_ne!(later[place], records[place]);
}

#[test]
fn embedded_rows_and_dead_letters() {
    rows_and_dead_letters(&TestBroker::embedded());
}

#[test]
fn embedded_sources_share_a_topic_and_polls_are_limited() {
    sources_share_a_topic_and_polls_are_limited(&TestBroker::embedded());
}

#[test]
fn embedded_a_pause_keeps_the_position() {
    a_pause_keeps_the_position(&TestBroker::embedded());
}

#[test]
fn embedded_a_position_outside_the_log_stops_its_partition_alone() {
    a_position_outside_the_log_stops_its_partition_alone(&TestBroker::embedded());
}

#[test]
fn embedded_a_log_tells_what_it_is() {
    a_log_tells_what_it_is(&TestBroker::embedded());
}

#[test]
fn each_of_many_partitions_tells_where_it_ends() {
    const PARTITIONS: i32 = 300;
    let broker = TestBroker::embedded();
    let topic = broker.topic(PARTITIONS);
    let filled = [(0, 1), (127, 2), (128, 3), (299, 4)];
    for (partition, records) in filled {
        broker.produce(&topic, partition, 0..records);
    }
    let places: Vec<TopicPartition> = (0..PARTITIONS)
        .map(|partition| TopicPartition::new(topic.as_str(), partition))
        .collect();
    let bounds = broker.inspector().bounds(&places).expect("answers");
    assert_eq!(bounds.len(), places.len());
    let ends = bounds.iter().filter(|(_, bounds)| bounds.last_stable > 0);
    let ends: Vec<_> = ends
        .map(|(place, b)| (place.partition, b.last_stable))
        .collect();
    assert_eq!(ends, filled);
}

/// The newest records of each partition, and no others, as they are on the broker.
pub(crate) fn the_newest_records(broker: &TestBroker) {
    let topic = broker.topic(3);
    broker.produce(&topic, 0, 0..10);
    broker.produce(&topic, 1, 100..102);
    let settings = ReaderSettings::new(broker.client());
    let mut seen = Vec::new();
    let see = |partition, offset, record: &Record<'_>| {
        let payload = record.payload.expect("a value").to_vec();
        seen.push((partition, offset, payload));
    };
    let sampled = newest_records(&settings, &topic, 3, see).expect("the broker answers");
    let all_answered = Sampled {
        partitions: 3,
        silent: 0,
    };
    assert_eq!(sampled, Some(all_answered));
    seen.sort();
    let expected = [(0, 7, 7), (0, 8, 8), (0, 9, 9), (1, 0, 100), (1, 1, 101)];
    let expected = expected.map(|(partition, offset, n)| (partition, offset, good(n)));
    assert_eq!(seen, expected);
    let none = newest_records(&settings, "nowhere", 3, |_, _, _| ());
    assert_eq!(none.expect("the broker answers"), None);
}

#[test]
fn the_newest_records_of_each_partition_are_shown() {
    the_newest_records(&TestBroker::embedded());
}
