//! The same scenarios against Apache Kafka, and what only it can show: topics made, deleted and
//! made anew, records deleted by retention, transactions that were aborted.

use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::ports::EventLog;
use forebay_core::progress::TopicPartition;
use forebay_kafka::TopicStatus;
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{PATIENCE, TestBroker, from, good, read, source, wait_until};
use crate::{publishing, reading};

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
fn apache_offsets_outside_the_log_are_refused() {
    if let Some(broker) = TestBroker::apache("apache_offsets_outside_the_log_are_refused") {
        reading::offsets_outside_the_log_are_refused(&broker);
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
    let id = |broker: &TestBroker| broker.reader().cluster_id().expect("answers");
    assert!(!id(&broker).is_empty() && id(&broker) == id(&broker));
}

#[test]
fn apache_a_topic_made_anew_is_refused() {
    let Some(broker) = TestBroker::apache("apache_a_topic_made_anew_is_refused") else {
        return;
    };
    let topic = broker.topic(1);
    broker.produce(&topic, 0, 0..20);
    let sources = [source("s", &topic)];
    let mut log = broker.reader();
    log.assign(&sources, &from(&topic, &[0]))
        .expect("within the log");
    let applied = read(&mut log, 20).next;
    drop(log);

    block_on(admin(&broker).delete_topics(&[&topic], &AdminOptions::new())).expect("deleted");
    wait_until("the topic is gone", || {
        broker
            .topics()
            .partitions(&topic)
            .expect("answers")
            .is_none()
    });
    broker.topics().ensure(&topic, 1, 1).expect("made anew");
    broker.produce(&topic, 0, 0..5);
    let error = broker
        .reader()
        .assign(&sources, &applied)
        .expect_err("the log ends before the applied offset");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    assert!(
        error
            .to_string()
            .contains("offset 20 was applied before and the log ends at 5"),
        "{error}"
    );
}

#[test]
fn apache_deleted_records_are_a_gap() {
    let Some(broker) = TestBroker::apache("apache_deleted_records_are_a_gap") else {
        return;
    };
    let topic = broker.topic(1);
    broker.produce(&topic, 0, 0..20);
    let sources = [source("s", &topic)];
    let mut log = broker.reader();
    log.assign(&sources, &from(&topic, &[0]))
        .expect("within the log");
    log.set_paused(true).expect("pause");
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&topic, 0, Offset::Offset(8))
        .expect("offset");
    block_on(admin(&broker).delete_records(&before, &AdminOptions::new())).expect("deleted");
    let at_start = broker
        .reader()
        .assign(&sources, &from(&topic, &[7]))
        .expect_err("a gap");
    assert_eq!(at_start.kind(), ErrorKind::OutOfRange, "{at_start}");
    let place = TopicPartition::new(topic.as_str(), 0);
    let begin = broker.reader().begin_offsets(&[place]).expect("answers");
    assert_eq!(begin, from(&topic, &[8]));
    broker
        .reader()
        .assign(&sources, &begin)
        .expect("the log's start is within the log");
    log.set_paused(false).expect("resume");
    let mut error = None;
    wait_until("the gap is seen while reading", || {
        let batches = log.poll(10, Duration::from_millis(50));
        assert!(
            !matches!(&batches, Ok(batches) if !batches.is_empty()),
            "records of a refused position"
        );
        error = batches.err();
        error.is_some()
    });
    let error = error.expect("just seen");
    assert!(
        error
            .to_string()
            .contains("offset 0 is wanted and the log now starts at 8"),
        "{error}"
    );
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
    assert!(
        log.poll(10, Duration::from_millis(200))
            .expect("readable")
            .is_empty()
    );
}
