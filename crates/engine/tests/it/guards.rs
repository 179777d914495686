//! Expressions that would fail where they are not looked at, and rows that a view cannot take: the
//! stream's fold, the probe and the batch lowering agree on each, and the values are written down.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use forebay_core::cells::CellFault;
use forebay_core::fault::{FaultKind, LeftOutRows};
use forebay_core::ports::{Known, PointInTime};
use forebay_core::time::SECOND_US;
use forebay_engine::{BatchEngine, Catalog, ProbeEngine};
use forebay_testkit::{MemoryTables, unbounded_budget};

use crate::exact::NAN;
use crate::oracle::Cell;
use crate::world::{ask_whole, batch, catalog, cells, timestamps};

/// A view `v` over events of key `a`, one a second from the first on, and a service over it.
struct Case {
    /// The columns beside key and time.
    columns: &'static str,
    values: Vec<(&'static str, ArrayRef)>,
    /// Features over `{ever}`: all events up to the moment.
    select: &'static str,
    /// What the service has beside the view's features.
    service: &'static str,
}

impl Case {
    fn new(
        columns: &'static str,
        values: Vec<(&'static str, ArrayRef)>,
        select: &'static str,
    ) -> Self {
        Self {
            columns,
            values,
            select,
            service: "v.*",
        }
    }

    fn catalog(&self) -> Catalog {
        let select = self
            .select
            .replace("{ever}", "(PARTITION BY k ORDER BY ts)");
        catalog(&format!(
            "CREATE SOURCE events (k VARCHAR, ts TIMESTAMP NOT NULL, {}, WATERMARK FOR ts AS ts)
                 WITH (connector = 'kafka');
             CREATE ENTITY e (k VARCHAR);
             CREATE FEATURE VIEW v ENTITY e AS SELECT {select} FROM events;
             CREATE FEATURE VIEW all_of_them ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events;
             CREATE FEATURE SERVICE s (k VARCHAR, q BIGINT) AS SELECT {} FROM request LEFT JOIN v AS v USING (k);",
            self.columns, self.service
        ))
    }

    fn events(&self) -> RecordBatch {
        let rows = self.values[0].1.len();
        let times = (1..).take(rows).map(|second| second * SECOND_US);
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("k", Arc::new(StringArray::from(vec!["a"; rows]))),
            ("ts", timestamps(times)),
        ];
        columns.extend(self.values.iter().cloned());
        batch(columns)
    }

    /// The answers for each `q`, long behind the last event, and their cells without a value; both
    /// lowerings agree, and on the events that they leave out, which the stream does too.
    fn answers_and_faults(&self, asked: &[i64]) -> (Vec<Vec<Cell>>, Vec<CellFault>) {
        let catalog = self.catalog();
        let tables = MemoryTables::one("events", vec![self.events()]);
        let spine = batch(vec![
            (
                "event_time",
                timestamps(asked.iter().map(|_| 1_000 * SECOND_US)),
            ),
            ("k", Arc::new(StringArray::from(vec!["a"; asked.len()]))),
            ("q", Arc::new(Int64Array::from(asked.to_vec()))),
        ]);
        let engines: [(&str, Box<dyn PointInTime>); 2] = [
            (
                "probe",
                Box::new(ProbeEngine::new(catalog.clone(), unbounded_budget())),
            ),
            (
                "batch",
                Box::new(BatchEngine::new(catalog, unbounded_budget(), None)),
            ),
        ];
        let [probe, batch] = engines.map(|(name, engine)| {
            let answer = ask_whole(engine.as_ref(), "s", &spine, &tables, Known::All);
            let answer = answer.unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.select));
            let left_out: Vec<usize> = answer.left_out.iter().map(LeftOutRows::count).collect();
            let cells = cells(&answer.rows, spine.num_columns());
            (cells, answer.faults, left_out)
        });
        assert_eq!(probe, batch, "{}", self.select);
        let (cells, faults, left_out) = probe;
        assert_eq!(left_out, [self.left_out().len()], "{}", self.select);
        (cells, faults)
    }

    /// The same where every cell has a value.
    fn answers(&self, asked: &[i64]) -> Vec<Vec<Cell>> {
        let (cells, faults) = self.answers_and_faults(asked);
        assert_eq!(faults, [], "{}", self.select);
        cells
    }

    fn row(&self) -> Vec<Cell> {
        self.answers(&[0]).remove(0)
    }

    /// What the stream leaves out of the view: rows and words.
    fn left_out(&self) -> Vec<(u32, String)> {
        let catalog = self.catalog();
        let folded = catalog.views()["v"].fold(&self.events()).expect("folds");
        for row in &folded.left_out {
            assert!(!folded.source_rows.contains(&row.row));
        }
        let other = catalog.views()["all_of_them"].fold(&self.events());
        let other = other.expect("folds");
        assert_eq!(other.source_rows.len(), self.values[0].1.len());
        let words = folded.left_out.into_iter();
        words.map(|fault| (fault.row, fault.to_string())).collect()
    }
}

fn bigint(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn alternating() -> Vec<(&'static str, ArrayRef)> {
    vec![("n", bigint(&[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]))]
}

#[test]
fn a_filter_guards_the_argument() {
    let case = Case::new(
        "n BIGINT",
        alternating(),
        "sum(10 / n) FILTER (WHERE n <> 0) OVER {ever} AS f, count(*) OVER {ever} AS c",
    );
    assert_eq!(case.row(), [Cell::Int(50), Cell::Int(10)]);
    assert_eq!(case.left_out(), []);
    let case = Case::new(
        "s VARCHAR",
        vec![("s", Arc::new(StringArray::from(vec!["x", "5"])))],
        "sum(CAST(s AS DOUBLE)) FILTER (WHERE s LIKE '5%') OVER {ever} AS f",
    );
    assert_eq!(case.row(), [Cell::Float(5.0)]);
    assert_eq!(case.left_out(), []);
}

#[test]
fn conditions_guard_what_stands_behind_them() {
    for (condition, expected) in [
        ("n <> 0 AND 10 / n > 5", 5),
        ("n = 0 OR 10 / n > 5", 10),
        ("CASE WHEN n <> 0 THEN 10 / n > 5 ELSE false END", 5),
    ] {
        let select = format!("count(*) FILTER (WHERE {condition}) OVER {{ever}} AS f");
        let case = Case::new("n BIGINT", alternating(), select.leak());
        assert_eq!(case.row(), [Cell::Int(expected)], "{condition}");
        assert_eq!(case.left_out(), [], "{condition}");
    }
}

#[test]
fn a_service_answers_a_batch_as_it_answers_its_rows() {
    let mut case = Case::new(
        "n BIGINT",
        vec![("n", bigint(&[1]))],
        "count(*) OVER {ever} AS c",
    );
    case.service = "request.q <> 0 AND 100 / request.q > 5 AS f";
    let expected = [
        vec![Cell::Bool(false)],
        vec![Cell::Bool(false)],
        vec![Cell::Bool(true)],
    ];
    assert_eq!(case.answers(&[0, 50, 5]), expected);
    for (q, expected) in [0, 50, 5].into_iter().zip(expected) {
        assert_eq!(case.answers(&[q]), [expected]);
    }
}

#[test]
fn a_row_that_an_argument_cannot_take_is_left_out_with_its_reason() {
    let case = Case::new(
        "c BIGINT",
        vec![("c", bigint(&[1 << 62, 1]))],
        "max(c * 4) OVER {ever} AS f, count(*) OVER {ever} AS n",
    );
    assert_eq!(case.row(), [Cell::Int(4), Cell::Int(1)]);
    let words = "c * 4: the result does not fit into its type".to_owned();
    assert_eq!(case.left_out(), [(0, words)]);
    let case = Case::new(
        "c BIGINT",
        vec![("c", bigint(&[i64::MIN]))],
        "max(-c) OVER {ever} AS f",
    );
    assert_eq!(case.row(), [Cell::Null]);
    let words = "-c: the result does not fit into its type".to_owned();
    assert_eq!(case.left_out(), [(0, words)]);
}

#[test]
fn a_row_on_which_where_or_a_filter_fails_is_left_out() {
    let case = Case::new(
        "n BIGINT",
        alternating(),
        "count(*) FILTER (WHERE 10 / n > 5) OVER {ever} AS f, count(*) OVER {ever} AS c",
    );
    assert_eq!(case.row(), [Cell::Int(5), Cell::Int(5)]);
    let rows: Vec<u32> = case.left_out().iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [0, 2, 4, 6, 8]);
    // One argument, of an aggregate with a FILTER and of one without.
    let case = Case::new(
        "n BIGINT",
        alternating(),
        "sum(10 / n) FILTER (WHERE n <> 0) OVER {ever} AS f, min(10 / n) OVER {ever} AS g",
    );
    assert_eq!(case.row(), [Cell::Int(50), Cell::Int(10)]);
    assert_eq!(case.left_out().len(), 5);
}

#[test]
fn integer_op_integer_is_bigint() {
    let integer = |value: i32| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
    let case = Case::new(
        "c INTEGER, q INTEGER",
        vec![("c", integer(3_000_000)), ("q", integer(1_000))],
        "sum(c * q) OVER {ever} AS f, max(c * q) OVER {ever} AS g",
    );
    assert_eq!(
        case.row(),
        [Cell::Int(3_000_000_000), Cell::Int(3_000_000_000)]
    );
}

#[test]
fn a_computed_nan_is_the_greatest_and_minus_zero_is_zero() {
    let double = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let case = Case::new(
        "x DOUBLE, y DOUBLE",
        vec![("x", double(0.0)), ("y", double(0.0))],
        "count(*) FILTER (WHERE x / y > 5) OVER {ever} AS gt, count(*) FILTER (WHERE x / y < 5) OVER {ever} AS lt,
         count(*) FILTER (WHERE x / y = CAST('NaN' AS DOUBLE)) OVER {ever} AS eq,
         last_value(greatest(x / y, 1.0)) OVER {ever} AS g",
    );
    let expected = [Cell::Int(1), Cell::Int(0), Cell::Int(1), Cell::Float(NAN)];
    assert_eq!(case.row(), expected);
    let case = Case::new(
        "x DOUBLE",
        vec![("x", double(-0.0))],
        "count(*) FILTER (WHERE x = 0) OVER {ever} AS eq, count(*) FILTER (WHERE x IN (0, 1, 2, 3)) OVER {ever} AS inlist,
         count(*) FILTER (WHERE CASE x WHEN 0 THEN true ELSE false END) OVER {ever} AS cs,
         count(nullif(x, 0)) OVER {ever} AS nf, last_value(1.0 / nullif(x, 0)) OVER {ever} AS f",
    );
    let expected = [1, 1, 1, 0].map(Cell::Int);
    assert_eq!(case.row()[..4], expected);
    assert_eq!(case.row()[4], Cell::Null);
}

#[test]
fn similar_to_matches_the_whole_text() {
    let case = Case::new(
        "s VARCHAR",
        vec![("s", Arc::new(StringArray::from(vec!["buy"])))],
        "count(*) FILTER (WHERE s SIMILAR TO 'b') OVER {ever} AS a,
         count(*) FILTER (WHERE s SIMILAR TO 'b%') OVER {ever} AS b",
    );
    assert_eq!(case.row(), [Cell::Int(0), Cell::Int(1)]);
}

#[test]
fn two_aggregates_may_differ_by_a_cast_alone() {
    let case = Case::new(
        "b BIGINT",
        vec![("b", bigint(&[7]))],
        "max(b) OVER {ever} AS a, max(CAST(b AS INT)) OVER {ever} AS c",
    );
    assert_eq!(case.row(), [Cell::Int(7), Cell::Int(7)]);
}

fn fault(column: usize, row: u32, what: &str) -> CellFault {
    CellFault {
        column,
        row,
        kind: FaultKind::Division,
        what: what.into(),
    }
}

#[test]
fn a_feature_without_a_value_is_null_and_its_neighbours_are_answered() {
    let mut case = Case::new(
        "n BIGINT",
        vec![("n", bigint(&[1]))],
        "100 / (count(*) OVER {ever} - 1) AS share, count(*) OVER {ever} AS c",
    );
    let (cells, faults) = case.answers_and_faults(&[0]);
    assert_eq!(cells, [[Cell::Null, Cell::Int(1)]]);
    let share = Arc::clone(&faults[0].what);
    assert!(share.starts_with("100 / "), "{share}");
    assert_eq!(faults, [fault(0, 0, &share)]);
    // One cell of one row of a service, and what reads the view's.
    case.service = "100 / request.q AS own, v.share + 1 AS more, v.c, CASE WHEN v.c > 1 THEN v.share ELSE 7 END AS lazy";
    let (cells, faults) = case.answers_and_faults(&[50, 0]);
    let neighbours = [Cell::Null, Cell::Int(1), Cell::Int(7)];
    for (row, own) in cells.iter().zip([Cell::Int(2), Cell::Null]) {
        assert_eq!(row[0], own);
        assert_eq!(row[1..], neighbours);
    }
    let own = Arc::clone(&faults[0].what);
    let expected = [fault(0, 1, &own), fault(1, 0, &share), fault(1, 1, &share)];
    assert_eq!(faults, expected);
}

#[test]
fn a_key_without_events_has_no_fault_whatever_its_expressions_are() {
    let case = Case::new(
        "n BIGINT",
        vec![("n", bigint(&[1]))],
        "CAST(k AS BIGINT) + count(*) OVER {ever} AS f",
    );
    let tables = MemoryTables::one("events", vec![case.events()]);
    let spine = batch(vec![
        ("event_time", timestamps([1_000 * SECOND_US, 0])),
        ("k", Arc::new(StringArray::from(vec!["stranger", "a"]))),
        ("q", bigint(&[0, 0])),
    ]);
    let catalog = case.catalog();
    let engines: [Box<dyn PointInTime>; 2] = [
        Box::new(ProbeEngine::new(catalog.clone(), unbounded_budget())),
        Box::new(BatchEngine::new(catalog, unbounded_budget(), None)),
    ];
    for engine in engines {
        let answer = ask_whole(engine.as_ref(), "s", &spine, &tables, Known::All);
        let answer = answer.expect("answered");
        assert_eq!(cells(&answer.rows, 3), [[Cell::Null], [Cell::Null]]);
        assert_eq!(answer.faults, []);
    }
}

#[test]
fn an_event_that_is_left_out_counts_where_a_row_would_see_it() {
    let case = Case::new(
        "c BIGINT",
        vec![("c", bigint(&[1 << 62, 1, 1 << 62]))],
        "max(c * 4) OVER {ever} AS f",
    );
    let tables = MemoryTables::one("events", vec![case.events()]);
    let asked = [("a", 2), ("a", 1), ("stranger", 9), ("a", 3), ("a", 3)];
    for (rows, expected) in [(0..2, 1), (2..3, 0), (1..5, 2), (0..0, 0)] {
        let asked = &asked[rows];
        let times = asked.iter().map(|(_, second)| second * SECOND_US);
        let keys: Vec<&str> = asked.iter().map(|(key, _)| *key).collect();
        let spine = batch(vec![
            ("event_time", timestamps(times)),
            ("k", Arc::new(StringArray::from(keys))),
            ("q", bigint(&vec![0; asked.len()])),
        ]);
        let catalog = case.catalog();
        let engines: [Box<dyn PointInTime>; 2] = [
            Box::new(ProbeEngine::new(catalog.clone(), unbounded_budget())),
            Box::new(BatchEngine::new(catalog, unbounded_budget(), None)),
        ];
        for engine in engines {
            let answer = ask_whole(engine.as_ref(), "s", &spine, &tables, Known::All);
            let left_out = &answer.expect("answered").left_out;
            assert_eq!(left_out[0].count(), expected, "{asked:?}");
        }
    }
}
