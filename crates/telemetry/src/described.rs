//! What a metric is registered as, whatever its type, and the one way into a registry. The table of
//! `names` describes, the families of `family` and the vector of `timing` register.

use prometheus::Registry;
use prometheus::core::Collector;

use crate::error::TelemetryError;

/// Register `collector` as `name`.
pub(crate) fn register(
    registry: &Registry,
    name: &'static str,
    collector: Box<dyn Collector>,
) -> Result<(), TelemetryError> {
    registry
        .register(collector)
        .map_err(|source| TelemetryError::Metric { name, source })
}

/// What a family is registered as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Described<'a> {
    /// Full name, as exposed.
    pub(crate) name: &'static str,
    /// One sentence for people.
    pub(crate) help: &'static str,
    /// Names of its labels.
    pub(crate) labels: &'a [&'a str],
    /// Upper bounds of the buckets of a histogram.
    pub(crate) buckets: &'a [f64],
}
