//! Definitions that a catalog refuses, with their place and a remedy.

use super::*;

/// Text over the base, and the error that it gives.
const REFUSED: &[(&str, &str)] = &[
    (
        "CREATE ENTITY n (k VARCHAR);\nCREATE ENTITY n (k BIGINT)",
        "d.sql:2:1: entity n is defined twice, first at d.sql:1:1; drop one of them or write CREATE OR REPLACE",
    ),
    ("DROP ENTITY nothing", "d.sql:1:1: entity nothing: it does not exist; known: e; write DROP .. IF EXISTS"),
    ("DROP SOURCE events", "d.sql:1:1: source events: feature view v depends on it; drop that too, or change it first"),
    (
        "DROP FEATURE VIEW v",
        "d.sql:1:1: feature view v: feature service s depends on it; drop that too, or change it \
    first",
    ),
    ("DROP MODEL m VERSION 1", "d.sql:1:1: model m/1: deployment m depends on it; drop that too, or change it first"),
    (
        "DROP DEPLOYMENT m",
        "d.sql:12:1: monitor q: no deployment serves model m, so that no label can meet a prediction; create one",
    ),
    (
        "CREATE FEATURE VIEW n ENTITY nobody AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events",
        "d.sql:1:1: feature view n: there is no entity nobody; known: e",
    ),
    (
        "CREATE FEATURE VIEW n ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM v",
        "d.sql:1:95: feature view n: there is no source v; known: events, outcomes",
    ),
    (
        "CREATE FEATURE VIEW request ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events",
        "d.sql:1:1: feature view request: services read the request by this name; give the view another one",
    ),
    (
        "CREATE MODEL n VERSION 1 FROM 'x' FEATURES nothing",
        "d.sql:1:1: model n/1: there is no feature service nothing; known: s",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' ROUTE VERSION 2 WEIGHT 1",
        "d.sql:1:1: deployment n: there is no model m/2; known: m/1",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON outcomes INTO TOPIC 'n' ROUTE VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: source outcomes has no request column k; it has: id, y, ts",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (nothing) ROUTE VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: source events has no column to carry nothing; it has: id, k, x, ts",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' CARRY (id, id) ROUTE VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: column id is carried twice; name it once",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' STICKY BY (x) ROUTE VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: it cannot stick by x: DOUBLE has no one equality; name another column",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'events' ROUTE VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: it would read its own predictions from topic events; name another topic",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'p.shadow' ROUTE VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: deployment m writes into topic p too; give each its own",
    ),
    (
        "CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'p q' ROUTE VERSION 1 WEIGHT 1",
        "d.sql:1:1: deployment n: 'p q' is no Kafka topic: use 1 to 242 letters, digits, dots, underscores, hyphens",
    ),
    (
        "CREATE FEATURE SERVICE o (k VARCHAR) AS SELECT t.c FROM request LEFT JOIN v AS t USING (k);
         CREATE MODEL m VERSION 2 FROM 'x' FEATURES o;
         CREATE DEPLOYMENT n USING MODEL m ON events INTO TOPIC 'n' ROUTE VERSION 1 WEIGHT 1, VERSION 2 WEIGHT 1",
        "d.sql:3:10: deployment n: version 1 reads feature service s, version 2 reads o; make a deployment for each",
    ),
    (
        "CREATE FEATURE SERVICE o (k BIGINT) AS SELECT request.k FROM request;
         CREATE MODEL o VERSION 1 FROM 'x' FEATURES o; CREATE DEPLOYMENT o ON events INTO TOPIC 'o' ROUTE VERSION 1 \
         WEIGHT 1",
        "d.sql:2:56: deployment o: request column k of feature service o is Int64, in source events it is Utf8; \
         declare both alike",
    ),
    (
        "CREATE FEATURE SERVICE o (x DOUBLE NOT NULL) AS SELECT request.x FROM request;
         CREATE MODEL o VERSION 1 FROM 'x' FEATURES o; CREATE DEPLOYMENT o ON events INTO TOPIC 'o' ROUTE VERSION 1 \
         WEIGHT 1",
        "d.sql:2:56: deployment o: request column x of feature service o is NOT NULL, in source events it may be NULL; \
         declare both alike",
    ),
    (
        "CREATE MONITOR n ON MODEL z WINDOW INTERVAL '1' DAY REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:1: monitor n: there is no model z; known models: m",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (y) AS y > 1 WITHIN INTERVAL \
         '1' DAY
         REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:1: monitor n: deployment m does not carry y, by which labels join; write CARRY (y)",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y + 1 WITHIN INTERVAL \
         '1' DAY
         REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:88: monitor n: a label is true or false, this one is Int64; compare it: expression > number",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS z > 1 WITHIN INTERVAL \
         '1' DAY
         REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:88: monitor n: there is no column z; known: outcomes.id, outcomes.y, outcomes.ts",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS max(y) > 1 WITHIN \
         INTERVAL '1' DAY
         REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:88: monitor n: a label is an expression over one row of its source, without aggregates",
    ),
    (
        "CREATE MONITOR n ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM nowhere USING (id) AS y > 1 WITHIN INTERVAL \
         '1' DAY
         REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 1",
        "d.sql:1:1: monitor n: there is no source nowhere; known: events, outcomes",
    ),
];

#[test]
fn bad_definitions_are_refused_with_their_place_and_a_remedy() {
    let catalog = base();
    let outcome = |text: &str| {
        catalog
            .plan(&file(text))
            .map_or_else(|e| e.to_string(), |_| "it is taken".to_owned())
    };
    let wrong: Vec<_> = REFUSED
        .iter()
        .map(|(text, wanted)| (text, outcome(text), wanted))
        .filter(|(_, found, wanted)| found != *wanted)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
