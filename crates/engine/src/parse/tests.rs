//! Statements good and bad: what each becomes, and the exact words of each refusal with its place.

use arrow_schema::DataType;
use forebay_core::definition::AlertThreshold;
use forebay_core::limits::{
    MODEL_VERSION_MAX, SOURCE_TIME_OPTION_MAX_US, SQL_MAX_BYTES, SQL_MAX_CHAINED_OPERATORS,
    SQL_MAX_SET_BRANCHES, SQL_MAX_TOKENS,
};
use forebay_core::source::SourceFormat;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, timestamp_type};

use super::*;

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
        ("flights.departures", SourceFormat::Json)
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
    let Definition::Monitor(monitor, Some(_)) = monitor.definition else {
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

/// Text, and the error that it gives.
const REFUSED: &[(&str, &str)] = &[
    (
        "SELECT 1",
        "f.sql:1:1: expected CREATE SOURCE, CREATE ENTITY, CREATE FEATURE VIEW, CREATE FEATURE SERVICE, CREATE MODEL, \
         CREATE DEPLOYMENT, CREATE MONITOR or DROP (queries, SHOW and EXPLAIN are no definitions), found SELECT",
    ),
    (
        "CREATE FEATURE TABLE x",
        "f.sql:1:16: expected VIEW or SERVICE, found TABLE",
    ),
    (
        "CREATE ENTITY",
        "f.sql:1:8: expected the name of the entity, the statement ends",
    ),
    (
        "CREATE ENTITY _mine (k VARCHAR)",
        "f.sql:1:15: the name of the entity \"_mine\" must have 1 to 255 bytes and not begin with an underscore (those \
         are Forebay's own)",
    ),
    (
        "CREATE ENTITY e (k DOUBLE)",
        "f.sql:1:18: key column k cannot be DOUBLE: NaN and -0.0 have no one equality; write BIGINT or VARCHAR",
    ),
    (
        "CREATE ENTITY e (k VARCHAR, k BIGINT)",
        "f.sql:1:29: column k is declared twice; rename one",
    ),
    (
        "CREATE ENTITY e (k VARCHAR(10))",
        "f.sql:1:27: column k: types have no length here; write VARCHAR, DOUBLE, BIGINT, INTEGER, BOOLEAN or TIMESTAMP",
    ),
    (
        "CREATE ENTITY e (k JSON)",
        "f.sql:1:20: column k: type JSON is not supported; write VARCHAR, DOUBLE, BIGINT, INTEGER, BOOLEAN or \
         TIMESTAMP",
    ),
    (
        "CREATE ENTITY e (k VARCHAR) trailing",
        "f.sql:1:29: expected the end of the statement, found trailing",
    ),
    (
        "CREATE SOURCE s (a VARCHAR) WITH (connector = 'kafka')",
        "f.sql:1:17: source s has no event time; add WATERMARK FOR column AS column - INTERVAL '1' MINUTE to its \
         columns",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:31: the event-time column t must be TIMESTAMP NOT NULL; declare it so",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR u AS u) WITH (connector = 'kafka')",
        "f.sql:1:40: the watermark's column u is not among the source's columns; declare it",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1' MONTH) WITH (connector = 'kafka')",
        "f.sql:1:76: expected a unit after '1', not MONTH: SECOND, MINUTE, HOUR, DAY, found MONTH",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', partitions = '3')",
        "f.sql:1:89: unknown option partitions; known options: connector, topic, format, idle_timeout, event_future_max",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', idle_timeout = '0 s')",
        "f.sql:1:62: idle_timeout = '0 s' must be from 1 second to 24 hours (SOURCE_TIME_OPTION_MAX_US)",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', event_future_max = '25 h')",
        "f.sql:1:62: event_future_max = '25 h' must be from 1 second to 24 hours (SOURCE_TIME_OPTION_MAX_US)",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', idle_timeout = '30')",
        "f.sql:1:62: idle_timeout: interval '30' needs a quantity and a unit, as in INTERVAL '30' MINUTE; write idle_timeout \
         = '30 s'",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', format = 'avro')",
        "f.sql:1:62: format 'avro' is not supported yet; write format = 'json'",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', topic = 'a b')",
        "f.sql:1:62: 'a b' is no Kafka topic: use 1 to 249 letters, digits, dots, underscores, hyphens",
    ),
    (
        "CREATE MODEL m VERSION 0 FROM 'x' FEATURES f",
        "f.sql:1:24: model versions count from 1; write VERSION 1",
    ),
    (
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 0",
        "f.sql:1:47: no live arm has a weight above 0; write ROUTE VERSION n WEIGHT 100",
    ),
    (
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 10 CANARY (p99_ms < 20)",
        "f.sql:1:67: CANARY is not supported yet; write SHADOW VERSION n and compare, then raise its WEIGHT",
    ),
    (
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 10, VERSION 1 WEIGHT 2",
        "f.sql:1:47: version 1 has two arms; give it one",
    ),
    (
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '0' DAY REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "f.sql:1:36: a window cannot be empty; write WINDOW INTERVAL '7' DAY",
    ),
    (
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT AT FALSE ALARM RATE 2",
        "f.sql:1:86: false alarm rate 2 is not between 0 and 1; write 0.01",
    ),
    (
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1 FOR 4 OF 3 \
         WINDOWS",
        "f.sql:1:99: FOR 4 OF 3 WINDOWS can never be met; write FOR 2 OF 3 WINDOWS",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '1 year' AS SELECT 1",
        "f.sql:1:36: interval '1 year': a year has no fixed length; write days, as in INTERVAL '30' DAY",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '-5' DAY AS SELECT 1",
        "f.sql:1:36: interval '-5 DAY' is negative; write a positive one",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '900000000000' DAY AS SELECT 1",
        "f.sql:1:36: interval '900000000000 DAY' is too long; at most 292,000 years fit",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT FROM",
        "f.sql:1:42: expected: identifier, found: EOF",
    ),
    (
        "CREATE ENTITY e (k VARCHAR) 'open",
        "f.sql:1:29: the text cannot be split into tokens: unterminated string literal",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e WITH (window = 'closed') AS SELECT 1",
        "f.sql:1:38: unknown option window; known options: there is none",
    ),
    (
        "DROP MODEL m",
        "f.sql:1:12: expected VERSION, the statement ends",
    ),
];

#[test]
fn bad_statements_are_refused_with_their_place_and_a_remedy() {
    let outcome = |text: &str| {
        parse_file("f.sql", text).map_or_else(|e| e.to_string(), |_| "it is taken".to_owned())
    };
    let wrong: Vec<_> = REFUSED
        .iter()
        .map(|(text, wanted)| (text, outcome(text), wanted))
        .filter(|(_, found, wanted)| found != *wanted)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
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
fn limits_are_counted_on_tokens() {
    let view = |expression: &str| {
        format!("CREATE FEATURE VIEW v ENTITY e AS SELECT {expression} AS x FROM s")
    };
    let chain = |n: usize| view(&vec!["a"; n + 1].join(" + "));
    assert!(parse_file("f", &chain(SQL_MAX_CHAINED_OPERATORS)).is_ok());
    let cases = [
        (
            chain(SQL_MAX_CHAINED_OPERATORS + 1),
            "SQL_MAX_CHAINED_OPERATORS",
        ),
        (view(&vec!["a"; SQL_MAX_TOKENS].join(",")), "SQL_MAX_TOKENS"),
        (
            view(&format!("'{}'", "x".repeat(SQL_MAX_BYTES))),
            "SQL_MAX_BYTES",
        ),
        (
            view(&vec!["1 FROM s"; SQL_MAX_SET_BRANCHES + 1].join(" UNION SELECT ")),
            "SQL_MAX_SET_BRANCHES",
        ),
        (
            " ".repeat(DEFINITION_FILE_MAX_BYTES + 1),
            "DEFINITION_FILE_MAX_BYTES",
        ),
        (
            view(&format!("{}1{}", "(".repeat(60), ")".repeat(60))),
            "nested more than 50 levels",
        ),
    ];
    for (text, limit) in cases {
        let error = parse_file("f", &text).expect_err(limit);
        assert!(error.to_string().contains(limit), "{limit}: {error}");
    }
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
    let columns: Vec<String> = (0..1_024).map(|i| format!("c{i} DOUBLE")).collect();
    let text = format!(
        "CREATE SOURCE s ({}, WATERMARK FOR c0 AS c0) WITH (connector = 'kafka')",
        columns.join(", ")
    );
    let one_more = text
        .replace("(c0 DOUBLE", "(t TIMESTAMP NOT NULL, c0 DOUBLE")
        .replace("c0 AS c0", "t AS t");
    let error = parse_file("f.sql", &one_more).expect_err("1,025 columns");
    assert!(error.to_string().contains("SOURCE_MAX_COLUMNS"), "{error}");
    let error = parse_file("f.sql", &text).expect_err("c0 is no time, but the number is allowed");
    assert!(
        error.to_string().contains("must be TIMESTAMP NOT NULL"),
        "{error}"
    );
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
