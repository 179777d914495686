//! Answers over one catalog with an object of each kind: what is listed, described and explained,
//! and what is said of a question that is none.

use serde_json::json;

use super::*;
use crate::catalog::DefinitionFile;

const TEXT: &str = "
CREATE SOURCE rides (k VARCHAR NOT NULL, x DOUBLE, good BOOLEAN, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka', topic = 'r');
CREATE ENTITY driver (k VARCHAR);
CREATE FEATURE VIEW v ENTITY driver TTL INTERVAL '1' DAY AS
SELECT k, at, sum(x) OVER h + avg(x) OVER h AS both, min(x) FILTER (WHERE good) OVER h AS least, last_value(x) OVER e AS x
FROM rides WHERE x > 0
WINDOW h AS (PARTITION BY k ORDER BY at RANGE BETWEEN INTERVAL '90' MINUTE PRECEDING AND CURRENT ROW),
       e AS (PARTITION BY k ORDER BY at);
CREATE FEATURE SERVICE s (k VARCHAR) AS SELECT a.both + a.x AS more FROM request LEFT JOIN v AS a USING (k);
CREATE MODEL m VERSION 1 FROM 'models/m/1' FEATURES s;
CREATE MODEL m VERSION 2 FROM 'models/m/2' FEATURES s;
CREATE DEPLOYMENT m ON rides INTO TOPIC 'p' CARRY (k) ROUTE VERSION 1 WEIGHT 3, SHADOW VERSION 2;
CREATE MONITOR q ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM rides USING (k) AS good WITHIN INTERVAL '1' HOUR
    REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 0.2;
";

fn catalog() -> Catalog {
    let file = DefinitionFile {
        path: "f.sql".to_owned(),
        text: TEXT.to_owned(),
    };
    Catalog::empty().plan(&[file]).expect("it plans").catalog
}

fn answer(statement: &str) -> Answer {
    catalog().answer(statement).expect(statement)
}

fn fact(answer: &Answer, name: &str) -> Json {
    let fact = answer.facts.iter().find(|(fact, _)| fact == name);
    fact.unwrap_or_else(|| panic!("no {name} in {answer:?}"))
        .1
        .clone()
}

fn table<'a>(answer: &'a Answer, title: &str) -> &'a AnswerTable {
    let table = answer.tables.iter().find(|table| table.title == title);
    table.unwrap_or_else(|| panic!("no {title} in {answer:?}"))
}

#[test]
fn each_kind_is_listed_with_as_many_values_as_columns() {
    for (statement, title, names) in [
        ("SHOW SOURCES", "sources", vec!["rides"]),
        ("show entities;", "entities", vec!["driver"]),
        ("SHOW FEATURE VIEWS", "feature views", vec!["v"]),
        ("SHOW FEATURE SERVICES", "feature services", vec!["s"]),
        ("SHOW MODELS", "models", vec!["m/1", "m/2"]),
        ("SHOW DEPLOYMENTS", "deployments", vec!["m"]),
        ("SHOW MONITORS", "monitors", vec!["q"]),
    ] {
        let answer = answer(statement);
        let table = table(&answer, title);
        let found: Vec<&Json> = table.rows.iter().map(|row| &row[0]).collect();
        assert_eq!(found, names, "{statement}");
        let fits = |row: &Vec<Json>| row.len() == table.columns.len();
        assert!(
            table.columns.len() > 2 && table.rows.iter().all(fits),
            "{table:?}"
        );
    }
}

#[test]
fn each_kind_is_described_with_its_text_and_who_uses_it() {
    for (statement, kind, users) in [
        ("DESCRIBE SOURCE rides", "source", vec!["v", "m", "q"]),
        ("DESCRIBE driver", "entity", vec!["v"]),
        ("DESCRIBE FEATURE VIEW v", "feature view", vec!["s"]),
        ("describe s", "feature service", vec!["m/1", "m/2"]),
        ("DESCRIBE MODEL m VERSION 2", "model", vec!["m"]),
        ("DESCRIBE DEPLOYMENT m", "deployment", vec![]),
        ("DESCRIBE q", "monitor", vec![]),
    ] {
        let answer = answer(statement);
        assert_eq!(fact(&answer, "kind"), kind);
        let text = fact(&answer, "statement");
        assert!(
            text.as_str()
                .is_some_and(|text| text.starts_with("CREATE ")),
            "{text}"
        );
        let place = fact(&answer, "defined");
        assert!(
            place
                .as_str()
                .is_some_and(|place| place.starts_with("f.sql:")),
            "{place}"
        );
        let used = answer.tables.iter().find(|table| table.title == "used by");
        let used: Vec<&Json> = used
            .iter()
            .flat_map(|t| &t.rows)
            .map(|row| &row[1])
            .collect();
        assert_eq!(used, users, "{statement}");
    }
    let service = answer("DESCRIBE s");
    let features = &table(&service, "features").rows;
    assert_eq!(
        features,
        &[vec![json!("more"), json!("DOUBLE"), json!("a.both, a.x")]]
    );
}

#[test]
fn a_view_is_explained_by_its_windows_states_and_steps() {
    let answer = answer("EXPLAIN FEATURE VIEW v");
    assert_eq!(fact(&answer, "reach"), "for ever");
    assert_eq!(fact(&answer, "ttl"), "1 day");
    let rows = |title: &str| table(&answer, title).rows.clone();
    let column = |title: &str, index: usize| -> Vec<Json> {
        rows(title)
            .into_iter()
            .map(|row| row[index].clone())
            .collect()
    };
    assert_eq!(
        column("windows", 0),
        ["over 90 min", "over everything up to now"]
    );
    // The sum and the average read one state.
    assert_eq!(column("aggregates", 4), [0, 0, 1, 2]);
    assert_eq!(column("aggregates", 5), ["both", "both", "least", "x"]);
    assert_eq!(column("states", 3), [false, true, false]);
    let steps = column("steps", 0);
    assert_eq!(
        steps,
        [
            "scan", "where", "compute", "key", "fold", "merge", "finish", "presence"
        ]
    );
}

#[test]
fn a_question_that_is_none_and_a_name_that_is_not_there_are_told() {
    for (statement, words) in [
        (
            "SELECT 1",
            "statement:1:1: expected SHOW kind, DESCRIBE [kind] name or EXPLAIN FEATURE VIEW name (definitions are \
             applied from files), found SELECT",
        ),
        (
            "SHOW TABLES",
            "statement:1:6: expected SHOW SOURCES, SHOW ENTITIES, SHOW FEATURE VIEWS, SHOW FEATURE SERVICES, SHOW \
             MODELS, SHOW DEPLOYMENTS, SHOW MONITORS, found TABLES",
        ),
        (
            "SHOW FEATURE VIEW",
            "statement:1:14: expected VIEWS or SERVICES, found VIEW",
        ),
        (
            "DESCRIBE FEATURE VIEW w",
            "there is no feature view w; known: v",
        ),
        (
            "DESCRIBE m",
            "there are several objects m; write one of: DESCRIBE MODEL m VERSION 1, DESCRIBE MODEL m VERSION 2, \
             DESCRIBE DEPLOYMENT m",
        ),
        (
            "EXPLAIN FEATURE VIEW v v",
            "statement:1:24: expected the end of the statement, found v",
        ),
        (
            "SHOW MODELS; SHOW MODELS",
            "statement:1:14: expected one statement, no second one, found SHOW",
        ),
        ("", "expected SHOW kind"),
    ] {
        let error = catalog()
            .answer(statement)
            .expect_err(statement)
            .to_string();
        let is_right = error == words || (statement.is_empty() && error.contains(words));
        assert!(is_right, "{statement}: {error}");
    }
}
