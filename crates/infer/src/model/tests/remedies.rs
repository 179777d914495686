//! What the refusal of a version directory says is to be done is done here, and then the version is
//! taken, by the way that an apply goes.

use super::*;

/// A folder of models with a copy of version 1 of `logistic`.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(TempDir::new().expect("a temporary directory"));
        folder.copy(1);
        folder
    }

    fn version(&self, number: u32) -> PathBuf {
        self.0.path().join("logistic").join(number.to_string())
    }

    /// Copy version 1 as it was trained, under this number.
    fn copy(&self, number: u32) {
        let directory = self.version(number);
        fs::create_dir_all(&directory).expect("makes");
        for file in ["manifest.toml", "model.json", "golden.arrow"] {
            fs::copy(golden("logistic").join(file), directory.join(file)).expect("copies");
        }
        let of = |number| format!("model = \"logistic\"\nversion = {number}\n");
        edit(&directory, &of(1), &of(number));
    }

    /// As an apply does it. The words of a refusal.
    fn apply(&self, store: &ModelStore, number: u32, service: &ServiceSpec) -> Result<(), String> {
        let definition = ModelDef {
            version: number,
            path: format!("logistic/{number}"),
            ..definition()
        };
        let prepared = store.prepare(&definition, self.0.path(), service);
        let version = prepared.map_err(|error| error.to_string())?;
        store.publish(vec![(ModelId::new("logistic", number), Ok(version))]);
        Ok(())
    }
}

/// The version is refused, and the refusal says `remedy`.
fn refuses(outcome: Result<(), String>, remedy: &str) {
    let words = outcome.expect_err(remedy);
    assert!(words.contains(remedy), "{words}");
}

#[test]
fn a_version_directory_that_lost_bytes_is_taken_once_it_is_copied_again() {
    let (folder, store) = (Folder::new(), ModelStore::new());
    let path = folder.version(1).join("model.json");
    let bytes = fs::read(&path).expect("reads");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("writes");
    let refused = folder.apply(&store, 1, &service("f1a9"));
    refuses(refused, "copy the version directory again");
    folder.copy(1);
    assert_eq!(folder.apply(&store, 1, &service("f1a9")), Ok(()));
    assert_eq!(store.ready(), [ModelId::new("logistic", 1)]);
}

#[test]
fn what_changed_under_a_served_version_is_put_back_and_gets_a_version_of_its_own() {
    let (folder, store) = (Folder::new(), ModelStore::new());
    assert_eq!(folder.apply(&store, 1, &service("f1a9")), Ok(()));
    let served = store.get("logistic", 1).expect("it is served");
    let (old, new) = ("library = \"xgboost 3.2.0\"", "library = \"xgboost 3.2.1\"");
    edit(&folder.version(1), old, new);
    let refused = folder.apply(&store, 1, &service("f1a9"));
    refuses(
        refused,
        "a version never changes: put back the directory that has it",
    );
    let still = store.get("logistic", 1).expect("it goes on");
    assert!(Arc::ptr_eq(&served, &still));
    edit(&folder.version(1), new, old);
    assert_eq!(folder.apply(&store, 1, &service("f1a9")), Ok(()));
    folder.copy(2);
    edit(&folder.version(2), old, new);
    assert_eq!(folder.apply(&store, 2, &service("f1a9")), Ok(()));
    assert!(store.ready().contains(&ModelId::new("logistic", 2)));
}

#[test]
fn a_model_of_another_service_is_trained_again_on_it_or_gets_its_own_back() {
    let (folder, store) = (Folder::new(), ModelStore::new());
    let refused = folder.apply(&store, 1, &service("0bad"));
    let remedy = "train it again on that service or deploy the service it was made for";
    refuses(refused, remedy);
    // Training writes the fingerprint of the service that it reads into the manifest.
    folder.copy(2);
    edit(&folder.version(2), "f1a9", "0bad");
    assert_eq!(folder.apply(&store, 2, &service("0bad")), Ok(()));
    refuses(folder.apply(&store, 1, &service("0bad")), remedy);
    assert_eq!(folder.apply(&store, 1, &service("f1a9")), Ok(()));
}
