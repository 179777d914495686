//! What recovery and the watch over the logs rely on when they ask what a log is: facts that do not
//! change by being asked for, where it begins and ends, and the very record that a reader reads.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::ports::{FirstRecord, LogBounds, LogInspector, TopicFacts};
use forebay_core::progress::TopicPartition;

use super::log::{WritableLog, from, read, source};

/// A log about which one can ask.
pub trait InspectedLog: WritableLog {
    /// Whoever answers.
    fn inspector(&self) -> Box<dyn LogInspector>;
}

/// Everything that a [`LogInspector`] promises.
///
/// # Panics
/// A promise is not kept.
pub fn log_inspector(log: &dyn InspectedLog) {
    a_cluster_has_one_identity(log);
    a_topic_says_its_id_and_its_partitions(log);
    bounds_are_those_of_the_records(log);
    the_first_record_is_the_one_that_a_reader_reads(log);
    what_nobody_answers_for_is_left_out(log);
}

fn a_cluster_has_one_identity(log: &dyn InspectedLog) {
    let mut inspector = log.inspector();
    let id = inspector.cluster_id().expect("it answers");
    assert!(!id.is_empty());
    assert_eq!(inspector.cluster_id().expect("it answers"), id);
    assert_eq!(log.inspector().cluster_id().expect("it answers"), id);
}

fn a_topic_says_its_id_and_its_partitions(log: &dyn InspectedLog) {
    let (one, other) = (log.topic(3), log.topic(1));
    let mut inspector = log.inspector();
    let mut facts = |topic: &str| inspector.topic(topic).expect("it answers");
    let of_one = facts(&one).expect("it is there");
    assert_eq!(of_one.partitions, [0, 1, 2], "ascending");
    let of_other = facts(&other).expect("it is there");
    assert_eq!(of_other.partitions, [0]);
    let id = |facts: &TopicFacts| facts.id.clone();
    assert!(
        id(&of_one).is_none() || id(&of_one) != id(&of_other),
        "{of_one:?} and {of_other:?} are two topics"
    );
    log.append(&one, 1, Some(7));
    assert_eq!(facts(&one), Some(of_one), "a record does not change it");
    assert_eq!(facts(&format!("{one}-that-nobody-made")), None);
}

fn bounds_are_those_of_the_records(log: &dyn InspectedLog) {
    let topic = log.topic(2);
    let mut inspector = log.inspector();
    let places: Vec<TopicPartition> = from(&topic, &[0, 0]).into_keys().collect();
    let mut ends = |expected: [i64; 2]| {
        let bounds = inspector.bounds(&places).expect("it answers");
        let wanted = |last_stable| LogBounds {
            begin: 0,
            last_stable,
        };
        let expected = places.iter().cloned().zip(expected.map(wanted));
        assert_eq!(bounds, expected.collect::<BTreeMap<_, _>>());
    };
    ends([0, 0]);
    log.append(&topic, 0, Some(1));
    log.append(&topic, 0, None);
    ends([2, 0]);
}

fn the_first_record_is_the_one_that_a_reader_reads(log: &dyn InspectedLog) {
    let topic = log.topic(2);
    let mut reader = log.reader();
    let begin = from(&topic, &[0, 0]);
    let assigned = reader.assign(&[source("s", &topic)], &begin);
    assigned.expect("within the log");
    let mut inspector = log.inspector();
    // A record at a time, so that the reader names each of them as its last one.
    for (offset, number) in [(0, Some(5)), (1, None), (2, Some(6))] {
        log.append(&topic, 0, number);
        let batches = read(reader.as_mut(), 1);
        let (place, last) = batches.last().expect("it came").last_records[0].clone();
        assert_eq!(last.offset, offset);
        let asked = BTreeMap::from([
            (place.clone(), offset),
            (TopicPartition::new(topic.as_str(), 1), 0),
        ]);
        let found = inspector.first_records(&asked).expect("it answers");
        let expected = [FirstRecord::Record(last), FirstRecord::End];
        let expected = asked.keys().cloned().zip(expected);
        let expected: BTreeMap<_, _> = expected.collect();
        assert_eq!(found, expected, "record {offset}, and an empty partition");
    }
    for beyond in [3, 900] {
        let found = inspector.first_records(&from(&topic, &[beyond]));
        let found = found.expect("it answers").into_values().collect::<Vec<_>>();
        assert_eq!(found, [FirstRecord::End], "none is at or above {beyond}");
    }
}

fn what_nobody_answers_for_is_left_out(log: &dyn InspectedLog) {
    let topic = log.topic(1);
    log.append(&topic, 0, Some(1));
    let mut inspector = log.inspector();
    assert!(inspector.bounds(&[]).expect("nothing is asked").is_empty());
    let none = inspector.first_records(&BTreeMap::new());
    assert!(none.expect("nothing is asked").is_empty());
    let places = from(&topic, &[0, 0]);
    let asked: Vec<TopicPartition> = places.keys().cloned().collect();
    let bounds = inspector.bounds(&asked).expect("one of them answers");
    let answered: BTreeSet<i32> = bounds.into_keys().map(|place| place.partition).collect();
    assert_eq!(answered, BTreeSet::from([0]), "there is no partition 1");
}
