//! What a definition is compiled as: its version and id, and what it means by now. `build` and its
//! parts decide both; `compile` takes them.

use forebay_core::view::ViewId;

use crate::catalog::compiled::Compiled;
use crate::catalog::state::ObjectState;

/// Which version of an object to make.
pub(super) struct Identity {
    pub(super) version: u32,
    pub(super) view_id: Option<ViewId>,
    /// As the state keeps it.
    pub(super) digest: String,
}

impl Identity {
    /// The one that `object` was saved with.
    pub(super) fn of(object: &ObjectState) -> Self {
        Self {
            version: object.version,
            view_id: object.view_id,
            digest: object.digest.clone(),
        }
    }
}

/// A digest of a statement's meaning, and what was compiled when it had that.
#[derive(Clone, Copy)]
pub(super) struct Meaning<'a> {
    pub(super) digest: &'a str,
    pub(super) saved: Option<&'a Compiled>,
}

impl<'a> Meaning<'a> {
    /// Of nothing that was saved.
    pub(super) fn new(digest: &'a str) -> Self {
        Self {
            digest,
            saved: None,
        }
    }
}
