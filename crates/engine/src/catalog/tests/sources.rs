//! What a changed source does to the views over it: other events make new versions, another rule of
//! time makes none.

use super::*;

#[test]
fn a_changed_source_makes_new_versions_of_its_views() {
    let catalog = base();
    let wider = "CREATE SOURCE events (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, more BIGINT, ts TIMESTAMP NOT NULL, \
                 WATERMARK FOR ts AS ts) WITH (connector = 'kafka')";
    let plan = apply(&catalog, wider);
    let replaced: Vec<&str> = plan.changes.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(replaced, ["events", "v", "w", "s", "m/1", "m"]);
    assert_eq!(plan.changes[1].note, "source events changes");
    assert_eq!(
        (view_id(&plan.catalog, "v"), view_id(&plan.catalog, "w")),
        (3, 4)
    );
    let narrower = wider.replace("x DOUBLE, ", "");
    let error = catalog.plan(&file(narrower)).expect_err("w reads x");
    assert!(
        error.to_string().starts_with(
            "d.sql:8:46: feature view w: there is no column x; known: events.id, events.k, events.more, events.ts"
        ),
        "{error}"
    );
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
