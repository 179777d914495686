//! What a definition is compiled as: its version and id, and what it means by now. `build` and its
//! parts decide both; `compile` takes them.

use forebay_core::view::ViewId;

use crate::catalog::compiled::Compiled;
use crate::catalog::state::ObjectState;

/// Which version of an object to make.
pub(in crate::catalog) struct Identity {
    pub(in crate::catalog) version: u32,
    pub(in crate::catalog) view_id: Option<ViewId>,
    /// As the state keeps it.
    pub(in crate::catalog) digest: String,
}

impl Identity {
    /// The one that `object` was saved with.
    pub(in crate::catalog) fn of(object: &ObjectState) -> Self {
        Self {
            version: object.version,
            view_id: object.view_id,
            digest: object.digest.clone(),
        }
    }
}

/// A digest of a statement's meaning, and what was compiled when it had that.
#[derive(Clone, Copy)]
pub(in crate::catalog) struct Meaning<'a> {
    pub(in crate::catalog) digest: &'a str,
    pub(in crate::catalog) saved: Option<&'a Compiled>,
}

impl<'a> Meaning<'a> {
    /// Of nothing that was saved.
    pub(in crate::catalog) fn new(digest: &'a str) -> Self {
        Self {
            digest,
            saved: None,
        }
    }
}
