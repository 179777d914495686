//! The two ways through one key, the walk and the tree, against each other: drawn events and cuts,
//! every class of state, every window. Whole services are tested against the naive evaluator in
//! `tests/it`.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::DataType;
use forebay_core::aggregate::{AggregateKind, PartialSpec};
use forebay_core::source::Column;
use forebay_core::view::{AggregateSpec, FoldBatch, ViewSpec, Window};
use forebay_testkit::unbounded;
use proptest::prelude::*;

use super::answers::Answers;
use super::collect::{BatchPlaces, Collector, Event, Events};
use super::plan::{Probe, window_plans};
use super::slide::slide;
use super::tree::Tree;
use super::view::probes;
use crate::input::SpineKeys;

const WINDOWS: [Window; 4] = [
    Window::Range { preceding_us: 0 },
    Window::Range { preceding_us: 3 },
    Window::Range { preceding_us: 50 },
    Window::Lifetime,
];

/// A view with every class of state over every window.
fn spec() -> ViewSpec {
    use AggregateKind::{Avg, Count, Last, Max, Min, StddevSamp, Sum};
    let (float, text) = (DataType::Float64, DataType::Utf8);
    let calls = [
        (Count, None, None),
        (Count, Some(0), Some(0)),
        (Sum, Some(0), None),
        (Avg, Some(0), Some(0)),
        (StddevSamp, Some(0), None),
        (Min, Some(0), Some(0)),
        (Max, Some(0), None),
        (Max, Some(1), None),
        (Last, Some(0), Some(0)),
        (Last, Some(1), None),
    ];
    let types = [float, text];
    let mut spec = ViewSpec {
        id: 1,
        name: "v".into(),
        version: 1,
        entity: "e".into(),
        source: "s".into(),
        key: vec![Column {
            name: "k".into(),
            data_type: DataType::Int64,
            nullable: false,
        }],
        arguments: types.to_vec(),
        filters: 1,
        partials: Vec::new(),
        aggregates: Vec::new(),
        ttl_us: Some(200),
        digest: String::new(),
    };
    for (kind, argument, filter) in calls {
        let arguments: Vec<usize> = argument.into_iter().collect();
        let argument_types: Vec<DataType> = arguments.iter().map(|a| types[*a].clone()).collect();
        let planned = kind.plan(&argument_types).expect("takes it");
        spec.partials.push(PartialSpec {
            class: planned.class,
            arguments,
            argument_types,
            filter,
            keep: None,
        });
        for window in WINDOWS {
            let partial = spec.partials.len() - 1;
            spec.aggregates.push(AggregateSpec {
                name: String::new(),
                kind,
                data_type: planned.data_type.clone(),
                partial,
                window,
            });
        }
    }
    spec
}

/// Time, key, value, FILTER, partition.
type Drawn = (i64, i64, Option<f64>, Option<bool>, i32);

/// A batch of events as the view has folded them.
fn folded_of(batch: &[Drawn]) -> FoldBatch {
    let text = |v: f64| format!("{v}");
    FoldBatch {
        keys: vec![Arc::new(Int64Array::from_iter_values(
            batch.iter().map(|e| e.1),
        ))],
        times: TimestampMicrosecondArray::from_iter_values(batch.iter().map(|e| e.0)),
        arguments: vec![
            Arc::new(batch.iter().map(|e| e.2).collect::<Float64Array>()),
            Arc::new(batch.iter().map(|e| e.2.map(text)).collect::<StringArray>()),
        ],
        filters: vec![batch.iter().map(|e| e.3).collect::<BooleanArray>()],
        source_rows: (0..u32::try_from(batch.len()).expect("few")).collect(),
        left_out: Vec::new(),
    }
}

#[test]
fn a_record_that_is_there_twice_is_named() {
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let keys = SpineKeys::new(&[keys], &[100]).expect("keys");
    let collected = |records: &[(u32, i64)]| {
        let mut collector = Collector::new(unbounded());
        for (place, offset) in records {
            let places = BatchPlaces {
                place: &[*place],
                partition: &[3],
                offset: &[*offset],
            };
            let event = [(10, 1, Some(0.5), Some(true), 3)];
            let added = collector.add(&folded_of(&event), &places, &keys);
            added.expect("collected");
        }
        collector.finish(keys.count()).check_once()
    };
    // One partition and offset in two topics.
    collected(&[(0, 7), (1, 7), (0, 8)]).expect("each is another record");
    let error = collected(&[(0, 7), (1, 7), (0, 7)]).expect_err("one is there twice");
    let words = error.to_string();
    assert!(
        words.contains("offset 7 of partition 3 is there twice; restore"),
        "{words}"
    );
}

/// Events of two keys, as they would be collected for a spine of the first.
fn collect(drawn: &[Drawn], keys: &SpineKeys) -> Events {
    let mut collector = Collector::new(unbounded());
    let mut next = [0_i64; 2];
    for batch in drawn.chunks(7) {
        let mut offset = Vec::new();
        for event in batch {
            let next = &mut next[usize::try_from(event.4).expect("0 or 1")];
            offset.push(*next);
            *next += 1;
        }
        let folded = folded_of(batch);
        let partition: Vec<i32> = batch.iter().map(|e| e.4).collect();
        let place: Vec<u32> = partition.iter().map(|p| p.unsigned_abs()).collect();
        let places = BatchPlaces {
            place: &place,
            partition: &partition,
            offset: &offset,
        };
        collector.add(&folded, &places, keys).expect("collected");
    }
    collector.finish(keys.count())
}

fn arrays(answers: Answers) -> (Vec<ArrayRef>, Vec<Option<i64>>) {
    let (cells, newest_us) = answers.finish().expect("arrays");
    (cells.columns, newest_us)
}

/// Both ways, each probe under each cut.
fn both(drawn: &[Drawn], at: &[i64], cuts: &[[i64; 2]]) -> Result<(), TestCaseError> {
    let spec = spec();
    let plans = window_plans(&spec);
    prop_assert_eq!(plans.len(), WINDOWS.len());
    let key: ArrayRef = Arc::new(Int64Array::from(vec![1; at.len()]));
    let keys = SpineKeys::new(&[key], at).expect("keys");
    let events = collect(drawn, &keys);
    let of_key: &[Event] = if at.is_empty() { &[] } else { events.of_key(0) };
    let tree = Tree::new(&spec, &events.columns, of_key).expect("a tree");
    let probes: Vec<Probe> = probes(&keys, at, None);
    for cut in cuts {
        let applied: Vec<Event> = of_key
            .iter()
            .filter(|event| event.is_below(cut))
            .copied()
            .collect();
        let (mut walked, mut asked) =
            (Answers::new(&spec, at.len()), Answers::new(&spec, at.len()));
        slide(
            &spec,
            &plans,
            &events.columns,
            &applied,
            &probes,
            &mut walked,
        )
        .expect("walked");
        for probe in &probes {
            tree.answer(&plans, cut, probe, &mut asked).expect("asked");
        }
        let (walked, asked) = (arrays(walked), arrays(asked));
        prop_assert_eq!(&walked.1, &asked.1);
        for (index, (walked, asked)) in walked.0.iter().zip(&asked.0).enumerate() {
            prop_assert_eq!(walked, asked, "{:?}", spec.aggregates[index]);
            prop_assert_eq!(walked.data_type(), &spec.aggregates[index].data_type);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_walk_and_the_tree_answer_alike(
        drawn in prop::collection::vec(
            (0_i64..300, 1_i64..3, prop::option::of(-5.0_f64..5.0), prop::option::of(any::<bool>()), 0_i32..2),
            0..300,
        ),
        at in prop::collection::vec(-5_i64..600, 0..20),
        cuts in prop::collection::vec([0_i64..160, 0_i64..160], 1..4),
    ) {
        both(&drawn, &at, &cuts)?;
    }
}

#[test]
fn events_that_no_probe_can_see_are_not_kept() {
    let key: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1), None]));
    let keys = SpineKeys::new(&[key], &[10, 20, 99]).expect("keys");
    assert_eq!(keys.of_rows(), [Some(0), Some(0), None]);
    let drawn = [
        (20, 1, Some(1.0), None, 0),
        (21, 1, Some(1.0), None, 0),
        (5, 2, Some(1.0), None, 1),
    ];
    let events = collect(&drawn, &keys);
    assert_eq!(
        events
            .of_key(0)
            .iter()
            .map(|event| event.time_us)
            .collect::<Vec<_>>(),
        [20]
    );
}
