//! What a clock decides about time is recorded: bounds of rows that are far ahead, and holds of
//! idle partitions. A plain walk over the log with the archive's records gives the watermark and
//! the verdict of every row in every shard, whatever was killed and read again, and whatever the
//! clock said by then.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::limits::{EVENT_FUTURE_MAX_US, IDLE_TIMEOUT_US};
use forebay_core::ports::{Archive, Beginnings, StateProgress};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::time::{Clock, DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};
use forebay_core::value::Value;
use forebay_core::watermark::{Bound, Hold, MarkFact, MarkRecord};
use forebay_testkit::{FakeClock, Fate, Random, wait_until};

use forebay_sim::world::{DELAY_US, EVENTS, KEYS, RECENT, START_US, Setup, TOPIC, World, event};

/// Events three seconds apart, every seventh a year ahead, every ninth three minutes behind; the
/// clock stands at the last of them.
fn poisoned_world(setup: &Setup, count: usize) -> World {
    let mut world = World::new(Setup {
        scored: false,
        ..setup.clone()
    });
    let now = START_US + at(count);
    world.clock = Arc::new(FakeClock::at(now));
    append(&world, count, 0);
    world
}

fn at(number: usize) -> Micros {
    i64::try_from(number).expect("few") * 3 * SECOND_US
}

fn append(world: &World, count: usize, from: usize) {
    let mut random = Random::new(from as u64);
    for number in from..from + count {
        let time = START_US + at(number);
        let time = match number {
            n if n % 7 == 3 => time + 365 * DAY_US,
            n if n % 9 == 8 => time - 3 * MINUTE_US,
            _ => time,
        };
        let key = KEYS[random.below(KEYS.len())];
        let values = event(Some(key), time, Some(1.0), number as i64);
        world
            .log
            .append(TOPIC, random.below(world.setup.partitions), Ok(values));
    }
}

/// Watermark of each row by a walk over the log and the archive's bounds.
fn expected(world: &World) -> BTreeMap<(i32, i64), (Micros, Option<Micros>)> {
    let bounds: Vec<(TopicPartition, Bound)> = world
        .archived_marks()
        .into_iter()
        .filter_map(|record| match record.fact {
            MarkFact::Bound(bound) => Some((record.partition, bound)),
            MarkFact::Hold(_) => None,
        })
        .collect();
    let mut rows = BTreeMap::new();
    for number in 0..world.setup.partitions {
        let place = TopicPartition::new(TOPIC, number as i32);
        let mut newest: Option<Micros> = None;
        for record in world.log.records(TOPIC, number) {
            let values = record.values.expect("all are rows");
            let Value::Timestamp(time) = values[1] else {
                panic!("ts is a timestamp")
            };
            let of = |(p, b): &&(TopicPartition, Bound)| {
                *p == place && b.from <= record.offset && record.offset < b.until
            };
            let bound = bounds.iter().find(of).map(|(_, bound)| *bound);
            let watermark = newest.map(|mark| {
                let most = bound.map_or(Micros::MAX, |b| b.watermark_max_us);
                (mark - DELAY_US).min(most)
            });
            rows.insert((place.partition, record.offset), (time, watermark));
            let most = bound.map_or(Micros::MAX, |b| b.mark_max_us);
            newest = newest.max(Some(time.min(most)));
        }
    }
    rows
}

/// Every row of every shard, and the archive, have the watermark that the records say.
fn check(world: &World) {
    let expected = expected(world);
    let mut seen = 0;
    for row in world.store.rows(RECENT).into_iter().flatten() {
        let (time, watermark) = expected[&(row.place.partition, row.offset)];
        assert_eq!(
            row.watermark_us, watermark,
            "{:?} {}",
            row.place, row.offset
        );
        let late = watermark.is_some_and(|watermark| time < watermark - MINUTE_US);
        assert_eq!(row.late, late, "{:?} {}", row.place, row.offset);
        seen += 1;
    }
    assert_eq!(seen, expected.len(), "each row is in one shard");
    // T_min of the view: one past the newest row that is gone, and the minute that it looks back.
    let late = |row: &forebay_testkit::StoredRow| row.late.then_some(row.time_us + MINUTE_US);
    let rows = world.store.rows(RECENT);
    let oldest = rows.iter().flatten().filter_map(late).max();
    let now = world.clock.now_us();
    assert!(
        oldest.is_none_or(|oldest| oldest < now),
        "the present can be read"
    );
}

#[test]
fn a_kill_at_any_write_changes_no_mark_and_no_verdict_whatever_the_clock_says_later() {
    for done in [false, true] {
        let setup = Setup {
            epoch_max_rows: 3,
            ..Setup::default()
        };
        let survived = |number: u64| {
            let world = poisoned_world(&setup, 40);
            let process = world.start(Fate::killed_at(number, done), number);
            wait_until("the process ends or is done", || {
                process.fate.is_over() || world.is_done()
            });
            let killed = process.fate.is_over();
            let killed = process.stop().is_err() || killed;
            world.clock.advance(HOUR_US);
            append(&world, 8, 40);
            world.finish(number + 1);
            check(&world);
            assert!(!world.archived_marks().is_empty(), "something was bounded");
            killed
        };
        let writes = (0..).take_while(|number| survived(*number)).count();
        assert!(
            writes > 10,
            "only {writes} writes were there to be killed at"
        );
    }
}

#[test]
fn one_partition_alone_is_bounded_by_the_clock_and_its_good_rows_count() {
    let setup = Setup {
        partitions: 1,
        ..Setup::default()
    };
    let world = poisoned_world(&setup, 60);
    world.finish(1);
    check(&world);
    let mark = world.watermarks.of(EVENTS).expect("there were rows");
    assert!(mark <= world.clock.now_us() + EVENT_FUTURE_MAX_US);
    let good: i64 = KEYS
        .iter()
        .filter_map(|key| world.count_of(key, world.clock.now_us()))
        .sum();
    assert!(good > 10, "the last minute has {good} rows");
}

#[test]
fn an_idle_partition_is_held_and_a_restart_shows_the_watermark_before_any_record() {
    let mut world = World::new(Setup {
        scored: false,
        ..Setup::default()
    });
    let row = |number: usize| event(Some("a"), START_US + at(number), Some(1.0), 0);
    world.log.append(TOPIC, 0, Ok(row(0)));
    (0..20).for_each(|number| {
        world.log.append(TOPIC, 1, Ok(row(number)));
    });
    let process = world.start(Fate::default(), 1);
    let (first, last) = (START_US - DELAY_US, START_US + at(19) - DELAY_US);
    wait_until("both partitions are read", || {
        world.watermarks.of(EVENTS) == Some(first)
    });
    // One look at the ends of the log notes where the partitions stand, a later one that they did
    // not move.
    wait_until("the idle partition is let go", || {
        world.clock.advance(IDLE_TIMEOUT_US);
        world.watermarks.of(EVENTS) == Some(last)
    });
    process.stop().expect("nothing is in the way");
    let hold = Hold {
        at: 1,
        mark_us: last + DELAY_US,
        watermark_us: last,
    };
    let held = |records: Vec<MarkRecord>| {
        let of = |record: &MarkRecord| {
            record.partition == TopicPartition::new(TOPIC, 0) && record.fact == MarkFact::Hold(hold)
        };
        records.iter().any(of)
    };
    for shard in 0..world.setup.shards {
        assert!(
            held(world.store.marks(shard).expect("in memory")),
            "{shard}"
        );
    }
    assert!(held(world.archived_marks()), "the archive has it too");
    world.watermarks = Arc::default();
    let process = world.start(Fate::default(), 2);
    assert_eq!(process.pipeline.watermarks().of(EVENTS), Some(last));
    let status = process.pipeline.status();
    assert_eq!(status.sources[EVENTS].watermark_us, Some(last));
    process.stop().expect("nothing is in the way");
}

/// A world with a partition that has rows and one that has none, whose source has a watermark
/// because the empty one was held.
fn world_with_an_empty_partition() -> (World, Micros) {
    let world = World::new(Setup {
        scored: false,
        ..Setup::default()
    });
    (0..20).for_each(|number| {
        let values = event(Some("a"), START_US + at(number), Some(1.0), 0);
        world.log.append(TOPIC, 1, Ok(values));
    });
    let process = world.start(Fate::default(), 1);
    let last = START_US + at(19) - DELAY_US;
    wait_until("the empty partition is let go", || {
        world.clock.advance(IDLE_TIMEOUT_US);
        world.watermarks.of(EVENTS) == Some(last)
    });
    process.stop().expect("nothing is in the way");
    (world, last)
}

#[test]
fn a_restart_shows_the_watermark_of_a_source_with_an_empty_partition() {
    let (mut world, last) = world_with_an_empty_partition();
    world.watermarks = Arc::default();
    let process = world.start(Fate::default(), 2);
    assert_eq!(process.pipeline.watermarks().of(EVENTS), Some(last));
    process.stop().expect("nothing is in the way");
}

#[test]
fn a_partition_that_a_topic_got_while_nobody_read_it_is_held_where_the_source_stands() {
    let (mut world, last) = world_with_an_empty_partition();
    world.watermarks = Arc::default();
    world.log.grow(TOPIC, 3);
    let values = event(Some("a"), START_US, Some(1.0), 0);
    world.log.append(TOPIC, 2, Ok(values));
    world.finish(2);
    let held = |record: &MarkRecord| {
        let mark_us = last + DELAY_US;
        record.partition == TopicPartition::new(TOPIC, 2)
            && matches!(record.fact, MarkFact::Hold(hold) if (hold.at, hold.mark_us) == (0, mark_us))
    };
    assert!(world.archived_marks().iter().any(held));
    assert_eq!(world.watermarks.of(EVENTS), Some(last));
}

#[test]
fn an_added_partition_of_which_a_crash_left_the_beginning_alone_is_held_where_the_source_stands() {
    let (mut world, last) = world_with_an_empty_partition();
    world.watermarks = Arc::default();
    world.log.grow(TOPIC, 3);
    for number in 0..5 {
        let values = event(Some("a"), START_US, Some(1.0), number);
        world.log.append(TOPIC, 2, Ok(values));
    }
    world.log.delete_before(TOPIC, 2, 3);
    // A process that noted where the table begins, and died.
    let (place, mut begun) = (TopicPartition::new(TOPIC, 2), Beginnings::default());
    let begins = PartitionProgress {
        next_offset: 3,
        ..PartitionProgress::default()
    };
    begun.from.advance(&place, begins);
    let logs = BTreeMap::new();
    let noted = world.archive.begin(EVENTS, &begun, &logs);
    futures::executor::block_on(noted).expect("noted");
    world.finish(2);
    let held = |record: &MarkRecord| {
        let mark_us = last + DELAY_US;
        record.partition == place
            && matches!(record.fact, MarkFact::Hold(hold) if (hold.at, hold.mark_us) == (0, mark_us))
    };
    assert!(world.archived_marks().iter().any(held));
    assert_eq!(world.watermarks.of(EVENTS), Some(last));
}
