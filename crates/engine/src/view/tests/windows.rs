//! Named windows: what refines one means what is written out, and anything else is refused at the
//! name of the window.

use super::*;

/// A SELECT with named windows and one without, of one meaning.
const SAME: &[(&str, &str)] = &[
    (
        "SELECT count(*) OVER (w RANGE INTERVAL '1' HOUR PRECEDING) AS c FROM events WINDOW w AS {e}",
        "SELECT count(*) OVER {h} AS c FROM events",
    ),
    (
        "SELECT count(*) OVER (w ORDER BY ts) AS c FROM events WINDOW w AS (PARTITION BY k)",
        "SELECT count(*) OVER {e} AS c FROM events",
    ),
    (
        "SELECT count(*) OVER (w) AS c FROM events WINDOW w AS {e}",
        "SELECT count(*) OVER {e} AS c FROM events",
    ),
    (
        "SELECT count(*) OVER h AS c, sum(x) OVER \"W\" AS s FROM events WINDOW p AS (PARTITION BY k), \
         \"W\" AS (P ORDER BY ts), h AS (\"W\" RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)",
        "SELECT count(*) OVER {h} AS c, sum(x) OVER {e} AS s FROM events",
    ),
    (
        "SELECT c FROM (SELECT count(*) OVER w AS c FROM events WINDOW w AS {h}) AS d",
        "SELECT count(*) OVER {h} AS c FROM events",
    ),
    (
        "SELECT 1 + sum(x) FILTER (WHERE flag) OVER w AS c FROM events WINDOW v AS {h}, w AS v",
        "SELECT 1 + sum(x) FILTER (WHERE flag) OVER {h} AS c FROM events",
    ),
];

#[test]
fn a_window_that_refines_another_is_what_is_written_out() {
    for (named, written) in SAME {
        let specs = [view(named), view(written)].map(|view| {
            let spec = view.spec();
            (spec.partials.clone(), spec.aggregates.clone())
        });
        assert_eq!(specs[0], specs[1], "{named}");
    }
}

/// SELECT, the error, and the SELECT as the error has it.
const REFUSED: &[crate::remedies::Row] = &[
    (
        "SELECT count(*) OVER (w PARTITION BY k ORDER BY ts) AS c FROM events WINDOW w AS {h}",
        "2:23: window w says by what its rows are partitioned, and (w PARTITION BY ..) would say it \
         again; drop w, or drop PARTITION BY",
        "SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events",
    ),
    (
        "SELECT count(*) OVER (w ORDER BY ts) AS c FROM events WINDOW w AS {e}",
        "2:23: window w has an ORDER BY, and (w ORDER BY ..) would give it another; drop this ORDER BY",
        "SELECT count(*) OVER (w) AS c FROM events WINDOW w AS {e}",
    ),
    (
        "SELECT count(*) OVER (w) AS c FROM events WINDOW w AS {h}",
        "2:23: window w has a frame, so that nothing can be added to it; write OVER w without \
         brackets, or the whole window",
        "SELECT count(*) OVER w AS c FROM events WINDOW w AS {h}",
    ),
    (
        "SELECT count(*) OVER w AS c FROM events WINDOW w AS (v), v AS {e}",
        "2:54: there is no window v; there is none before it; write WINDOW v AS (PARTITION BY key \
         ORDER BY event_time) behind FROM",
        "SELECT count(*) OVER w AS c FROM events WINDOW v AS (PARTITION BY k ORDER BY ts), w AS (v)",
    ),
    (
        "SELECT count(*) OVER nowhere AS c FROM events WINDOW a AS {e}, b AS {h}",
        "2:22: there is no window nowhere; known: a, b; write WINDOW nowhere AS (PARTITION BY key \
         ORDER BY event_time) behind FROM",
        "SELECT count(*) OVER nowhere AS c FROM events WINDOW nowhere AS (PARTITION BY k ORDER BY ts)",
    ),
    (
        "SELECT count(*) OVER a AS c FROM events WINDOW a AS {e}, A AS {h}",
        "2:83: window a is defined twice; give each its own name",
        "SELECT count(*) OVER a AS c FROM events WINDOW a AS {e}, b AS {h}",
    ),
];

#[test]
fn a_window_that_is_overridden_is_refused_at_its_name() {
    let wrong = crate::remedies::wrong(REFUSED, "v.sql:", |text| try_view("e", text).map(drop));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn windows_of_a_short_text_that_would_fill_memory_are_refused() {
    let long = vec!["k"; 4_000].join(", ");
    let calls = vec!["count(*) OVER w AS c"; 400].join(", ");
    let text = format!("SELECT {calls} FROM events WINDOW w AS (PARTITION BY {long} ORDER BY ts)");
    let error = try_view("e", &text).expect_err("it is refused").to_string();
    assert!(error.contains("EXPRESSION_MAX_NODES"), "{error}");
}

/// A text whose second part is wrong in the way in which the first is right, and where.
const PLACES: &[(&str, &str)] = &[
    (
        "SELECT count(*) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING) AS a,\n  \
         count(*) OVER (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' MONTH PRECEDING) AS b FROM events",
        "v.sql:3:51: ",
    ),
    (
        "SELECT sum(x) OVER {h} AS a,\n  \
         sum(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN CURRENT ROW AND INTERVAL '1' HOUR FOLLOWING) AS b \
         FROM events",
        "v.sql:3:43: ",
    ),
    (
        "SELECT sum(x) OVER {h} AS a,\n  sum(x) OVER (PARTITION BY n ORDER BY ts) AS b FROM events",
        "v.sql:3:16: ",
    ),
    (
        "SELECT sum(x) OVER {h} AS a,\n  sum(x) OVER (PARTITION BY k ORDER BY n) AS b FROM events",
        "v.sql:3:31: ",
    ),
    (
        "SELECT sum(x) OVER {h} AS a,\n  sum(DISTINCT x) OVER {h} AS b FROM events",
        "v.sql:3:7: ",
    ),
    (
        "SELECT max(lower(note)) OVER {h} AS a,\n  max(lower(n)) OVER {h} AS b FROM events",
        "v.sql:3:7: ",
    ),
    (
        "SELECT max(n) OVER {h} + 1 AS a,\n  max(n) OVER {h} + note AS b FROM events",
        "v.sql:3:",
    ),
    (
        "SELECT sum(x) OVER {h} AS a,\n  sum(flag) OVER {h} AS b FROM events",
        "v.sql:3:3: ",
    ),
    (
        "SELECT max(k) OVER {h} AS nothing,\n  max(nothing) OVER {h} AS b FROM events",
        "v.sql:3:7: ",
    ),
    (
        "SELECT count(*) FILTER (WHERE flag) OVER {h} AS n1,\n  count(*) FILTER (WHERE n) OVER {h} AS b FROM events",
        "v.sql:3:26: ",
    ),
];

#[test]
fn an_error_stands_where_its_construct_does_and_not_at_the_first_like_it() {
    let place = |text: &str| try_view("e", text).expect_err("it is refused").to_string();
    let wrong: Vec<String> = PLACES
        .iter()
        .map(|(text, at)| (at, place(text)))
        .filter(|(at, error)| !error.starts_with(*at))
        .map(|(at, error)| format!("{at}: {error}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
