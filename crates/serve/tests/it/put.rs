//! DoPut: pushed rows reach the sink and are acknowledged after it has them; rows that the schema
//! refuses are named; a sink that is down refuses batches, not the stream.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use forebay_core::ErrorKind;
use futures::TryStreamExt;
use serde_json::Value;
use tonic::{Code, Status};

use crate::wire::{message_of, raw, schema_of};
use crate::world::{NOON, World};

/// Departures as pandas has them: times in nanoseconds without a zone.
fn departures(origins: &[Option<&str>]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "dep_time",
            Arc::new(TimestampNanosecondArray::from(vec![
                NOON * 1_000;
                origins.len()
            ])),
        ),
        ("origin", Arc::new(StringArray::from(origins.to_vec()))),
        (
            "delay",
            Arc::new(Float64Array::from(vec![None; origins.len()])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("one length")
}

async fn put(
    world: &World,
    mut messages: Vec<FlightData>,
    to: FlightDescriptor,
) -> Result<Vec<Value>, Status> {
    messages[0].flight_descriptor = Some(to);
    let acks = raw(world)
        .await
        .do_put(futures::stream::iter(messages))
        .await?
        .into_inner();
    let acks: Vec<PutResult> = acks.try_collect().await?;
    Ok(acks
        .iter()
        .map(|ack| serde_json::from_slice(&ack.app_metadata).expect("JSON"))
        .collect())
}

fn to_departures() -> FlightDescriptor {
    FlightDescriptor::new_path(vec!["source".to_owned(), "departures".to_owned()])
}

#[tokio::test]
async fn pushed_rows_are_produced_acknowledged_and_refused_by_row() {
    let world = World::start();
    let rows = departures(&[Some("JFK"), None, Some("LGA")]);
    let messages = vec![
        schema_of(&rows),
        message_of(&rows, r#"{"batch_id":7}"#),
        message_of(&rows, ""),
    ];
    let acks = put(&world, messages, to_departures())
        .await
        .expect("acknowledged");
    assert_eq!(acks.len(), 2);
    assert_eq!(
        (&acks[0]["batch_id"], &acks[1]["batch_id"]),
        (&7.into(), &8.into())
    );
    assert_eq!(
        (&acks[0]["status"], &acks[0]["rows"]),
        (&"OK".into(), &2.into())
    );
    assert_eq!(acks[0]["offsets"][0]["next_offset"], 2);
    assert_eq!(acks[1]["offsets"][0]["next_offset"], 4);
    assert_eq!(acks[0]["refused"][0]["row"], 1);
    let reason = acks[0]["refused"][0]["reason"].as_str().expect("a text");
    assert!(reason.contains("column origin is NULL"), "{reason}");
    assert_eq!(world.sink.pushed.lock().len(), 2);

    let outcome = world
        .client()
        .await
        .push("departures", &rows)
        .await
        .expect("acknowledged");
    assert_eq!((outcome.rows, outcome.refused[0].0), (2, 1));
    assert_eq!(outcome.next_offsets, [("departures".to_owned(), 0, 6)]);
    let none = world
        .client()
        .await
        .push("departures", &departures(&[None]))
        .await
        .expect("acknowledged");
    assert_eq!(
        (none.rows, none.refused.len(), none.next_offsets.len()),
        (0, 1, 0)
    );
}

#[tokio::test]
async fn rows_that_a_declared_type_does_not_admit_are_refused_by_row() {
    let world = World::start();
    let rows = departures(&[Some("JFK"), Some("a name that is too long")]);
    let client = world.client().await;
    let outcome = client.push("departures", &rows).await.expect("told");
    assert_eq!((outcome.rows, outcome.refused.len()), (1, 1));
    let (row, reason) = &outcome.refused[0];
    assert_eq!(*row, 1);
    assert_eq!(
        reason,
        "column origin is VARCHAR(10), but has 23 characters"
    );
}

#[tokio::test]
async fn a_push_that_waits_when_the_server_stops_is_told_that_it_may_have_been_written() {
    let world = World::start_with(Duration::from_millis(50), |_| {});
    *world.sink.hangs.lock() = true;
    let client = world.client().await;
    let push =
        tokio::spawn(async move { client.push("departures", &departures(&[Some("JFK")])).await });
    tokio::time::timeout(Duration::from_secs(20), world.sink.reached.notified())
        .await
        .expect("the push comes to the sink");
    tokio::time::timeout(Duration::from_secs(20), world.server.shutdown())
        .await
        .expect("ends");
    let error = push.await.expect("no panic").expect_err("nobody answered");
    assert!(
        error
            .to_string()
            .contains("whether the rows were produced is unknown"),
        "{error}"
    );
    assert_ne!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_sink_that_is_down_refuses_the_batch_and_the_next_one_passes() {
    let world = World::start();
    let client = world.client().await;
    let rows = departures(&[Some("JFK")]);
    *world.sink.down.lock() = true;
    let error = client.push("departures", &rows).await.expect_err("down");
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Unavailable, "the broker does not answer")
    );
    *world.sink.down.lock() = false;
    client.push("departures", &rows).await.expect("up again");
}

#[tokio::test]
async fn rows_that_do_not_fit_and_sources_that_are_not_there_are_refused() {
    let world = World::start();
    let rows = departures(&[Some("JFK")]);
    let strange = {
        let mut columns: Vec<(String, ArrayRef)> = rows
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .zip(rows.columns().iter().cloned())
            .collect();
        columns.push(("gate".to_owned(), Arc::new(Float64Array::from(vec![1.0]))));
        RecordBatch::try_from_iter(columns).expect("one length")
    };
    let acks = put(
        &world,
        vec![schema_of(&strange), message_of(&strange, "")],
        to_departures(),
    )
    .await
    .expect("acks");
    assert_eq!(acks[0]["status"], "INVALID_ARGUMENT");
    assert_eq!(acks[0]["message"], "source departures has no column gate");
    let without_time = rows.project(&[1]).expect("one column");
    let messages = vec![schema_of(&without_time), message_of(&without_time, "")];
    let acks = put(&world, messages, to_departures()).await.expect("acks");
    let words = acks[0]["message"].as_str().expect("a text");
    assert!(
        words.contains("source departures needs column dep_time TIMESTAMP"),
        "{words}"
    );

    let elsewhere = FlightDescriptor::new_cmd(r#"{"source":"weather"}"#);
    let status = put(&world, vec![schema_of(&rows)], elsewhere)
        .await
        .expect_err("unknown");
    assert!(
        status.code() == Code::NotFound && status.message().contains("known sources: departures"),
        "{status}"
    );
    let status = put(
        &world,
        vec![schema_of(&rows)],
        FlightDescriptor::new_path(vec![]),
    )
    .await
    .expect_err("no name");
    assert!(status.message().contains("[source, NAME]"), "{status}");
    let acks = put(&world, vec![message_of(&rows, "")], to_departures())
        .await
        .expect("acks");
    assert!(
        acks[0]["message"]
            .as_str()
            .is_some_and(|m| m.contains("before the schema")),
        "{acks:?}"
    );
    assert!(world.sink.pushed.lock().is_empty());
}
