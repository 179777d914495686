//! Where rows stand in the log breaks ties of event time in the last value.
//! Late rows count like all others.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use forebay_core::ports::{Known, PointInTime};
use forebay_core::source::meta;
use forebay_engine::{BatchEngine, ProbeEngine};
use forebay_testkit::{MemoryTables, unbounded_budget};

use crate::oracle::Cell;
use crate::world::{SOURCE, ask, batch, catalog, cells, timestamps};

const VIEW: &str = "CREATE FEATURE VIEW v ENTITY one AS
SELECT k, ts, last_value(n) OVER (PARTITION BY k ORDER BY ts) AS latest,
       last_value(n) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' SECOND PRECEDING AND CURRENT ROW) AS recent,
       count(*) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' SECOND PRECEDING AND CURRENT ROW) AS c
FROM events;
CREATE FEATURE SERVICE features (k VARCHAR) AS SELECT v.* FROM request LEFT JOIN v AS v USING (k);";

/// Events of key `a` at one instant: (n, partition, offset), in the order of the file.
fn rows(places: &[(i64, i32, i64)]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("k", Arc::new(StringArray::from(vec!["a"; places.len()]))),
        (
            "n",
            Arc::new(Int64Array::from_iter_values(places.iter().map(|p| p.0))),
        ),
        ("ts", timestamps(places.iter().map(|_| 5))),
        (
            meta::PARTITION,
            Arc::new(Int32Array::from_iter_values(places.iter().map(|p| p.1))),
        ),
        (
            meta::OFFSET,
            Arc::new(Int64Array::from_iter_values(places.iter().map(|p| p.2))),
        ),
    ]
}

fn answer(batches: Vec<RecordBatch>) -> Vec<Cell> {
    let catalog = catalog(&format!("{SOURCE}{VIEW}"));
    let spine = batch(vec![
        ("k", Arc::new(StringArray::from(vec!["a"]))),
        ("event_time", timestamps([5])),
    ]);
    let tables = MemoryTables::one("events", batches);
    let engines: [Box<dyn PointInTime>; 2] = [
        Box::new(ProbeEngine::new(catalog.clone(), unbounded_budget())),
        Box::new(BatchEngine::new(catalog, unbounded_budget(), None)),
    ];
    let [probe, batch] = engines.map(|engine| {
        let answer =
            ask(engine.as_ref(), "features", &spine, &tables, Known::All).expect("answered");
        cells(&answer, spine.num_columns()).remove(0)
    });
    assert_eq!(probe, batch);
    probe
}

#[test]
fn of_events_at_one_instant_the_greatest_partition_and_offset_is_the_last() {
    let places = [(1, 0, 9), (2, 1, 4), (3, 1, 5), (4, 0, 11)];
    for turn in 0..places.len() {
        let mut turned = places;
        turned.rotate_left(turn);
        assert_eq!(
            answer(vec![batch(rows(&turned))]),
            [Cell::Int(3), Cell::Int(3), Cell::Int(4)],
            "{turned:?}"
        );
    }
}

#[test]
fn a_plain_table_is_in_the_order_of_its_rows_through_all_batches() {
    let plain = |n: &[i64]| {
        let places: Vec<(i64, i32, i64)> = n.iter().map(|n| (*n, 0, 0)).collect();
        batch(
            rows(&places)
                .into_iter()
                .filter(|(name, _)| !name.starts_with('_'))
                .collect(),
        )
    };
    let n = |batches: Vec<RecordBatch>| answer(batches)[0].clone();
    assert_eq!(n(vec![plain(&[1, 2]), plain(&[3])]), Cell::Int(3));
    assert_eq!(n(vec![plain(&[3]), plain(&[2, 1])]), Cell::Int(1));
}

#[test]
fn a_late_row_counts() {
    let mut columns = rows(&[(1, 0, 0), (2, 0, 1)]);
    columns.push((meta::LATE, Arc::new(BooleanArray::from(vec![false, true]))));
    assert_eq!(
        answer(vec![batch(columns)]),
        [Cell::Int(2), Cell::Int(2), Cell::Int(2)]
    );
}
