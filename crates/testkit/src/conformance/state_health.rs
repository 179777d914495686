//! What probes and metrics rely on: a store with which nothing went wrong says so. What a broken
//! one says is held where it can be broken, by the tests of the store on a disk.

use forebay_core::ports::{OnlineStore, StateHealth, StoreHealth};

use super::{Check, commit_all, register};

pub(super) const CHECKS: &[Check] = &[a_store_that_works_says_so];

fn a_store_that_works_says_so(store: &dyn OnlineStore) {
    let probed: &dyn StateHealth = store;
    assert_eq!(probed.health(), StoreHealth::Well, "a new store");
    register(store);
    commit_all(store, &[(0, 10, "a"), (1, 20, "b")]);
    assert_eq!(probed.health(), StoreHealth::Well, "nothing failed");
}
