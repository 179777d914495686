//! The wrappers do what every implementation of their ports must, as long as nothing goes wrong.

use std::sync::Arc;

use forebay_pipeline::runtime::block_on;
use forebay_sim::faults::Faults;
use forebay_sim::faulty::{FaultyArchive, FaultyStore};
use forebay_sim::runtime::simulate;
use forebay_testkit::{MemoryArchive, MemoryStore, archive_conformance, conformance};

#[test]
fn a_wrapped_store_is_a_store() {
    let (_, report) = simulate(1, |runtime| {
        let faults = Arc::new(Faults::none(&runtime));
        let make = || {
            let store = MemoryStore::new(3, 0, &Arc::default());
            Arc::new(FaultyStore::new(store, &faults))
        };
        conformance::online_store(&|| make());
        conformance::log_notes(&|| make());
        faults.calls()
    });
    assert_eq!(report.failure, None);
}

#[test]
fn a_wrapped_archive_is_an_archive() {
    let (calls, report) = simulate(1, |runtime| {
        let faults = Arc::new(Faults::none(&runtime));
        let suite = archive_conformance::archive(|| {
            FaultyArchive::new(MemoryArchive::new(&Arc::default()), &faults)
        });
        block_on(&runtime, suite);
        faults.calls()
    });
    assert_eq!(report.failure, None);
    assert!(calls > Some(10));
}
