//! Version directories: every committed golden model becomes READY, every damage to one is a typed
//! reason, and a service that is not the one that a model was made for is refused with both
//! fingerprints.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::ErrorKind;
use forebay_core::definition::ModelDef;
use forebay_core::limits::MODELS_MAX;
use forebay_core::ports::Scorer;
use forebay_core::source::Column;
use forebay_core::view::ServiceSpec;
use tempfile::TempDir;

use super::{Exactness, Manifest, ModelId, ModelState, ModelStore, ModelVersion};
use crate::local::LocalScorer;

mod limits;
mod remedies;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/infer")
        .join(name)
        .join("1")
}

/// A copy that may be damaged.
fn copy(name: &str) -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    for file in ["manifest.toml", "model.json", "golden.arrow"] {
        fs::copy(golden(name).join(file), directory.path().join(file)).expect("copies");
    }
    directory
}

fn edit(directory: &Path, from: &str, to: &str) {
    let path = directory.join("manifest.toml");
    let text = fs::read_to_string(&path).expect("a manifest");
    assert!(text.contains(from), "{from} is in the manifest");
    fs::write(path, text.replace(from, to)).expect("writes");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Store the digest of a file that a test has changed.
fn restamp(directory: &Path, file: &str, old_digest: &str) {
    let digest = sha256(&fs::read(directory.join(file)).expect("reads"));
    edit(directory, old_digest, &digest);
}

fn refusal(directory: &Path) -> (ErrorKind, String) {
    let error = ModelVersion::load(directory).expect_err("refused");
    (error.kind(), error.to_string())
}

fn column(name: &str, data_type: DataType) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        nullable: true,
    }
}

fn service(fingerprint: &str) -> ServiceSpec {
    ServiceSpec {
        name: "golden_features".to_owned(),
        version: 1,
        request: Vec::new(),
        views: Vec::new(),
        features: vec![
            column("flag", DataType::Boolean),
            column("a", DataType::Float64),
            column("not_read", DataType::Utf8),
            column("b", DataType::Float64),
            column("c", DataType::Float64),
            column("count", DataType::Int64),
            column("small", DataType::Int32),
        ],
        fingerprint: fingerprint.to_owned(),
    }
}

/// Rows of the service above, all NULL but `a`.
fn batch(a: &[Option<f64>]) -> RecordBatch {
    let columns: Vec<(String, ArrayRef)> = service("")
        .features
        .iter()
        .map(|c| {
            let array: ArrayRef = if c.name == "a" {
                Arc::new(Float64Array::from(a.to_vec()))
            } else {
                arrow_array::new_null_array(&c.data_type, a.len())
            };
            (c.name.clone(), array)
        })
        .collect();
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("one length")
}

#[test]
fn every_golden_model_is_reproduced_to_the_bit() {
    let root = golden("logistic").join("../..");
    let store = ModelStore::new();
    for entry in fs::read_dir(&root).expect("listed") {
        let path = entry.expect("an entry").path().join("1");
        if path.is_dir() {
            let name = path.ancestors().nth(1).and_then(Path::file_name);
            let name = name.and_then(|name| name.to_str()).expect("a name");
            // A failure is the entry's state.
            store.load(&path, &ModelId::new(name, 1)).ok();
        }
    }
    let states = store.states();
    assert!(states.len() >= 24, "{states:?}");
    for (id, state) in states {
        assert_eq!(state, ModelState::Ready, "{id}");
    }
}

#[test]
fn a_changed_file_is_named_with_both_digests() {
    let directory = copy("logistic");
    let path = directory.path().join("model.json");
    let mut bytes = fs::read(&path).expect("reads");
    bytes.push(b' ');
    fs::write(&path, bytes).expect("writes");
    let (kind, text) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::DataLoss);
    assert!(
        text.contains("model.json has sha256") && text.contains("the manifest says"),
        "{text}"
    );
    fs::remove_file(path).expect("removes");
    assert_eq!(refusal(directory.path()).0, ErrorKind::NotFound);
}

#[test]
fn a_model_that_does_not_reproduce_its_golden_rows_is_not_served() {
    let directory = copy("logistic");
    let (path, old) = (
        directory.path().join("model.json"),
        ModelVersion::load(directory.path()).expect("whole"),
    );
    let text = fs::read_to_string(&path).expect("reads");
    // Another base: every margin moves by a little.
    let marker = "\"base_score\":\"[";
    let at = text.find(marker).expect("has a base score") + marker.len();
    let end = at + text[at..].find(']').expect("closed");
    fs::write(&path, format!("{}5.1E-1{}", &text[..at], &text[end..])).expect("writes");
    restamp(
        directory.path(),
        "model.json",
        &old.manifest().files["model.json"],
    );
    let (kind, text) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::DataLoss);
    assert!(
        text.contains("golden rows of logistic version 1: __margin of row 0"),
        "{text}"
    );
    // A tolerance that is wide enough takes it, so it was the rows and nothing else.
    edit(directory.path(), "class = \"exact\"", "class = \"rel:1e9\"");
    ModelVersion::load(directory.path()).expect("within the tolerance");
}

#[test]
fn damaged_golden_files_are_refused_and_never_panic() {
    let directory = copy("one_leaf");
    let path = directory.path().join("golden.arrow");
    let whole = fs::read(&path).expect("reads");
    let mut digest = ModelVersion::load(directory.path())
        .expect("whole")
        .manifest()
        .files["golden.arrow"]
        .clone();
    let mut stamp = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("writes");
        restamp(directory.path(), "golden.arrow", &digest);
        digest = sha256(bytes);
        ModelVersion::load(directory.path())
    };
    for cut in [0, 8, whole.len() / 2, whole.len() - 1] {
        assert_eq!(
            stamp(&whole[..cut]).expect_err("cut").kind(),
            ErrorKind::DataLoss
        );
    }
    // Headers, footer and offsets: whatever the reader makes of them, it is an error or the same
    // rows.
    for at in (0..whole.len())
        .step_by(151)
        .chain(whole.len() - 900..whole.len())
        .step_by(7)
    {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        if let Err(error) = stamp(&damaged) {
            // A damaged name or type is told as a missing feature.
            let kinds = [ErrorKind::DataLoss, ErrorKind::FailedPrecondition];
            assert!(kinds.contains(&error.kind()), "byte {at}: {error}");
        }
    }
}

#[test]
fn manifests_are_checked_word_for_word() {
    let text = fs::read_to_string(golden("logistic").join("manifest.toml")).expect("reads");
    Manifest::parse(&text).expect("the committed one");
    for (from, to, words) in [
        ("format = 1", "format = 2", "format 2"),
        ("kind = \"xgboost\"", "kind = \"onnx\"", "kind \"onnx\""),
        ("precision = \"fp32\"", "precision = \"bf16\"", "bf16"),
        ("version = 1\nkind", "version = 0\nkind", "from 1"),
        ("iterations = [0, 8]", "iterations = [8, 8]", "iterations"),
        (
            "model_file = \"model.json\"",
            "model_file = \"other.json\"",
            "not listed",
        ),
        ("\"model.json\" = ", "\"../model.json\" = ", "plain name"),
        ("\"model.json\" = \"", "\"model.json\" = \"Z", "hex"),
        ("dtype = \"BIGINT\"", "dtype = \"DECIMAL\"", "DECIMAL"),
        (
            "dtype = \"BIGINT\"",
            "dtype = \"VARCHAR\"",
            "needs categories",
        ),
        ("name = \"b\"", "name = \"a\"", "occurs twice"),
        ("missing = \"nan\"", "missing = \"guess\"", "guess"),
        ("class = \"exact\"", "class = \"close\"", "close"),
        ("format = 1", "format = 1\nunheard_of = 2", "unheard_of"),
        ("name = \"score\"", "name = \"probability\"", "give score"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Manifest::parse(&text.replacen(from, to, 1)).expect_err(to);
        assert!(error.contains(words), "{to}: {error}");
    }
}

#[test]
fn the_manifest_must_agree_with_the_model_file() {
    for (from, to, words) in [
        (
            "objective = \"binary:logistic\"",
            "objective = \"reg:squarederror\"",
            "objective",
        ),
        (
            "iterations = [0, 8]",
            "iterations = [0, 9]",
            "the model file has 8",
        ),
        ("name = \"b\"", "name = \"bee\"", "calls it \"b\""),
    ] {
        let directory = copy("logistic");
        edit(directory.path(), from, to);
        let (kind, text) = refusal(directory.path());
        assert_eq!(kind, ErrorKind::InvalidArgument, "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn exactness_classes_admit_what_they_say() {
    let next = f32::from_bits(1.0f32.to_bits() + 1);
    assert!(Exactness::Exact.admits(f32::NAN, f32::NAN) && !Exactness::Exact.admits(1.0, next));
    assert!(!Exactness::Exact.admits(0.0, -0.0));
    assert!(Exactness::Ulp(1).admits(1.0, next) && !Exactness::Ulp(0).admits(1.0, next));
    assert!(
        Exactness::Ulp(2).admits(f32::from_bits(1), -f32::from_bits(1)),
        "across zero"
    );
    assert!(
        !Exactness::Ulp(1).admits(1.0, f32::NAN) && !Exactness::Relative(1.0).admits(f32::NAN, 1.0)
    );
    assert!(
        Exactness::Relative(0.01).admits(100.0, 100.9)
            && !Exactness::Relative(0.01).admits(100.0, 101.1)
    );
}

#[test]
fn another_service_is_refused_with_both_fingerprints() {
    let version = ModelVersion::load(&golden("logistic")).expect("whole");
    version
        .check_service(&service("f1a9"))
        .expect("its own, in another order and with a column more");
    version
        .check_service(&service(""))
        .expect("no fingerprint: names and types alone");
    let error = version
        .check_service(&service("0bad"))
        .expect_err("another definition");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(
        error.to_string().contains("f1a9") && error.to_string().contains("0bad"),
        "{error}"
    );
    let mut other = service("f1a9");
    other.features.remove(3);
    assert!(
        version
            .check_service(&other)
            .expect_err("no b")
            .to_string()
            .contains("feature b")
    );
    let mut other = service("f1a9");
    other.features[5].data_type = DataType::Float64;
    assert!(
        version
            .check_service(&other)
            .expect_err("count is a double")
            .to_string()
            .contains("feature count is Int64")
    );
    let mut other = service("f1a9");
    "another".clone_into(&mut other.name);
    assert!(version.check_service(&other).is_err());
}

#[test]
fn missing_values_follow_the_policy() {
    let directory = copy("logistic");
    edit(
        directory.path(),
        "name = \"a\"\ndtype = \"DOUBLE\"\nmissing = \"nan\"",
        "name = \"a\"\ndtype = \"DOUBLE\"\nmissing = \"refuse\"",
    );
    // The golden rows hold missing values of `a`, so this manifest contradicts them: refused at
    // load, by name. It is the row's fault, whatever the state of the system.
    let (kind, text) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(text.contains("feature a is missing in row 0"), "{text}");
    // `categorical` has a sentinel of -1 for `a`: NULL and NaN score as -1 does.
    let version = ModelVersion::load(&golden("categorical")).expect("whole");
    let rows = |a: Option<f64>| {
        let nulls = |t: &DataType| arrow_array::new_null_array(t, 1);
        let a: ArrayRef = Arc::new(Float64Array::from(vec![a]));
        let columns = [
            ("carrier", nulls(&DataType::Utf8)),
            ("zone", nulls(&DataType::Float64)),
            ("a", a),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(n, c)| (n, c, true)),
        )
        .expect("rows");
        version.score(&batch, 1).expect("scores").margin[0].to_bits()
    };
    assert_eq!(rows(None), rows(Some(-1.0)));
    assert_eq!(rows(Some(f64::NAN)), rows(Some(-1.0)));
    assert_ne!(rows(Some(5.0)), rows(Some(-1.0)));
}

#[test]
fn threads_and_empty_batches_change_nothing() {
    let version = ModelVersion::load(&golden("logistic")).expect("whole");
    let values: Vec<Option<f64>> = (0..9_001)
        .map(|i| (i % 11 != 0).then(|| f64::from(i % 97) * 0.05 - 2.4))
        .collect();
    let batch = batch(&values);
    let one = version.score(&batch, 1).expect("scores");
    assert_eq!(one, version.score(&batch, 4).expect("scores"));
    let parts: Vec<f32> = (0..9_001)
        .step_by(1_000)
        .flat_map(|s| {
            version
                .score(&batch.slice(s, 1_000.min(9_001 - s)), 1)
                .expect("scores")
                .score
        })
        .collect();
    assert_eq!(one.score, parts);
    assert!(
        version
            .score(&batch.slice(0, 0), 4)
            .expect("nothing to score")
            .margin
            .is_empty()
    );
    let no_columns = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(3)),
    );
    assert!(
        version
            .score(&no_columns.expect("three rows of nothing"), 1)
            .is_err()
    );
    let text = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let mistyped =
        RecordBatch::try_new(text, vec![Arc::new(Int64Array::from(vec![1]))]).expect("one row");
    assert!(
        version
            .score(&mistyped, 1)
            .expect_err("a is a double")
            .to_string()
            .contains("feature a is Float64")
    );
}

#[test]
fn states_follow_a_version_through_its_life() {
    let store = ModelStore::new();
    let id = ModelId::new("logistic", 1);
    let loaded = store.load(&golden("logistic"), &id).expect("loads");
    assert_eq!(store.states(), [(id.clone(), ModelState::Ready)]);
    let again = store
        .load(&golden("logistic"), &id)
        .expect("the same content");
    assert!(Arc::ptr_eq(&loaded, &again));
    let other = copy("logistic");
    edit(
        other.path(),
        "library = \"xgboost 3.2.0\"",
        "library = \"xgboost 3.2.1\"",
    );
    let error = store.load(other.path(), &id).expect_err("another content");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains(loaded.digest()), "{error}");
    store
        .get("logistic", 1)
        .expect("the loaded one goes on serving");

    store.publish(Vec::new());
    drop(again);
    assert_eq!(store.states()[0].1, ModelState::Draining);
    drop(loaded);
    assert_eq!(store.states()[0].1, ModelState::Unloaded);
    let error = store.get("logistic", 1).expect_err("gone");
    assert_eq!(
        (error.kind(), error.to_string().contains("READY here: none")),
        (ErrorKind::NotFound, true)
    );

    let wrong = ModelId::new("logistic", 2);
    assert!(
        store.load(&golden("logistic"), &wrong).is_err(),
        "the directory is of version 1"
    );
    assert!(
        matches!(&store.states()[1].1, ModelState::Unavailable(reason) if reason.contains("asked for was logistic version 2"))
    );
    assert_eq!(
        store.get("logistic", 2).expect_err("UNAVAILABLE").kind(),
        ErrorKind::FailedPrecondition
    );
}

fn definition() -> ModelDef {
    ModelDef {
        name: "logistic".to_owned(),
        version: 1,
        path: "logistic/1".to_owned(),
        service: "golden_features".to_owned(),
    }
}

#[test]
fn preparing_a_model_changes_nothing_whatever_comes_of_it() {
    let store = ModelStore::new();
    let base = golden("logistic").join("../..");
    let id = ModelId::new("logistic", 1);
    let fits = store.prepare(&definition(), &base, &service("f1a9"));
    let fits = fits.expect("its own service");
    assert!(store.states().is_empty(), "a candidate is not served");
    store.publish(vec![(id.clone(), Ok(Arc::clone(&fits)))]);
    let refused = store.prepare(&definition(), &base, &service("0bad"));
    assert!(
        refused
            .expect_err("another service")
            .to_string()
            .contains("0bad")
    );
    let nowhere = store.prepare(&definition(), Path::new("/nonexistent"), &service("f1a9"));
    assert_eq!(nowhere.expect_err("no file").kind(), ErrorKind::NotFound);
    assert_eq!(store.states(), [(id, ModelState::Ready)]);
    let again = store.prepare(&definition(), &base, &service("f1a9"));
    assert!(Arc::ptr_eq(&fits, &again.expect("the same content")));
}

#[test]
fn publishing_serves_exactly_what_is_given_and_drains_the_rest() {
    let store = ModelStore::new();
    let base = golden("logistic").join("../..");
    let (one, two) = (ModelId::new("logistic", 1), ModelId::new("logistic", 2));
    let version = store.prepare(&definition(), &base, &service("f1a9"));
    let version = version.expect("its own service");
    store.publish(vec![
        (one.clone(), Ok(Arc::clone(&version))),
        (two.clone(), Err("no such directory".to_owned())),
    ]);
    let unavailable = ModelState::Unavailable("no such directory".to_owned());
    let expected = [(one.clone(), ModelState::Ready), (two, unavailable)];
    assert_eq!(store.states(), expected);
    store.publish(Vec::new());
    assert_eq!(store.states(), [(one, ModelState::Draining)]);
    drop(version);
    store.publish(Vec::new());
    assert!(store.states().is_empty(), "nobody uses it any more");
}

#[test]
fn the_number_of_models_is_bounded() {
    let (store, nowhere) = (ModelStore::new(), Path::new("/nonexistent"));
    for version in 1..=u32::try_from(MODELS_MAX).expect("small") {
        assert_eq!(
            store
                .load(nowhere, &ModelId::new("m", version))
                .expect_err("nothing there")
                .kind(),
            ErrorKind::NotFound
        );
    }
    let error = store
        .load(nowhere, &ModelId::new("one_more", 1))
        .expect_err("full");
    assert!(error.to_string().contains("MODELS_MAX"), "{error}");
}

#[test]
fn the_local_scorer_answers_with_or_without_a_runtime() {
    let store = Arc::new(ModelStore::new());
    store
        .load(&golden("logistic"), &ModelId::new("logistic", 1))
        .expect("loads");
    let scorer = LocalScorer::with_threads(Arc::clone(&store), 2);
    let values: Vec<Option<f64>> = (0..5_000).map(|i| Some(f64::from(i) * 1e-3)).collect();
    let (rows, direct) = (
        batch(&values),
        store
            .get("logistic", 1)
            .and_then(|version| version.score(&batch(&values), 2))
            .expect("scores"),
    );
    let bare =
        futures::executor::block_on(scorer.score("logistic", 1, rows.clone())).expect("scores");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let inside = runtime
        .block_on(scorer.score("logistic", 1, rows))
        .expect("scores");
    assert_eq!((&bare.margin, &bare.score), (&inside.margin, &inside.score));
    assert!(
        direct
            .margin
            .iter()
            .zip(&bare.margin)
            .all(|(a, b)| f64::from(*a).to_bits() == b.to_bits())
    );
    let unknown = futures::executor::block_on(scorer.score("logistic", 9, batch(&[None])));
    assert_eq!(
        unknown.expect_err("no version 9").kind(),
        ErrorKind::NotFound
    );
    assert!(batch(&[None]).column(1).is_null(0));
}
