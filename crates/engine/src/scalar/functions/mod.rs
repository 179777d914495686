//! Every scalar function that a definition may call, one file a family. Nothing else can be called:
//! a function is admitted by an entry here, with its meaning at the edges and its conformance test.

mod angles;
mod form;
mod geo;
mod hash;
mod json;
mod json_text;
mod math;
pub(crate) mod regexp;
mod rounding;
mod rows;
mod text;
mod text_making;
mod text_parts;

use super::function::Function;

/// The families of each file: what they are about, and their functions.
const FILES: &[&[(&str, &[Function])]] = &[
    math::FAMILIES,
    angles::FAMILIES,
    text::FAMILIES,
    text_parts::FAMILIES,
    text_making::FAMILIES,
    regexp::FAMILIES,
    json::FAMILIES,
    hash::FAMILIES,
    geo::FAMILIES,
];

/// The families, in the order of the documentation.
pub(crate) fn families() -> impl Iterator<Item = (&'static str, &'static [Function])> {
    FILES.iter().copied().flatten().copied()
}

/// The function that goes by `name`, in lower case.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name || function.aliases.contains(&name))
}

/// All functions.
pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    families().flat_map(|(_, functions)| functions)
}
