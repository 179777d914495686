//! DoExchange: many requests in flight, answers in any order, instants and deadlines for each
//! request, what an answer says of itself, JSON as generic clients send it, and a service that is
//! replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_flight::FlightData;
use forebay_core::ErrorKind;
use forebay_core::limits::{EXCHANGE_MAX_IN_FLIGHT, EXCHANGE_MAX_LARGE_IN_FLIGHT};
use forebay_core::ports::ShardEpoch;
use forebay_core::progress::TopicPartition;
use forebay_core::view::FeatureStatus;
use forebay_serve::client::{Answer, FeatureExchange, Reply};
use forebay_serve::{ReadOptions, ServeResult};
use tonic::Code;

use crate::wire::{RawExchange, message_of, raw, schema_of};
use crate::world::{
    MINUTE, NOON, PANICS, WAITS, World, doubles, integers, rows, service, wait_for,
};

pub(crate) fn at(at_us: i64) -> ReadOptions {
    ReadOptions {
        at_us: Some(at_us),
        ..ReadOptions::default()
    }
}

async fn receive(exchange: &mut FeatureExchange) -> (u64, ServeResult<Answer>) {
    match exchange
        .receive()
        .await
        .expect("the stream goes on")
        .expect("a reply")
    {
        Reply::Answer { request_id, result } => (request_id, result),
        Reply::GoingAway(message) => panic!("going away: {message}"),
    }
}

#[tokio::test]
async fn many_requests_in_flight_are_each_answered_at_their_own_instant() {
    let world = World::start();
    let client = world.client().await;
    let mut exchange = client
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    assert_eq!(exchange.schema().field(0).name(), "t_count");
    let mut expected = BTreeMap::new();
    for minutes in 0..100 {
        let instant = NOON - minutes * MINUTE;
        let id = exchange
            .send(&rows(&["JFK", "XXX"]), &at(instant))
            .await
            .expect("sent");
        expected.insert(
            id,
            (
                instant,
                [0, 1, 2][usize::from(minutes <= 10) + usize::from(minutes <= 1)],
            ),
        );
    }
    assert_eq!(exchange.in_flight(), 100);
    while !expected.is_empty() {
        let (id, result) = receive(&mut exchange).await;
        let answer = result.expect("an answer");
        let (instant, count) = expected.remove(&id).expect("asked for, once");
        assert_eq!(answer.as_of_us, Some(instant));
        let count = (count > 0).then_some(count);
        assert_eq!(
            integers(&answer.rows, "t_count"),
            [count, None],
            "{instant}"
        );
    }
    assert_eq!(exchange.in_flight(), 0);
}

#[tokio::test]
async fn a_large_request_does_not_hold_up_a_small_one() {
    let world = World::start();
    let client = world.client().await;
    let mut exchange = client
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    let mut origins = vec!["JFK"; 500];
    origins[250] = WAITS;
    let large = exchange
        .send(&rows(&origins), &at(NOON))
        .await
        .expect("sent");
    let small = exchange
        .send(&rows(&["JFK"]), &at(NOON))
        .await
        .expect("sent");
    let (first, result) = receive(&mut exchange).await;
    assert_eq!(
        (first, result.expect("an answer").rows.num_rows()),
        (small, 1)
    );
    let more = exchange
        .read(&rows(&["JFK", "JFK"]), &at(NOON))
        .await
        .expect("an answer, though the first one waits");
    assert_eq!(more.rows.num_rows(), 2);
    world.store.open_gate();
    let (second, result) = receive(&mut exchange).await;
    let answer = result.expect("an answer");
    assert_eq!((second, answer.rows.num_rows()), (large, 500));
    assert_eq!(integers(&answer.rows, "t_count")[250..252], [None, Some(2)]);
}

#[tokio::test]
async fn too_many_large_requests_wait_in_the_stream_and_all_are_answered() {
    let world = World::start();
    let client = world.client().await;
    let mut exchange = client
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    let mut origins = vec!["JFK"; 200];
    origins[0] = WAITS;
    for _ in 0..2 * EXCHANGE_MAX_LARGE_IN_FLIGHT {
        exchange
            .send(&rows(&origins), &at(NOON))
            .await
            .expect("sent");
    }
    wait_for("as many large reads as may be under way", || {
        world.store.waiting.load(Ordering::SeqCst) == EXCHANGE_MAX_LARGE_IN_FLIGHT
    })
    .await;
    // At the bound the stream is not read: this small one waits behind them.
    let small = exchange
        .send(&rows(&["JFK"]), &at(NOON))
        .await
        .expect("sent");
    assert_eq!(
        world.store.waiting.load(Ordering::SeqCst),
        EXCHANGE_MAX_LARGE_IN_FLIGHT
    );
    world.store.open_gate();
    let mut seen = Vec::new();
    for _ in 0..=2 * EXCHANGE_MAX_LARGE_IN_FLIGHT {
        let (id, result) = receive(&mut exchange).await;
        result.expect("an answer");
        seen.push(id);
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=small).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_says_what_was_applied_and_statuses_come_when_asked_for() {
    let world = World::start();
    world.watermarks.0.lock().extend([
        ("departures".to_owned(), NOON),
        ("arrivals".to_owned(), NOON + 5),
    ]);
    let shape = ReadOptions {
        with_status: true,
        with_event_time: true,
        ..ReadOptions::default()
    };
    let mut exchange = world
        .client()
        .await
        .exchange("delay", &shape)
        .await
        .expect("opens");
    let answer = exchange
        .read(&rows(&["JFK", "OLD"]), &at(NOON))
        .await
        .expect("an answer");
    assert_eq!(answer.applied.len(), 1);
    assert_eq!(answer.applied[0].at, ShardEpoch { shard: 0, epoch: 3 });
    assert!(answer.applied[0].next_offsets.is_empty());
    assert_eq!(
        (answer.watermark_us, answer.newest_event_time_us),
        (Some(NOON), Some(NOON - MINUTE))
    );
    assert_eq!(answer.status("t", 1), Some(FeatureStatus::OutsideMaxAge));
    assert_eq!(answer.event_time_us("c", 0), Some(NOON - 5 * MINUTE));

    let full = ReadOptions {
        full_applied: true,
        ..at(NOON)
    };
    let answer = exchange
        .read(&rows(&["JFK"]), &full)
        .await
        .expect("an answer");
    assert_eq!(
        answer.applied[0].next_offsets,
        [(TopicPartition::new("departures", 0), 30)]
    );
}

/// Reads of `delay` with this deadline.
fn within(deadline: Duration) -> ReadOptions {
    ReadOptions {
        deadline: Some(deadline),
        ..at(NOON)
    }
}

/// Requests that fail, each with its kind and words of its error.
fn failing_requests() -> Vec<(ReadOptions, RecordBatch, ErrorKind, &'static str)> {
    let one = rows(&["JFK"]);
    let without_origin = one.project(&[1, 2, 3]).expect("three columns");
    let distance: ArrayRef = Arc::new(StringArray::from(vec!["far"]));
    let mut columns = one.columns().to_vec();
    columns[2] = distance;
    let names = ["origin", "carrier", "distance", "planned"];
    let mistyped = RecordBatch::try_from_iter(names.into_iter().zip(columns)).expect("one length");
    vec![
        (
            within(Duration::ZERO),
            one.clone(),
            ErrorKind::DeadlineExceeded,
            "deadline of 0 us",
        ),
        (
            within(Duration::from_secs(3_600)),
            one.clone(),
            ErrorKind::ResourceExhausted,
            "REQUEST_DEADLINE_MAX_MS",
        ),
        (
            at(-1),
            one.clone(),
            ErrorKind::OutOfRange,
            "older than what is kept",
        ),
        (
            at(i64::MAX),
            one.clone(),
            ErrorKind::InvalidArgument,
            "between the years",
        ),
        (
            at(NOON),
            without_origin,
            ErrorKind::InvalidArgument,
            "needs column origin VARCHAR",
        ),
        (
            at(NOON),
            mistyped,
            ErrorKind::InvalidArgument,
            "column distance of service delay is DOUBLE",
        ),
        (
            at(NOON),
            rows(&vec!["JFK"; 10_001]),
            ErrorKind::ResourceExhausted,
            "REQUEST_MAX_ROWS",
        ),
        (at(NOON), rows(&[PANICS]), ErrorKind::Internal, "panicked"),
        (
            at(NOON),
            rows(&[&"x".repeat(2_000)]),
            ErrorKind::InvalidArgument,
            "KEY_MAX_BYTES",
        ),
    ]
}

#[tokio::test]
async fn failures_are_in_band_and_leave_the_others_alone() {
    let world = World::start();
    let mut exchange = world
        .client()
        .await
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    let one = rows(&["JFK"]);
    for (options, request, kind, words) in failing_requests() {
        let error = exchange.read(&request, &options).await.expect_err(words);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let good = exchange
            .read(&one, &within(Duration::from_secs(20)))
            .await
            .expect("the stream goes on");
        assert_eq!(doubles(&good.rows, "t_sum"), [Some(6.5)]);
    }
    let text = world.metrics.text().expect("encodes");
    for line in [
        r#"forebay_serving_requests_total{code="invalid_argument",method="DoExchange",service="delay"} 4"#,
        r#"forebay_serving_requests_total{code="ok",method="DoExchange",service="delay"} 9"#,
        r#"forebay_limit_rejections_total{limit="REQUEST_MAX_ROWS"} 1"#,
        r#"forebay_invariant_violations_total{id="request_does_not_panic"} 1"#,
        "forebay_serving_in_flight_requests 0",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn the_client_refuses_more_in_flight_than_the_server_reads() {
    let world = World::start();
    let mut exchange = world
        .client()
        .await
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    for _ in 0..EXCHANGE_MAX_IN_FLIGHT {
        exchange
            .send(&rows(&["JFK"]), &at(NOON))
            .await
            .expect("sent");
    }
    let error = exchange
        .send(&rows(&["JFK"]), &at(NOON))
        .await
        .expect_err("one too many");
    assert!(
        error.kind() == ErrorKind::ResourceExhausted
            && error.to_string().contains("EXCHANGE_MAX_IN_FLIGHT"),
        "{error}"
    );
    for _ in 0..EXCHANGE_MAX_IN_FLIGHT {
        receive(&mut exchange).await.1.expect("an answer");
    }
    exchange
        .read(&rows(&["JFK"]), &at(NOON))
        .await
        .expect("goes on");
}

#[tokio::test]
async fn halves_work_apart_and_dropping_the_sender_ends_the_stream_in_good_order() {
    let world = World::start();
    let exchange = world
        .client()
        .await
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    let (mut sender, mut receiver) = exchange.split();
    let sending = tokio::spawn(async move {
        for _ in 0..1_000 {
            sender.send(&rows(&["JFK"]), &at(NOON)).await.expect("sent");
        }
    });
    let mut answered = 0;
    while let Some(reply) = receiver.receive().await.expect("no error") {
        assert!(
            matches!(reply, Reply::Answer { result: Ok(_), .. }),
            "{reply:?}"
        );
        answered += 1;
    }
    sending.await.expect("no panic");
    assert_eq!(answered, 1_000);
}

#[tokio::test]
async fn json_and_a_schema_on_the_first_message_work_as_pyarrow_sends_them() {
    let world = World::start();
    let request = rows(&["JFK"]);
    let open = r#"{"service":"delay","with_status":true}"#;
    let mut exchange = RawExchange::open(&world, open, schema_of(&request))
        .await
        .expect("opens");
    let schema = exchange.next().await.expect("no error").expect("a schema");
    assert!(!schema.data_header.is_empty() && schema.app_metadata.is_empty());
    exchange
        .send(message_of(
            &request,
            r#"{"request_id":41,"at":"2013-07-01T12:00:00Z","full_applied":true}"#,
        ))
        .await;
    let meta = exchange.next_meta().await;
    assert_eq!(
        (&meta["request_id"], &meta["status"], &meta["as_of_us"]),
        (&41.into(), &"OK".into(), &NOON.into())
    );
    assert_eq!(meta["applied"][0]["partitions"][0]["next_offset"], 30);
    // Without metadata ids go on counting.
    exchange.send(message_of(&request, "")).await;
    assert_eq!(exchange.next_meta().await["request_id"], 42);
    exchange
        .send(message_of(&request, r#"{"request_id":1,"colour":3}"#))
        .await;
    let meta = exchange.next_meta().await;
    assert_eq!(meta["status"], "INVALID_ARGUMENT");
    assert!(
        meta["message"]
            .as_str()
            .is_some_and(|m| m.contains("colour")),
        "{meta}"
    );
    exchange
        .send(FlightData::new().with_app_metadata(r#"{"request_id":7}"#))
        .await;
    let meta = exchange.next_meta().await;
    assert_eq!(
        (&meta["request_id"], &meta["message"]),
        (&7.into(), &"the request has no record batch".into())
    );
    let mut rest = exchange.half_close();
    assert!(rest.message().await.expect("no error").is_none());
}

#[tokio::test]
async fn columns_in_any_order_and_of_narrower_types_are_taken_and_a_new_schema_may_follow() {
    let world = World::start();
    let mut exchange = world
        .client()
        .await
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    let request = rows(&["JFK"]);
    exchange
        .read(&request, &at(NOON))
        .await
        .expect("as declared");
    let shuffled = request.project(&[3, 1, 0]).expect("three columns");
    let distance: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![21]));
    let mut columns: Vec<(String, ArrayRef)> = vec![("distance".to_owned(), distance)];
    columns.extend(
        shuffled
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .zip(shuffled.columns().iter().cloned()),
    );
    columns.push((
        "unknown".to_owned(),
        Arc::new(Float64Array::from(vec![0.0])),
    ));
    let shuffled = RecordBatch::try_from_iter(columns).expect("one length");
    let answer = exchange
        .read(&shuffled, &at(NOON))
        .await
        .expect("the same, and a column that nobody asked for");
    assert_eq!(doubles(&answer.rows, "twice_distance"), [Some(42.0)]);
    assert_eq!(integers(&answer.rows, "t_count"), [Some(2)]);
}

#[tokio::test]
async fn a_replaced_service_is_announced_once_and_the_stream_goes_on_with_its_own() {
    let world = World::start();
    let mut exchange = world
        .client()
        .await
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    exchange
        .read(&rows(&["JFK"]), &at(NOON))
        .await
        .expect("an answer");
    // Compiled anew, the same version: nobody needs to know.
    world.reader.replace_services(vec![service(1, 0)]);
    exchange
        .read(&rows(&["JFK"]), &at(NOON))
        .await
        .expect("an answer");
    world
        .reader
        .replace_services(vec![service(1, 0), service(2, 3)]);
    for _ in 0..2 {
        let answer = exchange
            .read(&rows(&["JFK"]), &at(NOON))
            .await
            .expect("an answer");
        assert_eq!(answer.rows.num_columns(), 5);
    }
    match exchange.receive().await.expect("no error") {
        Some(Reply::GoingAway(message)) => {
            assert!(message.contains("version 1 of service delay"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(exchange.in_flight(), 0);
    let fresh = world
        .client()
        .await
        .exchange("delay", &ReadOptions::default())
        .await
        .expect("opens");
    assert_eq!(fresh.schema().fields().len(), 8);
}

#[tokio::test]
async fn an_exchange_that_cannot_open_says_why() {
    let world = World::start();
    for (command, code, words) in [
        (
            r#"{"service":"fast"}"#,
            Code::NotFound,
            "known services: delay",
        ),
        (
            r#"{"service":"delay","version":9}"#,
            Code::NotFound,
            "served in version 1",
        ),
        (
            r#"{"service":"delay","schema_fingerprint":"no"}"#,
            Code::FailedPrecondition,
            "has fingerprint fp1",
        ),
        (
            r#"{"service":""}"#,
            Code::InvalidArgument,
            "names no service",
        ),
        (
            r#"{"service":"delay","extra":1}"#,
            Code::InvalidArgument,
            "extra",
        ),
        ("\u{1}\u{2}", Code::InvalidArgument, "neither JSON"),
    ] {
        let status = RawExchange::open(&world, command, FlightData::new())
            .await
            .expect_err(words);
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    let nothing = futures::stream::iter([FlightData::new()]);
    let status = raw(&world)
        .await
        .do_exchange(nothing)
        .await
        .expect_err("no descriptor");
    assert!(status.message().contains("has no descriptor"), "{status}");
    let status = raw(&world)
        .await
        .do_exchange(futures::stream::empty())
        .await
        .expect_err("nothing at all");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}
