//! Names that other systems give to columns: MongoDB's `_id`, and words that SQL has uses for.

use super::*;

const TEXT: &str = r#"
CREATE SOURCE visits (_id VARCHAR NOT NULL, interval DOUBLE, "Intervals" BIGINT, at TIMESTAMP NOT NULL,
    WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (connector = 'kafka');
CREATE SOURCE answers (_id VARCHAR NOT NULL, good BOOLEAN, interval TIMESTAMP NOT NULL,
    WATERMARK FOR interval AS interval - INTERVAL '1' MINUTE) WITH (connector = 'kafka');
CREATE ENTITY visitor (_id VARCHAR);
CREATE FEATURE VIEW v ENTITY visitor TTL INTERVAL '1' DAY AS
SELECT _id, at, sum(interval) OVER h AS waited, max("Intervals") FILTER (WHERE interval > 3) OVER h AS most,
       last_value(INTERVAL - 1) OVER h AS before
FROM visits
WINDOW h AS (PARTITION BY _id ORDER BY at RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE s (_id VARCHAR, interval DOUBLE) AS
SELECT t.waited, t.most, request.interval * 2 AS twice FROM request LEFT JOIN v AS t USING (_id);
CREATE MODEL m VERSION 1 FROM 'models/m/1' FEATURES s;
CREATE DEPLOYMENT m ON visits INTO TOPIC 'p' CARRY (_id) STICKY BY (_id) ROUTE VERSION 1 WEIGHT 1;
CREATE MONITOR q ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM answers USING (_id) AS good WITHIN INTERVAL '1' DAY
    REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 0.2;
"#;

#[test]
fn an_underscore_and_the_word_interval_are_names_of_columns_everywhere() {
    let plan = apply(&Catalog::empty(), TEXT);
    let spec = plan.catalog.views()["v"].spec();
    let names = |columns: &[forebay_core::source::Column]| -> Vec<String> {
        columns.iter().map(|column| column.name.clone()).collect()
    };
    assert_eq!(
        names(&plan.catalog.sources()["visits"].columns),
        ["_id", "interval", "Intervals", "at"]
    );
    assert_eq!(names(&spec.key), ["_id"]);
    assert_eq!(spec.ttl_us, Some(DAY_US));
    let again = Catalog::load(plan.catalog.state()).expect("what was saved is read");
    assert_eq!(again.views()["v"].spec().arguments, spec.arguments);
}

#[test]
fn columns_that_forebay_adds_cannot_be_declared() {
    for name in ["_offset", "_forebay_row", "\"_LATE\""] {
        let declared = format!("visits ({name} VARCHAR, interval");
        let text = TEXT.replacen("visits (_id VARCHAR NOT NULL, interval", &declared, 1);
        let error = Catalog::empty().plan(&file(text)).expect_err(name);
        let bare = name.trim_matches('"');
        let words =
            format!("d.sql:2:23: a column's name \"{bare}\" is one of Forebay's own; rename it");
        assert_eq!(error.to_string(), words);
    }
}
