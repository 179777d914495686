//! Statements that the parser refuses: the exact words with their place, and that the statement
//! which they ask for is taken by the whole catalog.

use forebay_core::limits::{
    DEFINITION_FILE_MAX_BYTES, NAME_MAX_BYTES, SQL_MAX_BYTES, SQL_MAX_CHAINED_OPERATORS,
    SQL_MAX_SET_BRANCHES, SQL_MAX_TOKENS,
};

use super::*;
use crate::catalog::{Catalog, DefinitionFile};
use crate::remedies::{Row, wrong};

/// What the mended statements read.
const BASE: &str = "
CREATE SOURCE s (k VARCHAR, n BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t)
    WITH (connector = 'kafka');
CREATE ENTITY e (k VARCHAR);
CREATE FEATURE SERVICE f (t TIMESTAMP) AS SELECT request.t FROM request;
CREATE MODEL d VERSION 1 FROM 'd/1' FEATURES f;
CREATE MODEL d VERSION 2 FROM 'd/2' FEATURES f;
CREATE MODEL x VERSION 1 FROM 'x/1' FEATURES f;
";
/// A view's SELECT over it; `{c}` in the texts.
const COUNTED: &str = "SELECT count(*) OVER (PARTITION BY k ORDER BY t) AS c FROM s";

/// Plan `texts`, each a file of its own, over the base.
fn planned(texts: &[&str]) -> Result<()> {
    let file = |path: String, text: &str| DefinitionFile {
        path,
        text: text.to_owned(),
    };
    let base = Catalog::empty().plan(&[file("base.sql".into(), BASE)])?;
    // One file goes by the name in the table.
    let name = |place: usize| match texts.len() {
        1 => "f.sql".to_owned(),
        _ => format!("{place}.sql"),
    };
    let files: Vec<DefinitionFile> = texts
        .iter()
        .enumerate()
        .map(|(place, text)| file(name(place), text))
        .collect();
    base.catalog.plan(&files).map(drop)
}

/// Text, the error that it gives, and the text as the error has it.
const REFUSED: &[Row] = &[
    (
        "SELECT 1",
        "f.sql:1:1: expected CREATE SOURCE, CREATE ENTITY, CREATE FEATURE VIEW, CREATE FEATURE \
         SERVICE, CREATE MODEL, CREATE DEPLOYMENT, CREATE MONITOR or DROP (queries, SHOW and \
         EXPLAIN are no definitions), found SELECT",
        "CREATE FEATURE SERVICE one (t TIMESTAMP) AS SELECT 1 AS x FROM request",
    ),
    (
        "CREATE FEATURE TABLE x",
        "f.sql:1:16: expected VIEW or SERVICE, found TABLE",
        "CREATE FEATURE VIEW x ENTITY e AS {c}",
    ),
    (
        "CREATE ENTITY",
        "f.sql:1:8: expected the name of the entity, the statement ends",
        "CREATE ENTITY n (k VARCHAR)",
    ),
    (
        "CREATE ENTITY _mine (k VARCHAR)",
        "f.sql:1:15: the name of the entity \"_mine\" must have 1 to 255 bytes and not begin with \
         an underscore (those are Forebay's own)",
        "CREATE ENTITY mine (k VARCHAR)",
    ),
    (
        "CREATE ENTITY e (\"\" VARCHAR)",
        "f.sql:1:18: a column's name \"\" must have 1 to 255 bytes",
        "CREATE ENTITY e (k VARCHAR)",
    ),
    (
        "CREATE ENTITY e (_late VARCHAR)",
        "f.sql:1:18: a column's name \"_late\" is one of Forebay's own; rename it",
        "CREATE ENTITY e (late VARCHAR)",
    ),
    (
        "CREATE ENTITY e (k DOUBLE)",
        "f.sql:1:18: key column k cannot be DOUBLE: NaN and -0.0 have no one equality; write \
         BIGINT or VARCHAR",
        "CREATE ENTITY e (k BIGINT)",
    ),
    (
        "CREATE ENTITY e (k DOUBLE)",
        "f.sql:1:18: key column k cannot be DOUBLE: NaN and -0.0 have no one equality; write \
         BIGINT or VARCHAR",
        "CREATE ENTITY e (k VARCHAR)",
    ),
    (
        "CREATE ENTITY e (k VARCHAR, k BIGINT)",
        "f.sql:1:29: column k is declared twice; rename one",
        "CREATE ENTITY e (k VARCHAR, n BIGINT)",
    ),
    (
        "CREATE ENTITY e (k VARCHAR(10))",
        "f.sql:1:27: column k: types have no length here; write VARCHAR, DOUBLE, BIGINT, INTEGER, \
         BOOLEAN or TIMESTAMP",
        "CREATE ENTITY e (k VARCHAR)",
    ),
    (
        "CREATE ENTITY e (k JSON)",
        "f.sql:1:20: column k: type JSON is not supported; write VARCHAR, DOUBLE, BIGINT, INTEGER, \
         BOOLEAN or TIMESTAMP",
        "CREATE ENTITY e (k VARCHAR, n BIGINT, i INTEGER, b BOOLEAN, t TIMESTAMP)",
    ),
    (
        "CREATE SOURCE s (x FLOAT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = \
         'kafka')",
        "f.sql:1:20: column x: type FLOAT is not supported; write VARCHAR, DOUBLE, BIGINT, \
         INTEGER, BOOLEAN or TIMESTAMP",
        "CREATE SOURCE s (x DOUBLE, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = \
         'kafka')",
    ),
    (
        "CREATE ENTITY e (k VARCHAR) trailing",
        "f.sql:1:29: expected the end of the statement, found trailing",
        "CREATE ENTITY e (k VARCHAR)",
    ),
    (
        "CREATE SOURCE s (a VARCHAR) WITH (connector = 'kafka')",
        "f.sql:1:17: source s has no event time; add WATERMARK FOR column AS column - INTERVAL '1' \
         MINUTE to its columns",
        "CREATE SOURCE s (a VARCHAR, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1' \
         MINUTE) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:31: the event-time column t must be TIMESTAMP NOT NULL; declare it so",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR u AS u) WITH (connector = 'kafka')",
        "f.sql:1:40: the watermark's column u is not among the source's columns; declare it",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, u TIMESTAMP NOT NULL, WATERMARK FOR u AS u) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
        "f.sql:1:62: a source has one watermark; drop the second",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS u) WITH (connector = 'kafka')",
        "f.sql:1:59: the watermark for t must be computed from it: AS t - INTERVAL '..' ..",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1' MINUTE) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t)",
        "f.sql:1:60: source s needs WITH (connector = 'kafka', topic = '..', format = 'json')",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         topic = 'a', format = 'json')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kinesis')",
        "f.sql:1:62: unknown connector 'kinesis'; write connector = 'kafka'",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         connector = 'kafka')",
        "f.sql:1:89: option connector is given twice; give it once",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1' MONTH) WITH \
         (connector = 'kafka')",
        "f.sql:1:76: expected a unit after '1', not MONTH: SECOND, MINUTE, HOUR, DAY, found MONTH",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1' DAY) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         partitions = '3')",
        "f.sql:1:89: unknown option partitions; known options: connector, topic, format, \
         idle_timeout, event_future_max",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         idle_timeout = '0 s')",
        "f.sql:1:62: idle_timeout = '0 s' must be from 1 second to 24 hours \
         (SOURCE_TIME_OPTION_MAX_US)",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         idle_timeout = '1 second')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         event_future_max = '25 h')",
        "f.sql:1:62: event_future_max = '25 h' must be from 1 second to 24 hours \
         (SOURCE_TIME_OPTION_MAX_US)",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         event_future_max = '24 hours')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         idle_timeout = '30')",
        "f.sql:1:62: idle_timeout: interval '30' needs a quantity and a unit, as in INTERVAL '30' \
         MINUTE; write idle_timeout = '30 s'",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         idle_timeout = '30 s')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'avro')",
        "f.sql:1:62: format 'avro' is not supported yet; write format = 'json'",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'json')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         topic = 'a b')",
        "f.sql:1:62: 'a b' is no Kafka topic: use 1 to 249 letters, digits, dots, underscores, \
         hyphens",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         topic = 'a_b')",
    ),
    (
        "CREATE MODEL m VERSION 0 FROM 'x' FEATURES f",
        "f.sql:1:24: model versions count from 1; write VERSION 1",
        "CREATE MODEL m VERSION 1 FROM 'x' FEATURES f",
    ),
    (
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 0",
        "f.sql:1:47: no live arm has a weight above 0; write ROUTE VERSION n WEIGHT 100",
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 100",
    ),
    (
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 10 CANARY (p99_ms < 20)",
        "f.sql:1:67: CANARY is not supported yet; write SHADOW VERSION n and compare, then raise \
         its WEIGHT",
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 10, SHADOW VERSION 2",
    ),
    (
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 10 CANARY (p99_ms < 20)",
        "f.sql:1:67: CANARY is not supported yet; write SHADOW VERSION n and compare, then raise \
         its WEIGHT",
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 10, VERSION 2 WEIGHT 10",
    ),
    (
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 10, VERSION 1 WEIGHT 2",
        "f.sql:1:47: version 1 has two arms; give it one",
        "CREATE DEPLOYMENT d ON s INTO TOPIC 'p' ROUTE VERSION 1 WEIGHT 12",
    ),
    (
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '0' DAY REFERENCE TRAINING SET 'r' ALERT WHEN \
         PSI > 1",
        "f.sql:1:36: a window cannot be empty; write WINDOW INTERVAL '7' DAY",
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '7' DAY REFERENCE TRAINING SET 'r' ALERT WHEN \
         PSI > 1",
    ),
    (
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT AT \
         FALSE ALARM RATE 2",
        "f.sql:1:86: false alarm rate 2 is not between 0 and 1; write 0.01",
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT AT \
         FALSE ALARM RATE 0.01",
    ),
    (
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT WHEN \
         PSI > 1 FOR 4 OF 3 WINDOWS",
        "f.sql:1:99: FOR 4 OF 3 WINDOWS can never be met; write FOR 2 OF 3 WINDOWS",
        "CREATE MONITOR m ON MODEL x WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT WHEN \
         PSI > 1 FOR 2 OF 3 WINDOWS",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '1 year' AS {c}",
        "f.sql:1:36: interval '1 year': a year has no fixed length; write days, as in INTERVAL \
         '30' DAY",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '30' DAY AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '1 fortnight' AS {c}",
        "f.sql:1:36: interval '1 fortnight': unknown unit fortnight; write SECOND, MINUTE, HOUR or \
         DAY",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '14 day' AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '1 day 2' AS {c}",
        "f.sql:1:36: interval '1 day 2' needs a quantity and a unit, as in INTERVAL '30' MINUTE",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '30' MINUTE AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '30' AS {c}",
        "f.sql:1:50: expected a unit after '30', not AS: SECOND, MINUTE, HOUR, DAY, found AS",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '30' SECOND AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '-5' DAY AS {c}",
        "f.sql:1:36: interval '-5 DAY' is negative; write a positive one",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '5' DAY AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '900000000000' DAY AS {c}",
        "f.sql:1:36: interval '900000000000 DAY' is too long; at most 292,000 years fit",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '106580000' DAY AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT FROM",
        "f.sql:1:42: expected: identifier, found: EOF",
        "CREATE FEATURE VIEW v ENTITY e AS {c}",
    ),
    (
        "CREATE ENTITY e (k VARCHAR) 'open",
        "f.sql:1:29: the text cannot be split into tokens: unterminated string literal",
        "CREATE ENTITY e (k VARCHAR)",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e WITH (window = 'closed') AS {c}",
        "f.sql:1:38: unknown option window; known options: there is none",
        "CREATE FEATURE VIEW v ENTITY e AS {c}",
    ),
    (
        "DROP MODEL m",
        "f.sql:1:12: expected VERSION, the statement ends",
        "DROP MODEL x VERSION 1",
    ),
];

#[test]
fn bad_statements_are_refused_with_their_place_and_a_remedy_that_is_taken() {
    let wrong = wrong(REFUSED, "", |text| {
        planned(&[&text.replace("{c}", COUNTED)])
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A view over the base whose only feature is `expression`.
fn view(name: &str, expression: &str) -> String {
    format!("CREATE FEATURE VIEW {name} ENTITY e AS SELECT {expression} AS x FROM s")
}

/// `n + n + ..`, with so many operators.
fn chain(operators: usize) -> String {
    vec!["n"; operators + 1].join(" + ")
}

/// A condition over so many values, in `parts` equal lists.
fn listed(values: &[String], parts: usize) -> Vec<String> {
    values
        .chunks(values.len().div_ceil(parts))
        .enumerate()
        .map(|(part, values)| {
            let all = values.join(", ");
            let counted = format!("count(*) FILTER (WHERE k IN ({all})) OVER {WINDOW}");
            view(&format!("v{part}"), &counted)
        })
        .collect()
}

#[test]
fn a_chain_of_any_operator_is_refused_before_it_is_parsed() {
    for link in [
        " << 1",
        " >> 1",
        " # 1",
        " XOR true",
        " ~ 'a'",
        " !~* 'a'",
        " ~~ 'a'",
        " -> 'a'",
        " ->> 'a'",
        " @> 'a'",
        " AT TIME ZONE 'UTC'",
        " IN (true)",
        " ILIKE 'a'",
        " SIMILAR TO 'a'",
        " COLLATE c",
        " <=> 1",
        " && 1",
        " IS NULL",
    ] {
        let most = (SQL_MAX_BYTES - 200) / link.len();
        let many = link.repeat(most.min(4_000));
        let many = view("v", &format!("max(n{many}) OVER {WINDOW}"));
        let words = planned(&[&many]).expect_err(link).to_string();
        let limit = "SQL_MAX_CHAINED_OPERATORS";
        assert!(words.contains(limit), "{link}: {words}");
        // As many as may be are planned, or refused, and nothing overflows.
        let few = link.repeat(SQL_MAX_CHAINED_OPERATORS);
        let few = view("v", &format!("max(n{few}) OVER {WINDOW}"));
        if let Err(error) = planned(&[&few]) {
            let words = error.to_string();
            assert!(!words.contains(limit), "{link}: {words}");
        }
    }
}

const WINDOW: &str = "(PARTITION BY k ORDER BY t)";

/// What is over the limit, the words of the error, and the files that it asks for.
type Over = (String, &'static str, Vec<String>);

fn over_the_limits_of_one_expression() -> Vec<Over> {
    let summed = |of: &str| view("v", &format!("sum({of}) OVER {WINDOW}"));
    let either: Vec<String> = (0..SQL_MAX_CHAINED_OPERATORS)
        .map(|n| format!("n = {n}"))
        .collect();
    let either = format!(
        "count(*) FILTER (WHERE {}) OVER {WINDOW}",
        either.join(" OR ")
    );
    let values: Vec<String> = (0..SQL_MAX_CHAINED_OPERATORS)
        .map(|n| n.to_string())
        .collect();
    let half = chain(SQL_MAX_CHAINED_OPERATORS / 2);
    let below = format!("FROM (SELECT k, t, n, {half} AS inner_part FROM s) AS q");
    let operators = "more than 256 chained operators (SQL_MAX_CHAINED_OPERATORS); use IN for a \
                     long list of OR, or compute the rest in a subquery";
    let inner = format!("{}n{}", "(".repeat(30), ")".repeat(30));
    let nested = inner.replace('n', &inner);
    let levels = "the SQL is nested more than 50 levels deep; compute the inner part in a subquery \
                  of a view, or in a view that a service joins";
    vec![
        (
            view("v", &either),
            operators,
            vec![view(
                "v",
                &format!(
                    "count(*) FILTER (WHERE n IN ({})) OVER {WINDOW}",
                    values.join(", ")
                ),
            )],
        ),
        (
            summed(&chain(SQL_MAX_CHAINED_OPERATORS + 1)),
            operators,
            vec![summed(&chain(SQL_MAX_CHAINED_OPERATORS))],
        ),
        (
            summed(&chain(SQL_MAX_CHAINED_OPERATORS + 1)),
            operators,
            vec![summed(&format!("inner_part + {half}")).replace("FROM s", &below)],
        ),
        (
            summed(&nested),
            levels,
            vec![summed(&inner.replace('n', "inner_part")).replace(
                "FROM s",
                &format!("FROM (SELECT k, t, {inner} AS inner_part FROM s) AS q"),
            )],
        ),
        (
            format!(
                "CREATE FEATURE SERVICE o (n BIGINT, k VARCHAR) AS SELECT {nested} AS x FROM request"
            ),
            levels,
            vec![
                summed(&inner),
                format!(
                    "CREATE FEATURE SERVICE o (n BIGINT, k VARCHAR) AS SELECT {} AS x \
                     FROM request LEFT JOIN v USING (k)",
                    inner.replace('n', "v.x")
                ),
            ],
        ),
    ]
}

fn over_the_limits_of_one_text() -> Vec<Over> {
    let numbers: Vec<String> = (0..SQL_MAX_TOKENS / 2)
        .map(|n| format!("'{}'", n % 10))
        .collect();
    let long: Vec<String> = ["a", "b", "c"]
        .map(|letter| format!("'{}'", letter.repeat(SQL_MAX_BYTES / 2 - 200)))
        .to_vec();
    let part = COUNTED.replace("AS c", "AS x");
    let parts = vec![part.as_str(); SQL_MAX_SET_BRANCHES + 1].join(" UNION ALL ");
    let each = |place: usize| format!("CREATE FEATURE VIEW v{place} ENTITY e AS {part}");
    let entities: Vec<String> = ["a", "b"]
        .map(|name| {
            let padding = " ".repeat(DEFINITION_FILE_MAX_BYTES / 2);
            format!("CREATE ENTITY {name} (k VARCHAR);{padding}")
        })
        .to_vec();
    vec![
        (
            listed(&numbers, 1).concat(),
            "more than 20000 tokens (SQL_MAX_TOKENS); split the statement",
            listed(&numbers, 2),
        ),
        (
            listed(&long, 1).concat(),
            "more than 65536 bytes (SQL_MAX_BYTES); split the statement",
            listed(&long, 2),
        ),
        (
            format!("CREATE FEATURE VIEW v ENTITY e AS {parts}"),
            "more than 64 branches of UNION (SQL_MAX_SET_BRANCHES); write one definition for each \
             part",
            (0..=SQL_MAX_SET_BRANCHES).map(each).collect(),
        ),
        (
            entities.concat(),
            "more than 1048576 (DEFINITION_FILE_MAX_BYTES); split it",
            entities,
        ),
        (
            format!(
                "CREATE ENTITY {} (k VARCHAR)",
                "n".repeat(NAME_MAX_BYTES + 1)
            ),
            "must have 1 to 255 bytes and not begin with an underscore",
            vec![format!(
                "CREATE ENTITY {} (k VARCHAR)",
                "n".repeat(NAME_MAX_BYTES)
            )],
        ),
        (
            format!(
                "CREATE ENTITY o ({} VARCHAR)",
                "n".repeat(NAME_MAX_BYTES + 1)
            ),
            "must have 1 to 255 bytes",
            vec![format!(
                "CREATE ENTITY o ({} VARCHAR)",
                "n".repeat(NAME_MAX_BYTES)
            )],
        ),
    ]
}

#[test]
fn what_is_over_a_limit_is_taken_as_the_error_says() {
    let mut over = over_the_limits_of_one_expression();
    over.extend(over_the_limits_of_one_text());
    for (text, words, mended) in over {
        let error = planned(&[&text]).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
        let mended: Vec<&str> = mended.iter().map(String::as_str).collect();
        planned(&mended).unwrap_or_else(|e| panic!("{words}: {e}"));
    }
}
