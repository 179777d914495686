//! What a change of definitions relies on: a view is known by its id and digest, and leaves
//! nothing.

use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{At, OnlineStore};
use forebay_core::view::{FeatureStatus, ViewSpec};

use super::{Check, VIEW, commit_all, key, read, register, spec};
use crate::memory::unbounded;

pub(super) const CHECKS: &[Check] = &[a_view_is_known_by_its_digest, a_dropped_view_leaves_nothing];

fn a_view_is_known_by_its_digest(store: &dyn OnlineStore) {
    register(store);
    store.register_view(spec()).expect("the same again");
    let mut other = ViewSpec::clone(&spec());
    other.digest = "another".to_owned();
    let error = store
        .register_view(Arc::new(other))
        .expect_err("it differs");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

fn a_dropped_view_leaves_nothing(store: &dyn OnlineStore) {
    register(store);
    commit_all(store, &[(0, 10, "a")]);
    store.drop_view(VIEW).expect("dropped");
    let error = store
        .read(VIEW, &key("a"), At::Instant(10), &mut unbounded())
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    register(store);
    assert_eq!(read(store, "a", 10).0, FeatureStatus::NotFound);
    store.drop_view(99).expect("an unknown one is gone already");
}
