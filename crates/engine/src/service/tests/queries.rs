//! Queries between the request and a service's outputs: WITH, and queries in FROM.

use forebay_core::PortResult;

use super::*;
use crate::remedies::{Row, wrong};

const REQUEST_COLUMNS: &str = "k VARCHAR, n BIGINT, d DOUBLE";

/// A SELECT with queries inside, and one without, of the same outputs.
const SAME: &[(&str, &str)] = &[
    (
        "WITH r AS (SELECT * FROM request) SELECT t.c + r.n AS s FROM r LEFT JOIN v AS t USING (k)",
        "SELECT t.c + request.n AS s FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "WITH r AS (SELECT k AS key, n * 2 AS m FROM request AS q) SELECT m + c AS s FROM r LEFT JOIN v ON v.k = r.key",
        "SELECT request.n * 2 + v.c AS s FROM request LEFT JOIN v USING (k)",
    ),
    (
        "WITH r AS (SELECT request.d, t.c FROM request LEFT JOIN v AS t USING (k)), q AS (SELECT c, d FROM r) \
         SELECT c * d AS s FROM q",
        "SELECT t.c * request.d AS s FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT a.c + b.c AS s FROM (SELECT r.k, t.c FROM request AS r LEFT JOIN v AS t USING (k)) AS a \
         LEFT JOIN v AS b USING (k)",
        "SELECT t.c + b.c AS s FROM request LEFT JOIN v AS t USING (k) LEFT JOIN v AS b USING (k)",
    ),
];

#[test]
fn queries_between_mean_what_is_written_without_them() {
    for (nested, flat) in SAME {
        let of = |select: &str| {
            try_service(REQUEST_COLUMNS, select).unwrap_or_else(|e| panic!("{select}: {e}"))
        };
        let (between, flat) = (of(nested), of(flat));
        let keys = |service: &Arc<dyn CompiledService>| {
            let views = service.spec().views.iter();
            let keys = views.map(|view| (view.view.id, view.key_columns.clone()));
            keys.collect::<Vec<_>>()
        };
        assert_eq!(keys(&between), keys(&flat), "{nested}");
        let answer = |service: &Arc<dyn CompiledService>| {
            let views = vec![features(); service.spec().views.len()];
            service.finish(&request(), &moments(2), &views)
        };
        let (between, flat) = (answer(&between), answer(&flat));
        let columns = |answer: PortResult<Cells>| {
            let answer = answer.unwrap_or_else(|e| panic!("{nested}: {e}"));
            assert_eq!(answer.faults, []);
            answer.columns
        };
        assert_eq!(columns(between), columns(flat), "{nested}");
    }
}

const REFUSED: &[Row] = &[
    (
        "WITH w AS (SELECT c FROM v) SELECT w.c FROM request LEFT JOIN v AS w USING (k)",
        "2:6: feature service s: query w of WITH is not read in FROM; drop it",
        "SELECT w.c FROM request LEFT JOIN v AS w USING (k)",
    ),
    (
        "WITH r AS (SELECT n FROM request) SELECT t.c FROM r LEFT JOIN v AS t USING (k)",
        "2:77: feature service s: the request has no column k; it has: n",
        "WITH r AS (SELECT n, k FROM request) SELECT t.c FROM r LEFT JOIN v AS t USING (k)",
    ),
    (
        "WITH r AS (SELECT n, k FROM request WHERE n > 1) SELECT t.c FROM r LEFT JOIN v AS t USING (k)",
        "2:37: feature service s: WHERE would take rows of the request away, which each get an answer; write the \
         condition as CASE",
        "WITH r AS (SELECT CASE WHEN n > 1 THEN n END AS n, k FROM request) SELECT t.c FROM r LEFT JOIN v AS t USING (k)",
    ),
];

#[test]
fn what_a_query_between_cannot_be_is_refused() {
    let wrong = wrong(REFUSED, "s.sql:", |text| {
        try_service(REQUEST_COLUMNS, text).map(drop)
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
