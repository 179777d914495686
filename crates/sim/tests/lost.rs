//! Predictions that are lost with an accepted gap of their topic hold back no monitor, and what a
//! monitor then says is what it says when it is built anew.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::time::SECOND_US;
use forebay_core::value::Value;
use forebay_sim::faults::Faults;
use forebay_sim::runtime::simulate;
use forebay_sim::server::Server;
use forebay_sim::world::{PREDICTIONS, PREDICTIONS_TOPIC, START_US, Setup, TOPIC, World, event};

/// Events of the notes of the archive, each with its reason.
fn noted(world: &World) -> Vec<(i64, String)> {
    let notes = world.archive.rows(SETTLEMENT_TABLE).into_iter();
    let told = notes.map(|row| match (&row.values["events"], &row.values["reason"]) {
        (Value::Int(events), Value::Text(reason)) => (*events, reason.to_string()),
        other => panic!("{other:?}"),
    });
    told.collect()
}

/// An event every ten seconds.
fn append(world: &World, numbers: Range<i64>) {
    for number in numbers {
        let at_us = START_US + number * 10 * SECOND_US;
        let values = event(Some("a"), at_us, Some(0.5), number);
        world
            .log
            .append(TOPIC, usize::from(number % 2 == 1), Ok(values));
    }
}

#[test]
fn a_monitor_goes_on_behind_predictions_that_were_lost_with_an_accepted_gap() {
    let (_, report) = simulate(7, |runtime| {
        let setup = Setup {
            monitored: true,
            ..Setup::default()
        };
        let world = Arc::new(World::new(setup));
        // Nobody can read these predictions.
        world.log.damage(PREDICTIONS_TOPIC, 0, 10, 20);
        let faults = Arc::new(Faults::none(&runtime));
        let begin = |seed| {
            let server = Server::new(&world, &Arc::default(), &faults, seed);
            server.begin().expect("it starts");
            server
        };
        let mark_us = |server: &Server| server.reports()[0].watermark_us.unwrap_or(START_US);
        let server = begin(1);
        append(&world, 0..40);
        runtime.pause(Duration::from_secs(60));
        let stands_us = mark_us(&server);
        assert!(stands_us < START_US + 300 * SECOND_US, "it waits for those");
        // What cannot be read is tried again now and then.
        let is_accepted = || server.accept_gaps(PREDICTIONS).is_ok();
        let accepted = runtime.wait_until(Duration::from_secs(60), is_accepted);
        assert!(accepted, "{}", server.words());
        // A crash before they are settled: the next process does it.
        server.pause().expect("nothing is in the way");
        assert_eq!(noted(&world), []);
        let server = begin(2);
        append(&world, 40..60);
        runtime.pause(Duration::from_secs(60));
        let end_us = mark_us(&server);
        assert!(
            end_us > START_US + 500 * SECOND_US,
            "{stands_us} to {end_us}"
        );
        server.pause().expect("nothing is in the way");
        let noted = noted(&world);
        assert_eq!(noted.iter().map(|(events, _)| events).sum::<i64>(), 10);
        assert!(
            noted.iter().all(|(_, reason)| reason == "lost"),
            "{noted:?}"
        );
        let (live, kept) = (server.reports(), &world.checkpoints);
        for checkpoints in [
            kept.clone(),
            kept.without("monitor-"),
            kept.without("repeats"),
        ] {
            let again = server.reports_from(checkpoints).expect("in memory");
            assert_eq!(again, live);
        }
        // Once more changes nothing.
        let server = begin(3);
        runtime.pause(Duration::from_secs(60));
        server.pause().expect("nothing is in the way");
        assert_eq!(server.reports(), live);
    });
    assert_eq!(report.failure, None);
}
