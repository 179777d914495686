//! Both lowerings within the memory of their process: the same values, or a typed refusal, and
//! nothing held afterwards.

use forebay_core::ErrorKind;
use forebay_core::error::with_causes;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Known, PointInTime};
use forebay_engine::{BatchEngine, ProbeEngine};
use forebay_testkit::MemoryTables;

use crate::oracle::{Event, Probe};
use crate::world::{SOURCE, ask, catalog, event_batch, spine};

const EVENTS: i64 = 2_000;

fn definitions() -> String {
    format!(
        "{SOURCE}CREATE FEATURE VIEW v ENTITY one AS
         SELECT k, ts, last_value(s) OVER w AS latest, sum(x) OVER w AS total, count(*) OVER w AS events
         FROM events WINDOW w AS (PARTITION BY k ORDER BY ts);
         CREATE FEATURE SERVICE features (k VARCHAR, g BIGINT) AS SELECT v.* FROM request LEFT JOIN v AS v USING (k);"
    )
}

fn events() -> Vec<Event> {
    (0..EVENTS)
        .map(|i| Event {
            k: Some(if i % 2 == 0 { "even" } else { "odd" }),
            g: Some(0),
            x: Some(0.5),
            n: Some(i),
            s: Some("a text of some length"),
            b: None,
            ts: i * 1_000,
            partition: 0,
            offset: i,
        })
        .collect()
}

#[test]
fn a_spine_whose_events_do_not_fit_is_refused_and_one_whose_events_do_is_answered() {
    let tables = MemoryTables::one("events", vec![event_batch(&events(), true)]);
    let probes = |key: &'static str| {
        spine(&[Probe {
            k: Some(key),
            g: Some(0),
            at: EVENTS * 1_000,
        }])
    };
    let engines = |budget: &std::sync::Arc<Budget>| -> [Box<dyn PointInTime>; 2] {
        let (catalog, budget) = (catalog(&definitions()), std::sync::Arc::clone(budget));
        [
            Box::new(ProbeEngine::new(
                catalog.clone(),
                std::sync::Arc::clone(&budget),
            )),
            Box::new(BatchEngine::new(catalog, budget, None)),
        ]
    };
    let (little, enough) = (Budget::whole(16 << 10), Budget::whole(64 << 20));
    for (engine, remedy) in engines(&little)
        .into_iter()
        .zip(["memory.limit_mib", "default lowering"])
    {
        let answer = ask(
            engine.as_ref(),
            "features",
            &probes("even"),
            &tables,
            Known::All,
        );
        let error = answer.expect_err("too little memory");
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
        let words = with_causes(&error);
        assert!(words.contains(remedy), "{words}");
        assert_eq!(little.used_bytes(Part::PointInTime), 0, "nothing leaks");
    }
    let answers = engines(&enough).map(|engine| {
        let answer = ask(
            engine.as_ref(),
            "features",
            &probes("even"),
            &tables,
            Known::All,
        );
        assert_eq!(enough.used_bytes(Part::PointInTime), 0, "nothing leaks");
        answer.expect("enough memory")
    });
    assert_eq!(answers[0], answers[1]);
    // Events of other keys take nothing.
    let [probe, _] = engines(&little);
    assert!(
        ask(
            probe.as_ref(),
            "features",
            &probes("none"),
            &tables,
            Known::All
        )
        .is_ok()
    );
}
