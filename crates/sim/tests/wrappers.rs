//! The wrappers do what every implementation of their ports must, as long as nothing goes wrong.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use forebay_core::ErrorKind;
use forebay_core::limits::EVENT_MAX_BYTES;
use forebay_core::ports::{EventLog, LogInspector, Publisher};
use forebay_core::prediction::OutboxRecord;
use forebay_pipeline::runtime::block_on;
use forebay_sim::faults::Faults;
use forebay_sim::faulty::{
    FaultyArchive, FaultyCheckpoints, FaultyInspector, FaultyLog, FaultyPointInTime,
    FaultyPublisher, FaultyReader, FaultyScorer, FaultyStore,
};
use forebay_sim::runtime::{SimRuntime, simulate};
use forebay_testkit::conformance::log::WritableLog;
use forebay_testkit::conformance::log_inspector::InspectedLog;
use forebay_testkit::conformance::publish::Outlet;
use forebay_testkit::conformance::state_health::{
    a_damaged_view_is_set_aside_alone, a_failed_write_leaves_its_shard_undecided,
};
use forebay_testkit::conformance::{
    self, checkpoints, features, log, log_inspector, point_in_time, publish, scorer,
};
use forebay_testkit::{
    FakeScorer, MemoryArchive, MemoryCheckpoints, MemoryLog, MemoryPublisher, MemoryStore,
};

/// Run `suite` with faults that never strike; it calls its port through them.
fn without_faults(suite: impl FnOnce(&SimRuntime, &Arc<Faults>) + Send + 'static) {
    let (calls, report) = simulate(1, |runtime| {
        let faults = Arc::new(Faults::none(&runtime));
        suite(&runtime, &faults);
        faults.calls()
    });
    assert_eq!(report.failure, None);
    assert!(calls > Some(3), "{calls:?}");
}

#[test]
fn a_simulated_runtime_is_a_runtime() {
    let (_, report) = simulate(1, |runtime| conformance::runtime(&runtime));
    assert_eq!(report.failure, None);
}

#[test]
fn a_wrapped_store_is_a_store() {
    without_faults(|_, faults| {
        let make = || {
            let store = MemoryStore::new(3, 0, &Arc::default());
            Arc::new(FaultyStore::new(store, faults))
        };
        conformance::online_store(&|| make());
        conformance::log_notes(&|| make());
        let inner = MemoryStore::new(3, 0, &Arc::default());
        let wrapped = || Arc::new(FaultyStore::new(inner.clone(), faults));
        a_damaged_view_is_set_aside_alone(&|| wrapped(), &|store, view| {
            (0..3).for_each(|shard| inner.damage(shard, view));
            store
        });
        let inner = MemoryStore::new(3, 0, &Arc::default());
        let wrapped = || Arc::new(FaultyStore::new(inner.clone(), faults));
        a_failed_write_leaves_its_shard_undecided(&|| wrapped(), &|_, shard| {
            inner.lose_reply(shard, ErrorKind::Unavailable);
        });
    });
}

#[test]
fn a_wrapped_archive_is_an_archive() {
    without_faults(|runtime, faults| {
        let suite = conformance::archive(|| {
            FaultyArchive::new(MemoryArchive::new(&Arc::default()), faults)
        });
        block_on(runtime, suite);
    });
}

/// A log of which readers and answers are wrapped.
#[derive(Debug)]
struct WrappedLog {
    log: MemoryLog,
    faults: Arc<Faults>,
}

impl WritableLog for WrappedLog {
    fn topic(&self, partitions: i32) -> String {
        WritableLog::topic(&self.log, partitions)
    }

    fn append(&self, topic: &str, partition: i32, number: Option<i64>) {
        WritableLog::append(&self.log, topic, partition, number);
    }

    fn reader(&self) -> Box<dyn EventLog> {
        let reader = self.log.reader(7, &Arc::default());
        Box::new(FaultyLog::new(reader, &self.faults))
    }
}

impl InspectedLog for WrappedLog {
    fn inspector(&self) -> Box<dyn LogInspector> {
        Box::new(FaultyInspector::new(self.log.inspector(), &self.faults))
    }
}

#[test]
fn a_wrapped_log_is_a_log() {
    without_faults(|_, faults| {
        let wrapped = WrappedLog {
            log: MemoryLog::new("cluster"),
            faults: Arc::clone(faults),
        };
        log::event_log(&wrapped);
        log_inspector::log_inspector(&wrapped);
    });
}

/// Topics of which publishers are wrapped.
#[derive(Debug)]
struct WrappedOutlet {
    inner: MemoryPublisher,
    faults: Arc<Faults>,
}

impl Outlet for WrappedOutlet {
    fn topic(&self) -> String {
        self.inner.topic()
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(FaultyPublisher::new(self.inner.clone(), &self.faults))
    }

    fn arrived(&self, topic: &str) -> Vec<i64> {
        self.inner.arrived(topic)
    }
}

#[test]
fn a_wrapped_publisher_is_a_publisher() {
    without_faults(|_, faults| {
        let refuses = |record: &OutboxRecord| {
            let is_long = record.payload.len() > EVENT_MAX_BYTES;
            is_long.then(|| "too large".to_owned())
        };
        let outlet = WrappedOutlet {
            inner: MemoryPublisher::new(&Arc::default(), |_| {}).refusing(refuses),
            faults: Arc::clone(faults),
        };
        publish::publisher(&outlet);
    });
}

#[test]
fn a_wrapped_model_is_a_model() {
    without_faults(|runtime, faults| {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![0.5, -1.0, 7.25]));
        let model = scorer::ScoredModel {
            known: ("any", 1),
            unknown: &[("any", 9)],
            features: RecordBatch::try_from_iter([("a", column)]).expect("one column"),
        };
        let fake = FakeScorer::new(&Arc::default(), None).lacking(Some(9));
        let wrapped = FaultyScorer::new(fake, faults);
        block_on(runtime, scorer::scorer(&wrapped, &model));
    });
}

#[test]
fn wrapped_checkpoints_are_checkpoints() {
    without_faults(|_, faults| {
        let kept = MemoryCheckpoints::default();
        let open = || FaultyCheckpoints::new(kept.clone(), faults);
        checkpoints::checkpoints(&|| Box::new(open()));
    });
}

#[test]
fn a_wrapped_reader_of_features_is_one() {
    without_faults(|_, faults| {
        let store = MemoryStore::new(3, 1_000, &Arc::default());
        let (reader, asked) = conformance::asked_reader(Arc::new(store));
        features::feature_reader(&FaultyReader::new(reader, faults), &asked);
    });
}

#[test]
fn a_wrapped_engine_is_an_engine() {
    without_faults(|runtime, faults| {
        let wrapped = FaultyPointInTime::new(point_in_time::plain_engine(), faults);
        block_on(runtime, point_in_time::point_in_time(&wrapped, true));
    });
}
