//! What a view cannot be, and the sentence that says what to write instead.

use super::*;

/// SELECT of a view of entity e, and the refusal after `v.sql:`.
const REFUSED: &[(&str, &str)] = &[
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts ROWS 3 PRECEDING) AS s FROM events",
        "2:48: feature view v: a ROWS frame has no value between events: the moment itself would count as a row; write \
         RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN CURRENT ROW AND INTERVAL '1' HOUR FOLLOWING) AS \
         s FROM events",
        "2:48: feature view v: a frame that ends after the current row sees the future; write RANGE BETWEEN INTERVAL \
         '1' HOUR PRECEDING AND CURRENT ROW",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '2' HOUR PRECEDING AND INTERVAL '1' \
         HOUR PRECEDING) AS s FROM events",
        "2:48: feature view v: a frame that ends before the current row is not supported; write RANGE BETWEEN INTERVAL \
         '1' HOUR PRECEDING AND CURRENT ROW",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' MONTH PRECEDING) AS s FROM events",
        "2:54: feature view v: a frame of months or years has no fixed length; write days: INTERVAL '30' DAY",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k) AS s FROM events",
        "2:15: feature view v: sum OVER (..) without ORDER BY sees the future; write ORDER BY ts",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts DESC) AS s FROM events",
        "2:36: feature view v: its windows must be ordered by the event time alone, ascending: ORDER BY ts",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY n) AS s FROM events",
        "2:36: feature view v: its windows must be ordered by the event time alone, ascending: ORDER BY ts",
    ),
    (
        "SELECT sum(x) OVER (ORDER BY ts) AS s FROM events",
        "2:15: feature view v: its windows are not partitioned by the entity's key: entity e has the key (k); write \
         PARTITION BY k",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k, n ORDER BY ts) AS s FROM events",
        "2:21: feature view v: its windows are not partitioned by the entity's key: entity e has the key (k); write \
         PARTITION BY k",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM (SELECT upper(k) AS k, ts, x FROM events) AS d",
        "2:34: feature view v: key column k must be a column of source events, not computed",
    ),
    (
        "SELECT sum(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM (SELECT n AS k, ts, x FROM events) AS d",
        "2:34: feature view v: key column k is Utf8 in entity e, but n of source events is Int64; declare both alike",
    ),
    (
        "SELECT row_number() OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
        "2:8: feature view v: row_number depends on which rows stand beside this one and has no value between events; \
         write one of: count, sum, avg, min, max, var_pop, var_samp, stddev_pop, stddev_samp, last_value",
    ),
    (
        "SELECT first_value(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
        "2:8: feature view v: first_value depends on which rows stand beside this one and has no value between events; \
         write one of: count, sum, avg, min, max, var_pop, var_samp, stddev_pop, stddev_samp, last_value",
    ),
    (
        "SELECT median(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
        "2:8: feature view v: median has no state of bounded size that is exact; write one of: count, sum, avg, min, \
         max, var_pop, var_samp, stddev_pop, stddev_samp, last_value",
    ),
    (
        "SELECT corr(x, n) OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
        "2:8: feature view v: corr is not supported in a feature view; write one of: count, sum, avg, min, max, \
         var_pop, var_samp, stddev_pop, stddev_samp, last_value",
    ),
    (
        "SELECT count(DISTINCT x) OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
        "2:14: feature view v: count(DISTINCT ..) needs all values of a window at once and is not supported; drop \
         DISTINCT",
    ),
    (
        "SELECT last_value(x) IGNORE NULLS OVER (PARTITION BY k ORDER BY ts) AS s FROM events",
        "2:22: feature view v: last_value with IGNORE NULLS is not supported; write last_value(x) FILTER (WHERE x IS \
         NOT NULL)",
    ),
    (
        "SELECT k, sum(x) AS s FROM events GROUP BY k",
        "2:35: feature view v: GROUP BY is not supported; write each aggregate as count(*) OVER (PARTITION BY key \
         ORDER BY event_time)",
    ),
    (
        "SELECT sum(x) AS s FROM events",
        "2:1: feature view v: an aggregate without OVER answers one row for the whole source; write it OVER (PARTITION \
         BY key ORDER BY event_time)",
    ),
    (
        "SELECT DISTINCT sum(x) OVER {e} AS s FROM events",
        "2:8: feature view v: SELECT DISTINCT has no meaning here: a definition answers one row for each key and \
         moment; drop DISTINCT",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM events LIMIT 5",
        "2:66: feature view v: LIMIT and FETCH have no meaning here: a definition answers one row for each key and \
         moment; drop it",
    ),
    (
        "SELECT sum(e1.x) OVER (PARTITION BY e1.k ORDER BY e1.ts) AS s FROM events AS e1 JOIN events AS e2 USING (k)",
        "2:81: feature view v: a feature view reads one source; write a view for the other source and join the two \
         views in a feature service",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM events, elsewhere",
        "2:54: feature view v: a feature view reads one source; write FROM source, and join views in a feature service",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM events WHERE n > (SELECT 1)",
        "2:1: feature view v: a subquery in an expression is not supported; make it a feature view of its own and join \
         it in a feature service",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM events UNION ALL SELECT 1 AS s FROM events",
        "2:1: feature view v: UNION, INTERSECT and EXCEPT are not supported; write one definition for each part",
    ),
    (
        "SELECT * FROM (SELECT sum(x) OVER {e} AS s FROM events) AS d WHERE s > 1",
        "2:87: feature view v: a condition on aggregates would take the view's row away; write it as CASE in a feature",
    ),
    (
        "SELECT sum(s) OVER {e} AS ss FROM (SELECT k, ts, sum(x) OVER {e} AS s FROM events) AS d",
        "2:8: feature view v: sum of an aggregate is not supported; write it over a column",
    ),
    (
        "SELECT k, x, sum(x) OVER {e} AS s FROM events",
        "2:11: feature view v: column x has no value between events; select last_value(x) OVER (PARTITION BY key ORDER \
         BY event_time) AS x",
    ),
    (
        "SELECT k, ts, x FROM events",
        "2:1: feature view v: it has no aggregate; write at least one, as in last_value(x) OVER (PARTITION BY key \
         ORDER BY event_time) AS x",
    ),
    (
        "SELECT k FROM (SELECT k, ts, sum(x) OVER {e} AS s FROM events) AS d",
        "2:1: feature view v: it selects no feature; select an aggregate AS name",
    ),
    (
        "SELECT sum(x) OVER {e} FROM events",
        "2:8: feature view v: sum(x) OVER (PARTITION BY k ORDER BY ts) has no name; write AS name behind it",
    ),
    (
        "SELECT sum(x) OVER {e} AS _s FROM events",
        "2:52: feature view v: feature \"_s\" must have 1 to 255 bytes and not begin with an underscore (those are \
         Forebay's own); rename it",
    ),
    (
        "SELECT sum(x) OVER {e} AS k FROM events",
        "2:34: feature view v: feature k has the name of a key column of entity e; rename it",
    ),
    (
        "SELECT sum(x) OVER {e} AS s, now() AS t FROM events",
        "2:55: feature view v: function 'now' is no function of the data, so that its value could not be computed \
         again; use the event-time column, or a request column that brings the value",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM events WHERE x > random()",
        "2:76: feature view v: function 'random' is no function of the data, so that its value could not be computed \
         again; use the event-time column, or a request column that brings the value",
    ),
    (
        "SELECT sum(CAST(x AS DECIMAL(10, 2))) OVER {e} AS s FROM events",
        "2:8: feature view v: sum does not take an argument of type Decimal128(10, 2); cast it: CAST(.. AS DOUBLE), \
         BIGINT, INTEGER, BOOLEAN, VARCHAR or TIMESTAMP are the types that are kept",
    ),
    (
        "SELECT CAST(max(ts) OVER {e} AS DATE) AS d FROM events",
        "2:67: feature view v: feature d is of type Date32; cast it: CAST(.. AS DOUBLE), BIGINT, INTEGER, BOOLEAN, \
         VARCHAR or TIMESTAMP are the types that are kept",
    ),
    (
        "SELECT sum(nothing) OVER {e} AS s FROM events",
        "2:12: feature view v: there is no column nothing; known: events.k, events.n, events.x, events.flag, \
         events.small, events.note, events.other, events.ts",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM nowhere",
        "2:59: feature view v: there is no source nowhere; known: elsewhere, events",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM events FOR UPDATE",
        "2:66: feature view v: FOR .. is not supported; drop it",
    ),
    (
        "SELECT sum(x) OVER {e} AS s FROM events TABLESAMPLE (10)",
        "2:54: feature view v: FROM events TABLESAMPLE (10) is not supported; write a plain name: FROM name [AS alias]",
    ),
];

#[test]
fn what_cannot_be_kept_exact_is_refused_with_what_to_write() {
    let outcome = |select: &str| {
        try_view("e", select).map_or_else(|e| e.to_string(), |_| "it is taken".to_owned())
    };
    let wrong: Vec<_> = REFUSED
        .iter()
        .map(|(select, wanted)| (select, outcome(select), format!("v.sql:{wanted}")))
        .filter(|(_, found, wanted)| found != wanted)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// DataFusion quotes the function that it does not know; the place of an error is found by that
/// name. This fails where an upgrade quotes otherwise.
#[test]
fn an_unknown_function_is_refused_where_it_stands() {
    let select = "SELECT count(*) OVER {h} AS c,\n  no_such_function(x) AS d FROM events";
    let error = try_view("e", select)
        .expect_err("there is none")
        .to_string();
    assert!(error.starts_with("v.sql:3:3: "), "{error}");
}
