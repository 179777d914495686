//! What a service cannot be, and that the SELECT which the refusal asks for is taken.

use super::*;
use crate::remedies::{Row, wrong};

/// SELECT of a service over (k VARCHAR, n BIGINT, d DOUBLE), the refusal after `s.sql:`, and the
/// SELECT as the refusal has it. Where another request is meant, it stands before AS; what else is
/// asked for follows.
const REFUSED: &[Row] = &[
    (
        "SELECT c FROM v",
        "2:15: feature service s: it reads from v; write FROM request LEFT JOIN v USING (key)",
        "SELECT c FROM request LEFT JOIN v USING (k)",
    ),
    (
        "SELECT t.c FROM request JOIN v AS t USING (k)",
        "2:30: feature service s: v is not left-joined, so that request rows could get lost; write \
         LEFT JOIN v AS t USING (k)",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t USING (n)",
        "2:49: feature service s: n is no key column of feature view v: entity e has the key (k); \
         write LEFT JOIN v AS t USING (k)",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT p.m FROM request LEFT JOIN p USING (k)",
        "2:8: feature service s: feature view p is joined on a part of its key: entity pair has \
         the key (k, n); write LEFT JOIN p AS p USING (k, n)",
        "SELECT p.m FROM request LEFT JOIN p AS p USING (k, n)",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t ON t.k = request.k AND t.c > 1",
        "2:35: feature service s: v is not joined on the key of its entity; write LEFT JOIN v AS t \
         USING (k)",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c FROM request NATURAL LEFT JOIN v AS t",
        "2:43: feature service s: v is not joined on the key of its entity; write LEFT JOIN v AS t \
         USING (k)",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t ON t.k = request.n",
        "2:59: feature service s: request column n is Int64, key column k of entity e is Utf8; \
         declare both alike",
        "k VARCHAR, n VARCHAR AS\nSELECT t.c FROM request LEFT JOIN v AS t ON t.k = request.n",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t ON t.k = request.z",
        "2:59: feature service s: the request has no column z; it has: k, n, d",
        "SELECT t.c FROM request LEFT JOIN v AS t ON t.k = request.k",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN nothing AS t USING (k)",
        "2:35: feature service s: there is no feature view nothing; known: p, v",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c, u.c FROM request LEFT JOIN v AS t USING (k) LEFT JOIN v AS u USING (k)",
        "2:15: feature service s: two features go by the name c; give each its own: AS name",
        "SELECT t.c, u.c AS other FROM request LEFT JOIN v AS t USING (k) LEFT JOIN v AS u USING \
         (k)",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k) LEFT JOIN v AS t USING (k)",
        "2:8: feature service s: two tables go by the name t; give each its own: AS name",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k) LEFT JOIN v AS u USING (k)",
    ),
    (
        "SELECT t.k FROM request LEFT JOIN v AS t USING (k)",
        "2:8: feature service s: t.k is the request's column; write request.k",
        "SELECT request.k FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c + 1 FROM request LEFT JOIN v AS t USING (k)",
        "2:8: feature service s: t.c + 1 has no name; write AS name behind it",
        "SELECT t.c + 1 AS more FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k) WHERE t.c > 1",
        "2:52: feature service s: WHERE would take rows of the request away, which each get an \
         answer; write the condition as CASE",
        "SELECT CASE WHEN t.c > 1 THEN t.c END AS c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT sum(t.c) OVER (ORDER BY request.n) AS s FROM request LEFT JOIN v AS t USING (k)",
        "2:1: feature service s: it aggregates over the rows of a request; aggregate events in a \
         feature view",
        "SELECT t.s FROM request LEFT JOIN sums AS t USING (k);\nCREATE FEATURE VIEW sums ENTITY e \
         AS SELECT sum(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
    ),
    (
        "SELECT max(t.c) AS s FROM request LEFT JOIN v AS t USING (k)",
        "2:8: feature service s: it aggregates over the rows of a request; aggregate events in a \
         feature view",
        "SELECT t.s FROM request LEFT JOIN sums AS t USING (k);\nCREATE FEATURE VIEW sums ENTITY e \
         AS SELECT sum(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
    ),
    (
        "SELECT t.c, now() AS t0 FROM request LEFT JOIN v AS t USING (k)",
        "2:13: feature service s: function 'now' is no function of the data, so that its value \
         could not be computed again; use the event-time column, or a request column that brings \
         the value",
        "k VARCHAR, now TIMESTAMP AS\nSELECT t.c, request.now AS t0 FROM request LEFT JOIN v AS t \
         USING (k)",
    ),
    (
        "SELECT array_sort(t.c) AS l FROM request LEFT JOIN v AS t USING (k)",
        "2:8: feature service s: there is no function array_sort; of arrays there are a[i], \
         cardinality, array_contains, array_position, array_to_string and ARRAY[..]; write it with \
         them, or one column for each element",
        "SELECT t.c AS l FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT x.c FROM request LEFT JOIN (SELECT * FROM v) AS x USING (k)",
        "2:12: feature service s: a subquery in FROM is not supported; make it a feature view and \
         join that",
        "SELECT x.c FROM request LEFT JOIN v AS x USING (k)",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k) ORDER BY 1",
        "2:52: feature service s: ORDER BY outside of OVER has no meaning here: a definition \
         answers one row for each key and moment; drop it",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "WITH w AS (SELECT c FROM v) SELECT w.c FROM request LEFT JOIN w USING (k)",
        "2:6: feature service s: w is a query of WITH, and joins are of feature views alone; make it a feature view",
        "SELECT w.c FROM request LEFT JOIN w USING (k);\nCREATE FEATURE VIEW w ENTITY e AS SELECT \
         count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events",
    ),
    (
        "(SELECT t.c FROM request LEFT JOIN v AS t USING (k))",
        "2:2: feature service s: write SELECT .. FROM request LEFT JOIN view AS alias USING (key)",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c FROM request, v AS t",
        "2:12: feature service s: write FROM request LEFT JOIN view AS alias USING (key)",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t (a, b) USING (k)",
        "2:8: feature service s: columns cannot be renamed in FROM; rename them in SELECT: x AS \
         name",
        "SELECT t.c AS a FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT p.m FROM request LEFT JOIN p USING (k, k)",
        "2:8: feature service s: feature view p is joined on a column twice: entity pair has the \
         key (k, n); write LEFT JOIN p AS p USING (k, n)",
        "SELECT p.m FROM request LEFT JOIN p AS p USING (k, n)",
    ),
    (
        "SELECT t.c AS _c FROM request LEFT JOIN v AS t USING (k)",
        "2:15: feature service s: feature \"_c\" must have 1 to 255 bytes and not begin with an \
         underscore (those are Forebay's own); rename it",
        "SELECT t.c AS c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "VALUES (1)",
        "2:1: feature service s: a definition is a SELECT; write SELECT .. FROM ..",
        "SELECT 1 AS one FROM request",
    ),
    (
        "SELECT 1 AS one",
        "2:1: feature service s: FROM is missing; name the source or the request that it reads",
        "SELECT 1 AS one FROM request",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN a.v AS t USING (k)",
        "2:1: feature service s: there is no feature view a.v; known: p, v",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT d FROM a.request",
        "2:1: feature service s: there is no feature view a.request; known: p, v",
        "SELECT d FROM request",
    ),
    (
        "SELECT t.c FROM request RIGHT JOIN v AS t USING (k)",
        "2:36: feature service s: v is not left-joined, so that request rows could get lost; write \
         LEFT JOIN v AS t USING (k)",
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT t.c + $1 AS c FROM request LEFT JOIN v AS t USING (k)",
        "2:14: feature service s: parameter '$1' has no value in a definition; write the value",
        "SELECT t.c + 1 AS c FROM request LEFT JOIN v AS t USING (k)",
    ),
    (
        "SELECT d FROM request UNION SELECT d FROM request",
        "2:1: feature service s: UNION, INTERSECT and EXCEPT are not supported; write one \
         definition for each part",
        "SELECT d FROM request;\nCREATE FEATURE SERVICE s2 (d DOUBLE) AS SELECT d FROM request",
    ),
    (
        "SELECT t.c FROM request LEFT JOIN v AS t USING (k) HAVING t.c > 1",
        "2:52: feature service s: HAVING is not supported; write the condition as CASE in a \
         feature",
        "SELECT CASE WHEN t.c > 1 THEN t.c END AS c FROM request LEFT JOIN v AS t USING (k)",
    ),
];

#[test]
fn bad_services_are_refused_with_what_to_write_and_that_is_taken() {
    let wrong = wrong(REFUSED, "s.sql:", |text| {
        let plain = ("k VARCHAR, n BIGINT, d DOUBLE", text);
        let (request, select) = text.split_once(" AS\n").unwrap_or(plain);
        try_service(request, select).map(drop)
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
