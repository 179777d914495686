//! Definitions that a catalog refuses, with their place, and that what the refusal asks for is
//! planned over the same catalog.

use super::*;
use crate::remedies::{Row, wrong};

/// Text over the base, the error that it gives, and the text as the error has it.
const REFUSED: &[Row] = &[
    (
        "CREATE ENTITY n (k VARCHAR);\nCREATE ENTITY n (k BIGINT)",
        "d.sql:2:1: entity n is defined twice, first at d.sql:1:1; drop one of them or write \
         CREATE OR REPLACE",
        "CREATE ENTITY n (k BIGINT)",
    ),
    (
        "CREATE ENTITY n (k VARCHAR);\nCREATE ENTITY n (k BIGINT)",
        "d.sql:2:1: entity n is defined twice, first at d.sql:1:1; drop one of them or write \
         CREATE OR REPLACE",
        "CREATE ENTITY n (k VARCHAR);\nCREATE OR REPLACE ENTITY n (k BIGINT)",
    ),
    (
        "DROP ENTITY nothing",
        "d.sql:1:1: entity nothing: it does not exist; known: e; write DROP .. IF EXISTS",
        "DROP ENTITY IF EXISTS nothing",
    ),
    (
        "DROP SOURCE events",
        "d.sql:1:1: source events: feature view v depends on it; drop that too, or change it first",
        "DROP SOURCE events; DROP FEATURE VIEW v; DROP FEATURE VIEW w; DROP FEATURE SERVICE s; \
         DROP MODEL m VERSION 1; DROP DEPLOYMENT m; DROP MONITOR q",
    ),
    (
        "DROP FEATURE VIEW v",
        "d.sql:1:1: feature view v: feature service s depends on it; drop that too, or change it \
         first",
        "DROP FEATURE VIEW v; DROP FEATURE SERVICE s; DROP MODEL m VERSION 1; DROP DEPLOYMENT m; \
         DROP MONITOR q",
    ),
    (
        "DROP FEATURE VIEW v",
        "d.sql:1:1: feature view v: feature service s depends on it; drop that too, or change it \
         first",
        "DROP FEATURE VIEW v; CREATE FEATURE SERVICE s (k VARCHAR, x DOUBLE) AS SELECT t.m, \
         request.x FROM request LEFT JOIN w AS t USING (k)",
    ),
    (
        "DROP MODEL m VERSION 1",
        "d.sql:1:1: model m/1: deployment m depends on it; drop that too, or change it first",
        "DROP MODEL m VERSION 1; DROP DEPLOYMENT m; DROP MONITOR q",
    ),
    (
        "DROP MODEL m VERSION 1",
        "d.sql:1:1: model m/1: deployment m depends on it; drop that too, or change it first",
        "DROP MODEL m VERSION 1; CREATE MODEL m VERSION 2 FROM 'models/m/2' FEATURES s; CREATE \
         DEPLOYMENT m ON events INTO TOPIC 'p' CARRY (id) ROUTE VERSION 2 WEIGHT 1",
    ),
    (
        "DROP DEPLOYMENT m",
        "d.sql:12:1: monitor q: no deployment serves model m, so that no label can meet a \
         prediction; create one",
        "DROP DEPLOYMENT m; CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) \
         ROUTE VERSION 1 WEIGHT 1",
    ),
    (
        "CREATE FEATURE VIEW n ENTITY nobody AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) \
         AS c FROM events",
        "d.sql:1:1: feature view n: there is no entity nobody; known: e",
        "CREATE FEATURE VIEW n ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c \
         FROM events",
    ),
    (
        "CREATE FEATURE VIEW n ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c \
         FROM v",
        "d.sql:1:95: feature view n: there is no source v; known: events, outcomes",
        "CREATE FEATURE VIEW n ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c \
         FROM events",
    ),
    (
        "CREATE FEATURE VIEW request ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) \
         AS c FROM events",
        "d.sql:1:1: feature view request: services read the request by this name; give the view \
         another one",
        "CREATE FEATURE VIEW n ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c \
         FROM events",
    ),
    (
        "CREATE MODEL n VERSION 1 FROM 'x' FEATURES nothing",
        "d.sql:1:1: model n/1: there is no feature service nothing; known: s",
        "CREATE MODEL n VERSION 1 FROM 'x' FEATURES s",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 2 \
         WEIGHT 1",
        "d.sql:1:1: deployment n: there is no model m/2; known: m/1",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON outcomes INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
        "d.sql:1:1: deployment n: source outcomes has no request column k; it has: id, y, ts",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id, nothing) ROUTE \
         VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: source events has no column to carry nothing; it has: id, k, x, \
         ts",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id, id) ROUTE VERSION 1 \
         WEIGHT 1",
        "d.sql:1:1: deployment n: column id is carried twice; name it once",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) STICKY BY (x) ROUTE \
         VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: it cannot stick by x: DOUBLE has no one equality; name another \
         column",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) STICKY BY (k) ROUTE \
         VERSION 1 WEIGHT 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'events' CARRY (id) ROUTE VERSION \
         1 WEIGHT 1",
        "d.sql:1:1: deployment n: it would read its own predictions from topic events; name \
         another topic",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'p.shadow' CARRY (id) ROUTE \
         VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: deployment m writes into topic p too; give each its own",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'p q' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
        "d.sql:1:1: deployment n: 'p q' is no Kafka topic: use 1 to 242 letters, digits, dots, \
         underscores, hyphens",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'p_q' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE FEATURE SERVICE o (k VARCHAR) AS SELECT t.c FROM request LEFT JOIN v AS t USING \
         (k);\nCREATE MODEL m VERSION 2 FROM 'x' FEATURES o;\nCREATE DEPLOYMENT n USING MODEL m ON \
         events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 WEIGHT 1, VERSION 2 WEIGHT 1",
        "d.sql:3:1: deployment n: version 1 reads feature service s, version 2 reads o; make a \
         deployment for each",
        "CREATE FEATURE SERVICE o (k VARCHAR) AS SELECT t.c FROM request LEFT JOIN v AS t USING \
         (k);\nCREATE MODEL m VERSION 2 FROM 'x' FEATURES o;\nCREATE DEPLOYMENT n USING MODEL m ON \
         events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 WEIGHT 1;\nCREATE DEPLOYMENT o USING \
         MODEL m ON events INTO TOPIC 'o' CARRY (id) ROUTE VERSION 2 WEIGHT 1",
    ),
    (
        "CREATE FEATURE SERVICE o (k BIGINT) AS SELECT request.k FROM request;\nCREATE MODEL o \
         VERSION 1 FROM 'x' FEATURES o; CREATE DEPLOYMENT o ON events INTO TOPIC 'o' ROUTE VERSION \
         1 WEIGHT 1",
        "d.sql:2:47: deployment o: request column k of feature service o is Int64, in source \
         events it is Utf8; declare both alike",
        "CREATE FEATURE SERVICE o (k VARCHAR) AS SELECT request.k FROM request;\nCREATE MODEL o \
         VERSION 1 FROM 'x' FEATURES o; CREATE DEPLOYMENT o ON events INTO TOPIC 'o' ROUTE VERSION \
         1 WEIGHT 1",
    ),
    (
        "CREATE FEATURE SERVICE o (x DOUBLE NOT NULL) AS SELECT request.x FROM request;\nCREATE \
         MODEL o VERSION 1 FROM 'x' FEATURES o; CREATE DEPLOYMENT o ON events INTO TOPIC 'o' ROUTE \
         VERSION 1 WEIGHT 1",
        "d.sql:2:47: deployment o: request column x of feature service o is NOT NULL, in source \
         events it may be NULL; declare both alike",
        "CREATE FEATURE SERVICE o (x DOUBLE) AS SELECT request.x FROM request;\nCREATE MODEL o \
         VERSION 1 FROM 'x' FEATURES o; CREATE DEPLOYMENT o ON events INTO TOPIC 'o' ROUTE VERSION \
         1 WEIGHT 1",
    ),
    (
        "CREATE MONITOR n ON MODEL z WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT WHEN \
         PSI > 1",
        "d.sql:1:1: monitor n: there is no model z; known models: m",
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT WHEN \
         PSI > 1",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (y) AS y > \
         1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:1: monitor n: source events has no column to carry y; it has: id, k, x, ts",
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y \
         > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y \
         + 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:88: monitor n: a label is true or false, this one is BIGINT; compare it: \
         expression > number",
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y \
         + 1 > 2 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS z \
         > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:88: monitor n: there is no column z; known: outcomes.id, outcomes.y, outcomes.ts",
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y \
         > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS \
         max(y) > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:88: monitor n: a label is an expression over one row of its source, without \
         aggregates",
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y \
         > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM nowhere USING (id) AS y > \
         1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:1: monitor n: there is no source nowhere; known: events, outcomes",
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y \
         > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' ROUTE VERSION 1 WEIGHT 1",
        "d.sql:12:1: monitor q: deployment n does not carry id, by which labels join; write CARRY \
         (id)",
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE SOURCE tagged (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, tags VARCHAR[], ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'kafka');\nCREATE DEPLOYMENT n USING MODEL m ON tagged INTO TOPIC 'n' CARRY (id, tags) ROUTE VERSION 1 WEIGHT 1",
        "d.sql:2:1: deployment n: a prediction cannot carry tags, which is VARCHAR[]; carry another column, and join by it",
        "CREATE SOURCE tagged (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, tags VARCHAR[], ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'kafka');\nCREATE DEPLOYMENT n USING MODEL m ON tagged INTO TOPIC 'n' CARRY (id) ROUTE VERSION 1 WEIGHT 1",
    ),
    (
        "CREATE SOURCE tagged (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, tags VARCHAR[], ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'kafka');\nCREATE DEPLOYMENT n USING MODEL m ON tagged INTO TOPIC 'n' CARRY (id) STICKY BY (tags) ROUTE VERSION 1 WEIGHT 1",
        "d.sql:2:1: deployment n: it cannot stick by tags, which is VARCHAR[]; name another column",
        "CREATE SOURCE tagged (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, tags VARCHAR[], ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'kafka');\nCREATE DEPLOYMENT n USING MODEL m ON tagged INTO TOPIC 'n' CARRY (id) STICKY BY (k) ROUTE VERSION 1 WEIGHT 1",
    ),
    (
        "CREATE FEATURE SERVICE lists (k VARCHAR) AS SELECT ARRAY[request.k] AS ks FROM request;\nCREATE MODEL n VERSION 1 FROM 'n/1' FEATURES lists",
        "d.sql:2:1: model n/1: feature ks of feature service lists is VARCHAR[], and a model takes no arrays; select an item, ks[1], or cardinality(ks) in a service for the model",
        "CREATE FEATURE SERVICE lists (k VARCHAR) AS SELECT cardinality(ARRAY[request.k]) AS ks FROM request;\nCREATE MODEL n VERSION 1 FROM 'n/1' FEATURES lists",
    ),
    (
        "CREATE SOURCE scored (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, score DOUBLE, ts \
         TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'kafka');\nCREATE \
         DEPLOYMENT n USING MODEL m ON scored INTO TOPIC 'n' CARRY (id, score) ROUTE VERSION 1 \
         WEIGHT 1",
        "d.sql:2:1: deployment n: a prediction has a column score of its own; rename the column of \
         the source to carry it",
        "CREATE SOURCE scored (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, points DOUBLE, ts \
         TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'kafka');\nCREATE \
         DEPLOYMENT n USING MODEL m ON scored INTO TOPIC 'n' CARRY (id, points) ROUTE VERSION 1 \
         WEIGHT 1",
    ),
    (
        "CREATE SOURCE o (id BIGINT, y BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH \
         (connector = 'kafka');\nCREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM o \
         USING (id) AS y > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN PSI > \
         1",
        "d.sql:2:1: monitor n: id is Int64 in the label source and Utf8 in source events; declare \
         both alike",
        "CREATE SOURCE o (id VARCHAR, y BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) \
         WITH (connector = 'kafka');\nCREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS \
         FROM o USING (id) AS y > 1 WITHIN INTERVAL '1' DAY\nREFERENCE TRAINING SET 'r' ALERT WHEN \
         PSI > 1",
    ),
];

#[test]
fn bad_definitions_are_refused_with_their_place_and_a_remedy_that_is_taken() {
    let catalog = base();
    let wrong = wrong(REFUSED, "", |text| catalog.plan(&file(text)).map(drop));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
