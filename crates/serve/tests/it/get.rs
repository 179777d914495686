//! DoGet and the calls that describe: tickets in JSON and in protobuf, instants and deadlines,
//! statuses, freshness, listings, fingerprints.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::{Criteria, FlightDescriptor, Ticket};
use arrow_schema::Schema;
use forebay_core::ErrorKind;
use forebay_core::view::FeatureStatus;
use forebay_serve::ReadOptions;
use futures::TryStreamExt;
use tonic::Status;

use crate::wire::raw;
use crate::world::{MINUTE, NOON, WAITS, World, doubles, integers, rows, service};

/// Read a ticket as any Flight client does.
pub(crate) async fn get(world: &World, ticket: impl Into<Vec<u8>>) -> Result<RecordBatch, Status> {
    let messages = raw(world)
        .await
        .do_get(Ticket::new(ticket.into()))
        .await?
        .into_inner();
    let stream = FlightRecordBatchStream::new_from_flight_data(
        messages.map_err(|s| FlightError::Tonic(Box::new(s))),
    );
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    })?;
    let [batch] = batches.as_slice() else {
        panic!("{} batches", batches.len())
    };
    Ok(batch.clone())
}

const TICKET: &str = r#"{"service":"delay","rows":{"origin":["JFK","XXX","JFK"],"carrier":["AA",null,"ZZ"],
    "distance":[1, 2.5, null],"planned":[null,"2013-07-01T12:00:00Z",5]},"at":"2013-07-01T12:00:00Z"}"#;

#[tokio::test]
async fn a_json_ticket_reads_rows_in_order_as_of_its_instant() {
    let world = World::start();
    world.watermarks.0.lock().extend([
        ("departures".to_owned(), NOON - 1),
        ("arrivals".to_owned(), NOON - 2),
    ]);
    let batch = get(&world, TICKET).await.expect("an answer");
    assert_eq!(integers(&batch, "t_count"), [Some(2), None, Some(2)]);
    assert_eq!(doubles(&batch, "t_sum"), [Some(6.5), None, Some(6.5)]);
    assert_eq!(integers(&batch, "c_count"), [Some(1), None, None]);
    assert_eq!(
        doubles(&batch, "twice_distance"),
        [Some(2.0), Some(5.0), None]
    );
    assert_eq!(
        batch
            .column_by_name("label")
            .expect("there")
            .as_string::<i32>()
            .value(1),
        "from XXX"
    );
    let said = batch.schema().metadata().clone();
    let said = |key: &str| {
        said.get(&format!("forebay.{key}"))
            .map(String::as_str)
            .map(str::to_owned)
    };
    assert_eq!(said("service"), Some("delay".to_owned()));
    assert_eq!(
        (said("version"), said("fingerprint")),
        (Some("1".to_owned()), Some("fp1".to_owned()))
    );
    assert_eq!(said("as_of_us"), Some(NOON.to_string()));
    assert_eq!(said("watermark_us"), Some((NOON - 2).to_string()));
    assert_eq!(
        said("newest_event_time_us"),
        Some((NOON - MINUTE).to_string())
    );
    assert_eq!(said("applied"), Some("0:3".to_owned()));
}

#[tokio::test]
async fn without_an_instant_the_clock_is_read_and_an_unknown_watermark_is_left_out() {
    let world = World::start();
    let client = world.client().await;
    let now = NOON + 2 * MINUTE;
    world
        .clock
        .0
        .store(now, std::sync::atomic::Ordering::Relaxed);
    let answer = client
        .get("delay", &rows(&["JFK"]), &ReadOptions::default())
        .await
        .expect("an answer");
    assert_eq!(integers(&answer.rows, "t_count"), [Some(3)]);
    assert_eq!((answer.as_of_us, answer.watermark_us), (Some(now), None));
    assert_eq!(answer.newest_event_time_us, Some(NOON + MINUTE));
    let past = ReadOptions {
        at_us: Some(NOON - 5 * MINUTE),
        ..ReadOptions::default()
    };
    let answer = client
        .get("delay", &rows(&["JFK"]), &past)
        .await
        .expect("an answer");
    assert_eq!(
        (integers(&answer.rows, "t_count"), answer.as_of_us),
        (vec![Some(1)], past.at_us)
    );
}

#[tokio::test]
async fn statuses_and_event_times_tell_absent_from_old_from_present() {
    let world = World::start();
    let options = ReadOptions {
        at_us: Some(NOON),
        with_status: true,
        with_event_time: true,
        ..ReadOptions::default()
    };
    let request = rows(&["JFK", "OLD", "XXX"]);
    let answer = world
        .client()
        .await
        .get("delay", &request, &options)
        .await
        .expect("an answer");
    let statuses: Vec<_> = (0..3)
        .map(|row| answer.status("t", row).expect("asked for"))
        .collect();
    assert_eq!(
        statuses,
        [
            FeatureStatus::Present,
            FeatureStatus::OutsideMaxAge,
            FeatureStatus::NotFound
        ]
    );
    assert_eq!(answer.status("c", 2), Some(FeatureStatus::Present));
    assert_eq!(answer.event_time_us("t", 0), Some(NOON - MINUTE));
    assert!(answer.event_time_us("t", 1).is_some() && answer.event_time_us("t", 2).is_none());
    assert_eq!(integers(&answer.rows, "t_count"), [Some(2), None, None]);
    let text = world.metrics.text().expect("encodes");
    assert!(
        text.contains(r#"forebay_serving_keys_missing_total{view="airport_traffic"} 2"#),
        "{text}"
    );
}

#[tokio::test]
async fn many_rows_and_no_rows_are_answered() {
    let world = World::start();
    let client = world.client().await;
    for count in [0, 1, 128, 129, 10_000] {
        let answer = client
            .get("delay", &rows(&vec!["JFK"; count]), &ReadOptions::default())
            .await
            .expect("an answer");
        assert_eq!(answer.rows.num_rows(), count);
    }
}

#[tokio::test]
async fn a_read_that_takes_longer_than_its_deadline_is_given_up() {
    let world = World::start();
    let mut origins = vec!["JFK"; 200];
    origins[199] = WAITS;
    let hasty = ReadOptions {
        deadline: Some(std::time::Duration::from_millis(50)),
        ..ReadOptions::default()
    };
    let error = world
        .client()
        .await
        .get("delay", &rows(&origins), &hasty)
        .await
        .expect_err("the gate is shut");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    world.store.open_gate();
    world
        .client()
        .await
        .get("delay", &rows(&origins), &ReadOptions::default())
        .await
        .expect("goes on");
}

#[tokio::test]
async fn services_are_listed_and_described_and_a_described_ticket_reads() {
    let world = World::start();
    let mut client = raw(&world).await;
    let flights: Vec<_> = client
        .list_flights(Criteria::default())
        .await
        .expect("a list")
        .into_inner()
        .try_collect()
        .await
        .expect("one flight after another");
    assert_eq!(flights.len(), 1);
    let descriptor = flights[0].flight_descriptor.clone().expect("a descriptor");
    assert_eq!(descriptor.path, ["delay"]);
    let info = client
        .get_flight_info(descriptor.clone())
        .await
        .expect("described")
        .into_inner();
    let schema = info.clone().try_decode_schema().expect("a schema");
    assert_eq!(schema.field(4).name(), "label");
    let described: serde_json::Value = serde_json::from_slice(&info.app_metadata).expect("JSON");
    assert_eq!(described["request"][3]["type"], "TIMESTAMP");
    let result = client
        .get_schema(descriptor)
        .await
        .expect("a schema")
        .into_inner();
    assert_eq!(Schema::try_from(result).expect("a schema"), schema);

    let command = FlightDescriptor::new_cmd(TICKET);
    let info = client
        .get_flight_info(command)
        .await
        .expect("described")
        .into_inner();
    assert_eq!(info.total_records, 3);
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    assert_eq!(
        get(&world, ticket.ticket)
            .await
            .expect("an answer")
            .num_rows(),
        3
    );
}

#[tokio::test]
async fn the_client_knows_services_versions_and_fingerprints() {
    let world = World::start();
    let client = world.client().await;
    let info = client.service("delay").await.expect("known");
    assert_eq!(
        (info.version, info.fingerprint.as_str(), info.views.len()),
        (1, "fp1", 2)
    );
    assert_eq!(info.request, service(1, 0).spec().request);
    assert_eq!(info.features, service(1, 0).spec().features);
    let error = client.service("fast").await.expect_err("unknown");
    assert!(
        error.kind() == ErrorKind::NotFound && error.to_string().contains("known services: delay"),
        "{error}"
    );

    let wrong = ReadOptions {
        fingerprint: "fp0".to_owned(),
        ..ReadOptions::default()
    };
    let error = client
        .get("delay", &rows(&["JFK"]), &wrong)
        .await
        .expect_err("made for other features");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(
        error.to_string().contains("fp0") && error.to_string().contains("fp1"),
        "{error}"
    );
    let wrong = ReadOptions {
        version: 7,
        ..ReadOptions::default()
    };
    assert_eq!(
        client
            .get("delay", &rows(&["JFK"]), &wrong)
            .await
            .expect_err("no such version")
            .kind(),
        ErrorKind::NotFound
    );
}
