//! Naive evaluator, probe and batch agree to the bit, whatever the events, the order of their
//! arrival, the windows, the filters and the probes.

use forebay_core::ports::Known;
use forebay_engine::{BatchEngine, ProbeEngine};
use forebay_testkit::unbounded_budget;
use proptest::prelude::*;

use crate::exact::NAN;
use crate::oracle::{Argument, Cell, Condition, Event, Feature, Function, Probe, View};
use crate::world::{ask, catalog, cells, config, definitions, events, probe, spine, tables, view};

/// What the definition says.
fn expected(view: &View, events: &[Event], probes: &[Probe]) -> Vec<Vec<Cell>> {
    probes
        .iter()
        .map(|probe| view.row(events, probe, &|_| true))
        .collect()
}

/// Compare all three.
fn check(view: &View, events: &[Event], probes: &[Probe]) -> Result<(), TestCaseError> {
    let text = definitions(view);
    let catalog = catalog(&text);
    let (spine, tables) = (spine(probes), tables(events, true));
    let expected = expected(view, events, probes);
    let probed = ask(
        &ProbeEngine::new(catalog.clone(), unbounded_budget()),
        "features",
        &spine,
        &tables,
        Known::All,
    );
    let batched = ask(
        &BatchEngine::new(catalog, unbounded_budget(), None),
        "features",
        &spine,
        &tables,
        Known::All,
    );
    for (lowering, answer) in [("probe", probed), ("batch", batched)] {
        let answer = answer.map_err(|e| TestCaseError::fail(format!("{lowering}: {e}\n{text}")))?;
        prop_assert_eq!(answer.num_rows(), probes.len());
        for (row, (got, want)) in cells(&answer, spine.num_columns())
            .iter()
            .zip(&expected)
            .enumerate()
        {
            prop_assert_eq!(
                got,
                want,
                "{} row {} {:?}\n{}",
                lowering,
                row,
                probes[row],
                text
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn probe_and_batch_are_the_definition(
        view in view(),
        events in events(60),
        probes in prop::collection::vec(probe(), 0..25),
    ) {
        check(&view, &events, &probes)?;
    }
}

fn simple(function: Function, argument: Argument, window_us: Option<i64>) -> View {
    let feature = Feature {
        function,
        argument,
        filter: Condition::Always,
        window_us,
    };
    View {
        features: vec![feature],
        condition: Condition::Always,
        ttl_us: None,
        composite: false,
    }
}

fn at(ts: i64, x: f64) -> Event {
    let b = Some(true);
    Event {
        k: Some("a"),
        g: Some(0),
        x: Some(x),
        n: Some(ts),
        s: Some("a"),
        b,
        ts,
        partition: 0,
        offset: ts,
    }
}

#[test]
fn what_cancels_in_a_sliding_window_leaves_no_trace() {
    let events = [
        at(0, 2_f64.powi(54)),
        at(1_000_000, 1.0),
        at(2_000_000, 1.0),
        at(3_000_000, f64::INFINITY),
    ];
    let probes: Vec<Probe> = (0..8)
        .map(|s| Probe {
            k: Some("a"),
            g: Some(0),
            at: s * 1_000_000,
        })
        .collect();
    let view = simple(Function::Sum, Argument::X, Some(1_000_000));
    check(&view, &events, &probes).expect("equal");
    let sums = expected(&view, &events, &probes);
    assert_eq!(sums[2], [Cell::Float(2.0)], "2^54 has left");
    assert_eq!(sums[5], [Cell::Null], "infinity has left too");
}

#[test]
fn a_last_value_has_one_nan_and_keeps_the_sign_of_a_zero() {
    let events = [
        at(0, f64::from_bits(0xfff0_0000_0000_0001)),
        at(1_000_000, -0.0),
    ];
    let probes: Vec<Probe> = (0..2)
        .map(|s| Probe {
            k: Some("a"),
            g: None,
            at: s * 1_000_000,
        })
        .collect();
    for window in [None, Some(0)] {
        let view = simple(Function::Last, Argument::X, window);
        check(&view, &events, &probes).expect("equal");
        assert_eq!(
            expected(&view, &events, &probes),
            [[Cell::Float(NAN)], [Cell::Float(-0.0)]]
        );
    }
}

#[test]
fn both_ends_of_a_window_are_in_and_the_ttl_counts_at_its_end() {
    let mut view = simple(Function::Count, Argument::Star, Some(5_000_000));
    view.ttl_us = Some(20_000_000);
    let events = [at(10_000_000, 1.0)];
    let probes: Vec<Probe> = [
        9_999_999, 10_000_000, 15_000_000, 15_000_001, 30_000_000, 30_000_001,
    ]
    .map(|at| Probe {
        k: Some("a"),
        g: None,
        at,
    })
    .to_vec();
    check(&view, &events, &probes).expect("equal");
    let count = |n| vec![Cell::Int(n)];
    let null = vec![Cell::Null];
    assert_eq!(
        expected(&view, &events, &probes),
        [null.clone(), count(1), count(1), count(0), count(0), null]
    );
}

#[test]
fn many_events_of_one_key_in_reverse_order_and_many_probes() {
    let mut events: Vec<Event> = (0..600)
        .map(|i| at((i * 7_919 % 600) * 50_000, f64::from(i as i32) * 0.1))
        .collect();
    events.iter_mut().enumerate().for_each(|(offset, event)| {
        event.offset = offset as i64;
        event.partition = (offset % 2) as i32;
    });
    let probes: Vec<Probe> = (0..200)
        .map(|i| Probe {
            k: Some("a"),
            g: None,
            at: (199 - i) * 151_000,
        })
        .collect();
    for (function, argument) in [
        (Function::StddevSamp, Argument::X),
        (Function::Last, Argument::X),
        (Function::Min, Argument::N),
        (Function::Max, Argument::X),
    ] {
        for window in [None, Some(5_000_000)] {
            check(&simple(function, argument, window), &events, &probes).expect("equal");
        }
    }
}
