//! Definitions that are planned over others which are not in force yet: an apply that takes over a
//! change whose views are still being filled.

use super::*;

const OTHER: &str = "CREATE FEATURE VIEW v ENTITY e AS SELECT count(x) OVER (PARTITION BY k ORDER BY ts) AS c FROM events;";

fn beside(pending: &Catalog, in_force: &Catalog, text: &str) -> CatalogPlan {
    let planned = pending.plan_beside(&file(text), Some(in_force));
    planned.unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn what_is_put_back_keeps_the_version_and_the_state_that_are_in_force() {
    let in_force = base();
    let pending = apply(&in_force, OTHER).catalog;
    assert_eq!((view_id(&in_force, "v"), view_id(&pending, "v")), (1, 3));
    let back = beside(&pending, &in_force, BASE);
    let expected = [
        (ChangeAction::Replace, "v", 1),
        (ChangeAction::Replace, "s", 1),
        (ChangeAction::Replace, "m/1", 1),
        (ChangeAction::Replace, "m", 1),
    ];
    let changed = summary(&back).into_iter();
    let changed: Vec<_> = changed
        .filter(|(action, ..)| *action != ChangeAction::Unchanged)
        .collect();
    assert_eq!(changed, expected);
    let note = |name: &str| back.changes.iter().find(|change| change.name == name);
    assert_eq!(
        note("v").expect("a change").note,
        "it stays what is in force"
    );
    for view in ["v", "w"] {
        let spec = back.catalog.views()[view].spec();
        assert_eq!(spec, in_force.views()[view].spec());
    }
    let loaded = Catalog::load(back.catalog.state()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(view_id(&loaded, "v"), 1);
    // An id that the change under way has given is given to no other view.
    let next = apply(&back.catalog, OTHER);
    assert_eq!(view_id(&next.catalog, "v"), 4);
}

#[test]
fn a_view_that_a_change_under_way_drops_comes_back_as_it_is_in_force() {
    let in_force = base();
    let pending = apply(&in_force, "DROP FEATURE VIEW w;").catalog;
    let back = beside(&pending, &in_force, BASE);
    let changed = summary(&back).into_iter();
    let changed: Vec<_> = changed
        .filter(|(action, ..)| *action != ChangeAction::Unchanged)
        .collect();
    assert_eq!(changed, [(ChangeAction::Create, "w", 1)]);
    let spec = back.catalog.views()["w"].spec();
    assert_eq!(spec, in_force.views()["w"].spec());
    // Without what is in force it is a view like any new one.
    let anew = apply(&pending, BASE);
    assert_eq!(view_id(&anew.catalog, "w"), 3);
}
