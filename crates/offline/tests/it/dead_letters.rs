//! The table of dead letters: bytes as they were, and a table of an earlier build, which lacks key
//! and headers, read as it is and after it has followed.

use std::fs;
use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES;
use forebay_core::ports::{Archive, DeadLetter, RecordHeader, Scan, TableScan};
use forebay_core::progress::TopicPartition;
use forebay_offline::{dead_letter_batch, dead_letter_schema, stored_letters};
use futures::TryStreamExt;

use crate::support::{TABLE, TOPIC, files, open, up_to};

#[tokio::test]
async fn dead_letters_are_stored_with_their_bytes() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = open(root.path(), "a");
    archive
        .open_table("dead_letters", dead_letter_schema())
        .await
        .expect("opened");
    let letter = |offset: i64, payload: Vec<u8>| DeadLetter {
        source: TABLE.to_owned(),
        partition: TopicPartition::new(TOPIC, 2),
        offset,
        kafka_time_us: (offset > 0).then_some(offset),
        key: None,
        payload,
        headers: Vec::new(),
        is_cut: false,
        reason: "not_json",
        detail: "expected value at line 1".to_owned(),
    };
    let long = vec![0xff; DEAD_LETTER_PAYLOAD_MAX_BYTES + 1];
    let rows =
        dead_letter_batch(&[letter(0, vec![0, 159, 146, 150]), letter(5, long)]).expect("rows");
    assert_eq!(
        archive
            .append("dead_letters", vec![rows], &up_to(&[(2, 6)]))
            .await
            .expect("appended"),
        2
    );
    let written = files(root.path(), "dead_letters");
    let file = fs::File::open(&written[0]).expect("there");
    let mut reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .expect("Parquet");
    let stored = reader.next().expect("a batch").expect("readable");
    let payloads: &arrow_array::BinaryArray =
        arrow_array::cast::AsArray::as_binary(stored.column_by_name("payload").expect("there"));
    assert_eq!(payloads.value(0), [0, 159, 146, 150]);
    assert_eq!(payloads.value(1).len(), DEAD_LETTER_PAYLOAD_MAX_BYTES);
}

#[tokio::test]
async fn a_table_of_dead_letters_of_an_earlier_build_grows_and_is_read() {
    let root = tempfile::tempdir().expect("a directory");
    let header = RecordHeader {
        name: "trace".to_owned(),
        value: Some(b"a1".to_vec()),
    };
    let letter = |offset: i64| DeadLetter {
        source: TABLE.to_owned(),
        partition: TopicPartition::new(TOPIC, 2),
        offset,
        kafka_time_us: None,
        key: Some(b"key".to_vec()),
        payload: b"{".to_vec(),
        headers: vec![header.clone()],
        is_cut: false,
        reason: "not_json",
        detail: "EOF".to_owned(),
    };
    let old: Vec<usize> = (0..8).collect();
    let as_before = |batch: RecordBatch| batch.project(&old).expect("its first columns");
    let archive = open(root.path(), "before");
    let table = "dead_letters";
    let before = Arc::new(dead_letter_schema().project(&old).expect("the same"));
    archive.open_table(table, before).await.expect("opened");
    let rows = as_before(dead_letter_batch(&[letter(0)]).expect("rows"));
    let stored = archive.append(table, vec![rows], &up_to(&[(2, 1)])).await;
    assert_eq!(stored.expect("appended"), 1);

    // Read as it is, and after it has grown.
    for next in [1, 2] {
        let archive = open(root.path(), &format!("now-{next}"));
        if next == 2 {
            let opened = archive.open_table(table, dead_letter_schema()).await;
            opened.expect("it follows");
            let rows = dead_letter_batch(&[letter(1)]).expect("rows");
            let stored = archive.append(table, vec![rows], &up_to(&[(2, 2)])).await;
            assert_eq!(stored.expect("appended"), 1);
        }
        let columns = [
            "source",
            "_topic",
            "_partition",
            "_offset",
            "key",
            "headers",
        ];
        let rows = archive.scan(table, Scan::columns(columns)).await;
        let batches: Vec<RecordBatch> = rows.expect("there").try_collect().await.expect("readable");
        let read: Vec<_> = batches
            .iter()
            .flat_map(|rows| stored_letters(rows).expect("ours"))
            .map(|letter| (letter.offset, letter.key, letter.headers))
            .collect();
        let mut expected = vec![(0, None, None)];
        if next == 2 {
            expected.push((1, Some(b"key".to_vec()), Some(vec![header.clone()])));
        }
        assert_eq!(read, expected);
    }
}
