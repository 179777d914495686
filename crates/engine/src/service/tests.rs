//! Services: what SELECT may read and what `finish` computes. What is refused stands in `refusals`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::cells::{CellFault, Cells};
use forebay_core::fault::FaultKind;
use forebay_core::ports::CompiledService;
use forebay_core::time::{DAY_US, timestamp_type};

use crate::catalog::{Catalog, DefinitionFile};
use crate::error::Result;

mod queries;
mod refusals;

const BASE: &str = "
CREATE SOURCE events (k VARCHAR, n BIGINT, x DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka');
CREATE ENTITY e (k VARCHAR);
CREATE ENTITY pair (k VARCHAR, n BIGINT);
CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER w AS c, avg(x) OVER w AS a FROM events
    WINDOW w AS (PARTITION BY k ORDER BY ts);
CREATE FEATURE VIEW p ENTITY pair AS SELECT max(x) OVER (PARTITION BY k, n ORDER BY ts) AS m FROM events;
";

fn try_service(request: &str, select: &str) -> Result<Arc<dyn CompiledService>> {
    let files = [
        DefinitionFile {
            path: "base.sql".into(),
            text: BASE.into(),
        },
        DefinitionFile {
            path: "s.sql".into(),
            text: format!("CREATE FEATURE SERVICE s ({request}) AS\n{select}"),
        },
    ];
    let plan = Catalog::empty().plan(&files)?;
    Ok(Arc::clone(&plan.catalog.services()["s"]))
}

fn service(select: &str) -> Arc<dyn CompiledService> {
    try_service("k VARCHAR, n BIGINT, d DOUBLE", select).unwrap_or_else(|e| panic!("{select}: {e}"))
}

fn names(service: &Arc<dyn CompiledService>) -> Vec<String> {
    service
        .spec()
        .features
        .iter()
        .map(|f| f.name.clone())
        .collect()
}

fn request() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("d", DataType::Float64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("a"), None])),
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(Float64Array::from(vec![Some(10.0), None])),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("well formed")
}

/// The second, the third of January 2024 and so on, at noon.
fn moments(rows: i64) -> TimestampMicrosecondArray {
    let noon = |row| 1_704_110_400_000_000 + (row + 1) * DAY_US;
    TimestampMicrosecondArray::from_iter_values((0..rows).map(noon)).with_timezone("+00:00")
}

/// Features of view v: c and a.
fn features() -> Cells {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(4), None])),
        Arc::new(Float64Array::from(vec![Some(2.5), None])),
    ];
    columns.into()
}

#[test]
fn expressions_see_request_columns_and_features_alike() {
    let service = service(
        "SELECT request.d, t.c, t.a - request.d AS diff, coalesce(CAST(t.c AS DOUBLE), -1) AS c0, CAST(n AS DOUBLE) AS \
         n,
                upper(request.k) AS name, p.m
         FROM request LEFT JOIN v AS t USING (k) LEFT OUTER JOIN p USING (k, n)",
    );
    assert_eq!(names(&service), ["d", "c", "diff", "c0", "n", "name", "m"]);
    let keys: Vec<_> = service
        .spec()
        .views
        .iter()
        .map(|v| (v.alias.as_str(), v.key_columns.clone()))
        .collect();
    assert_eq!(keys, [("t", vec![0]), ("p", vec![0, 1])]);
    let maximum: ArrayRef = Arc::new(Float64Array::from(vec![Some(9.0), None]));
    let asked = request();
    let answer = service
        .finish(
            &asked,
            &moments(2),
            &[features(), vec![Arc::clone(&maximum)].into()],
        )
        .expect("finishes");
    let float = |i: usize| {
        answer.columns[i]
            .as_primitive::<Float64Type>()
            .iter()
            .collect::<Vec<_>>()
    };
    assert!(
        Arc::ptr_eq(&answer.columns[0], asked.column(2))
            && Arc::ptr_eq(&answer.columns[6], &maximum)
    );
    assert_eq!(float(2), [Some(-7.5), None]);
    assert_eq!(float(3), [Some(4.0), Some(-1.0)]);
    assert_eq!(float(4), [Some(1.0), Some(2.0)]);
    assert_eq!(
        answer.columns[5]
            .as_string::<i32>()
            .iter()
            .collect::<Vec<_>>(),
        [Some("A"), None]
    );
    assert!(service.spec().features.iter().all(|f| f.nullable));
}

#[test]
fn stars_stand_for_the_features_of_a_view_and_for_the_request() {
    assert_eq!(
        names(&service(
            "SELECT t.* FROM request LEFT JOIN v AS t USING (k)"
        )),
        ["c", "a"]
    );
    assert_eq!(
        names(&service(
            "SELECT r.*, t.c FROM request AS r LEFT JOIN v t USING (k)"
        )),
        ["k", "n", "d", "c"]
    );
    assert_eq!(
        names(&service("SELECT * FROM request LEFT JOIN v USING (k)")),
        ["k", "n", "d", "c", "a"]
    );
    assert_eq!(names(&service("SELECT d FROM request")), ["d"]);
}

#[test]
fn one_view_may_be_read_for_two_keys() {
    let service = try_service(
        "origin VARCHAR, dest VARCHAR",
        "SELECT o.c AS origin_c, d.c AS dest_c, o.a - d.a AS diff FROM request
         LEFT JOIN v AS o ON o.k = request.origin LEFT JOIN v AS d ON (request.dest = d.k)",
    )
    .expect("two lookups");
    let keys: Vec<_> = service
        .spec()
        .views
        .iter()
        .map(|v| (v.alias.as_str(), v.key_columns.clone()))
        .collect();
    assert_eq!(keys, [("o", vec![0]), ("d", vec![1])]);
    let schema = Schema::new(vec![
        Field::new("dest", DataType::Utf8, true),
        Field::new("origin", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["x", "y"])),
        Arc::new(StringArray::from(vec!["u", "v"])),
    ];
    let request = RecordBatch::try_new(Arc::new(schema), columns).expect("any order of columns");
    let other: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![5, 6])),
        Arc::new(Float64Array::from(vec![0.5, 1.5])),
    ];
    let answer = service
        .finish(&request, &moments(2), &[features(), other.into()])
        .expect("finishes");
    assert_eq!(
        answer.columns[2]
            .as_primitive::<Float64Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(2.0), None]
    );
}

#[test]
fn a_request_has_a_moment_which_no_star_stands_for() {
    let service = service(
        "SELECT *, request_time() AS at, date_part('day', request_time()) + n AS day
         FROM (SELECT n, request_time() AS inner FROM request) AS r",
    );
    assert_eq!(names(&service), ["n", "inner", "at", "day"]);
    let answer = service.finish(&request(), &moments(2), &[]);
    let answer = answer.expect("finishes");
    let at: ArrayRef = Arc::new(moments(2).with_data_type(timestamp_type()));
    assert_eq!(answer.columns[1..3], [Arc::clone(&at), at]);
    let days = answer.columns[3].as_primitive::<Int64Type>();
    assert_eq!(days.values(), &[3, 5]);
}

#[test]
fn a_value_that_fails_is_null_and_told_with_the_expression_that_failed() {
    let service = service(
        "SELECT t.c, t.c + 1 AS next, 7 / (CAST(n AS BIGINT) - 1) AS own, CASE WHEN n = 1 THEN 0 ELSE t.c END AS lazy,
                coalesce(t.c, 0) AS c0, t.a
         FROM request LEFT JOIN v AS t USING (k)",
    );
    let of_view = CellFault {
        column: 0,
        row: 1,
        kind: FaultKind::Overflow,
        what: "x + 1".into(),
    };
    let mut features = features();
    features.faults.push(of_view.clone());
    let answer = service.finish(&request(), &moments(2), &[features]);
    let answer = answer.expect("finishes");
    let inherited = |column| CellFault {
        column,
        ..of_view.clone()
    };
    let own = CellFault {
        column: 2,
        row: 0,
        kind: FaultKind::Division,
        what: Arc::clone(&answer.faults[2].what),
    };
    let faults = [inherited(0), inherited(1), own, inherited(3), inherited(4)];
    assert_eq!(answer.faults, faults);
    assert!(answer.faults[2].what.contains('/'), "{}", answer.faults[2]);
    let null = |column: usize, row: usize| answer.columns[column].is_null(row);
    assert!(faults.iter().all(|f| null(f.column, f.row as usize)));
    assert!(!null(0, 0) && !null(1, 0) && !null(2, 1) && !null(3, 0) && !null(5, 0));
}

#[test]
fn what_a_caller_hands_over_is_checked() {
    let service = service("SELECT t.c, request.d FROM request LEFT JOIN v AS t USING (k)");
    let error = service
        .finish(
            &request().project(&[0, 1]).expect("columns"),
            &moments(2),
            &[features()],
        )
        .expect_err("no d");
    assert_eq!(
        error.to_string(),
        "column d of the request of feature service s is missing"
    );
    let error = service
        .finish(&request(), &moments(2), &[])
        .expect_err("no features");
    assert_eq!(
        error.to_string(),
        "feature service s was given features of other views than it reads"
    );
    let columns = features().columns;
    let empty: Vec<ArrayRef> = columns.iter().map(|a| a.slice(0, 0)).collect();
    let answer = service.finish(&request().slice(0, 0), &moments(0), &[empty.into()]);
    let columns = answer.expect("no rows").columns;
    assert!(columns.iter().all(|column| column.is_empty()));
}

#[test]
fn the_fingerprint_says_names_types_and_definitions() {
    let of = |request: &str, select: &str| {
        try_service(request, select)
            .expect(select)
            .spec()
            .fingerprint
            .clone()
    };
    let request = "k VARCHAR, n BIGINT, d DOUBLE";
    let one = of(
        request,
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    );
    assert_eq!(
        one,
        of(
            request,
            "SELECT  t.c\nFROM request LEFT JOIN v as T using (k)"
        ),
        "layout is no part of it"
    );
    assert_ne!(
        one,
        of(
            request,
            "SELECT t.c AS d FROM request LEFT JOIN v AS t USING (k)"
        )
    );
    assert_ne!(
        one,
        of(
            "k VARCHAR, n BIGINT",
            "SELECT t.c FROM request LEFT JOIN v AS t USING (k)"
        )
    );
}
