//! Values against the naive evaluator: random arrival, cuts, shards, restarts, budgets.

use forebay_core::ports::{At, StateReader};
use forebay_core::view::Window;
use forebay_testkit::unbounded;
use proptest::prelude::*;

use crate::model::*;

fn views(random: &mut Random) -> Vec<std::sync::Arc<forebay_core::view::ViewSpec>> {
    let range = |us: i64| Window::Range { preceding_us: us };
    let (short, long) = (random.between(0, 60), random.between(60, 4_000));
    vec![
        wide_view(1, &[range(short), range(long)], None),
        wide_view(2, &[range(long)], Some(random.between(0, 500))),
        wide_view(3, &[Window::Lifetime], None),
        wide_view(
            4,
            &[Window::Lifetime, range(short)],
            Some(random.between(50, 3_000)),
        ),
    ]
}

fn shape(random: &mut Random) -> LogShape {
    LogShape {
        events: random.between(1, 700) as usize,
        partitions: random.between(1, 3) as i32,
        keys: 1 + random.below(6),
        step_us: [0, 1, 7, 60][random.below(4) as usize],
        jitter_us: [0, 5, 40, 400][random.below(4) as usize],
        start_us: [-500, 0, 1_357_000_000_000_000][random.below(3) as usize],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn reads_equal_the_naive_evaluator(seed: u64) {
        let random = &mut Random(seed);
        let views = views(random);
        let shape = shape(random);
        let log = generate_log(random, shape);
        let history_us = [0, 50, 1_000_000][random.below(3) as usize];
        let shards = 1 + random.below(3) as u16;
        let mut settings = options(shards, history_us);
        if random.chance(3) {
            settings.table_bytes = 1 << 20; // the least budget
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut store = open(directory.path(), &settings, &views);
        let mut rest = &log[..];
        while !rest.is_empty() {
            let (epoch, tail) = rest.split_at(1 + random.below(rest.len().min(150) as u64) as usize);
            commit_all(&store, &views, epoch);
            rest = tail;
            probe(&store, &views, &log, random, 25, history_us);
            if random.chance(6) {
                drop(store);
                store = open(directory.path(), &settings, &views);
                probe(&store, &views, &log, random, 10, history_us);
            }
        }
        let answered = probe(&store, &views, &log, random, 200, history_us);
        prop_assert!(answered > 0);
    }

    /// A finished row that is copied equals the one that is computed: every instant is asked twice,
    /// in both orders.
    #[test]
    fn copied_rows_equal_computed_rows(seed: u64) {
        let random = &mut Random(seed);
        let views = views(random);
        let shape = shape(random);
        let log = generate_log(random, LogShape { keys: 2, ..shape });
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = open(directory.path(), &options(1, 1_000_000_000), &views);
        commit_all(&store, &views, &log);
        let mut instants: Vec<i64> = (0..60).map(|_| log[random.below(log.len() as u64) as usize].time).collect();
        instants.extend(instants.clone().iter().map(|t| t + random.between(-3, 500)));
        instants.sort_unstable();
        for view in &views {
            let key = encode_key("key-0");
            for at in instants.iter().chain(instants.iter().rev()) {
                let expected = evaluate(view, log.iter(), "key-0", *at);
                for _ in 0..2 {
                    let answer = store.read(view.id, &key, At::Instant(*at), &mut unbounded()).expect("read");
                    assert_same(&expected, &row_of(&answer, 0), || format!("{} at {at}", view.name));
                }
            }
        }
        let stats = store.stats();
        prop_assert!(stats.recomputes > 0);
        // Unknown keys are neither; a known one is copied at least every second time.
        let known = log.iter().any(|e| e.key.as_deref() == Some("key-0"));
        prop_assert!(!known || stats.hot_hits * 2 >= stats.recomputes, "{stats:?}");
    }
}

/// Many keys in one request, one instant for each row, over several shards; NULL and unknown keys
/// between.
#[test]
fn one_request_over_many_keys_and_instants() {
    let random = &mut Random(7);
    let views = views(random);
    let log = generate_log(
        random,
        LogShape {
            events: 3_000,
            partitions: 3,
            keys: 200,
            step_us: 5,
            jitter_us: 20,
            start_us: 0,
        },
    );
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(directory.path(), &options(4, 1_000_000), &views);
    for epoch in log.chunks(400) {
        commit_all(&store, &views, epoch);
    }
    let names: Vec<Option<String>> = (0..1_000)
        .map(|i| (i % 17 != 0).then(|| format!("key-{}", random.below(220))))
        .collect();
    let at: Vec<i64> = names.iter().map(|_| random.between(0, 20_000)).collect();
    let keys = encode_keys(&names.iter().map(Option::as_deref).collect::<Vec<_>>());
    for view in &views {
        let answer = store
            .read(view.id, &keys, At::PerRow(&at), &mut unbounded())
            .expect("read");
        let mut epochs = std::collections::BTreeMap::new();
        for (row, name) in names.iter().enumerate() {
            let expected = evaluate(
                view,
                log.iter(),
                name.as_deref().unwrap_or("\0no key"),
                at[row],
            );
            assert_same(&expected, &row_of(&answer, row), || format!("row {row}"));
            assert_eq!(answer.applied[row].is_some(), name.is_some());
            if let Some(applied) = answer.applied[row] {
                assert_eq!(
                    *epochs.entry(applied.shard).or_insert(applied.epoch),
                    applied.epoch
                );
                assert!(store.applied_at(applied).is_some());
            }
        }
        assert_eq!(epochs.len(), 4, "all shards answered");
    }
}
