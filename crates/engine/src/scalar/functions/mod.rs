//! Every scalar function that a definition may call, one file a family. Nothing else can be called:
//! a function is admitted by an entry here, with its meaning at the edges and its conformance test.

pub(super) mod calendar;

use super::function::Function;

/// The families.
pub(crate) const FAMILIES: &[(&str, &[Function])] = &[];

/// The function that goes by `name`, in lower case.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name || function.aliases.contains(&name))
}

/// All functions.
pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    FAMILIES.iter().flat_map(|(_, functions)| functions.iter())
}
