//! Records of the formats beside JSON, from a topic to rows and dead letters.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use forebay_core::format::SourceFormat;
use forebay_core::ports::EventLog;
use forebay_core::source::SourceDef;
use forebay_kafka::encode_events;

use crate::support::{PATIENCE, TestBroker, from, read, source};

/// A source of `format`, and a record of each number.
fn written(format: &str, topic: &str, numbers: &[i64]) -> (Arc<SourceDef>, Vec<Vec<u8>>) {
    let source = SourceDef {
        format: SourceFormat::new(format, []).expect("a format"),
        ..source(format, topic).as_ref().clone()
    };
    let at = TimestampMicrosecondArray::from(vec![1_357_017_300_000_000; numbers.len()]);
    let n = Int64Array::from(numbers.to_vec());
    let rows = RecordBatch::try_new(
        source.schema(),
        vec![Arc::new(n), Arc::new(at.with_timezone("UTC"))],
    );
    let records = encode_events(&source, &rows.expect("two columns")).expect("types");
    (Arc::new(source), records)
}

#[test]
fn records_of_each_format_are_rows_and_several_in_one_are_a_dead_letter() {
    let broker = TestBroker::embedded();
    for (format, reason) in [("csv", "not_csv"), ("arrow", "not_arrow")] {
        let topic = broker.topic(1);
        let (source, records) = written(format, &topic, &[i64::MIN, 7, i64::MAX]);
        let two_lines = [records[0].clone(), records[1].clone()].join(&b'\n');
        let replayer = broker.replayer();
        for payload in [
            &records[0],
            &two_lines,
            &records[1],
            &b"\xff".to_vec(),
            &records[2],
        ] {
            replayer
                .send(&topic, Some(0), b"", payload, None)
                .expect("queued");
        }
        replayer.flush(PATIENCE).expect("acknowledged");
        let mut log = broker.reader();
        log.assign(&[source], &from(&topic, &[0]))
            .expect("the start");
        let all = read(&mut log, 5);
        let numbers = all.of_partition(0);
        assert_eq!(numbers, [(0, i64::MIN), (2, 7), (4, i64::MAX)], "{format}");
        let dead = all.dead_letters.iter().map(|d| (d.offset, d.reason));
        let several = if format == "csv" {
            "not_one_row"
        } else {
            reason
        };
        assert_eq!(
            dead.collect::<Vec<_>>(),
            [(1, several), (3, reason)],
            "{format}"
        );
    }
}
