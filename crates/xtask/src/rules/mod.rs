//! One file a rule, each a function from what was read to findings. A rule says in its first lines
//! why it is one. What must be decided about a crate (what it may use, what it owns) stands in a
//! table in its rule's file.

pub(crate) mod arrows;
pub(crate) mod forbidden;
pub(crate) mod opening;
pub(crate) mod owners;
pub(crate) mod paths;
pub(crate) mod registry;
pub(crate) mod size;
pub(crate) mod versions;
