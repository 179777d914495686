//! Every scalar function that a definition may call, one file a family. Nothing else can be called:
//! a function is admitted by an entry here, with its meaning at the edges and its conformance test.

mod angles;
mod arrays;
pub(super) mod calendar;
pub(super) mod dates;
mod form;
mod geo;
mod hash;
pub(crate) mod instead;
mod json;
mod json_text;
mod math;
mod near;
pub(crate) mod regexp;
mod rounding;
mod rows;
#[cfg(test)]
mod tests;
mod text;
mod text_making;
mod text_parts;
mod time_format;
mod time_making;
mod time_parts;
pub(super) mod time_text;
mod units;
mod zones;

use super::function::Function;
use time_parts::DATE_PART_EPOCH;
pub(crate) use time_text::parse as parse_time;

/// The families of each file: what they are about, and their functions.
const FILES: &[&[(&str, &[Function])]] = &[
    math::FAMILIES,
    angles::FAMILIES,
    text::FAMILIES,
    text_parts::FAMILIES,
    text_making::FAMILIES,
    time_parts::FAMILIES,
    time_making::FAMILIES,
    dates::FAMILIES,
    regexp::FAMILIES,
    json::FAMILIES,
    hash::FAMILIES,
    geo::FAMILIES,
    arrays::FAMILIES,
];

/// The families, in the order of the documentation.
pub(crate) fn families() -> impl Iterator<Item = (&'static str, &'static [Function])> {
    FILES.iter().copied().flatten().copied()
}

/// The function that goes by `name`, in lower case.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name == name || function.aliases.contains(&name))
}

/// The function that a call of `name` with this text as its first argument means. The type of
/// `date_part` follows from its part: that of the epoch is a function of its own, with the same
/// arguments.
pub(crate) fn called(name: &str, first: Option<&str>) -> Option<&'static Function> {
    let own = function(name)?;
    let epoch =
        own.name == "date_part" && first.is_some_and(|part| part.eq_ignore_ascii_case("epoch"));
    if epoch {
        function(DATE_PART_EPOCH)
    } else {
        Some(own)
    }
}

/// All functions.
pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    families().flat_map(|(_, functions)| functions)
}
