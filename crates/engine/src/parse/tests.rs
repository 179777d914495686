//! Statements and what each becomes. Those that are refused stand in `refusals`.

use std::collections::BTreeMap;

use arrow_schema::DataType;
use forebay_core::definition::AlertThreshold;
use forebay_core::domain::Domain;
use forebay_core::format::SourceFormat;
use forebay_core::limits::{MODEL_VERSION_MAX, SOURCE_MAX_COLUMNS, SOURCE_TIME_OPTION_MAX_US};
use forebay_core::source::EpochUnit;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, timestamp_type};

use super::*;

mod canonical;
mod limits;
mod refusals;

/// The statements of a file of that name.
fn parse_file(name: &str, text: &str) -> Result<Vec<Statement>> {
    super::parse_file(name, text, &Patience::endless())
}

fn parse(text: &str) -> Vec<Statement> {
    parse_file("f.sql", text).expect("well formed")
}

fn one(text: &str) -> Statement {
    let mut statements = parse(text);
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0)
}

const SOURCE: &str = "CREATE SOURCE departures (
    id VARCHAR NOT NULL, delay DOUBLE PRECISION, n INT, big BIGINT NULL, ok BOOLEAN, \"Odd Name\" TEXT,
    dep_time TIMESTAMP NOT NULL,
    WATERMARK FOR dep_time AS dep_time - INTERVAL '1 hour 30 minutes'
) WITH (connector = 'kafka', topic = 'flights.departures', format = 'json')";

#[test]
fn a_source_is_its_columns_its_watermark_and_its_topic() {
    let statement = one(SOURCE);
    assert_eq!(
        (statement.kind, statement.name.as_str()),
        (ObjectKind::Source, "departures")
    );
    let Definition::Source(source) = statement.definition else {
        panic!("a source")
    };
    let columns: Vec<_> = source
        .columns
        .iter()
        .map(|c| (c.name.as_str(), &c.data_type, c.nullable))
        .collect();
    let time = timestamp_type();
    assert_eq!(
        columns,
        [
            ("id", &DataType::Utf8, false),
            ("delay", &DataType::Float64, true),
            ("n", &DataType::Int32, true),
            ("big", &DataType::Int64, true),
            ("ok", &DataType::Boolean, true),
            ("Odd Name", &DataType::Utf8, true),
            ("dep_time", &time, false),
        ]
    );
    assert_eq!(
        (source.time_column, source.watermark_delay_us),
        (6, HOUR_US + 30 * MINUTE_US)
    );
    assert_eq!(
        (source.topic.as_str(), source.format),
        ("flights.departures", SourceFormat::json())
    );
}

#[test]
fn a_source_declares_when_its_partitions_are_idle_and_how_far_its_events_may_be_ahead() {
    let source = |options: &str| {
        let statement = one(&format!(
            "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka'{options})"
        ));
        let Definition::Source(source) = statement.definition else {
            panic!("a source")
        };
        (source.idle_timeout_us, source.event_future_max_us)
    };
    assert_eq!(source(""), (30 * SECOND_US, 10 * MINUTE_US));
    assert_eq!(
        source(", idle_timeout = '45 s', event_future_max = '15 minutes'"),
        (45 * SECOND_US, 15 * MINUTE_US)
    );
    assert_eq!(
        source(", idle_timeout = '1 second', event_future_max = '24 h'"),
        (SECOND_US, SOURCE_TIME_OPTION_MAX_US),
        "the least and the most"
    );
}

#[test]
fn a_source_says_the_unit_of_times_that_are_integers() {
    let units = |columns: &str| {
        let statement = one(&format!(
            "CREATE SOURCE s ({columns}, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')"
        ));
        let Definition::Source(source) = statement.definition else {
            panic!("a source")
        };
        assert!(
            source
                .columns
                .iter()
                .all(|c| c.data_type == timestamp_type())
        );
        source.epoch_units
    };
    assert_eq!(units("u TIMESTAMP"), BTreeMap::new());
    let expected = BTreeMap::from([
        ("a".to_owned(), EpochUnit::Seconds),
        ("b".to_owned(), EpochUnit::Millis),
        ("c".to_owned(), EpochUnit::Nanos),
        ("D".to_owned(), EpochUnit::Micros),
    ]);
    let columns = "a TIMESTAMP FROM EPOCH SECONDS, b TIMESTAMP(3) FROM EPOCH MILLIS NOT NULL, \
                   c timestamp from epoch nanos null, \"D\" TIMESTAMP (6) FROM EPOCH MICROS";
    assert_eq!(units(columns), expected);
}

#[test]
fn a_source_says_what_its_columns_admit() {
    let statement = one(
        "CREATE SOURCE s (a SMALLINT, b real NOT NULL, c VARCHAR(20) NULL, d TIMESTAMP (0), e TIMESTAMP(6), \
         f INTEGER, g VARCHAR, h TIMESTAMP(3) FROM EPOCH MILLIS, t TIMESTAMP(3) NOT NULL, WATERMARK FOR t AS t) \
         WITH (connector = 'kafka')",
    );
    let Definition::Source(source) = statement.definition else {
        panic!("a source")
    };
    let expected = [
        ("a", Domain::SmallInt),
        ("b", Domain::Real),
        ("c", Domain::Text(20)),
        ("d", Domain::Time(0)),
        ("h", Domain::Time(3)),
        ("t", Domain::Time(3)),
    ];
    let expected = expected.map(|(name, domain)| (name.to_owned(), domain));
    assert_eq!(source.domains, BTreeMap::from(expected));
    let names = source.columns.iter().map(|c| source.type_name(c));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "SMALLINT",
            "REAL",
            "VARCHAR(20)",
            "TIMESTAMP(0)",
            "TIMESTAMP",
            "INTEGER",
            "VARCHAR",
            "TIMESTAMP(3)",
            "TIMESTAMP(3)"
        ]
    );
    let wide: Vec<&DataType> = source.columns.iter().map(|c| &c.data_type).collect();
    assert_eq!(wide[..2], [&DataType::Int32, &DataType::Float64]);
    assert!(!source.columns[1].nullable && source.columns[2].nullable);
}

#[test]
fn models_deployments_and_monitors_are_complete_after_parsing() {
    let model = one("create model late VERSION 2 FROM 'models/late/2' FEATURES f;");
    assert_eq!(model.name, "late/2");
    let deployment =
        one("CREATE DEPLOYMENT d USING MODEL late ON departures INTO TOPIC 'p' CARRY (id, n) STICKY BY (id)
         ROUTE VERSION 1 WEIGHT 90, VERSION 2 WEIGHT 10, SHADOW VERSION 3");
    let Definition::Deployment(deployment) = deployment.definition else {
        panic!("a deployment")
    };
    assert_eq!(
        (deployment.model.as_str(), deployment.carry.len()),
        ("late", 2)
    );
    let routes: Vec<_> = deployment
        .routes
        .iter()
        .map(|r| (r.version, r.weight, r.shadow))
        .collect();
    assert_eq!(routes, [(1, 90, false), (2, 10, false), (3, 0, true)]);
    let monitor = one("CREATE MONITOR m ON MODEL late WINDOW INTERVAL '7' DAY
         LABELS FROM arrivals USING (id) AS arr_delay > 15 AND (n IS NULL OR n < 3) WITHIN INTERVAL '1' DAY
         REFERENCE TRAINING SET 'q1' ALERT WHEN PSI > 0.25 FOR 2 OF 3 WINDOWS");
    let Definition::Monitor(MonitorStatement {
        def: monitor,
        label: Some(_),
    }) = monitor.definition
    else {
        panic!("a monitor with a label")
    };
    assert_eq!(
        (monitor.window_us, monitor.lateness_us),
        (7 * DAY_US, HOUR_US)
    );
    assert_eq!(
        (
            monitor.threshold,
            monitor.raised_windows,
            monitor.of_windows
        ),
        (AlertThreshold::Psi(0.25), 2, 3)
    );
    let labels = monitor.labels.expect("written");
    assert_eq!(labels.expression, "arr_delay > 15 AND (n IS NULL OR n < 3)");
    assert_eq!(labels.within_us, DAY_US);
}

#[test]
fn the_canonical_text_ignores_layout_comments_case_and_or_replace() {
    let plain = one("CREATE ENTITY airport (origin VARCHAR)");
    let other = one("-- why\ncreate or replace Entity AIRPORT\n  ( Origin varchar ) /* so */");
    assert_eq!(plain.canonical, other.canonical);
    assert!(other.or_replace && !plain.or_replace);
    assert_eq!(
        other.text,
        "create or replace Entity AIRPORT\n  ( Origin varchar )"
    );
    assert_eq!((other.at.line, other.at.column), (2, 1));
    let quoted = one("CREATE ENTITY airport (\"Origin\" VARCHAR)");
    assert_ne!(
        plain.canonical, quoted.canonical,
        "a quoted name keeps its case"
    );
}

#[test]
fn statements_are_split_at_semicolons_outside_of_texts_and_comments() {
    let statements = parse(
        ";; CREATE ENTITY a (k VARCHAR); -- CREATE ENTITY no (k VARCHAR);\n DROP ENTITY IF EXISTS b;",
    );
    let kinds: Vec<_> = statements
        .iter()
        .map(|s| {
            (
                s.name.as_str(),
                matches!(s.definition, Definition::Drop { .. }),
            )
        })
        .collect();
    assert_eq!(kinds, [("a", false), ("b", true)]);
    assert_eq!(
        one("CREATE MODEL m VERSION 1 FROM 'a;b' FEATURES f").name,
        "m/1"
    );
}

#[test]
fn intervals_are_sums_of_quantities_and_units() {
    let ttl = |text: &str| {
        let view = one(&format!(
            "CREATE FEATURE VIEW v ENTITY e TTL {text} AS SELECT 1 AS x FROM s"
        ));
        let Definition::View(view) = view.definition else {
            panic!("a view")
        };
        view.ttl_us.expect("written")
    };
    for (text, wanted) in [
        ("INTERVAL '30' MINUTE", 30 * MINUTE_US),
        ("INTERVAL '1 day 2 hours'", DAY_US + 2 * HOUR_US),
        ("INTERVAL 5 SECOND", 5 * SECOND_US),
        ("INTERVAL '2' WEEK", 14 * DAY_US),
        ("INTERVAL '250 milliseconds'", SECOND_US / 4),
        ("INTERVAL '0' DAY", 0),
    ] {
        assert_eq!(ttl(text), wanted, "{text}");
    }
}

#[test]
fn an_error_in_a_later_statement_names_its_own_line() {
    let error = parse_file(
        "f.sql",
        "CREATE ENTITY a (k VARCHAR);\n\nCREATE ENTITY b (k\n  FLOAT);",
    )
    .expect_err("no FLOAT");
    assert!(
        error
            .to_string()
            .starts_with("f.sql:4:3: column k: type FLOAT"),
        "{error}"
    );
}

#[test]
fn versions_of_a_model_are_limited() {
    let text = |version: u32| format!("CREATE MODEL m VERSION {version} FROM 'x' FEATURES f");
    one(&text(MODEL_VERSION_MAX));
    let error = parse_file("f.sql", &text(MODEL_VERSION_MAX + 1)).expect_err("too great");
    assert!(error.to_string().contains("MODEL_VERSION_MAX"), "{error}");
}

#[test]
fn columns_of_a_source_are_limited() {
    let source = |columns: usize| {
        let more: Vec<String> = (1..columns).map(|i| format!("c{i} DOUBLE")).collect();
        let text = format!(
            "CREATE SOURCE s (t TIMESTAMP NOT NULL, {}, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
            more.join(", ")
        );
        parse_file("f.sql", &text)
    };
    let error = source(SOURCE_MAX_COLUMNS + 1).expect_err("one too many");
    let words = "source s has 1025 columns, more than 1024 (SOURCE_MAX_COLUMNS); leave some out";
    assert!(error.to_string().ends_with(words), "{error}");
    assert!(source(SOURCE_MAX_COLUMNS).is_ok(), "one is left out");
}

/// The library says a place only inside its words; `Cursor::parser_error` reads it there. This
/// fails where an upgrade words it otherwise.
#[test]
fn the_parser_words_its_places_as_they_are_read() {
    let raw = datafusion::sql::sqlparser::parser::Parser::new(&DIALECT)
        .try_with_sql("SELECT 1 FROM 2")
        .and_then(|mut parser| parser.parse_query())
        .expect_err("no table")
        .to_string();
    assert!(raw.contains(" at Line: 1, Column: 15"), "{raw}");
}
