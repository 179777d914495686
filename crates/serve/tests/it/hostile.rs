//! Bytes that nobody should send: each is refused with a typed error that names what is wrong, and
//! a good request after it is answered.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
};
use arrow_flight::FlightData;
use bytes::Bytes;
use tonic::Code;

use crate::get::get;
use crate::wire::{RawExchange, message_of, schema_of};
use crate::world::{World, rows};

const GOOD: &str = r#"{"service":"delay","rows":{"origin":["JFK"],"carrier":["AA"],"distance":[1],"planned":[null]}}"#;

fn ticket(rows: &str) -> String {
    format!(r#"{{"service":"delay","rows":{rows}}}"#)
}

/// A ticket, the status that refuses it, and a part of the words.
type Refused = (Vec<u8>, Code, &'static str);

fn malformed() -> Vec<Refused> {
    vec![
        (Vec::new(), Code::InvalidArgument, "names no service"),
        (b"garbage".to_vec(), Code::InvalidArgument, "neither JSON"),
        (
            b"{\"service\":\"delay\"}".to_vec(),
            Code::InvalidArgument,
            "missing field `rows`",
        ),
        (
            b"{\"service\":\"delay\",\"rows\":{},\"when\":1}".to_vec(),
            Code::InvalidArgument,
            "unknown field `when`",
        ),
        (
            format!(r#"{{"service":{}"#, "[".repeat(40)).into(),
            Code::ResourceExhausted,
            "REQUEST_MAX_DEPTH",
        ),
        (
            format!(r#"{{"service":{}"#, "[".repeat(1_000_000)).into(),
            Code::ResourceExhausted,
            "REQUEST_MAX_DEPTH",
        ),
        (
            vec![b'x'; (4 << 20) + 1],
            Code::ResourceExhausted,
            "REQUEST_MAX_BYTES",
        ),
        (
            vec![b'x'; 9 << 20],
            Code::ResourceExhausted,
            "REQUEST_MAX_BYTES",
        ),
        (
            br#"{"service":"delay","rows":{},"at":"noon"}"#.to_vec(),
            Code::InvalidArgument,
            "is not a time",
        ),
        (
            br#"{"service":"delay","rows":{},"at":9223372036854775807}"#.to_vec(),
            Code::InvalidArgument,
            "between the years",
        ),
        (
            br#"{"service":"elsewhere","rows":{}}"#.to_vec(),
            Code::NotFound,
            "known services: delay",
        ),
    ]
}

/// A row of all four columns, two of them as given.
fn four(distance: &str, planned: &str) -> String {
    let columns = format!(
        r#"{{"origin":["JFK"],"carrier":["AA"],"distance":[{distance}],"planned":[{planned}]}}"#
    );
    ticket(&columns)
}

fn of_wrong_cells() -> Vec<Refused> {
    vec![
        (
            four(r#""far""#, "null").into(),
            Code::InvalidArgument,
            "expected DOUBLE, got a text",
        ),
        (
            four("9007199254740993", "null").into(),
            Code::InvalidArgument,
            "a DOUBLE cannot hold exactly",
        ),
        (four("99999999999999999999", "null").into(), Code::Ok, ""),
        (
            four("1", r#""yesterday""#).into(),
            Code::InvalidArgument,
            "is not a time such as",
        ),
    ]
}

fn of_wrong_rows() -> Vec<Refused> {
    let many = format!(r#"{{"origin":[{}]}}"#, vec![r#""JFK""#; 10_001].join(","));
    let wide = (0..1_025)
        .map(|i| format!(r#""c{i}":[1]"#))
        .collect::<Vec<_>>()
        .join(",");
    vec![
        (
            b"{".to_vec(),
            Code::InvalidArgument,
            "the ticket is not a FeatureRequest",
        ),
        (
            vec![b'{', 0xFF, 0xFE],
            Code::InvalidArgument,
            "the ticket is not",
        ),
        (
            ticket("{}").into(),
            Code::InvalidArgument,
            "needs: origin, carrier, distance, planned",
        ),
        (
            ticket(r#"{"origin":["JFK"]}"#).into(),
            Code::InvalidArgument,
            "needs column carrier VARCHAR",
        ),
        (
            ticket(r#"{"origin":["JFK"],"gate":[1]}"#).into(),
            Code::InvalidArgument,
            "has no request column gate",
        ),
        (
            ticket(r#"{"origin":["JFK"],"origin":["LGA"]}"#).into(),
            Code::InvalidArgument,
            "origin occurs twice",
        ),
        (
            ticket(r#"{"origin":["JFK"],"carrier":[]}"#).into(),
            Code::InvalidArgument,
            "not equally long",
        ),
        (
            ticket(r#"{"origin":[1]}"#).into(),
            Code::InvalidArgument,
            "request column origin, row 0: expected VARCHAR, got an integer",
        ),
        (
            ticket(r#"{"origin":[["JFK"]]}"#).into(),
            Code::InvalidArgument,
            "null, a boolean, a number or a text",
        ),
        (
            ticket(&many).into(),
            Code::ResourceExhausted,
            "REQUEST_MAX_ROWS",
        ),
        (
            ticket(&format!("{{{wide}}}")).into(),
            Code::InvalidArgument,
            "SOURCE_MAX_COLUMNS",
        ),
    ]
}

#[tokio::test]
async fn bad_tickets_are_refused_by_name() {
    let world = World::start();
    for (ticket, code, words) in [malformed(), of_wrong_rows(), of_wrong_cells()].concat() {
        let shown = String::from_utf8_lossy(&ticket[..ticket.len().min(80)]).into_owned();
        match get(&world, ticket).await {
            Ok(_) => assert_eq!(code, Code::Ok, "{shown}"),
            Err(status) => {
                assert_eq!(status.code(), code, "{shown}: {status}");
                assert!(status.message().contains(words), "{shown}: {status}");
            }
        }
        assert_eq!(
            get(&world, GOOD).await.expect("goes on").num_rows(),
            1,
            "after {shown}"
        );
    }
}

/// A message with its header changed.
fn with_header(data: &FlightData, change: impl FnOnce(&mut Vec<u8>)) -> FlightData {
    let mut header = data.data_header.to_vec();
    change(&mut header);
    FlightData {
        data_header: header.into(),
        ..data.clone()
    }
}

#[tokio::test]
async fn bad_batches_are_refused_in_band() {
    let world = World::start();
    let request = rows(&["JFK"]);
    let good = message_of(&request, r#"{"request_id":1}"#);
    let meta = |text: &str| FlightData {
        app_metadata: Bytes::copy_from_slice(text.as_bytes()),
        ..good.clone()
    };
    let mut huge = good.clone();
    huge.data_body = vec![0; (4 << 20) + 1].into();
    let mut short = good.clone();
    short.data_body = good.data_body.slice(..8);
    let deep = format!(r#"{{"request_id":{}"#, "[".repeat(100));
    let cases = vec![
        (
            FlightData {
                data_header: Bytes::from_static(b"not arrow"),
                ..good.clone()
            },
            "not Arrow IPC",
        ),
        (
            with_header(&good, |header| header.truncate(20)),
            "not Arrow IPC",
        ),
        (short, "malformed"),
        (huge, "REQUEST_MAX_BYTES"),
        (meta("{"), "app_metadata is not a RequestMeta"),
        (meta("zzz"), "app_metadata is neither JSON"),
        (meta(&deep), "REQUEST_MAX_DEPTH"),
        (
            meta(r#"{"request_id":-1}"#),
            "app_metadata is not a RequestMeta",
        ),
        (
            message_of(&rows(&vec!["JFK"; 10_001]), ""),
            "REQUEST_MAX_ROWS",
        ),
        (
            message_of(&request.project(&[0]).expect("one column"), ""),
            "does not fit its schema",
        ),
    ];
    let mut exchange = RawExchange::open(&world, r#"{"service":"delay"}"#, FlightData::new())
        .await
        .expect("opens");
    exchange
        .next()
        .await
        .expect("no error")
        .expect("the schema");
    for (data, words) in cases {
        exchange.send(data).await;
        let refused = exchange.next_meta().await;
        assert_ne!(refused["status"], "OK", "{words}: {refused}");
        assert!(
            refused["message"]
                .as_str()
                .is_some_and(|m| m.contains(words)),
            "{words}: {refused}"
        );
        exchange.send(good.clone()).await;
        assert_eq!(exchange.next_meta().await["status"], "OK", "after {words}");
    }
}

#[tokio::test]
async fn schemas_of_types_that_no_request_has_end_the_stream_with_the_reason() {
    let world = World::start();
    let dictionary: ArrayRef =
        Arc::new(["JFK"].into_iter().collect::<DictionaryArray<Int32Type>>());
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(
        vec![Some(1), Some(2)],
    )]));
    let wide: Vec<(String, ArrayRef)> = (0..1_025)
        .map(|i| {
            (
                format!("c{i}"),
                Arc::new(Int64Array::from(vec![1])) as ArrayRef,
            )
        })
        .collect();
    let bytes: ArrayRef = Arc::new(arrow_array::BinaryArray::from(vec![&b"JFK"[..]]));
    for (columns, words) in [
        (
            vec![("origin".to_owned(), dictionary)],
            "dictionary columns are not accepted",
        ),
        (
            vec![("origin".to_owned(), list)],
            "column origin has type List",
        ),
        (
            vec![("origin".to_owned(), bytes)],
            "column origin has type Binary",
        ),
        (wide, "SOURCE_MAX_COLUMNS"),
    ] {
        let batch = RecordBatch::try_from_iter(columns).expect("one length");
        let mut exchange = RawExchange::open(&world, r#"{"service":"delay"}"#, schema_of(&batch))
            .await
            .expect("opens");
        exchange
            .next()
            .await
            .expect("no error")
            .expect("the schema");
        let status = exchange.next().await.expect_err(words);
        assert!(status.message().contains(words), "{status}");
        assert!(get(&world, GOOD).await.is_ok());
    }
}

#[tokio::test]
async fn a_message_above_the_transport_cap_ends_its_own_stream_alone() {
    let world = World::start();
    let mut other = RawExchange::open(&world, r#"{"service":"delay"}"#, FlightData::new())
        .await
        .expect("opens");
    other.next().await.expect("no error").expect("the schema");
    let mut exchange = RawExchange::open(&world, r#"{"service":"delay"}"#, FlightData::new())
        .await
        .expect("opens");
    exchange
        .next()
        .await
        .expect("no error")
        .expect("the schema");
    let good = message_of(&rows(&["JFK"]), "");
    exchange
        .send(FlightData {
            data_body: vec![0; 8 << 20].into(),
            ..good.clone()
        })
        .await;
    let status = exchange.next().await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("REQUEST_MAX_BYTES"), "{status}");
    other.send(good).await;
    assert_eq!(other.next_meta().await["status"], "OK");
}

#[tokio::test]
async fn texts_that_share_their_bytes_are_not_spelled_out_without_bound() {
    let world = World::start();
    // Ten thousand rows, all of them views of one text of two megabytes: twenty gigabytes once
    // spelled out.
    const LONG: u32 = 2 << 20;
    let mut builder = arrow_array::builder::StringViewBuilder::new();
    let block = builder.append_block("x".repeat(LONG as usize).into_bytes().into());
    for _ in 0..10_000 {
        builder
            .try_append_view(block, 0, LONG)
            .expect("inside the block");
    }
    let shared: StringViewArray = builder.finish();
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["AA"; 10_000]));
    let batch =
        RecordBatch::try_from_iter([("origin", Arc::new(shared) as ArrayRef), ("carrier", texts)]);
    let batch = batch.expect("one length");
    let mut exchange = RawExchange::open(&world, r#"{"service":"delay"}"#, schema_of(&batch))
        .await
        .expect("opens");
    exchange
        .next()
        .await
        .expect("no error")
        .expect("the schema");
    exchange.send(message_of(&batch, "")).await;
    let refused = exchange.next_meta().await;
    assert_eq!(refused["status"], "RESOURCE_EXHAUSTED", "{refused}");
}
