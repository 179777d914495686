//! Predictions that come twice: the first one counts, for views, archive and observers alike, also
//! over a restart that finds the archive ahead of a shard or behind it.

use forebay_core::prediction::column;
use forebay_core::value::Value;
use forebay_testkit::{Fate, wait_until};

use forebay_sim::oracle::check;
use forebay_sim::world::{OF_PREDICTIONS, PREDICTIONS, PREDICTIONS_TOPIC, Setup, World};

/// Send again what the topic of predictions holds from `first` on.
fn repeat_from(world: &World, first: usize) -> usize {
    let records = world.log.records(PREDICTIONS_TOPIC, 0);
    for record in &records[first..] {
        world
            .log
            .append(PREDICTIONS_TOPIC, 0, record.values.clone());
    }
    records.len() - first
}

#[test]
fn repeats_are_dropped_and_counted() {
    let world = World::with_events(Setup::default(), 30, 19);
    world.finish(1);
    let repeats = repeat_from(&world, 0);
    let process = world.start(Fate::default(), 2);
    wait_until("the repeats are read", || world.log.is_read());
    wait_until("they are counted", || {
        process.pipeline.status().repeats == repeats as u64
    });
    process.stop().expect("nothing is in the way");
    check(&world, true);
}

#[test]
fn a_shard_behind_the_archive_gets_its_predictions_from_the_log() {
    let world = World::with_events(
        Setup {
            shards: 2,
            ..Setup::default()
        },
        30,
        23,
    );
    world.finish(1);
    let before: usize = world.store.rows(OF_PREDICTIONS).iter().map(Vec::len).sum();
    // A power cut takes the end of every shard; the archive, which syncs, keeps all.
    for shard in 0..2 {
        world
            .store
            .lose_writes(shard, world.store.writes(shard) / 2);
    }
    let left: usize = world.store.rows(OF_PREDICTIONS).iter().map(Vec::len).sum();
    assert!(left < before, "{left} of {before} rows were left");
    // Among the records that are read again there are repeats of older ones.
    repeat_from(&world, 3);
    world.finish(2);
    check(&world, false);
}

#[test]
fn observers_see_each_prediction_once_over_a_restart() {
    let world = World::with_events(
        Setup {
            shards: 2,
            ..Setup::default()
        },
        30,
        29,
    );
    world.finish(1);
    for shard in 0..2 {
        world
            .store
            .lose_writes(shard, world.store.writes(shard) / 2);
    }
    world.append_events(10, 31);
    world.finish(2);
    check(&world, false);
    let observed = world.observed.lock();
    let mut places: Vec<_> = observed
        .iter()
        .map(|(_, place, offset)| (place.clone(), *offset))
        .collect();
    let all = places.len();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), all, "what the archive had is not shown again");
    let archived = world.archive.rows(PREDICTIONS);
    assert!(
        archived.iter().all(
            |row| matches!(row.values[column::ROLE], Value::Text(ref role) if &**role == "live")
        )
    );
}
