//! Forms that other systems have, or that people write, and that mean one thing: each is taken, and
//! is what the plain form is.

use super::*;
use crate::remedies::Row;

/// What a view keeps and gives, without its identity.
#[derive(Debug, PartialEq)]
struct Meaning {
    key: Vec<usize>,
    partials: Vec<PartialSpec>,
    aggregates: Vec<(AggregateKind, Window)>,
    features: Vec<String>,
}

fn meaning(view: &View) -> Meaning {
    let spec = view.spec();
    let aggregates = spec.aggregates.iter().map(|a| (a.kind, a.window));
    let features = view.features();
    let features = features.fields().iter().map(|f| f.name().clone());
    Meaning {
        key: view.key_columns().to_vec(),
        partials: spec.partials.clone(),
        aggregates: aggregates.collect(),
        features: features.collect(),
    }
}

/// A head and a SELECT, and a SELECT of entity e that means the same.
const SAME: &[(&str, &str, &str)] = &[
    (
        "e",
        "SELECT count(*) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL 7 DAY PRECEDING) AS c FROM events",
        "SELECT count(*) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '7' DAY PRECEDING) AS c FROM events",
    ),
    (
        "e",
        "SELECT count(*) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '01:30:00' PRECEDING) AS c FROM events",
        "SELECT count(*) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '1.5' HOUR PRECEDING) AS c FROM events",
    ),
    (
        "e",
        "WITH events AS (SELECT k, ts, x FROM events) SELECT sum(x) OVER {h} AS s FROM events",
        "SELECT sum(x) OVER {h} AS s FROM events",
    ),
    (
        "e",
        "SELECT k, ts, last_value(ts) OVER {e} AS ts FROM events",
        "SELECT last_value(ts) OVER {e} AS ts FROM events",
    ),
    (
        "e",
        "SELECT k, ts, ts, k, count(*) OVER {e} AS k FROM events",
        "SELECT count(*) OVER {e} AS k FROM events",
    ),
];

#[test]
fn other_forms_mean_what_the_plain_ones_do() {
    for (head, other, plain) in SAME {
        let other_view = try_view(head, other).unwrap_or_else(|e| panic!("{other}: {e}"));
        assert_eq!(meaning(&other_view), meaning(&view(plain)), "{other}");
    }
}

#[test]
fn a_key_that_the_source_calls_otherwise_is_the_column_selected_under_its_name() {
    let of = |select: &str| {
        try_view("pair", select)
            .map(|view| view.key_columns().to_vec())
            .map_err(|e| e.to_string())
    };
    // k is column 0 of events, n is 1, other is 6.
    let plain = "SELECT k, n, count(*) OVER (PARTITION BY k, n ORDER BY ts) AS c FROM events";
    assert_eq!(of(plain), Ok(vec![0, 1]));
    let mapped =
        "SELECT other AS k, ts, count(*) OVER (PARTITION BY n, other ORDER BY ts) AS c FROM events";
    assert_eq!(of(mapped), Ok(vec![6, 1]));
    let features = try_view("pair", mapped).map(|view| view.features().fields().len());
    assert_eq!(features.unwrap_or_default(), 1, "the key is no feature");
    // Not among what it is partitioned by.
    let unread =
        "SELECT note AS k, ts, count(*) OVER (PARTITION BY n, other ORDER BY ts) AS c FROM events";
    assert!(of(unread).is_err());
    // One column cannot be both.
    let twice = "SELECT n AS k, ts, count(*) OVER (PARTITION BY n ORDER BY ts) AS c FROM events";
    assert!(of(twice).is_err());
}

/// A SELECT over elsewhere, which has no column n, the error, and it as the error has it.
const MAPPED: &[Row] = &[(
    "SELECT count(*) OVER (PARTITION BY k ORDER BY at) AS c FROM elsewhere",
    "2:23: feature view v: its windows are not partitioned by the entity's key: entity named has the \
     key (shop), and source elsewhere has no column shop; select the column that it is under that name: \
     SELECT k AS shop .. PARTITION BY k (of its type: k)",
    "SELECT k AS shop, count(*) OVER (PARTITION BY k ORDER BY at) AS c FROM elsewhere",
)];

#[test]
fn the_error_of_a_key_with_another_name_says_how_to_give_it() {
    let wrong = crate::remedies::wrong(MAPPED, "v.sql:", |select| {
        let files = [BASE, "CREATE ENTITY named (shop VARCHAR);"].map(|text| DefinitionFile {
            path: "base.sql".into(),
            text: text.into(),
        });
        let view = DefinitionFile {
            path: "v.sql".into(),
            text: format!("CREATE FEATURE VIEW v ENTITY named AS\n{select}"),
        };
        let [base, entity] = files;
        Catalog::empty().plan(&[base, entity, view]).map(drop)
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn aggregates_that_differ_by_a_cast_alone_are_two() {
    let twins = "SELECT max(n) OVER {e} AS a, max(CAST(n AS INTEGER)) OVER {e} AS b, \
                 max(CAST(n AS DOUBLE)) OVER {e} AS c FROM events";
    let view = view(twins);
    let types: Vec<DataType> = view
        .features()
        .fields()
        .iter()
        .map(|f| f.data_type().clone())
        .collect();
    assert_eq!(types, [DataType::Int64, DataType::Int32, DataType::Float64]);
    assert_eq!(view.spec().partials.len(), 3);
}

#[test]
fn a_case_of_hundreds_of_branches_is_taken() {
    let branches: String = (0..500)
        .map(|i| format!(" WHEN n = {i} THEN {i}"))
        .collect();
    view(&format!(
        "SELECT max(CASE{branches} ELSE -1 END) OVER {{e}} AS c FROM events"
    ));
}

#[test]
fn a_mark_of_the_byte_order_is_not_seen() {
    let text = format!("\u{feff}{BASE}");
    let file = |text: String| DefinitionFile {
        path: "f.sql".into(),
        text,
    };
    Catalog::empty()
        .plan(&[file(text)])
        .unwrap_or_else(|e| panic!("{e}"));
    let error = Catalog::empty()
        .plan(&[file("\u{feff}SELECT 1".into())])
        .map(drop);
    let error = error.expect_err("no definition").to_string();
    assert!(error.starts_with("f.sql:1:1: expected CREATE"), "{error}");
}
