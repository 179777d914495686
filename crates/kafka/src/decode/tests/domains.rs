//! Columns whose declared type admits less than the type that keeps them: the same value is the
//! same cell or the same refusal in every format.

use std::collections::BTreeMap;

use arrow_array::{
    Date32Array, Date64Array, Float32Array, Float64Array, Int64Array, TimestampNanosecondArray,
};
use arrow_ipc::writer::StreamWriter;
use forebay_core::domain::Domain;
use forebay_core::format::SourceFormat;

use super::super::guess::Guess;
use super::*;

fn source_of(format: &str) -> SourceDef {
    let columns = vec![
        column("at", timestamp_type(), false),
        column("small", DataType::Int32, true),
        column("real", DataType::Float64, true),
        column("text", DataType::Utf8, true),
        column("seen", timestamp_type(), true),
        column("day", DataType::Date32, true),
    ];
    let domains = [
        ("small", Domain::SmallInt),
        ("real", Domain::Real),
        ("text", Domain::Text(3)),
        ("seen", Domain::Time(3)),
    ];
    SourceDef {
        format: SourceFormat::new(format, []).expect("a format with its defaults"),
        domains: BTreeMap::from(domains.map(|(name, domain)| (name.to_owned(), domain))),
        ..SourceDef::json("narrow", "narrow", columns, 0)
    }
}

/// The row as JSON without its time, and what was guessed; or why it is none.
fn decoded(format: &str, payload: &[u8]) -> Result<(String, Vec<Guess>), String> {
    let mut decoder = RecordDecoder::new(&source_of(format), 0).expect("supported types");
    let pushed = decoder.push(&record(payload));
    let guesses = decoder.take_guesses();
    let batch = decoder.finish().expect("small");
    pushed.map_err(|reject| reject.to_string())?;
    let json = encode_rows(&batch).expect("types").remove(0);
    let json = String::from_utf8(json).expect("UTF-8");
    let mut guesses: Vec<Guess> = guesses.iter().map(|g| g.guess).collect();
    guesses.retain(|guess| *guess != Guess::Absent);
    Ok((json.replace(r#""at":"1970-01-01T00:00:00Z","#, ""), guesses))
}

/// A record that has `value` in the column `name` alone, beside its time.
fn written(format: &str, name: &str, value: &str) -> Vec<u8> {
    let at = "1970-01-01T00:00:00Z";
    if format == "json" {
        return format!(r#"{{"at":"{at}","{name}":{value}}}"#).into_bytes();
    }
    let place = ["at", "small", "real", "text", "seen", "day"]
        .iter()
        .position(|n| *n == name);
    let empty = ",".repeat(place.expect("a column"));
    format!("{at}{empty}{}", value.trim_matches('"')).into_bytes()
}

/// The DOUBLE nearest to it lies halfway between two REALs, and it does not.
const TWICE: &str = "1.00000005960464480";

type Expected = Result<&'static str, &'static str>;

/// A column, a value in it, and what is in the row or in the words of the refusal.
const CASES: &[(&str, &str, Expected)] = &[
    ("small", "32767", Ok(r#""small":32767"#)),
    ("small", "-32768", Ok(r#""small":-32768"#)),
    (
        "small",
        "32768",
        Err("is SMALLINT and the record has a number out of its range"),
    ),
    (
        "small",
        "99999999999",
        Err("is SMALLINT and the record has a number out of its range"),
    ),
    ("real", "0.1", Ok(r#""real":0.10000000149011612"#)),
    ("real", TWICE, Ok(r#""real":1.0000001192092896"#)),
    ("real", "-0", Ok(r#""real":-0.0"#)),
    ("real", "1e-60", Ok(r#""real":0.0"#)),
    ("real", "16777217", Ok(r#""real":16777216.0"#)),
    (
        "real",
        "3.4028235e38",
        Ok(r#""real":3.4028234663852886e+38"#),
    ),
    (
        "real",
        "3.5e38",
        Err("the number is beyond the largest REAL"),
    ),
    (
        "real",
        "1e999",
        Err("the number is beyond the largest REAL"),
    ),
    ("real", r#""Infinity""#, Ok(r#""real":"Infinity""#)),
    ("real", r#""x""#, Err("is REAL and the record has")),
    ("text", r#""äöü""#, Ok(r#""text":"äöü""#)),
    (
        "text",
        r#""äöüß""#,
        Err("is VARCHAR(3) and the record has 4 characters"),
    ),
    (
        "seen",
        r#""1969-12-31T23:59:59.9999Z""#,
        Ok(r#""seen":"1969-12-31T23:59:59.999000Z""#),
    ),
    (
        "seen",
        "1999",
        Ok(r#""seen":"1970-01-01T00:00:00.001000Z""#),
    ),
    ("day", r#""2024-02-29""#, Ok(r#""day":"2024-02-29""#)),
    ("day", r#""0001-01-01""#, Ok(r#""day":"0001-01-01""#)),
    (
        "day",
        r#""2023-02-29""#,
        Err("is DATE and the record has a string that is no date; write 2024-05-01"),
    ),
    ("day", r#""0000-01-01""#, Err("a string that is no date")),
    (
        "day",
        r#""2024-02-29T00:00:00Z""#,
        Err("a string that is no date"),
    ),
    ("day", "19782", Err("is DATE and the record has")),
];

#[test]
fn a_narrow_type_takes_what_it_holds_and_names_itself_where_it_does_not() {
    for (name, value, expected) in CASES {
        for format in ["json", "csv"] {
            let found = decoded(format, &written(format, name, value));
            let found = found.map(|(row, _)| row);
            match expected {
                Ok(cell) => {
                    let row = found.unwrap_or_else(|e| panic!("{format} {value}: {e}"));
                    assert!(row.contains(cell), "{format} {value}: {row}");
                }
                Err(words) => {
                    let error = found.expect_err(value);
                    assert!(error.contains(&format!("`{name}`")), "{format}: {error}");
                    assert!(error.contains(words), "{format} {value}: {error}");
                }
            }
        }
    }
}

#[test]
fn what_is_rounded_or_dropped_is_counted() {
    for (name, value, guess) in [
        ("real", "16777217", Some(Guess::RoundedInteger)),
        ("real", "16777216", None),
        ("real", "0.1", None),
        ("real", "18446744073709551615", Some(Guess::RoundedInteger)),
        ("seen", r#""1970-01-01T00:00:00.001Z""#, None),
        (
            "seen",
            r#""1970-01-01T00:00:00.0019Z""#,
            Some(Guess::TimeCut),
        ),
    ] {
        for format in ["json", "csv"] {
            let (_, guesses) = decoded(format, &written(format, name, value)).expect(value);
            assert_eq!(guesses, Vec::from_iter(guess), "{format} {value}");
        }
    }
}

#[test]
fn a_value_of_a_narrow_column_in_json_is_json() {
    for (json, words) in [
        (
            r#"{"at":0,"real":[1]}"#,
            "is REAL and the record has an array",
        ),
        (
            r#"{"at":0,"real":{"a":1}}"#,
            "is REAL and the record has an object",
        ),
        (
            r#"{"at":0,"real":true}"#,
            "is REAL and the record has a boolean",
        ),
        (r#"{"at":0,"real":01}"#, ""),
        (r#"{"at":0,"real":1.}"#, ""),
        (r#"{"at":0,"real":"#, ""),
    ] {
        let error = decoded("json", json.as_bytes()).expect_err(json);
        assert!(error.contains(words), "{json}: {error}");
    }
    let other = decoded("json", br#"{"at":0,"REAL":[1],"real":0.5}"#).expect("the very name");
    assert!(other.0.contains(r#""real":0.5"#), "{other:?}");
    let none = decoded("json", br#"{"at":0,"real":null}"#).expect("nullable");
    assert!(none.0.contains(r#""real":null"#), "{none:?}");
}

/// Assert what becomes of columns of Arrow.
fn check_arrow(cases: impl IntoIterator<Item = (&'static str, ArrayRef, Expected)>) {
    let row = |name: &str, value: ArrayRef| {
        let at: ArrayRef = Arc::new(StringArray::from(vec!["1970-01-01T00:00:00Z"]));
        let rows = RecordBatch::try_from_iter([("at", at), (name, value)]).expect("one row");
        let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref()).expect("memory");
        writer.write(&rows).expect("memory");
        decoded("arrow", &writer.into_inner().expect("memory")).map(|(row, _)| row)
    };
    for (name, value, expected) in cases {
        match (row(name, value), expected) {
            (Ok(row), Ok(cell)) => assert!(row.contains(cell), "{row}"),
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn columns_of_arrow_are_judged_by_the_same_rule() {
    check_arrow([
        (
            "small",
            Arc::new(Int64Array::from(vec![7])) as ArrayRef,
            Ok(r#""small":7"#),
        ),
        (
            "small",
            Arc::new(Int64Array::from(vec![40_000])),
            Err("is SMALLINT"),
        ),
        (
            "real",
            Arc::new(Float32Array::from(vec![0.1])),
            Ok(r#""real":0.10000000149011612"#),
        ),
        (
            "real",
            Arc::new(Float64Array::from(vec![0.1])),
            Ok(r#""real":0.10000000149011612"#),
        ),
        (
            "real",
            Arc::new(Float64Array::from(vec![1e300])),
            Err("the largest REAL"),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec!["abcd"])),
            Err("is VARCHAR(3)"),
        ),
        (
            "seen",
            Arc::new(TimestampNanosecondArray::from(vec![-1])),
            Ok(r#""seen":"1969-12-31T23:59:59.999000Z""#),
        ),
    ]);
}

#[test]
fn a_date_is_a_date_of_arrow_and_the_midnight_of_a_time() {
    check_arrow([
        (
            "day",
            Arc::new(Date32Array::from(vec![-1])) as ArrayRef,
            Ok(r#""day":"1969-12-31""#),
        ),
        (
            "day",
            Arc::new(Date64Array::from(vec![86_400_000])),
            Ok(r#""day":"1970-01-02""#),
        ),
        (
            "day",
            Arc::new(Date64Array::from(vec![1])),
            Err("is DATE and the record has milliseconds that are no whole day"),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![i32::MAX])),
            Err("a day outside the years 0001 to 9999"),
        ),
        (
            "day",
            Arc::new(Int64Array::from(vec![1])),
            Err("is DATE and the record has a number"),
        ),
        (
            "seen",
            Arc::new(Date32Array::from(vec![1])),
            Ok(r#""seen":"1970-01-02T00:00:00Z""#),
        ),
        (
            "text",
            Arc::new(Date32Array::from(vec![1])),
            Err("is VARCHAR(3) and the record has a date"),
        ),
    ]);
}
