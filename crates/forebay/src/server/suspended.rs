//! A part of the definitions that could not be started: found where definitions are bound, shown by
//! `status` and metrics. Everything else runs.

/// A part that is set aside alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Suspended {
    /// Model, monitor.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) name: String,
    /// Why, in words.
    pub(crate) reason: String,
}
