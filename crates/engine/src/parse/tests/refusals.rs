//! Statements that the parser refuses: the exact words with their place, and that the statement
//! which they ask for is taken by the whole catalog.

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
pub(super) const COUNTED: &str = "SELECT count(*) OVER (PARTITION BY k ORDER BY t) AS c FROM s";

/// Plan `texts`, each a file of its own, over the base.
pub(super) fn planned(texts: &[&str]) -> Result<()> {
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
        "f.sql:1:18: column k: VARCHAR(10) is of a source's columns, whose records it judges; write VARCHAR",
        "CREATE ENTITY e (k VARCHAR)",
    ),
    (
        "CREATE FEATURE SERVICE g (a SMALLINT) AS SELECT request.a FROM request",
        "f.sql:1:27: column a: SMALLINT is of a source's columns, whose records it judges; write INTEGER",
        "CREATE FEATURE SERVICE g (a INTEGER) AS SELECT request.a FROM request",
    ),
    (
        "CREATE FEATURE SERVICE g (a REAL) AS SELECT request.a FROM request",
        "f.sql:1:27: column a: REAL is of a source's columns, whose records it judges; write DOUBLE",
        "CREATE FEATURE SERVICE g (a DOUBLE) AS SELECT request.a FROM request",
    ),
    (
        "CREATE ENTITY e (k REAL)",
        "f.sql:1:18: key column k cannot be REAL: NaN and -0.0 have no one equality; write BIGINT or VARCHAR",
        "CREATE ENTITY e (k BIGINT)",
    ),
    (
        "CREATE ENTITY e (k BIGINT(10))",
        "f.sql:1:26: column k: this type has no length; write VARCHAR, DOUBLE, BIGINT, INTEGER, \
         BOOLEAN, DATE or TIMESTAMP",
        "CREATE ENTITY e (k VARCHAR)",
    ),
    (
        "CREATE SOURCE s (x VARCHAR(0), t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = \
         'kafka')",
        "f.sql:1:28: column x: VARCHAR(0) holds no text; write VARCHAR(1) or more",
        "CREATE SOURCE s (x VARCHAR(1), t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = \
         'kafka')",
    ),
    (
        "CREATE ENTITY e (k JSON)",
        "f.sql:1:20: column k: type JSON is not supported; write VARCHAR, DOUBLE, BIGINT, INTEGER, \
         BOOLEAN, DATE or TIMESTAMP",
        "CREATE ENTITY e (k VARCHAR, n BIGINT, i INTEGER, b BOOLEAN, t TIMESTAMP)",
    ),
    (
        "CREATE SOURCE s (x FLOAT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = \
         'kafka')",
        "f.sql:1:20: column x: type FLOAT is not supported; write VARCHAR, DOUBLE, BIGINT, \
         INTEGER, BOOLEAN, DATE or TIMESTAMP",
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
        "f.sql:1:63: interval '1' MONTH: months and years have no fixed length; write days, as in \
         INTERVAL '30' DAY",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1' DAY) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         partitions = '3')",
        "f.sql:1:89: unknown option partitions; known options: connector, topic, format, \
         idle_timeout, event_future_max, delimiter, quote, null",
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
        "CREATE SOURCE s (t TIMESTAMP(9) NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:29: column t: a TIMESTAMP has microseconds; write TIMESTAMP(6), and TIMESTAMP FROM EPOCH \
         NANOS where records count nanoseconds",
        "CREATE SOURCE s (t TIMESTAMP(6) NOT NULL, u TIMESTAMP FROM EPOCH NANOS, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP(3) FROM EPOCH MICROS NOT NULL, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
        "f.sql:1:29: column t: two units are said; write TIMESTAMP(6) FROM EPOCH MICROS",
        "CREATE SOURCE s (t TIMESTAMP(6) FROM EPOCH MICROS NOT NULL, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP FROM EPOCH WEEKS NOT NULL, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
        "f.sql:1:41: expected SECONDS, MILLIS, MICROS or NANOS, found WEEKS",
        "CREATE SOURCE s (t TIMESTAMP FROM EPOCH SECONDS NOT NULL, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (n BIGINT FROM EPOCH MILLIS, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
        "f.sql:1:27: column n: FROM EPOCH is of a time; write TIMESTAMP FROM EPOCH MILLIS",
        "CREATE SOURCE s (n TIMESTAMP FROM EPOCH MILLIS, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL FROM EPOCH MILLIS, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
        "f.sql:1:39: column t: FROM EPOCH stands behind TIMESTAMP; write TIMESTAMP FROM EPOCH MILLIS \
         NOT NULL",
        "CREATE SOURCE s (t TIMESTAMP FROM EPOCH MILLIS NOT NULL, WATERMARK FOR t AS t) WITH \
         (connector = 'kafka')",
    ),
    (
        "CREATE ENTITY e (k TIMESTAMP(3) FROM EPOCH MILLIS)",
        "f.sql:1:29: column k: FROM EPOCH and (3) are of a source's columns, whose records give times \
         as integers; write TIMESTAMP",
        "CREATE ENTITY e (k TIMESTAMP)",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'avro')",
        "f.sql:1:62: unknown format 'avro'; write format = 'json' or 'csv' or 'arrow'",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'json')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         delimiter = ';')",
        "f.sql:1:62: format 'json' has no option delimiter (format 'csv' has it); it has none",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'csv', delimiter = ';')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'csv', quote = '')",
        "f.sql:1:62: quote = '' must be one printable ASCII character, or '\\t' for a tab",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'csv', quote = '''', null = 'NULL')",
    ),
    (
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'csv', delimiter = '\"')",
        "f.sql:1:62: delimiter and quote must differ; change one",
        "CREATE SOURCE s (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', \
         format = 'csv', delimiter = '|')",
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
        "f.sql:1:36: interval '1 year': months and years have no fixed length; write days, as in \
         INTERVAL '30' DAY",
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
        "f.sql:1:36: interval '-5' DAY is negative; write a positive one",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '5' DAY AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '900000000000' DAY AS {c}",
        "f.sql:1:36: interval '900000000000' DAY is too long; at most 292 years of hours and 5 \
         million years of days fit",
        "CREATE FEATURE VIEW v ENTITY e TTL INTERVAL '106580000' DAY AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT FROM",
        "f.sql:1:42: expected identifier, the statement ends",
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
    (
        "CREATE SOURCE IF NOT EXISTS n (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:15: IF NOT EXISTS is not supported: applying a definition that is there changes nothing; drop it, or write CREATE OR REPLACE",
        "CREATE OR REPLACE SOURCE n (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (a DOUBLE[][], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:28: column a: an array holds no arrays; write one array, or a VARCHAR of JSON text that json_get reads",
        "CREATE SOURCE n (a DOUBLE[], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (a ARRAY<BIGINT[]>, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:32: column a: an array holds no arrays; write one array, or a VARCHAR of JSON text that json_get reads",
        "CREATE SOURCE n (a ARRAY<BIGINT>, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (a DOUBLE[3], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:27: column a: an array has no declared length; write [] behind the type",
        "CREATE SOURCE n (a VARCHAR(3)[], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (a DOUBLE ARRAY[], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:32: column a: an array holds no arrays; write one array, or a VARCHAR of JSON text that json_get reads",
        "CREATE SOURCE n (a TIMESTAMP(3)[], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (a DOUBLE[], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', format = 'csv')",
        "f.sql:1:17: source n: column a is DOUBLE[], which records of format 'csv' cannot hold; write format = 'json' or 'arrow'",
        "CREATE SOURCE n (a DOUBLE[], t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', format = 'arrow')",
    ),
    (
        "CREATE ENTITY n (k BIGINT[])",
        "f.sql:1:18: column k: BIGINT[] is of a source's columns and of features; keys and requests have no arrays: write a column for each item, or one VARCHAR",
        "CREATE ENTITY n (k VARCHAR)",
    ),
    (
        "CREATE SOURCE n (a VARCHAR UNSIGNED, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:28: column a: UNSIGNED is not supported; write BIGINT",
        "CREATE SOURCE n (a VARCHAR, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (a BIGINT UNSIGNED, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:27: column a: UNSIGNED is not supported; write BIGINT",
        "CREATE SOURCE n (a BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (t TIMESTAMP WITH TIME ZONE NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:30: column t: TIMESTAMP WITH TIME ZONE is not told from others: every TIMESTAMP is a moment in UTC; write TIMESTAMP",
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, a TIMESTAMP METADATA, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:52: column a: METADATA columns are not supported: time, partition and offset of the record are kept beside each event; drop the column",
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, a DOUBLE DEFAULT 0, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:49: column a: DEFAULT is not supported: a field that is missing is NULL; write coalesce(column, value) where it is read",
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, a DOUBLE, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (t TIMESTAMP NOT NULL COMMENT 'when', WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:39: column t: COMMENT is not supported; write -- and the words behind the line",
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, -- when\n WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, PRIMARY KEY (t), WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:48: PRIMARY KEY is not of a source; drop it, and write CREATE ENTITY e (key VARCHAR)",
        "CREATE SOURCE n (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka'); CREATE ENTITY n (key VARCHAR)",
    ),
    (
        "CREATE SOURCE n (a.b DOUBLE, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:19: column a.b is nested, which is not supported; bring it as a field of its own, at the top of the event: b VARCHAR",
        "CREATE SOURCE n (b VARCHAR, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (a AS b + 1, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:20: column a is computed (AS), which is not supported; compute it where it is read, in the view",
        "CREATE SOURCE n (b BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE n (\"A\" BIGINT, a BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:30: columns A and a differ in case only, and the archive keeps one of them; rename one",
        "CREATE SOURCE n (\"A\" BIGINT, b BIGINT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE SOURCE \"my events\" (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', topic = 'x')",
        "f.sql:1:15: the name of the source \"my events\" names a table of the archive: use up to 128 letters, digits, `_`, `-` and `.`, with no dot in front",
        "CREATE SOURCE \"my-events\" (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka', topic = 'x')",
    ),
    (
        "CREATE SOURCE dead_letters (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
        "f.sql:1:15: the name of the source \"dead_letters\" is a table that the archive has of its own; rename it",
        "CREATE SOURCE letters (t TIMESTAMP NOT NULL, WATERMARK FOR t AS t) WITH (connector = 'kafka')",
    ),
    (
        "CREATE ENTITY n ()",
        "f.sql:1:17: entity n has no key; for features of everything bring a column with one value in each event: CREATE ENTITY n (everything VARCHAR)",
        "CREATE ENTITY n (everything VARCHAR)",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e, e AS {c}",
        "f.sql:1:31: a view belongs to one entity; write an entity whose key has the columns of both, or a view for each",
        "CREATE FEATURE VIEW v ENTITY e AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t) FILTER (WHERE n > 1) AS c FROM s",
        "f.sql:1:91: FILTER stands before OVER; write count(*) FILTER (WHERE condition) OVER (..)",
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) FILTER (WHERE n > 1) OVER (PARTITION BY k ORDER BY t) AS c FROM s",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t RANGE INTERVAL '1' HOUR PRECEDING EXCLUDE TIES) AS c FROM s",
        "f.sql:1:117: expected ), found EXCLUDE: a frame ends with the moment itself, of which nothing is left out; drop EXCLUDE",
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t RANGE INTERVAL '1' HOUR PRECEDING) AS c FROM s",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t ROWS_RANGE 3 PRECEDING) AS c FROM s",
        "f.sql:1:83: expected ROWS, RANGE, GROUPS, found ROWS_RANGE: write RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW",
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW) AS c FROM s",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t) AS c FROM s FOR SYSTEM_TIME AS OF t",
        "f.sql:1:100: expected one of UPDATE or SHARE, found SYSTEM_TIME: FOR SYSTEM_TIME AS OF is not supported; write a feature view for each source: a feature service joins them as of the request's time",
        "CREATE FEATURE VIEW v ENTITY e AS {c}",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT max((n) OVER (PARTITION BY k ORDER BY t) AS c FROM s",
        "f.sql:1:50: expected ), found OVER: a bracket before it is open still; close it, or drop it",
        "CREATE FEATURE VIEW v ENTITY e AS SELECT max((n)) OVER (PARTITION BY k ORDER BY t) AS c FROM s",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT max(‘a’) OVER (PARTITION BY k ORDER BY t) AS c FROM s",
        "f.sql:1:46: expected an expression, found ‘: this is a typographic quote; write ' around a text and \" around a name",
        "CREATE FEATURE VIEW v ENTITY e AS SELECT max('a') OVER (PARTITION BY k ORDER BY t) AS c FROM s",
    ),
    (
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) AS c FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '1' HOUR)) GROUP BY k",
        "f.sql:1:80: TUMBLE is not supported: windows end with the moment that is asked for; write FROM source, and each aggregate as count(*) OVER (PARTITION BY key ORDER BY event_time RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)",
        "CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW) AS c FROM s",
    ),
];

#[test]
fn bad_statements_are_refused_with_their_place_and_a_remedy_that_is_taken() {
    let wrong = wrong(REFUSED, "", |text| {
        planned(&[&text.replace("{c}", COUNTED)])
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
