//! What a changed source does to the views over it: other events make new versions, another rule of
//! time makes none.

use super::*;

/// The source of [`BASE`] with other columns.
fn events(columns: &str) -> String {
    format!(
        "CREATE SOURCE events ({columns}, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) WITH (connector = 'kafka')"
    )
}

#[test]
fn a_source_whose_read_columns_change_makes_new_versions_of_its_views() {
    let catalog = base();
    let plan = apply(
        &catalog,
        &events("id VARCHAR NOT NULL, k VARCHAR NOT NULL, x DOUBLE"),
    );
    let replaced: Vec<&str> = plan.changes.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(replaced, ["events", "v", "w", "s", "m/1", "m"]);
    assert_eq!(plan.changes[1].note, "source events changes");
    assert_eq!(
        (view_id(&plan.catalog, "v"), view_id(&plan.catalog, "w")),
        (3, 4)
    );
    // One view reads `x`, and the deployment takes it into the service's request.
    let plan = apply(
        &catalog,
        &events("id VARCHAR NOT NULL, k VARCHAR, x DOUBLE NOT NULL"),
    );
    let replaced: Vec<&str> = plan.changes.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(replaced, ["events", "w", "m"]);
    let narrower = events("id VARCHAR NOT NULL, k VARCHAR, more BIGINT");
    let error = catalog.plan(&file(narrower)).expect_err("w reads x");
    assert!(
        error.to_string().starts_with(
            "d.sql:8:46: feature view w: there is no column x; known: events.id, events.k, events.more, events.ts"
        ),
        "{error}"
    );
}

#[test]
fn columns_that_nobody_reads_come_and_go_without_a_new_version() {
    // A sum of integers has a layout of its own, which its state's digest tells.
    let catalog = base();
    let sum = "CREATE FEATURE VIEW i ENTITY e AS SELECT sum(CAST(x AS BIGINT)) OVER (PARTITION BY k ORDER BY ts) AS n FROM events";
    let catalog = apply(&catalog, sum).catalog;
    for columns in [
        "more BIGINT, id VARCHAR NOT NULL, k VARCHAR, x DOUBLE",
        "x DOUBLE, k VARCHAR, id VARCHAR NOT NULL, more BIGINT, again VARCHAR",
    ] {
        let plan = apply(&catalog, &events(columns));
        assert_eq!(
            summary(&plan),
            [(ChangeAction::Replace, "events", 2)],
            "{columns}"
        );
        for name in ["v", "w", "i"] {
            let (now, before) = (&plan.catalog.views()[name], &catalog.views()[name]);
            assert_eq!(now.spec(), before.spec(), "{columns}");
            let source = &plan.catalog.sources()["events"];
            let named = |index: &usize| source.columns[*index].name.as_str();
            let keys: Vec<&str> = now.key_columns().iter().map(named).collect();
            assert_eq!(keys, ["k"], "{columns}");
            let reads: BTreeSet<&str> = now.reads().iter().map(named).collect();
            let expected: &[&str] = if name == "v" {
                &["k", "ts"]
            } else {
                &["k", "ts", "x"]
            };
            assert_eq!(reads, expected.iter().copied().collect(), "{columns}");
        }
        let service = &plan.catalog.services()["s"];
        assert!(Arc::ptr_eq(&service.views()[0], &plan.catalog.views()["v"]));
        let fingerprint = &catalog.services()["s"].spec().fingerprint;
        assert_eq!(
            &service.spec().fingerprint,
            fingerprint,
            "models still bind"
        );
        let loaded = Catalog::load(plan.catalog.state()).unwrap_or_else(|e| panic!("{e}"));
        assert!(loaded.outdated().is_empty(), "{columns}");
        assert_eq!(loaded.views()["w"].spec(), catalog.views()["w"].spec());
        let back = apply(&plan.catalog, BASE);
        let replaced = back
            .changes
            .iter()
            .filter(|c| c.action == ChangeAction::Replace);
        let replaced: Vec<&str> = replaced.map(|c| c.name.as_str()).collect();
        assert_eq!(replaced, ["events"], "and back again");
    }
}

#[test]
fn a_source_whose_time_is_declared_anew_changes_alone() {
    let catalog = base();
    for (watermark, options) in [
        ("ts - INTERVAL '1' DAY", ""),
        ("ts", ", idle_timeout = '2 min'"),
        ("ts", ", event_future_max = '1 h'"),
    ] {
        let text = format!(
            "CREATE SOURCE events (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, ts TIMESTAMP NOT NULL, \
             WATERMARK FOR ts AS {watermark}) WITH (connector = 'kafka'{options})"
        );
        let plan = apply(&catalog, &text);
        let events = (ChangeAction::Replace, "events", 2);
        assert_eq!(summary(&plan), [events], "{text}");
        for view in ["v", "w"] {
            let spec = plan.catalog.views()[view].spec();
            assert_eq!(spec, catalog.views()[view].spec(), "{text}");
        }
        assert_ne!(
            plan.catalog.sources()["events"],
            catalog.sources()["events"],
            "{text}"
        );
        let state = plan.catalog.state();
        let loaded = Catalog::load(state).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.views()["v"].spec(), catalog.views()["v"].spec());
        assert!(apply(&loaded, BASE).changes.len() > 1, "and back again");
    }
    let moved = "CREATE SOURCE events (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, ts TIMESTAMP NOT NULL, \
                 WATERMARK FOR ts AS ts) WITH (connector = 'kafka', topic = 'other')";
    let plan = apply(&catalog, moved);
    assert_eq!(
        summary(&plan)[1],
        (ChangeAction::Replace, "v", 2),
        "other events"
    );
}

#[test]
fn another_narrow_type_of_a_column_makes_the_views_that_read_it_anew() {
    let catalog = base();
    let x_is = |of: &str| events(&format!("id VARCHAR NOT NULL, k VARCHAR, x {of}"));
    let plan = apply(&catalog, &x_is("REAL"));
    let replaced: Vec<&str> = plan.changes.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(replaced, ["events", "w", "m"], "v reads no x");
    let loaded = Catalog::load(plan.catalog.state()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.sources()["events"].domains.len(), 1);
    let again = apply(&loaded, &x_is("REAL"));
    assert_eq!(summary(&again), [(ChangeAction::Unchanged, "events", 2)]);
    let back = apply(&loaded, &x_is("DOUBLE"));
    assert_eq!(back.changes[1].name, "w");
}
