//! What a prediction says: an event is scored with its own effect in the features, its record names
//! model, event and what the features had applied, and live and shadow go to their own topics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::applied::AppliedViews;
use forebay_core::ports::{Scorer, Scores};
use forebay_core::prediction::{PredictionKey, Role, column};
use forebay_core::progress::TopicPartition;
use forebay_core::time::SECOND_US;
use forebay_pipeline::Pipeline;
use forebay_testkit::{FakeScorer, Fate, wait_until};
use serde_json::Value as Json;

use forebay_sim::oracle::check;
use forebay_sim::world::{PREDICTIONS_TOPIC, Process, START_US, Setup, TOPIC, World, event, id_of};

use crate::stage::status;

fn payload(record: &forebay_core::prediction::OutboxRecord) -> Json {
    serde_json::from_slice(&record.payload).expect("JSON")
}

#[test]
fn an_event_is_scored_with_its_own_effect_and_names_what_was_applied() {
    let world = World::new(Setup {
        partitions: 1,
        epoch_max_rows: 1,
        ..Setup::default()
    });
    for (number, x) in [1.5, 2.25, -0.5].into_iter().enumerate() {
        let number = i64::try_from(number).expect("few");
        world.log.append(
            TOPIC,
            0,
            Ok(event(
                Some("a"),
                START_US + number * SECOND_US,
                Some(x),
                number,
            )),
        );
    }
    world.finish(1);
    check(&world, true);
    let mut records = world.publisher.published();
    records.sort_by_key(|record| payload(record)[column::SOURCE_OFFSET].as_i64());
    assert_eq!(records.len(), 3);
    let sums = [1.5, 3.75, 3.25];
    for (number, (record, sum)) in records.iter().zip(sums).enumerate() {
        let (json, count) = (payload(record), number as f64 + 1.0);
        assert_eq!(record.topic, PREDICTIONS_TOPIC);
        assert_eq!(
            record.key, b"a",
            "one entity's predictions share a partition"
        );
        assert_eq!(json[column::PREDICTION_ID], id_of(&record.headers));
        assert_eq!(
            json["features"]["total"].as_f64(),
            Some(sum),
            "the event's own effect is in its features"
        );
        assert_eq!(json[column::MARGIN].as_f64(), Some(count));
        assert_eq!(json[column::SCORE].as_f64(), Some(count + sum));
        assert_eq!(json["request"]["k"], "a");
        assert_eq!(
            json["n"].as_i64(),
            Some(i64::try_from(number).expect("few")),
            "carried"
        );
        assert_eq!(json[column::AS_OF], json[column::EVENT_TIME]);
        let applied = AppliedViews::decode(json[column::APPLIED].as_str().expect("text"))
            .expect("its own format");
        let applied = applied.get("v").expect("well formed").expect("known");
        let next = applied.next_offset(&TopicPartition::new(TOPIC, 0));
        assert!(
            next > i64::try_from(number).expect("few"),
            "offset {number} is applied: {next}"
        );
    }
}

/// The score waits in the shard of `n`, the features are in the shard of `k`: a crash may leave the
/// first ahead.
#[test]
fn a_score_that_waited_over_a_crash_sees_its_own_event_too() {
    let setup = Setup {
        sticky_by: &["n"],
        shards: 4,
        ..Setup::default()
    };
    let mut waited = 0;
    for write in 0..24 {
        let world = World::with_events(setup.clone(), 30, 79);
        let process = world.start(Fate::killed_at(write, false), write);
        wait_until("it is killed", || process.fate.is_over());
        process.stop().expect_err("it was killed");
        waited += world.store.unfinished().0;
        world.finish(write + 1);
        check(&world, false);
        for record in world.publisher.published() {
            let json = payload(&record);
            let applied = AppliedViews::decode(json[column::APPLIED].as_str().expect("text"))
                .expect("its own format");
            let applied = applied.get("v").expect("well formed").expect("known");
            let number = |name: &str| json[name].as_i64().expect("a number");
            let place = TopicPartition::new(
                TOPIC,
                i32::try_from(number(column::SOURCE_PARTITION)).expect("few"),
            );
            let seen = json["request"]["k"].is_null()
                || applied.next_offset(&place) > number(column::SOURCE_OFFSET);
            assert!(seen, "killed at {write}: {json}");
        }
    }
    assert!(waited > 0, "no crash left a score waiting");
}

#[test]
fn a_null_key_has_applied_nothing_and_is_scored() {
    let world = World::new(Setup {
        partitions: 1,
        ..Setup::default()
    });
    world
        .log
        .append(TOPIC, 0, Ok(event(None, START_US, Some(1.0), 0)));
    world.finish(1);
    check(&world, true);
    let json = payload(&world.publisher.published()[0]);
    assert_eq!(json[column::APPLIED], r#"{"cuts":[{}],"views":{"v":0}}"#);
    assert_eq!(json["features"]["n"], Json::Null);
}

#[test]
fn live_and_shadow_go_to_their_own_topics_under_their_own_ids() {
    let world = World::with_events(
        Setup {
            shadow: true,
            ..Setup::default()
        },
        20,
        61,
    );
    world.finish(1);
    check(&world, true);
    for record in world.publisher.published() {
        let json = payload(&record);
        let (role, topic, version) = match json[column::ROLE].as_str() {
            Some("live") => (Role::Live, PREDICTIONS_TOPIC.to_owned(), 1),
            Some("shadow") => (Role::Shadow, format!("{PREDICTIONS_TOPIC}.shadow"), 2),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (record.topic, json[column::MODEL_VERSION].as_u64()),
            (topic, Some(version))
        );
        let key = PredictionKey {
            deployment: "scorer".to_owned(),
            model_version: u32::try_from(version).expect("small"),
            role,
            topic: TOPIC.to_owned(),
            partition: i32::try_from(json[column::SOURCE_PARTITION].as_i64().expect("a number"))
                .expect("few"),
            offset: json[column::SOURCE_OFFSET].as_i64().expect("a number"),
        };
        assert_eq!(json[column::PREDICTION_ID], key.id());
    }
}

/// A model that thinks for so long about its first rows, and then answers as [`FakeScorer`].
#[derive(Debug)]
struct Slow {
    honest: FakeScorer,
    thinks: Arc<AtomicBool>,
    was_asked: Arc<AtomicBool>,
}

#[async_trait]
impl Scorer for Slow {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        self.was_asked.store(true, Ordering::SeqCst);
        while self.thinks.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.honest.score(model, version, features).await
    }
}

/// What each published prediction says of the view that it was made of.
fn named(world: &World) -> Vec<bool> {
    let published = world.publisher.published();
    let is_named = |record| {
        let json = payload(record);
        let text = json[column::APPLIED].as_str().expect("text");
        let applied = AppliedViews::decode(text).expect("its own format");
        applied.get("v").expect("well formed").is_some()
    };
    published.iter().map(is_named).collect()
}

fn append(world: &World, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let values = event(Some("a"), START_US + number * SECOND_US, Some(1.0), number);
        world.log.append(TOPIC, 0, Ok(values));
    }
}

#[test]
fn a_prediction_names_its_offsets_however_long_its_model_thinks() {
    const EVENTS: i64 = 60;
    let world = World::new(Setup {
        partitions: 1,
        shards: 1,
        epoch_max_rows: 1,
        ..Setup::default()
    });
    // The read itself takes no time here; those that follow while the model thinks are more.
    world.store.know_epochs(20);
    let fate = Arc::new(Fate::default());
    let (thinks, was_asked): (Arc<AtomicBool>, Arc<AtomicBool>) =
        (Arc::new(AtomicBool::new(true)), Arc::default());
    let mut parts = world.parts(&fate, 1);
    parts.scorer = Arc::new(Slow {
        honest: FakeScorer::new(&fate, None),
        thinks: Arc::clone(&thinks),
        was_asked: Arc::clone(&was_asked),
    });
    append(&world, 0..1);
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    let process = Process { pipeline, fate };
    wait_until("the model has the first event", || {
        was_asked.load(Ordering::SeqCst)
    });
    for number in 1..EVENTS {
        append(&world, number..number + 1);
        wait_until("it is an epoch of its own", || world.log.is_read());
    }
    thinks.store(false, Ordering::SeqCst);
    wait_until("all is done", || world.is_done());
    let without_offsets = status(&process).without_offsets;
    process.stop().expect("nothing is in the way");
    check(&world, true);
    assert_eq!(named(&world), vec![true; EVENTS as usize]);
    assert_eq!(without_offsets, 0);
}

#[test]
fn predictions_that_name_no_offsets_are_counted() {
    const EVENTS: i64 = 7;
    let world = World::new(Setup {
        partitions: 1,
        ..Setup::default()
    });
    world.store.know_epochs(0);
    append(&world, 0..EVENTS);
    let process = world.start(Fate::default(), 1);
    wait_until("all is done", || world.is_done());
    // They are counted behind what makes them done.
    wait_until("each is counted", || {
        status(&process).without_offsets == EVENTS as u64
    });
    process.stop().expect("nothing is in the way");
    assert_eq!(named(&world), vec![false; EVENTS as usize]);
}
