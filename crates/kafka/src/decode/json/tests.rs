//! The two ways through a record compared: whatever the bytes are, scan and replay give what the
//! general parser gives, over runs of records, because names are remembered from one to the next.

use arrow_schema::{DataType, Field};
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::timestamp_type;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::{Record, RecordDecoder};
use super::*;

/// Every record by the general parser.
#[derive(Debug)]
struct General;

impl RowDecoder for General {
    fn decode(&mut self, payload: &[u8], fields: &mut Fields, row: usize) -> Result<(), Reject> {
        let text = std::str::from_utf8(payload)
            .map_err(|e| Reject::not_json(format!("not UTF-8: {e}")))?;
        general::decode(text, fields, row)
    }

    fn fields(&mut self, _payload: &[u8], _columns: &[&str]) -> Option<Vec<RecordField>> {
        None
    }
}

fn source() -> SourceDef {
    let column = |name: &str, data_type, nullable| Column {
        name: name.to_owned(),
        data_type,
        nullable,
    };
    let inner = DataType::Struct(vec![Field::new("deep", DataType::Boolean, true)].into());
    let features = vec![
        Field::new("mean", DataType::Float64, true),
        Field::new("rank", DataType::Int32, false),
        Field::new("inner", inner, true),
    ];
    let columns = vec![
        column("text", DataType::Utf8, true),
        column("double", DataType::Float64, true),
        column("big", DataType::Int64, true),
        column("small", DataType::Int32, true),
        column("flag", DataType::Boolean, true),
        column("at", timestamp_type(), false),
        column("a\\b\"c", DataType::Utf8, true),
        column("features", DataType::Struct(features.into()), true),
    ];
    SourceDef::json("everything", "everything", columns, 5)
}

fn decoder() -> RecordDecoder {
    RecordDecoder::new(&source(), 600_000_000).expect("supported types")
}

/// Push `payloads` both ways and compare all that comes of it.
fn compare(payloads: &[Vec<u8>]) {
    let mut decoders = [
        decoder(),
        RecordDecoder {
            format: Box::new(General),
            ..decoder()
        },
    ];
    for payload in payloads {
        let record = Record {
            payload: Some(payload),
            ..Record::default()
        };
        let [fast, general] = decoders.each_mut().map(|decoder| decoder.push(&record));
        assert_eq!(fast, general, "{}", String::from_utf8_lossy(payload));
    }
    let [fast, general] = decoders.each_mut().map(|decoder| {
        let batch = decoder.finish().expect("small");
        (batch, decoder.take_guesses())
    });
    assert_eq!(fast, general);
}

fn scans(json: &str) -> bool {
    let fields = Fields::new(source().schema().fields()).expect("supported types");
    Tape::default().scan(json, &fields).is_some()
}

#[test]
fn what_is_common_is_scanned_and_what_is_doubtful_is_not() {
    for json in [
        r#"{"text":"a","at":1717200000000000,"double":12.50,"flag":true,"x":null}"#,
        " { \"text\" : \"J\\u00e9\\n\" , \"at\" : \"2013-01-01T05:15:00Z\" }\r\n",
        r#"{"at":1,"features":{"mean":-1e-7,"rank":3},"x":[1,[{"y":"\""}],{}],"é":"é"}"#,
        "{}",
    ] {
        assert!(scans(json), "{json}");
    }
    let deep = |depth: usize| format!("{{\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(scans(&deep(15)));
    let crowded = format!("{{{}\"at\":1}}", "\"x\":1,".repeat(4_096));
    for json in [
        "",
        "1",
        "[]",
        "{",
        "{\"at\":1",
        "{\"at\":1}}",
        "{\"at\":1,}",
        "{\"at\" 1}",
        "{at:1}",
        "{\"at\":01}",
        "{\"at\":-}",
        "{\"at\":1.}",
        "{\"at\":1e}",
        "{\"at\":1e999}",
        "{\"at\":NaN}",
        "{\"at\":nul}",
        "{\"x\":\"\\ud800\"}",
        "{\"x\":\"\t\"}",
        "{\"x\":[1,]}",
        "{\"x\":[1 2]}",
        "\u{feff}{}",
        deep(16).as_str(),
        crowded.as_str(),
    ] {
        assert!(!scans(json), "{json}");
        compare(&[json.as_bytes().to_vec()]);
    }
}

#[test]
fn a_name_that_an_object_before_it_has_moved_is_told_by_its_own_bytes() {
    let records = [
        r#"{"at":1,"Features":{"mean":1,"rank":2},"features":{"mean":3,"rank":4}}"#,
        r#"{"at":1,"Features":{"rank":1,"mean":2},"features":{"mean":3,"rank":4}}"#,
        r#"{"At":1,"features":{"Mean":1,"rank":2},"at":5,"FEATURES":{"rank":9}}"#,
        r#"{"at":1,"a\\b\"c":"x"}"#,
        r#"{"at":1,"a\\b\"c":"x"}"#,
        r#"{"at":1,"a\b":"x"}"#,
        r#"{"at":1,"a\b":"x"}"#,
    ];
    compare(&records.map(|json| json.as_bytes().to_vec()));
}

fn name() -> impl Strategy<Value = String> {
    let names = [
        "text",
        "double",
        "big",
        "small",
        "flag",
        "at",
        "features",
        "mean",
        "rank",
        "inner",
        "deep",
        "Text",
        "AT",
        "Double",
        "Features",
        "RANK",
        "x",
        "é",
        "",
        r"te\u0078t",
        r#"a\\b\"c"#,
    ];
    prop_oneof![
        4 => select(names[..7].to_vec()),
        1 => select(names.to_vec()),
    ]
    .prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,5})",
        "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,3}",
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        any::<i64>().prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("JSON has no others", |value| value.is_finite())
            .prop_map(|value| format!("{value:e}")),
        select(vec![
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "-0",
            "-0.0",
            "9007199254740993",
            "9007199254740992.0",
            "2147483648",
            "1e22",
            "1e23",
            "1e308",
            "1.7976931348623159e308",
            "5e-324",
            "2e-324",
            "0e99999",
            "1e-99999",
            "1e99999",
            "0.00000000000000000001",
            "100000000000000000000",
            "253402300800000000",
        ])
        .prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    let special = [
        "2013-01-01T05:15:00Z",
        "2013-01-01 05:15:00",
        "2013-01-01T05:15:00.1234567+01:00",
        "NaN",
        "Infinity",
        "-Infinity",
        r"\n\t\\",
        r"\u00e9\ud83d\ude00",
        r"\ud800",
        r"\x",
        "é😀",
        "\\",
    ];
    let text = prop_oneof![
        "[a-z0-9 /]{0,20}",
        select(special.to_vec()).prop_map(str::to_owned)
    ];
    text.prop_map(|text| format!("\"{text}\""))
}

fn value() -> impl Strategy<Value = String> {
    let words = ["true", "false", "null", "NaN", "[]", "{}"];
    let leaf = prop_oneof![
        4 => number(),
        4 => text(),
        2 => select(words.to_vec()).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let field = (name(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(field, 0..4).prop_map(|all| format!("{{{}}}", all.join(", "))),
        ]
    })
}

/// A value that its column mostly takes.
fn fitting(name: &str) -> BoxedStrategy<String> {
    match name {
        "text" => "\"[a-zé]{0,12}\"".boxed(),
        "double" => number().boxed(),
        "big" | "small" => "-?(0|[1-9][0-9]{0,8})".boxed(),
        "at" => "(1[0-9]{15}|\"20[0-2][0-9]-0[1-9]-1[0-9]T1[0-9]:[0-5][0-9]:[0-5][0-9]Z\")".boxed(),
        "flag" => select(vec!["true".to_owned(), "false".to_owned()]).boxed(),
        "features" => number()
            .prop_flat_map(|mean| {
                "[1-9]".prop_map(move |rank| {
                    format!("{{\"mean\":{mean},\"rank\":{rank},\"inner\":{{\"deep\":true}}}}")
                })
            })
            .boxed(),
        _ => value().boxed(),
    }
}

fn object() -> impl Strategy<Value = String> {
    let field =
        (name(), 0_u8..8, select(vec!["", " ", "\n\t"])).prop_flat_map(|(name, kind, blank)| {
            let value = if kind == 0 {
                value().boxed()
            } else {
                fitting(&name)
            };
            value.prop_map(move |value| format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}"))
        });
    let at = fitting("at").prop_map(|at| format!("\"at\":{at}"));
    (
        prop::collection::vec(field, 0..7),
        at,
        any::<Index>(),
        0_u8..6,
    )
        .prop_map(|(mut fields, at, place, kind)| {
            if kind > 0 {
                fields.retain(|field| !field.contains("\"at\""));
                fields.insert(place.index(fields.len() + 1), at);
            }
            format!("{{{}}}", fields.join(","))
        })
}

/// Some change of the bytes of a record.
#[derive(Debug, Clone)]
enum Change {
    None,
    Cut(Index),
    Remove(Index),
    Replace(Index, u8),
    Insert(Index, u8),
    Repeat(Index, Index),
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        select(b"{}[]\",:\\0123456789.-+eEtfnN \n\x00\x1f\x7f".to_vec()),
        any::<u8>(),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        6 => Just(Change::None),
        1 => place().prop_map(Change::Cut),
        1 => place().prop_map(Change::Remove),
        1 => (place(), byte()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        1 => (place(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

fn changed(json: String, change: &Change) -> Vec<u8> {
    let mut bytes = json.into_bytes();
    let len = bytes.len();
    match change {
        Change::None => {}
        Change::Cut(at) => bytes.truncate(at.index(len)),
        Change::Remove(at) => {
            bytes.remove(at.index(len));
        }
        Change::Replace(at, byte) => bytes[at.index(len)] = *byte,
        Change::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
        Change::Repeat(from, to) => {
            let (from, to) = (from.index(len), to.index(len));
            bytes.extend_from_within(from.min(to)..from.max(to));
        }
    }
    bytes
}

proptest! {
    #[test]
    fn both_ways_give_the_same_whatever_the_bytes(
        records in prop::collection::vec((object(), change()), 1..6),
    ) {
        let payloads = records.into_iter().map(|(json, change)| changed(json, &change));
        compare(&payloads.collect::<Vec<_>>());
    }

    #[test]
    fn a_number_is_the_same_double_and_the_same_integer(numbers in prop::collection::vec(number(), 1..20)) {
        let payload = |number: String| {
            let columns = ["double", "big", "small", "at"].map(|name| format!("\"{name}\":{number}"));
            columns.map(|column| format!("{{\"At\":1,{column}}}").into_bytes())
        };
        compare(&numbers.into_iter().flat_map(payload).collect::<Vec<_>>());
    }
}
