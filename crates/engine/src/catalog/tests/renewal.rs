//! Views whose state is made anew: other ids, and everything else as it was, also after a restart.

use super::*;

#[test]
fn a_renewed_view_has_another_id_and_nothing_else_changes() {
    let before = base();
    let after = before
        .renewed(&["v".to_owned()].into())
        .unwrap_or_else(|e| panic!("{e}"));
    assert_ne!(view_id(&after, "v"), view_id(&before, "v"));
    assert_eq!(view_id(&after, "w"), view_id(&before, "w"));
    let of = |catalog: &Catalog| {
        let view = catalog.views()["v"].spec();
        let service = catalog.services()["s"].spec();
        let objects = catalog.state().objects.iter();
        let objects: Vec<_> = objects
            .map(|o| (o.name.clone(), o.version, o.digest.clone(), o.text.clone()))
            .collect();
        (
            (view.version, view.digest.clone()),
            (service.version, service.fingerprint.clone()),
            objects,
        )
    };
    assert_eq!(of(&after), of(&before));
    let joined = |catalog: &Catalog| catalog.services()["s"].spec().views[0].view.id;
    assert_eq!(joined(&after), view_id(&after, "v"));
    assert_eq!(joined(&before), view_id(&before, "v"), "it is another one");
    assert!(Arc::ptr_eq(&after.views()["w"], &before.views()["w"]));
    assert!(after.monitors()["q"].label.is_some());
}

#[test]
fn a_renewal_is_kept_and_its_files_change_nothing() {
    let after = base()
        .renewed(&["v".to_owned()].into())
        .unwrap_or_else(|e| panic!("{e}"));
    let loaded = Catalog::load(after.state()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.state(), after.state());
    assert_eq!(view_id(&loaded, "v"), view_id(&after, "v"));
    let again = apply(&loaded, BASE);
    let unchanged = |c: &Change| c.action == ChangeAction::Unchanged;
    assert!(again.changes.iter().all(unchanged), "{:?}", summary(&again));
    // Ids go on behind it.
    let third = again
        .catalog
        .renewed(&["v".to_owned(), "w".to_owned()].into())
        .unwrap_or_else(|e| panic!("{e}"));
    let ids = [view_id(&third, "v"), view_id(&third, "w")];
    assert!(ids.iter().all(|id| *id > view_id(&after, "v")), "{ids:?}");
}

#[test]
fn a_name_stands_for_its_view_or_for_all_views_of_its_source() {
    let catalog = base();
    let views_of = |name: &str| catalog.views_of(name).map_err(|e| e.to_string());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(views_of("w"), Ok(names(&["w"])));
    assert_eq!(views_of("events"), Ok(names(&["v", "w"])));
    let cases = [
        (
            "nothing",
            "there is no feature view and no source nothing; known views: v, w; known sources: \
             events, outcomes",
        ),
        (
            "outcomes",
            "no feature view reads source outcomes; known views: v, w",
        ),
    ];
    for (name, words) in cases {
        assert_eq!(views_of(name), Err(words.to_owned()));
    }
}

#[test]
fn of_a_view_and_a_source_of_one_name_the_view_is_meant() {
    let view = "CREATE FEATURE VIEW events ENTITY e AS \
        SELECT min(x) OVER (PARTITION BY k ORDER BY ts) AS n FROM events;";
    let catalog = apply(&base(), view).catalog;
    let views = catalog.views_of("events").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(views, BTreeSet::from(["events".to_owned()]));
}
