//! Saved definitions that this build does not take are set aside alone; an apply drops or replaces
//! them, and leaves them as they are otherwise.

use super::*;
use crate::ObjectKind;

/// The saved form of [`base`], with another text of one object.
fn saved(name: &str, from: &str, to: &str) -> CatalogState {
    let mut state = base().state().clone();
    let object = state.objects.iter_mut().find(|object| object.name == name);
    let object = object.expect("it is saved");
    assert!(object.text.contains(from), "{}", object.text);
    object.text = object.text.replace(from, to);
    state
}

fn load(state: &CatalogState) -> Catalog {
    Catalog::load(state).unwrap_or_else(|e| panic!("{e}"))
}

fn broken(catalog: &Catalog) -> Vec<(ObjectKind, String, String)> {
    let broken = catalog.broken();
    broken
        .map(|b| (b.kind, b.name.to_owned(), b.why.to_owned()))
        .collect()
}

fn no_column() -> CatalogState {
    saved("v", "count(*)", "count(gone)")
}

#[test]
fn a_definition_that_does_not_compile_is_set_aside_with_what_depends_on_it() {
    let state = no_column();
    let catalog = load(&state);
    let found = broken(&catalog);
    let names: Vec<&str> = found.iter().map(|(_, name, _)| name.as_str()).collect();
    assert!(names.starts_with(&["v", "s"]), "{names:?}");
    assert!(found[0].2.contains("there is no column gone"), "{found:?}");
    let depends = "it reads feature view v, which cannot be used: ";
    assert!(found[1].2.contains(depends), "{found:?}");
    assert!(catalog.views().contains_key("w"));
    assert!(!catalog.views().contains_key("v"));
    assert!(catalog.services().is_empty());
    // What was saved stays as it was, and says the same again.
    assert_eq!(catalog.state(), &state);
    assert_eq!(broken(&load(catalog.state())), found);
    let ids: Vec<_> = catalog.view_ids().collect();
    assert_eq!(ids.len(), 2, "the state of a broken view is somebody's");
}

#[test]
fn a_text_that_does_not_parse_is_set_aside_too_and_can_be_dropped() {
    let catalog = load(&saved("v", "OVER (", "OVER (("));
    assert_eq!(broken(&catalog)[0].1, "v");
    assert!(catalog.views().contains_key("w"));
    let error = catalog.plan(&file("DROP FEATURE VIEW v;"));
    let error = error.expect_err("the service reads it").to_string();
    assert!(error.contains("feature service s depends on it"), "{error}");
    let all = "DROP MONITOR q; DROP DEPLOYMENT m; DROP MODEL m VERSION 1;
        DROP FEATURE SERVICE s; DROP FEATURE VIEW v;";
    let plan = apply(&catalog, all);
    assert!(plan.changes.contains(&Change {
        action: ChangeAction::Drop,
        kind: ObjectKind::View,
        name: "v".to_owned(),
        version: 1,
        before: Some(catalog.state().objects[3].text.clone()),
        after: None,
        note: String::new(),
        warnings: Vec::new(),
    }));
    assert!(broken(&plan.catalog).is_empty());
    assert!(load(plan.catalog.state()).views().contains_key("w"));
}

#[test]
fn a_broken_source_takes_its_views_along_and_nothing_else() {
    let catalog = load(&saved("outcomes", "TIMESTAMP", "NO_TYPE"));
    let found = broken(&catalog);
    assert!(
        found
            .iter()
            .any(|(kind, name, _)| { *kind == ObjectKind::Source && name == "outcomes" })
    );
    assert!(catalog.sources().contains_key("events"));
    assert!(catalog.views().contains_key("v") && catalog.views().contains_key("w"));
}

#[test]
fn the_same_files_leave_it_aside_and_say_why() {
    let catalog = load(&no_column());
    let text = BASE.replace("count(*)", "count(gone)");
    let plan = apply(&catalog, &text);
    let change = plan.changes.iter().find(|change| change.name == "v");
    let change = change.expect("it is in the files");
    assert_eq!(change.action, ChangeAction::Unchanged);
    assert!(change.note.contains("it stays set aside"), "{change:?}");
    assert_eq!(broken(&plan.catalog), broken(&catalog));
    assert_eq!(plan.catalog.state(), catalog.state());
}

#[test]
fn other_definitions_change_beside_it() {
    let catalog = load(&no_column());
    let more = "CREATE FEATURE VIEW more ENTITY e AS \
        SELECT min(x) OVER (PARTITION BY k ORDER BY ts) AS n FROM events;";
    let plan = apply(&catalog, more);
    assert!(plan.catalog.views().contains_key("more"));
    assert_eq!(broken(&plan.catalog), broken(&catalog));
}

#[test]
fn a_mended_text_is_the_next_version_and_brings_back_what_depends_on_it() {
    let catalog = load(&no_column());
    let plan = apply(&catalog, BASE);
    assert!(
        broken(&plan.catalog).is_empty(),
        "{:?}",
        broken(&plan.catalog)
    );
    let change = plan.changes.iter().find(|change| change.name == "v");
    let change = change.expect("it is in the files");
    assert_eq!((change.action, change.version), (ChangeAction::Replace, 2));
    let view = plan.catalog.views()["v"].spec();
    let ids: Vec<_> = catalog.view_ids().collect();
    assert!(
        !ids.contains(&view.id),
        "its state is made from the archive"
    );
    assert!(plan.catalog.services().contains_key("s"));
}

#[test]
fn a_new_definition_over_a_broken_one_is_refused_with_the_reason() {
    let catalog = load(&no_column());
    let over = "CREATE FEATURE SERVICE t (k VARCHAR) AS \
        SELECT v.* FROM request LEFT JOIN v AS v USING (k);";
    let error = catalog.plan(&file(over)).expect_err("v is broken");
    let words = error.to_string();
    let reason = "it reads feature view v, which cannot be used: ";
    assert!(words.contains(reason), "{words}");
}

#[test]
fn a_damaged_catalog_is_refused_as_a_whole() {
    let mut state = base().state().clone();
    let other = state.objects[0].text.clone();
    let last = state.objects.last_mut().expect("there are some");
    last.text = other;
    let error = Catalog::load(&state).expect_err("it holds another statement");
    assert!(error.to_string().contains("restore it from a backup"));
}
