//! Archived predictions against the archive of events: what they were given, recomputed from the
//! offsets that they name.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::applied::AppliedViews;
use forebay_core::prediction::column;
use forebay_core::progress::Applied;
use forebay_core::time::{Micros, timestamp_type};
use forebay_training::{Reason, VerifyReport};

use crate::serving::{Serving, applied_for, times};
use crate::verify::verifier;
use crate::world::{Event, FakeArchive, SERVICE, events, features, service};

const TABLE: &str = "predictions";

/// One prediction to archive.
#[derive(Debug, Clone)]
struct Prediction {
    id: String,
    version: i32,
    origin: &'static str,
    as_of_us: Micros,
    /// Next offset that its shard had applied when it was served.
    next: i64,
    applied: String,
}

fn text(applied: &Applied) -> String {
    let mut views = AppliedViews::default();
    views.insert("t", applied);
    views.encode().expect("well formed")
}

/// Predictions for the events of one airport after another, served while ingest moved on.
fn predictions(events: &[Event]) -> Vec<Prediction> {
    let one = |(n, event): (usize, &Event)| {
        let next = [event.offset + 1, event.offset + 2];
        let applied = applied_for(next, event.origin);
        Prediction {
            id: format!("p{n}"),
            version: 3,
            origin: event.origin,
            as_of_us: event.time_us,
            next: next[usize::from(Serving::shard(event.origin))],
            applied: text(&applied),
        }
    };
    events.iter().enumerate().skip(100).map(one).collect()
}

fn archive_predictions(events: &[Event], predictions: &[Prediction], archive: &FakeArchive) {
    let origins: Vec<Option<&str>> = predictions.iter().map(|p| Some(p.origin)).collect();
    let at_us: Vec<Micros> = predictions.iter().map(|p| p.as_of_us).collect();
    let distances: ArrayRef = Arc::new(Float64Array::from_iter_values(
        at_us.iter().map(|at| *at as f64),
    ));
    let served = features(
        events,
        &origins,
        Arc::clone(&distances),
        &at_us,
        &|row, _| predictions[row].next,
    );
    let spec = service();
    let record = |columns: &[forebay_core::source::Column], arrays: Vec<ArrayRef>| -> ArrayRef {
        let fields = columns
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), true))
            .collect();
        Arc::new(StructArray::new(fields, arrays, None))
    };
    let texts = |of: &dyn Fn(&Prediction) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(predictions.iter().map(of)))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        (column::PREDICTION_ID, texts(&|p| p.id.clone())),
        (
            column::SERVICE,
            texts(&|p| {
                if p.id == "other" {
                    "other".to_owned()
                } else {
                    SERVICE.to_owned()
                }
            }),
        ),
        (
            column::SERVICE_VERSION,
            Arc::new(Int32Array::from_iter_values(
                predictions.iter().map(|p| p.version),
            )),
        ),
        (column::AS_OF, times(&at_us)),
        (
            column::REQUEST,
            record(
                &spec.request,
                vec![Arc::new(StringArray::from(origins)), distances],
            ),
        ),
        (
            column::FEATURES,
            record(&spec.features, served.columns().to_vec()),
        ),
        (column::APPLIED, texts(&|p| p.applied.clone())),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(n, c)| Field::new(*n, c.data_type().clone(), false))
        .collect();
    assert_eq!(fields[3].data_type(), &timestamp_type());
    assert!(matches!(fields[5].data_type(), DataType::Struct(_)));
    let arrays = columns.into_iter().map(|(_, c)| c).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("well formed");
    archive.set(TABLE, vec![rows], Applied::default());
}

async fn run(change: impl FnOnce(&mut Vec<Prediction>), sample: usize) -> VerifyReport {
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 290);
    let mut predictions = predictions(&events);
    change(&mut predictions);
    archive_predictions(&events, &predictions, &archive);
    let verifier = verifier(Serving::new(Vec::new(), [0, 0]), archive);
    verifier
        .verify_predictions(TABLE, SERVICE, sample, true)
        .await
        .expect("verified")
}

#[tokio::test]
async fn what_was_served_is_recomputed_to_the_bit() {
    let report = run(|_| {}, 1_000).await;
    assert_eq!(report.mismatch, 0, "{report}");
    assert_eq!(report.rows, 500);
    // The archive ends at 290: later predictions had applied more than it holds.
    assert_eq!(
        report.not_verifiable,
        report.reasons[&Reason::ArchiveBehind]
    );
    assert!(report.equal > 470, "{report}");
    // A shard that was an offset ahead or behind had not seen what the archive knows now.
    assert!(report.late.is_some_and(|late| late > 0), "{report}");
}

#[tokio::test]
async fn a_prediction_that_names_other_offsets_is_a_mismatch() {
    let wrong = run(
        |all| {
            all.iter_mut()
                .for_each(|p| p.applied = text(&crate::world::applied(p.next - 20)))
        },
        1_000,
    )
    .await;
    assert!(wrong.mismatch > 100, "{wrong}");
    assert_eq!(wrong.mismatches.len(), 20);
    assert_eq!(wrong.mismatches[0].key[0].0, column::PREDICTION_ID);
}

#[tokio::test]
async fn what_cannot_be_told_is_said() {
    let report = run(
        |all| {
            all[0].version = 2;
            all[1].applied = r#"{"views":{}}"#.to_owned();
            all[2].applied = "not json".to_owned();
            all[3].applied = r#"{"views":{"t":{"flights":3}}}"#.to_owned();
            all[4].id = "other".to_owned();
            let repeat = all[10].clone();
            all.push(repeat);
            all.truncate(502);
        },
        1_000,
    )
    .await;
    assert_eq!(
        report.rows, 499,
        "one of another service, one repeat: {report}"
    );
    assert_eq!(report.reasons[&Reason::OtherVersion], 1);
    assert_eq!(report.reasons[&Reason::EpochForgotten], 1);
    assert_eq!(report.reasons[&Reason::OffsetsUnreadable], 2);
    assert_eq!(report.mismatch, 0);
}

#[tokio::test]
async fn a_sample_is_the_same_whatever_the_order() {
    let ids = |report: &VerifyReport| {
        let mut ids: Vec<String> = report
            .mismatches
            .iter()
            .map(|m| format!("{:?}", m.key[0].1))
            .collect();
        ids.sort();
        ids
    };
    let wrong = |all: &mut Vec<Prediction>| {
        all.iter_mut()
            .for_each(|p| p.applied = text(&Applied::default()))
    };
    let forward = run(wrong, 12).await;
    let backward = run(
        |all| {
            wrong(all);
            all.reverse();
        },
        12,
    )
    .await;
    assert_eq!(forward.rows, 12);
    assert!(forward.mismatch > 0);
    assert_eq!(forward.mismatch, backward.mismatch);
    assert_eq!(ids(&forward)[0], ids(&backward)[0]);
}
