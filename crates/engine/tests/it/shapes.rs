//! Texts of other shapes than the generated ones: derived tables, computed arguments, expressions
//! over aggregates, the key and the moment in features, conditions that would fail on a virtual
//! row. Probe and batch agree on each, and a few values are written down.

use forebay_core::ports::{Known, PointInTime};
use forebay_engine::{BatchEngine, ProbeEngine};
use forebay_testkit::{MemoryTables, unbounded_budget};

use crate::oracle::{Cell, Event, Probe};
use crate::world::{SOURCE, ask, catalog, cells, event_batch, spine};

/// Sixty events of four keys, a second apart, with ties, NULLs and numbers in their text.
fn events() -> Vec<Event> {
    let event = |i: i64| Event {
        k: [Some("10"), Some("20"), Some("-3"), Some("7")]
            [usize::try_from(i * i % 4).expect("0 to 3")],
        g: (i % 5 != 0).then_some(i % 3),
        x: (i % 7 != 0).then_some(i as f64 * 0.3 - 5.0),
        n: (i % 4 != 1).then_some(i % 11 - 5),
        s: (i % 6 != 2).then_some(["1", "22", "333"][usize::try_from(i % 3).expect("0 to 2")]),
        b: (i % 8 != 3).then_some(i % 2 == 0),
        ts: i / 2 * 1_000_000,
        partition: i32::try_from(i % 2).expect("0 or 1"),
        offset: i / 2,
    };
    (0..60).map(event).collect()
}

fn probes() -> Vec<Probe> {
    let key = |i: i64| {
        [Some("10"), Some("20"), Some("-3"), Some("no number"), None]
            [usize::try_from(i % 5).expect("0 to 4")]
    };
    (0..60)
        .map(|i| Probe {
            k: key(i),
            g: Some(i % 3),
            at: i * 777_777 - 3_000_000,
        })
        .collect()
}

/// The features of view `v` with this SELECT for every probe; both lowerings agree.
fn answer(entity: &str, select: &str) -> Vec<Vec<Cell>> {
    answer_by(entity, select, "v.*")
}

/// The same of a service that selects `features`.
fn answer_by(entity: &str, select: &str, features: &str) -> Vec<Vec<Cell>> {
    let key = if entity == "one" { "k" } else { "k, g" };
    let text = format!(
        "{SOURCE}CREATE FEATURE VIEW v ENTITY {entity} TTL INTERVAL '20' SECOND AS {select};
         CREATE FEATURE SERVICE features (k VARCHAR, g BIGINT) AS SELECT {features} FROM request
         LEFT JOIN v AS v USING ({key});"
    );
    let catalog = catalog(&text);
    let tables = MemoryTables::one("events", vec![event_batch(&events(), true)]);
    let spine = spine(&probes());
    let engines: [Box<dyn PointInTime>; 2] = [
        Box::new(ProbeEngine::new(catalog.clone(), unbounded_budget())),
        Box::new(BatchEngine::new(catalog, unbounded_budget(), None)),
    ];
    let [probe, batch] =
        engines.map(
            |engine| match ask(engine.as_ref(), "features", &spine, &tables, Known::All) {
                Ok(answer) => {
                    let width = answer.num_columns() - spine.num_columns();
                    let all = cells(&answer, 0);
                    all.into_iter()
                        .map(|row| row[row.len() - width..].to_vec())
                        .collect::<Vec<_>>()
                }
                Err(error) => panic!("{error}\n{select}"),
            },
        );
    assert_eq!(probe.len(), 60);
    for (row, (probe, batch)) in probe.iter().zip(&batch).enumerate() {
        assert_eq!(probe, batch, "row {row}\n{select}");
    }
    let known = probe
        .iter()
        .filter(|row| row.iter().any(|cell| *cell != Cell::Null))
        .count();
    assert!(known > 10, "{known} rows have values\n{select}");
    probe
}

#[test]
fn computed_arguments_and_expressions_over_aggregates() {
    answer(
        "one",
        "SELECT k, ts, sum(x * 2 + 1) OVER w AS doubled, avg(CAST(n AS DOUBLE)) OVER w AS mean,
                sum(x) OVER w / nullif(count(x) OVER w, 0) AS quotient, coalesce(max(n) OVER w, -1) AS top,
                CASE WHEN count(*) OVER w > 3 THEN 'busy' ELSE 'calm' END AS mood,
                max(length(s)) OVER w AS longest, min(CAST(n AS INTEGER)) OVER w AS least,
                count(*) OVER w - count(*) FILTER (WHERE coalesce(b, false)) OVER w AS others
         FROM events WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '7' SECOND PRECEDING AND CURRENT ROW)",
    );
}

#[test]
fn the_key_and_the_moment_in_features() {
    let rows = answer(
        "one",
        "SELECT k, ts, upper(k) || '!' AS shout, date_part('second', ts) AS moment, max(ts) OVER ever AS newest,
                last_value(ts) OVER ever AS latest, min(ts) OVER ever AS first_seen, ts > max(ts) OVER ever AS between_events
         FROM events WINDOW ever AS (PARTITION BY k ORDER BY ts)",
    );
    for (probe, row) in probes().iter().zip(rows) {
        let Cell::Int(newest) = row[2] else { continue };
        assert_eq!(row[3], Cell::Int(newest));
        assert_eq!(row[5], Cell::Bool(probe.at > newest));
        assert_eq!(
            row[0],
            Cell::Text(format!("{}!", probe.k.expect("an unknown key has no row")))
        );
    }
}

#[test]
fn a_service_reads_the_moment_of_each_row() {
    let rows = answer_by(
        "one",
        "SELECT k, ts, max(ts) OVER (PARTITION BY k ORDER BY ts) AS newest FROM events",
        "v.newest, request_time() AS at, request_time() > v.newest AS later",
    );
    for (probe, row) in probes().iter().zip(rows) {
        assert_eq!(row[1], Cell::Int(probe.at));
        let later = match row[0] {
            Cell::Int(newest) => Cell::Bool(probe.at > newest),
            _ => Cell::Null,
        };
        assert_eq!(row[2], later);
    }
}

#[test]
fn several_windows_of_one_view_and_one_of_no_length() {
    answer(
        "two",
        "SELECT k, g, ts,
                count(*) OVER (PARTITION BY k, g ORDER BY ts RANGE BETWEEN CURRENT ROW AND CURRENT ROW) AS now,
                count(*) OVER (PARTITION BY k, g ORDER BY ts RANGE BETWEEN INTERVAL '1' DAY PRECEDING AND CURRENT ROW) AS day,
                count(*) OVER (PARTITION BY g, k ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ever,
                stddev(x) OVER (PARTITION BY k, g ORDER BY ts RANGE BETWEEN INTERVAL '90' SECOND PRECEDING AND CURRENT ROW) AS d
         FROM events WHERE x IS NOT NULL OR b",
    );
}

#[test]
fn derived_tables_filters_in_and_over_them_and_renamed_columns() {
    answer(
        "one",
        "SELECT k, t, sum(y) OVER w AS total, last_value(y) OVER w AS latest, count(*) FILTER (WHERE y > 0) OVER w AS c
         FROM (SELECT k, ts AS t, x + n AS y, b AS flag FROM events WHERE s IS NOT NULL) AS inside WHERE flag
         WINDOW w AS (PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '15' SECOND PRECEDING AND CURRENT ROW)",
    );
    answer(
        "one",
        "SELECT e.k, e.ts, max(e.x) OVER (PARTITION BY e.k ORDER BY e.ts) AS top FROM events AS e WHERE e.n > -4",
    );
}

#[test]
fn what_fails_on_a_row_that_nobody_asks_for_is_not_evaluated_there() {
    // One key of the spine is no number; no event has it. Most rows are outside the TTL or unknown,
    // where a count is 0.
    let rows = answer(
        "one",
        "SELECT k, ts, count(*) OVER ever AS c, 100 / count(*) OVER w AS share, sum(CAST(k AS BIGINT)) OVER ever AS keys,
                count(*) FILTER (WHERE CAST(k AS BIGINT) > 10) OVER ever AS big
         FROM events WHERE CAST(k AS BIGINT) > 0
         WINDOW ever AS (PARTITION BY k ORDER BY ts),
                w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '20' SECOND PRECEDING AND CURRENT ROW)",
    );
    let mut absent = 0;
    for (probe, row) in probes().iter().zip(rows) {
        let unknown = matches!(probe.k, None | Some("no number" | "-3"));
        assert!(
            !unknown || row.iter().all(|cell| *cell == Cell::Null),
            "{probe:?}"
        );
        absent += usize::from(row[0] == Cell::Null && !unknown);
    }
    assert!(absent > 0, "some known key has not begun or has expired");
    answer(
        "one",
        "SELECT k, ts, sum(d.number) OVER (PARTITION BY k ORDER BY ts) AS total
         FROM (SELECT k, ts, CAST(k AS BIGINT) + 1 AS number FROM events) AS d",
    );
}
