//! Definitions that change, over power cuts: what was read under those before stays what these made
//! of it.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::time::DAY_US;
use forebay_sim::definitions::{Definitions, Disk};
use forebay_sim::deployed::Routes;
use forebay_sim::faults::Faults;
use forebay_sim::oracle::check;
use forebay_sim::runtime::{SimRuntime, simulate};
use forebay_sim::server::Server;
use forebay_sim::world::{Setup, World};

/// A process of `world`, which nothing disturbs, has all done; then `change` follows, and its end.
fn finish(world: &Arc<World>, disk: &Arc<Disk>, runtime: &SimRuntime, change: impl Fn(&Server)) {
    let faults = Arc::new(Faults::none(runtime));
    let server = Server::new(world, disk, &faults, 7);
    server.begin().expect("it starts");
    let longest = Duration::from_secs(600);
    assert!(runtime.wait_until(longest, || world.is_done()));
    change(&server);
    server.pause().expect("it stops");
}

/// The power goes: what was not synced is lost.
fn cut_power(world: &World) {
    for shard in 0..usize::from(world.setup.shards) {
        world.store.lose_writes(shard, usize::MAX);
    }
}

#[test]
fn a_power_cut_after_a_change_of_routes_gives_no_event_a_second_prediction() {
    let (done, report) = simulate(6, |runtime| {
        // A recorded decision about time would have the disk keep all that was written before it:
        // no partition is idle, and no event is ahead of the clock.
        let setup = Setup {
            idle_timeout_us: DAY_US,
            ..Setup::default()
        };
        let world = Arc::new(World::with_events(setup, 18, 83));
        let disk = Arc::<Disk>::default();
        finish(&world, &disk, &runtime, |server| {
            let routes = Some(Routes {
                live: 3,
                shadow: None,
            });
            let before = disk.saved(&world.setup);
            let next = Definitions { routes, ..before };
            server.apply(&next).expect("nothing is in the way of it");
        });
        let before = world.published_ids();
        assert!(before.len() > 8, "{} are scored", before.len());
        cut_power(&world);
        finish(&world, &disk, &runtime, |_| {});
        assert_eq!(world.published_ids(), before);
        check(&world, true);
    });
    assert!(done.is_some(), "{report:?}");
}

#[test]
fn shards_that_are_apart_read_on_before_a_deployment_goes_and_before_it_comes_back() {
    let (done, report) = simulate(6, |runtime| {
        let setup = Setup {
            shards: 2,
            idle_timeout_us: DAY_US,
            ..Setup::default()
        };
        let world = Arc::new(World::with_events(setup, 18, 83));
        let disk = Arc::<Disk>::default();
        finish(&world, &disk, &runtime, |_| {});
        let published = world.published_ids();
        // The power goes, and one shard alone loses by it.
        world.store.lose_writes(0, usize::MAX);
        let before = disk.saved(&world.setup);
        let faults = Arc::new(Faults::none(&runtime));
        let server = Server::new(&world, &disk, &faults, 7);
        server.begin().expect("it starts");
        let gone = Definitions {
            routes: None,
            ..before.clone()
        };
        for next in [&gone, &before] {
            server.apply(next).expect("the shards can be written");
        }
        assert!(server.met().levelled > 0, "the shards were apart");
        let longest = Duration::from_secs(600);
        assert!(runtime.wait_until(longest, || world.is_done()));
        server.pause().expect("it stops");
        assert_eq!(world.published_ids(), published);
        check(&world, true);
    });
    assert!(done.is_some(), "{report:?}");
}
