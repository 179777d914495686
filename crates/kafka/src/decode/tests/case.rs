//! Fields whose names differ from a column's in case only: they fill it, unless one of the very
//! name is there, in any order and in every format that has names.

use arrow_ipc::writer::StreamWriter;

use super::super::guess::Guess;
use super::*;

/// The text of a row of `json`, and how often another case was taken and a field skipped; or why it
/// is none.
fn text(json: &str) -> Result<(Option<String>, u64, u64), (Reason, String)> {
    let mut decoder = decoder();
    let pushed = decoder.push(&record(json.as_bytes()));
    let guesses = decoder.take_guesses();
    let count = |guess| {
        let of_kind = guesses.iter().filter(|g| g.guess == guess);
        of_kind.map(|g| g.count).sum()
    };
    let (others, skipped) = (count(Guess::OtherCase), count(Guess::UnknownField));
    let after = decoder.push(&record(br#"{"at":2,"text":"after","features":{"rank":1}}"#));
    assert_eq!(after, Ok(()), "{json}");
    let batch = decoder.finish().expect("small");
    let texts = batch.column(0).as_string::<i32>();
    assert_eq!(texts.value(batch.num_rows() - 1), "after", "{json}");
    pushed.map_err(|reject| (reject.reason, reject.to_string()))?;
    let text = (!texts.is_null(0)).then(|| texts.value(0).to_owned());
    Ok((text, others, skipped))
}

fn row(
    text: &str,
    others: u64,
    skipped: u64,
) -> Result<(Option<String>, u64, u64), (Reason, String)> {
    Ok((Some(text.to_owned()), others, skipped))
}

#[test]
fn a_field_of_another_case_fills_its_column_and_is_counted() {
    assert_eq!(text(r#"{"Text":"a","at":1}"#), row("a", 1, 0));
    assert_eq!(text(r#"{"TEXT":"a","AT":1}"#), row("a", 2, 0));
    assert_eq!(text(r#"{"Text":null,"at":1}"#), Ok((None, 1, 0)));
    let inner = r#"{"text":"a","At":1,"Features":{"Rank":1,"MEAN":2}}"#;
    assert_eq!(text(inner), row("a", 4, 0));
    let (reason, words) = text(r#"{"Text":5,"at":1}"#).expect_err("a number");
    assert_eq!(reason, Reason::WrongType);
    assert!(words.contains("`text`: is VARCHAR"), "{words}");
    for value in [r#"["a",[1]]"#, r#"{"a":{"b":[1]}}"#, "true", "1.5"] {
        let (reason, _) = text(&format!(r#"{{"Text":{value},"at":1}}"#)).expect_err(value);
        assert_eq!(reason, Reason::WrongType, "{value}");
    }
}

#[test]
fn the_field_of_the_very_name_wins_wherever_it_stands() {
    for other in [
        r#""Text":"b""#,
        r#""Text":null"#,
        r#""Text":5"#,
        r#""Text":["b",{"text":"c"}]"#,
        r#""Text":{"text":{"text":1}}"#,
    ] {
        for fields in [
            format!(r#""text":"a",{other}"#),
            format!(r#"{other},"text":"a""#),
        ] {
            assert_eq!(
                text(&format!(r#"{{{fields},"at":1}}"#)),
                row("a", 0, 1),
                "{fields}"
            );
        }
    }
    let exact_fails = [
        r#"{"text":5,"Text":"a","at":1}"#,
        r#"{"Text":"a","text":5,"at":1}"#,
    ];
    let twice = [
        r#"{"text":"a","text":"b","Text":"c","at":1}"#,
        r#"{"Text":"c","text":"a","text":"b","at":1}"#,
    ];
    for (json, expected) in exact_fails
        .map(|json| (json, Reason::WrongType))
        .into_iter()
        .chain(twice.map(|json| (json, Reason::NotJson)))
    {
        assert_eq!(text(json).expect_err(json).0, expected, "{json}");
    }
    // A number that the parser cannot hold is broken wherever it stands.
    for json in [
        r#"{"text":"a","Text":1e999,"at":1}"#,
        r#"{"Text":1e999,"text":"a","at":1}"#,
    ] {
        assert_eq!(text(json).expect_err(json).0, Reason::WrongType, "{json}");
    }
}

#[test]
fn two_fields_of_another_case_are_a_field_given_twice_unless_the_very_name_is_there() {
    let (reason, words) = text(r#"{"Text":"a","TEXT":"b","at":1}"#).expect_err("which one?");
    assert_eq!(reason, Reason::NotJson);
    assert!(words.contains("`text`: occurs twice"), "{words}");
    for json in [
        r#"{"Text":"a","TEXT":"b","text":"c","at":1}"#,
        r#"{"Text":"a","text":"c","TEXT":"b","at":1}"#,
        r#"{"text":"c","Text":"a","TEXT":"b","at":1}"#,
    ] {
        let (text, others, _) = text(json).expect(json);
        assert_eq!((text.as_deref(), others), (Some("c"), 0), "{json}");
    }
}

fn stream_of(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref()).expect("memory");
    writer.write(rows).expect("memory");
    writer.into_inner().expect("memory")
}

#[test]
fn columns_of_arrow_are_found_by_the_same_rule() {
    let mut decoder = conformance::decoder_of("arrow");
    let mut push = |columns: Vec<(&str, ArrayRef)>| {
        let rows = RecordBatch::try_from_iter(columns).expect("columns of one row");
        let payload = stream_of(&rows);
        decoder
            .push(&record(&payload))
            .map_err(|reject| reject.reason)
    };
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let at = || text("2024-05-01T00:00:00Z");
    assert_eq!(push(vec![("TEXT", text("a")), ("At", at())]), Ok(()));
    assert_eq!(
        push(vec![("Text", text("b")), ("text", text("a")), ("at", at())]),
        Ok(())
    );
    assert_eq!(
        push(vec![("text", text("a")), ("Text", text("b")), ("at", at())]),
        Ok(())
    );
    let number: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1]));
    let before = vec![
        ("Text", Arc::clone(&number)),
        ("text", text("a")),
        ("at", at()),
    ];
    assert_eq!(push(before), Ok(()));
    assert_eq!(
        push(vec![("Text", number), ("at", at())]),
        Err(Reason::WrongType)
    );
    let two = vec![("Text", text("a")), ("TEXT", text("b")), ("at", at())];
    assert_eq!(push(two), Err(Reason::NotArrow));
    let batch = decoder.finish().expect("small");
    let texts: Vec<Option<&str>> = batch.column(0).as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("a"); 4]);
}
