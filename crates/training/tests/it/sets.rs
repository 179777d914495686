//! Training sets: built, written, and built again from the manifest after the archive has grown.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::ports::{Beginnings, Known};
use forebay_core::progress::TopicPartition;
use forebay_core::time::timestamp_type;
use forebay_core::{ErrorKind, PortError};
use forebay_training::training_set::manifest_path;
use forebay_training::{
    TrainingSet, TrainingSetRequest, archive_tables, build_training_set, read_manifest,
    write_training_set,
};

use crate::engine::FakeEngine;
use crate::serving::times;
use crate::world::{
    Event, FakeArchive, SERVICE, SOURCE, TOPIC, applied, event_batches, events, service,
};

fn spine(events: &[Event]) -> RecordBatch {
    let fields = [
        ("airport", DataType::Utf8),
        ("distance", DataType::Float64),
        ("event_time", timestamp_type()),
    ];
    let schema = Arc::new(Schema::new(
        fields.map(|(name, of)| Field::new(name, of, true)).to_vec(),
    ));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            events.iter().map(|e| e.origin),
        )),
        Arc::new(Float64Array::from_iter_values(
            events.iter().map(|e| e.delay),
        )),
        times(&events.iter().map(|e| e.time_us).collect::<Vec<_>>()),
    ];
    RecordBatch::try_new(schema, columns).expect("well formed")
}

async fn build(archive: &FakeArchive, spine: RecordBatch, known: Known) -> TrainingSet {
    let service = service();
    let cuts = archive_tables(archive, &service).await.expect("snapshots");
    let request = TrainingSetRequest {
        name: "q1",
        service: &service,
        spine,
        time_column: "event_time",
        tables: archive,
        cuts,
        known,
        engine: "brute force 1",
        now_us: 5,
    };
    build_training_set(&FakeEngine, request)
        .await
        .expect("built")
}

#[tokio::test]
async fn a_table_that_took_the_place_of_a_lost_one_gives_no_set() {
    let mut archive = FakeArchive::default();
    archive.set(SOURCE, event_batches(&events(10)), applied(10));
    archive.beginnings = Beginnings {
        from: applied(4),
        cut: BTreeSet::from([TopicPartition::new(TOPIC, 0)]),
    };
    let refused = archive_tables(&archive, &service()).await;
    let error = refused.expect_err("a stump");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let words = error.to_string();
    assert!(words.contains("begins at offset 4 of"), "{words}");
    assert!(words.contains("from a backup"), "{words}");
}

#[tokio::test]
async fn a_manifest_builds_the_same_set_from_a_later_archive() {
    let root = tempfile::tempdir().expect("a directory");
    let mut events = events(600);
    // Late events that come after the set was built, in the middle of its windows.
    let late: Vec<Event> = (200..300)
        .map(|o| Event {
            offset: o,
            time_us: o * 60_000_000,
            ..events[40]
        })
        .collect();
    events.retain(|e| e.offset < 200);
    let spine = spine(&events);
    let first = build(
        &FakeArchive::of_events(&events, 200),
        spine.clone(),
        Known::All,
    )
    .await;
    assert_eq!(first.rows.num_rows(), events.len());
    assert_eq!(first.manifest.tables[SOURCE].delta_version, Some(7));

    let path = root.path().join("q1.parquet");
    let write = |file: &mut std::fs::File, rows: &RecordBatch| {
        writeln!(file, "{} rows", rows.num_rows()).map_err(|e| PortError::internal(e.to_string()))
    };
    write_training_set(&path, &first, write).expect("written");
    let manifest = read_manifest(&path).expect("read");
    assert_eq!(manifest, first.manifest);
    let mut left: Vec<_> = std::fs::read_dir(root.path())
        .expect("there")
        .map(|e| e.expect("there").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["q1.parquet", "q1.parquet.manifest.json"]);

    events.extend(late);
    let grown = FakeArchive::of_events(&events, 300);
    let known = manifest
        .known(&service(), spine.num_rows())
        .expect("cuts for all");
    let again = build(&grown, spine.clone(), known).await;
    assert_eq!(again.manifest.output_digest, first.manifest.output_digest);
    assert_eq!(again.manifest.spine_digest, first.manifest.spine_digest);
    assert_eq!(again.manifest.offsets, first.manifest.offsets);
    let other = build(&grown, spine, Known::All).await;
    assert_ne!(
        other.manifest.output_digest, first.manifest.output_digest,
        "late events change the fuller set"
    );
}

#[tokio::test]
async fn a_manifest_that_is_none_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("set.parquet");
    assert!(
        read_manifest(&path)
            .expect_err("missing")
            .to_string()
            .contains("set.parquet.manifest.json")
    );
    std::fs::write(manifest_path(&path), "{}").expect("written");
    assert!(
        read_manifest(&path)
            .expect_err("empty")
            .to_string()
            .contains("no training-set manifest")
    );
    let events = events(60);
    let set = build(
        &FakeArchive::of_events(&events, 30),
        spine(&events),
        Known::All,
    )
    .await;
    let newer = set
        .manifest
        .encode()
        .replace("\"format\": 1", "\"format\": 2");
    std::fs::write(manifest_path(&path), newer).expect("written");
    assert!(
        read_manifest(&path)
            .expect_err("newer")
            .to_string()
            .contains("format 2")
    );
    let mut changed = service().as_ref().clone();
    let mut view = changed.views[0].clone();
    let mut spec = view.view.as_ref().clone();
    spec.source = "elsewhere".to_owned();
    view.view = Arc::new(spec);
    changed.views.push(view);
    let error = set.manifest.known(&changed, 1).expect_err("no cut");
    assert!(
        error.to_string().contains("`elsewhere`") && error.to_string().contains("`q1`"),
        "{error}"
    );
    assert_eq!(set.manifest.service, SERVICE);
}
