//! What monitors go on from: checkpoints that the archive backs, and decisions about time that are
//! recorded. And what a crash leaves of their alarms.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_control::{
    BeginError, Beginning, FillHost, MonitorObserver, MonitorParts, Monitors, change_scopes,
};
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Checkpoints, EventLog, Runtime};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::time::SECOND_US;
use forebay_pipeline::archive::ArchiveReach;
use forebay_pipeline::runtime::{SystemRuntime, block_on};
use forebay_pipeline::{BatchObserver, Look};
use forebay_sim::deployed::Routes;
use forebay_sim::drift::{Alarms, check_alarms};
use forebay_sim::evaluator::Evaluated;
use forebay_sim::faults::{End, Faults, Rates};
use forebay_sim::monitored::{self, LABELS, WINDOW_US};
use forebay_sim::runtime::{SimRuntime, simulate};
use forebay_sim::server::Server;
use forebay_sim::world::{EVENTS, PREDICTIONS, START_US, Setup, TOPIC, World, event, runtime};
use forebay_testkit::{Fate, MemoryCheckpoints, TableFault, unbounded_budget};

const CHECKPOINT: &str = "monitor-quality";

fn monitored() -> Setup {
    Setup {
        monitored: true,
        ..Setup::default()
    }
}

#[test]
fn a_checkpoint_is_saved_once_the_archive_has_all_that_it_covers() {
    let world = World::with_events(monitored(), 20, 1);
    let kept = MemoryCheckpoints::default();
    let scopes = change_scopes(&kept, &[("scorer", TOPIC)], &Applied::default());
    let scopes = scopes.expect("in memory");
    let parts = [monitored::parts(&world, Routes::of(&world.setup)).expect("sound")];
    let monitors = Monitors::begin(
        &parts,
        &scopes,
        Arc::new(kept.clone()),
        1,
        &unbounded_budget(),
    );
    let monitors = Arc::new(monitors.expect("sound"));
    let runtime = Arc::new(SystemRuntime::new(runtime().handle().clone()));
    let mut observer = MonitorObserver::new(monitors, Arc::default(), Box::new(drop), runtime);
    let mut reader = world.log.reader(1, &Arc::default());
    let places = (0..2).map(|partition| (TopicPartition::new(TOPIC, partition), 0));
    reader
        .assign(&world.sources, &places.collect())
        .expect("in memory");
    let batches = reader.poll(100, Duration::ZERO).expect("in memory");
    assert!(batches.iter().any(|batch| batch.rows.num_rows() > 0));
    let reach = |handed, archived| ArchiveReach { handed, archived };
    for batch in &batches {
        observer.observe(batch, &[], reach(5, 4));
    }
    let mut look = |reach| {
        observer.look(&Look {
            records: &[],
            settled: &[],
            stands: &[],
            reach,
        });
        kept.load(CHECKPOINT).expect("in memory").is_some()
    };
    assert!(!look(reach(9, 4)), "the archive is behind it");
    assert!(look(reach(9, 5)), "what came since does not matter");
}

#[test]
fn a_table_that_cannot_be_read_is_named_and_all_else_begins_without_it() {
    let world = World::with_events(monitored(), 60, 3);
    world.finish(1);
    let fate = Arc::new(Fate::default());
    fate.break_table(PREDICTIONS, TableFault::Shut);
    let archive = world.archive.under(&fate);
    let parts = [monitored::parts(&world, Routes::of(&world.setup)).expect("sound")];
    for source in [EVENTS, PREDICTIONS, LABELS, "another"] {
        assert_eq!(parts[0].reads(source), source != "another", "{source}");
    }
    let checkpoints: Arc<dyn Checkpoints> = Arc::new(MemoryCheckpoints::default());
    let begin = |parts: &[MonitorParts], unusable: &BTreeMap<String, String>| {
        let scopes = change_scopes(
            checkpoints.as_ref(),
            &[("scorer", TOPIC)],
            &Applied::default(),
        );
        let (scopes, budget) = (scopes.expect("in memory"), unbounded_budget());
        let monitors = Monitors::begin(parts, &scopes, Arc::clone(&checkpoints), 1, &budget);
        Beginning {
            archive: &archive,
            store: &world.store,
            notes: &world.store,
            checkpoints: &checkpoints,
            sources: &world.sources,
            unusable,
            prediction_sources: &HashSet::from([PREDICTIONS.to_owned()]),
            marks: &Arc::default(),
            runtime: &SystemRuntime::new(runtime().handle().clone()),
        }
        .catch_up(&monitors.expect("sound"))
    };
    let error = begin(&parts, &BTreeMap::new()).expect_err("it is damaged");
    let BeginError::Table { table, .. } = &error else {
        panic!("{error} names no table");
    };
    assert_eq!(table, PREDICTIONS);
    let unusable = BTreeMap::from([(table.clone(), error.to_string())]);
    assert!(begin(&[], &unusable).is_ok());
    fate.mend_table(PREDICTIONS);
    let begun = begin(&parts, &BTreeMap::new()).expect("it is whole");
    assert!(begun.rows > 60, "events and predictions: {}", begun.rows);
}

#[test]
fn a_window_that_closed_over_an_idle_partition_is_rebuilt_with_the_same_rows() {
    let (_, report) = simulate(7, |runtime| {
        let world = Arc::new(World::new(monitored()));
        let append = |partition, seconds: i64| {
            let at_us = START_US + seconds * SECOND_US;
            let values = event(Some("a"), at_us, Some(0.5), seconds);
            world.log.append(TOPIC, partition, Ok(values));
        };
        let faults = Arc::new(Faults::none(&runtime));
        let server = Server::new(&world, &Arc::default(), &faults, 1);
        server.begin().expect("it starts");
        // Partition 0 is idle while windows close by partition 1; then a row of it comes late.
        append(0, 1);
        (0..40).for_each(|number| append(1, number * 10));
        runtime.pause(Duration::from_secs(100));
        append(0, 2);
        append(1, 410);
        runtime.pause(Duration::from_secs(20));
        server.pause().expect("nothing is in the way");
        let live = server.reports();
        assert_eq!(live[0].labels.expect("labels").late_predictions, 1);
        assert!(live[0].series[0].windows[0].revision > 0, "{live:?}");
        let kept = &world.checkpoints;
        for checkpoints in [kept.clone(), kept.without("monitor-")] {
            let again = server.reports_from(checkpoints).expect("in memory");
            assert_eq!(again, live);
        }
    });
    assert_eq!(report.failure, None);
}

#[test]
fn what_monitors_keep_is_held_and_a_batch_waits_a_while_where_others_have_the_memory() {
    let world = World::with_events(monitored(), 200, 3);
    let kept = MemoryCheckpoints::default();
    let scopes = change_scopes(&kept, &[("scorer", TOPIC)], &Applied::default());
    let parts = [monitored::parts(&world, Routes::of(&world.setup)).expect("sound")];
    let budget = Budget::whole(1 << 20);
    let monitors = Monitors::begin(
        &parts,
        &scopes.expect("in memory"),
        Arc::new(kept),
        1_000,
        &budget,
    );
    let monitors = Arc::new(monitors.expect("sound"));
    let system = SystemRuntime::new(runtime().handle().clone());
    let mut observer = MonitorObserver::new(
        monitors,
        Arc::default(),
        Box::new(drop),
        Arc::new(system.clone()),
    );
    let mut reader = world.log.reader(1, &Arc::default());
    let places = (0..2).map(|partition| (TopicPartition::new(TOPIC, partition), 0));
    reader
        .assign(&world.sources, &places.collect())
        .expect("in memory");
    let batches = reader.poll(100, Duration::ZERO).expect("in memory");
    let reach = ArchiveReach {
        handed: 1,
        archived: 0,
    };
    let others = budget.reserve(Part::Answers, 1 << 20).expect("free");
    let began = system.elapsed();
    observer.observe(&batches[0], &[], reach);
    let waited = system.elapsed().saturating_sub(began);
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    assert_eq!(budget.used_bytes(Part::Monitors), 0);
    drop(others);
    let began = system.elapsed();
    observer.observe(&batches[0], &[], reach);
    assert!(system.elapsed().saturating_sub(began) < Duration::from_millis(500));
    assert!(
        budget.used_bytes(Part::Monitors) > 0,
        "events wait for answers"
    );
    drop(observer);
    assert_eq!(budget.used_bytes(Part::Monitors), 0, "nothing leaks");
}

mod growth {
    use forebay_core::prediction::Role;
    use forebay_core::settlement::OffsetRuns;
    use forebay_pipeline::settlements::Settled;
    use forebay_pipeline::watermark::table::MARKS_TABLE;

    use super::*;

    #[test]
    fn a_suspension_of_a_hundred_million_events_is_one_entry_of_a_monitor() {
        let world = World::with_events(monitored(), 20, 1);
        let sizes = [1_000, 100_001_000].map(|last| {
            let kept = MemoryCheckpoints::default();
            let scopes = change_scopes(&kept, &[("scorer", TOPIC)], &Applied::default());
            let parts = [monitored::parts(&world, Routes::of(&world.setup)).expect("sound")];
            let kept_as = Arc::new(kept.clone());
            let scopes = scopes.expect("in memory");
            let monitors = Monitors::begin(&parts, &scopes, kept_as, 1, &unbounded_budget());
            let monitors = Arc::new(monitors.expect("sound"));
            let observed = Arc::clone(&monitors);
            let system = Arc::new(SystemRuntime::new(runtime().handle().clone()));
            let mut observer =
                MonitorObserver::new(observed, Arc::default(), Box::new(drop), system);
            observer.look(&Look {
                records: &[],
                settled: &[Settled {
                    deployment: "scorer".to_owned(),
                    role: Role::Live,
                    topic: TOPIC.to_owned(),
                    partition: 0,
                    offsets: OffsetRuns::of_runs(vec![(1_000, last)]).expect("a run"),
                    note: (TopicPartition::new("notes", 0), 0),
                }],
                stands: &[],
                reach: ArchiveReach::default(),
            });
            monitors.save();
            kept.load(CHECKPOINT)
                .expect("in memory")
                .expect("saved")
                .len()
        });
        assert!(sizes[1] < sizes[0] + 16, "{sizes:?} bytes");
    }

    /// A server whose partition 0 is idle while partition 1 goes on, for so many steps of ten
    /// seconds, after each of which somebody asks for a flush where `flushes` says so. Rows in the
    /// archive's table of decisions before and after its stop; and the tables that the next start
    /// reads.
    fn idle_for(steps: i64, flushes: bool) -> (usize, usize, Vec<String>) {
        let (found, report) = simulate(7, move |runtime| {
            let world = Arc::new(World::new(monitored()));
            let append = |partition, seconds: i64| {
                let at_us = START_US + seconds * SECOND_US;
                let values = event(Some("a"), at_us, Some(0.5), seconds);
                world.log.append(TOPIC, partition, Ok(values));
            };
            let (disk, faults) = (Arc::default(), Arc::new(Faults::none(&runtime)));
            let server = Server::new(&world, &disk, &faults, 1);
            server.begin().expect("it starts");
            append(0, 1);
            for step in 0..steps {
                append(1, step * 10);
                runtime.pause(Duration::from_secs(10));
                if flushes {
                    let archiver = server.archiver().expect("it runs");
                    block_on(&runtime, archiver.flush()).expect("in memory");
                }
            }
            let before = world.archive.rows(MARKS_TABLE).len();
            server.pause().expect("nothing is in the way");
            let live = server.reports();
            let kept = &world.checkpoints;
            for checkpoints in [kept.clone(), kept.without("")] {
                let again = server.reports_from(checkpoints).expect("in memory");
                assert_eq!(again, live);
            }
            let after = world.archive.rows(MARKS_TABLE).len();
            let known = world.archive.scans().len();
            let server = Server::new(&world, &disk, &faults, 2);
            server.begin().expect("it starts");
            server.pause().expect("nothing is in the way");
            let mut scans = world.archive.scans();
            let tables = scans.split_off(known).into_iter().map(|(table, _)| table);
            (before, after, tables.collect::<Vec<_>>())
        });
        assert_eq!(report.failure, None);
        found.expect("it ended")
    }

    #[test]
    fn an_idle_partition_is_held_by_one_row_of_the_archive_however_long_and_a_start_reads_none() {
        let (few, many) = (idle_for(12, false), idle_for(120, false));
        assert_eq!(few, many);
        assert_eq!(many, idle_for(12, true), "a flush writes no row of it");
        let (before, after, tables) = many;
        assert!(
            before <= 2 && after <= before + 3,
            "{before} and {after} rows"
        );
        assert_eq!(tables, Vec::<String>::new(), "checkpoints cover them");
    }
}

/// A process that ends at call number `call`, and one that does what is left, over scores that
/// drift and come back. What is on the topic of alarms then.
fn alarms_after(runtime: &SimRuntime, call: u64) -> Alarms {
    let setup = Setup {
        idle_timeout_us: 3 * SECOND_US,
        alarm_windows: 1,
        ..monitored()
    };
    let world = Arc::new(World::with_events(setup, 40, 3));
    for shifted in [true, false] {
        world.shift(shifted);
        world.move_on(WINDOW_US);
        world.append_events(40, 5);
    }
    world.move_on(2 * WINDOW_US);
    world.append_events(4, 7);
    let run = |end: End| {
        let faults = Faults::new(runtime, call, Rates::default(), end);
        let faults = Arc::new(faults);
        let server = Server::new(&world, &Arc::default(), &faults, call);
        if server.begin().is_ok() {
            let done = || world.log.is_assigned(TOPIC) && world.is_done();
            runtime.wait_until(Duration::from_secs(60), || faults.is_over() || done());
            // Time in which the monitor hears of all that is archived.
            runtime.pause(Duration::from_secs(10));
        }
        // What one that has ended answers nobody hears.
        let stopped = server.pause();
        assert!(faults.is_over() || stopped.is_ok(), "{stopped:?}");
    };
    run(End::AtCall(call));
    run(End::Never);
    check_alarms(&world, &Evaluated::of(&world))
}

#[test]
fn a_crash_at_any_call_loses_no_alarm_and_repeats_some_under_the_ids_that_they_had() {
    let mut repeats = 0;
    for call in (0..1_500).step_by(2) {
        let (alarms, report) = simulate(8, move |runtime| alarms_after(&runtime, call));
        assert_eq!(report.failure, None, "ended at call {call}");
        let alarms = alarms.expect("it ends");
        assert!(alarms.raised > 0 && alarms.resolved > 0, "{alarms:?}");
        repeats += alarms.repeats;
    }
    assert!(repeats > 0, "no crash came between a send and its note");
}
