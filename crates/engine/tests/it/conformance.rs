//! Compiled definitions and both lowerings that answer for any instant keep what every
//! implementation of their ports promises.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use forebay_engine::{BatchEngine, ProbeEngine};
use forebay_testkit::conformance::{compiled, point_in_time};
use forebay_testkit::unbounded_budget;

use crate::world::{catalog, timestamps};

const DEFINITIONS: &str = "
CREATE SOURCE events (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka');
CREATE SOURCE outcomes (id VARCHAR NOT NULL, y BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka');
CREATE ENTITY e (k VARCHAR);
CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events WHERE x > 0;
CREATE FEATURE VIEW w ENTITY e AS
    SELECT max(x) OVER (PARTITION BY k ORDER BY ts) + 1 AS m, avg(x * 2) OVER (PARTITION BY k ORDER BY ts) AS a FROM events;
CREATE FEATURE SERVICE s (k VARCHAR, x DOUBLE) AS
    SELECT t.c, u.m, request.x, request.x * coalesce(t.c, 1) AS product
    FROM request LEFT JOIN v AS t USING (k) LEFT JOIN w AS u USING (k);
CREATE MODEL m VERSION 1 FROM 'models/m/1' FEATURES s;
CREATE DEPLOYMENT m ON events INTO TOPIC 'p' CARRY (id) ROUTE VERSION 1 WEIGHT 1;
CREATE MONITOR q ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y > 15 WITHIN INTERVAL '1' DAY
    REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 0.2;
";

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

#[test]
fn compiled_views_services_and_labels_keep_the_promises() {
    let catalog = catalog(DEFINITIONS);
    let ids = text(&[Some("1"), Some("2"), Some("3"), Some("4")]);
    let numbers = Float64Array::from(vec![Some(0.5), None, Some(-1.0), Some(2.0)]);
    let numbers: ArrayRef = Arc::new(numbers);
    let keys = text(&[Some("a"), Some("b"), None, Some("a")]);
    let rows = batch(vec![
        ("id", Arc::clone(&ids)),
        ("k", Arc::clone(&keys)),
        ("x", Arc::clone(&numbers)),
        ("ts", timestamps([10, 20, 30, 40])),
    ]);
    for view in catalog.views().values() {
        compiled::compiled_view(view.as_ref(), &catalog.sources()["events"], &rows);
    }
    let request = batch(vec![("k", keys), ("x", numbers)]);
    let service = &catalog.services()["s"];
    compiled::compiled_service(service.as_ref(), &request);
    let outcomes = Int64Array::from(vec![Some(15), Some(16), None, Some(-1)]);
    let rows = batch(vec![
        ("id", ids),
        ("y", Arc::new(outcomes)),
        ("ts", timestamps([10, 20, 30, 40])),
    ]);
    let label = catalog.monitors()["q"].label.as_ref();
    compiled::compiled_label(label.expect("it has one").as_ref(), &rows);
}

#[tokio::test]
async fn both_lowerings_keep_the_promises() {
    let catalog = catalog(point_in_time::DEFINITIONS);
    let probe = ProbeEngine::new(catalog.clone(), unbounded_budget());
    point_in_time::point_in_time(&probe, true).await;
    let batch = BatchEngine::new(catalog, unbounded_budget(), None);
    point_in_time::point_in_time(&batch, false).await;
}
