//! Values whose expression fails on their row: they are NULL, their neighbours are answered, and
//! DoGet and an exchange, in both encodings, tell of them; the metrics count them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch};
use forebay_core::limits::ANSWER_FAULTS_MAX;
use forebay_serve::{Answer, FailedCell, FailedCells, ReadOptions};
use serde_json::json;

use crate::wire::{RawExchange, message_of, schema_of};
use crate::world::{FAILS, World, rows};

/// Rows of which those marked fail.
fn request(fails: &[bool]) -> RecordBatch {
    let request = rows(&vec!["JFK"; fails.len()]);
    let distances = fails.iter().map(|fails| if *fails { FAILS } else { 7.0 });
    let distances: ArrayRef = Arc::new(Float64Array::from_iter_values(distances));
    let mut columns = request.columns().to_vec();
    columns[2] = distances;
    RecordBatch::try_new(request.schema(), columns).expect("of one length")
}

async fn answers(world: &World, fails: &[bool]) -> [Answer; 2] {
    let client = world.client().await;
    let options = ReadOptions::default();
    let got = client.get("delay", &request(fails), &options).await;
    let mut exchange = client.exchange("delay", &options).await.expect("opens");
    let exchanged = exchange.read(&request(fails), &options).await;
    [got.expect("an answer"), exchanged.expect("an answer")]
}

fn cell(row: u32) -> FailedCell {
    FailedCell {
        row,
        feature: "twice_distance".to_owned(),
        key: "origin = JFK, carrier = AA".to_owned(),
        expression: "request.distance * 2.0".to_owned(),
        kind: "overflow".to_owned(),
        reason: "the result does not fit into its type".to_owned(),
    }
}

#[tokio::test]
async fn a_failed_value_is_null_and_told_and_counted() {
    let world = World::start();
    for answer in answers(&world, &[false, false]).await {
        assert_eq!(answer.failed, FailedCells::default());
    }
    for answer in answers(&world, &[true, false, true]).await {
        let twice = answer.rows.column_by_name("twice_distance");
        let twice = twice.expect("the feature");
        assert_eq!((twice.null_count(), twice.is_valid(1)), (2, true));
        let label = answer.rows.column_by_name("label").expect("the feature");
        assert_eq!(label.null_count(), 0, "its neighbours are answered");
        assert_eq!(answer.failed.count, 2);
        assert_eq!(answer.failed.first, [cell(0), cell(2)]);
    }
    let counted = world
        .metrics
        .serving_failed_values
        .with(["delay", "twice_distance"]);
    assert_eq!(counted.value(), 4);
}

#[tokio::test]
async fn an_answer_names_a_few_failed_values_and_counts_all() {
    let world = World::start();
    for answer in answers(&world, &[true; 2 * ANSWER_FAULTS_MAX]).await {
        assert_eq!(answer.failed.count, 2 * ANSWER_FAULTS_MAX as u64);
        assert_eq!(answer.failed.first.len(), ANSWER_FAULTS_MAX);
    }
}

#[tokio::test]
async fn a_client_that_speaks_json_reads_them_as_json() {
    let world = World::start();
    let request = request(&[true]);
    let mut exchange = RawExchange::open(&world, r#"{"service":"delay"}"#, schema_of(&request))
        .await
        .expect("opens");
    let _schema = exchange.next().await.expect("no error").expect("a schema");
    exchange.send(message_of(&request, "")).await;
    let meta = exchange.next_meta().await;
    assert_eq!(meta["failed"], json!({"count": 1, "first": [cell(0)]}));
}
