//! Views whose state is made anew: other ids, and everything else as it was, also after a restart.

use super::*;
use crate::ObjectKind;

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

/// The saved form of `catalog`, as a build whose functions mean something else would have written
/// it for these objects.
fn older(catalog: &Catalog, names: &[&str]) -> CatalogState {
    let mut state = catalog.state().clone();
    for object in &mut state.objects {
        if names.contains(&object.name.as_str()) {
            object.digest = "of another build".to_owned();
        }
    }
    state
}

fn versions(catalog: &Catalog) -> BTreeMap<&str, u32> {
    let objects = catalog.state().objects.iter();
    objects.map(|o| (o.name.as_str(), o.version)).collect()
}

#[test]
fn a_view_whose_text_means_something_else_by_now_is_outdated_until_it_is_renewed() {
    let before = base();
    let loaded = Catalog::load(&older(&before, &["v", "s"])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.outdated(), &BTreeSet::from(["v".to_owned()]));
    assert_eq!(view_id(&loaded, "v"), view_id(&before, "v"));
    assert_eq!(
        loaded.views()["v"].spec().digest,
        before.views()["v"].spec().digest
    );
    assert_eq!((versions(&loaded)["v"], versions(&loaded)["s"]), (1, 1));
    let again = Catalog::load(loaded.state()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(versions(&again), versions(&loaded), "also once it is saved");
    assert_eq!(again.outdated(), loaded.outdated());

    let other = loaded
        .renewed(&["w".to_owned()].into())
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        other.outdated(),
        loaded.outdated(),
        "another view is renewed"
    );
    let renewed = other
        .renewed(&["v".to_owned()].into())
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(renewed.outdated().is_empty());
    let of_view = |kind: &str| versions(&renewed)[kind];
    assert_eq!((of_view("v"), of_view("s"), of_view("w")), (2, 2, 1));
    let loaded = Catalog::load(renewed.state()).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.outdated().is_empty());
    let view_or_service = |c: &&Change| matches!(c.kind, ObjectKind::View | ObjectKind::Service);
    let changes = apply(&loaded, BASE).changes;
    for change in changes.iter().filter(view_or_service) {
        assert_eq!(change.action, ChangeAction::Unchanged, "{change:?}");
    }
}

#[test]
fn a_service_that_means_something_else_by_now_has_another_version_from_the_start_on() {
    let loaded = Catalog::load(&older(&base(), &["s"])).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.outdated().is_empty());
    assert_eq!(loaded.services()["s"].spec().version, 2);
    let again = Catalog::load(loaded.state()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(versions(&again), versions(&loaded), "once it is saved");
}

#[test]
fn applying_the_same_text_makes_an_outdated_view_anew_as_another_version() {
    let loaded = Catalog::load(&older(&base(), &["v"])).unwrap_or_else(|e| panic!("{e}"));
    let plan = apply(&loaded, BASE);
    let change = plan.changes.iter().find(|change| change.name == "v");
    let change = change.expect("it changes");
    assert_eq!((change.action, change.version), (ChangeAction::Replace, 2));
    assert_eq!(change.note, "the meaning of functions changes");
    assert!(plan.catalog.outdated().is_empty());
    assert!(view_id(&plan.catalog, "v") > view_id(&loaded, "v"));
}

#[test]
fn a_text_whose_meaning_never_changed_keeps_its_digest_and_another_does_not() {
    let digest = |argument: &str| {
        let view = format!(
            "CREATE OR REPLACE FEATURE VIEW w ENTITY e AS \
             SELECT count({argument}) OVER (PARTITION BY k ORDER BY ts) AS n FROM events;"
        );
        apply(&base(), &view).catalog.views()["w"]
            .spec()
            .digest
            .clone()
    };
    // Text, version of all functions, entity, and the events with the columns that the text names.
    let of = |parts: &[&str]| forebay_core::digest::digest(parts.iter().copied());
    let time = forebay_core::time::timestamp_type();
    let columns = of(&[
        "events",
        "ts",
        "k Utf8 true",
        &format!("ts {time} false"),
        "x Float64 true",
    ]);
    let text = "create feature view w entity e as select count ( x ) over ( partition by k order by ts ) as n \
                from events";
    let entity = of(&["create entity e ( k varchar )", "1"]);
    let first = of(&[text, "1", &entity, &of(&[&columns, "events", "json"])]);
    assert_eq!(digest("x"), first);
    let digests = ["x + 1", "x > 1", "abs(x)", "x::DOUBLE"].map(digest);
    let distinct: BTreeSet<&String> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
}
