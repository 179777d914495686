//! Where a suspension of a deployment is written down: each event of it has a note in the archive,
//! so its first and last offsets are where it began and ended, whatever restarts in its middle.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::ErrorKind;
use forebay_core::prediction::{PredictionKey, Role};
use forebay_core::settlement::{OffsetRuns, SETTLEMENT_TABLE};
use forebay_core::value::Value;
use forebay_pipeline::ScoringLimits;
use forebay_testkit::{Fate, Point, wait_until};

use forebay_sim::world::{Setup, TOPIC, World};

use crate::stage::{each_ended, each_ended_once, noted, status};

/// The offsets of each partition that the archive has notes of, with `reason`.
fn archived_runs(world: &World, reason: &str) -> BTreeMap<i64, BTreeSet<i64>> {
    let mut runs: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for row in world.archive.rows(SETTLEMENT_TABLE) {
        let (Value::Text(why), Value::Text(offsets)) =
            (&row.values["reason"], &row.values["offsets"])
        else {
            panic!("a note is {row:?}");
        };
        let Value::Int(partition) = row.values["source_partition"] else {
            panic!("a note is {row:?}");
        };
        let offsets = OffsetRuns::of_text(offsets).expect("runs");
        let all = offsets
            .runs()
            .iter()
            .flat_map(|(first, last)| *first..=*last);
        if **why == *reason {
            runs.entry(partition).or_default().extend(all);
        }
    }
    runs
}

#[test]
fn the_archive_says_where_a_suspension_began_and_ended_also_over_a_restart_in_its_middle() {
    let setup = Setup {
        epoch_max_rows: 4,
        shards: 1,
        partitions: 1,
        scoring: ScoringLimits {
            pending_records: 20,
            ..ScoringLimits::default()
        },
        ..Setup::default()
    };
    let world = World::with_events(setup, 60, 12);
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 1);
    wait_until("all is read", || world.log.is_read());
    wait_until("it is suspended", || !status(&process).suspended.is_empty());
    process.stop().expect("scores are left");
    let before = noted(&world);
    assert!(!before.is_empty());
    // More than half of the limit waits still, and its model is away.
    world.append_events(30, 13);
    let fate = Fate::default();
    fate.take_away(Point::Score, ErrorKind::Unavailable);
    let process = world.start(fate, 2);
    wait_until("all is read", || world.log.is_read());
    wait_until("it is suspended again", || {
        !status(&process).suspended.is_empty() && noted(&world).len() > before.len()
    });
    process.fate.restore(Point::Score);
    wait_until("what waited is scored", || {
        world.store.unfinished() == (0, 0)
    });
    world.append_events(10, 14);
    wait_until("later events are scored", || {
        world.log.is_read() && each_ended(&world) && status(&process).suspended.is_empty()
    });
    process.stop().expect("nothing is in the way");
    let (published, noted) = each_ended_once(&world);
    let suspended = archived_runs(&world, "suspended");
    assert_eq!(suspended.keys().collect::<Vec<_>>(), [&0]);
    let suspended = &suspended[&0];
    assert_eq!(suspended.len(), noted, "each with its reason");
    let (began, ended) = (suspended.first(), suspended.last());
    let (began, ended) = (*began.expect("one"), *ended.expect("one"));
    let ids = world.published_ids();
    let is_published = |offset: i64| {
        let key = PredictionKey {
            deployment: "scorer".to_owned(),
            model_version: 1,
            role: Role::Live,
            topic: TOPIC.to_owned(),
            partition: 0,
            offset,
        };
        ids.contains(&key.id())
    };
    let last = world.log.ends(TOPIC)[0];
    let outside = (0..began).chain(ended + 1..last);
    assert!(published > 20, "what waited is published");
    assert!((0..began).any(is_published) && (ended + 1..last).any(is_published));
    let ended_outside = outside.filter(|offset| is_published(*offset)).count();
    assert!(
        ended_outside > 20,
        "{ended_outside} around {began} to {ended}"
    );
    assert!(!suspended.iter().any(|offset| is_published(*offset)));
}
