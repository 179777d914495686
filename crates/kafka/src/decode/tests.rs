//! Decoding against hand-written cases, against rows encoded by the inverse, against a second
//! parser, and against hostile bytes: JSON here, every format in `conformance`.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use forebay_core::dead_letter::DeadLetterReason as Reason;
use forebay_core::limits::{EVENT_MAX_BYTES, EVENT_MAX_DEPTH};
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::{Micros, timestamp_type};
use proptest::prelude::*;

use super::{Record, RecordDecoder};
use crate::encode_rows;
use time_text::{EARLIEST_US, LATEST_US};

mod case;
mod conformance;
mod domains;
mod lists;
mod time_text;
mod times;
mod tree;

fn column(name: &str, data_type: DataType, nullable: bool) -> Column {
    Column {
        name: name.into(),
        data_type,
        nullable,
    }
}

fn features() -> Vec<Field> {
    vec![
        Field::new("mean", DataType::Float64, true),
        Field::new("rank", DataType::Int32, false),
    ]
}

/// One column of each type, nullable but for the event time.
fn all_types() -> SourceDef {
    let columns = vec![
        column("text", DataType::Utf8, true),
        column("double", DataType::Float64, true),
        column("big", DataType::Int64, true),
        column("small", DataType::Int32, true),
        column("flag", DataType::Boolean, true),
        column("at", timestamp_type(), false),
        column("features", DataType::Struct(features().into()), true),
    ];
    SourceDef::json("everything", "everything", columns, 5)
}

pub(super) fn decoder() -> RecordDecoder {
    RecordDecoder::new(&all_types(), 600_000_000).expect("supported types")
}

pub(super) fn record(payload: &[u8]) -> Record<'_> {
    Record {
        payload: Some(payload),
        ..Record::default()
    }
}

fn rejected(json: &str) -> (Reason, String) {
    let mut decoder = decoder();
    let reject = decoder.push(&record(json.as_bytes())).expect_err(json);
    assert_eq!(decoder.rows(), 0);
    assert_eq!(decoder.finish().expect("empty").num_rows(), 0, "{json}");
    (reject.reason, reject.to_string())
}

#[test]
fn a_row_of_every_type() {
    let mut decoder = decoder();
    let json = r#"{"text":"J\u00e9 \ud83d\ude00\n","skipped":{"a":[1,{"b":null}]},"double":-0.0,"big":-9223372036854775808,
        "small":2147483647,"flag":true,"at":"2013-01-01T05:15:00-05:00","features":{"rank":-1,"mean":"NaN","more":[]}}"#;
    decoder.push(&record(json.as_bytes())).expect("a good row");
    decoder
        .push(&record(br#"{"at":0}"#))
        .expect("all that may be absent is absent");
    let batch = decoder.finish().expect("small");
    let row = |index: usize| -> String {
        String::from_utf8(encode_rows(&batch).expect("types")[index].clone()).expect("UTF-8")
    };
    assert_eq!(
        row(0),
        "{\"text\":\"Jé 😀\\n\",\"double\":-0.0,\"big\":-9223372036854775808,\"small\":2147483647,\"flag\":true,\
         \"at\":\"2013-01-01T10:15:00Z\",\"features\":{\"mean\":\"NaN\",\"rank\":-1}}"
    );
    assert_eq!(
        row(1),
        r#"{"text":null,"double":null,"big":null,"small":null,"flag":null,"at":"1970-01-01T00:00:00Z","features":null}"#
    );
}

#[test]
fn doubles_take_every_number_and_three_strings() {
    let mut decoder = decoder();
    let cases: [(&str, f64); 12] = [
        ("0", 0.0),
        ("-0", -0.0),
        ("-0.0", -0.0),
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("18446744073709551615", 18_446_744_073_709_551_615.0),
        (
            "123456789012345678901234567890",
            123_456_789_012_345_678_901_234_567_890.0,
        ),
        (
            "2.2250738585072011e-308",
            f64::from_bits(0x000f_ffff_ffff_ffff),
        ),
        ("4.9e-324", 5e-324),
        ("1e-400", 0.0),
        ("\"NaN\"", f64::NAN),
        ("\"Infinity\"", f64::INFINITY),
        ("\"-Infinity\"", f64::NEG_INFINITY),
    ];
    for (text, _) in cases {
        decoder
            .push(&record(format!(r#"{{"at":1,"double":{text}}}"#).as_bytes()))
            .expect(text);
    }
    let batch = decoder.finish().expect("small");
    for (row, (text, expected)) in cases.iter().enumerate() {
        let got = batch.column(1).as_primitive::<Float64Type>().value(row);
        assert_eq!(
            got.to_bits(),
            expected.to_bits(),
            "{text}: {got} and not {expected}"
        );
    }
}

#[test]
fn minus_zero_is_the_integer_zero_and_keeps_its_sign_as_a_double() {
    let mut decoder = decoder();
    for zero in ["-0", "0", "-0.0"] {
        let json = format!(r#"{{"at":{zero},"double":{zero},"big":{zero},"small":{zero}}}"#);
        decoder.push(&record(json.as_bytes())).expect(zero);
    }
    let batch = decoder.finish().expect("small");
    let row = |index: usize| encode_rows(&batch).expect("types")[index].clone();
    let text = |double: &str| {
        format!(
            r#"{{"text":null,"double":{double},"big":0,"small":0,"flag":null,"at":"1970-01-01T00:00:00Z","features":null}}"#
        )
    };
    for (index, double) in ["-0.0", "0.0", "-0.0"].into_iter().enumerate() {
        assert_eq!(String::from_utf8_lossy(&row(index)), text(double));
    }
    for number in ["1.0", "-1.0", "0.0", "1e0"] {
        let (reason, _) = rejected(&format!(r#"{{"at":1,"big":{number}}}"#));
        assert_eq!(reason, Reason::WrongType, "{number}");
    }
}

/// A record, why it is no row, and a part of the words.
type Rejected = (String, Reason, &'static str);

fn deep(depth: usize) -> String {
    format!(
        "{{\"at\":1,\"x\":{}{}}}",
        "[".repeat(depth),
        "]".repeat(depth)
    )
}

fn without_a_row() -> Vec<Rejected> {
    vec![
        ("nonsense".into(), Reason::NotJson, "expected"),
        ("{\"at\":1".into(), Reason::NotJson, "EOF"),
        ("{\"at\":1}{}".into(), Reason::NotJson, "trailing"),
        ("[1]".into(), Reason::NotJson, "an object"),
        ("7".into(), Reason::NotJson, "an object"),
        ("{\"at\":1,\"x\":nul}".into(), Reason::NotJson, "expected"),
        (
            "{\"at\":1,\"double\":NaN}".into(),
            Reason::NotJson,
            "`double`: expected value at line 1 column 18: JSON has no NaN",
        ),
        (
            "{\"at\":1,\n\"double\": -Infinity}".into(),
            Reason::NotJson,
            "write them as \"NaN\", \"Infinity\", \"-Infinity\"",
        ),
        (
            "{\"at\":1,\"x\":Infinity}".into(),
            Reason::NotJson,
            "JSON has no NaN and no infinity",
        ),
        (
            "{\"at\":1,\"at\":2}".into(),
            Reason::NotJson,
            "`at`: occurs twice",
        ),
        (
            "{\"at\":1,\"text\":\"\\ud800\"}".into(),
            Reason::NotJson,
            "`text`",
        ),
        (
            "{\"text\":\"a\"}".into(),
            Reason::MissingColumn,
            "`at`: is NOT NULL and the record lacks it",
        ),
        (
            "{\"at\":null}".into(),
            Reason::MissingColumn,
            "`at`: is NOT NULL and the record has null",
        ),
        (
            "{\"at\":1,\"features\":{\"mean\":1}}".into(),
            Reason::MissingColumn,
            "`features.rank`",
        ),
        (
            "{\"at\":1,\"text\":5}".into(),
            Reason::WrongType,
            "`text`: is VARCHAR and the record has a number",
        ),
        (
            "{\"at\":1,\"double\":\"1.5\"}".into(),
            Reason::WrongType,
            "`double`: is DOUBLE",
        ),
    ]
}

fn of_a_wrong_value() -> Vec<Rejected> {
    vec![
        (
            "{\"at\":1,\"double\":1e400}".into(),
            Reason::WrongType,
            "`double`: the number is beyond",
        ),
        (
            "{\"at\":1,\"big\":1.0}".into(),
            Reason::WrongType,
            "`big`: is BIGINT",
        ),
        (
            "{\"at\":1,\"big\":9223372036854775808}".into(),
            Reason::WrongType,
            "`big`: is BIGINT",
        ),
        (
            "{\"at\":1,\"big\":\"1\"}".into(),
            Reason::WrongType,
            "`big`: is BIGINT and the record has a string",
        ),
        (
            "{\"at\":1,\"small\":2147483648}".into(),
            Reason::WrongType,
            "`small`: is INTEGER",
        ),
        (
            "{\"at\":1,\"flag\":1}".into(),
            Reason::WrongType,
            "`flag`: is BOOLEAN",
        ),
        (
            "{\"at\":1,\"text\":true}".into(),
            Reason::WrongType,
            "a boolean",
        ),
        (
            "{\"at\":1,\"text\":[\"a\"]}".into(),
            Reason::WrongType,
            "an array",
        ),
        (
            "{\"at\":1,\"text\":{}}".into(),
            Reason::WrongType,
            "an object",
        ),
        (
            "{\"at\":1,\"features\":[]}".into(),
            Reason::WrongType,
            "`features`: is an object",
        ),
        (
            "{\"at\":1,\"features\":{\"rank\":1.5}}".into(),
            Reason::WrongType,
            "`features.rank`: is INTEGER",
        ),
        (
            "{\"at\":\"yesterday\"}".into(),
            Reason::WrongType,
            "`at`: is TIMESTAMP",
        ),
        (
            "{\"at\":253402300800000000}".into(),
            Reason::WrongType,
            "years 0000 to 9999",
        ),
        (deep(EVENT_MAX_DEPTH), Reason::TooDeep, "EVENT_MAX_DEPTH"),
    ]
}

#[test]
fn every_reason_names_its_column() {
    for (json, reason, words) in without_a_row().into_iter().chain(of_a_wrong_value()) {
        let (got, detail) = rejected(&json);
        assert_eq!(got, reason, "{json}: {detail}");
        assert!(detail.contains(words), "{json}: {detail}");
    }
    decoder()
        .push(&record(deep(EVENT_MAX_DEPTH - 1).as_bytes()))
        .expect("at the limit of nesting");
    let not_utf8 = decoder()
        .push(&record(b"{\"at\":1,\"x\":\"\xff\"}"))
        .expect_err("bad bytes in a skipped field");
    assert_eq!(not_utf8.reason, Reason::NotJson);
}

#[test]
fn size_absence_and_the_future_are_judged_with_the_record() {
    let push = |record: &Record<'_>| decoder().push(record).map_err(|reject| reject.reason);
    assert_eq!(push(&Record::default()), Err(Reason::NoValue));
    assert_eq!(push(&record(b"")), Err(Reason::NoValue));
    let padded =
        |size: usize| format!("{{\"at\":1,\"x\":\"{}\"}}", "y".repeat(size - 15)).into_bytes();
    assert_eq!(padded(100).len(), 100);
    let with_key = |payload: &[u8], key: &[u8]| {
        decoder()
            .push(&Record {
                key: Some(key),
                payload: Some(payload),
                ..Record::default()
            })
            .map_err(|r| r.reason)
    };
    assert_eq!(with_key(&padded(EVENT_MAX_BYTES - 2), b"ab"), Ok(()));
    assert_eq!(
        with_key(&padded(EVENT_MAX_BYTES - 1), b"ab"),
        Err(Reason::TooLarge)
    );
    let at = |event: Micros, kafka: Option<Micros>| {
        push(&Record {
            payload: Some(format!("{{\"at\":{event}}}").as_bytes()),
            kafka_time_us: kafka,
            ..Record::default()
        })
    };
    assert_eq!(at(600_000_000, Some(0)), Ok(()));
    assert_eq!(at(600_000_001, Some(0)), Err(Reason::FutureTime));
    assert_eq!(
        at(600_000_001, None),
        Ok(()),
        "a record without a time cannot be judged"
    );
    let latest = Record {
        payload: Some(br#"{"at":"9999-12-31T23:59:59.999999Z"}"#),
        kafka_time_us: Some(i64::MAX),
        ..Record::default()
    };
    assert_eq!(push(&latest), Ok(()));
    let mut decoder = decoder();
    let late = Record {
        payload: Some(b"{\"at\":600000001}"),
        kafka_time_us: Some(0),
        ..Record::default()
    };
    let detail = decoder.push(&late).expect_err("future").to_string();
    assert!(detail.contains("`at`"), "{detail}");
}

#[test]
fn a_bad_record_leaves_no_trace_wherever_it_breaks() {
    let good = br#"{"features":{"mean":2.5,"rank":3},"text":"abc","at":1,"flag":false,"big":7,"small":8,"double":1.5}"#;
    let mut clean = decoder();
    clean.push(&record(good)).expect("good");
    clean.push(&record(good)).expect("good");
    let expected = clean.finish().expect("small");
    for cut in 0..good.len() {
        let mut disturbed = decoder();
        disturbed.push(&record(good)).expect("good");
        disturbed
            .push(&record(&good[..cut]))
            .expect_err("cut short");
        disturbed.push(&record(good)).expect("good");
        assert_eq!(disturbed.finish().expect("small"), expected, "cut at {cut}");
    }
}

#[test]
fn the_order_of_fields_does_not_matter_and_may_change() {
    let mut decoder = decoder();
    for json in [
        r#"{"at":1,"big":2,"text":"a"}"#,
        r#"{"text":"a","x":0,"big":2,"at":1}"#,
        r#"{"big":2,"at":1,"text":"a"}"#,
    ] {
        decoder.push(&record(json.as_bytes())).expect(json);
    }
    let batch = decoder.finish().expect("small");
    for row in 0..3 {
        assert_eq!(batch.column(0).as_string::<i32>().value(row), "a");
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().value(row), 2);
        assert_eq!(
            batch
                .column(5)
                .as_primitive::<TimestampMicrosecondType>()
                .value(row),
            1
        );
    }
}

#[test]
fn types_that_json_cannot_hold_are_refused_by_name() {
    let mut source = all_types();
    source.columns[1].data_type = DataType::Float32;
    let error = RecordDecoder::new(&source, 0)
        .expect_err("FLOAT")
        .to_string();
    assert!(
        error.contains("`double`") && error.contains("Float32"),
        "{error}"
    );
    source = all_types();
    source.time_column = 0;
    assert!(
        RecordDecoder::new(&source, 0)
            .expect_err("text as time")
            .to_string()
            .contains("`text`")
    );
}

/// What a row of [`all_types`] holds.
type Row = (
    Option<String>,
    Option<f64>,
    Option<i64>,
    Option<i32>,
    Option<bool>,
    i64,
    Option<(Option<f64>, i32)>,
);

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_map(|v| if v.is_nan() { f64::NAN } else { v }),
        any::<i32>().prop_map(f64::from),
        Just(-0.0),
    ]
}

fn any_row() -> impl Strategy<Value = Row> {
    let text = proptest::option::of(".{0,12}");
    let features = proptest::option::of((proptest::option::of(any_double()), any::<i32>()));
    let option_double = proptest::option::of(any_double());
    (
        text,
        option_double,
        any::<Option<i64>>(),
        any::<Option<i32>>(),
        any::<Option<bool>>(),
        EARLIEST_US..=LATEST_US,
        features,
    )
}

fn batch_of(rows: &[Row]) -> RecordBatch {
    let (mut text, mut double, mut big) = (
        StringBuilder::new(),
        Float64Builder::new(),
        Int64Builder::new(),
    );
    let (mut small, mut flag) = (Int32Builder::new(), BooleanBuilder::new());
    let mut at = TimestampMicrosecondBuilder::new().with_data_type(timestamp_type());
    let (mut mean, mut rank, mut present) =
        (Float64Builder::new(), Int32Builder::new(), Vec::new());
    for row in rows {
        text.append_option(row.0.as_deref());
        double.append_option(row.1);
        big.append_option(row.2);
        small.append_option(row.3);
        flag.append_option(row.4);
        at.append_value(row.5);
        mean.append_option(row.6.and_then(|features| features.0));
        rank.append_option(row.6.map(|features| features.1));
        present.push(row.6.is_some());
    }
    let nested: Vec<ArrayRef> = vec![Arc::new(mean.finish()), Arc::new(rank.finish())];
    let features = StructArray::new(features().into(), nested, Some(NullBuffer::from(present)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(text.finish()),
        Arc::new(double.finish()),
        Arc::new(big.finish()),
        Arc::new(small.finish()),
        Arc::new(flag.finish()),
        Arc::new(at.finish()),
        Arc::new(features),
    ];
    RecordBatch::try_new(all_types().schema(), columns).expect("the schema's types")
}

/// Bits of a double column, NaN being one value.
fn bits(array: &dyn Array) -> Vec<Option<u64>> {
    array
        .as_primitive::<Float64Type>()
        .iter()
        .map(|v| v.map(f64::to_bits))
        .collect()
}

proptest! {
    #[test]
    fn encoded_rows_decode_to_the_same_bits(rows in proptest::collection::vec(any_row(), 0..20)) {
        let batch = batch_of(&rows);
        let mut decoder = decoder();
        for json in encode_rows(&batch).expect("supported types") {
            let reject = decoder.push(&record(&json)).err();
            prop_assert_eq!(reject, None, "{}", String::from_utf8_lossy(&json));
        }
        let back = decoder.finish().expect("small");
        prop_assert_eq!(back.schema(), batch.schema());
        for index in [0, 2, 3, 4, 5] {
            prop_assert_eq!(back.column(index), batch.column(index));
        }
        prop_assert_eq!(bits(back.column(1)), bits(batch.column(1)));
        let (got, expected) = (back.column(6).as_struct(), batch.column(6).as_struct());
        prop_assert_eq!(got.nulls().map(NullBuffer::null_count).unwrap_or(0), expected.null_count());
        prop_assert_eq!(got.column(1), expected.column(1));
        prop_assert_eq!(bits(got.column(0)), bits(expected.column(0)));
    }

    #[test]
    fn hostile_bytes_neither_panic_nor_disturb(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = decoder();
        decoder.push(&record(br#"{"at":1,"text":"before"}"#)).expect("good");
        let taken = usize::from(decoder.push(&record(&noise)).is_ok());
        decoder.push(&record(br#"{"at":2,"text":"after"}"#)).expect("good");
        let batch = decoder.finish().expect("small");
        prop_assert_eq!(batch.num_rows(), 2 + taken);
        prop_assert_eq!(batch.column(0).as_string::<i32>().value(0), "before");
        prop_assert_eq!(batch.column(0).as_string::<i32>().value(1 + taken), "after");
    }
}
