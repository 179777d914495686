//! Streams of every type that a producer may have, and those that are no row.

use arrow_array::builder::{ListBuilder, StringDictionaryBuilder};
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float16Array, Float32Array, Float64Array, Int8Array,
    Int64Array, LargeStringArray, NullArray, StringArray, StringViewArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt32Array,
    UInt64Array,
};
use forebay_core::dead_letter::DeadLetterReason as Reason;
use forebay_core::format::SourceFormat;
use forebay_core::source::Column as SourceColumn;
use forebay_core::time::timestamp_type;

use super::super::guess::Guess;
use super::super::{Record, RecordDecoder};
use super::*;
use crate::encode_rows;

fn decoder() -> RecordDecoder {
    let column = |name: &str, data_type| SourceColumn {
        name: name.to_owned(),
        data_type,
        nullable: true,
    };
    let columns = vec![
        SourceColumn {
            nullable: false,
            ..column("at", timestamp_type())
        },
        column("text", DataType::Utf8),
        column("double", DataType::Float64),
        column("big", DataType::Int64),
        column("small", DataType::Int32),
    ];
    let source = SourceDef {
        format: SourceFormat::new("arrow", []).expect("a format"),
        ..SourceDef::json("rows", "rows", columns, 0)
    };
    RecordDecoder::new(&source, 0).expect("supported types")
}

fn streams(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), batches[0].schema_ref()).expect("memory");
    for batch in batches {
        writer.write(batch).expect("memory");
    }
    writer.into_inner().expect("memory")
}

fn push(decoder: &mut RecordDecoder, payload: &[u8]) -> Result<(), (Reason, String)> {
    let record = Record {
        payload: Some(payload),
        ..Record::default()
    };
    let pushed = decoder.push(&record);
    pushed.map_err(|reject| (reject.reason, reject.to_string()))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn seconds(at: i64) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(vec![at]).with_timezone("UTC"))
}

/// A record of `columns` and a time: as JSON, or why it is no row.
fn row(columns: Vec<(&str, ArrayRef)>) -> Result<String, (Reason, String)> {
    let mut decoder = decoder();
    let columns = columns.into_iter().chain([("at", seconds(0))]);
    push(&mut decoder, &streams(&[batch(columns.collect())]))?;
    let json = encode_rows(&decoder.finish().expect("small")).expect("types");
    Ok(String::from_utf8(json.concat()).expect("UTF-8"))
}

#[test]
fn values_of_every_type_become_those_of_the_columns() {
    let cases: Vec<(&str, ArrayRef, &str)> = vec![
        ("text", Arc::new(StringArray::from(vec!["a"])), r#""a""#),
        (
            "text",
            Arc::new(LargeStringArray::from(vec!["é"])),
            r#""é""#,
        ),
        (
            "text",
            Arc::new(StringViewArray::from(vec!["longer than twelve"])),
            r#""longer than twelve""#,
        ),
        ("text", Arc::new(NullArray::new(1)), "null"),
        (
            "double",
            Arc::new(Float16Array::from_iter_values([half(1.5)])),
            "1.5",
        ),
        (
            "double",
            Arc::new(Float32Array::from(vec![0.1_f32])),
            "0.10000000149011612",
        ),
        ("double", Arc::new(Float64Array::from(vec![-0.0])), "-0.0"),
        (
            "double",
            Arc::new(Float64Array::from(vec![f64::from_bits(
                0xfff8_0000_0000_0001,
            )])),
            r#""NaN""#,
        ),
        (
            "double",
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "1.8446744073709552e+19",
        ),
        (
            "double",
            Arc::new(StringArray::from(vec!["-Infinity"])),
            r#""-Infinity""#,
        ),
        (
            "big",
            Arc::new(UInt32Array::from(vec![u32::MAX])),
            "4294967295",
        ),
        ("big", Arc::new(UInt64Array::from(vec![7])), "7"),
        ("small", Arc::new(Int8Array::from(vec![-8])), "-8"),
        ("small", Arc::new(Int64Array::from(vec![-8])), "-8"),
    ];
    for (name, value, expected) in cases {
        let kind = value.data_type().clone();
        let json = row(vec![(name, value)]).expect(name);
        let cell = format!(r#""{name}":{expected}"#);
        assert!(json.contains(&cell), "{kind}: {json} has no {cell}");
    }
}

fn half(value: f32) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_f32(value)
}

#[test]
fn values_that_do_not_fit_are_refused_by_the_column() {
    let mut list = ListBuilder::new(arrow_array::builder::Int32Builder::new());
    list.append_value([Some(1), None]);
    let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
    dictionary.append_value("a");
    let cases: Vec<(&str, ArrayRef, &str)> = vec![
        (
            "small",
            Arc::new(Int64Array::from(vec![1 << 31])),
            "a number out of its range",
        ),
        (
            "big",
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "a number that is no integer",
        ),
        (
            "big",
            Arc::new(Float64Array::from(vec![1.0])),
            "a number that is no integer",
        ),
        (
            "text",
            Arc::new(BooleanArray::from(vec![true])),
            "a boolean",
        ),
        ("text", seconds(0), "a time"),
        ("text", Arc::new(list.finish()), "an array"),
        (
            "text",
            Arc::new(dictionary.finish()),
            "which no column takes",
        ),
        ("big", Arc::new(Date32Array::from(vec![1])), "a date"),
    ];
    for (name, value, words) in cases {
        let (reason, text) = row(vec![(name, value)]).expect_err(words);
        assert_eq!(reason, Reason::WrongType, "{text}");
        assert!(
            text.contains(&format!("`{name}`")) && text.contains(words),
            "{text}"
        );
    }
    let mut list = ListBuilder::new(arrow_array::builder::Int32Builder::new());
    list.append_value([Some(1), None]);
    let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
    dictionary.append_value("a");
    let others: Vec<(&str, ArrayRef)> = vec![
        ("list", Arc::new(list.finish())),
        ("dictionary", Arc::new(dictionary.finish())),
        ("text", Arc::new(StringArray::from(vec!["a"]))),
    ];
    let json = row(others).expect("what no column names is skipped, whatever its type");
    assert!(json.contains(r#""text":"a""#), "{json}");
}

#[test]
fn a_time_is_the_same_moment_in_every_unit() {
    let mut decoder = decoder();
    let times: Vec<ArrayRef> = vec![
        seconds(-1),
        Arc::new(TimestampMillisecondArray::from(vec![-1_000]).with_timezone("+02:00")),
        Arc::new(TimestampNanosecondArray::from(vec![-999_999_001])),
        Arc::new(StringArray::from(vec!["1969-12-31T23:59:59Z"])),
        Arc::new(Int64Array::from(vec![-1_000_000])),
    ];
    for time in times {
        push(&mut decoder, &streams(&[batch(vec![("at", time)])])).expect("a time");
    }
    let guesses = decoder
        .take_guesses()
        .into_iter()
        .filter(|g| g.column == "at");
    let guesses: Vec<(Guess, u64)> = guesses.map(|g| (g.guess, g.count)).collect();
    let expected = [
        (Guess::IntegerTime, 1),
        (Guess::TimeWithoutZone, 1),
        (Guess::TimeCut, 1),
    ];
    assert_eq!(guesses, expected);
    let rows = decoder.finish().expect("small");
    let times = rows.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values()[..], [-1_000_000; 5]);
    for beyond in [i64::MAX, 253_402_300_800, i64::MIN] {
        let payload = streams(&[batch(vec![("at", seconds(beyond))])]);
        let (reason, words) = push(&mut decoder, &payload).expect_err("beyond the years");
        assert_eq!(reason, Reason::WrongType);
        assert!(words.contains("outside the years 0000 to 9999"), "{words}");
    }
}

#[test]
fn a_record_is_one_row_and_says_how_many_it_has_else() {
    let mut decoder = decoder();
    let one = batch(vec![("at", seconds(0))]);
    let none = one.slice(0, 0);
    for (batches, rows) in [
        (vec![none.clone()], "has 0 rows"),
        (vec![one.clone(), one.clone(), one.clone()], "has 3 rows"),
        (
            vec![batch(vec![(
                "at",
                Arc::new(TimestampSecondArray::from(vec![0, 1])) as ArrayRef,
            )])],
            "has 2 rows",
        ),
    ] {
        let (reason, words) = push(&mut decoder, &streams(&batches)).expect_err(rows);
        assert_eq!(reason, Reason::NotOneRow);
        assert!(
            words.contains(rows) && words.contains("send each as a record of its own"),
            "{words}"
        );
    }
    push(&mut decoder, &streams(&[none.clone(), one, none])).expect("an empty batch has no row");
}

#[test]
fn a_record_has_columns_up_to_a_limit() {
    let wide = |columns: usize| {
        let names: Vec<String> = (0..columns - 1).map(|n| format!("c{n}")).collect();
        let value: ArrayRef = Arc::new(NullArray::new(1));
        let mut all: Vec<(&str, ArrayRef)> = vec![("at", seconds(0))];
        all.extend(names.iter().map(|name| (name.as_str(), Arc::clone(&value))));
        streams(&[RecordBatch::try_from_iter_with_nullable(
            all.into_iter().map(|(name, value)| (name, value, true)),
        )
        .expect("columns of one row")])
    };
    let mut decoder = decoder();
    push(&mut decoder, &wide(ARROW_RECORD_MAX_FIELDS)).expect("at the limit");
    let payload = wide(ARROW_RECORD_MAX_FIELDS + 1);
    assert!(payload.len() < EVENT_MAX_BYTES);
    let (reason, words) = push(&mut decoder, &payload).expect_err("beyond the limit");
    assert_eq!(reason, Reason::NotArrow);
    assert!(words.contains("ARROW_RECORD_MAX_FIELDS"), "{words}");
}

#[test]
fn what_is_no_stream_is_refused_as_that() {
    let mut decoder = decoder();
    let good = streams(&[batch(vec![("at", seconds(0))])]);
    let mut behind = good.clone();
    behind.push(0);
    let mut broken = good.clone();
    broken[8..12].fill(0xff);
    for (payload, words) in [
        (&b"{\"at\":1}"[..], "no message begins where one must"),
        (&b"ARROW1"[..], "cut short"),
        (&CONTINUATION[..], "cut short"),
        (
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            "ends before its schema",
        ),
        (&good[..good.len() - 20], "cut short"),
        (&behind, "behind the stream's end"),
        (&broken, "malformed"),
        (&good[..good.len() / 2 / 8 * 8], "cut short"),
    ] {
        let (reason, text) = push(&mut decoder, payload).expect_err(words);
        assert_eq!(reason, Reason::NotArrow, "{text}");
        assert!(text.contains(words), "{text} has not: {words}");
    }
    push(&mut decoder, &good[..good.len() - PREFIX_BYTES])
        .expect("a stream may end without a mark");
    push(&mut decoder, &good).expect("the good one");
}
