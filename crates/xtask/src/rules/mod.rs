//! One file a rule, each a function from what was read to findings. A rule says in its first lines
//! why it is one. What must be decided about a crate (what it may use, what it owns) stands in a
//! table in its rule's file.

use std::collections::BTreeSet;

use crate::source::Source;

pub(crate) mod arrows;
pub(crate) mod checked;
pub(crate) mod circles;
pub(crate) mod comments;
pub(crate) mod forbidden;
pub(crate) mod invented;
pub(crate) mod opening;
pub(crate) mod owners;
pub(crate) mod paths;
pub(crate) mod ports;
pub(crate) mod reached;
pub(crate) mod references;
pub(crate) mod registry;
pub(crate) mod size;
pub(crate) mod unused;
pub(crate) mod versions;

/// Folders of our crates: `crates/core`.
pub(crate) fn folders(sources: &[Source]) -> BTreeSet<String> {
    let folder = |source: &Source| {
        let name = source.path.strip_prefix("crates/")?.split_once("/src/")?.0;
        Some(format!("crates/{name}"))
    };
    sources.iter().filter_map(folder).collect()
}
