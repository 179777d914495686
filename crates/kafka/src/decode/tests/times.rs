//! Times that records give as integers: in the unit that the source declares, or in microseconds
//! that lie near the record's Kafka time.

use std::collections::BTreeMap;

use forebay_core::limits::INTEGER_TIME_DISTANCE_MAX_US;
use forebay_core::source::EpochUnit;

use super::super::guess::Guess;
use super::*;

/// 2024-05-01T00:00:00Z, the Kafka time of all records here.
const KAFKA_US: Micros = 1_714_521_600_000_000;

/// The event time of a record whose `at` is `time`, over a source that declares `unit`; with
/// whether it is counted as a guess.
fn at(unit: Option<EpochUnit>, time: &str) -> Result<(Micros, bool), (Reason, String)> {
    let unit = unit.map(|unit| ("at".to_owned(), unit));
    let source = SourceDef {
        epoch_units: BTreeMap::from_iter(unit),
        ..all_types()
    };
    let mut decoder = RecordDecoder::new(&source, 600_000_000).expect("supported types");
    let payload = format!(r#"{{"at":{time}}}"#);
    let record = Record {
        payload: Some(payload.as_bytes()),
        kafka_time_us: Some(KAFKA_US),
        ..Record::default()
    };
    let pushed = decoder.push(&record);
    pushed.map_err(|reject| (reject.reason, reject.to_string()))?;
    let guessed = decoder.take_guesses();
    let guessed = guessed.iter().any(|g| g.guess == Guess::IntegerTime);
    let batch = decoder.finish().expect("small");
    let times = batch.column(5).as_primitive::<TimestampMicrosecondType>();
    Ok((times.value(0), guessed))
}

#[test]
fn an_integer_of_an_unsaid_unit_is_believed_near_the_records_time_alone() {
    let limit = INTEGER_TIME_DISTANCE_MAX_US;
    for time_us in [KAFKA_US, KAFKA_US - limit] {
        assert_eq!(at(None, &time_us.to_string()), Ok((time_us, true)));
    }
    for (time, years, unit) in [
        (KAFKA_US - limit - 1, "10 years before", "MICROS"),
        (KAFKA_US / 1_000, "54 years before", "MILLIS"),
        (KAFKA_US / 1_000_000, "54 years before", "SECONDS"),
        (KAFKA_US + limit + 1, "10 years after", "MICROS"),
    ] {
        let (reason, words) = at(None, &time.to_string()).expect_err(unit);
        assert_eq!(reason, Reason::TimeUnit, "{words}");
        assert!(words.contains("`at`") && words.contains(years), "{words}");
        let remedy = format!("TIMESTAMP FROM EPOCH {unit}");
        assert!(words.contains(&remedy), "{words}");
    }
    assert_eq!(
        at(None, "\"1970-01-20T20:15:21Z\""),
        Ok((1_714_521_000_000, false)),
        "a text has no unit"
    );
}

#[test]
fn the_unit_that_the_words_name_is_the_remedy() {
    let moments = [
        (EpochUnit::Seconds, KAFKA_US / 1_000_000),
        (EpochUnit::Millis, KAFKA_US / 1_000),
        (EpochUnit::Nanos, KAFKA_US * 1_000),
    ];
    for (unit, count) in moments {
        let (_, words) = at(None, &count.to_string()).expect_err("another unit");
        let remedy = format!("TIMESTAMP FROM EPOCH {}", unit.word());
        assert!(words.contains(&remedy), "{words}");
        assert_eq!(at(Some(unit), &count.to_string()), Ok((KAFKA_US, false)));
    }
    let far = KAFKA_US - INTEGER_TIME_DISTANCE_MAX_US - 1;
    assert_eq!(
        at(Some(EpochUnit::Micros), &far.to_string()),
        Ok((far, false)),
        "microseconds that are meant"
    );
}

#[test]
fn a_declared_unit_has_its_range_and_drops_what_is_below_a_microsecond() {
    let nanos = (KAFKA_US * 1_000 + 999).to_string();
    assert_eq!(at(Some(EpochUnit::Nanos), &nanos), Ok((KAFKA_US, false)));
    for (unit, count) in [
        (EpochUnit::Seconds, i64::MAX),
        (EpochUnit::Millis, 253_402_300_800_000),
        (EpochUnit::Micros, i64::MIN),
    ] {
        let (reason, words) = at(Some(unit), &count.to_string()).expect_err("beyond the years");
        assert_eq!(reason, Reason::WrongType);
        let range = format!("{} outside the years", unit.word().to_lowercase());
        assert!(words.contains(&range), "{words}");
    }
}
