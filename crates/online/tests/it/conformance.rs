//! The store on RocksDB keeps what every online store promises.

use std::sync::{Arc, Mutex};

use forebay_online::RocksStore;
use forebay_testkit::{conformance, unbounded_budget};

use crate::model::options;

#[test]
fn the_store_on_rocksdb_keeps_the_promises() {
    for shards in [1, 3] {
        let directories = Mutex::new(Vec::new());
        let make = || {
            let directory = tempfile::tempdir().expect("temporary directory");
            let store = RocksStore::open(
                directory.path(),
                &options(shards, 1_000),
                &unbounded_budget(),
            )
            .expect("open");
            directories.lock().expect("one thread").push(directory);
            Arc::new(store)
        };
        conformance::online_store(&|| make());
        conformance::log_notes(&|| make());
    }
}
