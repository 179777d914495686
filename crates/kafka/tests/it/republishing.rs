//! What is kept of a bad record, how it is produced once more, and how single records are looked
//! up: key and headers go all the way. Each scenario runs against the embedded broker here and
//! against Apache Kafka in `apache.rs`.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::limits::{DEAD_LETTER_HEADERS_MAX_BYTES, DEAD_LETTER_KEY_MAX_BYTES};
use forebay_core::ports::{EventLog, RecordHeader};
use forebay_kafka::{Error, ReaderSettings, RecordAgain, records_at};

use crate::support::{PATIENCE, TestBroker, from, good, read, source};

fn header(name: &str, value: Option<&[u8]>) -> RecordHeader {
    RecordHeader {
        name: name.to_owned(),
        value: value.map(<[u8]>::to_vec),
    }
}

fn bad(topic: &str, key: Option<&[u8]>, headers: &[RecordHeader]) -> RecordAgain {
    RecordAgain {
        topic: topic.to_owned(),
        partition: 1,
        key: key.map(<[u8]>::to_vec),
        payload: b"{".to_vec(),
        headers: headers.to_vec(),
    }
}

/// Bad records keep key and headers up to their limits, in the partition that was asked for.
pub(crate) fn key_and_headers_are_kept(broker: &TestBroker) {
    let topic = broker.topic(2);
    let headers = [
        header("trace", Some(b"a1")),
        header("raw", Some(&[0, 255])),
        header("trace", Some(b"")),
        header("none", None),
    ];
    let long = vec![b'k'; DEAD_LETTER_KEY_MAX_BYTES];
    let longer = vec![b'k'; DEAD_LETTER_KEY_MAX_BYTES + 1];
    // With its name of one byte the first fills the limit.
    let most = vec![b'v'; DEAD_LETTER_HEADERS_MAX_BYTES - 1];
    let full = [header("a", Some(&most))];
    let over = [header("a", Some(&most)), header("b", None)];
    let records = [
        bad(&topic, Some(b"key"), &headers),
        bad(&topic, None, &[]),
        bad(&topic, Some(b""), &[]),
        bad(&topic, Some(&long), &full),
        bad(&topic, Some(&longer), &[]),
        bad(&topic, None, &over),
    ];
    let outcomes = broker.republisher().publish(&records);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");

    let mut log = broker.reader();
    log.assign(&[source("s", &topic)], &from(&topic, &[0, 0]))
        .expect("within the log");
    let letters = read(&mut log, records.len()).dead_letters;
    let kept = letters.iter().map(|letter| {
        assert_eq!(letter.partition.partition, 1);
        let key = letter.key.as_ref().map(Vec::len);
        (letter.offset, key, letter.headers.len(), letter.is_cut)
    });
    let expected = [
        (0, Some(3), 4, false),
        (1, None, 0, false),
        (2, Some(0), 0, false),
        (3, Some(DEAD_LETTER_KEY_MAX_BYTES), 1, false),
        (4, Some(DEAD_LETTER_KEY_MAX_BYTES), 0, true),
        (5, None, 1, true),
    ];
    assert_eq!(kept.collect::<Vec<_>>(), expected);
    assert_eq!(letters[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(letters[0].headers, headers);
}

/// Single records are found by their offsets; those that are not there are left out.
pub(crate) fn records_are_looked_up(broker: &TestBroker) {
    let topic = broker.topic(2);
    broker.produce(&topic, 0, 0..300);
    let trace = [header("trace", Some(b"a1"))];
    let outcomes = broker
        .republisher()
        .publish(&[bad(&topic, Some(b"key"), &trace)]);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let settings = ReaderSettings::new(broker.client());
    let settings = match broker.embedded {
        Some(_) => settings.embedded(),
        None => settings,
    };
    let wanted = BTreeMap::from([
        (0, BTreeSet::from([3, 5, 299, 300])),
        (1, BTreeSet::from([0])),
        (7, BTreeSet::from([0])),
    ]);
    let mut found = records_at(&settings, &topic, &wanted, PATIENCE).expect("answered");
    found.sort_by_key(|record| (record.partition, record.offset));
    let places = found.iter().map(|r| (r.partition, r.offset));
    assert_eq!(
        places.collect::<Vec<_>>(),
        [(0, 3), (0, 5), (0, 299), (1, 0)]
    );
    assert_eq!((&found[0].key, found[0].headers.len()), (&None, 0));
    assert_eq!(found[3].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(found[3].headers, trace);
    let nowhere = records_at(&settings, "no-such-topic", &wanted, PATIENCE);
    assert_eq!(nowhere.expect("answered"), []);
}

/// Each record has an outcome of its own.
pub(crate) fn a_partition_that_is_not_there_fails_its_record_alone(broker: &TestBroker) {
    let topic = broker.topic(2);
    let elsewhere = RecordAgain {
        partition: 9,
        ..bad(&topic, None, &[])
    };
    let good = RecordAgain {
        payload: good(1),
        ..bad(&topic, None, &[])
    };
    let outcomes = broker.republisher().publish(&[elsewhere, good]);
    assert!(outcomes[1].is_ok(), "{outcomes:?}");
    assert!(
        matches!(outcomes[0], Err(Error::Refused { .. })),
        "{outcomes:?}"
    );
}

#[test]
fn embedded_key_and_headers_are_kept() {
    key_and_headers_are_kept(&TestBroker::embedded());
}

#[test]
fn embedded_records_are_looked_up() {
    records_are_looked_up(&TestBroker::embedded());
}

#[test]
fn embedded_a_partition_that_is_not_there_fails_its_record_alone() {
    a_partition_that_is_not_there_fails_its_record_alone(&TestBroker::embedded());
}
