//! What was compiled is kept beside the texts: a start plans none of them, and has the same
//! catalog. A form that is not of this build or that was edited is compiled again.

use arrow_array::{ArrayRef, StringArray, TimestampMicrosecondArray, new_null_array};
use forebay_core::cells::Cells;

use super::*;

/// Programs of every kind of operation, on both sides of the windows.
const RICH: &str = "
CREATE FEATURE VIEW rich ENTITY e AS
SELECT k, ts,
    sum(x * 2.0) FILTER (WHERE id LIKE 'a%' OR id IN ('b', 'c')) OVER hour AS total,
    avg(CASE WHEN x > 0.5 THEN ln(x) END) OVER hour / 3.0 AS mean,
    count(*) OVER (PARTITION BY k ORDER BY ts) + 1 AS n,
    coalesce(round(max(x) OVER hour, 2), -1.0) AS most,
    extract(hour FROM ts) AS hour_of_read,
    approx_quantile(x, 0.9) OVER hour AS high
FROM (SELECT k, ts, id, abs(x) AS x FROM events WHERE regexp_like(id, '^[a-z]') AND x IS NOT NULL)
WINDOW hour AS (PARTITION BY k ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING);
CREATE FEATURE SERVICE both (k VARCHAR, x DOUBLE, asked TIMESTAMP) AS
SELECT r.total, w.m, CASE WHEN request.x > r.mean THEN 'above' ELSE upper(request.k) END AS side,
    extract(epoch FROM request_time() - request.asked) AS age
FROM request LEFT JOIN rich AS r USING (k) LEFT JOIN w USING (k);
";

fn rich() -> Catalog {
    apply(&base(), RICH).catalog
}

fn load(state: &CatalogState) -> Catalog {
    Catalog::load(state).unwrap_or_else(|e| panic!("{e}"))
}

/// What is compiled: views, services, labels.
const COMPILED: usize = 3 + 2 + 1;

#[test]
fn a_start_plans_no_text_and_has_the_same_catalog() {
    let catalog = rich();
    let json = serde_json::to_string(catalog.state()).expect("plain data");
    let loaded = load(&serde_json::from_str(&json).expect("what was written"));
    assert_eq!(loaded.planned(), 0);
    assert_eq!(loaded.broken().count(), 0);
    assert_eq!(loaded.state(), catalog.state());
    for (name, view) in catalog.views() {
        let now = &loaded.views()[name];
        assert_eq!(now.spec(), view.spec());
        assert_eq!(now.features(), view.features());
        assert_eq!(
            (now.reads(), now.key_columns()),
            (view.reads(), view.key_columns())
        );
    }
    for (name, service) in catalog.services() {
        assert_eq!(loaded.services()[name].spec(), service.spec());
        assert_eq!(loaded.reads_of(name), catalog.reads_of(name));
    }
    let again = apply(&loaded, BASE);
    let unchanged = |c: &Change| c.action == ChangeAction::Unchanged;
    assert!(again.changes.iter().all(unchanged), "{:?}", summary(&again));
}

#[test]
fn bound_views_and_services_give_what_compiled_ones_give() {
    let catalog = rich();
    let loaded = load(catalog.state());
    let text = |values: [&str; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let time = TimestampMicrosecondArray::from(vec![1_000_000, 7_000_000, 3_600_000_000]);
    let time = Arc::new(time.with_timezone("UTC")) as ArrayRef;
    let x = Arc::new(Float64Array::from(vec![Some(-2.5), None, Some(0.75)])) as ArrayRef;
    let source = catalog.sources()["events"].schema();
    let rows = vec![
        text(["a1", "b", "c"]),
        text(["k", "k", "l"]),
        x,
        Arc::clone(&time),
    ];
    let rows = RecordBatch::try_new(source, rows).expect("the source's columns");
    let fold = |catalog: &Catalog| {
        let folded = catalog.views()["rich"].fold(&rows).expect("folds");
        (
            folded.arguments,
            folded.filters,
            folded.keys,
            folded.source_rows,
            folded.left_out,
        )
    };
    assert_eq!(fold(&loaded), fold(&catalog));
    assert_eq!(fold(&catalog).3, [0, 2], "the WHERE is there");
    let request = Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("x", DataType::Float64, true),
        Field::new("asked", time.data_type().clone(), true),
    ]);
    let asked = vec![
        text(["k", "l", "m"]),
        Arc::new(Float64Array::from(vec![1.0, -1.0, 0.0])) as ArrayRef,
        Arc::clone(&time),
    ];
    let request = RecordBatch::try_new(Arc::new(request), asked).expect("a request");
    let at = time.as_primitive().clone();
    let finish = |catalog: &Catalog| {
        let service = &catalog.services()["both"];
        let views = service.views().iter().map(|view| {
            let fields = view.features();
            let columns = fields
                .fields()
                .iter()
                .map(|f| new_null_array(f.data_type(), 3));
            Cells::from(columns.collect::<Vec<_>>())
        });
        let views: Vec<Cells> = views.collect();
        let cells = service.finish(&request, &at, &views).expect("finishes");
        (cells.columns, cells.faults)
    };
    assert_eq!(finish(&loaded), finish(&catalog));
}

#[test]
fn a_form_that_was_edited_or_is_of_another_build_is_compiled_from_its_text() {
    let catalog = rich();
    let mut json = serde_json::to_value(catalog.state()).expect("plain data");
    let objects = json["objects"].as_array_mut().expect("a list");
    let mut edited = 0;
    for object in objects {
        let name = object["name"].as_str().unwrap_or_default().to_owned();
        match (name.as_str(), object.get_mut("compiled")) {
            ("rich", Some(compiled)) => {
                let form = compiled["form"].as_str().expect("a text");
                assert!(form.contains("3.0"), "it divides by it: {form}");
                compiled["form"] = form.replace("3.0", "4.0").into();
                edited += 1;
            }
            ("w", Some(compiled)) => {
                compiled["format"] = 0.into();
                edited += 1;
            }
            ("v", Some(compiled)) => {
                compiled["definition"] = "another".into();
                edited += 1;
            }
            _ => {}
        }
    }
    assert_eq!(edited, 3);
    let loaded = load(&serde_json::from_value(json).expect("of its shape"));
    assert_eq!(loaded.planned(), 3);
    assert_eq!(loaded.state(), catalog.state());
}

#[test]
fn a_catalog_of_an_earlier_build_has_no_forms_and_gets_them() {
    let catalog = rich();
    let mut before = catalog.state().clone();
    before.format = 3;
    for object in &mut before.objects {
        object.compiled = None;
    }
    let json = serde_json::to_string(&before).expect("plain data");
    assert!(!json.contains("compiled"));
    let loaded = load(&serde_json::from_str(&json).expect("what was written"));
    assert_eq!(loaded.planned(), COMPILED);
    assert_eq!(loaded.state(), catalog.state());
}
