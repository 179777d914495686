//! What a client that is not the pool may send to a worker: each gets a
//! typed status, and the worker goes on. Messages are made by hand from
//! whole ones.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::utils::batches_to_flight_data;
use arrow_flight::{Action, FlightData, FlightDescriptor};
use forebay_core::limits::{WORKER_BATCH_MAX_ROWS, WORKER_MESSAGE_MAX_BYTES};
use forebay_proto::v1::{AnswerMeta, AnswerStatus, BatchMeta, WorkerOpen};
use futures::{StreamExt, stream};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fixture::{FINGERPRINT, MODEL, Worker, rows, runtime, store};

/// Schema and batch of `batch` as messages; the schema opens `MODEL`.
fn messages(batch: RecordBatch) -> (FlightData, FlightData) {
    let schema = batch.schema();
    let mut messages = batches_to_flight_data(&schema, vec![batch]).expect("encodes");
    let batch = messages.pop().expect("a batch");
    let open = WorkerOpen {
        model: MODEL.to_owned(),
        version: 1,
        fingerprint: FINGERPRINT.to_owned(),
        digest: String::new(),
    };
    let schema = messages
        .pop()
        .expect("a schema")
        .with_descriptor(FlightDescriptor::new_path(vec!["worker".to_owned()]))
        .with_app_metadata(open.encode_to_vec());
    (schema, batch)
}

fn meta(batch_id: u64, rows: usize) -> Vec<u8> {
    BatchMeta {
        batch_id,
        deadline_us: None,
        rows: u32::try_from(rows).expect("small"),
    }
    .encode_to_vec()
}

/// Everything that the worker answers, until the first error.
async fn exchange(
    channel: &Channel,
    messages: Vec<FlightData>,
) -> (Vec<AnswerMeta>, Option<Status>) {
    let mut client = FlightServiceClient::new(channel.clone());
    let mut answers = match client.do_exchange(stream::iter(messages)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (Vec::new(), Some(status)),
    };
    let mut metas = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(data) if data.app_metadata.is_empty() => {}
            Ok(data) => metas.push(AnswerMeta::decode(data.app_metadata).expect("metadata")),
            Err(status) => return (metas, Some(status)),
        }
    }
    (metas, None)
}

async fn connect(worker: &Worker) -> Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", worker.address))
        .expect("an address");
    endpoint.connect().await.expect("connects")
}

/// Openings that are none, with what is wrong with each and the code of its refusal.
fn malformed(open: &FlightData, batch: &FlightData) -> Vec<(&'static str, Vec<FlightData>, Code)> {
    vec![
        ("nothing at all", vec![], Code::InvalidArgument),
        (
            "no descriptor",
            vec![FlightData {
                flight_descriptor: None,
                ..open.clone()
            }],
            Code::InvalidArgument,
        ),
        (
            "another path",
            vec![
                open.clone()
                    .with_descriptor(FlightDescriptor::new_path(vec!["features".to_owned()])),
            ],
            Code::InvalidArgument,
        ),
        (
            "no WorkerOpen",
            vec![open.clone().with_app_metadata(vec![0xff; 9])],
            Code::InvalidArgument,
        ),
        (
            "no such model",
            vec![open.clone().with_app_metadata(Vec::new())],
            Code::NotFound,
        ),
        (
            "no schema",
            vec![FlightData {
                data_header: Vec::new().into(),
                ..open.clone()
            }],
            Code::InvalidArgument,
        ),
        (
            "noise for a schema",
            vec![FlightData {
                data_header: vec![7; 64].into(),
                ..open.clone()
            }],
            Code::InvalidArgument,
        ),
        (
            "a batch for a schema",
            vec![FlightData {
                data_header: batch.data_header.clone(),
                ..open.clone()
            }],
            Code::InvalidArgument,
        ),
    ]
}

#[test]
fn malformed_openings_are_refused_with_a_reason() {
    let runtime = runtime(1);
    let worker = Worker::start(store(&[MODEL]));
    runtime.block_on(async {
        let channel = connect(&worker).await;
        let (open, batch) = messages(rows(4, 1));
        for (name, messages, code) in malformed(&open, &batch) {
            let (answers, status) = exchange(&channel, messages).await;
            let status = status.unwrap_or_else(|| panic!("{name}: was not refused"));
            assert_eq!(
                (status.code(), answers.len()),
                (code, 0),
                "{name}: {status}"
            );
            assert!(status.message().len() > 15, "{name}: {status}");
        }
        let mistyped: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let (open, _) = messages_of_another_schema(mistyped);
        let (_, status) = exchange(&channel, vec![open]).await;
        assert_eq!(status.expect("refused").code(), Code::FailedPrecondition);
    });
}

fn messages_of_another_schema(column: ArrayRef) -> (FlightData, FlightData) {
    messages(RecordBatch::try_from_iter([("a", column)]).expect("one column"))
}

#[test]
fn malformed_batches_end_their_stream_and_no_other() {
    let runtime = runtime(1);
    let worker = Worker::start(store(&[MODEL]));
    runtime.block_on(async {
        let channel = connect(&worker).await;
        let (open, batch) = messages(rows(4, 1));
        let good = batch.clone().with_app_metadata(meta(1, 4));
        let noise = FlightData {
            data_header: vec![0x41; 40].into(),
            ..good.clone()
        };
        let short = FlightData {
            data_body: good.data_body.slice(..good.data_body.len() / 2),
            ..good.clone()
        };
        let cases = [
            (
                "rows that are not there",
                batch.clone().with_app_metadata(meta(2, 5)),
            ),
            (
                "no BatchMeta",
                batch.clone().with_app_metadata(vec![0xff; 9]),
            ),
            ("noise", noise),
            ("a body cut short", short),
            ("a second schema", open.clone()),
        ];
        for (name, bad) in cases {
            let (_, status) = exchange(&channel, vec![open.clone(), good.clone(), bad]).await;
            // A panic inside the Arrow decoder is contained: the stream just ends.
            let refused = status.is_none_or(|s| s.code() == Code::InvalidArgument);
            assert!(refused, "{name}");
            let (answers, status) = exchange(&channel, vec![open.clone(), good.clone()]).await;
            assert!(status.is_none(), "after {name}: {status:?}");
            assert_eq!(
                (answers.len(), answers[0].batch_id, answers[0].status),
                (1, 1, 0),
                "after {name}"
            );
        }
    });
}

#[test]
fn too_large_or_late_batches_are_answered_with_the_reason_and_the_stream_goes_on() {
    let runtime = runtime(1);
    let worker = Worker::start(store(&[MODEL]));
    runtime.block_on(async {
        let channel = connect(&worker).await;
        let count = WORKER_BATCH_MAX_ROWS + 1;
        let (open, large) = messages(rows(count, 1));
        let (_, small) = messages(rows(4, 1));
        let late = BatchMeta {
            batch_id: 2,
            deadline_us: Some(0),
            rows: 4,
        }
        .encode_to_vec();
        let stream = vec![
            open,
            large.with_app_metadata(meta(1, count)),
            small.clone().with_app_metadata(late),
            small.with_app_metadata(meta(3, 4)),
        ];
        let (mut answers, status) = exchange(&channel, stream).await;
        assert!(status.is_none(), "{status:?}");
        answers.sort_by_key(|a| a.batch_id);
        let statuses: Vec<_> = answers.iter().map(|a| a.status()).collect();
        let expected = [
            AnswerStatus::ResourceExhausted,
            AnswerStatus::DeadlineExceeded,
            AnswerStatus::Ok,
        ];
        assert_eq!(statuses, expected);
        assert!(
            answers[0].message.contains("WORKER_BATCH_MAX_ROWS"),
            "{}",
            answers[0].message
        );
    });
}

#[test]
fn other_calls_are_refused_and_the_status_action_answers() {
    let runtime = runtime(1);
    let worker = Worker::start(store(&[MODEL]));
    runtime.block_on(async {
        let mut client = FlightServiceClient::new(connect(&worker).await);
        let refused = client
            .do_get(arrow_flight::Ticket::new("x"))
            .await
            .expect_err("not served");
        assert_eq!(refused.code(), Code::Unimplemented);
        assert_eq!(
            client
                .do_action(Action::new("dance", ""))
                .await
                .expect_err("unknown")
                .code(),
            Code::InvalidArgument
        );
        let mut answers = client
            .do_action(Action::new("worker_status", ""))
            .await
            .expect("answers")
            .into_inner();
        let body = answers.message().await.expect("answers").expect("one").body;
        let status: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(status["models"][0]["state"], "READY");
        assert_eq!(status["devices"][0]["device"], "cpu");
        assert!(
            status["devices"][1]["reason"]
                .as_str()
                .is_some_and(|r| r.len() > 20),
            "{status}"
        );
    });
}

#[test]
fn a_message_of_the_limit_is_read_and_a_larger_one_ends_its_stream_alone() {
    let runtime = runtime(1);
    let worker = Worker::start(store(&[MODEL]));
    runtime.block_on(async {
        let channel = connect(&worker).await;
        let (open, batch) = messages(rows(4, 1));
        let good = batch.clone().with_app_metadata(meta(1, 4));
        let of_bytes = |bytes: usize| {
            let mut message = batch.clone().with_app_metadata(meta(1, 4));
            // The length in front of a body takes as many bytes at both sizes.
            message.data_body = vec![0; bytes].into();
            let envelope = message.encoded_len() - bytes;
            message.data_body = vec![0; bytes - envelope].into();
            assert_eq!(message.encoded_len(), bytes);
            message
        };
        let refusal = async |bytes: usize| {
            let messages = vec![open.clone(), of_bytes(bytes)];
            exchange(&channel, messages).await.1.map(|s| s.to_string())
        };
        let too_large = |words: &String| words.contains("WORKER_MESSAGE_MAX_BYTES");
        let words = refusal(WORKER_MESSAGE_MAX_BYTES).await;
        assert!(!words.as_ref().is_some_and(too_large), "{words:?}");
        let words = refusal(WORKER_MESSAGE_MAX_BYTES + 1).await;
        assert!(words.as_ref().is_some_and(too_large), "{words:?}");
        let (answers, status) = exchange(&channel, vec![open, good]).await;
        assert!(status.is_none() && answers.len() == 1, "{status:?}");
    });
}
