//! Tests that are refused: the exact words with their place, and that the text which they ask for
//! is taken; what literals mean; and that a test is no definition.

use forebay_core::limits::FEATURE_TEST_MAX_ROWS;

use super::*;
use crate::remedies::{Row, wrong};

const DEFINITIONS: &str = "
CREATE SOURCE s (k VARCHAR NOT NULL, n INTEGER, x DOUBLE, b BOOLEAN, u TIMESTAMP, t TIMESTAMP NOT NULL,
    WATERMARK FOR t AS t) WITH (connector = 'kafka');
CREATE ENTITY e (k VARCHAR);
CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t) AS c FROM s;
CREATE FEATURE VIEW both ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t) AS c FROM s;
CREATE FEATURE SERVICE both (k VARCHAR, n BIGINT NOT NULL) AS
    SELECT a.c, request.n FROM request LEFT JOIN v AS a USING (k);
";
/// What a test begins with that expects something.
const ASK: &str = "AT '2024-01-01' EXPECT v (k, c) VALUES ('a', 1)";

fn file(path: &str, text: &str) -> DefinitionFile {
    DefinitionFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn read(text: &str) -> Result<FeatureTests> {
    let catalog = Catalog::empty().plan(&[file("base.sql", DEFINITIONS)])?;
    FeatureTests::read(
        &catalog.catalog,
        &[file("f.sql", &text.replace("{ask}", ASK))],
    )
}

/// Text, the error that it gives, and the text as the error has it.
const REFUSED: &[Row] = &[
    (
        "CREATE ENTITY e2 (k VARCHAR)",
        "1:8: expected CREATE TEST (files of tests hold nothing else; definitions stand in the folder above), found \
         ENTITY",
        "CREATE TEST e2 {ask}",
    ),
    (
        "CREATE TEST a",
        "1:13: expected GIVEN source, or AT TIMESTAMP '..' EXPECT, the statement ends",
        "CREATE TEST a {ask}",
    ),
    (
        "CREATE TEST a {ask}; CREATE TEST a {ask}",
        "1:64: test a: test a is there twice, first at f.sql:1:1; rename one",
        "CREATE TEST a {ask}; CREATE TEST b {ask}",
    ),
    (
        "CREATE TEST a GIVEN s (k, t) VALUES ('a') {ask}",
        "1:37: the row has 1 values for 2 columns",
        "CREATE TEST a GIVEN s (k, t) VALUES ('a', '2024-01-01') {ask}",
    ),
    (
        "CREATE TEST a GIVEN s (k) VALUES ('a') {ask}",
        "1:15: test a: source s declares t TIMESTAMP NOT NULL; give it a value in each row",
        "CREATE TEST a GIVEN s (k, t) VALUES ('a', '2024-01-01') {ask}",
    ),
    (
        "CREATE TEST a GIVEN s (k, t) VALUES (NULL, '2024-01-01') {ask}",
        "1:38: test a: column k is declared NOT NULL; write a value",
        "CREATE TEST a GIVEN s (k, t) VALUES ('', '2024-01-01') {ask}",
    ),
    (
        "CREATE TEST a GIVEN s (k, k, t) VALUES ('a', 'a', '2024-01-01') {ask}",
        "1:27: test a: column k is named twice; name it once",
        "CREATE TEST a GIVEN s (k, t) VALUES ('a', '2024-01-01') {ask}",
    ),
    (
        "CREATE TEST a GIVEN r (k, t) VALUES ('a', '2024-01-01') {ask}",
        "1:15: test a: there is no source r; known: s",
        "CREATE TEST a GIVEN s (k, t) VALUES ('a', '2024-01-01') {ask}",
    ),
    (
        "CREATE TEST a GIVEN s (k, t, n) VALUES ('a', '2024-01-01', 3000000000) {ask}",
        "1:60: test a: column n is INTEGER, and 3000000000 is none; write a whole number within its range or NULL",
        "CREATE TEST a GIVEN s (k, t, n) VALUES ('a', '2024-01-01', 30) {ask}",
    ),
    (
        "CREATE TEST a GIVEN s (k, t) VALUES ('a', 'noon') {ask}",
        "1:43: test a: column t is TIMESTAMP, and 'noon' is none; write '2013-01-31 12:00:00' or NULL",
        "CREATE TEST a GIVEN s (k, t) VALUES ('a', '2013-01-31 12:00:00') {ask}",
    ),
    (
        "CREATE TEST a AT '2024-13-01' EXPECT v (k, c) VALUES ('a', 1)",
        "1:18: test a: '2024-13-01' is no instant; write TIMESTAMP '2013-01-31 12:00:00'",
        "CREATE TEST a AT TIMESTAMP '2013-01-31 12:00:00' EXPECT v (k, c) VALUES ('a', 1)",
    ),
    (
        "CREATE TEST a AT '2024-01-01' EXPECT w (k, c) VALUES ('a', 1)",
        "1:38: test a: there is no feature view and no feature service w; known views: both, v; known services: both",
        "CREATE TEST a AT '2024-01-01' EXPECT v (k, c) VALUES ('a', 1)",
    ),
    (
        "CREATE TEST a AT '2024-01-01' EXPECT both (k, c) VALUES ('a', 1)",
        "1:38: test a: there is a feature view and a feature service both; write EXPECT FEATURE VIEW both or EXPECT \
         FEATURE SERVICE both",
        "CREATE TEST a AT '2024-01-01' EXPECT FEATURE VIEW both (k, c) VALUES ('a', 1)",
    ),
    (
        "CREATE TEST a AT '2024-01-01' EXPECT FEATURE SERVICE both (k, c) VALUES ('a', 1)",
        "1:54: test a: feature service both is asked by n; name that column and give it a value in each row",
        "CREATE TEST a AT '2024-01-01' EXPECT FEATURE SERVICE both (k, n, c) VALUES ('a', 1, 1)",
    ),
    (
        "CREATE TEST a AT '2024-01-01' EXPECT v (k) VALUES ('a')",
        "1:38: test a: no feature of feature view v is expected; name at least one column of it",
        "CREATE TEST a AT '2024-01-01' EXPECT v (k, c) VALUES ('a', 1)",
    ),
    (
        "CREATE TEST a AT '2024-01-01' EXPECT v (k, d) VALUES ('a', 1)",
        "1:44: test a: feature view v has no column d; known: k, c",
        "CREATE TEST a AT '2024-01-01' EXPECT v (k, c) VALUES ('a', 1)",
    ),
    (
        "CREATE TEST a AT '2024-01-01' EXPECT v (k, c) VALUES ('a', 1 + 1)",
        "1:62: expected ), found +",
        "CREATE TEST a AT '2024-01-01' EXPECT v (k, c) VALUES ('a', 2)",
    ),
];

#[test]
fn what_is_wrong_with_a_test_is_said_at_its_place() {
    let taken = |text: &str| read(text).map(drop);
    assert_eq!(
        wrong(REFUSED, "f.sql:", taken),
        Vec::<(&str, String, String)>::new()
    );
}

#[test]
fn literals_are_what_events_and_sql_mean_by_them() {
    let text = "CREATE TEST a GIVEN s (k, n, x, b, u, t) VALUES
        ('it''s', -7, -0.0, TRUE, TIMESTAMP '2024-01-01T00:00:00.5Z', '1970-01-01 00:00:01'),
        ('', NULL, NaN, false, NULL, '1970-01-01'), ('', +1, 'NaN', NULL, NULL, '1970-01-01'),
        ('', NULL, -Infinity, NULL, NULL, '1970-01-01'), ('', NULL, 1e-3, NULL, NULL, '1970-01-01')
        AT TIMESTAMP '2024-01-01' EXPECT v (k, c) VALUES ('a', NULL)";
    let tests = read(text).expect("taken").tests;
    let GivenEvents::Rows(rows) = &tests[0].given[0].events else {
        panic!("rows were given");
    };
    let cell = |row: usize, name: &str| {
        let column = rows.column_by_name(name).expect("a column of the source");
        Value::from_array(column, row).expect("of a source's type")
    };
    let expected = [
        (0, "k", Value::Text("it's".into())),
        (0, "n", Value::Int(-7)),
        (0, "x", Value::Float(-0.0)),
        (0, "b", Value::Bool(true)),
        (0, "u", Value::Timestamp(1_704_067_200_500_000)),
        (0, "t", Value::Timestamp(1_000_000)),
        (1, "n", Value::Null),
        (1, "x", Value::Float(f64::NAN)),
        (1, "b", Value::Bool(false)),
        (2, "n", Value::Int(1)),
        (2, "x", Value::Float(f64::NAN)),
        (3, "x", Value::Float(f64::NEG_INFINITY)),
        (4, "x", Value::Float(0.001)),
    ];
    for (row, name, value) in expected {
        let found = cell(row, name);
        assert!(found.same_bits(&value), "{name} of row {row} is {found:?}");
    }
    assert_eq!(tests[0].given[0].places[1].to_string(), "f.sql:3:9");
}

#[test]
fn a_name_of_request_and_feature_is_the_requests_first_and_the_features_again() {
    let text =
        "CREATE TEST a AT '2024-01-01' EXPECT FEATURE SERVICE both (k, n, n) VALUES ('a', 1, 2)";
    let tests = read(text).expect("taken").tests;
    let expect = &tests[0].expect[0];
    let asked = Value::from_array(expect.request.column(1), 0).expect("a number");
    assert_eq!(asked, Value::Int(1));
    assert_eq!(expect.features[0].index, 1);
    assert_eq!(expect.features[0].values, [Value::Int(2)]);
    let thrice = text.replace("n, n)", "n, n, n)").replace("1, 2", "1, 2, 2");
    let error = read(&thrice).expect_err("it is there a third time");
    assert!(
        error
            .to_string()
            .ends_with("column n is named twice; name it once")
    );
}

#[test]
fn a_test_gives_and_expects_no_more_rows_than_the_limit() {
    let of = |events: usize, rows: usize| {
        let events = vec!["('a', '2024-01-01')"; events].join(", ");
        let rows = vec!["('a', 1)"; rows].join(", ");
        format!(
            "CREATE TEST a GIVEN s (k, t) VALUES {events} AT '2024-01-01' EXPECT v (k, c) VALUES {rows}"
        )
    };
    let most = FEATURE_TEST_MAX_ROWS;
    read(&of(most, most)).expect("as many as there may be");
    for (text, words) in [(of(most + 1, 1), "gives"), (of(1, most + 1), "expects")] {
        let error = read(&text).expect_err("one more").to_string();
        let expected = format!(
            "f.sql:1:1: test a {words} {} rows, more than {most} (FEATURE_TEST_MAX_ROWS); split it",
            most + 1
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn a_test_among_definitions_is_refused_with_where_it_belongs() {
    let text = format!("CREATE TEST a {ASK}");
    let error = Catalog::empty()
        .plan(&[file("f.sql", &text)])
        .expect_err("it is none");
    assert_eq!(
        error.to_string(),
        "f.sql:1:8: a test is no definition; move it into a file of the folder tests beside the definitions, which \
         forebay test runs"
    );
}

#[test]
fn given_values_are_those_of_the_declared_type() {
    let source = "CREATE SOURCE n (k VARCHAR(2), s SMALLINT, r REAL, u TIMESTAMP(0), t TIMESTAMP NOT NULL, \
                  WATERMARK FOR t AS t) WITH (connector = 'kafka');";
    let catalog = Catalog::empty()
        .plan(&[file("base.sql", DEFINITIONS), file("n.sql", source)])
        .unwrap_or_else(|e| panic!("{e}"));
    let read = |values: &str| {
        let text =
            format!("CREATE TEST a GIVEN n (k, s, r, u, t) VALUES ({values}, '2024-01-01') {ASK}");
        let read = FeatureTests::read(&catalog.catalog, &[file("f.sql", &text)]);
        read.map_err(|e| e.to_string())
    };
    let taken =
        read("'äö', -32768, 0.1, '1969-12-31 23:59:59.5'").unwrap_or_else(|e| panic!("{e}"));
    let GivenEvents::Rows(rows) = &taken.tests[0].given[0].events else {
        panic!("rows")
    };
    let cell =
        |column: usize| Value::from_array(rows.column(column), 0).expect("a type of a source");
    assert_eq!(cell(1), Value::Int(-32_768));
    assert_eq!(cell(2), Value::Float(f64::from(0.1_f32)));
    assert_eq!(cell(3), Value::Timestamp(-1_000_000));
    for (values, words) in [
        (
            "'abc', 1, 1, NULL",
            "column k is VARCHAR(2), and this is 3 characters",
        ),
        (
            "'a', 32768, 1, NULL",
            "column s is SMALLINT, and this is a number out of its range",
        ),
        (
            "'a', 1, 3.5e38, NULL",
            "column r is REAL, and this is a number beyond the largest REAL",
        ),
    ] {
        let error = read(values).map(drop).expect_err(values);
        assert!(error.contains(words), "{error}");
    }
}
