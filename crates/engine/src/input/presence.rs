//! Presence applied to a view's features: rows whose key is unknown at the instant, or whose newest
//! event is older than the TTL, are NULL in every column. The rule is core's [`feature_status`];
//! both lowerings end here.

use arrow_array::BooleanArray;
use forebay_core::cells::Cells;
use forebay_core::time::Micros;
use forebay_core::view::{FeatureStatus, feature_status};

use crate::error::Result;

/// `features` with NULL where the status of (`newest_us`, `at_us`) is not `Present`. All are
/// equally long.
pub(crate) fn apply_presence(
    features: Cells,
    newest_us: &[Option<Micros>],
    at_us: &[Micros],
    ttl_us: Option<Micros>,
) -> Result<Cells> {
    let absent = |(newest, at): (&Option<Micros>, &Micros)| {
        Some(feature_status(*newest, *at, ttl_us) != FeatureStatus::Present)
    };
    let absent: BooleanArray = newest_us.iter().zip(at_us).map(absent).collect();
    Ok(features.without(&absent)?)
}
