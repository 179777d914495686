//! Arrays: the same value is the same array or the same refusal in JSON and in Arrow's layouts, a
//! record that is refused in the middle of one leaves nothing behind, and CSV has none.

use std::collections::BTreeMap;

use arrow_array::builder::{
    FixedSizeListBuilder, Float64Builder, LargeListBuilder, ListBuilder, StringBuilder,
};
use arrow_array::{Int64Array, ListArray};
use arrow_ipc::writer::StreamWriter;
use forebay_core::domain::Domain;
use forebay_core::format::SourceFormat;
use forebay_core::limits::ARRAY_MAX_ITEMS;
use forebay_core::value::list_type;

use super::super::encode_events;
use super::super::guess::Guess;
use super::*;

fn source_of(format: &str) -> SourceDef {
    let columns = vec![
        column("at", timestamp_type(), false),
        column("tags", list_type(DataType::Utf8), true),
        column("real", list_type(DataType::Float64), true),
        column("ids", list_type(DataType::Int64), true),
    ];
    SourceDef {
        format: SourceFormat::new(format, []).expect("a format with its defaults"),
        domains: BTreeMap::from([
            ("tags".to_owned(), Domain::Text(3)),
            ("real".to_owned(), Domain::Real),
        ]),
        ..SourceDef::json("arrays", "arrays", columns, 0)
    }
}

fn decoder_of(format: &str) -> RecordDecoder {
    RecordDecoder::new(&source_of(format), 0).expect("supported types")
}

fn rows_of(decoder: &mut RecordDecoder) -> Vec<String> {
    let batch = decoder.finish().expect("small");
    let rows = encode_rows(&batch).expect("types").into_iter();
    rows.map(|row| String::from_utf8(row).expect("UTF-8"))
        .collect()
}

/// The row that `fields` are, in one batch with rows before and behind it; or why it is none.
fn decoded(fields: &str) -> Result<String, String> {
    let mut decoder = decoder_of("json");
    let good = r#"{"at":"1970-01-01T00:00:00Z","tags":["a",null],"ids":[1]}"#;
    let push = |decoder: &mut RecordDecoder, json: &str| {
        let pushed = decoder.push(&record(json.as_bytes()));
        pushed.map_err(|reject| reject.to_string())
    };
    push(&mut decoder, good).expect("a row");
    let pushed = push(
        &mut decoder,
        &format!(r#"{{"at":"1970-01-01T00:00:00Z",{fields}}}"#),
    );
    push(&mut decoder, good).expect("a row");
    let mut rows = rows_of(&mut decoder);
    let around = r#""tags":["a",null],"real":null,"ids":[1]"#;
    assert!(
        rows.first().is_some_and(|row| row.contains(around)),
        "{rows:?}"
    );
    assert!(
        rows.pop().is_some_and(|row| row.contains(around)),
        "{fields}"
    );
    pushed.map(|()| {
        rows.remove(1)
            .replace(r#""at":"1970-01-01T00:00:00Z","#, "")
    })
}

#[test]
fn arrays_of_json_come_item_by_item() {
    for (fields, expected) in [
        (r#""tags":[]"#, r#"{"tags":[],"real":null,"ids":null}"#),
        (r#""tags":null"#, r#"{"tags":null,"real":null,"ids":null}"#),
        (
            r#""tags":["\u00e9",null,""],"ids":[-1,9223372036854775807]"#,
            r#"{"tags":["é",null,""],"real":null,"ids":[-1,9223372036854775807]}"#,
        ),
        (
            r#""real":[0.1,null,"NaN",-0.0,1]"#,
            r#"{"tags":null,"real":[0.10000000149011612,null,"NaN",-0.0,1.0],"ids":null}"#,
        ),
        // The field of the very name wins, whatever the other one holds.
        (
            r#""Ids":[1,"x",[2]],"ids":[7]"#,
            r#"{"tags":null,"real":null,"ids":[7]}"#,
        ),
        (r#""Ids":[3]"#, r#"{"tags":null,"real":null,"ids":[3]}"#),
    ] {
        assert_eq!(decoded(fields).as_deref(), Ok(expected), "{fields}");
    }
}

#[test]
fn what_is_no_array_or_no_item_is_refused_by_name_and_leaves_nothing_behind() {
    let many = vec!["1"; ARRAY_MAX_ITEMS + 1].join(",");
    let most = vec!["1"; ARRAY_MAX_ITEMS].join(",");
    assert!(decoded(&format!(r#""ids":[{most}]"#)).is_ok());
    for (fields, words) in [
        (
            r#""tags":"a""#,
            "`tags`: is VARCHAR[] and the record has a string",
        ),
        (
            r#""tags":{"a":1}"#,
            "`tags`: is VARCHAR[] and the record has an object",
        ),
        (
            r#""ids":3"#,
            "`ids`: is BIGINT[] and the record has a number",
        ),
        (
            r#""ids":[1,2.5]"#,
            "`ids`: has items of type BIGINT and the record has",
        ),
        (
            r#""ids":[1,[2]]"#,
            "`ids`: has items of type BIGINT and the record has an array",
        ),
        (
            r#""ids":[1,{"a":[2]}]"#,
            "has items of type BIGINT and the record has an object",
        ),
        (r#""ids":[1,2"#, "expected `,` or `]`"),
        (r#""ids":[1 2]"#, "expected"),
        (
            r#""tags":["abc","abcd"]"#,
            "`tags`: has items of type VARCHAR(3) and the record has 4 characters",
        ),
        (
            r#""real":[1e39]"#,
            "`real`: the number is beyond the largest REAL",
        ),
        (
            &format!(r#""ids":[{many}]"#),
            "an array of 1025 items, more than 1024 (ARRAY_MAX_ITEMS)",
        ),
        (&format!(r#""Ids":[{many}]"#), "(ARRAY_MAX_ITEMS)"),
    ] {
        let found = decoded(fields).expect_err(words);
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn guesses_inside_an_array_are_counted_for_its_column() {
    let mut decoder = decoder_of("json");
    let json = br#"{"at":"1970-01-01T00:00:00Z","real":["NaN","NaN"],"tags":[],"ids":[]}"#;
    decoder.push(&record(json)).expect("a row");
    let guesses = decoder.take_guesses();
    let texts = guesses.iter().find(|g| g.guess == Guess::TextNumber);
    assert_eq!(
        texts.map(|g| (g.column.as_str(), g.count)),
        Some(("real", 2))
    );
}

fn stream_of(name: &str, array: ArrayRef) -> Vec<u8> {
    let at: ArrayRef = Arc::new(StringArray::from(vec!["1970-01-01T00:00:00Z"]));
    let rows = RecordBatch::try_from_iter([("at", at), (name, array)]).expect("a row");
    let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref()).expect("memory");
    writer.write(&rows).expect("memory");
    writer.into_inner().expect("memory")
}

fn from_arrow(name: &str, array: ArrayRef) -> Result<String, String> {
    let mut decoder = decoder_of("arrow");
    let pushed = decoder.push(&record(&stream_of(name, array)));
    pushed.map_err(|reject| reject.to_string())?;
    Ok(rows_of(&mut decoder).remove(0))
}

#[test]
fn arrays_of_arrow_come_in_every_layout() {
    let tags = |items: &[Option<&str>]| -> [ArrayRef; 2] {
        let mut small = ListBuilder::new(StringBuilder::new());
        let mut large = LargeListBuilder::new(StringBuilder::new());
        small.append_value(items.iter().copied());
        large.append_value(items.iter().copied());
        [Arc::new(small.finish()), Arc::new(large.finish())]
    };
    for array in tags(&[Some("a"), None]) {
        let row = from_arrow("tags", array).expect("a row");
        assert!(row.contains(r#""tags":["a",null]"#), "{row}");
    }
    let mut fixed = FixedSizeListBuilder::new(Float64Builder::new(), 2);
    fixed.values().append_value(0.1);
    fixed.values().append_null();
    fixed.append(true);
    let row = from_arrow("real", Arc::new(fixed.finish())).expect("a row");
    assert!(
        row.contains(r#""real":[0.10000000149011612,null]"#),
        "{row}"
    );
    let null: ArrayRef = Arc::new(ListArray::new_null(
        Arc::new(Field::new_list_field(DataType::Int64, true)),
        1,
    ));
    let row = from_arrow("ids", null).expect("a row");
    assert!(row.contains(r#""ids":null"#), "{row}");
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let many = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![
        Some(1);
        ARRAY_MAX_ITEMS + 1
    ])]);
    let [list, _] = tags(&[Some("abcd")]);
    let [text, _] = tags(&[Some("1")]);
    for (name, array, words) in [
        (
            "ids",
            number,
            "`ids`: is BIGINT[] and the record has a number",
        ),
        ("ids", Arc::new(many) as ArrayRef, "(ARRAY_MAX_ITEMS)"),
        (
            "ids",
            text,
            "`ids`: has items of type BIGINT and the record has a string",
        ),
        ("tags", list, "VARCHAR(3) and the record has 4 characters"),
    ] {
        let found = from_arrow(name, array).expect_err(words);
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn arrays_are_written_as_they_are_read() {
    let mut decoder = decoder_of("json");
    for fields in [r#""tags":["a",null],"ids":[]"#, r#""real":[0.5,"NaN"]"#] {
        let json = format!(r#"{{"at":"1970-01-01T00:00:00Z",{fields}}}"#);
        decoder.push(&record(json.as_bytes())).expect("a row");
    }
    let batch = decoder.finish().expect("small");
    for format in ["json", "arrow"] {
        let mut decoder = decoder_of(format);
        for payload in encode_events(&source_of(format), &batch).expect("arrays") {
            decoder.push(&record(&payload)).expect("what was written");
        }
        assert_eq!(decoder.finish().expect("small"), batch, "{format}");
    }
    let error = RecordDecoder::new(&source_of("csv"), 0).expect_err("no arrays");
    assert!(error.to_string().contains("`tags`"), "{error}");
    assert!(encode_events(&source_of("csv"), &batch).is_err());
}
