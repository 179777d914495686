//! What goes wrong with the broker: it is away, it goes and comes back, it has forgotten what the
//! reader wants.

use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::ports::{EventLog, LogFault, LogInspector};
use forebay_core::progress::TopicPartition;
use forebay_kafka::embedded::PARTITION_MAX_BYTES;
use forebay_kafka::{ClientSettings, KafkaInspector, KafkaLog, ReaderSettings, Topics};

use crate::support::{Gathered, PATIENCE, TestBroker, fault, from, read, source, wait_until};

/// Produce more than one partition of the embedded broker holds.
fn overflow(broker: &TestBroker, topic: &str) {
    let replayer = broker.replayer();
    let mut state = 1_u64;
    let mut noise = || {
        // Letters that do not compress, or the broker would hold them all.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + ((state >> 33) % 26) as u8)
    };
    let letters: String = (0..100_000).map(|_| noise()).collect();
    for start in 0..(3 * PARTITION_MAX_BYTES / letters.len()) {
        let (tail, head) = (&letters[start..], &letters[..start]);
        let payload =
            format!("{{\"n\":{start},\"at\":\"2013-01-01T05:15:00Z\",\"x\":\"{tail}{head}\"}}");
        replayer
            .send(topic, Some(0), b"", payload.as_bytes(), None)
            .expect("queued");
        // One message set each: several in one would be compressed together.
        replayer.flush(PATIENCE).expect("acknowledged");
    }
}

#[test]
fn a_head_that_was_deleted_stops_the_partition_where_it_stands() {
    let broker = TestBroker::embedded();
    let topic = broker.topic(1);
    let mut log = broker.reader();
    let sources = [source("s", &topic)];
    log.assign(&sources, &from(&topic, &[0])).expect("empty");
    broker.produce(&topic, 0, 0..1);
    assert_eq!(read(&mut log, 1).rows, [(0, 0, 0)]);
    log.set_paused(true).expect("pause");
    overflow(&broker, &topic);
    log.set_paused(false).expect("resume");
    let mut gathered = Gathered::default();
    let (place, fault) = fault(&mut log, &mut gathered);
    assert_eq!(place, TopicPartition::new(topic.as_str(), 0));
    assert!(matches!(fault, LogFault::PositionLost { .. }), "{fault:?}");
    assert_eq!(gathered.count(), 0, "nothing is skipped");
    let mut inspector = broker.inspector();
    let bounds = inspector
        .bounds(std::slice::from_ref(&place))
        .expect("answers")[&place];
    assert!(bounds.begin > 1, "{bounds:?}");
    let end = std::collections::BTreeMap::from([(place, bounds.last_stable)]);
    log.assign(&sources, &end).expect("accepting the gap");
    broker.produce(&topic, 0, 7..8);
    assert_eq!(read(&mut log, 1).rows[0].2, 7);
}

#[test]
fn the_reader_goes_on_when_the_broker_comes_back() {
    let broker = TestBroker::embedded();
    let topic = broker.topic(1);
    broker.produce(&topic, 0, 0..10);
    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[0]))
        .expect("within the log");
    let mut all = read(&mut log, 10);
    let embedded = broker.embedded.as_ref().expect("embedded");
    embedded.set_down(true).expect("down");
    let mut error = None;
    wait_until("the reader says that the broker is away", || {
        error = log.poll(10, Duration::from_millis(50)).err();
        error.is_some()
    });
    let error = error.expect("just seen");
    assert!(
        error.kind() == ErrorKind::Unavailable && error.kind().is_retriable(),
        "{error}"
    );
    assert!(error.to_string().contains("--bootstrap"), "{error}");
    assert!(log.stats().broker_errors() > 0);
    embedded.set_down(false).expect("up");
    broker.produce(&topic, 0, 10..20);
    wait_until("the rest is read", || {
        let batches = log.poll(100, Duration::from_millis(50)).unwrap_or_default();
        batches
            .iter()
            .for_each(|batch| Gathered::add(&mut all, batch));
        all.count() >= 20
    });
    assert_eq!(
        all.of_partition(0),
        (0..20).map(|n| (n, n)).collect::<Vec<_>>()
    );
}

#[test]
fn a_broker_that_is_not_there_is_named_with_the_remedy() {
    let nowhere = ClientSettings {
        request_timeout: Duration::from_millis(300),
        ..ClientSettings::new("127.0.0.1:1")
    };
    let settings = ReaderSettings::new(nowhere.clone());
    let mut inspector = KafkaInspector::new(settings).expect("settings");
    let topics = Topics::new(nowhere).expect("settings");
    let place = TopicPartition::new("t", 0);
    let errors = [
        inspector.topic("t").expect_err("no broker"),
        inspector.cluster_id().expect_err("no broker"),
        inspector.bounds(&[place]).expect_err("no broker"),
        topics.ensure("t", 1, 1).expect_err("no broker").into(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let words = error.to_string();
        assert!(
            words.contains("127.0.0.1:1")
                && words.contains("300 ms")
                && words.contains("--bootstrap"),
            "{words}"
        );
    }
}

#[test]
fn every_embedded_broker_is_a_log_of_its_own() {
    let id = |broker: &TestBroker| broker.inspector().cluster_id().expect("answers");
    let (first, second) = (TestBroker::embedded(), TestBroker::embedded());
    assert_eq!(id(&first), id(&first));
    assert_ne!(id(&first), id(&second));
    assert!(!id(&first).is_empty());
    let topic = first.topic(2);
    assert_eq!(
        first.topics().partitions(&topic).expect("answers"),
        Some(vec![0, 1])
    );
    assert_eq!(first.topics().partitions("missing").expect("answers"), None);
    assert_eq!(first.topics().records("missing").expect("answers"), 0);
    assert_eq!(first.topics().records(&topic).expect("answers"), 0);
    first.produce(&topic, 1, 0..3);
    assert_eq!(first.topics().records(&topic).expect("answers"), 3);
}

#[test]
fn properties_that_correctness_rests_on_cannot_be_set() {
    let with = |property: &str| {
        let mut client = ClientSettings::new("127.0.0.1:1");
        client.properties.insert(property.into(), "s3cret".into());
        assert!(
            !format!("{client:?}").contains("s3cret"),
            "values are not shown"
        );
        KafkaLog::new(ReaderSettings::new(client))
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let error = with("auto.offset.reset").expect_err("ours");
    assert!(
        error.contains("auto.offset.reset") && !error.contains("s3cret"),
        "{error}"
    );
    with("sasl.password").expect("the user's");
    let bad = with("security.protocol").expect_err("not a protocol");
    assert!(
        bad.contains("security.protocol") && !bad.contains("s3cret"),
        "{bad}"
    );
    let empty = KafkaLog::new(ReaderSettings::new(ClientSettings::new(" ")))
        .expect_err("nowhere")
        .to_string();
    assert!(empty.contains("--bootstrap"), "{empty}");
}
