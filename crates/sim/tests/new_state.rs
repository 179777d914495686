//! A new state beside a kept archive (its directory was moved away): rows are dated by what only
//! the archive still has, in every shard, wherever a process ends and whatever fails meanwhile.

use std::sync::Arc;
use std::time::Duration;

use forebay_sim::definitions::Disk;
use forebay_sim::faults::{End, Faults, Rates};
use forebay_sim::runtime::{SimRuntime, simulate};
use forebay_sim::server::Server;
use forebay_sim::world::{RECENT, Setup, TOPIC, World};
use forebay_testkit::{MemoryStore, StoredRow};

/// A process that nothing disturbs does all that is left.
fn finish(world: &Arc<World>, runtime: &SimRuntime) {
    let faults = Arc::new(Faults::none(runtime));
    let server = Server::new(world, &Arc::<Disk>::default(), &faults, 7);
    server.begin().expect("it starts");
    let done = || world.log.is_assigned(TOPIC) && world.is_done();
    let longest = Duration::from_secs(600);
    assert!(runtime.wait_until(longest, done), "{}", server.words());
    server.pause().expect("it stops");
}

/// A new state over an archive that has events of which the log has lost half, and the rows of the
/// state before.
fn new_state(runtime: &SimRuntime) -> (Arc<World>, Vec<Vec<StoredRow>>) {
    let setup = Setup {
        scored: false,
        far_ahead: true,
        ..Setup::default()
    };
    let world = Arc::new(World::with_events(setup, 160, 41));
    finish(&world, runtime);
    let mut world = Arc::try_unwrap(world).expect("nobody else has it");
    let before = world.store.rows(RECENT);
    world.store = MemoryStore::new(world.setup.shards, 0, &Arc::default());
    for (partition, end) in world.log.ends(TOPIC).into_iter().enumerate() {
        world.log.delete_before(TOPIC, partition, end / 2);
    }
    (Arc::new(world), before)
}

/// Rows in the shards; each is dated as it was.
fn dated_as_before(world: &World, before: &[Vec<StoredRow>]) -> usize {
    let mut seen = 0;
    for (shard, rows) in world.store.rows(RECENT).into_iter().enumerate() {
        for row in rows {
            assert!(before[shard].contains(&row), "{row:?} is dated otherwise");
            seen += 1;
        }
    }
    seen
}

/// Play a new state whose first process meets `faults`, and the next one nothing.
fn play(faults: impl Fn(&SimRuntime) -> Faults + Send + 'static) {
    let (done, report) = simulate(6, move |runtime| {
        let (world, before) = new_state(&runtime);
        let faults = Arc::new(faults(&runtime));
        let server = Server::new(&world, &Arc::<Disk>::default(), &faults, 8);
        if server.begin().is_ok() {
            let longest = Duration::from_secs(60);
            runtime.wait_until(longest, || faults.is_over() || world.is_done());
        }
        // What it says of its end nobody hears.
        let _unheard = server.pause();
        faults.kill();
        drop(server);
        dated_as_before(&world, &before);
        finish(&world, &runtime);
        let seen = dated_as_before(&world, &before);
        assert!(seen > 40, "{seen} rows");
    });
    assert!(done.is_some(), "{report:?}");
}

#[test]
fn a_crash_at_any_call_of_a_new_state_leaves_no_shard_without_the_marks_of_the_archives_rows() {
    for last_call in 0..160 {
        play(move |runtime| {
            let end = End::AtCall(last_call);
            Faults::new(runtime, last_call, Rates::default(), end)
        });
    }
}

#[test]
fn an_archive_that_is_away_or_slow_changes_no_mark_of_a_new_state() {
    for seed in 0..60 {
        play(move |runtime| {
            let rates = Rates {
                outages: 60,
                delays: 200,
                lost_replies: 50,
                ..Rates::default()
            };
            Faults::new(runtime, seed, rates, End::AtCall(150 + 3 * seed))
        });
    }
}
