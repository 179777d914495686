//! Tickets and metadata: both encodings say the same, refusals are typed, and no bytes make the
//! parsers panic: valid messages with bytes changed, cut and put together stand for all others.

use proptest::prelude::*;

use super::*;
use crate::cells::Cell;

fn json_ticket() -> Bytes {
    Bytes::from_static(
        br#"{"service":"delay","version":2,"rows":{"origin":["JFK",null],"n":[1,-2],"x":[1.5,"NaN"],"f":[true,false]},
            "at":"2013-07-01T12:00:00.5Z","with_status":true,"schema_fingerprint":"ab"}"#,
    )
}

fn protobuf_ticket() -> Bytes {
    use v1::request_value::Kind;
    let column = |name: &str, kinds: Vec<Option<Kind>>| v1::RequestColumn {
        name: name.to_owned(),
        values: kinds
            .into_iter()
            .map(|kind| v1::RequestValue { kind })
            .collect(),
    };
    let request = v1::FeatureRequest {
        service: "delay".to_owned(),
        version: 2,
        columns: vec![
            column("origin", vec![Some(Kind::Text("JFK".to_owned())), None]),
            column("n", vec![Some(Kind::Integer(1)), Some(Kind::Integer(-2))]),
            column(
                "x",
                vec![Some(Kind::Real(1.5)), Some(Kind::Text("NaN".to_owned()))],
            ),
            column(
                "f",
                vec![Some(Kind::Boolean(true)), Some(Kind::Boolean(false))],
            ),
        ],
        at_us: Some(1_372_680_000_500_000),
        with_status: true,
        with_event_time: false,
        schema_fingerprint: "ab".to_owned(),
    };
    request.encode_to_vec().into()
}

fn request_meta() -> v1::RequestMeta {
    v1::RequestMeta {
        request_id: 7,
        at_us: Some(5),
        deadline_us: Some(1_000),
        flags: 1,
    }
}

#[test]
fn both_encodings_of_a_ticket_say_the_same() {
    let json = parse_feature_request(&json_ticket()).expect("JSON");
    assert_eq!(
        json,
        parse_feature_request(&protobuf_ticket()).expect("protobuf")
    );
    assert_eq!(
        json.rows.columns[0].1,
        [Cell::Text("JFK".to_owned()), Cell::Null]
    );
    assert_eq!(json.at_us, Some(1_372_680_000_500_000));
    assert!(json.options.with_status && !json.options.with_event_time);
}

#[test]
fn both_encodings_of_metadata_say_the_same_and_none_counts_on() {
    let protobuf = parse_request_meta(&request_meta().encode_to_vec().into(), 0, Encoding::Json)
        .expect("protobuf");
    let text =
        Bytes::from_static(br#"{"request_id":7,"at":5,"deadline_us":1000,"full_applied":true}"#);
    let json = parse_request_meta(&text, 0, Encoding::Protobuf).expect("JSON");
    assert_eq!(
        json,
        RequestHead {
            encoding: Encoding::Json,
            ..protobuf.clone()
        }
    );
    assert_eq!(protobuf.encoding, Encoding::Protobuf);
    let none = parse_request_meta(&Bytes::new(), 12, Encoding::Json).expect("nothing to parse");
    assert_eq!(
        (none.request_id, none.at_us, none.encoding),
        (12, None, Encoding::Json)
    );
    let strange = v1::RequestMeta {
        flags: 6,
        ..request_meta()
    }
    .encode_to_vec();
    let error = parse_request_meta(&strange.into(), 0, Encoding::Json).expect_err("unknown bits");
    assert!(error.to_string().contains("flags 0x6"), "{error}");
}

#[test]
fn pushes_number_their_batches_in_either_encoding() {
    let push = |bytes: &[u8]| parse_push_meta(&Bytes::copy_from_slice(bytes));
    assert_eq!(push(b"").expect("none"), None);
    assert_eq!(
        push(br#"{"batch_id":3}"#).expect("JSON"),
        Some((3, Encoding::Json))
    );
    let protobuf = v1::PushMeta { batch_id: 3 }.encode_to_vec();
    assert_eq!(
        push(&protobuf).expect("protobuf"),
        Some((3, Encoding::Protobuf))
    );
    push(br#"{"batch":3}"#).expect_err("another name");
}

#[test]
fn answers_are_written_as_their_requests_were() {
    let meta = v1::ResponseMeta {
        request_id: 9,
        status: v1::AnswerStatus::ResourceExhausted.into(),
        message: "a \"quoted\" reason".to_owned(),
        watermark_us: Some(-1),
        applied: vec![v1::AppliedShard {
            shard: 3,
            epoch: 4,
            partitions: vec![v1::AppliedPartition {
                topic: "t".to_owned(),
                partition: 1,
                next_offset: 8,
            }],
        }],
        retry_after_ms: Some(20),
        ..v1::ResponseMeta::default()
    };
    let decoded = v1::ResponseMeta::decode(encode_response_meta(&meta, Encoding::Protobuf))
        .expect("protobuf");
    assert_eq!(decoded, meta);
    let json: Value =
        serde_json::from_slice(&encode_response_meta(&meta, Encoding::Json)).expect("well formed");
    let expected = json!({
        "request_id": 9, "status": "RESOURCE_EXHAUSTED", "message": "a \"quoted\" reason", "as_of_us": null,
        "watermark_us": -1, "newest_event_time_us": null, "retry_after_ms": 20,
        "applied": [{"shard": 3, "epoch": 4, "partitions": [{"topic": "t", "partition": 1, "next_offset": 8}]}],
    });
    assert_eq!(json, expected);
}

#[test]
fn every_error_kind_has_its_status_in_band() {
    for (error, status) in [
        (
            ServeError::Request(String::new()),
            v1::AnswerStatus::InvalidArgument,
        ),
        (
            ServeError::NotFound(String::new()),
            v1::AnswerStatus::NotFound,
        ),
        (
            ServeError::Deadline { deadline_us: 1 },
            v1::AnswerStatus::DeadlineExceeded,
        ),
        (message_too_large(), v1::AnswerStatus::ResourceExhausted),
        (
            ServeError::Precondition(String::new()),
            v1::AnswerStatus::FailedPrecondition,
        ),
    ] {
        assert_eq!(status_of(&error), status, "{error:?}");
    }
    assert_eq!(
        status_name(v1::AnswerStatus::GoingAway.into()),
        "GOING_AWAY"
    );
    assert_eq!(status_name(77), "INTERNAL");
}

#[test]
fn nesting_is_counted_outside_of_texts_alone() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    check_depth("ticket", nested(REQUEST_MAX_DEPTH).as_bytes()).expect("at the limit");
    check_depth("ticket", nested(REQUEST_MAX_DEPTH + 1).as_bytes()).expect_err("above it");
    check_depth(
        "ticket",
        format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(99), "{".repeat(99)).as_bytes(),
    )
    .expect("a text");
}

#[test]
fn instants_and_deadlines_have_limits() {
    let meta = |text: &str| {
        parse_request_meta(&Bytes::copy_from_slice(text.as_bytes()), 0, Encoding::Json)
    };
    for good in [
        "-62135596800000000",
        "253402300799999999",
        "\"0001-01-01T00:00:00Z\"",
        "\"2013-07-01 12:00:00\"",
    ] {
        meta(&format!(r#"{{"request_id":1,"at":{good}}}"#)).expect(good);
    }
    for bad in [
        "-62135596800000001",
        "253402300800000000",
        "\"\"",
        "\"2013-13-01\"",
        "1.5",
        "[]",
    ] {
        meta(&format!(r#"{{"request_id":1,"at":{bad}}}"#)).expect_err(bad);
    }
    meta(&format!(
        r#"{{"request_id":1,"deadline_us":{}}}"#,
        REQUEST_DEADLINE_MAX_MS * 1_000
    ))
    .expect("at the limit");
    let error =
        meta(r#"{"request_id":1,"deadline_us":18446744073709551615}"#).expect_err("above it");
    assert!(
        matches!(
            error,
            ServeError::Limit {
                limit: "REQUEST_DEADLINE_MAX_MS",
                ..
            }
        ),
        "{error}"
    );
}

/// A valid message with some bytes changed, and cut, and with another one behind it.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let valid = prop_oneof![
        Just(json_ticket().to_vec()),
        Just(protobuf_ticket().to_vec()),
        Just(request_meta().encode_to_vec()),
        Just(br#"{"request_id":7,"at":"2013-07-01T12:00:00Z","deadline_us":1}"#.to_vec()),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (
        valid,
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..4),
    )
        .prop_map(|(mut bytes, changes, end, cut, behind)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes.extend(behind);
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in mutated()) {
        let bytes = Bytes::from(bytes);
        if let Ok(query) = parse_feature_request(&bytes) {
            prop_assert!(!query.service.name.is_empty());
            prop_assert!(query.at_us.is_none_or(|at| AT_RANGE_US.contains(&at)));
        }
        if let Ok(open) = parse_open(&bytes) {
            prop_assert!(!open.service.name.is_empty());
        }
        if let Ok(head) = parse_request_meta(&bytes, 0, Encoding::Json) {
            prop_assert!(head.deadline_us.is_none_or(|d| d <= REQUEST_DEADLINE_MAX_MS * 1_000));
        }
        drop(parse_push_meta(&bytes));
    }
}
