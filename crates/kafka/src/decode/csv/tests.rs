//! Lines against hand-written cases and against a second reader of CSV.

use arrow_schema::DataType;
use forebay_core::dead_letter::DeadLetterReason as Reason;
use forebay_core::format::SourceFormat;
use forebay_core::source::Column;
use forebay_core::time::timestamp_type;
use proptest::prelude::*;

use super::super::{Record, RecordDecoder};
use super::*;
use crate::encode_rows;

fn plain() -> Csv {
    Csv {
        delimiter: b',',
        quote: b'"',
        null: String::new(),
    }
}

/// The fields of `text`, each with whether it had quotes.
fn fields(text: &str) -> Result<Vec<(String, bool)>, Reject> {
    let mut line = plain().line(text.as_bytes())?;
    let mut fields = Vec::new();
    while let Some(field) = line.next()? {
        fields.push((field.text.into_owned(), field.quoted));
    }
    Ok(fields)
}

#[test]
fn a_line_is_cut_at_its_delimiters_outside_of_quotes() {
    let bare = |text: &str| (text.to_owned(), false);
    let quoted = |text: &str| (text.to_owned(), true);
    for (line, expected) in [
        ("a,b", vec![bare("a"), bare("b")]),
        ("a,b\r\n", vec![bare("a"), bare("b")]),
        (",", vec![bare(""), bare("")]),
        ("\"\",", vec![quoted(""), bare("")]),
        (
            "\"a,\"\"b\"\"\n\",c\n",
            vec![quoted("a,\"b\"\n"), bare("c")],
        ),
        (" é , 1", vec![bare(" é "), bare(" 1")]),
    ] {
        assert_eq!(fields(line).expect(line), expected, "{line:?}");
    }
}

#[test]
fn what_is_no_line_is_refused_with_what_to_write() {
    for (line, reason, words) in [
        (
            "a\nb",
            Reason::NotOneRow,
            "more than one line; an offset names one row",
        ),
        ("a\r\nb\r\n", Reason::NotOneRow, "more than one line"),
        ("\"a\"\nb", Reason::NotOneRow, "more than one line"),
        ("\"a", Reason::NotCsv, "closing quote is missing"),
        ("\"a\"b", Reason::NotCsv, "goes on behind its closing quote"),
        ("5\" pipe", Reason::NotCsv, "write the field in quotes"),
    ] {
        let reject = fields(line).expect_err(line);
        assert_eq!(reject.reason, reason, "{line:?}: {reject}");
        assert!(reject.to_string().contains(words), "{line:?}: {reject}");
    }
}

fn source(options: &[(&str, &str)]) -> SourceDef {
    let column = |name: &str, data_type| Column {
        name: name.to_owned(),
        data_type,
        nullable: name != "at",
    };
    let columns = vec![
        column("at", timestamp_type()),
        column("text", DataType::Utf8),
        column("double", DataType::Float64),
        column("big", DataType::Int64),
        column("flag", DataType::Boolean),
    ];
    SourceDef {
        format: SourceFormat::new("csv", options.iter().copied()).expect("options"),
        ..SourceDef::json("lines", "lines", columns, 0)
    }
}

/// What `line` is as a row, as JSON, or why it is none.
fn row(options: &[(&str, &str)], line: &str) -> Result<String, (Reason, String)> {
    let mut decoder = RecordDecoder::new(&source(options), 0).expect("supported types");
    let record = Record {
        payload: Some(line.as_bytes()),
        ..Record::default()
    };
    let pushed = decoder.push(&record);
    pushed.map_err(|reject| (reject.reason, reject.to_string()))?;
    let batch = decoder.finish().expect("small");
    let json = encode_rows(&batch).expect("types").remove(0);
    let json = String::from_utf8(json).expect("UTF-8");
    Ok(json
        .replace(r#"{"at":"1970-01-01T00:00:00Z","#, "")
        .replace('}', ""))
}

#[test]
fn fields_become_values_of_their_columns() {
    let none = r#""double":null,"big":null,"flag":null"#;
    for (line, expected) in [
        ("0,,,,", format!(r#""text":null,{none}"#)),
        ("0,\"\"", format!(r#""text":"",{none}"#)),
        ("0", format!(r#""text":null,{none}"#)),
        ("1970-01-01 00:00:00,0", format!(r#""text":"0",{none}"#)),
        (
            "0,,-0,-0,TRUE",
            r#""text":null,"double":-0.0,"big":0,"flag":true"#.to_owned(),
        ),
        (
            "0,,+1.5e1,+007,false",
            r#""text":null,"double":15.0,"big":7,"flag":false"#.to_owned(),
        ),
        (
            "0,,-Infinity",
            r#""text":null,"double":"-Infinity","big":null,"flag":null"#.to_owned(),
        ),
    ] {
        assert_eq!(row(&[], line), Ok(expected), "{line}");
    }
    let options = [("delimiter", "\\t"), ("quote", "'"), ("null", "NULL")];
    let line = "0\t'NULL'\tNULL\t1\t";
    let (reason, words) = row(&options, line).expect_err("an empty flag is none here");
    assert_eq!(
        (reason, words.contains("`flag`")),
        (Reason::WrongType, true)
    );
    let line = "0\t'it''s NULL'\tNULL\t1\tNULL";
    let expected = r#""text":"it's NULL","double":null,"big":1,"flag":null"#;
    assert_eq!(row(&options, line), Ok(expected.to_owned()));
}

#[test]
fn a_value_that_its_column_cannot_hold_is_refused_by_name() {
    for (line, reason, words) in [
        (
            ",a",
            Reason::MissingColumn,
            "`at`: is NOT NULL and the record has null",
        ),
        (
            "0,,1_000",
            Reason::WrongType,
            "`double`: is DOUBLE and the record has a field that is no number",
        ),
        ("0,,inf", Reason::WrongType, "no number"),
        ("0,, 1", Reason::WrongType, "no number"),
        ("0,,1e400", Reason::WrongType, "beyond the largest DOUBLE"),
        (
            "0,,,1.0",
            Reason::WrongType,
            "`big`: is BIGINT and the record has a field that is no integer",
        ),
        (
            "0,,,9223372036854775808",
            Reason::WrongType,
            "a number out of its range",
        ),
        ("0,,,,1", Reason::WrongType, "neither true nor false"),
        ("yesterday", Reason::WrongType, "write 2013-01-01T05:15:00Z"),
        ("0,a,b", Reason::WrongType, "no number"),
        ("0,a,b,1,true,", Reason::NotCsv, "more than 5 fields"),
        (
            "0,,,,,",
            Reason::NotCsv,
            "more than 5 fields, one for each column",
        ),
    ] {
        let (got, text) = row(&[], line).expect_err(line);
        assert_eq!(got, reason, "{line}: {text}");
        assert!(text.contains(words), "{line}: {text}");
    }
}

proptest! {
    #[test]
    fn a_line_that_is_taken_is_read_as_another_reader_reads_it(line in "[ab,\"\r\n\u{e9}]{1,16}") {
        if let Ok(fields) = fields(&line) {
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .from_reader(line.as_bytes());
            let mut records = reader.records();
            let first = records.next();
            let ours: Vec<&str> = fields.iter().map(|(text, _)| text.as_str()).collect();
            // An empty line is no record there; here it is one of an empty field.
            match first {
                None => prop_assert_eq!(ours, [""]),
                Some(record) => {
                    let record = record.expect("UTF-8");
                    prop_assert_eq!(ours, record.iter().collect::<Vec<_>>());
                    prop_assert!(records.next().is_none(), "one line");
                }
            }
        }
    }

    #[test]
    fn what_another_writer_writes_is_taken(fields_in in proptest::collection::vec("[ab,\"\r\n\u{e9}]{0,6}", 2..6)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&fields_in).expect("memory");
        let line = String::from_utf8(writer.into_inner().expect("memory")).expect("UTF-8");
        let read = fields(&line).map_err(|reject| TestCaseError::fail(reject.to_string()))?;
        let read: Vec<String> = read.into_iter().map(|(text, _)| text).collect();
        prop_assert_eq!(read, fields_in);
    }
}
