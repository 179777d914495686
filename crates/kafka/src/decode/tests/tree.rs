//! Records that are nearly JSON, against a second parser: `serde_json`'s tree of values.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use proptest::prelude::*;
use serde_json::Value;

use super::time_text::{EARLIEST_US, LATEST_US};
use super::{decoder, record};

/// What `serde_json`'s tree of values says a plain record is: the event time and the text, or
/// nothing.
fn judged_by_tree(json: &[u8]) -> Option<(i64, Option<String>)> {
    let Ok(Value::Object(object)) = serde_json::from_slice(json) else {
        return None;
    };
    // A name of another case counts where none is the column's own; damage makes such.
    let named = |name: &str| {
        let other = || {
            object
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        object.get(name).or_else(|| other().map(|(_, value)| value))
    };
    let at = named("at")?
        .as_i64()
        // The tree has `-0` as a double.
        .or_else(|| (named("at")?.as_f64()?.to_bits() == (-0.0_f64).to_bits()).then_some(0))
        .filter(|at| (EARLIEST_US..=LATEST_US).contains(at))?;
    match named("text") {
        None | Some(Value::Null) => Some((at, None)),
        Some(Value::String(text)) => Some((at, Some(text.clone()))),
        Some(_) => None,
    }
}

proptest! {
    #[test]
    fn nearly_json_is_judged_as_by_the_tree_parser(
        at in prop_oneof!["[0-9]{1,3}", "-?[0-9]{17,19}", "[0-9]\\.[0-9]", Just("\"x\"".to_string()), Just("null".to_string())],
        text in prop_oneof![".{0,6}".prop_map(|t| serde_json::to_string(&t).expect("text")), Just("null".to_string()), Just("{}".to_string())],
        skipped in prop_oneof![Just("[1,{\"at\":3}]"), Just("\"}\""), Just("1e999"), Just("tru"), Just("-")],
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut json = format!("{{\"text\":{text},\"skipped\":{skipped},\"at\":{at}}}").into_bytes();
        if let Some((index, byte)) = damage {
            let index = index.index(json.len());
            json[index] = byte;
        }
        let expected = judged_by_tree(&json);
        let mut decoder = decoder();
        let taken = decoder.push(&record(&json)).is_ok();
        let batch = decoder.finish().expect("small");
        if let Some((at, text)) = expected {
            // The tree keeps the last of two equal names where we refuse, and damage can make one
            // name of two.
            let twice = json.windows(4).filter(|w| w == b"\"at\"").count() > 2;
            prop_assert!(taken || twice, "{}", String::from_utf8_lossy(&json));
            if taken {
                prop_assert_eq!(batch.column(5).as_primitive::<TimestampMicrosecondType>().value(0), at);
                let got = batch.column(0).as_string::<i32>();
                prop_assert_eq!((!got.is_null(0)).then(|| got.value(0).to_owned()), text);
            }
        }
    }
}
