//! What the publishing of predictions and alarms relies on: one outcome for each record, in their
//! order; what is acknowledged is in the topic; a refused record stands in no other one's way.

use std::fmt::Debug;
use std::sync::atomic::AtomicBool;

use forebay_core::limits::EVENT_MAX_BYTES;
use forebay_core::ports::{Publication, Publisher};
use forebay_core::prediction::OutboxRecord;

/// Where records are published to.
pub trait Outlet: Debug {
    /// A new topic of one partition that takes records of up to [`EVENT_MAX_BYTES`] and refuses
    /// longer ones: its name.
    fn topic(&self) -> String;

    /// A new publisher.
    fn publisher(&self) -> Box<dyn Publisher>;

    /// The numbers ([`number`]) of the records that `topic` has, in their order.
    fn arrived(&self, topic: &str) -> Vec<i64>;
}

/// Everything that a [`Publisher`] promises.
///
/// # Panics
/// A promise is not kept.
pub fn publisher(outlet: &dyn Outlet) {
    what_is_acknowledged_has_arrived_in_order(outlet);
    a_refused_record_stands_in_no_other_ones_way(outlet);
    an_abandoned_call_loses_no_record_that_is_sent_again(outlet);
}

/// The number of a record that these checks send: the last digits of its payload.
///
/// # Panics
/// It is no such record.
#[must_use]
pub fn number(payload: &[u8]) -> i64 {
    let text = std::str::from_utf8(payload).expect("text");
    let digits = text.trim_end_matches('}').rsplit(':').next();
    digits.expect("a number").trim().parse().expect("a number")
}

fn record(topic: &str, number: i64) -> OutboxRecord {
    OutboxRecord {
        topic: topic.to_owned(),
        key: b"one".to_vec(),
        payload: format!(r#"{{"at":"2013-01-01T05:15:00Z","n":{number}}}"#).into_bytes(),
        headers: vec![("forebay-id".to_owned(), number.to_string().into_bytes())],
    }
}

fn publish(
    publisher: &dyn Publisher,
    records: &[OutboxRecord],
    abandoned: bool,
) -> Vec<Publication> {
    let asked: Vec<&OutboxRecord> = records.iter().collect();
    let outcomes = publisher.publish(&asked, &AtomicBool::new(abandoned));
    assert_eq!(outcomes.len(), records.len(), "one outcome for each record");
    outcomes
}

fn all_arrive(publisher: &dyn Publisher, records: &[OutboxRecord]) {
    let outcomes = publish(publisher, records, false);
    let arrived = |outcome: &Publication| matches!(outcome, Publication::Acknowledged);
    assert!(outcomes.iter().all(arrived), "{outcomes:?}");
}

fn what_is_acknowledged_has_arrived_in_order(outlet: &dyn Outlet) {
    let (topic, other) = (outlet.topic(), outlet.topic());
    let publisher = outlet.publisher();
    let records: Vec<OutboxRecord> = (0..200).map(|n| record(&topic, n)).collect();
    all_arrive(publisher.as_ref(), &records[..50]);
    all_arrive(publisher.as_ref(), &[]);
    let mut both = records[50..].to_vec();
    both.push(record(&other, 7));
    all_arrive(publisher.as_ref(), &both);
    assert_eq!(outlet.arrived(&topic), (0..200).collect::<Vec<_>>());
    assert_eq!(outlet.arrived(&other), [7]);
}

fn a_refused_record_stands_in_no_other_ones_way(outlet: &dyn Outlet) {
    let topic = outlet.topic();
    let publisher = outlet.publisher();
    let mut records: Vec<OutboxRecord> = (0..3).map(|n| record(&topic, n)).collect();
    records[1].payload = vec![b'x'; EVENT_MAX_BYTES + 1];
    for round in 1..=2 {
        let outcomes = publish(publisher.as_ref(), &records, false);
        let [
            Publication::Acknowledged,
            Publication::Refused(words),
            Publication::Acknowledged,
        ] = outcomes.as_slice()
        else {
            panic!("round {round}: {outcomes:?}");
        };
        assert!(!words.is_empty(), "the broker says why");
    }
    assert_eq!(outlet.arrived(&topic), [0, 2, 0, 2]);
}

fn an_abandoned_call_loses_no_record_that_is_sent_again(outlet: &dyn Outlet) {
    let topic = outlet.topic();
    let publisher = outlet.publisher();
    let records: Vec<OutboxRecord> = (0..20).map(|n| record(&topic, n)).collect();
    let outcomes = publish(publisher.as_ref(), &records, true);
    for outcome in &outcomes {
        assert!(!matches!(outcome, Publication::Refused(_)), "{outcome:?}");
    }
    all_arrive(publisher.as_ref(), &records);
    let arrived = outlet.arrived(&topic);
    for number in 0..20 {
        assert!(arrived.contains(&number), "{number} is not in {arrived:?}");
    }
}
