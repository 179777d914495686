//! Each kind of guess, counted under the column that it was made for.

use super::super::tests::{decoder, record};
use super::*;

#[test]
fn what_is_not_taken_as_it_is_is_counted_by_column() {
    let mut decoder = decoder();
    let at = r#""at": "2013-01-01T05:15:00Z""#;
    let mut push = |fields: &str| {
        let json = format!("{{{fields}}}");
        decoder.push(&record(json.as_bytes())).is_ok()
    };
    let all = format!(
        r#""text": "t", "double": 1.5, "big": 1, "small": 1, "flag": true, {at}, "features": {{"mean": 2, "rank": 1}}"#
    );
    assert!(push(&all));
    assert!(push(&format!(r#"{all}, "new": 1, "newer": [1]"#)));
    assert!(push(&all.replace("1.5", "9007199254740993")));
    assert!(push(&all.replace("1.5", "18446744073709551615")));
    // An integer that a double holds exactly is no guess.
    assert!(push(&all.replace("1.5", "-9007199254740992")));
    assert!(push(&all.replace("1.5", "\"-Infinity\"")));
    assert!(push(&all.replace(r#""mean": 2, "#, r#""median": 2, "#)));
    assert!(push(&all.replace(at, r#""at": 1357017300000000"#)));
    assert!(push(&all.replace("15:00Z", "15:00")));
    assert!(push(&all.replace("15:00Z", "15:00.1234567")));
    assert!(push(&all.replace("15:00Z", "15:00.123456Z")));
    assert!(push(&all.replace("15:00Z", "15:00+00:00")));
    assert!(!push(r#""text": null, "more": 1"#), "it has no time");
    let expected = [
        ("*", Guess::UnknownField, 3),
        ("double", Guess::Absent, 1),
        ("double", Guess::RoundedInteger, 2),
        ("double", Guess::TextNumber, 1),
        ("big", Guess::Absent, 1),
        ("small", Guess::Absent, 1),
        ("flag", Guess::Absent, 1),
        ("at", Guess::IntegerTime, 1),
        ("at", Guess::TimeWithoutZone, 2),
        ("at", Guess::TimeCut, 1),
        ("features", Guess::UnknownField, 1),
        ("features.mean", Guess::Absent, 1),
    ];
    let guesses = decoder.take_guesses();
    let told: Vec<(&str, Guess, u64)> = guesses
        .iter()
        .map(|g| (g.column.as_str(), g.guess, g.count))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(decoder.take_guesses(), [], "each is told once");
}
