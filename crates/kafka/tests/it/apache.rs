//! The same scenarios against Apache Kafka, and what only it can show: topics made, deleted and
//! made anew, records deleted by retention, transactions that were aborted.

use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::ports::{EventLog, LogFault, LogInspector};
use forebay_core::progress::TopicPartition;
use forebay_kafka::{KafkaInspector, ReaderSettings, TopicStatus};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{Gathered, PATIENCE, TestBroker, fault, from, good, read, source, wait_until};
use crate::{publishing, reading, republishing};

fn admin(broker: &TestBroker) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", &broker.bootstrap)
        .create()
        .expect("an admin client")
}

#[test]
fn apache_rows_and_dead_letters() {
    if let Some(broker) = TestBroker::apache("apache_rows_and_dead_letters") {
        reading::rows_and_dead_letters(&broker);
    }
}

#[test]
fn apache_key_and_headers_are_kept() {
    if let Some(broker) = TestBroker::apache("apache_key_and_headers_are_kept") {
        republishing::key_and_headers_are_kept(&broker);
    }
}

#[test]
fn apache_records_are_looked_up() {
    if let Some(broker) = TestBroker::apache("apache_records_are_looked_up") {
        republishing::records_are_looked_up(&broker);
    }
}

#[test]
fn apache_a_partition_that_is_not_there_fails_its_record_alone() {
    let test = "apache_a_partition_that_is_not_there_fails_its_record_alone";
    if let Some(broker) = TestBroker::apache(test) {
        republishing::a_partition_that_is_not_there_fails_its_record_alone(&broker);
    }
}

#[test]
fn apache_the_newest_records_of_each_partition_are_shown() {
    if let Some(broker) = TestBroker::apache("apache_the_newest_records") {
        reading::the_newest_records(&broker);
    }
}

#[test]
fn apache_sources_share_a_topic_and_polls_are_limited() {
    if let Some(broker) = TestBroker::apache("apache_sources_share_a_topic_and_polls_are_limited") {
        reading::sources_share_a_topic_and_polls_are_limited(&broker);
    }
}

#[test]
fn apache_a_pause_keeps_the_position() {
    if let Some(broker) = TestBroker::apache("apache_a_pause_keeps_the_position") {
        reading::a_pause_keeps_the_position(&broker);
    }
}

#[test]
fn apache_a_position_outside_the_log_stops_its_partition_alone() {
    let test = "apache_a_position_outside_the_log_stops_its_partition_alone";
    if let Some(broker) = TestBroker::apache(test) {
        reading::a_position_outside_the_log_stops_its_partition_alone(&broker);
    }
}

#[test]
fn apache_a_log_tells_what_it_is() {
    if let Some(broker) = TestBroker::apache("apache_a_log_tells_what_it_is") {
        reading::a_log_tells_what_it_is(&broker);
    }
}

#[test]
fn apache_records_arrive_in_order() {
    if let Some(broker) = TestBroker::apache("apache_records_arrive_in_order") {
        publishing::records_arrive_in_order(&broker);
    }
}

#[test]
fn apache_a_record_above_the_limit_is_refused() {
    if let Some(broker) = TestBroker::apache("apache_a_record_above_the_limit_is_refused") {
        publishing::a_record_above_the_limit_is_refused(&broker);
    }
}

#[test]
fn apache_topics_are_made_once() {
    let Some(broker) = TestBroker::apache("apache_topics_are_made_once") else {
        return;
    };
    let topic = broker.topic(3);
    let topics = broker.topics();
    assert_eq!(
        topics.partitions(&topic).expect("answers"),
        Some(vec![0, 1, 2])
    );
    assert_eq!(
        topics.ensure(&topic, 5, 1).expect("there"),
        TopicStatus::Existing { partitions: 3 }
    );
    assert_eq!(topics.partitions("no-such-topic").expect("answers"), None);
    let refused = topics
        .ensure("too-many-copies", 1, 9)
        .expect_err("one broker cannot hold nine copies");
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition, "{refused}");
    let id = |broker: &TestBroker| broker.inspector().cluster_id().expect("answers");
    assert!(!id(&broker).is_empty() && id(&broker) == id(&broker));
}

#[test]
fn apache_a_topic_made_anew_has_another_id_and_stops_its_reader() {
    let test = "apache_a_topic_made_anew_has_another_id_and_stops_its_reader";
    let Some(broker) = TestBroker::apache(test) else {
        return;
    };
    let topic = broker.topic(1);
    broker.produce(&topic, 0, 0..20);
    let sources = [source("s", &topic)];
    let mut log = broker.reader();
    log.assign(&sources, &from(&topic, &[0]))
        .expect("within the log");
    read(&mut log, 20);
    let mut inspector = broker.inspector();
    let mut facts = || inspector.topic(&topic).expect("answers");
    let before = facts().expect("there").id.expect("an id");

    block_on(admin(&broker).delete_topics(&[&topic], &AdminOptions::new())).expect("deleted");
    wait_until("the topic is gone", || facts().is_none());
    broker.topics().ensure(&topic, 1, 1).expect("made anew");
    broker.produce(&topic, 0, 100..130);
    assert_ne!(facts().expect("there").id.expect("an id"), before);
    let mut gathered = Gathered::default();
    let (place, fault) = fault(&mut log, &mut gathered);
    assert_eq!(place, TopicPartition::new(topic.as_str(), 0));
    assert!(matches!(fault, LogFault::PositionLost { .. }), "{fault:?}");
    assert_eq!(gathered.count(), 0, "nothing of the new topic is read");
}

#[test]
fn apache_deleted_records_stop_the_partition() {
    let Some(broker) = TestBroker::apache("apache_deleted_records_stop_the_partition") else {
        return;
    };
    let topic = broker.topic(1);
    broker.produce(&topic, 0, 0..20);
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&topic, 0, Offset::Offset(8))
        .expect("offset");
    block_on(admin(&broker).delete_records(&before, &AdminOptions::new())).expect("deleted");
    let place = TopicPartition::new(topic.as_str(), 0);
    let bounds = broker
        .inspector()
        .bounds(std::slice::from_ref(&place))
        .expect("answers");
    assert_eq!((bounds[&place].begin, bounds[&place].last_stable), (8, 20));
    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[7]))
        .expect("a partition that is there");
    let (at, fault) = fault(&mut log, &mut Gathered::default());
    assert_eq!(at, place);
    assert!(matches!(fault, LogFault::PositionLost { .. }), "{fault:?}");
    log.assign(&[source("s", &topic)], &from(&topic, &[8]))
        .expect("the log's start");
    assert_eq!(read(&mut log, 12).rows[0], (0, 8, 8));
}

#[test]
fn apache_aborted_transactions_are_not_read() {
    let Some(broker) = TestBroker::apache("apache_aborted_transactions_are_not_read") else {
        return;
    };
    let topic = broker.topic(1);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.bootstrap)
        .set("transactional.id", &topic)
        .create()
        .expect("a transactional producer");
    producer.init_transactions(PATIENCE).expect("init");
    for (numbers, commit) in [(0..3, true), (3..6, false), (6..9, true)] {
        producer.begin_transaction().expect("begin");
        for n in numbers {
            let payload = good(n);
            producer
                .send(
                    BaseRecord::<(), _>::to(&topic)
                        .partition(0)
                        .payload(&payload),
                )
                .expect("queued");
        }
        producer.flush(PATIENCE).expect("sent");
        if commit {
            producer.commit_transaction(PATIENCE).expect("commit");
        } else {
            producer.abort_transaction(PATIENCE).expect("abort");
        }
    }
    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[0]))
        .expect("within the log");
    let numbers: Vec<i64> = read(&mut log, 6).rows.iter().map(|row| row.2).collect();
    assert_eq!(numbers, [0, 1, 2, 6, 7, 8]);
    // The last control record is behind the last record, and the reader passes it.
    let place = TopicPartition::new(topic.as_str(), 0);
    let last_stable = broker
        .inspector()
        .bounds(std::slice::from_ref(&place))
        .expect("answers")[&place]
        .last_stable;
    wait_until("the reader meets the end", || {
        let rows = log.poll(10, Duration::from_millis(50)).expect("readable");
        assert!(rows.is_empty());
        log.positions()[&place].end_reached()
    });
    assert_eq!(log.positions()[&place].next_offset, last_stable);
}

/// What is asked of each at its beginning, where all have more than the client fetches at once.
#[test]
fn apache_a_partition_with_a_long_backlog_holds_up_no_answer_for_others() {
    const PARTITIONS: i32 = 4;
    const RECORDS: i64 = 40_000;
    let test = "apache_a_partition_with_a_long_backlog_holds_up_no_answer_for_others";
    let Some(broker) = TestBroker::apache(test) else {
        return;
    };
    let topic = broker.topic(PARTITIONS);
    let replayer = broker.replayer();
    let payload = good(1);
    for _ in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let queued = replayer.send(&topic, Some(partition), b"", &payload, None);
            queued.expect("queued");
        }
    }
    replayer.flush(PATIENCE).expect("acknowledged");
    // Far less than it takes to read all records; several times, since the machine may be busy.
    let mut client = broker.client();
    client.request_timeout = Duration::from_millis(250);
    let mut inspector = KafkaInspector::new(ReaderSettings::new(client)).expect("settings");
    let asked = from(&topic, &[0; PARTITIONS as usize]);
    let answers = (0..10).map(|_| inspector.first_records(&asked).expect("answers").len());
    let answers: Vec<usize> = answers.collect();
    assert!(
        answers.contains(&asked.len()),
        "{answers:?} of {PARTITIONS}"
    );
}
