//! Training sets: built, written, and built again from the manifest after the archive has grown.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::concat::concat_batches;
use async_trait::async_trait;
use forebay_core::limits::SPINE_CHUNK_ROWS;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Beginnings, Known, PointInTime, SpineAnswer, TableScan};
use forebay_core::progress::TopicPartition;
use forebay_core::time::timestamp_type;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_training::{
    AnsweredRows, OnError, StagedSet, TrainingManifest, TrainingSetRequest, archive_tables,
    build_training_set, manifest_path, read_manifest,
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

/// The set over `spine`, which comes in batches of 70 rows, and its manifest.
async fn build(
    archive: &FakeArchive,
    engine: &dyn PointInTime,
    spine: &RecordBatch,
    again: Option<&TrainingManifest>,
) -> (RecordBatch, TrainingManifest) {
    let service = service();
    let memory = Budget::whole(1 << 30);
    let batches = (0..spine.num_rows()).step_by(70);
    let batches = batches.map(|from| Ok(spine.slice(from, (spine.num_rows() - from).min(70))));
    let request = TrainingSetRequest {
        name: "q1",
        service: &service,
        spine: Box::new(batches),
        time_column: "event_time",
        tables: archive,
        cuts: archive_tables(archive, &service).await.expect("snapshots"),
        again,
        on_error: OnError::Null,
        memory: &memory,
        engine: "brute force 1",
        now_us: 5,
    };
    let mut rows = Vec::new();
    let mut take = |part: &AnsweredRows| {
        rows.push(part.rows.clone());
        Ok(())
    };
    let manifest = build_training_set(engine, request, &mut take)
        .await
        .expect("built");
    assert_eq!(memory.used_bytes(Part::PointInTime), 0, "all is given back");
    let rows = concat_batches(&rows[0].schema(), &rows).expect("one schema");
    (rows, manifest)
}

#[tokio::test]
async fn a_table_that_lacks_what_the_state_had_gives_no_set() {
    let mut archive = FakeArchive::default();
    archive.set(SOURCE, event_batches(&events(10)), applied(10));
    for (cut, words) in [
        (4, ["begins at offset 4 of", "from a backup"]),
        (
            7,
            ["lacks records below offset 7 of", "an empty --data-dir"],
        ),
    ] {
        archive.beginnings = Beginnings {
            from: applied(4),
            cut: [(TopicPartition::new(TOPIC, 0), cut)].into(),
        };
        let refused = archive_tables(&archive, &service()).await;
        let error = refused.expect_err("a stump");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        let said = error.to_string();
        assert!(words.iter().all(|part| said.contains(part)), "{said}");
    }
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
    let archive = FakeArchive::of_events(&events, 200);
    let (rows, first) = build(&archive, &FakeEngine, &spine, None).await;
    assert_eq!(rows.num_rows(), events.len());
    assert_eq!(first.tables[SOURCE].delta_version, Some(7));

    let path = root.path().join("q1.parquet");
    let staged = StagedSet::create(&path).expect("a file");
    let mut file = staged.rows_file().expect("its file");
    writeln!(file, "{} rows", rows.num_rows()).expect("written");
    assert!(!path.exists(), "it appears when it is whole");
    staged.finish(&first).expect("in place");
    let manifest = read_manifest(&path).expect("read");
    assert_eq!(manifest, first);
    let mut left: Vec<_> = std::fs::read_dir(root.path())
        .expect("there")
        .map(|e| e.expect("there").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["q1.parquet", "q1.parquet.manifest.json"]);

    events.extend(late);
    let grown = FakeArchive::of_events(&events, 300);
    let (_, again) = build(&grown, &FakeEngine, &spine, Some(&manifest)).await;
    assert_eq!(again.output_digest, first.output_digest);
    assert_eq!(again.spine_digest, first.spine_digest);
    assert_eq!(again.offsets, first.offsets);
    let (_, other) = build(&grown, &FakeEngine, &spine, None).await;
    assert_ne!(
        other.output_digest, first.output_digest,
        "late events change the fuller set"
    );
}

/// Notes how many rows it is asked for at a time, and has no memory for more than `most`.
#[derive(Debug)]
struct NarrowEngine {
    most: usize,
    asked: Mutex<Vec<usize>>,
}

impl NarrowEngine {
    fn of(most: usize) -> Self {
        let asked = Mutex::default();
        Self { most, asked }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl PointInTime for NarrowEngine {
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer> {
        self.asked.lock().expect("no panic").push(spine.num_rows());
        if spine.num_rows() > self.most {
            let words = "no room for the events";
            return Err(PortError::new(ErrorKind::ResourceExhausted, words));
        }
        FakeEngine
            .training_set(service, spine, time_column, tables, known)
            .await
    }
}

#[tokio::test]
async fn a_spine_that_does_not_fit_into_memory_is_answered_in_parts_and_the_set_is_the_same() {
    let events = events(5_000);
    let archive = FakeArchive::of_events(&events[..40], 40);
    let spine = spine(&events);
    let (rows, whole) = build(&archive, &FakeEngine, &spine, None).await;
    let narrow = NarrowEngine::of(1_300);
    let (in_parts, set) = build(&archive, &narrow, &spine, None).await;
    assert_eq!(
        *narrow.asked.lock().expect("no panic"),
        [5_000, 2_500, 1_250, 1_250, 2_500, 1_250, 1_250]
    );
    assert_eq!(in_parts, rows);
    assert_eq!(set, whole);
}

#[tokio::test]
async fn a_spine_of_any_length_is_held_a_part_at_a_time() {
    let archive = FakeArchive::of_events(&events(4), 4);
    let one = spine(&events(1 << 12));
    let batches = SPINE_CHUNK_ROWS / one.num_rows() + 1;
    let service = service();
    let memory = Budget::whole(4 << 30);
    let narrow = NarrowEngine::of(usize::MAX);
    let request = TrainingSetRequest {
        name: "long",
        service: &service,
        spine: Box::new(std::iter::repeat_n(one, batches).map(Ok)),
        time_column: "event_time",
        tables: archive.as_ref(),
        cuts: BTreeMap::new(),
        again: None,
        on_error: OnError::Null,
        memory: &memory,
        engine: "brute force 1",
        now_us: 5,
    };
    let manifest = build_training_set(&narrow, request, &mut |_| Ok(())).await;
    let manifest = manifest.expect("built");
    assert_eq!(
        *narrow.asked.lock().expect("no panic"),
        [SPINE_CHUNK_ROWS, 1 << 12]
    );
    assert_eq!(manifest.rows, (SPINE_CHUNK_ROWS + (1 << 12)) as u64);
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
    let archive = FakeArchive::of_events(&events, 30);
    let (_, set) = build(&archive, &FakeEngine, &spine(&events), None).await;
    let newer = set.encode().replace("\"format\": 1", "\"format\": 2");
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
    let error = set.known(&changed, 1).expect_err("no cut");
    assert!(
        error.to_string().contains("`elsewhere`") && error.to_string().contains("`q1`"),
        "{error}"
    );
    assert_eq!(set.service, SERVICE);
}
