//! Fresh reads against the archive: clean when nothing is wrong, and every defect is found to the
//! bit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use forebay_core::limits::VERIFY_MAX_ROWS;
use forebay_core::memory::Part;
use forebay_core::progress::TopicPartition;
use forebay_core::time::timestamp_type;
use forebay_core::value::Value;
use forebay_core::{ErrorKind, PortResult};
use forebay_training::{
    ArchiveFlush, Reason, TrainingError, UNVERIFIED_MAX_SHARE, Verifier, VerifyOptions,
    WitnessReport, failures,
};

use crate::engine::{FakeEngine, WatchingEngine};
use crate::serving::{Serving, times};
use crate::world::{
    Event, FakeArchive, SERVICE, SOURCE, TOPIC, applied, event_batches, events, source,
};

pub(crate) fn verifier(serving: Serving, archive: Arc<FakeArchive>) -> Verifier {
    let serving = Arc::new(serving);
    Verifier {
        reader: Arc::<Serving>::clone(&serving),
        online: serving,
        engine: Arc::new(FakeEngine),
        archive,
        sources: BTreeMap::from([(SOURCE.to_owned(), source())]),
        flush: None,
    }
}

#[tokio::test]
async fn shards_at_different_offsets_verify_clean() {
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 300);
    let report = verifier(Serving::new(events, [250, 300]), archive);
    let report = report
        .verify(SERVICE, &VerifyOptions::sample(400))
        .await
        .expect("verified");
    assert!(report.mismatch == 0 && report.equal > 0, "{report}");
    assert_eq!(
        (report.rows, report.equal, report.not_verifiable),
        (400, 400, 0)
    );
    assert_eq!(report.features.len(), 3);
    assert!(
        report
            .to_string()
            .starts_with("delays version 3: 400 rows, 400 equal to the bit"),
        "{report}"
    );
}

#[tokio::test]
async fn what_was_answered_is_held_of_the_memory_until_it_is_compared() {
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 300);
    let serving = Serving::new(events, [300, 300]);
    let (budget, held_bytes) = (Arc::clone(&serving.budget), Arc::<AtomicUsize>::default());
    let engine = WatchingEngine {
        budget: Arc::clone(&budget),
        held_bytes: Arc::clone(&held_bytes),
    };
    let verifier = Verifier {
        engine: Arc::new(engine),
        ..verifier(serving, archive)
    };
    let options = VerifyOptions::sample(400);
    let report = verifier.verify(SERVICE, &options).await.expect("verified");
    assert_eq!(
        (report.equal, held_bytes.load(Ordering::Relaxed)),
        (400, 400)
    );
    assert_eq!(budget.used_bytes(Part::PointInTime), 0);
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_named() {
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 300);
    let mut serving = Serving::new(events, [300, 300]);
    serving.flip_every = Some(10);
    let report = verifier(serving, archive)
        .verify(SERVICE, &VerifyOptions::sample(400))
        .await
        .expect("verified");
    assert!(report.mismatch > 0);
    let tally = report.features["total"];
    assert_eq!(tally.mismatch, report.mismatch);
    assert!(report.mismatch > 20 && report.mismatch <= 44, "{report}");
    let first = &report.mismatches[0];
    assert_eq!(
        (
            first.service.as_str(),
            first.feature.as_str(),
            first.key[0].0.as_str()
        ),
        (SERVICE, "total", "airport")
    );
    let (Value::Float(served), Value::Float(recomputed)) = (&first.served, &first.recomputed)
    else {
        panic!("{first}")
    };
    assert_eq!(served.to_bits() ^ 1, recomputed.to_bits());
    assert!(
        first
            .to_string()
            .contains(&format!("0x{:016x}", served.to_bits())),
        "{first}"
    );
}

#[tokio::test]
async fn a_failure_that_one_side_alone_has_is_a_difference() {
    // More rows than one read has: rows are counted over all reads.
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 300);
    let mut serving = Serving::new(events, [300, 300]);
    serving.fault_every = Some(500);
    let options = VerifyOptions::sample(600);
    let verifier = verifier(serving, archive);
    let report = verifier.verify(SERVICE, &options).await.expect("verified");
    assert_eq!((report.rows, report.mismatch), (600, 1), "{report}");
    let first = &report.mismatches[0];
    assert_eq!(first.feature, "total");
    assert_eq!(first.recomputed_fault, None);
    assert!(first.served.same_bits(&first.recomputed), "{first}");
    let words = first.to_string();
    assert!(words.contains(") (ln(total): "), "{words}");
}

#[tokio::test]
async fn a_lost_sign_of_zero_is_a_difference() {
    let events: Vec<Event> = events(60)
        .into_iter()
        .map(|e| Event { delay: -0.0, ..e })
        .collect();
    let archive = FakeArchive::of_events(&events, 30);
    let mut serving = Serving::new(events, [30, 30]);
    serving.lose_sign = true;
    let report = verifier(serving, archive)
        .verify(SERVICE, &VerifyOptions::sample(50))
        .await
        .expect("verified");
    assert!(report.mismatch > 0, "{report}");
}

#[tokio::test]
async fn what_cannot_be_told_is_counted_with_its_reason() {
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 280);
    let mut serving = Serving::new(events, [300, 280]);
    serving.kept_from_us = 400 * 60_000_000;
    let options = VerifyOptions::sample(500);
    let report = verifier(serving, Arc::clone(&archive))
        .verify(SERVICE, &options)
        .await
        .expect("verified");
    assert_eq!(report.rows, 500);
    assert_eq!(report.mismatch, 0, "{report}");
    let behind = report.reasons[&Reason::ArchiveBehind];
    let too_old = report.reasons[&Reason::TooOld];
    assert!(behind > 0 && too_old > 0 && report.equal > 0, "{report}");
    assert_eq!(behind + too_old + report.equal, 500);

    let mut serving = Serving::new(crate::world::events(600), [280, 280]);
    serving.forgotten.insert(1);
    let report = verifier(serving, archive)
        .verify(SERVICE, &options)
        .await
        .expect("verified");
    assert!(
        report.reasons[&Reason::EpochForgotten] > 0 && report.equal > 0,
        "{report}"
    );
    assert_eq!(report.mismatch, 0);
}

#[tokio::test]
async fn what_is_made_of_records_that_the_archive_lacks_is_not_verifiable_and_no_difference() {
    let all = events(600);
    let lost: Vec<Event> = events(600)
        .into_iter()
        .filter(|e| !(100..110).contains(&e.offset))
        .collect();
    for is_cut in [false, true] {
        let mut archive = FakeArchive::of_events(&lost, 300);
        let known = Arc::get_mut(&mut archive).expect("nobody else has it");
        if is_cut {
            let place = TopicPartition::new(TOPIC, 0);
            known.beginnings.note_cut(&place, 110);
        }
        let report = verifier(Serving::new(all.clone(), [300, 300]), archive)
            .verify(SERVICE, &VerifyOptions::sample(500))
            .await
            .expect("verified");
        let cut = report.reasons.get(&Reason::ArchiveCut).copied();
        assert_eq!(report.mismatch > 0, !is_cut, "{report}");
        assert_eq!(cut, is_cut.then_some(report.rows), "{report}");
        let failed = failures(&report, &WitnessReport::default(), UNVERIFIED_MAX_SHARE);
        assert_eq!(
            failed[0].contains("the archive lacks records"),
            is_cut,
            "{failed:?}"
        );
    }
}

/// Brings the archive up to date when asked.
#[derive(Debug)]
struct CatchUp {
    archive: Arc<FakeArchive>,
    events: Vec<Event>,
}

#[async_trait]
impl ArchiveFlush for CatchUp {
    async fn flush(&self) -> PortResult<()> {
        self.archive
            .set(SOURCE, event_batches(&self.events), applied(300));
        Ok(())
    }
}

#[tokio::test]
async fn an_archive_that_lags_is_flushed_first() {
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 200);
    let mut verifier = verifier(
        Serving::new(events.clone(), [300, 300]),
        Arc::clone(&archive),
    );
    verifier.flush = Some(Arc::new(CatchUp { archive, events }));
    let report = verifier
        .verify(SERVICE, &VerifyOptions::sample(300))
        .await
        .expect("verified");
    assert_eq!((report.equal, report.not_verifiable), (300, 0), "{report}");
}

#[tokio::test]
async fn a_given_spine_is_asked_as_it_is() {
    let events = events(600);
    let archive = FakeArchive::of_events(&events, 300);
    let at = events[500].time_us;
    let fields = [
        ("when", timestamp_type()),
        ("distance", DataType::Float64),
        ("airport", DataType::Utf8),
    ];
    let schema = Arc::new(Schema::new(
        fields.map(|(name, of)| Field::new(name, of, true)).to_vec(),
    ));
    let columns: Vec<ArrayRef> = vec![
        times(&[at, at, at + 1, i64::MAX / 2]),
        Arc::new(Float64Array::from(vec![
            Some(f64::NAN),
            None,
            Some(-0.0),
            Some(1.0),
        ])),
        Arc::new(StringArray::from(vec![
            Some("JFK"),
            None,
            Some("nowhere"),
            Some("LGA"),
        ])),
    ];
    let spine = RecordBatch::try_new(schema, columns).expect("well formed");
    let verifier = verifier(Serving::new(events, [300, 299]), archive);
    let mut options = VerifyOptions {
        spine: Some((spine.clone(), "when".to_owned())),
        ..VerifyOptions::sample(1)
    };
    let report = verifier.verify(SERVICE, &options).await.expect("verified");
    assert_eq!((report.rows, report.equal), (4, 4), "{report}");
    options.spine = Some((spine, "then".to_owned()));
    let error = verifier
        .verify(SERVICE, &options)
        .await
        .expect_err("no such column");
    assert!(
        matches!(&error, TrainingError::Invalid(words) if words.contains("`then`")),
        "{error}"
    );
    let error = verifier
        .verify("nothing", &options)
        .await
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = verifier
        .verify(SERVICE, &VerifyOptions::sample(VERIFY_MAX_ROWS + 1))
        .await
        .expect_err("too many");
    assert!(error.to_string().contains("VERIFY_MAX_ROWS"), "{error}");
}
