//! Records of a shop against the definition of its source: what each is told as.

use arrow_schema::DataType;
use forebay_core::source::Column;
use forebay_core::time::{MINUTE_US, timestamp_type};

use super::*;

fn source() -> SourceDef {
    let column = |name: &str, data_type, nullable| Column {
        name: name.to_owned(),
        data_type,
        nullable,
    };
    let columns = vec![
        column("userid", DataType::Utf8, true),
        column("amount", DataType::Float64, true),
        column("at", timestamp_type(), false),
    ];
    SourceDef {
        watermark_delay_us: MINUTE_US,
        ..SourceDef::json("clicks", "clicks", columns, 2)
    }
}

fn survey(records: &[&str]) -> SurveyReport {
    let mut survey = Survey::new(&source()).expect("columns that records can fill");
    for payload in records {
        let record = Record {
            payload: Some(payload.as_bytes()),
            ..Record::default()
        };
        survey.look(0, &record).expect("small records");
    }
    survey.report()
}

#[test]
fn a_column_that_is_never_present_is_told_with_the_nearest_fields() {
    let record = r#"{"user_id": "ann", "amount": 1.5, "at": "2024-05-01T00:00:00Z", "zone": 3}"#;
    let report = survey(&[record, record]);
    let userid = &report.columns[0];
    assert_eq!((userid.present, userid.absent), (0, 2));
    assert_eq!(userid.nearest, ["user_id"]);
    assert_eq!(report.columns[1].nearest, Vec::<String>::new());
    let unknown = [("user_id".to_owned(), 2), ("zone".to_owned(), 2)];
    assert_eq!(report.unknown_fields, unknown);
}

#[test]
fn a_field_of_another_case_is_told_as_the_columns() {
    let report = survey(&[
        r#"{"userId": "ann", "amount": 1.5, "at": "2024-05-01T00:00:00Z"}"#,
        r#"{"USERID": null, "userid": "bob", "amount": 1.5, "at": "2024-05-01T00:00:00Z"}"#,
        r#"{"userId": "eve", "amount": 1.5, "at": "2024-05-01T00:00:00Z"}"#,
    ]);
    let userid = &report.columns[0];
    assert_eq!((userid.present, userid.null, userid.absent), (3, 0, 0));
    assert_eq!(userid.other_case, ["userId"]);
    assert_eq!(userid.guesses, BTreeMap::from([("other_case", 2)]));
    assert_eq!(report.unknown_fields, []);
}

#[test]
fn nulls_guesses_and_refused_values_are_told_by_column() {
    let report = survey(&[
        r#"{"userid": null, "amount": 9007199254740993, "at": "2024-05-01 00:00:00"}"#,
        r#"{"userid": "b", "amount": "NaN", "at": "2024-05-01T00:00:01.1234567Z"}"#,
        r#"{"userid": "b", "amount": "12.5", "at": "2024-05-01T00:00:02Z"}"#,
        r#"{"userid": "b", "amount": "7", "at": "2024-05-01T00:00:03Z"}"#,
        "no JSON",
    ]);
    assert_eq!((report.records, report.rows), (5, 2));
    let [userid, amount, at] = &report.columns[..] else {
        panic!("three columns");
    };
    assert_eq!((userid.present, userid.null), (3, 1));
    let guesses = BTreeMap::from([("rounded_integer", 1), ("text_number", 1)]);
    assert_eq!(amount.guesses, guesses);
    assert_eq!(amount.refused, BTreeMap::from([("wrong_type", 2)]));
    let guesses = BTreeMap::from([("time_cut", 1), ("time_without_zone", 1)]);
    assert_eq!(at.guesses, guesses);
    let [amounts, text] = &report.refused[..] else {
        panic!("two kinds: {:?}", report.refused);
    };
    assert_eq!(
        (amounts.column.as_deref(), amounts.records),
        (Some("amount"), 2)
    );
    assert!(amounts.example.contains("is DOUBLE"), "{}", amounts.example);
    assert_eq!((text.reason, text.records), ("not_json", 1));
}

#[test]
fn times_in_another_unit_are_refused_with_the_unit_that_fits_and_true_ones_are_not() {
    let told = |time: &str| {
        let mut survey = Survey::new(&source()).expect("columns that records can fill");
        let payload = format!(r#"{{"userid": "a", "amount": 1, "at": {time}}}"#);
        let record = Record {
            payload: Some(payload.as_bytes()),
            kafka_time_us: Some(1_714_521_600_000_000),
            ..Record::default()
        };
        survey.look(0, &record).expect("small records");
        let refused = survey.report().refused.pop()?;
        assert_eq!(refused.reason, "time_unit");
        Some(refused.example)
    };
    for (time, unit) in [("1714521600000", "MILLIS"), ("1714521600", "SECONDS")] {
        let words = told(time).expect(time);
        let declare = format!("declare it as TIMESTAMP FROM EPOCH {unit}");
        assert!(words.contains(&declare), "{words}");
    }
    assert_eq!(told("1714521600000000"), None);
    assert_eq!(
        told("\"1970-01-20T20:15:21Z\""),
        None,
        "somebody wrote that"
    );
}

#[test]
fn rows_behind_their_partitions_watermark_are_late() {
    let at = |time: &str| format!(r#"{{"at": "2024-05-01T00:{time}Z"}}"#);
    let records = ["05:00", "04:00", "03:59", "06:00", "04:30"].map(at);
    let report = survey(&records.each_ref().map(String::as_str));
    assert_eq!(report.late, 2);
    let (from, to) = report.event_times.expect("times");
    assert_eq!(to - from, 2 * MINUTE_US + 1_000_000);
}
