//! Every class of input of each type, and the constants of functions that ask for some.

use std::sync::Arc;

use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, DurationMicrosecondArray, Float64Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray,
};
use forebay_core::time::{DAY_US, HOUR_US, timestamp_type};
use forebay_core::value::{Value, array_from_values};

use crate::scalar::function::Type;

const TWO_53: i64 = 1 << 53;

pub(super) fn classes(class: Type) -> ArrayRef {
    match class {
        Type::Boolean => Arc::new(BooleanArray::from(vec![Some(false), None, Some(true)])),
        Type::Integer => Arc::new(Int32Array::from(vec![
            Some(0),
            None,
            Some(1),
            Some(-1),
            Some(i32::MIN),
            Some(i32::MAX),
        ])),
        Type::BigInt => Arc::new(Int64Array::from(integers())),
        Type::Double => Arc::new(Float64Array::from(floats())),
        Type::Text => Arc::new(StringArray::from(texts())),
        Type::Date => Arc::new(Date32Array::from(dates())),
        Type::Timestamp => {
            Arc::new(TimestampMicrosecondArray::from(times()).with_data_type(timestamp_type()))
        }
        Type::Duration => Arc::new(DurationMicrosecondArray::from(spans())),
        Type::Interval => Arc::new(IntervalMonthDayNanoArray::from(intervals())),
        Type::List(item) => lists(item.of()),
    }
}

fn dates() -> Vec<Option<i32>> {
    let mut dates = vec![None];
    for text in [
        "0001-01-01",
        "1582-10-15",
        "1969-12-31",
        "1970-01-01",
        "2000-02-29",
        "2024-05-01",
        "2024-12-31",
        "9999-12-31",
    ] {
        dates.push(forebay_core::date::parse(text));
    }
    dates
}

/// NULL, the empty array, and the classes of an item in arrays of one to three.
fn lists(item: Type) -> ArrayRef {
    let items = classes(item);
    let mut values = vec![Value::Null, Value::List(Arc::from([]))];
    for row in 0..items.len() {
        let places = row..(row + 1 + row % 3).min(items.len());
        let value = |place| Value::from_array(&items, place).expect("a value");
        values.push(Value::List(places.map(value).collect()));
    }
    array_from_values(
        &Type::arrow(item.list().expect("arrays of it")),
        values.iter(),
    )
    .expect("arrays")
}

fn integers() -> Vec<Option<i64>> {
    let mut integers = vec![None];
    let near = [
        0, 1, -1, 2, 3, -3, 5, 7, 10, -10, 20, 21, 59, 65, 100, 2024, -2024, 0xd800, 0x1f600,
    ];
    integers.extend(near.map(Some));
    for edge in [
        i64::MIN,
        i64::MAX - 1,
        TWO_53 - 1,
        -TWO_53 - 1,
        i64::from(i32::MAX) - 1,
    ] {
        integers.extend([Some(edge), edge.checked_add(1), edge.checked_add(2)]);
    }
    integers
}

fn floats() -> Vec<Option<f64>> {
    let mut floats = vec![None];
    let positive = [
        0.0,
        5e-324,
        f64::MIN_POSITIVE,
        0.1,
        0.5,
        1.0,
        1.5,
        2.0,
        2.675,
        10.0,
        59.999_999_9,
        90.0,
        180.0,
        1e15,
        4_503_599_627_370_496.5,
        TWO_53 as f64,
        9.3e12,
        1e300,
        f64::MAX,
        f64::INFINITY,
        f64::from_bits(0x7ff8_0000_0000_0000),
        f64::from_bits(0x7ff8_dead_beef_0001),
        f64::from_bits(0x7ff0_0000_0000_0001),
    ];
    floats.extend(positive.into_iter().flat_map(|x| [Some(x), Some(-x)]));
    floats
}

fn texts() -> Vec<Option<String>> {
    let long = "forebay ".repeat(300);
    let json = r#"{"a":{"b":[1,-2.50,"x\ny",null,true]},"n":12345678901234567890,"k":"größe"}"#;
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let texts = [
        "",
        " ",
        "a",
        "A",
        "abc",
        "  a b  ",
        "größe",
        "ÀÉß ŉ",
        "e\u{301}a\u{308}",
        "日本語",
        "👩‍👩‍👧🇩🇪",
        "ΣΊΣΥΦΟΣ",
        "a-b-c",
        "a,b,,c",
        "b",
        ",",
        "%_\\",
        "$1 \\1",
        "\0",
        "0",
        "-1",
        "1.5",
        "NaN",
        "true",
        "null",
        "[]",
        "{",
        json,
        "[1, 2, {\"a\": \"b\"}]",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        &deep,
        "2024-02-29T12:34:56.789012Z",
        "2024-02-29 12:34:56+05:30",
        "2024-02-29",
        "2024-02-30",
        "Europe/Berlin",
        "-03:00",
        "666f6f",
        "Zm9v",
        "Zm8=",
        "////",
        &long,
    ];
    let mut all = vec![None];
    all.extend(texts.map(|text| Some(text.to_owned())));
    all
}

fn times() -> Vec<Option<i64>> {
    let mut times = vec![None];
    times.extend(
        [
            0,
            1,
            -1,
            DAY_US - 1,
            -DAY_US,
            1_709_210_096_789_012,
            // Europe/Berlin: 2024-03-31 and 2024-10-27, before and behind both changes.
            1_711_846_799_999_999,
            1_711_846_800_000_000,
            1_729_987_199_999_999,
            1_729_987_200_000_000,
            1_729_990_800_000_000,
            // Years 0000, 9999, 1900, 1582.
            -62_167_219_200_000_000,
            253_402_300_799_999_999,
            -2_208_988_800_000_001,
            -12_219_292_800_000_000,
            TWO_53 + 1,
            8_210_266_876_799_999_999,
            -8_334_601_228_800_000_000,
            i64::MIN,
            i64::MIN + 1,
            i64::MAX,
        ]
        .map(Some),
    );
    times
}

fn spans() -> Vec<Option<i64>> {
    let mut spans = vec![None];
    let near = [
        0,
        1,
        -1,
        1_750_000,
        9_500_000,
        -90_061_000_001,
        HOUR_US,
        DAY_US,
        -DAY_US - 1,
    ];
    spans.extend(near.map(Some));
    spans.extend([TWO_53 + 1, i64::MIN, i64::MAX].map(Some));
    spans
}

fn intervals() -> Vec<Option<IntervalMonthDayNano>> {
    let interval = IntervalMonthDayNano::new;
    vec![
        None,
        Some(interval(0, 0, 0)),
        Some(interval(14, -3, 1_750_000_000)),
        Some(interval(-14, 3, -3_661_000_000_001)),
        Some(interval(i32::MIN, i32::MIN, i64::MIN)),
        Some(interval(i32::MAX, i32::MAX, i64::MAX)),
    ]
}

const UNITS: [&str; 10] = [
    "microsecond",
    "ms",
    "seconds",
    "MINUTE",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
];
const PARTS: [&str; 6] = ["isoyear", "dow", "isodow", "doy", "epoch", "fortnight"];
const ZONES: [&str; 5] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "+05:30",
    "Asia/Kathmandu",
];

/// What a call gives where the function asks for a constant; None: it asks for none.
pub(super) fn constants(function: &str, index: usize, class: Type) -> Option<Vec<ArrayRef>> {
    let texts: &[&str] = match (function, index) {
        ("date_part" | "date_part('epoch')", 0) => &[&UNITS[..], &PARTS[..]].concat(),
        ("date_trunc" | "date_diff", 0) => &UNITS,
        ("at_time_zone" | "from_time_zone", 1) | ("date_trunc", 2) => &ZONES,
        ("to_char", 1) => &[
            "%Y-%m-%dT%H:%M:%S.%6f",
            "%j %a %A %b %B %p %I %y %u %w %V %G %s",
        ],
        ("regexp_like" | "regexp_count" | "regexp_instr" | "regexp_replace", 1) => {
            &["", "a", "[a-z]+", "(a)|(b)", "\\b", "ß|日", "(?i)F", "^"]
        }
        ("regexp_extract", 1) => &["(a)?b", "([a-z])([0-9])?", "()"],
        ("regexp_like", 2) | ("regexp_count", 3) => &["", "is"],
        ("regexp_replace", 3) => &["", "gi"],
        ("json_value" | "json_length" | "json_exists", 1) => {
            &["$", "$.a.b[2]", "$.a.b[-1]", "$[0]", "$.k", "$.n", "$.\"\""]
        }
        (name, 1) if name.starts_with("json_get") && class == Type::Text => {
            &["a", "k", "$.a.b[0]", "$.a.b[1]", "$.a.b[4]", "$.n", "$"]
        }
        ("encode" | "decode", 1) => &["hex", "BASE64"],
        _ => return other_constants(function, index),
    };
    let texts = [None].into_iter().chain(texts.iter().copied().map(Some));
    Some(
        texts
            .map(|text| Arc::new(StringArray::from(vec![text])) as ArrayRef)
            .collect(),
    )
}

/// The same of constants that are no texts.
fn other_constants(function: &str, index: usize) -> Option<Vec<ArrayRef>> {
    let integers: &[i64] = match (function, index) {
        ("regexp_extract", 2) => &[0, 1],
        (name, 1) if name.starts_with("json_get") => &[0, -1, 2, i64::MIN, i64::MAX],
        ("date_bin", 0) => return Some(bins()),
        _ => return None,
    };
    let integers = [None].into_iter().chain(integers.iter().copied().map(Some));
    Some(
        integers
            .map(|integer| Arc::new(Int64Array::from(vec![integer])) as ArrayRef)
            .collect(),
    )
}

fn bins() -> Vec<ArrayRef> {
    let bins = [
        Some(IntervalMonthDayNano::new(0, 0, 300_000_000_000)),
        Some(IntervalMonthDayNano::new(0, 7, 0)),
        Some(IntervalMonthDayNano::new(3, 0, 0)),
        Some(IntervalMonthDayNano::new(0, i32::MAX, 0)),
        Some(IntervalMonthDayNano::new(0, 0, 1_000)),
        None,
    ];
    bins.map(|bin| Arc::new(IntervalMonthDayNanoArray::from(vec![bin])) as ArrayRef)
        .to_vec()
}

/// Whether the function takes a column as well where it takes a constant.
pub(super) fn takes_column(function: &str, index: usize) -> bool {
    matches!(
        (function, index),
        ("at_time_zone" | "from_time_zone", 1) | ("date_trunc", 2)
    )
}
