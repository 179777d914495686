//! Catalogs: the shipped definitions, what applying again, changing and dropping does to versions
//! and ids, what a saved state brings back, and the exact words of refusals.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Float64Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::limits::{CATALOG_MAX_VIEWS, DEFINITION_FILE_MAX_BYTES};
use forebay_core::time::{DAY_US, HOUR_US};

use super::*;

mod beside;
mod broken;
mod compiled;
mod names;
mod refusals;
mod renewal;
mod sources;

const BASE: &str = "
CREATE SOURCE events (id VARCHAR NOT NULL, k VARCHAR, x DOUBLE, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka');
CREATE SOURCE outcomes (id VARCHAR NOT NULL, y BIGINT, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
    WITH (connector = 'kafka');
CREATE ENTITY e (k VARCHAR);
CREATE FEATURE VIEW v ENTITY e AS SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events;
CREATE FEATURE VIEW w ENTITY e AS SELECT max(x) OVER (PARTITION BY k ORDER BY ts) AS m FROM events;
CREATE FEATURE SERVICE s (k VARCHAR, x DOUBLE) AS SELECT t.c, request.x FROM request LEFT JOIN v AS t USING (k);
CREATE MODEL m VERSION 1 FROM 'models/m/1' FEATURES s;
CREATE DEPLOYMENT m ON events INTO TOPIC 'p' CARRY (id) ROUTE VERSION 1 WEIGHT 1;
CREATE MONITOR q ON MODEL m WINDOW INTERVAL '1' DAY LABELS FROM outcomes USING (id) AS y > 15 WITHIN INTERVAL '1' DAY
    REFERENCE TRAINING SET 'r' ALERT WHEN PSI > 0.2;
";

fn file(text: impl Into<String>) -> Vec<DefinitionFile> {
    vec![DefinitionFile {
        path: "d.sql".into(),
        text: text.into(),
    }]
}

fn base() -> Catalog {
    Catalog::empty()
        .plan(&file(BASE))
        .unwrap_or_else(|e| panic!("{e}"))
        .catalog
}

fn apply(catalog: &Catalog, text: &str) -> CatalogPlan {
    catalog
        .plan(&file(text))
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Changes as (action, name, version).
fn summary(plan: &CatalogPlan) -> Vec<(ChangeAction, &str, u32)> {
    plan.changes
        .iter()
        .map(|c| (c.action, c.name.as_str(), c.version))
        .collect()
}

fn view_id(catalog: &Catalog, name: &str) -> u32 {
    catalog.views()[name].spec().id
}

#[test]
fn the_shipped_definitions_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql/flights");
    let files = read_definitions(&folder).expect("the folder is there");
    let plan = Catalog::empty()
        .plan(&files)
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(
        plan.changes
            .iter()
            .all(|c| c.action == ChangeAction::Create && c.version == 1)
    );
    let catalog = plan.catalog;
    let views: Vec<&str> = catalog.views().keys().map(String::as_str).collect();
    assert_eq!(
        views,
        [
            "aircraft_recent",
            "airport_traffic",
            "carrier_punctuality",
            "origin_weather",
            "route_history"
        ]
    );
    let traffic = catalog.views()["airport_traffic"].spec();
    assert_eq!(
        (traffic.partials.len(), traffic.filters, traffic.ttl_us),
        (5, 1, Some(2 * DAY_US))
    );
    assert_eq!(catalog.views()["route_history"].spec().lateness_us(0), None);
    let service = catalog.services()["delay_features"].spec();
    assert_eq!((service.views.len(), service.features.len()), (5, 33));
    assert_eq!(service.features[1].name, "distance_miles");
    assert_eq!(service.features[1].data_type, DataType::Float64);
    assert_eq!(catalog.models()[0].path, "models/late_arrival/1");
    assert_eq!(catalog.deployments()["late_arrival"].sticky_by, ["carrier"]);
    assert!(catalog.monitors()["late_arrival_quality"].label.is_some());

    let again = catalog.plan(&files).expect("the same files");
    assert!(
        again
            .changes
            .iter()
            .all(|c| c.action == ChangeAction::Unchanged)
    );
    assert_eq!(again.changes.len(), 3 + 4 + 5 + 1 + 1 + 1 + 1);
    assert_eq!(again.catalog.state(), catalog.state());
    assert!(Arc::ptr_eq(
        &again.catalog.views()["airport_traffic"],
        &catalog.views()["airport_traffic"]
    ));
}

/// Where this fails after a change of the definitions, a new version of the model is due; where the
/// digest itself changed, the manifest follows.
#[test]
fn the_shipped_model_is_of_the_shipped_service() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = read_definitions(&root.join("sql/flights")).expect("readable");
    let catalog = Catalog::empty().plan(&files).expect("plans").catalog;
    let manifest = std::fs::read_to_string(root.join("models/late_arrival/1/manifest.toml"));
    let fingerprint = &catalog.services()["delay_features"].spec().fingerprint;
    let stated = format!("fingerprint = \"{fingerprint}\"");
    assert!(manifest.expect("readable").contains(&stated), "{stated}");
}

#[test]
fn statements_may_stand_in_any_order() {
    let mut statements: Vec<&str> = BASE.split_inclusive(';').collect();
    statements.reverse();
    let reversed = apply(&Catalog::empty(), &statements.concat()).catalog;
    let digests = |catalog: &Catalog| -> Vec<(String, String)> {
        catalog
            .state()
            .objects
            .iter()
            .map(|o| (o.name.clone(), o.digest.clone()))
            .collect()
    };
    assert_eq!(digests(&reversed), digests(&base()));
}

#[test]
fn an_unchanged_text_is_unchanged_whatever_its_layout() {
    let catalog = base();
    let plan = apply(
        &catalog,
        "create or replace entity E (\n k varchar -- the key\n)",
    );
    assert_eq!(summary(&plan), [(ChangeAction::Unchanged, "e", 1)]);
    assert_eq!(plan.catalog.state(), catalog.state());
    assert!(apply(&catalog, " -- nothing").changes.is_empty());
}

#[test]
fn a_service_keeps_its_fingerprint_over_other_topics_and_not_over_other_columns() {
    let fingerprint = |catalog: &Catalog| catalog.services()["s"].spec().fingerprint.clone();
    let catalog = base();
    let elsewhere = apply(
        &catalog,
        &BASE.replace("'kafka')", "'kafka', topic = 'elsewhere')"),
    )
    .catalog;
    assert_ne!(
        view_id(&elsewhere, "v"),
        view_id(&catalog, "v"),
        "another log is another state"
    );
    assert_eq!(fingerprint(&elsewhere), fingerprint(&catalog));
    let events = |columns: &str| {
        let base = BASE.replace("k VARCHAR, x DOUBLE, ts", columns);
        apply(&catalog, &base).catalog
    };
    let read = events("k VARCHAR NOT NULL, x DOUBLE, ts");
    assert_ne!(fingerprint(&read), fingerprint(&catalog));
    let not_read = events("k VARCHAR, x DOUBLE NOT NULL, ts");
    assert_eq!(fingerprint(&not_read), fingerprint(&catalog));
    let loaded = Catalog::load(elsewhere.state()).expect("it was saved");
    assert_eq!(fingerprint(&loaded), fingerprint(&catalog));
}

#[test]
fn a_changed_view_gets_a_version_and_an_id_and_takes_its_readers_with_it() {
    let catalog = base();
    assert_eq!((view_id(&catalog, "v"), view_id(&catalog, "w")), (1, 2));
    let text = "CREATE FEATURE VIEW v ENTITY e AS SELECT sum(x) OVER (PARTITION BY k ORDER BY ts) AS c FROM events";
    let plan = apply(&catalog, text);
    assert_eq!(
        summary(&plan),
        [
            (ChangeAction::Replace, "v", 2),
            (ChangeAction::Replace, "s", 2),
            (ChangeAction::Replace, "m/1", 2),
            (ChangeAction::Replace, "m", 2),
        ]
    );
    assert_eq!(plan.changes[0].note, "its text changes");
    assert_eq!(plan.changes[1].note, "feature view v changes");
    assert!(
        plan.changes[0]
            .before
            .as_ref()
            .is_some_and(|sql| sql.contains("count(*)"))
    );
    assert_eq!(plan.changes[0].after.as_deref(), Some(text));
    let next = &plan.catalog;
    assert_eq!(
        (
            view_id(next, "v"),
            view_id(next, "w"),
            next.state().next_view_id
        ),
        (3, 2, 4)
    );
    assert_eq!(next.views()["v"].spec().version, 2);
    let service = next.services()["s"].spec();
    assert_eq!((service.version, service.views[0].view.id), (2, 3));
    assert_ne!(
        service.fingerprint,
        catalog.services()["s"].spec().fingerprint
    );
    assert_ne!(
        next.views()["v"].spec().digest,
        catalog.views()["v"].spec().digest
    );
    assert_eq!(view_id(&catalog, "v"), 1, "the catalog before is as it was");
    let back = apply(next, BASE);
    assert_eq!(
        view_id(&back.catalog, "v"),
        4,
        "the old text is a new version too"
    );
}

#[test]
fn a_saved_state_brings_back_the_same_catalog() {
    let catalog = apply(&base(), "DROP FEATURE VIEW w").catalog;
    let json = serde_json::to_string(catalog.state()).expect("plain data");
    let state: CatalogState = serde_json::from_str(&json).expect("its own text");
    let loaded = Catalog::load(&state).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.state(), catalog.state());
    assert_eq!(loaded.views()["v"].spec(), catalog.views()["v"].spec());
    assert_eq!(
        loaded.services()["s"].spec(),
        catalog.services()["s"].spec()
    );
    assert_eq!(loaded.models(), catalog.models());
    assert_eq!(loaded.deployments(), catalog.deployments());
    assert_eq!(loaded.monitors()["q"].def, catalog.monitors()["q"].def);
    assert!(
        apply(&loaded, BASE)
            .changes
            .iter()
            .all(|c| c.name == "w" || c.action == ChangeAction::Unchanged)
    );

    let other = CatalogState {
        format: 1,
        ..state.clone()
    };
    let error = Catalog::load(&other).expect_err("another format");
    assert_eq!(
        error.to_string(),
        "the saved catalog has format 1, this program reads 3 and 4; use the version that wrote it, or apply the definitions \
         with another data directory"
    );
    let mut other = state.clone();
    other.objects[0].text = "CREATE ENTITY other (k VARCHAR)".into();
    let mut nowhere = state.clone();
    nowhere.objects[0].line = u64::MAX;
    let damaged = [
        (
            other,
            "restore it from a backup, or apply the definitions to an empty one",
        ),
        (nowhere, "which no file has; restore it from a backup"),
    ];
    for (damaged, words) in damaged {
        let error = Catalog::load(&damaged).expect_err(words).to_string();
        assert!(error.ends_with(words), "{error}");
    }
    assert!(Catalog::load(&state).is_ok(), "the backup");
    let anew = apply(&Catalog::empty(), BASE).catalog;
    assert_eq!(anew.views().keys().len(), 2, "an empty one");
    assert!(
        serde_json::from_str::<CatalogState>(&json.replacen("\"format\"", "\"shape\"", 1)).is_err()
    );
}

#[test]
fn a_dropped_name_never_reuses_a_version_or_an_id() {
    let catalog = base();
    let plan = apply(
        &catalog,
        "DROP FEATURE VIEW w; DROP ENTITY IF EXISTS nothing",
    );
    assert_eq!(summary(&plan), [(ChangeAction::Drop, "w", 1)]);
    assert!(!plan.catalog.views().contains_key("w"));
    let again = apply(&plan.catalog, BASE);
    assert_eq!(
        (
            view_id(&again.catalog, "w"),
            again.catalog.views()["w"].spec().version
        ),
        (3, 2)
    );
    let all = apply(
        &catalog,
        "DROP SOURCE events; DROP MONITOR q; DROP DEPLOYMENT m; DROP MODEL m VERSION 1; DROP FEATURE SERVICE s;
         DROP FEATURE VIEW v; DROP FEATURE VIEW w; DROP ENTITY e; DROP SOURCE outcomes",
    );
    assert_eq!(all.changes.len(), 9);
    assert_eq!(all.changes[0].name, "q", "what depends goes first");
    assert!(all.catalog.state().objects.is_empty() && all.catalog.sources().is_empty());
}

#[test]
fn a_catalog_has_so_many_views() {
    let mut text: String = BASE.split_inclusive(';').take(3).collect();
    let add = |text: &mut String, view: usize| {
        text.push_str(&format!(
            "\nCREATE FEATURE VIEW v{view:04} ENTITY e AS \
             SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events;"
        ));
    };
    for view in 0..CATALOG_MAX_VIEWS {
        add(&mut text, view);
    }
    let full = apply(&Catalog::empty(), &text).catalog;
    let mut one_more = String::new();
    add(&mut one_more, CATALOG_MAX_VIEWS);
    full.plan(&file(one_more.as_str())).expect_err("one more");
    one_more.push_str("\nDROP FEATURE VIEW v0000;");
    apply(&full, &one_more);
    add(&mut text, CATALOG_MAX_VIEWS);
    let error = Catalog::empty()
        .plan(&file(text.as_str()))
        .expect_err("one too many");
    let words = error.to_string();
    assert!(words.contains("(CATALOG_MAX_VIEWS); drop some"), "{words}");
    // As many as allowed were taken, in the order of their names: the last one is refused.
    let last = format!(":{}:1:", text.lines().count());
    assert!(words.contains(&last), "{words} at {last}");
}

#[test]
fn the_last_statement_of_a_name_counts() {
    let catalog = base();
    let plan = apply(
        &catalog,
        "CREATE ENTITY n (k VARCHAR); CREATE OR REPLACE ENTITY n (k BIGINT); CREATE ENTITY gone (k VARCHAR); DROP \
         ENTITY gone",
    );
    assert_eq!(summary(&plan), [(ChangeAction::Create, "n", 1)]);
    assert_eq!(
        plan.catalog.inner.entities["n"].key[0].data_type,
        DataType::Int64
    );
    let same = apply(&catalog, "DROP ENTITY e; CREATE ENTITY e (k VARCHAR)");
    assert_eq!(summary(&same), [(ChangeAction::Unchanged, "e", 1)]);
}

#[test]
fn a_label_is_evaluated_on_decoded_and_on_archived_rows() {
    let catalog = base();
    let label = catalog.monitors()["q"].label.clone().expect("it has one");
    let batch = |names: [&str; 2]| {
        let fields = [
            Field::new(names[0], DataType::Int64, true),
            Field::new(names[1], DataType::Float64, true),
        ];
        let y = Int64Array::from(vec![Some(16), Some(15), None]);
        let other = Float64Array::from(vec![0.0, 1.0, 2.0]);
        RecordBatch::try_new(
            Arc::new(Schema::new(fields.to_vec())),
            vec![Arc::new(y), Arc::new(other)],
        )
        .expect("well formed")
    };
    let values = label.evaluate(&batch(["y", "z"])).expect("evaluates");
    assert_eq!(
        values.iter().collect::<Vec<_>>(),
        [Some(true), Some(false), None]
    );
    assert_eq!(
        label
            .evaluate(&batch(["z", "x"]))
            .expect_err("no y")
            .to_string(),
        "column y of source outcomes is missing"
    );
    let mistyped = label
        .evaluate(&batch(["z", "y"]))
        .expect_err("y is DOUBLE")
        .to_string();
    assert_eq!(
        mistyped,
        "column y of source outcomes is Int64, not Float64"
    );
    assert_eq!(values.len(), 3);
}

#[test]
fn a_fold_of_the_shipped_traffic_view_counts_what_its_text_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql/flights");
    let catalog = Catalog::empty()
        .plan(&read_definitions(&folder).expect("there"))
        .expect("compiles")
        .catalog;
    let source = &catalog.sources()["departures"];
    let fields = source.schema();
    let columns: Vec<arrow_array::ArrayRef> = fields
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "dep_delay" => Arc::new(Float64Array::from(vec![Some(20.0), Some(15.0), None]))
                as arrow_array::ArrayRef,
            "dep_time" => Arc::new(
                arrow_array::TimestampMicrosecondArray::from(vec![
                    HOUR_US,
                    2 * HOUR_US,
                    3 * HOUR_US,
                ])
                .with_timezone("UTC"),
            ),
            "tailnum" => Arc::new(arrow_array::StringArray::from(vec![
                Some("N1"),
                None,
                Some("N2"),
            ])),
            _ if field.data_type() == &DataType::Utf8 => {
                Arc::new(arrow_array::StringArray::from(vec!["JFK"; 3]))
            }
            _ => arrow_array::new_null_array(field.data_type(), 3),
        })
        .collect();
    let rows = RecordBatch::try_new(fields, columns).expect("as declared");
    let traffic = catalog.views()["airport_traffic"]
        .fold(&rows)
        .expect("folds");
    assert_eq!(
        traffic.filters[0].iter().collect::<Vec<_>>(),
        [Some(true), Some(false), None]
    );
    assert_eq!(traffic.source_rows, [0, 1, 2]);
    let aircraft = catalog.views()["aircraft_recent"]
        .fold(&rows)
        .expect("folds");
    assert_eq!(aircraft.source_rows, [0, 2]);
    assert_eq!(aircraft.keys[0].as_string::<i32>().value(1), "N2");
}

#[test]
fn folders_are_read_by_name_and_errors_name_the_path() {
    let folder = tempfile::tempdir().expect("a directory");
    let missing = folder.path().join("nothing");
    let error = read_definitions(&missing)
        .expect_err("no folder")
        .to_string();
    assert_eq!(
        error,
        format!(
            "cannot read {}; check that it exists and is readable",
            missing.display()
        )
    );
    std::fs::create_dir(&missing).expect("made");
    std::fs::write(missing.join("a.sql"), "").expect("written");
    assert!(read_definitions(&missing).is_ok(), "it exists");
    assert!(read_definitions(folder.path()).is_err(), "no file");
    std::fs::write(folder.path().join("b.sql"), "two").expect("written");
    std::fs::write(folder.path().join("a.sql"), "one").expect("written");
    std::fs::write(folder.path().join("c.txt"), "no").expect("written");
    let texts: Vec<String> = read_definitions(folder.path())
        .expect("two")
        .into_iter()
        .map(|f| f.text)
        .collect();
    assert_eq!(texts, ["one", "two"]);
    std::fs::write(folder.path().join("d.sql"), [0xFF, 0xFE]).expect("written");
    assert!(read_definitions(folder.path()).is_err(), "no UTF-8");
    std::fs::write(
        folder.path().join("d.sql"),
        "é".repeat(DEFINITION_FILE_MAX_BYTES),
    )
    .expect("written");
    let files = read_definitions(folder.path()).expect("cut");
    let error = Catalog::empty().plan(&files[2..]).expect_err("too long");
    assert!(
        error.to_string().contains("DEFINITION_FILE_MAX_BYTES"),
        "{error}"
    );
}

#[test]
fn changes_and_states_are_json_with_stable_names() {
    let plan = apply(&Catalog::empty(), "CREATE ENTITY e (k VARCHAR)");
    let json = serde_json::to_string(&plan.changes).expect("plain data");
    let wanted = concat!(
        r#"[{"action":"create","kind":"entity","name":"e","version":1,"before":null,"#,
        r#""after":"CREATE ENTITY e (k VARCHAR)","note":"it is new"}]"#
    );
    assert_eq!(json, wanted);
    let state = serde_json::to_value(plan.catalog.state()).expect("plain data");
    assert_eq!(state["format"], 4);
    assert_eq!(state["objects"][0]["file"], "d.sql");
}
