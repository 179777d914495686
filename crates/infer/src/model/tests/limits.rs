//! The files of a version at their limits, and one over.

use std::fs;

use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use arrow_select::concat::concat_batches;
use forebay_core::ErrorKind;
use forebay_core::limits::{
    MODEL_FILES_MAX, MODEL_GOLDEN_MAX_BYTES, MODEL_GOLDEN_MIN_ROWS, MODEL_MANIFEST_MAX_BYTES,
};

use super::{copy, refusal, restamp, sha256};
use crate::model::ModelVersion;
use crate::model::manifest::Manifest;

#[test]
fn a_manifest_of_the_limit_is_read_and_a_longer_one_is_refused_by_name() {
    let directory = copy("one_leaf");
    let path = directory.path().join("manifest.toml");
    let mut text = fs::read(&path).expect("reads");
    text.resize(MODEL_MANIFEST_MAX_BYTES, b'\n');
    fs::write(&path, &text).expect("writes");
    ModelVersion::load(directory.path()).expect("as long as allowed");
    text.push(b'\n');
    fs::write(&path, &text).expect("writes");
    let (kind, words) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::ResourceExhausted, "{words}");
    assert!(words.contains("MODEL_MANIFEST_MAX_BYTES"), "{words}");
}

#[test]
fn a_version_has_so_many_files_and_no_more() {
    let directory = copy("one_leaf");
    let text = fs::read_to_string(directory.path().join("manifest.toml")).expect("reads");
    let manifest = Manifest::parse(&text).expect("as it is");
    let (named, digest) = (manifest.files.len(), &manifest.files["model.json"]);
    let with_files = |count: usize| {
        let more: String = (named..count)
            .map(|file| format!("\"more-{file}\" = \"{digest}\"\n"))
            .collect();
        Manifest::parse(&text.replacen("[files]\n", &format!("[files]\n{more}"), 1))
    };
    let most = with_files(MODEL_FILES_MAX).expect("as many as allowed");
    assert_eq!(most.files.len(), MODEL_FILES_MAX);
    let words = with_files(MODEL_FILES_MAX + 1).expect_err("one more");
    assert!(words.contains("MODEL_FILES_MAX"), "{words}");
}

#[test]
fn golden_rows_are_neither_too_long_nor_too_few() {
    let directory = copy("one_leaf");
    let path = directory.path().join("golden.arrow");
    let rows = {
        let reader = FileReader::try_new(fs::File::open(&path).expect("opens"), None);
        let reader = reader.expect("an Arrow file");
        let schema = reader.schema();
        let batches: Result<Vec<_>, _> = reader.collect();
        concat_batches(&schema, &batches.expect("reads")).expect("one schema")
    };
    let mut digest = ModelVersion::load(directory.path())
        .expect("whole")
        .manifest()
        .files["golden.arrow"]
        .clone();
    let mut with_rows = |count: usize| {
        let file = fs::File::create(&path).expect("creates");
        let mut writer = FileWriter::try_new(file, &rows.schema()).expect("begins");
        writer.write(&rows.slice(0, count)).expect("writes");
        writer.finish().expect("ends");
        drop(writer);
        restamp(directory.path(), "golden.arrow", &digest);
        digest = sha256(&fs::read(&path).expect("reads"));
        ModelVersion::load(directory.path())
    };
    with_rows(MODEL_GOLDEN_MIN_ROWS).expect("as few as allowed");
    let error = with_rows(MODEL_GOLDEN_MIN_ROWS - 1).expect_err("too few");
    assert!(
        error.to_string().contains("MODEL_GOLDEN_MIN_ROWS"),
        "{error}"
    );

    // At the limit the digest is what is refused, so all was read.
    let file = fs::File::options().write(true).open(&path).expect("opens");
    file.set_len(MODEL_GOLDEN_MAX_BYTES as u64).expect("grows");
    let (kind, words) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::DataLoss, "{words}");
    file.set_len(MODEL_GOLDEN_MAX_BYTES as u64 + 1)
        .expect("grows");
    let (kind, words) = refusal(directory.path());
    assert_eq!(kind, ErrorKind::ResourceExhausted, "{words}");
    assert!(words.contains("MODEL_GOLDEN_MAX_BYTES"), "{words}");
}
