//! Values as of applied offsets: an event counts only below the cut of its partition, whether one
//! cut serves all rows (a training set built again), a few, or each row has its own (served values,
//! recomputed).

use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{Known, PointInTime};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_engine::{BatchEngine, ProbeEngine};
use forebay_testkit::unbounded_budget;
use proptest::prelude::*;

use crate::oracle::{Argument, Condition, Event, Feature, Function, Probe, View};
use crate::world::{
    TOPIC, ask, catalog, cells, config, definitions, events, probe, spine, tables, view,
};

/// Next offsets of the three partitions; None where nothing was applied.
type Cut = [Option<i64>; 3];

fn applied(cut: &Cut) -> Arc<Applied> {
    let mut applied = Applied::default();
    for (partition, next_offset) in (0..).zip(cut) {
        if let Some(next_offset) = *next_offset {
            let progress = PartitionProgress {
                next_offset,
                max_event_time_us: None,
                last: None,
            };
            applied.advance(&TopicPartition::new(TOPIC, partition), progress);
        }
    }
    // Another source's progress means nothing here.
    applied.advance(
        &TopicPartition::new("elsewhere", 0),
        PartitionProgress {
            next_offset: 1,
            max_event_time_us: None,
            last: None,
        },
    );
    Arc::new(applied)
}

fn is_below(event: &Event, cut: &Cut) -> bool {
    let partition = usize::try_from(event.partition).expect("0 to 2");
    cut[partition].is_some_and(|next| event.offset < next)
}

fn check(
    view: &View,
    events: &[Event],
    rows: &[(Probe, u32)],
    cuts: &[Cut],
) -> Result<(), TestCaseError> {
    let text = definitions(view);
    let probes: Vec<Probe> = rows.iter().map(|(probe, _)| probe.clone()).collect();
    let known = Known::Applied {
        cuts: cuts.iter().map(applied).collect(),
        index: vec![rows.iter().map(|(_, cut)| *cut).collect()],
    };
    let spine = spine(&probes);
    let engine = ProbeEngine::new(catalog(&text), unbounded_budget());
    let answer = ask(&engine, "features", &spine, &tables(events, true), known);
    let answer = answer.map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
    for (row, got) in cells(&answer, spine.num_columns()).iter().enumerate() {
        let (probe, cut) = &rows[row];
        let cut = &cuts[*cut as usize];
        let want = view.row(events, probe, &|event| is_below(event, cut));
        prop_assert_eq!(
            got,
            &want,
            "row {} {:?} under {:?}\n{}",
            row,
            probe,
            cut,
            text
        );
    }
    Ok(())
}

fn cut() -> impl Strategy<Value = Cut> {
    let next = || prop::option::weighted(0.8, 0_i64..40);
    (next(), next(), next()).prop_map(|(a, b, c)| [a, b, c])
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_event_counts_below_the_cut_of_its_partition(
        view in view(),
        events in events(80),
        (cuts, rows) in prop::collection::vec(cut(), 1..25).prop_flat_map(|cuts| {
            let row = (probe(), 0..u32::try_from(cuts.len()).expect("few"));
            (Just(cuts), prop::collection::vec(row, 1..25))
        }),
    ) {
        check(&view, &events, &rows, &cuts)?;
    }
}

/// A stream as it is served: events nearly in order of time, each answer a little behind the newest
/// event.
#[test]
fn every_row_with_a_cut_of_its_own_over_a_long_stream() {
    let features = [
        (Function::Sum, Argument::X, Some(5_000_000)),
        (Function::Max, Argument::X, Some(20_000_000)),
        (Function::Count, Argument::Star, None),
        (Function::Last, Argument::N, None),
        (Function::StddevPop, Argument::X, None),
    ]
    .map(|(function, argument, window_us)| Feature {
        function,
        argument,
        filter: Condition::Always,
        window_us,
    });
    let view = View {
        features: features.to_vec(),
        condition: Condition::Always,
        ttl_us: None,
        composite: false,
    };
    let events: Vec<Event> = (0..700_i64)
        .map(|i| Event {
            k: Some("a"),
            g: None,
            x: Some(i as f64 * 0.1),
            n: Some(i),
            s: None,
            b: None,
            ts: i * 100_000 + (i * 7_919 % 900_000),
            partition: (i % 3) as i32,
            offset: i / 3,
        })
        .collect();
    let rows = (0..200_u32)
        .map(|i| {
            (
                Probe {
                    k: Some("a"),
                    g: None,
                    at: i64::from(i) * 350_000,
                },
                i,
            )
        })
        .collect::<Vec<_>>();
    let cuts: Vec<Cut> = (0..200_i64)
        .map(|i| [Some(i), Some(i + 3), Some(i.saturating_sub(4))])
        .collect();
    check(&view, &events, &rows, &cuts).expect("equal");
    // The same with a few cuts, which goes another way through the engine.
    let rows: Vec<(Probe, u32)> = rows
        .into_iter()
        .map(|(probe, cut)| (probe, cut / 100 * 100))
        .collect();
    check(&view, &events, &rows, &cuts).expect("equal");
}

#[test]
fn a_table_without_places_is_partition_0_of_the_sources_topic_and_counts_rows_through_its_batches()
{
    let feature = Feature {
        function: Function::Count,
        argument: Argument::Star,
        filter: Condition::Always,
        window_us: None,
    };
    let view = View {
        features: vec![feature],
        condition: Condition::Always,
        ttl_us: None,
        composite: false,
    };
    let event = Event {
        k: Some("a"),
        g: None,
        x: None,
        n: None,
        s: None,
        b: None,
        ts: 5,
        partition: 0,
        offset: 0,
    };
    let events = vec![event; 9];
    let probes = vec![
        Probe {
            k: Some("a"),
            g: None,
            at: 10
        };
        3
    ];
    let cuts = [0, 4, 9].map(|next| applied(&[Some(next), None, None]));
    let known = Known::Applied {
        cuts: cuts.to_vec(),
        index: vec![vec![0, 1, 2]],
    };
    let engine = ProbeEngine::new(catalog(&definitions(&view)), unbounded_budget());
    let answer = ask(
        &engine,
        "features",
        &spine(&probes),
        &tables(&events, false),
        known,
    )
    .expect("answered");
    let counts: Vec<String> = cells(&answer, 3)
        .iter()
        .map(|row| format!("{row:?}"))
        .collect();
    assert_eq!(counts, ["[Null]", "[Int(4)]", "[Int(9)]"]);
}

#[test]
fn offsets_that_do_not_fit_the_spine_are_refused_and_the_batch_lowering_knows_none() {
    let feature = Feature {
        function: Function::Count,
        argument: Argument::Star,
        filter: Condition::Always,
        window_us: None,
    };
    let view = View {
        features: vec![feature],
        condition: Condition::Always,
        ttl_us: None,
        composite: false,
    };
    let catalog = catalog(&definitions(&view));
    let probes = vec![
        Probe {
            k: Some("a"),
            g: None,
            at: 10
        };
        2
    ];
    let cuts = vec![applied(&[Some(1), None, None])];
    for index in [
        vec![],
        vec![vec![0]],
        vec![vec![0, 1]],
        vec![vec![0, 0], vec![0, 0]],
    ] {
        let known = Known::Applied {
            cuts: cuts.clone(),
            index,
        };
        let error = ask(
            &ProbeEngine::new(catalog.clone(), unbounded_budget()),
            "features",
            &spine(&probes),
            &tables(&[], true),
            known,
        );
        let error = error.expect_err("does not fit");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error
                .message()
                .contains("1 cuts for each of 2 rows and 1 views"),
            "{error}"
        );
    }
    let known = Known::Applied {
        cuts,
        index: vec![vec![0, 0]],
    };
    let asked = |engine: &dyn PointInTime| {
        let known = known.clone();
        ask(
            engine,
            "features",
            &spine(&probes),
            &tables(&[], true),
            known,
        )
    };
    let error = asked(&BatchEngine::new(catalog.clone(), unbounded_budget(), None));
    let error = error.expect_err("not for offsets");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let words = "ask the probe lowering for applied offsets";
    assert!(error.message().ends_with(words), "{error}");
    asked(&ProbeEngine::new(catalog, unbounded_budget())).expect("it has applied offsets");
}
