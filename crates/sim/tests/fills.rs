//! A fill of a new view that a crash has cut off: the same change, applied by the next process,
//! goes on with it, and with nothing that is of another definition or from another table. And a
//! fill that is slower than the events come: ingest gives way, and never stands for long.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_control::{Course, FillHost, Filler, Life, Stop, furthest};
use forebay_core::ErrorKind;
use forebay_core::error::with_causes;
use forebay_core::limits::FILL_ROUNDS_MAX;
use forebay_core::memory::Part;
use forebay_core::ports::{Archive, CompiledView, FillWriter, Runtime, StateProgress, ViewStates};
use forebay_core::progress::Applied;
use forebay_core::view::{ViewId, ViewSpec, Window};
use forebay_pipeline::archive::Archiver;
use forebay_pipeline::backfill::{Filling, Until, backfill};
use forebay_pipeline::gaps::Listed;
use forebay_pipeline::runtime::{SystemRuntime, block_on};
use forebay_sim::definitions::{Disk, EXTRA};
use forebay_sim::faults::{End, Faults, Rates};
use forebay_sim::runtime::{SimRuntime, simulate};
use forebay_sim::server::{REST_MAX_ROWS, Server};
use forebay_sim::world::{EVENTS, RECENT, Setup, TOPIC, World, runtime as system};
use forebay_testkit::{Fate, PlainView, StoredRow, unbounded_budget, wait_until};
use parking_lot::Mutex;

const ADDED: ViewId = EXTRA[0];

fn world(events: usize) -> Arc<World> {
    let setup = Setup {
        scored: false,
        ..Setup::default()
    };
    Arc::new(World::with_events(setup, events, 83))
}

/// Run `body` with the choices of one seed.
fn play(body: impl FnOnce(SimRuntime) + Send + 'static) {
    let (done, report) = simulate(6, body);
    assert!(done.is_some(), "{report:?}");
}

fn server(world: &Arc<World>, disk: &Arc<Disk>, faults: Faults) -> Arc<Server> {
    Server::new(world, disk, &Arc::new(faults), 7)
}

/// A process that nothing disturbs does all that is left, and adds the view where that is asked
/// for.
fn finish(world: &Arc<World>, disk: &Arc<Disk>, runtime: &SimRuntime, adds: bool) {
    let server = server(world, disk, Faults::none(runtime));
    server.begin().expect("it starts");
    if adds {
        server
            .apply_views(&BTreeSet::from([ADDED]))
            .expect("it is added");
    }
    assert!(runtime.wait_until(Duration::from_secs(600), || world.is_done()));
    server.pause().expect("it stops");
}

fn rows(world: &World, view: ViewId) -> Vec<Vec<StoredRow>> {
    let mut rows = world.store.rows(view);
    rows.iter_mut().flatten().for_each(|row| row.view = 0);
    rows
}

fn noted(world: &World) -> u64 {
    let filling = Filling::of(&world.store, ADDED);
    filling.expect("in memory").rows()
}

#[test]
fn definitions_that_are_older_than_the_state_are_refused_and_applied_anew_have_all_rows() {
    play(|runtime| {
        let (world, disk, older) = (world(60), Arc::<Disk>::default(), Arc::<Disk>::default());
        finish(&world, &disk, &runtime, true);
        // Under definitions without the view its state goes, and events are applied without it.
        world.append_events(20, 5);
        finish(&world, &older, &runtime, false);
        let refused = server(&world, &disk, Faults::none(&runtime));
        let error = refused.begin().expect_err("the view has no state");
        assert!(
            with_causes(&error).contains("older than the state"),
            "{error}"
        );
        refused.pause().expect("nothing runs");
        finish(&world, &older, &runtime, true);
        assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
    });
}

#[test]
fn a_crash_at_any_call_of_an_apply_leaves_what_the_next_one_goes_on_with() {
    play(|runtime| {
        let mut places = BTreeSet::new();
        for last_call in 0..200 {
            let (world, disk) = (world(90), Arc::<Disk>::default());
            finish(&world, &disk, &runtime, false);
            let calm = Rates::default();
            let end = End::AtCall(40 + last_call);
            let faults = Faults::new(&runtime, last_call, calm, end);
            let crashing = server(&world, &disk, faults);
            if crashing.begin().is_ok() {
                // What it answers nobody hears.
                let _unheard = crashing.apply_views(&BTreeSet::from([ADDED]));
            }
            let _unheard = crashing.pause();
            if disk.views().is_empty() {
                places.insert(noted(&world));
            }
            finish(&world, &disk, &runtime, !disk.views().contains(&ADDED));
            assert_eq!(rows(&world, ADDED), rows(&world, RECENT), "{last_call}");
            assert_eq!(noted(&world), 0, "the fill is over");
        }
        assert!(places.len() > 3, "cut off at several places: {places:?}");
    });
}

/// A fill that was cut off behind the first rows, of a view like [`ADDED`] with another definition
/// where `digest` says so.
fn cut_off(world: &World, runtime: &SimRuntime, digest: Option<&str>) {
    let view = PlainView::new(ADDED, &world.sources[0], "k", "x", Window::Lifetime);
    let mut spec = ViewSpec::clone(view.spec());
    spec.digest = digest.map_or(spec.digest, str::to_owned);
    let known = world.store.register_view(Arc::new(spec));
    known.expect("a new view");
    let mut filling = Filling::of(&world.store, ADDED).expect("in memory");
    let mut some = block_on(runtime, world.archive.progress(EVENTS)).expect("in memory");
    some.0.values_mut().for_each(|at| at.next_offset /= 2);
    let stores = (
        &world.archive as &dyn Archive,
        &world.store as &dyn FillWriter,
        &unbounded_budget(),
    );
    let pass = (&mut filling, Until::Shared(&some));
    let pass = backfill(&view, &world.sources[0], stores, pass, |_| {});
    let rows = block_on(runtime, pass).expect("it takes all rows");
    assert!(rows > 0 && noted(world) == rows as u64);
}

#[test]
fn a_fill_of_another_definition_or_from_another_table_is_begun_anew() {
    play(|runtime| {
        for other_table in [false, true] {
            let (world, disk) = (world(90), Arc::<Disk>::default());
            finish(&world, &disk, &runtime, false);
            let digest = (!other_table).then_some("another");
            cut_off(&world, &runtime, digest);
            if other_table {
                world.archive.lose(EVENTS);
            }
            finish(&world, &disk, &runtime, true);
            assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
        }
    });
}

#[test]
fn what_a_fill_has_left_behind_goes_with_the_next_change_that_does_not_name_it() {
    play(|runtime| {
        let (world, disk) = (world(90), Arc::<Disk>::default());
        finish(&world, &disk, &runtime, false);
        cut_off(&world, &runtime, None);
        finish(&world, &disk, &runtime, false);
        assert!(noted(&world) > 0, "a start keeps it");
        let server = server(&world, &disk, Faults::none(&runtime));
        server.begin().expect("it starts");
        server
            .apply_views(&BTreeSet::from([EXTRA[1]]))
            .expect("it is added");
        server.pause().expect("it stops");
        assert_eq!(noted(&world), 0);
        assert!(rows(&world, ADDED).iter().all(Vec::is_empty));
        assert_eq!(rows(&world, EXTRA[1]), rows(&world, RECENT));
    });
}

/// Events come so many at once, two hundred a second.
const EVENTS_PER_STEP: usize = 2;
const STEP: Duration = Duration::from_millis(10);
/// A fill folds a quarter of that. One of ten rows a second would have to slow ingest to a row a
/// second, which is as long as ingest may stand.
const ROW_TAKES: Duration = Duration::from_millis(20);

/// Events come, [`EVENTS_PER_STEP`] each `step`, until `is_over`, and as many as `most`. How long
/// ingest has stood at most: events were there, and none was applied.
fn come(
    world: &World,
    runtime: &SimRuntime,
    (step, most): (Duration, usize),
    is_over: impl Fn() -> bool,
) -> Duration {
    let applied = || -> i64 {
        let of_shard = |shard| {
            let applied = world.store.applied(shard);
            applied.0.values().map(|at| at.next_offset).sum::<i64>()
        };
        (0..world.setup.shards).map(of_shard).sum()
    };
    let (mut seen, mut since) = (applied(), runtime.elapsed());
    let mut longest = Duration::ZERO;
    for number in 0..most / EVENTS_PER_STEP {
        if is_over() {
            break;
        }
        world.append_events(EVENTS_PER_STEP, number as u64);
        runtime.pause(step);
        if applied() > seen {
            (seen, since) = (applied(), runtime.elapsed());
        }
        longest = longest.max(runtime.elapsed().saturating_sub(since));
    }
    longest
}

#[test]
fn where_events_come_faster_than_they_are_filled_in_ingest_gives_way_and_hardly_stands() {
    play(|runtime| {
        let (world, disk) = (world(20), Arc::<Disk>::default());
        finish(&world, &disk, &runtime, false);
        let slow = Faults::none(&runtime).with_slow_fills(ROW_TAKES);
        let server = Arc::new(server(&world, &disk, slow));
        server.begin().expect("it starts");
        let applied = Arc::<AtomicBool>::default();
        let (applying, done) = (Arc::clone(&server), Arc::clone(&applied));
        let apply = move || {
            let next = BTreeSet::from([ADDED]);
            applying.apply_views(&next).expect("it is added");
            done.store(true, Ordering::SeqCst);
        };
        let spawned = runtime.spawn_thread("apply", Box::new(apply));
        spawned.expect("a thread");
        let is_over = || applied.load(Ordering::SeqCst);
        let longest = come(&world, &runtime, (STEP, 4_000), is_over);
        assert!(is_over(), "the fill has caught up while events came");
        let rest = server.rest();
        assert!(rest <= REST_MAX_ROWS, "{rest} rows were left");
        assert!(
            longest <= Duration::from_secs(1),
            "ingest stood {longest:?}"
        );
        assert!(runtime.wait_until(Duration::from_secs(60), || world.is_done()));
        server.pause().expect("it stops");
        assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
    });
}

#[test]
fn where_no_round_catches_up_the_change_is_refused_and_ingest_hardly_stands() {
    play(|runtime| {
        let (world, disk) = (world(20), Arc::<Disk>::default());
        finish(&world, &disk, &runtime, false);
        let slow = Faults::none(&runtime).with_slow_fills(ROW_TAKES);
        let server = Arc::new(server(&world, &disk, slow));
        server.ignore_limits();
        server.begin().expect("it starts");
        let refusal = Arc::<Mutex<Option<String>>>::default();
        let (applying, told) = (Arc::clone(&server), Arc::clone(&refusal));
        let apply = move || {
            let outcome = applying.apply_views(&BTreeSet::from([ADDED]));
            let error = outcome.expect_err("it never catches up");
            *told.lock() = Some(format!("{error:?}"));
        };
        let spawned = runtime.spawn_thread("apply", Box::new(apply));
        spawned.expect("a thread");
        let is_over = || refusal.lock().is_some();
        // Forty a second, of fifty that a fill folds: each round leaves the next about as much.
        let longest = come(&world, &runtime, (5 * STEP, 4_000), is_over);
        let words = refusal.lock().clone().expect("it ends while events come");
        assert!(words.contains("FILL_REST_MAX_ROWS"), "{words}");
        let most = FILL_ROUNDS_MAX;
        let rounds = format!("after {most} rounds");
        assert!(words.contains(&rounds), "{words}");
        assert_eq!(server.rest(), 0, "nothing was filled while ingest stood");
        assert!(
            longest <= Duration::from_secs(1),
            "ingest stood {longest:?}"
        );
        assert!(runtime.wait_until(Duration::from_secs(60), || world.is_done()));
        assert!(disk.views().is_empty(), "the definitions of before hold");
        assert!(rows(&world, ADDED).iter().all(Vec::is_empty));
        let again = server.apply_views(&BTreeSet::from([ADDED]));
        again.expect("no events come");
        server.pause().expect("it stops");
        assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
    });
}

/// A server whose ingest has ended, with what the shards had when it began.
struct Ended(Applied);

impl FillHost for Ended {
    fn is_ingesting(&self) -> bool {
        false
    }

    fn archiver(&self) -> Option<Archiver> {
        None
    }

    fn recovered(&self, _: &str) -> Option<Applied> {
        Some(self.0.clone())
    }

    fn limit_ingest(&self, _: Option<NonZeroU64>) {}

    fn halts(&self) -> Vec<Listed> {
        Vec::new()
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn waits_for(&self, _: &str) -> Option<String> {
        None
    }

    fn folded(&self, _: &str, _: u64, _: u64, _: u64) {}

    fn passed(&self, _: &str, _: Duration) {}
}

#[test]
fn where_ingest_has_ended_before_all_was_archived_nothing_is_filled() {
    play(|runtime| {
        let setup = Setup {
            scored: false,
            flush: Duration::from_secs(3_600),
            ..Setup::default()
        };
        let world = Arc::new(World::with_events(setup, 90, 83));
        let disk = Arc::<Disk>::default();
        let faults = Arc::new(Faults::none(&runtime));
        let server = Server::new(&world, &disk, &faults, 7);
        server.begin().expect("it starts");
        let is_read = || world.log.is_assigned(TOPIC) && world.log.is_read();
        assert!(runtime.wait_until(Duration::from_secs(60), is_read));
        // The process ends before the first append.
        faults.kill();
        let _unheard = server.pause();
        let archived = block_on(&runtime, world.archive.progress(EVENTS)).expect("in memory");
        let ahead = furthest(&world.store);
        assert!(
            ahead
                .0
                .iter()
                .any(|(place, at)| at.next_offset > archived.next_offset(place))
        );
        let view = PlainView::new(ADDED, &world.sources[0], "k", "x", Window::Lifetime);
        let known = world.store.register_view(Arc::clone(view.spec()));
        known.expect("a new view");
        let (life, stop) = (Life::default(), Stop::new(Arc::new(runtime.clone())));
        let filler = Filler {
            host: &Ended(archived),
            archive: &world.archive,
            store: &world.store,
            memory: &unbounded_budget(),
            runtime: &runtime,
            life: &life,
            stop: &stop,
            rest_max_rows: REST_MAX_ROWS,
        };
        let begun = filler.beside(&world.sources[0], &view, &mut Course::default());
        let error = begun.expect_err("the archive lacks rows").to_string();
        assert!(error.contains("ingest does not run"), "{error}");
        assert_eq!(noted(&world), 0);
    });
}

/// Ingest ends for a write of which nobody knows whether it is there, and is stopped. What a fill
/// of a new view says to that, with the shards as they are or opened anew.
fn after_an_undecided_write(is_opened_anew: bool) -> Result<(), String> {
    let world = world(20);
    let process = world.start(Fate::default(), 1);
    wait_until("all is read", || world.is_done());
    for shard in 0..world.setup.shards {
        world.store.lose_reply(shard, ErrorKind::Internal);
    }
    world.append_events(20, 5);
    wait_until("ingest ends", || !process.pipeline.is_ingesting());
    let stopped = system().block_on(process.pipeline.stop());
    assert!(stopped.failed().is_some() && stopped.lacks(EVENTS).is_none());
    if is_opened_anew {
        world.store.reopen();
    }
    let archived = system().block_on(world.archive.progress(EVENTS));
    let archived = archived.expect("in memory");
    for (place, at) in furthest(&world.store).0 {
        assert!(at.next_offset <= archived.next_offset(&place));
    }
    let runtime = Arc::new(SystemRuntime::new(system().handle().clone()));
    let (life, stop) = (
        Life::default(),
        Stop::new(Arc::<SystemRuntime>::clone(&runtime)),
    );
    let filler = Filler {
        host: &Ended(archived),
        archive: &world.archive,
        store: &world.store,
        memory: &unbounded_budget(),
        runtime: runtime.as_ref(),
        life: &life,
        stop: &stop,
        rest_max_rows: REST_MAX_ROWS,
    };
    let after = filler.after(stopped, &[Arc::clone(&world.sources[0])]);
    after.map_err(|error| error.to_string())
}

#[test]
fn where_nobody_knows_how_far_a_shard_is_nothing_is_filled_until_it_is_opened_anew() {
    // What the shards say is archived in both cases; the first ones may have more than they say.
    let error = after_an_undecided_write(false).expect_err("a view would lack rows");
    assert!(error.contains("not all that was read of it"), "{error}");
    assert_eq!(after_an_undecided_write(true), Ok(()));
}

#[test]
fn a_fill_that_is_refused_memory_waits_and_goes_on_when_others_have_given_back() {
    play(|runtime| {
        let (world, disk) = (world(90), Arc::<Disk>::default());
        let server = server(&world, &disk, Faults::none(&runtime));
        server.begin().expect("it starts");
        assert!(runtime.wait_until(Duration::from_secs(600), || world.is_done()));
        let memory = Arc::clone(server.memory());
        let others = memory.reserve(Part::Fills, memory.most_bytes(Part::Fills));
        let (others, frees) = (others.expect("free"), runtime.clone());
        let frees = Box::new(move || {
            frees.wait(frees.sleep(Duration::from_secs(5)).as_mut());
            drop(others);
        });
        runtime.spawn_thread("others", frees).expect("a thread");
        server
            .apply_views(&BTreeSet::from([ADDED]))
            .expect("it is added");
        assert!(memory.refused(Part::Fills) > 1, "it asked again");
        assert_eq!(memory.used_bytes(Part::Fills), 0, "nothing leaks");
        assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
        server.pause().expect("it stops");
    });
}
